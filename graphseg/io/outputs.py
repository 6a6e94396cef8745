"""Files of results: masks, probability maps and pictures, each written whole or not at all.

TIFF files carry the pixel size the way ImageJ does, in nm, so that Fiji shows lengths.
"""

import io
import math
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from graphseg.colours import MASK_COLOUR
from graphseg.errors import InputError

RED = tuple(bytes.fromhex(MASK_COLOUR[1:]))  # of contamination in pictures
OPACITY = 0.45  # of the red
MASK_FORMS = ("tif", "png")
PROBABILITY_TYPES = ("float32", "float16")
BLACK, WHITE = 0.005, 0.995  # quantiles of an image that are shown black and white
SAMPLE = 2**14  # pixels, spread over an image, that these are taken of
TINY = 1e-35  # smaller differences cannot be divided by in float32
PREVIEW = 512  # pixels, longest side of what a report shows
STEPS = 20  # thresholds that a report knows the contaminated fraction at
TINTED = 128  # in an overlay's palette grey levels come first and tinted ones from here


@contextmanager
def whole_file(path: Path, folder: Path | None = None, shared: bool = True) -> Iterator[Path]:
    """Give a temporary name to write to, and rename it at the end of the ``with`` block.
    So nobody ever sees half a file, even if the process is killed; an existing one is replaced. The
    temporary file lies in `folder`, on the same file system, or beside the file. If several
    processes may write the same file, it is `shared`, with a new temporary name each time.
    Otherwise that is always the same, so that one that was killed leaves nothing behind that the
    next does not take up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    if shared or folder is not None:
        temporary = temporary_name(path, folder or path.parent)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path, folder: Path) -> Path:
    """Return a name in `folder` that no other process uses, for what will become `path`."""
    return folder / f"{uuid.uuid4().hex}{path.suffix}.tmp"


def write_mask(
    path: Path, mask: np.ndarray, pixel_size: float | None = None, form: str = "tif"
) -> None:
    """Write a mask with 255 for contamination and 0 for the rest.

    Parameters
    ----------
    path
        The file.
    mask
        (H, W) bool.
    pixel_size
        Å per pixel; a PNG file cannot hold it.
    form
        ``"tif"`` (compressed, 8 bit) or ``"png"`` (1 bit).

    Raises
    ------
    InputError
        If the form is another one.

    Examples
    --------
    >>> import tempfile
    >>> from graphseg.io import read_micrograph
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mask(Path(folder, "mask.tif"), np.eye(2, dtype=bool), pixel_size=0.4)
    ...     back = read_micrograph(f"{folder}/mask.tif")
    >>> back.image, round(back.pixel_size, 6)
    (array([[255,   0],
           [  0, 255]], dtype=uint8), 0.4)
    """
    if form not in MASK_FORMS:
        raise InputError(f"The form is unknown: expected {' or '.join(MASK_FORMS)}, got {form!r}.")
    pixels = mask if form == "png" else np.where(mask, np.uint8(255), np.uint8(0))
    write_labels(path, pixels, pixel_size, form)


def write_labels(
    path: Path, labels: np.ndarray, pixel_size: float | None = None, form: str = "tif"
) -> None:
    """Write a map of classes, (H, W) bool, uint8 or uint16, with these values; see `write_mask`."""
    if form == "png":
        Image.fromarray(labels).save(path, format="PNG")
    else:
        _write_tiff(path, labels, pixel_size, "zlib")


def write_probability(
    path: Path, probability: np.ndarray, pixel_size: float | None = None, dtype: str = "float32"
) -> None:
    """Write a map of the probability of contamination as TIFF, not compressed.

    Parameters
    ----------
    path
        The file.
    probability
        (H, W) float in [0, 1].
    pixel_size
        Å per pixel.
    dtype
        ``"float32"``, or ``"float16"`` for half the size; ImageJ reads only the first.

    Raises
    ------
    InputError
        If the type is another one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_probability(Path(folder, "p.tif"), np.full((2, 2), 0.5), dtype="float16")
    ...     tifffile.imread(f"{folder}/p.tif").tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    if dtype not in PROBABILITY_TYPES:
        known = " or ".join(PROBABILITY_TYPES)
        raise InputError(f"The type is unknown: expected {known}, got {dtype!r}.")
    _write_tiff(path, np.asarray(probability, dtype), pixel_size, None)


def _write_tiff(
    path: Path, image: np.ndarray, pixel_size: float | None, compression: str | None
) -> None:
    lines = ["ImageJ=1.11a", "images=1"]  # what ImageJ itself writes at least
    # More effort than level 1 would take longer than all other work on the file.
    options = {"compression": compression, "compressionargs": {"level": 1} if compression else {}}
    if pixel_size is not None:
        lines.append("unit=nm")
        options |= {"resolution": (10 / pixel_size, 10 / pixel_size), "resolutionunit": "NONE"}
    tifffile.imwrite(
        path, image, description="\n".join(lines) + "\n", metadata=None, byteorder=">",
        photometric="minisblack", software=False, **options,
    )  # fmt: skip


def grey_levels(image: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Return an image (H, W) of any real dtype as 8-bit grey levels; a constant one is black.
    `limits` are the values shown black and white, by default the quantiles 0.005 and 0.995."""
    low, high = limits or _limits(image)
    if high - low < TINY:
        return np.zeros(image.shape, np.uint8)
    scaled = np.subtract(image, low, dtype=np.float32)
    scaled *= np.float32(255 / (high - low))
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def _limits(image: np.ndarray) -> tuple[float, float]:
    step = max(1, image.size // SAMPLE)
    while math.gcd(step, image.shape[1]) > 1:  # else it would meet the same columns in every row
        step += 1
    sample = image.ravel()[::step]
    # Floats are sorted ten times as fast as small integers.
    sample = np.sort(sample.astype(np.float32) if sample.itemsize <= 2 else sample)
    low, high = (float(sample[round(q * (sample.size - 1))]) for q in (BLACK, WHITE))
    return low, high


def write_overlay(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    """Write a micrograph with contamination tinted red, as a PNG of one byte a pixel.

    Parameters
    ----------
    path
        The file.
    image
        (H, W), any real dtype.
    mask
        (H, W) bool, True = contamination.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_overlay(Path(folder, "o.png"), np.arange(9).reshape(3, 3), np.eye(3, dtype=bool))
    ...     with Image.open(f"{folder}/o.png") as picture:
    ...         picture.convert("RGB").getpixel((0, 0))  # a black pixel, tinted
    (96, 42, 0)
    """
    levels = np.repeat(np.linspace(0, 255, TINTED)[:, None], 3, axis=1)
    palette = np.concatenate([levels, (1 - OPACITY) * levels + OPACITY * np.array(RED)])
    picture = Image.fromarray(
        grey_levels(image) // 2 + np.where(mask, np.uint8(TINTED), np.uint8(0))
    )
    picture.putpalette(np.rint(palette).astype(np.uint8).tobytes())
    # In noise there is nothing that repeats: to look for it costs time and makes larger files.
    picture.save(path, format="PNG", compress_type=zlib.Z_HUFFMAN_ONLY)


def small_picture(image: np.ndarray, mask: np.ndarray, side: int = 96) -> np.ndarray:
    """Return a thumbnail with contamination tinted red, (h, w, 3) uint8.
    The longest side has `side` pixels, and the ratio of the sides is kept. InputError if image and
    mask have different shapes."""
    if image.ndim != 2 or image.shape != mask.shape:
        raise InputError(
            "The mask does not fit the image: expected both of the same shape (H, W), got "
            f"{image.shape} and {mask.shape}."
        )
    light, covered = _reduced(image, mask.view(np.uint8) * np.uint8(255), side)
    tint = np.float32(OPACITY / 255) * covered[..., None]
    light = light[..., None].astype(np.float32)
    return np.rint((1 - tint) * light + tint * np.array(RED, np.float32)).astype(np.uint8)


def _reduced(image: np.ndarray, plane: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels of an image, and a plane of uint8, with `side` as the longest side."""
    height, width = (max(1, round(side * n / max(image.shape))) for n in image.shape)
    plain = image if image.dtype == np.uint8 else np.asarray(image, np.float32)
    small, covered = (
        np.asarray(Image.fromarray(part).resize((width, height), Image.Resampling.BOX))
        for part in (plain, plane)
    )
    return grey_levels(small, _limits(image)), covered


def previews(image: np.ndarray, probability: np.ndarray) -> tuple[dict[str, bytes], list[int]]:
    """Return what a report shows of an image (H, W) and its probability (H, W) of contamination.

    Returns
    -------
    pictures : dict
        By their suffixes: ``.jpg``, the grey levels, and ``.png``, the probability in 256 levels,
        of which those from 128 on mean 0.5 and more. Their longest side has at most 512 pixels.
    above : list of int
        Per mille of the image at or above each threshold of 1/20, 2/20, …, 19/20.
    """
    levels = np.minimum(256 * probability, 255).astype(np.uint8)
    light, small = _reduced(image, levels, min(PREVIEW, max(image.shape)))
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, format="PNG", compress_level=3)
    upwards = np.cumsum(Image.fromarray(levels).histogram()[::-1])[::-1]
    limits = np.rint(256 * np.arange(1, STEPS) / STEPS).astype(int)
    above = np.rint(1000 * upwards[limits] / levels.size).astype(int)
    return {".jpg": jpeg(light), ".png": buffer.getvalue()}, above.tolist()


def jpeg(picture: np.ndarray) -> bytes:
    """Return a picture, (h, w) or (h, w, 3) uint8, as a JPEG file: a fifth of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()

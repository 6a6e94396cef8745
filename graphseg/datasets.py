"""Labelled stacks: the published data set, the bundled simulated sample, a folder of one's own.

All three come back as a `LabelledStack` with names, acquisitions and dates, so that frames of one
focal or time series can stay on one side of a split.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from graphseg import simulation
from graphseg.errors import InputError
from graphseg.micrographs import read_micrograph
from graphseg.registry import NotObtainableError, fetch, read_published, registry

__all__ = [
    "LabelledStack",
    "NotObtainableError",
    "acquisition_of",
    "date_of",
    "fetch",
    "label_overlaps",
    "load",
    "load_default",
    "load_folder",
    "load_published",
    "load_simulated_sample",
    "registry",
]

SAMPLE_FOLDER = Path(__file__).resolve().parents[1] / "data" / "simulated"
SUFFIXES = (".png", ".tif", ".tiff")
LABEL = "_LABEL"
PIXEL_SIZES = "pixel_sizes.json"


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """Micrographs with their labels.

    Attributes
    ----------
    images
        (n, H, W) float32 in [0, 1]; axes are (image, row, column).
    masks
        (n, H, W) bool, True where the surface is contaminated.
    names
        One name an image, without suffix.
    groups
        (n,) str, the acquisition of each image: the frames of one focal or time series share it.
    dates
        (n,) str such as ``2014_0601``, the day of recording.
    source
        ``published``, ``simulated`` or ``folder``.
    pixel_size
        (n,) float64 in Å per pixel, NaN where unknown; None if none is known.
    """

    images: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    groups: np.ndarray
    dates: np.ndarray
    source: str
    pixel_size: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and the pixels of images and masks, as 64 hexadecimal digits."""
        sha = hashlib.sha256("\n".join(self.names).encode())
        sha.update(np.ascontiguousarray(self.images, dtype="<f4").tobytes())
        sha.update(np.packbits(self.masks).tobytes())
        return sha.hexdigest()

    def pixel_size_of(self, index: int) -> float | None:
        """Return the pixel size of one image in Å per pixel, None where it is unknown."""
        if self.pixel_size is None or not np.isfinite(self.pixel_size[index]):
            return None
        return float(self.pixel_size[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "LabelledStack":
        """Return the images chosen by integer indices or a boolean array, in that order."""
        chosen = np.arange(len(self))[indices]
        return LabelledStack(
            self.images[chosen],
            self.masks[chosen],
            tuple(self.names[i] for i in chosen),
            self.groups[chosen],
            self.dates[chosen],
            self.source,
            None if self.pixel_size is None else self.pixel_size[chosen],
        )


def acquisition_of(name: str) -> str:
    """Return the acquisition a frame belongs to: its name without a trailing ``_layer_NNNN``."""
    return re.sub(r"_layer_\d+$", "", name)


def date_of(name: str) -> str:
    """Return the leading date of a name (``2014_0601``), or ``undated`` if it has none."""
    match = re.match(r"\d{4}_\d{4}(?=_|$)", name)
    return match[0] if match else "undated"


def label_overlaps(masks: np.ndarray) -> np.ndarray:
    """Return the overlap of each pair of labels, intersection over union (Jaccard index).

    Parameters
    ----------
    masks
        (n, H, W) bool.

    Returns
    -------
        (n, n) float64, symmetric; NaN for a pair of empty labels.
    """
    flat = masks.reshape(len(masks), -1).astype(np.float32)  # (n, H·W); exact below 2²⁴ pixels
    intersection = (flat @ flat.T).astype(np.float64)
    areas = np.diagonal(intersection)
    union = areas[:, None] + areas - intersection
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)


def load(source: str = "auto") -> LabelledStack:
    """Return a labelled stack: ``auto`` (see `load_default`), ``published`` or ``simulated``.

    Raises
    ------
    InputError
        If `source` is none of the three, or if it is not obtainable.
    """
    loaders = {
        "auto": load_default,
        "published": load_published,
        "simulated": load_simulated_sample,
    }
    if source not in loaders:
        raise InputError(f"Unknown data source {source!r}; choose one of {', '.join(loaders)}.")
    return loaders[source]()


def load_default() -> LabelledStack:
    """Return the published data, or the simulated sample if they cannot be obtained.

    Falling back gives a UserWarning. A `$GRAPHSEG_DATA` that is set but wrong is an error, never
    a reason to fall back.
    """
    try:
        return load_published()
    except NotObtainableError as error:
        warnings.warn(f"{error} Using the bundled simulated sample instead.", stacklevel=2)
        return load_simulated_sample()


def load_published(progress: bool = True) -> LabelledStack:
    """Return the 131 published images of Sadre et al. (2021) with their labels.

    They are read from `$GRAPHSEG_DATA` (the folder ``training_images`` or the one above it) if it
    is set, else from the download cache, else downloaded. Every file is checked against its
    SHA-256; files below `$GRAPHSEG_DATA` are never modified.

    Raises
    ------
    InputError
        If `$GRAPHSEG_DATA` lacks a file or holds a damaged one, or if nothing is obtainable.
    """
    content = read_published(progress)
    names = sorted(Path(name).stem for name in content if LABEL not in name)
    images = [_decode(content[f"{name}.png"]) for name in names]
    labels = [_decode(content[f"{name}{LABEL}.png"]) for name in names]
    return _assemble(names, [_scaled(image) for image in images], labels, "published")


def load_simulated_sample() -> LabelledStack:
    """Return the bundled simulated sample; it is simulated anew outside a checkout."""
    if SAMPLE_FOLDER.is_dir():
        return load_folder(SAMPLE_FOLDER, source="simulated")
    samples = list(simulation.sample_set())
    return _assemble(
        [s.name for s in samples],
        [s.image for s in samples],
        [s.mask for s in samples],
        "simulated",
        [s.pixel_size for s in samples],
    )


def load_folder(path: str | Path, source: str = "folder") -> LabelledStack:
    """Return the labelled images of a folder of ``name.png`` and ``name_LABEL.png`` pairs.

    TIFF works too. 8-bit images are divided by 255, all others stretched to their own minimum and
    maximum. Every label pixel above zero is contamination. Pixel sizes (Å) come from an optional
    ``pixel_sizes.json`` (name: value), else from the files.

    Raises
    ------
    InputError
        If the folder has no pairs, a partner is missing, a file cannot be read as one greyscale
        image, or sizes differ.
    """
    folder = Path(path)
    pairs = _find_pairs(folder)
    listed = _listed_pixel_sizes(folder)
    images, labels, sizes = [], [], []
    for name, (image_path, label_path) in pairs.items():
        micrograph, label = read_micrograph(image_path), read_micrograph(label_path)
        if label.image.shape != micrograph.image.shape:
            raise InputError(
                f"{label_path} is {_size(label.image)} but its image is {_size(micrograph.image)}; "
                "save the label at the size of its image."
            )
        if images and micrograph.image.shape != images[0].shape:
            raise InputError(
                f"{image_path} is {_size(micrograph.image)} but the first image of the folder is "
                f"{_size(images[0])}; bring all images to one size."
            )
        images.append(_scaled(micrograph.image))
        labels.append(label.image)
        sizes.append(listed.get(name, micrograph.pixel_size))
    return _assemble(list(pairs), images, labels, source, sizes)


def _find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with name.png and name{LABEL}.png.")
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}
    images = {name: path for name, path in found.items() if not name.endswith(LABEL)}
    for name, path in found.items():
        partner = name.removesuffix(LABEL) if name.endswith(LABEL) else name + LABEL
        if partner not in found:
            raise InputError(
                f"{path} has no partner {partner}{path.suffix}; add it, or remove {path.name}."
            )
    if not images:
        raise InputError(f"{folder} holds no pairs of name.png and name{LABEL}.png; add some.")
    return {name: (path, found[name + LABEL]) for name, path in images.items()}


def _listed_pixel_sizes(folder: Path) -> dict[str, float]:
    path = folder / PIXEL_SIZES
    if not path.is_file():
        return {}
    try:
        return {str(name): float(size) for name, size in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f'{path} is no list of pixel sizes; write it as {{"name": 0.32, ...}} in Å.'
        ) from error


def _decode(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image)


def _scaled(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    low, high = float(image.min()), float(image.max())
    return ((image - low) / max(high - low, np.finfo(np.float32).tiny)).astype(np.float32)


def _size(image: np.ndarray) -> str:
    return " × ".join(str(n) for n in image.shape)


def _assemble(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    source: str,
    pixel_sizes: Sequence[float | None] = (),
) -> LabelledStack:
    sizes = np.array([np.nan if s is None else s for s in pixel_sizes], dtype=float)
    return LabelledStack(
        images=np.stack(images),  # (n, H, W)
        masks=np.stack([label > 0 for label in labels]),
        names=tuple(names),
        groups=np.array([acquisition_of(name) for name in names]),
        dates=np.array([date_of(name) for name in names]),
        source=source,
        pixel_size=sizes if np.isfinite(sizes).any() else None,
    )

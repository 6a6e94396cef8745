"""Content-aware data reduction: a stack with its class map in one HDF5 file.

What matters is kept bit for bit. On request the less important classes are stored coarsely
(`Coarsening`), so that the codecs that every HDF5 reader has shrink their runs of equal values to
almost nothing. The container, format 1, opens with any HDF5 reader. All data sets
are compressed (shuffle, gzip) and checksummed (Fletcher 32), one image to a chunk below 1 MiB:

==============  =============  ====================================================================
data set        shape          content
==============  =============  ====================================================================
``images``      (n, H, W)      the micrographs in the data type they had; coarse pixels hold coarse
                               values
``classes``     (n, H, W)      uint8, place of a pixel's class in the attribute ``class_names``
``exact``       (n, H, W)      bool, True where a pixel is the original bit for bit
``names``       (n,)           UTF-8, one name an image
``pixel_size``  (n,)           float64 in Å per pixel, NaN where unknown
==============  =============  ====================================================================

Attributes of the file: ``format`` ("graphseg-reduced 1"), ``class_names`` and ``coarsening`` (both
JSON), ``warning`` (what was lost, in words; empty if nothing was).
"""

import io
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from graphseg.checks import checked_masks
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file
from graphseg.structure.classes import CLASSES

MODES = {
    "lossless": "the original values",
    "levels": "a few grey levels",
    "blocks": "means of blocks",
    "flat": "one mean value for each image",
}
SIZES = (1, 2, 4)  # bytes of a pixel
FORMAT, VERSION = "graphseg-reduced", 1
DATA_SETS = ("images", "classes", "exact", "names", "pixel_size")
CODECS = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True}
LIBRARY = ("v110", "v110")  # a file that HDF5 1.10 (2016) can read, with checksummed headers
CHUNK = 2**20  # bytes at most: what has to be read and unpacked for one pixel


@dataclass(frozen=True)
class Coarsening:
    """What may be stored coarsely, and how; InputError if a value makes no sense.
    Modes are ``lossless``: nothing is changed; ``levels``: values are rounded to `levels` grey
    levels between the least and the greatest of the image's coarse pixels; ``blocks``: means over
    blocks of `block` × `block` pixels; ``flat``: one mean for each image. Pixels of the less
    important `classes` that lie no further than `margin` pixels from one of the others stay exact:
    the outline of a predicted mask is not certain. The default is the longest lattice constant of
    the published images."""

    mode: str = "lossless"
    classes: tuple[str, ...] = ("vacuum", "contamination")
    margin: float = 8.0
    block: int = 8
    levels: int = 8

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"Unknown mode {self.mode!r}; choose one of {', '.join(MODES)}.")
        if isinstance(self.classes, str) or not set(self.classes) <= set(CLASSES):
            raise InputError(
                f"Expected a tuple of class names among {', '.join(CLASSES)}, got {self.classes!r}."
            )
        if not self.margin >= 0 or self.block < 1 or self.levels < 2:
            raise InputError(
                f"Margin {self.margin}, block {self.block} and levels {self.levels} cannot be "
                "used; they must be at least 0, 1 and 2."
            )


class Loss(NamedTuple):
    """Error of the coarse pixels among some pixels, in grey levels of the original."""

    pixels: int
    coarse: int
    rmse: float
    largest: float


def checked_stack(images: ArrayLike, classes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return images in the data type they have, and their class map as uint8.
    Images are (n, H, W) integers or floats of 8, 16 or 32 bits, classes (n, H, W) places in
    ``CLASSES``, or bool with True = contamination; else InputError."""
    images, classes = np.asarray(images), np.asarray(classes)
    if images.dtype.kind not in "uif" or images.dtype.itemsize not in SIZES:
        raise InputError(
            f"Images of type {images.dtype} cannot be reduced; convert them to integers or floats "
            "of 8, 16 or 32 bits."
        )
    if images.ndim != 3 or not images.size:
        raise InputError(f"Images: expected shape (n, H, W), got {images.shape}.")
    if classes.dtype == bool:
        contaminated = checked_masks(classes, images.shape)
        return images, contaminated * np.uint8(CLASSES.index("contamination"))
    if classes.shape != images.shape or classes.dtype.kind not in "ui":
        raise InputError(
            f"Classes of shape {classes.shape} and type {classes.dtype} do not fit images of shape "
            f"{images.shape}; give an integer or a bool for each pixel."
        )
    if classes.min() < 0 or classes.max() >= len(CLASSES):
        raise InputError(
            f"Classes run from {classes.min()} to {classes.max()}; use 0 to {len(CLASSES) - 1} for "
            f"{', '.join(CLASSES)}."
        )
    return images, classes.astype(np.uint8)


def coarsen(
    images: ArrayLike, classes: ArrayLike, coarsening: Coarsening
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the pixels of less important classes by coarse values, see `checked_stack`.
    Returns the images in the same data type, and where nothing was changed, (n, H, W) bool.
    InputError also if a mode that loses something meets values that are not finite."""
    images, classes = checked_stack(images, classes)
    if coarsening.mode == "lossless":
        return images, np.ones(images.shape, bool)
    if not np.isfinite(images).all():
        raise InputError("Images have values that are not finite; replace them, or use lossless.")
    wanted = np.isin(classes, [CLASSES.index(name) for name in coarsening.classes])
    chosen = np.stack([_without_margin(region, coarsening.margin) for region in wanted])
    coarse = images.copy()
    for image, region in zip(coarse, chosen, strict=True):
        if region.any():
            values = _coarse_values(image, region, coarsening)
            image[region] = values if images.dtype.kind == "f" else np.rint(values)
    return coarse, ~chosen


def _without_margin(region: np.ndarray, margin: float) -> np.ndarray:
    """Shrink an (H, W) region by a margin, but not at the edges of the image."""
    if margin == 0 or region.all() or not region.any():
        return region
    return distance_transform_edt(region) > margin


def _coarse_values(image: np.ndarray, region: np.ndarray, coarsening: Coarsening) -> np.ndarray:
    """Return float64 values for the pixels of a region, in the order of ``image[region]``."""
    values = image[region].astype(float)
    if coarsening.mode == "flat":
        return np.full_like(values, values.mean())
    if coarsening.mode == "levels":
        low = values.min()
        step = (np.ptp(values) / (coarsening.levels - 1)) or 1.0
        return low + step * np.rint((values - low) / step)
    rows, columns = np.nonzero(region)
    across = -(-image.shape[1] // coarsening.block)
    blocks = (rows // coarsening.block) * across + columns // coarsening.block
    sums, counts = np.bincount(blocks, values), np.bincount(blocks)
    return sums[blocks] / counts[blocks]


def losses(
    images: np.ndarray, coarse: np.ndarray, exact: np.ndarray, classes: np.ndarray
) -> dict[str, Loss]:
    """Return the `Loss` of each class, and of all pixels under ``total``.
    All arrays are (n, H, W): originals, what is stored for them, where it is exact, the classes."""
    table = {
        name: _loss(images, coarse, exact, classes == place) for place, name in enumerate(CLASSES)
    }
    return table | {"total": _loss(images, coarse, exact, np.ones(images.shape, bool))}


def _loss(images: np.ndarray, coarse: np.ndarray, exact: np.ndarray, where: np.ndarray) -> Loss:
    changed = where & ~exact
    errors = coarse[changed].astype(float) - images[changed]
    if not errors.size:
        return Loss(int(where.sum()), 0, 0.0, 0.0)
    rmse, largest = np.sqrt(np.mean(errors**2)), np.abs(errors).max()
    return Loss(int(where.sum()), errors.size, float(rmse), float(largest))


def describe_loss(coarsening: Coarsening, exact: np.ndarray, total: Loss) -> str:
    """Say in words what was lost of `total` pixels; empty if nothing was."""
    if not total.coarse:
        return ""
    touched = int((~exact).any(axis=(1, 2)).sum())
    return (
        f"NOT LOSSLESS: {total.coarse / total.pixels:.2%} of all pixels, in {touched} of "
        f"{len(exact)} images, hold {MODES[coarsening.mode]} instead of what was recorded "
        f"(classes: {', '.join(coarsening.classes)}; mode {coarsening.mode}, block "
        f"{coarsening.block}, levels {coarsening.levels}, margin {coarsening.margin:g} px). Their "
        f"error is {total.rmse:.4g} grey levels (root mean square), {total.largest:.4g} at most, "
        "and cannot be undone. What the class map calls unimportant by mistake is lost too. All "
        "other pixels are the originals bit for bit."
    )


def chunk_shape(data: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a chunk: one image or some rows of it, below `CHUNK`; all of (n,)."""
    if data.ndim == 1:
        return data.shape
    _, height, width = data.shape
    return 1, min(height, max(1, CHUNK // (width * data.itemsize))), width


class LossWarning(UserWarning):
    """Pixels are not what the microscope recorded."""


@dataclass(frozen=True)
class Report:
    """Size and error of a reduced file."""

    original_bytes: int  # of the images as they lie in memory
    file_bytes: int  # of the whole file with classes and names
    losses: dict[str, Loss]  # by the name of the class, and ``total``
    warning: str  # what was lost, in words; empty if nothing was

    @property
    def ratio(self) -> float:
        """Bytes of the images per byte of the file."""
        return self.original_bytes / self.file_bytes


@dataclass(frozen=True, eq=False)
class ReducedStack:
    """What `read_reduced` found."""

    images: np.ndarray  # (n, H, W) in the data type of the originals
    classes: np.ndarray  # (n, H, W) uint8, place of a pixel's class in ``CLASSES``
    exact: np.ndarray  # (n, H, W) bool, True where a pixel is the original bit for bit
    names: tuple[str, ...]  # n
    pixel_size: np.ndarray  # (n,) float64 in Å per pixel, NaN where unknown
    coarsening: Coarsening  # how the rest was stored
    warning: str  # what was lost, in words; empty if nothing was


def write_reduced(
    path: str | Path,
    images: ArrayLike,
    classes: ArrayLike,
    coarsening: Coarsening | None = None,
    names: Sequence[str] | None = None,
    pixel_size: ArrayLike | None = None,
    overwrite: bool = False,
) -> Report:
    """Write a stack and its class map to one compressed HDF5 file.

    The file is written under a temporary name, read back and compared, and then renamed.

    Parameters
    ----------
    path
        The file.
    images
        (n, H, W) integers or floats of 8, 16 or 32 bits; the data type is kept.
    classes
        (n, H, W) places in ``CLASSES``, or bool with True = contamination.
    coarsening
        What may be lost; by default nothing.
    names
        n names; by default numbers.
    pixel_size
        Å per pixel, one number or n.
    overwrite
        Replace a file that exists.

    Warns
    -----
    LossWarning
        If pixels were changed; the same words are stored in the file.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is not set, or the input does not fit together.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_reduced(f"{folder}/small.h5", image, classes=image > 40).original_bytes
    64
    """
    if Path(path).exists() and not overwrite:
        raise InputError(f"{path} exists already; name another file or set overwrite=True.")
    report = store(path, images, classes, coarsening, names, pixel_size)
    if report.warning:
        warnings.warn(report.warning, LossWarning, stacklevel=2)
    return report


def store(
    path: str | Path,
    images: ArrayLike,
    classes: ArrayLike,
    coarsening: Coarsening | None = None,
    names: Sequence[str] | None = None,
    pixel_size: ArrayLike | None = None,
) -> Report:
    """Do what `write_reduced` does, without a warning, and replace a file that exists."""
    coarsening = coarsening or Coarsening()
    images, classes = checked_stack(images, classes)
    coarse, exact = coarsen(images, classes, coarsening)
    table = losses(images, coarse, exact, classes)
    warning = describe_loss(coarsening, exact, table["total"])
    stack = ReducedStack(
        coarse, classes, exact, _checked_names(names, len(images)),
        _checked_sizes(pixel_size, len(images)), coarsening, warning,
    )  # fmt: skip
    return Report(images.nbytes, _write(Path(path), stack), table, warning)


def _checked_names(names: Sequence[str] | None, number: int) -> tuple[str, ...]:
    names = tuple(f"{i:04d}" for i in range(number)) if names is None else tuple(names)
    if isinstance(names, str) or len(names) != number:
        raise InputError(f"There are {len(names)} names for {number} images; give one for each.")
    return names


def _checked_sizes(pixel_size: ArrayLike | None, number: int) -> np.ndarray:
    sizes = np.asarray(np.nan if pixel_size is None else pixel_size, dtype=float)
    if sizes.shape not in {(), (number,)}:
        raise InputError(
            f"Pixel sizes of shape {sizes.shape} do not fit {number} images; give one number, or "
            "one for each image."
        )
    return np.broadcast_to(sizes, number).copy()


def _write(path: Path, stack: ReducedStack) -> int:
    """Write, read back, compare, rename; return the size in bytes."""
    content = io.BytesIO()  # HDF5 cannot close a file for which there is no room
    with h5py.File(content, "w", libver=LIBRARY) as file:
        _fill(file, stack)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())
        back = _read(temporary)
        for name in ("images", "classes", "exact"):
            if getattr(back, name).tobytes() != getattr(stack, name).tobytes():
                raise OSError(f"{temporary} does not hold what was written; check the disk.")
    return content.getbuffer().nbytes


def _fill(file: h5py.File, stack: ReducedStack) -> None:
    attributes = {
        "format": f"{FORMAT} {VERSION}",
        "class_names": json.dumps(CLASSES),
        "coarsening": json.dumps(asdict(stack.coarsening)),
        "warning": stack.warning,
    }
    for name, text in attributes.items():
        file.attrs[name] = _encoded([text]).reshape(())
    columns = {"names": _encoded(stack.names), "pixel_size": stack.pixel_size}
    for name in DATA_SETS:
        data = columns.get(name, getattr(stack, name))
        file.create_dataset(name, data=data, chunks=chunk_shape(data), **CODECS)


def _encoded(texts: Sequence[str]) -> np.ndarray:
    """Return texts as UTF-8 of fixed length."""
    # HDF5 keeps texts of variable length in a heap that has no checksum.
    # File names need not be UTF-8; what cannot be encoded is written as its escape.
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded)) or 1))


def read_reduced(path: str | Path) -> ReducedStack:
    """Read what `write_reduced` wrote.

    Warns
    -----
    LossWarning
        If some pixels are not the originals.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another format.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_reduced(f"{folder}/small.h5", image, classes=image > 40)
    ...     (read_reduced(f"{folder}/small.h5").images == image).all()
    np.True_
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    stack = _read(path)
    if not stack.exact.all():
        warnings.warn(f"{path}: {stack.warning}", LossWarning, stacklevel=2)
    return stack


def _read(path: Path) -> ReducedStack:
    try:
        with h5py.File(path, "r") as file:
            return _content(file)
    except Exception as error:  # h5py raises whatever a damaged file leads it to
        raise InputError(
            f"{path} is damaged or no reduced stack of format {VERSION} ({error}); copy it again."
        ) from error


def _content(file: h5py.File) -> ReducedStack:
    _require(_text(file, "format") == f"{FORMAT} {VERSION}", "format")
    _require(tuple(json.loads(_text(file, "class_names"))) == CLASSES, "class_names")
    settings = json.loads(_text(file, "coarsening"))
    coarsening = Coarsening(**(settings | {"classes": tuple(settings["classes"])}))
    images, classes, exact, names, sizes = (_data(file, name) for name in DATA_SETS)
    images, classes = checked_stack(images, classes)
    _require(exact.shape == images.shape and exact.dtype == bool, "exact")
    _require(names.shape == sizes.shape == images.shape[:1], "names and pixel_size")
    warning = _text(file, "warning")
    _require(bool(warning) != bool(exact.all()), "warning")
    decoded = tuple(name.decode() for name in names)
    return ReducedStack(images, classes, exact, decoded, sizes.astype(float), coarsening, warning)


def _text(file: h5py.File, name: str) -> str:
    # A text of variable length is not ours, and a damaged heap can keep HDF5 busy for ever.
    _require(file.attrs.get_id(name).dtype.kind == "S", name)
    return bytes(file.attrs[name]).decode()


def _data(file: h5py.File, name: str) -> np.ndarray:
    """Read a data set that lies in this very file, all of it: a link could lead anywhere."""
    _require(isinstance(file.get(name, getlink=True), h5py.HardLink), name)
    data = file[name]
    chunks = np.prod([-(-s // c) for s, c in zip(data.shape, data.chunks, strict=True)])
    _require(data.id.get_num_chunks() == chunks, name)  # HDF5 would fill the others with zeros
    return data[()]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InputError(f"unexpected {what}")

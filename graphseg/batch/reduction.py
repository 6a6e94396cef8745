"""The codecs of the HDF5 container of reduced stacks, and the plain ones it is compared with.

Content-aware data reduction: a stack with its class map in one HDF5 file.

What matters is kept bit for bit. On request the less important classes are stored coarsely
(`graphseg.batch.coarsening`), so that the codecs that every HDF5 reader has shrink their runs of
equal values to almost nothing. The container, format 1, opens with any HDF5 reader. All data sets
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
import lzma
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from graphseg.batch.coarsening import (
    CLASSES,
    Coarsening,
    Loss,
    checked_stack,
    coarsen,
    describe_loss,
    losses,
)
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file

CODECS = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "fletcher32": True}
LIBRARY = ("v110", "v110")  # a file that HDF5 1.10 (2016) can read, with checksummed headers
CHUNK = 2**20  # bytes at most: what has to be read and unpacked for one pixel


def chunk_shape(data: np.ndarray) -> tuple[int, ...]:
    """Return the shape of a chunk: one image, or as many of its rows as stay below `CHUNK`.

    Parameters
    ----------
    data
        (n, H, W), or (n,), which is one chunk.
    """
    if data.ndim == 1:
        return data.shape
    _, height, width = data.shape
    return 1, min(height, max(1, CHUNK // (width * data.itemsize))), width


def plain_sizes(images: ArrayLike) -> dict[str, int]:
    """Return the bytes that a stack takes with plain lossless codecs, one stream an image.

    Parameters
    ----------
    images
        (n, H, W) integers or floats of 8, 16 or 32 bits.

    Returns
    -------
        ``none`` (as in memory), ``zlib``, ``lzma`` (each at its strongest), ``HDF5 gzip`` (images
        alone, ``CODECS``) and, for unsigned integers of 8 and 16 bits, ``PNG``.
    """
    images, _ = checked_stack(images, np.zeros(np.shape(images), bool))
    streams = [image.tobytes() for image in images]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=LIBRARY) as file:
        file.create_dataset("images", data=images, chunks=chunk_shape(images), **CODECS)
    sizes = {
        "none": images.nbytes,
        "zlib": sum(len(zlib.compress(s, 9)) for s in streams),
        "HDF5 gzip": buffer.getbuffer().nbytes,
        "lzma": sum(len(lzma.compress(s, preset=9 | lzma.PRESET_EXTREME)) for s in streams),
    }
    native = images.astype(images.dtype.newbyteorder("="), copy=False)
    if native.dtype in (np.uint8, np.uint16):
        sizes["PNG"] = sum(map(_png_size, native))
    return sizes


def _png_size(image: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getbuffer().nbytes


FORMAT, VERSION = "graphseg-reduced", 1
DATA_SETS = ("images", "classes", "exact", "names", "pixel_size")


class LossWarning(UserWarning):
    """Pixels are not what the microscope recorded."""


@dataclass(frozen=True)
class Report:
    """Size and error of a reduced file.

    Attributes
    ----------
    original_bytes, file_bytes
        Size of the images as they lie in memory, and of the whole file with classes and names.
    losses
        Class name, and ``total``, to its `graphseg.batch.coarsening.Loss`.
    warning
        What was lost, in words; empty if nothing was.
    """

    original_bytes: int
    file_bytes: int
    losses: dict[str, Loss]
    warning: str

    @property
    def ratio(self) -> float:
        """Bytes of the images per byte of the file."""
        return self.original_bytes / self.file_bytes


@dataclass(frozen=True, eq=False)
class ReducedStack:
    """What `read_reduced` found.

    Attributes
    ----------
    images
        (n, H, W) in the data type of the originals.
    classes
        (n, H, W) uint8, place of a pixel's class in ``graphseg.batch.coarsening.CLASSES``.
    exact
        (n, H, W) bool, True where a pixel is the original bit for bit.
    names
        n names.
    pixel_size
        (n,) float64 in Å per pixel, NaN where unknown.
    coarsening
        How the rest was stored.
    warning
        What was lost, in words; empty if nothing was.
    """

    images: np.ndarray
    classes: np.ndarray
    exact: np.ndarray
    names: tuple[str, ...]
    pixel_size: np.ndarray
    coarsening: Coarsening
    warning: str


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
        (n, H, W) places in ``graphseg.batch.coarsening.CLASSES``, or bool with True =
        contamination.
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
    """
    path, coarsening = Path(path), coarsening or Coarsening()
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; name another file or set overwrite=True.")
    images, classes = checked_stack(images, classes)
    coarse, exact = coarsen(images, classes, coarsening)
    table = losses(images, coarse, exact, classes)
    warning = describe_loss(coarsening, exact, table["total"])
    stack = ReducedStack(
        coarse, classes, exact, _checked_names(names, len(images)),
        _checked_sizes(pixel_size, len(images)), coarsening, warning,
    )  # fmt: skip
    size = _write(path, stack)
    if warning:
        warnings.warn(warning, LossWarning, stacklevel=2)
    return Report(images.nbytes, size, table, warning)


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
    content = BytesIO()  # HDF5 cannot close a file for which there is no room
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
    """Return texts as UTF-8 of fixed length.

    HDF5 keeps texts of variable length in a heap that has no checksum.
    """
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

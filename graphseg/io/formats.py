"""What a file of images holds: data sets with axes, and the two formats read in this process.

PNG goes through Pillow, TIFF through tifffile; all others are opened by `readers` in a process of
their own (`guard`). A TIFF file's own resolution is that of print, so it counts only where a
microscope's, ImageJ's or OME's tags say what it means.
"""

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image

from graphseg.errors import InputError

# Larger frames are refused before memory is taken for them: a header can declare anything. Twice
# the 8192 × 8192 pixels that are promised, so that no camera in use is left out.
LARGEST_FRAME = 2**27  # pixels

PLAUSIBLE = (1e-3, 1e6)  # Å per pixel of a micrograph; what says otherwise says nothing

ANGSTROM = {
    "pm": 0.01,
    "å": 1.0,
    "a": 1.0,
    "ang": 1.0,
    "angstrom": 1.0,
    "ångström": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "micrometer": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "m": 1e10,
    "meter": 1e10,
}
ANGLES = {"rad", "mrad", "µrad", "urad", "deg", "°"}
ENERGIES = {"ev", "kev", "mev"}


@dataclass(frozen=True)
class Axis:
    """One dimension of a signal: its step, the unit of it, and whether it only counts frames."""

    scale: float = 1.0
    unit: str = ""
    navigate: bool = False


@dataclass(frozen=True, eq=False)
class Signal:
    """One data set of a file.

    Attributes
    ----------
    shape
        (..., H, W), without colour channels.
    dtype
        As stored, of one colour channel.
    axes
        One for each dimension of `shape`.
    read
        Maps an index into the leading dimensions to the frame, (H, W), or (H, W, channels) where
        pixels have several.
    metadata
        What else the file says.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    read: Callable[[tuple[int, ...]], np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)


def image_axes(
    dimensions: int, rows: tuple[float, str] = (1.0, ""), columns: tuple[float, str] = (1.0, "")
) -> tuple[Axis, ...]:
    """Return axes of an image or a stack of them: step and unit down the rows and along them."""
    counting = (Axis(navigate=True),) * (dimensions - 2)
    return (*counting, Axis(*rows), Axis(*columns))


def to_angstrom(value: float, unit: str) -> float | None:
    """Convert a length to Å; None if the unit is not one of length or the value not positive."""
    factor = ANGSTROM.get(_spelled(unit))
    if factor is None or not np.isfinite(value) or value <= 0:
        return None
    return float(value) * factor


def is_reciprocal(unit: str) -> bool:
    """Tell whether a unit is one of diffraction: 1/nm, Å^-1, mrad and the like."""
    unit = _spelled(unit)
    inverse = unit.startswith("1/") or unit.endswith(("-1", "⁻¹"))
    return unit in ANGLES or (inverse and unit.strip("1/^-⁻¹*()") in ANGSTROM)


def is_energy(unit: str) -> bool:
    """Tell whether a unit is one of energy, as spectra have."""
    return _spelled(unit) in ENERGIES


def _spelled(unit: str) -> str:
    """Return one spelling of a unit: micro and ångström have two characters, names a plural."""
    unit = "".join(unit.split()).replace("\u03bc", "µ").replace("\u212b", "å").lower()
    unit = unit.replace("metre", "meter")
    return unit[:-1] if unit[:-1] in ANGSTROM and unit.endswith("s") else unit


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file leads a reader to into one sentence that names the file."""
    try:
        yield
    except InputError:
        raise
    except ModuleNotFoundError as error:
        package = error.name or error
        raise InputError(
            f"{path} needs the Python package {package}; pip install {package} and try again."
        ) from error
    except Exception as error:
        raise InputError(
            f"{path} is no readable {path.suffix[1:].upper()} file; export or copy it again."
        ) from error


# Tags of microscopes' programs: where in them the steps down the rows and along them are.
MICROSCOPES = (
    ("FEI_SFEG", "Scan", "PixelHeight", "PixelWidth", "m"),
    ("FEI_HELIOS", "Scan", "PixelHeight", "PixelWidth", "m"),
    ("OlympusSIS", None, "pixelsizey", "pixelsizex", "m"),
    ("TVIPS", None, "PixelSizeY", "PixelSizeX", "nm"),
)
GREY_MODES = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L"}
DEFLATE = (8, 32946)  # how TIFF names it, and used to
SMALL = 2**16  # bytes; deflate can make no more than a thousand times as much of them
# What tifffile tells of a damaged file beyond its exception is for programs that ask for it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Scale = tuple[float, str]  # step and unit


def open_png(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of a PNG file, without a pixel size."""
    image = stack.enter_context(Image.open(path, formats=["PNG"]))
    shape = (image.height, image.width)
    return [Signal(shape, np.dtype("f4"), image_axes(2), partial(_pillow_pixels, image))]


def _pillow_pixels(image: Image.Image, index: tuple[int, ...]) -> np.ndarray:
    if image.mode in GREY_MODES or image.mode == "LA":
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def open_tiff(path: Path, stack: ExitStack) -> list[Signal]:
    """Return one signal for each series of a TIFF file, without previews of reduced size.

    The pixel size is that of Digital Micrograph's, ImageJ's, FEI's, Olympus's or TVIPS's tags, or
    of OME's description.
    """
    tiff = stack.enter_context(tifffile.TiffFile(path))
    series = [one for one in tiff.series if not one.keyframe.is_reduced]
    return [_tiff_signal(path, tiff, one) for one in series]


def _tiff_signal(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> Signal:
    names = series.axes
    shape = tuple(n for n, name in zip(series.shape, names, strict=True) if name != "S")
    colour = names.index("S") if "S" in names else None
    _check_extent(path, tiff, series)
    read = partial(_read_tiff, path, tiff, series, colour)
    axes = image_axes(len(shape), *_scales(tiff, series.keyframe)) if len(shape) > 1 else (Axis(),)
    return Signal(shape, series.dtype, axes, read, dict(tiff.imagej_metadata or {}))


def _check_extent(path: Path, tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse what ends beyond the end of the file; tifffile would fill it with zeros."""
    size = path.stat().st_size
    pages = [page for page in series.pages if page is not None]
    pieces = [
        piece for page in pages for piece in zip(page.dataoffsets, page.databytecounts, strict=True)
    ]
    if series.dataoffset is not None:
        pieces.append((series.dataoffset, series.nbytes))
    if not pieces or max(offset + length for offset, length in pieces) > size:
        raise InputError(f"{path} is cut short, it lacks pixels that it declares; copy it again.")


def _read_tiff(
    path: Path,
    tiff: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    colour: int | None,
    index: tuple[int, ...],
) -> np.ndarray:
    """Return one frame; colours, if there are any, as its last axis."""
    leading = series.shape[: len(index)]
    frame = int(np.ravel_multi_index(index, leading)) if index else 0
    if series.dataoffset is not None and colour is None:
        dtype = np.dtype(tiff.byteorder + series.dtype.char)
        return np.memmap(path, dtype, "r", series.dataoffset, tuple(series.shape))[index]
    _check_deflated(path, series.pages[frame])
    try:
        pixels = tiff.asarray(key=frame, series=tiff.series.index(series))
    except (ValueError, KeyError) as error:
        if "imagecodecs" not in str(error):
            raise
        return _tiff_by_pillow(path, series.pages[frame].index)
    planar = colour is not None and colour < len(series.shape) - 1
    return np.moveaxis(pixels, 0, -1) if planar else pixels


def _check_deflated(path: Path, page: tifffile.TiffPage) -> None:
    """Refuse pieces that unpack to more than they declare; tifffile would unpack all of it."""
    if page.compression not in DEFLATE:
        return
    declared = int(np.prod(page.chunks)) * page.dtype.itemsize
    with path.open("rb") as file:
        for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            if length > SMALL:
                file.seek(offset)
                if len(zlib.decompressobj().decompress(file.read(length), declared + 1)) > declared:
                    raise InputError(f"{path} unpacks to more than it declares; export it again.")


def _tiff_by_pillow(path: Path, page: int) -> np.ndarray:
    """Read a page whose compression, such as LZW, tifffile knows only with another package."""
    with Image.open(path, formats=["TIFF"]) as image:
        image.seek(page)
        return _pillow_pixels(image, ())


def _scales(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[Scale, Scale]:
    """Return the step and the unit down the rows and along them; 1 and "" if nothing says."""
    sources = (_from_digitalmicrograph, _from_imagej, _from_microscope, _from_ome)
    for source in sources:
        try:
            return source(tiff, page)
        except (LookupError, ValueError, TypeError, AttributeError, ElementTree.ParseError):
            continue  # this program did not write the file, or left half of it out
    return (1.0, ""), (1.0, "")


def _from_digitalmicrograph(_: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[Scale, Scale]:
    tags = page.tags
    columns, rows = ((float(tags[65009 + i].value), str(tags[65003 + i].value)) for i in (0, 1))
    return rows, columns


def _from_imagej(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[Scale, Scale]:
    unit = str(tiff.imagej_metadata["unit"]).replace("\\u00B5", "µ")
    columns, rows = (page.tags[name].value for name in ("XResolution", "YResolution"))
    return (rows[1] / rows[0], unit), (columns[1] / columns[0], unit)


def _from_microscope(_: tifffile.TiffFile, page: tifffile.TiffPage) -> tuple[Scale, Scale]:
    for tag, section, rows, columns, unit in MICROSCOPES:
        if tag in page.tags:
            values = page.tags[tag].value
            values = values[section] if section else values
            return (float(values[rows]), unit), (float(values[columns]), unit)
    raise LookupError("no microscope")


def _from_ome(tiff: tifffile.TiffFile, _: tifffile.TiffPage) -> tuple[Scale, Scale]:
    pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels").attrib
    rows, columns = (
        (float(pixels[f"PhysicalSize{x}"]), pixels.get(f"PhysicalSize{x}Unit", "µm")) for x in "YX"
    )
    return rows, columns

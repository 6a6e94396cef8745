"""Reading micrographs: 2-D arrays, their pixel size in Å, and the metadata of the file.

PNG goes through Pillow, TIFF through tifffile; all others are opened by `readers` in a process of
their own (`guard`). A TIFF file's own resolution is that of print, so it counts only where a
microscope's, ImageJ's or OME's tags say what it means.
"""

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import index as as_index
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image

from graphseg.errors import InputError
from graphseg.io import guard, readers
from graphseg.io.readers import Axis, Signal, image_axes

# Larger frames are refused before memory is taken for them: a header can declare anything. Twice
# the 8192 × 8192 pixels that are promised, so that no camera in use is left out.
LARGEST_FRAME = 2**27  # pixels
PLAUSIBLE = (1e-3, 1e6)  # Å per pixel of a micrograph; what says otherwise says nothing
SQUARE = 0.01  # relative difference of height and width of a pixel up to which it counts as square
ANGSTROM = {
    "pm": 0.01, "å": 1.0, "a": 1.0, "ang": 1.0, "angstrom": 1.0, "ångström": 1.0,
    "nm": 10.0, "nanometer": 10.0, "µm": 1e4, "um": 1e4, "micron": 1e4, "micrometer": 1e4,
    "mm": 1e7, "cm": 1e8, "m": 1e10, "meter": 1e10,
}  # fmt: skip
ANGLES = {"rad", "mrad", "µrad", "urad", "deg", "°"}
ENERGIES = {"ev", "kev", "mev"}
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


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One micrograph.

    Attributes
    ----------
    image
        (H, W) array in the units and the dtype of the file; axes are (row, column).
    pixel_size
        Å per pixel, or None where the file does not say.
    metadata
        What else the file says.
    frame
        Place in the file, counted from 0, or None if it is the only image there.

    Examples
    --------
    >>> micrograph = Micrograph(np.zeros((4, 6)), pixel_size=0.4)
    >>> micrograph.image.shape[1] * micrograph.pixel_size  # the width of the field in Å
    2.4000000000000004
    """

    image: np.ndarray
    pixel_size: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    frame: int | None = None


class Series(Sequence[Micrograph]):
    """The micrographs of an open file; each is read when it is asked for.
    Iterating it or indexing it with an integer gives a `Micrograph` and raises an `InputError` for
    a frame that is damaged, which leaves the others usable."""

    def __init__(self, path: Path, signals: list[Signal]):
        self.path = path
        self._signals = signals
        self._counts = [int(np.prod(signal.shape[:-2])) for signal in signals]

    def __len__(self) -> int:
        return sum(self._counts)

    def __getitem__(self, index: int) -> Micrograph:
        index = place = as_index(index) + (len(self) if index < 0 else 0)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} frames")
        signals = iter(zip(self._signals, self._counts, strict=True))
        signal, count = next(signals)
        while place >= count:
            place -= count
            signal, count = next(signals)
        frame = index if len(self) > 1 else None
        pixel_size, oblong = _pixel_size(signal)
        if oblong:
            raise InputError(f"{self.path} {oblong}.")
        return Micrograph(_pixels(self.path, signal, place), pixel_size, signal.metadata, frame)


@contextmanager
def open_series(path: str | Path) -> Iterator[Series]:
    """Open a file of any known format; it is closed at the end of the ``with`` block.

    Formats: PNG, TIFF, DM3, DM4, EMD (Velox, NCEM, Berkeley), MRC, SER, HDF5 (HyperSpy's or with
    a single array) and Zarr (the same). A file with several data sets gives the frames of all that
    are micrographs, one after the other; those that are not are left out.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged or of an unknown format, or holds no micrograph but
        a spectrum, a diffraction pattern, complex numbers or pixels that are not square.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/series.tif", np.zeros((3, 4, 6)), photometric="minisblack")
    ...     with open_series(f"{folder}/series.tif") as series:
    ...         len(series), series[2].frame
    (3, 2)
    """
    path = Path(path)
    opener = _opener(path)
    with ExitStack() as stack:
        with named(path):
            signals = opener(path, stack)
        usable = [signal for signal in signals if _refusal(signal) is None]
        if not usable:
            reason = _refusal(signals[0]) if signals else "holds no image; export one"
            raise InputError(f"{path} {reason}.")
        oblong = [_pixel_size(signal)[1] for signal in usable]
        if all(oblong):  # said once, and not of every frame
            raise InputError(f"{path} {oblong[0]}.")
        yield Series(path, usable)


def read_micrograph(path: str | Path, frame: int | None = None) -> Micrograph:
    """Read one micrograph from a DM3, DM4, EMD, MRC, SER, TIFF, PNG, HDF5 or Zarr file.

    Grey images that were saved in colour are taken as grey. Pixels whose height and width differ
    by more than 1 % are refused.

    Parameters
    ----------
    path
        The file, or the folder of a Zarr store.
    frame
        Which image to take from a file that holds several, counted from 0.

    Returns
    -------
    Micrograph
        ``image`` (H, W) in the units and the dtype of the file, axes (row, column); ``pixel_size``
        in Å or None; ``metadata``.

    Raises
    ------
    InputError
        As `open_series`; and if the image has colours or is not finite, or if the file holds
        several frames and `frame` is not given or not among them.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     resolution = dict(resolution=(25, 25), metadata={"unit": "nm"})  # pixels in a nm
    ...     tifffile.imwrite(f"{folder}/a.tif", np.zeros((4, 6), "u2"), imagej=True, **resolution)
    ...     read_micrograph(f"{folder}/a.tif").pixel_size
    0.4
    """
    with open_series(path) as series:
        if frame is None and len(series) > 1:
            raise InputError(
                f"{path} holds {len(series)} frames; choose one with frame=0 and so on."
            )
        if frame is not None and not -len(series) <= frame < len(series):
            raise InputError(f"{path} holds {len(series)} frames, so there is no frame {frame}.")
        return series[frame or 0]


def from_signal(signal: Signal, name: str) -> Micrograph:
    """Return the one micrograph of a data set in memory, checked as that of a file is.
    The signal is as `readers.from_rosetta` and `readers.from_hyperspy` return it; messages call it
    `name`. InputError if it holds no micrograph, or several."""
    reason, whole = _refusal(signal), len(signal.axes) == len(signal.shape)
    if reason is not None or not whole:
        raise InputError(f"{name} {reason or 'does not say what each of its axes is; add them'}.")
    series = Series(Path(name), [signal])
    if len(series) > 1:
        raise InputError(f"{name} holds {len(series)} frames; give them one by one.")
    return series[0]


def to_angstrom(value: float, unit: str) -> float | None:
    """Convert a length to Å; None if the unit is not one of length or the value not positive."""
    factor = ANGSTROM.get(_spelled(unit))
    if factor is None or not np.isfinite(value) or value <= 0:
        return None
    return float(value) * factor


def quantity_of(unit: str) -> str:
    """Return "energy", "diffraction" (1/nm, Å^-1, mrad and the like), or "" for any other unit."""
    unit = _spelled(unit)
    inverse = unit.startswith("1/") or unit.endswith(("-1", "⁻¹"))
    if unit in ANGLES or (inverse and unit.strip("1/^-⁻¹*()") in ANGSTROM):
        return "diffraction"
    return "energy" if unit in ENERGIES else ""


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
            f"{path} is not a readable {path.suffix[1:].upper()} file; export or copy it again."
        ) from error


def open_png(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of a PNG file, without a pixel size."""
    image = stack.enter_context(Image.open(path, formats=["PNG"]))
    shape = (image.height, image.width)
    return [Signal(shape, np.dtype("f4"), (Axis(), Axis()), partial(_pillow_pixels, image))]


def _pillow_pixels(image: Image.Image, index: tuple[int, ...]) -> np.ndarray:
    if image.mode in GREY_MODES or image.mode == "LA":
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def open_tiff(path: Path, stack: ExitStack) -> list[Signal]:
    """Return one signal for each series of a TIFF file, without previews of reduced size.
    The pixel size is that of Digital Micrograph's, ImageJ's, FEI's, Olympus's or TVIPS's tags, or
    of OME's description."""
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
    frame = int(np.ravel_multi_index(index, series.shape[: len(index)])) if index else 0
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
    for source in (_from_digitalmicrograph, _from_imagej, _from_microscope, _from_ome):
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


OPENERS: dict[str, Callable[[Path, ExitStack], list[Signal]]] = {
    ".png": open_png,
    ".tif": open_tiff,
    ".tiff": open_tiff,
} | dict.fromkeys(readers.OPENERS, guard.open_guarded)
SUFFIXES = tuple(OPENERS)
FOLDERS = (".zspy", ".zarr")


def _opener(path: Path) -> Callable[[Path, ExitStack], list[Signal]]:
    suffix = path.suffix.lower()
    if not (path.is_file() or (suffix in FOLDERS and path.is_dir())):
        raise InputError(f"{path} does not exist; check the name.")
    if suffix not in OPENERS:
        known = ", ".join(OPENERS)
        raise InputError(f"{path} has none of the known suffixes; convert it to one of {known}.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy it again.")
    return OPENERS[suffix]


def _refusal(signal: Signal) -> str | None:
    """Return why a signal is no micrograph or a series of them, with the remedy."""
    plane = signal.axes[-2:]
    if signal.dtype.kind not in "biufc":  # also what HyperSpy calls ragged
        return "holds frames of different sizes, or no numbers at all; save each as its own file"
    if len(signal.shape) < 2 or "energy" in [quantity_of(axis.unit) for axis in signal.axes]:
        return "holds a spectrum and no image; give an image"
    if "diffraction" in [quantity_of(axis.unit) for axis in plane]:
        return "holds a diffraction pattern; give an image in real space"
    if any(axis.navigate for axis in plane):
        return "holds a scan of spectra or lines and no image; give an image"
    if sum(n > 1 for n in signal.shape[:-2]) > 1:
        return f"has {len(signal.shape)} dimensions; export a single image or a series"
    if signal.dtype.kind == "c":
        return "holds complex numbers; export an image in real space"
    if min(signal.shape) < 1:
        return "holds no pixels; export the image again"
    if signal.shape[-2] * signal.shape[-1] > LARGEST_FRAME:
        return f"declares an image of {signal.shape[-2:]} pixels, which is too large; cut it up"
    return None


def _pixel_size(signal: Signal) -> tuple[float | None, str]:
    """Return Å per pixel or None, and a clause if pixels are not square, else an empty text."""
    sides = [to_angstrom(abs(axis.scale), axis.unit) for axis in signal.axes[-2:]]
    if None in sides:
        return None, ""
    rows, columns = sides
    if abs(rows / columns - 1) > SQUARE:
        return None, f"has pixels of {rows:.4g} Å by {columns:.4g} Å; resample it to square ones"
    size = (rows + columns) / 2
    return size if PLAUSIBLE[0] <= size <= PLAUSIBLE[1] else None, ""


def _pixels(path: Path, signal: Signal, frame: int) -> np.ndarray:
    """Read one frame, (H, W), in the dtype of the file but the byte order of this machine."""
    index = tuple(int(i) for i in np.unravel_index(frame, signal.shape[:-2]))
    with named(path):
        image = _grey(path, signal.read(index))
        image = np.array(image, image.dtype.newbyteorder("="), order="C")
    # A NaN would be both extremes; more than float32 holds would become infinite later.
    if not np.abs([float(image.min()), float(image.max())]).max() <= np.finfo(np.float32).max:
        raise InputError(f"{path} has values that are not finite; mask or replace them first.")
    return image


def _grey(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return a grey image that was saved in colour as (H, W); refuse real colours."""
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels  # without the opacity
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    raise InputError(f"{path} has several channels; save it as greyscale.")

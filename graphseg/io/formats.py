"""What a microscope file holds: data sets with axes, whose frames are read when asked for.

TIFF and PNG files: frames through tifffile and Pillow, the pixel size from whoever wrote it.

A TIFF file's own resolution is that of print, so it counts only where a microscope's or ImageJ's
tags say what it means.

Files of a header and pixels, MRC and SER, and a check of those of Digital Micrograph.

MRC and SER are read here, not by RosettaSciIO: it leaves an MRC file open, and takes the memory
for a whole SER series. Every size that a header declares is compared with that of the file before
anything is read.

References
----------
Cheng et al. (2015), MRC2014, doi 10.1016/j.jsb.2015.04.002; Boothroyd, description of the TIA
series file format (ER-C, Jülich); Potapov, description of the Digital Micrograph 3 and 4 formats.
"""

import logging
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree import ElementTree

import numpy as np
import tifffile
from PIL import Image

from graphseg.errors import InputError

# Larger frames are refused before memory is taken for them: a header can declare anything. Twice
# the 8192 × 8192 pixels that are promised, so that no camera in use is left out.
LARGEST_FRAME = 2**27  # pixels
LARGEST_CHUNK = 2**31  # bytes, of a compressed chunk of HDF5 or Zarr once it is unpacked

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
        As stored; a structured one has a field for each colour channel.
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


MRC_HEADER = 1024  # bytes
MRC_TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
MRC_FEI_HEADER = 128 * 1024  # bytes, which only FEI's extended header has
IMOD_STAMP = 1146047817  # the mark of a file whose flags tell whether bytes have a sign

SER_SPECTRA = 0x4120
SER_LONG_OFFSETS = 0x0220  # the version that has offsets of 8 bytes
SER_TYPES = ("", "u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "c8", "c16")
SER_IMAGE = struct.Struct("<ddIddIHII")
LARGEST_PIXEL = 1e-3  # metres; a larger step can only be one of diffraction, in 1/m

DM_SIZES = {2: 2, 3: 4, 4: 2, 5: 4, 6: 4, 7: 8, 8: 1, 9: 1, 10: 1, 11: 8, 12: 8}  # bytes a type
DM_STRUCT, DM_STRING, DM_ARRAY, DM_GROUP, DM_DATA = 15, 18, 20, 20, 21
DM_MOST_TAGS = 10**6
DM_MOST_FIELDS = 10**4
DM_LARGEST_TAG = 2**22  # elements, which become Python objects; pixels do not
DM_DEEPEST = 64  # groups in groups


def open_mrc(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of an MRC file; its unit is Å.

    Rows are in the order of the file. FEI's older extended header has the pixel size, in metres,
    that the header itself then lacks.
    """
    file = stack.enter_context(path.open("rb"))
    header = file.read(MRC_HEADER)
    order = ">" if header[212:214] == b"\x11\x11" else "<"
    columns, rows, frames, mode = struct.unpack_from(f"{order}4i", header)
    steps = struct.unpack_from(f"{order}3i3f", header, 28)
    (extended,) = struct.unpack_from(f"{order}i", header, 92)
    stamp, flags = struct.unpack_from(f"{order}2i", header, 152)
    kind = "u1" if mode == 0 and stamp == IMOD_STAMP and not flags & 1 else MRC_TYPES[mode]
    shape = (rows, columns) if frames == 1 else (frames, rows, columns)
    scales = [length / max(n, 1) for n, length in zip(steps[:3], steps[3:], strict=True)]
    if extended == MRC_FEI_HEADER:
        (metres,) = struct.unpack(f"{order}f", _at(file, MRC_HEADER + 44, 4))
        scales = [metres * 1e10] * 3
    axes = image_axes(len(shape), (scales[1], "Å"), (scales[0], "Å"))
    dtype = np.dtype(order + kind)
    offset = MRC_HEADER + extended
    return [Signal(shape, dtype, axes, _raw_frames(path, file, dtype, shape, offset))]


def _raw_frames(path: Path, file: BinaryIO, dtype: np.dtype, shape: tuple[int, ...], offset: int):
    """Return a function that reads one frame of contiguous pixels."""
    frame = int(np.prod(shape[-2:], dtype=object)) * dtype.itemsize
    frames = int(np.prod(shape[:-2], dtype=object))
    if min(shape) < 1 or offset < 0 or offset + frame * frames > path.stat().st_size:
        raise InputError(
            f"{path} is cut short or damaged: it declares {shape} pixels but has fewer; copy it "
            "again."
        )

    def read(index: tuple[int, ...]) -> np.ndarray:
        content = _at(file, offset + frame * (index[0] if index else 0), frame)
        return np.frombuffer(content, dtype).reshape(shape[-2:])

    return read


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    content = file.read(size)
    if len(content) != size:
        raise EOFError(f"{size} bytes at {offset} are not there")
    return content


def open_ser(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of a SER file of TIA; its unit is m, or 1/m in diffraction.

    The first row of the file is the lowest of the image, and is turned here. Whether it is a
    diffraction pattern only the accompanying EMI file says, but the step tells: a pixel larger than
    a millimetre is none of a micrograph.
    """
    file = stack.enter_context(path.open("rb"))
    mark, _, version, kind, _, _, valid = struct.unpack("<HHHIIII", _at(file, 0, 22))
    long = version >= SER_LONG_OFFSETS
    if mark != 0x4949 or valid < 1:
        raise InputError(f"{path} holds no finished acquisition; export the image again.")
    if kind == SER_SPECTRA:
        return [Signal((1,), np.dtype("f4"), (Axis(unit="eV"),), _no_image)]
    (place,) = struct.unpack("<Q" if long else "<I", _at(file, 22, 8 if long else 4))
    width = 8 if long else 4
    if place + width * valid > path.stat().st_size:
        raise InputError(f"{path} is cut short: it declares {valid} images; copy it again.")
    offsets = np.frombuffer(_at(file, place, width * valid), f"<u{width}")
    shape, dtype, steps = _ser_element(file, int(offsets[0]))
    if valid > 1:
        shape = (valid, *shape)
    units = ["1/m" if abs(step) > LARGEST_PIXEL else "m" for step in steps]
    axes = image_axes(len(shape), (steps[0], units[0]), (steps[1], units[1]))
    return [Signal(shape, dtype, axes, partial(_read_ser, path, file, offsets))]


def _ser_element(file: BinaryIO, offset: int) -> tuple[tuple[int, int], np.dtype, list[float]]:
    values = SER_IMAGE.unpack(_at(file, offset, SER_IMAGE.size))
    _, column_step, _, _, row_step, _, kind, columns, rows = values
    return (rows, columns), np.dtype("<" + SER_TYPES[kind]), [row_step, column_step]


def _read_ser(path: Path, file: BinaryIO, offsets: np.ndarray, index: tuple[int, ...]):
    offset = int(offsets[index[0] if index else 0])
    shape, dtype, _ = _ser_element(file, offset)
    size = shape[0] * shape[1] * dtype.itemsize
    if shape[0] * shape[1] > LARGEST_FRAME or size > path.stat().st_size:
        raise InputError(f"{path} declares a frame of {shape} that it cannot hold; copy it again.")
    pixels = _at(file, offset + SER_IMAGE.size, size)
    return np.frombuffer(pixels, dtype).reshape(shape)[::-1]


def _no_image(index: tuple[int, ...]) -> np.ndarray:
    raise NotImplementedError("a spectrum is refused before it is read")


def check_digitalmicrograph(path: Path) -> None:
    """Walk through the tags of a DM3 or DM4 file and refuse sizes that it cannot hold.

    RosettaSciIO believes what a tag declares: a few changed bytes can make it run for hours or
    fill the memory.

    Raises
    ------
    Exception
        Whatever the first impossible tag leads to.
    """
    with path.open("rb") as file:
        version, _, _ = struct.unpack(">iii", _at(file, 0, 12))
        if version == 4:  # its length has 8 bytes
            file.seek(16)
        elif version != 3:
            raise ValueError(f"version {version}")
        _TagWalk(file, path.stat().st_size, ">q" if version == 4 else ">i").group("", 0)


class _TagWalk:
    """A walk through the tag tree that reads names and sizes, and skips the values."""

    def __init__(self, file: BinaryIO, size: int, word: str):
        self.file, self.size, self.word, self.tags = file, size, struct.Struct(word), 0

    def group(self, name: str, depth: int) -> None:
        self.skip(2)  # whether it is sorted and open
        number = self.integer()
        self.tags += number
        if number < 0 or self.tags > DM_MOST_TAGS or depth > DM_DEEPEST:
            raise ValueError("more tags than a file has")
        for _ in range(number):
            kind, length = struct.unpack(">BH", self.take(3))
            tag = self.take(length).decode("latin-1")
            if self.word.size == 8:
                self.skip(8)  # the length of the tag
            if kind == DM_GROUP:
                self.group(tag, depth + 1)
            elif kind == DM_DATA:
                self.value(is_pixels=(name, tag) == ("ImageData", "Data"))
            else:
                raise ValueError(f"a tag of kind {kind}")

    def value(self, is_pixels: bool) -> None:
        if self.take(4) != b"%%%%":
            raise ValueError("no value where one is due")
        number = self.integer()
        if not 1 <= number <= DM_MOST_FIELDS:
            raise ValueError(f"a description of {number} words")
        description = [self.integer() for _ in range(number)]
        elements, element = self.extent(description)
        if not is_pixels and elements > DM_LARGEST_TAG:
            raise ValueError(f"a tag of {elements} elements")
        if elements < 0 or element < 1:
            raise ValueError("a value without a size")
        self.skip(elements * element)

    def extent(self, description: list[int]) -> tuple[int, int]:
        """Return the number of elements and the bytes of one."""
        kind, *rest = description
        if kind == DM_ARRAY:
            elements, element = self.extent(rest[:-1])
            return rest[-1], elements * element
        if kind == DM_STRING:
            return rest[0], 1
        if kind == DM_STRUCT:
            return 1, sum(DM_SIZES[field] for field in rest[3::2])
        return 1, DM_SIZES[kind]

    def integer(self) -> int:
        return self.word.unpack(self.take(self.word.size))[0]

    def take(self, size: int) -> bytes:
        content = self.file.read(size)
        if len(content) != size:
            raise EOFError
        return content

    def skip(self, size: int) -> None:
        if self.file.tell() + size > self.size:
            raise EOFError
        self.file.seek(size, 1)

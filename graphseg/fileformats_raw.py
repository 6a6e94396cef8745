"""Files of a header and pixels, MRC and SER, and a check of those of Digital Micrograph.

MRC and SER are read here, not by RosettaSciIO: it leaves an MRC file open, and takes the memory
for a whole SER series. Every size that a header declares is compared with that of the file before
anything is read.

References
----------
Cheng et al. (2015), MRC2014, doi 10.1016/j.jsb.2015.04.002; Boothroyd, description of the TIA
series file format (ER-C, Jülich); Potapov, description of the Digital Micrograph 3 and 4 formats.
"""

import struct
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from graphseg.errors import InputError
from graphseg.signals import LARGEST_FRAME, Axis, Signal, image_axes

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

"""Writing Digital Micrograph files, so that a folder of them can be simulated.

The format is a tree of tags: groups, and values that describe their own type. Reference: the
description of the Digital Micrograph 3 and 4 formats by P. Potapov and by B. Schaffer.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphseg.errors import InputError
from graphseg.io.outputs import whole_file

GROUP, DATA = 20, 21  # kinds of a tag
INT, STRING, FLOAT, BOOL, ARRAY = 3, 4, 7, 8, 20  # types of a value; strings are arrays of UTF-16
# Type of an element in a tag, and the number by which an image names its type.
ELEMENTS = {
    "i1": (9, 9), "i2": (2, 1), "i4": (3, 7), "u1": (10, 6), "u2": (4, 10), "u4": (5, 11),
    "f4": (6, 2), "f8": (7, 12), "c8": (6, 3), "c16": (7, 13),
}  # fmt: skip
Tags = dict[str, "Tags"] | list["Tags"] | int | float | bool | str | np.ndarray


def write_dm4(
    path: str | Path,
    image: np.ndarray,
    pixel_size: float | None = None,
    scales: Sequence[tuple[float, str]] | None = None,
    image_tags: dict[str, Tags] | None = None,
    version: int = 4,
) -> None:
    """Write one image or a series as a DM4 or DM3 file, whole or not at all.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    image
        (H, W) or (n, H, W), integers of up to 4 bytes, floats or complex numbers.
    pixel_size
        Å per pixel, written in nm; None: not calibrated.
    scales
        Instead of `pixel_size`: step and unit for each axis, in the order of the array.
    image_tags
        What Digital Micrograph keeps as the tags of the image, a tree of dictionaries and lists.
    version
        3 or 4.

    Raises
    ------
    InputError
        If the format has no such array or version.
    """
    image = np.asarray(image)
    code = image.dtype.kind + str(image.dtype.itemsize)
    if code not in ELEMENTS or not 1 <= image.ndim <= 3 or not image.size or version not in (3, 4):
        raise InputError(
            f"DM{version} holds no {image.dtype} array of shape {image.shape}; convert it to "
            "float32, (H, W) or (n, H, W), and name version 3 or 4."
        )
    if scales is None:
        step = (1.0, "") if pixel_size is None else (pixel_size / 10, "nm")
        scales = [(1.0, "")] * (image.ndim - 2) + [step] * min(image.ndim, 2)
    data = {
        "Calibrations": {
            "Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": ""},
            "Dimension": [
                {"Origin": 0.0, "Scale": float(scale), "Units": unit}
                for scale, unit in scales[::-1]
            ],
            "DisplayCalibratedUnits": True,
        },
        "Data": image,
        "DataType": ELEMENTS[code][1],
        "Dimensions": [int(length) for length in image.shape[::-1]],
        "PixelDepth": image.dtype.itemsize,
    }
    path = Path(path)
    content = {
        "ImageList": [{"ImageData": data, "ImageTags": image_tags or {}, "Name": path.stem}],
        "InImageMode": True,
    }
    with whole_file(path) as temporary:
        temporary.write_bytes(_Writer(version).file(content))


class _Writer:
    """Turns a tree into bytes; numbers of the structure are big-endian, values little-endian."""

    def __init__(self, version: int):
        self.version, self.word = version, ">q" if version == 4 else ">i"

    def file(self, tags: dict[str, Tags]) -> bytes:
        root = self.group(tags)
        return struct.pack(">i", self.version) + self.words(len(root)) + struct.pack(">i", 1) + root

    def words(self, *values: int) -> bytes:
        return b"".join(struct.pack(self.word, value) for value in values)

    def group(self, tags: dict[str, Tags] | list[Tags]) -> bytes:
        named = tags.items() if isinstance(tags, dict) else [("", tag) for tag in tags]
        content = [self.tag(name, tag) for name, tag in named]
        return b"".join([b"\1\0", self.words(len(content)), *content])  # sorted, and not open

    def tag(self, name: str, tag: Tags) -> bytes:
        is_group = isinstance(tag, dict | list)
        content = self.group(tag) if is_group else self.value(tag)
        label = name.encode("latin-1")
        head = struct.pack(">BH", GROUP if is_group else DATA, len(label)) + label
        length = self.words(len(content)) if self.version == 4 else b""
        return b"".join([head, length, content])

    def value(self, value: Tags) -> bytes:
        if isinstance(value, bool):
            return self.described([BOOL], struct.pack("<?", value))
        if isinstance(value, int):
            return self.described([INT], struct.pack("<i", value))
        if isinstance(value, float):
            return self.described([FLOAT], struct.pack("<d", value))
        if isinstance(value, str):
            text = value.encode("utf-16-le")
            return self.described([ARRAY, STRING, len(text) // 2], text)
        element = ELEMENTS[value.dtype.kind + str(value.dtype.itemsize)][0]
        length = value.size * (2 if value.dtype.kind == "c" else 1)
        pixels = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
        return self.described([ARRAY, element, length], pixels)

    def described(self, description: list[int], content: bytes) -> bytes:
        return b"".join([b"%%%%", self.words(len(description), *description), content])

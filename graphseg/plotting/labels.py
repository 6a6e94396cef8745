"""Labels as they are painted: the values in them, and strokes that can be undone."""

from collections import deque
from collections.abc import MutableSequence, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from graphseg.colours import BLACK, CLASS_COLOURS, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from graphseg.errors import InputError
from graphseg.io.outputs import grey_levels

CONTAMINATION = 255  # in a label with no other class
COLOURS = (ORANGE, SKY, PURPLE, YELLOW, VERMILION, BLACK)  # of classes without their own
STEPS = 100  # strokes that can be undone


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W) of any scale as PNG of 8 bits, see `outputs.grey_levels`."""
    buffer = BytesIO()
    Image.fromarray(grey_levels(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def described(classes: Sequence[str]) -> list[dict]:
    """Return ``label`` (its name), ``value`` (in the file) and ``colour`` of each class."""
    # A single class has the value 255, several have 1, 2, 3 and so on.
    if not all(classes) or not 0 < len(set(classes)) == len(classes) < CONTAMINATION:
        raise InputError("Name each class once, such as --classes boundary,vacuum.")
    values = [CONTAMINATION] if len(classes) == 1 else range(1, len(classes) + 1)
    colours = [CLASS_COLOURS.get(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(classes)]
    known = zip(classes, values, colours, strict=True)
    return [{"label": name, "value": value, "colour": colour} for name, value, colour in known]


def as_values(label: np.ndarray, shape: tuple, classes: int, file: Path | None) -> np.ndarray:
    """Return a label (H, W), read from a file, as it is painted: uint8, the values of `described`.
    With a single class, whatever is above 0 is that class, as `datasets.load_folder` reads it.
    InputError if the shape is not that of the image, or it holds other classes."""
    if label.shape != shape:
        raise InputError(f"{file}: expected the shape {shape} of its image, got {label.shape}.")
    known = np.unique(label)
    if (known > 0).sum() > 1 if classes == 1 else not np.isin(known, range(classes + 1)).all():
        raise InputError(
            f"{file} holds the values {', '.join(map(str, known[:9]))}; name all its classes with "
            "--classes, in the order of their values 1, 2, 3 and so on."
        )
    return np.where(label > 0, CONTAMINATION if classes == 1 else label, 0).astype(np.uint8)


class Patch(NamedTuple):
    """A rectangle of a mask: its first pixel, and its values (h, w) uint8."""

    row: int
    column: int
    values: np.ndarray

    def exchange(self, mask: np.ndarray) -> "Patch":
        """Write it into a mask, and return what was there."""
        height, width = self.values.shape
        place = np.s_[self.row : self.row + height, self.column : self.column + width]
        before = self._replace(values=mask[place].copy())
        mask[place] = self.values
        return before

    def message(self) -> tuple[dict, list[bytes]]:
        """Return what tells the browser of it: a description, and the values."""
        height, width = self.values.shape
        place = {"row": self.row, "column": self.column, "height": height, "width": width}
        return {"kind": "patch", **place}, [self.values.tobytes()]


class History:
    """A mask (H, W) uint8, changed in place, with the strokes that can be undone and redone."""

    def __init__(self, mask: np.ndarray):
        self.mask = mask
        self._done: deque[list[Patch]] = deque(maxlen=STEPS)
        self._undone: list[list[Patch]] = []
        self._stroke: list[Patch] = []

    @property
    def undoable(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._done)

    @property
    def redoable(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._undone)

    def paint(self, patch: Patch, last: bool = True) -> None:
        """Change a rectangle; all patches up to one that is `last` are one step to undo."""
        self._stroke.append(patch.exchange(self.mask))
        if last:
            self._done.append(self._stroke)
            self._stroke = []
            self._undone.clear()

    def undo(self) -> list[Patch]:
        """Take the last step back; return what has changed, nothing if there is no step."""
        return self._step(self._done, self._undone)

    def redo(self) -> list[Patch]:
        """Take the last step that was undone again; return what has changed."""
        return self._step(self._undone, self._done)

    def message(self, picture: bytes) -> tuple[dict, list[bytes]]:
        """Return what tells the browser of the mask and of the picture below it."""
        height, width = self.mask.shape
        about = {"kind": "image", "height": height, "width": width}
        return about, [self.mask.tobytes(), picture]

    def _step(self, source: MutableSequence, target: MutableSequence) -> list[Patch]:
        if not source:
            return []
        patches = source.pop()[::-1]  # patches of one stroke may overlap
        target.append([patch.exchange(self.mask) for patch in patches])
        return patches

"""What is painted over a micrograph, stroke by stroke: a mask whose changes can be taken back."""

from collections import deque
from collections.abc import MutableSequence
from typing import NamedTuple

import numpy as np

STEPS = 100  # strokes that can be undone


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
        self._kept = mask.copy()

    @property
    def undoable(self) -> bool:
        """Whether there is something to undo."""
        return bool(self._done)

    @property
    def redoable(self) -> bool:
        """Whether there is something to redo."""
        return bool(self._undone)

    @property
    def changed(self) -> bool:
        """Whether the mask differs from the one it started as or that was last saved."""
        return not np.array_equal(self.mask, self._kept)

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

    def keep(self) -> None:
        """Remember the mask as saved."""
        self._kept = self.mask.copy()

    def _step(
        self, source: MutableSequence[list[Patch]], target: MutableSequence[list[Patch]]
    ) -> list[Patch]:
        if not source:
            return []
        patches = source.pop()[::-1]  # patches of one stroke may overlap
        target.append([patch.exchange(self.mask) for patch in patches])
        return patches

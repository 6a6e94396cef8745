"""A mask that is painted in strokes, each of which can be undone and redone."""

from collections import deque
from collections.abc import MutableSequence
from dataclasses import dataclass
from typing import Self

import numpy as np

STEPS = 100  # strokes that can be undone


@dataclass(frozen=True)
class Patch:
    """A rectangle of a mask.

    Attributes
    ----------
    row, column
        Its first pixel.
    values
        (h, w) uint8.
    """

    row: int
    column: int
    values: np.ndarray

    def of(self, mask: np.ndarray) -> Self:
        """Return what a mask holds in the same place."""
        return type(self)(self.row, self.column, mask[self._place].copy())

    def put(self, mask: np.ndarray) -> None:
        """Write it into a mask."""
        mask[self._place] = self.values

    @property
    def _place(self) -> tuple[slice, slice]:
        height, width = self.values.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


class History:
    """A mask with the strokes that can be undone and redone.

    Parameters
    ----------
    mask
        (H, W) uint8; changed in place.
    """

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
        self._stroke.append(patch.of(self.mask))
        patch.put(self.mask)
        if last:
            self._done.append(self._stroke)
            self._stroke = []
            self._undone.clear()

    def undo(self) -> list[Patch]:
        """Take the last step back; return what has changed, nothing if there is no step."""
        return self._swap(self._done, self._undone)

    def redo(self) -> list[Patch]:
        """Take the last step that was undone again; return what has changed."""
        return self._swap(self._undone, self._done)

    def keep(self) -> None:
        """Remember the mask as saved."""
        self._kept = self.mask.copy()

    def _swap(
        self, source: MutableSequence[list[Patch]], target: MutableSequence[list[Patch]]
    ) -> list[Patch]:
        if not source:
            return []
        patches = source.pop()[::-1]  # patches of one stroke may overlap
        opposite = []
        for patch in patches:
            opposite.append(patch.of(self.mask))
            patch.put(self.mask)
        target.append(opposite)
        return patches

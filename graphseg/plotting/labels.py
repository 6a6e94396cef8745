"""Labels as they are painted: their files, the values in them, and strokes that can be undone."""

from collections import deque
from collections.abc import MutableSequence, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from graphseg.colours import BLACK, CLASS_COLOURS, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from graphseg.datasets.load import LABEL, SUFFIXES
from graphseg.errors import InputError
from graphseg.io.micrographs import read_micrograph
from graphseg.io.outputs import grey_levels

CONTAMINATION = 255  # in a label with no other class
COLOURS = (ORANGE, SKY, GREEN, VERMILION, PURPLE, YELLOW, BLACK)  # of classes without their own
STEPS = 100  # strokes that can be undone


def checked_image(source: ArrayLike) -> np.ndarray:
    """Return an image (H, W) as array; InputError if it is none."""
    image = np.asarray(source)
    if image.ndim != 2 or not image.size:
        raise InputError(f"Expected an image of shape (H, W), got shape {image.shape}.")
    return image


def read_image(path: Path) -> np.ndarray:
    """Return the image (H, W) of a file."""
    return checked_image(read_micrograph(path).image)


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W) of any scale as PNG of 8 bits, see `outputs.grey_levels`."""
    buffer = BytesIO()
    Image.fromarray(grey_levels(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def paired_files(source: str | Path, output: str | Path | None) -> list[tuple[Path, Path]]:
    """Return images with the paths of their labels, of a PNG or TIFF image or a folder of them.
    Labels are in the folder `output`, by default that of the images. InputError without any."""
    source = Path(source)
    images = [source]
    if source.is_dir():
        found = (p for p in sorted(source.iterdir()) if p.suffix.lower() in SUFFIXES)
        images = [p for p in found if not p.stem.endswith(LABEL)]
        if not images:
            raise InputError(f"{source} holds no PNG or TIFF images; add some.")
    folder = images[0].parent if output is None else Path(output)
    return [(path, folder / f"{path.stem}{LABEL}.png") for path in images]


def label_target(output: str | Path | None) -> Path | None:
    """Return the file of a single label; InputError if it is not named like a label."""
    if output is None:
        return None
    if not Path(output).name.endswith(f"{LABEL}.png"):
        raise InputError(f"{output} is not the name of a label file; end it with {LABEL}.png.")
    return Path(output)


def existing_label(path: Path | None) -> Path | None:
    """Return the label that exists under a name, whatever its suffix."""
    if path is None:
        return None
    return next((p for suffix in SUFFIXES if (p := path.with_suffix(suffix)).exists()), None)


def described(classes: Sequence[str]) -> list[dict]:
    """Return ``label`` (its name), ``value`` (in the file) and ``colour`` of each class."""
    # A single class has the value 255, several have 1, 2, 3 and so on.
    if isinstance(classes, str) or not 0 < len(classes) < CONTAMINATION:
        raise InputError("Give the classes as a sequence of names, such as ('contamination',).")
    values = [CONTAMINATION] if len(classes) == 1 else range(1, len(classes) + 1)
    return [
        {
            "label": name,
            "value": value,
            "colour": CLASS_COLOURS.get(name, COLOURS[i % len(COLOURS)]),
        }
        for i, (name, value) in enumerate(zip(classes, values, strict=True))
    ]


def as_values(
    mask: ArrayLike, shape: tuple[int, ...], classes: int, file: Path | None = None
) -> np.ndarray:
    """Return a mask (H, W) as it is saved, a new array: uint8, the values of `described`, else 0.
    It has bool or the number of the class, of `classes` without the background; with a single class
    also its value, and if it was read from a `file`, everything above 0 is that class. InputError
    if the shape is not that of the image or a value does not fit."""
    mask = np.asarray(mask)
    name = file or "The mask"
    if mask.shape != shape:
        raise InputError(f"{name}: expected the shape {shape} of its image, got {mask.shape}.")
    if classes == 1 and file:
        mask = mask > 0  # as `datasets.load_folder` reads it
    known = (0, 1, CONTAMINATION) if classes == 1 else range(classes + 1)
    if not np.isin(mask, known).all():
        raise InputError(
            f"{name} holds other values than {', '.join(map(str, known))}; give a "
            "bool mask or the number of the class."
        )
    values = mask.astype(np.uint8)
    return np.where(values > 0, np.uint8(CONTAMINATION), values) if classes == 1 else values


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

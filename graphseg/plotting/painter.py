"""Painting labels in a notebook, with a prediction as the starting point if there is one.

`LabelPainter` is a widget: its other half, painter.js, paints in the browser. Python keeps the
mask, undoes and saves. Saved labels are named ``name_LABEL.png``, so that
`datasets.load_folder` reads the folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from sklearn.base import BaseEstimator

from graphseg.datasets.load import LABEL
from graphseg.errors import InputError, extra
from graphseg.io.outputs import whole_file
from graphseg.plotting.labels import (
    History,
    Patch,
    as_values,
    checked_image,
    described,
    existing_label,
    label_target,
    paired_files,
    png,
    read_image,
)

with extra("notebook", "The label painter"):
    import anywidget
    import traitlets

COMMANDS = ("ready", "undo", "redo", "save", "next", "previous")


class LabelPainter(anywidget.AnyWidget):
    """A widget to paint labels of one micrograph or of all in a folder.
    A label that is saved already is the starting point, else `start`: a mask of a single image or
    anything with ``predict``, such as a trained `UNetSegmenter`; by default nothing is painted.
    What was painted but not saved is kept when one goes to another image. The brush has a diameter
    from 1 to 100 pixels.

    The source is a folder with PNG or TIFF images, one image file, or an image (H, W). Labels go to
    the folder `output`, by default that of the images; for an array it is the file, whose name must
    end in ``_LABEL.png``. A single class is saved as 255, several as 1, 2, 3 and so on; 0 is what
    is not painted. Labels that exist are replaced with `overwrite`; in the widget a box says so for
    each image. InputError if there is no image, a file cannot be read, or a mask does not fit its
    image."""

    _esm = Path(__file__).with_name("painter.js")
    _css = Path(__file__).with_name("painter.css")

    classes = traitlets.List(help="label, value and colour of each").tag(sync=True)
    name = traitlets.Unicode().tag(sync=True)
    place = traitlets.Unicode(help="such as 2 of 12").tag(sync=True)
    status = traitlets.Unicode(help="what happened last").tag(sync=True)
    undoable = traitlets.Bool().tag(sync=True)
    redoable = traitlets.Bool().tag(sync=True)
    unsaved = traitlets.Bool().tag(sync=True)
    has_previous = traitlets.Bool().tag(sync=True)
    has_next = traitlets.Bool().tag(sync=True)
    overwrite = traitlets.Bool().tag(sync=True)
    opacity = traitlets.Float(min=0, max=1).tag(sync=True)
    brush = traitlets.Int(min=1, max=100).tag(sync=True)

    def __init__(
        self,
        source: str | Path | ArrayLike,
        start: ArrayLike | BaseEstimator | None = None,
        classes: Sequence[str] = ("contamination",),
        output: str | Path | None = None,
        overwrite: bool = False,
        opacity: float = 0.4,
        brush: int = 12,
    ):
        self._start = start
        self._always_overwrite = overwrite
        self._array = None if isinstance(source, (str, Path)) else checked_image(source)
        self._files = (
            paired_files(source, output) if self._array is None else [(None, label_target(output))]
        )
        self._unsaved: dict[int, History] = {}  # of other images
        self._classes = described(classes)
        first = self._find(0, 1)
        super().__init__(classes=self._classes, opacity=opacity, brush=brush, **first)
        self.on_msg(self._receive)

    @property
    def mask(self) -> np.ndarray:
        """The label as it is painted, (H, W) uint8: a value of `classes`, or 0; a copy."""
        return self._history.mask.copy()

    @property
    def label_path(self) -> Path | None:
        """Where the label of the present image is saved; None for an array without `output`."""
        return self._files[self._index][1]

    def paint(self, row: int, column: int, values: ArrayLike, last: bool = True) -> None:
        """Set a rectangle of the mask, as one step to undo together with those before it.
        It begins at the pixel (row, column) and has values (h, w) of classes, or 0; the step ends
        with the `last` one. InputError if it does not lie inside the image or has other values."""
        values = np.asarray(values)
        known = [0, *(each["value"] for each in self._classes)]
        if values.ndim != 2 or not np.isin(values, known).all():
            raise InputError(f"Only a rectangle of the values {known} can be painted.")
        ends = np.add((row, column), values.shape)
        if min(row, column) < 0 or (ends > self._history.mask.shape).any():
            raise InputError("The rectangle to paint lies outside the image; move it inside.")
        self._history.paint(Patch(row, column, values.astype(np.uint8)), last)
        self._set(self._progress(""))

    def replace_mask(self, mask: ArrayLike) -> None:
        """Replace the mask by another (H, W), bool or numbers of classes; this can be undone."""
        values = as_values(mask, self._history.mask.shape, len(self._classes))
        self._history.paint(Patch(0, 0, values))
        self._send_patches([Patch(0, 0, values)])
        self._set(self._progress("The label was replaced."))

    def undo(self) -> None:
        """Take back the last stroke."""
        self._send_patches(self._history.undo())
        self._set(self._progress(""))

    def redo(self) -> None:
        """Paint again the last stroke that was taken back."""
        self._send_patches(self._history.redo())
        self._set(self._progress(""))

    def save(self, overwrite: bool | None = None) -> Path:
        """Save the label as PNG of 8 bits, whole or not at all; return its path.
        A label that exists is replaced if `overwrite` says so, by default the box in the widget;
        otherwise, or without a file to save to, there is an InputError."""
        path = self.label_path
        if path is None:
            raise InputError(f"There is no file to save to; give output='name{LABEL}.png'.")
        saved = existing_label(path)
        if saved and saved != path:
            raise InputError(f"{saved} is the label already; remove or rename it to save a PNG.")
        if saved and not (self.overwrite if overwrite is None else overwrite):
            raise InputError(
                f"{path} exists; tick 'replace the saved label' or pass overwrite=True."
            )
        with whole_file(path) as temporary:
            Image.fromarray(self._history.mask).save(temporary, format="PNG")
        self._history.keep()
        self._set(self._progress(f"Saved {path.name}.") | {"overwrite": self._always_overwrite})
        return path

    def next(self) -> None:
        """Go to the next image of the folder."""
        self._move(1)

    def previous(self) -> None:
        """Go to the image before this one."""
        self._move(-1)

    def _move(self, by: int) -> None:
        left, history = self._index, self._history
        changes = self._find(left + by, by)
        if changes:
            if history.changed:
                self._unsaved[left] = history
            self._set(changes)
            self._send_image()

    def _find(self, index: int, by: int) -> dict[str, Any]:
        """Open the first image that can be read from one on; return the traits that change."""
        problem = None
        while 0 <= index < len(self._files):
            try:
                changes = self._open(index)
            except InputError as error:
                problem = problem or error
                index += by
            else:
                return changes | ({"status": str(problem)} if problem else {})
        if problem:
            raise problem
        return {}

    def _open(self, index: int) -> dict[str, Any]:
        """Open an image with its label; nothing changes if one of them cannot be read."""
        path = self._files[index][1]
        saved = existing_label(path)
        image = self._array if self._array is not None else read_image(self._files[index][0])
        history, status = self._unsaved.pop(index, None), ""
        if history is None:
            status = f"{saved.name} was opened." if saved else ""
            label = read_image(saved) if saved else self._prediction(image)
            count = len(self._classes)
            history = History(as_values(label, image.shape, count, saved))
        self._index, self._history, self._picture = index, history, png(image)
        return {
            "name": path.stem.removesuffix(LABEL) if path else "image",
            "place": f"{index + 1} of {len(self._files)}",
            "has_previous": index > 0,
            "has_next": index + 1 < len(self._files),
            "overwrite": self._always_overwrite,
            **self._progress(status),
        }

    def _progress(self, status: str) -> dict[str, Any]:
        return {
            "undoable": self._history.undoable,
            "redoable": self._history.redoable,
            "unsaved": self._history.changed or existing_label(self.label_path) is None,
            "status": status,
        }

    def _set(self, changes: dict[str, Any]) -> None:
        with self.hold_sync():
            for name, value in changes.items():
                setattr(self, name, value)

    def _prediction(self, image: np.ndarray) -> ArrayLike:
        if self._start is None:
            return np.zeros(image.shape, bool)
        if hasattr(self._start, "predict"):
            return self._start.predict(image[None].astype(np.float32))[0]
        return self._start

    def _send_image(self) -> None:
        # Not traits: a large image would delay the start of the widget, for which there is a limit.
        self.send(*self._history.message(self._picture))

    def _send_patches(self, patches: list[Patch]) -> None:
        for patch in patches:
            self.send(*patch.message())

    def _receive(self, _: Any, content: dict, buffers: list) -> None:
        """Do what the browser asks for; what goes wrong is shown there."""
        kind = content.get("kind")
        try:
            if kind == "stroke":
                values = np.frombuffer(buffers[0], np.uint8)
                values = values.reshape(content["height"], content["width"])
                self.paint(content["row"], content["column"], values, content["last"])
            elif kind == "ready":
                self._send_image()
            elif kind in COMMANDS:
                getattr(self, kind)()
        except (InputError, OSError) as error:
            self.status = str(error)
            if kind == "stroke":  # the browser shows it already
                self._send_image()
        finally:
            if kind in COMMANDS:
                self.send({"kind": "done"})

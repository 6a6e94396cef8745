"""Training on one's own labels: where it starts, how it is checked, what its card says."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graphseg import datasets, scale, shipped, weights
from graphseg.errors import InputError
from graphseg.foldercheck import FolderReport
from graphseg.labelclasses import LabelClasses
from graphseg.labelledstack import LabelledStack
from graphseg.outputs import whole_file
from graphseg.segmenter import DIGEST, UNetSegmenter

NOTHING = "nothing"
CHECKPOINT = "all.checkpoint"
# What says which network it is.
ARCHITECTURE = ("levels", "features", "normalisation", "stride")
# With these `default` was made from `simulated`; the cross-validation `ours_acquisition` has their
# scores.
FINE_TUNING = {"epochs": 30, "learning_rate": 5e-4, "loss": "cross-entropy + jaccard"}
# A class that the start does not know takes larger and more steps: of holes in four simulated
# images, learnt on sixteen others, the Jaccard index was 0 without these and 0.9 with them.
NEW_CLASSES = {"epochs": 50, "learning_rate": 3e-3, "batch_size": 2}
LIMITS = (
    "Knows what its training images show and what the network knew that it started from. Its "
    "scores are those of images like these. The probability is not calibrated."
)


@dataclass(frozen=True)
class Start:
    """The network that a training starts from.

    Attributes
    ----------
    name
        As the user gave it.
    path
        Its weight file; None if it is random.
    """

    name: str
    path: Path | None

    @classmethod
    def find(cls, name: str) -> "Start":
        """Return the start of a name: ``nothing``, a network that comes along, or a weight file.

        Raises
        ------
        InputError
            If it is none of these.
        """
        if name == NOTHING:
            return cls(name, None)
        if name in shipped.names():
            return cls(name, shipped.FOLDER / f"{name}.safetensors")
        if not Path(name).is_file():
            raise InputError(
                f"There is no weight file {name}, nor does a network of that name come along; name "
                f"a file, {NOTHING}, or one of {', '.join(shipped.names())}."
            )
        return cls(name, Path(name))

    def parameters(self, classes: LabelClasses | None = None) -> dict:
        """Return the parameters of the network, and of the training that suits the start.

        Parameters
        ----------
        classes
            Those of the labels if there are more than two.
        """
        chosen = {"averaging": True}
        if classes is not None:
            chosen |= {"classes": len(classes), "contamination": classes.contamination}
        if self.path is None:
            return chosen
        known = weights.load(self.path)[0]["parameters"]
        network = {name: known[name] for name in ARCHITECTURE if name in known}
        new = known.get("classes", 2) != chosen.get("classes", 2)
        return (
            network | FINE_TUNING | (NEW_CLASSES if new else {}) | chosen | {"initial": self.path}
        )

    def described(self) -> dict:
        """Return what the card says of the start."""
        digest = None if self.path is None else DIGEST + weights.digest(self.path)
        return {"name": Path(self.name).name, "digest": digest}


def read_labels(
    report: FolderReport, contamination: Sequence[int] = (), two_classes: bool = False
) -> tuple[LabelledStack, LabelClasses]:
    """Read a checked folder.

    Parameters
    ----------
    report
        Of `foldercheck.check_folder`.
    contamination
        Grey values that mean contamination; by default all above 0.
    two_classes
        Whether to tell contamination from the rest only, whatever other values there are.

    Raises
    ------
    InputError
        If the folder has errors, or the values do not tell contamination from the rest.
    """
    report.raise_if_errors()
    classes = LabelClasses.of(report.values, contamination)
    stack = datasets.load_folder(report.folder, classes=classes)
    return replace(stack, labels=None, classes=None) if two_classes else stack, classes


def pixel_sizes(stack: LabelledStack, start: Start) -> list[float] | None:
    """Return the smallest and the largest Å per pixel of the images, stated or of their lattices.

    If no image tells, they are those that the start knew; None if it is not known either.
    """
    stated = [stack.pixel_size_of(index) for index in range(len(stack))]
    found = [size for size in stated if size is not None]
    if not found:
        measured = (scale.measure_pixel_size(image) for image in stack.images)
        found = [size for size in measured if size is not None]
    if found:
        return [round(min(found), 4), round(max(found), 4)]
    return None if start.path is None else weights.load(start.path)[0]["card"].get("pixel_sizes")


def model_card(
    stack: LabelledStack,
    classes: LabelClasses,
    report: FolderReport,
    start: Start,
    scores: dict | None,
) -> dict:
    """Return what users of the weights must know; see `ownscores.cross_validation` for `scores`."""
    groups = len(np.unique(stack.groups))
    known = classes.to_card()
    if stack.labels is None and len(known) > 2:
        known = [entry | {"number": int(entry["contamination"])} for entry in known]
    return {
        "data": f"{len(stack)} images of {groups} acquisitions, labelled by the user",
        "data_digest": stack.digest,
        "source": stack.source,
        "acquisitions": groups,
        "classes": known,
        "label_shares": {f"{value:g}": share for value, share in report.values.items()},
        "near_duplicates_between_acquisitions": len(report.near_duplicates),
        "started_from": start.described(),
        "pixel_sizes": pixel_sizes(stack, start),
        "cross_validation": scores,
        "limits": LIMITS if scores else f"{LIMITS} It was not cross-validated.",
    }


def run_folder_of(output: Path) -> Path:
    """Return the folder that keeps an unfinished training."""
    return output.with_name(f"{output.name}.training")


def card_file_of(output: Path) -> Path:
    """Return the file that repeats the card where people can read it."""
    return output.with_name(f"{output.stem}_card.json")


def train_all(segmenter: UNetSegmenter, stack: LabelledStack, output: Path, card: dict) -> dict:
    """Train on all images and write the weights and, beside them, the card.

    Parameters
    ----------
    segmenter
        Not trained.
    stack
        The labelled images.
    output
        The weight file.
    card
        See `model_card`.

    Returns
    -------
        The card as it was written.
    """
    folder = run_folder_of(output)
    folder.mkdir(parents=True, exist_ok=True)
    segmenter.set_params(checkpoint=folder / CHECKPOINT).fit(stack.images, stack.targets)
    segmenter.save(output, card=card)
    written = weights.load(output)[0]["card"]
    with whole_file(card_file_of(output)) as temporary:
        temporary.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    _remove(folder)
    return written


def _remove(folder: Path) -> None:
    """Remove what a finished training has left, and the folder if nothing else is in it."""
    for pattern in ("shuffle_*_fold_*", CHECKPOINT):
        for path in folder.glob(pattern):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()

"""Training on labels of your own, with its start and its card, or on simulated images only."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from graphseg.datasets import load
from graphseg.datasets.check import FolderReport
from graphseg.datasets.stack import LabelClasses, LabelledStack
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file
from graphseg.simulation.configuration import DEFECTS, GRAPHENE, Configuration
from graphseg.simulation.samples import simulate
from graphseg.unet import at_scale, pretrained
from graphseg.unet.at_scale import Scales
from graphseg.unet.network import load_weights, weights_digest
from graphseg.unet.segmenter import DIGEST, UNetSegmenter

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
    """The network that a training starts from: as the user named it, and its file if not random."""

    name: str
    path: Path | None

    @classmethod
    def find(cls, name: str) -> "Start":
        """Return the start of ``nothing``, a bundled network or a weight file; else InputError."""
        return cls(name, None if name == NOTHING else pretrained.find(name))

    def parameters(self, classes: LabelClasses | None = None) -> dict:
        """Return the parameters of network and training that suit the start and the classes."""
        chosen = {"test_time_augmentation": True}
        if classes is not None:
            chosen |= {"classes": len(classes), "contamination": classes.contamination}
        if self.path is None:
            return chosen
        known = load_weights(self.path)[0]["parameters"]
        network = {name: known[name] for name in ARCHITECTURE if name in known}
        new = known.get("classes", 2) != chosen.get("classes", 2)
        recipe = FINE_TUNING | (NEW_CLASSES if new else {})
        return network | recipe | chosen | {"initial": self.path}

    def described(self) -> dict:
        """Return what the card says of the start."""
        digest = None if self.path is None else DIGEST + weights_digest(self.path)
        return {"name": Path(self.name).name, "digest": digest}


def read_labels(
    report: FolderReport, contamination: Sequence[int] = (), two_classes: bool = False
) -> tuple[LabelledStack, LabelClasses]:
    """Read a folder of labels that `graphseg.datasets.check.check_folder` has reported on.
    Images of different sizes are a `LabelledImages`. The grey values `contamination` mean that, by
    default all above 0; `two_classes` tells it from the rest only, whatever other values there are.
    InputError if the folder has errors, or the values do not tell contamination from the rest."""
    report.raise_if_errors()
    classes = LabelClasses.of(report.values, contamination)
    stack = load.load_images(report.folder, classes=classes)
    return replace(stack, labels=None, classes=None) if two_classes else stack, classes


def scales_of(stack: LabelledStack, start: Start) -> Scales:
    """Return the scales at which images are learnt by a network of this start."""
    card = {} if start.path is None else load_weights(start.path)[0]["card"]
    return at_scale.find_scales(stack, card.get("pixel_sizes"))


def model_card(
    stack: LabelledStack,
    classes: LabelClasses,
    report: FolderReport,
    start: Start,
    scales: Scales,
    scores: dict | None,
) -> dict:
    """Return what users of the weights must know; see `scorecard.cross_validation` for `scores`."""
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
        "label_fractions": {f"{value:g}": fraction for value, fraction in report.values.items()},
        "near_duplicates_between_acquisitions": len(report.near_duplicates),
        "started_from": start.described(),
        "pixel_sizes": scales.known and list(scales.known),
        **({} if stack.reviewed is None else {"reviewed_fraction": _reviewed_fraction(stack)}),
        "reduced_images": sum(factor < 1 for factor in scales.factors),
        "cross_validation": scores,
        "limits": LIMITS if scores else f"{LIMITS} It was not cross-validated.",
    }


def _reviewed_fraction(stack: LabelledStack) -> float:
    pixels = sum(one.size for one in stack.reviewed)
    return round(sum(np.count_nonzero(one) for one in stack.reviewed) / pixels, 6)


def run_folder_of(output: Path) -> Path:
    """Return the folder that keeps an unfinished training."""
    return output.with_name(f"{output.name}.training")


def card_file_of(output: Path) -> Path:
    """Return the file that repeats the card where people can read it."""
    return output.with_name(f"{output.stem}_card.json")


def train_all(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    scales: Scales,
    output: Path,
    card: dict,
    reference: Callable[[UNetSegmenter], dict | None] = lambda _: None,
) -> dict:
    """Train on all images, write the weights and beside them the card, and return it as written."""
    # What `reference` says of the trained network goes to its card as ``reference_set``, and not to
    # the file beside it: it is thousands of numbers. A training that was killed continues from the
    # checkpoint in `run_folder_of`.
    folder = run_folder_of(output)
    folder.mkdir(parents=True, exist_ok=True)
    at_scale.fit(segmenter.set_params(checkpoint=folder / CHECKPOINT), stack, scales)
    if (known := reference(segmenter)) is not None:
        card = card | {"reference_set": known}
    segmenter.save(output, card=card)
    written = load_weights(output)[0]["card"]
    shown = {key: value for key, value in written.items() if key != "reference_set"}
    with whole_file(card_file_of(output)) as temporary:
        temporary.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    # What a finished training has left goes, and the folder if nothing else is in it.
    for pattern in ("shuffle_*_fold_*", CHECKPOINT):
        for path in folder.glob(pattern):
            path.unlink()
    with suppress(OSError):
        folder.rmdir()
    return written


def simulated_stack(
    number: int,
    seed: int,
    configuration: Configuration = GRAPHENE,
    n_jobs: int = 1,
    progress: bool = True,
) -> LabelledStack:
    """Simulate the samples (seed, 0) to (seed, number - 1); the same arguments give the same stack.
    Each image is an acquisition of its own, with masks as a person would outline them, in whatever
    number of processes. `progress` shows a bar on stderr."""
    if number < 1 or seed < 0:
        raise InputError(
            f"{number} images of the seed {seed} are impossible; give 1 or more and 0."
        )
    calls = (joblib.delayed(_pair)(seed, index, configuration) for index in range(number))
    pairs = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    bar = tqdm(pairs, total=number, desc="simulating", unit="image", disable=not progress)
    names, images, masks, sizes = zip(*bar, strict=True)
    stack = load.assemble(names, images, masks, "generated", sizes)
    return replace(stack, dates=np.array(names))


def pretrain(
    segmenter: UNetSegmenter,
    path: Path,
    number: int = 600,
    seed: int = 0,
    configuration: Configuration = GRAPHENE,
    n_jobs: int = 1,
    defects: int = 0,
) -> UNetSegmenter:
    """Train an unfitted network on simulated images only and write it, in half precision.
    A training that was killed continues at its last finished epoch, from a checkpoint beside the
    weight file. `defects` further images are of the configuration of that name, full of structure
    that is no contamination; the others are those of `simulated_stack`."""
    stack = simulated_stack(number, seed, configuration, n_jobs)
    if defects:
        stack = joined(stack, simulated_stack(defects, seed, DEFECTS, n_jobs))
    checkpoint = path.with_suffix(".checkpoint")
    segmenter.set_params(checkpoint=checkpoint).fit(stack.images, stack.masks)
    card = {
        "data": f"{number} simulated images, configuration {configuration.name!r}"
        f"{f', and {defects} of {DEFECTS.name!r}' if defects else ''}, seed {seed}; "
        "no published image or label",
        "data_digest": stack.digest,
        "pixel_sizes": configuration.pixel_size,
    }
    segmenter.save(path, half=True, card=card)
    checkpoint.unlink(missing_ok=True)
    return segmenter


def joined(first: LabelledStack, second: LabelledStack) -> LabelledStack:
    """Return the images of both, those of the first before those of the second."""
    # A stack that does not state its pixel sizes has none of them known: NaN.
    arrays = ("images", "masks", "groups", "dates")
    both = {name: np.concatenate([getattr(s, name) for s in (first, second)]) for name in arrays}
    sizes = [
        np.full(len(stack), np.nan) if stack.pixel_size is None else stack.pixel_size
        for stack in (first, second)
    ]
    return replace(
        first, names=(*first.names, *second.names), pixel_size=np.concatenate(sizes), **both
    )


def _pair(seed: int, index: int, configuration: Configuration) -> tuple:
    sample = simulate(seed, index, configuration)
    return sample.name, sample.image, sample.mask, sample.pixel_size

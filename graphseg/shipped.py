"""The trained networks that come with the package, and how they are made.

``default`` is trained on simulated images and then on all published ones. ``simulated`` has seen no
published image or label; ``beginning``, from an earlier generator, neither, and is what the
networks that have seen labels started from. ``fold_0`` … ``fold_4`` are the networks
of one cross-validation grouped by acquisition: each has never seen the images that its card lists
as held out, so that predictions on published images can be shown honestly. ``paper_fold_0`` is the
paper's network trained by the paper's recipe outside the first fold, for comparisons of speed.
``blurred`` is made as ``default`` is, but half of its training images were blurred: a little worse
on images as sharp as the published ones, and much better on others.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphseg import datasets, weights
from graphseg.datasets import LabelledStack
from graphseg.errors import InputError
from graphseg.pretraining import joined, simulated_stack
from graphseg.records import read_record, summary
from graphseg.segmenter import DIGEST, UNetSegmenter
from graphseg.simulation.presets import DEFECTS

FOLDER = Path(__file__).resolve().parent / "models"
PIXEL_SIZES = (0.30, 0.74)  # Å per pixel, measured from the lattices of the published images
LIMITS = (
    "Trained on HRTEM images of monolayer graphene at 80 kV, 256 x 256 pixels, with labels of one "
    "person. Other materials, STEM images and other pixel sizes are outside what it has seen; "
    "flakes of a second layer may be called contamination. The probability is not calibrated."
)


def names() -> list[str]:
    """Return the names of the networks that are here."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name: str = "default", **changes) -> UNetSegmenter:
    """Load a network that comes with the package.

    Parameters
    ----------
    name
        ``default``, ``blurred`` (for images less sharp than the published ones), ``simulated``,
        ``beginning``, ``paper_fold_0``, or ``fold_0`` to ``fold_4``.
    **changes
        Parameters to change, for instance ``device``, or ``averaging=False`` for speed.

    Raises
    ------
    InputError
        If there is no network of this name.
    """
    if name not in names():
        listed = ", ".join(names()) or "none"
        raise InputError(f"No network {name!r} comes with the package; there are: {listed}.")
    return UNetSegmenter.load(FOLDER / f"{name}.safetensors", **changes)


def out_of_fold(stack: LabelledStack, **changes) -> np.ndarray:
    """Predict every image with a fold network that has not seen it.

    Parameters
    ----------
    stack
        The published images, or others: those that no card lists are unknown to all networks, and
        are dealt out to them in turn.
    **changes
        Parameters to change, for instance ``averaging=False`` for speed.

    Returns
    -------
        (n, H, W) float32, the probability of contamination.
    """
    result = np.empty(stack.images.shape, np.float32)
    numbers = fold_of(stack.names)
    for number in np.unique(numbers):
        network = load(f"fold_{number}", **changes)
        result[numbers == number] = network.predict_proba(stack.images[numbers == number])
    return result


def fold_of(images: Sequence[str]) -> np.ndarray:
    """Return the number of the fold network that has not seen each image, (n,) int.

    Images that no card lists are unknown to all networks, and are dealt out to them in turn.
    """
    networks = [name for name in names() if name.startswith("fold_")]
    owner = {
        image: number
        for number, name in enumerate(networks)
        for image in load(name).card_["held_out"]
    }
    return np.array([owner.get(name, i % len(networks)) for i, name in enumerate(images)], int)


def make(record_path: Path, run_folder: Path, name: str = "default") -> None:
    """Train a network on all published images; beside the default one, put the fold networks.

    Parameters
    ----------
    record_path
        The record of the cross-validation whose recipe and scores count.
    run_folder
        Where that cross-validation kept its fold networks; the new training keeps its checkpoint
        there too.
    name
        Of the network.
    """
    record = read_record(record_path)
    stack = datasets.load_published()
    extra = record.get("extra", {"images": 0})["images"]
    further = f", and {extra} simulated ones full of defects" if extra else ""
    card = {
        "data": "all published images" + further,
        "data_digest": stack.digest,
        "pixel_sizes": PIXEL_SIZES,
        "limits": LIMITS,
        "cross_validation": {
            "protocol": record["protocol"],
            "folds": record["folds"],
            "shuffles": record["shuffles"],
            "mean_and_spread": {a: summary(record, a) for a in ("pooled", "per_image")},
        },
    }
    recipe = record["parameters"] | {
        "checkpoint": run_folder / f"{name}.checkpoint",
        "initial": _with_digest(record["parameters"]["initial"]),
    }
    everything = joined(stack, simulated_stack(extra, 0, DEFECTS)) if extra else stack
    segmenter = UNetSegmenter(**recipe).fit(everything.images, everything.masks)
    segmenter.save(FOLDER / f"{name}.safetensors", half=True, card=card)
    for fold in range(record["folds"] if name == "default" else 0):
        trained = UNetSegmenter.load(run_folder / f"shuffle_0_fold_{fold}.safetensors")
        card["data"] = f"the published images outside fold {fold}{further}"
        trained.save(FOLDER / f"fold_{fold}.safetensors", half=True, card=card)


def _with_digest(digest: str | None) -> Path | None:
    """Return the network here that a recipe names by its digest."""
    if digest is None:
        return None
    for path in FOLDER.glob("*.safetensors"):
        if digest == DIGEST + weights.digest(path):
            return path
    raise InputError(f"No network here has the digest {digest}: put the one to start from here.")


def main() -> int:
    """Run from the command line: ``python -m graphseg.shipped RECORD RUN_FOLDER [--name N]``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--name", default="default", help="of the network; blurred is the other")
    chosen = parser.parse_args()
    make(chosen.record, chosen.run_folder, chosen.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How the networks of the package are made from a recorded cross-validation."""

import argparse
import sys
from pathlib import Path

from graphseg.datasets import load as datasets
from graphseg.errors import InputError
from graphseg.evaluation.records import read_record, summary
from graphseg.simulation.configuration import DEFECTS
from graphseg.unet.finetune import joined, simulated_stack
from graphseg.unet.network import weights_digest
from graphseg.unet.pretrained import FOLDER, LIMITS, PIXEL_SIZES
from graphseg.unet.segmenter import DIGEST, UNetSegmenter


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
        if digest == DIGEST + weights_digest(path):
            return path
    raise InputError(f"No network here has the digest {digest}: put the one to start from here.")


def main() -> int:
    """Run from the command line; ``--help`` tells the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("record", type=Path)
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--name", default="default", help="of the network; blurred is the other")
    chosen = parser.parse_args()
    make(chosen.record, chosen.run_folder, chosen.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

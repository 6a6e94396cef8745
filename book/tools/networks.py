"""Train the bundled networks again, and make all that follows from their weights: `make networks`.

Killed, it continues when it is given again: trainings keep checkpoints and studies their finished
steps under `runs/`, and what is finished there is not computed again; remove it to begin anew. The
records are those of `recipes.yml`, and so are their commands. ``initial``, from which the networks
with labels start, is not made again: its generator was an earlier one.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from book.tools import tables
from book.tools.stale import recipes
from graphseg.unet.pretrained import FOLDER
from graphseg.unet.segmenter import UNetSegmenter

STUDY = "python -m book.studies"
SIMULATED, PAPER = Path("runs/networks/simulated.safetensors"), Path("runs/paper_fold_0")
OURS, GENERAL = "ours_acquisition", "general_acquisition"
# Records that are made of the weights, in this order.
FOLLOWING = (
    "confidence", "out_of_distribution", "out_of_distribution_general", "simulation_only",
    "robustness", "defects", "domain_shift",
)  # fmt: skip


def steps() -> Iterator[tuple[str, str]]:
    """Yield the name of each step, that of its record if it makes one, and its command."""
    commands, results = recipes()["commands"], Path("data/results")
    strided = recipes()["phrases"]["strided"].format(**recipes()["phrases"])
    yield (
        "simulated",
        f"python -m graphseg pretrain --images 600 --defects 300 {strided} --set epochs=13 "
        f"--output {SIMULATED}",
    )
    for record, name in ((OURS, "default"), (GENERAL, "general")):
        path = results / f"{record}.json"
        yield record, f"{commands[record].partition(' (')[0]} --output {path}"
        yield name, f"{STUDY} pretrained-networks {path} runs/{record} --name {name}"
    yield (
        "paper_fold_0",
        f"{STUDY} evaluate unet-paper --only 0 --set epochs=300 --output {PAPER}.json",
    )
    for record in FOLLOWING:
        yield record, f"{commands[record]} --output {results / record}.json"


def hours() -> float:
    """Return how long the steps took that records or cards tell of; some old records do not."""
    seconds = 0.0
    for name, _ in steps():
        if (tables.RESULTS_FOLDER / f"{name}.json").exists():
            record = tables.read_result(name)
            trained = sum(row.get("fit_seconds", 0.0) for row in record.get("results", ()))
            seconds += record["made_with"].get("seconds", trained)
        else:
            seconds += UNetSegmenter.load(FOLDER / f"{name}.safetensors").card_["seconds"]
    return seconds / 3600


def bundle(trained: Path, name: str) -> None:
    """Put a network beside the bundled ones, in half precision."""
    network = UNetSegmenter.load(trained, device="cpu")
    network.save(FOLDER / f"{name}.safetensors", half=True, card=network.card_)


def main() -> None:
    """Print the steps, or run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    only_list = parser.parse_args().list
    for number, (name, command) in enumerate(steps(), 1):
        print(f"{number}. {name}: {command}", flush=True)
        if only_list or (name == "simulated" and SIMULATED.exists()):
            continue
        SIMULATED.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
        if name == "simulated":
            bundle(SIMULATED, name)
        elif name == "paper_fold_0":
            bundle(PAPER / "shuffle_0_fold_0.safetensors", name)
    print(f"All of it took at least {hours():.1f} hours on the machines of the records.")


if __name__ == "__main__":
    main()

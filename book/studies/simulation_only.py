"""Networks trained on simulated images only, scored on published ones that they never saw.

Nothing of the published images enters the training: the last epoch of a fixed recipe is taken, and
the threshold is one half. The ranges of the generator, however, were chosen by looking at some of
them and at their labels; which, is recorded with the scores, see `designed_on`.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import clone

from book.studies.configurations import ABLATION
from book.studies.evaluation import jaccard_line
from graphseg import metrics
from graphseg.datasets.stack import LabelledStack, acquisition_of, group_of
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.records import StepStore, describe, describe_data, fold_key
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.unet import finetune
from graphseg.unet.segmenter import UNetSegmenter

DESIGN_FRACTION = 0.5  # of the acquisitions in sorted order, rounded down
# Ways to average a score: over what, the value of 0/0, and whether empty labels are scored.
CONVENTIONS = {
    "per image, 0/0 = 1": ("per_image", 1.0, True),
    "per image, 0/0 = 0": ("per_image", 0.0, True),
    "per image, empty labels left out": ("per_image", 1.0, False),
    "pooled": ("pooled", 1.0, True),
}
INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap


def designed_on(stack: LabelledStack) -> np.ndarray:
    """Return which images the ranges of the generator were chosen on, (n,) bool.

    Those of the first half of the acquisitions in sorted order, thus the earlier ones.
    """
    acquisition = np.array([acquisition_of(name) for name in stack.names])
    all_of_them = np.unique(acquisition)
    return np.isin(acquisition, all_of_them[: int(DESIGN_FRACTION * len(all_of_them))])


def steps_of_realism(names: Sequence[str] | None = None) -> dict[str, Configuration]:
    """Return configurations by name; by default that of graphene alone.

    Raises
    ------
    InputError
        If a name is not in :data:`book.studies.configurations.ABLATION`.
    """
    if not names:
        return {GRAPHENE.name: GRAPHENE}
    unknown = [name for name in names if name not in ABLATION]
    if unknown:
        raise InputError(f"There is no step {unknown[0]!r}: use one of {', '.join(ABLATION)}.")
    return {name: ABLATION[name] for name in names}


def run(
    stack: LabelledStack,
    seeds: int = 5,
    images: int = 900,
    step: list[str] | None = None,
    defects: int = 0,
    jobs: int = 1,
    changes: dict | None = None,
    run_folder: Path = Path("runs/simulation_only"),
) -> dict:
    """Train on simulated images only, score on labelled ones; an interrupted run resumes.

    Example: python -m book.studies simulation-only --seeds 5 --set epochs=12 --output
    data/results/simulation_only.json

    Parameters
    ----------
    stack
        The labelled images; the labels are used for the scores and for nothing else.
    seeds
        Number of trainings of each configuration, with seeds 0, 1, … of simulation and training.
    images
        Number of simulated images of each training.
    step
        A step from the naive to the final generator; may be repeated; by default final.
    defects
        Number of additional simulated training images with many defects, which are not
        contamination.
    jobs
        Processes for the simulation; -1: one per core.
    changes
        A parameter of the U-Net, NAME=VALUE; may be repeated.
    run_folder
        Keeps the networks, ``CONFIGURATION_SEED.safetensors``, and every finished score.

    Returns
    -------
        The record: ``design`` (names of the images the generator was designed on) and ``results``,
        each with ``configuration``, ``shuffle`` (the seed), ``fold`` (the number of the
        configuration), ``test`` (names) and ``counts`` (n, 4).
    """
    segmenter, configurations = methods.make("unet", **(changes or {})), steps_of_realism(step)
    header = {
        "name": "simulated images only",
        "parameters": describe(segmenter),
        "simulated_images": images,
        "with_defects": defects,
        "configurations": list(configurations),
        "data": describe_data(stack),
    }
    score = partial(_score, segmenter, stack, run_folder, images, defects, jobs)
    trainings = {
        fold_key(seed, number): partial(score, seed, number, name, configuration)
        for seed in range(seeds)
        for number, (name, configuration) in enumerate(configurations.items())
    }
    results = StepStore(run_folder, header).finish(trainings, "trainings")
    design = [name for name, known in zip(stack.names, designed_on(stack), strict=True) if known]
    return header | {"seeds": seeds, "design": design, "results": results}


def summarise(record: dict) -> str:
    """Return the Jaccard index of each configuration."""
    lines = []
    for number, name in enumerate(record["configurations"]):
        rows = [row for row in record["results"] if row["fold"] == number]
        lines.append(jaccard_line(name, record | {"results": rows}))
    return "\n".join(lines)


def _score(
    segmenter, stack, folder, images, defects, jobs, seed, number, name, configuration
) -> dict:
    """Train a network, unless its file is there already, and count its pixels on all images."""
    path = folder / f"{name}_{seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = clone(segmenter).set_params(seed=seed)
        finetune.pretrain(fresh, path, images, seed, configuration, jobs, defects)
    network = UNetSegmenter.load(path, device=segmenter.device)
    counts = metrics.counts(stack.masks, network.predict(stack.images)).tolist()
    return {
        "shuffle": seed,
        "fold": number,
        "configuration": name,
        "test": list(stack.names),
        "counts": counts,
        "fit_seconds": network.card_["seconds"],
        "history": [],
    }


def part_of(record: dict, design: bool) -> dict:
    """Return a record with the images of the design part only, or with the others only."""
    known = set(record["design"])
    results = []
    for result in record["results"]:
        kept = [i for i, name in enumerate(result["test"]) if (name in known) == design]
        changes = {key: [result[key][i] for i in kept] for key in ("test", "counts")}
        results.append(result | changes)
    return record | {"results": results}


def score_intervals(
    record: dict, convention: str, draws: int = 2000, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Return each score, averaged over the trainings of a record, and its 95 % interval.

    Parameters
    ----------
    record
        Of `run`, with one configuration; all trainings are scored on the same images.
    convention
        One of `CONVENTIONS`.
    draws, seed
        Of the bootstrap. It draws groups of images (`graphseg.datasets.load.group_of`), the same
        for all trainings: the interval is about images, not about seeds.

    Returns
    -------
        Name of a score to its value and both ends of the interval.
    """
    average, zero_division, with_empty = CONVENTIONS[convention]
    counts = np.array([result["counts"] for result in record["results"]])  # (seeds, n, 4)
    groups = np.array([group_of(name) for name in record["results"][0]["test"]])
    if not with_empty:
        labelled = counts[0, :, [0, 2]].sum(axis=0) > 0
        counts, groups = counts[:, labelled], groups[labelled]
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    # Row 0 has every image once, the others as often as its group is drawn.
    weight = np.ones((1 + draws, len(groups)), int)
    for number, rows in enumerate(members):
        weight[1:, rows] = times[:, number, None]
    if average == "pooled":
        drawn = np.einsum("dn,snk->dsk", weight, counts)
        table = {name: v.mean(axis=1) for name, v in metrics.score_table(drawn).items()}
    else:
        scored = metrics.score_table(counts, zero_division)  # (seeds, n) each
        total = weight.sum(axis=1)
        table = {name: weight @ v.mean(axis=0) / total for name, v in scored.items()}
    ends = {name: np.percentile(values[1:], INTERVAL) for name, values in table.items()}
    return {name: (float(v[0]), *map(float, ends[name])) for name, v in table.items()}

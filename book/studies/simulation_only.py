"""Networks trained on simulated images only, scored on published ones that they never saw.

Nothing of the published images enters the training: the last epoch of a fixed recipe is taken, and
the threshold is one half. The ranges of the generator, however, were chosen by looking at some of
them and at their labels; which, is recorded with the scores, see `designed_on`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.base import clone

from graphseg import metrics
from graphseg.datasets.load import LabelledStack, acquisition_of, group_of
from graphseg.errors import InputError
from graphseg.evaluation.records import FoldStore, describe, provenance
from graphseg.simulation.configuration import ABLATION, GRAPHENE, Configuration
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
        If a name is not in :data:`graphseg.simulation.configuration.ABLATION`.
    """
    if not names:
        return {GRAPHENE.name: GRAPHENE}
    unknown = [name for name in names if name not in ABLATION]
    if unknown:
        raise InputError(f"There is no step {unknown[0]!r}: use one of {', '.join(ABLATION)}.")
    return {name: ABLATION[name] for name in names}


def score_simulated(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    configurations: Mapping[str, Configuration],
    seeds: int = 5,
    number: int = 900,
    run_folder: str | Path = "runs/simulation_only",
    n_jobs: int = 1,
    defects: int = 0,
) -> dict:
    """Train on simulated images only, once for each configuration and seed, and score.

    Parameters
    ----------
    segmenter
        Unfitted, with the recipe. A seed is that of the simulation and of the training.
    stack
        Labelled images; the labels are used for the scores and for nothing else.
    configurations
        By name, see `steps_of_realism`.
    seeds
        0 to seeds - 1.
    number
        Of simulated images for each training.
    run_folder
        Keeps the networks, ``CONFIGURATION_SEED.safetensors``, and every finished score; what is
        finished is not repeated.
    n_jobs
        Processes that simulate.
    defects
        Further simulated images full of structure, see `pretraining.pretrain`.

    Returns
    -------
        The record: ``design`` (names of the images the generator was designed on) and ``results``,
        each with ``configuration``, ``shuffle`` (the seed), ``fold`` (the number of the
        configuration), ``test`` (names) and ``counts`` (n, 4).
    """
    header = {
        "name": "simulated images only",
        "parameters": describe(segmenter),
        "simulated_images": number,
        "with_defects": defects,
        "configurations": list(configurations),
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
    }
    store = FoldStore(run_folder, header)
    results = []
    for seed in range(seeds):
        for step, (name, configuration) in enumerate(configurations.items()):
            found = store.get(seed, step)
            if found is None:
                path = Path(run_folder) / f"{name}_{seed}.safetensors"
                network = _network(segmenter, path, number, seed, configuration, n_jobs, defects)
                counts = metrics.counts(stack.masks, network.predict(stack.images)).tolist()
                found = {"shuffle": seed, "fold": step, "configuration": name}
                found |= {"test": list(stack.names), "counts": counts}
                found |= {"fit_seconds": network.card_["seconds"], "history": []}
                store.put(found)
            results.append(found)
    design = [name for name, known in zip(stack.names, designed_on(stack), strict=True) if known]
    return header | {
        "seeds": seeds, "made_with": provenance(), "design": design, "results": results,
    }  # fmt: skip


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
        Of `score_simulated`, with one configuration; all trainings are scored on the same images.
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


def _network(
    segmenter: UNetSegmenter,
    path: Path,
    number: int,
    seed: int,
    configuration: Configuration,
    n_jobs: int,
    defects: int,
) -> UNetSegmenter:
    """Return the network of a file, after training it where there is none yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        fresh = clone(segmenter).set_params(seed=seed)
        finetune.pretrain(fresh, path, number, seed, configuration, n_jobs, defects)
    return UNetSegmenter.load(path, device=segmenter.device)

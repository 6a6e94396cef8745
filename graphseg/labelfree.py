"""Networks trained on simulated images only, scored on published ones that they never saw.

Nothing of the published images decides anything here: the last epoch of a fixed recipe is taken,
and the threshold is one half. Which of them were looked at while the generator's ranges were
chosen is recorded with the scores, see `designed_on`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.base import clone

from graphseg import metrics, pretraining
from graphseg.datasets import LabelledStack, acquisition_of
from graphseg.errors import InputError
from graphseg.records import FoldStore, describe, provenance
from graphseg.segmenter import UNetSegmenter
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.presets import ABLATION

DESIGN_SHARE = 0.5  # of the acquisitions in sorted order, rounded down


def designed_on(stack: LabelledStack) -> np.ndarray:
    """Return which images the ranges of the generator were chosen on, (n,) bool.

    Those of the first half of the acquisitions in sorted order, thus the earlier ones.
    """
    acquisition = np.array([acquisition_of(name) for name in stack.names])
    all_of_them = np.unique(acquisition)
    return np.isin(acquisition, all_of_them[: int(DESIGN_SHARE * len(all_of_them))])


def steps_of_realism(names: Sequence[str] | None = None) -> dict[str, Configuration]:
    """Return configurations by name; by default that of graphene alone.

    Raises
    ------
    InputError
        If a name is not in :data:`graphseg.simulation.presets.ABLATION`.
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
    run_folder: str | Path = "runs/label_free",
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
        pretraining.pretrain(fresh, path, number, seed, configuration, n_jobs, defects)
    return UNetSegmenter.load(path, device=segmenter.device)

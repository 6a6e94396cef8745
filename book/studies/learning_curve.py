"""How many labels are needed: trainings with few labelled acquisitions."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.base import clone
from tqdm import tqdm

from graphseg import metrics
from graphseg.datasets.load import LabelledStack, acquisition_of
from graphseg.datasets.stack import SAME_PLACE
from graphseg.errors import InputError
from graphseg.evaluation.crossval import evaluate_fold, splits
from graphseg.evaluation.records import FoldStore, describe, provenance
from graphseg.unet.segmenter import UNetSegmenter

BUDGETS = (1, 2, 4, 8, 16, 32)  # acquisitions
STEPS = 300  # of training at least, however few images there are


def labelled(stack: LabelledStack, train: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Draw acquisitions from a training part; larger draws contain the smaller ones.

    Parameters
    ----------
    stack
    train
        (m,) int, indices of the training images.
    number
        Of acquisitions.
    seed
        Of their order.

    Returns
    -------
        Indices of the images of the acquisitions drawn, ascending.

    Raises
    ------
    InputError
        If the training part has fewer acquisitions.
    """
    order = np.random.default_rng(seed).permutation(np.unique(stack.groups[train]))
    if not 1 <= number <= len(order):
        raise InputError(
            f"{number} acquisitions cannot be drawn from {len(order)}: use 1 to {len(order)}."
        )
    return train[np.isin(stack.groups[train], order[:number])]


def label_curve(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    budgets: Sequence[int] = BUDGETS,
    folds: int = 5,
    run_folder: str | Path = "runs/learning_curve",
    steps: int = STEPS,
) -> dict:
    """Train with few labelled acquisitions on the folds of the other evaluations.

    Parameters
    ----------
    segmenter
        Unfitted, with the recipe; its ``initial`` names the initial weights. It trains for its
        ``epochs``, or for so many more that there are `steps` steps: few images make short epochs.
    stack
        Labelled images.
    budgets
        Numbers of labelled acquisitions. 0 takes the initial network as it is.
    folds
        Of the split grouped by acquisition, shuffle 0.
    run_folder
        Keeps every finished training.
    steps
        Of each training at least.

    Returns
    -------
        The record: ``results``, each with ``budget``, ``shuffle`` (number of the budget),
        ``fold``, ``images`` (trained on), ``test`` (names) and ``counts`` (n, 4).

    Raises
    ------
    InputError
        If a budget is 0 and there is no initial network.
    """
    if 0 in budgets and segmenter.initial is None:
        raise InputError("Without labels there must be initial weights: leave out the budget 0.")
    header = {
        "name": "labelled acquisitions",
        "protocol": "acquisition",
        "folds": folds,
        "parameters": describe(segmenter),
        "budgets": list(budgets),
        "steps": steps,
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
    }
    store = FoldStore(run_folder, header)
    tasks = [(row, fold) for row in range(len(budgets)) for fold in range(folds)]
    parts = splits(stack, "acquisition", folds)
    results = []
    for row, fold in tqdm(tasks, desc="trainings"):
        found = store.get(row, fold)
        if found is None:
            found = _evaluated(segmenter, stack, *parts[fold], budgets[row], fold, steps)
            found |= {"shuffle": row, "fold": fold, "budget": budgets[row]}
            store.put(found)
        results.append(found)
    return header | {"made_with": provenance(), "results": results}


def at(record: dict, budget: int) -> dict:
    """Return a record with one budget only, for `graphseg.evaluation.records.summary`."""
    return record | {"results": [row for row in record["results"] if row["budget"] == budget]}


def split_places(record: dict) -> int:
    """Count the pairs of acquisitions that show one place and lie in two folds of a record.

    Records older than :data:`graphseg.datasets.stack.SAME_PLACE` were split by acquisition only.
    """
    fold = {
        acquisition_of(name): result["fold"]
        for result in record["results"]
        if result["shuffle"] == record["results"][0]["shuffle"]
        for name in result["test"]
    }
    pairs = [pair for pair in SAME_PLACE.items() if set(pair) <= set(fold)]
    return sum(fold[later] != fold[earlier] for later, earlier in pairs)


def _evaluated(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    train: np.ndarray,
    test: np.ndarray,
    budget: int,
    fold: int,
    steps: int,
) -> dict:
    """Train with `budget` acquisitions of the training part and score on the test part."""
    if budget == 0:
        network = UNetSegmenter.load(
            segmenter.initial,
            test_time_augmentation=segmenter.test_time_augmentation,
            device=segmenter.device,
        )
        counts = metrics.counts(stack.masks[test], network.predict(stack.images[test])).tolist()
        names = [stack.names[index] for index in test]
        return {"test": names, "counts": counts, "images": 0, "fit_seconds": 0, "history": []}
    chosen = labelled(stack, train, budget, fold)
    batches = math.ceil(len(chosen) / segmenter.batch_size)
    epochs = max(segmenter.epochs, math.ceil(steps / batches))
    longer = clone(segmenter).set_params(epochs=epochs)
    return evaluate_fold(longer, stack, chosen, test) | {"images": len(chosen)}

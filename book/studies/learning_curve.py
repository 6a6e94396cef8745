"""How many labels are needed: trainings with few labelled acquisitions."""

import math
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import clone

from book.studies.evaluation import jaccard_line
from graphseg import metrics
from graphseg.datasets.stack import SAME_PLACE, LabelledStack, acquisition_of
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.crossval import evaluate_fold, splits
from graphseg.evaluation.records import StepStore, describe, describe_data, fold_key
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


def run(
    stack: LabelledStack,
    budget: list[int] | None = None,
    folds: int = 5,
    steps: int = STEPS,
    changes: dict | None = None,
    run_folder: Path | None = None,
) -> dict:
    """Train with few labelled acquisitions, score on whole folds; an interrupted run resumes.

    Example: python -m book.studies learning-curve --budget 0 --budget 4 --set
    initial=simulated.safetensors --output data/results/learning_curve.json

    Parameters
    ----------
    stack
        The labelled images.
    budget
        A number of labelled acquisitions; may be repeated. 0 takes the initial network as it is.
    folds
        Number of folds of the split grouped by acquisition, shuffle 0.
    steps
        Lowest number of steps of each training; with few images, epochs are short, so there are
        more of them.
    changes
        A parameter of the U-Net, NAME=VALUE; may be repeated. `initial` names the initial network.
    run_folder
        Keeps finished trainings.

    Returns
    -------
        The record: ``results``, each with ``budget``, ``shuffle`` (number of the budget),
        ``fold``, ``images`` (trained on), ``test`` (names) and ``counts`` (n, 4).

    Raises
    ------
    InputError
        If a budget is 0 and there is no initial network.
    """
    segmenter = methods.make("unet", **(changes or {}))
    budgets = budget or BUDGETS
    if 0 in budgets and segmenter.initial is None:
        raise InputError("Without labels there must be initial weights: leave out the budget 0.")
    header = {
        "name": "labelled acquisitions",
        "protocol": "acquisition",
        "folds": folds,
        "parameters": describe(segmenter),
        "budgets": list(budgets),
        "steps": steps,
        "data": describe_data(stack),
    }
    parts = splits(stack, "acquisition", folds)
    trainings = {
        fold_key(row, fold): partial(_evaluated, segmenter, stack, parts[fold], row, fold, header)
        for row in range(len(budgets))
        for fold in range(folds)
    }
    return header | {"results": StepStore(run_folder, header).finish(trainings, "trainings")}


def summarise(record: dict) -> str:
    """Return the Jaccard index after training with each number of acquisitions."""
    return "\n".join(
        jaccard_line(f"{number} acquisitions", at(record, number)) for number in record["budgets"]
    )


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
    part: tuple[np.ndarray, np.ndarray],
    row: int,
    fold: int,
    header: dict,
) -> dict:
    """Train with a budget of acquisitions of the training part and score on the test part."""
    budget = header["budgets"][row]
    about = {"shuffle": row, "fold": fold, "budget": budget}
    train, test = part
    if budget == 0:
        network = UNetSegmenter.load(
            segmenter.initial,
            test_time_augmentation=segmenter.test_time_augmentation,
            device=segmenter.device,
        )
        counts = metrics.counts(stack.masks[test], network.predict(stack.images[test])).tolist()
        names = [stack.names[index] for index in test]
        found = {"test": names, "counts": counts, "images": 0, "fit_seconds": 0, "history": []}
        return found | about
    chosen = labelled(stack, train, budget, fold)
    batches = math.ceil(len(chosen) / segmenter.batch_size)
    epochs = max(segmenter.epochs, math.ceil(header["steps"] / batches))
    longer = clone(segmenter).set_params(epochs=epochs)
    return evaluate_fold(longer, stack, chosen, test) | {"images": len(chosen)} | about

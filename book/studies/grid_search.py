"""Grid search inside the training folds, so that no choice is made on the fold it is scored on.

For each outer fold, every candidate of the grid is trained and scored on inner folds of the
training images; the best is trained on all of them and scored once on the outer fold.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid

from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.crossval import evaluate_fold, splits
from graphseg.evaluation.records import StepStore, describe, describe_data, fold_key


def check(method: str, changes: dict | None = None, **_) -> None:
    """Refuse an unknown method or parameter before any image is loaded."""
    methods.make(method, **(changes or {}))


def run(
    stack: LabelledStack,
    method: str,
    grid: dict | list[dict],
    score: str = "accuracy",
    protocol: str = "acquisition",
    folds: int = 5,
    inner_folds: int = 3,
    inner_tested: int | None = None,
    final: dict | None = None,
    trials: int = 1,
    only: list[int] | None = None,
    jobs: int = 1,
    changes: dict | None = None,
    run_folder: Path | None = None,
    progress: bool = True,
) -> dict:
    """Choose parameters on inner folds, score the choice on outer folds; resumes if interrupted.

    The paper's grid, for a GPU: python -m book.studies search unet-paper --grid "features=[16, 32,
    64]" --grid "levels=[3, 4, 5]" --grid "learning_rate=[1e-5, 1e-4, 1e-3]" --set epochs=150
    --final epochs=300 --trials 2 --protocol random --output data/results/search_paper.json

    Parameters
    ----------
    stack
        The labelled images.
    method
        One of no-lattice, bragg, bragg-paper, adaptive, classifier, unet, unet-paper,
        unet-original.
    grid
        A parameter and its values, NAME=[VALUE, ...]; may be repeated. All combinations are
        candidates, as in scikit-learn's ParameterGrid; from Python also several grids.
    score
        The score that candidates are compared by, pooled over the inner folds; the highest wins,
        and among equals the first in the order of the grid.
    protocol
        Which images stay together in outer and inner splits: those of one acquisition, of one
        date, or none (random).
    folds
        Number of outer folds, of shuffle 0.
    inner_folds
        Number of inner folds, into which the training part of each outer fold is split.
    inner_tested
        How many inner folds are run; all by default. Fewer cost less but are less certain.
    final
        A parameter of the final training, NAME=VALUE; may be repeated. The paper searched with 150
        epochs and trained the winner for 300.
    trials
        Number of final trainings of the winner, with seeds 0, 1, …; the paper has 2. With 0 there
        is only the search.
    only
        Run only this outer fold, counted from 0; may be repeated.
    jobs
        Trainings at a time; -1: one per core.
    changes
        A parameter of the method, NAME=VALUE; may be repeated.
    run_folder
        Keeps finished trainings.
    progress
        Show progress bars on stderr.

    Returns
    -------
    dict
        The record: ``candidates`` (list of parameters), ``searches`` (for each outer fold the
        inner scores of each candidate, and which was chosen) and ``results`` (the final
        trainings, as in a record of :func:`graphseg.evaluation.crossval.cross_validate`;
        ``shuffle`` is the trial).

    Raises
    ------
    InputError
        If the grid is empty, or names a parameter that the method does not have, or the score
        is unknown.
    """
    estimator = methods.make(method, **(changes or {}))
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    candidates = _candidates(estimator, grids, score)
    outer = dict(enumerate(splits(stack, protocol, folds)))
    outer = {k: v for k, v in outer.items() if not only or k in only}
    header = {
        "name": method,
        "protocol": protocol,
        "folds": folds,
        "shuffles": trials,
        "estimator": type(estimator).__name__,
        "parameters": describe(estimator),
        "grid": [{key: list(values) for key, values in part.items()} for part in grids],
        "score": score,
        "inner_folds": inner_folds,
        "inner_tested": inner_tested or inner_folds,
        "final": dict(final or {}),
        "data": describe_data(stack),
    }
    store = StepStore(run_folder, header)
    training = partial(_train, store.folder, estimator, stack)
    inner = {
        fold: _inner(stack, train, protocol, inner_folds)[:inner_tested]
        for fold, (train, _) in outer.items()
    }
    trained = store.finish(
        {
            _inner_key(fold, c, k): partial(training, _inner_key(fold, c, k), candidate, pair)
            for fold, pairs in inner.items()
            for c, candidate in enumerate(candidates)
            for k, pair in enumerate(pairs)
        },
        f"{method}: search",
        jobs,
        progress,
    )
    # Results come in the order of the steps: fold by fold, candidate by candidate.
    tables = iter(trained)
    searches = [
        _chosen(fold, [[next(tables)["counts"] for _ in pairs] for _ in candidates], score)
        for fold, pairs in inner.items()
    ]
    finals = {}
    for trial in range(trials):
        for search in searches:
            fold = search["fold"]
            parameters = candidates[search["chosen"]] | (final or {}) | _seeded(estimator, trial)
            key = fold_key(trial, fold)
            about = {"shuffle": trial, "fold": fold}
            finals[key] = partial(training, key, parameters, outer[fold], about)
    results = store.finish(finals, f"{method}: final trainings", jobs, progress)
    chosen = {"only": sorted(outer)} if only else {}
    return header | chosen | {"candidates": candidates, "searches": searches, "results": results}


def summarise(record: dict) -> str:
    """Return what each outer fold chose, and with which score."""
    return "\n".join(
        f"fold {found['fold']}: {record['candidates'][found['chosen']]}, {record['score']} "
        f"{max(found['scores']):.4f}"
        for found in record["searches"]
    )


def _inner_key(fold: int, candidate: int, inner: int) -> str:
    return f"fold_{fold}_candidate_{candidate}_inner_{inner}"


def _train(folder, estimator, stack, key, parameters, pair, about=None) -> dict:
    checkpoint = folder and folder / f"{key}.checkpoint"
    changed = clone(estimator).set_params(**parameters)
    result = evaluate_fold(changed, stack, *pair, checkpoint)
    return (about or {}) | {"parameters": parameters} | result


def _candidates(
    estimator: BaseEstimator, grids: list[Mapping[str, Sequence]], score: str
) -> list[dict]:
    known = estimator.get_params()
    if not all(isinstance(v, Sequence) for grid in grids for v in grid.values()):
        raise InputError("The values of a grid are lists: write NAME=[VALUE, ...].")
    for key in (key for grid in grids for key in grid):
        if key not in known:
            raise InputError(
                f"The grid names {key!r}, which the method does not have: use one of "
                f"{', '.join(sorted(known))}."
            )
    if not grids or not all(grid and all(map(len, grid.values())) for grid in grids):
        raise InputError("The grid is empty: name parameters, each with one or more values.")
    if score not in metrics.NAMES:
        raise InputError(f"The score {score!r} is unknown: use one of {', '.join(metrics.NAMES)}.")
    return list(ParameterGrid([{key: list(v) for key, v in grid.items()} for grid in grids]))


def _inner(stack: LabelledStack, train: np.ndarray, protocol: str, folds: int) -> list[tuple]:
    """Split the training images again; indices are those of the whole stack."""
    pairs = splits(stack.subset(train), protocol, folds)
    return [(train[inner_train], train[inner_test]) for inner_train, inner_test in pairs]


def _chosen(fold: int, counts: list[list], score: str) -> dict:
    """Say which candidate won; `counts` has for each candidate the tables of its inner folds."""
    tables = [np.concatenate(parts) for parts in counts]
    values = [metrics.scores(table)[score] for table in tables]
    return {
        "fold": fold,
        "chosen": int(np.argmax(values)),
        "scores": values,
        "jaccard": [metrics.scores(table)["jaccard"] for table in tables],
        "jaccard_per_image": [metrics.scores(table, "per_image")["jaccard"] for table in tables],
    }


def _seeded(estimator: BaseEstimator, trial: int) -> dict:
    return {"seed": trial} if "seed" in estimator.get_params() else {}

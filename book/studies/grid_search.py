"""Grid search inside the training folds, so that no choice is made on the fold it is scored on.

For each outer fold, every candidate of the grid is trained and scored on inner folds of the
training images; the best is trained on all of them and scored once on the outer fold.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid
from tqdm import tqdm

from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation.crossval import evaluate_fold, splits
from graphseg.evaluation.records import FoldStore, describe, provenance


def search(
    estimator: BaseEstimator,
    grid: Mapping[str, Sequence] | Sequence[Mapping[str, Sequence]],
    stack: LabelledStack,
    name: str,
    score: str = "accuracy",
    protocol: str = "acquisition",
    folds: int = 5,
    inner_folds: int = 3,
    inner_tested: int | None = None,
    final: Mapping[str, object] | None = None,
    trials: int = 1,
    only: Sequence[int] | None = None,
    run_folder: str | Path | None = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> dict:
    """Search a grid inside each outer fold and score the choice on it; return the record.

    Parameters
    ----------
    estimator : BaseEstimator
        Unfitted, with the parameters that the grid leaves alone.
    grid : mapping of str to sequence, or several of them
        Parameter names and values; all combinations are candidates, as in scikit-learn's
        ``ParameterGrid``.
    stack : LabelledStack
    name : str
        Of the method.
    score : str, default "accuracy"
        One of :data:`graphseg.metrics.NAMES`, pooled over the inner folds; the highest wins, among
        equals the first in the order of the grid.
    protocol, folds
        Of the outer split, shuffle 0, see :func:`graphseg.evaluation.crossval.splits`; the inner
        split has the same protocol.
    inner_folds : int, default 3
    inner_tested : int, optional
        How many of the inner folds are run; by default all. Fewer cost less and are less certain.
    final : mapping, optional
        Parameters changed for the final training of the winner: the paper searched with 150 epochs
        and trained the winner for 300.
    trials : int, default 1
        Final trainings, with seeds 0, 1, … (the paper: 2); 0 only searches.
    only : sequence of int, optional
        Run these outer folds only; the record says so.
    run_folder : path, optional
        Each finished training is kept here as a file, and not run again.
    n_jobs : int, default 1
    progress : bool, default True

    Returns
    -------
    dict
        The record: ``candidates`` (list of parameters), ``searches`` (for each outer fold the
        inner counts and scores of each candidate, and which was chosen) and ``results`` (the final
        trainings, as in a record of :func:`graphseg.evaluation.crossval.cross_validate`;
        ``shuffle`` is the trial).

    Raises
    ------
    InputError
        If the grid is empty, or names a parameter that the estimator does not have, or the score
        is unknown.
    """
    grids = [grid] if isinstance(grid, Mapping) else list(grid)
    candidates = _candidates(estimator, grids, score)
    outer = dict(enumerate(splits(stack, protocol, folds)))
    outer = {k: v for k, v in outer.items() if only is None or k in only}
    header = {
        "name": name,
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
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
    }
    store = FoldStore(run_folder, header)
    run = _Runner(store, estimator, stack, n_jobs, progress)
    inner = {
        fold: _inner(stack, train, protocol, inner_folds)[:inner_tested]
        for fold, (train, _) in outer.items()
    }
    numbered = {  # the shuffle and fold under which the store keeps a training
        (1000 + fold, len(pairs) * c + k): (candidate, *pair)
        for fold, pairs in inner.items()
        for c, candidate in enumerate(candidates)
        for k, pair in enumerate(pairs)
    }
    run(numbered, f"{name}: search")
    searches = [
        _chosen(store, fold, len(candidates), len(pairs), score) for fold, pairs in inner.items()
    ]
    finals = {
        (trial, s["fold"]): (
            candidates[s["chosen"]] | dict(final or {}) | _seeded(estimator, trial),
            *outer[s["fold"]],
        )
        for trial in range(trials)
        for s in searches
    }
    run(finals, f"{name}: final trainings")
    partial = {} if only is None else {"only": sorted(outer)}
    return (
        header
        | partial
        | {"candidates": candidates, "searches": searches, "made_with": provenance()}
        | {"results": [store.get(*key) for key in finals]}
    )


class _Runner:
    """Runs numbered trainings that are not in the store yet."""

    def __init__(self, store, estimator, stack, n_jobs, progress):
        self.store, self.estimator, self.stack = store, estimator, stack
        self.n_jobs, self.progress = n_jobs, progress

    def __call__(self, numbered: dict[tuple[int, int], tuple], title: str) -> None:
        pending = [key for key in numbered if self.store.get(*key) is None]
        calls = (
            joblib.delayed(_train)(
                self.store.folder, key, self.estimator, self.stack, *numbered[key]
            )
            for key in pending
        )
        done = len(numbered) - len(pending)
        with tqdm(total=len(numbered), initial=done, desc=title, disable=not self.progress) as bar:
            runs = joblib.Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")(calls)
            for result in runs:
                self.store.put(result)
                bar.update()


def _train(folder, key, estimator, stack, parameters, train, test) -> dict:
    checkpoint = folder and folder / f"shuffle_{key[0]}_fold_{key[1]}.checkpoint"
    changed = clone(estimator).set_params(**parameters)
    result = evaluate_fold(changed, stack, train, test, checkpoint)
    return {"shuffle": key[0], "fold": key[1], "parameters": parameters} | result


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


def _chosen(store: FoldStore, fold: int, candidates: int, tested: int, score: str) -> dict:
    tables = [
        np.concatenate([store.get(1000 + fold, tested * c + k)["counts"] for k in range(tested)])
        for c in range(candidates)
    ]
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

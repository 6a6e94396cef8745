"""Cross-validation as a recorded result: splits, resumable folds, JSON records.

A record holds the counts of every test image of every fold, so that any score, average or
interval can be computed later without training again.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, KFold
from tqdm import tqdm

from graphseg import metrics, weights
from graphseg.datasets import LabelledStack
from graphseg.errors import InputError

PROTOCOLS = ("random", "acquisition", "date")


def splits(
    stack: LabelledStack, protocol: str = "acquisition", folds: int = 5, shuffle: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a stack into folds; every image is tested exactly once.

    Parameters
    ----------
    stack : LabelledStack
    protocol : {"acquisition", "date", "random"}
        What must stay on one side of a split: the frames of one focal or time series, the images
        of one day, or nothing. Frames of one series resemble each other, so random folds leak.
    folds : int, default 5
    shuffle : int, default 0
        Seed of the assignment; each value is another shuffle.

    Returns
    -------
    list of (train, test)
        Arrays of int64 indices into the stack, ``folds`` pairs.

    Raises
    ------
    InputError
        If the protocol is unknown or there are fewer groups than folds.
    """
    if protocol not in PROTOCOLS:
        raise InputError(
            f"The protocol {protocol!r} is unknown: use {' or '.join(map(repr, PROTOCOLS))}."
        )
    indices = np.arange(len(stack))
    groups = {"random": None, "acquisition": stack.groups, "date": stack.dates}[protocol]
    number = len(indices if groups is None else np.unique(groups))
    if not 2 <= folds <= number:
        raise InputError(
            f"{folds} folds cannot be made of {number} groups: use between 2 and {number} folds."
        )
    kind = KFold if protocol == "random" else GroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=shuffle)
    return list(splitter.split(indices, groups=groups))


def pixel_scorer(name: str, average: str = "pooled") -> Callable[..., float]:
    """Return a scikit-learn scorer for stacks of masks.

    Parameters
    ----------
    name : str
        One of :data:`graphseg.metrics.NAMES`.
    average : {"pooled", "per_image"}

    Returns
    -------
    callable
        ``scorer(estimator, images, masks) -> float``, for ``GridSearchCV(scoring=...)``.
    """
    if name not in metrics.NAMES:
        raise InputError(f"The score {name!r} is unknown: use one of {', '.join(metrics.NAMES)}.")

    def scorer(estimator: BaseEstimator, images: np.ndarray, masks: np.ndarray) -> float:
        return metrics.scores(metrics.counts(masks, estimator.predict(images)), average)[name]

    return scorer


def evaluate_fold(
    estimator: BaseEstimator,
    stack: LabelledStack,
    train: np.ndarray,
    test: np.ndarray,
    checkpoint: Path | None = None,
) -> dict:
    """Fit a clone on the training images and count its pixels on the test images.

    Parameters
    ----------
    estimator : BaseEstimator
    stack : LabelledStack
    train, test : array of int
        Indices into the stack.
    checkpoint : Path, optional
        Where an estimator that can continue a killed training keeps its state.

    Returns
    -------
    dict
        ``test`` (names), ``counts`` (n, 4), ``fit_seconds``, ``predict_seconds``, ``fitted`` (the
        numbers the estimator chose: its attributes that end in an underscore) and ``history``
        (its loss, step by step or epoch by epoch; empty where it keeps none).
    """
    estimator = clone(estimator)
    if checkpoint is not None and "checkpoint" in estimator.get_params():
        estimator.set_params(checkpoint=checkpoint)
    started = time.perf_counter()
    estimator.fit(stack.images[train], stack.masks[train])
    fitted = time.perf_counter()
    predicted = estimator.predict(stack.images[test])
    finished = time.perf_counter()
    return {
        "test": [stack.names[index] for index in test],
        "counts": metrics.counts(stack.masks[test], predicted).tolist(),
        "fit_seconds": round(fitted - started, 3),
        "predict_seconds": round(finished - fitted, 3),
        "fitted": {
            key: value
            for key, value in vars(estimator).items()
            if key.endswith("_") and isinstance(value, bool | int | float | str)
        },
        "history": _plain(getattr(estimator, "history_", [])),
    }


def cross_validate(
    estimator: BaseEstimator,
    stack: LabelledStack,
    name: str,
    protocol: str = "acquisition",
    folds: int = 5,
    shuffles: int = 1,
    run_folder: str | Path | None = None,
    n_jobs: int = 1,
    progress: bool = True,
) -> dict:
    """Cross-validate an estimator and return the record.

    Folds run through joblib, so ``joblib.parallel_config("dask")`` spreads them over machines.

    Parameters
    ----------
    estimator : BaseEstimator
        Unfitted; whatever it chooses, it chooses inside ``fit`` from the training images.
    stack : LabelledStack
    name : str
        Of the method, as tables show it.
    protocol, folds, shuffles
        See :func:`splits`; the shuffles 0, 1, … are all run.
    run_folder : path, optional
        Each finished fold is kept here as a file, and not run again.
    n_jobs : int, default 1
    progress : bool, default True

    Returns
    -------
    dict
        The record; :func:`write_record` puts it into a file.
    """
    parameters = describe(estimator)
    header = {
        "name": name,
        "protocol": protocol,
        "folds": folds,
        "shuffles": shuffles,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
    }
    jobs = [
        (shuffle, fold, *pair)
        for shuffle in range(shuffles)
        for fold, pair in enumerate(splits(stack, protocol, folds, shuffle))
    ]
    store = FoldStore(run_folder, {k: v for k, v in header.items() if k != "shuffles"})
    pending = [job for job in jobs if store.get(*job[:2]) is None]
    calls = (
        joblib.delayed(_run_fold)(store.folder, shuffle, fold, estimator, stack, train, test)
        for shuffle, fold, train, test in pending
    )
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(pending), desc=name, disable=not progress)
    with bar:
        runs = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(calls)
        for result in runs:
            store.put(result)
            bar.update()
    results = [store.get(*job[:2]) for job in jobs]
    return header | {"made_with": provenance(), "results": results}


def _plain(history: list | np.ndarray) -> list:
    return history.tolist() if isinstance(history, np.ndarray) else list(history)


def _run_fold(folder, shuffle, fold, estimator, stack, train, test) -> dict:
    checkpoint = folder and folder / f"shuffle_{shuffle}_fold_{fold}.safetensors"
    result = evaluate_fold(estimator, stack, train, test, checkpoint)
    return {"shuffle": shuffle, "fold": fold} | result


class FoldStore:
    """Finished folds, in memory and as one small file each.

    Parameters
    ----------
    folder : path or None
        Where the files are; None keeps them in memory only.
    header : dict
        What the folds belong to. Files of another header are refused.
    """

    def __init__(self, folder: str | Path | None, header: dict):
        self.folder = Path(folder) if folder is not None else None
        self.header = json.loads(json.dumps(header))
        self.results: dict[tuple[int, int], dict] = {}

    def get(self, shuffle: int, fold: int) -> dict | None:
        """Return a finished fold, or None."""
        path = self._path(shuffle, fold)
        if (shuffle, fold) not in self.results and path is not None and path.exists():
            stored = read_record(path)
            if stored["header"] != self.header:
                raise InputError(
                    f"The fold {path} is of another run: delete it or name another run folder."
                )
            self.results[shuffle, fold] = stored["result"]
        return self.results.get((shuffle, fold))

    def put(self, result: dict) -> None:
        """Keep a finished fold."""
        self.results[result["shuffle"], result["fold"]] = result
        path = self._path(result["shuffle"], result["fold"])
        if path is not None:
            write_record(path, {"header": self.header, "result": result})
            path.with_suffix(".safetensors").unlink(missing_ok=True)  # of a training now finished

    def _path(self, shuffle: int, fold: int) -> Path | None:
        return self.folder and self.folder / f"shuffle_{shuffle}_fold_{fold}.json"


def describe(estimator: BaseEstimator) -> dict:
    """Return the parameters of an estimator that JSON can hold and that belong to the result."""
    left_out = ("checkpoint", "progress", "verbose", "device")
    return {
        key: value
        for key, value in estimator.get_params().items()
        if key not in left_out and not isinstance(value, BaseEstimator)
    }


def provenance() -> dict:
    """Return what made a result: code revision, versions, hardware, time."""
    root = Path(__file__).resolve().parents[1]
    git = ["git", "-C", os.fspath(root)]
    revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    code = ["--", "graphseg", "requirements.lock"]  # what else has changed makes no difference
    status = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True, text=True)
    return {
        "revision": revision.stdout.strip() or "unknown",
        "uncommitted_changes": bool(status.stdout.strip()),
        "versions": weights.versions() | {"python": platform.python_version()},
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count()},
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_record(path: str | Path, record: dict) -> None:
    """Write a record as JSON, to a temporary name first."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_record(path: str | Path) -> dict:
    """Read a record.

    Raises
    ------
    InputError
        If the file is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"There is no record {path}: run the command that writes it.") from error
    except ValueError as error:
        raise InputError(f"The record {path} is no JSON: delete it and run it again.") from error


def fold_counts(record: dict) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (shuffle, fold, counts) of a record, counts as an array of shape (n, 4)."""
    for result in record["results"]:
        yield result["shuffle"], result["fold"], np.array(result["counts"], dtype=np.int64)


def summary(record: dict, average: str = "pooled") -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each score over folds and shuffles.

    Parameters
    ----------
    record : dict
        As :func:`cross_validate` returns it.
    average : {"pooled", "per_image"}
        Inside a fold, see :func:`graphseg.metrics.scores`.

    Returns
    -------
    dict of str to (mean, standard deviation)
        The deviation is that of single folds (``ddof=1``), not of the mean.
    """
    rows = [metrics.scores(table, average) for _, _, table in fold_counts(record)]
    columns = {name: np.array([row[name] for row in rows]) for name in metrics.NAMES}
    spread = 1 if len(rows) > 1 else 0
    return {name: (float(v.mean()), float(v.std(ddof=spread))) for name, v in columns.items()}

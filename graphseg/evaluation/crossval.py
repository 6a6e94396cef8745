"""Cross-validation as a recorded result: splits that do not leak, folds that are not run twice.

A record holds the counts of every test image of every fold, so that any score, average or
interval can be computed later without training again.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, KFold

from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.datasets.stack import as_mask
from graphseg.errors import InputError
from graphseg.evaluation.records import StepStore, describe, describe_data, fold_key, provenance

PROTOCOLS = ("random", "acquisition", "date")


def splits(
    stack: LabelledStack, protocol: str = "acquisition", folds: int = 5, shuffle: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split a stack into folds; every image is tested exactly once.

    Parameters
    ----------
    stack : LabelledStack
    protocol : {"acquisition", "date", "random"}
        What must stay on one side of a split: the frames of one focal or time series and of one
        place (:func:`graphseg.datasets.stack.group_of`), the images of one day, or nothing. Frames
        of one series resemble each other, so random folds leak.
    folds, shuffle : int, default 5 and 0
        Number of folds, and seed of the assignment; each value is another shuffle.

    Returns
    -------
    list of (train, test)
        Arrays of int64 indices into the stack, ``folds`` pairs.

    Raises
    ------
    InputError
        If the protocol is unknown or there are fewer groups than folds.

    Examples
    --------
    >>> import graphseg as gs
    >>> stack = gs.load_stack("simulated")
    >>> folds = splits(stack, "acquisition", folds=2)
    >>> [bool(set(stack.groups[a]) & set(stack.groups[b])) for a, b in folds]
    [False, False]
    """
    indices = np.arange(len(stack))
    groups = groups_of(stack, protocol)
    number = len(indices if groups is None else np.unique(groups))
    if not 2 <= folds <= number:
        raise InputError(
            f"{folds} folds cannot be made of {number} groups: use between 2 and {number} folds."
        )
    kind = KFold if protocol == "random" else GroupKFold
    splitter = kind(n_splits=folds, shuffle=True, random_state=shuffle)
    return list(splitter.split(indices, groups=groups))


def groups_of(stack: LabelledStack, protocol: str) -> np.ndarray | None:
    """Return what a protocol keeps together, (n,) str, None if random; InputError if unknown."""
    if protocol not in PROTOCOLS:
        raise InputError(
            f"The protocol {protocol!r} is unknown: use {' or '.join(map(repr, PROTOCOLS))}."
        )
    return {"random": None, "acquisition": stack.groups, "date": stack.dates}[protocol]


def pixel_scorer(name: str, average: str = "pooled") -> Callable[..., float]:
    """Return a scikit-learn scorer for stacks of masks.

    Parameters
    ----------
    name, average : str
        One of :data:`graphseg.metrics.NAMES`; ``"pooled"`` or ``"per_image"``.

    Returns
    -------
    callable
        ``scorer(estimator, images, masks) -> float``, for ``GridSearchCV(scoring=...)``.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> masks = np.eye(4, dtype=bool)[None]
    >>> perfect = SimpleNamespace(predict=lambda images: masks)
    >>> pixel_scorer("jaccard")(perfect, masks.astype(float), masks)
    1.0
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
    model: Path | None = None,
    extra: LabelledStack | None = None,
) -> dict:
    """Fit a clone on the training images and count its pixels on the test images.
    In `checkpoint` an estimator that can continue a killed training keeps its state; as `model` one
    that can be saved is saved, in half precision, with the images it was not trained on in its
    card. `extra` are further training images, of other data. Returns a dict of ``test`` (names),
    ``counts`` (n, 4), ``fit_seconds`` (of all epochs, also of those before an interruption),
    ``predict_seconds``, ``fitted`` (the numbers the estimator chose: its attributes that end in an
    underscore) and ``history`` (its loss, step by step or epoch by epoch; empty where it keeps
    none). With more than two classes also their ``confusion``."""
    estimator = clone(estimator)
    if checkpoint is not None and "checkpoint" in estimator.get_params():
        estimator.set_params(checkpoint=checkpoint)
    started = time.perf_counter()
    estimator.fit(*_training_part(stack, train, extra))
    fitted = time.perf_counter()
    # At its working pixel size if an estimator has one, as ``graphseg segment`` does.
    scaled = getattr(estimator, "working_pixel_size", None) is not None
    predict = estimator.predict_rescaled if scaled else estimator.predict
    predicted = predict(stack.images[test])
    finished = time.perf_counter()
    names = [stack.names[index] for index in test]
    table, confusion = _counted(stack.subset(test), predicted)
    if model is not None and hasattr(estimator, "save"):
        scores = {a: metrics.scores(table, a) for a in ("pooled", "per_image")}
        card = {"data_digest": stack.digest, "held_out": names, "held_out_scores": scores}
        estimator.save(model, half=True, card=card)
    return {
        "test": names,
        "counts": table.tolist(),
        **confusion,
        "fit_seconds": round(_seconds_of_training(estimator, fitted - started), 3),
        "predict_seconds": round(finished - fitted, 3),
        "fitted": {
            key: value
            for key, value in vars(estimator).items()
            if key.endswith("_") and isinstance(value, bool | int | float | str)
        },
        "history": np.asarray(getattr(estimator, "history_", [])).tolist(),
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
    only: Sequence[int] | None = None,
    extra: LabelledStack | None = None,
) -> dict:
    """Cross-validate an estimator and return the record.

    Folds run through joblib, so ``joblib.parallel_config("dask")`` spreads them over machines.

    Parameters
    ----------
    estimator : BaseEstimator
        Unfitted; whatever it chooses, it chooses inside ``fit`` from the training images.
    stack, name
        The images, and what tables call the method.
    protocol, folds, shuffles
        See :func:`splits`; the shuffles 0, 1, … are all run.
    run_folder : path, optional
        Each finished fold is kept here as a file, and not run again.
    n_jobs, progress
        Folds at a time, and whether to show a bar.
    only : sequence of int, optional
        Run these folds of each shuffle only, where all would take too long. The record says so
        under ``only``, and its images are those of these folds.
    extra : LabelledStack, optional
        Images of other data, for instance simulated ones, that are added to the training part of
        every fold and never tested. The record has their number and digest under ``extra``.

    Returns
    -------
    dict
        The record; :func:`graphseg.evaluation.records.write_record` puts it into a file.

    Raises
    ------
    InputError
        If a fold of ``only`` does not exist, or :func:`splits` cannot make the folds.

    Examples
    --------
    >>> import graphseg as gs
    >>> baseline = gs.BraggSegmenter(lattice_filter=False, smoothing=6.0, progress=False)
    >>> stack = gs.load_stack("simulated").subset(range(4))
    >>> record = gs.cross_validate(baseline, stack, "baseline", "random", folds=2, progress=False)
    >>> len(record["results"])
    2
    """
    if shuffles < 1:
        raise InputError(f"There cannot be {shuffles} shuffles; ask for one or more.")
    if only is not None and not set(only) <= set(range(folds)):
        raise InputError(f"The folds {list(only)} are not all among 0 to {folds - 1}: name those.")
    groups = groups_of(stack, protocol)
    parameters = describe(estimator)
    header = {
        "name": name,
        "protocol": protocol,
        "folds": folds,
        "shuffles": shuffles,
        "estimator": type(estimator).__name__,
        "parameters": parameters,
        "data": describe_data(stack),
        "groups": len(stack) if groups is None else len(np.unique(groups)),
    }
    if extra is not None:
        header["extra"] = {"images": len(extra), "digest": extra.digest}
    store = StepStore(run_folder, {k: v for k, v in header.items() if k != "shuffles"})
    steps = {
        fold_key(shuffle, fold): partial(
            _run_fold, store.folder, shuffle, fold, estimator, stack, *pair, extra
        )
        for shuffle in range(shuffles)
        for fold, pair in enumerate(splits(stack, protocol, folds, shuffle))
        if only is None or fold in only
    }
    results = store.finish(steps, name, n_jobs, progress)
    chosen = {} if only is None else {"only": sorted(set(only))}
    return header | chosen | {"made_with": provenance(), "results": results}


def _seconds_of_training(estimator: BaseEstimator, seconds: float) -> float:
    """Return how long a training took in all, where it keeps the time of each of its epochs."""
    # A training that was interrupted has spent less in this process, here `seconds`.
    epochs = [
        row.get("dur", 0.0) for row in getattr(estimator, "history_", []) if type(row) is dict
    ]
    return max(seconds, sum(epochs))


def _training_part(
    stack: LabelledStack, train: np.ndarray, extra: LabelledStack | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, H, W) and masks of the training part, with further ones behind them."""
    if extra is None:
        return stack.images[train], stack.targets[train]
    if extra.images.shape[1:] != stack.images.shape[1:]:
        raise InputError(
            f"The further images have shape {extra.images.shape[1:]}, the stack's "
            f"{stack.images.shape[1:]}: give images of one size."
        )
    return (
        np.concatenate([stack.images[train], extra.images]),
        np.concatenate([stack.targets[train], extra.targets]),
    )


def _counted(stack: LabelledStack, predicted: np.ndarray) -> tuple[np.ndarray, dict]:
    """Return the counts of contamination (n, 4), and the confusion of more classes."""
    if stack.labels is None:
        return metrics.counts(stack.masks, predicted), {}
    table = metrics.counts(stack.masks, as_mask(predicted, stack.classes.contamination))
    confusion = metrics.confusion(stack.labels, predicted, len(stack.classes))
    return table, {"confusion": confusion.tolist()}


def _run_fold(folder, shuffle, fold, estimator, stack, train, test, extra) -> dict:
    name = fold_key(shuffle, fold)
    checkpoint = folder and folder / f"{name}.checkpoint"
    model = folder and folder / f"{name}.safetensors"
    result = evaluate_fold(estimator, stack, train, test, checkpoint, model, extra)
    return {"shuffle": shuffle, "fold": fold} | result

"""Comparing recorded results: paired differences with confidence intervals, tables."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from graphseg import metrics
from graphseg.datasets.load import group_of
from graphseg.errors import InputError

# Enough that the ends of an interval move by a few units of the fourth decimal with the seed; with
# a hundred resamples they move in the third, which can change what an interval says.
RESAMPLES = 10_000


def image_counts(record: dict, shuffle: int = 0) -> dict[str, np.ndarray]:
    """Return the `metrics.counts` (4,) of each image in one shuffle of a record, by its name."""
    found = {}
    for result in record["results"]:
        if result["shuffle"] == shuffle:
            found |= dict(zip(result["test"], np.array(result["counts"], np.int64), strict=True))
    return found


def paired_difference(
    first: dict,
    second: dict,
    score: str = "jaccard",
    average: str = "pooled",
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    names: Collection[str] | None = None,
    zero_division: float = 1.0,
) -> tuple[float, float, float]:
    """Bootstrap the difference of two methods over groups of acquisitions.

    Both methods are scored on the same images, each as the mean over all shuffles that its record
    holds; where a record holds some folds only, on the images that both have. Groups (acquisitions,
    and places that several of them show), not images, are drawn with replacement, because the
    frames of a series are not independent. The chance of the training itself is not resampled.

    Parameters
    ----------
    first, second : dict
        Records of the same data set.
    score : str
        One of :data:`graphseg.metrics.NAMES`.
    average, zero_division
        Over all images, and the value of 0/0, see :func:`graphseg.metrics.scores`.
    resamples, seed : int
        Draws, and the seed of these.
    level : float, default 0.95
        Of the percentile interval.
    names : collection of str, optional
        Compare on these images only.

    Returns
    -------
    difference, low, high : float
        First minus second, and its confidence interval.

    Raises
    ------
    InputError
        If the records are of other images, or none is left.

    Examples
    --------
    >>> def record(hits):  # two images of two acquisitions: true and false positives, misses, rest
    ...     counts = [[hits, 0, 10 - hits, 90], [hits, 0, 10 - hits, 90]]
    ...     tested = {"shuffle": 0, "fold": 0, "test": ["a", "b"], "counts": counts}
    ...     return {"data": {"digest": "d"}, "shuffles": 1, "results": [tested]}
    >>> round(paired_difference(record(9), record(8))[0], 3)
    0.1
    """
    tables = [image_counts(record) for record in (first, second)]
    if "only" in first or "only" in second:  # some folds only: compare on the images of both
        names = set(tables[0]) & set(tables[1]) & set(tables[0] if names is None else names)
    chosen = [set(table) if names is None else set(table) & set(names) for table in tables]
    if not chosen[0] or chosen[0] != chosen[1]:
        raise InputError(
            f"The records {first['name']!r} and {second['name']!r} score different images: "
            "record both on one data set."
        )
    shared = sorted(chosen[0])
    weights = _drawn(shared, resamples, seed)
    values = [
        np.mean(
            [_reduced(t, weights, score, average, zero_division) for t in _shuffles(r, shared)],
            axis=0,
        )
        for r in (first, second)
    ]
    return _interval(values[0] - values[1], level)


def score_interval(
    record: dict,
    score: str = "jaccard",
    average: str = "pooled",
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    names: Collection[str] | None = None,
    zero_division: float = 1.0,
) -> tuple[float, float, float]:
    """Return a score as a mean over folds and shuffles, and its bootstrap interval over groups.
    The value is that of :func:`graphseg.evaluation.records.summary`; the parameters are those of
    :func:`paired_difference`. A fold of which no image was drawn is left out of that draw."""
    everything = sorted({name for result in record["results"] for name in result["test"]})
    kept = everything if names is None else [name for name in everything if name in names]
    weights = _drawn(kept, resamples, seed)
    place = {name: index for index, name in enumerate(kept)}
    folds = []
    for test, table in fold_tables(record, names):
        drawn = weights[:, [place[name] for name in test]]
        values = _reduced(table, drawn, score, average, zero_division)
        folds.append(np.where(drawn.any(axis=1), values, np.nan))
    return _interval(np.nanmean(folds, axis=0), level)


def verdict(low: float, high: float) -> str:
    """Say what a 95 % interval of `RESAMPLES` draws says: whether it excludes or includes zero."""
    # The ends move with the seed. Their standard error is about 0.7 % of the width of the interval
    # if the draws are normally distributed. Where zero is less than three of those from an end,
    # another seed could say another thing, and the verdict is "ends at zero".
    if min(abs(low), abs(high)) < 0.02 * (high - low):
        return "ends at zero"
    return "excludes zero" if low > 0 or high < 0 else "includes zero"


def fold_tables(record: dict, names: Collection[str] | None) -> Iterator[tuple[list, np.ndarray]]:
    """Yield names and counts (n, 4) of each fold; folds with no chosen image are left out."""
    for result in record["results"]:
        rows = [
            (name, counts)
            for name, counts in zip(result["test"], result["counts"], strict=True)
            if names is None or name in names
        ]
        if rows:
            test, counts = zip(*rows, strict=True)
            yield list(test), np.array(counts, np.int64)


def _shuffles(record: dict, names: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the counts (n, 4) of the named images, once for each shuffle that scored them all."""
    for shuffle in sorted({result["shuffle"] for result in record["results"]}):
        table = image_counts(record, shuffle)
        if set(names) <= set(table):
            yield np.array([table[name] for name in names])


def _drawn(names: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """Return how often each image is drawn, (resamples + 1, n) int; in row 0 each is there once."""
    groups = np.unique([group_of(name) for name in names], return_inverse=True)[1]
    number = groups.max() + 1
    generator = np.random.default_rng(seed)
    times = generator.multinomial(number, np.full(number, 1 / number), resamples)
    return np.vstack([np.ones(number, int), times])[:, groups]


def _reduced(
    table: np.ndarray, weights: np.ndarray, score: str, average: str, zero_division: float
) -> np.ndarray:
    """Score counts (n, 4) under each row of weights (r, n); the result is (r,) float."""
    if average == "pooled":
        return metrics.score_table(weights @ table, zero_division)[score]
    values = metrics.score_table(table, zero_division)[score]
    defined = np.isfinite(values)
    total = np.maximum(weights @ defined.astype(int), 1)
    return weights @ np.where(defined, values, 0.0) / total


def _interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Split the value of row 0 from the draws, and return it with their percentile interval."""
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(values[0]), float(low), float(high)

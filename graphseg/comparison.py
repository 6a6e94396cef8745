"""Comparing recorded results: paired differences with confidence intervals, tables."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphseg import metrics
from graphseg.datasets import group_of
from graphseg.errors import InputError
from graphseg.records import read_record, summary

RESULTS_FOLDER = Path(__file__).resolve().parents[1] / "data" / "results"


def image_counts(record: dict, shuffle: int = 0) -> dict[str, np.ndarray]:
    """Return the counts of every image in one shuffle of a record.

    Returns
    -------
    dict of str to ndarray of int64, shape (4,)
        Image name to true positive, false positive, false negative and true negative pixels.
    """
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
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    names: Collection[str] | None = None,
) -> tuple[float, float, float]:
    """Bootstrap the difference of two methods over acquisitions.

    Both methods are scored on the same images of shuffle 0; where a record holds some folds only,
    on the images that both have. Groups (acquisitions, and places that several of them show), not
    images, are drawn with replacement, because the frames of a series are not independent.

    Parameters
    ----------
    first, second : dict
        Records of the same data set.
    score : str
        One of :data:`graphseg.metrics.NAMES`.
    average : {"pooled", "per_image"}
        Over all images, see :func:`graphseg.metrics.scores`.
    resamples : int, default 2000
    level : float, default 0.95
        Of the percentile interval.
    seed : int, default 0
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
    """
    tables = [image_counts(record) for record in (first, second)]
    if "only" in first or "only" in second:  # some folds only: compare on the images of both
        names = set(tables[0]) & set(tables[1]) & set(tables[0] if names is None else names)
    if names is not None:
        tables = [{k: v for k, v in table.items() if k in names} for table in tables]
    if not tables[0] or set(tables[0]) != set(tables[1]):
        raise InputError(
            f"The records {first['name']!r} and {second['name']!r} score different images: "
            "record both on one data set."
        )
    shared = sorted(tables[0])
    both = np.array([[table[name] for name in shared] for table in tables])  # (2, n, 4)
    groups = np.unique([group_of(name) for name in shared], return_inverse=True)[1]
    members = [np.flatnonzero(groups == group) for group in range(groups.max() + 1)]
    generator = np.random.default_rng(seed)

    def difference(chosen: np.ndarray) -> float:
        values = [metrics.scores(table[chosen], average)[score] for table in both]
        return values[0] - values[1]

    draws = [
        difference(
            np.concatenate([members[i] for i in generator.choice(len(members), len(members))])
        )
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return difference(np.arange(len(shared))), float(low), float(high)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def score_rows(records: Mapping[str, dict], average: str) -> list[list[str]]:
    """Return one table row for each method: its label and six scores as mean ± spread of folds.

    The spaces do not break, so that a narrow column keeps mean and spread on one line.
    """
    rows = []
    for label, record in records.items():
        rows.append(
            [
                label,
                *(
                    f"{mean:.3f}\u00a0±\u00a0{spread:.3f}"
                    for mean, spread in summary(record, average).values()
                ),
            ]
        )
    return rows


def read_result(name: str) -> dict:
    """Read a recorded result of the project, ``data/results/NAME.json``."""
    return read_record(RESULTS_FOLDER / f"{name}.json")

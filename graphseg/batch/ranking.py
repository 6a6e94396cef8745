"""Sorting images by their clean, usable fraction, with an uncertainty for each image.

The clean fraction of an image is the fraction of all its pixels that are neither contaminated nor
excluded (vacuum). It comes from probability maps, so that it has an interval; ranks and their
ranges follow. `graphseg.batch.report` writes them as CSV and as a page with a sortable table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graphseg.errors import InputError

RESAMPLES = 1000  # of the bootstrap; takes a second


def clean_fractions(
    probabilities: Sequence[np.ndarray],
    threshold: float = 0.5,
    excluded: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Return the fraction of each image that is neither contaminated nor excluded.

    Parameters
    ----------
    probabilities
        n maps (H, W) of the probability of contamination, or bool masks; sizes may differ.
    threshold
        Probability at and above which a pixel counts as contaminated.
    excluded
        n masks (H, W) bool of what is not usable although it is clean, for instance vacuum.

    Returns
    -------
        (n,) float64 in [0, 1].

    Raises
    ------
    InputError
        If a map is no probability map, or the excluded masks have other sizes.
    """
    usable, sizes = _usable(probabilities, excluded)
    return np.array([np.sum(p < threshold) for p in usable]) / sizes


def clean_intervals(
    probabilities: Sequence[np.ndarray],
    level: float = 0.9,
    excluded: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Return an interval for each clean fraction: what it is at a lower and a higher threshold.

    Errors of a segmentation are not independent from pixel to pixel: an outline is drawn too wide
    or too narrow along its whole length. In the limit of full correlation all pixels of an image
    share one uniform random number U, and a pixel is contaminated where its probability is at
    least U. The clean fraction is then its value at the threshold U, and its central interval
    lies between the thresholds (1 - level)/2 and (1 + level)/2. Independent pixels would give a
    far shorter interval. What a level covers is a matter of measurement (`calibrated_level`).

    Parameters
    ----------
    probabilities, excluded
        As in `clean_fractions`.
    level
        In [0, 1]; 1 gives everything that is possible.

    Returns
    -------
        (n, 2) float64, lower and upper end; between them lies the fraction at threshold 0.5.

    Raises
    ------
    InputError
        If the level is outside [0, 1], or as in `clean_fractions`.
    """
    if not 0 <= level <= 1:
        raise InputError(f"A level of {level} is no probability; give a number from 0 to 1.")
    usable, sizes = _usable(probabilities, excluded)
    low, high = (1 - level) / 2, (1 + level) / 2
    counts = [(np.sum(p < low), np.sum(p <= high)) for p in usable]
    return np.array(counts) / sizes[:, None]


def calibrated_level(
    probabilities: Sequence[np.ndarray],
    labelled: ArrayLike,
    coverage: float = 0.9,
    excluded: Sequence[np.ndarray] | None = None,
) -> float:
    """Return the level at which `clean_intervals` covers labels as often as wanted.

    Nested conformal prediction (Gupta, Kuchibhotla & Ramdas, Pattern Recognition 127, 108496,
    2022): the score of a labelled image is the smallest level whose interval holds its labelled
    fraction, and the result is the ⌈(n + 1)·coverage⌉-th smallest of the n scores. A new image
    that is exchangeable with these is then covered with at least that probability. Frames of one
    acquisition are not exchangeable with others: calibrate on other acquisitions.

    Parameters
    ----------
    probabilities, excluded
        As in `clean_fractions`, of images that the segmenter was not trained on.
    labelled
        (n,) clean fractions according to the labels, with the same pixels excluded.
    coverage
        Wanted fraction of images whose interval holds the labelled fraction.

    Returns
    -------
        In [0, 1]; 1 where there are too few images for the coverage wanted.

    Raises
    ------
    InputError
        If the numbers of maps and fractions differ, or as in `clean_fractions`.
    """
    usable, sizes = _usable(probabilities, excluded)
    labelled = _one_each(labelled, len(usable), "labelled fractions")
    scores = [_score(p, round(c * n)) for p, c, n in zip(usable, labelled, sizes, strict=True)]
    place = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else 1.0


def _score(probability: np.ndarray, clean: int) -> float:
    """Return the smallest level whose interval holds a count of clean pixels."""
    ordered = np.sort(probability)
    needs = [0.0]
    if clean < len(ordered):
        needs.append(1 - 2 * float(ordered[clean]))
    if clean > 0:
        needs.append(2 * float(ordered[min(clean, len(ordered)) - 1]) - 1)
    return max(needs)


def _usable(
    probabilities: Sequence[np.ndarray], excluded: Sequence[np.ndarray] | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the probabilities outside the excluded pixels, and the number of all pixels."""
    maps = [np.asarray(p) for p in probabilities]
    for index, p in enumerate(maps):
        if p.ndim != 2 or not p.size or not ((p >= 0) & (p <= 1)).all():
            raise InputError(
                f"Map {index} of shape {p.shape} is no probability map: give (H, W) in [0, 1]."
            )
    sizes = np.array([p.size for p in maps])
    if excluded is None:
        return [p.ravel() for p in maps], sizes
    masks = [np.asarray(m, dtype=bool) for m in excluded]
    if [m.shape for m in masks] != [p.shape for p in maps]:
        raise InputError("The excluded masks do not match the maps; give one of each map's size.")
    return [p[~m] for p, m in zip(maps, masks, strict=True)], sizes


def _one_each(values: ArrayLike, number: int, what: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if len(values) != number or values.ndim == 0:
        raise InputError(f"{number} images have {values.size} {what}; give one for each image.")
    return values


@dataclass(frozen=True, eq=False)
class Ranking:
    """Images in order of their clean fraction, the cleanest first.

    Attributes
    ----------
    names
        n names in order.
    index
        (n,) int, place of each image in what was ranked: ``images[ranking.index]`` is in order.
    fraction
        (n,) clean fraction.
    low, high
        (n,) ends of its interval; equal to `fraction` where none was given.
    labelled
        (n,) clean fraction according to labels, NaN where unknown.
    """

    names: tuple[str, ...]
    index: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray
    labelled: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def rank_range(self) -> np.ndarray:
        """Best and worst rank of each image that the intervals allow; (n, 2) int, from 1."""
        surely_better = len(self) - np.searchsorted(np.sort(self.low), self.high, "right")
        surely_worse = np.searchsorted(np.sort(self.high), self.low, "left")
        return np.column_stack([1 + surely_better, len(self) - surely_worse])


def rank(
    names: Sequence[str],
    fractions: ArrayLike,
    intervals: ArrayLike | None = None,
    labelled: ArrayLike | None = None,
) -> Ranking:
    """Rank images by their clean fraction, the cleanest first; names decide between equals.

    Parameters
    ----------
    names
        n names.
    fractions
        (n,) from `clean_fractions`.
    intervals
        (n, 2) from `clean_intervals`, or from the spread over several models.
    labelled
        (n,) clean fractions according to labels.

    Raises
    ------
    InputError
        If there is not one value for each name, a fraction is not finite, or lies outside its
        interval.
    """
    fractions = _one_each(fractions, len(names), "fractions")
    known = np.full(len(names), np.nan) if labelled is None else labelled
    known = _one_each(known, len(names), "labelled fractions")
    ends = np.column_stack([fractions] * 2) if intervals is None else intervals
    ends = _one_each(ends, len(names), "intervals").reshape(len(names), 2)
    low, high = ends.T
    if not ((low <= fractions) & (fractions <= high)).all():
        raise InputError(
            "A clean fraction is not finite or lies outside its interval; make both from the same "
            "maps."
        )
    order = np.lexsort((np.asarray(names), -fractions))
    return Ranking(
        tuple(names[i] for i in order), order, fractions[order], low[order], high[order],
        known[order],
    )  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation and the ends of its 95 % bootstrap interval."""

    spearman: float
    low: float
    high: float


def rank_agreement(
    fractions: ArrayLike, labelled: ArrayLike, groups: ArrayLike | None = None, seed: int = 0
) -> Agreement:
    """Return Spearman's rank correlation between predicted and labelled clean fractions.

    Parameters
    ----------
    fractions, labelled
        (n,) each, not constant.
    groups
        (n,) acquisition of each image; whole acquisitions are drawn, because the frames of a
        series resemble each other. By default each image stands for itself.
    seed
        Of the bootstrap (percentile method).

    Raises
    ------
    InputError
        If lengths differ, there are fewer than three groups, or one side is constant.
    """
    fractions = np.asarray(fractions, dtype=float)
    labelled = _one_each(labelled, len(fractions), "labelled fractions")
    groups = np.arange(len(fractions)) if groups is None else np.asarray(groups)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    if len(members) < 3 or np.ptp(fractions) == 0 or np.ptp(labelled) == 0:
        raise InputError(
            "A rank correlation needs at least three images (or groups) of different fractions; "
            "give more."
        )

    rng = np.random.default_rng(seed)
    draws = rng.integers(len(members), size=(RESAMPLES, len(members)))
    chosen = (np.concatenate([members[i] for i in draw]) for draw in draws)
    values = [_spearman(fractions[c], labelled[c]) for c in chosen]
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Agreement(_spearman(fractions, labelled), float(low), float(high))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")  # equal values have no order
    return float(stats.spearmanr(first, second).statistic)

"""The bootstrap of whole acquisitions, whose frames resemble each other, and correlations by it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graphseg.errors import InputError
from graphseg.evaluation.quality import one_each

DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles


def drawn_images(groups: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the images of each draw: as many groups as there are, with replacement.

    Parameters
    ----------
    groups
        (n,) acquisition of each image.
    draws, seed
        How many, and where the random numbers start.

    Yields
    ------
        Places of images, int, of any number.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.concatenate(
            [members[i] for i in generator.integers(len(members), size=len(members))]
        )


def correlation(
    expected: np.ndarray,
    measured: np.ndarray,
    groups: np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Return Pearson's and Spearman's correlation with intervals of a bootstrap of acquisitions.

    Parameters
    ----------
    expected, measured
        (n,) each.
    groups
        (n,) acquisitions.
    draws, seed
        Of the bootstrap.

    Returns
    -------
        ``"pearson"`` and ``"spearman"``, each with value, lower and upper end; 0 where all values
        are equal and tell nothing.
    """
    drawn, result = list(drawn_images(groups, draws, seed)), {}
    for name, of in (("pearson", np.asarray), ("spearman", stats.rankdata)):
        value = _correlation(of(expected), of(measured))
        values = [_correlation(of(expected[i]), of(measured[i])) for i in drawn]
        ends = (0.0, 0.0) if np.isnan(value) else np.nanpercentile(values, INTERVAL)
        result[name] = [float(np.nan_to_num(value)), *map(float, ends)]
    return result


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) < 1e-9 or np.ptp(second) < 1e-9:
        return np.nan  # equal values have no order
    return float(np.corrcoef(first, second)[0, 1])


class Agreement(NamedTuple):
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
        (n,) acquisition of each image; by default each image stands for itself.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If lengths differ, there are fewer than three groups, or one side is constant.
    """
    fractions = np.asarray(fractions, dtype=float)
    labelled = one_each(labelled, len(fractions), "labelled fractions")
    groups = np.arange(len(fractions)) if groups is None else np.asarray(groups)
    if len(np.unique(groups)) < 3 or np.ptp(fractions) == 0 or np.ptp(labelled) == 0:
        raise InputError(
            "A rank correlation needs at least three images (or groups) of different fractions; "
            "give more."
        )
    return Agreement(*correlation(fractions, labelled, groups, seed=seed)["spearman"])

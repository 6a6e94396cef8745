"""Ranking images by their clean, usable fraction, with the ranks that its uncertainty allows.

The fractions and their intervals come from `graphseg.evaluation.quality`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from graphseg.errors import InputError
from graphseg.evaluation.quality import one_each


@dataclass(frozen=True, eq=False)
class Ranking:
    """Images in order of their clean fraction, the cleanest first."""

    names: tuple[str, ...]
    index: np.ndarray  # (n,) int, place of each in what was ranked: images[index] is in order
    fraction: np.ndarray  # (n,) clean fraction
    low: np.ndarray  # (n,) ends of its interval; equal to the fraction where none was given
    high: np.ndarray
    labelled: np.ndarray  # (n,) clean fraction according to labels, NaN where unknown

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

    Examples
    --------
    >>> ranking = rank(["dull", "best"], [0.4, 0.9])
    >>> list(ranking.names), ranking.index.tolist()
    (['best', 'dull'], [1, 0])
    """
    fractions = one_each(fractions, len(names), "fractions")
    known = np.full(len(names), np.nan) if labelled is None else labelled
    known = one_each(known, len(names), "labelled fractions")
    ends = np.column_stack([fractions] * 2) if intervals is None else intervals
    ends = one_each(ends, len(names), "intervals").reshape(len(names), 2)
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

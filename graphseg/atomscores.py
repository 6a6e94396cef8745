"""Atoms found against atoms known: recall, precision, and the error of positions."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from graphseg.errors import InputError


@dataclass(frozen=True)
class AtomScores:
    """How well atoms were found.

    Attributes
    ----------
    recall
        Share of the true atoms that were found; NaN without any.
    precision
        Share of the found atoms that are true; NaN without any.
    error
        Root mean square distance of the pairs, in the unit of the positions; NaN without any.
    true
        Number of true atoms.
    """

    recall: float
    precision: float
    error: float
    true: int


def score_atoms(
    found: np.ndarray, true: np.ndarray, tolerance: float, inside: np.ndarray | None = None
) -> AtomScores:
    """Pair found and true atoms that are each other's nearest within a tolerance.

    Parameters
    ----------
    found, true
        (n, 2) and (m, 2) float, (row, column), both in the same unit.
    tolerance
        Largest distance of a pair.
    inside
        (H, W) bool, with positions in pixels: only true atoms inside count for the recall, and
        only found atoms inside for the precision. Partners may lie outside, so that an atom on
        the line is not called wrong.

    Raises
    ------
    InputError
        If the tolerance is not positive.
    """
    if not tolerance > 0:
        raise InputError(f"A tolerance of {tolerance} pairs nothing; give a positive length.")
    found, true = (np.reshape(np.asarray(p, float), (-1, 2)) for p in (found, true))
    pairs = _mutual(found, true, tolerance)
    counted_found, counted_true = (_inside(p, inside) for p in (found, true))
    hit_found, hit_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    hit_found[pairs[:, 0]], hit_true[pairs[:, 1]] = True, True
    chosen = counted_true[pairs[:, 1]]
    distance = np.linalg.norm(found[pairs[chosen, 0]] - true[pairs[chosen, 1]], axis=1)
    return AtomScores(
        recall=_mean(hit_true[counted_true]),
        precision=_mean(hit_found[counted_found]),
        error=float(np.sqrt(np.mean(distance**2))) if len(distance) else float("nan"),
        true=int(counted_true.sum()),
    )


def _mutual(first: np.ndarray, second: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the pairs (k, 2) of indices that are each other's nearest within the tolerance."""
    if not len(first) or not len(second):
        return np.empty((0, 2), int)
    distance, there = cKDTree(second).query(first)
    _, back = cKDTree(first).query(second)
    mine = np.arange(len(first))
    kept = (distance <= tolerance) & (back[there] == mine)
    return np.column_stack([mine, there])[kept]


def _inside(positions: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    if inside is None:
        return np.ones(len(positions), bool)
    pixels = np.rint(positions).astype(int)
    within = ((pixels >= 0) & (pixels < inside.shape)).all(axis=1)
    rows, columns = np.where(within[:, None], pixels, 0).T
    return within & inside[rows, columns]


def _mean(hits: np.ndarray) -> float:
    return float(hits.mean()) if len(hits) else float("nan")

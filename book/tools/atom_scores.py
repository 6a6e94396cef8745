"""How well atoms were found, where the true ones are known."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from graphseg.errors import InputError
from graphseg.structure.atoms import is_true_at


@dataclass(frozen=True)
class AtomScores:
    """How well atoms were found.

    Attributes
    ----------
    recall
        Fraction of the true atoms that were found; NaN without any.
    precision
        Fraction of the found atoms that are true; NaN without any.
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
    counted_found, counted_true = (
        np.ones(len(p), bool) if inside is None else is_true_at(inside, p) for p in (found, true)
    )
    hit_found, hit_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    distance = np.empty(0)
    if len(found) and len(true):
        away, there = cKDTree(true).query(found)
        back = cKDTree(found).query(true)[1]
        hit_found = (away <= tolerance) & (back[there] == np.arange(len(found)))
        partners = there[hit_found]
        hit_true[partners] = True
        chosen = counted_true[partners]
        distance = np.linalg.norm(found[hit_found][chosen] - true[partners[chosen]], axis=1)
    return AtomScores(
        recall=_mean(hit_true[counted_true]),
        precision=_mean(hit_found[counted_found]),
        error=float(np.sqrt(_mean(distance**2))),
        true=int(counted_true.sum()),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")

"""Recall, precision and error of positions on cases whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.tools.atom_scores import score_atoms
from graphseg.errors import InputError

GRID = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), indexing="ij"), -1).reshape(-1, 2)


def test_a_shift_is_the_error_and_extra_and_missing_atoms_are_counted():
    found = np.concatenate([GRID[:80] + np.array([0.1, 0.0]), [[4.5, 4.5], [5.5, 5.5]]])
    scores = score_atoms(found, GRID, 0.3)
    assert scores.recall == 0.8 and scores.precision == 80 / 82 and scores.true == 100
    assert scores.error == pytest.approx(0.1)


def test_the_error_is_the_root_mean_square_of_the_distances():
    found = GRID[:4] + np.array([[0.0, 0.0], [0.3, 0.0], [0.0, -0.4], [0.0, 0.0]])
    assert score_atoms(found, GRID, 0.45).error == pytest.approx(np.sqrt((0.09 + 0.16) / 4))


def test_two_found_atoms_do_not_share_a_true_one():
    scores = score_atoms([[0.0, 0.1], [0.0, -0.2]], [[0.0, 0.0]], 0.5)
    assert scores.recall == 1 and scores.precision == 0.5 and scores.error == pytest.approx(0.1)


def test_only_the_inside_counts_but_partners_may_lie_outside():
    inside = np.zeros((10, 10), bool)
    inside[:, :5] = True
    true = GRID + 0.3
    found = true + np.array([0.0, 0.4])  # those of column 4 are found outside
    scores = score_atoms(found, true, 0.5, inside)
    assert scores.true == 50 and scores.recall == 1


def test_nothing_found_or_nothing_there():
    assert score_atoms(np.empty((0, 2)), GRID, 1).recall == 0
    assert np.isnan(score_atoms(np.empty((0, 2)), GRID, 1).precision)
    assert np.isnan(score_atoms(GRID, np.empty((0, 2)), 1).recall)
    with pytest.raises(InputError, match="positive"):
        score_atoms(GRID, GRID, 0)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_atoms_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    found, true = rng.uniform(0, 5, (20, 2)), rng.uniform(0, 5, (15, 2))
    shuffled = score_atoms(rng.permutation(found), rng.permutation(true), 0.5)
    plain = score_atoms(found, true, 0.5)
    assert (plain.recall, plain.precision) == (shuffled.recall, shuffled.precision)

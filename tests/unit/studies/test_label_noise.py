"""Tolerance bands and disagreements on discs whose areas are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from book.studies.label_noise import (
    TOLERANCES,
    agreed_labels,
    edge_distance,
    largest_disagreements,
    tolerant_counts,
)
from graphseg import metrics
from graphseg.errors import InputError


def disc(radius, centre=(50, 50), shape=(101, 101)):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def test_distance_from_a_straight_edge_is_the_number_of_columns():
    mask = np.zeros((6, 9), bool)
    mask[:, 4:] = True
    np.testing.assert_array_equal(edge_distance(mask), [[4, 3, 2, 1, 1, 2, 3, 4, 5]] * 6)


def test_distance_from_a_disc_is_the_radius_less_that_of_the_pixel():
    rows, columns = np.indices((101, 101))
    expected = np.abs(np.hypot(rows - 50, columns - 50) - 30)
    # The edge lies half a pixel from each class on average, and never more than one and a half.
    assert np.abs(edge_distance(disc(30)) - expected).max() < 1.5


@pytest.mark.parametrize("value", [False, True])
def test_one_class_has_no_edge(value):
    mask = np.full((5, 7), value)
    assert np.isinf(edge_distance(mask)).all()
    table = tolerant_counts(mask[None], mask[None], (0, 100))
    assert (table[0] == table[1]).all()
    assert table.sum() == 70


@given(arrays(bool, (2, 6, 5)), arrays(bool, (2, 6, 5)))
def test_no_tolerance_counts_everything_and_more_tolerance_counts_less(true, predicted):
    table = tolerant_counts(true, predicted)
    np.testing.assert_array_equal(table[0], metrics.counts(true, predicted))
    assert (np.diff(table, axis=0) <= 0).all()


def test_a_disc_drawn_two_pixels_too_wide_is_right_beyond_that():
    label, wide = disc(30)[None], disc(32)[None]
    table = tolerant_counts(label, wide)
    assert TOLERANCES == (0, 1, 2, 4)
    excess = disc(32).sum() - disc(30).sum()
    np.testing.assert_array_equal(table[0, 0, 1:3], [excess, 0])
    assert excess > table[1, 0, 1] > table[2, 0, 1]  # the rest of a seam about 2 pixels wide
    assert table[3, 0, 1] == 0
    scores = metrics.scores(table[3])
    assert scores["jaccard"] == 1.0
    # What is left out inside is the disc less one 4 pixels smaller, up to the pixels of the edge.
    kept = table[3, 0, 0]
    assert disc(25.5).sum() <= kept <= disc(26.5).sum()


def test_a_hole_far_from_the_edge_costs_the_same_with_any_tolerance():
    label, holed = disc(40)[None], (disc(40) & ~disc(10))[None]
    table = tolerant_counts(label, holed)
    assert (table[:, 0, 2] == disc(10).sum()).all()


def scene():
    """Label with one disc; both methods see another one and miss a part of the first."""
    label = disc(15, (25, 25))
    extra, missed = disc(12, (75, 75)), disc(5, (25, 25))
    first = (label & ~missed) | extra | disc(6, (80, 20))  # the last is seen by one method only
    second = (label & ~missed) | extra
    return label, {"first": first, "second": second}, extra, missed


def test_regions_of_agreement_against_the_label_are_found_with_their_areas():
    label, predictions, extra, missed = scene()
    labels = np.stack([np.zeros_like(label), label])
    stacks = {name: np.stack([np.zeros_like(p), p]) for name, p in predictions.items()}
    found = largest_disagreements(labels, stacks)
    assert [(d.image, d.area, d.labelled) for d in found] == [
        (1, extra.sum(), False),
        (1, missed.sum(), True),
    ]
    assert found[0].box == (slice(63, 88), slice(63, 88))
    assert largest_disagreements(labels, stacks, count=1) == found[:1]


def test_agreed_labels_turn_over_what_all_methods_deny():
    label, predictions, extra, missed = scene()
    agreed = agreed_labels(label[None], {k: p[None] for k, p in predictions.items()})
    np.testing.assert_array_equal(agreed[0], (label & ~missed) | extra)


def test_a_seam_along_the_edge_counts_without_tolerance_only():
    labels, predictions = disc(30)[None], {"wide": disc(31)[None]}
    (seam,) = largest_disagreements(labels, predictions, tolerance=0)
    assert seam.area == disc(31).sum() - disc(30).sum()
    assert largest_disagreements(labels, predictions, tolerance=2) == []


def test_wrong_input_is_refused():
    label = disc(5)
    with pytest.raises(InputError, match="no edge"):
        edge_distance(label[None])
    with pytest.raises(InputError, match="cannot be compared"):
        tolerant_counts(label, label)
    with pytest.raises(InputError, match="cannot be compared"):
        tolerant_counts(label[None], label[None, 1:])
    with pytest.raises(InputError, match="0 or above"):
        tolerant_counts(label[None], label[None], (0, -1))
    with pytest.raises(InputError, match="no predictions"):
        agreed_labels(label[None], {})
    with pytest.raises(InputError, match="cannot be compared"):
        largest_disagreements(label[None], {"short": label[None, 1:]})

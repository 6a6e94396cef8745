"""Figures of simulated training show what they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from book.tools import figures
from graphseg import simulation


def record_of(jaccard):
    """Return a record of two folds with one image each, whose index is given."""
    results = [
        {"shuffle": 0, "fold": fold, "test": [str(fold)], "counts": [[value, 100 - value, 0, 50]]}
        for fold, value in enumerate(jaccard)
    ]
    return {"results": results}


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_the_sheet_keeps_the_order_and_numbers_from_one(axes):
    images = [np.linspace(0, 1, 64).reshape(8, 8) + k for k in range(5)]
    images[3] = images[3].T
    figures.show_sheet(axes, images, 3)
    sheet = axes.images[0].get_array()
    side = 8 + figures.SHEET_GAP
    assert sheet.shape == (2 * side, 3 * side - figures.SHEET_GAP)
    np.testing.assert_array_equal(sheet[side : side + 8, :8], sheet[:8, :8].T)
    assert [text.get_text() for text in axes.texts] == list("12345")


def test_the_curve_shows_mean_and_spread_and_no_labels_at_one_half(axes):
    curves = {"a": {0: record_of([70, 80]), 4: record_of([80, 90])}, "b": {4: record_of([50, 50])}}
    figures.show_label_curve(axes, curves, "pooled")
    first = axes.containers[0]
    np.testing.assert_allclose(first.lines[0].get_xdata(orig=False), [0.5, 4])
    np.testing.assert_allclose(first.lines[0].get_ydata(orig=False), [0.75, 0.85])
    segment = first.lines[2][0].get_segments()[0]
    np.testing.assert_allclose(np.ptp(segment[:, 1]), 2 * np.std([0.7, 0.8], ddof=1))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "4"]
    assert axes.get_ylabel() == "Jaccard index pooled"


def test_the_last_point_is_named_as_all_of_them(axes):
    curves = {"a": {4: record_of([80, 90]), 87: record_of([85, 95])}}
    figures.show_label_curve(axes, curves, "pooled", most=87)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "all (87)"]


def test_steps_run_from_top_to_bottom(axes):
    figures.show_steps(axes, {"naive": [0.5], "final": [0.9, 0.8]}, [0.91, 0.92, 0.9])
    drawn = [line.get_xydata().tolist() for line in axes.lines]
    assert drawn[:2] == [[[0.5, 0]], [[0.9, 1], [0.8, 1]]]
    assert drawn[2] == [[0.91, 2], [0.92, 2], [0.9, 2]]
    low, high = axes.get_ylim()
    assert low > high
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["naive", "final", "full trainings, other seeds"]


def test_a_sample_is_shown_with_its_outlines(axes):
    sample = next(
        s
        for s in (simulation.simulate(3, i) for i in range(20))
        if s.mask.any() and s.boundary.any()
    )
    figures.show_sample(axes, sample, "focus")
    assert axes.get_title() == "focus"
    assert len(axes.collections) >= 2

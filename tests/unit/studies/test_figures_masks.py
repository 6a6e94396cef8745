"""The figures of trust show the values that they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from book.studies import figures
from book.studies.clean_sheets import Sheet


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    figure.canvas.draw()
    plt.close(figure)


def test_a_sheet_shows_both_outlines(axes):
    near = np.zeros((20, 20), bool)
    near[:5] = True
    sheet = Sheet(
        "loop", np.eye(20), ~near & near, near, ~near & near, np.zeros((1, 2)), 0.4, 1e4, "white"
    )
    figures.show_sheet(axes, sheet, near.T)
    assert axes.get_title() == "loop"
    assert len(axes.collections) >= 2
    assert len(axes.images) == 2  # the micrograph and the tint of the mask


def test_fractions_above_the_target_are_bold(axes):
    verdicts = {"a": {"loop": 0.0, "hole": 0.03}, "b": {"loop": 0.5, "hole": 0.02}}
    shown = figures.show_fractions(axes, verdicts, 0.02)
    np.testing.assert_allclose(shown.get_array(), [[0, 3], [50, 2]])
    weights = {text.get_text(): text.get_weight() for text in axes.texts}
    assert weights == {"0.0": "normal", "3.0": "bold", "50.0": "bold", "2.0": "normal"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b"]


def test_empty_bins_leave_gaps(axes):
    found = {"predicted": [0.1, None, 0.9], "observed": [0.2, None, 0.8], "error": 0.01}
    figures.show_reliability(axes, {"none": found})
    line = axes.lines[1]
    np.testing.assert_array_equal(line.get_ydata(), [0.2, np.nan, 0.8])
    assert "0.0100" in axes.get_legend().get_texts()[0].get_text()


def test_expected_values_have_their_intervals(axes):
    expected = np.array([[0.8, 0.7, 0.85], [0.9, 0.8, 0.95]])
    figures.show_expected(axes, expected, np.array([0.75, 0.92]))
    segments = axes.collections[0].get_segments()
    np.testing.assert_allclose(segments[0][:, 1], [0.7, 0.85])
    np.testing.assert_allclose(segments[1][:, 1], [0.8, 0.95])


def test_precision_and_recall_are_drawn_at_their_thresholds(axes):
    rows = [{"threshold": t, **{f"{n}{e}": v for n, v in (("precision", t), ("recall", 1 - t))
             for e in ("", "_low", "_high")}} for t in (0.2, 0.5)]  # fmt: skip
    figures.show_trade(axes, rows)
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.2, 0.2], [0.5, 0.5]])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [0.8, 0.5])


def test_methods_have_the_names_of_the_pages_in_one_order():
    found = figures.in_order({"fold_1": 1, "default": 2, "bragg": 3, "unknown": 4})
    assert list(found.items()) == [
        ("Bragg filter", 3), ("our network", 2), ("our network, fold 1", 1),
    ]  # fmt: skip

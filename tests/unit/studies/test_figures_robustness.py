"""Figures of out-of-distribution images and of robustness show the numbers that they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from book.studies.figures import (
    attack_title,
    show_curve,
    show_images,
    show_scores,
    show_training,
)
from book.studies.ood import SetImage


@pytest.fixture
def axes():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_every_image_is_a_point_in_the_row_of_its_kind(axes):
    show_scores(axes, {"known": [0.5, 0.7], "film": [2.0, None, 1e6]})
    points = [line.get_xydata() for line in axes.lines[:2]]
    np.testing.assert_allclose(points[0][:, 0], [0.5, 0.7])
    np.testing.assert_allclose(points[1][:, 0], [2.0, 30.0])
    assert np.abs(points[1][:, 1] - 1).max() <= 0.25
    assert [label.get_text() for label in axes.get_yticklabels()] == ["held-out images", "film"]


def test_a_curve_has_a_line_for_each_method(axes):
    methods = {name: {"pooled": [0.8, 0.2], "per_image": [0.7, 0.1]} for name in ("bragg", "unet")}
    show_curve(axes, {"strengths": [0, 1], "unit": "px", "methods": methods}, average="per_image")
    assert [line.get_label() for line in axes.lines] == ["Bragg filter", "our network, one view"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [0.7, 0.1])
    assert axes.get_xlabel() == "px"


def test_an_attack_names_the_method_that_it_was_made_for():
    assert attack_title("PGD on unet") == "PGD, made for\nour network, one view"
    assert attack_title("random signs on unet") == "random signs"


def test_trainings_are_bars_beside_each_other(axes):
    show_training(axes, {"plain": {"a": 0.5, "b": 0.4}, "noise": {"a": 0.6, "b": 0.3}})
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [0.5, 0.4, 0.6, 0.3]
    left, right = axes.patches[0], axes.patches[2]
    assert left.get_x() + left.get_width() == pytest.approx(right.get_x())


def test_images_are_shown_with_their_kind(axes):
    show_images([axes], [SetImage("film", np.eye(16, dtype=np.float32))])
    assert axes.get_title() == "film"

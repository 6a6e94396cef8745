"""Figures of orientation, boundaries and classes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from graphseg.colours import CLASS_COLOURS
from graphseg.plotting.structure import (
    add_orientation_key,
    orientation_image,
    overlay_boundaries,
    show_classes,
    show_orientation,
)
from graphseg.structure.boundaries import find_boundaries
from graphseg.structure.classes import ClassMap
from graphseg.structure.orientation import map_orientation
from tests.helpers import lattices


@pytest.fixture(scope="module")
def image():
    grains = lattices.half_planes((60, 60), 0.0)
    return lattices.polycrystal((120, 120), 0.4, (0.1, 0.5), grains)


@pytest.fixture(scope="module")
def orientation(image):
    return map_orientation(image, lattices.disc((120, 120), (100, 20), 18))


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_orientation_image(orientation):
    colours = orientation_image(orientation)
    assert colours.shape == (120, 120, 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    assert np.allclose(colours[100, 20], 0.5)
    left, right = colours[30:80, 10:40].reshape(-1, 3), colours[30:80, 80:110].reshape(-1, 3)
    assert np.abs(left.mean(axis=0) - right.mean(axis=0)).max() > 0.1
    assert left.std(axis=0).max() < 0.1


def test_orientation_with_key_and_boundaries(axes, image, orientation):
    show_orientation(axes, orientation, "orientation")
    key = add_orientation_key(axes)
    overlay_boundaries(axes, find_boundaries(image, orientation=orientation))
    assert axes.get_title() == "orientation"
    assert any("°" in text.get_text() for text in axes.texts)
    assert any("Å" in text.get_text() or "nm" in text.get_text() for text in axes.texts)
    (line,) = axes.lines
    assert line.get_color() == CLASS_COLOURS["boundary"]
    assert axes.get_xlim() == (-0.5, 119.5)
    wheel = key.images[0].get_array()
    assert np.allclose(wheel[64, -5, :3], wheel[-5 - 8, 96 - 1, :3], atol=0.1)  # 0° and 60°


def test_classes(axes):
    labels = np.zeros((40, 60), np.uint8)
    labels[:10] = 3
    shown = show_classes(axes, ClassMap(labels, (), float("nan")), "classes")
    assert shown.get_array().shape == (40, 60, 3)
    assert any("px" in text.get_text() for text in axes.texts)

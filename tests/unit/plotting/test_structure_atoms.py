"""Bonds and rings are drawn where they are, in the colour of their direction or size."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from graphseg.plotting import structure
from graphseg.structure.rings import Defect, find_rings

HEXAGON = 10 + 5 * np.stack([np.sin(np.arange(6) * np.pi / 3), np.cos(np.arange(6) * np.pi / 3)], 1)
CYCLE = np.stack([np.arange(6), (np.arange(6) + 1) % 6], axis=1)


@pytest.fixture
def axes():
    return Figure(figsize=(3, 3), dpi=100).add_subplot()


def turned(angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (HEXAGON - 10) @ turn + 10


@pytest.mark.parametrize("angle", [0.0, 0.2, 1.0, 1.3])
def test_all_bonds_of_a_hexagon_have_one_direction(angle):
    angles = structure.bond_angles(turned(angle), CYCLE)
    assert ((angles >= 0) & (angles < np.pi / 3)).all()
    np.testing.assert_allclose(np.exp(6j * angles), np.exp(6j * angle), atol=1e-9)


def test_bonds_do_not_care_which_end_comes_first():
    back = structure.bond_angles(turned(0.2), CYCLE[:, ::-1])
    np.testing.assert_allclose(back, structure.bond_angles(turned(0.2), CYCLE))


def test_bonds_are_drawn_over_image_and_mask(axes):
    image = np.random.default_rng(0).random((20, 20))
    lines = structure.show_bonds(axes, image, HEXAGON, CYCLE, image > 0.8, 0.3, "title")
    ends = np.array([path.vertices for path in lines.get_paths()])  # (6, 2, 2): (x, y)
    np.testing.assert_allclose(ends[:, 0, ::-1], HEXAGON)
    np.testing.assert_allclose(lines.get_array(), structure.bond_angles(HEXAGON, CYCLE))
    bar = next(patch for patch in axes.patches if patch.get_gid() == "scale-bar")
    assert lines.get_zorder() < bar.get_zorder()
    assert axes.get_xlim() == (-0.5, 19.5)
    assert axes.get_title() == "title"


def test_the_colours_of_directions_close_and_the_key_shows_them(axes):
    colours = structure.DIRECTION_COLOURS
    np.testing.assert_allclose(colours(0.0), colours(1.0), atol=0.02)
    axes.imshow(np.zeros((10, 10)))
    key = structure.add_direction_key(axes)
    wheel = key.images[0].get_array()
    right = wheel[wheel.shape[0] // 2, -8]
    np.testing.assert_allclose(right[:3], colours(0.0)[:3], atol=0.1)
    assert right[3] == 1
    assert wheel[0, 0, 3] == 0


def test_rings_are_filled_by_size(axes):
    rings = find_rings(HEXAGON, CYCLE)
    drawn = structure.draw_rings(axes, rings, HEXAGON)
    grey = to_rgb(structure.RING_COLOURS[6])
    np.testing.assert_allclose(drawn.get_facecolors()[0, :3], grey, atol=1e-6)
    assert len(drawn.get_paths()) == 1
    assert not structure.draw_rings(axes, rings, HEXAGON, hexagons=False).get_paths()
    colours = {to_rgb(colour) for colour in structure.RING_COLOURS.values()}
    assert len(colours) == 6


def test_vacancies_are_marked_and_rings_are_not(axes):
    structure.mark_vacancies(axes, [Defect("ring", 5, 0, (1.0, 2.0))])
    assert not axes.collections
    structure.mark_vacancies(axes, [Defect("vacancy", 12, 1, (3.0, 4.0))])
    np.testing.assert_allclose(axes.collections[0].get_offsets(), [[4, 3]])


def test_the_legend_names_the_sizes(axes):
    structure.add_ring_legend(axes.figure, (5, 7))
    texts = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert texts == ["5 atoms", "7 atoms"]

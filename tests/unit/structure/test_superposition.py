"""Two lattices over one another, told from one lattice and from grains, on simulated layers."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from graphseg.errors import InputError
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import bicrystal, polycrystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import image_of
from graphseg.structure.boundaries import find_boundaries
from graphseg.structure.classes import classify
from graphseg.structure.lattice import measure_lattice
from graphseg.structure.orientation import map_orientation
from graphseg.structure.superposition import LEAST_FRACTION, find_superposition

OUTSIDE = 12.0  # Å of the structure beyond the frame
LAYERS = 3.35  # Å between two layers
ANGLE = 0.2  # of the first lattice, radians


def expose(positions, extent, pixel_size, dose, heights=None, defocus=-25.0):
    return image_of(
        positions - OUTSIDE, 6, extent, pixel_size, Conditions(defocus=defocus), dose=dose,
        rng=np.random.default_rng(1), heights=heights, margin=int(np.ceil(8 / pixel_size)),
    )  # fmt: skip


def bilayer(degrees, extent=76.0, pixel_size=0.4, dose=4e3, defocus=-25.0, rows=1.0):
    """Two sheets, the upper one turned, and only over a fraction of the rows."""
    lower, upper = (
        crystal(extent + 2 * OUTSIDE, ANGLE + turn).positions for turn in (0, np.radians(degrees))
    )
    upper = upper[upper[:, 0] < rows * (extent + 2 * OUTSIDE)]
    heights = np.repeat([0.0, LAYERS], [len(lower), len(upper)])
    return expose(np.concatenate([lower, upper]), extent, pixel_size, dose, heights, defocus)


def of(image, mask=None):
    return find_superposition(image, mask, measure_lattice(image, mask))


@pytest.mark.parametrize("degrees", [10, 14, 20, 26, 30])
@pytest.mark.parametrize(("pixel_size", "extent"), [(0.3, 76.0), (0.6, 96.0)])
def test_a_twisted_bilayer_is_one_in_nearly_every_window(degrees, pixel_size, extent):
    found = of(bilayer(degrees, extent, pixel_size))
    assert found.found
    assert found.fraction > 0.9
    assert np.degrees(found.twist) == pytest.approx(degrees, abs=1)


@pytest.mark.parametrize("defocus", [-80.0, -25.0, 60.0])
@pytest.mark.parametrize("dose", [1e3, 1e5])
def test_focus_and_dose_do_not_matter(defocus, dose):
    found = of(bilayer(20, defocus=defocus, dose=dose))
    assert found.fraction > 0.9
    assert np.degrees(found.twist) == pytest.approx(20, abs=1)


@pytest.mark.parametrize("dose", [1e3, 1e4, np.inf])
@pytest.mark.parametrize("pixel_size", [0.3, 0.6])
def test_one_crystal_is_none(pixel_size, dose):
    sheet = crystal(96 + 2 * OUTSIDE, 0.7)
    found = of(expose(sheet.positions, 96.0, pixel_size, dose))
    assert found.fraction < 0.05 < LEAST_FRACTION
    assert not found.found


@pytest.mark.parametrize("degrees", [10, 20, 30])
@pytest.mark.parametrize("pixel_size", [0.3, 0.6])
def test_two_grains_share_few_windows_and_their_boundary_is_still_found(degrees, pixel_size):
    pair = bicrystal(76 + 2 * OUTSIDE, (ANGLE, ANGLE + np.radians(degrees)), normal=0.4)
    image = expose(pair.positions, 76.0, pixel_size, 4e3)
    found = of(image)
    assert found.fraction < 0.5 * LEAST_FRACTION
    assert find_boundaries(image)[0].misorientation == pytest.approx(np.radians(degrees), abs=0.02)


def test_many_grains_are_no_superposition():
    side = 100 + 2 * OUTSIDE
    seeds = np.random.default_rng(0).uniform(0, side, (5, 2))
    angles = ANGLE + np.radians([0, 12, 24, 36, 48])
    many = polycrystal(0, side, angles, lambda p: cKDTree(seeds).query(p)[1], np.zeros((5, 2)))
    found = of(expose(many.positions, 100.0, 0.4, 4e3))
    assert found.fraction < LEAST_FRACTION


def test_no_jump_of_a_bilayer_is_a_boundary_and_the_class_map_says_why():
    image = bilayer(26)
    orientation = map_orientation(image)
    assert orientation.superposition.found
    assert find_boundaries(image, orientation=orientation) == ()
    classes = classify(image, orientation=orientation)
    assert classes.boundaries == () and classes.percentages["boundary"] == 0
    assert classes.flags == ("superposed_lattices",)
    assert classes.superposition == orientation.superposition
    plain = classify(expose(crystal(76 + 2 * OUTSIDE, 0.7).positions, 76.0, 0.4, 4e3))
    assert plain.flags == ()


def test_a_second_layer_over_half_of_the_image_is_found():
    assert 0.4 < of(bilayer(20, rows=0.5)).fraction < 0.7


def test_the_mask_leaves_windows_out():
    image = bilayer(20, rows=0.5)
    mask = np.zeros(image.shape, bool)
    mask[: len(mask) // 2 + 20] = True
    assert not of(image, mask).found
    assert of(image, mask[::-1]).fraction > 0.9


def test_too_few_windows_tell_nothing():
    image = bilayer(20)[:80, :80]
    lattice = measure_lattice(image)
    found = find_superposition(image, None, lattice)
    assert found.fraction == 0 and np.isnan(found.twist)
    with pytest.raises(InputError):
        find_superposition(image, np.ones(image.shape, bool), lattice)


def test_the_published_bilayer_is_the_only_one(published):
    """Its four longest lines were taken for the longest boundaries of the published images."""
    name = "2013_1002_Graph_FS_001_layer_0011"
    chosen = {name} | {n for n in published.names[::10] if n != name}
    fractions = {}
    for image in chosen:
        k = published.names.index(image)
        fractions[image] = of(published.images[k], published.masks[k])
    assert fractions[name].fraction > 0.95
    assert np.degrees(fractions.pop(name).twist) == pytest.approx(26, abs=1)
    assert max(found.fraction for found in fractions.values()) < 0.2

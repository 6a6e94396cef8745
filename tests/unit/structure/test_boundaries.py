"""Grain boundaries: where they are, what they separate, and none where there is none."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.multislice import Conditions
from graphseg.simulation.samples import image_of
from graphseg.structure.boundaries import (
    Boundary,
    _paths,
    _split,
    boundary_mask,
    find_boundaries,
)
from graphseg.structure.orientation import map_orientation
from tests.helpers import lattices

SHAPE = (160, 160)
CENTRE = np.array([80.0, 80.0])


def bicrystal(pixel_size, misorientation, direction, angle=0.1, seed=0, sign=1, shape=SHAPE):
    grains = lattices.half_planes(CENTRE, direction)
    angles = (angle, angle + misorientation)
    return lattices.polycrystal(shape, pixel_size, angles, grains, seed, sign=sign)


def distances(boundary, direction, parameter):
    """From the true line, in lattice parameters."""
    normal = np.array([np.sin(direction), np.cos(direction)])
    return (boundary.positions - CENTRE) @ normal / parameter


def speckled(image, mask, rng):
    speckle = gaussian_filter(rng.standard_normal(mask.shape), 1.2)
    return np.where(mask, 10 + 2.5 * speckle / speckle.std(), image)


# Bicrystals


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("degrees", [8, 15, 22, 30])
def test_position_misorientation_and_length(degrees, sign):
    direction = 0.1 * degrees
    image = bicrystal(0.36, np.radians(degrees), direction, seed=degrees, sign=sign)
    (boundary,) = find_boundaries(image)
    parameter = LATTICE_CONSTANT / 0.36
    assert np.abs(distances(boundary, direction, parameter)).max() < 1
    assert np.degrees(boundary.misorientation) == pytest.approx(degrees, abs=1)
    # Ends may be lost up to the distance where the sides are compared.
    whole = SHAPE[0] / max(abs(np.cos(direction)), abs(np.sin(direction)))
    assert whole - 6 * parameter < boundary.length < whole + parameter
    assert boundary.length_angstrom == pytest.approx(boundary.length * 0.36, rel=0.005)


@pytest.mark.parametrize("degrees", [3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_small_misorientations(degrees, seed):
    image = bicrystal(0.4, np.radians(degrees), 0.3 + seed, angle=0.2 * seed, seed=seed)
    (boundary,) = find_boundaries(image)
    offset = distances(boundary, 0.3 + seed, LATTICE_CONSTANT / 0.4)
    assert np.sqrt(np.mean(offset**2)) < 1
    assert np.degrees(boundary.misorientation) == pytest.approx(degrees, abs=1)


@settings(deadline=None, max_examples=10)
@given(
    degrees=st.floats(10, 50),
    direction=st.floats(0, np.pi),
    angle=st.floats(0, np.pi / 3),
    seed=st.integers(0, 1000),
)
@example(degrees=47.0, direction=2.125, angle=0.75, seed=98)  # 1.19 at its end
def test_any_bicrystal(degrees, direction, angle, seed):
    """Bounds above what 1,061 bicrystals gave, drawn at random from these ranges.

    The largest distance from the true line was 0.49 lattice parameters, except within two of them
    of an end: at the edge of the image only one half of the surroundings is there, and it was up to
    1.18 in these and 649 others.
    """
    image = bicrystal(0.38, np.radians(degrees), direction, angle, seed)
    (boundary,) = find_boundaries(image)
    parameter = LATTICE_CONSTANT / 0.38
    distance, end = np.abs(distances(boundary, direction, parameter)), int(np.ceil(2 * parameter))
    assert distance[end:-end].max() < 0.75
    assert distance.max() < 1.5
    expected = min(degrees, 60 - degrees)
    assert np.degrees(boundary.misorientation) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("pixel_size", [0.15, 0.5])
def test_other_samplings(pixel_size):
    shape = (220, 220) if pixel_size < 0.2 else (128, 128)
    grains = lattices.half_planes(np.array(shape) / 2, 0.5)
    image = lattices.polycrystal(shape, pixel_size, (0.3, 0.6), grains)
    (boundary,) = find_boundaries(image, pixel_size=pixel_size)
    normal = np.array([np.sin(0.5), np.cos(0.5)])
    offset = (boundary.positions - np.array(shape) / 2) @ normal * pixel_size / LATTICE_CONSTANT
    assert np.abs(offset).max() < 1
    assert boundary.misorientation == pytest.approx(0.3, abs=np.radians(1))
    assert boundary.pixel_size == pixel_size


def test_boundary_between_two_patches_ends_at_them():
    rng = np.random.default_rng(2)
    mask = lattices.disc(SHAPE, (20, 80), 30) | lattices.disc(SHAPE, (150, 85), 28)
    image = speckled(bicrystal(0.36, np.radians(25), 0.0), mask, rng)
    (boundary,) = find_boundaries(image, mask)
    parameter = LATTICE_CONSTANT / 0.36
    assert np.abs(distances(boundary, 0.0, parameter)).max() < 1.5
    rows = boundary.positions[:, 0]
    assert rows.min() > 44
    assert rows.max() < 128
    assert np.ptp(rows) > 40


def test_three_grains_meet():
    def grain_at(positions):
        angle = np.arctan2(*(positions - CENTRE).T)
        return (angle // (2 * np.pi / 3)).astype(int) % 3

    angles = np.radians([5, 20, 35])
    image = lattices.polycrystal(SHAPE, 0.36, angles, grain_at)
    boundaries = find_boundaries(image)
    assert len(boundaries) == 3
    found = sorted(np.degrees(b.misorientation) for b in boundaries)
    assert found == pytest.approx([15, 15, 30], abs=1)
    lengths = [b.length for b in boundaries]
    assert lengths == sorted(lengths, reverse=True)


def test_physical_bicrystal_with_relaxed_rings():
    boundaries = pytest.importorskip("graphseg.simulation.grains")
    structure = boundaries.bicrystal(78.0, (0.1, 0.45), point=(35.0, 35.0), normal=0.4)
    rng = np.random.default_rng(0)
    image = image_of(
        structure.positions, structure.numbers, 70.0, 0.35, Conditions(), dose=5e3, rng=rng
    )
    inner = image[20:-20, 20:-20]  # the field wraps around
    (boundary,) = find_boundaries(inner, pixel_size=0.35)
    normal = np.array([np.sin(0.4), np.cos(0.4)])
    offset = ((boundary.positions + 20) * 0.35 - 35) @ normal / LATTICE_CONSTANT
    assert np.sqrt(np.mean(offset**2)) < 1
    assert boundary.misorientation == pytest.approx(0.35, abs=np.radians(1))


# Single crystals


@pytest.mark.parametrize("seed", range(8))
def test_none_on_a_strained_single_crystal(seed):
    rng = np.random.default_rng(seed)
    strain = rng.normal(0, 0.01, (2, 2))
    pixel_size = rng.uniform(0.25, 0.6)
    sign = 1 - 2 * (seed % 2)
    image = lattices.crystal(SHAPE, pixel_size, seed / 8, seed, strain=strain, sign=sign)
    assert find_boundaries(image) == ()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_none_next_to_contamination_and_holes(seed, masked):
    rng = np.random.default_rng(seed)
    hole = lattices.disc(SHAPE, (130, 50), 18)
    mask = lattices.disc(SHAPE, (40, 110), 35)
    image = lattices.crystal(SHAPE, 0.36, 0.5 + seed, seed, hole=hole)
    assert find_boundaries(speckled(image, mask, rng), mask if masked else None) == ()


def test_none_where_the_lattice_bends_slowly():
    # A bent beam, displacement (−κxy, κx²/2): a rotation κx that grows by 4° over the image.
    curvature = np.radians(4) / SHAPE[0]
    x, y = (lattices.atoms(SHAPE, 0.36, 0.3, np.random.default_rng(0)) - CENTRE).T
    bent = np.column_stack([x - curvature * x * y, y + curvature * x**2 / 2]) + CENTRE
    image = lattices.render(bent, SHAPE, lattices.ATOM_WIDTH / 0.36)
    assert find_boundaries(lattices.expose(image, np.random.default_rng(1))) == ()


# Parts


def test_paths_follow_a_skeleton_and_leave_spurs_out():
    ridges = np.zeros((40, 60), bool)
    ridges[20, 5:50] = True
    ridges[15:20, 25] = True  # a spur
    (path,) = _paths(ridges, 12)
    assert len(path) == 45
    assert (path[:, 0] == 20).all()
    assert np.abs(np.diff(path[:, 1])).max() == 1


def test_paths_are_cut_where_another_one_ends():
    ridges = np.zeros((40, 60), bool)
    ridges[20, 5:50] = True
    ridges[1:20, 25] = True
    parts = _split(_paths(ridges, 12), 5)
    assert sorted(len(part) for part in parts) == [19, 20, 25]


def test_mask_of_a_line():
    line = np.column_stack([np.full(30, 10.0), np.arange(5.0, 35.0)])
    boundary = Boundary(line, 0.3, 0.5)
    mask = boundary_mask((boundary,), (40, 50), 4.0)
    assert mask[:, 20].sum() == 5
    assert mask[10, 5:35].all()
    assert not mask[:, 45].any()
    assert boundary.length == pytest.approx(29)
    assert not boundary_mask((), (40, 50), 4.0).any()


def test_published_series_shows_one_boundary(published):
    names = [n for n in published.names if n.startswith("2014_0601_Gr_FS_Dyna1_01")]
    lines = []
    for name in names:
        k = published.names.index(name)
        found = map_orientation(published.images[k], published.masks[k])
        (boundary,) = find_boundaries(published.images[k], orientation=found)
        lines.append(boundary)
    assert len(lines) >= 2
    angles = [np.degrees(line.misorientation) for line in lines]
    assert np.ptp(angles) < 1
    # The frames were taken one after the other and have drifted by some pixels only.
    apart = cKDTree(lines[0].positions).query(lines[1].positions)[0]
    assert np.median(apart) < 15

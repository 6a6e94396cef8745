"""The kernels of a hexagon, and maps of order and orientation on lattices that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from graphseg.errors import InputError
from graphseg.simulation.configuration import GRAPHENE
from graphseg.simulation.samples import simulate
from graphseg.structure.lattice import measure_lattice, ring_vectors
from graphseg.structure.orientation import (
    OrientationMap,
    _mean_response,
    _Window,
    map_orientation,
    preference,
)
from tests.helpers import lattices

LARGEST_TURN = 0.5  # degrees
NOISE_ORDER = np.sqrt(1 - lattices.NOISE**2)  # what noise leaves of a perfect correlation


def degrees(orientation, angle):
    return np.degrees(lattices.turned_by(orientation, angle))


# The kernel


def hexagon_kernel(parameter, orientation, amplitudes=(-1.0, 1.0), width=0.8):
    """The kernel of the module's docstring on the grid of pixels, as far as 4σ."""
    sigma = width * parameter
    reach = int(np.ceil(4 * sigma))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    waves = sum(
        2 * amplitude * np.cos(2 * np.pi * (g[0] * rows + g[1] * columns))
        for amplitude, ring in zip(amplitudes, ring_vectors(parameter, orientation), strict=True)
        for g in ring
    )
    return np.exp(-(rows**2 + columns**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) * waves


@settings(deadline=None, max_examples=30)
@given(parameter=st.floats(5, 20), orientation=st.floats(0, 1.0), sign=st.sampled_from([1, -1]))
def test_kernel_is_a_ring_of_six_atoms_against_its_centre(parameter, orientation, sign):
    kernel = hexagon_kernel(parameter, orientation, (-sign, sign))
    middle = len(kernel) // 2
    angles = orientation + np.pi / 6 + np.arange(6) * np.pi / 3
    ring = middle + parameter / np.sqrt(3) * np.array([np.sin(angles), np.cos(angles)])
    nearest = tuple(np.rint(ring).astype(int))
    assert (sign * kernel[nearest] > 0).all()
    # First ring: −6 at the centre, +3 at an atom; second ring: +6 at both. The centre is darker.
    assert (sign * (kernel[nearest] - kernel[middle, middle]) > 0).all()
    assert abs(kernel.sum()) < 1e-3 * np.abs(kernel).sum()


def test_kernel_repeats_after_60_degrees():
    kernel = hexagon_kernel(7.3, 0.2)
    assert np.allclose(kernel, hexagon_kernel(7.3, 0.2 + np.pi / 3), atol=1e-7)
    assert not np.allclose(kernel, hexagon_kernel(7.3, 0.2 + np.pi / 6), atol=1e-3)


def test_convolution_in_fourier_space_is_that_with_the_kernel():
    image = np.random.default_rng(0).standard_normal((70, 91)).astype(np.float32)
    amplitudes = (-0.3, 0.1)
    window = _Window(image.shape, 0.8 * 6.3)
    first, second = ring_vectors(6.3, 0.4)
    waves = np.concatenate([first, -first, second, -second])
    response = window.filter(window.transform(image), waves, np.repeat(amplitudes, 6))
    expected = fftconvolve(image, hexagon_kernel(6.3, 0.4, amplitudes), mode="same")
    assert np.allclose(response, expected, atol=2e-4 * np.abs(expected).max())


def test_mean_response_of_a_single_ring():
    # Σ cos of three waves at 120° over 3, squared where positive.
    u, v = np.meshgrid(*[np.linspace(0, 2 * np.pi, 600, endpoint=False)] * 2)
    expected = np.mean(np.maximum((np.cos(u) + np.cos(v) + np.cos(u + v)) / 3, 0) ** 2)
    assert _mean_response((1.0, 0.0)) == pytest.approx(expected, rel=1e-3)
    assert _mean_response((0.0, -2.0)) == pytest.approx(expected, rel=1e-2)


# The maps


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("pixel_size", [0.1, 0.2, 0.35, 0.5])
def test_orientation_at_every_pixel(pixel_size, sign):
    side = 200 if pixel_size < 0.2 else 128
    angle = 0.9 - pixel_size
    found = map_orientation(lattices.crystal((side, side), pixel_size, angle, sign=sign))
    turn = degrees(found.orientation, angle)
    assert abs(turn.mean()) < 0.1
    assert np.sqrt(np.mean(turn**2)) < LARGEST_TURN
    assert found.order.dtype == found.orientation.dtype == np.float32
    assert found.valid.all()
    assert np.median(found.order) == pytest.approx(NOISE_ORDER, abs=0.03)


@settings(deadline=None, max_examples=12)
@given(angle=st.floats(0, np.pi / 3), seed=st.integers(0, 100))
def test_any_orientation_without_noise(angle, seed):
    found = map_orientation(lattices.crystal((96, 110), 0.37, angle, seed, noise=0))
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(degrees(found.orientation, angle)[inner]).max() < 0.2
    assert ((found.orientation >= 0) & (found.orientation < np.pi / 3)).all()
    assert found.order[inner].min() > 0.98
    assert found.order.max() <= 1


def test_two_grains_have_their_own_orientation():
    grains = lattices.half_planes((64, 64), 0.0)
    found = map_orientation(lattices.polycrystal((128, 128), 0.36, (0.1, 0.5), grains))
    left, right = found.orientation[:, :45], found.orientation[:, 83:]
    assert np.abs(degrees(left, 0.1)).mean() < LARGEST_TURN
    assert np.abs(degrees(right, 0.5)).mean() < LARGEST_TURN


def test_contamination_takes_no_part():
    mask = lattices.disc((128, 128), (30, 40), 25)
    image = lattices.crystal(mask.shape, 0.36, 0.4)
    contaminated = np.where(
        mask, 1000 * np.random.default_rng(0).standard_normal(mask.shape), image
    )
    found = map_orientation(contaminated, mask)
    assert (found.order[mask] == 0).all()
    assert not found.valid[mask].any()
    turn = degrees(found.orientation, 0.4)[found.valid]
    assert np.sqrt(np.mean(turn**2)) < LARGEST_TURN
    clean = map_orientation(image, mask)
    assert np.allclose(found.order, clean.order, atol=1e-3)


def test_order_is_low_in_a_hole_and_in_noise():
    hole = lattices.disc((160, 160), (80, 80), 35)
    image = lattices.crystal(hole.shape, 0.36, 0.4, hole=hole)
    found = map_orientation(image)
    inside = lattices.disc(hole.shape, (80, 80), 15)
    assert found.order[inside].max() < 0.5 * np.median(found.order[~hole])
    lattice = found.lattice
    assert preference(image, inside, lattice) < 2
    assert preference(image, ~hole, lattice) > 5


def test_known_lattice_is_used_as_it_is():
    image = lattices.crystal((96, 96), 0.4, 0.3)
    lattice = measure_lattice(image)
    found = map_orientation(image, lattice=lattice)
    assert isinstance(found, OrientationMap)
    assert found.lattice is lattice
    assert map_orientation(image, lattice_parameter=6.2).lattice.parameter == 6.2
    assert map_orientation(image, pixel_size=0.41).lattice.pixel_size == 0.41


def test_between_the_kernels_orientations_are_interpolated():
    image = lattices.crystal((96, 96), 0.4, np.radians(11.3), noise=0)
    found = map_orientation(image)
    assert np.abs(degrees(found.orientation, np.radians(11.3))[20:-20, 20:-20]).max() < LARGEST_TURN


def test_no_lattice():
    noise = np.random.default_rng(0).standard_normal((96, 96))
    with pytest.raises(InputError, match="No lattice"):
        map_orientation(noise)


def test_physical_simulation():
    for index in range(2):
        sample = simulate(21, index, GRAPHENE)
        found = map_orientation(sample.image, sample.mask)
        assert found.lattice.pixel_size == pytest.approx(sample.pixel_size, rel=0.015)
        good = found.valid & ~sample.boundary & ~sample.vacuum & ~sample.mask
        turn = np.abs(degrees(found.orientation, sample.orientation))[good]
        assert np.median(turn) < LARGEST_TURN


def test_published_images_are_in_order_where_they_are_clean(published):
    for image, mask in zip(published.images[5::40], published.masks[5::40], strict=True):
        found = map_orientation(image)
        assert np.median(found.order[~mask]) > np.median(found.order[mask])

"""Lattice parameter, orientation and contrast sign on lattices whose answer is known."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, laplace

from graphseg.errors import InputError
from graphseg.simulation import LATTICE_CONSTANT, simulate
from graphseg.structure.lattice import Lattice, measure_lattice, ring_vectors
from tests.helpers import lattices

LARGEST_ERROR = 0.005  # of the lattice parameter, relative
LARGEST_TURN = np.radians(0.5)


def error(lattice, pixel_size):
    return lattice.parameter * pixel_size / LATTICE_CONSTANT - 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("pixel_size", [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_parameter_orientation_and_contrast(pixel_size, sign):
    angle = 2.0 * pixel_size
    side = 256 if pixel_size < 0.2 else 144
    image = lattices.crystal((side, side), pixel_size, angle, seed=3, sign=sign)
    lattice = measure_lattice(image)
    assert lattice.found
    assert abs(error(lattice, pixel_size)) < LARGEST_ERROR
    assert abs(lattices.turned_by(lattice.orientation, angle)) < LARGEST_TURN
    assert lattice.contrast == sign
    assert lattice.certainty > 0.9
    assert lattice.pixel_size == pytest.approx(pixel_size, rel=LARGEST_ERROR)
    assert lattice.parameter_angstrom == pytest.approx(LATTICE_CONSTANT)


@settings(deadline=None, max_examples=15)
@given(
    pixel_size=st.floats(0.25, 0.55),
    angle=st.floats(0, np.pi / 3),
    sign=st.sampled_from([1, -1]),
    shape=st.sampled_from([(128, 128), (96, 150), (161, 120)]),
    seed=st.integers(0, 1000),
)
def test_any_lattice(pixel_size, angle, sign, shape, seed):
    lattice = measure_lattice(lattices.crystal(shape, pixel_size, angle, seed, sign=sign))
    assert abs(error(lattice, pixel_size)) < LARGEST_ERROR
    assert abs(lattices.turned_by(lattice.orientation, angle)) < LARGEST_TURN
    assert 0 <= lattice.orientation < np.pi / 3
    assert lattice.contrast == sign


@pytest.mark.parametrize("pixel_size", [0.2, 0.3, 0.4])
def test_strongest_second_ring(pixel_size):
    rng = np.random.default_rng(0)
    positions = lattices.atoms((160, 160), pixel_size, 0.4, rng)
    image = lattices.render(positions, (160, 160), lattices.ATOM_WIDTH / pixel_size)
    lattice = measure_lattice(lattices.expose(laplace(laplace(image)), rng))
    first, second = lattice.amplitudes
    assert second > 1.5 * -first > 0
    assert abs(error(lattice, pixel_size)) < LARGEST_ERROR
    assert abs(lattices.turned_by(lattice.orientation, 0.4)) < LARGEST_TURN


def second_ring_only(parameter, orientation, shape=(128, 128)):
    rows, columns = np.indices(shape)
    waves = ring_vectors(parameter, orientation)[1]
    phases = 2 * np.pi * (waves[:, 0, None, None] * rows + waves[:, 1, None, None] * columns)
    noise = np.random.default_rng(0).standard_normal(shape)
    return np.cos(phases).sum(axis=0) + 0.5 * noise


def test_one_ring_alone_is_the_first_unless_the_pixel_size_says_otherwise():
    image = second_ring_only(7.0, 0.3)
    assert measure_lattice(image).parameter == pytest.approx(7 / np.sqrt(3), rel=LARGEST_ERROR)
    known = measure_lattice(image, pixel_size=LATTICE_CONSTANT / 7.2)
    assert known.parameter == pytest.approx(7, rel=LARGEST_ERROR)
    assert known.parameter_angstrom == pytest.approx(LATTICE_CONSTANT * 7 / 7.2, rel=LARGEST_ERROR)
    given_parameter = measure_lattice(image, lattice_parameter=7.01)
    assert given_parameter.parameter == 7.01
    assert abs(lattices.turned_by(given_parameter.orientation, 0.3)) < LARGEST_TURN


def test_strain_leaves_the_area_of_the_cell_and_the_rotation():
    strain = np.array([[0.015, 0.006], [0.006, -0.01]])
    lattice = measure_lattice(lattices.crystal((160, 160), 0.35, 0.2, strain=strain))
    expected = np.sqrt(np.linalg.det(np.eye(2) + strain))
    assert error(lattice, 0.35) + 1 == pytest.approx(expected, rel=1e-3)
    assert abs(lattices.turned_by(lattice.orientation, 0.2)) < LARGEST_TURN


def test_affine_grey_levels_change_nothing():
    image = lattices.crystal((96, 96), 0.4, 0.2)
    lattice, other = measure_lattice(image), measure_lattice(50 * image.astype(float) - 3)
    assert other.parameter == pytest.approx(lattice.parameter, rel=1e-5)
    assert other.amplitudes == pytest.approx(lattice.amplitudes, rel=1e-3)
    inverted = measure_lattice(-image)
    assert inverted.contrast == -lattice.contrast
    assert inverted.amplitudes == pytest.approx([-a for a in lattice.amplitudes], rel=1e-3)


@pytest.mark.parametrize("masked", [True, False])
def test_contamination(masked):
    rng = np.random.default_rng(1)
    mask = lattices.disc((192, 192), (40, 60), 50)
    speckle = gaussian_filter(rng.standard_normal(mask.shape), 1.3)
    image = lattices.crystal(mask.shape, 0.36, 0.9, sign=-1)
    image = np.where(mask, 10 + 2.5 * speckle / speckle.std(), image)
    lattice = measure_lattice(image, mask if masked else None)
    assert abs(error(lattice, 0.36)) < LARGEST_ERROR
    assert lattice.contrast == -1


def test_two_grains_give_the_larger_one():
    grains = lattices.half_planes((70, 128), 0.3)
    image = lattices.polycrystal((192, 192), 0.4, (0.1, 0.4), grains)
    lattice = measure_lattice(image)
    assert abs(lattices.turned_by(lattice.orientation, 0.1)) < LARGEST_TURN
    assert abs(error(lattice, 0.4)) < LARGEST_ERROR


def test_no_lattice_is_not_found():
    rng = np.random.default_rng(0)
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal((128, 128))
        assert not measure_lattice(noise).found
        speckle = gaussian_filter(noise, 0.8) - gaussian_filter(noise, 2)
        assert not measure_lattice(speckle).found
    assert not measure_lattice(np.full((64, 64), 7)).found
    assert measure_lattice(lattices.crystal((64, 64), 0.4, 0.1, noise=0.85)).found
    assert not measure_lattice(10 + 0.1 * rng.standard_normal((40, 90))).found


def test_rings_of_graphene():
    first, second = ring_vectors(6.0, 0.2)
    vectors = lattice_vectors(6.0, 0.2)
    assert np.abs(first @ vectors.T - np.rint(first @ vectors.T)).max() < 1e-12
    assert np.abs(second @ vectors.T - np.rint(second @ vectors.T)).max() < 1e-12
    assert np.allclose(first.sum(axis=0), 0)
    assert np.allclose(np.linalg.norm(first, axis=1), 2 / np.sqrt(3) / 6)
    assert np.allclose(np.linalg.norm(second, axis=1), 2 / 6)


def lattice_vectors(parameter, orientation):
    angles = orientation + np.array([0, np.pi / 3])
    return parameter * np.column_stack([np.sin(angles), np.cos(angles)])


def test_result_is_frozen():
    lattice = measure_lattice(lattices.crystal((64, 64), 0.4, 0.1))
    assert isinstance(lattice, Lattice)
    with pytest.raises(dataclasses.FrozenInstanceError):
        lattice.parameter = 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((2, 64, 64))}, "single image"),
        ({"image": np.zeros((20, 64))}, "at least 32 pixels"),
        ({"image": np.full((64, 64), np.nan)}, "not finite"),
        ({"mask": np.ones((64, 64), bool)}, "whole image"),
        ({"mask": np.zeros((64, 65), bool)}, "do not match"),
        ({"pixel_size": 0.0}, "pixel size"),
        ({"lattice_parameter": -2.0}, "lattice parameter"),
        ({"lattice_parameter": np.nan}, "lattice parameter"),
        ({"pixel_size": 5.0}, "check the pixel size"),
    ],
)
def test_bad_input(arguments, message):
    image = np.random.default_rng(0).standard_normal((64, 64))
    with pytest.raises(InputError, match=message):
        measure_lattice(**({"image": image} | arguments))


def test_simulated_samples():
    for index in range(3):
        sample = simulate(3, index)
        lattice = measure_lattice(sample.image, sample.mask)
        assert abs(error(lattice, sample.pixel_size)) < LARGEST_ERROR
        assert np.abs(lattices.turned_by(sample.angles, lattice.orientation)).min() < LARGEST_TURN
        rows, columns = np.rint(sample.positions).astype(int).T
        clean = ~sample.mask
        atoms = clean[rows, columns]
        difference = sample.image[rows, columns][atoms].mean() - sample.image[clean].mean()
        assert lattice.contrast == np.sign(difference)


def test_published_images_have_the_lattice_of_their_magnification(published):
    # Frames of one series were taken at one magnification.
    series = ["2014_0104_Gr_FS_024", "2014_0601_Gr_FS_Dyna1_01", "2015_0310_Gr_D11_FS_001"]
    for name in series:
        frames = [k for k, other in enumerate(published.names) if other.startswith(name)]
        found = [measure_lattice(published.images[k], published.masks[k]).parameter for k in frames]
        assert len(found) > 1
        assert np.ptp(found) < 0.01 * np.mean(found)
        assert 4.95 <= np.mean(found) <= 8.23


def test_published_images_with_and_without_their_label(published):
    for image, mask in zip(published.images[::16], published.masks[::16], strict=True):
        labelled, bare = measure_lattice(image, mask), measure_lattice(image)
        assert labelled.found
        assert 3.2 < labelled.parameter < 8.4
        assert bare.parameter == pytest.approx(labelled.parameter, rel=0.015)

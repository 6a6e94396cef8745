"""Eqs 1-3 on surfaces whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import binom

from graphseg import preprocessing
from graphseg.errors import InputError


def bezier(shape, degree, rng):
    """A positive Bézier surface, straight from its definition."""
    control = rng.uniform(50, 150, (degree[0] + 1, degree[1] + 1))
    u, v = (np.linspace(0, 1, n) for n in shape)
    surface = np.zeros(shape)
    for i in range(degree[0] + 1):
        for j in range(degree[1] + 1):
            row = binom(degree[0], i) * u**i * (1 - u) ** (degree[0] - i)
            column = binom(degree[1], j) * v**j * (1 - v) ** (degree[1] - j)
            surface += control[i, j] * np.outer(row, column)
    return surface


def quarter(shape):
    mask = np.zeros(shape, bool)
    mask[: shape[0] // 2, : shape[1] // 2] = True
    return mask


def test_bernstein_polynomials_add_up_to_one_and_end_at_the_corners():
    basis = preprocessing.bernstein_basis(5, 40)
    assert basis.shape == (40, 6)
    np.testing.assert_allclose(basis.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(basis[0], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(basis[-1], [0, 0, 0, 0, 0, 1])


@settings(max_examples=25, deadline=None)
@given(
    degree=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    shape=st.tuples(st.integers(30, 80), st.integers(30, 80)),
    seed=st.integers(0, 2**32 - 1),
    masked=st.booleans(),
)
def test_a_bezier_surface_of_any_degree_is_recovered(degree, shape, seed, masked):
    surface = bezier(shape, degree, np.random.default_rng(seed))
    exclude = np.zeros(shape, bool)
    exclude[::7, ::3] = masked
    image = np.where(exclude, 1e4, surface)
    fitted = preprocessing.fit_bezier_surface(image, degree, exclude)
    np.testing.assert_allclose(fitted, surface, rtol=1e-6)


def test_the_fit_is_the_least_squares_one():
    rng = np.random.default_rng(1)
    image, exclude = rng.normal(100, 10, (31, 23)), rng.random((31, 23)) < 0.4
    design = np.einsum(
        "ui,vj->uvij", preprocessing.bernstein_basis(2, 31), preprocessing.bernstein_basis(3, 23)
    ).reshape(31, 23, -1)
    solution = np.linalg.lstsq(design[~exclude], image[~exclude], rcond=None)[0]
    fitted = preprocessing.fit_bezier_surface(image, (2, 3), exclude)
    np.testing.assert_allclose(fitted, design @ solution, rtol=1e-9)


@pytest.mark.parametrize("shift", [-0.3, 0.5])
def test_a_contaminated_quarter_leaves_the_background_within_one_percent(shift):
    rng = np.random.default_rng(2)
    surface = bezier((256, 256), (2, 2), rng)
    mask = quarter(surface.shape)
    noise = 0.005 * rng.standard_normal(surface.shape)
    image = surface * (1 + noise + mask * (shift + 0.2 * rng.standard_normal(surface.shape)))
    found = preprocessing.flat_field(image)
    np.testing.assert_allclose(found.background, surface, rtol=0.01)
    plain = preprocessing.flat_field(image, iterations=0).background
    assert np.abs(plain / surface - 1).max() > 0.2
    assert found.excluded[mask].mean() > 0.99
    assert found.excluded[~mask].mean() < 0.1


@pytest.mark.parametrize("shift", [-0.3, 0.3])
def test_a_smooth_disc_is_left_out_whether_dark_or_bright(shift):
    rng = np.random.default_rng(5)
    surface = bezier((256, 256), (2, 2), rng)
    rows, columns = np.indices(surface.shape)
    mask = np.hypot(rows - 100, columns - 140) < 40
    image = surface * (1 + 0.005 * rng.standard_normal(surface.shape) + mask * shift)
    found = preprocessing.flat_field(image)
    assert found.excluded[mask].all()
    np.testing.assert_allclose(found.background, surface, rtol=0.01)


def test_with_noise_the_robust_fit_is_as_good_as_with_the_mask_given():
    rng = np.random.default_rng(3)
    surface = bezier((256, 256), (2, 2), rng)
    mask = quarter(surface.shape)
    noise = 0.15 * rng.standard_normal(surface.shape)
    image = surface * (1 + noise + mask * (-0.3 + 0.2 * rng.standard_normal(surface.shape)))
    found = preprocessing.flat_field(image)
    known = preprocessing.flat_field(image, exclude=mask)

    def error(result):
        return np.sqrt(np.mean((result.background / surface - 1) ** 2))

    assert error(known) < 0.01
    assert error(found) < 0.01
    np.testing.assert_array_equal(known.excluded, mask)


def test_a_clean_lattice_is_left_alone():
    rng = np.random.default_rng(4)
    surface = bezier((256, 256), (2, 2), rng)
    rows, columns = np.indices(surface.shape)
    lattice = 1 + 0.2 * np.cos(2 * np.pi * rows / 6.4) * np.cos(2 * np.pi * columns / 7.1)
    result = preprocessing.flat_field(surface * lattice)
    np.testing.assert_allclose(result.corrected, lattice, rtol=0.01)
    assert result.corrected.dtype == np.float32
    np.testing.assert_allclose(result.corrected * result.background, surface * lattice, rtol=1e-6)


def test_a_constant_image_is_its_own_background():
    result = preprocessing.flat_field(np.full((64, 48), 7))
    np.testing.assert_allclose(result.background, 7, rtol=1e-12)
    np.testing.assert_array_equal(result.corrected, np.float32(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    image = np.ones((32, 32))
    image[3, 4] = bad
    with pytest.raises(InputError, match="not finite"):
        preprocessing.flat_field(image)
    with pytest.raises(InputError, match="not finite"):
        preprocessing.standardise(image)


def test_bad_requests_are_refused():
    image = np.ones((32, 32))
    with pytest.raises(InputError, match="zero level"):
        preprocessing.flat_field(image - 1)
    with pytest.raises(InputError, match="single image"):
        preprocessing.flat_field(np.ones((2, 32, 32)))
    with pytest.raises(InputError, match="degree of at least 0"):
        preprocessing.fit_bezier_surface(image, (32, 2))
    with pytest.raises(InputError, match="expected the shape of the image"):
        preprocessing.fit_bezier_surface(image, exclude=np.ones((3, 3), bool))
    exclude = np.ones((32, 32), bool)
    exclude[:2] = False  # two rows cannot fix three coefficients along the rows
    with pytest.raises(InputError, match="exclude less"):
        preprocessing.fit_bezier_surface(image, (2, 2), exclude)


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e4), offset=st.floats(-1e3, 1e3), seed=st.integers(0, 2**32 - 1))
def test_standardised_images_have_mean_zero_and_deviation_one(scale, offset, seed):
    noise = np.random.default_rng(seed).standard_normal((3, 20, 24))
    stack = preprocessing.standardise(noise * scale + offset)
    assert stack.dtype == np.float32
    np.testing.assert_allclose(stack.mean(axis=(1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(stack.std(axis=(1, 2)), 1, rtol=1e-4)


def test_each_image_of_a_stack_is_standardised_by_itself():
    rng = np.random.default_rng(5)
    stack = rng.normal([[[10.0]], [[-5.0]]], [[[1.0]], [[30.0]]], (2, 16, 16))
    together = preprocessing.standardise(stack)
    for one, image in zip(together, stack, strict=True):
        np.testing.assert_array_equal(one, preprocessing.standardise(image))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_constant_image_standardises_to_zero(value):
    assert not preprocessing.standardise(np.full((30, 30), value, np.float32)).any()


@pytest.mark.parametrize("size", [1024, 2048])
def test_whole_ratios_average_blocks_and_carry_the_pixel_size(size):
    image = np.random.default_rng(6).random((size, size), dtype=np.float32)
    small, pixel_size = preprocessing.resize_area(image, (256, 256), pixel_size=0.1)
    ratio = size // 256
    blocks = image.reshape(256, ratio, 256, ratio).mean(axis=(1, 3))
    np.testing.assert_allclose(small, blocks, rtol=1e-5)
    assert pixel_size == pytest.approx(0.1 * ratio)


@settings(max_examples=30, deadline=None)
@given(old=st.tuples(st.integers(5, 60), st.integers(5, 60)), data=st.data())
def test_any_ratio_keeps_the_mean_and_a_plane(old, data):
    new = tuple(data.draw(st.integers(1, n)) for n in old)
    rows, columns = np.indices(old) + 0.5
    small, none = preprocessing.resize_area(2 * rows - columns, new)
    assert none is None
    ratios = np.array(old) / new
    rows, columns = np.indices(new) + 0.5
    # The area average of a plane is its value at the centre, which pixels that are cut at an
    # edge shift by at most half an old pixel in each direction.
    expected = 2 * rows * ratios[0] - columns * ratios[1]
    np.testing.assert_allclose(small, expected, atol=1.5)
    np.testing.assert_allclose(small.mean(), old[0] - old[1] / 2, atol=1e-3)


def test_a_fractional_ratio_weights_by_area():
    image = np.array([[1.0, 2.0, 4.0]] * 2)
    small, _ = preprocessing.resize_area(image, (1, 2))
    np.testing.assert_allclose(small, [[(1 + 0.5 * 2) / 1.5, (0.5 * 2 + 4) / 1.5]], rtol=1e-6)


def test_resizing_refuses_what_would_mislead():
    image = np.ones((100, 200))
    with pytest.raises(InputError, match="smaller size"):
        preprocessing.resize_area(image, (100, 201))
    with pytest.raises(InputError, match="same aspect"):
        preprocessing.resize_area(image, (50, 50), pixel_size=0.2)

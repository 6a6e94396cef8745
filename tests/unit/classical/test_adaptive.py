"""The adaptive Bragg filter on lattices of unequal strength, its guard and its search."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from graphseg import metrics
from graphseg.classical.adaptive import (
    CANDIDATES,
    FLOOR,
    AdaptiveBraggSegmenter,
    band_pass,
    best_guard,
    log_energy,
    samples,
    split_lattice,
    two_levels,
)
from graphseg.classical.bragg import BraggSegmenter
from graphseg.errors import InputError


def lattice(shape, angle=0.3, period=7.3):
    """A hexagonal lattice of standard deviation 1 that fits no pixel grid."""
    rows, columns = np.indices(shape)
    turned = angle + np.arange(3) * np.pi / 3
    phases = 2 * np.pi * (np.multiply.outer(np.cos(turned), rows) + np.multiply.outer(
        np.sin(turned), columns)) / period  # fmt: skip
    return np.cos(phases + np.array([0.1, 0.7, 1.9])[:, None, None]).sum(axis=0) / np.sqrt(1.5)


def scene(seed, shape=(128, 136), radius=24, noise=0.1, strength=2.0):
    """A lattice with noise and an aperiodic disc: image and mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    centre = rng.uniform(40, np.array(shape) - 40)
    mask = np.hypot(rows - centre[0], columns - centre[1]) < radius
    speckle = gaussian_filter(rng.standard_normal(shape), 1.2)
    image = lattice(shape, rng.uniform(0, 1)) + noise * rng.standard_normal(shape)
    image += mask * strength * speckle / speckle.std()
    return image.astype(np.float32), mask


def stack(n=6, **parameters):
    images, masks = zip(*(scene(seed, **parameters) for seed in range(n)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="module")
def unequal():
    """Images whose noise, and with it the level of a clean residual, differs sixfold."""
    pairs = [scene(seed, noise=noise) for seed, noise in enumerate((0.1, 0.6) * 4)]
    images, masks = zip(*pairs, strict=True)
    return np.stack(images), np.stack(masks)


def quiet(**parameters):
    return AdaptiveBraggSegmenter(progress=False, **parameters)


# Energy


def test_energy_of_a_wave_is_half_its_squared_amplitude():
    wave = 3 * np.sin(2 * np.pi * np.arange(128) / 8) * np.ones((128, 1))
    energy = log_energy(wave.astype(np.float32), window=8, smoothing=4)
    np.testing.assert_allclose(energy[:, 32:-32], np.log(4.5), atol=1e-3)


def test_energy_of_nothing_is_the_floor():
    energy = log_energy(np.zeros((16, 20), np.float32), 2, 3)
    np.testing.assert_allclose(energy, np.log(FLOOR), rtol=1e-5)


def test_band_keeps_a_wave_inside_it_by_its_known_factor():
    frequency = 1 / 16  # cycles per pixel
    wave = np.sin(2 * np.pi * frequency * np.arange(256)) * np.ones((64, 1))
    passed = band_pass(wave.astype(np.float32), 1, 6)[:, 64:-64]
    factor = [np.exp(-2 * (np.pi * frequency * width) ** 2) for width in (1, 6)]
    np.testing.assert_allclose(passed, (factor[0] - factor[1]) * wave[:, 64:-64], atol=1e-4)
    constant = np.full((32, 40), 5, np.float32)
    np.testing.assert_allclose(band_pass(constant, 1, 6), 0, atol=1e-5)


def test_a_lattice_leaves_no_residual_and_its_parts_add_up():
    image, found, residual = split_lattice(lattice((256, 256)).astype(np.float32), 1 / 64, 60)
    np.testing.assert_allclose(found + residual, image, atol=1e-6)
    assert residual[32:-32, 32:-32].std() < 0.05 * image.std()


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30))
def test_two_levels_splits_where_the_variance_within_is_smallest(values):
    values = np.array(values)
    threshold, gap = two_levels(values)
    high = values > threshold
    if not high.any():
        assert gap == 0 or np.ptp(values) < 1e-6
        return
    assert gap == pytest.approx(values[high].mean() - values[~high].mean(), abs=1e-6)

    def within(split):
        return sum(part.var() * part.size for part in (values[split], values[~split]) if part.size)

    assert within(high) <= min(within(values > v) for v in values) + 1e-6


def test_two_levels_of_one_value_and_of_two():
    assert two_levels(np.full((4, 4), 7.0)) == (7.0, 0.0)
    assert two_levels(np.array([3.0])) == (3.0, 0.0)
    assert two_levels(np.array([1.0, 5.0, 1.0])) == (3.0, 4.0)


@pytest.mark.parametrize(("side", "kept"), [(256, 64), (64, 16), (8, 8)])
def test_samples_are_sparse_where_there_are_enough(side, kept):
    assert samples(np.zeros((3, side, side))).shape == (3, kept, kept)


# The guard


def test_guard_lies_between_clean_images_and_others():
    masks = np.zeros((4, 4, 4), bool)
    masks[2:, :2] = True
    found = np.ones((4, 4, 4), bool)
    found[2:] = masks[2:]
    assert best_guard(found, masks, np.array([0.2, 1.0, 2.0, 3.0])) == 1.5


def test_guard_is_zero_where_emptying_costs_more_than_it_brings():
    masks = np.ones((3, 4, 4), bool)
    assert best_guard(masks, masks, np.array([0.1, 0.2, 0.3])) == 0
    masks[2] = False  # a clean image with the widest gap: not worth the two others
    assert best_guard(np.ones_like(masks), masks, np.array([0.1, 0.2, 0.3])) == 0


def test_guard_covers_all_images_if_all_are_clean():
    masks = np.zeros((3, 4, 4), bool)
    assert best_guard(masks, masks, np.array([0.1, 0.3, 0.2])) == 0.3


def test_clean_images_come_out_empty_with_the_guard_only(unequal):
    clean, no_masks = stack(4, strength=0.0)
    images = np.concatenate([unequal[0], clean[:2]])
    masks = np.concatenate([unequal[1], no_masks[:2] & False])
    guarded = quiet(rounds=0).fit(images, masks)
    # Otsu's level alone: a clean image is split like any other.
    open_ = quiet(rounds=0, otsu_weight=1.0, guard=False).fit(images, masks)
    assert not guarded.predict(clean[2:]).any()
    assert open_.predict(clean[2:]).any(axis=(1, 2)).all()
    probability = guarded.predict_proba(clean[2:])
    assert probability.max() < 0.5
    assert guarded.predict(unequal[0]).any(axis=(1, 2)).all()


# The estimator


def test_unequal_images_are_segmented_better_than_by_one_threshold(unequal):
    images, masks = unequal
    adaptive = quiet().fit(images[:6], masks[:6]).score(images[6:], masks[6:])
    fixed = BraggSegmenter(progress=False).fit(images[:6], masks[:6]).score(images[6:], masks[6:])
    assert adaptive > 0.8
    assert adaptive > fixed


def test_search_starts_at_the_parameters_and_never_gets_worse(unequal):
    start = quiet(rounds=0).fit(*unequal)
    found = quiet(rounds=1).fit(*unequal)
    assert start.low_pass_ == 0.7
    assert start.tried_ == []
    assert found.training_jaccard_ >= start.training_jaccard_
    assert found.training_jaccard_ == max(tried["jaccard"] for tried in found.tried_)
    for name, values in CANDIDATES.items():
        assert getattr(found, f"{name}_") in (*values, getattr(found, name))
        assert {tried[name] for tried in found.tried_} == {*values, getattr(found, name)}


def test_answer_is_the_same_for_any_gain_and_offset(unequal):
    images, masks = unequal
    fitted = quiet(rounds=0).fit(images, masks)
    agree = fitted.predict(images) == fitted.predict(300 * images + 1000)
    assert agree.mean() > 0.9999


def test_prediction_is_where_the_probability_reaches_one_half(unequal):
    images, masks = unequal
    fitted = quiet(rounds=0).fit(images, masks)
    probability = fitted.predict_proba(images)
    assert probability.dtype == np.float32
    assert 0 <= probability.min() < 0.1 < 0.9 < probability.max() <= 1
    np.testing.assert_array_equal(fitted.predict(images), probability >= 0.5)
    assert fitted.score(images, masks) == metrics.scores(
        metrics.counts(masks, probability >= 0.5)
    )["jaccard"]  # fmt: skip


@settings(deadline=None, max_examples=8)
@given(st.integers(8, 90), st.integers(8, 90))
def test_any_size_is_accepted(height, width):
    images, masks = stack(2)
    fitted = quiet(rounds=0).fit(images, masks)
    image = np.random.default_rng(0).random((1, height, width))
    assert fitted.predict(image).shape == (1, height, width)


@pytest.mark.parametrize("value", [False, True])
def test_labels_of_one_class_are_learnt(value):
    images, _ = stack(3)
    fitted = quiet(rounds=1).fit(images, np.full(images.shape, value))
    assert fitted.training_jaccard_ == 1
    assert (fitted.predict(images).mean() > 0.95) == value
    if not value:
        assert not fitted.predict(images).any()


def test_constant_image_is_clean():
    fitted = quiet(rounds=0, otsu_weight=1.0).fit(*stack(3))
    assert not fitted.predict(np.full((1, 64, 64), 7)).any()


def test_it_is_a_scikit_learn_estimator():
    copy = clone(quiet(smoothing=3.0))
    assert copy.get_params()["smoothing"] == 3.0
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 16, 16)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("low_pass", -1), ("aperture_width", 0), ("softness", 0), ("rounds", -1), ("n_peaks", np.nan)],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        quiet(**{name: value}).fit(*stack(1))


def test_wrong_input_is_refused():
    images, masks = stack(2)
    with pytest.raises(InputError, match=r"expected shape \(n, H, W\)"):
        quiet().fit(images[0], masks[0])
    with pytest.raises(InputError, match="do not match"):
        quiet().fit(images, masks[:1])
    with pytest.raises(InputError, match="not finite"):
        quiet().fit(images * np.nan, masks)

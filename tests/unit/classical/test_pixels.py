"""The learned pixel classifier: its maps on known waves, what it learns, and its interface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from graphseg import metrics
from graphseg.classical.bragg import best_threshold
from graphseg.classical.pixels import FEATURES, PixelClassifier, _interpolate, feature_maps
from graphseg.errors import InputError

QUICK = {"trees": 30, "leaf_pixels": 20, "learning_rate": 0.2, "progress": False}


def scene(seed, shape=(96, 104), radius=22):
    """White noise, and in a disc noise of three times its strength: image and mask."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    centre = rng.uniform(30, np.array(shape) - 30)
    mask = np.hypot(rows - centre[0], columns - centre[1]) < radius
    return (rng.standard_normal(shape) * (1 + 2 * mask)).astype(np.float32), mask


def stack(n=6):
    images, masks = zip(*(scene(seed) for seed in range(n)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="module")
def fitted():
    return PixelClassifier(**QUICK).fit(*stack())


def feature(maps, name):
    return maps[..., FEATURES.index(name)]


# The maps


def test_there_are_as_many_maps_as_names():
    maps = feature_maps(scene(0)[0])
    assert maps.shape == (96, 104, 24) == (96, 104, len(FEATURES))
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert len(set(FEATURES)) == 24


def test_spacing_keeps_every_so_many_pixels():
    image = scene(1)[0][:90]
    np.testing.assert_array_equal(feature_maps(image, 4), feature_maps(image)[::4, ::4])


def test_maps_do_not_depend_on_gain_and_offset():
    image = scene(2)[0]
    np.testing.assert_allclose(feature_maps(50 * image + 7), feature_maps(image), atol=2e-2)


def test_maps_turn_with_the_image():
    """Half a turn, after which the spectrum and so the lattice peaks are the same."""
    image = scene(3)[0]
    turned = feature_maps(image[::-1, ::-1].copy())[::-1, ::-1]
    maps = feature_maps(image)
    np.testing.assert_allclose(feature(turned, "lattice"), feature(maps, "lattice"), atol=0.01)
    np.testing.assert_allclose(turned[..., :5], maps[..., :5], atol=0.01)
    # The level of the image is taken from samples, which are other pixels then.
    np.testing.assert_allclose(turned[..., 5:], maps[..., 5:], atol=0.15)


def test_three_times_the_noise_is_nine_times_the_energy():
    """In logarithms, log 9 above the surroundings; the disc is small against the image."""
    image, mask = scene(4, (192, 192), radius=40)
    rows, columns = np.nonzero(mask)
    centre = int(rows.mean()), int(columns.mean())
    energy = feature(feature_maps(image), "wide band over 6 px, above median")
    assert abs(energy[centre] - np.log(9)) < 0.4


def test_constant_image_has_no_energy_anywhere():
    maps = feature_maps(np.full((32, 40), 3.0, np.float32))
    assert np.isfinite(maps).all()
    assert feature(maps, "gap of image").max() == pytest.approx(0, abs=1e-3)
    np.testing.assert_allclose(feature(maps, "grey level"), 0, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5))
def test_interpolation_of_a_plane_is_exact(height, width, spacing):
    rows, columns = np.indices((height, width))
    last = (height - 1) // spacing * spacing, (width - 1) // spacing * spacing
    plane = 2 * np.minimum(rows, last[0]) - 3 * np.minimum(columns, last[1]) + 1
    found = _interpolate(plane[::spacing, ::spacing].astype(float), (height, width), spacing)
    np.testing.assert_allclose(found, plane, atol=1e-4)


# The estimator


def test_it_finds_the_noisy_disc_in_new_images(fitted):
    images, masks = zip(*(scene(seed) for seed in (100, 101, 102)), strict=True)
    assert fitted.score(np.stack(images), np.stack(masks)) > 0.8
    assert fitted.held_out_jaccard_ > 0.8


def test_prediction_is_where_the_probability_reaches_one_half(fitted):
    images, masks = stack(3)
    probability = fitted.predict_proba(images)
    assert probability.dtype == np.float32
    assert 0 <= probability.min() < 0.1 < 0.9 < probability.max() <= 1
    np.testing.assert_array_equal(fitted.predict(images), probability >= 0.5)
    counts = metrics.counts(masks, probability >= 0.5)
    assert fitted.score(images, masks) == metrics.scores(counts)["jaccard"]


def test_same_seed_same_answer_and_another_seed_another():
    images, masks = stack(4)
    margins = [
        PixelClassifier(**QUICK, pixels=200, random_state=seed)
        .fit(images, masks)
        .decision_function(images)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(margins[0], margins[1])
    assert (margins[0] != margins[2]).any()


def test_threshold_comes_from_images_the_trees_have_not_seen():
    """Labels without any pattern: trees fit what they have seen, and nothing else."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 48, 48))
    masks = np.zeros(images.shape, bool)
    masks[rng.permutation(6)[:3]] = True  # three images at random, contaminated all over
    fitted = PixelClassifier(**QUICK, folds=6).fit(images, masks)
    assert best_threshold(fitted.decision_function(images), masks)[1] > 0.9
    assert fitted.held_out_jaccard_ < 0.7


@pytest.mark.parametrize("value", [False, True])
def test_labels_of_one_class_are_learnt(value):
    images, _ = stack(3)
    fitted = PixelClassifier(**QUICK).fit(images, np.full(images.shape, value))
    assert (fitted.predict(images) == value).all()
    assert fitted.held_out_jaccard_ == 1


def test_an_image_of_one_class_only_may_be_held_out():
    images, masks = stack(2)
    masks = np.stack([masks[0] | True, masks[1] & False])
    fitted = PixelClassifier(**QUICK, folds=2).fit(images, masks)
    assert fitted.held_out_jaccard_ < 1  # each half knows one class, the wrong one


@settings(deadline=None, max_examples=8)
@given(st.integers(8, 90), st.integers(8, 90))
def test_any_size_is_accepted(fitted, height, width):
    image = np.random.default_rng(0).random((1, height, width))
    assert fitted.predict(image).shape == (1, height, width)


def test_it_is_a_scikit_learn_estimator():
    copy = clone(PixelClassifier(pixels=50))
    assert copy.get_params()["pixels"] == 50
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 16, 16)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("pixels", 0), ("trees", 0), ("leaves", 1), ("folds", 1), ("spacing", 0), ("softness", 0)],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=name):
        PixelClassifier(**{name: value}).fit(*stack(2))


def test_wrong_input_is_refused():
    images, masks = stack(2)
    with pytest.raises(InputError, match=r"expected shape \(n, H, W\)"):
        PixelClassifier().fit(images[0], masks[0])
    with pytest.raises(InputError, match="do not match"):
        PixelClassifier().fit(images, masks[:1])
    with pytest.raises(InputError, match="not finite"):
        PixelClassifier().fit(images * np.nan, masks)
    with pytest.raises(InputError, match="at least 2"):
        PixelClassifier().fit(images[:1], masks[:1])

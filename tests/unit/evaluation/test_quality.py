"""Views are turned back, a known line is found, intervals hold what they say."""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from book.tools import fold_networks
from graphseg.errors import InputError
from graphseg.evaluation import quality
from graphseg.evaluation.quality import ExpectedJaccard
from graphseg.unet import pretrained
from graphseg.unet.inference import SYMMETRIES


class Echo:
    """A segmenter whose probability is the image, or brighter towards one side."""

    def __init__(self, slope=0.0):
        self.slope = slope

    def predict_proba(self, images):
        ramp = self.slope * np.linspace(-0.5, 0.5, images.shape[2])
        return (images + ramp).astype(np.float32)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0.2, 0.8, (2, 24, 24)).astype(np.float32)


def views(segmenter, images):
    return np.stack([fold_networks.view(segmenter, images, *symmetry) for symmetry in SYMMETRIES])


def test_views_of_a_segmenter_without_a_preferred_direction_are_equal(images):
    found = views(Echo(), images)
    assert found.shape == (8, 2, 24, 24)
    np.testing.assert_array_equal(found, np.broadcast_to(images, found.shape))


def test_the_spread_shows_where_views_differ(images):
    mean, spread = fold_networks.ensemble([Echo(0.4)], images)
    np.testing.assert_allclose(mean, images, atol=1e-6)  # the ramp averages out
    ramp = 0.4 * np.linspace(-0.5, 0.5, 24)
    expected = np.sqrt((ramp[:, None] ** 2 + ramp[None, :] ** 2) / 2)
    np.testing.assert_allclose(spread, np.broadcast_to(expected, spread.shape), atol=1e-4)
    both, between = fold_networks.ensemble([Echo(), Echo(0.4)], images)
    np.testing.assert_allclose(both, images, atol=1e-6)
    np.testing.assert_allclose(
        between, np.broadcast_to(expected / np.sqrt(2), spread.shape), atol=1e-4
    )
    with pytest.raises(InputError, match="at least one network"):
        fold_networks.ensemble([], images)


def test_eight_views_average_to_what_averaging_gives():
    images = np.random.default_rng(0).uniform(size=(1, 32, 32)).astype(np.float32)
    one = pretrained.load(
        "default", test_time_augmentation=False, precision="float32", progress=False
    )
    all_views = pretrained.load(
        "default", test_time_augmentation=True, precision="float32", progress=False
    )
    mean = views(one, images).mean(axis=0)
    np.testing.assert_allclose(mean, all_views.predict_proba(images), atol=1e-4)


def test_the_certain_share_of_known_maps():
    sure = np.zeros((10, 10))
    sure[:5] = 0.95
    half = sure.copy()
    half[5:] = 0.3
    fractions = quality.certain_fractions([sure, half, np.zeros((4, 6)), np.full((3, 3), 0.5)])
    assert fractions.tolist() == [1, 0.5, 1, 0]


def noisy_line(number, seed):
    rng = np.random.default_rng(seed)
    fractions = rng.uniform(0.4, 1, number)
    return fractions, 0.3 + 0.6 * fractions + rng.normal(0, 0.02, number)


def test_a_known_line_is_found_in_spite_of_odd_labels():
    fractions, jaccards = noisy_line(60, 1)
    jaccards[:3] = 0.1
    model = ExpectedJaccard.fit(fractions, jaccards)
    assert model.slope == pytest.approx(0.6, abs=0.05)
    assert model.intercept == pytest.approx(0.3, abs=0.05)
    values = model(np.array([0.0, 0.5, 1.0, 3.0]))
    assert (values[:, 1] <= values[:, 0]).all()
    assert (values[:, 0] <= values[:, 2]).all()
    assert values.max() <= 1


def test_intervals_hold_nine_of_ten_new_images():
    held = []
    for seed in range(6):
        model = ExpectedJaccard.fit(*noisy_line(30, seed))
        fractions, jaccards = noisy_line(200, 100 + seed)
        _, low, high = model(fractions).T
        held.append(((low <= jaccards) & (jaccards <= high)).mean())
    assert 0.87 < np.mean(held) < 0.97


def test_intervals_from_few_images_hold_as_many_as_those_from_many():
    """Of 12 images eight in ten are asked for; the 11th and 2nd residual would hold seven."""
    held = []
    for seed in range(150):
        model = ExpectedJaccard.fit(*noisy_line(12, seed), coverage=0.8)
        fractions, jaccards = noisy_line(100, 1000 + seed)
        _, low, high = model(fractions).T
        held.append(((low <= jaccards) & (jaccards <= high)).mean())
    assert 0.8 < np.mean(held) < 0.9


def test_a_table_says_what_to_expect_where_that_is_known():
    line = ExpectedJaccard(0.8, 0.1, 0.1, 0.05, look_below=0.6)
    sure, unsure = (quality.columns(np.full((4, 4), p), line) for p in (0.95, 0.5))
    assert (sure["expected_jaccard"], sure["look_first"]) == (0.9, "")
    assert (unsure["expected_jaccard"], unsure["look_first"]) == (0.1, "yes")
    assert unsure["expected_low"] == 0
    # The line says nothing of images that are flagged, and there may be none.
    flagged = quality.columns(np.full((4, 4), 0.95), line, flagged=True)
    assert list(flagged) == list(sure) and flagged["look_first"] == "yes"
    assert {flagged[name] for name in flagged if name != "look_first"} == {None}
    for flag, said in ((True, "yes"), (False, "")):
        assert quality.columns(np.full((4, 4), 0.95), None, flag) == {"look_first": said}


def test_each_way_of_predicting_has_a_line_of_its_own(tmp_path, monkeypatch):
    one, eight, own = (ExpectedJaccard(0.5, x, 0.1, 0.1) for x in (0.1, 0.2, 0.3))
    stored = {"expected_jaccard": {"d": {"one view": asdict(one), "eight views": asdict(eight)}}}
    monkeypatch.setattr(quality, "FILE", tmp_path / "calibration.json")
    quality.FILE.write_text(json.dumps(stored))
    quality.package.cache_clear()
    network = SimpleNamespace(test_time_augmentation=True, card_={})
    assert quality.known_to(network, "d") == eight and quality.known_to(network, "x") is None
    network.test_time_augmentation = False
    assert quality.known_to(network, "d") == one
    network.card_ = {"cross_validation": {"expected_jaccard": {"one view": asdict(own)}}}
    assert quality.known_to(network, "x") == own
    network.test_time_augmentation = True  # which `graphseg train` has not measured
    assert quality.known_to(network, "x") is None
    quality.package.cache_clear()


def test_one_in_ten_of_the_fitted_images_is_to_be_looked_at():
    fractions, jaccards = noisy_line(200, 5)
    line = ExpectedJaccard.fit(fractions, jaccards)
    assert 0.08 < (line(fractions)[:, 0] < line.look_below).mean() <= 0.1

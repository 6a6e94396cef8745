"""Calibration returns what probabilities were distorted by, and never tests on what it fitted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from graphseg.errors import InputError
from graphseg.evaluation import calibration

GROUPS = np.array([f"g{k // 2}" for k in range(20)])
FOLD = np.repeat([0, 1], 10)


def drawn(temperature, number=20, seed=0):
    """Return overconfident probabilities of labels whose true probabilities are known."""
    rng = np.random.default_rng(seed)
    true = expit(rng.normal(0, 2, (number, 64, 64)))
    masks = rng.random(true.shape) < true
    return expit(logit(true) * temperature), masks


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.8])
def test_the_temperature_of_distorted_probabilities_is_found(temperature):
    said, masks = drawn(temperature)
    counts = calibration.histograms(said, masks)
    assert counts.sum() == masks.size
    assert counts[..., 1].sum() == masks.sum()
    assert calibration.fit_temperature(counts) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_takes_the_error_away(method):
    said, masks = drawn(2.0)
    counts = calibration.histograms(said, masks)
    before = calibration.reliability(counts, calibration.LEVELS)
    assert before.error > 0.05
    values = calibration.calibrate_out_of_fold(counts, FOLD, GROUPS, method)
    after = calibration.reliability(counts, values)
    assert after.error < 0.01
    assert after.pixels.sum() == masks.size
    per_image = calibration.error_per_image(counts, values)
    assert per_image.shape == (20,)
    assert per_image.mean() < calibration.error_per_image(counts, calibration.LEVELS).mean()


def test_the_error_of_a_known_case():
    # Half of the pixels are said to be .2 and are never contaminated, half .9 and always are.
    said = np.array([[[0.2, 0.9], [0.2, 0.9]]])
    counts = calibration.histograms(said, said > 0.5)
    diagram = calibration.reliability(counts, calibration.LEVELS)
    assert diagram.error == pytest.approx((0.2 + 0.1) / 2, abs=2e-3)
    full = diagram.pixels > 0
    np.testing.assert_allclose(diagram.predicted[full], [0.2, 0.9], atol=3e-3)
    np.testing.assert_array_equal(diagram.observed[full], [0, 1])
    assert np.isnan(diagram.predicted[~full]).all()


@given(st.floats(1e-5, 1 - 1e-5))
@settings(max_examples=50, deadline=None)
def test_a_level_holds_its_probability_and_one_half_is_contamination(probability):
    level = calibration.levels_of(np.array([probability]))[0]
    step = calibration.EDGES[1] - calibration.EDGES[0]
    assert abs(logit(calibration.LEVELS[level]) - logit(probability)) <= 0.51 * step
    assert (calibration.LEVELS[level] > 0.5) == (probability >= 0.5)


def test_certain_pixels_have_levels_too():
    levels = calibration.levels_of(np.array([0.0, 0.5, 1.0]))
    assert levels.tolist() == [0, len(calibration.LEVELS) // 2, len(calibration.LEVELS) - 1]
    scaled = calibration.apply_temperature(np.array([0.0, 0.5, 1.0]), 2.0)
    np.testing.assert_array_equal(scaled, [0, 0.5, 1])


def test_inner_folds_test_every_image_once_by_others_of_its_own_network():
    tested = []
    for train, test in calibration.inner_folds(FOLD, GROUPS):
        assert len(np.unique(FOLD[np.concatenate([train, test])])) == 1
        assert not set(GROUPS[train]) & set(GROUPS[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(20))


def test_what_an_image_is_calibrated_with_does_not_depend_on_its_label():
    said, masks = drawn(2.0)
    counts = calibration.histograms(said, masks)
    changed = counts.copy()
    changed[3] = counts[3][:, ::-1]
    pairs = [calibration.calibrate_out_of_fold(c, FOLD, GROUPS, "isotonic")
             for c in (counts, changed)]  # fmt: skip
    np.testing.assert_array_equal(pairs[0][3], pairs[1][3])
    np.testing.assert_array_equal(pairs[0][2], pairs[1][2])  # a frame of the same acquisition
    assert not np.array_equal(pairs[0][9], pairs[1][9])


def test_unusable_input_is_an_error():
    with pytest.raises(InputError, match="do not fit"):
        calibration.histograms(np.zeros((1, 4, 4)), np.zeros((1, 4, 5), bool))
    with pytest.raises(InputError, match="'platt'"):
        calibration.fit(np.ones((1, len(calibration.LEVELS), 2)), "platt")
    with pytest.raises(InputError, match="one acquisition"):
        list(calibration.inner_folds(np.zeros(3, int), np.array(["a", "a", "a"])))

"""Calibration returns what probabilities were distorted by."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from book.studies import reliability
from graphseg.errors import InputError


def drawn(temperature, number=20, seed=0):
    """Return overconfident probabilities of labels whose true probabilities are known."""
    rng = np.random.default_rng(seed)
    true = expit(rng.normal(0, 2, (number, 64, 64)))
    masks = rng.random(true.shape) < true
    return expit(logit(true) * temperature), masks


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.8])
def test_the_temperature_of_distorted_probabilities_is_found(temperature):
    said, masks = drawn(temperature)
    counts = reliability.histograms(said, masks)
    assert counts.sum() == masks.size
    assert counts[..., 1].sum() == masks.sum()
    assert reliability.fit_temperature(counts) == pytest.approx(temperature, rel=0.03)


def test_the_error_of_a_known_case():
    # Half of the pixels are said to be .2 and are never contaminated, half .9 and always are.
    said = np.array([[[0.2, 0.9], [0.2, 0.9]]])
    counts = reliability.histograms(said, said > 0.5)
    diagram = reliability.reliability(counts, reliability.LEVELS)
    assert diagram.error == pytest.approx((0.2 + 0.1) / 2, abs=2e-3)
    full = diagram.pixels > 0
    np.testing.assert_allclose(diagram.predicted[full], [0.2, 0.9], atol=3e-3)
    np.testing.assert_array_equal(diagram.observed[full], [0, 1])
    assert np.isnan(diagram.predicted[~full]).all()


@given(st.floats(1e-5, 1 - 1e-5))
@settings(max_examples=50, deadline=None)
def test_a_level_holds_its_probability_and_one_half_is_contamination(probability):
    level = reliability.levels_of(np.array([probability]))[0]
    step = reliability.EDGES[1] - reliability.EDGES[0]
    assert abs(logit(reliability.LEVELS[level]) - logit(probability)) <= 0.51 * step
    assert (reliability.LEVELS[level] > 0.5) == (probability >= 0.5)


def test_certain_pixels_have_levels_too():
    levels = reliability.levels_of(np.array([0.0, 0.5, 1.0]))
    assert levels.tolist() == [0, len(reliability.LEVELS) // 2, len(reliability.LEVELS) - 1]
    scaled = reliability.apply_temperature(np.array([0.0, 0.5, 1.0]), 2.0)
    np.testing.assert_array_equal(scaled, [0, 0.5, 1])


def test_unusable_input_is_an_error():
    with pytest.raises(InputError, match="do not fit"):
        reliability.histograms(np.zeros((1, 4, 4)), np.zeros((1, 4, 5), bool))
    with pytest.raises(InputError, match="'platt'"):
        reliability.fit(np.ones((1, len(reliability.LEVELS), 2)), "platt")

"""Clean fractions with a known answer, and intervals whose coverage is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from graphseg.errors import InputError
from graphseg.evaluation.quality import calibrated_level, clean_fractions, clean_intervals

# Multiples of 1/256, so that a threshold made from a probability is that probability again.
PROBABILITIES = arrays(np.float32, (3, 4, 5), elements=st.integers(0, 256).map(lambda i: i / 256))
LEVELS = st.floats(0, 1)
few = settings(deadline=None, max_examples=40)


def ramp(shape=(40, 50)):
    """Each probability from 0 to 1 once, in random order."""
    return np.random.default_rng(0).permutation(np.linspace(0, 1, np.prod(shape))).reshape(shape)


def test_fraction_counts_clean_pixels_that_are_not_excluded():
    mask, vacuum = np.zeros((2, 10, 10), bool)
    mask[:3], vacuum[2:5] = True, True
    assert clean_fractions([mask, np.zeros((4, 6))]) == pytest.approx([0.7, 1.0])
    assert clean_fractions([mask], excluded=[vacuum]) == pytest.approx([0.5])
    assert clean_fractions([np.full((2, 2), 0.3)], threshold=0.3) == [0.0]


@pytest.mark.parametrize(
    "maps",
    [[np.zeros(5)], [np.full((2, 2), 1.5)], [np.full((2, 2), np.nan)], [np.zeros((0, 3))]],
)
def test_what_is_no_probability_map_is_refused(maps):
    with pytest.raises(InputError, match="Map 0"):
        clean_fractions(maps)


def test_excluded_masks_and_levels_are_checked():
    with pytest.raises(InputError, match="excluded masks"):
        clean_fractions([np.zeros((2, 2))], excluded=[np.zeros((2, 3), bool)])
    with pytest.raises(InputError, match="level"):
        clean_intervals([np.zeros((2, 2))], 1.1)
    with pytest.raises(InputError, match="labelled fractions"):
        calibrated_level([np.zeros((2, 2))], [0.5, 0.5])


def test_interval_of_evenly_spread_probabilities_is_its_level():
    low, high = clean_intervals([ramp()], 0.8)[0]
    assert (low, high) == pytest.approx((0.1, 0.9), abs=1e-3)


@few
@given(PROBABILITIES, LEVELS, LEVELS)
def test_intervals_hold_the_fraction_and_are_nested(maps, first, second):
    fraction = clean_fractions(maps)
    inner, outer = (clean_intervals(maps, level) for level in sorted((first, second)))
    assert (outer[:, 0] <= inner[:, 0]).all() and (inner[:, 1] <= outer[:, 1]).all()
    assert (inner[:, 0] <= fraction).all() and (fraction <= inner[:, 1]).all()
    assert clean_intervals(maps, 1.0).tolist() == [[0, 1]] * 3


def test_coverage_with_one_shared_random_number_is_the_level():
    """The limit of full correlation, and the other one: independent pixels are always covered."""
    probability = ramp() ** 3
    low, high = clean_intervals([probability], 0.9)[0]
    rng = np.random.default_rng(1)
    shared = np.array([np.mean(probability < u) for u in rng.uniform(size=2000)])
    assert np.mean((low <= shared) & (shared <= high)) == pytest.approx(0.9, abs=0.02)
    independent = [np.mean(probability < rng.uniform(size=probability.shape)) for _ in range(200)]
    assert low < min(independent) and max(independent) < high


@few
@given(PROBABILITIES, arrays(int, 3, elements=st.integers(0, 20)), st.floats(0.05, 0.74))
def test_the_calibrated_level_is_the_smallest_that_covers(maps, counts, coverage):
    labelled = counts / 20
    level = calibrated_level(maps, labelled, coverage)

    def covered(level):
        low, high = clean_intervals(maps, level).T
        return np.sum((low <= labelled + 1e-12) & (labelled <= high + 1e-12))

    wanted = np.ceil(4 * coverage)
    assert covered(level) >= wanted
    # Levels are multiples of 1/128 here: a little below, one image less is covered.
    assert level == 0 or covered(level - 1 / 256) < wanted


def test_calibration_covers_new_images_as_often_as_wanted():
    rng = np.random.default_rng(2)
    levels, hits = [], []
    probability = ramp((20, 20)).astype(np.float32)
    for _ in range(40):
        drawn = [np.mean(probability < u) for u in rng.beta(5, 5, size=60)]
        maps = [probability] * 30
        levels.append(calibrated_level(maps, drawn[:30], 0.8))
        low, high = clean_intervals(maps, levels[-1]).T
        hits.append((low <= drawn[30:]) & (drawn[30:] <= high))
    assert np.mean(hits) == pytest.approx(0.8, abs=0.04)
    assert np.mean(levels) < 0.6  # these errors are smaller than a uniform number makes them


def test_too_few_images_for_the_coverage_give_everything_possible():
    assert calibrated_level([np.full((2, 2), 0.5)] * 8, [0.5] * 8, 0.9) == 1.0

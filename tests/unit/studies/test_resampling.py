"""Whole acquisitions are drawn, and correlations have intervals by that."""

import numpy as np
import pytest
from scipy import stats

from book.studies.resampling import correlation, rank_agreement
from graphseg.errors import InputError


def noisy_line(number, seed):
    rng = np.random.default_rng(seed)
    fractions = rng.uniform(0.4, 1, number)
    return fractions, 0.3 + 0.6 * fractions + rng.normal(0, 0.02, number)


def test_correlations_have_intervals_around_them():
    fractions, jaccards = noisy_line(60, 4)
    groups = np.arange(60) // 2
    found = correlation(fractions, jaccards, groups, draws=200)
    for value, low, high in found.values():
        assert low < value < high
        assert value > 0.95


def test_the_frames_of_an_acquisition_carry_the_evidence_of_one():
    fractions, jaccards = noisy_line(20, 5)
    single = correlation(fractions, jaccards, np.arange(20), draws=100)
    series = correlation(
        np.repeat(fractions, 3), np.repeat(jaccards, 3), np.repeat(np.arange(20), 3), draws=100
    )
    for name, values in single.items():
        assert series[name] == pytest.approx(values, abs=1e-9)


def test_what_is_always_the_same_tells_nothing():
    _, jaccards = noisy_line(10, 4)
    found = correlation(np.ones(10), jaccards, np.arange(10), draws=20)
    assert found == {"pearson": [0, 0, 0], "spearman": [0, 0, 0]}


def test_rank_agreement_is_spearman_with_an_interval():
    rng = np.random.default_rng(0)
    labelled = rng.uniform(size=60)
    noisy = labelled + 0.1 * rng.normal(size=60)
    found = rank_agreement(noisy, labelled)
    assert found.spearman == pytest.approx(stats.spearmanr(noisy, labelled).statistic)
    assert found.low < found.spearman < found.high < 1
    series = rank_agreement(np.tile(noisy, 4), np.tile(labelled, 4), np.tile(np.arange(60), 4))
    assert (series.low, series.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_opposite_orders_disagree_fully():
    found = rank_agreement([3, 2, 1, 0], [0, 1, 2, 3])
    assert (found.spearman, found.low, found.high) == pytest.approx((-1, -1, -1))


@pytest.mark.parametrize("fractions", [[1.0, 1.0, 1.0], [0.1, 0.2]])
def test_no_agreement_without_an_order(fractions):
    with pytest.raises(InputError, match="rank correlation"):
        rank_agreement(fractions, np.arange(len(fractions)))

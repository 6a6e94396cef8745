"""Paired differences against cases whose answer is known."""

import numpy as np
import pytest

from graphseg import comparison
from graphseg.errors import InputError


def record(name, jaccards, names):
    """Make a record in which every image has 1000 positive pixels and the given Jaccard."""
    counts = [[round(1000 * j), 0, 1000 - round(1000 * j), 9000] for j in jaccards]
    results = [{"shuffle": 0, "fold": 0, "test": names, "counts": counts}]
    return {"name": name, "results": results}


NAMES = [f"2020_0101_FS_{i // 2:03d}_layer_{i:04d}" for i in range(40)]


def test_a_constant_gain_has_no_uncertainty():
    scores = np.linspace(0.3, 0.8, 40)
    first, second = record("a", scores + 0.1, NAMES), record("b", scores, NAMES)
    for average in ("pooled", "per_image"):
        result = comparison.paired_difference(first, second, average=average, resamples=50)
        np.testing.assert_allclose(result, 0.1, atol=1e-3)


def test_no_difference_is_inside_the_interval_and_swapping_changes_the_sign():
    generator = np.random.default_rng(0)
    first, second = (record(n, generator.uniform(0.4, 0.9, 40), NAMES) for n in "ab")
    difference, low, high = comparison.paired_difference(first, second, resamples=400)
    assert low < 0 < high and low < difference < high
    swapped = comparison.paired_difference(second, first, resamples=400)
    np.testing.assert_allclose(swapped, (-difference, -high, -low))


def test_series_widen_the_interval():
    """Two frames that say the same carry the evidence of one."""
    gains = np.repeat(np.random.default_rng(1).normal(0.1, 0.1, 20), 2)
    scores = np.full(40, 0.5)
    widths = []
    for names in (NAMES, [f"image_{i}" for i in range(40)]):
        first, second = record("a", scores + gains, names), record("b", scores, names)
        _, low, high = comparison.paired_difference(first, second, resamples=1000)
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("level", "deviations"), [(0.95, 1.96), (0.8, 1.2816)])
def test_the_interval_of_independent_images_is_that_of_their_mean(level, deviations):
    gains = np.random.default_rng(2).normal(0.1, 0.05, 100)
    names = [f"image_{i}" for i in range(100)]
    first, second = record("a", 0.5 + gains, names), record("b", np.full(100, 0.5), names)
    value, low, high = comparison.paired_difference(
        first, second, average="per_image", level=level, resamples=3000
    )
    assert value == pytest.approx(gains.mean(), abs=1e-4)
    reach = deviations * gains.std() / np.sqrt(len(gains))
    assert (value - low, high - value) == pytest.approx((reach, reach), rel=0.1)


def test_other_images_are_refused():
    with pytest.raises(InputError, match="different images"):
        comparison.paired_difference(
            record("a", [0.5], ["image_1"]), record("b", [0.5], ["image_2"])
        )


def test_tables_show_mean_and_spread():
    rows = comparison.score_rows({"ours": record("a", [0.5, 0.7], ["i", "j"])}, "per_image")
    assert rows[0][0] == "ours" and rows[0][3] == "0.600\u00a0±\u00a00.000"
    text = comparison.markdown_table(["method", "jaccard"], [["ours", "0.6"]])
    assert text.splitlines() == ["| method | jaccard |", "| :-- | --: |", "| ours | 0.6 |"]


def test_single_folds_are_compared_on_the_images_they_share():
    names = NAMES[:3]
    first, second = record("a", [0.5, 0.5, 0.9], names), record("b", [0.8, 0.8, 0.8], names)
    options = dict(average="per_image", resamples=5)
    partial = record("a", [0.5, 0.5], names[:2]) | {"only": [0]}
    assert comparison.paired_difference(partial, second, **options)[0] == pytest.approx(-0.3)
    value, *_ = comparison.paired_difference(first, second, names=names[2:], **options)
    assert value == pytest.approx(0.1)
    with pytest.raises(InputError, match="different images"):
        comparison.paired_difference(first, second, names=["absent"], **options)

"""Paired differences against cases whose answer is known."""

import numpy as np
import pytest

from book.tools import tables
from graphseg.errors import InputError
from graphseg.evaluation import compare
from graphseg.evaluation.records import summary


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
        result = compare.paired_difference(first, second, average=average, resamples=50)
        np.testing.assert_allclose(result, 0.1, atol=1e-3)


def test_no_difference_is_inside_the_interval_and_swapping_changes_the_sign():
    generator = np.random.default_rng(0)
    first, second = (record(n, generator.uniform(0.4, 0.9, 40), NAMES) for n in "ab")
    difference, low, high = compare.paired_difference(first, second, resamples=400)
    assert low < 0 < high and low < difference < high
    swapped = compare.paired_difference(second, first, resamples=400)
    np.testing.assert_allclose(swapped, (-difference, -high, -low))


def test_series_widen_the_interval():
    """Two frames that say the same carry the evidence of one."""
    gains = np.repeat(np.random.default_rng(1).normal(0.1, 0.1, 20), 2)
    scores = np.full(40, 0.5)
    widths = []
    for names in (NAMES, [f"image_{i}" for i in range(40)]):
        first, second = record("a", scores + gains, names), record("b", scores, names)
        _, low, high = compare.paired_difference(first, second, resamples=1000)
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(np.sqrt(2), rel=0.1)


@pytest.mark.parametrize(("level", "deviations"), [(0.95, 1.96), (0.8, 1.2816)])
def test_the_interval_of_independent_images_is_that_of_their_mean(level, deviations):
    gains = np.random.default_rng(2).normal(0.1, 0.05, 100)
    names = [f"image_{i}" for i in range(100)]
    first, second = record("a", 0.5 + gains, names), record("b", np.full(100, 0.5), names)
    value, low, high = compare.paired_difference(
        first, second, average="per_image", level=level, resamples=3000
    )
    assert value == pytest.approx(gains.mean(), abs=1e-4)
    reach = deviations * gains.std() / np.sqrt(len(gains))
    assert (value - low, high - value) == pytest.approx((reach, reach), rel=0.1)


def test_other_images_are_refused():
    with pytest.raises(InputError, match="different images"):
        compare.paired_difference(record("a", [0.5], ["image_1"]), record("b", [0.5], ["image_2"]))


def test_single_folds_are_compared_on_the_images_they_share():
    names = NAMES[:3]
    first, second = record("a", [0.5, 0.5, 0.9], names), record("b", [0.8, 0.8, 0.8], names)
    options = dict(average="per_image", resamples=5)
    partial = record("a", [0.5, 0.5], names[:2]) | {"only": [0]}
    assert compare.paired_difference(partial, second, **options)[0] == pytest.approx(-0.3)
    value, *_ = compare.paired_difference(first, second, names=names[2:], **options)
    assert value == pytest.approx(0.1)
    with pytest.raises(InputError, match="different images"):
        compare.paired_difference(first, second, names=["absent"], **options)


EMPTY = [[0, 0, 0, 100], [0, 10, 0, 90], [50, 0, 50, 0]]  # empty and clean, empty and not, half


def three(names=("a", "b", "c")):
    return {
        "name": "three",
        "protocol": "acquisition",
        "results": [{"shuffle": 0, "fold": 0, "test": list(names), "counts": EMPTY}],
    }


def test_an_empty_label_counts_as_the_convention_says():
    means = {
        name: tables.fold_scores(three(), "jaccard", "per_image", **options)[0]
        for name, options in tables.conventions(three()).items()
    }
    expected = {"0/0 = 1": 1.5 / 3, "0/0 = 0": 0.5 / 3, "empty labels left out": 0.5}
    assert means == pytest.approx(expected)
    full = three() | {"results": [three()["results"][0] | {"counts": [[50, 0, 50, 0]] * 3}]}
    for name, options in tables.conventions(three()).items():
        value, *_ = compare.paired_difference(
            three(), full, average="per_image", resamples=10, **options
        )
        assert value == pytest.approx(expected[name] - 0.5)


def test_the_interval_of_a_score_is_about_the_mean_over_folds():
    generator = np.random.default_rng(3)
    scores, folds = generator.uniform(0.5, 0.9, 60), np.arange(60) % 5
    names = [f"image_{i}" for i in range(60)]
    whole = record("a", scores, names)["results"][0]
    results = [
        {
            "shuffle": 0,
            "fold": fold,
            "test": [n for n, f in zip(names, folds, strict=True) if f == fold],
            "counts": [c for c, f in zip(whole["counts"], folds, strict=True) if f == fold],
        }
        for fold in range(5)
    ]
    value, low, high = compare.score_interval({"results": results}, average="per_image")
    assert value == pytest.approx(summary({"results": results}, "per_image")["jaccard"][0])
    error = scores.std(ddof=1) / np.sqrt(60)  # of a mean of independent images
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_shuffles_are_averaged():
    first = record("a", [0.5, 0.7], NAMES[:2])
    first["results"].append(record("a", [0.7, 0.9], NAMES[:2])["results"][0] | {"shuffle": 1})
    second = record("b", [0.5, 0.5], NAMES[:2])
    value, *_ = compare.paired_difference(first, second, average="per_image", resamples=10)
    assert value == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.03, "excludes zero"),
        (-0.03, -0.01, "excludes zero"),
        (-0.01, 0.03, "includes zero"),
        (0.0, 0.0, "includes zero"),
        (0.0001, 0.02, "ends at zero"),
        (-0.02, 0.0001, "ends at zero"),
    ],
)
def test_what_an_interval_says(low, high, expected):
    assert compare.verdict(low, high) == expected


@pytest.mark.parametrize("options", [{"zero_division": 1.0}, {"zero_division": 0.0}])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ours_acquisition", "unet_best_acquisition"),
        ("unet_acquisition", "classifier_acquisition"),
        ("classifier_acquisition", "adaptive_acquisition"),
        ("bragg_acquisition", "no_lattice_acquisition"),
    ],
)
def test_no_seed_turns_a_verdict_into_its_opposite(first, second, options):
    records = [tables.read_result(name) for name in (first, second)]
    said = {
        compare.verdict(
            *compare.paired_difference(*records, average="per_image", seed=seed, **options)[1:]
        )
        for seed in range(4)
    }
    assert not {"excludes zero", "includes zero"} <= said

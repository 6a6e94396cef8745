"""Thresholds have the scores of the masks they make, and the wanted one is the cheapest."""

import numpy as np
import pytest
from typer.testing import CliRunner

from book.studies import reliability, thresholds
from book.studies.__main__ import app
from graphseg import metrics
from graphseg.errors import InputError
from graphseg.evaluation import quality

GROUPS = np.array(["a", "a", "b", "c", "d", "e"])


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(2)
    masks = rng.random((6, 48, 48)) < 0.3
    return np.where(masks, rng.beta(4, 2, masks.shape), rng.beta(1, 5, masks.shape)), masks


def test_counts_are_those_of_the_masks(case):
    probabilities, masks = case
    counts = reliability.histograms(probabilities, masks)
    found = thresholds.counts_at(counts, reliability.LEVELS, (0.2, 0.5, 0.8))
    for place, threshold in enumerate((0.2, 0.5, 0.8)):
        exact = metrics.counts(masks, probabilities >= threshold)
        np.testing.assert_allclose(found[:, place], exact, atol=12)  # pixels in one level
    np.testing.assert_array_equal(found[:, 1], metrics.counts(masks, probabilities >= 0.5))


def test_the_table_rises_in_precision_and_falls_in_recall(case):
    probabilities, masks = case
    counts = reliability.histograms(probabilities, masks)
    rows = thresholds.table(thresholds.counts_at(counts, reliability.LEVELS), GROUPS, draws=200)
    recall = [row["recall"] for row in rows]
    assert recall == sorted(recall, reverse=True)
    assert rows[0]["precision"] < rows[-5]["precision"]
    for row in rows:
        for name in thresholds.SCORES:
            assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]


def test_the_frames_of_an_acquisition_carry_the_evidence_of_one(case):
    probabilities, masks = case
    counts = thresholds.counts_at(reliability.histograms(probabilities, masks), reliability.LEVELS)
    single = thresholds.table(counts, np.arange(6), draws=200)
    series = thresholds.table(np.repeat(counts, 4, axis=0), np.repeat(np.arange(6), 4), draws=200)
    for one, four in zip(single, series, strict=True):
        assert four == pytest.approx(one)


def made(threshold, precision, recall):
    row = {"threshold": threshold, "precision": precision, "recall": recall}
    return row | {"precision_low": precision - 0.05, "recall_low": recall - 0.05}


ROWS = [made(0.2, 0.7, 0.99), made(0.5, 0.9, 0.9), made(0.8, 0.96, 0.7), made(0.9, 0.99, 0.4)]


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [
        ({"precision": 0.9}, 0.5),
        ({"precision": 0.9, "confident": True}, 0.8),
        ({"precision": 0.5}, 0.2),
        ({"recall": 0.65}, 0.8),
        ({"recall": 0.95}, 0.2),
    ],
)
def test_the_cheapest_threshold_that_is_enough_is_chosen(wanted, threshold):
    assert thresholds.choose(ROWS, **wanted)["threshold"] == threshold


def test_what_no_threshold_reaches_is_an_error():
    with pytest.raises(InputError, match=r"highest is 0\.990"):
        thresholds.choose(ROWS, precision=0.999)
    with pytest.raises(InputError, match="not both"):
        thresholds.choose(ROWS, precision=0.9, recall=0.9)


def test_a_threshold_goes_back_through_the_temperature():
    for threshold in (0.1, 0.5, 0.9):
        raw = thresholds.uncalibrated(threshold, 1.7)
        assert reliability.apply_temperature(np.array([raw]), 1.7)[0] == pytest.approx(threshold)


def test_the_command_prints_one_row_for_what_is_wanted(monkeypatch):
    stored = {"thresholds": [row | {f"{n}_{e}": 0.5 for n in thresholds.SCORES
                                    for e in ("low", "high")} | {"jaccard": 0.6} for row in ROWS],
              "temperature": 1.5}  # fmt: skip
    monkeypatch.setattr(quality, "package", lambda: stored)
    result = CliRunner().invoke(app, ["thresholds", "--precision", "0.9"])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split()[:2] == ["0.5000", "0.50"]
    assert len(result.stdout.splitlines()) == 2
    assert len(CliRunner().invoke(app, ["thresholds"]).stdout.splitlines()) == 5
    monkeypatch.setattr(quality, "package", lambda: None)
    missing = CliRunner().invoke(app, ["thresholds"])
    assert isinstance(missing.exception, InputError)

"""Expected and measured quality on other recordings: known lines, known errors."""

import numpy as np
import pytest

from book.studies import reliability, shifted_quality
from graphseg.evaluation.quality import ExpectedJaccard

LINE = ExpectedJaccard(1.0, 0.0, 0.1, 0.1)


def counts_of(jaccards):
    """Counts of masks with these Jaccard indices, in hundredths."""
    return [[round(100 * j), 100 - round(100 * j), 0, 0] for j in jaccards]


def test_what_is_expected_right_has_no_error_and_flagged_images_are_left_out():
    certain = np.array([0.2, 0.5, 0.9, 0.7])
    counts = counts_of([0.2, 0.5, 0.9, 0.0])
    found = shifted_quality.compared(LINE, certain, counts, [False, False, False, True])
    assert found == {
        "images": 4, "flagged": 0.25, "correlation": 1.0, "error": 0.0, "held": 1.0,
    }  # fmt: skip
    whole = shifted_quality.compared(LINE, certain, counts, [False] * 4)
    assert whole["error"] == pytest.approx(0.7 / 4) and whole["held"] == 0.75
    assert shifted_quality.compared(None, certain, counts, [False] * 4) is None
    few = shifted_quality.compared(LINE, certain, counts, [True, True, False, False])
    assert few["correlation"] is few["error"] is few["held"] is None


def test_the_calibration_error_of_bins_is_that_of_histograms():
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 1, (64, 64)).astype(np.float32)
    mask = rng.uniform(0, 1, (64, 64)) < probability**2
    plain, scaled = shifted_quality.binned(probability, mask, 2.0)
    assert plain[:, 0].sum() == scaled[:, 0].sum() == mask.size
    assert plain[:, 2].sum() == scaled[:, 2].sum() == mask.sum()
    counts = reliability.histograms(probability[None], mask[None])
    exact = reliability.reliability(counts, reliability.LEVELS[None]).error
    assert shifted_quality.calibration_error(plain) == pytest.approx(exact, abs=2e-3)
    assert exact == pytest.approx(1 / 6, abs=0.02)  # the mean of p - p²
    assert shifted_quality.calibration_error(np.zeros((reliability.BINS, 3))) is None


def test_all_parts_together_weigh_each_image_the_same():
    parts = {
        name: {
            "certain": np.array(certain),
            "counts": counts_of(jaccards),
            "flagged": np.zeros(len(certain), bool),
            "reliability": np.ones((2, reliability.BINS, 3)),
        }
        for name, certain, jaccards in (
            ("scales", [0.2, 0.4, 0.6], [0.2, 0.4, 0.6]),
            ("microscopes", [0.5, 0.7, 0.9], [0.4, 0.6, 0.8]),
        )
    }
    found = shifted_quality.joined(parts, LINE)
    errors = [found[name]["expected"]["error"] for name in ("scales", "microscopes", "all")]
    assert errors == pytest.approx([0, 0.1, 0.05])
    assert found["all"]["calibration_error"] == 0

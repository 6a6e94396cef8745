"""What is measured out of fold is never tested on what it was fitted to."""

import numpy as np
import pytest
from scipy.special import expit, logit

from book.studies import calibration as confidence
from book.studies import reliability
from graphseg.errors import InputError

GROUPS = np.array([f"g{k // 2}" for k in range(20)])
FOLD = np.repeat([0, 1], 10)


def drawn(temperature, number=20, seed=0):
    """Return overconfident probabilities of labels whose true probabilities are known."""
    rng = np.random.default_rng(seed)
    true = expit(rng.normal(0, 2, (number, 64, 64)))
    masks = rng.random(true.shape) < true
    return expit(logit(true) * temperature), masks


def noisy_line(number, seed):
    rng = np.random.default_rng(seed)
    fractions = rng.uniform(0.4, 1, number)
    return fractions, 0.3 + 0.6 * fractions + rng.normal(0, 0.02, number)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_takes_the_error_away(method):
    said, masks = drawn(2.0)
    counts = reliability.histograms(said, masks)
    before = reliability.reliability(counts, reliability.LEVELS)
    assert before.error > 0.05
    values = confidence.calibrate_out_of_fold(counts, FOLD, GROUPS, method)
    after = reliability.reliability(counts, values)
    assert after.error < 0.01
    assert after.pixels.sum() == masks.size
    per_image = confidence.error_per_image(counts, values)
    assert per_image.shape == (20,)
    assert per_image.mean() < confidence.error_per_image(counts, reliability.LEVELS).mean()


def test_inner_folds_test_every_image_once_by_others_of_its_own_network():
    tested = []
    for train, test in confidence.inner_folds(FOLD, GROUPS):
        assert len(np.unique(FOLD[np.concatenate([train, test])])) == 1
        assert not set(GROUPS[train]) & set(GROUPS[test])
        tested += test.tolist()
    assert sorted(tested) == list(range(20))


def test_what_an_image_is_calibrated_with_does_not_depend_on_its_label():
    said, masks = drawn(2.0)
    counts = reliability.histograms(said, masks)
    changed = counts.copy()
    changed[3] = counts[3][:, ::-1]
    pairs = [confidence.calibrate_out_of_fold(c, FOLD, GROUPS, "isotonic")
             for c in (counts, changed)]  # fmt: skip
    np.testing.assert_array_equal(pairs[0][3], pairs[1][3])
    np.testing.assert_array_equal(pairs[0][2], pairs[1][2])  # a frame of the same acquisition
    assert not np.array_equal(pairs[0][9], pairs[1][9])


def test_a_fold_of_one_acquisition_cannot_be_split():
    with pytest.raises(InputError, match="one acquisition"):
        list(confidence.inner_folds(np.zeros(3, int), np.array(["a", "a", "a"])))


def test_other_folds_never_hold_the_image_itself():
    fold = np.array([0, 1, 0, 2, 1])
    for train, test in confidence.other_folds(fold):
        assert not set(fold[train]) & set(fold[test])
        assert len(train) + len(test) == 5
    fractions, jaccards = noisy_line(45, 3)
    folds = np.arange(45) % 3
    found = confidence.expect_out_of_fold(fractions, jaccards, confidence.other_folds(folds))
    changed = jaccards.copy()
    changed[folds == 1] = 0
    again = confidence.expect_out_of_fold(fractions, changed, confidence.other_folds(folds))
    np.testing.assert_array_equal(found[folds == 1], again[folds == 1])
    assert not np.allclose(found[folds == 0], again[folds == 0])


def test_the_most_uncertain_pixels_hold_the_errors():
    wrong = np.zeros((1, 20, 20), bool)
    wrong[0, 0] = True  # 5 % of the pixels
    assert confidence.found_errors(wrong.astype(float), wrong) == 1
    assert confidence.found_errors(-wrong.astype(float), wrong) == 0

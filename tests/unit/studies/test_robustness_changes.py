"""Natural changes: each does what its unit says, and nothing at strength 0."""

import numpy as np
import pytest

from book.studies.changes import CHANGES, PHYSICAL, apply, said, same_sample, spread


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 1, (128, 128)).astype(np.float32)


@pytest.fixture(scope="module")
def mask():
    return np.add.outer(np.arange(128), np.arange(128)) > 150


@pytest.mark.parametrize("name", CHANGES)
def test_the_first_strength_changes_nothing_and_the_others_do(name, image, mask):
    change = CHANGES[name]
    same, label = apply(change, image, mask, change.strengths[0])
    if change.turns:
        cut = (128 - same.shape[0]) // 2
        middle = np.s_[cut : 128 - cut, cut : 128 - cut]
        np.testing.assert_array_equal(same, image[middle])
        np.testing.assert_array_equal(label, mask[middle])
    else:
        np.testing.assert_array_equal(same, image)
    assert list(change.strengths) == sorted(change.strengths)
    for strength in change.strengths[1:]:
        changed, _ = apply(change, image, mask, strength, seed=1)
        again, _ = apply(change, image, mask, strength, seed=1)
        np.testing.assert_array_equal(changed, again)
        assert changed.dtype == np.float32 and np.isfinite(changed).all()
        assert np.corrcoef(changed.ravel(), same.ravel())[0, 1] < 0.99999


def test_noise_has_the_strength_that_it_says(image, mask):
    changed, _ = apply(CHANGES["noise"], image, mask, 0.5)
    assert np.std(changed - image) == pytest.approx(0.5 * image.std(), rel=0.03)


def test_inverting_twice_gives_the_image_back(image, mask):
    once, _ = apply(CHANGES["inversion"], image, mask, 1)
    twice, _ = apply(CHANGES["inversion"], once, mask, 1)
    np.testing.assert_allclose(twice, image, atol=1e-6)


def test_a_gradient_runs_from_edge_to_edge(image, mask):
    changed, _ = apply(CHANGES["gradient"], image, mask, 2.0)
    ramp = changed - image
    slopes = [np.ptp(ramp[:, 0]), np.ptp(ramp[0])]
    assert np.hypot(*slopes) == pytest.approx(2 * image.std(), rel=1e-3)


def test_fewer_bits_leave_as_many_levels(image, mask):
    changed, _ = apply(CHANGES["bits"], image, mask, 5)
    assert len(np.unique(changed)) == 8


def test_a_right_angle_turns_label_and_image_alike(mask):
    picture = mask.astype(np.float32)
    turned, label = apply(CHANGES["rotation"], picture, mask, 30)
    assert np.mean((turned > 0.5) == label) > 0.99
    assert turned.shape == label.shape == (90, 90)


def test_drift_blurs_along_one_direction_only(mask):
    dot = np.zeros((64, 64), np.float32)
    dot[32, 32] = 1
    moved, _ = apply(CHANGES["drift"], dot, mask, 6, seed=3)
    weights = moved / moved.sum()
    rows, columns = np.indices(dot.shape) - 32.0
    spread_matrix = np.cov(
        np.stack([rows.ravel(), columns.ravel()]), aweights=weights.ravel(), ddof=0
    )
    small, large = np.sqrt(np.linalg.eigvalsh(spread_matrix))
    assert large == pytest.approx(6 / np.sqrt(12), rel=0.15)
    assert small < 0.6


def test_the_same_sample_keeps_its_label_in_other_conditions():
    near, far = (same_sample("defocus", value, 1) for value in (20.0, 250.0))
    np.testing.assert_array_equal(near.mask, far.mask)
    assert (abs(near.conditions.defocus), abs(far.conditions.defocus)) == (20.0, 250.0)
    assert near.conditions.dose == far.conditions.dose
    assert near.conditions.astigmatism == far.conditions.astigmatism


def test_a_subset_touches_every_fold():
    folds = np.repeat([0, 1, 2], [30, 20, 10])
    chosen = spread(folds, 12)
    assert np.bincount(folds[chosen]).tolist() == [6, 4, 2]
    assert len(set(chosen)) == 12
    np.testing.assert_array_equal(spread(folds, 0), np.arange(60))


def test_a_strength_is_said_in_a_unit_of_its_own_not_in_that_of_the_axis():
    assert said("JPEG", 90) == "quality 10"
    assert said("bits", 6) == "2 bits"
    assert said("inversion", 1) == "inverted"
    assert said("defocus", 20.0) == "±20 Å"
    everything = {**CHANGES, **PHYSICAL}
    assert all(said(name, 1.0) for name in everything)

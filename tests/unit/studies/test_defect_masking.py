"""What a mask covers near defects is counted exactly, and bundled networks are measured."""

import numpy as np
import pytest

from book.studies import defect_masking
from book.studies.clean_sheets import KINDS, Sheet
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.structure.boundaries import Boundary


def made_sheet(kind, near, mask=None):
    near = np.asarray(near, bool)
    mask = np.zeros_like(near) if mask is None else mask
    image = np.zeros(near.shape, np.float32)
    visible = mask & (np.indices(mask.shape)[0] < 2)
    return Sheet(kind, image, mask, near, visible, np.zeros((1, 2)), 0.4, 1e4, "white")


def everything(images):
    return np.ones(images.shape, bool)


def nothing(images):
    return np.zeros(images.shape, bool)


def left_half(images):
    masks = nothing(images)
    masks[:, :, : images.shape[2] // 2] = True
    return masks


@pytest.fixture
def frames():
    rows = np.indices((20, 20))[0]
    columns = np.indices((20, 20))[1]
    touching = made_sheet("touching", (rows < 5) & (columns < 15), columns < 15)
    return [made_sheet("loop", rows < 10), made_sheet("hole", columns >= 15), touching]


def test_known_masks_give_known_fractions(frames):
    fraction = defect_masking.masked_fraction
    rows = defect_masking.count_masked(left_half, frames)
    assert fraction(rows, kind="loop") == 0.5
    assert fraction(rows, kind="hole") == 0
    assert fraction(rows) == 100 / 300  # touching does not count among clean sheets
    assert fraction(rows, kind="touching") == pytest.approx(2 / 3)
    assert fraction(rows, "visible", kind="touching") == pytest.approx(2 / 3)
    assert np.isnan(fraction(rows, "visible", kind="loop"))
    assert fraction(rows, "other", kind="touching") == pytest.approx(2 / 3)
    assert fraction(rows, "far", kind="hole") == pytest.approx(2 / 3)
    assert fraction(rows, "far", kind="touching") == 0
    assert fraction(rows, kind="loop", dose=1e4) == 0.5
    assert np.isnan(fraction(rows, kind="loop", dose=3e3))


def test_the_verdict_of_the_two_trivial_masks(frames):
    none, all_of_it = (
        defect_masking.verdict(defect_masking.count_masked(f, frames))
        for f in (nothing, everything)
    )
    assert (none["all"], none["recall at boundaries"]) == (0, 0)
    assert (all_of_it["all"], all_of_it["recall at boundaries"]) == (1, 1)
    assert all_of_it["recall of visible"] == 1
    assert set(none) == {*KINDS, "all", "recall at boundaries", "recall of visible"}


def counted(kind, near, masked):
    row = dict.fromkeys(defect_masking.COLUMNS, 0) | {"kind": kind}
    return list((row | {"near": near, "near_masked": masked}).values())


def test_intervals_are_those_of_sheets_not_of_pixels():
    alike = [counted("loop", 1000, 20)] * 10
    assert defect_masking.fraction_interval(alike) == (0.02, 0.02)
    found = [counted("loop", 1000, n) for n in (0, 0, 0, 0, 0, 0, 0, 0, 0, 200)]
    low, high = defect_masking.fraction_interval(found)
    # Of ten draws none, or up to three, are the tenth sheet.
    assert low == 0 and high == pytest.approx(0.06)


def test_the_cost_of_boundaries_is_that_of_pairs():
    recalls = [(900, 950), (500, 550), (100, 150), (300, 350)]
    rows = [counted("touching", 1000, one) for one, _ in recalls]
    rows += [counted("one crystal", 1000, other) for _, other in recalls]
    cost, low, high = defect_masking.cost_of_boundaries(rows)
    assert (cost, low, high) == pytest.approx((-0.05, -0.05, -0.05))


def test_unknown_columns_are_an_error(frames):
    rows = defect_masking.count_masked(nothing, frames)
    with pytest.raises(InputError, match="colour"):
        defect_masking.masked_fraction(rows, colour="white")
    with pytest.raises(InputError, match="'beside'"):
        defect_masking.masked_fraction(rows, "beside")


def test_false_positives_at_a_boundary_are_those_within_five_pixels():
    line = Boundary(np.stack([np.full(40, 20.0), np.arange(40.0)], axis=1), 0.3, 0.4)
    masks = np.zeros((2, 40, 40), bool)
    masks[0, :, 30:] = True
    predicted = np.zeros_like(masks)
    predicted[0, 20, :] = True
    predicted[0, 0, :10] = True
    near, near_masked, far, far_masked = defect_masking.false_at_boundaries(
        masks, predicted, [[line], []]
    )[0]
    assert near == 11 * 30  # the line and five pixels on either side, without the label
    assert near_masked == 30
    assert near + far == 40 * 30
    assert far_masked == 10
    assert defect_masking.false_at_boundaries(masks, predicted, [[line], []])[1] == [0, 0, 1600, 0]


def test_results_at_hand_are_taken_over(monkeypatch, tmp_path):
    stack = load.load_stack("simulated").subset([0])
    made = [made_sheet("loop", np.eye(32))]
    monkeypatch.setattr(defect_masking, "sheets", lambda **_: made)
    options = dict(test_time_augmentation=False, published=False, run_folder=tmp_path)
    first = defect_masking.run(stack, ["default"], **options)
    assert first["methods"]["default"]["rows"][0][4] == 32
    monkeypatch.setattr(defect_masking, "sheets", lambda **_: pytest.fail("measured again"))
    assert defect_masking.run(stack, ["default"], **options) == first
    with pytest.raises(InputError, match="defualt"):
        defect_masking.run(stack, ["defualt"], **options)
    with pytest.raises(InputError, match="of another run"):
        defect_masking.run(stack, ["default"], **options | {"repeats": 1})


def test_boundaries_of_published_images_are_found_on_some(published):
    found = defect_masking.published_boundaries(published.subset(np.arange(0, 40, 5)))
    assert len(found) == 8
    assert any(found)

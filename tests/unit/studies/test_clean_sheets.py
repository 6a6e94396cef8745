"""Clean sheets show one kind of structure where they say, and touching contamination touches."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

from book.studies.clean_sheets import (
    ALONE,
    CONTRASTS,
    DOSES,
    KINDS,
    LEAST_TOUCHING,
    NEAR,
    PIXEL_SIZES,
    TOUCHING,
    sheet,
    sheets,
)
from graphseg.errors import InputError


@pytest.mark.parametrize("kind", KINDS)
def test_clean_sheets_are_clean_and_know_their_defects(kind):
    one = sheet(kind, 3, 1, size=128)
    assert not one.mask.any()
    assert one.image.dtype == np.float32
    assert (one.image.min(), one.image.max()) == (0, 1)
    assert len(one.defects) > 0
    pixels = np.stack(np.indices((128, 128)), axis=-1)
    away = cKDTree(one.defects).query(pixels)[0] * one.pixel_size
    np.testing.assert_array_equal(one.near, away <= NEAR)
    assert 0.005 < one.near.mean() < 0.7


def test_contamination_lies_at_boundaries():
    one = sheet("touching", 3, 0, size=128)
    assert one.near.sum() >= LEAST_TOUCHING
    assert one.mask[one.near].all()
    assert not one.mask.all()
    assert one.mask[one.visible].all()


def test_the_same_contamination_comes_without_a_boundary():
    pair = [sheet(kind, 3, 0, size=128) for kind in (TOUCHING, ALONE)]
    np.testing.assert_array_equal(pair[0].mask, pair[1].mask)
    np.testing.assert_array_equal(pair[0].near, pair[1].near)
    noise = [one.image - one.image.mean() for one in pair]
    contaminated = pair[0].mask
    # One is the other but for the crystal; contamination and noise are the same.
    assert np.corrcoef(noise[0][contaminated], noise[1][contaminated])[0, 1] > 0.3
    assert not np.array_equal(pair[0].image, pair[1].image)


def test_more_electrons_make_more_contamination_visible():
    seen = [sheet("touching", 3, 0, dose=dose, size=128).visible for dose in DOSES]
    assert all((more | less == more).all() for less, more in pairwise(seen))
    assert 0 < seen[0].sum() < seen[-1].sum()


@pytest.mark.parametrize("kind", ["boundary", "touching"])
def test_the_same_arguments_give_the_same_sheet(kind):
    first, second, other = (sheet(kind, 3, index, size=128) for index in (2, 2, 3))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.near, second.near)
    assert not np.array_equal(first.image, other.image)


def test_atoms_are_white_or_black():
    for pixel_size in (0.3, 0.46):
        for contrast, above in (("white", True), ("black", False)):
            one = sheet("adatom", 4, 5, pixel_size, 3e4, contrast, size=128)
            places = np.rint(one.defects).astype(int)
            inside = ((places > 2) & (places < 125)).all(axis=1)
            heavy = one.image[tuple(places[inside].T)].mean()
            assert (heavy > one.image.mean() + one.image.std()) == above
            assert (heavy < one.image.mean() - one.image.std()) != above


def test_every_condition_occurs_once():
    made = list(sheets(("adatom",), size=64))
    conditions = {(s.dose, s.pixel_size, s.contrast) for s in made}
    assert len(made) == len(conditions) == len(DOSES) * len(PIXEL_SIZES) * len(CONTRASTS)


def test_unknown_kinds_are_an_error():
    with pytest.raises(InputError, match="'flower'"):
        sheet("flower", 0, 0)
    with pytest.raises(InputError, match="'grey'"):
        sheet("hole", 0, 0, contrast="grey")

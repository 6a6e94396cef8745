"""Near-duplicates: what the maps ignore, what they tell apart, and the measured threshold."""

import numpy as np
import pytest
from scipy import ndimage

from graphseg.datasets import duplicates
from graphseg.datasets.duplicates import (
    CELLS,
    THRESHOLD,
    near_duplicates,
    similarities,
    texture_map,
)
from graphseg.datasets.stack import SAME_PLACE, acquisition_of

# Pairs of published images in different acquisitions above the threshold. To judge by eye, the
# first three pairs of acquisitions show one place each; the last may or may not.
SAME_PLACES = {
    ("2014_0105_Gr_FS_023", "2014_0105_Gr_FS_024"): 1,
    ("2014_0601_Gr_FS_Dyna1_01", "2014_0601_Gr_FS_Dyna1_02"): 4,
    ("2015_0310_Gr_D4_FS_001", "2015_0310_Gr_D4_FS_002"): 3,
    ("2014_0104_Gr_FS_005", "2014_0104_Gr_FS_008"): 1,
}


def outline(rng, side=256):
    """Two ellipses."""
    rows, columns = np.indices((side, side))
    covered = np.zeros((side, side), bool)
    for row, column in rng.uniform(0, side, (2, 2)):
        height, width = rng.uniform(20, 60, 2)
        covered |= ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1
    return covered


def micrograph(rng, covered, contrast=1.0):
    """A lattice of 6 pixels with noise, and coarse grains where it is covered."""
    rows, columns = np.indices(covered.shape)
    lattice = np.cos(2 * np.pi * rows / 6) + np.cos(2 * np.pi * columns / 6)
    grains = ndimage.gaussian_filter(rng.normal(size=covered.shape), 2.5)
    image = np.where(covered, 3 * grains / grains.std(), contrast * lattice)
    return 10 + image + rng.normal(0, 0.7, covered.shape)


def alike(first, second):
    return similarities(np.stack([texture_map(first), texture_map(second)]))[0, 1]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_an_image_is_like_itself_whatever_its_scale(rng):
    image = micrograph(rng, outline(rng))
    for other in (image, 3 * image + 40, -image, (image * 100).astype(np.int32)):
        assert alike(image, other) == pytest.approx(1, abs=1e-3)


def test_an_image_is_like_itself_at_another_size(rng):
    image = micrograph(rng, outline(rng, 512))
    half = image.reshape(256, 2, 256, 2).mean((1, 3))
    assert alike(image, half) > 0.98
    assert texture_map(image[:300, :100]).shape == (CELLS, CELLS)
    assert texture_map(image[:20, :30]).shape == (CELLS, CELLS)


def test_one_place_in_another_focus_is_recognised_and_other_places_are_not(rng):
    outlines = [outline(rng) for _ in range(6)]
    images = [micrograph(rng, covered, c) for covered in outlines for c in (1.0, -0.6)]
    found = near_duplicates(np.stack([texture_map(i) for i in images]), np.arange(12))
    assert sorted((i, j) for i, j, _ in found) == [(2 * n, 2 * n + 1) for n in range(6)]


def test_a_shift_up_to_an_eighth_is_found(rng):
    image = micrograph(rng, outline(rng, 288))
    for rows, columns in ((32, 0), (0, 32), (16, 24), (32, 32)):
        there = image[rows : rows + 256, columns : columns + 256]
        assert alike(image[:256, :256], there) > THRESHOLD
    down_and_left = image[32:, :256], image[:256, 32:]
    assert alike(*down_and_left) > THRESHOLD


def test_similarities_are_the_correlations_of_shifted_maps(rng):
    maps = ndimage.gaussian_filter(rng.normal(size=(3, CELLS, CELLS)), (0, 2, 2))
    best = -1.0
    for down in range(-4, 5):
        for right in range(-4, 5):
            shifted = np.full((CELLS, CELLS), np.nan)
            rows = slice(max(down, 0), CELLS + min(down, 0))
            columns = slice(max(right, 0), CELLS + min(right, 0))
            back = slice(max(-down, 0), CELLS + min(-down, 0))
            aside = slice(max(-right, 0), CELLS + min(-right, 0))
            shifted[rows, columns] = maps[1][back, aside]
            both = np.isfinite(shifted)
            best = max(best, np.corrcoef(maps[0][both], shifted[both])[0, 1])
    found = similarities(maps.astype(np.float32))
    np.testing.assert_allclose(found[0, 1], best, atol=1e-5)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)


def test_a_constant_image_is_like_nothing(rng):
    for value in (0, 7.3, 1e9):
        flat = np.full((64, 64), value)
        assert not texture_map(flat).any()
        assert alike(flat, flat) == 0
        assert alike(flat, rng.normal(size=(64, 64))) == 0


def test_pairs_inside_a_group_are_left_out_and_the_most_alike_come_first(rng):
    covered = outline(rng)
    images = [micrograph(rng, covered) for _ in range(3)]
    images.append(images[0])
    maps = np.stack([texture_map(image) for image in images])
    found = near_duplicates(maps, ["a", "a", "b", "b"])
    assert {(i, j) for i, j, _ in found} == {(0, 2), (0, 3), (1, 2), (1, 3)}
    assert found[0][:2] == (0, 3)
    assert [s for *_, s in found] == sorted((s for *_, s in found), reverse=True)
    assert near_duplicates(maps, ["a"] * 4) == []


def test_the_threshold_lies_above_all_pairs_of_different_days(published):
    alike = similarities(np.stack([texture_map(image) for image in published.images]))
    pairs = np.triu_indices(len(published), 1)
    acquisitions = np.array([acquisition_of(name) for name in published.names])
    days, groups = (
        (labels[:, None] == labels)[pairs] for labels in (published.dates, acquisitions)
    )
    alike = alike[pairs]
    assert (~days).sum() == 7765 and groups.sum() == 24
    assert 0.91 < alike[~days].max() < THRESHOLD
    assert (alike[groups] > THRESHOLD).sum() == 16
    assert np.median(alike[groups]) > 0.94
    first, second = (acquisitions[index] for index in pairs)
    found = {}
    for place in np.flatnonzero((alike >= THRESHOLD) & ~groups):
        pair = (str(first[place]), str(second[place]))
        found[pair] = found.get(pair, 0) + 1
    assert found == SAME_PLACES
    assert {later: earlier for earlier, later in found} == SAME_PLACE
    assert duplicates.BAND == (1.1, 2.0)  # what this was measured with

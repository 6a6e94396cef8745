"""Rankings with a known answer, tables and figures."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from book.studies.resampling import rank_agreement
from book.tools import figures
from book.tools.ranking_page import ranking_page, table_rows
from graphseg.batch.ranking import rank
from graphseg.batch.report import csv_text
from graphseg.errors import InputError
from graphseg.evaluation.quality import calibrated_level, clean_fractions, clean_intervals
from graphseg.io.outputs import RED, small_picture
from graphseg.plotting.micrographs import scale_bar_length
from graphseg.unet import pretrained

few = settings(deadline=None, max_examples=40)


def small_ranking(**changes):
    names = ("b", "c", "a")
    values = dict(fractions=[0.5, 0.9, 0.5], intervals=[[0.4, 0.6], [0.8, 1], [0.45, 0.7]])
    return rank(names, **(values | changes))


def test_ranking_is_by_fraction_then_name():
    ranking = small_ranking(labelled=[0.1, 0.2, np.nan])
    assert ranking.names == ("c", "a", "b")
    assert ranking.index.tolist() == [1, 2, 0]
    assert ranking.fraction.tolist() == [0.9, 0.5, 0.5]
    assert ranking.low.tolist() == [0.8, 0.45, 0.4]
    assert ranking.rank_range.tolist() == [[1, 1], [2, 3], [2, 3]]
    assert [row["name"] for row in table_rows(ranking)] == ["c", "a", "b"]
    assert table_rows(ranking)[0]["labelled_fraction"] == 0.2


@few
@given(arrays(float, (5, 2), elements=st.floats(0, 1)))
def test_rank_ranges_are_what_the_intervals_allow(ends):
    ends = np.sort(ends, axis=1)
    ranking = rank(tuple("abcde"), ends.mean(axis=1).clip(*ends.T), ends)
    for i, (best, worst) in enumerate(ranking.rank_range):
        assert best == 1 + np.sum(ranking.low > ranking.high[i])
        assert worst == 5 - np.sum(ranking.high < ranking.low[i])
        assert best <= i + 1 <= worst


@pytest.mark.parametrize(
    "changes",
    [
        {"fractions": [0.5]},
        {"fractions": [0.5, np.nan, 0.5]},
        {"fractions": [0.3, 0.9, 0.5]},
        {"labelled": [1.0]},
    ],
)
def test_rankings_that_do_not_fit_are_refused(changes):
    with pytest.raises(InputError):
        small_ranking(**changes)


def test_csv_holds_the_table():
    rows = list(csv.DictReader(io.StringIO(csv_text(table_rows(small_ranking())))))
    assert [row["name"] for row in rows] == ["c", "a", "b"]
    assert [float(row["clean_fraction"]) for row in rows] == [0.9, 0.5, 0.5]
    assert [row["worst_rank"] for row in rows] == ["1", "3", "3"]


def test_page_shows_pictures_in_order_of_rank():
    pictures = [np.zeros((8, width, 3), np.uint8) for width in (9, 7)]
    text = ranking_page(rank(["<i>", "b"], [0.5, 0.6]), pictures, title="<b>")
    assert "<title>&lt;b&gt;</title>" in text and "<i>" not in text
    assert text.count("data:image/jpeg") == 2 and text.index('"b"') < text.index('"\\u003ci>"')
    assert "Label" not in text and "Label" in ranking_page(small_ranking(labelled=[0.1, 0.2, 0.3]))
    with pytest.raises(InputError, match="thumbnails"):
        ranking_page(rank(["a"], [0.5]), [])


def test_thumbnail_is_grey_with_contamination_in_red():
    image = np.tile(np.linspace(5, 9, 200), (100, 1))
    mask = np.zeros(image.shape, bool)
    mask[:50] = True
    small = small_picture(image, mask, 40).astype(int)
    assert small.shape == (20, 40, 3)
    assert (np.ptp(small[11:], axis=2) == 0).all() and small[15, -1, 0] > 250
    excess = (small[:9, :, 0] - small[:9, :, 1]).astype(float)
    assert excess == pytest.approx(0.45 * (RED[0] - RED[1]), abs=1.1)
    with pytest.raises(InputError, match="does not fit"):
        small_picture(image, mask[:20])


def test_contact_sheet_shows_pictures_in_order_with_bars_of_one_length():
    sizes = np.array([0.3, 0.6, 0.4])
    images = [np.tile(np.arange(64.0), (64, 1)), *[np.eye(64)] * 2]
    masks = np.zeros((3, 64, 64), bool)
    masks[1] = True
    ranking = rank(["p", "q", "r"], clean_fractions(masks))
    figure = figures.contact_sheet(ranking, images, masks, sizes, columns=2)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["1: 100 %", "2: 100 %", "3: 0 %"]
    mosaic = axes.images[0].get_array()
    side = figures.SIDE
    assert (np.diff(mosaic[side // 2, :side, 0].astype(int)) >= 0).all()  # the ramp comes first
    corner = mosaic[side + figures.CAPTION :, :side].astype(int)
    assert (corner[:side, :, 0] - corner[:side, :, 1]).min() > 50  # the third picture is all red
    bars = axes.collections[0].get_paths()
    lengths = [np.ptp(bar.vertices[:, 0]) for bar in bars]
    assert lengths * sizes[[0, 2, 1]] == pytest.approx(lengths[0] * 0.3)
    assert "bars 5 Å" in axes.get_title()
    assert lengths[0] == pytest.approx(scale_bar_length(64, 0.3)[0] * side / 64)


def test_contact_sheet_of_different_sizes_without_pixel_size():
    images = [np.eye(30, 60), np.eye(50)]
    masks = [np.zeros(image.shape, bool) for image in images]
    ranking = rank(["p", "q"], clean_fractions(masks))
    figure = figures.contact_sheet(ranking, images, masks, [np.nan, 0.3])
    assert "px" in figure.axes[0].get_title()
    with pytest.raises(InputError, match="sheet"):
        figures.contact_sheet(ranking, images[:1], masks)


def test_published_images_are_ranked_like_their_labels(published):
    """Every image predicted by the network that has not seen it; intervals from other folds."""
    place = {name: i for i, name in enumerate(published.names)}
    probabilities = np.empty(published.images.shape, np.float32)
    fold = np.full(len(published), -1)
    for k in range(5):
        network = pretrained.load(f"fold_{k}", test_time_augmentation=False)
        seen_not = [place[name] for name in network.card_["held_out"]]
        probabilities[seen_not] = network.predict_proba(published.images[seen_not])
        fold[seen_not] = k
    fractions, labelled = clean_fractions(probabilities), clean_fractions(published.masks)
    assert rank_agreement(fractions, labelled, published.groups).low > 0.97
    covered = np.zeros(len(published), bool)
    for k in range(5):
        held_out = fold == k
        level = calibrated_level(probabilities[~held_out], labelled[~held_out])
        low, high = clean_intervals(probabilities[held_out], level).T
        covered[held_out] = (low <= labelled[held_out]) & (labelled[held_out] <= high)
    # 90 % are wanted; the standard error over the 109 acquisitions is 3 %.
    assert covered.mean() == pytest.approx(0.9, abs=0.03)

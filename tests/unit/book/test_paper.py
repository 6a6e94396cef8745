"""The numbers of the paper: whole, each with its place, and consistent among themselves."""

import math

import pytest

from book.tools import tables
from graphseg import metrics
from graphseg.evaluation.records import read_record

PAPER = read_record(tables.RESULTS_FOLDER.parent / "paper.json")


def test_every_number_says_where_it_stands():
    entries = [v for k, v in PAPER.items() if k not in ("reference", "note", "scores")]
    for entry in entries + list(PAPER["scores"].values()):
        assert entry["where"]
        assert None not in entry.values()


@pytest.mark.parametrize("score", metrics.NAMES)
def test_the_difference_column_is_the_difference_of_the_two_others(score):
    """It was computed before rounding: three values, each half a unit of its last place off."""
    scores = PAPER["scores"]
    difference = 100 * (scores["unet"][score] - scores["bragg"][score])
    assert abs(scores["difference_percent"][score] - difference) <= 0.15 + 1e-9


def test_the_chosen_network_is_that_of_the_table():
    """Table 1 has 0.812 where the text has 0.8125; either rounding is one unit at most."""
    for score in ("accuracy", "jaccard"):
        difference = PAPER["chosen_network"][score] - PAPER["scores"]["unet"][score]
        assert abs(difference) <= 0.001


def test_printed_f1_is_not_that_of_pooled_counts_but_can_be_a_mean_over_images():
    """F1 is a concave function of the Jaccard index: its mean is below the F1 of the mean."""
    for method in ("unet", "bragg"):
        scores = PAPER["scores"][method]
        pooled = 2 * scores["jaccard"] / (1 + scores["jaccard"])
        rounding = 2 / (1 + scores["jaccard"]) ** 2 * 0.0005 + 0.0005
        assert scores["f1"] < pooled - rounding


def test_the_aperture_is_four_bins_of_a_transform_of_256():
    width = PAPER["bragg_parameters"]["aperture_width_cycles_per_pixel"]
    assert math.isclose(width, 4 / PAPER["preprocessing"]["image_side"], abs_tol=0.00005)

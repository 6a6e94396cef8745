"""Names, tables and numbers as text, of records made by hand."""

import pytest

from book.tools import tables
from graphseg import metrics
from graphseg.errors import InputError


def record(names, jaccards):
    """Make a record in which every image has 1000 positive pixels and the given Jaccard index."""
    counts = [[round(1000 * j), 0, 1000 - round(1000 * j), 9000] for j in jaccards]
    results = [{"shuffle": 0, "fold": 0, "test": list(names), "counts": counts}]
    return {"name": "made", "protocol": "acquisition", "results": results}


def test_tables_show_mean_and_spread():
    rows = tables.score_rows({"ours": record("ij", [0.5, 0.7])}, "per_image")
    assert rows[0][0] == "ours" and rows[0][3] == "0.600\u00a0±\u00a00.000"
    text = tables.markdown_table(["method", "jaccard"], [["ours", "0.6"]])
    assert text.splitlines() == ["| method | jaccard |", "| :-- | --: |", "| ours | 0.6 |"]


def test_images_are_taken_out_of_a_record_as_they_were_scored():
    part = tables.only_images(record("abc", [0.2, 0.3, 0.5]), {"c", "x"})
    assert part["results"][0]["test"] == ["c"]
    assert tables.fold_scores(part)[0] == 0.5


def test_a_record_without_a_number_of_groups_has_its_acquisitions():
    names = ["2014_0105_Gr_FS_023_layer_0002", "2014_0105_Gr_FS_024_layer_0020", "2014_0106_Gr_1"]
    assert tables.number_of_groups(record(names, [0.5] * 3)) == 3
    assert tables.number_of_groups(record(names, [0.5] * 3) | {"protocol": "date"}) == 2
    assert tables.number_of_groups(record(names, [0.5] * 3) | {"groups": 2}) == 2


def test_table_one_has_the_printed_values_and_ours_on_the_same_rows():
    printed = {
        "unet": dict.fromkeys(metrics.NAMES, 0.4),
        "bragg": dict.fromkeys(metrics.NAMES, 0.3),
        "difference_percent": dict.fromkeys(metrics.NAMES, 10.0),
    }
    records = {"ours": record("ij", [0.5, 0.7]), "filter": record("i", [0.4])}
    header, rows = tables.table_one(printed, records, "ours", "filter")
    assert len(rows) == 12 and all(len(row) == len(header) for row in rows)
    jaccard = rows[metrics.NAMES.index("jaccard")]
    assert jaccard == [
        "Jaccard, per image",
        "0.400",
        "0.300",
        "10.0",
        "0.600",
        "0.400",
        "+20.0",
        "+20.0",
    ]


def test_signs_are_real_ones_and_small_numbers_keep_theirs():
    assert tables.with_interval(-0.01, -0.02, 0.0002) == "−0.010\u00a0[−0.020,\u00a0+0.0002]"


def test_every_record_has_a_name_to_show():
    assert tables.display_name("ours_acquisition_unmerged") == "our network"
    assert tables.display_name("bragg_paper_random") == "Bragg filter, paper's settings"
    for name in ("no_lattice_acquisition", "no-lattice"):
        assert tables.display_name(name) == "no-lattice baseline"
    with pytest.raises(InputError, match="NAMES"):
        tables.display_name("out_of_distribution")


def test_the_minutes_of_a_training_count_what_came_before_an_interruption():
    history = [{"train_loss": 1.0, "dur": 60.0}, {"train_loss": 0.5, "dur": 90.0}]
    assert tables.training_minutes({"history": history, "fit_seconds": 90.0}) == 2.5
    assert tables.training_minutes({"history": [], "fit_seconds": 30.0}) == 0.5
    assert tables.training_minutes({"history": [0.3, 0.2], "fit_seconds": 30.0}) == 0.5

"""Tables of many images: what is in them comes back, as CSV and in the page."""

import csv
import io
import json
import os
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from book.tools.ranking_page import RANKING_COLUMNS
from graphseg.batch.report import (
    CONTAMINATED,
    EXPECTED,
    FRAME,
    FURTHER,
    OWN,
    Column,
    csv_text,
    html_page,
)
from graphseg.io.outputs import jpeg

COLUMNS = (
    Column("file", "File"),
    Column("clean", "Clean", "%", 1, factor=100),
    Column("never", "Never", "nm", 1),
    Column("reasons", "Reasons"),
)


def rows():
    return [
        {"file": "image 10", "clean": 0.5, "flags": ""},
        {"file": "image 9", "clean": float("nan"), "flags": "b"},
        {"file": "image 1", "clean": 0.08, "flags": "a"},
    ]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["file", "number", "error"]),
            st.text(st.characters(exclude_categories=["Cs", "Cc"])) | st.floats(allow_nan=False),
            min_size=1,
        ),
        min_size=1,
    )
)
def test_csv_comes_back(table):
    back = list(csv.DictReader(io.StringIO(csv_text(table), newline="")))
    assert len(back) == len(table)
    for row, found in zip(table, back, strict=True):
        for key, value in found.items():
            expected = row.get(key, "")
            assert (float(value) == expected) if isinstance(expected, float) else value == expected


def test_csv_ends_with_time_and_errors_and_leaves_unknown_values_empty():
    text = csv_text([{"error": "", "a": None, "seconds": 1.5}, {"b": float("nan"), "a": 2}])
    assert text == "a,b,seconds,error\n,,1.5,\n2,,,\n"


def data_of(page):
    """What the page holds for its script, and the rest of it."""
    before, data, after = re.fullmatch(
        r'(.*<script type="application/json" id="data">)(.*?)(</script>.*)', page, re.S
    ).groups()
    return json.loads(data), before + after


def test_page_escapes_texts_and_needs_no_network():
    evil = '</script><script>alert("x")</script>&'
    table = [{"file": evil, "clean": 0.5, "flags": "low_signal"}, {"file": "b", "error": evil}]
    page = html_page(evil, COLUMNS, table, None, "file", [evil], {evil: evil})
    data, rest = data_of(page)
    assert [row["values"][0] for row in data["rows"]] == [evil, "b"]
    assert data["rows"][1]["warning"] == evil
    assert page.count("<script>") == 1 and rest.count("&lt;script&gt;") == 6
    assert not re.search(r"https?:|//[a-z]", page)


def test_page_holds_what_is_known_in_the_units_of_its_headings():
    table = [*rows(), {"file": "c", "flags": "", "look_first": "yes"}]
    data, _ = data_of(html_page("t", COLUMNS, table))
    assert [column["key"] for column in data["columns"]] == ["file", "clean", "reasons"]
    assert [row["values"] for row in data["rows"]] == [
        ["image 10", 50.0, None], ["image 9", None, "b"], ["image 1", 8.0, "a"],
        ["c", None, "look_first"],
    ]  # fmt: skip


def test_every_column_of_numbers_has_a_unit():
    """Also those that no run has at once."""
    columns = [*FURTHER, *RANKING_COLUMNS, CONTAMINATED, EXPECTED, FRAME]
    columns += [column for own, _ in OWN.values() for column in own]
    assert len(columns) > 40
    assert all(bool(column.unit) == (column.digits is not None) for column in columns)


def test_files_of_any_name_have_an_address():
    name = os.fsdecode(b"a #1 \xff?.png")
    data, _ = data_of(html_page("t", COLUMNS, rows()[:1], [{"files": [name]}]))
    assert data["rows"][0]["files"] == ["a%20%231%20%FF%3F.png"]


def test_jpeg_holds_the_picture():
    picture = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    back = np.asarray(Image.open(io.BytesIO(jpeg(picture)))).astype(int)
    assert back.shape == picture.shape and np.abs(back - picture).max() < 5

"""Tables of many images: what is in them comes back, and the page sorts in a browser."""

import base64
import csv
import io
import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from book.tools import browser
from graphseg.batch.report import Column, csv_text, html_page
from graphseg.io.outputs import jpeg

COLUMNS = (Column("file", "File"), Column("clean", "Clean, %", 1, 100), Column("flags", "Beware"))


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


def test_page_escapes_texts_and_needs_nothing_else():
    evil = '<script>alert("x")</script>&'
    picture = base64.b64encode(jpeg(np.zeros((8, 9, 3), np.uint8))).decode()
    text = html_page(
        evil, evil, COLUMNS, [{"file": evil, "clean": 0.5, "flags": evil}, {"file": "b"}],
        [picture, None], "file", [evil], [evil],
    )  # fmt: skip
    assert text.count("<script>") == 1 and text.count("&lt;script&gt;") == 9
    assert not re.search(r"https?:|//[a-z]", text)
    assert text.count("data:image/jpeg") == 1 and 'width="9" height="8"' in text
    assert "<h2>Failed</h2>" in text
    assert "Failed" not in html_page("t", "c", COLUMNS, rows()) and "<img" not in html_page(
        "t", "c", (), []
    )


def test_jpeg_holds_the_picture():
    picture = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    back = np.asarray(Image.open(io.BytesIO(jpeg(picture)))).astype(int)
    assert back.shape == picture.shape and np.abs(back - picture).max() < 5


def test_page_sorts_by_keyboard(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(
        html_page("Night", "What.", COLUMNS, rows(), sorted_by="file"), encoding="utf-8"
    )
    with browser.opened() as chromium:
        tab = chromium.new_page()
        problems = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text))
        tab.goto(path.as_uri())

        def shown():
            return [e.inner_text() for e in tab.query_selector_all("tbody th")]

        assert shown() == ["image 10", "image 9", "image 1"]
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        assert shown() == ["image 10", "image 9", "image 1"]  # descending, as numbers count
        tab.keyboard.press("Space")
        assert shown() == ["image 1", "image 9", "image 10"]
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        assert shown() == ["image 9", "image 1", "image 10"]  # what is unknown is least
        assert tab.eval_on_selector_all("[aria-sort]", "e => e.map(x => x.innerText)") == [
            "Clean, %"
        ]
        tab.click("text=Beware")
        assert shown() == ["image 10", "image 1", "image 9"]
        assert tab.inner_text("tbody tr:nth-child(1) td:nth-child(2)") == "50.0"
        assert not problems

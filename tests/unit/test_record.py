"""Collecting and comparing recorded numbers."""

import json

import nbformat
import nbformat.v4 as nb
import pytest

from book.tools import record
from book.tools.errors import ToolError

PREFIX = "application/papermill.record/"


def executed(path, *values):
    """Write a notebook that recorded some (name, text, tolerance)."""
    outputs = [
        nb.new_output(
            "display_data",
            {PREFIX + "text/plain": text},
            metadata={"scrapbook": {"name": name, "mime_prefix": PREFIX, "tolerance": tolerance}},
        )
        for name, text, tolerance in values
    ]
    stream = nb.new_output("stream", text="printed")
    cells = [nb.new_markdown_cell("# A"), nb.new_code_cell("", outputs=[stream, *outputs])]
    nbformat.write(nb.new_notebook(cells=cells), path)
    return path


def test_values_are_collected(tmp_path):
    path = executed(tmp_path / "a.ipynb", ("dice", "0.8", 0.01), ("n", "3", 0), ("m", "'U'", 0))
    assert record.collect(path) == {
        "dice": {"value": 0.8, "tolerance": 0.01},
        "n": {"value": 3, "tolerance": 0},
        "m": {"value": "U", "tolerance": 0},
    }


def test_a_name_recorded_twice_raises(tmp_path):
    path = executed(tmp_path / "a.ipynb", ("n", "3", 0), ("n", "4", 0))
    with pytest.raises(ToolError, match="a records 'n' twice"):
        record.collect(path)


def value(number, tolerance=0.0):
    return {"x": {"value": number, "tolerance": tolerance}}


@pytest.mark.parametrize(
    ("old", "new"), [(0.8, 0.8), (0.8, 0.805), (0.8, 0.795), (3, 3), ("a", "a")]
)
def test_values_within_tolerance_are_no_difference(old, new):
    assert record.compare(value(old, 0.01), value(new), "01 (simulated)") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [(0.8, 0.82), (0.8, 0.78), (3, 4), ("a", "b"), (3, "3"), (0.8, float("nan"))],
)
def test_moved_values_are_reported(old, new):
    [said] = record.compare(value(old, 0.01), value(new), "01 (simulated)")
    assert (
        said == f"01 (simulated): x was {old!r} when recorded (tolerance 0.01) and is {new!r} now."
    )


def test_missing_and_new_values_are_reported():
    assert "no longer computed" in record.compare(value(1), {}, "01")[0]
    assert "is new and not recorded" in record.compare({}, value(1), "01")[0]


def test_all_notebooks_of_both_records_are_compared():
    old = {"simulated": {"01": value(1), "02": value(2)}}
    new = {"simulated": {"01": value(1)}, "published": {"01": value(5)}}
    said = record.compare_all(old, new)
    assert len(said) == 2
    assert said[0].startswith("01 (published data): x = 5 is new")
    assert said[1].startswith("02 (simulated data): x was recorded")


def test_writing_keeps_what_was_recorded_elsewhere(tmp_path, monkeypatch):
    """Without the published images their record stays, and the simulated one is renewed."""
    target = tmp_path / record.RECORD
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({"published": {"01": value(1)}, "simulated": {"gone": value(2)}}))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01.py").touch()
    monkeypatch.setattr(record, "available_sources", lambda: ["simulated"])
    done = executed(tmp_path / "01.ipynb", ("x", "7", 0))
    monkeypatch.setattr(record, "_one", lambda *_: done)
    assert record.read(record.write(tmp_path, tmp_path)) == {
        "published": {"01": value(1)},
        "simulated": {"01": value(7, 0)},
    }

"""Collecting and comparing recorded numbers."""

import json
import os
import platform
import subprocess
import sys

import nbformat
import nbformat.v4 as nb
import pytest

from book.tools import record
from book.tools.errors import ToolError

PREFIX = "application/papermill.record/"


def executed(path, *values, **more):
    """Write a notebook that recorded some (name, text), with further marks of a name."""
    outputs = [
        nb.new_output(
            "display_data",
            {PREFIX + "text/plain": text},
            metadata={
                "scrapbook": {"name": name, "mime_prefix": PREFIX} | more.get(name, {}),
            },
        )
        for name, text in values
    ]
    stream = nb.new_output("stream", text="printed")
    cells = [nb.new_markdown_cell("# A"), nb.new_code_cell("", outputs=[stream, *outputs])]
    nbformat.write(nb.new_notebook(cells=cells), path)
    return path


def test_values_are_collected_and_times_are_not(tmp_path):
    path = executed(
        tmp_path / "a.ipynb",
        *(("dice", "0.8"), ("n", "3"), ("m", "'U'"), ("seconds", "2.5"), ("gain", "0.001")),
        seconds={"timing": True},
        gain={"reason": "near 0"},
    )
    assert record.collect(path) == {
        "dice": {"value": 0.8},
        "n": {"value": 3},
        "m": {"value": "U"},
        "gain": {"value": 0.001, "reason": "near 0"},
    }


def test_a_name_recorded_twice_raises(tmp_path):
    path = executed(tmp_path / "a.ipynb", ("n", "3"), ("n", "4"))
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
    done = executed(tmp_path / "01.ipynb", ("x", "7"))
    monkeypatch.setattr(record, "_one", lambda *_: done)
    path, said = record.write(tmp_path, tmp_path)
    assert not said
    assert record.read(path) == {
        "published": {"01": value(1)},
        "simulated": {"01": {"x": {"value": 7, "spread": 0, "tolerance": 0}}},
    }


def test_another_reason_is_reported():
    old, new = value(0.8, 0.01), {"x": {"value": 0.8, "reason": "near 0"}}
    [said] = record.compare(old, new, "01")
    assert said == "01: x has another reason than when it was recorded."
    assert record.compare({"x": old["x"] | {"reason": "near 0"}}, new, "01") == []


def samples(*numbers, reason=""):
    """One value in several kinds of arithmetic."""
    more = {"reason": reason} if reason else {}
    return [{"x": {"value": number} | more} for number in numbers]


@pytest.mark.parametrize(
    ("numbers", "spread", "tolerance"),
    [
        ((0.8, 0.801, 0.798), 0.002, 0.006),  # three times the largest distance from the first
        ((-0.8, -0.798), 0.002, 0.006),
        ((0.8, 0.8), 0, 8e-6),  # rounding
        ((0.8, 0.76), 0.04, 0.08),  # capped at a tenth
        ((0.0, 0.0), 0, 0),
        ((100, 101, 100), 1, 3),
        ((100, 105), 5, 10),
        ((19, 20), 1, 1),  # a tenth of a count is rounded down
        ((4, 4), 0, 0),
    ],
)
def test_tolerances_follow_from_the_spread(numbers, spread, tolerance):
    entries, said = record.with_tolerances(samples(*numbers), "01")
    assert not said
    assert entries == {
        "x": pytest.approx(
            {"value": numbers[0], "spread": spread, "tolerance": tolerance}, rel=1e-9
        )
    }


@pytest.mark.parametrize(
    ("numbers", "moves"), [((0.8, 0.9), "0.1"), ((4, 5), "1"), ((0.0, 1e-9), "1e-09")]
)
def test_more_than_a_tenth_needs_a_reason(numbers, moves):
    _, [said] = record.with_tolerances(samples(*numbers), "01 (simulated data)")
    assert said.startswith(f"01 (simulated data): x = {numbers[0]!r} moves by {moves} between")
    entries, said = record.with_tolerances(samples(*numbers, reason="near 0"), "01")
    assert not said
    assert entries["x"]["reason"] == "near 0"
    assert entries["x"]["tolerance"] == pytest.approx(3 * abs(numbers[1] - numbers[0]))


def test_words_must_not_depend_on_the_processor():
    entries, said = record.with_tolerances(samples("sure", "sure"), "01")
    assert (entries, said) == ({"x": {"value": "sure"}}, [])
    _, said = record.with_tolerances(samples("sure", "not sure"), "01")
    assert said == ["01: x depends on the processor: not sure or sure."]
    _, said = record.with_tolerances([*samples(1.0), {}], "01")
    assert said == ["01: x is computed on some processors only."]


def test_another_processor_widens_the_spread_and_keeps_the_value(tmp_path, monkeypatch):
    target = tmp_path / record.RECORD
    target.parent.mkdir(parents=True)
    old = {
        "near": {"value": 0.8, "spread": 0.001, "tolerance": 0.003},
        "far": {"value": 0.8, "spread": 0.001, "tolerance": 0.003},
        "word": {"value": "a"},
    }
    target.write_text(json.dumps({"simulated": {"01": old}}))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01.py").touch()
    monkeypatch.setattr(record, "available_sources", lambda: ["simulated"])
    done = executed(tmp_path / "01.ipynb", ("near", "0.806"), ("far", "0.4"), ("word", "'b'"))
    monkeypatch.setattr(record, "_one", lambda *_: done)
    found = record.read(record.write(tmp_path, tmp_path, widen=True)[0])["simulated"]["01"]
    assert found["near"] == pytest.approx({"value": 0.8, "spread": 0.006, "tolerance": 0.018})
    assert found["far"] == pytest.approx({"value": 0.4, "spread": 0, "tolerance": 4e-6})
    assert found["word"] == {"value": "b"}


@pytest.mark.parametrize(("arithmetic", "capability"), [("AVX2", "AVX2"), ("SSE4", "DEFAULT")])
def test_the_libraries_obey_the_kind_of_arithmetic(arithmetic, capability):
    if platform.machine() != "x86_64":
        pytest.skip("the kinds of arithmetic are those of x86-64")
    code = "import torch, numpy; print(torch.backends.cpu.get_cpu_capability())"
    environment = os.environ | record.ARITHMETIC[arithmetic]
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == capability

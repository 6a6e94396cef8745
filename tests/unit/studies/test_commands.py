"""The commands of trust write records that another run continues."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from book.studies import calibration, defect_masking
from book.studies.__main__ import app
from book.studies.clean_sheets import Sheet

FAST = ("--no-test-time-augmentation", "--no-published", "--source", "simulated")


@pytest.fixture
def one_sheet(monkeypatch):
    near = np.eye(32, dtype=bool)
    made = [
        Sheet(
            "loop",
            np.eye(32),
            near & ~near,
            near,
            near & ~near,
            np.zeros((1, 2)),
            0.4,
            1e4,
            "white",
        )
    ]
    monkeypatch.setattr(defect_masking, "sheets", lambda **_: made)


def test_defects_are_recorded_for_each_method_and_not_measured_twice(
    one_sheet, tmp_path, monkeypatch
):
    path = tmp_path / "defects.json"
    arguments = ["defects", "--method", "default", *FAST, "--output", str(path)]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "default: masks" in first.stdout
    record = json.loads(path.read_text())
    assert record["methods"]["default"]["rows"][0][4] == 32
    assert "made_with" in record
    monkeypatch.setattr(defect_masking, "sheets", lambda **_: pytest.fail("measured again"))
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert json.loads(path.read_text())["methods"] == record["methods"]


def test_calibrate_writes_the_record_and_on_request_the_file_of_the_package(tmp_path, monkeypatch):
    kept = dict.fromkeys(("networks", "temperature", "thresholds", "expected_jaccard",
                          "look_below"), 1)  # fmt: skip
    found = kept | {
        "calibration": {"temperature": {"error": 0.01}},
        "correlations": {"eight views, inner": {"pearson": [0.8, 0.7, 0.9]}},
    }
    monkeypatch.setattr(calibration, "measure", lambda stack: found)
    monkeypatch.setattr("graphseg.evaluation.quality.FILE", tmp_path / "calibration.json")
    path = tmp_path / "confidence.json"
    arguments = ["calibrate", "--source", "simulated", "--output", str(path)]
    result = CliRunner().invoke(app, [*arguments, "--no-package"])
    assert result.exit_code == 0, result.output
    assert "0.0100" in result.stdout
    assert json.loads(path.read_text()) == found
    assert not (tmp_path / "calibration.json").exists()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert json.loads((tmp_path / "calibration.json").read_text()) == kept

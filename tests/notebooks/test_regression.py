"""Every notebook runs with the test parameters, and its numbers are the recorded ones."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

from book.tools import execute, profiles, record

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
REMEDY = "If the change is meant, run `make record` and commit data/results/regression.json."


@pytest.mark.timeout(1800)  # the first test waits for executions in the background
@pytest.mark.parametrize("source", record.SOURCES)
@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_numbers_are_those_recorded(name, source, executions):
    if source not in record.available_sources():
        pytest.skip("the published images are not here (see GRAPHSEG_DATA in README.md)")
    found = record.collect(executions[source, name].result())
    recorded = record.read(ROOT / record.RECORD).get(source, {}).get(name, {})
    differences = record.compare(recorded, found, f"{name} ({source} data)")
    assert not differences, "\n".join([*differences, REMEDY])


def test_a_changed_number_is_reported():
    """Of every recorded number, a change by twice its tolerance is seen."""
    checked = 0
    for source, notebooks in record.read(ROOT / record.RECORD).items():
        for name, recorded in notebooks.items():
            assert record.compare(recorded, recorded, name) == []
            for key, entry in recorded.items():
                if isinstance(entry["value"], float):
                    value = entry["value"] + 2 * entry["tolerance"] + 1e-9
                    said = record.compare(
                        recorded, recorded | {key: entry | {"value": value}}, name
                    )
                    assert len(said) == 1, (source, name, key)
                    assert key in said[0]
                    checked += 1
    assert checked


def test_no_tolerance_is_wide_without_a_written_reason():
    """Three times the measured spread, and never above a tenth of the value without a reason."""
    for source, notebooks in record.read(ROOT / record.RECORD).items():
        for name, recorded in notebooks.items():
            for key, entry in recorded.items():
                where = f"{key} of {name} on {source} data: {entry}"
                if isinstance(entry["value"], str):
                    assert set(entry) == {"value"}, where
                    continue
                most = max(record.FACTOR * entry["spread"], record.ROUNDING * abs(entry["value"]))
                assert entry["spread"] <= entry["tolerance"] <= most, where
                if not entry.get("reason"):
                    assert entry["tolerance"] <= record.LARGEST * abs(entry["value"]), where


def test_the_record_holds_no_other_notebooks():
    names = {path.stem for path in NOTEBOOKS}
    for source, notebooks in record.read(ROOT / record.RECORD).items():
        assert source in record.SOURCES
        assert set(notebooks) == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_unknown_parameter_raises(path, tmp_path):
    output = tmp_path / "executed.ipynb"
    with pytest.raises(execute.ToolError, match="no parameter 'data_sorce'"):
        execute.execute(path, output, parameters={"data_sorce": "simulated"}, root=ROOT)
    assert not output.exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_profiles_set_only_what_the_notebook_has(path):
    defaults = profiles.defaults(jupytext.read(path), path.stem)
    assert defaults["data_source"] == "auto"
    for profile in yaml.safe_load((ROOT / "book" / "profiles.yml").read_text()):
        given = profiles.profile_parameters(path.stem, profile, ROOT / "book" / "profiles.yml")
        profiles.check(given, defaults, path.stem)


def test_profiles_name_only_notebooks_that_exist():
    names = {path.stem for path in NOTEBOOKS}
    all_profiles = yaml.safe_load((ROOT / "book" / "profiles.yml").read_text())
    assert {"test", "paper"} <= all_profiles.keys()
    assert set().union(*(set(given or {}) for given in all_profiles.values())) <= names


def test_saving_in_jupyterlab_changes_nothing(tmp_path):
    """The pairs that `make lab` opens come back as the very same sources."""
    shutil.copy(ROOT / "jupytext.toml", tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    sync = [sys.executable, "-m", "jupytext", "--sync"]
    sources = sorted((tmp_path / "notebooks").glob("*.py"))
    subprocess.run([*sync, *sources], check=True, capture_output=True)
    paired = [tmp_path / "ipynb" / f"{path.stem}.ipynb" for path in sources]
    for path in paired:
        _save(path)
    subprocess.run([*sync, *paired], check=True, capture_output=True)
    for path in NOTEBOOKS:
        saved = tmp_path / "notebooks" / path.name
        assert saved.stat().st_mtime > path.stat().st_mtime
        same = saved.read_text(encoding="utf8") == path.read_text(encoding="utf8")
        assert same, f"{path.name} is not written as JupyterLab saves it: run `make format`"


def _save(path):
    """Write a notebook as JupyterLab does: with outputs and a kernel's metadata."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [nbformat.v4.new_output("stream", text="printed")]
            cell.metadata["execution"] = {"iopub.execute_input": "now"}
    nbformat.write(notebook, path)
    later = time.time() + 10
    os.utime(path, (later, later))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_follow_the_conventions(path):
    """Short cells without definitions; one captioned name for each figure; no muted warnings."""
    notebook = jupytext.read(path)
    assert set(notebook.metadata) <= {"kernelspec", "jupytext"}
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("(ch-")
    for cell in notebook.cells:
        if cell.cell_type == "code":
            lines = cell.source.splitlines()
            assert not any(line.startswith(("def ", "class ", "async ")) for line in lines)
            assert "filterwarnings" not in cell.source
            assert "tqdm.auto" not in cell.source
            figure = cell.metadata.get("mystnb", {}).get("figure")
            assert figure is None or (figure["name"].startswith("fig-") and figure["caption"])

"""The driver: commands from signatures, provenance, resume, and summaries of the records."""

import inspect
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from book.studies import driver
from book.studies.__main__ import STUDIES, app
from book.studies.defect_masking import COLUMNS, KINDS
from book.tools import stale
from graphseg import metrics
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.records import StepStore, read_record


def small_study(calls):
    """A study of three steps, the last of which fails at first."""

    def run(stack, factor: int, offset: float = 0.5, changes: dict | None = None, run_folder=None):
        """Multiply.

        Example: python -m book.studies multiply 3

        Parameters
        ----------
        stack
            Images.
        factor
            By which is multiplied.
        offset : float, default 0.5
            That is added.
        changes
            NAME=VALUE; repeat.
        run_folder
            Keeps steps.

        Returns
        -------
            Products.
        """

        def step(number):
            calls.append(number)
            if calls == [0, 1, 2]:
                raise KeyboardInterrupt
            return number * factor + offset

        store = StepStore(run_folder, {"factor": factor, "offset": offset, "data": stack.digest})
        steps = {f"step {number}": lambda number=number: step(number) for number in range(3)}
        return {"products": store.finish(steps, "steps", progress=False), "changes": changes}

    return SimpleNamespace(
        run=run, summarise=lambda record: f"products {record['products']}", SOURCE="simulated"
    )


@pytest.fixture
def study(monkeypatch, tmp_path):
    """Run a small study as a command; returns what it calls, and the function that runs it."""
    calls = []
    commands = driver.typer.Typer(pretty_exceptions_enable=False)
    commands.command(name="multiply")(driver.command("multiply", small_study(calls)))
    commands.command(name="other")(lambda: None)
    monkeypatch.chdir(tmp_path)
    return calls, lambda *words: CliRunner().invoke(commands, ["multiply", *words])


def test_a_command_has_the_parameters_of_its_study(study):
    shown = " ".join(study[1]("--help").output.split())
    for text in ("Multiply.", "By which is multiplied", "That is added", "--set", "--output"):
        assert text in shown
    assert "run_folder" not in shown and "run-folder" not in shown and "scheduler" not in shown


def test_a_killed_study_resumes_and_another_one_is_refused(study, tmp_path):
    calls, run = study
    words = ("3", "--set", "a=[1, 2]", "--output", "results.json")
    assert run(*words).exit_code != 0
    assert not (tmp_path / "results.json").exists() and calls == [0, 1, 2]
    result = run(*words)
    assert result.exit_code == 0 and result.stdout == "products [0.5, 3.5, 6.5]\n"
    assert calls == [0, 1, 2, 2]  # what was finished is not repeated
    record = read_record(tmp_path / "results.json")
    assert record["products"] == [0.5, 3.5, 6.5] and record["changes"] == {"a": [1, 2]}
    refused = run("4", "--output", "results.json").exception
    assert isinstance(refused, InputError) and "of another run" in str(refused)
    assert read_record(tmp_path / "results.json") == record
    assert run("4", "--output", "others.json").exit_code == 0


def test_a_record_says_what_made_it(study, tmp_path):
    _, run = study
    words = ("3", "--output", "results.json")
    run(*words)
    run(*words)
    kept = [path for path in (tmp_path / "runs" / "results").iterdir()]
    for path in kept:  # as if each step had taken a minute before the interruption
        path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 60.0}))
    assert run(*words).exit_code == 0
    record = read_record(tmp_path / "results.json")
    assert set(record["data"]) == {"source", "digest", "images"}
    made = record["made_with"]
    assert made["study"] == "multiply"
    assert made["parameters"] == {"factor": 3, "offset": 0.5, "changes": {}}
    assert 60 * len(kept) <= made["seconds"] < 60 * len(kept) + 30
    assert {"revision", "uncommitted_changes", "versions", "time"} <= set(made)
    assert {"processor", "cores"} <= set(made["hardware"])


def test_what_a_study_writes_itself_is_no_uncommitted_change(study, tmp_path, monkeypatch):
    calls, run = study
    calls += [0, 1]  # so that it is not interrupted
    before = {"revision": "first", "uncommitted_changes": False, "hardware": {}}
    after = before | {"revision": "second", "uncommitted_changes": True}
    monkeypatch.setattr(driver, "provenance", lambda: before if len(calls) == 2 else after)
    assert run("3", "--output", "results.json").exit_code == 0
    made = read_record(tmp_path / "results.json")["made_with"]
    assert (made["revision"], made["uncommitted_changes"]) == ("first", False)


@pytest.mark.parametrize("name", STUDIES)
def test_every_option_of_every_study_is_explained(name):
    _, helps = driver.described(STUDIES[name].run)
    parameters = list(inspect.signature(STUDIES[name].run).parameters)
    assert parameters[0] == "stack" and not set(parameters) - set(helps)
    assert all(helps.values())
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert str(driver.ROOT) not in "".join(shown.output.split())  # no path of this machine


@pytest.mark.parametrize("name", ["evaluate", "search"])
def test_the_methods_are_those_that_there_are(name):
    listed = driver.described(STUDIES[name].run)[1]["method"]
    assert listed == f"One of {', '.join(methods.METHODS)}."


RECIPES = {
    name: words.split()[3]
    for name, words in stale.recipes()["commands"].items()
    if words.startswith("python -m book.studies ")
}


def test_every_recipe_is_of_a_study():
    assert set(RECIPES.values()) <= set(STUDIES)


def numbers(value):
    """Yield every number below a value of a record."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


# Of these a summary shows what it computes from them; among so many numbers any one is found.
MANY = ("results", "images", "methods", "published", "counts", "ood_score", "thresholds")


def derived(record):
    """Yield what summaries compute from a record: scores over folds, totals, fractions."""
    rows = [row for row in record.get("results", []) if "counts" in row]
    keys = {(key, row[key]) for row in rows for key in ("budget", "configuration") if key in row}
    for group in [rows, *([r for r in rows if r.get(k) == v] for k, v in keys)]:
        for average in ("pooled", "per_image"):
            scores = [metrics.scores(np.array(row["counts"]), average) for row in group]
            for name in metrics.NAMES if group else ():
                values = [score[name] for score in scores]
                yield from (np.mean(values), np.std(values, ddof=min(1, len(values) - 1)))
    yield len(rows)
    for counts in record.get("counts", {}).values():  # of atoms
        yield from np.sum(counts, axis=0)
    for found in record.get("methods", {}).values():  # of pixels on sheets
        table = [dict(zip(COLUMNS, row, strict=True)) for row in found["rows"]]
        for kinds in (KINDS, ("touching",)):
            for area in ("near", "visible"):
                chosen = [row for row in table if row["kind"] in kinds]
                total = sum(row[area] for row in chosen)
                yield sum(row[f"{area}_masked"] for row in chosen) / max(total, 1)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_summary_shows_values_of_its_record(name, root):
    path = root / stale.TABLE.parent / f"{name}.json"
    if not path.exists():
        pytest.skip(f"{name} has a recipe and is not recorded yet")
    record = read_record(path)
    text = STUDIES[RECIPES[name]].summarise(record)
    few = {key: value for key, value in record.items() if key not in (*MANY, "made_with")}
    known = {*numbers(few), *map(float, derived(record))}
    shown = re.findall(r"(?<![\w.])(\d+\.(\d+)(?:e[+-]\d+)?|\d{3,}())(%?)(?![\w.])", text)
    assert shown
    for number, decimals, _, percent in shown:
        forms = (f".{len(decimals)}{'%' if percent else 'f'}", ".4g", "")
        written = {format(value, form) for value in known for form in forms}
        assert number + percent in written, f"{number} is not in the record"


def test_the_package_imports_no_study(root):
    """What only makes a record is outside of what is installed."""
    for path in (root / "graphseg").rglob("*.py"):
        text = path.read_text(encoding="utf8")
        assert not re.search(r"^\s*(from|import) book\b", text, re.M), path


def test_records_name_no_folder_of_one_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert driver._portable(driver.ROOT / "data" / "results") == "data/results"
    assert driver._portable(Path("runs/general")) == "runs/general"
    assert driver._portable(Path("/elsewhere/networks")) == "networks"
    assert driver._portable(1.5) == "1.5"

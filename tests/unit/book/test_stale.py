"""Which records are older than their code: definitions compared, history read, table up to date."""

import json
import subprocess

import pytest

from book.tools import stale
from book.tools.definitions import changed, definitions, used
from book.tools.errors import ToolError

MODULE = '''
"""About."""
import numpy as np
from scipy.ndimage import gaussian_filter as smooth
from graphseg import metrics

STEPS = 5  # of each


class Filter(Base):
    """Filters."""

    width: int = 3

    def fit(self, x):
        """Fit."""
        return metrics.scores(smooth(x, self.width))

    def check(self): ...


def unused():
    return STEPS
'''


def differing(text):
    forms = {d.form for d in definitions(MODULE)}
    return {d.name for d in definitions(text) if d.form not in forms}


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ('"""Fit."""\n', "# otherwise\n        \n", set()),
        ('"""About."""', '"""Said otherwise."""', set()),
        ('    """Filters."""\n', "", set()),
        ("smooth(x, self.width)", "smooth(\n    x, (self.width)\n)", set()),
        ("metrics", "measures", set()),  # the module has another name
        ("STEPS = 5", "STEPS = 6", {"STEPS"}),
        ("scipy.ndimage", "other.ndimage", {"import smooth"}),
        ("width: int = 3", "width: int = 4", {"Filter"}),
        ("(Base)", "(Other)", {"Filter"}),
        ("    def check(self): ...\n", "", {"Filter"}),
        ("metrics.scores", "metrics.counts", {"Filter.fit"}),
        ("return STEPS", "return -STEPS", {"unused"}),
    ],
)
def test_only_what_a_definition_does_counts(old, new, names):
    assert old in MODULE
    assert differing(MODULE.replace(old, new)) == names


PROJECT = {
    "graphseg/__init__.py": "",
    "graphseg/study.py": "from graphseg import tools\n\ndef run():\n    return tools.add(1)\n",
    "graphseg/tools.py": "ONE = 1\ndef add(x):\n    return x + ONE\ndef other():\n    return 2\n",
    "graphseg/apart.py": "def add(x):\n    return 0\n",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a history and one record, made at its first revision."""
    write(tmp_path, PROJECT)
    for command in ("init -q", "add .", "-c user.name=a -c user.email=b commit -q -m first"):
        subprocess.run(["git", "-C", tmp_path, *command.split()], check=True)
    revision = subprocess.run(
        ["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    made = {
        "revision": revision,
        "uncommitted_changes": False,
        "time": "2026-01-02T03:04:05+00:00",
        "hardware": {"processor": "P", "cores": 2},
    }
    write(tmp_path, {"data/results/sums.json": json.dumps({"made_with": made})})
    recipe(monkeypatch, "graphseg/study.py:run")
    return tmp_path


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def recipe(monkeypatch, start):
    made = {
        "code": {"graphseg sum": [start]},
        "commands": {"sums": "graphseg sum --all"},
        "uncommitted": {},
    }
    monkeypatch.setattr(stale, "recipes", lambda: made)


def test_a_record_depends_on_what_its_command_uses(project):
    found = used(["graphseg/study.py:run"], stale.sources_now(project), project)
    names = {path: {d.name for d in those} for path, those in found.items()}
    assert names == {"graphseg/study.py": {"run"}, "graphseg/tools.py": {"add", "ONE"}}
    with pytest.raises(ToolError, match="has no walk"):
        used(["graphseg/study.py:walk"], stale.sources_now(project), project)


def test_changes_of_what_is_used_are_listed(project):
    assert stale.changed_since(project) == {"sums": []}
    tools = PROJECT["graphseg/tools.py"]
    write(project, {"graphseg/tools.py": tools.replace("return 2", "return 3")})
    assert stale.changed_since(project) == {"sums": []}
    write(project, {"graphseg/tools.py": tools.replace("ONE = 1", "ONE = 1.5")})
    assert stale.changed_since(project) == {"sums": ["graphseg/tools.py:ONE"]}
    assert "| sums | 2026-01-02 |" in stale.table(project)
    assert "| P, 2 cores | tools 1 |" in stale.table(project)


def test_modules_may_move(project, monkeypatch):
    moved = {
        "graphseg/rooms/__init__.py": "",
        "graphseg/rooms/add.py": PROJECT["graphseg/tools.py"],
        "graphseg/rooms/job.py": PROJECT["graphseg/study.py"]
        .replace("from graphseg import tools", "from graphseg.rooms import add")
        .replace("tools.add", "add.add"),
    }
    write(project, moved)
    for name in ("study", "tools"):
        (project / "graphseg" / f"{name}.py").unlink()
    recipe(monkeypatch, "graphseg/rooms/job.py:run")
    assert stale.changed_since(project) == {"sums": []}
    other = moved["graphseg/rooms/add.py"].replace("x + ONE", "x - ONE")
    write(project, {"graphseg/rooms/add.py": other})
    assert stale.changed_since(project) == {"sums": ["graphseg/rooms/add.py:add"]}


def test_a_copy_elsewhere_is_no_move():
    now = {"a.py": "STEPS = 3", "b.py": "STEPS = 3"}
    found = {"a.py": set(definitions(now["a.py"]))}
    assert changed(found, now, {"a.py": "STEPS = 5", "b.py": "STEPS = 3"}) == ["a.py:STEPS"]


def test_an_unknown_revision_is_one_sentence(project):
    with pytest.raises(ToolError, match="not in the history"):
        stale.sources_at("0" * 40, project)


def test_every_record_is_made_by_a_command_that_is_known(root):
    known = stale.recipes()
    for name in stale.records(root):
        assert name in known["commands"], f"say in recipes.yml how {name} is made"
        assert stale.beginnings(known["commands"][name], known["code"])


def test_every_record_is_made_from_committed_code(root):
    contaminated = {
        name for name, made in stale.records(root).items() if made["uncommitted_changes"]
    }
    assert contaminated == set(
        stale.recipes()["uncommitted"]
    )  # an exception that is none goes as well


def test_every_record_names_its_machine(root):
    for name, made in stale.records(root).items():
        assert made["hardware"]["cores"] >= 1, name
        assert made["hardware"].get("processor") or made["time"] < stale.PROCESSOR_SINCE, name


def test_the_table_of_records_is_up_to_date(root):
    """Who changes code sees here which records are now older than it."""
    if not stale.has_history(root):
        pytest.skip("the history of the project is not here: this is no full clone")
    written = (root / stale.TABLE).read_text(encoding="utf8")
    assert stale.table(root) == written, "run make stale, and look at what has changed"

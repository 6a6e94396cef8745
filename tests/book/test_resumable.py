"""`make book` on a small project: what is executed when, and what stays when something fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-{name})=
# # Chapter {name}

# %% tags=["parameters"]
count: int = 1

# %%
from graphseg import {module}

print("The value is", {module}.VALUE * count)
"""
FILES = {
    "graphseg/__init__.py": "",
    "graphseg/base.py": "VALUE = 1",
    "graphseg/top.py": "from graphseg.base import VALUE",
    "graphseg/other.py": "VALUE = 3",
    "notebooks/one.py": NOTEBOOK.format(name="one", module="top"),
    "notebooks/two.py": NOTEBOOK.format(name="two", module="other"),
    "book/_toc.yml": "format: jb-book\nroot: index\nchapters:\n"
    "  - file: notebooks/one\n  - file: notebooks/two\n",
    "book/index.md": "# A small book\n\nSee {ref}`ch-one`. {cite:p}`Someone`\n\n"
    "```{bibliography}\n```\n",
    "book/references.bib": "@misc{Someone, title = {A title}, author = {A. Someone}, year = 2020}",
    "book/profiles.yml": "many:\n  one: {count: 7}\nwrong:\n  two: {cuont: 7}\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project's own Makefile and tools around two small chapters; built once."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Makefile", "_config.yml", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("book/tools", "book/theme"):
        shutil.copytree(ROOT / name, folder / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    assert executed(make(folder)) == {"one", "two"}
    return folder


def make(folder, *arguments, ok=True):
    """Run `make -j2 book` in the environment of this test; return what it said."""
    environment = os.environ | {"PYTHONPATH": str(folder), "GRAPHSEG_DATA": str(folder / "none")}
    command = ["make", "-j2", "book", "STAMP=", f"VENV={sys.prefix}", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def executed(said):
    return set(re.findall(r"^(\w+): executed", said, re.M))


def page(folder, name, html="_build/html"):
    return (folder / html / "notebooks" / f"{name}.html").read_text()


def test_nothing_is_executed_when_nothing_changed(project):
    assert "The value is 1" in page(project, "one")
    before = (project / "_build" / "html" / "index.html").stat().st_mtime_ns
    said = make(project)
    assert executed(said) == set()
    assert f"The book is up to date: open {project}/_build/html/index.html" in said
    assert (project / "_build" / "html" / "index.html").stat().st_mtime_ns == before


def test_only_what_depends_on_a_module_is_executed(project):
    (project / "graphseg" / "base.py").write_text("VALUE = 5")
    assert executed(make(project)) == {"one"}
    assert "The value is 5" in page(project, "one")


def test_only_a_changed_chapter_is_executed(project):
    path = project / "notebooks" / "two.py"
    path.write_text(path.read_text() + "\n# %% [markdown]\n# One more sentence.\n")
    assert executed(make(project)) == {"two"}
    assert "One more sentence." in page(project, "two")


def test_a_failing_cell_stops_the_build_and_leaves_the_last_good_page(project):
    path = project / "notebooks" / "one.py"
    good, last = path.read_text(), page(project, "one")
    path.write_text(good + "\n# %%\nvalues = {}\nvalues['missing']\n")
    said = make(project, ok=False)
    assert "one failed in cell 4 of 4 (values = {}):" in said
    assert "KeyError: 'missing'" in said
    assert page(project, "one") == last
    path.write_text(good)
    assert executed(make(project)) == set()


def test_a_broken_reference_leaves_the_last_good_pages(project):
    path = project / "book" / "index.md"
    good, last = path.read_text(), (project / "_build" / "html" / "index.html").read_text()
    path.write_text(good + "\nSee {ref}`nowhere`.\n")
    said = make(project, ok=False)
    assert "\nindex.md:8: WARNING: undefined label: 'nowhere'\n" in said
    assert (project / "_build" / "html" / "index.html").read_text() == last
    path.write_text(good)
    make(project)


def test_a_profile_has_its_own_folder_and_parameters(project):
    assert executed(make(project, "PROFILE=many")) == {"one", "two"}
    assert "The value is 35" in page(project, "one", "_build/many/html")
    assert "The value is 5" in page(project, "one")
    assert executed(make(project)) == set()


@pytest.mark.parametrize(
    ("profile", "said"),
    [("mnay", "has no profile 'mnay'"), ("wrong", "two has no parameter 'cuont'")],
)
def test_a_misspelt_profile_or_parameter_stops_the_build(profile, said, project):
    assert said in make(project, f"PROFILE={profile}", ok=False)

"""Executing one notebook: the stamp, the message of a failing cell, nothing half-written."""

import json
import subprocess
import sys

import pytest

from book.tools import execute, identity
from book.tools.errors import ToolError

HEADER = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A chapter

# %% tags=["parameters"]
divisor: int = 2

# %%
# Divide.
print(1 / divisor)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHSEG_DATA", str(tmp_path / "no_images"))
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "profiles.yml").write_text("zero:\n  01_a: {divisor: 0}\n")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_a.py").write_text(HEADER)
    return tmp_path


def run(project, profile="default", **parameters):
    source, output = project / "notebooks" / "01_a.py", project / "01_a.ipynb"
    return execute.execute(source, output, profile, parameters, project), output


def printed(output):
    notebook = json.loads(output.read_text())
    streams = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    return "".join("".join(o["text"]) for o in streams)


def test_a_notebook_is_executed_once_and_stamped(project):
    done, output = run(project)
    assert done
    assert printed(output) == "0.5\n"
    assert run(project)[0] is False
    mark = execute.stamp(output)
    assert mark["profile"] == "default"
    assert mark["parameters"] == {}
    assert mark["source_digest"] == identity.source_digest(project / "notebooks" / "01_a.py")
    assert mark["digest"] == identity.notebook_digest(
        project / "notebooks" / "01_a.py", {}, project
    )
    assert str(project) not in output.read_text()
    assert not list((project / "work").iterdir())


def test_new_parameters_execute_anew(project):
    run(project)
    done, output = run(project, divisor=4)
    assert done
    assert printed(output) == "0.25\n"
    assert execute.stamp(output)["parameters"] == {"divisor": 4}


def test_a_failing_cell_leaves_the_last_good_output(project):
    _, output = run(project)
    before = output.read_bytes()
    with pytest.raises(ToolError) as caught:
        run(project, profile="zero")
    said = str(caught.value).splitlines()
    assert said[0] == "01_a failed in cell 4 of 4 (# Divide.):"
    assert "    print(1 / divisor)" in said
    assert said[-1] == "ZeroDivisionError: division by zero"
    assert output.read_bytes() == before
    assert not list(project.glob("*.tmp"))


def test_a_kernel_that_dies_is_one_sentence(project):
    path = project / "notebooks" / "01_a.py"
    path.write_text(HEADER + "import os\nos._exit(1)\n")
    with pytest.raises(ToolError, match=r"01_a failed: its kernel died"):
        run(project)
    assert not (project / "01_a.ipynb").exists()


def test_an_unchanged_notebook_needs_no_heavy_import(project, root):
    run(project)
    code = (
        "import sys; from book.tools import execute; "
        "print(execute.main(['notebooks/01_a.py', '01_a.ipynb']), "
        "{'numpy', 'jupytext', 'papermill', 'nbformat'} & set(sys.modules))"
    )
    environment = {"PYTHONPATH": str(root), "GRAPHSEG_DATA": str(project / "no_images")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=project,
        env=environment,
        check=True,
    )
    assert done.stdout == "01_a: unchanged\n0 set()\n"


@pytest.mark.parametrize("text", ["", "not JSON", "{}", '{"metadata": {}}'])
def test_an_output_without_a_stamp_has_none(text, tmp_path):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert execute.stamp(path) == {}
    assert execute.stamp(tmp_path / "missing.ipynb") == {}


@pytest.mark.parametrize(
    ("flags", "threads"), [("", None), ("w -j1", None), (" -j2 --jobserver-auth=3,4", "2")]
)
def test_notebooks_side_by_side_share_the_cores(flags, threads):
    environment = {"MAKEFLAGS": flags}
    execute.share_cores(environment, cores=4)
    assert environment.get("OMP_NUM_THREADS") == threads
    given = {"MAKEFLAGS": flags, "OMP_NUM_THREADS": "3"}
    execute.share_cores(given, cores=4)
    assert given["OMP_NUM_THREADS"] == "3"

"""What a reader takes along runs where nothing of this project is; so do the files for Binder."""

import os
import re
import site
import subprocess
import venv
import zipfile
from pathlib import Path

import jupytext
import nbformat
import pytest

from book.tools import downloads

ROOT = Path(__file__).resolve().parents[3]
CHAPTER = "01_data"
BINDER = ROOT / "binder"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / downloads.ARCHIVE
    downloads.archive(ROOT, path)
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A new environment that sees the packages of this one, but neither graphseg nor its book."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text("\n".join(site.getsitepackages()))
    python = folder / "bin" / "python"
    code = "import importlib.util as u; print(u.find_spec('graphseg'), u.find_spec('book'))"
    done = subprocess.run(
        [python, "-c", code], env=offline(python), cwd=folder, capture_output=True, text=True
    )
    assert done.stdout == "None None\n", done
    return python


def offline(python):
    """The variables of a shell in which pip installs nothing but what is in a folder."""
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    pip = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    rest = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "GRAPHSEG_DATA")}
    return rest | pip | {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "MPLBACKEND": "agg"}


def test_the_archive_has_what_chapters_need_and_no_more(archive, tmp_path):
    with zipfile.ZipFile(archive) as packed:
        names = [Path(name).relative_to("graphseg-book") for name in packed.namelist()]
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    expected = {Path(name) for name in listed.stdout.splitlines()}
    wanted = {p for p in expected if p.parts[0] in (*downloads.FOLDERS, *downloads.FILES)}
    assert wanted <= {*names} and len(names) == len({*names})
    assert {*names} <= wanted | {p for p in names if p.suffix in (".md", ".py", ".js", ".json")}
    again = tmp_path / archive.name
    downloads.archive(ROOT, again)
    assert again.read_bytes() == archive.read_bytes()


def test_a_prepared_notebook_keeps_its_cells(tmp_path):
    path = tmp_path / f"{CHAPTER}.ipynb"
    before = jupytext.read(ROOT / "notebooks" / f"{CHAPTER}.py")
    nbformat.write(before, path)
    downloads.prepare(path)
    after = nbformat.read(path, as_version=4)
    nbformat.validate(after)
    first, *middle, last = after.cells
    assert [cell.source for cell in middle] == [cell.source for cell in before.cells]
    assert first.metadata.tags == ["remove-cell"] and "%pip install" in first.source
    assert re.findall(r"<([^>]*)>", last.source) == [path.name, f"../{downloads.ARCHIVE}"]
    assert max(map(len, downloads.SETUP.splitlines())) <= 100


def test_a_downloaded_chapter_runs_in_a_fresh_environment(archive, python, tmp_path):
    path = tmp_path / f"{CHAPTER}.ipynb"
    nbformat.write(jupytext.read(ROOT / "notebooks" / f"{CHAPTER}.py"), path)
    downloads.prepare(path)
    command = [python, "-m", "IPython", path]
    options = dict(env=offline(python), capture_output=True, text=True, cwd=tmp_path)
    alone = subprocess.run(command, **options)
    assert (
        f"{archive.name} is missing; put it, from the page of this chapter, beside it."
        in alone.stdout
    )
    (tmp_path / archive.name).write_bytes(archive.read_bytes())
    done = subprocess.run(command, **options)
    assert done.returncode == 0 and "Error" not in done.stdout, done.stdout[-3000:]
    code = "import graphseg; print(graphseg.__file__)"
    found = subprocess.run([python, "-c", code], **options).stdout.strip()
    assert found == str(tmp_path / "graphseg-book" / "graphseg" / "__init__.py")


def test_binder_builds_what_starts_a_chapter(archive, python, tmp_path):
    """The steps of repo2docker, without its image and without an index."""
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(tmp_path)
    checkout = tmp_path / "graphseg-book"
    wanted = (BINDER / "requirements.txt").read_text().splitlines()
    (lock,) = (line.removeprefix("-r ") for line in wanted if not line.startswith("#"))
    assert (BINDER / lock).resolve() == ROOT / "requirements.lock"
    version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert f">={version}" in (ROOT / "pyproject.toml").read_text()

    for name in ("postBuild", "start"):
        assert os.access(BINDER / name, os.X_OK)
        (checkout / "binder" / name).chmod(0o755)  # unpacking alone keeps no modes
    options = dict(env=offline(python), capture_output=True, text=True, cwd=checkout)
    built = subprocess.run(["binder/postBuild"], **options)
    assert built.returncode == 0, built.stderr
    made = sorted(path.stem for path in (checkout / "ipynb").glob("*.ipynb"))
    assert made == sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))
    code = "import book.tools.notebook as n, graphseg; print(n.__file__, graphseg.__file__)"
    started = subprocess.run(["binder/start", "python", "-c", code], **options)
    assert started.stdout.split() == [
        str(checkout / "book" / "tools" / "notebook.py"),
        str(checkout / "graphseg" / "__init__.py"),
    ]

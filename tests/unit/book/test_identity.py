"""The digest of a notebook changes with what it depends on, and with nothing else."""

import os

import pytest

from book.tools import identity


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small project with one notebook, a recorded result and two published images."""
    files = {
        "graphseg/__init__.py": "",
        "graphseg/used.py": "from graphseg import deeper",
        "graphseg/deeper.py": "NAME = 'folds.json'",
        "graphseg/unused.py": "",
        "graphseg/registry.json": "{}",
        "data/results/folds.json": "{}",
        "data/results/other.json": "{}",
        "data/results/regression.json": "{}",
        "data/simulated/a.png": "a",
        "requirements.lock": "numpy==2",
        "notebooks/01_a.py": "from graphseg import used  # a regression, see the registry",
        "images/one.png": "1",
        "images/two.png": "2",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("GRAPHSEG_DATA", str(tmp_path / "images"))
    return tmp_path


def digest(project, **parameters):
    return identity.notebook_digest(project / "notebooks/01_a.py", parameters, project)


@pytest.mark.parametrize(
    "name",
    [
        "graphseg/__init__.py",
        "graphseg/used.py",
        "graphseg/deeper.py",
        "graphseg/registry.json",
        "data/results/folds.json",
        "data/simulated/a.png",
        "requirements.lock",
        "notebooks/01_a.py",
        "images/one.png",
    ],
)
def test_digest_changes_with(name, project):
    before = digest(project)
    (project / name).write_text((project / name).read_text() + "\n")
    assert digest(project) != before


@pytest.mark.parametrize(
    "name", ["graphseg/unused.py", "data/results/other.json", "data/results/regression.json"]
)
def test_digest_does_not_change_with(name, project):
    before = digest(project)
    (project / name).write_text("changed")
    assert digest(project) == before


def test_digest_changes_with_parameters(project):
    assert digest(project, epochs=1) != digest(project, epochs=2)
    assert digest(project, a=1, b=2) == digest(project, b=2, a=1)


def test_digest_changes_when_images_go(project, monkeypatch):
    before = digest(project)
    os.remove(project / "images" / "two.png")
    without_one = digest(project)
    monkeypatch.setenv("GRAPHSEG_DATA", str(project / "nowhere"))
    assert len({before, without_one, digest(project)}) == 3


def test_the_download_cache_is_where_the_package_downloads_to(monkeypatch, tmp_path):
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("GRAPHSEG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert identity.published_folder() is None
    cache = pooch.os_cache("graphseg")
    cache.mkdir(parents=True)
    assert identity.published_folder() == cache

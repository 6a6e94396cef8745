"""The page of functions and classes: written from the docstrings, whole, and without a warning."""

import importlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml

import graphseg

ROOT = Path(__file__).resolve().parents[3]
# The reference of the command line is its help, not docstrings.
ROOMS = sorted(
    path.parent.name
    for path in (ROOT / "graphseg").glob("*/__init__.py")
    if path.parent.name != "cli"
)
# What of the book's configuration the page depends on.
CHOSEN = ("autodoc_", "napoleon_", "default_role", "nitpick_")


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """Build the page alone as the book does, warnings being errors; return the names on it."""
    folder = tmp_path_factory.mktemp("api")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))["sphinx"]["config"]
    chosen = {key: value for key, value in config.items() if key.startswith(CHOSEN)}
    extensions = [name for name in config["extensions"] if name.startswith("sphinx.ext.")]
    lines = [f"{key} = {value!r}" for key, value in chosen.items()]
    lines += [f"extensions = {['myst_parser', *extensions]!r}", "root_doc = 'api'"]
    (folder / "conf.py").write_text("\n".join(lines))
    (folder / "api.md").write_text((ROOT / "book" / "api.md").read_text(encoding="utf8"))
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", folder]
    done = subprocess.run(
        [*command, folder / "html"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    inventory = (folder / "html" / "objects.inv").read_bytes().split(b"\n", 4)[4]
    rows = [row.split() for row in zlib.decompress(inventory).decode().splitlines()]
    return {name for name, kind, *_ in rows if kind.startswith("py:")}


def test_the_page_is_a_part_of_the_book():
    toc = (ROOT / "book" / "_toc.yml").read_text(encoding="utf8")
    assert "file: api\n" in toc


def test_every_public_name_is_described(described):
    face = {f"graphseg.{name}" for name in graphseg.__all__ if name not in ROOMS}
    assert face <= described
    for room in ROOMS:
        names = set(importlib.import_module(f"graphseg.{room}").__all__) - set(graphseg.__all__)
        missing = {f"graphseg.{room}.{name}" for name in names} - described
        assert not missing, f"book/api.md lacks {', '.join(sorted(missing))}"


def test_methods_of_estimators_are_described_and_routing_is_not(described):
    assert "graphseg.BraggSegmenter.predict_proba" in described
    assert not [name for name in described if name.endswith("_request")]

"""What a page shows of its code: little, narrow, and only what a reader would type."""

import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
HIDING = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
SAMPLE = re.compile(r"^ *```python\n(.*?)^ *```$", re.M | re.S)
# What only serves the page: numbers for the text, tables, and the notice of simulated data.
PLUMBING = re.compile(
    r"^\s*(record|record_scores|timing|show_source|Markdown|command_line)\("
    r"|^from |\bplt\.|\baxe?s?\.|\bmicrographs\.",
    re.M,
)
MOST_LINES = 60  # of a chapter
LONGEST = 25  # lines of a cell
WIDEST = 88  # characters of a line; the page is that wide


def visible(cells) -> list[str]:
    """Return the sources of the code cells that a page shows unasked."""
    return [
        cell.source
        for cell in cells
        if cell.cell_type == "code" and not HIDING & set(cell.metadata.get("tags", []))
    ]


def lines(source: str) -> list[str]:
    """Return the lines of code, without blank lines and comments."""
    return [x for x in source.splitlines() if x.strip() and not x.strip().startswith("#")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_shows_little_code(path):
    sources = visible(jupytext.read(path).cells)
    assert 0 < sum(len(lines(source)) for source in sources) <= MOST_LINES
    for source in sources:
        assert len(lines(source)) <= LONGEST, source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_visible_line_runs_off_the_page(path):
    cells = jupytext.read(path).cells
    prose = [cell.source for cell in cells if cell.cell_type == "markdown"]
    samples = [code for text in prose for code in SAMPLE.findall(text)]
    for source in [*visible(cells), *samples]:
        for line in source.splitlines():
            assert len(line) <= WIDEST, line


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_plumbing_is_hidden(path):
    cells = jupytext.read(path).cells
    for source in visible(cells):
        found = PLUMBING.search(source)
        assert found is None, f"{found[0]!r} is shown in:\n{source}"


def test_what_is_counted():
    """A tag hides a cell; comments and blank lines are no code."""
    text = (
        "# %%\na = 1\n\n# why\nb = 2\n\n# %% tags=['hide-input']\nc = 3\n\n# %% [markdown]\n# d\n"
    )
    sources = visible(jupytext.reads(text.replace("'", '"'), fmt="py:percent").cells)
    assert [lines(source) for source in sources] == [["a = 1", "b = 2"]]

"""Every chapter ends with three exercises, whose folded solutions run, and a check of five."""

import ast
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
PROMPT = "Show the solution"
WIDEST = 88  # characters of a line, as for code that is shown unasked
ASKED = re.compile(r"^(\d)\. (.+?)(?=^\d\. |^:::|\Z)", re.M | re.S)
OPTION = re.compile(r"^   - \(([a-d])\) \S", re.M)
ANSWER = re.compile(r"^(\d)\. \*\*([a-d])\*\* – \S.{10,}", re.M)


CHAPTERS = NOTEBOOKS


def chapters():
    return pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def after(path, heading):
    """Return the cells from the one that begins with a heading to the end."""
    cells = jupytext.read(path).cells
    places = [n for n, cell in enumerate(cells) if cell.source.startswith(f"## {heading}\n")]
    assert len(places) == 1, f"{path.name} has {len(places)} sections {heading!r}"
    return cells[places[0] :]


@chapters()
def test_a_chapter_has_three_exercises_with_folded_solutions(path):
    *work, _ = after(path, "Exercises")
    assert len(work) == 6
    for number, (text, solution) in enumerate(zip(work[::2], work[1::2], strict=True), start=1):
        assert text.cell_type == "markdown" and f"**Exercise {number}.** " in text.source
        assert len(text.source.split(f"**Exercise {number}.** ")[1]) > 60
        assert solution.cell_type == "code"
        assert solution.metadata["tags"] == ["hide-cell"]
        assert solution.metadata["mystnb"] == {"code_prompt_show": PROMPT}


@chapters()
def test_a_solution_computes_and_shows_something(path):
    for solution in after(path, "Exercises")[1:-1:2]:
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(solution.source))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "print" in calls, solution.source
        # Numbers for the text belong to cells of the text, not to those that a reader may change.
        assert not calls & {"record", "record_scores", "timing"}, solution.source
        assert len(solution.source.splitlines()) <= 25, solution.source
        assert all(len(line) <= WIDEST for line in solution.source.splitlines()), solution.source


@chapters()
def test_a_chapter_ends_with_five_questions_and_folded_answers(path):
    (check,) = after(path, "Check yourself")
    asked, answered = check.source.split(":::{admonition} Answers\n:class: dropdown\n")
    questions = ASKED.findall(asked)
    assert [number for number, _ in questions] == list("12345")
    answers = dict(ANSWER.findall(answered))
    assert list(answers) == list("12345")
    for number, question in questions:
        options = OPTION.findall(question)
        assert len(options) >= 3
        assert options == list("abcd")[: len(options)]
        assert answers[number] in options
    assert answered.rstrip().endswith(":::")
    assert len(set(answers.values())) > 1, "one letter answers everything"

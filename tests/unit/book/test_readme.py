"""Each number in the README is read from a record, or from the file that it describes."""

import re
import tomllib
from pathlib import Path

import yaml

from book.tools import readme, tables
from book.tools.fold_networks import FOR_THE_BOOK
from graphseg.evaluation.records import read_record
from graphseg.unet import pretrained

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


def test_what_was_measured_is_what_the_records_say():
    """``python -m book.tools.readme`` writes it."""
    assert readme.section(README) == readme.measured()


def test_one_sentence_says_how_long_the_papers_recipe_was_trained():
    found = re.findall(r"recorded with (\d+) of its (\d+) epochs", " ".join(README.split()))
    record = tables.read_result("unet_paper_fold")
    paper = read_record(tables.RESULTS_FOLDER.parent / "paper.json")
    assert found == [(str(record["parameters"]["epochs"]), str(paper["training"]["epochs"]))]
    assert len(record["results"][0]["history"]) == record["parameters"]["epochs"]


def test_no_other_number_is_left():
    """What is not measured is said of a file of the project, and holds of it."""
    rest = README.replace(readme.section(README), "")
    rest = re.sub(r"^ *```.*?^ *```", "", rest, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"`[^`]*`|<!--.*?-->|\]\([^)]*\)", "", rest)
    files = list(pretrained.FOLDER.glob("*.safetensors"))
    whole, installed = (
        sum(path.stat().st_size for path in chosen) / 1e6
        for chosen in (files, [p for p in files if not FOR_THE_BOOK.match(p.stem)])
    )
    python = PROJECT["requires-python"].removeprefix(">=")
    year = re.search(r"\((\d{4})\)", read_record(ROOT / "data" / "paper.json")["reference"])[1]
    said = [
        f"{installed:.0f} MB in all",
        f"({whole:.0f} MB with the others)",
        f"Python {python} or newer",
        f"[{year}",
        f"the {PROJECT['license'].replace('BSD-3', 'BSD 3')} licence",
    ]
    for sentence in said:
        assert sentence in rest
        rest = rest.replace(sentence, "")
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text(encoding="utf8"))
    chapters = len(contents["parts"][0]["chapters"])
    for number in re.findall(r"[Cc]hapter (\d+)", rest):
        assert 1 <= int(number) <= chapters
    assert not re.findall(r".*\d.*", re.sub(r"[Cc]hapter \d+", "", rest))


def test_the_networks_that_it_lists_come_along():
    for name in ("default", "general", "fold_0", "fold_4", "simulated", "initial"):
        assert f"`{name}`" in README or f"`--model {name}`" in README
        assert name in pretrained.names()

"""First page and page of the paper: numbers from records, links that lead somewhere."""

import io
import json
import re
from base64 import b64encode
from pathlib import Path

import jupytext
import numpy as np
import pytest
import yaml
from PIL import Image

from book.tools import pages
from book.tools.errors import ToolError
from graphseg import colours

ROOT = Path(__file__).resolve().parents[3]
BOOK = ROOT / "book"
TEXTS = {name: (BOOK / f"{name}.md").read_text(encoding="utf8") for name in ("index", "paper")}
SOURCES = [jupytext.read(path) for path in sorted((ROOT / "notebooks").glob("*.py"))]
PROSE = "\n".join(c.source for s in SOURCES for c in s.cells if c.cell_type == "markdown")
FIGURES = {
    cell.metadata["mystnb"]["figure"]["name"]
    for source in SOURCES
    for cell in source.cells
    if "figure" in cell.metadata.get("mystnb", {})
}
ROLE = re.compile(r"\{(numref|ref|eq|doc|cite:[tp]|download)\}`(?:[^`<]*<)?([^`>]+)>?`")
SECTIONS = (
    "Abstract, Introduction",
    "HRTEM Imaging of Graphene Structures",
    "Image Preprocessing",
    "Segmentation by Fourier Filtering",
    "Deep Learning Segmentation",
    "Qualitative Comparison",
    "Quantitative Comparison",
    "Memory Usage and Speed",
    "Segmentation in Atomic Position Workflows",
    "Data Reduction and Sorting",
    "Conclusion",
    "Availability of data and materials",
)
# Numbers that are no results: of the question itself, of notation, of exercises and of places.
SAID = (
    "95 %", "256 × 256", "(2, 2)", "modulo 60°", "0/0", "0 to 1", "from 1,", "after eq. 2",
    "BSD 3-Clause", "Table 1 of the paper", "1/px", "Chapter %s", "chapter %s", "chapters %s", "%s",
)  # fmt: skip


@pytest.fixture(scope="module")
def known():
    return pages.values()


def exists(kind, target):
    """Whether the sources of the book define what a role refers to."""
    if kind == "eq":
        return f"({target})" in PROSE
    if kind == "doc":
        return (BOOK / f"{target}.md").is_file()
    if kind == "download":
        return (ROOT / target).is_file()
    if kind.startswith("cite"):
        return f"{{{target}," in (BOOK / "references.bib").read_text(encoding="utf8")
    everywhere = PROSE + "".join(p.read_text(encoding="utf8") for p in BOOK.glob("*.md"))
    return target in FIGURES or f"({target})=" in everywhere


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_to_what_exists(name):
    found = ROLE.findall(TEXTS[name])
    assert len(found) > 10
    assert [pair for pair in found if not exists(*pair)] == []
    linked = re.findall(r"^:link: (\S+)$", TEXTS[name], re.M)
    assert [target for target in linked if not exists("ref", target)] == []


def test_a_target_that_does_not_exist_is_seen():
    assert not exists("numref", "fig-nowhere")
    assert not exists("numref", "ch-nowhere")
    assert not exists("eq", "eq-nowhere")
    assert not exists("cite:t", "Nobody1999")


def rows(heading):
    part = TEXTS["paper"].split(f"## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


def test_every_section_equation_figure_and_table_has_its_place():
    assert tuple(row[0] for row in rows("Sections")) == SECTIONS
    for heading, word, count in (
        ("Equations", "Eq.", 6),
        ("Figures", "Fig.", 6),
        ("Tables", "Table", 2),
    ):
        named = [row[0].split(",")[0] for row in rows(heading)]
        assert named[:count] == [f"{word} {n}" for n in range(1, count + 1)]
    for heading in ("Sections", "Equations", "Figures", "Tables"):
        for row in rows(heading):
            assert len(row) == 4 and all(row)
            assert ROLE.search(row[1]), row


@pytest.mark.parametrize("name", TEXTS)
def test_numbers_come_from_records(name, known):
    """A number on the page is a place that is filled in, or one of the few that are no results."""
    rest = re.sub(
        r"^```\{raw\}.*?^```|`[^`]*`|\]\([^)]*\)|\$[^$]*\$", "", TEXTS[name], flags=re.M | re.S
    )
    rest = re.sub(r"^::+\{.*$|^:(link|gutter|img)[^\n]*$", "", rest, flags=re.M)
    rest = re.sub(r"\[10\.\S+|\{\{[^}]*\}\}|\| (Eq\.|Fig\.|Table) \d", "", rest)
    for sentence in SAID:
        rest = rest.replace(sentence, "")
    assert re.findall(r".*\d.*", rest) == []
    assert "{{" not in pages.fill(TEXTS[name], known, name)


def test_every_value_is_shown_somewhere(known):
    conventions = (ROOT / "book" / "conventions.md").read_text(encoding="utf8")
    texts = [*TEXTS.values(), conventions]
    assert set().union(*map(pages._PLACE.findall, texts)) == set(known)


def test_the_legend_has_every_colour_with_a_meaning():
    shown = re.findall(r"background:(#\w+)", pages.colour_legend())
    own = [colours.LABEL_COLOUR, colours.MASK_COLOUR, colours.MARK_COLOUR]
    assert shown == [*own, *colours.CLASS_COLOURS.values(), *colours.ERROR_COLOURS.values()]
    assert len({*own, *colours.CLASS_COLOURS.values()}) == 7  # no colour means two things


def test_values_are_what_the_records_say(known):
    paper = json.loads((ROOT / "data" / "paper.json").read_text(encoding="utf8"))
    assert float(known["paper_unet_jaccard"]) == paper["scores"]["unet"]["jaccard"]
    assert float(known["ours_low"]) < float(known["ours_jaccard"]) < float(known["ours_high"])
    assert int(known["images"]) == paper["repository"]["labelled_images"]


def test_an_unknown_place_is_an_error():
    assert pages.fill("{{ a }} and {{b}}", {"a": "1", "b": "2"}) == "1 and 2"
    with pytest.raises(ToolError, match=r"index\.md asks for nothing_like_it, which"):
        pages.fill("{{ nothing_like_it }}", {"a": "1"}, "index.md")


def test_each_chapter_has_a_card_in_the_order_of_the_contents():
    contents = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf8"))
    files = [Path(entry["file"]).name for entry in contents["parts"][0]["chapters"]]
    first = [(ROOT / "notebooks" / f"{name}.py").read_text(encoding="utf8") for name in files]
    labels = [re.search(r"^# \((ch-[a-z-]+)\)=$", text, re.M)[1] for text in first]
    cards = TEXTS["index"].split("## The chapters\n")[1].split("\n## ")[0]
    assert re.findall(r"^:link: (\S+)$", cards, re.M) == labels
    thumbnails = pages._THUMBNAIL.findall(cards)
    assert len(thumbnails) == len(labels)
    for name, text in zip(thumbnails, first, strict=True):
        assert f'"name": "{name}"' in text
    assert len(re.findall(r"^:img-alt: \S.{10,}$", cards, re.M)) == len(labels)


def picture(width, height, colour=(200, 30, 30, 128)):
    buffer = io.BytesIO()
    Image.new("RGBA", (width, height), colour).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(900, 300), (300, 900), (480, 320)])
def test_thumbnails_have_one_shape_and_a_white_ground(size):
    small = pages.thumbnail(picture(*size, (0, 0, 0, 0)))
    assert small.size == pages.THUMBNAIL
    assert np.asarray(small).min() == 255


def notebook(folder, name, png):
    cell = {
        "cell_type": "code",
        "metadata": {"mystnb": {"figure": {"name": name, "caption": "c"}}},
        "outputs": [{"data": {"image/png": b64encode(png).decode()}}],
    }
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": [cell]}))


def test_a_staged_book_gets_its_pictures_and_numbers(tmp_path, monkeypatch):
    staged, executed, kept = (tmp_path / name for name in ("staged", "executed", "kept"))
    for folder in (staged / "theme", executed, kept):
        folder.mkdir(parents=True)
    (staged / "index.md").write_text(
        f"{{{{ a }}}} images/figures/fig-one.webp _static/{pages.HERO[0]}"
    )
    notebook(executed, "fig-one", picture(600, 400))
    monkeypatch.setattr(pages, "values", lambda: {"a": "12"})
    drawn = []

    def draw(folder):
        drawn.append(folder)
        for name in pages.HERO:
            (folder / name).write_bytes(b"picture")

    monkeypatch.setattr(pages, "hero", draw)
    pages.finish(staged, [staged / "index.md"], executed, kept)
    (staged / "index.md").write_text(f"_static/{pages.HERO[0]}")
    pages.finish(staged, [staged / "index.md"], executed, kept)
    assert drawn == [kept]  # the second time it is there
    with Image.open(staged / "images" / "figures" / "fig-one.webp") as small:
        assert small.size == pages.THUMBNAIL
    assert all((staged / "theme" / name).read_bytes() == b"picture" for name in pages.HERO)


def test_a_figure_that_nobody_draws_is_an_error(tmp_path):
    (tmp_path / "page.md").write_text("images/figures/fig-lost.webp")
    with pytest.raises(ToolError, match=r"page\.md shows fig-lost, which no executed chapter"):
        pages.finish(tmp_path, [tmp_path / "page.md"], tmp_path, tmp_path)


def test_the_first_picture_is_simulated_and_differs_only_where_something_is_marked(tmp_path):
    pages.hero(tmp_path)
    before, after = (np.asarray(Image.open(tmp_path / name), float) for name in pages.HERO)
    assert before.shape == after.shape == (768, 1152, 3)
    grey = np.abs(before - before.mean(axis=-1, keepdims=True)).max()
    assert grey < 12  # compression alone
    marked = (np.abs(after - before).max(axis=-1) > 40).mean()
    assert 0.05 < marked < 0.5

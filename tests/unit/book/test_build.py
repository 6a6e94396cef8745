"""Staging and swapping of the book; Sphinx itself is left out here (see tests/book)."""

import json

import pytest

from book.tools import build, downloads
from book.tools.errors import ToolError

TOC = """\
format: jb-book
root: index
parts:
  - caption: Chapters
    chapters:
      - file: notebooks/01_a
        sections:
          - file: more
  - caption: Reference
    chapters:
      - file: glossary
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one executed chapter, and a Sphinx that copies its source."""
    files = {
        "book/_toc.yml": TOC,
        "book/index.md": "# Index",
        "book/profiles.yml": "test:",
        "book/tools/tool.py": "",
        "_config.yml": "title: t",
        "requirements.lock": "",
        "javascript/a.js": "",
        "executed/01_a.ipynb": '{"cells": []}',
        "executed/99_not_in_the_toc.ipynb": "{}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def sphinx(staged, scratch):
        html = scratch / "_build" / "html"
        html.mkdir(parents=True)
        text = (staged / "index.md").read_text()
        if "broken" in text:
            raise ToolError("The book has errors")
        preload = '<link rel="preload" as="font" crossorigin href="a.woff2" />'
        (html / "index.html").write_text(f"<head>{preload}</head>{text}")
        return html

    def page(folder, source, javascript):
        folder.mkdir(exist_ok=True)
        (folder / "page.js").write_text("")

    monkeypatch.setattr(build, "sphinx", sphinx)
    monkeypatch.setattr(build.segment_page, "make", page)
    return tmp_path


def run(project):
    return build.build(project / "executed", project / "html", project, project / "javascript")


def test_pages_of_a_table_of_contents_are_in_reading_order():
    toc = build.yaml.safe_load(TOC)
    assert build.chapters(toc) == ["index", "notebooks/01_a", "more", "glossary"]


def test_staged_is_what_the_book_shows(project):
    assert run(project)
    staged = project / "html.src"
    assert (staged / "notebooks" / "01_a.ipynb").is_file()
    assert (staged / "javascript" / "a.js").is_file()
    assert not (staged / "javascript" / "segment").exists()
    for name in ("notebooks/99_not_in_the_toc.ipynb", "tools", "browser", "profiles.yml"):
        assert not (staged / name).exists()
    cells = json.loads((staged / "notebooks" / "01_a.ipynb").read_text())["cells"]
    assert downloads.ARCHIVE in cells[0]["source"] and downloads.ARCHIVE in cells[-1]["source"]
    assert (staged / downloads.ARCHIVE).is_file()


def test_a_book_with_the_page_that_segments_has_what_it_loads(project):
    (project / "book" / "_toc.yml").write_text(TOC.replace("glossary", "segment"))
    assert run(project)
    assert (project / "html.src" / "javascript" / "segment" / "page.js").is_file()


def test_nothing_is_built_when_nothing_changed(project):
    assert run(project)
    assert not run(project)
    (project / "executed" / "01_a.ipynb").write_text('{"cells": [], "a": 1}')
    assert run(project)


def test_the_last_good_pages_stay_when_the_book_is_broken(project):
    run(project)
    (project / "book" / "index.md").write_text("# broken")
    with pytest.raises(ToolError, match="has errors"):
        run(project)
    assert (project / "html" / "index.html").read_text() == "<head></head># Index"
    (project / "book" / "index.md").write_text("# Mended")
    assert run(project)
    assert (project / "html" / "index.html").read_text().endswith("# Mended")
    assert not (project / "html.old").exists()


def test_the_pages_say_what_they_were_built_from(project):
    run(project)
    mark = json.loads((project / "html" / build.MARK).read_text())
    assert mark["digest"] == build.tree_digest(project / "html.src")


def test_pages_follow_the_docstrings_of_the_package(project):
    run(project)
    (project / "graphseg").mkdir()
    (project / "graphseg" / "a.py").write_text("")
    assert run(project) and not run(project)
    (project / "graphseg" / "a.py").write_text('"""Explained."""')
    assert run(project)


def test_a_chapter_that_was_not_executed_is_an_error(project):
    (project / "executed" / "01_a.ipynb").unlink()
    with pytest.raises(ToolError, match=r"notebooks/01_a is in book/_toc\.yml but was not"):
        run(project)

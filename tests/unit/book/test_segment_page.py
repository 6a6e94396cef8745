"""What the page that segments loads; that it computes what the package does is in tests/book."""

import pytest

from book.tools import segment_page
from book.tools.errors import ToolError


def test_a_missing_library_is_named(tmp_path, root):
    with pytest.raises(ToolError, match=r"ort\.wasm\.min\.js is missing: run python -m book"):
        segment_page.make(tmp_path / "made", root / "book" / "browser", tmp_path)
    assert not (tmp_path / "made").exists()


def test_files_are_made_again_only_from_other_sources(tmp_path, root, monkeypatch):
    libraries = (*segment_page.LIBRARIES, segment_page.GLUE, segment_page.RUNTIME)
    for name in libraries:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    asked = []
    monkeypatch.setattr(segment_page, "_network", lambda: asked.append(1) or ({}, b"network"))
    made, source = tmp_path / "made", root / "book" / "browser"
    segment_page.make(made, source, tmp_path)
    first = {path.name: path.read_bytes() for path in made.iterdir()}
    assert first["engine.js"].startswith(b'graphsegPart("engine", "')
    segment_page.make(made, source, tmp_path)
    assert asked == [1]
    (tmp_path / segment_page.GLUE).write_text("another")
    segment_page.make(made, source, tmp_path)
    assert asked == [1, 1]
    changed = {path.name for path in made.iterdir() if path.read_bytes() != first[path.name]}
    assert changed == {"glue.js", "made-from.json"}  # the same sources give the same bytes

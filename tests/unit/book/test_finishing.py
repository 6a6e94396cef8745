"""Computed figures become light pictures that enlarge, and each is described."""

from pathlib import Path

import jupytext
import numpy as np
import pytest
from PIL import Image

from book.tools import finishing

ROOT = Path(__file__).resolve().parents[3]
FIGURES = {
    cell.metadata["mystnb"]["figure"]["name"]: cell.metadata["mystnb"]
    for path in sorted((ROOT / "notebooks").glob("*.py"))
    for cell in jupytext.read(path).cells
    if "figure" in cell.metadata.get("mystnb", {})
}
NAME = "a" * 64
PAGE = f"""<head><script src="_static/vendor/fontawesome/6/js/all.min.js?x"></script>
</head><article><img alt="dots" src="../_images/{NAME}.png" /><img alt="a card" src="x.webp" />
<summary aria-label="Toggle hidden content">Show</summary></article>"""


@pytest.fixture
def site(tmp_path):
    """A page with a figure of 6 by 4 inches and noise in it, 150 pixels an inch."""
    for folder in ("notebooks", "_images", "_static/vendor/fontawesome/6/js"):
        (tmp_path / folder).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "_images" / f"{NAME}.png", dpi=(150, 150))
    (tmp_path / "notebooks" / "a.html").write_text(PAGE)
    finishing.finish(tmp_path)
    return tmp_path


def test_a_figure_has_its_size_on_the_page_and_all_pixels_behind_the_link(site):
    text = (site / "notebooks" / "a.html").read_text()
    assert f'<a class="zoom-link" href="../_images/{NAME}-large.webp"><img loading="lazy"' in text
    assert f'src="../_images/{NAME}.webp" width="600" height="400"' in text
    assert 'alt="dots"' in text
    for end, size in (("", (600, 400)), ("-large", (900, 600))):
        with Image.open(site / "_images" / f"{NAME}{end}.webp") as picture:
            assert picture.size == size
    assert not list(site.rglob("*.png"))


def test_pages_lose_what_they_do_not_need(site):
    text = (site / "notebooks" / "a.html").read_text()
    assert "fontawesome" not in text and "<summary>Show" in text
    assert text.count('loading="lazy"') == 2  # the card too, once each
    assert not list(site.glob("_static/vendor/fontawesome/*/js"))


def test_numbers_in_the_text_have_minus_signs_and_thin_spaces(tmp_path):
    glued = '<article><span class="pasted-text">{}</span>{}</article>'
    page = tmp_path / "a.html"
    for value, after, shown in (
        ("-0.81", " (", ("−0.81", " (")),
        ("12", "\n%", ("12", "\N{NARROW NO-BREAK SPACE}%")),
        ("2.6", " ms,", ("2.6", "\N{NARROW NO-BREAK SPACE}ms,")),
        ("3", " msec", ("3", " msec")),
        ("excludes zero", " %", ("excludes zero", " %")),
        ("well-known", " px", ("well-known", " px")),
    ):
        page.write_text(glued.format(value, after), encoding="utf8")
        finishing.finish(tmp_path)
        assert page.read_text(encoding="utf8") == glued.format(*shown)


def test_drawings_keep_every_pixel(tmp_path):
    drawing = Image.new("RGB", (1500, 900), "white")
    drawing.paste("red", (10, 10, 300, 200))
    drawing.save(tmp_path / "drawing.png", dpi=(100, 100))
    assert finishing._convert(tmp_path / "drawing.png") == (finishing.WIDEST, 540)
    with Image.open(tmp_path / "drawing-large.webp") as enlarged:
        np.testing.assert_array_equal(np.asarray(enlarged.convert("RGB")), np.asarray(drawing))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_described(name):
    described = FIGURES[name]["image"]["alt"]
    assert len(described.split()) >= 10
    assert described.endswith(".") and "_images" not in described
    assert described not in FIGURES[name]["figure"]["caption"]

"""What is done to the pages when Sphinx is through: light pictures, zoom, accessible markup.

A figure that a chapter computed is a PNG. Its page gets a WebP of the size that it has there,
loaded when it comes into view, and a link to one with all pixels, which ``theme/figures.js`` opens.
"""

import re
import shutil
from functools import partial
from pathlib import Path

from PIL import Image

FIGURE_DPI = 100  # pixels of a page for an inch of a figure
WIDEST = 900  # pixels of a picture on a page, 1.3 times the column of text
QUALITY = 70  # of WebP: more than this cannot be seen in a noisy micrograph of that size
QUALITY_LARGE = 85
FEW_COLOURS = 1024  # up to so many, as in a plot, lossless files are the smaller ones
_COMPUTED = re.compile(
    r'<img ([^>]*?)src="((?:\.\./)?_images/)([0-9a-f]{64}\.(?:png|svg))"([^>]*)>'
)
_LATER = re.compile(r'<img (?!loading=|src="_static/hero)')  # all but the first picture
# What the theme has and the book does not need: fonts that browsers refuse to load early from local
# files (they load all the same, from the style sheet), and icons as a script of 1.5 MB beside those
# of the icon font.
_NOT_NEEDED = re.compile(
    r'<link rel="preload" as="font"[^>]*>\s*|<script src="[^"]*fontawesome[^"]*"></script>\s*'
)
# A number that a cell put into the text: its hyphen becomes a minus sign, and a unit stays with it.
_NUMBERS = (
    (re.compile(r'(<span class="pasted-text">)-(?=\d)'), "\\1\N{MINUS SIGN}"),
    (
        re.compile(r'(<span class="pasted-text">[^<]*\d</span>)\s+(?=(?:%|px|ms|MB|Å)(?!\w))'),
        "\\1\N{NARROW NO-BREAK SPACE}",
    ),
)
# Names and roles that contradict what can be read.
_MISNAMED = (
    (re.compile(r'<summary aria-label="[^"]*">'), "<summary>"),
    (re.compile(r'(search-button-field[^>]*?) aria-label="[^"]*"'), r"\1"),
    (re.compile(r'<div role="list" class="citation-list">'), '<div class="citation-list">'),
    (re.compile(r' role="doc-biblioentry"'), ""),
)


def finish(folder: Path) -> None:
    """Rewrite all pages in the folder of the HTML, and make the pictures that they show."""
    sizes: dict[str, tuple[int, int] | None] = {}
    for page in folder.rglob("*.html"):
        text = _NOT_NEEDED.sub("", page.read_text(encoding="utf8"))
        for wrong, right in (*_MISNAMED, *_NUMBERS):
            text = wrong.sub(right, text)
        text = _COMPUTED.sub(partial(_enlargeable, folder=folder, sizes=sizes), text)
        head, article, rest = text.partition("<article")
        page.write_text(head + article + _LATER.sub('<img loading="lazy" ', rest), encoding="utf8")
    for name in sizes:
        if name.endswith(".png"):
            (folder / "_images" / name).unlink()
    for scripts in folder.glob("_static/vendor/fontawesome/*/js"):
        shutil.rmtree(scripts)


def _enlargeable(found: re.Match, folder: Path, sizes: dict) -> str:
    """Return the markup of a computed figure: a small picture that links to a large one."""
    before, place, name, after = found.groups()
    if name not in sizes:
        sizes[name] = _convert(folder / "_images" / name) if name.endswith(".png") else None
    small = large = name
    shape = ""
    if sizes[name]:
        small, large = (name.replace(".png", end) for end in (".webp", "-large.webp"))
        shape = ' width="{}" height="{}"'.format(*sizes[name])
    picture = f'<img loading="lazy" {before}src="{place}{small}"{shape}{after}>'
    return f'<a class="zoom-link" href="{place}{large}">{picture}</a>'


def _convert(png: Path) -> tuple[int, int]:
    """Write a small and a large WebP beside a PNG; return width and height on the page."""
    with Image.open(png) as opened:
        dots = opened.info.get("dpi", (FIGURE_DPI, FIGURE_DPI))[0]
        large = opened.convert("RGB")
    scale = min(FIGURE_DPI / dots, WIDEST / large.width, 1.0)
    lossless = large.getcolors(FEW_COLOURS) is not None
    size = (round(large.width * scale), round(large.height * scale))
    small = large.resize(size, Image.Resampling.LANCZOS)
    for picture, end, quality in (
        (small, ".webp", QUALITY),
        (large, "-large.webp", QUALITY_LARGE),
    ):
        picture.save(png.with_name(png.stem + end), quality=quality, lossless=lossless)
    return size

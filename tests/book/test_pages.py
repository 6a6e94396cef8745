"""The built book in a real browser, from local files, with no network at all."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import TimeoutError

from book.tools import execute, record
from book.tools.fetch_javascript import default_folder

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))
PAGES = ["index", "paper", "segment", "api", "conventions", "glossary", "bibliography"]
PAGES += [f"notebooks/{name}" for name in NOTEBOOKS]
SOURCES = {name: (ROOT / "notebooks" / f"{name}.py").read_text("utf8") for name in NOTEBOOKS}
EXPLORERS = {f"notebooks/{name}" for name, text in SOURCES.items() if "explore." in text}
LOCAL = ("file:", "data:", "blob:", "about:")
# What a page with controls must answer: the texts beside them, and all pictures.
SHOWN = """element => [
  ...[...element.querySelectorAll("output, figcaption")].map(e => e.innerText),
  ...[...element.querySelectorAll("img")].map(e => e.src + e.alt),
  ...[...element.querySelectorAll("canvas")].map(e => e.toDataURL()),
]"""
IDLE = """() => [...document.querySelectorAll(".explorer")].every(
  e => e.querySelector(".explorer-off").hidden && !e.hasAttribute("aria-busy"))"""
pytestmark = pytest.mark.timeout(1800)  # the first test waits for the notebooks and the build


@dataclass
class Visit:
    """A loaded page and what happened while it loaded."""

    page: object
    path: Path
    loaded: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def texts(self, selector):
        return [e.inner_text() for e in self.page.query_selector_all(selector)]


@pytest.fixture(scope="module", params=record.SOURCES)
def html(request, executions, tmp_path_factory):
    """The book, built from the notebooks executed on one data source."""
    if request.param not in record.available_sources():
        pytest.skip("the published images are not here (see GRAPHSEG_DATA in README.md)")
    folder = tmp_path_factory.mktemp(request.param)
    for (source, _), future in executions.items():
        if source == request.param:
            shutil.copy(future.result(), folder)
    command = [sys.executable, "-m", "book.tools.build", folder, folder / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def visits(html, browser):
    """Every page by name, loaded with the network blocked."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, offline=True)
    yield {name: load(context, html / f"{name}.html") for name in PAGES}
    context.close()


def load(context, path):
    visit = Visit(context.new_page(), path)
    page = visit.page
    page.on("request", lambda r: visit.loaded.append(r.url))
    page.on("request", lambda r: r.url.startswith(LOCAL) or visit.external.append(r.url))
    page.on("requestfailed", lambda r: visit.problems.append(f"not loaded: {r.url}"))
    page.on("pageerror", lambda error: visit.problems.append(str(error)))
    page.on("console", lambda m: m.type == "error" and visit.problems.append(m.text))
    page.goto(path.as_uri())
    page.evaluate("window.MathJax?.startup?.promise.then(() => null)")
    try:
        page.wait_for_function(IDLE)
    except TimeoutError:
        visit.problems.append("not all pictures with controls started")
    return visit


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_nothing_from_elsewhere(name, visits):
    assert visits[name].external == []
    addresses = visits[name].page.evaluate(
        "[...document.querySelectorAll('[src], link[href], [srcset], object[data]')].flatMap("
        "e => [e.src, e.href, e.srcset, e.data]).filter(Boolean)"
    )
    assert [a for a in addresses if not a.startswith(LOCAL)] == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_load_without_errors(name, visits):
    assert visits[name].problems == []


@pytest.mark.parametrize("name", PAGES)
def test_maths_is_typeset(name, visits):
    page = visits[name].page
    wanted = page.locator("article .math").count()
    assert page.locator("article .math > mjx-container").count() >= wanted
    assert page.locator("mjx-merror").count() == 0
    if name.startswith("notebooks/") or name == "conventions":
        assert wanted > 0


@pytest.mark.parametrize("name", PAGES)
def test_no_markup_is_left_in_the_text(name, visits):
    prose = visits[name].page.evaluate(
        "[...document.querySelectorAll('article p, article li, article td, figcaption, h1, h2')]"
        ".map(e => { const c = e.cloneNode(true);"
        " c.querySelectorAll('code, pre, mjx-container, script').forEach(x => x.remove());"
        " return c.textContent; }).join('\\n')"
    )
    for mark in (
        "$$",
        "\\(",
        "\\[",
        "\\frac",
        "{numref}",
        "{eq}",
        "{glue",
        "{cite",
        "{doc}",
        ":::",
    ):
        assert mark not in prose
    assert not re.search(r"\$[^\s$][^$]*\$", prose)


def test_figures_are_numbered_and_referred_to(visits):
    found = 0
    targets = "[...document.querySelectorAll('article a.reference')].map(a => a.hash)"
    referred = {target for visit in visits.values() for target in visit.page.evaluate(targets)}
    for number, name in enumerate(NOTEBOOKS, start=1):
        for figure in visits[f"notebooks/{name}"].page.query_selector_all("article figure[id]"):
            caption = figure.query_selector("figcaption").inner_text()
            assert re.match(rf"Fig\. {number}\.\d+ ", caption)
            assert f"#{figure.get_attribute('id')}" in referred, f"nothing refers to {caption}"
            found += 1
    assert found >= len(NOTEBOOKS)


def test_equations_are_numbered(visits):
    numbers = [n for visit in visits.values() for n in visit.texts("article .eqno")]
    assert len(numbers) > 6
    assert all(re.match(r"\(\d+(\.\d+)?\)", number) for number in numbers)


def test_the_first_picture_is_uncovered_by_its_handle(visits):
    page = visits["index"].page
    handle = page.query_selector(".swipe-handle")
    assert handle.is_visible()
    cut = "getComputedStyle(document.querySelector('.swipe')).getPropertyValue('--cut')"
    before = page.evaluate(cut)
    handle.focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(cut) != before
    widths = page.evaluate("[...document.querySelectorAll('.swipe img')].map(i => i.naturalWidth)")
    assert len(widths) == 2 and min(widths) > 1000


def test_the_first_page_needs_no_scripts(html, browser):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((html / "index.html").as_uri())
    boxes = [page.locator(".swipe img").nth(n).bounding_box() for n in (0, 1)]
    assert boxes[0] == boxes[1] and boxes[0]["width"] > 300
    assert not page.locator(".swipe-handle").is_visible()
    assert page.locator("article .sd-card").count() > len(NOTEBOOKS)
    context.close()


def test_solutions_and_answers_are_folded(visits):
    for name in NOTEBOOKS:
        page = visits[f"notebooks/{name}"].page
        solutions = page.locator("article details:has-text('Show the solution')")
        if not solutions.count():  # a chapter that is being rewritten, see test_exercises.py
            continue
        assert solutions.count() == 3
        first = solutions.first
        assert not first.locator(".cell_output").first.is_visible()
        first.locator("summary").click()
        assert first.locator(".cell_output").first.is_visible()
        answers = page.locator("article .admonition.dropdown:has-text('Answers')")
        assert answers.count() == 1
        assert not answers.locator("ol").is_visible()


def test_every_control_of_a_chapter_changes_its_picture(visits):
    """No picture keeps a false state, and none waits for a kernel that a page does not have."""
    moved = 0
    for name, visit in visits.items():
        page = visit.page
        assert page.locator("[class*=jupyter-widgets], script[type*=widget]").count() == 0, name
        for control in page.locator(".explorer [data-control]").all():
            element = control.locator("xpath=ancestor::div[@class='explorer']")
            assert control.is_enabled()
            before = element.evaluate(SHOWN)
            control.focus()
            key = "ArrowUp" if control.evaluate("e => e.selectedIndex > 0") else "ArrowDown"
            for _ in range(3):  # a small step need not change a pixel
                page.keyboard.press(key)
            page.wait_for_function(IDLE)
            after = element.evaluate(SHOWN)
            texts = element.locator("output, figcaption").count()
            assert before[texts:] != after[texts:], f"{name}: {control.get_attribute('id')}"
            moved += 1
    assert moved >= len(EXPLORERS) + 4  # the Bragg filter alone has five
    found = {name for name in PAGES if visits[name].page.locator(".explorer").count()}
    assert found == EXPLORERS


def test_links_between_pages_lead_somewhere(visits):
    checked = 0
    for visit in visits.values():
        hrefs = visit.page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href)")
        for address in map(urlsplit, hrefs):
            if address.scheme == "file":
                target = Path(unquote(address.path))
                assert target.exists(), f"{visit.path.name} links to {target}"
                if address.fragment and target.suffix == ".html":
                    assert f'id="{unquote(address.fragment)}"' in target.read_text()
                checked += 1
    assert checked > 50


def test_simulated_data_are_named_on_every_chapter(html, visits):
    for name in NOTEBOOKS:
        titles = visits[f"notebooks/{name}"].texts("article .admonition-title")
        expected = "simulated" in html.parent.name
        assert ("Simulated micrographs" in titles) == expected, name


def test_executed_notebooks_are_stamped(html):
    for name in NOTEBOOKS:
        mark = execute.stamp(html.parent / f"{name}.ipynb")
        assert mark["profile"] == record.PROFILE
        assert mark["parameters"]["data_source"] in html.parent.name
        assert len(mark["source_digest"]) == len(mark["digest"]) == 64


def test_search_works_without_a_server(html, browser):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto((html / "search.html").as_uri() + "?q=contamination")
    page.wait_for_selector("#search-results ul.search li a")
    assert page.locator("#search-results ul.search li").count() > 2
    context.close()


def test_style_sheets_load_nothing_from_elsewhere(html):
    sheets = list(html.rglob("*.css"))
    assert len(sheets) > 5
    for sheet in sheets:
        text = sheet.read_text(encoding="utf8")
        assert not re.search(r"(url\(|@import)\s*['\"]?\s*(https?:)?//", text), sheet


LIGHT = 2.5e6  # bytes of a page before a figure is enlarged, without fonts
FONTS = (".woff", ".woff2", ".ttf")
NARROW = {"width": 390, "height": 844}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_light(name, visits):
    """All that a page loads, and the pictures below that it would load, from local files."""
    visit = visits[name]
    pictures = visit.page.evaluate("[...document.images].map(image => image.src)")
    wanted = {urlsplit(a) for a in [*visit.loaded, *pictures] if a.startswith("file:")}
    files = {Path(unquote(address.path)) for address in wanted}
    kept = [p for p in files if p.suffix not in FONTS]
    assert sum(path.stat().st_size for path in kept) <= LIGHT


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_described_and_loaded_late(name, visits):
    pictures = visits[name].page.evaluate(
        "[...document.querySelectorAll('article img')]"
        ".filter(e => !e.closest('[aria-hidden]'))"
        ".map(e => [e.alt, e.src, e.loading, e.checkVisibility() ? e.clientWidth : null])"
    )
    for described, address, loading, width in pictures:
        assert width is None or width > 100, address
        assert len(described.split()) >= 3, address
        assert not re.search(r"\w/\w|\.(png|svg|webp)\b", described)
        assert loading == "lazy" or "hero" in address
        assert not address.endswith((".png", ".jpg"))
    if name.startswith("notebooks/"):
        assert pictures


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible(name, visits):
    page = visits[name].page
    page.add_script_tag(path=default_folder() / "axe" / "axe.min.js")
    found = page.evaluate("axe.run({resultTypes: ['violations']}).then(found => found.violations)")
    assert [v for v in found if v["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_a_phone(name, visits):
    """Nothing makes a page wider; what is wide scrolls, with the keyboard too."""
    page = visits[name].page
    before = page.viewport_size
    page.set_viewport_size(NARROW)
    page.wait_for_function("innerWidth <= 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    found = page.evaluate(
        "axe.run({runOnly: ['scrollable-region-focusable']}).then(found => found.violations)"
    )
    wide = page.query_selector_all(".pst-scrollable-table-container[tabindex='0']")
    for container in filter(lambda element: element.is_visible(), wide):
        left = "e => { e.scrollLeft = 60; const f = e.querySelector('td'); return f && "
        left += "f.getBoundingClientRect().left - e.getBoundingClientRect().left; }"
        assert abs(container.evaluate(left)) < 2, "the first column does not stay"
    page.set_viewport_size(before)
    assert found == []


def test_a_click_enlarges_a_figure(visits):
    page = visits["notebooks/01_data"].page
    link = page.locator("article a.zoom-link").first
    link.click()
    enlarged = page.locator("dialog.zoom img")
    page.wait_for_function("document.querySelector('dialog.zoom img').naturalWidth > 0")
    assert enlarged.get_attribute("alt") == link.locator("img").get_attribute("alt")
    assert enlarged.bounding_box()["width"] > link.bounding_box()["width"]
    page.keyboard.press("Escape")
    assert not enlarged.is_visible()

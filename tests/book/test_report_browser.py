"""The report of a run in a real browser: ten thousand rows, filters, threshold, comparison."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from graphseg.batch.manifest import Fingerprint, Manifest
from graphseg.batch.report import write_tables
from graphseg.batch.run import Run
from graphseg.io.outputs import previews, write_overlay

SIDE = 64
ROWS = "#table tbody tr:not(.gap)"
MOST_MS = 2000  # until ten thousand rows are there
PAINTED = """new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
    done(performance.now()))))"""


def probability(number):
    """Rises from left to right; the contaminated fraction grows with the number."""
    line = np.linspace(0, 1, SIDE, dtype=np.float32) ** (1 / (number + 1))
    return np.tile(line, (SIDE, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of five images as ``analyse`` leaves them, with the pictures; one has failed."""
    folder = tmp_path_factory.mktemp("atoms #1")  # a name that an address must escape
    manifest = Manifest(folder, "analyse", {})
    with manifest.writing():
        for number in range(5):
            image = np.random.default_rng(number).normal(size=(SIDE, SIDE))
            found = probability(number)
            pictures, above = previews(image, found)
            row = {
                "file": f"night/image_{number}.dm4", "frame": "", "name": f"image_{number}",
                "width": SIDE, "height": SIDE, "pixel_size": 0.4, "threshold": 0.5,
                "contaminated_fraction": float((found >= 0.5).mean()),
                "expected_jaccard": None if number == 3 else 0.9 - number / 10,
                "look_first": "yes" if number > 2 else "", "defects": [3, 17, 5, 4, 11][number],
                "boundaries_nm": 10.0 * number, "model": "a",
                "flags": "out_of_distribution" if number == 3 else "low_signal",
                "warning": "It is unlike all others." if number == 3 else "",
            }  # fmt: skip
            overlay = {"_overlay.png": lambda p, i=image, f=found: write_overlay(p, i, f >= 0.5)}
            record = {"frame": 0, "frames": 1, "row": row, "pictures": pictures, "above": above}
            manifest.write(row["name"], Fingerprint(f"/{number}", 1, 1), overlay, record)
    failed = {"file": "night/broken.dm4", "frame": "", "error": "night/broken.dm4 is too short."}
    write_tables(Run(manifest, manifest.rows([], [failed]), 5, [failed["error"]], []))
    return manifest


@pytest.fixture
def page(browser, folder):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.on("request", lambda r: r.url.startswith(("file:", "data:")) or problems.append(r.url))
    page.goto(folder.tables[1].as_uri())
    yield page
    assert problems == []
    page.close()


def files(page):
    """The numbers of the images in the rows that are drawn."""
    return [
        name.split("/")[1].split(".")[0] for name in page.locator(f"{ROWS} th").all_inner_texts()
    ]


def white(page):
    """The fraction of white in what is shown, as it is painted."""
    stage = page.locator(".stage .layers").last
    page.wait_for_function("[...document.querySelectorAll('.stage img')].every(i => i.complete)")
    pixels = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L"))
    return (pixels > 128).mean()


def test_ten_thousand_rows_open_within_two_seconds_and_scroll(folder, page):
    pairs = folder.rows([])
    many = [
        (row | {"file": f"night/{number:05d}.dm4"}, shown)
        for number in range(10_000)
        for row, shown in [pairs[number % len(pairs)]]
    ]
    manifest = Manifest(folder.folder, "analyse", {})
    manifest.tables = tuple(folder.folder / f"many.{form}" for form in ("csv", "html"))
    write_tables(Run(manifest, many, len(many), [], []))
    page.goto(manifest.tables[1].as_uri())
    assert page.evaluate(PAINTED) < MOST_MS
    expect(page.locator("#count")).to_have_text("10000 rows")
    assert 5 < page.locator(ROWS).count() < 60  # no more than can be seen, and some
    assert page.evaluate("document.documentElement.scrollWidth") <= 1300
    assert page.evaluate("scroller.scrollWidth <= scroller.clientWidth")
    page.evaluate("scroller.scrollTop = 300000")
    expect(page.get_by_role("rowheader", name="night/05000.dm4")).to_be_in_viewport()
    page.locator("#table").press("End")
    last = page.get_by_role("rowheader", name="night/09999.dm4")
    expect(last).to_be_in_viewport()
    expect(last.locator("img").first).to_have_js_property("naturalWidth", SIDE)


def test_rows_are_ranked_and_filtered_and_stay_so_when_the_page_is_loaded_again(page):
    assert files(page) == [*(f"image_{number}" for number in range(5)), "broken"]
    for heading, descending in (
        ("Contaminated", "43210"), ("Quality", "01243"), ("Defects", "14230"),
        ("Boundary length", "43210"),
    ):  # fmt: skip
        button = page.get_by_role("button", name=heading, exact=True)
        button.click()
        button.press("Enter")  # which has kept the focus
        # What is unknown comes last either way.
        assert files(page) == [*(f"image_{number}" for number in descending), "broken"]
    assert page.get_attribute("th[data-key=boundaries_nm]", "aria-sort") == "descending"
    page.get_by_label("Defects, number: at least").fill("5")
    page.get_by_label("File: contains").fill("IMAGE")
    assert files(page) == ["image_4", "image_2", "image_1"]
    page.get_by_label("Contaminated, %: at most").fill("80")
    assert files(page) == ["image_1"] and page.inner_text("#count") == "1 of 6 rows"
    page.reload()
    assert files(page) == ["image_1"]
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Reasons to look: is").select_option("look_first")
    assert files(page) == ["image_4", "image_3"]


def test_the_threshold_changes_what_is_painted_and_what_is_counted(page):
    page.locator("#table").press("ArrowDown")
    page.locator("#table").press("Enter")
    page.keyboard.press("3")
    assert (
        page.get_by_role("button", name="Mask", exact=True).get_attribute("aria-pressed") == "true"
    )
    slider = page.get_by_role("slider", name="Threshold")
    for threshold in (None, 0.8, 0.3):
        if threshold:
            slider.fill(str(threshold))
        expected = (probability(1) >= (threshold or 0.5)).mean()
        assert white(page) == pytest.approx(expected, abs=0.02)
        assert f"{100 * expected:.1f} % contaminated" in page.inner_text("figcaption")
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#cut output")).to_have_text("0.50")
    page.keyboard.press("2")  # red where there is contamination, over the image
    pixels = Image.open(io.BytesIO(page.locator(".stage .layers").screenshot())).convert("RGB")
    red, green, _ = np.asarray(pixels).astype(int).transpose(2, 0, 1)
    assert (red - green > 40).mean() == pytest.approx((probability(1) >= 0.5).mean(), abs=0.02)


def test_two_images_are_compared_and_moved_together(page):
    page.locator(f"{ROWS} button").first.click()
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    page.locator(f"{ROWS} button").nth(4).click()
    expect(page.locator("figcaption strong")).to_have_text(
        ["night/image_0.dm4", "night/image_4.dm4"]
    )
    sources = [image.get_attribute("src") for image in page.locator(".stage img").all()]
    assert len(sources) == 4 and len(set(sources)) == 4
    page.get_by_role("button", name="Larger").click()
    page.evaluate("document.querySelector('.stage').scrollTo(50, 70)")
    moved = "s => s.scrollLeft === 50 && s.scrollTop === 70"
    page.wait_for_function(f"[...document.querySelectorAll('.stage')].every({moved})")
    cells = (
        page.locator("#facts tr", has_text="Boundary length, nm").locator("td").all_inner_texts()
    )
    assert cells == ["0.0", "40.0"]
    page.keyboard.press("c")
    assert page.locator(".stage").count() == 1


def test_reasons_are_told_by_mouse_and_keyboard(page):
    tip = page.get_by_role("tooltip")
    page.locator(ROWS).nth(3).get_by_text("look first").hover()
    expect(tip).to_have_text("It is unlike all others.")
    page.locator(ROWS).nth(3).get_by_text("out of distribution").focus()
    expect(tip).to_have_text("The image is unlike those that the network was trained on.")
    page.locator(ROWS).nth(5).get_by_text("failed").hover()
    expect(tip).to_have_text("night/broken.dm4 is too short.")
    expect(page.get_by_text("failed", exact=True)).to_have_attribute("aria-describedby", "tip")


def test_what_is_not_in_the_folder_has_no_control(page, folder, tmp_path):
    """A mask that was given has no probability; records of before have no pictures."""
    page.locator(f"{ROWS} button").first.click()
    expect(page.get_by_role("slider", name="Threshold")).to_be_visible()
    expect(page.locator("figcaption button")).to_have_text(
        ["Micrograph", "Overlay", "Mask", "Probability", "overlay, full size"]
    )
    pairs = json.loads(json.dumps(folder.rows([])))
    for row, _ in pairs:
        row["threshold"] = None
    pairs[1][1] = {"files": []}
    manifest = Manifest(tmp_path, "analyse", {})
    manifest.partial.mkdir(parents=True)
    (tmp_path / ".graphseg" / "analyse").symlink_to(folder.records)
    for name in pairs[0][1]["files"][2:]:
        (tmp_path / name).symlink_to(folder.folder / name)
    write_tables(Run(manifest, [tuple(pair) for pair in pairs[:2]], 2, [], []))
    page.goto(manifest.tables[1].as_uri())
    page.locator(f"{ROWS} button").first.click()
    expect(page.get_by_role("slider", name="Threshold")).to_be_hidden()
    expect(page.locator("figcaption button")).to_have_text(
        ["Micrograph", "Overlay", "Mask", "overlay, full size"]
    )
    page.keyboard.press("ArrowRight")
    expect(page.locator("figcaption button")).to_have_count(0)
    expect(page.locator("#keep")).to_be_hidden()

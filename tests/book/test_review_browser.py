"""``graphseg review`` in a real browser: threshold, brush, undo, accept; killed and resumed."""

import csv
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from playwright.sync_api import expect

from book.tools import browser
from graphseg.batch.masks import MaskFolder
from graphseg.datasets import load
from tests.book.test_labelling_browser import LOCAL, capsule
from tests.helpers.microscope_files import write_dm4

PATIENCE = 120_000  # ms, on a machine that is busy
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def masks(tmp_path, root):
    """Masks of a DM4 file and of a series, made by ``segment``."""
    stack = load.load_simulated_sample()
    (tmp_path / "night").mkdir()
    write_dm4(tmp_path / "night" / "a.dm4", 4000 * stack.images[0], stack.pixel_size_of(0))
    series = (255 * stack.images[1:3]).astype(np.uint8)
    tifffile.imwrite(tmp_path / "night" / "b.tif", series, photometric="minisblack")
    command = [sys.executable, "-m", "graphseg", "segment", "night", "--output", "masks"]
    command += ["--no-test-time-augmentation", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    return MaskFolder(tmp_path / "masks")


@pytest.fixture
def start(masks, root):
    """Start ``graphseg review``; gives process and address."""
    running = []

    def begin():
        command = [sys.executable, "-m", "graphseg", "review", "masks", "--no-browser"]
        environment = os.environ | {"PYTHONPATH": str(root)}
        options = {"cwd": masks.folder.parent, "env": environment, "text": True}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
        running.append(process)
        return process, re.search(r"http\S+", process.stdout.readline())[0]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def drag(page, *pixels):
    """Drag the mouse over pixels (row, column) of an image of 256 pixels."""
    box = page.locator(".graphseg-overlay").bounding_box()
    scale = box["width"] / 256
    for number, (row, column) in enumerate(pixels):
        page.mouse.move(box["x"] + (column + 0.5) * scale, box["y"] + (row + 0.5) * scale)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def open_page(chromium, address):
    page = chromium.new_page(viewport={"width": 1300, "height": 950})
    page.set_default_timeout(PATIENCE)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda r: r.url.startswith(LOCAL) or page.problems.append(r.url))
    page.goto(address)
    page.locator(".graphseg-painter[data-shown]").wait_for()
    return page


def idle(page):
    """Wait until all that was asked of the command is answered."""
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    page.evaluate("new Promise(done => setTimeout(done, 50))")


def test_masks_are_corrected_accepted_and_resumed_after_a_kill(masks, start):
    expect.set_options(timeout=PATIENCE)
    with open(masks.folder / "segment.csv", newline="", encoding="utf-8") as file:
        looks = {row["name"]: bool(row["look_first"]) for row in csv.DictReader(file)}
    names = sorted(looks, key=lambda name: (not looks[name], name))
    automatic = {name: masks.read(name)[0] for name in names}
    process, address = start()
    with browser.opened() as chromium:
        page = open_page(chromium, address)
        title = page.locator(".graphseg-name")
        expect(title).to_have_text(f"{names[0]} (1 of 3; 0 accepted in all)")
        # Threshold first, then the brush, the eraser, and a stroke that is taken back.
        page.get_by_role("slider", name="Threshold").fill("0.1")
        idle(page)
        drag(page, (60, 40), (60, 90))
        page.get_by_role("button", name="Eraser").click()
        drag(page, (200, 40), (200, 90))
        drag(page, (100, 100), (150, 150))
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("button", name="Redo")).to_have_attribute("aria-disabled", "false")
        idle(page)
        micrograph = masks.micrograph(names[0])
        expected = masks.probability(names[0], micrograph, None) >= 0.1
        assert (expected != automatic[names[0]]).any()
        painted, erased = (capsule((row, 40), (row, 90), 12, (256, 256)) for row in (60, 200))
        expected = (expected | painted) & ~erased
        mask, reviewed = masks.read(names[0])
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(reviewed, painted | erased)
        assert page.problems == []
        process.kill()
        process.wait()
        drag(page, (20, 20), (30, 30))
        expect(page.locator(".graphseg-status")).to_contain_text("start it again")

        process, address = start()
        page = open_page(chromium, address)
        title = page.locator(".graphseg-name")
        expect(title).to_have_text(f"{names[0]} (1 of 3; 0 accepted in all)")
        page.get_by_role("button", name="Accept").click()
        expect(title).to_have_text(f"{names[1]} (2 of 3; 1 accepted in all)")
        idle(page)
        page.keyboard.press("a")
        expect(title).to_have_text(f"{names[2]} (3 of 3; 2 accepted in all)")
        assert page.problems == []
    process.send_signal(2)
    assert "2 of 3 masks accepted, 0 corrected in part" in process.communicate(timeout=60)[0]
    assert process.returncode == 0
    mask, reviewed = masks.read(names[0])
    np.testing.assert_array_equal(mask, expected)
    assert reviewed.all() and masks.read(names[1])[1].all() and not masks.read(names[2])[1].any()
    np.testing.assert_array_equal(masks.read(names[1])[0], automatic[names[1]])
    for name in names:
        assert (tifffile.imread(masks.folder / f"{name}_mask.tif") > 0).sum() == (
            automatic[name].sum()
        )

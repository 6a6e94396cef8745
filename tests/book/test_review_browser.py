"""``graphseg review`` in a real browser: masks of a run, and labels of a folder of images."""

import csv
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from playwright.sync_api import expect

from book.tools import browser
from graphseg.batch.masks import MaskFolder
from graphseg.datasets import load
from tests.helpers.microscope_files import write_dm4

PATIENCE = 120_000  # ms, on a machine that is busy
LOCAL = ("http://127.0.0.1:", "data:", "blob:", "about:")
SIDE = 256  # pixels of the images
SEEN = """canvas => Array.from(
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
)"""
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
def start(tmp_path, root):
    """Start ``graphseg review``; gives process and address."""
    running = []

    def begin(*arguments):
        command = [sys.executable, "-m", "graphseg", "review", *arguments, "--no-browser"]
        environment = os.environ | {"PYTHONPATH": str(root)}
        options = {"cwd": tmp_path, "env": environment, "text": True}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
        running.append(process)
        return process, re.search(r"http\S+", process.stdout.readline())[0]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def capsule(start, end, diameter):
    """All pixels within half the diameter of a line between two pixels (row, column)."""
    position = np.stack(np.indices((SIDE, SIDE)), -1).astype(float)
    start, end = np.array(start), np.array(end)
    way = end - start
    along = np.clip((position - start) @ way / max(way @ way, 1), 0, 1)
    return np.linalg.norm(position - start - along[..., None] * way, axis=-1) <= diameter / 2


def drag(page, *pixels):
    """Drag the mouse over pixels (row, column)."""
    box = page.locator(".graphseg-overlay").bounding_box()
    scale = box["width"] / SIDE
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
    process, address = start("masks")
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
        painted, erased = (capsule((row, 40), (row, 90), 12) for row in (60, 200))
        expected = (expected | painted) & ~erased
        mask, reviewed = masks.read(names[0])
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(reviewed, painted | erased)
        assert page.problems == []
        process.kill()
        process.wait()
        drag(page, (20, 20), (30, 30))
        expect(page.locator(".graphseg-status")).to_contain_text("start it again")

        process, address = start("masks")
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


def test_labels_of_a_folder_are_painted_with_mouse_and_keys(tmp_path, start):
    expect.set_options(timeout=PATIENCE)
    images = tmp_path / "images"
    images.mkdir()
    for name, image in zip("ab", load.load_simulated_sample().images, strict=False):
        Image.fromarray((255 * image).astype(np.uint8)).save(images / f"{name}.png")
    saved = np.zeros((SIDE, SIDE), np.uint8)
    saved[10:20, 10:20] = 2
    Image.fromarray(saved).save(images / "b_LABEL.png")
    before = (images / "b_LABEL.png").read_bytes()
    process, address = start("images", "--classes", "boundary,vacuum")
    with browser.opened() as chromium:
        page = open_page(chromium, address)
        title, status = page.locator(".graphseg-name"), page.locator(".graphseg-status")
        expect(title).to_have_text("a (1 of 2; 1 accepted in all)")
        expect(page.get_by_text("Threshold")).to_be_hidden()
        # Two classes with the mouse; what was taken back comes back with a key.
        drag(page, (60, 40), (60, 90), (120, 90))
        page.keyboard.press("2")
        drag(page, (200, 40), (150, 90))
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_role("button", name="Redo")).to_have_attribute("aria-disabled", "false")
        page.keyboard.press("y")
        expect(page.get_by_role("button", name="Redo")).to_have_attribute("aria-disabled", "true")
        # With keys alone, from where the mouse has left the brush; then half erased.
        page.get_by_role("application").focus()
        for key in ("[", "[", "1", "ArrowUp", *["Shift+ArrowRight"] * 3, "Space"):
            page.keyboard.press(key)
        for key in ("e", "ArrowUp", "Space"):
            page.keyboard.press(key)
        for key in ("b", "h", "h", "+", "-", "0"):
            page.keyboard.press(key)
        idle(page)
        first = capsule((60, 40), (60, 90), 12) | capsule((60, 90), (120, 90), 12)
        first |= capsule((149, 120), (149, 120), 10)
        expected = np.where(capsule((200, 40), (150, 90), 12), 2, first.astype(np.uint8))
        expected[capsule((148, 120), (148, 120), 10)] = 0
        seen = page.locator(".graphseg-overlay").evaluate(SEEN)
        colours = {1: [0xD6, 0x27, 0x28, 255], 2: [0x00, 0x9E, 0x73, 255]}
        for value, colour in colours.items():
            shown = np.all(np.reshape(seen, (SIDE, SIDE, 4)) == colour, axis=-1)
            np.testing.assert_array_equal(shown, expected == value)
        assert not (images / "a_LABEL.png").exists()
        page.keyboard.press("a")
        expect(status).to_have_text("All 2 labels are accepted.")
        with Image.open(images / "a_LABEL.png") as label:
            np.testing.assert_array_equal(np.asarray(label), expected)
        # A label that was there is shown, and stays.
        page.keyboard.press("n")
        expect(status).to_contain_text("b_LABEL.png exists")
        drag(page, (60, 40), (60, 90))
        page.get_by_role("button", name="Accept").click()
        expect(status).to_contain_text("--overwrite")
        assert (images / "b_LABEL.png").read_bytes() == before
        assert page.problems == []
    process.send_signal(2)
    assert "1 of 2 labels accepted, 1 painted in part" in process.communicate(timeout=60)[0]

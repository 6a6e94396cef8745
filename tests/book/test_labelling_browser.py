"""The labelling widget in JupyterLab, painted with mouse and keys in a real browser."""

import json
import os
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from book.tools import browser
from graphseg.datasets import load

PATIENCE = 240_000  # ms; JupyterLab takes seconds to start, but minutes on a machine that is busy
# What anywidget says after 2 s; on a machine that is too busy the cell must be run again.
LATE = "[anywidget] Failed to initialize model."
SHAPE = (60, 96)  # of the images: not square, so that no axis can be mistaken for the other
ONE_CLASS = """
from graphseg.plotting.painter import LabelPainter

class Bright:
    def predict(self, images):
        return images > 200

LabelPainter("images", start=Bright(), brush=9)
"""
TWO_CLASSES = """
LabelPainter("images/first.png", classes=("boundary", "vacuum"), brush=9)
"""
LOCAL = ("http://127.0.0.1:", "http://localhost:", "data:", "blob:", "about:")
SEEN = """canvas => {
  const {width, height} = canvas;
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  return Array.from(data).filter((value, i) => i % 4 == 3);
}"""
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for JupyterLab with a notebook and two images, each with a bright rectangle."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "images").mkdir()
    rng = np.random.default_rng(3)
    for name, place in (("first", np.s_[40:50, 10:30]), ("second", np.s_[5:15, 60:90])):
        image = rng.integers(60, 160, SHAPE, dtype=np.uint8)
        image[place] = 230
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    cells = (ONE_CLASS, TWO_CLASSES)
    notebook.cells = [nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    nbformat.write(notebook, folder / "paint.ipynb")
    return folder


@pytest.fixture(scope="module")
def server(folder, root, tmp_path_factory):
    """The address of a JupyterLab of its own, reachable from this machine only."""
    home = tmp_path_factory.mktemp("jupyter")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    own = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "IPYTHONDIR": home / "ipython",
        "PYTHONPATH": root,
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0"]
    command += ["--ip=127.0.0.1", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    # Looking for language servers takes seconds.
    command += ["--ServerApp.jpserver_extensions={'jupyterlab': True, 'jupyter_lsp': False}"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            command, env=os.environ | {k: str(v) for k, v in own.items()}, cwd=folder,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield wait_for_address(process, home)
    finally:
        process.terminate()
        process.wait(60)


def wait_for_address(process, home):
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and process.poll() is None:
        for path in (home / "runtime").glob("jpserver-*.json"):
            return json.loads(path.read_text())["url"]
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not start:\n" + (home / "log").read_text()[-2000:])


@pytest.fixture(scope="module")
def page(server):
    """JupyterLab with the notebook open, in a browser that reaches nothing else."""
    with browser.opened() as chromium:
        page = chromium.new_page(viewport={"width": 1300, "height": 1200})
        page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        page.external, page.problems = [], []
        page.on("request", lambda r: r.url.startswith(LOCAL) or page.external.append(r.url))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(f"{server}lab/tree/paint.ipynb")
        # What is run before the kernel is connected gets lost.
        expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle")
        yield page


@pytest.fixture
def painter(page, folder):
    """A new painter, on the first of two images without labels."""
    return run(page, folder, 0)


def run(page, folder, cell):
    """Run a cell with no labels in the folder; return the painter that it shows."""
    for path in folder.glob("images/*_LABEL.png"):
        path.unlink()

    def start():
        page.evaluate(
            "document.querySelectorAll('.graphseg-painter').forEach(e => e.classList.add('old'))"
        )
        page.locator(".jp-Notebook .jp-Cell .cm-content").nth(cell).click()
        page.keyboard.press("Control+Enter")

    return shown(page, start)


def shown(page, start):
    """Return the painter that appears in the notebook after `start`."""
    painter = page.locator(".jp-Notebook .graphseg-painter:not(.old)[data-shown]").first
    for _ in range(5):
        start()
        deadline = time.monotonic() + PATIENCE / 4000
        while not painter.is_visible() and LATE not in page.problems:
            if time.monotonic() > deadline:  # JupyterLab gave up on asking the kernel
                break
            page.wait_for_timeout(100)
        page.problems = [problem for problem in page.problems if problem != LATE]
        if painter.is_visible():
            break
    painter.locator(".graphseg-status").scroll_into_view_if_needed()
    return painter


def stroke(page, painter, *pixels):
    """Drag the mouse over pixels (row, column)."""
    box = painter.locator(".graphseg-overlay").bounding_box()
    scale = box["width"] / SHAPE[1]
    for number, (row, column) in enumerate(pixels):
        page.mouse.move(box["x"] + (column + 0.5) * scale, box["y"] + (row + 0.5) * scale)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def save(painter, name):
    painter.get_by_role("button", name="Save").click()
    expect(painter.locator(".graphseg-status")).to_have_text(f"Saved {name}_LABEL.png.")


def seen(painter):
    """Where the label is shown."""
    values = painter.locator(".graphseg-overlay").evaluate(SEEN)
    return np.array(values).reshape(SHAPE) > 0


def capsule(start, end, diameter, shape=SHAPE):
    """All pixels within half the diameter of a line between two pixels."""
    position = np.stack(np.indices(shape), -1).astype(float)
    start, end = np.array(start), np.array(end)
    way = end - start
    along = np.clip((position - start) @ way / max(way @ way, 1), 0, 1)
    return np.linalg.norm(position - start - along[..., None] * way, axis=-1) <= diameter / 2


def bright(folder, name):
    return np.asarray(Image.open(folder / "images" / f"{name}.png")) > 200


def label(folder, name):
    with Image.open(folder / "images" / f"{name}_LABEL.png") as image:
        assert image.mode == "L"
        values = np.asarray(image)
    assert set(np.unique(values)) <= {0, 255}
    return values == 255


def test_a_stroke_is_painted_over_the_prediction_and_saved(page, painter, folder):
    stroke(page, painter, (20, 30), (20, 70))
    save(painter, "first")
    expected = bright(folder, "first") | capsule((20, 30), (20, 70), 9)
    np.testing.assert_array_equal(label(folder, "first"), expected)


def test_a_slanted_stroke_of_the_eraser_with_another_size(page, painter, folder):
    page.keyboard.press("Escape")
    painter.get_by_role("button", name="Eraser").click()
    painter.get_by_role("slider", name="Size").fill("5")
    stroke(page, painter, (38, 12), (52, 26))
    save(painter, "first")
    expected = bright(folder, "first") & ~capsule((38, 12), (52, 26), 5)
    np.testing.assert_array_equal(label(folder, "first"), expected)


def test_undo_and_redo(page, painter, folder):
    undo, redo = (painter.get_by_role("button", name=name) for name in ("Undo", "Redo"))
    expect(undo).to_have_attribute("aria-disabled", "true")
    stroke(page, painter, (10, 10), (10, 20))
    stroke(page, painter, (10, 15), (30, 15))
    expect(undo).to_have_attribute("aria-disabled", "false")
    undo.click()
    expect(redo).to_have_attribute("aria-disabled", "false")
    save(painter, "first")
    once = bright(folder, "first") | capsule((10, 10), (10, 20), 9)
    np.testing.assert_array_equal(label(folder, "first"), once)
    redo.click()
    expect(redo).to_have_attribute("aria-disabled", "true")
    painter.get_by_role("checkbox").check()
    save(painter, "first")
    np.testing.assert_array_equal(label(folder, "first"), once | capsule((10, 15), (30, 15), 9))


def test_what_is_seen_is_what_is_saved(page, painter, folder):
    stroke(page, painter, (5, 50), (45, 50), (45, 90))
    page.keyboard.press("z")
    expect(painter.get_by_role("button", name="Redo")).to_have_attribute("aria-disabled", "false")
    stroke(page, painter, (30, 5), (50, 40))
    save(painter, "first")
    np.testing.assert_array_equal(seen(painter), label(folder, "first"))


def test_a_label_is_not_replaced_unless_one_says_so(page, painter, folder):
    path = folder / "images" / "first_LABEL.png"
    path.write_bytes(b"precious")
    painter.get_by_role("button", name="Save").click()
    expect(painter.locator(".graphseg-status")).to_contain_text("exists")
    assert path.read_bytes() == b"precious"
    painter.get_by_role("checkbox", name="replace the saved label").check()
    save(painter, "first")
    np.testing.assert_array_equal(label(folder, "first"), bright(folder, "first"))
    expect(painter.get_by_role("checkbox")).not_to_be_checked()


def test_next_and_previous_keep_what_is_not_saved(page, painter, folder):
    stroke(page, painter, (10, 10), (10, 40))
    painter.get_by_role("button", name="Next").click()
    expect(painter.locator(".graphseg-name")).to_contain_text("second (2 of 2)")
    stroke(page, painter, (50, 50), (50, 60))
    save(painter, "second")
    painter.get_by_role("button", name="Previous").click()
    expect(painter.locator(".graphseg-name")).to_contain_text("first (1 of 2)")
    save(painter, "first")
    for name, line in (("first", ((10, 10), (10, 40))), ("second", ((50, 50), (50, 60)))):
        expected = bright(folder, name) | capsule(*line, 9)
        np.testing.assert_array_equal(label(folder, name), expected)
    assert len(load.load_folder(folder / "images")) == 2


def test_all_is_done_with_keys_alone(page, painter, folder):
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    painter.get_by_role("application").focus()
    for key in ("[", "[", "ArrowDown", "Shift+ArrowLeft", "Space", "ArrowRight", "Space"):
        page.keyboard.press(key)
    for key in ("e", "]", "b", "h", "h", "+", "-", "0"):  # which some notebooks would act on
        page.keyboard.press(key)
    page.keyboard.press("z")
    page.keyboard.press("s")
    expect(painter.locator(".graphseg-status")).to_have_text("Saved first_LABEL.png.")
    middle = (SHAPE[0] // 2 + 1, SHAPE[1] // 2 - 10)
    expected = bright(folder, "first") | capsule(middle, middle, 7)
    np.testing.assert_array_equal(label(folder, "first"), expected)
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    expect(painter.get_by_role("button", name="Brush")).to_have_attribute("aria-pressed", "true")


def test_several_classes_are_saved_as_their_numbers(page, folder):
    painter = run(page, folder, 1)
    stroke(page, painter, (20, 30), (20, 70))
    page.keyboard.press("2")
    stroke(page, painter, (40, 30), (40, 70))
    painter.get_by_role("combobox").select_option("boundary")
    stroke(page, painter, (20, 40), (30, 40))
    save(painter, "first")
    first, second = capsule((20, 30), (20, 70), 9), capsule((40, 30), (40, 70), 9)
    expected = np.select([first | capsule((20, 40), (30, 40), 9), second], [1, 2])
    with Image.open(folder / "images" / "first_LABEL.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    colours = painter.locator(".graphseg-overlay").evaluate(
        "c => [20, 40].map(row => [...c.getContext('2d').getImageData(50, row, 1, 1).data])"
    )
    assert colours == [[0xD6, 0x27, 0x28, 255], [0x00, 0x9E, 0x73, 255]]


def test_two_views_show_one_mask(page, painter, folder):
    page.locator(".jp-OutputArea-output").first.click(button="right", position={"x": 2, "y": 2})
    page.get_by_text("Create New View for Cell Output").click()
    other = page.locator(".jp-LinkedOutputView .graphseg-painter[data-shown]")
    other.wait_for()
    other.locator(".graphseg-status").scroll_into_view_if_needed()
    stroke(page, other, (20, 30), (20, 70))
    expected = bright(folder, "first") | capsule((20, 30), (20, 70), 9)
    np.testing.assert_array_equal(seen(other), expected)
    np.testing.assert_array_equal(seen(painter), expected)
    tab = page.locator(".lm-TabBar-tab", has_text="Output View")
    tab.locator(".lm-TabBar-tabCloseIcon").click()


def test_a_page_that_is_loaded_again_shows_what_python_holds(page, painter, folder):
    stroke(page, painter, (20, 30), (20, 70))
    save(painter, "first")
    stroke(page, painter, (10, 30), (10, 70))
    expect(painter.locator(".graphseg-name")).to_contain_text("*")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Control+s")
    expect(page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)
    painter = shown(page, page.reload)
    expected = bright(folder, "first") | capsule((20, 30), (20, 70), 9)
    expected |= capsule((10, 30), (10, 70), 9)
    np.testing.assert_array_equal(seen(painter), expected)


def test_nothing_came_from_elsewhere_and_nothing_failed(page):
    assert page.external == []
    assert page.problems == []

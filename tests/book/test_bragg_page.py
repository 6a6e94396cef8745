"""The Bragg filter that the page of chapter 3 computes: what the package does, and in time."""

import base64

import numpy as np
import pytest

from book.tools import explore
from graphseg import metrics
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets.load import load_simulated_sample
from graphseg.preprocessing import weighted_spectrum

TOLERANCE = 1e-3  # standard deviations of the image
FRAMES_PER_SECOND = 10
READY = """values => {
  const { graphseg } = document.querySelector(".explorer");
  return graphseg?.values && Object.entries(values ?? {}).every(
    ([name, value]) => graphseg.values[name] === value);
}"""
STATE = """() => {
  const { found, jaccard, values } = document.querySelector(".explorer").graphseg;
  const text = (array) => {
    const bytes = new Uint8Array(array.buffer);
    let all = "";
    for (let i = 0; i < bytes.length; i += 32768) {
      all += String.fromCharCode(...bytes.subarray(i, i + 32768));
    }
    return btoa(all);
  };
  const { lattice, difference, residual, mask, peaks, used } = found;
  return {
    jaccard, values, peaks, used, mask: text(mask),
    arrays: [lattice, difference, residual].map(text),
  };
}"""
# Moves a slider to and fro for a while; returns how many pictures were shown in it.
DRAG = """async () => {
  const element = document.querySelector(".explorer");
  const slider = element.querySelector("[data-control=width]");
  const before = element.graphseg.frames, begun = performance.now();
  for (let i = 0; performance.now() - begun < 3000; i++) {
    slider.value = 25 + i % 30;
    slider.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
  }
  return element.graphseg.frames - before;
}"""


@pytest.fixture(scope="module")
def sample():
    stack = load_simulated_sample()
    return stack.images[1], stack.masks[1], stack.pixel_size_of(1)


@pytest.fixture(scope="module")
def page(sample, browser, tmp_path_factory):
    """A page with nothing else, opened from its folder with the network off."""
    path = tmp_path_factory.mktemp("page") / "bragg.html"
    text = explore.bragg_explorer(*sample).data
    path.write_text(f"<!doctype html><meta charset='utf8'>{text}", encoding="utf8")
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 800})
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function(READY)
    yield page
    assert page.problems == []
    context.close()


def moved(page, **positions):
    """What the page has computed with sliders at these positions."""
    wanted = page.evaluate(
        """positions => {
          const element = document.querySelector(".explorer");
          const given = JSON.parse(element.querySelector("script[type]").textContent);
          const chosen = {};
          for (const control of element.querySelectorAll("[data-control]")) {
            const name = control.dataset.control;
            if (name in positions) control.value = positions[name];
            chosen[name] = given.values[name][control.value];
          }
          element.querySelector("[data-control]").dispatchEvent(new Event("input"));
          return chosen;
        }""",
        positions,
    )
    page.wait_for_function(READY, arg=wanted)
    return page.evaluate(STATE)


def array(text, dtype, shape):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


START = dict(width=40, threshold=40, level=40, pairs=12, smoothing=12)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"width": 0, "level": 20, "smoothing": 4},
        {"width": 80, "pairs": 24, "threshold": 0},
        {"width": 50, "threshold": 55, "smoothing": 24},
        {"pairs": 3, "smoothing": 0},
        {"threshold": 80, "level": 33},  # no peak is left
        {"pairs": 0, "level": 30},
    ],
    ids=str,
)
def test_all_panels_are_those_of_the_package(changed, page, sample):
    image, mask, _ = sample
    found = moved(page, **(START | changed))
    values = found["values"]
    segmenter = BraggSegmenter(
        aperture_width=values["width"],
        peak_threshold=values["threshold"],
        mask_threshold=values["level"],
        n_peaks=int(values["pairs"]),
        smoothing=values["smoothing"],
        progress=False,
    ).fit(image[None])
    parts = segmenter.decompose(image)
    assert found["used"] == parts.used.tolist()
    if len(parts.used):
        np.testing.assert_allclose(
            np.array(found["peaks"])[:, :2], parts.peaks.positions, atol=1e-3 / 256
        )
        np.testing.assert_allclose(np.array(found["peaks"])[:, 2], parts.peaks.heights, rtol=1e-3)
    expected = (parts.lattice, parts.image - parts.lattice, parts.residual)
    for text, wanted in zip(found["arrays"], expected, strict=True):
        assert np.abs(array(text, np.float32, image.shape) - wanted).max() <= TOLERANCE
    contaminated = array(found["mask"], np.uint8, image.shape).astype(bool)
    hard = segmenter.predict(image[None])[0]
    near = np.abs(parts.residual - values["level"]) <= TOLERANCE
    assert not np.any((contaminated != hard) & ~near)
    assert found["jaccard"] == pytest.approx(
        metrics.scores(metrics.counts(mask, hard))["jaccard"], abs=TOLERANCE
    )
    said = page.locator("[data-panel=errors] figcaption").inner_text()
    assert said == f"(h) error map: Jaccard {found['jaccard']:.3f}"


def pixels(page, name):
    """The colours of a canvas, (H, W, 3)."""
    text = page.locator(f"[data-panel={name}] canvas").evaluate(
        """canvas => {
          const { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          let all = "";
          for (const level of data) all += String.fromCharCode(level);
          return btoa(all);
        }"""
    )
    side = int(page.locator(f"[data-panel={name}] canvas").get_attribute("height"))
    return array(text, np.uint8, (side, -1, 4))[..., :3].astype(int)


def test_what_is_drawn_is_what_was_computed(page, sample):
    image, mask, _ = sample
    found = moved(page, **START)
    arrays = [array(text, np.float32, image.shape) for text in found["arrays"]]
    contaminated = array(found["mask"], np.uint8, image.shape).astype(bool)
    np.testing.assert_array_equal(pixels(page, "mask")[..., 0] > 127, contaminated)
    np.testing.assert_array_equal(pixels(page, "label")[..., 0] > 127, mask)
    np.testing.assert_array_equal(pixels(page, "errors"), metrics.error_map(mask, contaminated))
    whole = arrays[0] + arrays[1]
    low, high = np.percentile(whole, [0.5, 99.5])
    panels = {"micrograph": whole, "lattice": arrays[0], "difference": arrays[1]}
    limits = dict.fromkeys(panels, (low, high)) | {"residual": (0, arrays[2].max())}
    for name, values in (panels | {"residual": arrays[2]}).items():
        grey = 255 * np.clip((values - limits[name][0]) / np.ptp(limits[name]), 0, 1)
        assert np.abs(pixels(page, name)[..., 0] - grey).max() <= 1

    spectrum = weighted_spectrum(whole, 0.25, 0.7)
    shown = pixels(page, "spectrum")
    frequencies = (2 * (np.arange(256) + 0.5) / 256 - 1) * explore.SPECTRUM_LIMIT
    rows, columns = np.meshgrid(frequencies, frequencies, indexing="ij")
    right = columns > 0
    bins = (np.rint(256 * axis[right]).astype(int) for axis in (rows, columns))
    height = np.log10(np.maximum(spectrum[tuple(bins)] / spectrum.max(), 0.01))
    grey = 255 * (height / 2 + 1)
    marked = np.ptp(shown[right], axis=1) > 0  # circles are orange, crosses blue
    assert 0.01 < marked.mean() < 0.2
    assert np.abs(shown[right][~marked][:, 0] - grey[~marked]).max() <= 1


def test_it_follows_a_slider_ten_times_a_second(page, browser):
    """On one core that is free: the time of the browser's processes counts, not that of others."""
    session = browser.new_browser_cdp_session()

    def seconds():
        return sum(p["cpuTime"] for p in session.send("SystemInfo.getProcessInfo")["processInfo"])

    moved(page, **START)
    before = seconds()
    frames = page.evaluate(DRAG)
    used = seconds() - before
    session.detach()
    assert frames > 3
    assert frames / used >= FRAMES_PER_SECOND, f"{frames} pictures in {used:.2f} s"


def test_a_phone_shows_all_panels_and_a_keyboard_moves_them(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    slider = page.get_by_label("M", exact=True)
    slider.focus()
    before = page.locator("[data-panel=mask] figcaption").inner_text()
    said = slider.get_attribute("aria-valuetext")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    level = slider.get_attribute("aria-valuetext")
    assert float(level) < float(said)
    shown = "document.querySelector('.explorer').graphseg.values.level.toPrecision(3)"
    page.wait_for_function(f"level => Number({shown}) === Number(level)", arg=level)
    assert page.locator("[data-panel=mask] figcaption").inner_text() != before

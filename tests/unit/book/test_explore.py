"""The widgets: a picture from the start, and a new one when a slider moves."""

from io import BytesIO

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from book.tools import explore
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import find_peaks, in_units
from graphseg.errors import InputError


@pytest.fixture(scope="module")
def micrograph():
    rows, columns = np.indices((96, 128))
    waves = np.cos(0.8 * rows) + np.cos(0.4 * rows + 0.7 * columns)
    noise = np.random.default_rng(0).standard_normal(rows.shape)
    return (0.5 + 0.1 * waves + 0.05 * noise).astype(np.float32)


def picture(box):
    return np.asarray(Image.open(BytesIO(box.children[-1].value)).convert("RGB"))


def sliders(box):
    return {w.description: w for w in box.children[:-1]}


@pytest.mark.parametrize(
    ("description", "end"),
    [("σ (1/px)", "max"), ("G", "max"), ("M", "min"), ("pairs of peaks", "min")],
)
def test_the_bragg_explorer_redraws_when_a_slider_moves(micrograph, description, end):
    mask = np.zeros(micrograph.shape, bool)
    mask[:30, :40] = True
    box = explore.bragg_explorer(micrograph, mask=mask, pixel_size=0.3)
    first = picture(box)
    assert first.std() > 10  # not an empty page
    slider = sliders(box)[description]
    # Sliders with a logarithmic scale have the exponents of ten of their ends.
    slider.value = getattr(slider, end) if "pairs" in description else 10 ** getattr(slider, end)
    second = picture(box)
    assert first.shape == second.shape
    assert (first != second).any(axis=2).mean() > 0.002


def test_the_bragg_explorer_starts_where_the_segmenter_was_fitted(micrograph):
    segmenter = BraggSegmenter(
        aperture_width=0.01, peak_threshold=90.0, mask_threshold=0.35, n_peaks=7, smoothing=3.0
    ).fit(micrograph[None])
    found = segmenter.predict(micrograph[None]).mean()
    box = explore.bragg_explorer(micrograph, segmenter)
    values = {name: slider.value for name, slider in sliders(box).items()}
    assert values == pytest.approx({"σ (1/px)": 0.01, "G": 90.0, "M": 0.35, "pairs of peaks": 7})
    assert 0 < found < 1
    assert segmenter.get_params()["aperture_width"] == 0.01  # the caller's object is left alone


def test_the_picture_is_part_of_the_saved_state(micrograph):
    box = explore.bragg_explorer(micrograph)
    state = widgets.Widget.get_manager_state(drop_defaults=True)["state"]
    saved = state[box.children[-1].model_id]
    assert saved["model_name"] == "ImageModel"
    assert saved["buffers"][0]["path"] == ["value"]


def test_the_flat_field_explorer_redraws_and_says_what_is_wrong(micrograph):
    gradient = micrograph + np.linspace(0, 1, 96, dtype=np.float32)[:, None]
    box = explore.flat_field_explorer(gradient)
    first = picture(box)
    sliders(box)["degree, rows"].value = 0
    assert (picture(box) != first).any(axis=2).mean() > 0.01
    dark = explore.flat_field_explorer(gradient - 0.6)
    assert picture(dark).std() > 1  # a sentence instead of three images


def test_the_spectrum_circles_peaks_in_use_and_crosses_out_the_others(micrograph):
    heights = find_peaks(in_units(micrograph, "standardised"), 6).heights
    segmenter = BraggSegmenter(n_peaks=6, peak_threshold=float(heights[2])).fit(micrograph[None])
    parts = segmenter.decompose(micrograph)
    assert parts.used.sum() == 3
    axes = Figure().subplots()
    explore.show_spectrum(axes, parts, 1 / 64)
    circles = np.array([c.center for c in axes.patches])  # (x, y) = (column, row)
    assert len(circles) == 2 * parts.used.sum()
    assert len(axes.lines) == 2 * (~parts.used).sum()
    wave = np.array([0.0, 0.8]) / (2 * np.pi)
    assert np.hypot(*(circles - wave).T).min() < 0.5 / 96
    shown = axes.images[0]
    brightest = np.unravel_index(shown.get_array().argmax(), shown.get_array().shape)
    left, right, bottom, top = shown.get_extent()
    rows, columns = shown.get_array().shape
    row = top + (brightest[0] + 0.5) / rows * (bottom - top)
    column = left + (brightest[1] + 0.5) / columns * (right - left)
    assert np.hypot(*(circles - [column, row]).T).min() < 1.5 / 96


def test_the_threshold_explorer_redraws_with_and_without_a_label(micrograph):
    probability = np.linspace(0, 1, micrograph.size).reshape(micrograph.shape)
    for mask in (None, probability > 0.7):
        box = explore.threshold_explorer(micrograph, probability, mask)
        first = picture(box)
        sliders(box)["threshold"].value = 0.9
        assert (picture(box) != first).any(axis=2).mean() > 0.02


def test_a_stack_cannot_be_explored(micrograph):
    for explorer in (explore.bragg_explorer, explore.flat_field_explorer):
        with pytest.raises(InputError, match=r"expected shape \(H, W\), got"):
            explorer(micrograph[None])
    with pytest.raises(InputError, match=r"expected shape \(96, 128\), got \(95, 128\)"):
        explore.threshold_explorer(micrograph, micrograph[:-1])

"""The pictures that follow controls: one for each position, and controls that say what is shown.

That they move, and that the Bragg filter computes what the package does, is in tests/book.
"""

import base64
import html
import itertools
import json
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from book.tools import controls, explore
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import in_units
from graphseg.errors import InputError
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import image_of

PIXEL = 0.35


@pytest.fixture(scope="module")
def micrograph():
    rows, columns = np.indices((96, 128))
    waves = np.cos(0.8 * rows) + np.cos(0.4 * rows + 0.7 * columns)
    noise = np.random.default_rng(0).standard_normal(rows.shape)
    return (0.5 + 0.1 * waves + 0.05 * noise).astype(np.float32)


@pytest.fixture(scope="module")
def crystalline():
    sheet = crystal(28 + 12, 0.2, low=-12.0)
    rng = np.random.default_rng(0)
    return image_of(sheet.positions, sheet.numbers, 28.0, PIXEL, dose=1e4, rng=rng, margin=16)


def given(page):
    """What the script of a page is given."""
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page.data, re.S)
    return json.loads(text)


def pictures(page):
    frames = given(page)["frames"]
    (first,) = re.findall(r'<img src="data:image/webp;base64,([^"]*)"', page.data)
    assert frames[start(page)] is None and frames.count(None) == 1  # it is on the page already
    files = [BytesIO(base64.b64decode(frame or first)) for frame in frames]
    return [np.asarray(Image.open(file).convert("RGB"), int) for file in files]


def start(page):
    """Which of the pictures is the first, according to the only control."""
    (value,) = re.findall(r'value="(\d+)"(?: aria-valuetext| selected)', page.data)
    return int(value)


def simple(alt="Nothing"):
    """Three pictures, of which the last cannot be drawn."""

    def draw(figure, number):
        if number == 2:
            raise InputError("The number is too large; take a smaller one.")

    control = controls.Control("number", range(3), 1, ["none", "<one>", "two"])
    return controls.frames(draw, {"number": control}, (2, 1), alt)


def changes(page, label):
    """Fractions of pixels that change from picture to picture; there is one for each text."""
    frames, texts = pictures(page), given(page)["texts"]
    assert given(page)["labels"] == {name: label for name in texts}
    assert len(frames) == np.prod([len(column) for column in texts.values()])
    assert len({frame.shape for frame in frames}) == 1
    assert frames[0].std() > 10  # not an empty page
    return [np.mean(np.abs(a - b).max(axis=2) > 40) for a, b in itertools.pairwise(frames)]


def test_controls_are_disabled_until_the_scripts_run(micrograph):
    for page in (simple(), explore.bragg_explorer(micrograph)):
        disabled = re.findall(r"<(?:input|select)[^>]*data-control[^>]*>", page.data)
        assert disabled and all(" disabled" in control for control in disabled)
        assert "need JavaScript" in page.data
        texts = given(page)["texts"].values()
        shown = [
            html.unescape(text) for text in re.findall(r"<output[^>]*>(.*?)</output>", page.data)
        ]
        places = re.findall(r'value="(\d+)" aria-valuetext', page.data)
        assert shown == [column[int(at)] for column, at in zip(texts, places, strict=True)]


def test_the_same_picture_gives_the_same_page():
    assert simple().data == simple().data
    assert simple(alt="Other words").data != simple().data


def test_what_cannot_be_drawn_is_a_sentence():
    assert [picture.std() > 1 for picture in pictures(simple())] == [False, False, True]


def test_a_degree_moves_the_background(micrograph):
    gradient = micrograph + np.linspace(0, 1, 96, dtype=np.float32)[:, None]
    page = explore.flat_field_explorer(gradient)
    assert changes(page, "degree")[0] > 0.01


def test_a_threshold_moves_the_mask_with_and_without_a_label(micrograph):
    probability = np.linspace(0, 1, micrograph.size).reshape(micrograph.shape)
    for mask in (None, probability > 0.7):
        moved = changes(explore.threshold_explorer(micrograph, probability, mask), "threshold")
        assert min(moved) > 0.005


def test_a_threshold_moves_the_ranking():
    rng = np.random.default_rng(0)
    probabilities = rng.random((6, 8, 8)).astype(np.float32)
    page = explore.ranking_explorer(probabilities, rng.random(6))
    assert given(page)["texts"]["threshold"][start(page)] == "0.50"
    assert max(changes(page, "threshold")) > 0.0005
    with pytest.raises(InputError, match="labelled"):
        explore.ranking_explorer(probabilities, rng.random(5))


def test_a_threshold_moves_the_classes(crystalline):
    probability = np.zeros(crystalline.shape, np.float32)
    probability[:, :30] = 0.7
    moved = changes(explore.classes_explorer(crystalline, probability), "threshold")
    assert np.argmax(moved) == 3 and moved[3] > 0.02  # from 0.67 to 0.83


def test_a_mask_hides_atoms(crystalline):
    none = np.zeros(crystalline.shape, bool)
    half = none.copy()
    half[:, :40] = True
    page = explore.atoms_explorer(crystalline, {"<none>": none, "half": half}, 2.46 / PIXEL)
    assert "&lt;none&gt;</option>" in page.data
    assert changes(page, "mask")[0] > 0.02


def test_a_dose_changes_the_picture():
    assert min(changes(explore.dose_explorer(size=64), "dose (electrons per Å²)")) > 0.02


def test_the_bragg_filter_starts_where_the_segmenter_was_fitted(micrograph):
    settings = dict(aperture_width=0.01, peak_threshold=90.0, mask_threshold=0.35)
    more = dict(n_peaks=30, smoothing=3.3, padding=20, peak_blur=1.0, window_taper=0.5)
    segmenter = BraggSegmenter(**settings, **more).fit(micrograph[None])
    page = explore.bragg_explorer(micrograph, segmenter=segmenter)
    found, places = given(page), re.findall(r'value="(\d+)" aria-valuetext', page.data)
    first = [column[int(at)] for column, at in zip(found["values"].values(), places, strict=True)]
    assert first == [0.01, 90.0, 0.35, 30, 3.3]
    assert (found["padding"], found["peakBlur"], found["taper"]) == (20, 1.0, 0.5)
    assert segmenter.get_params()["aperture_width"] == 0.01  # the caller's object is left alone
    without = BraggSegmenter(lattice_filter=False).fit(micrograph[None])
    page = explore.bragg_explorer(micrograph, segmenter=without)
    assert re.findall(r'data-control="pairs"[^>]*value="(\d+)"', page.data) == ["0"]


def test_the_bragg_filter_gets_image_and_label(micrograph):
    label = np.zeros(micrograph.shape, bool)
    label[10:30, 5:41] = True
    found = given(explore.bragg_explorer(micrograph, label, 0.3))
    levels = np.frombuffer(base64.b64decode(found["image"]), "<u2").reshape(micrograph.shape)
    image = found["lowest"] + found["step"] * levels
    np.testing.assert_allclose(image, in_units(micrograph, "standardised"), atol=2e-4)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(found["label"]), np.uint8))
    np.testing.assert_array_equal(bits.reshape(label.shape), label)
    with_label, without = (
        re.findall(r'data-panel="(\w+)"', explore.bragg_explorer(micrograph, *more).data)
        for more in ((label,), ())
    )
    assert with_label == [*without, "label", "errors"]
    assert len(with_label) == len(explore.PANELS) == 8


def test_what_cannot_be_explored_is_refused(micrograph):
    for explorer in (explore.bragg_explorer, explore.flat_field_explorer):
        with pytest.raises(InputError, match=r"expected shape \(H, W\), got"):
            explorer(micrograph[None])
    with pytest.raises(InputError, match=r"expected shape \(96, 128\), got \(95, 128\)"):
        explore.threshold_explorer(micrograph, micrograph[:-1])
    with pytest.raises(InputError, match=r"label does not match the image"):
        explore.bragg_explorer(micrograph, micrograph[:-1] > 0)
    with pytest.raises(InputError, match=r"has \(63, 128\) pixels; the page takes 64 to 1024"):
        explore.bragg_explorer(micrograph[:63])
    larger = BraggSegmenter(combine="max").fit(micrograph[None])
    with pytest.raises(InputError, match='choose combine="sum"'):
        explore.bragg_explorer(micrograph, segmenter=larger)

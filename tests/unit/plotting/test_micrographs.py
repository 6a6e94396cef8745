"""Figures show what they are given, in the agreed colours, and repeat byte by byte."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from graphseg.colours import CLASS_COLOURS, ERROR_COLOURS
from graphseg.metrics import error_map
from graphseg.plotting import micrographs


@pytest.fixture
def axes():
    with matplotlib.rc_context():
        micrographs.use_style()
        yield Figure(figsize=(3, 3), dpi=100).add_subplot()


def bar_of(axes):
    return next(patch for patch in axes.patches if patch.get_gid() == "scale-bar")


@pytest.mark.parametrize(
    ("width", "pixel_size", "length", "label"),
    [
        (256, None, 50, "50 px"),
        (256, 0.3, 20 / 0.3, "2 nm"),
        (256, 0.1, 5 / 0.1, "5 Å"),
        (2048, 0.5, 200 / 0.5, "20 nm"),
        (300, None, 100, "100 px"),
    ],
)
def test_scale_bars_are_round_and_at_most_a_third(width, pixel_size, length, label):
    assert micrographs.scale_bar_length(width, pixel_size) == (pytest.approx(length), label)
    assert length <= width / 3 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("pixel_size", "label"), [(0.4, "2 nm"), (None, "50 px"), (np.nan, "50 px")]
)
def test_a_micrograph_has_a_scale_bar_of_the_right_length(axes, pixel_size, label):
    image = np.random.default_rng(0).random((200, 256))
    shown = micrographs.show_micrograph(axes, image, pixel_size, title="A title")
    assert axes.texts[0].get_text() == label
    assert bar_of(axes).get_width() == pytest.approx(50)
    np.testing.assert_array_equal(shown.get_array(), image)
    assert axes.get_title() == "A title"
    assert len(axes.get_xticks()) == 0


def test_the_outline_of_a_mask_follows_its_edge(axes):
    mask = np.zeros((40, 40), bool)
    mask[10:30, 5:20] = True
    micrographs.overlay_mask(axes, mask, tint=0.5)
    outline = axes.collections[0].get_paths()[0].vertices  # (x, y)
    np.testing.assert_allclose(outline.min(axis=0), [4.5, 9.5])
    np.testing.assert_allclose(outline.max(axis=0), [19.5, 29.5])
    tint = axes.images[0].get_array()
    assert (tint[..., 3] == np.where(mask, 0.5, 0)).all()


@pytest.mark.parametrize("value", [False, True])
def test_masks_without_an_edge_draw_no_outline(axes, value):
    micrographs.overlay_mask(axes, np.full((8, 8), value))
    assert not axes.collections


def test_the_legend_of_errors_names_the_colours_of_the_error_map(axes):
    truth, predicted = np.array([[1, 0, 0, 1]], bool), np.array([[1, 0, 1, 0]], bool)
    shown = micrographs.show_picture(axes, error_map(truth, predicted))
    order = ("true positive", "true negative", "false positive", "false negative")
    expected = [[round(255 * c) for c in to_rgb(ERROR_COLOURS[name])] for name in order]
    np.testing.assert_array_equal(shown.get_array()[0], expected)
    micrographs.add_error_legend(axes.figure)
    texts = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert texts == list(order)


def test_classes_have_four_different_colours(axes):
    colours = {to_rgb(colour) for colour in CLASS_COLOURS.values()}
    assert len(colours) == 4
    micrographs.add_class_legend(axes.figure, ["lattice", "contamination"])
    texts = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert texts == ["lattice", "contamination"]


@pytest.mark.parametrize("form", ["svg", "png"])
def test_the_same_figure_gives_the_same_bytes(form):
    def draw():
        with matplotlib.rc_context():
            micrographs.use_style()
            figure = Figure()
            axes = figure.add_subplot()
            image = np.random.default_rng(1).random((64, 64))
            micrographs.show_micrograph(axes, image, 0.4)
            micrographs.overlay_mask(axes, image > 0.9)
            stream = io.BytesIO()
            micrographs.save(figure, stream, form)
            return stream.getvalue()

    first = draw()
    assert len(first) > 1000
    assert first == draw()

"""The rebuilt figures of the paper show what was computed, chosen by their rules."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from book.tools import codecs, figures, paper_figures
from graphseg.batch.ranking import rank
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import find_peaks, in_units
from graphseg.colours import CLASS_COLOURS
from graphseg.datasets.load import load_simulated_sample
from graphseg.structure.boundaries import Boundary
from graphseg.structure.classes import ClassMap


def panels(rows, columns):
    return Figure().subplots(rows, columns, squeeze=False)


def filled(name, pixels):
    """A class map with a number of pixels of one class, the rest lattice."""
    labels = np.zeros((10, 10), np.uint8)
    labels.flat[:pixels] = list(CLASS_COLOURS).index(name)
    return ClassMap(labels, (), 3.0)


def test_the_bragg_filter_has_seven_panels():
    stack = load_simulated_sample()
    segmenter = BraggSegmenter(progress=False).fit(stack.images[:1])
    axes = panels(1, 7)[0]
    paper_figures.show_bragg_steps(axes, segmenter, stack.images[0], stack.masks[0], 0.35)
    assert [ax.get_title()[:3] for ax in axes] == [f"({letter})" for letter in "abcdefg"]
    parts = segmenter.decompose(stack.images[0])
    shown = [ax.images[0].get_array() for ax in axes]
    np.testing.assert_array_equal(shown[2], parts.lattice)
    np.testing.assert_allclose(shown[0] - shown[2], shown[3])
    np.testing.assert_array_equal(shown[4], parts.residual)
    np.testing.assert_array_equal(shown[5], segmenter.predict(stack.images[:1])[0])
    np.testing.assert_array_equal(shown[6], stack.masks[0])


def test_the_spectrum_circles_peaks_in_use_and_crosses_out_the_others():
    rows, columns = np.indices((96, 128))
    waves = np.cos(0.8 * rows) + np.cos(0.4 * rows + 0.7 * columns)
    noise = np.random.default_rng(0).standard_normal(rows.shape)
    micrograph = (0.5 + 0.1 * waves + 0.05 * noise).astype(np.float32)
    heights = find_peaks(in_units(micrograph, "standardised"), 6).heights
    segmenter = BraggSegmenter(n_peaks=6, peak_threshold=float(heights[2])).fit(micrograph[None])
    parts = segmenter.decompose(micrograph)
    assert parts.used.sum() == 3
    axes = Figure().subplots()
    paper_figures.show_spectrum(axes, parts, 1 / 64)
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


def test_six_examples_are_two_of_each_kind_and_none_twice():
    kinds = ["boundary", "vacuum", "contamination"] * 2 + ["boundary", "lattice"]
    pixels = [9, 5, 50, 8, 6, 60, 7, 0]
    maps = {n: filled(*pair) for n, pair in enumerate(zip(kinds, pixels, strict=True))}
    assert paper_figures.six_examples(maps) == [0, 3, 4, 1, 5, 2]
    assert paper_figures.six_examples({4: maps[4]}) == [4]


def test_class_maps_have_the_papers_colours():
    axes = panels(2, 2)
    maps = {0: filled("contamination", 20), 1: filled("boundary", 20)}
    paper_figures.show_four_classes(axes, [np.eye(10), np.eye(10)], maps)
    for column, name in enumerate(("contamination", "boundary")):
        pixel = axes[1, column].images[0].get_array()[0, 0] / 255
        np.testing.assert_allclose(pixel, mpl.colors.to_rgb(CLASS_COLOURS[name]), atol=1 / 255)


def test_misorientations_are_counted_in_degrees():
    axes = panels(1, 1)[0, 0]
    line = np.zeros((2, 2))
    turns = np.radians([5.0, 5.5, 29.9])
    paper_figures.show_misorientations(axes, [boundary(line, turn) for turn in turns])
    heights = [patch.get_height() for patch in axes.patches]
    assert heights == [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def boundary(positions, misorientation):
    given = {name: None for name in Boundary.__dataclass_fields__}
    return Boundary(**given | {"positions": positions, "misorientation": misorientation})


def test_a_subset_runs_from_the_cleanest_to_the_least_clean():
    fractions = np.linspace(0.1, 1.0, 10)
    ranking = rank([f"{n}" for n in range(10)], fractions)
    images = [np.full((8, 8), n) + np.eye(8) for n in range(10)]
    masks = np.zeros((10, 8, 8), bool)
    axes = panels(2, 2)
    figures.show_subset(axes, ranking, images, masks, [None] * 10)
    assert [ax.get_title() for ax in axes.flat] == ["100 %", "70 %", "40 %", "10 %"]


def test_few_images_leave_panels_empty():
    ranking = rank(["a", "b"], [0.2, 0.4])
    axes = panels(2, 2)
    images, masks = [np.eye(8)] * 2, np.zeros((2, 8, 8), bool)
    figures.show_subset(axes, ranking, images, masks, [None, None])
    assert [ax.axison for ax in axes.flat] == [True, True, False, False]


@pytest.mark.parametrize(("row", "column"), [(0, 0), (12, 3), (17, 17)])
def test_the_largest_difference_is_found_inside_of_the_image(row, column):
    first, second = np.zeros((2, 24, 24), bool)
    second[row : row + 7, column : column + 7] = True
    box = paper_figures.largest_difference(first, second, side=8)
    assert second[box].sum() == 49
    assert first[box].shape == (8, 8)


def test_run_lengths_of_known_rows():
    images = np.zeros((1, 2, 300), np.uint8)
    images[0, 1, 100:] = 7
    # 400 zeros are two runs, 200 sevens one: three times value and length.
    assert codecs.run_length_size(images) == 6
    noise = np.arange(600, dtype=np.uint8).reshape(1, 2, 300)
    assert codecs.run_length_size(noise) == 2 * noise.nbytes

"""Samples carry exact truth, repeat exactly, and obey the statistics of counting."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

from book.studies.configurations import ABLATION
from graphseg.errors import InputError
from graphseg.simulation import samples as truth
from graphseg.simulation.configuration import GRAPHENE, HEXAGONAL_BORON_NITRIDE, MOS2
from graphseg.simulation.contaminant import NOTHING, draw_contaminant
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import bicrystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import image_of, simulate

SMALL = replace(GRAPHENE, size=64)
PIXEL = 0.4


@pytest.fixture(scope="module")
def samples():
    return [simulate(5, index, replace(GRAPHENE, size=128)) for index in range(6)]


def equal(first, second):
    return first.conditions == second.conditions and all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("image", "mask", "physical_mask", "vacuum", "boundary", "orientation",
                     "positions", "bonds", "numbers", "grains")
    )  # fmt: skip


def test_types_shapes_and_ranges(samples):
    for sample in samples:
        for name in ("image", "mask", "physical_mask", "vacuum", "boundary", "orientation"):
            assert getattr(sample, name).shape == (128, 128)
        for name in ("mask", "physical_mask", "vacuum", "boundary"):
            assert getattr(sample, name).dtype == bool
        assert sample.image.dtype == sample.orientation.dtype == np.float32
        levels = sample.image * np.float32(255)
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
        assert (sample.image.min(), sample.image.max()) == (0, 1)
        assert GRAPHENE.pixel_size[0] <= sample.pixel_size <= GRAPHENE.pixel_size[1]
        assert (sample.orientation >= 0).all()
        assert (sample.orientation < np.pi / 3 + 1e-6).all()
        number = len(sample.positions)
        assert sample.positions.shape == (number, 2)
        assert len(sample.numbers) == len(sample.grains) == number
        assert sample.bonds.max() < number
    assert len({sample.name for sample in samples}) == len(samples)


def test_bonds_have_the_length_of_graphene(samples):
    for sample in samples:
        ends = sample.positions[sample.bonds] * sample.pixel_size
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        assert np.median(lengths) == pytest.approx(1.42, rel=0.012)


def test_neither_order_nor_company_changes_a_sample():
    here = [simulate(9, index, SMALL) for index in range(3)]
    for index in (2, 0, 1):
        assert equal(here[index], simulate(9, index, SMALL))
    assert not equal(here[0], here[1])
    assert not equal(here[0], simulate(10, 0, SMALL))


@pytest.fixture(scope="module")
def scene():
    """A bicrystal with a hole, contaminated; its maps; distances of pixels to its atoms, Å."""
    layer = bicrystal(60.0, (0.1, 0.5), normal=0.3)
    layer = layer.keep(np.hypot(*(layer.positions - [15.0, 14.0]).T) > 8)
    ranges = replace(GRAPHENE.contaminant, clean_fraction=0.0, chains=0.0)
    contaminant = draw_contaminant(np.random.default_rng(4), 0.0, 60.0, (0.0, 60.0), ranges)
    maps = truth.truth_maps(layer, contaminant, 150, PIXEL, growth=1.5)
    pixels = np.stack(np.indices((150, 150)), axis=-1) * PIXEL

    def distance(points):
        return cKDTree(points).query(pixels)[0]

    return layer, contaminant, maps, distance


def test_the_physical_mask_is_the_neighbourhood_of_contaminant_atoms(scene):
    _, contaminant, maps, distance = scene
    away = distance(contaminant.positions)
    # The grid of the distances has cells of 0.7 Å; within their diagonal either is right.
    assert maps["physical_mask"][away < 1.42 - 1.0].all()
    assert not maps["physical_mask"][away > 1.42 + 1.0].any()
    assert (maps["physical_mask"] == (away < 1.42)).mean() > 0.95


def test_the_outline_holds_the_patches_and_grows_little(scene):
    _, contaminant, maps, distance = scene
    away = distance(contaminant.positions[~contaminant.overlooked])
    assert 0.03 < maps["mask"].mean() < 0.8
    assert maps["mask"][away < 0.3].mean() > 0.97  # all but specks of a few atoms
    outside = away[maps["mask"] & ~maps["physical_mask"]]
    assert outside.max() < 6  # gaps inside
    edge = maps["mask"] ^ np.pad(maps["mask"], 1)[:-2, 1:-1]
    assert np.median(away[edge]) == pytest.approx(1.5, abs=0.7)


def test_the_vacuum_is_where_no_atom_is(scene):
    layer, contaminant, maps, distance = scene
    away = distance(np.concatenate([layer.positions, contaminant.positions]))
    middle = np.hypot(*(np.indices((150, 150)) * PIXEL - np.reshape([15, 14], (2, 1, 1)))) < 6
    hidden = distance(contaminant.positions) < 4
    assert maps["vacuum"][middle & ~hidden].all()
    assert away[maps["vacuum"]].min() > 0.3
    inside = np.zeros((150, 150), bool)
    inside[8:-8, 8:-8] = True
    assert not maps["vacuum"][inside & (distance(layer.positions) < 0.3)].any()
    assert maps["vacuum"][inside].mean() < 0.1


def test_boundary_and_orientation_follow_the_grains(scene):
    maps = scene[2]
    pixels = np.indices((150, 150)) * PIXEL
    side = (pixels[0] - 30) * np.sin(0.3) + (pixels[1] - 30) * np.cos(0.3)
    assert maps["boundary"][np.abs(side) < 1].mean() > 0.9
    assert not maps["boundary"][np.abs(side) > 8].any()
    np.testing.assert_allclose(maps["orientation"][side < -6], 0.1, rtol=1e-6)
    np.testing.assert_allclose(maps["orientation"][side > 6], 0.5, rtol=1e-6)
    one = truth.truth_maps(crystal(60.0, 1.2), NOTHING, 150, PIXEL, growth=1.0)
    assert not (one["boundary"] | one["mask"] | one["physical_mask"]).any()
    np.testing.assert_allclose(one["orientation"], 1.2 - np.pi / 3, rtol=1e-6)


def test_counts_are_poisson():
    image = image_of(np.zeros((0, 2)), 6, 100.0, PIXEL, dose=2000.0, rng=np.random.default_rng(0))
    expected = 2000 * PIXEL**2
    assert image.mean() == pytest.approx(1, abs=4 / np.sqrt(expected * image.size))
    assert image.var() * expected == pytest.approx(1, abs=0.03)
    counts = image * expected
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-2)


def test_positions_mark_bright_atoms():
    layer = crystal(68.0, 0.2, low=-8.0)
    image = image_of(layer.positions, layer.numbers, 60.0, PIXEL, dose=np.inf, margin=16)
    assert image.shape == (150, 150)
    pixels = np.rint(layer.positions / PIXEL).astype(int)
    pixels = pixels[((pixels > 3) & (pixels < 146)).all(axis=1)]
    assert image[tuple(pixels.T)].min() > np.median(image)
    noisy = image_of(
        layer.positions, 6, (60.0, 40.0), PIXEL, Conditions(defocus=25.0), 1e4,
        np.random.default_rng(1), margin=16,
    )  # fmt: skip
    assert noisy.shape == (150, 100)
    pixels = pixels[pixels[:, 1] < 97]
    assert noisy[tuple(pixels.T)].mean() < np.median(noisy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": np.zeros(4)}, "shape"),
        ({"positions": np.zeros((1, 2)), "dose": 100.0}, "rng"),
    ],
)
def test_unusable_input_is_an_error(arguments, message):
    with pytest.raises(InputError, match=message):
        image_of(numbers=6, extent=10.0, pixel_size=PIXEL, **arguments)


def test_one_changed_configuration_is_another_material_or_magnification():
    one_grain = replace(GRAPHENE.crystal, grain_fractions=(1.0,))
    nitride = replace(HEXAGONAL_BORON_NITRIDE, size=64, pixel_size=(0.2, 0.2), crystal=one_grain)
    nitride = simulate(3, 1, nitride)
    sulphide = simulate(3, 1, replace(MOS2, size=64, crystal=one_grain))
    assert set(sulphide.numbers) == {16, 42}
    assert set(nitride.numbers) == {5, 7}
    assert nitride.pixel_size == 0.2
    # Rings of the larger lattice are no holes; this frame has none.
    assert sulphide.vacuum.mean() < 0.01
    for sample, constant in ((sulphide, 3.16), (nitride, 2.504)):
        ends = sample.positions[sample.bonds] * sample.pixel_size
        lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        assert np.median(lengths) == pytest.approx(constant / np.sqrt(3), rel=0.012)


def test_the_ablation_ends_with_the_final_generator():
    configurations = list(ABLATION.values())
    assert configurations[-1] is GRAPHENE
    naive = simulate(0, 0, replace(configurations[0], size=64))
    assert naive.pixel_size == 0.4
    assert len(naive.angles) == 1
    changed = [
        sum(getattr(a, part) != getattr(b, part) for part in
            ("crystal", "contaminant", "optics", "detector"))
        for a, b in pairwise(configurations)
    ]  # fmt: skip
    assert changed == [1, 1, 1, 1]

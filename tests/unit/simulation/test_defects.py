"""Loops, chains and divacancies have the rings they promise, and nothing on top is labelled."""

from dataclasses import replace

import numpy as np
import pytest

from book.studies.configurations import LAYERS, NO_DEFECTS
from graphseg.simulation import defects
from graphseg.simulation.configuration import DEFECTS, GRAPHENE
from graphseg.simulation.contaminant import LAYER_DISTANCE
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import EDGE, polycrystal
from graphseg.simulation.samples import simulate
from graphseg.structure.rings import find_rings

MIDDLE = np.array([30.0, 30.0])


def one_grain(positions):
    return np.zeros(len(positions), int)


def loop(radius, turn, about_ring):
    given = [(MIDDLE, radius, turn, about_ring)]
    return polycrystal(
        -EDGE,
        60 + EDGE,
        *_ordered(defects.with_loops([0.2], [np.zeros(2)], one_grain, given, GRAPHENE)),
    )


def _ordered(parts):
    angles, origins, grain_at = parts
    return angles, grain_at, origins


def irregular(layer, reach=25.0):
    """Return the numbers of rings of each size but six near the middle."""
    rings = find_rings(layer.positions, layer.bonds)
    near = np.hypot(*(rings.centres - MIDDLE).T) < reach
    sizes, counts = np.unique(rings.sizes[near], return_counts=True)
    return {int(s): int(c) for s, c in zip(sizes, counts, strict=True) if s != 6}


@pytest.mark.parametrize("radius", [2.6, 3.5, 5.0])
def test_the_flower_defect_has_six_fives_and_six_sevens_and_six_fold_symmetry(radius):
    layer = loop(radius, np.pi / 6, True)
    assert irregular(layer) == {5: 6, 7: 6}
    rings = find_rings(layer.positions, layer.bonds)
    centre = rings.centres[np.hypot(*(rings.centres - MIDDLE).T).argmin()]
    away = rings.centres[rings.sizes == 5] - centre
    distance, angle = np.hypot(*away.T), np.sort(np.arctan2(*away.T))
    np.testing.assert_allclose(distance, distance.mean(), rtol=0.02)
    np.testing.assert_allclose(np.diff(angle), np.pi / 3, atol=0.03)
    # No atom is missing: the sheet has as many as a perfect one.
    perfect = crystal(60 + EDGE, 0.2, low=-EDGE)
    counts = [(np.hypot(*(s.positions - centre).T) < 15.3).sum() for s in (layer, perfect)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(("radius", "turn"), [(4.0, 0.3), (9.0, 0.3), (14.0, np.pi / 6)])
def test_loops_are_closed_rows_of_as_many_fives_as_sevens(radius, turn):
    layer = loop(radius, turn, False)
    found = irregular(layer)
    assert set(found) == {5, 7}
    assert found[5] == found[7]
    degree = np.bincount(layer.bonds.ravel(), minlength=len(layer))
    inside = ((layer.positions > 3) & (layer.positions < 57)).all(axis=1)
    assert (degree[inside] == 3).all()


@pytest.mark.parametrize("direction", range(3))
def test_a_chain_is_a_row_of_turned_bonds(direction):
    layer = defects.with_chain(crystal(60.0, 0.2), MIDDLE, 3, direction)
    assert irregular(layer) == {5: 6, 7: 6}
    lengths = np.linalg.norm(np.diff(layer.positions[layer.bonds], axis=1), axis=2)
    assert lengths.min() > 1.25
    assert lengths.max() < 1.6


def test_a_divacancy_closes_to_five_eight_five():
    perfect = crystal(60.0, 0.2)
    layer = defects.with_divacancy(perfect, MIDDLE)
    assert len(layer) == len(perfect) - 2
    assert irregular(layer) == {5: 2, 8: 1}
    # A pair at the rim has no neighbours to close the gap with.
    corner = defects.with_divacancy(perfect, np.array([0.0, 0.0]))
    assert len(corner) == len(perfect)


@pytest.mark.parametrize("aligned", [True, False])
def test_islands_are_flakes_of_one_further_layer(aligned):
    layer = crystal(60.0, 0.2)
    flake = defects.island(np.random.default_rng(1), MIDDLE, 12.0, aligned, layer, (0.0, 60.0))
    assert (flake.heights == LAYER_DISTANCE).all()
    assert flake.overlooked.all()
    density = 4 / (np.sqrt(3) * 2.46**2)
    assert len(flake) == pytest.approx(np.pi * 12**2 * density, rel=0.35)
    # In graphite half of the atoms lie above atoms, the others above ring centres.
    apart = np.linalg.norm(flake.positions[:, None] - layer.positions[None], axis=2).min(axis=1)
    above = (apart < 0.1).mean()
    assert above == pytest.approx(0.5, abs=0.05) if aligned else above < 0.2


def test_what_lies_on_clean_sheets_is_not_labelled():
    ranges = replace(
        DEFECTS.defects,
        adatom_fraction=1.0,
        islands_fraction=1.0,
        loop_fraction=1.0,
        adatoms=(6, 6),
    )
    clean = replace(DEFECTS.contaminant, clean_fraction=1.0)
    configuration = replace(DEFECTS, size=96, defects=ranges, contaminant=clean)
    for index in range(3):
        sample = simulate(3, index, configuration)
        assert not sample.mask.any()
        assert sample.physical_mask.any()
        assert len(sample.angles) > 1


def test_frames_without_defects_are_those_of_a_generator_without_them():
    small = replace(GRAPHENE, size=64, defects=replace(NO_DEFECTS, adatom_fraction=0.5))
    without = replace(small, defects=NO_DEFECTS)
    pairs = [(simulate(5, i, small), simulate(5, i, without)) for i in range(8)]
    same = [np.array_equal(a.image, b.image) for a, b in pairs]
    assert any(same)
    assert not all(same)
    assert all(a.conditions == b.conditions for a, b in pairs)


def test_a_wrinkle_bends_the_sheet_and_stretches_no_bond():
    sheet = crystal(120.0, 0.3)
    wrinkle = defects.Wrinkle(np.array([0.6, 0.8]), 60.0, 20.0)
    folded = wrinkle.fold(sheet)
    along, before = folded.positions @ wrinkle.normal, sheet.positions @ wrinkle.normal
    flat = before < 60
    assert (folded.positions[flat] == sheet.positions[flat]).all()
    beyond = before > 60 + wrinkle.taken_up
    np.testing.assert_allclose(along[beyond], before[beyond] - wrinkle.taken_up)
    np.testing.assert_allclose(folded.heights[beyond], 4 * defects.BULB)
    assert wrinkle.taken_up == pytest.approx(2 * (20 + np.pi * 3.4))
    # Chords of the bends are shorter than arcs: by a factor of sin(b/2r) / (b/2r), b = 1.42 Å.
    places = np.column_stack([folded.positions, folded.heights])
    lengths = np.linalg.norm(np.diff(places[folded.bonds], axis=1)[:, 0], axis=1)
    assert lengths.max() < 1.4203
    assert lengths.min() > 1.42 * np.sinc(1.42 / (2 * np.pi * defects.BULB)) - 1e-3
    across = np.array([0.8, -0.6])
    np.testing.assert_allclose(folded.positions @ across, sheet.positions @ across, atol=1e-9)


def test_wrinkles_leave_other_draws_alone_and_make_three_sheets():
    plain = replace(LAYERS, size=128, defects=replace(LAYERS.defects, wrinkle_fraction=0.0))
    always = replace(plain, defects=replace(LAYERS.defects, wrinkle_fraction=1.0))
    without, bent = (simulate(3, 0, one) for one in (plain, always))
    assert (without.angles == bent.angles).all() and without.pixel_size == bent.pixel_size
    assert len(bent.positions) > 1.15 * len(without.positions)
    assert (bent.mask == without.mask).mean() > 0.99  # a wrinkle is no contamination

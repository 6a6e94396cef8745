"""Crystals, boundaries and defects have the geometry and the topology they promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphseg.simulation.configuration import (
    BORON_NITRIDE,
    CARBON,
    GRAPHENE,
    MOLYBDENUM_DISULPHIDE,
)
from graphseg.simulation.crystal import crystal, lattice_vectors
from graphseg.simulation.defects import with_stone_wales
from graphseg.simulation.grains import bicrystal, draw_layer


def rings(structure):
    """Return size and centre of every face of the planar graph of bonds but the outer one."""
    around = [[] for _ in range(len(structure))]
    for first, second in structure.bonds.tolist():
        around[first].append(second)
        around[second].append(first)
    for site, others in enumerate(around):
        away = structure.positions[others] - structure.positions[site]
        around[site] = [others[k] for k in np.argsort(np.arctan2(away[:, 0], away[:, 1]))]
    seen, sizes, centres = set(), [], []
    for first, others in enumerate(around):
        for second in others:
            face, start, end = [], first, second
            while (start, end) not in seen:
                seen.add((start, end))
                face.append(start)
                onward = around[end]
                start, end = end, onward[(onward.index(start) + 1) % len(onward)]
            if face:
                sizes.append(len(face))
                centres.append(structure.positions[face].mean(axis=0))
    ring = np.array(sizes) < max(sizes)
    return np.array(sizes)[ring], np.array(centres)[ring]


def bond_lengths(structure):
    ends = structure.positions[structure.bonds]
    return np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)


def inner(points, low, high):
    return ((points > low) & (points < high)).all(axis=1)


@given(
    st.floats(0, 2 * np.pi),
    st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    st.sampled_from([CARBON, BORON_NITRIDE, MOLYBDENUM_DISULPHIDE]),
)
@settings(max_examples=20, deadline=None)
def test_a_perfect_crystal_is_exact(angle, origin, material):
    layer = crystal(30.0, angle, origin, material, low=-2.0)
    np.testing.assert_allclose(bond_lengths(layer), material.bond, rtol=1e-9)
    inside = inner(layer.positions, 1, 27)
    degree = np.bincount(layer.bonds.ravel(), minlength=len(layer))
    assert (degree[inside] == 3).all()
    # Bonds join the two sublattices, and a lattice vector leads to a site of the same kind.
    assert (layer.sublattice[layer.bonds].sum(axis=1) == 1).all()
    moved = layer.positions[inside] + lattice_vectors(angle, material)[0]
    apart = np.linalg.norm(moved[:, None] - layer.positions[None], axis=2)
    landed = inner(moved, -2, 30)
    np.testing.assert_allclose(apart.min(axis=1)[landed], 0, atol=1e-8)
    same = layer.sublattice[apart.argmin(axis=1)] == layer.sublattice[inside]
    assert same[landed].all()
    # The origin is the centre of a ring.
    to_origin = np.linalg.norm(layer.positions - np.array(origin), axis=1)
    assert to_origin.min() > 0.99 * material.bond or not inner(np.array([origin]), -1, 29)[0]


def test_the_density_is_that_of_graphene():
    layer = crystal(100.0, 0.3)
    assert len(layer) == pytest.approx(100**2 / (np.sqrt(3) / 4 * 2.46**2), rel=0.01)


def test_keeping_sites_keeps_their_bonds():
    layer = crystal(20.0, 0.1)
    chosen = np.random.default_rng(0).random(len(layer)) < 0.7
    part = layer.keep(chosen)
    np.testing.assert_allclose(bond_lengths(part), CARBON.bond, rtol=1e-9)
    assert len(part) == chosen.sum()
    assert len(part.bonds) == chosen[layer.bonds].all(axis=1).sum()


def test_molybdenum_disulphide_has_two_sulphur_atoms_a_site():
    layer = crystal(30.0, material=MOLYBDENUM_DISULPHIDE)
    positions, heights, numbers = layer.atoms()
    molybdenum = (layer.numbers == 42).sum()
    assert (numbers == 42).sum() == molybdenum
    assert (numbers == 16).sum() == 2 * (len(layer) - molybdenum)
    assert len(positions) == len(heights)
    np.testing.assert_allclose(np.unique(heights), [-1.56, 0, 1.56])


@pytest.mark.parametrize("seed", range(6))
def test_boundaries_are_rings_of_five_to_seven(seed):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, np.pi / 3, 2)
    layer = bicrystal(50.0, tuple(angles), normal=float(rng.uniform(0, np.pi)))
    sizes, centres = rings(layer)
    sizes = sizes[inner(centres, 3, 47)]
    assert set(sizes) <= {5, 6, 7}
    # The disclinations of a boundary without net curvature balance, up to cut pairs at the edge.
    assert abs((sizes == 5).sum() - (sizes == 7).sum()) <= 2
    # Read and Shockley: one dislocation, a pair of five and seven, every a / (2 sin(θ/2)).
    turn = np.abs(np.subtract(*angles))
    density = 2 * np.sin(min(turn, np.pi / 3 - turn) / 2) / CARBON.lattice_constant
    assert (sizes == 5).sum() >= 0.7 * 44 * density - 1
    degree = np.bincount(layer.bonds.ravel(), minlength=len(layer))
    assert (degree[inner(layer.positions, 3, 47)] == 3).all()
    lengths = bond_lengths(layer)
    assert lengths.min() > 1.25
    assert lengths.max() < 1.65
    assert len(np.unique(np.sort(layer.bonds, axis=1), axis=0)) == len(layer.bonds)


def test_each_grain_of_a_bicrystal_keeps_its_lattice():
    angles, normal = (0.1, 0.5), 0.4
    layer = bicrystal(60.0, angles, point=(25.0, 30.0), normal=normal)
    away = (layer.positions - [25.0, 30.0]) @ [np.sin(normal), np.cos(normal)]
    for grain, angle in enumerate(angles):
        far = (away > 14) if grain else (away < -14)
        assert (layer.grains[far] == grain).all()
        vectors = np.linalg.inv(lattice_vectors(angle)).T  # reciprocal
        phases = np.exp(2j * np.pi * layer.positions[far & (layer.sublattice == 0)] @ vectors.T)
        np.testing.assert_allclose(np.abs(phases.mean(axis=0)), 1, atol=1e-6)


def test_two_grains_of_one_orientation_are_a_perfect_crystal():
    layer = bicrystal(40.0, (0.2, 0.2))
    np.testing.assert_allclose(bond_lengths(layer), CARBON.bond, atol=1e-6)
    assert len(layer) == len(crystal(40.0, 0.2))
    assert (layer.sublattice[layer.bonds].sum(axis=1) == 1).all()


def test_a_stone_wales_defect_is_two_fives_and_two_sevens():
    rng = np.random.default_rng(3)
    layer = with_stone_wales(crystal(60.0, 0.2), rng, 1)
    sizes, centres = rings(layer)
    counts = np.bincount(sizes[inner(centres, 2, 58)], minlength=8)
    assert tuple(counts[[5, 7]]) == (2, 2)
    lengths = bond_lengths(layer)
    assert lengths.min() > 1.25
    assert lengths.max() < 1.6


@pytest.mark.parametrize("index", range(6))
def test_random_layers_are_consistent(index):
    layer = draw_layer(np.random.default_rng(index), -5.0, 85.0, GRAPHENE)
    assert layer.bonds.max() < len(layer)
    assert (layer.bonds[:, 0] < layer.bonds[:, 1]).all()
    assert layer.grains.max() < len(layer.angles)
    lengths = bond_lengths(layer)
    assert lengths.min() > 1.2
    assert lengths.max() < 1.7
    np.testing.assert_allclose(np.median(lengths), CARBON.bond, rtol=0.012)  # strain below 1 %
    assert np.abs(layer.heights).max() <= GRAPHENE.crystal.ripple[1]

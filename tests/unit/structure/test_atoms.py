"""Atoms found on simulated micrographs whose atoms, bonds, boundaries and vacancies are known."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree

from graphseg.classical.denoise import analyse
from graphseg.errors import InputError
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import bicrystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import image_of
from graphseg.structure.atomfit import AtomFit
from graphseg.structure.atoms import (
    Atoms,
    find_atoms,
    find_bonds,
    is_true_at,
    ring_centres,
    sites_of_rings,
)
from graphseg.structure.rings import find_defects, find_rings

EXTENT = 66.0  # Å
OUTSIDE = 8.0  # Å of the structure beyond the frame
BORDER = 3.0  # Å at the edge of the frame that is not scored: rings there are cut
TOLERANCE = 0.4  # Å
CONSTANT = 2.46  # Å
BRIGHT, DARK = -60.0, 60.0  # Å of defocus


@cache
def sheet(angle=0.2):
    return crystal(EXTENT + OUTSIDE, angle, low=-OUTSIDE)


@cache
def two_grains():
    """Two grains, and how far each atom is from their boundary."""
    built = bicrystal(EXTENT + 2 * OUTSIDE, (0.1, 0.48), normal=0.3)
    built = built.moved(built.positions - OUTSIDE)
    normal = np.array([np.sin(0.3), np.cos(0.3)])
    return built, np.abs((built.positions - EXTENT / 2) @ normal)


@cache
def vacancies():
    """A sheet without some atoms, and where they were, in Å."""
    whole = sheet()
    grid = np.stack(np.meshgrid(*[np.arange(9.0, EXTENT - 8, 12.0)] * 2), axis=-1).reshape(-1, 2)
    missing = cKDTree(whole.positions).query(grid)[1]
    kept = np.ones(len(whole), bool)
    kept[missing] = False
    return whole.keep(kept), whole.positions[missing]


def expose(structure, pixel_size, dose, defocus=BRIGHT, seed=0):
    return image_of(
        structure.positions, structure.numbers, EXTENT, pixel_size, Conditions(defocus=defocus),
        dose=dose, rng=np.random.default_rng(seed), margin=int(np.ceil(6 / pixel_size)),
    )  # fmt: skip


def inside(positions, border=BORDER):
    return ((positions > border) & (positions < EXTENT - border)).all(axis=1)


def scores(found, true):
    """Recall, precision and root mean square distance; positions in Å."""
    to_found, to_true = cKDTree(found).query(true)[0], cKDTree(true).query(found)[0]
    hit = inside(true) & (to_found < TOLERANCE)
    recall = hit.sum() / inside(true).sum()
    return recall, (to_true < TOLERANCE)[inside(found)].mean(), np.sqrt((to_found[hit] ** 2).mean())


def network(positions, parameter):
    bonds = find_bonds(positions, parameter)
    rings = find_rings(positions, bonds)
    return bonds, rings, find_defects(rings, positions, parameter)


# The targets


@pytest.mark.parametrize(
    ("pixel_size", "dose", "defocus"),
    [(0.1, 1e3, DARK), (0.2, 1e3, BRIGHT), (0.3, 1e4, DARK), (0.3, 1e3, -30.0), (0.4, 3e3, BRIGHT),
     (0.5, 1e3, DARK), (0.5, 1e3, BRIGHT)],
)  # fmt: skip
def test_a_sheet_without_edges(pixel_size, dose, defocus):
    parameter = CONSTANT / pixel_size
    atoms = find_atoms(expose(sheet(), pixel_size, dose, defocus), parameter)
    recall, precision, deviation = scores(atoms.positions * pixel_size, sheet().positions)
    assert recall >= 0.98
    assert precision >= 0.98
    assert deviation <= 0.15
    assert atoms.contrast == (1 if defocus < 0 else -1)
    assert atoms.certainty > 0.5
    bonds, rings, _ = network(atoms.positions, parameter)
    assert abs(rings.mean_size() - 6) <= 0.02
    true = inside(sheet().positions, 6.0).sum()
    assert rings.regular.sum() > 0.4 * true  # an atom has half a ring
    degree = np.bincount(bonds.ravel(), minlength=len(atoms))[inside(atoms.positions * pixel_size)]
    assert degree.mean() > 2.95


@pytest.mark.parametrize("pixel_size", [0.2, 0.3, 0.4, 0.5])
def test_the_dose_decides_and_the_pixel_size_hardly(pixel_size):
    """The caption of the figure of chapter 8: all pixel sizes do at 1,000, none at 250."""
    parameter, true = CONSTANT / pixel_size, sheet(0.3).positions
    found = {}
    for dose in (250.0, 1000.0):
        atoms = find_atoms(expose(sheet(0.3), pixel_size, dose, -25.0), parameter)
        found[dose] = scores(atoms.positions * pixel_size, true)
    assert min(found[1000.0][:2]) >= 0.98 and found[1000.0][2] <= 0.15
    assert max(found[250.0][:2]) < 0.95


def test_the_seam_of_a_periodic_simulation_costs_atoms_if_it_comes_near():
    """Why images are simulated with 8 Å around the frame, whatever the pixel size."""
    structure = crystal(60 + 12, 0.3, low=-12.0)
    recalls = {}
    for margin in (3.2, 8.0):  # Å
        image = image_of(
            structure.positions, structure.numbers, 60.0, 0.2, dose=1e4,
            rng=np.random.default_rng(0), margin=round(margin / 0.2),
        )  # fmt: skip
        found = find_atoms(image, CONSTANT / 0.2).positions * 0.2
        true = structure.positions[
            ((structure.positions > 2.6) & (structure.positions < 57.4)).all(axis=1)
        ]
        recalls[margin] = (cKDTree(found).query(true)[0] < TOLERANCE).mean()
    assert recalls[3.2] < 0.98 < 0.995 < recalls[8.0]


@pytest.mark.parametrize(("pixel_size", "dose"), [(0.2, 1e4), (0.35, 1e4), (0.5, 1e4)])
def test_rings_of_a_grain_boundary_survive_the_filter(pixel_size, dose):
    structure, distance = two_grains()
    parameter = CONSTANT / pixel_size
    atoms = find_atoms(expose(structure, pixel_size, dose), parameter)
    recall, precision, deviation = scores(atoms.positions * pixel_size, structure.positions)
    assert min(recall, precision) >= 0.98
    assert deviation <= 0.15
    near = inside(structure.positions) & (distance < 3.5)
    gap = cKDTree(atoms.positions * pixel_size).query(structure.positions[near])[0]
    assert (gap < TOLERANCE).mean() >= 0.95
    true = network(structure.positions / pixel_size, parameter)[2]
    found = network(atoms.positions, parameter)[2]
    for size in (5, 7):
        known, seen = (
            np.array([d.position for d in defects if d.size == size]) * pixel_size
            for defects in (true, found)
        )
        known = known[inside(known, 5.0)]
        assert len(known) >= 5
        assert (cKDTree(seen).query(known)[0] < 0.8).mean() >= 0.9
        assert (cKDTree(known).query(seen[inside(seen, 5.8)])[0] < 0.8).mean() >= 0.9


@pytest.mark.parametrize("pixel_size", [0.1, 0.3, 0.5])
def test_vacancies_survive_the_filter(pixel_size):
    structure, places = vacancies()
    parameter = CONSTANT / pixel_size
    atoms = find_atoms(expose(structure, pixel_size, 1e4), parameter)
    assert atoms.signal_to_noise > 5
    found = [d for d in network(atoms.positions, parameter)[2] if d.kind == "vacancy"]
    seen = np.array([d.position for d in found]) * pixel_size
    assert (cKDTree(seen).query(places)[0] < 0.8).mean() >= 0.9
    assert (cKDTree(places).query(seen)[0] < 0.8).mean() >= 0.9
    assert all(d.missing == 1 and d.size == 12 for d in found)


def test_vacancies_are_not_invented_where_noise_hides_them():
    atoms = find_atoms(expose(vacancies()[0], 0.3, 1e3), CONSTANT / 0.3)
    assert atoms.signal_to_noise < 4
    defects = network(atoms.positions, CONSTANT / 0.3)[2]
    _, places = vacancies()
    for defect in defects:
        assert cKDTree(places).query(np.array(defect.position) * 0.3)[0] < 0.8


# Edges, masks, and what is no graphene


def test_a_hole_is_empty_and_its_edge_complete():
    whole = sheet()
    radius = np.linalg.norm(whole.positions - EXTENT / 2, axis=1)
    structure = whole.keep(radius > 10)
    atoms = find_atoms(expose(structure, 0.3, 1e4), CONSTANT / 0.3)
    recall, precision, _ = scores(atoms.positions * 0.3, structure.positions)
    assert min(recall, precision) >= 0.98
    found = np.linalg.norm(atoms.positions * 0.3 - EXTENT / 2, axis=1)
    assert not (found < 7).any()
    rim = (radius > 10) & (radius < 13)
    gap = cKDTree(atoms.positions * 0.3).query(whole.positions[rim])[0]
    assert (gap < TOLERANCE).mean() > 0.85


def test_the_mask_keeps_atoms_out_and_leaves_the_others_alone():
    image = expose(sheet(), 0.3, 5e3)
    rng = np.random.default_rng(1)
    mask = np.zeros(image.shape, bool)
    mask[60:120, 80:150] = True
    image[mask] += 0.4 * rng.standard_normal(mask.sum())
    atoms = find_atoms(image, CONSTANT / 0.3, mask)
    assert not is_true_at(mask, atoms.positions).any()
    clean = sheet().positions[is_true_at(~mask, sheet().positions / 0.3)]
    recall, precision, _ = scores(atoms.positions * 0.3, clean)
    assert min(recall, precision) >= 0.98


@pytest.mark.parametrize("deviation", [0, 1])
def test_noise_and_empty_images_have_no_atoms(deviation):
    image = 7 + deviation * np.random.default_rng(0).standard_normal((128, 140))
    atoms = find_atoms(image, 8.0)
    assert len(atoms) == 0
    assert atoms.signal_to_noise < 1.2
    bonds = find_bonds(atoms.positions, 8.0)
    assert bonds.shape == (0, 2)
    assert len(find_rings(atoms.positions, bonds)) == 0


# Invariances


def test_gain_offset_and_sign_do_not_matter():
    image = expose(sheet(), 0.3, 3e3)
    first = find_atoms(image, CONSTANT / 0.3)
    second = find_atoms(500 - 40 * image, CONSTANT / 0.3)
    assert (first.contrast, second.contrast) == (1, -1)
    np.testing.assert_allclose(second.positions, first.positions, atol=1e-2)
    assert second.signal_to_noise == pytest.approx(first.signal_to_noise, rel=1e-3)


def test_an_error_of_the_lattice_parameter_does_no_harm():
    image = expose(sheet(), 0.3, 3e3)
    for factor in (0.95, 1.05):
        atoms = find_atoms(image, factor * CONSTANT / 0.3)
        assert min(scores(atoms.positions * 0.3, sheet().positions)[:2]) >= 0.98


def test_the_contrast_can_be_given():
    image = expose(sheet(), 0.3, 3e3)
    given, measured = find_atoms(image, 8.2, contrast=1), find_atoms(image, 8.2)
    np.testing.assert_array_equal(given.positions, measured.positions)
    assert given.certainty == 1
    wrong = find_atoms(image, 8.2, contrast=-1)
    assert wrong.contrast == -1
    assert scores(wrong.positions * 0.3, sheet().positions)[0] < 0.7


# The parts


@pytest.mark.parametrize("dose", [1e3, 1e4])
def test_amplitudes_have_the_variance_that_is_said(dose):
    signal = analyse(expose(vacancies()[0], 0.3, dose), np.ones((220, 220), bool), CONSTANT / 0.3)
    structure, places = vacancies()
    sites = np.concatenate([structure.positions, places]) / 0.3
    occupied = np.arange(len(sites)) < len(structure)
    fit = AtomFit(signal, sites[occupied])
    amplitudes = fit.amplitudes(sites, occupied)
    full = amplitudes[occupied & inside(sites * 0.3)]
    assert full.mean() == pytest.approx(1, abs=0.05)
    assert full.std() == pytest.approx(fit.energy**-0.5, rel=0.2)
    assert amplitudes[~occupied].mean() == pytest.approx(0, abs=0.25)


def test_amplitudes_where_all_sites_count_as_empty_are_those_of_a_linear_filter():
    signal = analyse(expose(sheet(), 0.3, 1e4), np.ones((220, 220), bool), CONSTANT / 0.3)
    sites = sheet().positions / 0.3
    fit = AtomFit(signal, sites)
    parts = np.arange(len(sites)) % 2 == 0
    none, even, odd, every = (
        fit.amplitudes(sites, chosen) - chosen
        for chosen in (parts & False, parts, ~parts, parts | True)
    )
    judged = fit.fraction(sites) > 0.1
    assert np.allclose((none + every)[judged], (even + odd)[judged], atol=1e-4)
    assert none[judged].mean() > every[judged].mean() + 0.5


def test_the_fit_moves_atoms_back():
    signal = analyse(expose(sheet(), 0.3, 1e5), np.ones((220, 220), bool), CONSTANT / 0.3)
    true = sheet().positions / 0.3
    rng = np.random.default_rng(0)
    shifted = true + rng.normal(0, 0.2, true.shape)
    moved = AtomFit(signal, shifted).refine(shifted, np.full(len(true), 0.2))
    chosen = inside(true * 0.3)
    before, after = (np.linalg.norm(p - true, axis=1)[chosen] for p in (shifted, moved))
    assert np.sqrt((after**2).mean()) < 0.6 * np.sqrt((before**2).mean())


def test_sites_of_ring_centres_are_the_atoms_of_a_perfect_lattice():
    rows, columns = np.meshgrid(np.arange(6), np.arange(6), indexing="ij")
    centres = 8 * np.stack([rows * 0.75**0.5, columns + rows / 2], axis=-1).reshape(-1, 2)
    sites = sites_of_rings(centres, 8.0)
    assert sites.triangles.sum() == 2 * 25
    np.testing.assert_allclose(cKDTree(centres).query(sites.positions)[0], 8 / np.sqrt(3))
    around = cKDTree(sites.positions).query_ball_point(centres, 8 / np.sqrt(3) + 1e-6)
    complete = np.full(36, 6)  # edges are completed
    complete[[0, -1]] = 4  # except at corners with a single triangle
    np.testing.assert_array_equal([len(a) for a in around], complete)
    assert not sites.regular[~sites.triangles].any()
    assert sites.regular.sum() == 2 * 9  # of the inner 4 × 4 centres


def test_ring_centres_of_a_simulated_sheet():
    signal = analyse(expose(sheet(), 0.3, 3e3), np.ones((220, 220), bool), CONSTANT / 0.3)
    centres = ring_centres(signal) * 0.3
    distance = cKDTree(sheet().positions).query(centres[inside(centres)], k=6)[0]
    np.testing.assert_allclose(distance.mean(axis=1), CONSTANT / np.sqrt(3), atol=0.15)


# Bonds


def test_bonds_of_a_sheet_are_its_true_bonds():
    true = sheet()
    bonds = find_bonds(true.positions / 0.3, CONSTANT / 0.3)
    np.testing.assert_array_equal(bonds, np.unique(np.sort(true.bonds, axis=1), axis=0))


@settings(deadline=None, max_examples=60)
@given(
    points=arrays(float, st.tuples(st.integers(0, 40), st.just(2)), elements=st.floats(0, 30)),
    longest=st.floats(0.5, 3),
)
def test_bonds_are_short_few_and_planar(points, longest):
    parameter = 5.0
    bonds = find_bonds(points, parameter, longest)
    assert (bonds[:, 0] < bonds[:, 1]).all()
    assert len(np.unique(bonds, axis=0)) == len(bonds)
    assert np.bincount(bonds.ravel(), minlength=1).max() <= 3
    lengths = np.linalg.norm(points[bonds[:, 0]] - points[bonds[:, 1]], axis=1)
    assert (lengths <= longest * parameter / np.sqrt(3) + 1e-9).all()
    for first, second in ((a, b) for a in bonds for b in bonds if not set(a) & set(b)):
        assert not crosses(*points[first], *points[second])


def crosses(a, b, c, d):
    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def test_of_four_near_atoms_only_three_are_bonded():
    star = np.array([[0, 0], [0, 2.8], [2.9, 0], [-3.0, 0], [0, -3.1]])
    bonds = find_bonds(star, 5.0, longest=1.2)
    assert {tuple(b) for b in bonds.tolist()} == {(0, 1), (0, 2), (0, 3)}


# Bad input


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"image": np.zeros((2, 64, 64))}, "single image"),
        ({"image": np.full((64, 64), np.nan)}, "not finite"),
        ({"lattice_parameter": 1.0}, "lattice parameter of 1"),
        ({"lattice_parameter": 40.0}, "lattice parameter of 40"),
        ({"lattice_parameter": np.nan}, "lattice parameter of nan"),
        ({"mask": np.zeros((3, 3), bool)}, "do not match"),
        ({"mask": np.ones((64, 64), bool)}, "whole image"),
        ({"contrast": 0}, "contrast=0"),
    ],
)
def test_bad_input_is_refused(arguments, reason):
    with pytest.raises(InputError, match=reason):
        find_atoms(**{"image": np.zeros((64, 64)), "lattice_parameter": 8.0, **arguments})


def test_bad_lengths_of_bonds_are_refused():
    with pytest.raises(InputError, match="positive"):
        find_bonds(np.zeros((3, 2)), 0.0)


def test_atoms_have_a_length():
    assert len(Atoms(np.zeros((3, 2)), np.ones(3), 8.0, 1, 1.0, 5.0)) == 3


def test_published_images(published):
    """One atom for each site of the clean area, but for holes and grain boundaries."""
    for index, parameter in {3: 4.97, 40: 7.21, 75: 6.81, 113: 5.59}.items():
        image, mask = published.images[index], published.masks[index]
        atoms = find_atoms(image, parameter, mask)
        expected = 2 * (~mask).sum() / (0.75**0.5 * parameter**2)
        assert len(atoms) / expected == pytest.approx(0.98, abs=0.05)
        assert not is_true_at(mask, atoms.positions).any()
        rings = find_rings(atoms.positions, find_bonds(atoms.positions, parameter))
        assert rings.mean_size() == pytest.approx(6, abs=0.02)

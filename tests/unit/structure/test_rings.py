"""Rings and defects of structures whose faces are known by construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, Delaunay

from graphseg.errors import InputError
from graphseg.structure.atoms import find_bonds
from graphseg.structure.rings import Defect, find_defects, find_rings

PARAMETER = 10.0  # pixels
BOND = PARAMETER / np.sqrt(3)


def patch(shells=3):
    """All atoms of the hexagons within `shells` of a middle one, (n, 2), and those hexagons."""
    cells = [
        (i, j) for i in range(-shells, shells + 1) for j in range(-shells, shells + 1)
        if abs(i + j) <= shells
    ]  # fmt: skip
    centres = np.array([[i * np.sqrt(3) / 2, j + i / 2] for i, j in cells]) * PARAMETER
    angles = np.pi / 6 + np.arange(6) * np.pi / 3
    corners = centres[:, None] + BOND * np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    _, first = np.unique(np.round(corners.reshape(-1, 2), 3), axis=0, return_index=True)
    return corners.reshape(-1, 2)[first] + 100, centres + 100


def polygon(size, bond=BOND, centre=(0.0, 0.0), turn=0.0):
    angles = turn + 2 * np.pi * np.arange(size) / size
    radius = bond / 2 / np.sin(np.pi / size)
    return np.array(centre) + radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)


def cycle(first, size):
    return [(first + i, first + (i + 1) % size) for i in range(size)]


def without(positions, place):
    """Remove the atom nearest to a place and the bonds follow by distance."""
    nearest = np.argmin(np.linalg.norm(positions - place, axis=1))
    return np.delete(positions, nearest, axis=0), positions[nearest]


def analysed(positions, **options):
    rings = find_rings(positions, find_bonds(positions, PARAMETER))
    return rings, find_defects(rings, positions, PARAMETER, **options)


@pytest.mark.parametrize("shells", [0, 1, 3, 8])
def test_a_patch_has_its_hexagons_and_nothing_else(shells):
    positions, centres = patch(shells)
    rings, defects = analysed(positions)
    assert len(rings) == 1 + 3 * shells * (shells + 1)
    np.testing.assert_array_equal(rings.sizes, 6)
    assert rings.mean_size() == 6
    np.testing.assert_allclose(rings.areas, np.sqrt(3) / 2 * PARAMETER**2)
    order = [np.argmin(np.linalg.norm(centres - c, axis=1)) for c in rings.centres]
    assert sorted(order) == list(range(len(centres)))
    np.testing.assert_allclose(rings.centres, centres[order], atol=1e-9)
    assert not defects


@pytest.mark.parametrize("size", range(3, 14))
def test_a_polygon_is_one_face_with_its_atoms_in_order(size):
    rings = find_rings(polygon(size), cycle(0, size))
    assert rings.sizes.tolist() == [size]
    members = rings.members[0]
    steps = np.diff(np.append(members, members[0])) % size
    assert set(steps.tolist()) in ({1}, {size - 1})
    assert rings.regular.tolist() == [4 <= size <= 9]
    assert np.isnan(rings.mean_size()) == (not 4 <= size <= 9)


def test_a_pentagon_and_a_heptagon_side_by_side():
    five = polygon(5, turn=-np.pi / 5)  # one edge faces along the columns
    shift = BOND / 2 / np.tan(np.pi / 5) + BOND / 2 / np.tan(np.pi / 7)
    seven = polygon(7, centre=(0.0, -shift), turn=-np.pi / 7)
    five = polygon(5, turn=np.pi - np.pi / 5)
    positions = np.concatenate([five, seven])
    _, unique, same = np.unique(
        np.round(positions, 3), axis=0, return_index=True, return_inverse=True
    )
    bonds = same.ravel()[np.array(cycle(0, 5) + cycle(5, 7))]
    positions = positions[unique]
    assert len(positions) == 10
    rings = find_rings(positions, bonds)
    assert sorted(rings.sizes.tolist()) == [5, 7]
    defects = find_defects(rings, positions, PARAMETER)
    assert [(d.kind, d.missing) for d in defects] == [("ring", 0)] * 2
    place = next(d.position for d in defects if d.size == 5)
    np.testing.assert_allclose(place, (0, 0), atol=1e-9)


def test_one_missing_atom_is_a_vacancy():
    positions, lost = without(patch(4)[0], (100 + BOND, 100.0))
    rings, defects = analysed(positions)
    (defect,) = defects
    assert (defect.kind, defect.size, defect.missing) == ("vacancy", 12, 1)
    np.testing.assert_allclose(defect.position, lost, atol=1e-6)
    assert rings.mean_size() == 6
    assert defect.boundary is None
    assert defect.distance is None


def test_missing_atoms_are_counted():
    positions, lost = without(patch(5)[0], (100 + BOND, 100.0))
    neighbour = positions[np.argmin(np.linalg.norm(positions - lost, axis=1))]
    pair = without(positions, neighbour)[0]
    assert [(d.size, d.missing) for d in analysed(pair)[1]] == [(14, 2)]
    whole = patch(5)[0]
    ring = np.linalg.norm(whole - 100, axis=1) < 1.1 * BOND
    assert [(d.size, d.missing) for d in analysed(whole[~ring])[1]] == [(18, 6)]
    hole = np.linalg.norm(whole - 100, axis=1) < 2.1 * BOND
    rings, defects = analysed(whole[~hole])
    assert not defects  # a hole is no vacancy
    assert (rings.sizes > 18).sum() == 1


def test_a_gap_at_contamination_is_no_vacancy():
    positions, lost = without(patch(4)[0], (100.0, 100.0))
    mask = np.zeros((200, 200), bool)
    assert len(analysed(positions, mask=mask)[1]) == 1
    mask[tuple(np.rint(lost).astype(int))] = True
    assert not analysed(positions, mask=mask)[1]


def test_the_nearest_boundary_and_its_distance():
    positions, lost = without(patch(4)[0], (100.0, 100.0))
    far = np.array([[lost[0] - 50, -1e3], [lost[0] - 50, 1e3]])
    near = np.array([[lost[0] + 7, lost[1] - 30], [lost[0] + 7, lost[1] + 30], [500, 500]])
    (defect,) = analysed(positions, boundaries=[far, near])[1]
    assert defect.boundary == 1
    assert defect.distance == pytest.approx(7)
    (defect,) = analysed(positions, boundaries=[(lost + np.array([3, 4]))[None]])[1]
    assert (defect.boundary, defect.distance) == (0, pytest.approx(5))
    assert isinstance(defect, Defect)


def test_dangling_chains_and_loose_atoms_do_not_matter():
    positions, bonds = polygon(6), cycle(0, 6)
    more = np.concatenate([positions, [[50, 50], [60, 50], [70, 50], [-90, 0]]])
    rings = find_rings(more, [*bonds, (0, 6), (6, 7), (7, 8)])
    assert rings.sizes.tolist() == [6]


def test_two_sheets_are_counted_separately():
    positions = np.concatenate([polygon(6), polygon(5, centre=(100, 0))])
    assert sorted(find_rings(positions, cycle(0, 6) + cycle(6, 5)).sizes.tolist()) == [5, 6]


def test_rings_joined_by_a_bridge_or_an_atom_are_still_two():
    positions = np.concatenate([polygon(6), polygon(5, centre=(100, 0))])
    bonds = [*cycle(0, 6), *cycle(6, 5), (0, 6)]
    assert sorted(find_rings(positions, bonds).sizes.tolist()) == [5, 6]
    eight = np.array([[0, 0], [1, 1], [2, 0], [1, -1], [-1, 1], [-2, 0], [-1, -1]], float)
    bonds = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 4), (4, 5), (5, 6), (6, 0)]
    assert find_rings(eight, bonds).sizes.tolist() == [4, 4]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), number=st.integers(3, 60))
def test_the_faces_of_a_triangulation_are_its_triangles(seed, number):
    points = np.random.default_rng(seed).random((number, 2)) * 100
    triangulation = Delaunay(points)
    corners = triangulation.simplices
    edges = np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    rings = find_rings(points, np.concatenate([edges, edges[:, ::-1]]))  # repeated: no matter
    assert (rings.sizes == 3).all()
    found = {tuple(sorted(m.tolist())) for m in rings.members}
    assert found == {tuple(sorted(c.tolist())) for c in corners}
    assert len(found) == len(rings)
    assert rings.areas.sum() == pytest.approx(ConvexHull(points).volume)


def test_without_bonds_there_is_no_ring():
    for bonds in ([], np.empty((0, 2), int), [(0, 1)]):
        rings = find_rings(np.array([[0.0, 0.0], [1.0, 1.0]]), bonds)
        assert len(rings) == 0
        assert not find_defects(rings, np.zeros((2, 2)), PARAMETER)


@pytest.mark.parametrize(
    ("bonds", "reason"),
    [([(0, 7)], "there are 4"), ([(-1, 2)], "there are 4"), ([(1, 1)], "itself")],
)
def test_impossible_bonds_are_refused(bonds, reason):
    with pytest.raises(InputError, match=reason):
        find_rings(np.zeros((4, 2)), bonds)

"""Rings of the bond graph, and the defects of the lattice that they tell.

The bonds of a sheet are a planar graph; its faces are the rings. Graphene has hexagons, a grain
boundary pentagons and heptagons, and a missing atom leaves a larger face. Positions are (n, 2)
float64 in pixels, axis order (row, column).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from skimage.draw import polygon2mask

from graphseg.errors import InputError

SMALLEST_RING, LARGEST_RING = 4, 9
# Atoms around a gap that still counts as a vacancy: one atom leaves 12, a hexagon 18.
LARGEST_GAP = 18


@dataclass(frozen=True, eq=False)
class Rings:
    """The bounded faces of a planar bond graph, each once."""

    sizes: np.ndarray  # (r,) int, number of atoms of each face
    members: tuple[np.ndarray, ...]  # r int arrays, the atoms of each face in order around it
    centres: np.ndarray  # (r, 2) float64 in pixels, the mean of the atoms
    areas: np.ndarray  # (r,) float64 in px²

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def regular(self) -> np.ndarray:
        """(r,) bool, the faces of 4 to 9 atoms; larger ones are gaps."""
        return (self.sizes >= SMALLEST_RING) & (self.sizes <= LARGEST_RING)

    def keep(self, chosen: np.ndarray) -> "Rings":
        """Return the faces `chosen` (r,) bool."""
        members = tuple(m for m, wanted in zip(self.members, chosen, strict=True) if wanted)
        return Rings(self.sizes[chosen], members, self.centres[chosen], self.areas[chosen])

    def mean_size(self) -> float:
        """Return the mean number of atoms of the rings of 4 to 9; NaN without any."""
        return float(self.sizes[self.regular].mean()) if self.regular.any() else float("nan")


@dataclass(frozen=True)
class Defect:
    """One defect of the lattice."""

    kind: str  # "ring" of 4 to 9 atoms that is no hexagon, or "vacancy"
    size: int  # atoms of the ring, or around the gap
    missing: int  # atoms missing in a gap; 0 for rings
    position: tuple[float, float]  # centre as (row, column) in pixels
    boundary: int | None = None  # index of the nearest grain boundary, None if none is known
    distance: float | None = None  # to it in pixels


def find_rings(positions: np.ndarray, bonds: np.ndarray) -> Rings:
    """Return the bounded faces of the bond graph.

    Every bond is walked once in each direction, turning into the next bond at every atom; each
    closed walk is a face, and the walk around the outside of the sheet has the opposite sense.
    Atoms that lie on no closed walk (dangling chains) are left out first; faces that touch
    themselves at an atom are no rings and are left out too.

    Parameters
    ----------
    positions
        (n, 2) in pixels.
    bonds
        (m, 2) int, pairs of atoms that do not cross, as `graphseg.structure.atoms.find_bonds`
        gives them.

    Raises
    ------
    InputError
        If a bond names an atom that does not exist, or joins one to itself.

    Examples
    --------
    >>> angles = np.arange(6) * np.pi / 3
    >>> hexagon = np.column_stack([np.sin(angles), np.cos(angles)])
    >>> find_rings(hexagon, [(k, (k + 1) % 6) for k in range(6)]).sizes.tolist()
    [6]
    """
    positions = np.reshape(np.asarray(positions, float), (-1, 2))
    # 1. Leave out what lies on no closed walk.
    bonds = _without_chains(_checked_bonds(positions, bonds), len(positions))
    start = np.concatenate([bonds[:, 0], bonds[:, 1]])
    if not len(start):
        return Rings(np.empty(0, int), (), np.empty((0, 2)), np.empty(0))
    # 2. Walk around each face once, in both directions along every bond.
    following = _next_half_edges(positions, bonds)
    face, walks = _walks(following)
    atoms, sizes = start[walks], np.bincount(face)
    # 3. The area of each; the outside of the sheet is walked round in the opposite sense.
    here, there = positions[start], positions[start[following]]
    areas = np.bincount(face, here[:, 1] * there[:, 0] - here[:, 0] * there[:, 1]) / 2
    centres = np.stack([np.bincount(face, x) / sizes for x in here.T], axis=1)
    # 4. Faces that touch themselves at an atom are none.
    corners = np.unique(face * len(positions) + start) // len(positions)
    simple = np.bincount(corners, minlength=len(sizes)) == sizes
    members = tuple(np.split(atoms, np.cumsum(sizes)[:-1]))
    return Rings(sizes, members, centres, areas).keep(simple & (areas > 0))


def find_defects(
    rings: Rings,
    positions: np.ndarray,
    lattice_parameter: float,
    mask: np.ndarray | None = None,
    boundaries: Sequence[np.ndarray] = (),
) -> list[Defect]:
    """List the rings of 4 to 9 atoms that are no hexagons, and the vacancies.

    A face of 10 to 18 atoms is a vacancy if its area has room for at least one more atom, and
    no contamination lies within. In a sheet of hexagons a gap of area A with L atoms around it
    lacks 1 + 2 A / A₀ − L / 2 atoms, where A₀ is the area of a hexagon (by Euler's formula).

    Parameters
    ----------
    rings
        Faces of the bond graph.
    positions
        (n, 2), the atoms in pixels.
    lattice_parameter
        In pixels.
    mask
        (H, W) bool, True = contamination.
    boundaries
        Grain boundaries as lines, (k, 2) points each in pixels.

    Examples
    --------
    >>> angles = np.arange(5) * 2 * np.pi / 5
    >>> pentagon = np.column_stack([np.sin(angles), np.cos(angles)])
    >>> rings = find_rings(pentagon, [(k, (k + 1) % 5) for k in range(5)])
    >>> [(defect.kind, defect.size) for defect in find_defects(rings, pentagon, 1.73)]
    [('ring', 5)]
    """
    hexagon = np.sqrt(3) / 2 * lattice_parameter**2
    missing = np.rint(1 + 2 * rings.areas / hexagon - rings.sizes / 2).astype(int)
    ring = rings.regular & (rings.sizes != 6)
    gap = (rings.sizes > LARGEST_RING) & (rings.sizes <= LARGEST_GAP) & (missing >= 1)
    for index in np.flatnonzero(gap) if mask is not None else ():
        around = positions[rings.members[index]]
        low = np.maximum(around.min(axis=0).astype(int), 0)
        high = around.max(axis=0).astype(int) + 2
        part = mask[low[0] : high[0], low[1] : high[1]]
        gap[index] = not (part & polygon2mask(part.shape, around - low)).any()
    chosen = np.flatnonzero(ring | gap)
    nearest, distances = _nearest_line(rings.centres[chosen], boundaries)
    return [
        Defect(
            kind="vacancy" if gap[index] else "ring",
            size=int(rings.sizes[index]),
            missing=int(missing[index]) if gap[index] else 0,
            position=(float(rings.centres[index, 0]), float(rings.centres[index, 1])),
            boundary=int(line) if len(boundaries) else None,
            distance=float(distance) if len(boundaries) else None,
        )
        for index, line, distance in zip(chosen, nearest, distances, strict=True)
    ]


def _checked_bonds(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    bonds = np.asarray(bonds, np.intp).reshape(-1, 2)
    if len(bonds) and not (bonds.min() >= 0 and bonds.max() < len(positions)):
        raise InputError(
            f"Bonds name atoms {bonds.min()} to {bonds.max()} but there are {len(positions)}; "
            "give bonds and positions of the same micrograph."
        )
    if (bonds[:, 0] == bonds[:, 1]).any():
        raise InputError("A bond joins an atom to itself; remove it.")
    return np.unique(np.sort(bonds, axis=1), axis=0)


def _without_chains(bonds: np.ndarray, number: int) -> np.ndarray:
    """Remove atoms with a single bond until every atom that is left has two."""
    while len(bonds):
        lonely = np.bincount(bonds.ravel(), minlength=number) == 1
        kept = ~lonely[bonds].any(axis=1)
        if kept.all():
            break
        bonds = bonds[kept]
    return bonds


def _next_half_edges(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Return for each half-edge the one that follows it around the face on the same side, (2m,).
    Half-edge i < m runs along bond i, half-edge i + m back. Arriving at an atom, the walk leaves by
    the bond that comes before the way back in the order of angles."""
    count = 2 * len(bonds)
    start = np.concatenate([bonds[:, 0], bonds[:, 1]])
    end = np.concatenate([bonds[:, 1], bonds[:, 0]])
    direction = positions[end] - positions[start]
    order = np.lexsort((np.arctan2(direction[:, 0], direction[:, 1]), start))
    degree = np.bincount(start)
    first = (np.cumsum(degree) - degree)[start[order]]
    previous = np.empty(count, np.intp)
    previous[order] = order[first + (np.arange(count) - first - 1) % degree[start[order]]]
    return previous[(np.arange(count) + len(bonds)) % count]


def _walks(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the face of each half-edge, (2m,) int, and the half-edges around all faces in turn.

    Faces are in the order of their first half-edges, which all walk on at the same time.
    """
    links = sparse.coo_array((np.ones(len(following)), (np.arange(len(following)), following)))
    _, first, face = np.unique(
        sparse.csgraph.connected_components(links)[1], return_index=True, return_inverse=True
    )
    order = np.argsort(first)
    face = np.argsort(order)[face]
    edge, left = first[order], np.bincount(face)
    place, walks = np.cumsum(left) - left, np.empty(len(following), np.intp)
    while len(edge):
        walks[place] = edge
        left, place, edge = left - 1, place + 1, following[edge]
        going = left > 0
        left, place, edge = left[going], place[going], edge[going]
    return face, walks


def _nearest_line(points: np.ndarray, lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of `lines`, (k, 2) vertices each, to points (n, 2): index and distance."""
    nearest, shortest = np.zeros(len(points), int), np.full(len(points), np.inf)
    for index, line in enumerate(lines):
        line = np.asarray(line, float)
        first, second = (line, line) if len(line) == 1 else (line[:-1], line[1:])
        along = second - first  # (k − 1, 2)
        squared = np.maximum((along**2).sum(axis=1), 1e-12)
        to = points[:, None] - first  # (n, k − 1, 2)
        fraction = np.clip((to * along).sum(axis=2) / squared, 0, 1)
        distance = np.linalg.norm(to - fraction[..., None] * along, axis=2).min(axis=1)
        nearest[distance < shortest] = index
        shortest = np.minimum(shortest, distance)
    return nearest, shortest

"""Two-dimensional crystals with their exact truth (sites, bonds, grains), relaxed by springs.

Positions are in Å as (row, column). An angle is the direction of a lattice vector, from the
column axis towards the row axis.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from graphseg.simulation.configuration import CARBON, Material

SITES = ("positions", "sublattice", "heights", "grains")  # what a structure has for each site
BONDED = 1.3  # bond lengths, below which two sites are bonded; second neighbours are at 1.73
STEPS = 40  # bond lengths then change by less than 0.01 Å a step
INERTIA, STEP = 0.7, 0.12  # of the heavy-ball method; stable for three bonds and six neighbours


@dataclass(frozen=True, eq=False)
class Structure:
    """A layer of sites with its exact truth.

    Attributes
    ----------
    positions, heights
        (n, 2) float64 in Å, (row, column), and (n,) float64 in Å, of the sheet at each site.
    sublattice, grains
        (n,) int, which of the two sites of the material, and which grain.
    bonds
        (m, 2) int, pairs of sites, each once, the smaller first.
    angles
        (g,) float64, the direction of a lattice vector of each grain in radians, from the column
        axis towards the row axis.
    material
        What occupies the sites.

    Examples
    --------
    >>> sheet = crystal(20.0)
    >>> left = sheet.keep(sheet.positions[:, 1] < 10)
    >>> bool(len(left) < len(sheet)), left.bonds.shape[1]
    (True, 2)
    """

    positions: np.ndarray
    sublattice: np.ndarray
    heights: np.ndarray
    grains: np.ndarray
    bonds: np.ndarray
    angles: np.ndarray
    material: Material = CARBON

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def numbers(self) -> np.ndarray:
        """(n,) int, the atomic number of the first atom of each site."""
        return np.array([site[0][0] for site in self.material.sites])[self.sublattice]

    def atoms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return all atoms: positions (k, 2) Å, heights (k,) Å, atomic numbers (k,)."""
        parts = []
        for kind, site in enumerate(self.material.sites):
            chosen = self.sublattice == kind
            here, level = self.positions[chosen], self.heights[chosen]
            parts += [(here, level + height, np.full(len(here), number)) for number, height in site]
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    def keep(self, chosen: np.ndarray) -> "Structure":
        """Return the structure with only the sites `chosen` (n,) bool and their bonds."""
        new = np.cumsum(chosen) - 1
        kept = {name: getattr(self, name)[chosen] for name in SITES}
        bonds = self.bonds[chosen[self.bonds].all(axis=1)]
        return replace(self, **kept, bonds=new[bonds])

    def inside(self, low: float, high: float) -> np.ndarray:
        """Return which sites (n,) lie in the square from `low` to `high` (Å)."""
        return ((self.positions >= low) & (self.positions <= high)).all(axis=1)

    def moved(self, positions: np.ndarray, heights: np.ndarray | None = None) -> "Structure":
        """Return the structure with other positions, and heights if given."""
        heights = self.heights if heights is None else heights
        return replace(self, positions=positions, heights=heights)


def lattice_vectors(angle: float, material: Material = CARBON) -> np.ndarray:
    """Return the two lattice vectors as rows of a (2, 2) array, Å, (row, column)."""
    directions = angle + np.array([0.0, np.pi / 3])
    return material.lattice_constant * np.stack([np.sin(directions), np.cos(directions)], axis=1)


def lattice_points(vectors: np.ndarray, origin: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the points (n, 2) of a lattice inside the square from `low` to `high`."""
    corners = np.array([[low, low], [low, high], [high, low], [high, high]]) - origin
    cells = corners @ np.linalg.inv(vectors)
    first, last = np.floor(cells.min(axis=0)), np.ceil(cells.max(axis=0))
    axes = [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2) @ vectors + origin
    return points[((points >= low) & (points <= high)).all(axis=1)]


def honeycomb(
    low: float, high: float, angle: float, origin: np.ndarray, material: Material = CARBON
) -> tuple[np.ndarray, np.ndarray]:
    """Return sites (n, 2) Å in a square and their sublattice (n,); `origin` centres a ring."""
    vectors = lattice_vectors(angle, material)
    sites = [
        lattice_points(vectors, origin + weight * vectors.sum(axis=0), low, high)
        for weight in (1 / 3, 2 / 3)
    ]
    return np.concatenate(sites), np.repeat([0, 1], [len(part) for part in sites])


def squared_distance(points: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the squared distance (n,) of points (n, 2) from a place (2,) or from one each."""
    return ((points - place) ** 2).sum(axis=1)


def bonded_pairs(positions: np.ndarray, material: Material = CARBON) -> np.ndarray:
    """Return the pairs (m, 2) of sites closer than `BONDED` bond lengths."""
    return cKDTree(positions).query_pairs(BONDED * material.bond, output_type="ndarray")


def crystal(
    extent: float,
    angle: float = 0.0,
    origin: tuple[float, float] = (0.0, 0.0),
    material: Material = CARBON,
    low: float = 0.0,
) -> Structure:
    """Return a perfect crystal that fills the square from `low` to `extent` Å.

    Parameters
    ----------
    extent, low : float
        Upper and lower limit of rows and columns in Å.
    angle : float
        Direction of a lattice vector in radians, from the column axis towards the row axis.
    origin : (float, float)
        Centre of a ring in Å.
    material : Material

    Examples
    --------
    >>> sheet = crystal(30.0)
    >>> apart = np.diff(sheet.positions[sheet.bonds], axis=1)[:, 0]
    >>> np.linalg.norm(apart, axis=1).mean().round(3)  # a bond of graphene, Å
    np.float64(1.42)
    """
    positions, sublattice = honeycomb(low, extent, angle, np.asarray(origin, float), material)
    return Structure(
        positions,
        sublattice,
        np.zeros(len(positions)),
        np.zeros(len(positions), int),
        bonded_pairs(positions, material),
        np.array([angle]),
        material,
    )


def relaxed(structure: Structure, movable: np.ndarray) -> Structure:
    """Relax bonds and angles with springs; only sites `movable` (n,) bool move."""
    # The energy is the sum of ½ (d − d₀)² over bonds (d₀ the bond length) and, weighted by
    # `Material.shear`, over second neighbours (d₀ the lattice constant): the harmonic form of a
    # Keating potential. It goes down by the heavy-ball method.
    if not movable.any():
        return structure
    # Second neighbours of movable sites hang on bonds that touch a bonded neighbour.
    touched = movable.copy()
    touched[structure.bonds[movable[structure.bonds].any(axis=1)]] = True
    bonds = structure.bonds[touched[structure.bonds].any(axis=1)]
    members, bonds = np.unique(bonds, return_inverse=True)
    bonds = bonds.reshape(-1, 2)
    pairs, rest, stiffness = _springs(bonds, len(members), structure.material)
    positions = structure.positions.copy()
    positions[members] = _descend(positions[members], pairs, rest, stiffness, movable[members])
    return structure.moved(positions)


def _springs(bonds, number, material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs (k, 2) of first and second neighbours, rest lengths (Å) and stiffness (k,)."""
    graph = sparse.csr_array((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), (number, number))
    graph = graph + graph.T
    second = sparse.triu(graph @ graph, 1).tocoo()
    counts = [len(bonds), second.nnz]
    pairs = np.concatenate([bonds, np.stack([second.row, second.col], axis=1)])
    rest = np.repeat([material.bond, material.lattice_constant], counts)
    return pairs, rest, np.repeat([1.0, material.shear], counts)


def _descend(positions, pairs, rest, stiffness, movable) -> np.ndarray:
    pairs_move = movable[pairs].any(axis=1)
    pairs, rest, stiffness = pairs[pairs_move], rest[pairs_move], stiffness[pairs_move]
    count = len(pairs)
    rows = np.concatenate([pairs[:, 0], pairs[:, 1]])
    signs = np.repeat([1.0, -1.0], count) * movable[rows]
    incidence = sparse.csr_array(
        (signs, (rows, np.tile(np.arange(count), 2))), (len(positions), count)
    )
    positions, velocity = positions.copy(), np.zeros_like(positions)
    for _ in range(STEPS):
        vectors = positions[pairs[:, 1]] - positions[pairs[:, 0]]
        lengths = np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2)
        pull = stiffness * (1 - rest / np.maximum(lengths, 1e-3))
        velocity = INERTIA * velocity + STEP * (incidence @ (pull[:, None] * vectors))
        positions += velocity
    return positions

"""Relaxation of a structure by springs."""

import numpy as np
from scipy import sparse

from graphseg.simulation.structures import Structure

STEPS = 40  # bond lengths then change by less than 0.01 Å a step
INERTIA, STEP = 0.7, 0.12  # of the heavy-ball method; stable for three bonds and six neighbours


def relaxed(structure: Structure, movable: np.ndarray) -> Structure:
    """Relax bonds and angles with springs; only sites `movable` (n,) bool move.

    The energy is the sum of ½ (d − d₀)² over bonds (d₀ the bond length) and, weighted by
    `Material.shear`, over second neighbours (d₀ the lattice constant): the harmonic form of a
    Keating potential. It goes down by the heavy-ball method.
    """
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

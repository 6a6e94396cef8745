"""Contamination: patches of amorphous carbon, flakes of a second layer, chains, single atoms."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from graphseg.simulation.configuration import CARBON, ContaminantRanges, Material
from graphseg.simulation.noise import smooth_noise
from graphseg.simulation.structures import honeycomb

CELL = 0.8  # Å, of the grid on which outlines and thickness are drawn; below the atoms' distance
BLOCK = 48.0  # Å, edge of the periodic block of amorphous carbon that patches are cut from
BLOCK_SEED = 80  # every process cuts from the same block
LAYER_DISTANCE = 3.35  # Å, between layers of graphite
CHAIN_BOND = 1.35  # Å, in a chain of carbon atoms
LARGEST_COVERAGE = 0.6  # of the frame, as in the published labels


@dataclass(frozen=True, eq=False)
class Contaminant:
    """Contaminant atoms.

    Attributes
    ----------
    positions
        (n, 2) float64 in Å, (row, column).
    heights
        (n,) float64 in Å; the layer lies at 0.
    numbers
        (n,) int, atomic numbers.
    adatom
        (n,) bool, single atoms on clean areas that a person does not call contamination.
    """

    positions: np.ndarray
    heights: np.ndarray
    numbers: np.ndarray
    adatom: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)


NOTHING = Contaminant(np.zeros((0, 2)), np.zeros(0), np.zeros(0, int), np.zeros(0, bool))


@lru_cache(maxsize=4)
def amorphous_block(density: float, hard_core: float) -> np.ndarray:
    """Return a periodic block of atoms (n, 3) in Å, edge `BLOCK`, sorted by the last axis.

    Random points at the given density (atoms/Å³) are pushed apart until no two are closer than
    `hard_core` (Å); the result is the same in every process.
    """
    rng = np.random.default_rng(BLOCK_SEED)
    points = rng.uniform(0, BLOCK, (round(density * BLOCK**3), 3))
    for _ in range(200):
        tree = cKDTree(points, boxsize=BLOCK)
        pairs = tree.query_pairs(hard_core, output_type="ndarray")
        if not len(pairs):
            break
        apart = points[pairs[:, 0]] - points[pairs[:, 1]]
        apart -= BLOCK * np.round(apart / BLOCK)
        length = np.sqrt((apart**2).sum(axis=1))
        # A little more than needed, so that the last pairs do not approach the limit for ever.
        push = 0.5 * (1.02 * hard_core / np.maximum(length, 1e-6) - 1)[:, None] * apart
        np.add.at(points, pairs[:, 0], push)
        np.add.at(points, pairs[:, 1], -push)
        points = np.mod(points, BLOCK)
    return points[np.argsort(points[:, 2])]


def draw_contaminant(
    rng: np.random.Generator,
    low: float,
    high: float,
    frame: tuple[float, float],
    ranges: ContaminantRanges,
    material: Material = CARBON,
) -> Contaminant:
    """Draw the contamination of one frame.

    Parameters
    ----------
    low, high
        The square that is simulated, Å.
    frame
        The part of it that is kept: coverage refers to it.
    """
    parts = []
    if rng.random() >= ranges.clean_share:
        patch, inside = _outlines(rng, low, high, frame, ranges)
        parts.append(_fill(rng, patch, inside, low, ranges, material))
        parts.append(_chains(rng, inside, low, ranges))
    parts.append(_adatoms(rng, low, high, ranges))
    positions, heights, numbers, adatom = (np.concatenate(x) for x in zip(*parts, strict=True))
    if rng.random() < ranges.heavy_share and len(numbers):
        share = rng.uniform(*ranges.heavy)
        chosen = rng.random(len(numbers)) < share
        numbers[chosen] = rng.choice(ranges.heavy_numbers, int(chosen.sum()))
    return Contaminant(positions, heights, numbers, adatom)


def _outlines(rng, low, high, frame, ranges) -> tuple[np.ndarray, np.ndarray]:
    """Draw the patches: which patch each cell of the grid belongs to, and whether it is inside."""
    number = int(np.ceil((high - low) / CELL))
    axis = low + (np.arange(number) + 0.5) * CELL
    size = frame[1] - frame[0]
    scores = []
    for _ in range(int(rng.integers(ranges.patches[0], ranges.patches[1] + 1))):
        centre = rng.uniform(frame[0], frame[1], 2)
        if rng.random() < ranges.edge_share:
            side = rng.integers(2)
            centre[side] = frame[int(rng.integers(2))] + rng.uniform(-0.1, 0.08) * size
        rows, columns = np.meshgrid(axis - centre[0], axis - centre[1], indexing="ij")
        scores.append(_shape(rng, rows, columns, size))
    wobble = smooth_noise(rng, (number, number), float(rng.uniform(3, 9)) / CELL)
    fine = smooth_noise(rng, (number, number), 1.5 / CELL)
    scores = np.stack(scores) + rng.uniform(0.02, 0.12) * wobble + rng.uniform(0, 0.02) * fine
    best = scores.max(axis=0)
    median, spread = ranges.coverage
    coverage = min(median * spread ** float(rng.standard_normal()), LARGEST_COVERAGE)
    visible = (axis > frame[0]) & (axis < frame[1])
    limit = np.quantile(best[np.ix_(visible, visible)], 1 - coverage)
    return scores.argmax(axis=0), best > limit


def _shape(rng, rows, columns, size) -> np.ndarray:
    """Return a score that falls from the middle of a patch outwards: an ellipse or a polygon."""
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * rows + np.sin(turn) * columns
    across = np.cos(turn) * columns - np.sin(turn) * rows
    radius = size * np.exp(rng.uniform(np.log(0.08), np.log(0.35)))
    if rng.random() < 0.15:  # straight edges along lattice directions, a triangle
        corners = turn + np.arange(3) * 2 * np.pi / 3
        distance = np.max([np.cos(c) * rows + np.sin(c) * columns for c in corners], axis=0)
        return (-2 * distance / radius).astype(np.float32)
    aspect = np.exp(rng.uniform(0, np.log(3)))
    theta = np.arctan2(across, along)
    lobes = sum(
        rng.normal(0, 0.25 / n) * np.cos(n * theta + rng.uniform(0, 2 * np.pi)) for n in (1, 2, 3)
    )
    return (-np.hypot(along / aspect, across) / radius * (1 + lobes)).astype(np.float32)


def _thickness(rng, patch, inside, ranges) -> tuple[np.ndarray, np.ndarray]:
    """Return the thickness of amorphous carbon in each cell, Å, and where flakes lie instead."""
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) * CELL
    size = float(rng.uniform(*ranges.clump_size))
    clumps = smooth_noise(rng, inside.shape, size / CELL)
    thickness = np.zeros(inside.shape, np.float32)
    island = np.zeros(inside.shape, bool)
    for number in range(int(patch.max()) + 1):
        here = inside & (patch == number)
        sheet = rng.uniform(*ranges.sheet) if rng.random() < ranges.sheet_share else 0.0
        core = np.exp(rng.uniform(*np.log(ranges.core)))
        # A patch begins as a sheet and rises to its core further in, or has no core.
        start = rng.exponential(6.0) if sheet and rng.random() < 0.6 else 0.0
        core = 0.0 if sheet and rng.random() < 0.2 else core
        rise = 1 - np.exp(-np.maximum(depth - start, 0) / rng.uniform(*ranges.wall))
        profile = sheet + core * rise
        if rng.random() < ranges.rim_share:
            profile = profile + rng.uniform(*ranges.rim) * np.exp(-((depth - start - 1) ** 2) / 4)
        rough = rng.uniform(*ranges.clumping)
        if rng.random() < ranges.island_share:
            island |= here
            profile = profile * (rng.random() < 0.5) * 0.2
        thickness[here] = (profile * np.exp(rough * clumps - rough**2 / 2))[here]
    return thickness, island


def _fill(rng, patch, inside, low, ranges, material):
    """Cut the patches from the block of amorphous carbon, and flakes from the crystal."""
    thickness, island = _thickness(rng, patch, inside, ranges)
    high = low + len(inside) * CELL
    block = amorphous_block(ranges.density, ranges.hard_core)
    shift = rng.uniform(0, BLOCK, 3)
    block = np.mod(block[:, rng.permutation(3)] + shift, BLOCK)
    block = block[block[:, 2] < thickness.max(initial=0)]
    tiles = low + BLOCK * np.arange(np.ceil((high - low) / BLOCK))
    offsets = np.stack(np.meshgrid(tiles, tiles, indexing="ij"), -1).reshape(-1, 1, 2)
    positions = (offsets + block[:, :2]).reshape(-1, 2)
    heights = np.tile(block[:, 2], len(offsets))
    gap = rng.uniform(*ranges.gap)
    within = (positions < high).all(axis=1)  # the tiles reach beyond the square
    kept = within & (heights < _lookup(thickness, positions, low))
    positions, heights = positions[kept], heights[kept] + gap
    numbers = np.full(len(positions), 6)
    if island.any():
        flake, sublattice = honeycomb(low, high, rng.uniform(0, 2 * np.pi), rng.uniform(0, 3, 2),
                                      material)  # fmt: skip
        on = _lookup(island, flake, low)
        for kind, site in enumerate(material.sites):
            chosen = flake[on & (sublattice == kind)]
            for number, height in site:
                positions = np.concatenate([positions, chosen])
                heights = np.concatenate([heights, np.full(len(chosen), height + LAYER_DISTANCE)])
                numbers = np.concatenate([numbers, np.full(len(chosen), number)])
    side = rng.choice([-1.0, 1.0], int(patch.max()) + 1)[_lookup(patch, positions, low)]
    return positions, heights * side, numbers, np.zeros(len(positions), bool)


def _lookup(grid: np.ndarray, positions: np.ndarray, low: float) -> np.ndarray:
    """Return the value of the grid's cell at each position; the nearest cell outside of it."""
    cells = np.clip(((positions - low) * (1 / CELL)).astype(np.intp), 0, len(grid) - 1)
    return grid[cells[:, 0], cells[:, 1]]


def _chains(rng, inside, low, ranges):
    """Draw chains of carbon atoms that start at the edges of patches and wander."""
    edge = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    count = int(rng.poisson(ranges.chains)) if len(edge) else 0
    chains = []
    for _ in range(count):
        steps = int(rng.integers(3, 15))
        turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
        walk = CHAIN_BOND * np.cumsum(np.stack([np.sin(turns), np.cos(turns)], axis=1), axis=0)
        chains.append(low + (edge[rng.integers(len(edge))] + 0.5) * CELL + walk)
    positions = np.concatenate(chains) if chains else np.zeros((0, 2))
    number = len(positions)
    return positions, np.full(number, 3.0), np.full(number, 6), np.zeros(number, bool)


def _adatoms(rng, low, high, ranges):
    number = int(rng.integers(ranges.adatoms + 1))
    positions = rng.uniform(low, high, (number, 2))
    # Carbon most often; silicon is the heavier element most often found on graphene.
    numbers = rng.choice([6, 14], number, p=[0.7, 0.3]) if number else np.zeros(0, int)
    return positions, np.full(number, 2.0), numbers, np.ones(number, bool)

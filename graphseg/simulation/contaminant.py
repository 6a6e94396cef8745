"""Contamination: patches of amorphous carbon, flakes of a second layer, chains, single atoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from graphseg.simulation.configuration import CARBON, ContaminantRanges, Material
from graphseg.simulation.crystal import crystal

CELL = 0.8  # Å, of the grid on which outlines and thickness are drawn; below the atoms' distance
BLOCK = 48.0  # Å, edge of the periodic block of amorphous carbon that patches are cut from
BLOCK_SEED = 80  # every process cuts from the same block
LAYER_DISTANCE = 3.35  # Å, between layers of graphite
FINE = 1.5  # Å, correlation length of the finest roughness of outlines, about one bond
RIM_DEPTH, RIM_WIDTH = 1.0, 1.4  # Å, where an atomic wall stands and its standard deviation
CHAIN_TURN = 0.35  # rad, standard deviation of the turn from one atom of a chain to the next
CHAIN_BOND = 1.35  # Å, in a chain of carbon atoms
LARGEST_COVERAGE = 0.6  # of the frame, as in the published labels


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """Return Gaussian noise of unit variance with correlation length `width` in grid points."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, width, mode="wrap", truncate=3)
    return field / max(float(field.std()), 1e-12)


def lobes(rng: np.random.Generator, angles: np.ndarray, deviations: dict[int, float]) -> np.ndarray:
    """Return random waves over angles in radians: n on a turn, of the standard deviation of n."""
    return sum(
        rng.normal(0, deviation) * np.cos(n * angles + rng.uniform(0, 2 * np.pi))
        for n, deviation in deviations.items()
    )


@dataclass(frozen=True, eq=False)
class Contaminant:
    """Contaminant atoms."""

    positions: np.ndarray  # (n, 2) float64 in Å, (row, column)
    heights: np.ndarray  # (n,) float64 in Å; the layer lies at 0
    numbers: np.ndarray  # (n,) int, atomic numbers
    overlooked: np.ndarray  # (n,) bool, chains, single atoms and bare flakes: not outlined

    def __len__(self) -> int:
        return len(self.positions)


NOTHING = Contaminant(np.zeros((0, 2)), np.zeros(0), np.zeros(0, int), np.zeros(0, bool))


def joined(parts: Sequence[Contaminant]) -> Contaminant:
    """Return all atoms of several."""
    names = ("positions", "heights", "numbers", "overlooked")
    return Contaminant(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))


def overlooked(positions: np.ndarray, heights, numbers) -> Contaminant:
    """Return atoms that nobody outlines at positions (n, 2); heights, numbers for each or all."""
    heights, numbers = (
        np.broadcast_to(np.asarray(values, kind), len(positions)).copy()
        for values, kind in ((heights, float), (numbers, int))
    )
    return Contaminant(positions, heights, numbers, np.ones(len(positions), bool))


@lru_cache(maxsize=4)
def amorphous_block(density: float, hard_core: float) -> np.ndarray:
    """Return a periodic block of atoms (n, 3) in Å, edge `BLOCK`, sorted by the last axis.
    Random points at the given density (atoms/Å³) are pushed apart until no two are closer than
    `hard_core` (Å); the result is the same in every process."""
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
    The square from `low` to `high` (Å) is simulated, and `frame` (Å) is the part that is kept:
    coverage refers to it."""
    parts = [NOTHING]
    if rng.random() >= ranges.clean_fraction:
        patch, inside = _outlines(rng, low, high, frame, ranges)
        parts.append(_fill(rng, patch, inside, low, ranges, material))
        parts.append(_chains(rng, inside, low, ranges))
    adatoms = rng.uniform(low, high, (int(rng.integers(ranges.adatoms + 1)), 2))
    silicon = rng.random(len(adatoms)) < ranges.adatom_silicon
    parts.append(overlooked(adatoms, 2.0, np.where(silicon, 14, 6)))
    found = joined(parts)
    if rng.random() < ranges.heavy_fraction and len(found):
        fraction = rng.uniform(*ranges.heavy)
        chosen = rng.random(len(found)) < fraction
        found.numbers[chosen] = rng.choice(ranges.heavy_numbers, int(chosen.sum()))
    return found


def _outlines(rng, low, high, frame, ranges) -> tuple[np.ndarray, np.ndarray]:
    """Draw the patches: which patch each cell of the grid belongs to, and whether it is inside."""
    number = int(np.ceil((high - low) / CELL))
    axis = low + (np.arange(number) + 0.5) * CELL
    size = frame[1] - frame[0]
    scores = []
    for _ in range(int(rng.integers(ranges.patches[0], ranges.patches[1] + 1))):
        centre = rng.uniform(frame[0], frame[1], 2)
        if rng.random() < ranges.edge_fraction:
            side = rng.integers(2)
            centre[side] = frame[int(rng.integers(2))] + rng.uniform(-0.1, 0.08) * size
        rows, columns = np.meshgrid(axis - centre[0], axis - centre[1], indexing="ij")
        scores.append(_shape(rng, rows / size, columns / size, ranges))
    scores = np.stack(scores)
    for length, strength in (
        (float(rng.uniform(*ranges.roughness_size)), float(rng.uniform(*ranges.roughness))),
        (FINE, float(rng.uniform(0, ranges.fine_roughness))),
    ):
        scores += strength * smooth_noise(rng, (number, number), length / CELL)
    best = scores.max(axis=0)
    median, spread = ranges.coverage
    coverage = min(median * spread ** float(rng.standard_normal()), LARGEST_COVERAGE)
    visible = (axis > frame[0]) & (axis < frame[1])
    limit = np.quantile(best[np.ix_(visible, visible)], 1 - coverage)
    return scores.argmax(axis=0), best > limit


def _shape(rng, rows, columns, ranges) -> np.ndarray:
    """Return a score that falls from the middle of a patch outwards: an ellipse or a triangle.
    `rows` and `columns` are distances from the middle as fractions of the frame's side."""
    turn = rng.uniform(0, np.pi)
    along = np.cos(turn) * rows + np.sin(turn) * columns
    across = np.cos(turn) * columns - np.sin(turn) * rows
    radius = np.exp(rng.uniform(*np.log(ranges.radius)))
    if rng.random() < ranges.triangle_fraction:
        half = np.sqrt(3) / 2
        sides = [along, half * across - along / 2, -half * across - along / 2]
        return (-2 * np.max(sides, axis=0) / radius).astype(np.float32)
    aspect = np.exp(rng.uniform(0, np.log(ranges.aspect)))
    theta = np.arctan2(across, along)
    outline = 1 + lobes(rng, theta, {n: ranges.lobes / n for n in (1, 2, 3)})
    return (-np.hypot(along / aspect, across) / radius * outline).astype(np.float32)


def _thickness(rng, patch, inside, ranges) -> tuple[np.ndarray, np.ndarray]:
    """Return the thickness of amorphous carbon in each cell, Å, and where flakes lie instead."""
    depth = ndimage.distance_transform_edt(inside).astype(np.float32) * CELL
    size = float(rng.uniform(*ranges.clump_size))
    clumps = smooth_noise(rng, inside.shape, size / CELL)
    thickness = np.zeros(inside.shape, np.float32)
    island = np.zeros(inside.shape, bool)
    for number in range(int(patch.max()) + 1):
        here = inside & (patch == number)
        profile = _profile(rng, depth[here], ranges)
        if rng.random() < ranges.island_fraction:
            island |= here
            profile *= ranges.island_cover * float(rng.random() < ranges.island_covered)
        rough = float(rng.uniform(*ranges.clumping))
        # The mean of the log-normal factor is 1.
        thickness[here] = profile * np.exp(rough * clumps[here] - rough**2 / 2)
    return thickness, island


def _profile(rng, depth, ranges) -> np.ndarray:
    """Return the thickness (n,) in Å of one patch at each distance from its edge (n,) in Å."""
    sheet = float(rng.uniform(*ranges.sheet)) if rng.random() < ranges.sheet_fraction else 0.0
    core = float(np.exp(rng.uniform(*np.log(ranges.core))))
    start = 0.0  # where the thick part begins
    if sheet:
        start = float(rng.exponential(ranges.sheet_width) * (rng.random() < ranges.bare_fraction))
        core *= float(rng.random() >= ranges.sheet_only_fraction)
    wall = float(rng.uniform(*ranges.wall))
    profile = sheet + core * (1 - np.exp(-np.maximum(depth - start, 0) / wall))
    if rng.random() < ranges.rim_fraction:
        top = float(rng.uniform(*ranges.rim))
        profile += top * np.exp(-((depth - start - RIM_DEPTH) ** 2) / (2 * RIM_WIDTH**2))
    return profile


def _fill(rng, patch, inside, low, ranges, material) -> Contaminant:
    """Cut the patches from the block of amorphous carbon, and flakes from the crystal."""
    thickness, island = _thickness(rng, patch, inside, ranges)
    high = low + len(inside) * CELL
    positions, heights = _cut(rng, thickness, low, high, ranges)
    numbers = np.full(len(positions), 6)
    if island.any():
        flake = crystal(high, rng.uniform(0, 2 * np.pi), rng.uniform(0, 3, 2), material, low)
        parts = flake.keep(_lookup(island, flake.positions, low)).atoms()
        positions = np.concatenate([positions, parts[0]])
        heights = np.concatenate([heights, parts[1] + LAYER_DISTANCE])
        numbers = np.concatenate([numbers, parts[2]])
    side = rng.choice([-1.0, 1.0], int(patch.max()) + 1)[_lookup(patch, positions, low)]
    return Contaminant(positions, heights * side, numbers, np.zeros(len(positions), bool))


def _cut(rng, thickness, low, high, ranges) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and heights of the amorphous atoms below the given thickness."""
    block = amorphous_block(ranges.density, ranges.hard_core)
    block = np.mod(block[:, rng.permutation(3)] + rng.uniform(0, BLOCK, 3), BLOCK)
    block = block[block[:, 2] < thickness.max()]
    tiles = low + BLOCK * np.arange(np.ceil((high - low) / BLOCK))
    offsets = np.stack(np.meshgrid(tiles, tiles, indexing="ij"), -1).reshape(-1, 1, 2)
    positions = (offsets + block[:, :2]).reshape(-1, 2)
    heights = np.tile(block[:, 2], len(offsets))
    within = (positions < high).all(axis=1)  # the tiles reach beyond the square
    kept = within & (heights < _lookup(thickness, positions, low))
    return positions[kept], heights[kept] + rng.uniform(*ranges.gap)


def _lookup(grid: np.ndarray, positions: np.ndarray, low: float) -> np.ndarray:
    """Return the value of the grid's cell at each position; the nearest cell outside of it."""
    cells = np.clip(((positions - low) * (1 / CELL)).astype(np.intp), 0, len(grid) - 1)
    return grid[cells[:, 0], cells[:, 1]]


def _chains(rng, inside, low, ranges) -> Contaminant:
    """Draw chains of carbon atoms that start at the edges of patches and wander."""
    edge = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    count = int(rng.poisson(ranges.chains)) if len(edge) else 0
    chains = []
    for _ in range(count):
        steps = int(rng.integers(ranges.chain_atoms[0], ranges.chain_atoms[1] + 1))
        turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, CHAIN_TURN, steps))
        walk = CHAIN_BOND * np.cumsum(np.stack([np.sin(turns), np.cos(turns)], axis=1), axis=0)
        chains.append(low + (edge[rng.integers(len(edge))] + 0.5) * CELL + walk)
    positions = np.concatenate(chains) if chains else np.zeros((0, 2))
    return overlooked(positions, 3.0, 6)

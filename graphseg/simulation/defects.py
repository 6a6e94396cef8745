"""Structure that is easily taken for contamination: loops, chains, divacancies, atoms, layers."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from graphseg.simulation.configuration import Configuration, DefectRanges
from graphseg.simulation.contaminant import (
    LAYER_DISTANCE,
    NOTHING,
    Contaminant,
    joined,
    lobes,
    overlooked,
)
from graphseg.simulation.crystal import (
    Structure,
    crystal,
    lattice_vectors,
    relaxed,
    squared_distance,
)

GrainMap = Callable[[np.ndarray], np.ndarray]
ADATOM_HEIGHT = 2.0  # Å, of a single atom above the sheet
BULB = 3.4  # Å, radius of the bend of a fold: graphene does not bend more sharply
RELAXED = 8.0  # Å around a divacancy, within which sites move
# Lobes of the outline of an island, by their number on a turn, and the standard deviation of each
# relative to the radius.
EDGE_LOBES = {2: 0.12, 3: 0.12, 4: 0.12}


def draw_loops(
    rng: np.random.Generator,
    frame: tuple[float, float],
    angles: np.ndarray,
    origins: np.ndarray,
    grain_at: GrainMap,
    configuration: Configuration,
) -> tuple[np.ndarray, np.ndarray, GrainMap]:
    """Add grains that lie inside of others, if the frame is to have any.
    Their centres lie between the limits of `frame` (Å); takes and returns the `angles`, `origins`
    and `grain_at` of `graphseg.simulation.grains.polycrystal`."""
    ranges = configuration.defects
    if rng.random() >= ranges.loop_fraction:
        return angles, origins, grain_at
    loops = []
    for _ in range(int(rng.integers(ranges.loops[0], ranges.loops[1] + 1))):
        centre = rng.uniform(*frame, 2)
        radius = float(np.exp(rng.uniform(*np.log(ranges.loop_radius))))
        flower = rng.random() < ranges.flower_fraction
        turn = np.pi / 6 if flower else float(rng.uniform(0, np.pi / 3))
        loops.append((centre, radius, turn, flower))
    return with_loops(angles, origins, grain_at, loops, configuration)


def with_loops(angles, origins, grain_at, loops, configuration):
    """Add given loops, each (centre (2,) Å, radius Å, turn in radians, whether about a ring)."""
    angles, origins = list(angles), list(origins)
    outside, placed = len(angles), []
    for centre, radius, turn, about_ring in loops:
        parent = int(grain_at(centre[None])[0])
        if about_ring:
            vectors = lattice_vectors(angles[parent], configuration.material)
            cells = np.rint((centre - origins[parent]) @ np.linalg.inv(vectors))
            centre = origins[parent] + cells @ vectors
        placed.append((centre, radius))
        angles.append(angles[parent] + turn)
        origins.append(centre)

    def with_loops_at(positions: np.ndarray) -> np.ndarray:
        grains = grain_at(positions)
        for number, (centre, radius) in enumerate(placed):
            inside = squared_distance(positions, centre) < radius**2
            grains = np.where(inside, outside + number, grains)
        return grains

    return np.array(angles), np.array(origins), with_loops_at


def with_stone_wales(layer: Structure, rng: np.random.Generator, count: int) -> Structure:
    """Turn `count` random bonds by 90 degrees and relax around them (Stone & Wales, 1986)."""
    if not count:
        return layer
    return turned_bonds(layer, rng.choice(len(layer.bonds), count, replace=False))


def turned_bonds(layer: Structure, which: np.ndarray, apart: bool = True) -> Structure:
    """Turn the bonds `which` (k,) int by 90 degrees and relax around them.
    Bonds at edges stay as they are, and with `apart` those within 8 Å of one that was turned."""
    positions, bonds = layer.positions.copy(), layer.bonds.copy()
    moved = np.zeros(len(layer), bool)
    for chosen in which:
        first, second = bonds[chosen]
        middle, half = positions[[first, second]].mean(axis=0), positions[second] - positions[first]
        half = np.array([half[1], -half[0]]) / 2
        around = {
            atom: np.flatnonzero((bonds == atom).any(axis=1) & (np.arange(len(bonds)) != chosen))
            for atom in (first, second)
        }
        if any(len(found) != 2 for found in around.values()):
            continue
        if apart and moved[[first, second]].any():
            continue
        positions[first], positions[second] = middle - half, middle + half
        _swap_nearer(positions, bonds, around, first, second)
        moved |= squared_distance(positions, middle) < 8.0**2
    changed = replace(layer, positions=positions, bonds=np.sort(bonds, axis=1))
    return relaxed(changed, moved)


def _swap_nearer(positions, bonds, around, first, second) -> None:
    """Give each of the turned atoms the two nearest of the four outer neighbours, in place."""
    rows = np.concatenate([around[first], around[second]])
    outer = np.array([bonds[r][~np.isin(bonds[r], (first, second))][0] for r in rows])
    one, other = (squared_distance(positions[outer], positions[a]) for a in (first, second))
    owner = np.where(np.argsort(np.argsort(one - other)) < 2, first, second)
    bonds[rows] = np.stack([owner, outer], axis=1)


def draw_point_defects(
    layer: Structure, rng: np.random.Generator, low: float, high: float, ranges: DefectRanges
) -> Structure:
    """Add a chain of five- and seven-membered rings, and divacancies."""
    if rng.random() < ranges.chain_fraction:
        length = int(rng.integers(ranges.chain_length[0], ranges.chain_length[1] + 1))
        layer = with_chain(layer, rng.uniform(low, high, 2), length, int(rng.integers(3)))
    area = (high - low) ** 2 / 1e4
    for _ in range(rng.poisson(rng.uniform(*ranges.divacancies) * area)):
        layer = with_divacancy(layer, rng.uniform(low, high, 2))
    return layer


def with_chain(layer: Structure, start: np.ndarray, length: int, direction: int = 0) -> Structure:
    """Turn `length` parallel bonds in a row, two lattice constants apart, and relax.
    The first is near `start` (2,) Å; `direction` 0 to 2 is the lattice vector of the row."""
    middles = layer.positions[layer.bonds].mean(axis=1)
    away = layer.positions[layer.bonds[:, 1]] - layer.positions[layer.bonds[:, 0]]
    nearest = squared_distance(middles, start).argmin()
    angle = layer.angles[layer.grains[layer.bonds[nearest, 0]]] + direction * np.pi / 3
    along = np.array([np.sin(angle), np.cos(angle)])
    upright = np.abs(away @ along) < 0.3 * layer.material.bond
    first = middles[np.where(upright, squared_distance(middles, start), np.inf).argmin()]
    chosen = []
    for step in range(length):
        wanted = first + 2 * layer.material.lattice_constant * step * along
        distance = np.where(upright, squared_distance(middles, wanted), np.inf)
        if distance.min() < 0.25 * layer.material.bond**2:
            chosen.append(int(distance.argmin()))
    return turned_bonds(layer, np.array(chosen, int), apart=False)


def with_divacancy(layer: Structure, near: np.ndarray) -> Structure:
    """Remove the bonded pair nearest to a point (Å), leaving rings of 5, 8, 5; none at an edge."""
    bonds, number = layer.bonds, len(layer)
    nearest = squared_distance(layer.positions[bonds].mean(axis=1), near).argmin()
    pair = bonds[nearest]
    ends = []
    for atom in pair:
        around = bonds[(bonds == atom).any(axis=1)].ravel()
        ends.append(np.setdiff1d(around, pair))
    degree = np.bincount(bonds.ravel(), minlength=number)
    if any(len(end) != 2 for end in ends) or (degree[np.concatenate(ends)] != 3).any():
        return layer
    closing = np.sort(np.stack(ends), axis=1)
    if (np.linalg.norm(np.diff(layer.positions[closing], axis=1), axis=2) > 3.0).any():
        return layer
    middle = layer.positions[pair].mean(axis=0)
    kept = np.ones(number, bool)
    kept[pair] = False
    closed = replace(layer, bonds=np.concatenate([bonds, closing])).keep(kept)
    return relaxed(closed, squared_distance(closed.positions, middle) < RELAXED**2)


def draw_on_top(
    rng: np.random.Generator,
    low: float,
    high: float,
    frame: tuple[float, float],
    layer: Structure,
    ranges: DefectRanges,
) -> Contaminant:
    """Draw single heavy atoms and flakes of a second layer, all `overlooked`: no contamination.
    The square from `low` to `high` (Å) is simulated; flakes are centred in `frame` (Å), the part of
    it that is kept, and `layer` is what they lie on."""
    parts = [NOTHING]
    if rng.random() < ranges.adatom_fraction:
        number = int(rng.integers(ranges.adatoms[0], ranges.adatoms[1] + 1))
        elements = rng.choice(ranges.adatom_numbers, number)
        parts.append(single_atoms(rng.uniform(low, high, (number, 2)), elements))
    if rng.random() < ranges.islands_fraction:
        for _ in range(int(rng.integers(ranges.islands[0], ranges.islands[1] + 1))):
            aligned = bool(rng.random() < ranges.aligned_fraction)
            radius = float(rng.uniform(*ranges.island_radius))
            parts.append(island(rng, rng.uniform(*frame, 2), radius, aligned, layer, (low, high)))
    return joined(parts)


def single_atoms(positions: np.ndarray, numbers: np.ndarray) -> Contaminant:
    """Return single atoms on the sheet: positions (n, 2) in Å, atomic numbers (n,)."""
    return overlooked(positions, ADATOM_HEIGHT, numbers)


def island(
    rng: np.random.Generator,
    centre: np.ndarray,
    radius: float,
    aligned: bool,
    layer: Structure,
    limits: tuple[float, float],
) -> Contaminant:
    """Return a flake of one further layer of the same crystal, without any carbon on it.
    Its outline is a circle (Å) with three lobes of random height, inside the square `limits` (Å).
    It lies at any angle, or `aligned` as in graphite (AB, one sublattice above ring centres)."""
    site = squared_distance(layer.positions, centre).argmin()
    angle = layer.angles[layer.grains[site]] if aligned else rng.uniform(0, np.pi / 3)
    # A ring centre of the second layer above a site of the first is the stacking of graphite.
    below = tuple(layer.positions[site])
    flake = crystal(limits[1], float(angle), below, layer.material, limits[0])
    away = flake.positions - centre
    outline = 1 + lobes(rng, np.arctan2(away[:, 0], away[:, 1]), EDGE_LOBES)
    positions, heights, numbers = flake.keep(np.hypot(*away.T) < radius * outline).atoms()
    return overlooked(positions, heights + LAYER_DISTANCE, numbers)


@dataclass(frozen=True)
class Wrinkle:
    """A straight flat pleat: the sheet bends back, and back again, and goes on."""

    normal: np.ndarray  # (2,), direction in which the sheet goes on
    offset: float  # Å, of the first bend along that direction
    width: float  # Å, of the band of three sheets between the bends

    @property
    def taken_up(self) -> float:
        """How much of the sheet the pleat takes up, Å."""
        return 2 * (self.width + np.pi * BULB)

    def fold(self, layer: Structure) -> Structure:
        """Return a flat layer with this pleat; bonds along the sheet keep their lengths."""
        along = layer.positions @ self.normal - self.offset
        place, height, _ = pleated(along, 2, self.width)
        positions = layer.positions + np.outer(place - along, self.normal)
        return layer.moved(positions, layer.heights + height)


def draw_wrinkle(
    rng: np.random.Generator, frame: tuple[float, float], ranges: DefectRanges
) -> Wrinkle | None:
    """Draw a wrinkle through a point between the limits of the frame (Å), if it is to have one."""
    if rng.random() >= ranges.wrinkle_fraction:
        return None
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.sin(angle), np.cos(angle)])
    offset = float(rng.uniform(*frame, 2) @ normal)
    return Wrinkle(normal, offset, float(rng.uniform(*ranges.wrinkle_width)))


def pleated(
    along: np.ndarray, count: int, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fold a line back and forth: flat pieces, and half circles of radius `BULB` between them.
    `along` (n,) is the coordinate on the flat line; the first of `count` bends begins at 0, and
    flat pieces between them have this `width`. Returns where each point comes to lie along the
    first piece, how high above it (Å all), and whether it lies in a bend, (n,) each."""
    place, height, bent = along.copy(), np.zeros(len(along)), np.zeros(len(along), bool)
    start, edge, direction = 0.0, 0.0, 1.0
    for number in range(count):
        turn = np.clip((along - start) / BULB, 0, np.pi)
        beyond = along > start
        rest = np.maximum(along - start - np.pi * BULB, 0)
        folded = edge + direction * (BULB * np.sin(turn) - rest)
        place = np.where(beyond, folded, place)
        height = np.where(beyond, BULB * (2 * number + 1 - np.cos(turn)), height)
        bent |= beyond & (turn < np.pi)
        start += np.pi * BULB + width
        edge, direction = edge - direction * width, -direction
    return place, height, bent

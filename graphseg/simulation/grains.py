"""Random polycrystalline layers (grains, defects, holes, strain, ripples), built as duals.

The centres of the rings of a honeycomb form a triangular lattice, and the honeycomb is the dual
of its triangulation: every triangle is a site, every edge between two triangles a bond, and the
number of neighbours of a centre is the size of its ring. At a boundary the centres of two grains
are thinned and smoothed until every centre has five to seven neighbours. The boundary then is a
row of five- and seven-membered rings, as found by Ophus et al. (Phys. Rev. B 92, 205402, 2015);
springs relax its bonds and angles.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, cKDTree

from graphseg.simulation import defects
from graphseg.simulation.configuration import CARBON, Configuration, CrystalRanges, Material
from graphseg.simulation.crystal import (
    SITES,
    Structure,
    bonded_pairs,
    crystal,
    honeycomb,
    lattice_points,
    lattice_vectors,
    relaxed,
    squared_distance,
)

EDGE = 10.0  # Å, outermost part of a built polycrystal whose boundaries are not to be trusted
HELD = 4.0  # Å, outermost part of it where ring centres are held
WAVES = 3  # sinusoids that make up ripples and wavy boundaries
# In lattice constants:
ZONE = 3.25  # the width on each side of a boundary within which centres and sites may move
CLOSEST = 0.5  # of two centres nearer than this one is left out; bonds then stretch by 1 %
SMOOTHING_ROUNDS = 4  # triangulations, after which all rings have five to seven members
SMOOTHING_STEPS = 2  # of the centres after each triangulation


def bicrystal(
    extent: float,
    angles: tuple[float, float],
    point: tuple[float, float] | None = None,
    normal: float = 0.0,
    material: Material = CARBON,
) -> Structure:
    """Return two grains that meet at a straight, relaxed boundary, from 0 to `extent` Å.
    `angles` are the directions of a lattice vector of each grain. The boundary goes through `point`
    (Å; by default the middle); its `normal` points into grain 1. Angles in radians, from the column
    axis towards the row axis."""
    middle = np.full(2, extent / 2) if point is None else np.asarray(point, float)
    direction = np.array([np.sin(normal), np.cos(normal)])

    def grain_at(positions: np.ndarray) -> np.ndarray:
        return ((positions - middle) @ direction > 0).astype(int)

    built = polycrystal(
        -EDGE, extent + EDGE, np.array(angles), grain_at, np.zeros((2, 2)), material
    )
    return built.keep(built.inside(0, extent))


def polycrystal(
    low: float,
    high: float,
    angles: np.ndarray,
    grain_at: Callable[[np.ndarray], np.ndarray],
    origins: np.ndarray,
    material: Material = CARBON,
) -> Structure:
    """Return a polycrystal whose boundaries are relaxed rows of rings of five to seven.
    It fills the square from `low` to `high` (Å), whose outermost `EDGE` is not to be trusted. Grain
    i has a lattice vector in direction `angles[i]` (radians) and a ring centre at `origins[i]` (g,
    2) Å; `grain_at` maps positions (n, 2) Å to the grain there, (n,) int."""
    angles = np.asarray(angles, float)
    # Where boundaries run: between neighbouring ring centres of different grains.
    centres, owner = _assembled(low, high, angles, grain_at, origins, material)
    reach = 1.5 * material.lattice_constant
    pairs = cKDTree(centres).query_pairs(reach, output_type="ndarray")
    near = centres[pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]].mean(axis=1)  # (k, 2)
    # The sites of every lattice in its own grain.
    sites = [
        honeycomb(low, high, angle, origin, material)
        for angle, origin in zip(angles, origins, strict=True)
    ]
    positions, sublattice = (np.concatenate(x) for x in zip(*sites, strict=True))
    grains = np.repeat(np.arange(len(angles)), [len(part) for part, _ in sites])
    interior = grain_at(positions) == grains
    # Outside of the zone sites are those of the lattice, inside those of the relaxed dual.
    reach = (ZONE + 1) * material.lattice_constant
    tree = cKDTree(near) if len(near) else None
    if tree is not None:
        interior &= np.isinf(tree.query(positions, distance_upper_bound=reach)[0])
    none, flat = np.zeros((0, 2), int), np.zeros(len(positions))  # bonds follow below
    bulk = Structure(positions, sublattice, flat, grains, none, angles, material).keep(interior)
    if tree is None:
        return _bonded([bulk])
    # In the zone the dual of the smoothed centres, relaxed by springs. Centres at the border lack
    # neighbours: without these to hold them they would move inwards.
    free = ((centres > low + HELD) & (centres < high - HELD)).all(axis=1)
    zone = _dual(*_smooth_boundary(centres, owner, free, tree, material), angles, material)
    distance = tree.query(zone.positions, distance_upper_bound=reach)[0]
    zone = relaxed(zone, distance < ZONE * material.lattice_constant)
    return _bonded([bulk, zone.keep(np.isfinite(distance))])


def _bonded(parts: list[Structure]) -> Structure:
    """Join structures and connect what is near."""
    first = parts[0]
    sites = {name: np.concatenate([getattr(part, name) for part in parts]) for name in SITES}
    return replace(first, **sites, bonds=bonded_pairs(sites["positions"], first.material))


def _assembled(low, high, angles, grain_at, origins, material) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring centres of every grain in its own area, and their grain."""
    parts = []
    for grain, angle in enumerate(angles):
        points = lattice_points(lattice_vectors(angle, material), origins[grain], low, high)
        parts.append(points[grain_at(points) == grain])
    return np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _smooth_boundary(centres, owner, free, near: cKDTree, material):
    """Thin, complete and smooth the ring centres along the boundaries.
    Of two centres that are too close one is left out; centres with fewer than five neighbours are
    removed and those with more than seven get another beside them; those that are `free` and in the
    zone move to the mean of their neighbours. Returns centres (k, 2) near these, and grains."""
    constant = material.lattice_constant
    distance = near.query(centres, distance_upper_bound=(ZONE + 3) * constant)[0]
    frame = np.isfinite(distance)
    movable = (free & (distance < ZONE * constant))[frame]
    centres, owner = centres[frame], owner[frame]
    drop = np.zeros(len(centres), bool)
    for first, second in cKDTree(centres).query_pairs(CLOSEST * constant, output_type="ndarray"):
        if not drop[first]:
            drop[second] = True
    centres, owner, movable = centres[~drop], owner[~drop], movable[~drop]
    for _ in range(SMOOTHING_ROUNDS):
        centres, owner, movable = _smoothing_round(centres, owner, movable, constant)
    return centres, owner


def _smoothing_round(centres, owner, movable, constant):
    """Triangulate, move centres to the mean of their neighbours, and correct wrong degrees."""
    edges = _edges(Delaunay(centres).simplices)
    lengths = squared_distance(centres[edges[:, 0]], centres[edges[:, 1]])
    edges = edges[lengths < (2 * constant) ** 2]  # longer ones cross the outside of the zone
    number = len(centres)
    graph = sparse.csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (number, number))
    graph = graph + graph.T
    degree = np.diff(graph.indptr)
    moved, inner = centres.copy(), np.flatnonzero(movable & (degree > 0))
    fraction = graph[inner] / degree[inner, None]
    for _ in range(SMOOTHING_STEPS):
        moved[inner] = fraction @ moved
    few, many = movable & (degree < 5), np.flatnonzero(movable & (degree > 7))
    added = np.zeros((len(many), 2))
    for row, centre in enumerate(many):
        around = graph.indices[graph.indptr[centre] : graph.indptr[centre + 1]]
        # The new centre lies towards the farthest neighbour, where the triangles are largest.
        far = around[squared_distance(moved[around], moved[centre]).argmax()]
        added[row] = (moved[centre] + moved[far]) / 2
    centres = np.concatenate([moved[~few], added])
    owner = np.concatenate([owner[~few], owner[many]])
    return centres, owner, np.concatenate([movable[~few], np.ones(len(added), bool)])


def _edges(simplices: np.ndarray) -> np.ndarray:
    """Return every edge (m, 2) of triangles once."""
    edges = np.sort(simplices[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    keys = np.unique(edges[:, 0].astype(np.int64) * (edges.max() + 1) + edges[:, 1])
    return np.stack(np.divmod(keys, edges.max() + 1), axis=1)


def _dual(centres, owner, angles, material) -> Structure:
    """Put a site on every triangle of ring centres and a bond across every inner edge."""
    triangulation = Delaunay(centres)
    corners = centres[triangulation.simplices]  # (t, 3, 2)
    sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    kept = sides < 1.7 * material.lattice_constant  # flat triangles along the hull have √3
    positions = corners.mean(axis=1)
    grains = owner[triangulation.simplices[:, 0]]
    first = np.repeat(np.arange(len(corners)), 3)
    second = triangulation.neighbors.ravel()
    bonds = np.stack([first, second], axis=1)[first < second]
    towards = corners[:, 0] - positions
    turn = np.arctan2(towards[:, 0], towards[:, 1]) - angles[grains]
    # Seen from site 0 the centres lie at 210°, 330° and 90° to the lattice vector, from site 1
    # at 30°, 150° and 270°.
    sublattice = (np.cos(3 * (turn - np.pi / 6)) > 0).astype(int)
    whole = Structure(
        positions, sublattice, np.zeros(len(positions)), grains, bonds, angles, material
    )
    return whole.keep(kept)


def draw_layer(
    rng: np.random.Generator, low: float, high: float, configuration: Configuration
) -> Structure:
    """Draw the layer that fills the square from `low` to `high` (Å)."""
    ranges, material = configuration.crystal, configuration.material
    count = 1 + int(rng.choice(len(ranges.grain_fractions), p=ranges.grain_fractions))
    angles = rng.uniform(0, 2 * np.pi / 3, count)
    origins = rng.uniform(0, material.lattice_constant, (count, 2))
    extra, folding = rng.spawn(2)  # so that the other draws do not depend on these
    wrinkle = defects.draw_wrinkle(folding, (low, high), configuration.defects)
    more = EDGE if wrinkle is None else EDGE + wrinkle.taken_up
    start, stop = low - more, high + more
    grain_at = _grain_map(rng, low, high, count, ranges) if count > 1 else one_grain
    angles, origins, grain_at = defects.draw_loops(
        extra, (low, high), angles, origins, grain_at, configuration
    )
    if len(angles) == 1:
        layer = crystal(stop, float(angles[0]), tuple(origins[0]), material, low=start)
    else:
        layer = polycrystal(start, stop, angles, grain_at, origins, material)
    area = (high - low) ** 2 / 1e4
    number = rng.poisson(rng.uniform(*ranges.stone_wales) * area)
    layer = defects.with_stone_wales(layer, rng, number)
    layer = defects.draw_point_defects(layer, extra, low, high, configuration.defects)
    layer = without(layer, rng, low, high, ranges)
    flat = _deformed(layer, rng, ranges)
    if wrinkle is None:
        return flat.keep(layer.inside(low, high))
    folded = wrinkle.fold(flat)
    return folded.keep(folded.inside(low, high))


def one_grain(positions: np.ndarray) -> np.ndarray:
    """Assign every position to grain 0."""
    return np.zeros(len(positions), int)


def _grain_map(rng, low, high, count, ranges: CrystalRanges):
    """Return a function that assigns positions to the cells of a Voronoi tiling with wavy walls."""
    span = high - low
    while True:
        seeds = low + span * rng.uniform(0.05, 0.95, (count, 2))
        apart = np.linalg.norm(seeds[:, None] - seeds[None], axis=2)[np.triu_indices(count, 1)]
        if apart.min() > 0.25 * span:
            break
    vectors = rng.normal(0, 1, (WAVES, 2, 2)) * 2 * np.pi / ranges.wobble_length
    phases = rng.uniform(0, 2 * np.pi, (WAVES, 2))
    height = rng.uniform(*ranges.wobble) * np.sqrt(2 / WAVES)

    def grain_at(positions: np.ndarray) -> np.ndarray:
        waves = np.sin(np.einsum("nc,kdc->nkd", positions, vectors) + phases)
        moved = positions + height * waves.sum(axis=1)
        return ((moved[:, None] - seeds) ** 2).sum(axis=2).argmin(axis=1)

    return grain_at


def without(layer: Structure, rng, low: float, high: float, ranges: CrystalRanges) -> Structure:
    """Remove random single sites and, in some frames, a round hole with a rough edge."""
    area = (high - low) ** 2 / 1e4
    gone = np.zeros(len(layer), bool)
    gone[rng.integers(len(layer), size=rng.poisson(rng.uniform(*ranges.vacancies) * area))] = True
    if rng.random() < ranges.hole_fraction:
        centre, radius = rng.uniform(low, high, 2), rng.uniform(*ranges.hole_radius)
        away = layer.positions - centre
        angle = np.arctan2(away[:, 0], away[:, 1])
        lobes = np.arange(2, 5)[:, None]
        waves = np.cos(lobes * angle + rng.uniform(0, 2 * np.pi, (3, 1)))
        wave = rng.normal(0, ranges.hole_lobes, 3) @ waves
        gone |= np.hypot(*away.T) < radius * (1 + wave)
    layer = layer.keep(~gone)
    # Sites that hang on one bond or none would evaporate.
    for _ in range(3):
        degree = np.bincount(layer.bonds.ravel(), minlength=len(layer))
        layer = layer.keep((degree > 1) | ~layer.inside(low, high))
    return layer


def _deformed(layer: Structure, rng, ranges: CrystalRanges) -> Structure:
    """Strain the layer uniformly and give it the heights of a few ripples."""
    first, second = rng.uniform(-ranges.strain, ranges.strain, 2)
    turn = rng.uniform(0, np.pi)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    strain = axes.T @ np.diag([first, second]) @ axes
    vectors = rng.normal(0, 2 * np.pi / ranges.ripple_length, (WAVES, 2))
    waves = np.sin(layer.positions @ vectors.T + rng.uniform(0, 2 * np.pi, WAVES))
    heights = rng.uniform(*ranges.ripple) / WAVES * waves.sum(axis=1)
    return layer.moved(layer.positions @ (np.eye(2) + strain), heights)

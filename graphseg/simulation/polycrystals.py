"""Random polycrystalline layers: grains, defects, holes, strain, ripples."""

import numpy as np

from graphseg.simulation import defects
from graphseg.simulation.boundaries import EDGE, polycrystal
from graphseg.simulation.configuration import Configuration, CrystalRanges
from graphseg.simulation.structures import Structure, crystal

WAVES = 3  # sinusoids that make up ripples and wavy boundaries


def draw_layer(
    rng: np.random.Generator, low: float, high: float, configuration: Configuration
) -> Structure:
    """Draw the layer that fills the square from `low` to `high` (Å)."""
    ranges, material = configuration.crystal, configuration.material
    count = 1 + int(rng.choice(len(ranges.grain_shares), p=ranges.grain_shares))
    angles = rng.uniform(0, 2 * np.pi / 3, count)
    origins = rng.uniform(0, material.lattice_constant, (count, 2))
    start, stop = low - EDGE, high + EDGE
    extra = rng.spawn(1)[0]  # so that the other draws do not depend on these
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
    return _deformed(layer, rng, ranges).keep(
        ((layer.positions >= low) & (layer.positions <= high)).all(axis=1)
    )


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
    if rng.random() < ranges.hole_share:
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
        edge = (layer.positions < low).any(axis=1) | (layer.positions > high).any(axis=1)
        layer = layer.keep((degree > 1) | edge)
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

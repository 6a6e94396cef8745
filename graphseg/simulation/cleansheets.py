"""The clean sheets of `graphseg.simulation.sheets`: one kind of structure each, and where it is."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from graphseg.rings import find_rings
from graphseg.simulation import defects, polycrystals
from graphseg.simulation.boundaries import EDGE, bicrystal, polycrystal
from graphseg.simulation.configuration import GRAPHENE, Configuration, CrystalRanges
from graphseg.simulation.contaminant import NOTHING, Contaminant, joined
from graphseg.simulation.structures import Structure, crystal

MISORIENTATIONS = (4.0, 9.0, 13.2, 21.8, 27.8, 30.0)  # degrees; 13.2, 21.8, 27.8 are Σ19, Σ7, Σ13


@dataclass(frozen=True)
class Field:
    """What is simulated around a frame."""

    size: int
    pixel_size: float
    configuration: Configuration

    @property
    def low(self) -> float:
        return -self.configuration.margin * self.pixel_size

    @property
    def high(self) -> float:
        return (self.size + self.configuration.margin) * self.pixel_size

    @property
    def frame(self) -> tuple[float, float]:
        return 0.0, self.size * self.pixel_size

    def places(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw `count` positions in Å with room to the frame's edge."""
        return rng.uniform(0.1, 0.9, (count, 2)) * self.frame[1]

    def within(self, points: np.ndarray, reach: float) -> np.ndarray:
        """Return which pixels have a point within `reach` Å, (size, size) bool."""
        pixels = np.stack(np.indices((self.size, self.size)), axis=-1) * self.pixel_size
        if not len(points):
            return np.zeros((self.size, self.size), bool)
        return cKDTree(points).query(pixels, distance_upper_bound=reach)[0] <= reach


def clean_sheet(
    kind: str, rng: np.random.Generator, index: int, field: Field
) -> tuple[Structure, Contaminant, np.ndarray]:
    """Return a sheet with one kind of structure, what lies on it, and where the structure is.

    Parameters
    ----------
    kind
        One of `graphseg.simulation.sheets.KINDS`.
    rng
        Random numbers.
    index
        Chooses the misorientation of a boundary, and whether one or two atoms are missing.
    field
        What is simulated.

    Returns
    -------
        The crystal, the atoms on top of it, and the places of the structure, (n, 2) in Å.
    """
    low, high = field.low, field.high
    angle = float(rng.uniform(0, np.pi / 3))
    if kind == "boundary":
        layer = _bicrystal(rng, angle, np.radians(MISORIENTATIONS[index % 6]), field)
        return layer, NOTHING, irregular_sites(layer)
    if kind == "loop":
        layer = _loops(rng, angle, field)
        return layer, NOTHING, irregular_sites(layer)
    perfect = crystal(high, angle, low=low)
    if kind == "stone-wales":
        layer = defects.with_stone_wales(perfect, rng, 8)
    elif kind == "chain":
        layer = perfect
        for place in field.places(rng, 3):
            layer = defects.with_chain(layer, place, int(rng.integers(2, 6)), int(rng.integers(3)))
    elif kind == "vacancy":
        layer = _vacancies(rng, perfect, index % 2 == 1, field)
    elif kind == "hole":
        layer = _holes(rng, perfect, field)
    else:
        on_top = _on_top(kind, rng, perfect, field)
        return perfect, on_top, on_top.positions
    return layer, NOTHING, np.concatenate([irregular_sites(layer), _missing(perfect, layer)])


def irregular_sites(layer: Structure) -> np.ndarray:
    """Return the sites (n, 2) in Å that belong to a ring of other than six."""
    rings = find_rings(layer.positions, layer.bonds)
    members = [m for m, size in zip(rings.members, rings.sizes, strict=True) if size != 6]
    chosen = np.unique(np.concatenate(members)) if members else np.zeros(0, int)
    return layer.positions[chosen]


def _missing(perfect: Structure, layer: Structure) -> np.ndarray:
    """Return the sites of a perfect sheet that have none near them any more."""
    distance = cKDTree(layer.positions).query(perfect.positions)[0]
    return perfect.positions[distance > 0.6 * perfect.material.bond]


def _bicrystal(rng, angle, turn, field: Field) -> Structure:
    extent = field.high - field.low
    point = extent * rng.uniform(0.35, 0.65, 2)
    built = bicrystal(extent, (angle, angle + turn), point, float(rng.uniform(0, np.pi)))
    return built.moved(built.positions + field.low)


def _loops(rng, angle, field: Field) -> Structure:
    """Return two flowers, and two larger loops, of 30° and of any angle."""
    places = field.places(rng, 4)
    radii = np.exp(rng.uniform(*np.log([6.0, 16.0]), 2))
    given = [(places[k], 3.5, np.pi / 6, True) for k in range(2)]
    given += [(places[2], radii[0], np.pi / 6, True)]
    given += [(places[3], radii[1], float(rng.uniform(0.1, np.pi / 6)), False)]
    angles, origins, grain_at = defects.with_loops(
        [angle], [np.zeros(2)], polycrystals.one_grain, given, field.configuration
    )
    built = polycrystal(field.low - EDGE, field.high + EDGE, angles, grain_at, origins)
    inside = (built.positions >= field.low) & (built.positions <= field.high)
    return built.keep(inside.all(axis=1))


def _vacancies(rng, perfect: Structure, double: bool, field: Field) -> Structure:
    layer = perfect
    for place in field.places(rng, 8):
        if double:
            layer = defects.with_divacancy(layer, place)
        else:
            nearest = ((layer.positions - place) ** 2).sum(axis=1).argmin()
            layer = layer.keep(np.arange(len(layer)) != nearest)
    return layer


def _holes(rng, perfect: Structure, field: Field) -> Structure:
    layer = perfect
    ranges = replace(CrystalRanges(), vacancies=(0.0, 0.0), hole_share=1.0)
    for _ in range(2):
        layer = polycrystals.without(layer, rng, *field.frame, ranges)
    return layer


def _on_top(kind: str, rng, layer: Structure, field: Field) -> Contaminant:
    if kind == "adatom":
        numbers = rng.choice(GRAPHENE.defects.adatom_numbers, 10)
        return defects.single_atoms(field.places(rng, 10), numbers)
    flakes = [
        defects.island(
            rng, place, float(rng.uniform(6, 20)), aligned, layer, (field.low, field.high)
        )
        for place, aligned in zip(field.places(rng, 2), (True, False), strict=True)
    ]
    return joined(flakes)

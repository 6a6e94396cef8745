"""The clean sheets of `book.studies.clean_sheets`: one kind of structure each, and where it is.

Simulated sheets on which one can see whether a mask covers structure.

Each clean sheet shows one kind of structure, several times, and knows where: no pixel of it is
contamination. The complementary frames are contaminated where grains meet, and each of them comes
again as one crystal under the same contamination. All come at the same doses and pixel sizes and
with both contrasts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from book.studies.configurations import NO_DEFECTS
from graphseg.errors import InputError
from graphseg.simulation import defects, grains, samples
from graphseg.simulation.configuration import (
    CARBON,
    GRAPHENE,
    Configuration,
    ContaminantRanges,
    CrystalRanges,
    OpticsRanges,
)
from graphseg.simulation.contaminant import NOTHING, Contaminant, draw_contaminant, joined
from graphseg.simulation.crystal import Structure, crystal
from graphseg.simulation.grains import EDGE, bicrystal, polycrystal
from graphseg.simulation.optics import Conditions, draw_conditions
from graphseg.simulation.samples import image_layers, to_8_bit
from graphseg.structure.rings import find_rings

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
        One of `book.studies.clean_sheets.KINDS`.
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
        [angle], [np.zeros(2)], grains.one_grain, given, field.configuration
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
    ranges = replace(CrystalRanges(), vacancies=(0.0, 0.0), hole_fraction=1.0)
    for _ in range(2):
        layer = grains.without(layer, rng, *field.frame, ranges)
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


TOUCHING, ALONE = "touching", "one crystal"  # kinds of contaminated frames
KINDS = ("boundary", "chain", "stone-wales", "loop", "vacancy", "hole", "adatom", "island")
DOSES = (3e3, 1e4, 3e4)  # electrons per Å²
PIXEL_SIZES = (0.30, 0.38, 0.46)  # Å
CONTRASTS = ("white", "black")  # of the atoms
NEAR = CARBON.lattice_constant  # Å, how far from a defect counts as near it
REACH = 10.0  # Å from a boundary, within which contamination touches it
WINDOW = 3.0  # Å, standard deviation of the Gaussian over which its signal is averaged
LEAST_SIGNAL = 1.0  # as much signal as noise; in published lattices it is 0.3 to 2
LEAST_TOUCHING = 300  # pixels of such contamination in a frame
# In this much defocus both rings of reflections have one sign: atoms are white or black, not both.
OPTICS = replace(OpticsRanges(), defocus=(18.0, 32.0), far_fraction=0.0, spherical=0.0)
GROWTH = 0.75  # Å, the middle of the range of `ContaminantRanges.label_growth`
SHEETS = replace(
    GRAPHENE,
    name="sheets",
    crystal=CrystalRanges(
        grain_fractions=(0.0, 0.6, 0.4),
        vacancies=(0.0, 0.0),
        stone_wales=(0.0, 0.0),
        hole_fraction=0.0,
    ),
    defects=NO_DEFECTS,
    contaminant=ContaminantRanges(clean_fraction=0.0, island_fraction=0.0, chains=0.0, adatoms=0),
    optics=OPTICS,
)


@dataclass(frozen=True, eq=False)
class Sheet:
    """A simulated micrograph made to test masks.

    Attributes
    ----------
    kind
        One of `KINDS`, `TOUCHING` or `ALONE`.
    image
        (H, W) float32 in [0, 1].
    mask
        (H, W) bool, contamination; none on clean sheets.
    near
        (H, W) bool: on clean sheets the pixels within one lattice constant of a defect, otherwise
        the contamination within `REACH` of a boundary, or of where one would be.
    visible
        (H, W) bool, contamination that stands out: where the root mean square of what it changes
        in the noiseless image, taken over `WINDOW`, is at least `LEAST_SIGNAL` times the noise of
        a pixel. A single layer of carbon often does not.
    defects
        (n, 2) float64 in pixels (row, column): the sites of rings that are no hexagons, missing
        sites, and atoms on top of the sheet; in contaminated frames the middles of the bonds
        between grains.
    pixel_size, dose, contrast
        Å, electrons per Å², and the colour of the atoms.
    """

    kind: str
    image: np.ndarray
    mask: np.ndarray
    near: np.ndarray
    visible: np.ndarray
    defects: np.ndarray
    pixel_size: float
    dose: float
    contrast: str


def sheets(
    kinds: tuple[str, ...] = (*KINDS, TOUCHING, ALONE),
    repeats: int = 1,
    seed: int = 11,
    size: int = 256,
) -> Iterator[Sheet]:
    """Yield `repeats` sheets of each kind at every dose, pixel size and contrast."""
    for kind in kinds:
        cases = product(range(repeats), DOSES, PIXEL_SIZES, CONTRASTS)
        for index, (_, dose, pixel_size, contrast) in enumerate(cases):
            yield sheet(kind, seed, index, pixel_size, dose, contrast, size)


def sheet(
    kind: str,
    seed: int,
    index: int,
    pixel_size: float = 0.38,
    dose: float = 1e4,
    contrast: str = "white",
    size: int = 256,
) -> Sheet:
    """Simulate one sheet; the same arguments give the same sheet.

    Parameters
    ----------
    kind
        One of `KINDS` for a clean sheet; `TOUCHING` for contamination at grain boundaries; `ALONE`
        for the same contamination, microscope and noise, but one crystal and no boundary.
    seed, index
        Random numbers. The index also chooses the misorientation of a boundary, and whether one
        or two atoms are missing.
    pixel_size, dose
        Å; electrons per Å².
    contrast
        ``"white"`` or ``"black"`` atoms.

    Raises
    ------
    InputError
        If the kind or the contrast is unknown.
    """
    known = (*KINDS, TOUCHING, ALONE)
    if kind not in known or contrast not in CONTRASTS:
        raise InputError(
            f"There are no sheets of kind {kind!r} with {contrast!r} atoms: kinds are "
            f"{', '.join(known)}, atoms are white or black."
        )
    drawn_as = known.index(TOUCHING if kind == ALONE else kind)
    sequence = np.random.SeedSequence([seed, drawn_as, index])
    layout, lenses, camera = (np.random.default_rng(s) for s in sequence.spawn(3))
    configuration = replace(SHEETS, size=size)
    field = Field(size, pixel_size, configuration)
    if kind in (TOUCHING, ALONE):
        layer, on_top, points, maps = _touching(layout, field)
        near = maps["mask"] & field.within(points, REACH)
        if kind == ALONE:
            layer = crystal(field.high, float(layout.uniform(0, np.pi / 3)), low=field.low)
    else:
        layer, on_top, points = clean_sheet(kind, layout, index, field)
        maps = samples.truth_maps(layer, on_top, size, pixel_size, GROWTH)
        near = field.within(points, NEAR)
    conditions = _conditions(lenses, dose, contrast, configuration)
    exact = image_layers(layer, on_top, pixel_size, conditions, configuration)
    visible = maps["mask"].copy()
    if visible.any():
        clean = image_layers(layer, NOTHING, pixel_size, conditions, configuration)
        visible &= _stands_out(exact - clean, pixel_size, dose)
    lit = exact * samples.illumination(camera, exact.shape, configuration.detector)
    counts = samples.count_electrons(camera, lit, pixel_size, conditions)
    image = to_8_bit(counts).astype(np.float32) / np.float32(255)
    points = points / pixel_size
    return Sheet(kind, image, maps["mask"], near, visible, points, pixel_size, dose, contrast)


def _stands_out(change: np.ndarray, pixel_size: float, dose: float) -> np.ndarray:
    """Return where a change (H, W) of the intensity is stronger than the noise, bool."""
    power = ndimage.gaussian_filter(change.astype(float) ** 2, WINDOW / pixel_size)
    noise = 1 / (dose * pixel_size**2)  # variance of the relative intensity of a pixel
    return power >= LEAST_SIGNAL**2 * noise


def _conditions(rng, dose: float, contrast: str, configuration: Configuration) -> Conditions:
    drawn = draw_conditions(rng, configuration.optics, configuration.detector)
    sign = -1.0 if contrast == "white" else 1.0  # overfocus makes atoms bright
    return replace(drawn, dose=dose, defocus=sign * abs(drawn.defocus))


def _touching(rng, field: Field):
    """Draw grains and contamination until enough of it lies at a boundary."""
    configuration = field.configuration
    while True:
        layer = grains.draw_layer(rng, field.low, field.high, configuration)
        contaminant = draw_contaminant(
            rng, field.low, field.high, field.frame, configuration.contaminant
        )
        points = samples.interface(layer)
        maps = samples.truth_maps(layer, contaminant, field.size, field.pixel_size, GROWTH)
        if (maps["mask"] & field.within(points, REACH)).sum() >= LEAST_TOUCHING:
            return layer, contaminant, points, maps

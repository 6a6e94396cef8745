"""Structures on and of graphene that the training generator never draws in that way.

Each is a `Scene`: the atoms, and where the clean structure is that no mask may cover. Usual
contamination lies on all of them, so that every frame has something to find.

What is contamination follows the rule of the generator: amorphous carbon and foreign particles of
80 atoms and more are; the crystal, its folds, edges and further layers, single foreign atoms and
clusters of up to twelve are not.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from book.studies.clean_sheets import Field, irregular_sites
from book.studies.configurations import NO_DEFECTS
from graphseg.simulation import grains
from graphseg.simulation.configuration import ContaminantRanges, CrystalRanges
from graphseg.simulation.contaminant import (
    BLOCK,
    LAYER_DISTANCE,
    Contaminant,
    amorphous_block,
    draw_contaminant,
    joined,
    smooth_noise,
)
from graphseg.simulation.crystal import Structure, crystal, relaxed
from graphseg.simulation.defects import ADATOM_HEIGHT, BULB, pleated, single_atoms, with_loops

CELL = 0.8  # Å, of the grid on which carpets are drawn
# Å. Carbon of this thickness drowns the lattice of one sheet; patches of the training end at 50.
CARPET = (60.0, 120.0)
CARPET_COVER = (0.25, 0.6)  # of the frame
# Three to five sheets on top of each other, at the end of the sheet; training draws pleats of
# three within it.
FOLDS = (2, 4)
TWIST = np.radians([2.0, 30.0])
ALIGNED = 0.25  # fraction of second layers that lie as in graphite
HOLE = (18.0, 45.0)  # Å, from the centre to a side; training ends at 16
LOOP = (5.0, 30.0)  # Å, radius: cores 1 to 6 nm wide
TURN = np.radians([5.0, 30.0])
LARGEST = 0.3  # of the side of a frame; smaller frames have smaller holes and loops
METALS = (29, 42, 74, 79)  # copper, molybdenum, tungsten, gold
CUBIC = {29: 3.615, 79: 4.078}  # Å, lattice constants of face-centred metals
CLUSTER = (2, 12)  # atoms; no contamination
PARTICLE = (80, 300)  # atoms, 12 to 20 Å wide; contamination
SHEET = CrystalRanges(hole_fraction=0.0)
# Patches that a person would see and outline; flakes of a second layer come as a kind of their own.
PATCHES = ContaminantRanges(
    clean_fraction=0.0,
    coverage=(0.14, 1.5),
    sheet_only_fraction=0.0,
    core=(12.0, 36.0),
    island_fraction=0.0,
    adatoms=0,
    heavy_fraction=0.0,
)
LEAST = 0.3  # contaminant atoms for each Å² of a tenth of the frame
ATTEMPTS = 50  # draws of the contamination


@dataclass(frozen=True, eq=False)
class Scene:
    """Atoms in the beam, and the places of structure.

    Attributes
    ----------
    layer
        All atoms that belong to sheets of graphene.
    on_top
        All others; those that are not `overlooked` are contamination.
    points
        (n, 2) in Å: sites of rings other than hexagons, of edges and bends, and foreign atoms.
    loops
        Centre (2,) and radius in Å of each grain inside of another.
    """

    layer: Structure
    on_top: Contaminant
    points: np.ndarray
    loops: tuple[tuple[np.ndarray, float], ...] = ()


def scene(kind: str, rng: np.random.Generator, field: Field) -> Scene:
    """Draw what is imaged.

    Parameters
    ----------
    kind
        Key of `KINDS`.
    rng
        Random numbers.
    field
        What is simulated around the frame.
    """
    return KINDS[kind](rng, field)


def _sheet(rng, field: Field) -> Structure:
    """Draw one to three grains with vacancies and turned bonds, as in training."""
    configuration = replace(field.configuration, crystal=SHEET, defects=NO_DEFECTS)
    return grains.draw_layer(rng, field.low, field.high, configuration)


def _patches(rng, field: Field, allowed: Callable | None = None) -> Contaminant:
    """Draw usual contamination until enough of it is in the frame where it is `allowed`.

    `allowed` maps positions (n, 2) in Å to (n,) bool.
    """
    for _ in range(ATTEMPTS):
        drawn = draw_contaminant(rng, field.low, field.high, field.frame, PATCHES)
        if allowed is not None:
            drawn = _only(drawn, allowed(drawn.positions))
        inside = (drawn.positions > 0) & (drawn.positions < field.frame[1])
        if inside.all(axis=1).sum() > LEAST * 0.1 * field.frame[1] ** 2:
            break
    return drawn


def _only(contaminant: Contaminant, chosen: np.ndarray) -> Contaminant:
    names = ("positions", "heights", "numbers", "overlooked")
    return Contaminant(*(getattr(contaminant, name)[chosen] for name in names))


def _line(rng, field: Field, beyond: tuple[float, float]) -> tuple[np.ndarray, float]:
    """Draw a line: its normal (2,), and its distance from the origin along that, Å.

    A fraction of the frame from the range `beyond` lies on the side that the normal points to.
    """
    angle = rng.uniform(0, 2 * np.pi)
    normal = np.array([np.sin(angle), np.cos(angle)])
    side = np.linspace(*field.frame, 64)
    distances = np.add.outer(normal[0] * side, normal[1] * side)
    return normal, float(np.quantile(distances, 1 - rng.uniform(*beyond)))


def carpet(rng: np.random.Generator, field: Field) -> Scene:
    """Cover a side of the frame by thick amorphous carbon, without any sheet beneath.

    The edge of a support film, or of a region that the beam has deposited carbon on after the
    sheet was gone: the texture is that of a film alone, and no lattice shines through.
    """
    layer = _sheet(rng, field)
    normal, offset = _line(rng, field, CARPET_COVER)
    number = int(np.ceil((field.high - field.low) / CELL))
    axis = field.low + (np.arange(number) + 0.5) * CELL
    depth = np.add.outer(normal[0] * axis, normal[1] * axis) - offset
    for height, length in ((6.0, 20.0), (1.5, 3.0)):  # Å, roughness of the outline
        depth += height * smooth_noise(rng, depth.shape, length / CELL)
    depth = ndimage.distance_transform_edt(depth > 0) * CELL
    wall, clumps = rng.uniform(4, 15), smooth_noise(rng, depth.shape, 4 / CELL)
    thickness = rng.uniform(*CARPET) * (1 - np.exp(-depth / wall)) * np.exp(0.2 * clumps)
    film = amorphous(rng, thickness, field.low)
    points = irregular_sites(layer)
    layer = layer.keep(_at(depth, layer.positions, field.low) < 3)
    return Scene(layer, film, points)


def amorphous(rng: np.random.Generator, thickness: np.ndarray, low: float) -> Contaminant:
    """Return amorphous carbon of the given thickness (n, n) in Å, in cells of `CELL` from `low`."""
    high = low + len(thickness) * CELL
    block = amorphous_block(PATCHES.density, PATCHES.hard_core)
    block = np.mod(block[:, rng.permutation(3)] + rng.uniform(0, BLOCK, 3), BLOCK)
    steps = BLOCK * np.arange(np.ceil((high - low) / BLOCK))
    levels = BLOCK * np.arange(np.ceil(thickness.max() / BLOCK))
    corners = np.stack(np.meshgrid(low + steps, low + steps, levels, indexing="ij"), -1)
    atoms = (corners.reshape(-1, 1, 3) + block).reshape(-1, 3)
    atoms = atoms[(atoms[:, :2] < high).all(axis=1)]
    atoms = atoms[atoms[:, 2] < _at(thickness, atoms[:, :2], low)]
    heights = (atoms[:, 2] + rng.uniform(*PATCHES.gap)) * rng.choice([-1.0, 1.0])
    count = len(atoms)
    return Contaminant(atoms[:, :2], heights, np.full(count, 6), np.zeros(count, bool))


def _at(grid: np.ndarray, positions: np.ndarray, low: float) -> np.ndarray:
    """Return the value of the grid's cell at each position."""
    cells = np.clip(((positions - low) / CELL).astype(int), 0, len(grid) - 1)
    return grid[tuple(cells.T)]


def fold(rng: np.random.Generator, field: Field) -> Scene:
    """End the sheet in pleats: it bends back upon itself two to four times, and beyond is vacuum.

    The sheet is bent isometrically about straight lines, in half cylinders of radius `BULB`, so
    that bond lengths along the sheet are kept. In projection a bend is a dense row of atoms with
    dark and bright fringes, and the sheets between are turned against each other by twice the
    angle between the lattice and the line.
    """
    extent = field.frame[1]
    normal, offset = _line(rng, field, (0.1, 0.35))
    count, width = int(rng.integers(FOLDS[0], FOLDS[1] + 1)), rng.uniform(0.08, 0.2) * extent
    arc = np.pi * BULB
    more = count * (width + arc)
    sheet = crystal(field.high + more, float(rng.uniform(0, np.pi / 3)), low=field.low - more)
    along = sheet.positions @ normal - offset
    sheet, along = sheet.keep(along < more), along[along < more]
    place, height, bent = pleated(along, count, width)
    layer = sheet.moved(sheet.positions + np.outer(place - along, normal), height)
    inside = ((layer.positions > field.low) & (layer.positions < field.high)).all(axis=1)
    points = layer.positions[bent & inside]
    flat = offset - width - BULB - 4
    patches = _patches(rng, field, lambda positions: positions @ normal < flat)
    return Scene(layer.keep(inside), patches, points)


def second_layer(rng: np.random.Generator, field: Field) -> Scene:
    """Put a second sheet below all of the frame or half of it: as in graphite, or twisted.

    Twisted bilayers show a moiré of period a / (2 sin(θ/2)), 5 to 70 Å; flakes of the training
    end at a radius of 60 Å, these do not end, or at one straight edge.
    """
    first = _sheet(rng, field)
    aligned = rng.random() < ALIGNED
    angle = float(first.angles[0]) + (0.0 if aligned else float(rng.uniform(*TWIST)))
    # A ring centre of the second layer below a site of the first is the stacking of graphite.
    second = crystal(field.high, angle, tuple(first.positions[len(first) // 2]), low=field.low)
    normal, offset = _line(rng, field, (0.35, 0.65))
    if rng.random() < 0.5:
        offset = -np.inf
    depth = second.positions @ normal - offset
    edge = second.positions[(depth > 0) & (depth < second.material.lattice_constant)]
    patches = _patches(rng, field)
    heights = np.where(patches.heights < 0, patches.heights - LAYER_DISTANCE, patches.heights)
    layer = stacked(first, second.keep(depth > 0), -LAYER_DISTANCE)
    points = np.concatenate([irregular_sites(first), edge])
    return Scene(layer, replace(patches, heights=heights), points)


def stacked(first: Structure, second: Structure, height: float) -> Structure:
    """Return two sheets as one structure, the second moved by `height` Å."""
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("positions", "sublattice", "angles")
    }
    return Structure(
        heights=np.concatenate([first.heights, second.heights + height]),
        grains=np.concatenate([first.grains, second.grains + len(first.angles)]),
        bonds=np.concatenate([first.bonds, second.bonds + len(first)]),
        material=first.material,
        **parts,
    )


def hole(rng: np.random.Generator, field: Field) -> Scene:
    """Cut a wide hexagonal hole with zigzag edges that are reconstructed to rings of 5 and 7.

    The reconstructed edge has the lowest energy (Koskinen, Malola & Häkkinen, Phys. Rev. Lett.
    101, 115502, 2008) and is seen beside plain zigzag in micrographs of holes (Phys. Rev. B 80,
    073401, 2009); here a fraction of each edge has it.
    """
    angle = float(rng.uniform(0, np.pi / 3))
    sheet = crystal(field.high, angle, low=field.low)
    centre = rng.uniform(0.4, 0.6, 2) * field.frame[1]
    apothem = rng.uniform(HOLE[0], np.clip(LARGEST * field.frame[1], *HOLE))
    directions = angle + np.pi / 6 + np.arange(6) * np.pi / 3
    normals = np.stack([np.sin(directions), np.cos(directions)])
    sides = apothem * rng.uniform(0.85, 1.15, 6)
    cut = (((sheet.positions - centre) @ normals) < sides).all(axis=1)
    layer = sheet.keep(~cut)
    outer = ((layer.positions < field.low + 3) | (layer.positions > field.high - 3)).any(axis=1)
    while (single := (_degree(layer) < 2) & ~outer).any():  # these would evaporate
        layer, outer = layer.keep(~single), outer[~single]
    points_before = irregular_sites(layer)
    layer = reconstructed(layer, rng, float(rng.uniform(0.3, 1.0)))
    points = np.concatenate([points_before, irregular_sites(layer)])
    patches = _patches(
        rng, field, lambda positions: (((positions - centre) @ normals) > sides - 2).any(axis=1)
    )
    return Scene(layer, patches, points)


def _degree(layer: Structure) -> np.ndarray:
    return np.bincount(layer.bonds.ravel(), minlength=len(layer))


def reconstructed(layer: Structure, rng: np.random.Generator, fraction: float) -> Structure:
    """Turn pairs of hexagons along zigzag edges into a pentagon and a heptagon, and relax.

    Along the edge alternate outer sites A with two bonds and inner sites B with three:
    … B₁ – A₂ – B₂ – A₃ …. Turning the bond between A₂ and B₂ binds B₁ to B₂ and A₂ to A₃.

    Parameters
    ----------
    layer
        With zigzag edges.
    rng
        Chooses where.
    fraction
        Of the possible pairs, about.
    """
    near = [[] for _ in range(len(layer))]
    for first, second in layer.bonds:
        near[first].append(int(second))
        near[second].append(int(first))
    degree = np.array([len(around) for around in near])
    bonds = {tuple(sorted(pair)) for pair in layer.bonds.tolist()}
    used, moved = set(), np.zeros(len(layer), bool)
    for inner in np.flatnonzero(degree == 3):
        outer = [site for site in near[inner] if degree[site] == 2]
        if len(outer) != 2 or rng.random() >= fraction:
            continue
        left, right = outer
        before = next(site for site in near[left] if site != inner)
        if degree[before] != 3 or used & {before, left, int(inner), right}:
            continue
        used |= {before, left, int(inner), right}
        bonds -= {tuple(sorted(pair)) for pair in ((before, left), (int(inner), right))}
        bonds |= {tuple(sorted(pair)) for pair in ((before, int(inner)), (left, right))}
        middle = layer.positions[inner]
        moved |= ((layer.positions - middle) ** 2).sum(axis=1) < 8.0**2
    changed = replace(layer, bonds=np.array(sorted(bonds), int).reshape(-1, 2))
    return relaxed(changed, moved)


def metal(rng: np.random.Generator, field: Field) -> Scene:
    """Scatter metal atoms, clusters and particles on a sheet.

    Clusters and particles are compact pieces of the face-centred cubic metal in any orientation,
    as evaporated gold and copper of the growth form; a single atom or a few of them hide no
    lattice and are left out of outlines, a particle hides it and is foreign.
    """
    layer = _sheet(rng, field)
    count = 4 + int(field.frame[1] ** 2 / 800)
    single = single_atoms(field.places(rng, count), rng.choice(METALS, count))
    clusters = [_piece(rng, place, CLUSTER, True) for place in field.places(rng, 6)]
    particles = [_piece(rng, place, PARTICLE, False) for place in field.places(rng, 3)]
    on_top = joined([_patches(rng, field), single, *clusters, *particles])
    points = [irregular_sites(layer), single.positions, *(c.positions for c in clusters)]
    return Scene(layer, on_top, np.concatenate(points))


def _piece(rng, place: np.ndarray, size: tuple[int, int], overlooked: bool) -> Contaminant:
    """Return a compact piece of a cubic crystal that lies on the sheet."""
    number = int(rng.choice(list(CUBIC)))
    count = int(rng.integers(size[0], size[1] + 1))
    cells = np.stack(np.meshgrid(*[np.arange(-5, 6)] * 3, indexing="ij"), -1).reshape(-1, 3)
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    atoms = (cells[:, None] + basis).reshape(-1, 3) * CUBIC[number]
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    atoms = (atoms + rng.uniform(0, 2, 3)) @ turn
    atoms = atoms[np.argsort((atoms**2).sum(axis=1))[:count]]
    heights = atoms[:, 2] - atoms[:, 2].min() + ADATOM_HEIGHT
    return Contaminant(
        place + atoms[:, :2], heights, np.full(count, number), np.full(count, overlooked)
    )


def loop(rng: np.random.Generator, field: Field) -> Scene:
    """Close boundaries to loops: cores 1 to 6 nm wide that are turned by 5 to 30 degrees."""
    angle, extent = float(rng.uniform(0, np.pi / 3)), field.frame[1]
    given: list[tuple[np.ndarray, float, float, bool]] = []
    for place in field.places(rng, 200):
        radius = float(np.exp(rng.uniform(*np.log([LOOP[0], min(LOOP[1], 0.2 * extent)]))))
        apart = [np.hypot(*(place - other)) > radius + far + 8 for other, far, *_ in given]
        if len(given) < 4 and all(apart):
            turn = float(rng.uniform(*TURN) * rng.choice([-1.0, 1.0]))
            given.append((place, radius, turn, False))
    angles, origins, grain_at = with_loops(
        [angle], [np.zeros(2)], grains.one_grain, given, field.configuration
    )
    low, high = field.low - grains.EDGE, field.high + grains.EDGE
    layer = grains.polycrystal(low, high, angles, grain_at, origins)
    inside = ((layer.positions > field.low) & (layer.positions < field.high)).all(axis=1)
    layer = layer.keep(inside)
    loops = tuple((place, radius) for place, radius, *_ in given)
    return Scene(layer, _patches(rng, field), irregular_sites(layer), loops)


KINDS: dict[str, Callable[[np.random.Generator, Field], Scene]] = {
    "loop": loop,
    "carpet": carpet,
    "fold": fold,
    "second layer": second_layer,
    "hole": hole,
    "metal": metal,
}

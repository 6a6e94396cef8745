"""Simulated labelled micrographs with exact truth: the camera, maps from the atoms, whole samples.

Those of `sample_set` are in ``data/simulated``: single micrographs and series, like the published.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from graphseg.errors import InputError
from graphseg.simulation import grains as polycrystals
from graphseg.simulation.configuration import (
    GRAPHENE,
    Configuration,
    ContaminantRanges,
    DetectorRanges,
)
from graphseg.simulation.contaminant import Contaminant, draw_contaminant, joined, smooth_noise
from graphseg.simulation.crystal import Structure
from graphseg.simulation.defects import draw_on_top
from graphseg.simulation.multislice import micrograph
from graphseg.simulation.optics import Conditions, draw_visible_conditions

GRID = 0.7  # Å, of the grid on which distances to atoms are computed
CLOSING = 3.0  # Å, gaps between atoms narrower than twice this belong to the patch
SMALLEST = 30  # atoms: a person does not outline what is smaller
BOUNDARY = 3.0  # Å, half width of a grain boundary: one ring on each side
HOLE = 1.5  # bond lengths; in a hole the nearest atom is further away, in a ring it is at 1
REACH = 1.42  # Å, a carbon bond: as far as one contaminant atom counts as physical contamination
ATOM = 0.7  # Å, radius of an atom, half a bond of carbon
MARGIN = 6.0  # Å around the frame within which atoms count, wider than any distance used here
# The bundled sample. Frames of each acquisition: a third are series, as in the published set.
FRAMES = (1, 2, 1, 3, 1, 1, 2, 3, 1, 1, 2, 1, 3, 1, 1)
SEED, DAYS = 2021, 5
EMPTY = (4, 11)  # acquisitions without contamination


def illumination(
    rng: np.random.Generator, shape: tuple[int, int], ranges: DetectorRanges
) -> np.ndarray:
    """Draw the relative illumination and gain (H, W) float32: slope, bow, blotches, quadrants."""
    slope = rng.uniform(-ranges.gradient, ranges.gradient, 2) / 2
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    result = 1 + float(slope[0]) * rows[:, None] + float(slope[1]) * columns[None, :]
    if ranges.bow:
        bow = rng.uniform(-ranges.bow, ranges.bow, 2)
        result += float(bow[0]) * rows[:, None] ** 2 + float(bow[1]) * columns[None, :] ** 2
    strength, width = float(rng.uniform(*ranges.blotches)), float(rng.uniform(*ranges.blotch_size))
    coarse = smooth_noise(rng, tuple(n // 4 + 1 for n in shape), width / 4)
    fine = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    result += strength * fine
    if rng.random() < ranges.seam_fraction:
        steps = rng.normal(0, ranges.seam, (2, 2)).astype(np.float32)
        half = [np.arange(n) >= n // 2 for n in shape]
        result += steps[half[0].astype(int)[:, None], half[1].astype(int)[None, :]]
    return result


def count_electrons(
    rng: np.random.Generator, image: np.ndarray, pixel_size: float, conditions: Conditions
) -> np.ndarray:
    """Return electron counts (H, W) float32 of an intensity relative to the beam's."""
    return shot_noise(rng, np.maximum(image, 0) * (conditions.dose * pixel_size**2))


def shot_noise(rng: np.random.Generator, expected: np.ndarray) -> np.ndarray:
    """Return Poisson counts (H, W) float32 of the expected counts."""
    return rng.poisson(expected).astype(np.float32)


def to_8_bit(counts: np.ndarray) -> np.ndarray:
    """Stretch an image between its smallest and largest value to uint8, as published."""
    low, high = float(counts.min()), float(counts.max())
    return np.rint((counts - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)


def truth_maps(
    layer: Structure, contaminant: Contaminant, size: int, pixel_size: float, growth: float
) -> dict[str, np.ndarray]:
    """Return mask, physical_mask, vacuum, boundary (bool) and orientation (float32), (size, size).
    The outline of the mask runs `growth` Å outside of the outermost contaminant atoms."""
    patches = contaminant.positions[~contaminant.overlooked]
    grid = _Grid(size, pixel_size)
    distance = grid.distance(contaminant.positions)
    physical = grid.sample(distance) < REACH
    outline = _outline(grid, patches, growth)
    return {
        "mask": outline,
        "physical_mask": physical,
        "vacuum": _vacuum(grid, layer, contaminant),
        "boundary": grid.sample(grid.distance(interface(layer))) < BOUNDARY,
        "orientation": _orientation(grid, layer),
    }


class _Grid:
    """A grid finer than the atoms' distance that reaches beyond the frame."""

    def __init__(self, size: int, pixel_size: float):
        self.size, self.pixel_size = size, pixel_size
        self.low = -MARGIN
        self.number = int(np.ceil((size * pixel_size + 2 * MARGIN) / GRID))
        self.places = (np.arange(size) * pixel_size - self.low) / GRID - 0.5

    def cells(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell (n, 2) of each position and whether it lies on the grid (n,)."""
        cells = np.floor((positions - self.low) / GRID).astype(np.intp)
        return cells, ((cells >= 0) & (cells < self.number)).all(axis=1)

    def raster(self, positions: np.ndarray) -> np.ndarray:
        """Return (n, n) bool, True in cells that hold a position."""
        cells, inside = self.cells(positions)
        flat = np.bincount(cells[inside] @ [self.number, 1], minlength=self.number**2)
        return flat.reshape(self.number, self.number) > 0

    def distance(self, positions: np.ndarray) -> np.ndarray:
        """Return the distance of each cell to the nearest position in Å, float32."""
        occupied = self.raster(positions)
        if not occupied.any():
            return np.full(occupied.shape, np.inf, np.float32)
        return _depth(~occupied)

    def sample(self, grid: np.ndarray) -> np.ndarray:
        """Interpolate a map of the grid linearly at the pixels, (size, size)."""
        if not np.isfinite(grid).all():
            return np.full((self.size, self.size), np.inf, np.float32)
        low = np.floor(self.places).astype(int)
        part = (self.places - low).astype(np.float32)
        rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
        return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _depth(inside: np.ndarray) -> np.ndarray:
    """Return the distance of each cell of `inside` to the nearest cell outside, Å, float32."""
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(inside).astype(np.float32) * np.float32(GRID)


def _outline(grid: _Grid, patches: np.ndarray, growth: float) -> np.ndarray:
    """Close the gaps between atoms, drop specks, and grow the patches by `growth`."""
    distance = grid.distance(patches)
    if not np.isfinite(distance).all():
        return np.zeros((grid.size, grid.size), bool)
    closed = distance < CLOSING
    labels, count = ndimage.label(closed)
    atoms = np.bincount((labels * grid.raster(patches)).ravel(), minlength=count + 1)
    atoms[0] = 0
    closed = ndimage.binary_fill_holes((atoms >= SMALLEST)[labels])
    outside = ndimage.gaussian_filter(_depth(closed), 1.0)
    # `outside` is CLOSING on the outermost atoms and 0 that far outside of them.
    return grid.sample(outside) > CLOSING - growth if closed.any() else grid.sample(outside) > 1


def _vacuum(grid: _Grid, layer: Structure, contaminant: Contaminant) -> np.ndarray:
    """Return where discs of radius `HOLE` fit between all atoms, less one atomic radius."""
    hole = HOLE * layer.material.bond
    empty = grid.distance(np.concatenate([layer.positions, contaminant.positions])) > hole
    if not empty.any():
        return np.zeros((grid.size, grid.size), bool)
    return grid.sample(_depth(~empty)) < hole - ATOM


def interface(layer: Structure) -> np.ndarray:
    """Return the midpoints of bonds between grains (k, 2), Å."""
    crossing = layer.grains[layer.bonds[:, 0]] != layer.grains[layer.bonds[:, 1]]
    return layer.positions[layer.bonds[crossing]].mean(axis=1)


def _orientation(grid: _Grid, layer: Structure) -> np.ndarray:
    """Return the lattice direction at the site nearest to each pixel, (size, size) float32."""
    angles = np.mod(layer.angles, np.pi / 3).astype(np.float32)
    if len(angles) == 1:
        return np.full((grid.size, grid.size), angles[0])
    cells, inside = grid.cells(layer.positions)
    owner = np.zeros((grid.number, grid.number), np.intp)
    owner[tuple(cells[inside].T)] = layer.grains[inside]
    nearest = ndimage.distance_transform_edt(
        ~grid.raster(layer.positions), return_distances=False, return_indices=True
    )
    places = np.rint(grid.places).astype(int)
    return angles[owner[tuple(nearest)]][np.ix_(places, places)]


@dataclass(frozen=True, eq=False)
class Sample:
    """One simulated micrograph with its truth, see `simulate`; maps are (H, W), (row, column).

    Attributes
    ----------
    name
        Configuration, seed and index.
    image
        float32 in [0, 1], the 8-bit micrograph divided by 255.
    counts
        float32, electrons in each pixel, before they were stretched to 8 bits.
    illumination
        float32, of the field, relative to its mean; 1 where it is even.
    mask, physical_mask
        bool, contamination as a person would outline it, and within one bond length of a projected
        contaminant atom.
    vacuum, boundary
        bool, holes without any atom, and grain boundaries.
    orientation
        float32 radians in [0, π/3), the direction of a lattice vector, from the column axis
        towards the row axis.
    positions
        (n, 2) float64, the sites of the layer in pixels (row, column), also below contamination.
    numbers, grains
        (n,) int, the atomic number and the grain of each site.
    bonds
        (m, 2) int, pairs of sites.
    angles
        (g,) float64, the lattice direction of each grain, radians.
    conditions, pixel_size
        How it was imaged; Å.

    Examples
    --------
    >>> sample = simulate(0, 0, replace(GRAPHENE, size=64, margin=8))
    >>> sample.image.shape == sample.mask.shape == sample.orientation.shape
    True
    """

    name: str
    image: np.ndarray
    counts: np.ndarray
    illumination: np.ndarray
    mask: np.ndarray
    physical_mask: np.ndarray
    vacuum: np.ndarray
    boundary: np.ndarray
    orientation: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    bonds: np.ndarray
    grains: np.ndarray
    angles: np.ndarray
    conditions: Conditions
    pixel_size: float


def simulate(
    seed: int, index: int, configuration: Configuration = GRAPHENE, frame: int = 0
) -> Sample:
    """Simulate one sample; the same arguments give the same sample on any number of workers.

    Parameters
    ----------
    seed, index, frame : int
        The first two choose structure and contamination. Other frames show the same place under
        other conditions and with other noise.
    configuration : Configuration
        What is drawn from which ranges.

    Returns
    -------
    Sample

    Examples
    --------
    >>> small = replace(GRAPHENE, size=64, margin=8)
    >>> first, again = simulate(7, 0, small), simulate(7, 0, small)
    >>> bool((first.image == again.image).all())
    True
    """
    # Each part draws from a generator of its own, so that changing one leaves the others alone.
    layout, patches, lenses, camera, on_top = (
        np.random.default_rng(np.random.SeedSequence([seed, index, part])) for part in range(5)
    )
    if frame:
        lenses, camera = (
            np.random.default_rng(np.random.SeedSequence([seed, index, part, frame]))
            for part in (2, 3)
        )
    size, margin = configuration.size, configuration.margin
    pixel_size = float(layout.uniform(*configuration.pixel_size))
    low, high = -margin * pixel_size, (size + margin) * pixel_size
    frame = (0.0, size * pixel_size)
    # The structure: the layer, the contamination, and what lies on top without being any.
    layer = polycrystals.draw_layer(layout, low, high, configuration)
    contaminant = draw_contaminant(
        patches, low, high, frame, configuration.contaminant, configuration.material
    )
    contaminant = joined(
        [contaminant, draw_on_top(on_top, low, high, frame, layer, configuration.defects)]
    )
    # The micrograph: through the lenses, and on the camera.
    conditions = draw_visible_conditions(lenses, pixel_size, configuration)
    image = image_layers(layer, contaminant, pixel_size, conditions, configuration)
    lit = illumination(camera, image.shape, configuration.detector)
    counts = count_electrons(camera, image * lit, pixel_size, conditions)
    growth = float(patches.uniform(*configuration.contaminant.label_growth))
    maps = truth_maps(layer, contaminant, size, pixel_size, growth)
    # The truth: maps, and the sites in the frame.
    pixels = layer.positions / pixel_size
    visible = layer.keep(((pixels > -0.5) & (pixels < size - 0.5)).all(axis=1))
    return Sample(
        name=f"{configuration.name}_{seed}_{index:06d}",
        image=to_8_bit(counts).astype(np.float32) / np.float32(255),
        counts=counts,
        illumination=lit / lit.mean(),
        **maps,
        positions=visible.positions / pixel_size,
        numbers=visible.numbers,
        bonds=visible.bonds,
        grains=visible.grains,
        angles=layer.angles,
        conditions=conditions,
        pixel_size=pixel_size,
    )


def image_layers(
    layer: Structure,
    contaminant: Contaminant,
    pixel_size: float,
    conditions: Conditions,
    configuration: Configuration,
) -> np.ndarray:
    """Return the noiseless intensity (size, size) float32 of a layer with its contamination."""
    positions, heights, numbers = layer.atoms()
    atoms = (
        np.concatenate([positions, contaminant.positions]),
        np.concatenate([heights, contaminant.heights]),
        np.concatenate([numbers, contaminant.numbers]),
    )
    mobile = np.arange(len(atoms[2])) >= len(numbers)
    shape = (configuration.size, configuration.size)
    options = {"step": configuration.step, "mobile": mobile}
    return _within_margin(atoms, shape, configuration.margin, pixel_size, conditions, **options)


def _within_margin(atoms, shape, margin, pixel_size, conditions, **options) -> np.ndarray:
    """Return the intensity of atoms with `margin` pixels simulated all round and cut off."""
    positions, heights, numbers = atoms
    whole = micrograph(
        positions + margin * pixel_size, heights, numbers,
        tuple(length + 2 * margin for length in shape), pixel_size, conditions, **options,
    )  # fmt: skip
    return whole[margin : margin + shape[0], margin : margin + shape[1]]


def image_of(
    positions: np.ndarray,
    numbers: np.ndarray,
    extent: float | tuple[float, float],
    pixel_size: float,
    conditions: Conditions | None = None,
    dose: float | None = None,
    rng: np.random.Generator | None = None,
    heights: np.ndarray | None = None,
    margin: int = 0,
) -> np.ndarray:
    """Return the micrograph of given atoms.

    Parameters
    ----------
    positions : array of float, shape (n, 2)
        In Å (row, column); pixel (0, 0) is centred on (0, 0), so that an atom is at
        ``positions / pixel_size`` in the image.
    numbers : int or array of int, shape (n,)
        Atomic numbers, or one number for all.
    extent, pixel_size : float or (float, float), float
        Height and width of the image, and of its pixels, in Å.
    conditions : Conditions, optional
        By default 80 kV, 25 Å overfocus, atoms bright.
    dose : float, optional
        Electrons per Å²; by default `conditions.dose`. Infinity gives the noiseless intensity.
    rng : numpy.random.Generator, optional
        Needed for a finite dose.
    heights : array of float, shape (n,), optional
        In Å along the beam; by default all 0.
    margin : int
        Pixels simulated around the image and cut off. Without, the image is periodic; atoms
        outside of the image appear only within the margin.

    Returns
    -------
    array of float32, shape (H, W)
        Counts divided by the mean count of the empty beam, so that 1 is vacuum.

    Raises
    ------
    InputError
        If the dose is finite and there is no `rng`, or if shapes do not fit.

    Examples
    --------
    >>> image = image_of([[4.0, 4.0]], 6, extent=8.0, pixel_size=0.25, dose=np.inf)
    >>> np.unravel_index(image.argmax(), image.shape)  # one bright carbon atom
    (np.int64(16), np.int64(16))
    """
    positions = np.asarray(positions, float)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise InputError(
            f"Positions in Å, (row, column): expected shape (n, 2), got {positions.shape}."
        )
    numbers = np.broadcast_to(np.asarray(numbers, int), len(positions))
    heights = np.zeros(len(positions)) if heights is None else np.asarray(heights, float)
    conditions = Conditions() if conditions is None else conditions
    conditions = conditions if dose is None else replace(conditions, dose=float(dose))
    shape = tuple(round(e / pixel_size) for e in np.broadcast_to(extent, 2))
    image = _within_margin((positions, heights, numbers), shape, margin, pixel_size, conditions)
    if not np.isfinite(conditions.dose):
        return image
    if rng is None:
        raise InputError(
            "A finite dose needs random numbers; pass rng=np.random.default_rng(seed)."
        )
    per_pixel = conditions.dose * pixel_size**2
    return shot_noise(rng, np.maximum(image, 0) * per_pixel) / np.float32(per_pixel)


def sample_set() -> Iterator[Sample]:
    """Simulate the 24 bundled samples, in the order of their names.

    Names follow the rule of the published set: date, acquisition, frame.

    Examples
    --------
    >>> next(sample_set()).name
    '2000_0101_Simulated_000'
    """
    frames = [(_name(i, k, n), i, k) for i, n in enumerate(FRAMES) for k in range(n)]
    for name, index, frame in sorted(frames):
        clean = ContaminantRanges(clean_fraction=1.0 if index in EMPTY else 0.0)
        sample = simulate(SEED, index, replace(GRAPHENE, contaminant=clean), frame)
        yield replace(sample, name=name)


def _name(index: int, frame: int, frames: int) -> str:
    date = f"2000_{101 + index % DAYS:04d}"
    if frames == 1:
        return f"{date}_Simulated_{index:03d}"
    return f"{date}_Simulated_FS_{index:03d}_layer_{4 * frame + 1:04d}"

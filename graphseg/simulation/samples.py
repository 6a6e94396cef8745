"""Simulated labelled micrographs with exact truth."""

from dataclasses import dataclass, replace

import numpy as np

from graphseg.errors import InputError
from graphseg.simulation import polycrystals, truth
from graphseg.simulation.camera import count_electrons, illumination, shot_noise, to_8_bit
from graphseg.simulation.conditions import Conditions, draw_visible_conditions
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.contaminant import Contaminant, draw_contaminant, joined
from graphseg.simulation.defects import draw_on_top
from graphseg.simulation.imaging import micrograph
from graphseg.simulation.structures import Structure


@dataclass(frozen=True, eq=False)
class Sample:
    """One simulated micrograph with its truth; all maps are (H, W), axes (row, column).

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
    mask
        bool, contamination as a person would outline it.
    physical_mask
        bool, within one bond length of a projected contaminant atom.
    vacuum
        bool, holes: no atom at all.
    boundary
        bool, grain boundaries.
    orientation
        float32 radians in [0, π/3), the direction of a lattice vector, from the column axis
        towards the row axis.
    positions
        (n, 2) float64, the sites of the layer in pixels (row, column), also below contamination.
    numbers
        (n,) int, their atomic numbers.
    bonds
        (m, 2) int, pairs of sites.
    grains
        (n,) int, the grain of each site.
    angles
        (g,) float64, the lattice direction of each grain, radians.
    conditions
        How it was imaged.
    pixel_size
        Å.
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
    seed, index
        Choose structure and contamination.
    configuration
        What is drawn from which ranges.
    frame
        Other frames show the same place under other conditions and with other noise.
    """
    layout, dirt, lenses, camera, on_top = (
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
    layer = polycrystals.draw_layer(layout, low, high, configuration)
    contaminant = draw_contaminant(
        dirt, low, high, frame, configuration.contaminant, configuration.material
    )
    contaminant = joined(
        [contaminant, draw_on_top(on_top, low, high, frame, layer, configuration.defects)]
    )
    conditions = draw_visible_conditions(lenses, pixel_size, configuration)
    image = image_layers(layer, contaminant, pixel_size, conditions, configuration)
    lit = illumination(camera, image.shape, configuration.detector)
    counts = count_electrons(camera, image * lit, pixel_size, conditions)
    growth = float(dirt.uniform(*configuration.contaminant.label_growth))
    maps = truth.maps(layer, contaminant, size, pixel_size, growth)
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
    size, margin = configuration.size, configuration.margin
    positions, heights, numbers = layer.atoms()
    positions = np.concatenate([positions, contaminant.positions]) + margin * pixel_size
    heights = np.concatenate([heights, contaminant.heights])
    numbers = np.concatenate([numbers, contaminant.numbers])
    mobile = np.arange(len(numbers)) >= len(numbers) - len(contaminant)
    shape = (size + 2 * margin,) * 2
    whole = micrograph(
        positions, heights, numbers, shape, pixel_size, conditions, configuration.step, mobile
    )
    return whole[margin : margin + size, margin : margin + size]


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
    positions
        (n, 2) float in Å (row, column); pixel (0, 0) is centred on (0, 0), so that an atom is
        at ``positions / pixel_size`` in the image.
    numbers
        (n,) int, atomic numbers, or one number for all.
    extent
        Height and width of the image in Å.
    pixel_size
        Å.
    conditions
        By default those of `Conditions`: 80 kV, 25 Å overfocus, atoms bright.
    dose
        Electrons per Å²; by default `conditions.dose`. Infinity gives the noiseless intensity.
    rng
        Needed for a finite dose.
    heights
        (n,) float in Å along the beam; by default all 0.
    margin
        Pixels simulated around the image and cut off. Without, the image is periodic; atoms
        outside of the image appear only within the margin.

    Returns
    -------
        (H, W) float32: counts divided by the mean count of the empty beam, so that 1 is vacuum.

    Raises
    ------
    InputError
        If the dose is finite and there is no `rng`, or if shapes do not fit.
    """
    positions = np.asarray(positions, float)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise InputError(f"positions has shape {positions.shape}; give (n, 2) in Å, (row, column).")
    numbers = np.broadcast_to(np.asarray(numbers, int), len(positions))
    heights = np.zeros(len(positions)) if heights is None else np.asarray(heights, float)
    conditions = Conditions() if conditions is None else conditions
    conditions = conditions if dose is None else replace(conditions, dose=float(dose))
    rows, columns = (round(e / pixel_size) for e in np.broadcast_to(extent, 2))
    border = margin * pixel_size
    shape = (rows + 2 * margin, columns + 2 * margin)
    whole = micrograph(positions + border, heights, numbers, shape, pixel_size, conditions)
    image = whole[margin : margin + rows, margin : margin + columns]
    if not np.isfinite(conditions.dose):
        return image
    if rng is None:
        raise InputError(
            "A finite dose needs random numbers; pass rng=np.random.default_rng(seed)."
        )
    per_pixel = conditions.dose * pixel_size**2
    return shot_noise(rng, np.maximum(image, 0) * per_pixel) / np.float32(per_pixel)

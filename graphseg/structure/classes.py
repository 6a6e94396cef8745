"""The four classes of a micrograph: lattice, grain boundary, vacuum and contamination.

Contamination comes from a segmenter or a label, boundaries from `graphseg.structure.boundaries`,
vacuum from here, and the rest is lattice: Fig. 1 of Sadre et al. (2021).
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft as fft
from matplotlib.colors import to_rgb
from scipy import ndimage

from graphseg.classical.denoise import FIRST_RING, gaussian, noise_power, radius
from graphseg.colours import CLASS_COLOURS
from graphseg.preprocessing import flat_field
from graphseg.structure.boundaries import Boundary, boundary_mask, find_boundaries
from graphseg.structure.lattice import Lattice, checked_micrograph
from graphseg.structure.orientation import OrientationMap, map_orientation, preference
from graphseg.structure.superposition import NO_SUPERPOSITION, Superposition

CLASSES = tuple(CLASS_COLOURS)  # label 0: lattice, 1: boundary, 2: vacuum, 3: contamination
LATTICE, BOUNDARY, VACUUM, CONTAMINATION = range(4)
BOUNDARY_WIDTH = 2.0  # lattice parameters: one ring on each side

# Of the variation above the noise that the lattice has, a hole has 0; at its edge, which the
# averaging blurs, half is left, and a little more because of the fringe along it.
CORE_FRACTION = 0.25
EDGE_FRACTION = 0.55
CORE_ORDER = 0.6  # of the order that 90 % of the clean area stay below
LEAST_CONTRAST = 6.0  # of the lattice to a hole, in standard deviations of the local variance
CHANCE = 3.5  # preference of noise for an orientation, times the root of the area in a²
# Mean order inside a hole, in the same unit. Of the published images, holes that are plain to the
# eye have 0.28 to 0.44, and lattice that is too faint to vary visibly 0.48 to 0.73.
HOLE_ORDER = 0.46
SMALLEST_CORE = 1.2  # squared lattice parameters that vary no more than noise
SMALLEST_HOLE = 5.0  # squared lattice parameters, about six hexagons; vacancies are no vacuum
BAND = (0.5, 2.0)  # frequencies that count, in those of the first ring; the second is at √3


@dataclass(frozen=True, eq=False)
class ClassMap:
    """The four classes of one micrograph.

    Attributes
    ----------
    labels
        (H, W) uint8, indices into `CLASSES`.
    boundaries
        The lines that are drawn as boundary.
    pixel_size
        Å per pixel; NaN if it is unknown because nothing of the image is clean.
    superposition
        Whether two lattices lie over one another, as in a twisted bilayer; no boundary is drawn
        then.

    Examples
    --------
    >>> halves = np.repeat([[0, 3]], 2, axis=0).astype(np.uint8)
    >>> ClassMap(halves, (), 5.0).areas["contamination"]  # 2 pixels of 0.5 nm squared
    0.5
    """

    labels: np.ndarray
    boundaries: tuple[Boundary, ...]
    pixel_size: float
    superposition: Superposition = NO_SUPERPOSITION

    @property
    def percentages(self) -> dict[str, float]:
        """Fraction of each class in the area of the image, in percent."""
        counts = [np.count_nonzero(self.labels == index) for index in range(len(CLASSES))]
        return {
            name: 100 * float(n) / self.labels.size for name, n in zip(CLASSES, counts, strict=True)
        }

    @property
    def areas(self) -> dict[str, float]:
        """Area of each class in nm²."""
        total = self.labels.size * (self.pixel_size / 10) ** 2
        return {name: fraction / 100 * total for name, fraction in self.percentages.items()}

    @property
    def flags(self) -> tuple[str, ...]:
        """What the map cannot be trusted for."""
        return ("superposed_lattices",) if self.superposition.found else ()

    @property
    def image(self) -> np.ndarray:
        """The map in the colours of :data:`CLASS_COLOURS`, (H, W, 3) uint8."""
        colours = [np.rint(255 * np.array(to_rgb(c))) for c in CLASS_COLOURS.values()]
        return np.take(np.array(colours, np.uint8), self.labels, axis=0)


def classify(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
    *,
    orientation: OrientationMap | None = None,
) -> ClassMap:
    """Classify every pixel of a micrograph.

    Contamination goes before vacuum, and both before a boundary. What is none of them is lattice,
    whether it is in order or not. Two lattices over one another have no boundary; the result's
    `superposition` says so.

    Parameters
    ----------
    image
        (H, W), any real dtype; zero must mean no electrons.
    mask
        (H, W) bool, True = contamination, from a segmenter or a label.
    pixel_size
        Å per pixel, if known; see `graphseg.structure.lattice.measure_lattice`.
    orientation
        The orientation map of the image, if it is at hand.

    Raises
    ------
    InputError
        If the clean area has no lattice, or the input cannot be used.

    Examples
    --------
    >>> import graphseg as gs
    >>> sample = gs.simulate(3, 0)
    >>> found = classify(sample.image, sample.mask, pixel_size=sample.pixel_size)
    >>> {name: round(percent) for name, percent in found.percentages.items()}
    {'lattice': 92, 'boundary': 0, 'vacuum': 0, 'contamination': 8}
    """
    image, mask = checked_micrograph(image, mask)
    labels = np.where(mask, CONTAMINATION, LATTICE).astype(np.uint8)
    if mask.all():
        return ClassMap(labels, (), float("nan") if pixel_size is None else float(pixel_size))
    if orientation is None:
        orientation = map_orientation(image, mask, pixel_size=pixel_size)
    lattice = orientation.lattice
    boundaries = find_boundaries(image, mask, orientation=orientation)
    lines = boundary_mask(boundaries, image.shape, BOUNDARY_WIDTH * lattice.parameter)
    labels[lines & ~mask] = BOUNDARY
    labels[find_vacuum(image, mask, orientation)] = VACUUM
    return ClassMap(labels, boundaries, lattice.pixel_size, orientation.superposition)


def find_vacuum(image: np.ndarray, mask: np.ndarray, orientation: OrientationMap) -> np.ndarray:
    """Find the holes, (H, W) bool: where the flat-fielded intensity varies no more than its noise.
    With so little contrast that the lattice hardly exceeds the noise, nothing is found. The image
    is (H, W) float32, and zero must mean no electrons; the mask is (H, W) bool, and what it covers
    is no vacuum."""
    lattice = orientation.lattice
    parameter = lattice.parameter
    # 1. The two signs of a lattice: variation above the noise, and order.
    variation, fluctuation = _variation(image, mask, parameter)
    order = orientation.order / np.quantile(orientation.order[~mask], 0.9)
    level = np.median(variation[order > CORE_ORDER])
    if level < 1 + LEAST_CONTRAST * fluctuation:
        return np.zeros(image.shape, bool)
    # 2. Regions below half of the usual variation that have a core with neither of them.
    fraction = (variation - 1) / (level - 1)
    core = ~mask & (fraction < CORE_FRACTION) & (order < CORE_ORDER)
    labels, count = ndimage.label(~mask & (fraction < EDGE_FRACTION))
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    candidates = np.unique(labels[core & (areas >= SMALLEST_HOLE * parameter**2)[labels]])
    # 3. Holes are those whose inside has no lattice, not even one of little contrast.
    inside = np.where(fraction < CORE_FRACTION, labels, 0)
    holes = [k for k in candidates if _is_empty(image, inside == k, order, lattice)]
    return np.isin(labels, holes)


def _is_empty(image: np.ndarray, region: np.ndarray, order: np.ndarray, lattice: Lattice) -> bool:
    """Return whether a region has no lattice, not even one of little contrast."""
    # Noise prefers some orientation the more by chance, the smaller the region is.
    size = np.count_nonzero(region) / lattice.parameter**2
    if size < SMALLEST_CORE or order[region].mean() > HOLE_ORDER:
        return False
    return preference(image, region, lattice) < 1 + CHANCE / np.sqrt(size)


def _variation(image: np.ndarray, mask: np.ndarray, parameter: float) -> tuple[np.ndarray, float]:
    """Return the local variance at the frequencies of the lattice, 1 where there is only noise.
    And its standard deviation in noise. The noise is measured at each frequency, so that a camera
    that transfers high frequencies worse does no harm."""
    # 1. Without the illumination.
    flat = np.where(mask, 0, flat_field(image, exclude=mask).corrected)
    flat = (flat - flat[~mask].mean() * ~mask).astype(np.float32)
    # 2. Only the frequencies about those of the lattice.
    frequency = radius(flat.shape)
    low, high = BAND[0] * FIRST_RING / parameter, min(BAND[1] * FIRST_RING / parameter, 0.5)
    band = (frequency > low) & (frequency < high)
    spectrum = fft.rfft2(flat) * band
    # 3. The variance of the noise in this band.
    bins = np.where(band, (frequency * min(flat.shape) / 2).astype(np.int32), -1)
    counts = np.bincount(bins[band])
    found = np.flatnonzero(counts)
    power = noise_power(np.abs(spectrum) ** 2, bins, found)
    noise = 2 * np.sum(power * counts[found]) / flat.size / np.count_nonzero(~mask)
    # 4. The local variance of the clean area, relative to it.
    varying = np.where(mask, np.float32(0), fft.irfft2(spectrum, flat.shape)) ** 2
    clean = (~mask).astype(np.float32)
    mean, coverage = (gaussian(part, parameter) for part in (varying, clean))
    relative = mean / np.maximum(coverage * noise, np.finfo(np.float32).tiny)
    # The variance of n independent values fluctuates by √(2/n); a Gaussian of standard deviation a
    # averages 4πa² pixels, of which the fraction of the band is independent.
    independent = 4 * np.pi * parameter**2 * np.pi * (high**2 - low**2)
    return relative, float(np.sqrt(2 / independent))

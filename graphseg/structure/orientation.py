"""Order parameter and orientation of graphene at every pixel, by convolution with hexagons.

As in Sadre et al. (2021) the image is convolved with kernels of a hexagon, the signal on the ring
of its six atoms against its centre, at many orientations; the strongest response is the order and
its angle the orientation. Here the kernels have the two amplitudes F₁ and F₂ that were measured in
the image itself, so that they fit either sign of the contrast and any defocus:

    K(r) = exp(−r²/2σ²) / 2πσ² · [F₁ Σ exp(2πi g r) + F₂ Σ exp(2πi G r)]

with the six waves g of the first and G of the second ring of reflections. A negative F₁ makes the
ring of atoms bright and the centre dark; the envelope lets the neighbouring hexagons fade out.
Convolved in Fourier space the kernels are exact between the pixels: in published images a bond is
only 1.9 to 4.8 pixels long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy.fft as fft
from scipy import ndimage

from graphseg.classical.denoise import gaussian
from graphseg.errors import InputError
from graphseg.preprocessing import strips
from graphseg.structure.lattice import (
    SECTOR,
    Lattice,
    checked_micrograph,
    measure_lattice,
    ring_vectors,
)
from graphseg.structure.superposition import Superposition, find_superposition

ORIENTATIONS = 24  # kernels over 60°; the response falls to half within 7°
LEAST_COVERAGE = 0.2  # fraction of the kernel on clean area; a corner of the image has 0.25
# Standard deviations in lattice parameters: of the kernels' envelope, about the ring of atoms with
# its radius of 0.58, and of the average over hexagons, which below 0.4 would show the single ones.
WIDTH, SMOOTHING = 0.8, 1.0
TINY = 1e-6
REACH = 4.0  # standard deviations of an envelope that count


@dataclass(frozen=True, eq=False)
class OrientationMap:
    """Order and orientation at every pixel of one micrograph."""

    # (H, W) float32: correlation of the surroundings with the best hexagon, 1 for a perfect
    # lattice without noise, near 0 in vacuum; 0 where not valid.
    order: np.ndarray
    orientation: np.ndarray  # (H, W) float32, direction of a lattice vector, rad in [0, π/3)
    valid: np.ndarray  # (H, W) bool, clean pixels with enough clean area around them
    lattice: Lattice  # what the kernels were made from
    # Of a second lattice over it. The orientation is then that of the stronger one at each place,
    # and its jumps are no boundaries.
    superposition: Superposition


def map_orientation(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    lattice_parameter: float | None = None,
    pixel_size: float | None = None,
    *,
    lattice: Lattice | None = None,
) -> OrientationMap:
    """Map the order and the orientation of the lattice.

    The order is the square root of the largest response over all orientations, and the orientation
    is where that is; the steps are marked in the code.

    Parameters
    ----------
    image
        (H, W), any real dtype.
    mask
        (H, W) bool, True = contamination; it takes no part.
    lattice_parameter, pixel_size
        In pixels, and Å per pixel, if known; see `graphseg.structure.lattice.measure_lattice`.
    lattice
        The measured lattice, if it is at hand.

    Raises
    ------
    InputError
        If no lattice is found, or the input cannot be used.

    Examples
    --------
    >>> import graphseg as gs
    >>> sample = gs.simulate(3, 0)
    >>> found = map_orientation(sample.image, sample.mask)
    >>> error = np.angle(np.exp(6j * (found.orientation - sample.angles[0]))) / 6
    >>> bool(np.median(np.abs(error[found.valid])) < np.radians(0.5))
    True
    """
    image, mask = checked_micrograph(image, mask)
    if lattice is None:
        lattice = measure_lattice(image, mask, lattice_parameter, pixel_size)
    if not lattice.found:
        raise InputError("No lattice was found in the image; state its lattice_parameter.")
    # 1. The response to a hexagon of any orientation: a squared correlation coefficient.
    correlation = _Correlation.of(image, mask, lattice)
    valid = ~mask & (correlation.coverage > LEAST_COVERAGE)
    hexagons = partial(gaussian, deviation=SMOOTHING * lattice.parameter, reflect=False)
    fraction = np.maximum(hexagons(valid.astype(np.float32)), TINY)
    best, position = np.empty((2, *image.shape), np.float32)
    margin = REACH * (WIDTH + SMOOTHING) * lattice.parameter
    # Some rows at a time, with those around them that they depend on.
    for rows, around, inner in strips(len(image), margin):
        respond = correlation.responses(around)

        # 2. Averaged over about one hexagon, because between the centres the response is lower.
        def energy(step: int) -> np.ndarray:
            response = respond(step * SECTOR / ORIENTATIONS) * valid[around]  # noqa: B023
            return hexagons(response)[inner] / fraction[rows]  # noqa: B023

        # 3. The largest of these means over 60°, and a parabola through it and its two neighbours.
        best[rows], position[rows] = _strongest(energy, ORIENTATIONS)
    del correlation
    # 4. Order: relative to a perfect lattice. Orientation: steps to radians.
    order = np.sqrt(np.clip(best / _mean_response(lattice.amplitudes), 0, 1)) * valid
    sector = np.float32(SECTOR)
    orientation = position * (sector / ORIENTATIONS) % sector
    orientation[orientation == sector] = 0  # a little below 0 is rounded to the full sector
    # 5. Where two lattices lie over one another, the map is that of the stronger one.
    superposition = find_superposition(image, mask, lattice)
    return OrientationMap(order, orientation, valid, lattice, superposition)


def preference(image: np.ndarray, region: np.ndarray, lattice: Lattice) -> float:
    """Return how much a region (H, W) bool of an image prefers one orientation.
    It is the largest over the median squared response, of its means over the region; only what is
    inside takes part. Near 1 where the region holds no lattice."""
    margin = int(2 * lattice.parameter)
    box = ndimage.find_objects(region.astype(np.uint8))[0]
    box = tuple(slice(max(side.start - margin, 0), side.stop + margin) for side in box)
    image, region = np.asarray(image, np.float32)[box], region[box]
    respond = _Correlation.of(image, ~region, lattice).responses()
    means = [respond(k * SECTOR / ORIENTATIONS)[region].mean() for k in range(ORIENTATIONS)]
    return float(np.max(means) / np.median(means))


class _Window:
    """Convolutions of (H, W) images with waves under a Gaussian envelope."""

    def __init__(self, shape: tuple[int, int], sigma: float) -> None:
        self.shape = shape
        self.padded = tuple(fft.next_fast_len(n + int(REACH * sigma), real=True) for n in shape)
        self.rows, self.columns = fft.fftfreq(self.padded[0]), fft.rfftfreq(self.padded[1])
        self.width = 1 / (2 * np.pi * sigma)  # cycles per pixel

    def transform(self, image: np.ndarray) -> np.ndarray:
        return fft.rfft2(image, self.padded)

    def filter(self, spectrum: np.ndarray, waves: np.ndarray, factors: np.ndarray) -> np.ndarray:
        """Return the response to factors (n,) times waves (n, 2) under the envelope."""
        down = self._gaussians(self.rows, waves[:, 0]) * factors[:, None].astype(np.float32)
        across = self._gaussians(self.columns, waves[:, 1])
        height, width = self.shape
        return fft.irfft2(spectrum * (down.T @ across), self.padded)[:height, :width]

    def _gaussians(self, frequencies: np.ndarray, centres: np.ndarray) -> np.ndarray:
        distance = (frequencies - centres[:, None] + 0.5) % 1 - 0.5
        values = np.exp(-((distance / self.width) ** 2) / 2).astype(np.float32)
        values[values < 1e-12] = 0  # products with denormal numbers take ten times as long
        return values


@dataclass(frozen=True, eq=False)
class _Correlation:
    """What the correlation of an image with hexagons of any orientation is made of, all (H, W).
    `coverage` is the clean fraction of the kernel at each pixel, `signal` the image that is
    correlated, `norm` the inverse of the root of its power and that of the kernel."""

    coverage: np.ndarray
    signal: np.ndarray
    norm: np.ndarray
    lattice: Lattice

    @classmethod
    def of(cls, image: np.ndarray, mask: np.ndarray, lattice: Lattice) -> "_Correlation":
        average = partial(gaussian, deviation=WIDTH * lattice.parameter, reflect=False)
        clean = (~mask).astype(np.float32)
        coverage = np.maximum(average(clean), TINY)
        signal = image - image[~mask].mean()
        signal *= clean / max(signal[~mask].std(), np.finfo(np.float32).tiny)
        # What varies slowly belongs to no hexagon and would only lower the order.
        signal = (signal - average(signal) / coverage) * clean
        factors = 6 * np.sum(np.square(lattice.amplitudes))
        power = np.maximum(average(signal**2), TINY) * coverage * np.float32(factors)
        return cls(coverage, signal, 1 / np.sqrt(power), lattice)

    def responses(self, rows: slice = np.s_[:]) -> Callable[[float], np.ndarray]:
        """Return what gives the response of some rows to an orientation.

        The response, (h, W) float32, is the square of the correlation coefficient of image and
        kernel where that is positive: ⟨K I⟩ / √(⟨K²⟩ ⟨I²⟩), with means under the envelope.
        """
        window = _Window(self.signal[rows].shape, WIDTH * self.lattice.parameter)
        spectrum, norm = window.transform(self.signal[rows]), self.norm[rows]
        factors = np.repeat(self.lattice.amplitudes, 6)

        def respond(orientation: float) -> np.ndarray:
            first, second = ring_vectors(self.lattice.parameter, orientation)
            waves = np.concatenate([first, -first, second, -second])
            return np.maximum(window.filter(spectrum, waves, factors) * norm, 0) ** 2

        return respond


def _strongest(energy: Callable[[int], np.ndarray], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest energy at each pixel, and where it is between the steps, in steps."""
    # Only three steps are held at a time, so that memory does not grow with their number.
    before, here = energy(-1), energy(0)
    shape = here.shape
    best = np.full(shape, -1, np.float32)
    left, right, step = np.zeros((3, *shape), np.float32)
    for k in range(number):
        after = energy(k + 1)
        better = here > best
        for target, value in ((best, here), (left, before), (right, after), (step, k)):
            np.copyto(target, value, where=better)
        before, here = here, after
    curvature = np.minimum(left - 2 * best + right, -np.finfo(np.float32).tiny)
    return best, step + np.clip((left - right) / (2 * curvature), -0.5, 0.5)


def _mean_response(amplitudes: tuple[float, float]) -> float:
    """Return the mean squared positive correlation of a perfect lattice with its own kernel."""
    # It is 1 at the centre of each hexagon and less between them.
    power = np.square(amplitudes)
    place = np.arange(32) / 32 * 2 * np.pi
    u, v = place[:, None], place  # phases of two waves of the first ring; the third is −u − v
    first = np.cos(u) + np.cos(v) + np.cos(u + v)
    second = np.cos(u - v) + np.cos(2 * u + v) + np.cos(u + 2 * v)
    correlation = (power[0] * first + power[1] * second) / (3 * power.sum())
    return float(np.mean(np.maximum(correlation, 0) ** 2))

"""Lattice of one micrograph by Fourier filtering: peak search, apertures, local contrast.

These are the steps of eqs 4–6 of Sadre et al. (2021) as functions of one image, as interpreted
here: the paper leaves windows, edges and units open, and every such choice is a parameter here. All
frequencies are in cycles per pixel with axis order (row, column); images are (H, W) float32.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.fft as fft
from scipy import ndimage

from graphseg.preprocessing import mirrored, standardise, weighted_spectrum

_BLOCK = 256  # rows smoothed at once: a matrix product of this size is faster than a convolution


@dataclass(frozen=True)
class Peaks:
    """Peaks of a spectrum, one of each pair ±g, highest first."""

    positions: np.ndarray  # (k, 2) float64 in cycles per pixel, (row, column), finer than one bin
    heights: np.ndarray  # (k,) float32, |q|·|F| there, as for an image of 256 × 256 pixels


@dataclass(frozen=True)
class Decomposition:
    """The images on the way from a micrograph to its residual, all (H, W) float32."""

    image: np.ndarray  # the micrograph in the units of the estimator, with mean zero
    peaks: Peaks
    used: np.ndarray  # (k,) bool, which of them exceed the peak threshold G
    lattice: np.ndarray  # the Bragg-filtered image, eq. 5; zeros for the no-lattice baseline
    residual: np.ndarray  # locally averaged |image − lattice|, eq. 6 before its threshold M


def find_peaks(
    image: np.ndarray, count: int = 12, window_taper: float = 0.25, peak_blur: float = 2.0
) -> Peaks:
    """Return the `count` highest peaks of the weighted spectrum, one of each pair (eq. 4).
    A peak is a bin that none of its 8 neighbours exceeds; a parabola through the logarithm of
    neighbouring heights places it below one bin, which narrow apertures need. Fewer peaks come back
    if there are fewer, none for a constant image. See `weighted_spectrum` for the rest."""
    height, width = image.shape
    spectrum = weighted_spectrum(image, window_taper, peak_blur)
    # Maxima. One bin more on three sides, so that all but the Nyquist column have neighbours.
    framed = np.hstack([mirrored(spectrum, 1), spectrum])
    framed = np.vstack([framed[-1:], framed, framed[:1]])
    highest = (framed == ndimage.maximum_filter(framed, 3)) & (framed > 0)
    rows, columns = np.nonzero(highest[1:-1, 1:-1])
    # One of each pair ±g, the highest first.
    half = (columns > 0) | ((rows > 0) & (rows <= height // 2))
    rows, columns = rows[half], columns[half]
    heights = spectrum[rows, columns]
    order = np.argsort(-heights, kind="stable")[:count]
    rows, columns, heights = rows[order], columns[order], heights[order]
    # Below one bin, along each axis.
    down = [framed[rows + 1 + i, columns + 1] for i in (-1, 0, 1)]
    across = [framed[rows + 1, columns + 1 + i] for i in (-1, 0, 1)]
    row_frequency = ((rows + _vertex(*down)) / height + 0.5) % 1 - 0.5
    positions = np.column_stack([row_frequency, (columns + _vertex(*across)) / width])
    return Peaks(positions, heights)


def lattice_image(
    image: np.ndarray,
    peaks: Peaks,
    weights: np.ndarray,
    aperture_width: float,
    padding: int = 32,
    combine: str = "sum",
) -> np.ndarray:
    r"""Return the Bragg-filtered image :math:`I_B` of eq. 5, (H, W) float32.
    :math:`I_B = \mathcal F^{-1}\{\mathcal F\{I\}\, A\}`, where A has a Gaussian of standard
    deviation `aperture_width` σ (cycles per pixel) at each peak and its opposite, times its weight
    (k,). Where apertures overlap their ``"sum"`` counts, or the ``"max"`` of them. The image, of
    mean zero, is padded with `padding` zeros on each side, and the result is divided by the
    fraction of each Gaussian's footprint (1/2πσ pixels wide) that lies inside the image: without
    that a perfect lattice would fade to half its amplitude at every edge."""
    height, width = image.shape
    padded = tuple(fft.next_fast_len(n + 2 * padding, real=True) for n in image.shape)
    # The mask of apertures A, a product of Gaussians along rows and columns for each peak ±g.
    used = weights > 0
    factor = np.tile(weights[used], 2).astype(np.float32)
    centres = np.concatenate([peaks.positions[used], -peaks.positions[used]])  # (2k, 2)
    down = _gaussians(fft.fftfreq(padded[0]), centres[:, 0], aperture_width) * factor[:, None]
    across = _gaussians(fft.rfftfreq(padded[1]), centres[:, 1], aperture_width)
    if combine == "sum":
        aperture = down.T @ across  # (rows, columns) of the half spectrum
    else:
        aperture = np.zeros((down.shape[1], across.shape[1]), np.float32)
        for row, column in zip(down, across, strict=True):
            np.maximum(aperture, np.outer(row, column), out=aperture)
    # The filter, and what each Gaussian's footprint loses beyond the edges.
    filtered = fft.irfft2(fft.rfft2(image, padded) * aperture, padded)[:height, :width]
    inside = [_support(n, m, aperture_width) for n, m in zip(image.shape, padded, strict=True)]
    return filtered / inside[0][:, None] / inside[1]


def local_mean(image: np.ndarray, smoothing: float) -> np.ndarray:
    """Return an (H, W) image averaged with a Gaussian of `smoothing` pixels (normalised, eq. 6)."""
    # Normalised convolution: weights that would lie outside the image are left out and the others
    # add up to one, so a constant stays constant up to its edges. 0 pixels leaves the image alone.
    if smoothing == 0:
        return image
    return _smooth_rows(_smooth_rows(image, smoothing).T, smoothing).T


def decompose(
    image: np.ndarray,
    *,
    width: float,
    threshold: float,
    n_peaks: int = 12,
    smoothing: float = 6.0,
    padding: int = 32,
    window_taper: float = 0.25,
    peak_blur: float = 2.0,
    units: str = "standardised",
    combine: str = "sum",
    lattice_filter: bool = True,
) -> Decomposition:
    """Take an (H, W) float32 micrograph apart into lattice and residual (eqs 4–6).
    `width` is σ and `threshold` G; the others are those of `BraggSegmenter`."""
    image = in_units(image, units)
    peaks = Peaks(np.empty((0, 2)), np.empty(0, np.float32))
    if lattice_filter:
        peaks = find_peaks(image, n_peaks, window_taper, peak_blur)
    used = peaks.heights >= threshold
    lattice = np.zeros_like(image)
    if used.any():
        lattice = lattice_image(image, peaks, used.astype(float), width, padding, combine)
    return Decomposition(
        image, peaks, used, lattice, local_mean(np.abs(image - lattice), smoothing)
    )


def in_units(image: np.ndarray, units: str) -> np.ndarray:
    """Return an (H, W) image as float32 with mean zero; a constant image becomes zeros.
    `units` is ``"standardised"`` (standard deviation 1, eq. 3), ``"contrast"`` (I/mean − 1) or
    ``"raw"`` (I − mean)."""
    if units == "standardised":
        return standardise(image)
    mean = image.mean(dtype=float)
    scale = mean if units == "contrast" and mean != 0 else 1.0
    return ((image - np.float32(mean)) / np.float32(scale)).astype(np.float32)


def _smooth_rows(image: np.ndarray, smoothing: float) -> np.ndarray:
    height = len(image)
    reach = int(np.ceil(4 * smoothing))
    result = np.empty(image.shape, np.float32)
    for start in range(0, height, _BLOCK):
        stop = min(start + _BLOCK, height)
        low, high = max(start - reach, 0), min(stop + reach, height)
        kernel = _kernel(stop - start, start - low, high - low, smoothing)
        np.matmul(kernel, image[low:high], out=result[start:stop])
    return result


@lru_cache(maxsize=16)
def _kernel(rows: int, offset: int, columns: int, smoothing: float) -> np.ndarray:
    """Return the (rows, columns) matrix of a Gaussian mean; row i is centred on i + offset."""
    distance = np.arange(columns) - np.arange(rows)[:, None] - offset
    weight = np.exp(-(distance**2) / (2 * smoothing**2))
    weight[np.abs(distance) > np.ceil(4 * smoothing)] = 0
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _vertex(before: np.ndarray, at: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return where a parabola through three log heights peaks, in bins from the middle one."""
    tiny = np.finfo(np.float32).tiny
    before, at, after = (np.log(np.maximum(h, tiny), dtype=float) for h in (before, at, after))
    curvature = before - 2 * at + after
    shift = np.divide(before - after, 2 * curvature, out=np.zeros_like(at), where=curvature < 0)
    return np.clip(shift, -0.5, 0.5)


def _gaussians(frequencies: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """Return one Gaussian a row, (2k, n) float32, on a circle of circumference one."""
    distance = (frequencies - centres[:, None] + 0.5) % 1 - 0.5
    return np.exp(-(distance**2) / (2 * width**2)).astype(np.float32)


def _support(length: int, padded: int, width: float) -> np.ndarray:
    """Return how much of the aperture lies inside the image along one side, (length,)."""
    box = np.zeros(padded)
    box[:length] = 1
    gaussian = np.exp(-(fft.rfftfreq(padded) ** 2) / (2 * width**2))
    return fft.irfft(fft.rfft(box) * gaussian, padded)[:length].astype(np.float32)

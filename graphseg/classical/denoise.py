"""Denoising that gains from a periodic lattice without knowing or imposing it.

Three properties of a micrograph are measured from its spectrum: the power of the noise at each
frequency, and the sign with which each of the two rings of Bragg reflections is transferred. Then
every small window of the image is weighted in Fourier space by what stands out of the noise
there (a Wiener filter), so that grains, boundaries and strain each keep their own reflections.
Images are (H, W), frequencies in cycles per pixel, both with axis order (row, column).
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft as fft
from scipy import ndimage
from scipy.spatial import cKDTree

FIRST_RING = 2 / np.sqrt(3)  # |g| times the lattice parameter
SECOND_RING = 2.0
BETWEEN_RINGS = (FIRST_RING + SECOND_RING) / 2
PASS_BAND = (0.6, 2.2)  # times 1/a: illumination lies below, mostly noise above
RING_WIDTH = 0.12  # times 1/a, standard deviation of the band about a ring
BACKGROUND_WIDTH = 1.0  # lattice parameters; the first ring keeps all but 4e-12 of its amplitude
# Lattice parameters a window is wide, half that at half its height. Wider ones gain more from the
# lattice and blur the rows of pentagons and heptagons at boundaries.
WINDOW = 6
NOISE_EXCESS = 2.0  # times the noise power is still noise: 2.5 standard deviations once smoothed
LATTICE_SKEWNESS = np.sqrt(2 / 3)  # of three waves at 120°
SPECTRUM_ROWS = 256  # of the spectrum are enough for its noise
# Contamination varies at wavelengths longer than those of the lattice, in published images 6 to 100
# times more than the clean area does. Unmasked, it would pass for noise and hide the lattice.
COARSE_BLUR = 0.45  # lattice parameters; leaves 0.5 % of the first ring
QUIET_WINDOW = 4.0  # lattice parameters over which the variation is averaged
QUIET_FRACTION = 0.1  # of the clean area; its least variation tells the usual one
LOUD = 3.0  # times that is contamination
LEAST_COARSE = 0.004  # of the variation of lattice and noise: less is quiet in any case
RADIAL_BINS = 24  # of the noise spectrum
STRIP = 64  # pixels; rows or columns of an image that a matrix product makes at a time
WEAKEST = 0.15  # of the typical height of a maximum; pentagons have 0.25 and more


@dataclass(frozen=True, eq=False)
class LatticeSignal:
    """A micrograph without its background, and what its spectrum tells."""

    image: np.ndarray  # (H, W) float32, mean zero
    # (H, W) bool, where noise and lattice are measured: clean as far as known, and not louder at
    # long wavelengths than the rest, see `quiet_area`.
    quiet: np.ndarray
    parameter: float  # lattice parameter in pixels
    # (k,) float64, power of the noise per pixel (its variance, if it were white) at frequencies.
    noise: np.ndarray
    frequencies: np.ndarray
    # Of the transfer at the first and at the second ring, 1 or −1: 1 at both shows atoms bright in
    # both.
    signs: tuple[int, int]
    # Of the first of them, 0…1: the skewness of the first ring over that of a lattice without
    # noise. Below 0.25 the first ring nearly vanishes, or astigmatism turns part of it round, and
    # atoms may be confused with the centres of rings.
    certainty: float

    def noise_at(self, frequency: np.ndarray) -> np.ndarray:
        """Return the noise power at frequencies of any shape, in cycles per pixel."""
        return np.interp(frequency, self.frequencies, self.noise)


def gaussian(
    image: np.ndarray,
    deviation: float,
    derivative: tuple[int, int] = (0, 0),
    truncate: float = 4.0,
    reflect: bool = True,
) -> np.ndarray:
    """Do what `scipy.ndimage.gaussian_filter` does with float32, in a seventh of its time.

    Products with small matrices are what a processor does best. Beyond its edges the image is
    reflected, or zero. A derivative is 0 or 1 along each axis; the image is at least as long as the
    kernel reaches.
    """
    reach = int(truncate * deviation + 0.5)
    steps = np.arange(-reach, reach + 1)
    plain = np.exp(-((steps / deviation) ** 2) / 2)
    plain /= plain.sum()
    for axis, order in enumerate(derivative):
        kernel = np.append(-plain * steps / deviation**2 if order else plain, 0)  # 0 is too far
        length, result, inner = image.shape[axis], np.empty(image.shape, np.float32), None
        for start in range(0, length, STRIP):
            stop = min(start + STRIP, length)
            low, high = max(start - reach, 0), min(stop + reach, length)
            weights = inner if high - low == STRIP + 2 * reach else None
            if weights is None:
                here, there = np.arange(start, stop)[:, None], np.arange(low, high)
                mirrors = (here + there + 1, here + there + 1 - 2 * length) if reflect else ()
                apart = np.stack([here - there, *mirrors])
                weights = kernel[np.where(np.abs(apart) > reach, -1, apart + reach)].sum(axis=0)
                weights = weights.astype(np.float32)
                inner = weights if high - low == STRIP + 2 * reach else None
            if axis:
                np.matmul(image[:, low:high], weights.T, out=result[:, start:stop])
            else:
                np.matmul(weights, image[low:high], out=result[start:stop])
        image = result
    return image


def analyse(
    image: np.ndarray, clean: np.ndarray, parameter: float, contrast: int | None = None
) -> LatticeSignal:
    """Remove the background of an image (H, W) float32 and measure noise and signs of transfer.

    `clean` is (H, W) bool, True outside contamination; `contrast` is 1 for bright atoms and −1 for
    dark ones, measured by default.
    """
    image = image - np.float32(image.mean(dtype=float))  # so that a constant leaves no rounding
    flat = image - gaussian(image, BACKGROUND_WIDTH * parameter, truncate=3)
    quiet = quiet_area(flat, clean, parameter)
    frequencies, noise = noise_spectrum(flat, quiet)
    (first, second), certainty = transfer_signs(flat, quiet, parameter)
    signs = (contrast or first, second)
    return LatticeSignal(flat, quiet, parameter, noise, frequencies, signs, certainty)


def quiet_area(signal: np.ndarray, clean: np.ndarray, parameter: float) -> np.ndarray:
    """Return where an image varies no more at long wavelengths than in its quietest tenth."""
    # So noise, contrast and atoms of the clean area are measured alike whether a mask covers the
    # contamination or misses it. What varies little against lattice and noise is quiet too:
    # otherwise an empty hole would make a lattice without noise seem loud. A part of `clean`, bool.
    coarse = gaussian(signal, COARSE_BLUR * parameter, truncate=3)
    side = max(int(QUIET_WINDOW * parameter), 3)
    slow, fast = (
        ndimage.uniform_filter(part**2, side, mode="nearest") for part in (coarse, signal - coarse)
    )
    slow += np.float32(LEAST_COARSE) * np.median(fast[clean])
    return clean & (slow <= LOUD * np.quantile(slow[clean], QUIET_FRACTION))


def noise_spectrum(signal: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies (k,) and the power of the noise there (k,), see `noise_power`."""
    height, width = signal.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32) * clean
    some = slice(None, None, max(1, height // SPECTRUM_ROWS))
    power = np.abs(fft.rfft2(signal * window)[some]) ** 2 / max(float((window**2).sum()), 1.0)
    labels = (radius(signal.shape)[some] * (2 * RADIAL_BINS)).astype(np.int32)
    noise = noise_power(power, labels, np.arange(RADIAL_BINS))
    floor = 1e-6 * float(signal.var()) + np.finfo(np.float32).tiny
    return (np.arange(RADIAL_BINS) + 0.5) / (2 * RADIAL_BINS), np.maximum(noise, floor)


def noise_power(power: np.ndarray, labels: np.ndarray, rings: np.ndarray) -> np.ndarray:
    """Return the mean power of the noise in `rings` (k,) of a labelled power spectrum."""
    # The power of noise is distributed exponentially, so its mean is the median over ln 2; the few
    # reflections of a lattice leave a median alone.
    return ndimage.median(power, labels, rings) / np.log(2)


def transfer_signs(
    signal: np.ndarray, clean: np.ndarray, parameter: float
) -> tuple[tuple[int, int], float]:
    """Return the signs of transfer of both rings, and how certain that of the first is."""
    # About a hexagon centre the structure factor of graphene is −1 on the first ring and 2 on the
    # second. The waves of the first ring add up to zero three by three, and two neighbouring ones
    # to one of the second, so the third moments ⟨f₁³⟩ and ⟨f₁² f₂⟩ of the image's rings f₁ and f₂
    # have the signs −t₁ and t₂, whatever the orientation of the grains.
    scaled = radius(signal.shape) * parameter
    spectrum = fft.rfft2(signal)
    first, second = (
        fft.irfft2(spectrum * np.exp(-0.5 * ((scaled - ring) / RING_WIDTH) ** 2), signal.shape)
        for ring in (FIRST_RING, SECOND_RING)
    )
    squared = first[clean] ** 2
    moments = float(squared @ first[clean]), float(squared @ second[clean])
    signs = (-1 if moments[0] > 0 else 1), (1 if moments[1] >= 0 else -1)
    spread = float(squared.mean()) ** 1.5 * LATTICE_SKEWNESS
    skewness = abs(moments[0]) / len(squared)
    return signs, skewness / spread if skewness < spread else float(spread > 0)


def radius(shape: tuple[int, int]) -> np.ndarray:
    """Return |q| in cycles per pixel, float32, in the order of `scipy.fft.rfft2`."""
    rows, columns = fft.fftfreq(shape[0]), fft.rfftfreq(shape[1])
    return np.hypot(rows[:, None], columns).astype(np.float32)


def enhance(signal: LatticeSignal) -> np.ndarray:
    r"""Return the denoised image with the centres of rings as highest maxima, (H, W) float32.
    Windows 6 lattice parameters wide overlap by three quarters. In each, every Fourier coefficient
    of power P (averaged over neighbouring bins) is multiplied by the gain :math:`S/(S+N)` of a
    Wiener filter, with the power N of the noise and :math:`S=\max(P-2N, 0)`, and by a sign that
    undoes the transfer: a linear operation that is the same everywhere, so that defects stay what
    they are. The first ring of reflections is turned round besides, and not the second: that takes
    the maxima from the atoms to the centres of rings, where both factors are positive."""
    # 1. The factor of each Fourier coefficient of a window, and the power of the noise there.
    first, second = signal.signs
    side = 4 * round(WINDOW * signal.parameter / 4)
    hop = side // 4
    taper = np.sin(np.pi * (np.arange(side) + 0.5) / side)
    window = np.outer(taper, taper).astype(np.float32)
    noise, sign = _window_gains(signal, side, (-first, second))
    # 2. Strip by strip, weight the windows and add them up again.
    height, width = signal.image.shape
    border = side - hop
    pads = [(border, border + (-(n + border)) % hop) for n in (height, width)]
    padded = np.pad(signal.image, pads, mode="reflect")
    output = np.zeros(padded.shape, np.float32)
    for top in range(0, padded.shape[0] - side + 1, hop):
        strip = np.lib.stride_tricks.sliding_window_view(padded[top : top + side], side, axis=1)
        pieces = _filtered(strip[:, ::hop].swapaxes(0, 1) * window, noise, sign) * window
        _add_overlapping(output[top : top + side], pieces, hop)
    # The squared sine windows add up to 2 along each axis.
    return output[border : border + height, border : border + width] / 4


def _window_gains(
    signal: LatticeSignal, side: int, factors: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise power of a window's coefficients and their signs, (side, columns)."""
    frequency = radius((side, side))
    scaled = frequency * signal.parameter
    columns = min(int(PASS_BAND[1] * side / signal.parameter) + 2, frequency.shape[1])
    sign = np.where(scaled < BETWEEN_RINGS, *factors)
    sign = sign * ((scaled > PASS_BAND[0]) & (scaled < PASS_BAND[1]))
    noise = signal.noise_at(frequency) * (side / 2) ** 2  # the window's squares add up to side²/4
    return noise[:, :columns].astype(np.float32), sign[:, :columns].astype(np.float32)


def _filtered(windows: np.ndarray, noise: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """Weight windows (n, side, side) in Fourier space."""
    spectra = fft.rfft2(windows)[:, :, : sign.shape[1]]
    power = spectra.real**2 + spectra.imag**2
    power = (np.roll(power, 1, axis=1) + 2 * power + np.roll(power, -1, axis=1)) / 4
    framed = np.pad(power, ((0, 0), (0, 0), (1, 1)), mode="reflect")
    power = (framed[..., :-2] + 2 * power + framed[..., 2:]) / 4
    excess = np.maximum(power - NOISE_EXCESS * noise, 0)
    spectra *= sign * (excess / (excess + noise))
    return fft.irfft2(spectra, windows.shape[1:])  # coefficients that were cut off count as zero


def _add_overlapping(strip: np.ndarray, pieces: np.ndarray, hop: int) -> None:
    """Add pieces (n, side, side) to a strip (side, W), each `hop` columns after the last."""
    number, side, _ = pieces.shape
    for start in range(0, side, hop):
        block = pieces[:, :, start : start + hop].transpose(1, 0, 2).reshape(side, number * hop)
        strip[:, start : start + number * hop] += block


def maxima(image: np.ndarray, closest: float, crowded: float, usual: np.ndarray) -> np.ndarray:
    """Return the maxima of an image, (n, 2), to sub-pixels.
    Only positive ones that are not much weaker than those in the area `usual` (H, W) bool, that
    have no higher one nearer than `closest` nor two of them nearer than `crowded` (pixels), and
    that do not lie on the outermost pixels."""
    # 1. All of them.
    highest = (image == ndimage.maximum_filter(image, 3)) & (image > 0)
    highest[[0, -1]] = highest[:, [0, -1]] = False
    places = np.argwhere(highest)
    heights = image[highest].astype(float)
    if not len(places):
        return np.empty((0, 2))
    # 2. Without those that are much weaker than usual.
    among = heights[usual[tuple(places.T)]]
    strong = heights > WEAKEST * (among**2).sum() / max(among.sum(), np.finfo(float).tiny)
    places, heights = places[strong], heights[strong]
    # 3. Of two that are too close the lower one goes, and one that is crowded by two.
    pairs = cKDTree(places).query_pairs(crowded, output_type="ndarray")
    lower = np.where(heights[pairs[:, 0]] < heights[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    near = ((places[pairs[:, 0]] - places[pairs[:, 1]]) ** 2).sum(axis=1) < closest**2
    kept = np.bincount(lower, np.where(near, 2, 1), len(places)) < 2
    return _vertices(image, places[kept])


def _vertices(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return where paraboloids through the 3 × 3 pixels around maxima (n, 2) peak."""
    rows, columns = places.T
    at = {
        (i, j): image[rows + i, columns + j].astype(float) for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    down, across = (at[1, 0] - at[-1, 0]) / 2, (at[0, 1] - at[0, -1]) / 2
    bend_down = at[1, 0] + at[-1, 0] - 2 * at[0, 0]
    bend_across = at[0, 1] + at[0, -1] - 2 * at[0, 0]
    twist = (at[1, 1] + at[-1, -1] - at[1, -1] - at[-1, 1]) / 4
    determinant = bend_down * bend_across - twist**2
    shift = np.stack([twist * across - bend_across * down, twist * down - bend_down * across], -1)
    usable = determinant > 0
    shift[usable] /= determinant[usable, None]
    shift[~usable] = 0
    return places + np.clip(shift, -0.7, 0.7)

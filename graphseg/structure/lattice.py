"""Lattice parameter, orientation and contrast sign of graphene, measured from the spectrum.

Graphene has two rings of six Bragg reflections. The first lies at 2/(√3 a) along the bisectors of
the lattice vectors, the second at 2/a along them. Depending on defocus either may be the stronger
one, or be lost, so both are scored together.

Images are (H, W) of any real dtype and scale, a signal is such an image as float32 without its
background; frequencies are in cycles per pixel, axis order (row, column). An orientation is the
direction of a lattice vector, from the column axis towards the row axis, as in
`graphseg.simulation.crystal`; it is known modulo 60° and given in [0, π/3).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import grid_sample

from graphseg.checks import checked_images, checked_masks, real_numbers
from graphseg.errors import InputError
from graphseg.preprocessing import bezier_surface, strips, weighted_spectrum
from graphseg.simulation.configuration import LATTICE_CONSTANT

SECTOR = np.pi / 3  # orientations repeat after 60°
WINDOW_TAPER = 0.5  # fraction of each side of the Tukey window
BLUR = 1.0  # bins
# Mean of log(1 + power / background) over the three reflections of a ring. White noise has 0.8 ±
# 0.14, and the largest of a whole spectrum is about 1.25.
NOISE_SCORE = 1.4
BACKGROUND = 0.3  # quantile of the power at the radius of a ring
FLOOR = 1e-3  # of the highest peak: where noise is absent, what a window leaks is no spot
WINDOW_WIDTH = 1.5  # lattice parameters; standard deviation of the windows of local phases
WINDOW_STEP = 2.0  # lattice parameters
REFINEMENTS = 2
SMALLEST_SIDE = 32  # pixels; below it the two rings cannot be told from noise
SMALLEST_PARAMETER = 2.6  # pixels; below it most of the first ring lies beyond the Nyquist limit
FEWEST_PERIODS = 6  # lattice parameters along the shorter side
CALIBRATION_ERROR = 0.1  # of a stated pixel size, relative
PARAMETER_ERROR = 0.05  # of a stated lattice parameter, relative
TAPER = 8.0  # pixels over which the image fades out next to contamination
FOUND_SCORE = 0.5  # speckle of contamination reaches 0.25


@dataclass(frozen=True)
class Lattice:
    """The lattice of one micrograph, or of its largest grain.

    Attributes
    ----------
    parameter
        Lattice parameter in pixels, the distance between neighbouring hexagon centres.
    pixel_size
        Å per pixel: as stated, else from the parameter, which is 2.46 Å in graphene.
    orientation
        Direction of a lattice vector in radians, in [0, π/3).
    contrast
        1 where atoms are brighter than the centres of hexagons (white atoms), −1 where darker.
    certainty
        Of the contrast: mean cosine of the phase of the triple product of the first ring, 0…1.
    amplitudes
        Fourier coefficients of the two rings about a hexagon centre, in standard deviations of
        the image. White atoms at rest have a negative first and a positive second one.
    score
        How far the reflections stand out of the background: sum over both rings of the mean
        logarithm of their relative power, as far as it exceeds that of noise. 0: no lattice.

    Examples
    --------
    >>> lattice = Lattice(8.2, 0.3, 0.1, 1, 0.9, (-0.5, 0.3), 4.0)
    >>> lattice.found, round(lattice.parameter_angstrom, 2)
    (True, 2.46)
    """

    parameter: float
    pixel_size: float
    orientation: float
    contrast: int
    certainty: float
    amplitudes: tuple[float, float]
    score: float

    @cached_property
    def found(self) -> bool:
        """Whether there is a lattice at all; without one the other values mean nothing."""
        return self.score > FOUND_SCORE

    @property
    def parameter_angstrom(self) -> float:
        """Lattice parameter in Å; it differs from 2.46 if the stated pixel size is wrong."""
        return self.parameter * self.pixel_size


def measure_lattice(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    lattice_parameter: float | None = None,
    pixel_size: float | None = None,
) -> Lattice:
    """Measure the lattice of the clean part of a micrograph.

    Both rings of Bragg reflections are searched in the power spectrum, then measured below one of
    its bins by the phases of their waves; the steps are marked in the code.

    Parameters
    ----------
    image
        (H, W), any real dtype.
    mask
        (H, W) bool, True = contamination, left out.
    lattice_parameter
        In pixels if known; it is then taken as it is, and the rest is measured.
    pixel_size
        Å per pixel if known; it narrows the search to 2.46 Å within 10 %.

    Raises
    ------
    InputError
        If the image is no finite 2-D array, a length is not positive, or nothing is clean.

    Examples
    --------
    >>> import graphseg as gs
    >>> sample = gs.simulate(3, 0)
    >>> lattice = measure_lattice(sample.image, sample.mask, pixel_size=sample.pixel_size)
    >>> lattice.found, 2.43 < lattice.parameter_angstrom < 2.49
    (True, True)
    """
    image, mask = checked_micrograph(image, mask)
    shortest, longest = _bounds(image.shape, lattice_parameter, pixel_size)
    # 1. Flatten the background, and fade out towards contamination.
    flat = clean_signal(image, mask)
    spectrum = weighted_spectrum(flat, WINDOW_TAPER, BLUR)
    # 2. Period and orientation at which both rings stand out most of the spectrum.
    parameter, orientation, score = search(spectrum, flat.shape, shortest, longest)
    # 3. Below one bin of the spectrum, from the phases of the six waves: the parameter from the
    # area of the unit cell, the orientation from the rotation.
    if score > 0:
        parameter, orientation = refine(flat, parameter, orientation)
    parameter = lattice_parameter or parameter
    # 4. The sign of the contrast, from phases that do not depend on the origin.
    amplitudes, certainty = ring_amplitudes(flat, parameter, orientation)
    return Lattice(
        parameter=float(parameter),
        pixel_size=float(pixel_size or LATTICE_CONSTANT / parameter),
        orientation=float(orientation % SECTOR),
        contrast=1 if amplitudes[0] < 0 else -1,
        certainty=certainty,
        amplitudes=amplitudes,
        score=score,
    )


def checked_micrograph(
    image: np.ndarray, mask: np.ndarray | None, smallest_side: int = SMALLEST_SIDE
) -> tuple[np.ndarray, np.ndarray]:
    """Return one image as float32 and its mask as bool, all False if there is none.
    InputError if the image is not 2-D, not finite or too small, or the mask does not match."""
    image = real_numbers(image, "Images")
    if image.ndim != 2:
        raise InputError(f"Expected a single image of shape (H, W), got shape {image.shape}.")
    image = checked_images(image[None], smallest_side)[0]
    if mask is None:
        return image, np.zeros(image.shape, bool)
    return image, checked_masks(mask, image.shape)


def clean_signal(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an (H, W) image without its background, faded out towards the mask.
    Float32 with mean 0 and standard deviation 1 over the clean area; a constant image is zeros."""
    if mask.all():
        raise InputError("The mask covers the whole image; there is nothing clean to measure.")
    signal = (image - bezier_surface(image, (2, 2), mask)).astype(np.float32)
    deviation = signal[~mask].std(dtype=float)
    if deviation <= 1e-6 * np.abs(image).max():
        return np.zeros(image.shape, np.float32)
    signal /= np.float32(deviation)
    for rows, around, inner in strips(len(image), TAPER):
        if mask[around].any():
            distance = ndimage.distance_transform_edt(~mask[around])[inner]
            signal[rows] *= np.sin(np.pi / 2 * np.clip(distance / TAPER, 0, 1)) ** 2
    return signal


def _bounds(
    shape: tuple[int, int], lattice_parameter: float | None, pixel_size: float | None
) -> tuple[float, float]:
    """Return the shortest and the longest lattice parameter to look for, in pixels."""
    for name, value in (("lattice parameter", lattice_parameter), ("pixel size", pixel_size)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"A {name} of {value} is impossible; give a positive number or none.")
    shortest, longest = SMALLEST_PARAMETER, min(shape) / FEWEST_PERIODS
    expected, error = lattice_parameter, PARAMETER_ERROR
    if expected is None and pixel_size is not None:
        expected, error = LATTICE_CONSTANT / pixel_size, CALIBRATION_ERROR
    if expected is None:
        return shortest, longest
    if not 2 <= expected <= min(shape) / 2:
        raise InputError(
            f"A lattice parameter of {expected:.3g} pixels cannot be seen in an image of {shape}; "
            "check the pixel size, or rescale or crop the image."
        )
    return expected * (1 - error), expected * (1 + error)


def ring_vectors(parameter: float, orientation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the reflections of both rings, one of each pair ±g, as two (3, 2) float64 arrays.
    In cycles per pixel, (row, column). The first three add up to zero."""
    first = orientation + np.pi / 6 + np.arange(3) * 2 * np.pi / 3
    second = orientation + np.arange(3) * SECTOR
    return tuple(
        np.column_stack([np.sin(angles), np.cos(angles)]) * radius
        for angles, radius in ((first, 2 / np.sqrt(3) / parameter), (second, 2 / parameter))
    )


def search(
    spectrum: np.ndarray, shape: tuple[int, int], shortest: float, longest: float
) -> tuple[float, float, float]:
    """Return the lattice parameter, orientation and score that fit both rings best.
    `spectrum` is the half spectrum of a signal of this `shape`, see `weighted_spectrum`. What noise
    reaches counts nothing. Among equals the shortest period wins, because a longer one would
    predict reflections that are not there."""
    # 1. A logarithmic grid of radii, descending, with a whole number of steps in a factor of √3.
    size = min(shape)
    shift = int(np.ceil(size * np.log(3) / 4))  # steps in a factor √3; one bin at Nyquist
    step = np.log(3) / 2 / shift
    count = int(np.ceil(np.log(longest / shortest) / step)) + 1
    exponents = np.arange(-shift, count)
    radii = 2 / np.sqrt(3) / shortest * np.exp(-exponents * step)  # second ring … first ring
    # 2. How far three reflections stand out at each angle and radius.
    spots = _spot_scores(spectrum, shape, radii)  # (angles in 60°, radii)
    # 3. The second ring is the first one shifted by a factor of √3 and turned by 30°: add both.
    second = np.roll(spots, -(len(spots) // 2), axis=0)[:, :count]
    scores = spots[:, shift:] + second
    angle, radius = np.unravel_index(scores.T.argmax(), scores.T.shape)[::-1]
    parameter = 2 / np.sqrt(3) / radii[shift + radius]
    return parameter, angle * SECTOR / len(spots), float(scores[angle, radius])


def _spot_scores(spectrum: np.ndarray, shape: tuple[int, int], radii: np.ndarray) -> np.ndarray:
    """Return how far three reflections, 60° apart, stand out of the background at their radius.
    (angles, radii) float32; the first angle is 30°, and all of them cover 60°."""
    places, beyond = _polar_places(shape, tuple(radii))
    # 1. The power on circles. Frequencies wrap, so the first row is repeated at the end.
    rows = np.vstack([spectrum, spectrum[:1]])
    samples = grid_sample(torch.from_numpy(rows)[None, None], places, align_corners=True)
    power = samples[0, 0].numpy() ** 2
    # 2. Relative to the power between the reflections: a low quantile over the angles, since spots
    # of two grains can fill half of a small circle and the median would be too high.
    ordered = np.sort(np.where(beyond, np.inf, power), axis=0)
    inside = np.count_nonzero(~beyond, axis=0)
    background = ordered[(BACKGROUND * inside).astype(int), np.arange(power.shape[1])]
    background[inside == 0] = np.inf
    highest = power[~beyond].max(initial=0)
    background = np.maximum(background, FLOOR**2 * highest or 1.0)
    relative = np.log1p(np.where(beyond, 0, power / background))
    # 3. The mean over three reflections, above what noise reaches.
    mean = relative.reshape(3, len(power) // 3, -1).mean(axis=0)
    return np.maximum(mean - NOISE_SCORE, 0)


@lru_cache(maxsize=4)
def _polar_places(shape: tuple[int, int], radii: tuple[float]) -> tuple[torch.Tensor, np.ndarray]:
    """Return where in the half spectrum the angles and radii lie, and which lie beyond it.
    Places are (1, angles, radii, 2) float32 as `torch.nn.functional.grid_sample` takes them:
    (column, row), from -1 to 1 over the half spectrum with its first row repeated at the end."""
    width = shape[1]
    number = 6 * max(int(np.ceil(np.pi * min(shape) / 12)), 30)  # angles in 180°, even
    angles = -np.pi / 2 + np.arange(number) * np.pi / number
    rows, columns = np.outer(np.sin(angles), radii), np.outer(np.cos(angles), radii)
    beyond = (np.abs(rows) > 0.5) | (columns > 0.5)
    places = np.stack([columns * width / (width // 2), rows % 1], axis=-1) * 2 - 1
    return torch.from_numpy(places.astype(np.float32))[None], beyond


def refine(signal: np.ndarray, parameter: float, orientation: float) -> tuple[float, float]:
    """Return parameter and orientation from the phase gradient of each wave, below one bin."""
    # Least squares for the linear map from the expected to the measured reflections: its
    # determinant is the change of area, its rotation that of the orientation, and strain drops out.
    expected = np.concatenate(ring_vectors(parameter, orientation))  # (6, 2)
    measured, weights = _nearby_waves(signal, expected, parameter)
    root = weights[:, None] * _resolved(expected)[:, None]
    change, _, rank, _ = np.linalg.lstsq(root * expected, root * measured, rcond=1e-3)
    if rank < 2 or np.linalg.det(change) <= 0:
        return parameter, orientation
    turn = np.arctan2(change[1, 0] - change[0, 1], change[0, 0] + change[1, 1])
    return parameter / np.sqrt(np.linalg.det(change)), orientation + turn


def _nearby_waves(
    signal: np.ndarray, waves: np.ndarray, parameter: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the frequencies (n, 2) of the waves that are really there, and their powers (n,)."""
    # The phase that a wrong frequency leaves grows from window to window; its mean step, along each
    # axis, is the correction. Windows overlap, which draws it towards zero, hence the repetition.
    for _ in range(REFINEMENTS):
        found = _local_coefficients(signal, waves, parameter)
        down = np.sum(found[:, 1:] * found[:, :-1].conj(), axis=(1, 2))
        across = np.sum(found[:, :, 1:] * found[:, :, :-1].conj(), axis=(1, 2))
        steps = np.column_stack([down, across])  # (n, 2)
        waves = waves + np.angle(steps) / (2 * np.pi * WINDOW_STEP * parameter)
    return waves, np.abs(steps).sum(axis=1)


def ring_amplitudes(
    signal: np.ndarray, parameter: float, orientation: float
) -> tuple[tuple[float, float], float]:
    """Return the signed amplitudes of both rings, and how certain the sign of the first is."""
    # The phases of three waves that add up to zero do not depend on the origin: of the first ring
    # their triple product has the sign of F₁³, and with one wave of the second ring that of F₁² F₂.
    # They are formed in windows of some periods and then averaged, so that neither strain nor a
    # second grain matters.
    first, second = ring_vectors(parameter, orientation)
    found = _local_coefficients(signal, np.concatenate([first, second]), parameter)
    a, b = found[:3], found[3:]
    pairs = [a[0] * a[1].conj(), a[0] * a[2].conj(), a[1] * a[2].conj()]
    one = _mean_cosine(a[0] * a[1] * a[2])
    two = _mean_cosine(np.concatenate([p * w.conj() for p, w in zip(pairs, b, strict=True)]))
    sizes = [np.sqrt(np.mean(np.abs(waves) ** 2)) for waves in (a, b)]
    amplitudes = (np.copysign(sizes[0], one), np.copysign(sizes[1], two) * _resolved(second).all())
    return (float(amplitudes[0]), float(amplitudes[1])), abs(one)


def _resolved(waves: np.ndarray) -> np.ndarray:
    """Return which waves, (n, 2), lie below the Nyquist limit."""
    return np.abs(waves).max(axis=1) < 0.5


def _local_coefficients(signal: np.ndarray, waves: np.ndarray, parameter: float) -> np.ndarray:
    """Return coefficients of waves (n, 2) in Gaussian windows, complex64 (n, down, across)."""
    down, across = (
        _windowed_waves(length, frequencies, parameter)
        for length, frequencies in zip(signal.shape, waves.T, strict=True)
    )
    # Real factors of a real signal take half the time of complex ones.
    stacked = np.concatenate([down.real, down.imag]).reshape(-1, signal.shape[0])
    real, imaginary = (stacked @ signal).reshape(2, *down.shape[:2], signal.shape[1])
    return (real + 1j * imaginary) @ across.transpose(0, 2, 1)


def _windowed_waves(length: int, frequencies: np.ndarray, parameter: float) -> np.ndarray:
    """Return exp(−2πi f x) in normalised windows, complex64 (n, windows, length)."""
    positions = np.arange(length)
    centres = np.arange(parameter, length, WINDOW_STEP * parameter)[:, None]
    window = np.exp(-(((positions - centres) / (WINDOW_WIDTH * parameter)) ** 2) / 2)
    window[window < 1e-12] = 0  # products with denormal numbers take ten times as long
    window /= window.sum(axis=1, keepdims=True)
    waves = np.exp(-2j * np.pi * frequencies[:, None] * positions)
    return window.astype(np.float32) * waves[:, None].astype(np.complex64)


def _mean_cosine(product: np.ndarray) -> float:
    """Return the mean cosine of the phases of triple products, weighted by their cubic root."""
    # By the products themselves a few strong windows, as in contamination, would decide alone.
    size = np.abs(product)
    weight = np.cbrt(size)
    cosine = np.divide(product.real, size, out=np.zeros_like(size), where=size > 0)
    return float(np.sum(weight * cosine) / max(weight.sum(), np.finfo(np.float32).tiny))

"""Two lattices over one another, as in a twisted bilayer: both in the same places, all over.

At a grain boundary one lattice ends where another begins. Two layers that lie over one another, or
a fold, show both everywhere. Where a map of orientation has to choose between them it jumps at
random, and each jump would look like a boundary. The Fourier coefficients in small windows tell
the two cases apart.
"""

from dataclasses import dataclass

import numpy as np

from graphseg.structure.lattice import (
    SECTOR,
    Lattice,
    checked_micrograph,
    clean_signal,
    ring_vectors,
)

SIDE = 12.0  # lattice parameters along each side of a window
STEP = 2.0  # lattice parameters from window to window
MOST_WINDOWS = 16  # along each axis; they are spread over larger images
LEAST_CLEAN = 0.7  # of a window
FEWEST_WINDOWS = 9  # with a lattice; the image tells nothing with fewer
ORIENTATIONS = 60  # over 60°
CLOSEST = np.radians(7.5)  # between two lattices; nearer ones are not resolved in such a window
BACKGROUND = 0.3  # quantile of the power at a ring: between the reflections of two lattices
FLOOR = 1e-6  # of the highest power: where noise is absent, what a window leaks is no spot
# Mean of log(1 + power / background) over the three reflections of a ring, above which they stand
# out: noise has 1.1 on average, and its highest value over all orientations is about 1.9.
NOISE_SCORE = 1.9
LEAST_SCORE = 1.0  # above that, of the stronger lattice in a window
SECOND_SCORE = 0.7  # and of the weaker one,
SECOND_FRACTION = 0.4  # and as a fraction of the score of the stronger one
SAME_TWIST = np.radians(4)  # from the usual angle between the two
# Of the windows with a lattice. Windows on a boundary hold two as well: up to 0.15 in simulated
# bicrystals and in published images, against 0.7 to 1 in simulated bilayers.
LEAST_FRACTION = 1 / 3


@dataclass(frozen=True)
class Superposition:
    """Whether two lattices lie over one another."""

    fraction: float  # windows that hold both lattices, of those that hold any
    twist: float  # angle between the two in radians, 0 to π/6; NaN where no window holds two

    @property
    def found(self) -> bool:
        """Whether there are two lattices in at least a third of the windows."""
        return self.fraction >= LEAST_FRACTION


NO_SUPERPOSITION = Superposition(0.0, float("nan"))


def find_superposition(
    image: np.ndarray, mask: np.ndarray | None, lattice: Lattice
) -> Superposition:
    """Look for two lattices in the same windows all over a micrograph.
    A twist of less than 8° is not seen, and layers in register are one lattice here. The image is
    (H, W) of any real dtype; windows on the mask, (H, W) bool, are left out. Of the lattice only
    the parameter counts. Raises InputError if the mask covers all of the image."""
    image, mask = checked_micrograph(image, mask)
    # 1. How far both rings of reflections stand out in each window, for all orientations.
    scores = _window_scores(clean_signal(image, mask), ~mask, lattice.parameter)
    # 2. Windows in which a second orientation stands out nearly as far as the best one.
    first, best = scores.argmax(axis=1), scores.max(axis=1, initial=0)
    second, weaker = _second_peaks(scores, first)
    ordered = best > LEAST_SCORE
    both = ordered & (weaker > np.maximum(SECOND_FRACTION * best, SECOND_SCORE))
    if np.count_nonzero(ordered) < FEWEST_WINDOWS or not both.any():
        return NO_SUPERPOSITION
    # 3. The fraction of them with the usual twist: at boundaries there are few.
    angles = _between(first, second)[both] * SECTOR / ORIENTATIONS
    twist = float(np.median(angles))
    alike = np.count_nonzero(np.abs(angles - twist) < SAME_TWIST)
    return Superposition(float(alike / np.count_nonzero(ordered)), twist)


def _window_scores(signal: np.ndarray, clean: np.ndarray, parameter: float) -> np.ndarray:
    """Return how far both rings stand out in each window, (windows, orientations) float64."""
    side = min(int(2 * round(SIDE * parameter / 2)), *signal.shape)
    tops, lefts = (_starts(length, side, STEP * parameter) for length in signal.shape)
    angles = np.arange(ORIENTATIONS) * SECTOR / ORIENTATIONS
    waves = np.stack([ring_vectors(parameter, angle) for angle in angles])  # (angles, 2, 3, 2)
    down, across = (_windowed(side, waves[..., axis].ravel()) for axis in (0, 1))
    resolved = np.abs(waves).max(axis=(0, 2, 3)) < 0.5  # (2,)
    shape = waves.shape[:-1]
    powers = [
        _powers(signal[part], down, across)
        for top in tops
        for left in lefts
        if clean[part := np.s_[top : top + side, left : left + side]].mean() >= LEAST_CLEAN
    ]
    return _relative(np.reshape(powers, (-1, *shape)))[..., resolved].sum(axis=-1)


def _starts(length: int, side: int, step: float) -> np.ndarray:
    """Return where windows start along an axis, the first and the last at its ends."""
    number = min(int((length - side) / step) + 1, MOST_WINDOWS)
    return np.rint(np.linspace(0, length - side, number)).astype(int)


def _windowed(side: int, frequencies: np.ndarray) -> np.ndarray:
    """Return exp(−2πi f x) under a Hann window, complex64 (side, waves)."""
    window = np.hanning(side + 2)[1:-1, None]
    waves = np.exp(-2j * np.pi * np.arange(side)[:, None] * frequencies)
    return (window * waves).astype(np.complex64)


def _powers(window: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return the powers of waves in a window (side, side), (waves,)."""
    # Real factors of a real signal take half the time of complex ones.
    rows = window @ across.real + 1j * (window @ across.imag)
    return np.abs((rows * down).sum(axis=0)) ** 2


def _relative(power: np.ndarray) -> np.ndarray:
    """Return how far each ring stands out, (n, orientations, 2), from (…, 2, 3) powers."""
    if not len(power):
        return np.empty(power.shape[:-1])
    background = np.quantile(power, BACKGROUND, axis=(1, 3), keepdims=True)
    floor = np.maximum(FLOOR * power.max(axis=(1, 2, 3), keepdims=True), np.finfo(np.float32).tiny)
    relative = np.log1p(power / np.maximum(background, floor))
    return np.maximum(relative.mean(axis=-1) - NOISE_SCORE, 0)


def _second_peaks(scores: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest local maximum that is not near the first, (n,) index, and its score."""
    before, after = np.roll(scores, 1, axis=1), np.roll(scores, -1, axis=1)
    apart = _between(np.arange(ORIENTATIONS), first[:, None]) * SECTOR / ORIENTATIONS
    peaks = (scores >= before) & (scores >= after) & (apart > CLOSEST)
    left = np.where(peaks, scores, 0)
    return left.argmax(axis=1), left.max(axis=1, initial=0)


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how many steps of orientation lie between two, the shorter way round."""
    apart = np.abs(first - second) % ORIENTATIONS
    return np.minimum(apart, ORIENTATIONS - apart)

"""Fit of atoms to a micrograph: is each of them there, and where exactly.

To first order a micrograph of a single layer is a sum of equal, overlapping images of one atom.
That image is measured from the micrograph itself, given approximate positions, as the transfer
at the rings of Bragg reflections; no defocus has to be known. Then the difference between the image
and its model tells, through a matched filter at each atom, how much of the atom is there and in
which direction it should move. Positions are (n, 2) in pixels, axis order (row, column).
"""

from collections.abc import Iterable

import numpy as np
import scipy.fft as fft
from scipy import ndimage
from scipy.interpolate import BSpline, PchipInterpolator

from graphseg.classical.denoise import FIRST_RING, SECOND_RING, LatticeSignal, gaussian, radius

RINGS = (FIRST_RING, SECOND_RING, 2 * FIRST_RING)  # |g| times a, of the three strongest rings
CUT_ON = 0.4  # times 1/a: what lies below has left with the background
CUT_OFF = 2.6  # times 1/a: atoms transfer nothing from there on
RESOLVED = 0.46  # cycles per pixel; beyond it aliases spoil the spline that places the atoms
BAND = 0.06  # times 1/a, half width of the bands in which transfer is measured
BORDER = 1.5  # lattice parameters added around the image, where its periodic transform wraps
FOOTPRINT = 0.2  # lattice parameters, standard deviation of an atom's image
DAMPING = 0.8  # of the steps, because neighbouring atoms overlap and move together
STEPS = 2


class AtomFit:
    """The image of one atom and the comparison of atoms with a micrograph without its background.
    Nearly all positions (n, 2) are right within a fraction of a bond. `energy` is the squared
    signal-to-noise ratio of one atom, seen by the matched filter, and `stiffness` the inverse
    variance in 1/px² with which the image alone places one atom along one axis."""

    def __init__(self, signal: LatticeSignal, positions: np.ndarray):
        # 1. A frame of zeros around the image, and the frequencies of its transform.
        shape = signal.image.shape
        self._border = int(BORDER * signal.parameter)
        self._size = tuple(fft.next_fast_len(n + 2 * self._border, real=True) for n in shape)
        self._image = self._framed(signal.image)
        inside = self._framed(np.ones(shape, np.float32))
        self._inside = inside > 0
        self._rows = fft.fftfreq(self._size[0]).astype(np.float32)[:, None]
        self._columns = fft.rfftfreq(self._size[1]).astype(np.float32)
        frequency = radius(self._size)
        # 2. Transforms of the cubic B-spline, and of the filter that makes splines interpolate.
        spline = (np.sinc(self._rows) * np.sinc(self._columns)) ** 4
        turns = 2 * np.pi * self._rows, 2 * np.pi * self._columns
        self._interpolating = 9 / (2 + np.cos(turns[0])) / (2 + np.cos(turns[1]))
        # 3. The image of one atom, and the filter that finds it in the noise.
        transfer = self._measure_transfer(signal, positions, shape, frequency, spline)
        self._model = transfer / spline
        self._matched = transfer / signal.noise_at(frequency).astype(np.float32)
        twice = np.full(len(self._columns), 2, np.float32)  # how often a column stands for both ±q
        twice[[0] if self._size[1] % 2 else [0, -1]] = 1
        power = self._matched * transfer * twice / np.prod(self._size)
        self.energy = float(power.sum())
        self.stiffness = float((power * (2 * np.pi * frequency) ** 2).sum() / 2)
        # 4. How much of an atom's image lies in the frame.
        footprint = FOOTPRINT * signal.parameter
        self._fraction = gaussian(inside, footprint, truncate=3)

    def amplitudes(self, positions: np.ndarray, occupied: np.ndarray) -> np.ndarray:
        """Return how much of an atom is at each site, 1 for atoms and 0 for empty sites, (n,).
        `occupied` (n,) bool tells which of them hold an atom as far as known: images of neighbours
        overlap, so that the amplitude of a site depends on those around it. The noise has the
        variance 1 / (`energy` · `fraction`). Sites that share less than a tenth of an atom's image
        with the frame cannot be judged and get 1."""
        fraction = self.fraction(positions)
        (excess,) = self._sample([self._compared(positions[occupied])], positions)
        judged = fraction > 0.1
        seen = occupied + excess / (self.energy * np.where(judged, fraction, 1))
        return np.where(judged, seen, 1.0)

    def fraction(self, positions: np.ndarray) -> np.ndarray:
        """Return the fraction of an atom's image at each position that lies in the frame."""
        places = np.rint(positions + self._border).astype(int)
        rows, columns = np.clip(places, 0, np.array(self._size) - 1).T
        return self._fraction[rows, columns]

    def refine(self, positions: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """Move atoms from expected positions (n, 2) to where image and expectation agree best.
        Gauss–Newton steps for all atoms at once, towards the maximum of the posterior: noise as
        measured, and Gaussian errors of the given positions with the standard deviation `deviation`
        (n,) along one axis, in pixels."""
        prior = 1 / deviation[:, None] ** 2
        stiffness = self.stiffness * self.fraction(positions)[:, None] + prior
        moved = positions.copy()
        for _ in range(STEPS):
            # The derivative of the matched filter's response, along both axes, at each atom.
            spectrum = self._compared(moved)
            spectrum *= np.complex64(2j * np.pi)
            slopes = self._sample((spectrum * q for q in (self._rows, self._columns)), moved)
            moved += DAMPING * (slopes.T - prior * (moved - positions)) / stiffness
        return moved

    def _framed(self, image: np.ndarray) -> np.ndarray:
        """Put an image into the middle of zeros."""
        framed = np.zeros(self._size, np.float32)
        rows, columns = (slice(self._border, self._border + n) for n in image.shape)
        framed[rows, columns] = image
        return framed

    def _measure_transfer(
        self,
        signal: LatticeSignal,
        positions: np.ndarray,
        shape: tuple[int, int],
        frequency: np.ndarray,
        spline: np.ndarray,
    ) -> np.ndarray:
        """Return the transform of one atom's image, real, interpolated between the rings."""
        # On each ring it is the least-squares ratio of the spectra of image and atoms.
        # 1. The spectra of the quiet part of the image, and of points at the atoms in it.
        window = np.outer(np.hanning(shape[0]), np.hanning(shape[1])).astype(np.float32)
        window = self._framed(window * signal.quiet)
        atoms = fft.rfft2(self._scattered(positions) * window) / spline
        image = fft.rfft2(self._image * window)
        # 2. Their ratio on each ring; 0 where the pixels are too coarse for it.
        scaled = frequency * signal.parameter
        values = []
        for ring in RINGS:
            band = np.abs(scaled - ring) < BAND
            power = float((np.abs(atoms[band]) ** 2).sum())
            resolved = ring / signal.parameter < RESOLVED and power > 0
            product = float((image[band] * atoms[band].conj()).real.sum())
            values.append(product / power if resolved else 0.0)
        # 3. A curve through these, 0 at both ends.
        curve = PchipInterpolator([0, CUT_ON, *RINGS, CUT_OFF], [0, 0, *values, 0])
        within = scaled < min(CUT_OFF, RESOLVED * signal.parameter)
        return np.where(within, curve(np.minimum(scaled, CUT_OFF)), 0).astype(np.float32)

    def _scattered(self, positions: np.ndarray) -> np.ndarray:
        """Lay cubic B-splines of weight 1 on the grid."""
        places = positions + self._border
        places = places[((places >= 1) & (places < np.array(self._size) - 2)).all(axis=1)]
        if not len(places):
            return np.zeros(self._size, np.float32)
        rows, columns = (
            BSpline.design_matrix(x, np.arange(-2.0, n + 2), 3).astype(np.float32)
            for x, n in zip(places.T, self._size, strict=True)
        )  # sparse, (n, H) and (n, W)
        return (rows.T @ columns).toarray()

    def _compared(self, positions: np.ndarray) -> np.ndarray:
        """Return the matched filter's response to image minus model, as a half spectrum."""
        model = fft.rfft2(self._scattered(positions))
        model *= self._model
        difference = fft.irfft2(model, self._size)
        np.subtract(self._image, difference, out=difference)
        difference *= self._inside
        response = fft.rfft2(difference)
        response *= self._matched
        return response

    def _sample(self, spectra: Iterable[np.ndarray], positions: np.ndarray) -> np.ndarray:
        """Return the images of half spectra at positions, (k, n), by cubic splines."""
        places = (positions + self._border).T
        splines = (fft.irfft2(spectrum * self._interpolating, self._size) for spectrum in spectra)
        options = {"order": 3, "mode": "grid-wrap", "prefilter": False}
        return np.stack([ndimage.map_coordinates(c, places, **options) for c in splines])

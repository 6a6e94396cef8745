"""Local energy of what lattice filtering leaves behind, and the base of methods that threshold it.

The energy of a band of the residual, averaged over a few pixels and in logarithms, is what both
`graphseg.adaptive` and `graphseg.pixelclassifier` look at: contamination has more of it than the
lattice, by a factor that varies less between micrographs than the energy itself.
"""

from abc import abstractmethod

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import BaseEstimator

from graphseg import metrics
from graphseg.checks import checked_masks
from graphseg.fourier import decompose, local_mean

# Energies of standardised images below this are rounding: without it, log 0.
FLOOR = 1e-6
SPACING = 4  # pixels between samples; energies are averaged over more, so few samples say it all


class ThresholdedSegmenter(BaseEstimator):
    """What estimators share that decide pixel by pixel by the sign of a margin.

    Subclasses give `margins` and have a parameter `softness`.
    """

    @abstractmethod
    def margins(self, images: ArrayLike) -> np.ndarray:
        """Return how far each pixel lies above its threshold, (n, H, W) float32."""

    def predict_proba(self, images: ArrayLike) -> np.ndarray:
        """Return the probability of contamination, (n, H, W) float32 in [0, 1].

        A sigmoid of margin / softness. Exactly the pixels at 0.5 or above are those of `predict`.
        """
        margins = self.margins(images)
        probability = expit(margins / np.float32(self.softness))
        # Rounding must not move a pixel across the threshold.
        below = np.nextafter(np.float32(0.5), np.float32(0))
        return np.where(margins >= 0, probability, np.minimum(probability, below))

    def predict(self, images: ArrayLike) -> np.ndarray:
        """Return masks, (n, H, W) bool, True = contamination (margin 0 or above)."""
        return self.margins(images) >= 0

    def score(self, images: ArrayLike, masks: ArrayLike) -> float:
        """Return the Jaccard index pooled over all pixels (1 if there is nothing to find)."""
        predicted = self.predict(images)
        table = metrics.counts(checked_masks(masks, predicted.shape), predicted)
        return metrics.scores(table, "pooled")["jaccard"]


def split_lattice(
    image: np.ndarray, aperture_width: float, peak_threshold: float, n_peaks: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a micrograph, its lattice and the difference of the two, (H, W) float32 each.

    The image is standardised (eq. 3); the other choices are the defaults of
    `graphseg.bragg.BraggSegmenter`, whose parameters these are.
    """
    found = decompose(
        image,
        width=aperture_width,
        threshold=peak_threshold,
        n_peaks=n_peaks,
        smoothing=0,
        padding=32,
        window_taper=0.25,
        peak_blur=2.0,
        units="standardised",
        combine="sum",
        lattice_filter=True,
    )
    return found.image, found.lattice, found.image - found.lattice


def band_pass(image: np.ndarray, low_pass: float, high_pass: float) -> np.ndarray:
    """Return an (H, W) image less its fine and its coarse structure.

    The difference of two Gaussian means of standard deviations `low_pass` and `high_pass` in
    pixels, normalised at the edges. A low pass of 0 keeps the finest structure, and a high pass
    of 0 the coarsest.
    """
    fine = local_mean(image, low_pass)
    return fine - local_mean(image, high_pass) if high_pass else fine


def log_energy(image: np.ndarray, window: float, smoothing: float) -> np.ndarray:
    """Return the local log-energy of an (H, W) image with mean zero, natural logarithm, float32.

    The square is averaged over a Gaussian window of `window` pixels, and its logarithm over one
    of `smoothing` pixels. In logarithms single bright atoms count for less: a geometric mean.
    """
    energy = local_mean(np.square(image), window) + np.float32(FLOOR)
    return local_mean(np.log(energy), smoothing)


def samples(image: np.ndarray) -> np.ndarray:
    """Return every `SPACING`-th pixel of (..., H, W) along both sides, denser in small images."""
    spacing = min(SPACING, max(1, min(image.shape[-2:]) // 16))
    return image[..., ::spacing, ::spacing]


def two_levels(values: np.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold of some values, and how far apart the means of its two sides lie.

    Exact, without a histogram (Otsu 1979): of all places between two sorted values the one with
    the largest variance between the sides. Equal values give that value and a distance of 0.
    """
    ordered = np.sort(values, axis=None).astype(float)
    count = np.arange(1, ordered.size)
    total = np.cumsum(ordered)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / count[::-1]
    between = count * count[::-1] * np.square(high - low)
    best = int(between.argmax()) if between.size else 0
    if not between.size or ordered[0] == ordered[-1]:
        return float(ordered[0]), 0.0
    return float(ordered[best : best + 2].mean()), float(high[best] - low[best])

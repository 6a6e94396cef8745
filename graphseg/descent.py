"""Fitting the Bragg filter: a soft Jaccard index, its descent, and the exact hard threshold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from tqdm import tqdm

from graphseg.fourier import Peaks, lattice_image, local_mean

# The search keeps σ between about a tenth of a bin of 256 pixels (one wave for the whole image)
# and a tenth of the sampling frequency (apertures of neighbouring peaks merge).
WIDTH_RANGE = (5e-4, 0.1)
_STEP = 0.02  # step of the difference quotients in the logarithm; the loss is smooth on this scale


@dataclass(frozen=True)
class SoftJaccard:
    """One minus the soft Jaccard index as a function of θ = (log σ, log G, log M).

    Sigmoids replace the two thresholds: a peak counts by how far the logarithm of its height lies
    above log G, a pixel by how far its residual lies above M.

    Attributes
    ----------
    images
        (n, H, W) float32 with mean zero, in the units of G and M.
    masks
        (n, H, W) bool.
    peaks
        The peaks of each image.
    softness, peak_softness
        Widths of the sigmoids: around M as a share of M, around G in the logarithm.
    smoothing, padding, combine
        As in `graphseg.bragg.BraggSegmenter`.
    """

    images: np.ndarray
    masks: np.ndarray
    peaks: list[Peaks]
    softness: float
    peak_softness: float
    smoothing: float
    padding: int
    combine: str

    def gradient(self, theta: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss of the images `chosen` and its (3,) gradient.

        M enters in closed form; σ and G act through the whole filter, so their derivatives are
        difference quotients, which cost no more than a backward pass would.
        """
        loss, slope = self.loss(theta, chosen)
        shifted = theta + _STEP * np.eye(3)[:2]
        quotients = [(self.loss(near, chosen)[0] - loss) / _STEP for near in shifted]
        return loss, np.array([*quotients, slope])

    def loss(self, theta: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
        """Return the loss pooled over the images `chosen` and its derivative by log M."""
        overlap = union = overlap_slope = union_slope = 0.0
        for i in chosen:
            ratio = self._residual(i, theta) / np.exp(theta[2])
            soft = expit((ratio - 1) / self.softness)
            slope = -soft * (1 - soft) * ratio / self.softness
            mask = self.masks[i]
            overlap += soft[mask].sum(dtype=float)
            union += soft[~mask].sum(dtype=float) + mask.sum()
            overlap_slope += slope[mask].sum(dtype=float)
            union_slope += slope[~mask].sum(dtype=float)
        union = max(union, np.finfo(float).tiny)  # empty labels and far too high an M
        jaccard = overlap / union
        return 1 - jaccard, -(overlap_slope - jaccard * union_slope) / union

    def _residual(self, i: int, theta: np.ndarray) -> np.ndarray:
        image, peaks = self.images[i], self.peaks[i]
        weights = expit((np.log(peaks.heights) - theta[1]) / self.peak_softness)
        width = np.exp(theta[0])
        lattice = lattice_image(image, peaks, weights, width, self.padding, self.combine)
        return local_mean(np.abs(image - lattice), self.smoothing)


def adam(
    gradient: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]],
    theta: np.ndarray,
    batches: Iterator[np.ndarray],
    steps: int,
    rate: float,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise with Adam (Kingma & Ba, 2015), the rate falling to zero as a cosine.

    Parameters
    ----------
    gradient
        Gives the loss and its (3,) gradient at θ for a batch of indices.
    theta
        (3,) start: log σ, log G, log M. σ is kept inside `WIDTH_RANGE`.
    batches
        Indices of the images of each step.
    steps, rate
        Number of steps, and the length of the first one.
    progress
        Show a progress bar.

    Returns
    -------
    tuple of ndarray
        The (3,) end point, and (steps, 4) the loss, σ, G and M of each step.
    """
    first, second, history = np.zeros(3), np.zeros(3), np.empty((steps, 4))
    decay, slow_decay = 0.9, 0.99
    for k in tqdm(range(steps), desc="Bragg fit", delay=1, disable=not progress):
        loss, slope = gradient(theta, next(batches))
        history[k] = loss, *np.exp(theta)
        first = decay * first + (1 - decay) * slope
        second = slow_decay * second + (1 - slow_decay) * slope**2
        mean, square = first / (1 - decay ** (k + 1)), second / (1 - slow_decay ** (k + 1))
        pace = rate * 0.5 * (1 + np.cos(np.pi * k / steps))
        theta = theta - pace * mean / (np.sqrt(square) + 1e-8)
        theta[0] = np.clip(theta[0], *np.log(WIDTH_RANGE))
    return theta, history


def batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of indices forever; every image comes once before any comes again."""
    rng = np.random.default_rng(seed)
    while True:
        yield from np.array_split(rng.permutation(count), -(-count // size))


def best_threshold(scores: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Return the threshold t whose masks ``scores >= t`` have the highest pooled Jaccard.

    The optimum is exact: it can only lie at the score of a contaminated pixel, and all of those
    are tried. Of equally good thresholds the highest is returned.

    Parameters
    ----------
    scores
        Finite numbers of any shape.
    masks
        Bool of the same shape, True = contamination.

    Returns
    -------
    tuple of float
        The threshold and its Jaccard index; just above the highest score and 1 if `masks` is
        empty.
    """
    positive, negative = np.sort(scores[masks])[::-1], np.sort(scores[~masks])
    if not positive.size:
        return float(np.nextafter(scores.max(), np.array(np.inf, scores.dtype))), 1.0
    found = np.searchsorted(-positive, -positive, side="right")  # ties are found together
    wrong = negative.size - np.searchsorted(negative, positive, side="left")
    jaccard = found / (positive.size + wrong)
    best = int(jaccard.argmax())
    return float(positive[best]), float(jaccard[best])

"""Calibration: is what a network calls 80 % contamination in 80 % of the cases?

All is computed from histograms: for each image, how many clean and how many contaminated pixels
have a probability in each of many levels. They are small, exact to a level, and add up.

Temperature scaling divides the logit by one number (Guo et al., "On calibration of modern neural
networks", ICML 2017); isotonic regression fits any rising curve (Zadrozny & Elkan, KDD 2002).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from graphseg.errors import InputError

EDGES = np.linspace(-12, 12, 1201)  # of the levels, as logits; 0.5 is one of them
LEVELS = expit((EDGES[1:] + EDGES[:-1]) / 2)  # (L,) probability in the middle of each level
BINS = 15  # of equal width, for the reliability diagram, as in Guo et al.
METHODS = ("none", "temperature", "isotonic")


def histograms(probabilities: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Count clean and contaminated pixels at each level of probability.

    Parameters
    ----------
    probabilities
        (n, H, W) float in [0, 1].
    masks
        (n, H, W) bool, True = contamination.

    Returns
    -------
        (n, L, 2) int64; the last axis is clean, contaminated.

    Raises
    ------
    InputError
        If the shapes differ.
    """
    if np.shape(probabilities) != np.shape(masks):
        raise InputError(
            f"Probabilities of shape {np.shape(probabilities)} do not fit masks of shape "
            f"{np.shape(masks)}; give both as (n, H, W)."
        )
    return np.stack([_histogram(p, m) for p, m in zip(probabilities, masks, strict=True)])


def levels_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the level of each probability, int, same shape."""
    with np.errstate(divide="ignore"):
        logits = logit(np.asarray(probabilities, float))
    step = EDGES[1] - EDGES[0]
    # What is exactly on an edge belongs above it, so that 0.5 counts as contamination.
    found = np.floor(np.clip((logits - EDGES[0]) / step + 1e-9, 0, len(LEVELS) - 1))
    return found.astype(np.intp)


def _histogram(probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
    index = 2 * levels_of(probability).ravel() + np.asarray(mask, bool).ravel()
    return np.bincount(index, minlength=2 * len(LEVELS)).reshape(-1, 2)


def fit_temperature(counts: np.ndarray) -> float:
    """Return the temperature that makes the labels most likely.

    Parameters
    ----------
    counts
        (n, L, 2), see :func:`histograms`.

    Returns
    -------
        From 0.1 to 10; above 1 the network is too sure of itself.
    """
    clean, contaminated = counts.sum(axis=0).T
    logits = logit(LEVELS)

    def cost(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        return float(contaminated @ np.logaddexp(0, -scaled) + clean @ np.logaddexp(0, scaled))

    found = minimize_scalar(cost, bounds=np.log([0.1, 10]), method="bounded")
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities with their logits divided by the temperature, same shape, float32."""
    with np.errstate(divide="ignore"):
        return expit(logit(np.asarray(probabilities, float)) / temperature).astype(np.float32)


def fit(counts: np.ndarray, method: str) -> np.ndarray:
    """Return the calibrated probability of each level, (L,).

    Parameters
    ----------
    counts
        (n, L, 2) of the images to calibrate on.
    method
        One of `METHODS`.

    Raises
    ------
    InputError
        If the method is unknown.
    """
    if method == "none":
        return LEVELS
    if method == "temperature":
        return apply_temperature(LEVELS, fit_temperature(counts)).astype(float)
    if method == "isotonic":
        clean, contaminated = counts.sum(axis=0).T
        total = clean + contaminated
        seen = total > 0
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(LEVELS[seen], contaminated[seen] / total[seen], sample_weight=total[seen])
        return curve.predict(LEVELS)
    raise InputError(f"The calibration {method!r} is unknown: use one of {', '.join(METHODS)}.")


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: predicted probability and observed fraction in each bin.

    Attributes
    ----------
    predicted
        (b,) mean probability of the pixels in each bin; NaN in empty bins.
    observed
        (b,) fraction of them that is contaminated; NaN in empty bins.
    pixels
        (b,) int.
    """

    predicted: np.ndarray
    observed: np.ndarray
    pixels: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean of \\|predicted − observed\\| over pixels."""
        weight = self.pixels / self.pixels.sum()
        return float(np.nansum(weight * np.abs(self.predicted - self.observed)))


def reliability(counts: np.ndarray, values: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the reliability diagram of all pixels together.

    The probability is that of contamination, not that of the likelier class: the bins cover 0 to 1.

    Parameters
    ----------
    counts
        (n, L, 2).
    values
        (L,) or (n, L), the calibrated probability of each level.
    bins
        Of equal width.
    """
    values = np.broadcast_to(values, counts.shape[:2])
    place = np.minimum((values * bins).astype(int), bins - 1).ravel()
    total = counts.sum(axis=2)
    pixels = np.bincount(place, total.ravel(), bins)
    predicted = np.bincount(place, (total * values).ravel(), bins)
    observed = np.bincount(place, counts[..., 1].ravel(), bins)
    full = np.where(pixels > 0, pixels, np.nan)
    return Reliability(predicted / full, observed / full, pixels.astype(np.int64))

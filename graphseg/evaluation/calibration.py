"""Calibration: is what a network calls 80 % contamination in 80 % of the cases?

All is computed from histograms: for each image, how many clean and how many contaminated pixels
have a probability in each of many levels. They are small, exact to a level, and add up.

Temperature scaling divides the logit by one number (Guo et al., "On calibration of modern neural
networks", ICML 2017); isotonic regression fits any rising curve (Zadrozny & Elkan, KDD 2002).

Which threshold gives the precision or the recall that one needs, and how sure that is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold

from graphseg import metrics
from graphseg.errors import InputError

EDGES = np.linspace(-12, 12, 1201)  # of the levels, as logits; 0.5 is one of them
LEVELS = expit((EDGES[1:] + EDGES[:-1]) / 2)  # (L,) probability in the middle of each level
BINS = 15  # of equal width, for the reliability diagram, as in Guo et al.
METHODS = ("none", "temperature", "isotonic")
INNER_FOLDS = 5
LARGEST_ERROR = 0.02  # the target


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


def inner_folds(
    fold: np.ndarray, groups: np.ndarray, count: int = INNER_FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the images to calibrate on and those to test, so that nothing leaks.

    All images that one fold's network has not seen are split by acquisition. Calibrating on some
    and testing on the others, neither network nor calibration has seen an image, or another frame
    of its acquisition, before it is tested.

    Parameters
    ----------
    fold
        (n,) int, which network has not seen each image.
    groups
        (n,) acquisitions.
    count
        Splits within each fold; fewer where there are fewer acquisitions.

    Yields
    ------
        Two int arrays; every image is tested once.
    """
    for number in np.unique(fold):
        unseen = np.flatnonzero(fold == number)
        splits = min(count, len(np.unique(groups[unseen])))
        if splits < 2:
            raise InputError(
                f"Fold {number} holds one acquisition; calibration needs at least two in each."
            )
        for train, test in GroupKFold(splits).split(unseen, groups=groups[unseen]):
            yield unseen[train], unseen[test]


def calibrate_out_of_fold(
    counts: np.ndarray, fold: np.ndarray, groups: np.ndarray, method: str
) -> np.ndarray:
    """Calibrate every image by others that its network has not seen either.

    Parameters
    ----------
    counts
        (n, L, 2), of probabilities out of fold.
    fold, groups
        See :func:`inner_folds`.
    method
        One of `METHODS`.

    Returns
    -------
        (n, L) float, the calibrated probability of each level in each image.
    """
    values = np.empty(counts.shape[:2])
    for train, test in inner_folds(fold, groups):
        values[test] = fit(counts[train], method)
    return values


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


def error_per_image(counts: np.ndarray, values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the expected calibration error within each image, (n,)."""
    values = np.broadcast_to(values, counts.shape[:2])
    pairs = zip(counts, values, strict=True)
    return np.array([reliability(c[None], v[None], bins).error for c, v in pairs])


THRESHOLDS = (0.01, 0.02, *(round(0.05 * k, 2) for k in range(1, 20)), 0.98, 0.99)
DRAWS = 1000
INTERVAL = (2.5, 97.5)  # percentiles
SCORES = ("precision", "recall", "jaccard")


def counts_at(
    counts: np.ndarray, values: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """Count hits and misses of every image at every threshold.

    Parameters
    ----------
    counts
        (n, L, 2), see :func:`graphseg.evaluation.calibration.histograms`.
    values
        (L,) or (n, L), the calibrated probability of each level.
    thresholds
        Probabilities at and above which a pixel is called contamination.

    Returns
    -------
        (n, t, 4) int64, as :func:`graphseg.metrics.counts` orders them: tp, fp, fn, tn.
    """
    values = np.broadcast_to(values, counts.shape[:2])
    above = values[:, None, :] >= np.asarray(thresholds)[None, :, None]  # (n, t, L)
    clean, contaminated = counts[..., 0], counts[..., 1]
    false = np.einsum("ntl,nl->nt", above, clean)
    true = np.einsum("ntl,nl->nt", above, contaminated)
    missed = contaminated.sum(axis=1)[:, None] - true
    rest = clean.sum(axis=1)[:, None] - false
    return np.stack([true, false, missed, rest], axis=-1).astype(np.int64)


def table(
    counts: np.ndarray,
    groups: np.ndarray,
    thresholds: Sequence[float] = THRESHOLDS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Return precision, recall and Jaccard index of all pixels at each threshold, with intervals.

    Parameters
    ----------
    counts
        (n, t, 4), see :func:`counts_at`.
    groups
        (n,) acquisitions; the bootstrap draws whole ones, as frames of one are alike.
    thresholds
        (t,), rising.
    draws, seed
        Of the bootstrap.

    Returns
    -------
        A row for each threshold: ``threshold``, and for each of `SCORES` its value and, with
        ``_low`` and ``_high``, the `INTERVAL` of the bootstrap.
    """
    summed = np.stack([counts[groups == group].sum(axis=0) for group in np.unique(groups)])
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(summed), size=(draws, len(summed)))
    drawn = summed[chosen].sum(axis=1)  # (draws, t, 4)
    whole = metrics.score_table(counts.sum(axis=0))  # (t,)
    spread = metrics.score_table(drawn)  # (draws, t)
    rows = [{"threshold": float(threshold)} for threshold in thresholds]
    for name in SCORES:
        low, high = np.percentile(spread[name], INTERVAL, axis=0)
        columns = {name: whole[name], f"{name}_low": low, f"{name}_high": high}
        for row, *values in zip(rows, *columns.values(), strict=True):
            row |= dict(zip(columns, map(float, values), strict=True))
    return rows


def choose(
    rows: Sequence[dict[str, float]],
    precision: float | None = None,
    recall: float | None = None,
    confident: bool = False,
) -> dict[str, float]:
    """Return the row of the threshold that reaches a wanted score and costs least of the other.

    Parameters
    ----------
    rows
        Of :func:`table`.
    precision, recall
        What is wanted, one of the two, between 0 and 1.
    confident
        Whether the lower end of the interval must reach it, not only the value.

    Raises
    ------
    InputError
        If not exactly one is given, or no threshold reaches it.
    """
    if (precision is None) == (recall is None):
        raise InputError("Say either a precision or a recall, not both or none.")
    name, wanted, other = (
        ("precision", precision, "recall") if recall is None else ("recall", recall, "precision")
    )
    if not 0 <= wanted <= 1:
        raise InputError(f"A {name} of {wanted} is impossible; give one between 0 and 1.")
    key = f"{name}_low" if confident else name
    reached = [row for row in rows if row[key] >= wanted]
    if not reached:
        best = max(row[key] for row in rows)
        raise InputError(
            f"No threshold reaches a {name} of {wanted:.3g}: the highest is {best:.3f}."
        )
    return max(reached, key=lambda row: row[other])


def uncalibrated(threshold: float, temperature: float) -> float:
    """Return the threshold for probabilities as the network gives them.

    Parameters
    ----------
    threshold
        For calibrated probabilities.
    temperature
        Of the calibration, see :func:`graphseg.evaluation.calibration.fit_temperature`.
    """
    return float(expit(temperature * logit(threshold)))

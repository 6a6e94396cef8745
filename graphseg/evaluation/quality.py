"""How sure a mask is: the Jaccard index to expect for every image, and its clean fraction.

The fraction of what may be contamination (probability at least 0.1) that is almost surely
contamination (at least 0.9) tells how good the mask of an image is; a line fitted to images whose
labels are known turns it into an expected Jaccard index with an interval. The clean fraction of an
image, that of its pixels which are neither contaminated nor excluded, has an interval too.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from graphseg.errors import InputError
from graphseg.unet import pretrained
from graphseg.unet.segmenter import UNetSegmenter

POSSIBLE, CERTAIN = 0.1, 0.9  # probabilities; .05 and .95 or .2 and .8 correlate about as well
COVERAGE = 0.9  # of the interval
LOOK_QUANTILE = 0.1  # of the images with labels lie below the index from which on one should look
# Fraction of an image from which its mask is suspect: labels of the published images have up to
# 0.60. This needs no statistics, so it is looked at with every network.
NEARLY_ALL = 0.95
FEWEST = 20  # labelled images that a line is fitted to
# Of predicting, by whether a network averages over the symmetries of the square; the average is
# less sure of itself, so each has a line of its own.
WAYS = {False: "one view", True: "eight views"}
FILE = pretrained.FOLDER / "calibration.json"


def certain_fractions(probabilities: Iterable[np.ndarray]) -> np.ndarray:
    """Return how much of what may be contamination surely is, (n,) from 0 to 1, of n maps (H, W).
    1 where nothing may be contamination; the sizes of maps may differ."""
    fractions = []
    for probability in probabilities:
        possible = np.count_nonzero(probability >= POSSIBLE)
        certain = np.count_nonzero(probability >= CERTAIN)
        fractions.append(certain / possible if possible else 1.0)
    return np.array(fractions)


@dataclass(frozen=True)
class ExpectedJaccard:
    """A line from the certain fraction to the Jaccard index, and how far its interval reaches."""

    slope: float
    intercept: float
    below: float
    above: float
    look_below: float = 0.0  # an index that is expected of one in ten of the images fitted to

    @classmethod
    def fit(
        cls, fractions: np.ndarray, jaccards: np.ndarray, coverage: float = COVERAGE
    ) -> "ExpectedJaccard":
        """Fit to images (n,) whose labels are known, for an interval of the given coverage."""
        # Slope and intercept are repeated medians (Siegel, Biometrika 69, 242, 1982), so that
        # single odd labels do not turn the line. The interval is that of the residuals of images
        # left out one at a time, widened for their finite number (jackknife, Barber et al., Ann.
        # Statist. 49, 486, 2021).
        line = _line(fractions, jaccards)
        residuals = np.empty(len(fractions))
        for index in range(len(fractions)):
            slope, intercept = _line(np.delete(fractions, index), np.delete(jaccards, index))
            residuals[index] = jaccards[index] - (slope * fractions[index] + intercept)
        tail = min((1 - (1 - coverage) / 2) * (len(fractions) + 1) / len(fractions), 1)
        below = -np.quantile(residuals, 1 - tail, method="lower")
        above = np.quantile(residuals, tail, method="higher")
        model = cls(*line, max(float(below), 0.0), max(float(above), 0.0))
        look_below = np.quantile(model(fractions)[:, 0], LOOK_QUANTILE)
        return replace(model, look_below=float(look_below))

    def __call__(self, fractions: np.ndarray) -> np.ndarray:
        """Return expected Jaccard index, lower and upper end of its interval, (n, 3) in [0, 1]."""
        middle = self.slope * np.asarray(fractions, float) + self.intercept
        ends = np.stack([middle, middle - self.below, middle + self.above], axis=-1)
        return ends.clip(0, 1)


def _line(fractions: np.ndarray, jaccards: np.ndarray) -> tuple[float, float]:
    if np.ptp(fractions) == 0:
        return 0.0, float(np.median(jaccards))
    slope, intercept = stats.siegelslopes(jaccards, fractions)
    return float(slope), float(intercept)


@lru_cache(maxsize=1)
def package() -> dict | None:
    """Return what is known of the pretrained networks, None before it has been measured."""
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else None


def covered(mask: np.ndarray) -> str:
    """Return one sentence if nearly all of a mask (H, W) bool is contamination, else ""."""
    fraction = float(mask.mean())
    if fraction < NEARLY_ALL:
        return ""
    return (
        f"{fraction:.1%} of the image is called contaminated, as happens with a wrong pixel size "
        "or a network for other images; do not trust its mask before you have looked at it."
    )


def known_to(segmenter: UNetSegmenter, digest: str) -> ExpectedJaccard | None:
    """Return the line of a network in its way of predicting, or None if there is none.

    That of a bundled network is found by the digest of its weight file, that of another in its
    card, where `graphseg train` puts it.
    """
    way = WAYS[bool(segmenter.test_time_augmentation)]
    bundled = (package() or {}).get("expected_jaccard", {}).get(digest)
    own = (segmenter.card_.get("cross_validation") or {}).get("expected_jaccard")
    lines = bundled or own or {}
    return ExpectedJaccard(**lines[way]) if way in lines else None


def columns(
    probability: np.ndarray,
    line: ExpectedJaccard | None,
    flagged: bool = False,
    digits: int = 6,
) -> dict[str, float | str | None]:
    """Return what a table says about an image (H, W) that a network has predicted.
    ``look_first`` is "yes" if the image is flagged, or its expected Jaccard index is lower than for
    nine tenths of the images that the line was fitted to. With a line there are also
    ``expected_jaccard``, ``expected_low`` and ``expected_high``. It was fitted to images like those
    that the network knows and says nothing of others: of what is flagged the three are None."""
    if line is None:
        return {"look_first": "yes" if flagged else ""}
    names = ("expected_jaccard", "expected_low", "expected_high")
    if flagged:
        return dict.fromkeys(names) | {"look_first": "yes"}
    values = [round(float(v), digits) for v in line(certain_fractions([probability]))[0]]
    look_first = "yes" if values[0] < line.look_below else ""
    return dict(zip(names, values, strict=True)) | {"look_first": look_first}


def clean_fractions(
    probabilities: Sequence[np.ndarray],
    threshold: float = 0.5,
    excluded: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Return the fraction of each image that is neither contaminated nor excluded.

    Parameters
    ----------
    probabilities
        n maps (H, W) of the probability of contamination, or bool masks; sizes may differ.
    threshold
        Probability at and above which a pixel counts as contaminated.
    excluded
        n masks (H, W) bool of what is not usable although it is clean, for instance vacuum.

    Returns
    -------
        (n,) float64 in [0, 1].

    Raises
    ------
    InputError
        If a map is no probability map, or the excluded masks have other sizes.

    Examples
    --------
    >>> import numpy as np
    >>> clean_fractions([np.array([[0.1, 0.9], [0.2, 0.3]])]).tolist()
    [0.75]
    """
    usable, sizes = _usable(probabilities, excluded)
    return np.array([np.sum(p < threshold) for p in usable]) / sizes


def clean_intervals(
    probabilities: Sequence[np.ndarray],
    level: float = 0.9,
    excluded: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Return an interval for each clean fraction: what it is at a lower and a higher threshold.

    Errors of a segmentation are not independent from pixel to pixel: an outline is drawn too wide
    or too narrow along its whole length. In the limit of full correlation all pixels of an image
    share one uniform random number U, and a pixel is contaminated where its probability is at
    least U. The clean fraction is then its value at the threshold U, and its central interval
    lies between the thresholds (1 - level)/2 and (1 + level)/2. Independent pixels would give a
    far shorter interval. What a level covers is a matter of measurement (`calibrated_level`).

    Parameters
    ----------
    probabilities, excluded
        As in `clean_fractions`.
    level
        In [0, 1]; 1 gives everything that is possible.

    Returns
    -------
        (n, 2) float64, lower and upper end; between them lies the fraction at threshold 0.5.

    Raises
    ------
    InputError
        If the level is outside [0, 1], or as in `clean_fractions`.

    Examples
    --------
    >>> import numpy as np
    >>> clean_intervals([np.full((4, 4), 0.3)], level=0.9).tolist()  # clean at 0.5, not at 0.05
    [[0.0, 1.0]]
    """
    if not 0 <= level <= 1:
        raise InputError(f"Expected a level from 0 to 1, got {level}.")
    usable, sizes = _usable(probabilities, excluded)
    low, high = (1 - level) / 2, (1 + level) / 2
    counts = [(np.sum(p < low), np.sum(p <= high)) for p in usable]
    return np.array(counts) / sizes[:, None]


def calibrated_level(
    probabilities: Sequence[np.ndarray],
    labelled: ArrayLike,
    coverage: float = 0.9,
    excluded: Sequence[np.ndarray] | None = None,
) -> float:
    """Return the level at which `clean_intervals` covers labels as often as wanted.
    Nested conformal prediction (Gupta, Kuchibhotla & Ramdas, Pattern Recognition 127, 108496,
    2022): the score of a labelled image is the smallest level whose interval holds its labelled
    fraction, and the result is the ⌈(n + 1)·coverage⌉-th smallest of the n scores. A new image that
    is exchangeable with these is then covered with at least that probability. Frames of one
    acquisition are not exchangeable with others: calibrate on other acquisitions, of images that
    the segmenter was not trained on. `labelled` (n,) are the clean fractions of labels, with the
    same pixels excluded. In [0, 1]; 1 where there are too few images for the coverage wanted."""
    usable, sizes = _usable(probabilities, excluded)
    labelled = one_each(labelled, len(usable), "labelled fractions")
    scores = [_score(p, round(c * n)) for p, c, n in zip(usable, labelled, sizes, strict=True)]
    place = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else 1.0


def _score(probability: np.ndarray, clean: int) -> float:
    """Return the smallest level whose interval holds a count of clean pixels."""
    ordered = np.sort(probability)
    needs = [0.0]
    if clean < len(ordered):
        needs.append(1 - 2 * float(ordered[clean]))
    if clean > 0:
        needs.append(2 * float(ordered[min(clean, len(ordered)) - 1]) - 1)
    return max(needs)


def _usable(
    probabilities: Sequence[np.ndarray], excluded: Sequence[np.ndarray] | None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the probabilities outside the excluded pixels, and the number of all pixels."""
    maps = [np.asarray(p) for p in probabilities]
    for index, p in enumerate(maps):
        if p.ndim != 2 or not p.size or not ((p >= 0) & (p <= 1)).all():
            raise InputError(
                f"Map {index}: expected probabilities from 0 to 1, shape (H, W), got {p.shape}."
            )
    sizes = np.array([p.size for p in maps])
    if excluded is None:
        return [p.ravel() for p in maps], sizes
    masks = [np.asarray(m, dtype=bool) for m in excluded]
    if [m.shape for m in masks] != [p.shape for p in maps]:
        raise InputError("The excluded masks do not match the maps; give one of each map's size.")
    return [p[~m] for p, m in zip(maps, masks, strict=True)], sizes


def one_each(values: ArrayLike, number: int, what: str) -> np.ndarray:
    """Return (number,) float64; raise InputError if there is not one value for each image."""
    values = np.asarray(values, dtype=float)
    if len(values) != number or values.ndim == 0:
        raise InputError(f"{number} images have {values.size} {what}; give one for each image.")
    return values

"""Bragg filtering with a threshold that adapts to each micrograph: a strong classical baseline.

Eq. 6 puts one threshold M on the residual of every micrograph. Their noise and contrast differ,
and much of what the Bragg filter misses is lost there: here the level moves with the image.

What is thresholded is the local energy of the residual: the energy of a band, averaged over a few
pixels and in logarithms. Contamination has more of it than the lattice, by a factor that varies
less between micrographs than the energy itself. `graphseg.classical.pixels` looks at it too.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg import metrics
from graphseg.classical.fourier import decompose, local_mean
from graphseg.classical.thresholded import ThresholdedSegmenter, best_threshold

# Energies of standardised images below this are rounding: without it, log 0.
FLOOR = 1e-6
SPACING = 4  # pixels between samples; energies are averaged over more, so few samples say it all
# What `fit` tries, one parameter after the other: pixels, and cycles per pixel for the aperture.
CANDIDATES = {
    "low_pass": (0.0, 0.5, 0.7, 0.9, 1.2),
    "smoothing": (4.0, 5.0, 6.0, 8.0, 10.0),
    "window": (0.7, 1.0, 1.5, 2.0, 3.0),
    "high_pass": (5.0, 8.0, 12.0, 20.0),
    "aperture_width": (1 / 100, 1 / 80, 1 / 64, 1 / 50),
}
OTSU_WEIGHTS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
MEDIAN_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
# Two populations closer than this in log-energy (1 %) are one: a constant image is clean.
SMALLEST_GAP = 0.01
_START = (*CANDIDATES, "otsu_weight", "median_weight")


def split_lattice(
    image: np.ndarray, aperture_width: float, peak_threshold: float, n_peaks: int = 12
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a micrograph, its lattice and the difference of the two, (H, W) float32 each."""
    # The image is standardised (eq. 3); the other choices are the defaults of
    # `graphseg.classical.bragg.BraggSegmenter`, whose parameters these are.
    chosen = {"width": aperture_width, "threshold": peak_threshold, "n_peaks": n_peaks}
    found = decompose(image, **chosen, smoothing=0)
    return found.image, found.lattice, found.image - found.lattice


def band_pass(image: np.ndarray, low_pass: float, high_pass: float) -> np.ndarray:
    """Return an (H, W) image less its fine and its coarse structure.
    The difference of two Gaussian means of standard deviations `low_pass` and `high_pass` in
    pixels, normalised at the edges. A low pass of 0 keeps the finest structure, and a high pass of
    0 the coarsest."""
    fine = local_mean(image, low_pass)
    return fine - local_mean(image, high_pass) if high_pass else fine


def log_energy(image: np.ndarray, window: float, smoothing: float) -> np.ndarray:
    """Return the local log-energy of an (H, W) image with mean zero, natural logarithm, float32.
    The square is averaged over a Gaussian window of `window` pixels, and its logarithm over one of
    `smoothing` pixels. In logarithms single bright atoms count for less: a geometric mean."""
    energy = local_mean(np.square(image), window) + np.float32(FLOOR)
    return local_mean(np.log(energy), smoothing)


def samples(image: np.ndarray) -> np.ndarray:
    """Return every `SPACING`-th pixel of (..., H, W) along both sides, denser in small images."""
    spacing = min(SPACING, max(1, min(image.shape[-2:]) // 16))
    return image[..., ::spacing, ::spacing]


def two_levels(values: np.ndarray) -> tuple[float, float]:
    """Return Otsu's threshold of some values, and how far apart the means of its two sides lie."""
    # Exact, without a histogram (Otsu 1979): of all places between two sorted values the one with
    # the largest variance between the sides. Equal values give that value and a distance of 0.
    ordered = np.sort(values, axis=None).astype(float)
    count = np.arange(1, ordered.size)
    total = np.cumsum(ordered)
    low, high = total[:-1] / count, (total[-1] - total[:-1]) / count[::-1]
    between = count * count[::-1] * np.square(high - low)
    best = int(between.argmax()) if between.size else 0
    if not between.size or ordered[0] == ordered[-1]:
        return float(ordered[0]), 0.0
    return float(ordered[best : best + 2].mean()), float(high[best] - low[best])


@dataclass(eq=False, repr=False, kw_only=True)
class AdaptiveBraggSegmenter(ThresholdedSegmenter):
    r"""Contamination is where the residual of the lattice has more energy than the image's level.

    With E the local energy of the band-passed residual (see `graphseg.classical.adaptive`), a pixel
    counts as contamination where

    .. math:: \log E - a\,\mathrm{Otsu}(\log E) - b\,\mathrm{median}(\log E) \ge t .

    With a = b = 0 this is eq. 6 with one threshold for all images; with a + b = 1 the answer does
    not change with the strength of the residual. Since Otsu's method splits a clean image as well,
    an image whose two sides lie no further apart than a guard comes out empty.

    Parameters
    ----------
    low_pass, high_pass, window, smoothing
        Standard deviations in pixels of the Gaussians that bound the band of the residual, and of
        those that average the energy and its logarithm.
    aperture_width
        σ of eq. 5 in cycles per pixel.
    otsu_weight, median_weight
        a and b. These and all above are where the search of `fit` starts.
    peak_threshold
        G of eq. 4 as in `graphseg.classical.bragg.BraggSegmenter`. Half of what that needs: a peak
        too many costs little here (on the published images nothing changed by 0.003 between 20 and
        110).
    n_peaks
        Largest number of pairs of peaks ±g.
    rounds
        How often the search goes through all parameters; 0 takes them as they are, and fits
        threshold and guard only.
    guard
        Whether images may come out empty altogether.
    softness
        Width in log-energy of the sigmoid in `predict_proba`.
    progress
        Show progress bars (on standard error, after one second).

    Attributes
    ----------
    low_pass_, high_pass_, window_, smoothing_, aperture_width_, otsu_weight_, median_weight_
        What the search chose.
    threshold_, guard_
        t, and the distance in log-energy that separates images from clean ones.
    training_jaccard_
        Pooled Jaccard on samples of the training images, without the guard.
    tried_
        The parameters and the Jaccard index of everything tried, a list of dict.

    Examples
    --------
    >>> import graphseg as gs
    >>> stack = gs.load_stack("simulated")
    >>> images, masks = stack.images[:2, :128, :128], stack.masks[:2, :128, :128]
    >>> AdaptiveBraggSegmenter(rounds=0).fit(images, masks).predict_proba(images).shape
    (2, 128, 128)
    """

    _title: ClassVar = "adaptive"
    _above: ClassVar = {"aperture_width": 0, "softness": 0}
    _not_negative = (
        "low_pass", "high_pass", "window", "smoothing", "otsu_weight", "median_weight",
        "peak_threshold", "n_peaks", "rounds",
    )  # fmt: skip

    low_pass: float = 0.7
    high_pass: float = 8.0
    window: float = 1.5
    smoothing: float = 6.0
    aperture_width: float = 1 / 64
    otsu_weight: float = 0.6
    median_weight: float = 0.0
    peak_threshold: float = 60.0
    n_peaks: int = 12
    rounds: int = 2
    guard: bool = True
    softness: float = 0.25
    progress: bool = True

    def fit(self, images: ArrayLike, masks: ArrayLike) -> "AdaptiveBraggSegmenter":
        """Choose parameters, threshold and guard on labelled images.

        One parameter after the other moves to the candidate with the highest pooled Jaccard index
        on samples of all images, a and b together; the threshold is always the best one. The
        guard then maximises the mean Jaccard index of the images.

        Parameters
        ----------
        images
            (n, H, W), any finite numbers.
        masks
            (n, H, W) bool, True = contamination; some or all of them may be empty.

        Raises
        ------
        InputError
            If a parameter is out of range, a value is not finite or shapes do not agree.
        """
        images, masks = self._checked(images, masks)
        search = _Search(self, images, samples(masks))
        with threadpool_limits(1, "blas"):  # small matrices: threads only get in the way
            chosen = search.run(self.rounds, self.progress)
        self.tried_ = search.tried
        for name, value in chosen.items():
            setattr(self, f"{name}_", value)
        scores, gaps = search.scores(chosen)
        self.threshold_, self.training_jaccard_ = best_threshold(scores, search.masks)
        self.guard_ = SMALLEST_GAP
        if self.guard:
            self.guard_ = max(
                best_guard(scores >= self.threshold_, search.masks, gaps), self.guard_
            )
        return self

    def _margin(self, image: np.ndarray) -> np.ndarray:
        chosen = {name: getattr(self, f"{name}_") for name in _START}
        energy = self._energy(image, chosen)
        otsu, median, gap = _statistics(samples(energy))
        level = chosen["otsu_weight"] * otsu + chosen["median_weight"] * median
        margin = energy - np.float32(level) - np.float32(self.threshold_)
        if gap <= self.guard_:  # a clean image: all of it is moved below 0
            margin -= max(margin.max(), 0) + np.float32(self.softness)
        return margin

    def _energy(self, image: np.ndarray, chosen: dict[str, float]) -> np.ndarray:
        _, _, residual = split_lattice(
            image, chosen["aperture_width"], self.peak_threshold, self.n_peaks
        )
        band = band_pass(residual, chosen["low_pass"], chosen["high_pass"])
        return log_energy(band, chosen["window"], chosen["smoothing"])


def best_guard(predicted: np.ndarray, masks: np.ndarray, gaps: np.ndarray) -> float:
    """Return the gap up to which images are better left empty, by mean Jaccard index.
    Predictions without a guard and labels are (n, H, W) bool, gaps (n,). The result lies halfway
    between the last image to empty and the first to keep; it is 0 if all are to be kept, and the
    widest gap if none is."""
    order = np.argsort(gaps, kind="stable")
    kept = metrics.score_table(metrics.counts(masks, predicted))["jaccard"]
    empty = ~masks.any(axis=(1, 2))  # emptied, these score 1 and all others 0
    gain = np.concatenate([[0.0], np.cumsum((empty - kept)[order])])
    best = len(gain) - 1 - int(gain[::-1].argmax())  # of equals, the one that empties most
    if best == 0:
        return 0.0
    return float(gaps[order][best - 1 : best + 1].mean())


class _Search:
    """Coordinate search over the parameters, with every log-energy computed once."""

    def __init__(
        self, segmenter: AdaptiveBraggSegmenter, images: np.ndarray, masks: np.ndarray
    ) -> None:
        self.segmenter = segmenter
        self.images = images
        self.masks = masks
        self.tried: list[dict[str, float]] = []
        self._energies: dict[tuple, tuple[np.ndarray, np.ndarray]] = {}

    def run(self, rounds: int, progress: bool) -> dict[str, float]:
        """Return the best parameters found."""
        best = {name: float(getattr(self.segmenter, name)) for name in _START}
        highest = self._jaccard(best) if rounds else 0.0
        steps = [axis for _ in range(rounds) for axis in _axes()]
        for axis in tqdm(steps, desc="adaptive fit", delay=1, disable=not progress):
            for change in axis:
                candidate = best | change
                if candidate != best and (jaccard := self._jaccard(candidate)) > highest:
                    best, highest = candidate, jaccard
        return best

    def scores(self, chosen: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        """Return log-energies above their levels, (n, h, w) float32, and the (n,) gaps."""
        key = tuple(chosen[name] for name in CANDIDATES)
        if key not in self._energies:
            self._energies[key] = self._sampled(chosen)
        energies, levels = self._energies[key]
        level = levels[:, :2] @ [chosen["otsu_weight"], chosen["median_weight"]]
        return energies - level.astype(np.float32)[:, None, None], levels[:, 2]

    def _sampled(self, chosen: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
        energies = np.empty(self.masks.shape, np.float32)
        for i, image in enumerate(self.images):
            energies[i] = samples(self.segmenter._energy(image, chosen))
        return energies, np.array([_statistics(energy) for energy in energies])

    def _jaccard(self, chosen: dict[str, float]) -> float:
        _, jaccard = best_threshold(self.scores(chosen)[0], self.masks)
        self.tried.append(chosen | {"jaccard": jaccard})
        return jaccard


def _axes() -> list[list[dict[str, float]]]:
    weights = [{"otsu_weight": a, "median_weight": b} for a in OTSU_WEIGHTS for b in MEDIAN_WEIGHTS]
    return [weights, *([{name: v} for v in values] for name, values in CANDIDATES.items())]


def _statistics(energy: np.ndarray) -> tuple[float, float, float]:
    """Return Otsu's threshold, the median and the gap of one image's log-energies."""
    otsu, gap = two_levels(energy)
    return otsu, float(np.median(energy)), gap

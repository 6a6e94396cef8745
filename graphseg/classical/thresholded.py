"""What the methods without a network have in common: a score at every pixel, and one threshold."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg import metrics
from graphseg.checks import check_parameters, checked_images, checked_masks
from graphseg.errors import InputError

SMALLEST_SIDE = 8  # pixels; below it there is no spectrum to speak of


class ThresholdedSegmenter(BaseEstimator):
    """What estimators have in common that decide pixel by pixel by the sign of a margin.
    Subclasses give `_margin` of one image, have the parameters `softness` and `progress`, and name
    in `_above` what parameters must exceed, and in `_not_negative` those that may be 0."""

    _title: ClassVar[str]  # of the progress bar
    _above: ClassVar[dict[str, float]]
    _not_negative: ClassVar[tuple[str, ...]] = ()
    _goes_without_masks: ClassVar[bool] = False

    def decision_function(self, images: ArrayLike) -> np.ndarray:
        """Return how far each pixel lies above its threshold, (n, H, W) float32.

        In log-energy, logarithms of odds, or units of the image, as the method has it.

        Raises
        ------
        InputError, sklearn.exceptions.NotFittedError
            If `images` is no stack of finite numbers; before `fit`.
        """
        return self._mapped(self._margin, images, self._title)

    def predict_proba(self, images: ArrayLike) -> np.ndarray:
        """Return the probability of contamination, (n, H, W) float32 in [0, 1].

        A sigmoid of margin / softness: a ranking with 0.5 at the threshold, not calibrated.
        Exactly the pixels at 0.5 or above are those of `predict`.
        """
        margins = self.decision_function(images)
        probability = expit(margins / np.float32(self._scale()))
        # Rounding must not move a pixel across the threshold.
        below = np.nextafter(np.float32(0.5), np.float32(0))
        return np.where(margins >= 0, probability, np.minimum(probability, below))

    def predict(self, images: ArrayLike) -> np.ndarray:
        """Return masks, (n, H, W) bool, True = contamination (margin 0 or above)."""
        return self.decision_function(images) >= 0

    def score(self, images: ArrayLike, masks: ArrayLike) -> float:
        """Return the Jaccard index pooled over all pixels (1 if there is nothing to find)."""
        predicted = self.predict(images)
        table = metrics.counts(checked_masks(masks, predicted.shape), predicted)
        return metrics.scores(table, "pooled")["jaccard"]

    def _scale(self) -> float:
        return self.softness

    def _mapped(
        self, compute: Callable[[np.ndarray], np.ndarray], images: ArrayLike, title: str
    ) -> np.ndarray:
        """Return what is computed of each image, (n, H, W) float32."""
        check_is_fitted(self)
        images = checked_images(images, SMALLEST_SIDE)
        result = np.empty(images.shape, np.float32)
        # Matrices this small gain nothing from a second thread, and lose tenfold on a busy machine.
        with threadpool_limits(1, "blas"):
            for i in tqdm(range(len(images)), desc=title, delay=1, disable=not self.progress):
                result[i] = compute(images[i])
        return result

    def _checked(self, images: ArrayLike, masks: ArrayLike | None) -> tuple[np.ndarray, Any]:
        """Check the parameters; return images as float32, and masks as bool.
        They may be None only for a method that `_goes_without_masks`."""
        self._check_parameters()
        images = checked_images(images, SMALLEST_SIDE)
        if masks is None and self._goes_without_masks:
            return images, None
        return images, checked_masks(masks, images.shape)

    def _check_parameters(self) -> None:
        """Refuse parameters of a wrong type or out of their range."""
        seed = {"random_state": (0, 2**32 - 1)} if "random_state" in self.get_params() else {}
        check_parameters(self, seed)
        for name, value in self.get_params().items():
            if value is None:
                continue
            if name in self._above and value <= self._above[name]:
                raise InputError(f"{name} is {value!r}; it must be above {self._above[name]}.")
            if name in self._not_negative and value < 0:
                raise InputError(f"{name} is {value!r}; it must be 0 or more.")


def best_threshold(scores: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Return the threshold t whose masks ``scores >= t`` have the highest pooled Jaccard, and that.
    The optimum is exact: it can only lie at the score of a contaminated pixel, and all of those are
    tried. Of equally good thresholds the highest is returned. Scores and masks (bool) have one
    shape; empty masks give a threshold just above the highest score, and 1."""
    positive, negative = np.sort(scores[masks])[::-1], np.sort(scores[~masks])
    if not positive.size:
        return float(np.nextafter(scores.max(), np.array(np.inf, scores.dtype))), 1.0
    found = np.searchsorted(-positive, -positive, side="right")  # ties are found together
    wrong = negative.size - np.searchsorted(negative, positive, side="left")
    jaccard = found / (positive.size + wrong)
    best = int(jaccard.argmax())
    return float(positive[best]), float(jaccard[best])

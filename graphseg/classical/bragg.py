"""Segmentation by Bragg filtering (eqs 4–6) as an estimator, and its no-lattice baseline.

What a filter that passes only the lattice leaves behind is called contamination where it is
strong. The paper leaves units, windows and edges open: this is our interpretation, with every
choice a named parameter. The functions of one image are in `graphseg.classical.fourier`; the
fit is a soft Jaccard index, its descent, and the exact hard threshold.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg.checks import checked_images
from graphseg.classical.fourier import (
    Decomposition,
    Peaks,
    decompose,
    find_peaks,
    in_units,
    lattice_image,
    local_mean,
)
from graphseg.classical.thresholded import SMALLEST_SIDE, ThresholdedSegmenter, best_threshold
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file

# The search keeps σ between about a tenth of a bin of 256 pixels (one wave for the whole image)
# and a tenth of the sampling frequency (apertures of neighbouring peaks merge).
WIDTH_RANGE = (5e-4, 0.1)
_STEP = 0.02  # step of the difference quotients in the logarithm; the loss is smooth on this scale
# Where the search for G and M starts, by units. "raw" has the printed values of the paper, which
# belong to grey levels in [0, 1]; the others are near what the published images give.
STARTS = {"standardised": (110.0, 0.8), "contrast": (25.0, 0.12), "raw": (12.5, 0.054)}
COMBINE = ("sum", "max")


@dataclass(frozen=True)
class SoftJaccard:
    """One minus the soft Jaccard index as a function of θ = (log σ, log G, log M).
    Sigmoids replace the two thresholds: a peak counts by how far the logarithm of its height lies
    above log G, a pixel by how far its residual lies above M."""

    images: np.ndarray  # (n, H, W) float32 with mean zero, in the units of G and M
    masks: np.ndarray  # (n, H, W) bool
    peaks: list[Peaks]  # of each image
    softness: float  # width of the sigmoid around M, as a fraction of M
    peak_softness: float  # width of the sigmoid around G in the logarithm
    smoothing: float  # this and the others as in BraggSegmenter
    padding: int
    combine: str

    def gradient(self, theta: np.ndarray, chosen: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss of the images `chosen` and its (3,) gradient."""
        # M enters in closed form; σ and G act through the whole filter, so their derivatives are
        # difference quotients, which cost no more than a backward pass would.
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


def descend(
    gradient: Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    batches: Iterator[np.ndarray],
    steps: int,
    rate: float,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise with Adam (Kingma & Ba, 2015), the rate falling to zero as a cosine.
    `gradient` gives the loss and its (3,) gradient at θ = (log σ, log G, log M) for a batch of
    indices; σ is kept inside `WIDTH_RANGE`. Returns the (3,) end point, and (steps, 4) the loss, σ,
    G and M of each step."""
    theta = torch.tensor(start, dtype=torch.float64)
    adam = torch.optim.Adam([theta], lr=rate, betas=(0.9, 0.99))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    history = np.empty((steps, 4))
    for k in tqdm(range(steps), desc="Bragg fit", delay=1, disable=not progress):
        loss, slope = gradient(theta.numpy(), next(batches))
        history[k] = loss, *np.exp(theta.numpy())
        theta.grad = torch.from_numpy(slope)
        adam.step()
        cosine.step()
        theta[0].clamp_(*np.log(WIDTH_RANGE))
    return theta.numpy(), history


def batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of indices forever; every image comes once before any comes again."""
    rng = np.random.default_rng(seed)
    while True:
        yield from np.array_split(rng.permutation(count), -(-count // size))


@dataclass(eq=False, repr=False, kw_only=True)
class BraggSegmenter(ThresholdedSegmenter):
    r"""Contamination is where a micrograph differs from its Bragg-filtered lattice.

    Our interpretation of eqs 4–6 of Sadre et al. (2021). Peaks of :math:`|q|\,|\mathcal F\{W I\}|`
    above G are lattice peaks (4); Gaussian apertures of width σ around them, transformed back, give
    the lattice image :math:`I_B` (5); the locally averaged :math:`|I - I_B|` above M is
    contamination (6). `fit` finds σ, G and M. The sign of the contrast does not matter.

    Parameters
    ----------
    aperture_width
        σ in cycles per pixel; where the search starts, and used as it is without labels. 1/64,
        the paper's 0.0156, is 4 bins of a 256-point transform.
    peak_threshold
        G, in units of the image times cycles per pixel (transform not normalised), as for an
        image of 256 × 256 pixels: other sizes are converted by their area. Start as above; it
        must lie below some lattice peaks, or no gradient is felt. None: from `STARTS`.
    mask_threshold
        M, in units of the image. Start as above. None: from `STARTS`.
    n_peaks
        Largest number of pairs of peaks ±g.
    smoothing, padding
        Standard deviation of the local average, and zeros added on each side before the filter,
        in pixels.
    window_taper, peak_blur
        For the search of peaks only: fraction of each side over which W, a Tukey window, falls to
        zero, and standard deviation in bins of the Gaussian that smooths the spectrum.
    units
        ``"standardised"``: mean 0 and standard deviation 1 (eq. 3); ``"contrast"``: I/mean − 1;
        ``"raw"``: grey levels minus their mean.
    combine
        Overlapping apertures add up (``"sum"``), or the larger counts (``"max"``, slower).
    lattice_filter
        False gives the no-lattice baseline: no lattice is removed, and the locally averaged \|I\|
        is thresholded by the same code. Then only M is fitted.
    softness, peak_softness
        Width of the sigmoid around M, as a fraction of M, in `fit` and in `predict_proba`; and
        around G in the logarithm of the peak height, in `fit`.
    steps, learning_rate, batch_size
        Steps of gradient descent, its first step length in the logarithm of the parameters
        (it falls to zero as a cosine), and images a step.
    random_state
        Seed of the order of images.
    memory
        A folder that keeps residuals between fits, so that a grid search over parameters that
        leave the residual alone computes it once.
    progress
        Show progress bars (on standard error, after one second).

    Attributes
    ----------
    aperture_width_, peak_threshold_, mask_threshold_
        Fitted σ, G and M.
    history_
        (steps, 4) float64: the loss (1 − soft Jaccard) of each step with its σ, G and M.
    training_jaccard_
        Pooled Jaccard on the training images at the fitted M; None without labels.

    Examples
    --------
    >>> import graphseg as gs
    >>> stack = gs.load_stack("simulated")
    >>> images, masks = stack.images[:2, :128, :128], stack.masks[:2, :128, :128]
    >>> segmenter = BraggSegmenter(steps=2).fit(images, masks)
    >>> segmenter.predict(images).shape, bool(segmenter.mask_threshold_ > 0)
    ((2, 128, 128), True)
    """

    _above: ClassVar = dict.fromkeys(
        ("aperture_width", "peak_threshold", "mask_threshold", "softness", "peak_softness",
         "learning_rate", "batch_size"), 0)  # fmt: skip
    _goes_without_masks = True
    _not_negative = ("n_peaks", "smoothing", "padding", "window_taper", "peak_blur", "steps")

    aperture_width: float = 1 / 64
    peak_threshold: float | None = None
    mask_threshold: float | None = None
    n_peaks: int = 12
    smoothing: float = 6.0
    padding: int = 32
    window_taper: float = 0.25
    peak_blur: float = 2.0
    units: str = "standardised"
    combine: str = "sum"
    lattice_filter: bool = True
    softness: float = 0.05
    peak_softness: float = 0.1
    steps: int = 40
    learning_rate: float = 0.15
    batch_size: int = 10
    random_state: int = 0
    memory: str | Path | None = None
    progress: bool = True

    @classmethod
    def paper(cls, **changes) -> "BraggSegmenter":
        """Return the Bragg filter with the settings that the paper prints, and what shall differ.

        24 peaks, Gaussians of 2 bins for the peak search and of 5 pixels for the difference, σ =
        0.0156 cycles per pixel, and images standardised (eq. 3). The printed G and M belong to
        other units (see `STARTS`): G is left at its usual start, and only M is fitted.
        """
        printed = {"aperture_width": 0.0156, "n_peaks": 12, "peak_blur": 2.0, "smoothing": 5.0}
        return cls(**(printed | {"units": "standardised", "steps": 0} | changes))

    def fit(self, images: ArrayLike, masks: ArrayLike | None = None) -> "BraggSegmenter":
        """Fit σ, G and M to labelled images, or take them as they are without labels.

        Adam minimises 1 − soft Jaccard in log σ, log G and log M, pooled over a batch; M then
        moves to the threshold with the highest pooled Jaccard of hard masks on all images,
        because a soft threshold settles too high.

        Parameters
        ----------
        images
            (n, H, W), any finite numbers.
        masks
            (n, H, W) bool, True = contamination; some or all of them may be empty. Without any
            contamination M comes to lie just above every residual.

        Raises
        ------
        InputError
            If a parameter is out of range, a value is not finite or shapes do not agree.
        """
        images, masks = self._checked(images, masks)
        given = (self.peak_threshold, self.mask_threshold)
        usual = STARTS[self.units]
        thresholds = [u if g is None else g for g, u in zip(given, usual, strict=True)]
        start = np.array([self.aperture_width, *thresholds])
        self.history_ = np.empty((0, 4))
        if masks is not None and self.lattice_filter and self.steps:
            start, self.history_ = self._descend(images, masks, start)
        self.aperture_width_, self.peak_threshold_, self.mask_threshold_ = map(float, start)
        self.training_jaccard_ = None
        if masks is not None:
            residuals = self.residuals(images)
            self.mask_threshold_, self.training_jaccard_ = best_threshold(residuals, masks)
        return self

    def residuals(self, images: ArrayLike) -> np.ndarray:
        """Return what M is applied to, (n, H, W) float32, in the units of the image.

        Raises
        ------
        InputError, sklearn.exceptions.NotFittedError
            If `images` is no stack of finite numbers; before `fit`.
        """
        check_is_fitted(self)
        images, settings = checked_images(images, SMALLEST_SIDE), self._filter_settings()

        def residual(image: np.ndarray) -> np.ndarray:
            return decompose(image, **settings).residual

        compute = partial(self._mapped, residual, images, "Bragg filter")
        return compute() if self.memory is None else kept(self.memory, compute, images, settings)

    def decompose(self, image: ArrayLike) -> Decomposition:
        """Return the steps from one (H, W) micrograph to its residual; errors as in `residuals`."""
        check_is_fitted(self)
        image = checked_images(np.asarray(image)[None], SMALLEST_SIDE)[0]
        return decompose(image, **self._filter_settings())

    def decision_function(self, images: ArrayLike) -> np.ndarray:
        """Return how far the residual lies above M; the rest is as in the base class."""
        return self.residuals(images) - np.float32(self.mask_threshold_)

    def _scale(self) -> float:
        return max(self.softness * self.mask_threshold_, 1e-12)

    def _descend(
        self, images: np.ndarray, masks: np.ndarray, start: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return σ, G, M after gradient descent, and the history."""
        scaled = np.stack([in_units(image, self.units) for image in images])
        search = (self.n_peaks, self.window_taper, self.peak_blur)
        objective = SoftJaccard(
            scaled,
            masks,
            [find_peaks(image, *search) for image in scaled],
            self.softness,
            self.peak_softness,
            self.smoothing,
            self.padding,
            self.combine,
        )
        order = batches(len(images), self.batch_size, self.random_state)
        with threadpool_limits(1, "blas"):  # see `_mapped`
            theta, history = descend(
                objective.gradient,
                np.log(start),
                order,
                self.steps,
                self.learning_rate,
                self.progress,
            )
        return np.exp(theta), history

    def _filter_settings(self) -> dict:
        names = ("n_peaks", "smoothing", "padding", "window_taper", "peak_blur", "units",
                 "combine", "lattice_filter")  # fmt: skip
        fitted = {"width": self.aperture_width_, "threshold": self.peak_threshold_}
        return {name: getattr(self, name) for name in names} | fitted

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name, known in (("units", STARTS), ("combine", COMBINE)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}."
                )


def kept(
    folder: str | Path, compute: Callable[[], np.ndarray], array: np.ndarray, settings: dict
) -> np.ndarray:
    """Return what was computed of an array before, or compute it and keep it."""
    # The folder holds one ``.npy`` file for each array and settings (as JSON holds them). They are
    # plain numbers: loading them runs no code, unlike the pickles of `joblib.Memory`.
    digest = hashlib.sha256(json.dumps([settings, array.shape, str(array.dtype)]).encode())
    digest.update(np.ascontiguousarray(array))
    path = Path(folder) / f"{digest.hexdigest()}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none, or a damaged one
        result = compute()
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, result, allow_pickle=False)
    return result

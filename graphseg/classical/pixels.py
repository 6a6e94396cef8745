"""A learned classical baseline: boosted trees on maps of local energy, pixel by pixel."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg.classical.adaptive import band_pass, log_energy, samples, split_lattice, two_levels
from graphseg.classical.fourier import local_mean
from graphseg.classical.thresholded import ThresholdedSegmenter, best_threshold
from graphseg.errors import InputError

BANDS = (0.0, 0.7, 1.4, 2.8, 5.6, 11.2)  # pixels; each band lies between two neighbours
WIDE_BAND = (0.7, 11.2)  # pixels; noise below it, illumination above
WIDE_SMOOTHINGS = (3.0, 6.0, 12.0)  # pixels
APERTURE_WIDTH, PEAK_THRESHOLD = 1 / 64, 60.0  # the printed σ; and any G up to 110 does
# Names of the feature maps, in their order.
FEATURES = (
    *(f"band {low}–{high} px" for low, high in pairwise(BANDS)),
    *(f"band {low}–{high} px, relative" for low, high in pairwise(BANDS)),
    *(f"wide band over {s:g} px, above Otsu" for s in WIDE_SMOOTHINGS),
    *(f"wide band over {s:g} px, above median" for s in WIDE_SMOOTHINGS),
    "lattice",
    "lattice, relative",
    "grey level",
    "local deviation",
    "Otsu of image",
    "median of image",
    "spread of image",
    "gap of image",
)


@dataclass(eq=False, repr=False, kw_only=True)
class PixelClassifier(ThresholdedSegmenter):
    """Contamination is where boosted trees say so from 24 maps of local energy.

    The maps (`FEATURES`) are log-energies of five bands of the lattice residual, absolute and
    relative to the image's median, of one wide band at three smoothings relative to the image's
    levels, of the lattice itself, the smoothed grey level, the local standard deviation, and four
    numbers that are constant over an image. `sklearn.ensemble.HistGradientBoostingClassifier`
    learns from a random sample of the pixels.

    Parameters
    ----------
    pixels
        Training pixels drawn from each image.
    trees, learning_rate, leaves, leaf_pixels
        Number of trees, the weight of each, their largest number of leaves, and the fewest
        training pixels in a leaf. Many pixels in each of few leaves, because neighbouring pixels
        say the same.
    folds
        Blocks of neighbouring images for the threshold: each is scored by trees of the others.
    spacing
        Every how many pixels along each side the trees are asked; margins are interpolated
        between. The maps are smooth over 3 px or more, and 4 saves most of the time.
    softness
        Factor on the logarithm of the odds in `predict_proba`; 1 leaves the odds of the trees,
        moved so that the threshold lies at even odds.
    random_state
        Seed of the sample of pixels and of the trees.
    progress
        Show progress bars (on standard error, after one second).

    Attributes
    ----------
    trees_
        The fitted `HistGradientBoostingClassifier`.
    threshold_, held_out_jaccard_
        Threshold on the logarithm of the odds, and the pooled Jaccard index there on training
        pixels that the trees had not seen.

    Examples
    --------
    >>> import graphseg as gs
    >>> stack = gs.load_stack("simulated")
    >>> images, masks = stack.images[:2, :128, :128], stack.masks[:2, :128, :128]
    >>> PixelClassifier(trees=5).fit(images, masks).predict(images).dtype
    dtype('bool')
    """

    _title: ClassVar = "trees"
    _above: ClassVar = {
        "pixels": 0, "trees": 0, "learning_rate": 0, "leaf_pixels": 0, "spacing": 0, "softness": 0,
        "leaves": 1, "folds": 1,
    }  # fmt: skip

    pixels: int = 800
    trees: int = 200
    learning_rate: float = 0.05
    leaves: int = 15
    leaf_pixels: int = 200
    folds: int = 4
    spacing: int = 4
    softness: float = 1.0
    random_state: int = 0
    progress: bool = True

    def fit(self, images: ArrayLike, masks: ArrayLike) -> "PixelClassifier":
        """Learn from labelled images.

        The threshold maximises the pooled Jaccard index of held-out pixels: images are cut into
        blocks in the order given, so that frames of one series, which follow each other, mostly
        stay together. The trees then learn from all images.

        Parameters
        ----------
        images
            (n, H, W), any finite numbers; n at least 2.
        masks
            (n, H, W) bool, True = contamination; some or all of them may be empty.

        Raises
        ------
        InputError
            If a parameter is out of range, a value is not finite, shapes do not agree or there is
            one image only.
        """
        images, masks = self._checked(images, masks)
        if len(images) < 2:
            raise InputError("One image leaves none to choose the threshold on; give at least 2.")
        with threadpool_limits(1, "blas"):  # small matrices: threads only get in the way
            values, labels = self._draw(images, masks)
        self.threshold_, self.held_out_jaccard_ = 0.0, 1.0
        if labels.any():
            held_out = self._held_out(values, labels)
            self.threshold_, self.held_out_jaccard_ = best_threshold(held_out, labels)
        self.trees_ = self._grow(values, labels)
        return self

    def _draw(self, images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the features and labels of random pixels, (n, pixels, 24) and (n, pixels)."""
        rng = np.random.default_rng(self.random_state)
        height, width = masks[0, :: self.spacing, :: self.spacing].shape
        count = min(self.pixels, height * width)
        values = np.empty((len(images), count, len(FEATURES)), np.float32)
        labels = np.empty((len(images), count), bool)
        bar = tqdm(range(len(images)), desc="energy maps", delay=1, disable=not self.progress)
        for i in bar:
            drawn = rng.choice(height * width, count, replace=False)
            values[i] = feature_maps(images[i], self.spacing).reshape(-1, len(FEATURES))[drawn]
            labels[i] = masks[i, :: self.spacing, :: self.spacing].ravel()[drawn]
        return values, labels

    def _held_out(self, values: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the log-odds of each training pixel by trees that saw other images only."""
        result = np.empty(labels.shape)
        blocks = KFold(min(self.folds, len(values))).split(values)
        for train, test in tqdm(list(blocks), desc="threshold", delay=1, disable=not self.progress):
            result[test] = _log_odds(self._grow(values[train], labels[train]), values[test])
        return result

    def _grow(self, values: np.ndarray, labels: np.ndarray) -> HistGradientBoostingClassifier:
        trees = HistGradientBoostingClassifier(
            max_iter=self.trees,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.leaf_pixels,
            early_stopping=False,
            random_state=self.random_state,
        )
        return trees.fit(values.reshape(-1, len(FEATURES)), labels.ravel())

    def _margin(self, image: np.ndarray) -> np.ndarray:
        log_odds = _log_odds(self.trees_, feature_maps(image, self.spacing))
        return _interpolate(log_odds - self.threshold_, image.shape, self.spacing)


def feature_maps(image: np.ndarray, spacing: int = 1) -> np.ndarray:
    """Return the maps of local energy of an (H, W) micrograph, in the order of `FEATURES`.
    (⌈H / spacing⌉, ⌈W / spacing⌉, 24) float32: every `spacing`-th pixel along each side."""
    # One map at a time at full size, so that large images need little memory.
    kept = np.stack([m[::spacing, ::spacing].copy() for m in _maps(image)], axis=-1)
    return kept.astype(np.float32, copy=False)


def _maps(image: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the (H, W) maps in the order of `FEATURES`."""
    image, lattice, residual = split_lattice(image, APERTURE_WIDTH, PEAK_THRESHOLD)
    # The narrower average keeps edges, the wider one noise down: the trees combine the two.
    for pair in pairwise(BANDS):
        yield log_energy(band_pass(residual, *pair), 2, 6)
    for pair in pairwise(BANDS):
        yield _relative(log_energy(band_pass(residual, *pair), 3, 0))
    wide = band_pass(residual, *WIDE_BAND)
    energies = [log_energy(wide, 1.5, smoothing) for smoothing in WIDE_SMOOTHINGS]
    for energy in energies:
        yield energy - np.float32(two_levels(samples(energy))[0])
    yield from map(_relative, energies)
    of_lattice = log_energy(lattice, 6, 0)
    yield of_lattice
    yield _relative(of_lattice)
    mean = local_mean(image, 3)
    yield mean
    yield log_energy(image - mean, 3, 0)
    middle = samples(energies[1])
    otsu, gap = two_levels(middle)
    for number in (otsu, np.median(middle), middle.std(), gap):
        yield np.broadcast_to(np.float32(number), image.shape)


def _relative(energy: np.ndarray) -> np.ndarray:
    return energy - np.median(samples(energy))


def _log_odds(trees: HistGradientBoostingClassifier, values: np.ndarray) -> np.ndarray:
    """Return the logarithm of the odds of contamination of (..., 24) features, (...) float64."""
    log_odds = trees.decision_function(values.reshape(-1, values.shape[-1]))
    if trees.classes_.all():  # nothing but contamination, which is then the first class
        log_odds = -log_odds
    return log_odds.reshape(values.shape[:-1])


def _interpolate(coarse: np.ndarray, shape: tuple[int, int], spacing: int) -> np.ndarray:
    """Return an image from every `spacing`-th pixel of it, linear between and constant beyond."""
    places = np.indices(shape, np.float32) / np.float32(spacing)
    return ndimage.map_coordinates(coarse, places, order=1, mode="nearest").astype(np.float32)

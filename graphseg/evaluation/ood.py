"""Is an image like those that a network knows? A distance to its training images, and a reason.

Of an image are measured its lattice, grey levels, spectrum, and the features of the network's
encoder, on fields of about `SIDE` pixels at the scale at which the network gets it; none of it
depends on brightness and contrast. Of the training images these have a mean and a covariance, once
without the network and once by its features; the distance of an image is the mean of both
(Mahalanobis distance, Lee et al., NeurIPS 2018). The threshold comes from training images that are
left out in turn, by acquisition. No out-of-distribution image is needed for any of it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from scipy import fft, stats
from scipy.signal.windows import hann
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

from graphseg.errors import InputError
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.structure.lattice import CALIBRATION_ERROR, SMALLEST_SIDE, Lattice, measure_lattice
from graphseg.unet import inference, pretrained
from graphseg.unet.inference import moments
from graphseg.unet.network import UNet, prepared
from graphseg.unet.segmenter import UNetSegmenter

SIDE = 256  # pixels; that of the images that networks were trained on
BANDS = 16  # rings of equal width in the spectrum, up to half a cycle per pixel
QUANTILES = (0.001, 0.02, 0.16, 0.5, 0.84, 0.98, 0.999)
FEATURE_FLOOR = 1e-9  # keeps logarithms finite
PARTS = {"lattice": 4, "grey levels": 3 + len(QUANTILES), "spectrum": 2 * BANDS}  # and lengths
# Where fields are cut from larger images, in units of their sides.
CENTRES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75))
FEW = 4  # up to as many times the area of a field, its middle has to do


def fields(image: np.ndarray) -> list[np.ndarray]:
    """Return the parts of an image that are looked at, views of (h, w) up to `SIDE` each.
    The image itself if it is small, else its middle, and of a large one two further parts."""
    centres = CENTRES if image.size > FEW * SIDE**2 else CENTRES[:1]
    return [_field(image, centre) for centre in centres]


def _field(image: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    slices = []
    for length, place in zip(image.shape, centre, strict=True):
        start = int(np.clip(place * length - SIDE / 2, 0, max(length - SIDE, 0)))
        slices.append(slice(start, start + SIDE))
    return image[tuple(slices)]


def _standard(field: np.ndarray) -> np.ndarray:
    mean, deviation = moments(field)
    return ((field - mean) / deviation).astype(np.float32)


def statistics(
    field: np.ndarray, lattice: Lattice | None = None, standard: np.ndarray | None = None
) -> np.ndarray:
    """Return what is measured of a field (h, w) without a network, float64 in the order of `PARTS`.
    It has at least `graphseg.structure.lattice.SMALLEST_SIDE` pixels along each side; its lattice
    may have been measured already, without a pixel size being known, and it may be standardised."""
    lattice = measure_lattice(field) if lattice is None else lattice
    standard = _standard(field) if standard is None else standard
    return np.concatenate([_lattice(lattice), _grey_levels(field, standard), _spectrum(standard)])


def _lattice(lattice: Lattice) -> np.ndarray:
    """Return clarity, ratio and strength of the two rings, and how certain the contrast is."""
    first, second = np.abs(lattice.amplitudes)
    ratio, strength = np.arctan2(second, first + 1e-6), np.log(np.hypot(first, second) + 1e-3)
    return np.array([np.log(lattice.score + 0.05), ratio, strength, lattice.certainty])


def _grey_levels(field: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Return skewness, kurtosis, the fraction of extreme pixels and quantiles."""
    flat = standard.ravel()
    shape = [0, 0]
    if flat.any():
        shape = [stats.skew(flat), np.log(stats.kurtosis(flat) + 3 + FEATURE_FLOOR)]
    extremes = np.log(extreme_fraction(field) + 1e-4)
    return np.array([*shape, extremes, *np.quantile(flat, QUANTILES)])


def extreme_fraction(field: np.ndarray) -> float:
    """Return the fraction of pixels that have the lowest or the highest value."""
    low, high = field.min(), field.max()
    return float(np.count_nonzero((field == low) | (field == high)) / field.size)


def _spectrum(standard: np.ndarray) -> np.ndarray:
    """Return the log mean power of each ring, and how much reflections stand out in it.
    The latter is the difference between the logarithm of the mean and the mean of the logarithm."""
    height, width = standard.shape
    window = np.outer(hann(height, False), hann(width, False)).astype(np.float32)
    power = np.abs(fft.rfft2(standard * window)).ravel() ** 2 + np.float32(FEATURE_FLOOR)
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)).ravel()
    ring = np.minimum((radius * 2 * BANDS).astype(int), BANDS)  # the corners come last
    number = np.maximum(np.bincount(ring, minlength=BANDS + 1), 1)
    mean, logarithm = (
        np.bincount(ring, values, BANDS + 1)[:BANDS] / number[:BANDS]
        for values in (power, np.log(power))
    )
    level = np.log(power.mean())
    mean = np.log(mean + FEATURE_FLOOR)
    return np.concatenate([mean - level, mean - logarithm])


@torch.inference_mode()
def features(network: UNet, standard: np.ndarray, precision: torch.dtype) -> np.ndarray:
    """Return the mean of each feature of the encoder, level by level, float64, of a standardised
    field (h, w) float32.
    What goes beyond a multiple of the network's coarsest pixel is cut off. The network is in
    evaluation mode and its convolutions have this precision."""
    height, width = (n - n % network.multiple for n in standard.shape)
    device = next(network.parameters()).device
    values = torch.from_numpy(standard[:height, :width])[None, None].to(device, precision)
    levels = prepared(network, precision).encoded(values)
    return torch.cat([one[0].float().mean((1, 2)) for one in levels]).double().cpu().numpy()


VARIANCE_FLOOR = 1e-4  # of variances, in units of the spread of a descriptor; rounding is below it


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Where the training images lie in some descriptors: mean, principal axes and variances."""

    centre: np.ndarray  # (d,) of the training images; descriptors are measured in this
    spread: np.ndarray  # (d,) and in this
    axes: np.ndarray  # (k, d) orthonormal, of the shrunk covariance (Ledoit & Wolf 2004)
    variances: np.ndarray  # (k,) along these
    rest: float  # the mean variance across the axes

    @classmethod
    def fit(cls, descriptors: np.ndarray, axes: int) -> Self:
        """Describe (n, d) descriptors by at most so many principal axes."""
        centre, spread = descriptors.mean(axis=0), descriptors.std(axis=0)
        spread = np.maximum(spread, 1e-3 * spread.mean() + 1e-9)
        shrunk = LedoitWolf(assume_centered=True).fit((descriptors - centre) / spread).covariance_
        variances, vectors = np.linalg.eigh(shrunk)
        variances, vectors = np.maximum(variances[::-1], VARIANCE_FLOOR), vectors.T[::-1]
        rest = float(variances[axes:].mean()) if axes < len(variances) else 1.0
        return cls(centre, spread, vectors[:axes], variances[:axes], rest)

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the root mean square distance of (n, d) descriptors, (n,)."""
        relative = (descriptors - self.centre) / self.spread
        along = relative @ self.axes.T
        across = np.maximum((relative**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        total = (along**2 / self.variances).sum(axis=1) + across / self.rest
        return np.sqrt(total / descriptors.shape[1])


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """What a network knows, as far as images tell."""

    gaussians: tuple[Gaussian, ...]  # of the statistics and, with a network, of its features
    # Of the distances of left-out training images; each gaussian counts in units of its own.
    medians: tuple[float, ...]
    threshold: float  # distance beyond which an image is not like the training images
    # How many thresholds away an image may lie to look usable all the same; 1 for a network that
    # was not trained for other conditions.
    usable: float = 1.0

    def ood_score(self, descriptors: Sequence[np.ndarray]) -> np.ndarray:
        """Return how strange images are, (n,), 1 the threshold, of (n, d) for each gaussian."""
        parts = [
            gaussian.distances(values) / median
            for gaussian, values, median in zip(
                self.gaussians, descriptors, self.medians, strict=True
            )
        ]
        return np.sqrt(np.mean(np.square(parts), axis=0)) / self.threshold

    def as_json(self) -> dict:
        """Return numbers of four digits that JSON can hold."""
        gaussians = [
            {name: _rounded(value) for name, value in asdict(gaussian).items()}
            for gaussian in self.gaussians
        ]
        rest = {"medians": list(self.medians), "threshold": self.threshold, "usable": self.usable}
        return {"gaussians": gaussians} | rest

    @classmethod
    def from_json(cls, stored: dict) -> Self:
        """Return what `as_json` gave; InputError if something is missing."""
        try:
            gaussians = tuple(
                Gaussian(**{name: np.asarray(value, float) for name, value in gaussian.items()})
                for gaussian in stored["gaussians"]
            )
            limits = float(stored["threshold"]), float(stored.get("usable", 1))
            return cls(gaussians, tuple(stored["medians"]), *limits)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "What the network knows of images cannot be read: install graphseg again."
            ) from error


def _rounded(value: np.ndarray | float) -> list | float:
    if np.ndim(value) == 2:
        return [_rounded(row) for row in value]
    digits = [float(f"{number:.4g}") for number in np.atleast_1d(value)]
    return digits if np.ndim(value) else digits[0]


FILE = pretrained.FOLDER / "reference_set.json"
AXES = 24  # principal directions of the features that are kept; across them one variance for all
INNER_FOLDS = 5
# The threshold lies this many standard deviations above the median of the logarithms, both robust.
DEVIATIONS = 3.0
FEWEST = 10  # images; from fewer no covariance can be told
SATURATED = 0.05  # fraction of pixels of one value; in published images it is below 0.0001
FLAG = "out_of_distribution"
# What can be said of an image. The second is said only by networks that were trained on images
# changed as other microscopes might, of what lies up to ``usable`` thresholds away.
GRADES = (
    "like the training images",
    "other conditions, looks usable",
    "not recognised as HRTEM of graphene",
)
UNLIKE = "is unlike that of the images that the network was trained on"
SENTENCES = {
    "lattice": f"its lattice {UNLIKE}",
    "grey levels": f"the distribution of its grey levels {UNLIKE}",
    "spectrum": f"its spectrum, the fraction of fine and coarse structure, {UNLIKE}",
    "features": "the network sees textures in it that its training images do not have",
}


def describe(
    segmenter: UNetSegmenter | None, images: np.ndarray, plain: np.ndarray | None = None
) -> list[np.ndarray]:
    """Measure training images (n, H, W), of larger ones the middle; for each gaussian (n, d).
    Without a segmenter only their statistics; `plain` are these if they are there already."""
    parts = [fields(np.asarray(image, np.float32))[0] for image in images]
    found = [np.stack([statistics(part) for part in parts]) if plain is None else plain]
    if segmenter is not None:
        found.append(np.stack([_features(segmenter, _standard(part)) for part in parts]))
    return found


def _features(segmenter: UNetSegmenter, standard: np.ndarray) -> np.ndarray:
    return features(segmenter.module_, standard, getattr(torch, segmenter.precision_))


def fit(descriptors: Sequence[np.ndarray], groups: np.ndarray) -> ReferenceSet:
    """Describe the training images and find the threshold on those left out in turn.
    Descriptors are those of `describe`; images of one acquisition, groups (n,), are left out
    together. InputError if there are fewer than `FEWEST` images or `INNER_FOLDS` acquisitions."""
    number, acquisitions = len(groups), len(np.unique(groups))
    if number < FEWEST or acquisitions < INNER_FOLDS:
        raise InputError(
            f"{number} images of {acquisitions} acquisitions are too few for a reference set; "
            f"give at least {FEWEST} images of {INNER_FOLDS} acquisitions."
        )
    left_out = np.empty((len(descriptors), number))
    for fitted, tested in GroupKFold(INNER_FOLDS).split(left_out.T, groups=groups):
        for row, values in zip(left_out, descriptors, strict=True):
            row[tested] = _gaussian(values[fitted]).distances(values[tested])
    medians = np.median(left_out, axis=1)
    joined = np.log(np.sqrt(np.mean((left_out / medians[:, None]) ** 2, axis=0)))
    middle = np.median(joined)
    spread = 1.4826 * np.median(np.abs(joined - middle))
    threshold = float(np.exp(middle + DEVIATIONS * spread))
    return ReferenceSet(tuple(map(_gaussian, descriptors)), tuple(map(float, medians)), threshold)


def _gaussian(descriptors: np.ndarray) -> Gaussian:
    full = descriptors.shape[1] == sum(PARTS.values())
    return Gaussian.fit(descriptors, descriptors.shape[1] if full else AXES)


@dataclass(frozen=True)
class Verdict:
    """What the check says of one image."""

    # Distance to the training images in units of the threshold; None if nothing is known of them,
    # or the image is too small.
    ood_score: float | None
    grade: str = ""  # of `GRADES`; "" if nothing is known of the training images, nor obvious
    reason: str = ""  # one clause that says why it is not the first

    @property
    def words(self) -> str:
        """Grade and reason as a table has them."""
        return f"{self.grade}: {self.reason}" if self.reason else self.grade

    @property
    def warning(self) -> str:
        """One sentence for the user if the image is not recognised, else ""."""
        if self.grade != GRADES[2]:
            return ""
        return (
            f"The image is outside of what the network knows: {self.reason}; do not trust its mask "
            "before you have looked at it."
        )


def judge(
    known: ReferenceSet | None, segmenter: UNetSegmenter, image: np.ndarray, found: inference.Scale
) -> Verdict:
    """Say whether an image (H, W) is like those that a network knows, and if not, why.
    Of a large image three fields are looked at, and the median counts, so that one of them may be
    covered by contamination. If nothing is known of the network's training images (see `package`),
    what needs no statistics is still asked: saturation, a lattice, and its constant by the pixel
    size of the scale that was found. The image has at least two different values."""
    image = np.asarray(image, np.float32)
    cut = extreme_fraction(fields(image)[0])  # before resizing hides it
    if found.factor != 1:
        image = inference.resize(image, [max(round(n * found.factor), 1) for n in image.shape])
    if min(image.shape) < max(SMALLEST_SIDE, segmenter.module_.multiple):
        return Verdict(None)
    size = found.pixel_size and found.pixel_size / found.factor
    parts = fields(image)
    whole = found.lattice if parts[0].shape == image.shape and found.factor == 1 else None
    lattices = [whole or measure_lattice(part) for part in parts]
    scores, middle = None, int(np.argsort([one.score for one in lattices])[len(lattices) // 2])
    if known is not None:
        standard = list(map(_standard, parts))
        found_here = [np.stack(list(map(statistics, parts, lattices, standard)))]
        if len(known.gaussians) > 1:
            found_here.append(np.stack([_features(segmenter, one) for one in standard]))
        scores = known.ood_score(found_here)
        middle = int(np.argsort(scores)[len(scores) // 2])
    reason = _obvious(cut, lattices[middle], size if found.source == "file" else None)
    if reason:
        return Verdict(None if scores is None else float(scores[middle]), GRADES[2], reason)
    if scores is None:
        return Verdict(None)
    score = float(scores[middle])
    if score <= 1:
        return Verdict(score, GRADES[0])
    reason = SENTENCES[_largest(known, [values[middle] for values in found_here])]
    return Verdict(score, GRADES[1 if score <= known.usable else 2], reason)


def _obvious(fraction: float, lattice: Lattice, pixel_size: float | None) -> str:
    """Return the plain reason why a field is out-of-distribution, whatever its distance, or "".

    `fraction` of its pixels have an extreme value.
    """
    if fraction > SATURATED:
        return f"{fraction:.0%} of its pixels are at the lowest or the highest grey level, cut off"
    if not lattice.found:
        return "no lattice of graphene was found in it"
    if pixel_size is not None:
        constant = lattice.parameter * pixel_size
        if abs(constant / LATTICE_CONSTANT - 1) > CALIBRATION_ERROR:
            return (
                f"by its pixel size its lattice constant would be {constant:.3g} Å, and that of "
                f"graphene is {LATTICE_CONSTANT} Å"
            )
    return ""


def _largest(known: ReferenceSet, row: Sequence[np.ndarray]) -> str:
    """Return the part of the descriptors that lies farthest out, by its mean square."""
    relative = [(v - c.centre) / c.spread for c, v in zip(known.gaussians, row, strict=True)]
    ends = np.cumsum(list(PARTS.values()))
    pieces = dict(zip(PARTS, np.split(relative[0], ends[:-1]), strict=True))
    if len(relative) > 1:
        pieces["features"] = relative[1]
    return max(pieces, key=lambda name: float(np.mean(pieces[name] ** 2)))


@lru_cache(maxsize=2)
def package(digest: str) -> ReferenceSet | None:
    """Return what a bundled network knows; None for a file of another digest."""
    if not FILE.exists():
        return None
    stored = json.loads(FILE.read_text(encoding="utf-8"))["networks"].get(digest)
    return None if stored is None else ReferenceSet.from_json(stored)


@lru_cache(maxsize=4)
def known_to(segmenter: UNetSegmenter, digest: str) -> ReferenceSet | None:
    """Return what a network knows: a bundled one by its digest, another by its card, or None."""
    own = segmenter.card_.get("reference_set")
    return package(digest) or (own and ReferenceSet.from_json(own))

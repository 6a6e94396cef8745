"""Is an image outside of what a network knows? A distance to its training images, and a reason.

What `graphseg.descriptors` measures of the training images is described by their mean and
covariance, once without the network and once by the features of its encoder; an image far from
both (Mahalanobis distance, Lee et al., NeurIPS 2018) is a stranger. The threshold comes from
training images that are left out in turn, by acquisition. No stranger is needed for any of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from sklearn.model_selection import GroupKFold

from graphseg import scale, shipped
from graphseg.descriptors import PARTS, extreme_share, features, fields, statistics
from graphseg.errors import InputError
from graphseg.knownimages import Cloud, Known
from graphseg.lattice import CALIBRATION_ERROR, SMALLEST_SIDE, Lattice, measure_lattice
from graphseg.segmenter import UNetSegmenter
from graphseg.simulation import LATTICE_CONSTANT

FILE = shipped.FOLDER / "known_images.json"
AXES = 24  # principal directions of the features that are kept; across them one variance for all
INNER_FOLDS = 5
# The threshold lies this many standard deviations above the median of the logarithms, both robust.
DEVIATIONS = 3.0
FEWEST = 10  # images; from fewer no covariance can be told
SATURATED = 0.05  # share of pixels of one value; in published images it is below 0.0001
FLAG = "stranger"
UNLIKE = "is unlike that of the images that the network was trained on"
SENTENCES = {
    "lattice": f"its lattice {UNLIKE}",
    "grey levels": f"the distribution of its grey levels {UNLIKE}",
    "spectrum": f"its spectrum, the share of fine and coarse structure, {UNLIKE}",
    "features": "the network sees textures in it that its training images do not have",
}


def describe(
    segmenter: UNetSegmenter | None, images: np.ndarray, plain: np.ndarray | None = None
) -> list[np.ndarray]:
    """Measure training images, of larger ones the middle.

    Parameters
    ----------
    segmenter
        A trained network, or None for statistics only.
    images
        (n, H, W).
    plain
        Their statistics if they are there already, (n, d).

    Returns
    -------
        For each cloud (n, d) float64.
    """
    parts = [fields(np.asarray(image, np.float32))[0] for image in images]
    found = [np.stack([statistics(part) for part in parts]) if plain is None else plain]
    if segmenter is not None:
        found.append(np.stack([_features(segmenter, part) for part in parts]))
    return found


def _features(segmenter: UNetSegmenter, field: np.ndarray) -> np.ndarray:
    return features(segmenter.module_, field, getattr(torch, segmenter.precision_))


def fit(descriptors: Sequence[np.ndarray], groups: np.ndarray) -> Known:
    """Describe the training images and find the threshold on those left out in turn.

    Parameters
    ----------
    descriptors
        (n, d) for each cloud, as `describe` gives them.
    groups
        (n,) acquisitions; those of one are left out together.

    Raises
    ------
    InputError
        If there are fewer than `FEWEST` images or `INNER_FOLDS` acquisitions.
    """
    number, acquisitions = len(groups), len(np.unique(groups))
    if number < FEWEST or acquisitions < INNER_FOLDS:
        raise InputError(
            f"From {number} images of {acquisitions} acquisitions nothing can be said of strangers;"
            f" give at least {FEWEST} images of {INNER_FOLDS} acquisitions."
        )
    left_out = np.empty((len(descriptors), number))
    for fitted, tested in GroupKFold(INNER_FOLDS).split(left_out.T, groups=groups):
        for row, values in zip(left_out, descriptors, strict=True):
            row[tested] = _cloud(values[fitted]).distances(values[tested])
    medians = np.median(left_out, axis=1)
    joined = np.log(np.sqrt(np.mean((left_out / medians[:, None]) ** 2, axis=0)))
    middle = np.median(joined)
    spread = 1.4826 * np.median(np.abs(joined - middle))
    threshold = float(np.exp(middle + DEVIATIONS * spread))
    return Known(tuple(map(_cloud, descriptors)), tuple(map(float, medians)), threshold)


def _cloud(descriptors: np.ndarray) -> Cloud:
    full = descriptors.shape[1] == sum(PARTS.values())
    return Cloud.fit(descriptors, descriptors.shape[1] if full else AXES)


@dataclass(frozen=True)
class Verdict:
    """What the check says of one image.

    Attributes
    ----------
    strangeness
        Distance to the training images in units of the threshold; None if nothing is known of
        them, or the image is too small.
    reason
        One clause if the image is a stranger, else "".
    """

    strangeness: float | None
    reason: str = ""

    @property
    def warning(self) -> str:
        """One sentence for the user, or ""."""
        if not self.reason:
            return ""
        return (
            f"The image is outside of what the network knows: {self.reason}; do not trust its mask "
            "before you have looked at it."
        )


def judge(
    known: Known | None,
    segmenter: UNetSegmenter,
    image: np.ndarray,
    found: scale.Scale,
) -> Verdict:
    """Say whether an image is a stranger, and why.

    Of a large image three fields are looked at, and the median counts, so that one of them may be
    covered by contamination.

    Parameters
    ----------
    known
        See `package`; None if nothing is known.
    segmenter
        The network.
    image
        (H, W), any real dtype, at least one value different from the others.
    found
        Its scale, see `graphseg.scale.find_scale`.
    """
    image = np.asarray(image, np.float32)
    if found.factor != 1:
        image = scale.resize(image, [max(round(n * found.factor), 1) for n in image.shape])
    if known is None or min(image.shape) < max(SMALLEST_SIDE, segmenter.module_.multiple):
        return Verdict(None)
    size = found.pixel_size and found.pixel_size / found.factor
    parts = fields(image)
    whole = found.lattice if parts[0].shape == image.shape and found.factor == 1 else None
    lattices = [whole or measure_lattice(part) for part in parts]
    found_here = [np.stack([statistics(*pair) for pair in zip(parts, lattices, strict=True)])]
    if len(known.clouds) > 1:
        found_here.append(np.stack([_features(segmenter, part) for part in parts]))
    scores = known.strangeness(found_here)
    middle = int(np.argsort(scores)[len(scores) // 2])
    reason = _obvious(parts[middle], lattices[middle], size if found.source == "file" else None)
    if not reason and scores[middle] > 1:
        reason = SENTENCES[_largest(known, [values[middle] for values in found_here])]
    return Verdict(float(scores[middle]), reason)


def _obvious(field: np.ndarray, lattice: Lattice, pixel_size: float | None) -> str:
    """Return the plain reason why a field is a stranger, whatever its distance, or ""."""
    share = extreme_share(field)
    if share > SATURATED:
        return f"{share:.0%} of its pixels are at the lowest or the highest grey level, cut off"
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


def _largest(known: Known, row: Sequence[np.ndarray]) -> str:
    """Return the part of the descriptors that lies farthest out, by its mean square."""
    relative = [(v - c.centre) / c.spread for c, v in zip(known.clouds, row, strict=True)]
    ends = np.cumsum(list(PARTS.values()))
    pieces = dict(zip(PARTS, np.split(relative[0], ends[:-1]), strict=True))
    if len(relative) > 1:
        pieces["features"] = relative[1]
    return max(pieces, key=lambda name: float(np.mean(pieces[name] ** 2)))


@lru_cache(maxsize=2)
def package(digest: str) -> Known | None:
    """Return what the network that comes along knows; None for a file of another digest."""
    if not FILE.exists():
        return None
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return Known.from_json(stored["known"]) if stored["network"] == digest else None

"""Bringing an image to the pixel sizes that a network knows, and its result back.

A network recognises what it has seen: the lattice of graphene at certain numbers of pixels. An
image with finer pixels is reduced to the middle of that range. One with coarser pixels is taken as
it is, with a warning: enlarging smooths the noise, which networks take for something else. On
thirteen published images, reduced to 0.8 Å per pixel, the Jaccard index was 0.83 as they were, 0.61
enlarged to 0.74 Å and 0.13 enlarged to 0.5 Å.

If the file does not state a pixel size, the lattice tells it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch.nn.functional import interpolate

from graphseg.checks import real_numbers
from graphseg.errors import InputError
from graphseg.structure.lattice import SMALLEST_SIDE, Lattice, measure_lattice

KNOWN = (0.30, 0.74)  # Å per pixel, measured from the lattices of the published images
TOLERANCE = 0.05  # relative; so little beyond the range, resizing costs more than it gains
FIELD = 1024  # pixels; side of the parts of a larger image in which the lattice is measured
SMALLEST_RESIZED = 64  # pixels; below it a network has too little to go by


@dataclass(frozen=True)
class Scale:
    """How an image lies to the pixel sizes that a network knows.

    Attributes
    ----------
    pixel_size
        Å per pixel, or None if neither the file nor the lattice tells it.
    source
        Where that is from: ``"file"``, ``"lattice"`` or ``"none"``.
    factor
        The image's sides are multiplied by this for the network; 1 leaves it as it is.
    warning
        One sentence that says why the result is not to be trusted, or "".
    lattice
        The one that the pixel size was measured from, or that was not clear enough; None if the
        file states the size.
    """

    pixel_size: float | None
    source: str
    factor: float
    warning: str = ""
    lattice: Lattice | None = field(default=None, compare=False, repr=False)

    @property
    def outside(self) -> bool:
        """Whether the image is outside of what the network knows."""
        return bool(self.warning)


def known_pixel_sizes(card: dict) -> tuple[float, float]:
    """Return the smallest and the largest pixel size in Å that a network's card states.

    Without a statement they are those of the published images.
    """
    low, high = card.get("pixel_sizes") or KNOWN
    return float(low), float(high)


def measure_pixel_size(image: np.ndarray, field: int = FIELD) -> float | None:
    """Measure Å per pixel from the lattice of graphene, or return None where there is none.

    Parameters
    ----------
    image : array of real numbers, shape (H, W)
    field : int
        Of a larger image the middle and the four quarters are looked at, squares of this side in
        pixels, and the clearest lattice counts.

    Raises
    ------
    InputError
        If the image is no finite 2-D array.
    """
    found = _clearest_lattice(image, field)
    return found.pixel_size if found is not None and found.found else None


def _clearest_lattice(image: np.ndarray, side: int = FIELD) -> Lattice | None:
    """Return the lattice of the image, or of the part of a large one where it is clearest."""
    if min(image.shape) < SMALLEST_SIDE:
        return None
    parts = [image]
    if max(image.shape) > side:
        parts = []
        for centre in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            starts = [
                int(np.clip(place * length - side / 2, 0, max(length - side, 0)))
                for place, length in zip(centre, image.shape, strict=True)
            ]
            parts.append(image[tuple(slice(start, start + side) for start in starts)])
    return max(map(measure_lattice, parts), key=attrgetter("score"))


def find_scale(
    image: np.ndarray,
    pixel_size: float | None = None,
    known: Sequence[float] = KNOWN,
) -> Scale:
    """Find how an image has to be reduced for a network, and whether that is enough.

    Parameters
    ----------
    image : array of real numbers, shape (H, W)
    pixel_size : float, optional
        Å per pixel as the file states it; by default it is measured from the lattice.
    known : (float, float)
        Smallest and largest pixel size in Å that the network knows.

    Returns
    -------
    Scale
        With a factor below 1 where pixels are finer than the network knows, and a warning where
        the result is not to be trusted.

    Raises
    ------
    InputError
        If the image is no finite 2-D array, or the pixel size not positive.

    Examples
    --------
    >>> image = np.zeros((512, 512))
    >>> fine = find_scale(image, pixel_size=0.1)
    >>> round(fine.factor, 3), fine.warning
    (0.212, '')
    >>> find_scale(image, pixel_size=2.0).outside
    True
    """
    image = real_numbers(image, "Images")
    if image.ndim != 2 or not image.size:
        raise InputError(f"A single image is needed: expected shape (H, W), got {image.shape}.")
    if pixel_size is not None and not (np.isfinite(pixel_size) and pixel_size > 0):
        raise InputError(f"A pixel size of {pixel_size} Å is impossible; give a positive number.")
    size, source, lattice = pixel_size, "file", None
    if size is None:
        lattice, source = _clearest_lattice(image), "lattice"
        size = lattice.pixel_size if lattice is not None and lattice.found else None
    if size is None:
        warning = (
            "Neither a pixel size nor a lattice was found, so the image was taken as it is; state "
            "its pixel size, or look at its mask before you trust it."
        )
        return Scale(None, "none", 1.0, warning, lattice)
    low, high = known
    factor = size / (low * high) ** 0.5 if size < low * (1 - TOLERANCE) else 1.0
    return Scale(size, source, factor, _warning(image.shape, size, factor, known), lattice)


def _warning(shape: tuple[int, int], size: float, factor: float, known: Sequence[float]) -> str:
    seen = f"the {known[0]:.2f} to {known[1]:.2f} Å that the network knows"
    look = "do not trust its mask before you have looked at it."
    if size > known[1] * (1 + TOLERANCE):
        return f"With {size:.3g} Å per pixel the image is coarser than {seen}; {look}"
    if factor < 1 and min(shape) * factor < SMALLEST_RESIZED:
        return f"With {size:.3g} Å per pixel the field is too small to be brought to {seen}; {look}"
    return ""


def resize(image: np.ndarray, shape: tuple[int, int], mode: str = "bicubic") -> np.ndarray:
    """Resize an image about the corners of its pixels, averaging where it gets smaller.

    Parameters
    ----------
    image : array of real numbers, shape (H, W)
    shape : (int, int)
        New height and width.
    mode : str
        ``"bicubic"``, which keeps a lattice sharp and treats the noise of all pixels alike (means
        over areas, `graphseg.preprocessing.resize_area`, do not unless the ratio is whole: Jaccard
        0.60 instead of 0.82), or ``"bilinear"``, which stays within the range of the image.

    Returns
    -------
    array of float32, shape (H, W)
        The image itself if the shape is the same.
    """
    image = np.asarray(image, np.float32)
    if image.shape == tuple(shape):
        return image
    values = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    resized = interpolate(values, tuple(shape), mode=mode, antialias=True, align_corners=False)
    return resized[0, 0].numpy()


def predict_proba(
    segmenter: BaseEstimator, image: np.ndarray, pixel_size: float | None = None
) -> tuple[np.ndarray, Scale]:
    """Return the probability of contamination on the grid of the image, at the network's scale.

    Parameters
    ----------
    segmenter : estimator
        Trained, with ``predict_proba`` over stacks. The pixel sizes that it knows are those of
        its ``card_``, else those of the published images.
    image, pixel_size
        See :func:`find_scale`.

    Returns
    -------
    probability : array of float32, shape (H, W)
        Of more than two classes (classes, H, W).
    scale : Scale
        What was done, with a warning where the image is outside of what the network knows.

    Raises
    ------
    InputError
        If the image is no finite 2-D array or the same everywhere, or the pixel size not positive.
    """
    scale = find_scale(image, pixel_size, known_pixel_sizes(getattr(segmenter, "card_", {})))
    if image.min() == image.max():
        raise InputError("The image has the same value everywhere; leave it out.")
    shape = tuple(max(round(length * scale.factor), 1) for length in image.shape)
    probability = segmenter.predict_proba(resize(image, shape)[None])[0]
    if probability.ndim == 2:
        return resize(probability, image.shape, "bilinear"), scale
    if shape != image.shape:
        probability = np.stack([resize(one, image.shape, "bilinear") for one in probability])
    return probability, scale

"""What may be lost in data reduction: coarse values for less important classes, and their error.

`graphseg.batch.reduction` stores the result. Without being asked, nothing is changed.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from graphseg.checks import checked_masks
from graphseg.errors import InputError

CLASSES = ("lattice", "boundary", "vacuum", "contamination")
MODES = {
    "lossless": "the original values",
    "levels": "a few grey levels",
    "blocks": "means of blocks",
    "flat": "one mean value for each image",
}
SIZES = (1, 2, 4)  # bytes of a pixel


@dataclass(frozen=True)
class Coarsening:
    """What may be stored coarsely, and how.

    Attributes
    ----------
    mode
        ``lossless``: nothing is changed. ``levels``: values are rounded to `levels` grey levels
        between the least and the greatest of the image's coarse pixels. ``blocks``: means over
        blocks of `block` × `block` pixels. ``flat``: one mean for each image.
    classes
        Names of the less important classes, of ``CLASSES``.
    margin
        Pixels of these classes that lie no further than this from one of the others stay exact:
        the outline of a predicted mask is not certain. The default, in pixels, is the longest
        lattice constant of the published images.
    block
        Side of a block in pixels.
    levels
        Number of grey levels, at least 2.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    mode: str = "lossless"
    classes: tuple[str, ...] = ("vacuum", "contamination")
    margin: float = 8.0
    block: int = 8
    levels: int = 8

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"Unknown mode {self.mode!r}; choose one of {', '.join(MODES)}.")
        if isinstance(self.classes, str) or not set(self.classes) <= set(CLASSES):
            raise InputError(
                f"{self.classes!r} are no class names; give a tuple of any of {', '.join(CLASSES)}."
            )
        if not self.margin >= 0 or self.block < 1 or self.levels < 2:
            raise InputError(
                f"Margin {self.margin}, block {self.block} and levels {self.levels} cannot be "
                "used; they must be at least 0, 1 and 2."
            )


class Loss(NamedTuple):
    """Error of the coarse pixels among some pixels, in grey levels of the original."""

    pixels: int
    coarse: int
    rmse: float
    largest: float


def checked_stack(images: ArrayLike, classes: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return images in the data type they have, and their class map as uint8.

    Parameters
    ----------
    images
        (n, H, W) integers or floats of 8, 16 or 32 bits.
    classes
        (n, H, W) places in ``CLASSES``, or bool with True = contamination.

    Raises
    ------
    InputError
        If the data type is another one, shapes differ, or a class is unknown.
    """
    images, classes = np.asarray(images), np.asarray(classes)
    if images.dtype.kind not in "uif" or images.dtype.itemsize not in SIZES:
        raise InputError(
            f"Images of type {images.dtype} cannot be reduced; convert them to integers or floats "
            "of 8, 16 or 32 bits."
        )
    if images.ndim != 3 or not images.size:
        raise InputError(f"Images of shape {images.shape} are no stack; give (n, H, W).")
    if classes.dtype == bool:
        contaminated = checked_masks(classes, images.shape)
        return images, contaminated * np.uint8(CLASSES.index("contamination"))
    if classes.shape != images.shape or classes.dtype.kind not in "ui":
        raise InputError(
            f"Classes of shape {classes.shape} and type {classes.dtype} do not fit images of shape "
            f"{images.shape}; give an integer or a bool for each pixel."
        )
    if classes.min() < 0 or classes.max() >= len(CLASSES):
        raise InputError(
            f"Classes run from {classes.min()} to {classes.max()}; use 0 to {len(CLASSES) - 1} for "
            f"{', '.join(CLASSES)}."
        )
    return images, classes.astype(np.uint8)


def coarsen(
    images: ArrayLike, classes: ArrayLike, coarsening: Coarsening
) -> tuple[np.ndarray, np.ndarray]:
    """Replace the pixels of less important classes by coarse values.

    Parameters
    ----------
    images, classes
        As in `checked_stack`.
    coarsening
        What and how.

    Returns
    -------
    coarse
        (n, H, W) in the same data type.
    exact
        (n, H, W) bool, True where nothing was changed.

    Raises
    ------
    InputError
        As `checked_stack`, or if a mode that loses something meets values that are not finite.
    """
    images, classes = checked_stack(images, classes)
    if coarsening.mode == "lossless":
        return images, np.ones(images.shape, bool)
    if not np.isfinite(images).all():
        raise InputError("Images have values that are not finite; replace them, or use lossless.")
    wanted = np.isin(classes, [CLASSES.index(name) for name in coarsening.classes])
    chosen = np.stack([_without_margin(region, coarsening.margin) for region in wanted])
    coarse = images.copy()
    for image, region in zip(coarse, chosen, strict=True):
        if region.any():
            image[region] = _rounded(_coarse_values(image, region, coarsening), images.dtype)
    return coarse, ~chosen


def _without_margin(region: np.ndarray, margin: float) -> np.ndarray:
    """Shrink an (H, W) region by a margin, but not at the edges of the image."""
    if margin == 0 or region.all() or not region.any():
        return region
    return distance_transform_edt(region) > margin


def _coarse_values(image: np.ndarray, region: np.ndarray, coarsening: Coarsening) -> np.ndarray:
    """Return float64 values for the pixels of a region, in the order of ``image[region]``."""
    values = image[region].astype(float)
    if coarsening.mode == "flat":
        return np.full_like(values, values.mean())
    if coarsening.mode == "levels":
        low = values.min()
        step = (np.ptp(values) / (coarsening.levels - 1)) or 1.0
        return low + step * np.rint((values - low) / step)
    rows, columns = np.nonzero(region)
    across = -(-image.shape[1] // coarsening.block)
    blocks = (rows // coarsening.block) * across + columns // coarsening.block
    sums, counts = np.bincount(blocks, values), np.bincount(blocks)
    return sums[blocks] / counts[blocks]


def _rounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return values.astype(dtype) if dtype.kind == "f" else np.rint(values).astype(dtype)


def losses(
    images: np.ndarray, coarse: np.ndarray, exact: np.ndarray, classes: np.ndarray
) -> dict[str, Loss]:
    """Return the `Loss` of each class, and of all pixels under ``total``.

    Parameters
    ----------
    images, coarse
        (n, H, W) originals and what is stored for them.
    exact
        (n, H, W) bool from `coarsen`.
    classes
        (n, H, W) places in ``CLASSES``.
    """
    table = {
        name: _loss(images, coarse, exact, classes == place) for place, name in enumerate(CLASSES)
    }
    return table | {"total": _loss(images, coarse, exact, np.ones(images.shape, bool))}


def _loss(images: np.ndarray, coarse: np.ndarray, exact: np.ndarray, where: np.ndarray) -> Loss:
    changed = where & ~exact
    errors = coarse[changed].astype(float) - images[changed]
    if not errors.size:
        return Loss(int(where.sum()), 0, 0.0, 0.0)
    rmse, largest = np.sqrt(np.mean(errors**2)), np.abs(errors).max()
    return Loss(int(where.sum()), errors.size, float(rmse), float(largest))


def describe_loss(coarsening: Coarsening, exact: np.ndarray, total: Loss) -> str:
    """Say in words what was lost; empty if nothing was.

    Parameters
    ----------
    coarsening
        How it was stored.
    exact
        (n, H, W) bool from `coarsen`.
    total
        `Loss` of all pixels.
    """
    if not total.coarse:
        return ""
    touched = int((~exact).any(axis=(1, 2)).sum())
    return (
        f"NOT LOSSLESS: {total.coarse / total.pixels:.2%} of all pixels, in {touched} of "
        f"{len(exact)} images, hold {MODES[coarsening.mode]} instead of what was recorded "
        f"(classes: {', '.join(coarsening.classes)}; mode {coarsening.mode}, block "
        f"{coarsening.block}, levels {coarsening.levels}, margin {coarsening.margin:g} px). Their "
        f"error is {total.rmse:.4g} grey levels (root mean square), {total.largest:.4g} at most, "
        "and cannot be undone. What the class map calls unimportant by mistake is lost too. All "
        "other pixels are the originals bit for bit."
    )

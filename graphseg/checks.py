"""What every estimator asks of the images and masks it is given."""

import numpy as np
from numpy.typing import ArrayLike

from graphseg.errors import InputError


def checked_images(images: ArrayLike, smallest_side: int = 1) -> np.ndarray:
    """Return a stack of images as float32.

    Parameters
    ----------
    images
        (n, H, W), any real numbers.
    smallest_side
        Least height and width in pixels.

    Raises
    ------
    InputError
        If it is no stack, too small, or holds a value that is not finite.
    """
    images = np.asarray(images)
    if images.ndim != 3 or not images.size or min(images.shape[1:]) < smallest_side:
        raise InputError(
            f"Images of shape {images.shape} are no stack: give (n, H, W), a single image as "
            f"image[None], with n at least 1 and both sides at least {smallest_side} pixels."
        )
    images = images.astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        worst = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))[0])
        raise InputError(f"Image {worst} has values that are not finite; replace or remove them.")
    return images


def checked_masks(masks: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Return masks as bool.

    Parameters
    ----------
    masks
        Bool, or numbers that are 0 or 1; True = contamination.
    shape
        Shape of the images they belong to.

    Raises
    ------
    InputError
        If the shapes differ or a value is neither 0 nor 1.
    """
    masks = np.asarray(masks)
    if masks.shape != shape:
        raise InputError(
            f"Masks of shape {masks.shape} do not match images of shape {shape}; give one mask of "
            "the same size for each image."
        )
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise InputError("Masks hold values other than 0 and 1; give True for contamination.")
    return masks.astype(bool)

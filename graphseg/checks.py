"""What every estimator asks of the images, the masks and the parameters it is given."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from graphseg.errors import InputError

LARGEST = 2**63  # parameters are smaller; NaN is neither smaller nor larger


def checked_images(images: ArrayLike, smallest_side: int = 1) -> np.ndarray:
    """Return finite real images (n, H, W), not smaller than a side, as float32; else InputError."""
    images = real_numbers(images, "Images")
    if images.ndim != 3 or not images.size or min(images.shape[1:]) < smallest_side:
        raise InputError(
            f"Images: expected shape (n, H, W) with sides of at least {smallest_side} pixels, got "
            f"{images.shape}; give a single image as image[None]."
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        images = images.astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        worst = int(np.flatnonzero(~np.isfinite(images).all(axis=(1, 2)))[0])
        raise InputError(f"Image {worst} has values that are not finite; replace or remove them.")
    return images


def checked_masks(masks: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Return masks of a shape, bool or 0 and 1, as bool (True = contamination); else InputError."""
    masks = real_numbers(masks, "Masks")
    if masks.shape != shape:
        raise InputError(
            f"Masks do not match images: expected shape {shape}, got {masks.shape}; give one mask "
            "of the same size for each image."
        )
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise InputError("Masks hold values other than 0 and 1; give True for contamination.")
    return masks.astype(bool)


def checked_labels(labels: ArrayLike, shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Return numbers of classes, 0 to below `classes`, of a shape as uint8; else InputError."""
    labels = real_numbers(labels, "Labels")
    if labels.shape != shape:
        raise InputError(
            f"Labels do not match images: expected shape {shape}, got {labels.shape}; give one "
            "label of the same size for each image."
        )
    if not np.isin(labels, range(classes)).all():
        raise InputError(f"Labels hold other values than the numbers 0 to {classes - 1}.")
    return labels.astype(np.uint8)


def real_numbers(values: ArrayLike, what: str) -> np.ndarray:
    """Return an array of real numbers or bool; InputError, which calls it `what`, if it is none."""
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise InputError(f"{what}: expected an array, got parts of different sizes.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what}: expected real numbers, got type {array.dtype}; convert them first."
        )
    return array


def check_parameters(
    estimator: BaseEstimator, ranges: Mapping[str, tuple[float, float]] | None = None
) -> None:
    """Refuse parameters that are not of the types that the constructor names, or out of range.
    `ranges` has the lowest and the highest value of some, both allowed; None is not checked.
    InputError also for numbers that are not finite."""
    kinds = get_type_hints(type(estimator).__init__)
    values = estimator.get_params(deep=False)
    for name, value in values.items():
        if name in kinds and not _is_of(value, kinds[name]):
            wanted = str(getattr(kinds[name], "__name__", kinds[name])).replace("typing.", "")
            raise InputError(f"{name}: expected type {wanted}, got {_shown(value)}.")
        if isinstance(value, Real) and not -LARGEST < value < LARGEST:
            raise InputError(f"{name}: expected a number of a usual size, got {_shown(value)}.")
    for name, (low, high) in (ranges or {}).items():
        value = values[name]
        if value is not None and not low <= value <= high:
            raise InputError(f"{name}: expected {low:g} to {high:g}, got {_shown(value)}.")


def _is_of(value: Any, kind: Any) -> bool:
    if kind is int or kind is float:  # True is no number here
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if kind is bool:
        return isinstance(value, bool | np.bool_ | Integral) and value in (0, 1)
    if get_origin(kind) is Sequence:
        inside = get_args(kind)[0]
        return isinstance(value, Sequence | np.ndarray) and all(_is_of(v, inside) for v in value)
    if get_args(kind) and not isinstance(kind, type):
        return any(_is_of(value, one) for one in get_args(kind))
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:57]}..."

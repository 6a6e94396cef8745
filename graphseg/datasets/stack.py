"""Classes of labels: the grey value that each has in files, and which of them are contamination.

Micrographs with their labels, names and acquisitions.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from graphseg.errors import InputError

HIGHEST = 2**16 - 1  # grey value that a file can hold
# Published acquisitions that show a place which an earlier one of the same day shows too, shifted
# or turned: found by `graphseg.datasets.duplicates`, confirmed by eye. Later one: earlier one.
SAME_PLACE = {
    "2014_0104_Gr_FS_008": "2014_0104_Gr_FS_005",
    "2014_0105_Gr_FS_024": "2014_0105_Gr_FS_023",
    "2014_0601_Gr_FS_Dyna1_02": "2014_0601_Gr_FS_Dyna1_01",
    "2015_0310_Gr_D4_FS_002": "2015_0310_Gr_D4_FS_001",
}


@dataclass(frozen=True)
class LabelClasses:
    """What the grey values of labels mean.

    Clean classes come first, and both kinds are in order of their grey values. Of two classes,
    number 1 is therefore contamination whichever is brighter.

    Attributes
    ----------
    values, contamination
        The grey value of each class, and the numbers of the classes that are contamination.

    Examples
    --------
    >>> classes = LabelClasses.of([0, 128, 255], contamination=(128,))
    >>> print(classes)
    0, 255 clean; 128 contamination
    >>> classes.numbers(np.array([[0, 128, 255]]))
    array([[0, 2, 1]], dtype=uint8)
    """

    values: tuple[int, ...]
    contamination: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        contaminated = ", ".join(str(self.values[number]) for number in self.contamination)
        clean = ", ".join(str(value) for value in self.values[: -len(self.contamination)])
        return f"{clean} clean; {contaminated} contamination"

    @classmethod
    def of(cls, values: Iterable[float], contamination: Sequence[int] = ()) -> Self:
        """Return the classes of grey values; those of contamination are by default all above 0.

        Raises
        ------
        InputError
            If a value is no whole number from 0 to 65535, if one that is named does not occur, or
            if nothing or everything would be contamination.
        """
        known = sorted(set(values))
        listed = ", ".join(f"{value:g}" for value in known)
        if any(value != int(value) or not 0 <= value <= HIGHEST for value in known):
            raise InputError(
                f"The labels hold the values {listed}; save them as whole numbers from 0 to "
                f"{HIGHEST}."
            )
        for value in contamination:
            if value not in known:
                raise InputError(f"No label holds the value {value}; they hold {listed}.")
        contaminated = [v for v in known if (v in contamination if contamination else v > 0)]
        clean = [v for v in known if v not in contaminated]
        if not clean or not contaminated:
            raise InputError(
                f"The labels hold {listed}, of which {'all' if contaminated else 'none'} would be "
                "contamination; name the values that are, with --contamination."
            )
        numbers = range(len(clean), len(known))
        return cls(tuple(int(value) for value in clean + contaminated), tuple(numbers))

    def numbers(self, label: np.ndarray) -> np.ndarray:
        """Return the number of the class of each pixel, uint8, of grey values of any shape.

        Raises
        ------
        InputError
            If a value belongs to no class.
        """
        numbers = np.full(label.shape, len(self), np.uint8)
        for number, value in enumerate(self.values):
            numbers[label == value] = number
        if (numbers == len(self)).any():
            raise InputError(
                f"A label holds other values than {', '.join(map(str, self.values))}; correct it."
            )
        return numbers

    def grey(self, numbers: np.ndarray) -> np.ndarray:
        """Return the grey values, uint8 or uint16, of class numbers of any shape."""
        kind = np.uint8 if max(self.values) < 2**8 else np.uint16
        return np.array(self.values, kind)[numbers]

    def to_card(self) -> list[dict]:
        """Return the classes as the card of a network has them, for JSON."""
        return [
            {"number": number, "grey_value": value, "contamination": number in self.contamination}
            for number, value in enumerate(self.values)
        ]

    @classmethod
    def from_card(cls, card: dict) -> Self | None:
        """Return the classes that the card of a network has; None if it has none."""
        if "classes" not in card:
            return None
        values = tuple(int(entry["grey_value"]) for entry in card["classes"])
        contaminated = tuple(i for i, entry in enumerate(card["classes"]) if entry["contamination"])
        return cls(values, contaminated)


def as_mask(labels: np.ndarray, contamination: Sequence[int]) -> np.ndarray:
    """Return where numbers of classes are contamination, bool; bool is returned as it is."""
    return labels if labels.dtype == bool else np.isin(labels, contamination)


def contamination_probability(probability: np.ndarray, contamination: Sequence[int]) -> np.ndarray:
    """Return the probability (..., H, W) of all classes of contamination together, at most 1."""
    return np.minimum(probability[..., list(contamination), :, :].sum(-3), np.float32(1))


def decide(probability: np.ndarray, contamination: Sequence[int], threshold: float) -> np.ndarray:
    """Return the class of each pixel (..., H, W) uint8, in agreement with the contamination mask.
    Of probabilities (..., classes, H, W). Where all classes of contamination together reach the
    threshold, it is the most probable of these, elsewhere the most probable of the others. The most
    probable of all would contradict the mask where contamination is shared by several classes."""
    contaminated = np.array(contamination, np.uint8)
    clean = np.setdiff1d(np.arange(probability.shape[-3], dtype=np.uint8), contaminated)
    found = contamination_probability(probability, contamination) >= threshold
    best = (group[probability[..., group, :, :].argmax(-3)] for group in (contaminated, clean))
    return np.where(found, *best)


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """Micrographs with their labels.

    Attributes
    ----------
    images
        (n, H, W) float32 in [0, 1]; axes are (image, row, column).
    masks
        (n, H, W) bool, True where the surface is contaminated.
    names
        One name an image, without suffix.
    groups
        (n,) str, what must stay on one side of a split, see `group_of`: the frames of one focal or
        time series share it, and so do acquisitions that show the same place.
    dates, source
        (n,) str such as ``2014_0601``, the day; ``published``, ``simulated`` or ``folder``.
    pixel_size
        (n,) float64 in Å per pixel, NaN where unknown; None if none is known.
    labels, classes
        (n, H, W) uint8, the number of the class of each pixel, and what these mean; None if there
        are no classes but contamination and the rest.
    reviewed
        (n, H, W) bool, where somebody has looked; the label of the rest is unknown. None where all
        of it is known.

    Examples
    --------
    >>> from graphseg.datasets import load_simulated_sample
    >>> stack = load_simulated_sample()
    >>> stack.images.shape, stack.masks.dtype, len(set(stack.groups))
    ((24, 256, 256), dtype('bool'), 15)
    >>> len(stack.subset(stack.dates == stack.dates[0])) < len(stack)
    True
    """

    images: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    groups: np.ndarray
    dates: np.ndarray
    source: str
    pixel_size: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: LabelClasses | None = None
    reviewed: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and the pixels of images and masks, as 64 hexadecimal digits."""
        sha = hashlib.sha256("\n".join(self.names).encode())
        sha.update(np.ascontiguousarray(self.images, dtype="<f4").tobytes())
        sha.update(np.packbits(self.masks).tobytes())
        if self.labels is not None:
            sha.update(self.classes.grey(self.labels).tobytes())
        if self.reviewed is not None:
            sha.update(np.packbits(self.reviewed).tobytes())
        return sha.hexdigest()

    @property
    def targets(self) -> np.ndarray:
        """What a network learns: `labels` if there are any, else `masks`; (n, H, W)."""
        return self.masks if self.labels is None else self.labels

    def reviewed_of(self, index: int) -> np.ndarray:
        """Return where the label of one image is known, (H, W) bool."""
        if self.reviewed is None:
            return np.ones(self.masks[index].shape, bool)
        return self.reviewed[index]

    def pixel_size_of(self, index: int) -> float | None:
        """Return the pixel size of one image in Å per pixel, None where it is unknown."""
        if self.pixel_size is None or not np.isfinite(self.pixel_size[index]):
            return None
        return float(self.pixel_size[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "LabelledStack":
        """Return the images chosen by integer indices or a boolean array, in that order."""
        chosen = np.arange(len(self))[indices]
        arrays = ("images", "masks", "groups", "dates", "pixel_size", "labels", "reviewed")
        parts = {name: getattr(self, name) for name in arrays}
        parts = {name: part if part is None else part[chosen] for name, part in parts.items()}
        return replace(self, names=tuple(self.names[i] for i in chosen), **parts)


class LabelledImages(LabelledStack):
    """Micrographs of different sizes with their labels.
    As `LabelledStack`, but ``images``, ``masks`` and ``labels`` are arrays of shape (n,) whose
    items are the (H, W) arrays. Networks are trained on them by `graphseg.unet.at_scale`."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and the pixels of images and masks, as 64 hexadecimal digits."""
        sha = hashlib.sha256("\n".join(self.names).encode())
        for image, target in zip(self.images, self.targets, strict=True):
            sha.update(str((image.shape, target.dtype)).encode())
            sha.update(np.ascontiguousarray(image, dtype="<f4"))
            sha.update(np.ascontiguousarray(target))
        for reviewed in () if self.reviewed is None else self.reviewed:
            sha.update(np.packbits(reviewed).tobytes())
        if self.classes is not None:
            sha.update(str(self.classes.values).encode())
        return sha.hexdigest()


def acquisition_of(name: str) -> str:
    """Return the acquisition a frame belongs to: its name without a trailing ``_layer_NNNN``.

    Examples
    --------
    >>> acquisition_of("2014_0601_Gr_FS_013_layer_0016")
    '2014_0601_Gr_FS_013'
    """
    return re.sub(r"_layer_\d+$", "", name)


def group_of(name: str) -> str:
    """Return what an image must share its side of a split with: its acquisition, or its place.

    Acquisitions of :data:`SAME_PLACE` are one group, named after the first of them.

    Examples
    --------
    >>> group_of("2014_0105_Gr_FS_024_layer_0020")
    '2014_0105_Gr_FS_023'
    """
    acquisition = acquisition_of(name)
    return SAME_PLACE.get(acquisition, acquisition)


def date_of(name: str) -> str:
    """Return the leading date of a name (``2014_0601``), or ``undated`` if it has none."""
    match = re.match(r"\d{4}_\d{4}(?=_|$)", name)
    return match[0] if match else "undated"

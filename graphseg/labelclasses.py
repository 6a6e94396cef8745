"""Classes of labels: the grey value that each has in files, and which of them are contamination."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from graphseg.errors import InputError

HIGHEST = 2**16 - 1  # grey value that a file can hold


@dataclass(frozen=True)
class LabelClasses:
    """What the grey values of labels mean.

    Clean classes come first, and both kinds are in order of their grey values. Of two classes,
    number 1 is therefore contamination whichever is brighter.

    Attributes
    ----------
    values
        The grey value of each class.
    contamination
        The numbers of the classes that are contamination.
    """

    values: tuple[int, ...]
    contamination: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        dirty = ", ".join(str(self.values[number]) for number in self.contamination)
        clean = ", ".join(str(value) for value in self.values[: -len(self.contamination)])
        return f"{clean} clean; {dirty} contamination"

    @classmethod
    def of(cls, values: Iterable[float], contamination: Sequence[int] = ()) -> Self:
        """Return the classes of grey values.

        Parameters
        ----------
        values
            Those that occur.
        contamination
            Those that mean contamination; by default all above 0.

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
        dirty = [v for v in known if (v in contamination if contamination else v > 0)]
        clean = [v for v in known if v not in dirty]
        if not clean or not dirty:
            raise InputError(
                f"The labels hold {listed}, of which {'all' if dirty else 'none'} would be "
                "contamination; name the values that are, with --contamination."
            )
        numbers = range(len(clean), len(known))
        return cls(tuple(int(value) for value in clean + dirty), tuple(numbers))

    def numbers(self, label: np.ndarray) -> np.ndarray:
        """Return the number of the class of each pixel.

        Parameters
        ----------
        label
            Grey values, any shape.

        Returns
        -------
            uint8, the same shape.

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
        dirty = tuple(i for i, entry in enumerate(card["classes"]) if entry["contamination"])
        return cls(values, dirty)


def as_mask(labels: np.ndarray, contamination: Sequence[int]) -> np.ndarray:
    """Return where labels are contamination.

    Parameters
    ----------
    labels
        Numbers of classes, or bool, which is returned as it is; any shape.
    contamination
        The numbers that are contamination.

    Returns
    -------
        bool, the same shape.
    """
    return labels if labels.dtype == bool else np.isin(labels, contamination)


def contamination_probability(probability: np.ndarray, contamination: Sequence[int]) -> np.ndarray:
    """Return the probability that it is one of the classes that are contamination.

    Parameters
    ----------
    probability
        (..., classes, H, W) float32, of each class.
    contamination
        The numbers of those classes.

    Returns
    -------
        (..., H, W) float32, at most 1 whatever the rounding.
    """
    return np.minimum(probability[..., list(contamination), :, :].sum(-3), np.float32(1))


def decide(probability: np.ndarray, contamination: Sequence[int], threshold: float) -> np.ndarray:
    """Return the class of each pixel, in agreement with the mask of contamination.

    Where all classes of contamination together reach the threshold, it is the most probable of
    these, elsewhere the most probable of the others. The most probable of all would contradict the
    mask where contamination is shared by several classes.

    Parameters
    ----------
    probability
        (..., classes, H, W) float32, of each class.
    contamination
        The numbers of the classes that are contamination.
    threshold
        Of their common probability.

    Returns
    -------
        (..., H, W) uint8, numbers of classes.
    """
    dirty = np.array(contamination, np.uint8)
    clean = np.setdiff1d(np.arange(probability.shape[-3], dtype=np.uint8), dirty)
    found = contamination_probability(probability, contamination) >= threshold
    best = (group[probability[..., group, :, :].argmax(-3)] for group in (dirty, clean))
    return np.where(found, *best)

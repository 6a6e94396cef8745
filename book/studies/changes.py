"""Natural changes of a micrograph, each with a strength: for measuring what a method endures.

Those of `CHANGES` are made to an image that is there; those of `PHYSICAL` are made by simulating
the same sample in other conditions. Strengths of 0 leave an image as it is.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from graphseg.io.outputs import grey_levels
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.samples import Sample, simulate

INSCRIBED = 0.5**0.5  # fraction of the side of a square that stays inside when it is turned
SPLINE = 3  # order of interpolation of turned images; labels take the nearest pixel


@dataclass(frozen=True)
class Change:
    """A change of an image.

    Attributes
    ----------
    unit
        Of the strengths, for the axis of a figure.
    strengths
        Increasing; the first leaves the image as it is.
    make
        Maps an image (H, W), a strength and a random generator to the changed image (H, W).
    said
        Puts a strength into words, see `said`.
    turns
        Whether labels change as well, see `apply`.
    """

    unit: str
    strengths: tuple[float, ...]
    make: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    said: Callable[[float], str]
    turns: bool = False


def apply(
    change: Change, image: np.ndarray, mask: np.ndarray, strength: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a changed image and its label, float32 and bool.

    Turned images are cut to the middle that the turned square covers, at strength 0 as well.

    Parameters
    ----------
    change
        One of `CHANGES`.
    image, mask
        (H, W).
    strength
        Any of the change's own, or between them.
    seed
        Of noise and directions; they are the same for all strengths.
    """
    image = np.asarray(image, np.float32)
    changed = image
    if strength != change.strengths[0]:
        changed = change.make(image, strength, np.random.default_rng(seed)).astype(np.float32)
    if not change.turns:
        return changed, mask
    turned = ndimage.rotate(mask.astype(np.uint8), strength, reshape=False, order=0)
    return _middle(changed), _middle(turned).astype(bool)


def _middle(image: np.ndarray) -> np.ndarray:
    cut = [int(np.ceil(n * (1 - INSCRIBED) / 2)) for n in image.shape]
    return image[cut[0] : image.shape[0] - cut[0], cut[1] : image.shape[1] - cut[1]]


def _inverted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image.max() + image.min() - image


def _noisy(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + strength * image.std() * rng.standard_normal(image.shape, np.float32)


def _blurred(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image, strength)


def _drifted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Average the image along a straight path of `strength` pixels in a random direction."""
    angle = rng.uniform(0, np.pi)
    offsets = np.linspace(-0.5, 0.5, int(4 * strength) + 2) * strength
    steps = [(d * np.sin(angle), d * np.cos(angle)) for d in offsets]
    return np.mean([ndimage.shift(image, s, order=1, mode="reflect") for s in steps], axis=0)


def _tilted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add a ramp from edge to edge in a random direction, in standard deviations of the image."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-0.5, 0.5, n) for n in image.shape)
    ramp = np.add.outer(np.sin(angle) * rows, np.cos(angle) * columns)
    return image + strength * image.std() * ramp


def _turned(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(image, strength, reshape=False, order=SPLINE, mode="reflect")


def _quantised(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Round to 2 to the power of (8 - strength) grey levels."""
    low, high = image.min(), image.max()
    steps = 2 ** (8 - strength) - 1
    return np.rint((image - low) / max(high - low, 1e-12) * steps)


def _compressed(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Write as 8-bit JPEG of quality 100 - strength, and read again."""
    file = io.BytesIO()
    levels = grey_levels(image, (float(image.min()), float(image.max())))
    Image.fromarray(levels).save(file, format="JPEG", quality=int(100 - strength))
    return np.asarray(Image.open(file))


CHANGES = {
    "inversion": Change(
        "0 as recorded, 1 inverted", (0, 1), _inverted,
        lambda s: "inverted" if s else "as recorded",
    ),
    "noise": Change(
        "standard deviations of the image", (0, 0.25, 0.5, 1, 2), _noisy,
        "{:g} standard deviations".format,
    ),
    "blur": Change(
        "standard deviation, pixels", (0, 0.5, 1, 1.5, 2), _blurred, "{:g} px".format
    ),
    "drift": Change("length, pixels", (0, 1, 2, 4, 6), _drifted, "{:g} px".format),
    "gradient": Change(
        "standard deviations, edge to edge", (0, 0.5, 1, 2, 4), _tilted,
        "{:g} standard deviations".format,
    ),
    "rotation": Change("degrees", (0, 5, 15, 30, 45), _turned, "{:g}°".format, turns=True),
    "bits": Change(
        "bits fewer than 8", (0, 2, 4, 5, 6), _quantised, lambda s: f"{8 - s:g} bits"
    ),
    "JPEG": Change(
        "100 − quality", (0, 5, 25, 50, 75, 90), _compressed, lambda s: f"quality {100 - s:g}"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Physical:
    """A condition of the microscope: its unit, the values to simulate, how it is set and said."""

    unit: str
    values: tuple[float, ...]
    set: Callable[[Configuration, float], Configuration]
    said: Callable[[float], str]


def _at_defocus(configuration: Configuration, value: float) -> Configuration:
    optics = replace(configuration.optics, defocus=(value, value), far_fraction=0.0)
    return replace(configuration, optics=optics)


def _at_dose(configuration: Configuration, value: float) -> Configuration:
    return replace(configuration, detector=replace(configuration.detector, dose=(value, value)))


PHYSICAL = {
    "defocus": Physical(
        "Å, either sign", (20.0, 60.0, 120.0, 250.0, 400.0), _at_defocus, "±{:g} Å".format
    ),
    "dose": Physical(
        "electrons per Å²", (2e4, 5e3, 2e3, 8e2, 3e2), _at_dose, "{:g} e/Å²".format
    ),
}  # fmt: skip


def said(name: str, strength: float) -> str:
    """Return the strength of a change of `CHANGES` or `PHYSICAL` in words, with its unit."""
    return ({**CHANGES, **PHYSICAL})[name].said(strength)


def same_sample(name: str, value: float, index: int, seed: int = 0) -> Sample:
    """Simulate a sample in conditions that differ in one parameter only.

    Parameters
    ----------
    name
        Key of `PHYSICAL`.
    value
        Of the parameter.
    index, seed
        Choose sample, contamination and all other conditions.
    """
    # Conditions are otherwise drawn again until the lattice is clear, and would differ.
    detector = replace(GRAPHENE.detector, noise_fraction=1.0)
    return simulate(seed, index, PHYSICAL[name].set(replace(GRAPHENE, detector=detector), value))


def spread(folds: Sequence[int], number: int) -> np.ndarray:
    """Return indices of a subset that is spread over all folds and over each of them.

    Parameters
    ----------
    folds
        (n,) the fold of each image.
    number
        How many; 0 or more than there are gives all.
    """
    order = np.argsort(folds, kind="stable")
    if not 0 < number < len(order):
        return np.arange(len(order))
    places = (np.arange(number) + 0.5) * len(order) / number
    return np.sort(order[places.astype(int)])

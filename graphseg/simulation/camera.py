"""The camera: illumination, shot noise, quantisation."""

import numpy as np
from scipy import ndimage

from graphseg.simulation.conditions import Conditions
from graphseg.simulation.configuration import DetectorRanges
from graphseg.simulation.noise import smooth_noise


def illumination(
    rng: np.random.Generator, shape: tuple[int, int], ranges: DetectorRanges
) -> np.ndarray:
    """Draw the relative illumination and gain (H, W) float32: slope, bow, blotches, quadrants."""
    slope = rng.uniform(-ranges.gradient, ranges.gradient, 2) / 2
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    result = 1 + float(slope[0]) * rows[:, None] + float(slope[1]) * columns[None, :]
    if ranges.bow:
        bow = rng.uniform(-ranges.bow, ranges.bow, 2)
        result += float(bow[0]) * rows[:, None] ** 2 + float(bow[1]) * columns[None, :] ** 2
    strength, width = float(rng.uniform(*ranges.blotches)), float(rng.uniform(*ranges.blotch_size))
    coarse = smooth_noise(rng, tuple(n // 4 + 1 for n in shape), width / 4)
    fine = ndimage.zoom(coarse, [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1)
    result += strength * fine
    if rng.random() < ranges.seam_share:
        steps = rng.normal(0, ranges.seam, (2, 2)).astype(np.float32)
        half = [np.arange(n) >= n // 2 for n in shape]
        result += steps[half[0].astype(int)[:, None], half[1].astype(int)[None, :]]
    return result


def expose(
    rng: np.random.Generator,
    image: np.ndarray,
    pixel_size: float,
    conditions: Conditions,
    detector: DetectorRanges,
) -> np.ndarray:
    """Return electron counts (H, W) float32: Poisson noise on the illuminated intensity."""
    lit = image * illumination(rng, image.shape, detector)
    return count_electrons(rng, lit, pixel_size, conditions)


def count_electrons(
    rng: np.random.Generator, image: np.ndarray, pixel_size: float, conditions: Conditions
) -> np.ndarray:
    """Return electron counts (H, W) float32 of an intensity relative to the beam's."""
    return shot_noise(rng, np.maximum(image, 0) * (conditions.dose * pixel_size**2))


def shot_noise(rng: np.random.Generator, expected: np.ndarray) -> np.ndarray:
    """Return Poisson counts (H, W) float32 of the expected counts."""
    return rng.poisson(expected).astype(np.float32)


def to_8_bit(counts: np.ndarray) -> np.ndarray:
    """Stretch an image between its smallest and largest value to uint8, as published."""
    low, high = float(counts.min()), float(counts.max())
    return np.rint((counts - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)

"""Smooth random fields."""

import numpy as np
from scipy import ndimage


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """Return Gaussian noise of unit variance with correlation length `width` in grid points."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    field = ndimage.gaussian_filter(noise, width, mode="wrap", truncate=3)
    return field / max(float(field.std()), 1e-12)

"""Near-duplicates: micrographs of one place on the sample, which must not be split.

The pixels themselves do not tell: with the focus the contrast of the lattice inverts and the
texture of the contamination changes, while quadrants of the camera and uneven illumination make
images of different places alike. Where an image is rough tells: a map of the local energy in a
band of wavelengths between those of the lattice and those of the illumination shows the outline
of the contamination whatever the focus. Two maps are compared by their normalised
cross-correlation, the highest over small shifts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from scipy import ndimage

# Of the 131 published images, the most alike of the 7,765 pairs of different days reach 0.916; of
# the 24 pairs inside a series 16 exceed 0.92, and their median is 0.947. Measured again in
# tests/unit/test_duplicates.py.
THRESHOLD = 0.92
SIDE = 128  # pixels to which an image is reduced
# Difference of Gaussians in such pixels: wavelengths of 7 to 13. In the published images these are
# 14 to 25 pixels; their lattice has 5 to 8.
BAND = (1.1, 2.0)
CELLS = 32  # of a map along each side
BLUR = 1.0  # cells
FLOOR = 1e-3  # of the mean energy; below it the logarithm would show numerical noise
REACH = 4  # cells: shifts up to an eighth of the image


def texture_map(image: ArrayLike) -> np.ndarray:
    """Return where an (H, W) image is rough, as the logarithm of its local energy in a band.
    (CELLS, CELLS) float32 with mean 0 and standard deviation 1; 0 for a constant image. Size and
    scale of the image do not matter."""
    whole = Image.fromarray(np.asarray(image, np.float32))
    # Pillow's bilinear filter averages over the area of each new pixel when it reduces.
    small = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float64)
    band = ndimage.gaussian_filter(small, BAND[0]) - ndimage.gaussian_filter(small, BAND[1])
    step = SIDE // CELLS
    energy = (band**2).reshape(CELLS, step, CELLS, step).mean((1, 3))
    if energy.mean() <= np.finfo(np.float32).eps ** 2 * np.square(small).mean():
        return np.zeros((CELLS, CELLS), np.float32)
    energy = np.maximum(ndimage.gaussian_filter(energy, BLUR), FLOOR * energy.mean())
    level = np.log(energy)
    return ((level - level.mean()) / level.std()).astype(np.float32)


def similarities(maps: np.ndarray) -> np.ndarray:
    """Return how alike all pairs of images are, as correlation of their maps over small shifts.
    Maps are those of `texture_map`. (n, n) float32 in [-1, 1], symmetric: the highest normalised
    cross-correlation over all shifts up to REACH cells along each axis, over the overlap of the two
    maps. Each shift is one product of matrices, so that 1,000 images take seconds."""
    best = np.full((len(maps), len(maps)), -1, np.float32)
    for down in range(REACH + 1):
        for right in range(-REACH, REACH + 1):
            first = _unit(maps[:, down:, max(right, 0) : CELLS + min(right, 0)])
            second = _unit(maps[:, : CELLS - down, max(-right, 0) : CELLS + min(-right, 0)])
            np.maximum(best, first @ second.T, out=best)
    return np.maximum(best, best.T)  # which adds the shifts upwards


def near_duplicates(
    maps: np.ndarray, groups: Sequence[str] | np.ndarray
) -> list[tuple[int, int, float]]:
    """Return the pairs of images of different groups (n,) that show the same place.
    Indices of the two images, the lower first, and their similarity, of at least `THRESHOLD`, the
    most alike first; see `similarities`, which has the maps."""
    alike = np.triu(similarities(maps), 1)
    groups = np.asarray(groups)
    alike[groups[:, None] == groups] = -1
    first, second = np.nonzero(alike >= THRESHOLD)
    order = np.argsort(-alike[first, second], kind="stable")
    return [
        (int(i), int(j), float(alike[i, j]))
        for i, j in zip(first[order], second[order], strict=True)
    ]


def _unit(maps: np.ndarray) -> np.ndarray:
    """Return maps as rows of length 1, so that a product of two rows is their correlation."""
    rows = maps.reshape(len(maps), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, np.finfo(np.float32).tiny)

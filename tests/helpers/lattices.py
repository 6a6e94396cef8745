"""Micrographs of graphene whose lattice, boundaries and holes are known: Gaussian atoms, noise."""

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import ndtr

from graphseg import simulation
from graphseg.simulation import LATTICE_CONSTANT

ATOM_WIDTH = 0.45  # Å
NOISE = 0.66  # of the standard deviation of image and noise together, as in published images
MARGIN = 8.0  # Å beyond the frame
SHORTEST_BOND = 1.0  # Å


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def atoms(shape, pixel_size, angle, rng):
    """Graphene with a random origin, (n, 2) in pixels, reaching beyond the frame."""
    extent = max(shape) * pixel_size + 2 * MARGIN
    origin = extent / 2 + rng.uniform(0, LATTICE_CONSTANT, 2)
    return (simulation.crystal(extent, angle, origin).positions - MARGIN) / pixel_size


def render(positions, shape, width):
    """Gaussians of unit weight, integrated over each pixel; positions and width in pixels."""
    rows, columns = (
        np.diff(ndtr((np.arange(n + 1) - 0.5 - positions[:, axis, None]) / width), axis=1)
        for axis, n in enumerate(shape)
    )
    return rows.T @ columns


def expose(image, rng, noise=NOISE, sign=1):
    """Standardise and add noise; sign −1 makes the atoms dark."""
    image = sign * (image - image.mean()) / image.std()
    level = noise / np.sqrt(1 - noise**2)
    return (10 + image + level * rng.standard_normal(image.shape)).astype(np.float32)


def crystal(shape, pixel_size, angle, seed=0, noise=NOISE, sign=1, strain=None, hole=None):
    """One grain. `strain` is a (2, 2) displacement gradient, `hole` a bool mask without atoms."""
    rng = np.random.default_rng(seed)
    positions = atoms(shape, pixel_size, angle, rng)
    if strain is not None:
        positions = positions @ (np.eye(2) + np.asarray(strain)).T
    if hole is not None:
        rows, columns = np.rint(positions).astype(int).T
        inside = (rows >= 0) & (columns >= 0) & (rows < shape[0]) & (columns < shape[1])
        empty = np.zeros(len(positions), bool)
        empty[inside] = hole[rows[inside], columns[inside]]
        positions = positions[~empty]
    return expose(render(positions, shape, ATOM_WIDTH / pixel_size), rng, noise, sign)


def polycrystal(shape, pixel_size, angles, grain_at, seed=0, noise=NOISE, sign=1):
    """Grains that meet abruptly; `grain_at` gives the grain of positions (n, 2) in pixels."""
    rng = np.random.default_rng(seed)
    grains = [atoms(shape, pixel_size, angle, rng) for angle in angles]
    positions = np.concatenate([p[grain_at(p) == k] for k, p in enumerate(grains)])
    close = cKDTree(positions).query_pairs(SHORTEST_BOND / pixel_size, output_type="ndarray")
    positions = np.delete(positions, close[:, 1], axis=0)
    return expose(render(positions, shape, ATOM_WIDTH / pixel_size), rng, noise, sign)


def half_planes(point, direction):
    """Grain 1 lies beyond a line through `point` with the normal at angle `direction`."""
    normal = np.array([np.sin(direction), np.cos(direction)])
    return lambda positions: ((positions - point) @ normal > 0).astype(int)


def turned_by(angles, reference):
    """Differences of orientations in radians, in [−π/6, π/6)."""
    return (angles - reference + np.pi / 6) % (np.pi / 3) - np.pi / 6

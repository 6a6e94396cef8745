"""Grain boundaries of graphene, as lines where the orientation jumps.

The orientation θ is handled as the complex number e^{6iθ}, in which 0° and 60° are the same. Where
its gradient is a ridge, the orientations on both sides of the ridge are compared; a jump makes a
boundary. Positions are in pixels, (row, column).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal import savgol_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree
from skimage.morphology import skeletonize

from graphseg.classical.denoise import gaussian
from graphseg.preprocessing import strips
from graphseg.structure.orientation import OrientationMap, map_orientation

SMALLEST_MISORIENTATION = np.radians(2.5)  # sum of noise and strain in published images stays below
CONTINUATION = 0.6  # of the smallest misorientation: a line may fade to this, as hysteresis
SHORTEST = 5.0  # lattice parameters; shorter lines are noise
STEP = 2.5  # lattice parameters from the line to where its sides are compared
SMOOTHING = 1.0  # lattice parameters, of the orientation before its gradient
LINE_SMOOTHING = 8.0  # lattice parameters along the line, for the parabola that smooths it
LEAST_ORDER = 0.4  # of the order that 95 % of the clean area stay below, on both sides of a line
LEAST_COHERENCE = 0.9  # length of the mean of e^{6iθ}, on both sides; in contamination it is lower
TOUCH = 1.5  # pixels; neighbours on the grid, also diagonal


@dataclass(frozen=True, eq=False)
class Boundary:
    """One line between two grains."""

    positions: np.ndarray  # (n, 2) float64 pixels along the line, one about every pixel
    misorientation: float  # angle between the lattices of both sides in radians, 0 to π/6
    pixel_size: float  # Å per pixel

    @property
    def length(self) -> float:
        """Length in pixels."""
        return _length(self.positions)

    @property
    def length_angstrom(self) -> float:
        """Length in Å."""
        return self.length * self.pixel_size


def find_boundaries(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
    *,
    orientation: OrientationMap | None = None,
) -> tuple[Boundary, ...]:
    """Find the grain boundaries of one micrograph, longest first.

    Lines end at contamination, and where one side is no lattice. Where two lattices lie over one
    another (`graphseg.structure.superposition`), none is reported: jumps of the orientation are
    then changes of which lattice is the stronger one.

    Parameters
    ----------
    image
        (H, W), any real dtype.
    mask
        (H, W) bool, True = contamination.
    pixel_size
        Å per pixel, if known; see `graphseg.structure.lattice.measure_lattice`.
    orientation
        The orientation map of the image, if it is at hand; the rest is then not used.

    Raises
    ------
    InputError
        If no lattice is found, or the input cannot be used.

    Examples
    --------
    >>> import graphseg as gs
    >>> sample = gs.simulate(3, 4)
    >>> boundaries = find_boundaries(sample.image, sample.mask)
    >>> [bool(np.degrees(line.misorientation) > 2.5) for line in boundaries]
    [True]
    """
    if orientation is None:
        orientation = map_orientation(image, mask, pixel_size=pixel_size)
    if orientation.superposition.found:
        return ()
    parameter = orientation.lattice.parameter
    # 1. e^{6iθ} smoothed, its slope, and where it is known.
    field = _field(orientation)
    # 2. The jump across each ridge of the slope; ridges are kept that are high enough somewhere.
    places, jumps = _jumps(field)
    count, part = connected_components(_neighbours(places))
    highest = np.zeros(count)
    np.maximum.at(highest, part, jumps)
    ridges = np.zeros(orientation.order.shape, bool)
    ridges[tuple(places[highest[part] >= SMALLEST_MISORIENTATION].T)] = True
    ridges = skeletonize(ridges)

    def line(path: np.ndarray) -> Boundary:
        smooth = _smoothed(path, LINE_SMOOTHING * parameter)
        smooth = smooth.clip(0, np.array(orientation.order.shape) - 1)
        return Boundary(smooth, _misorientation(field, smooth), orientation.lattice.pixel_size)

    # 3. The ridges as paths; they are boundaries if their misorientation is large enough.
    paths = []
    for path in _paths(ridges, SHORTEST * parameter):
        found = line(path)
        # A boundary of small angle θ is a row of dislocations a/θ apart: what is shorter is none.
        dislocations = found.length * found.misorientation / parameter
        if found.misorientation >= SMALLEST_MISORIENTATION and dislocations >= 1:
            paths.append(path)
    # 4. Cut where three grains meet, and smooth away the steps of the grid.
    boundaries = [line(part) for part in _split(paths, 2 * parameter)]
    return tuple(sorted(boundaries, key=lambda boundary: -boundary.length))


def boundary_mask(
    boundaries: tuple[Boundary, ...], shape: tuple[int, int], width: float
) -> np.ndarray:
    """Return the boundaries as lines `width` pixels wide, (H, W) bool."""
    reach = int(width / 2)
    steps = np.arange(-reach, reach + 1)
    disc = np.hypot(steps[:, None], steps) <= width / 2
    drawn = np.zeros([n + 2 * reach for n in shape], bool)
    for boundary in boundaries:
        places = np.rint(boundary.positions).astype(int).clip(0, np.array(shape) - 1)
        for row, column in np.unique(places, axis=0):
            drawn[row : row + len(steps), column : column + len(steps)] |= disc
    return drawn[reach : reach + shape[0], reach : reach + shape[1]]


@dataclass(frozen=True, eq=False)
class _Field:
    """e^{6iθ} smoothed, the size of its steepest slope / 6, and what gives its direction.
    `known` is 1 where the lattice is good enough to have an orientation, else 0. All are (H, W)."""

    turned: np.ndarray
    slope: np.ndarray
    spread: np.ndarray
    mixed: np.ndarray
    known: np.ndarray
    valid: np.ndarray
    parameter: float


def _field(orientation: OrientationMap) -> _Field:
    """Smooth by a normalised convolution, weighted by the squared order."""
    # So what is invalid has no part in it; the gradient follows from the quotient rule.
    order, valid = orientation.order, orientation.valid
    parameter = orientation.lattice.parameter
    good = np.quantile(order[valid], 0.95) if valid.any() else np.inf
    known = (order > LEAST_ORDER * good).astype(np.float32)
    turned = np.empty(order.shape, np.complex64)
    slope, spread, mixed = np.zeros((3, *order.shape), np.float32)

    def smooth(image: np.ndarray, derivative: tuple[int, int] = (0, 0)) -> np.ndarray:
        return gaussian(image, SMOOTHING * parameter, derivative, truncate=3, reflect=False)

    for rows, around, inner in strips(len(order), 3 * SMOOTHING * parameter):
        weight, angle = order[around] ** 2, 6 * orientation.orientation[around]
        parts = weight * np.cos(angle), weight * np.sin(angle)
        total = np.maximum(smooth(weight)[inner], 1e-9)
        mean = [smooth(part)[inner] / total for part in parts]
        bent = [smooth(weight, axis)[inner] for axis in ((1, 0), (0, 1))]
        # The larger eigenvalue of the two-by-two matrix of the products of the derivatives.
        for part, middle in zip(parts, mean, strict=True):
            down, across = (
                (smooth(part, axis)[inner] - middle * rest) / total
                for axis, rest in zip(((1, 0), (0, 1)), bent, strict=True)
            )
            slope[rows] += (down**2 + across**2) / 2
            spread[rows] += across**2 - down**2
            mixed[rows] += down * across
        slope[rows] += np.sqrt((spread[rows] / 2) ** 2 + mixed[rows] ** 2)
        turned.real[rows], turned.imag[rows] = mean
        known[rows] *= np.hypot(*mean) > LEAST_COHERENCE
    return _Field(turned, np.sqrt(slope) / 6, spread, mixed, known, valid, parameter)


def _jumps(field: _Field) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (n, 2) on ridges of the slope, and the jumps across them, (n,) radians."""
    lowest = CONTINUATION * SMALLEST_MISORIENTATION
    # A jump Δ smoothed over σ has the slope Δ/(√2π σ); the map itself is smoothed as much again.
    least = lowest / (3 * np.sqrt(2 * np.pi) * SMOOTHING * field.parameter)
    places = np.argwhere(field.valid & (field.slope > least))  # (n, 2)
    angle = np.arctan2(2 * field.mixed[tuple(places.T)], field.spread[tuple(places.T)]) / 2
    normals = np.stack([np.sin(angle), np.cos(angle)], axis=-1)  # (n, 2), of the steepest slope
    height = field.slope[tuple(places.T)]
    for side in (-1, 1):
        ridge = height >= _at(field.slope, places + side * normals)
        places, normals, height = places[ridge], normals[ridge], height[ridge]
    jumps = np.abs(np.angle(_turn(field, places, normals, STEP))) / 6
    return places[jumps > lowest], jumps[jumps > lowest]


def _turn(field: _Field, places: np.ndarray, normals: np.ndarray, step: float) -> np.ndarray:
    """Return e^{6iΔ} of the jump Δ across (n, 2) places; 0 where one side has no lattice.
    The sides are `step` lattice parameters away along the normals."""
    sides = [places + side * step * field.parameter * normals for side in (-1, 1)]
    known = np.minimum(*(_at(field.known, side) for side in sides)) > 0.99
    first, second = (_at(field.turned, side) for side in sides)
    return np.where(known, first * second.conj(), 0)


def _misorientation(field: _Field, line: np.ndarray) -> float:
    """Return the mean jump across a line in radians, from near it to further away."""
    # Near a small-angle boundary the lattice is bent about each of its dislocations.
    tangents = np.gradient(line, axis=0)
    normals = np.column_stack([tangents[:, 1], -tangents[:, 0]])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    turns = [_turn(field, line, normals, STEP * factor).sum() for factor in (1, 1.5, 2)]
    return float(np.abs(np.angle(np.sum(turns))) / 6)


def _at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return an image, linear between its pixels, at (n, 2) places; 0 outside of it."""
    return ndimage.map_coordinates(image, places.T, order=1, cval=0)


def _paths(ridges: np.ndarray, shortest: float) -> list[np.ndarray]:
    """Return the lines of a skeleton as paths (n, 2) int, the longest first; spurs are left out.
    The longest shortest path through a connected part is a line; what is left of the part may
    hold branches, which are found in the same way."""
    waiting, paths = [np.argwhere(ridges)], []
    while waiting:
        pixels = waiting.pop()
        count, part = connected_components(_neighbours(pixels))
        order = np.argsort(part, kind="stable")
        for members in np.split(order, np.cumsum(np.bincount(part))[:-1]) if count else ():
            path = _longest_path(pixels[members])
            line = pixels[members[path]]
            if len(path) < shortest / np.sqrt(2) or _length(line) < shortest:
                continue
            paths.append(line)
            waiting.append(pixels[np.delete(members, path)])
    return sorted(paths, key=len, reverse=True)


def _neighbours(pixels: np.ndarray) -> csr_array:
    """Return the distances of pixels (n, 2) that touch, at a side or a corner."""
    tree = cKDTree(pixels)
    return csr_array(tree.sparse_distance_matrix(tree, TOUCH, output_type="coo_matrix"))


def _longest_path(pixels: np.ndarray) -> np.ndarray:
    """Return the indices, in order, of the longest of all shortest paths in a connected part."""
    graph = _neighbours(pixels)
    start = int(dijkstra(graph, indices=0).argmax())
    distance, before = dijkstra(graph, indices=start, return_predecessors=True)
    path = [int(distance.argmax())]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return np.array(path)


def _split(paths: list[np.ndarray], reach: float) -> list[np.ndarray]:
    """Cut each path where another one ends next to it: three grains meet there."""
    parts = []
    for path in paths:
        ends = [other[end] for other in paths if other is not path for end in (0, -1)]
        cuts = set()
        for end in ends:
            distance = np.hypot(*(path - end).T)
            nearest = int(distance.argmin())
            if distance[nearest] < reach and reach < nearest < len(path) - reach:
                cuts.add(nearest)
        parts += np.split(path, sorted(cuts))
    return parts


def _length(path: np.ndarray) -> float:
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def _smoothed(path: np.ndarray, width: float) -> np.ndarray:
    """Return a path without the steps of the grid, (n, 2) float64, by local parabolas."""
    window = min(int(width), len(path)) // 2 * 2 - 1  # odd
    return savgol_filter(path.astype(float), window, polyorder=2, axis=0)

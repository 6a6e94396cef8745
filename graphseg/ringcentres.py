"""Sites of atoms from the centres of the rings they form.

Rings are searched as maxima of the denoised image, to sub-pixels. Every triangle of neighbouring
centres has an atom in its middle. All positions are (n, 2) in pixels, (row, column).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import Delaunay, QhullError, cKDTree

from graphseg.latticefilter import LatticeSignal, enhance

BOND = 1 / np.sqrt(3)  # lattice parameters
# Lattice parameters: no ring centre is nearer than the first to a more distinct one, nor nearer
# than the second to two of them. Adjacent pentagons are at 0.79; between a pentagon and a heptagon
# the filter shortens the distance; atoms, with three ring centres at 0.58, may be weak maxima too.
CLOSEST_RINGS, CROWDED_RINGS = 0.6, 0.72
WIDEST_RINGS = 1.6  # lattice parameters; adjacent nonagons are at 1.55
CLOSEST_SITES = 0.6  # bond lengths
WEAKEST = 0.15  # of the typical height of a maximum; pentagons have 0.25 and more


@dataclass(frozen=True, eq=False)
class Sites:
    """Where atoms should be.

    Attributes
    ----------
    positions
        (n, 2) float64 in pixels.
    regular
        (n,) bool, True where all three rings have six neighbours.
    triangles
        (n,) bool, True for triangles of ring centres, False for sites that only complete a ring
        along an edge.
    """

    positions: np.ndarray
    regular: np.ndarray
    triangles: np.ndarray


def ring_centres(signal: LatticeSignal) -> np.ndarray:
    """Return the centres of the rings of atoms, (n, 2) in pixels."""
    closest, crowded = CLOSEST_RINGS * signal.parameter, CROWDED_RINGS * signal.parameter
    return maxima(enhance(signal, "rings"), closest, crowded, signal.quiet)


def sites_of_rings(centres: np.ndarray, parameter: float) -> Sites:
    """Return the sites of atoms between ring centres.

    Parameters
    ----------
    centres
        (n, 2) in pixels.
    parameter
        Lattice parameter in pixels.
    """
    corners, open_ring = _triangles(centres, WIDEST_RINGS * parameter)
    middles = centres[corners].mean(axis=1)
    extra = np.empty((0, 2))
    if len(corners):
        closest = CLOSEST_SITES * BOND * parameter
        extra = _opposite(centres, corners, open_ring, middles, closest)
    positions = np.concatenate([middles, extra])
    triangles = np.arange(len(positions)) < len(middles)
    regular = np.zeros(len(positions), bool)
    regular[: len(middles)] = (np.bincount(corners.ravel()) == 6)[corners].all(axis=1)
    return Sites(positions, regular, triangles)


def maxima(image: np.ndarray, closest: float, crowded: float, usual: np.ndarray) -> np.ndarray:
    """Return the maxima of an image, (n, 2), to sub-pixels.

    Only positive ones that are not much weaker than those in the area `usual` (H, W) bool, that
    have no higher one nearer than `closest` nor two of them nearer than `crowded` (pixels), and
    that do not lie on the outermost pixels.
    """
    highest = (image == ndimage.maximum_filter(image, 3)) & (image > 0)
    highest[[0, -1]] = highest[:, [0, -1]] = False
    places = np.argwhere(highest)
    heights = image[highest].astype(float)
    if not len(places):
        return np.empty((0, 2))
    among = heights[usual[tuple(places.T)]]
    strong = heights > WEAKEST * (among**2).sum() / max(among.sum(), np.finfo(float).tiny)
    places, heights = places[strong], heights[strong]
    pairs = cKDTree(places).query_pairs(crowded, output_type="ndarray")
    lower = np.where(heights[pairs[:, 0]] < heights[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    near = ((places[pairs[:, 0]] - places[pairs[:, 1]]) ** 2).sum(axis=1) < closest**2
    kept = np.bincount(lower, np.where(near, 2, 1), len(places)) < 2
    return _vertices(image, places[kept])


def _vertices(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return where paraboloids through the 3 × 3 pixels around maxima (n, 2) peak."""
    rows, columns = places.T
    at = {
        (i, j): image[rows + i, columns + j].astype(float) for i in (-1, 0, 1) for j in (-1, 0, 1)
    }
    down, across = (at[1, 0] - at[-1, 0]) / 2, (at[0, 1] - at[0, -1]) / 2
    bend_down = at[1, 0] + at[-1, 0] - 2 * at[0, 0]
    bend_across = at[0, 1] + at[0, -1] - 2 * at[0, 0]
    twist = (at[1, 1] + at[-1, -1] - at[1, -1] - at[-1, 1]) / 4
    determinant = bend_down * bend_across - twist**2
    shift = np.stack([twist * across - bend_across * down, twist * down - bend_down * across], -1)
    usable = determinant > 0
    shift[usable] /= determinant[usable, None]
    shift[~usable] = 0
    return places + np.clip(shift, -0.7, 0.7)


def _triangles(centres: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Triangulate ring centres (n, 2), without sides longer than `longest`.

    Returns the triangles (t, 3) int, and which centres (n,) bool they do not surround.
    """
    open_ring = np.zeros(len(centres), bool)
    try:
        triangulation = Delaunay(centres)
    except (QhullError, ValueError):  # fewer than three centres, or all on a line
        return np.empty((0, 3), np.intp), open_ring
    corners = triangulation.simplices
    points = centres[corners]
    sides = ((points - np.roll(points, 1, axis=1)) ** 2).sum(axis=2)
    kept = sides.max(axis=1) < longest**2
    beyond = ~np.append(kept, False)[triangulation.neighbors]  # (t, 3): across from each corner
    triangle, corner = np.nonzero(beyond & kept[:, None])
    for other in (1, 2):
        open_ring[corners[triangle, (corner + other) % 3]] = True
    return corners[kept], open_ring


def _opposite(
    centres: np.ndarray,
    corners: np.ndarray,
    open_ring: np.ndarray,
    middles: np.ndarray,
    closest: float,
) -> np.ndarray:
    """Return the sites (n, 2) that complete rings along edges and holes.

    There a ring centre lacks neighbours to form triangles with. Each of its atoms has another
    one opposite; what falls on a site that is known is left out, what falls together is averaged.
    """
    triangle, corner = np.nonzero(open_ring[corners])
    mirrored = 2 * centres[corners[triangle, corner]] - middles[triangle]
    mirrored = mirrored[cKDTree(middles).query(mirrored)[0] > closest]
    pairs = cKDTree(mirrored).query_pairs(closest, output_type="ndarray")
    links = sparse.coo_array((np.ones(len(pairs)), pairs.T), (len(mirrored),) * 2)
    number, label = sparse.csgraph.connected_components(links)
    weight = np.bincount(label, minlength=number)
    return np.stack([np.bincount(label, x, number) / weight for x in mirrored.T], axis=1)

"""Atoms of graphene in a micrograph, and the bonds between them.

Carbon in graphene has three neighbours, so its atoms are the corners of a tiling by rings. The
centres of these rings are the deepest and best separated features of an image, 2.46 Å apart
instead of 1.42 Å. They are searched first; every triangle of neighbouring centres is then the
site of an atom, at pentagons and heptagons too, and an empty site is told by the missing
intensity. See `graphseg.classical.denoise` for the denoising and `graphseg.structure.atomfit` for
the comparison with the image. Positions are (n, 2) float64 in pixels, (row, column), with pixel
centres at integers.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial import Delaunay, QhullError, cKDTree

from graphseg.classical.denoise import LatticeSignal, analyse, enhance, maxima
from graphseg.errors import InputError
from graphseg.structure.atomfit import AtomFit
from graphseg.structure.lattice import checked_micrograph

BOND = 1 / np.sqrt(3)  # lattice parameters
# Lattice parameters: no ring centre is nearer than the first to a more distinct one, nor nearer
# than the second to two of them. Adjacent pentagons are at 0.79; between a pentagon and a heptagon
# the filter shortens the distance; atoms, with three ring centres at 0.58, may be weak maxima too.
CLOSEST_RINGS, CROWDED_RINGS = 0.6, 0.72
WIDEST_RINGS = 1.6  # lattice parameters; adjacent nonagons are at 1.55
CLOSEST_SITES = 0.6  # bond lengths
LONGEST_BOND = 1.3  # bond lengths; second neighbours are at 1.73
SMALLEST_PARAMETER = 2.5  # pixels; below it the first ring of reflections nears the Nyquist limit
COARSE = 12.0  # pixels; images of a larger lattice parameter are binned to 6 to 12
# Log odds that a site is occupied, and how much an empty neighbour takes off: one site in 1000
# is a vacancy; between two empty sites the image decides alone. More than that would let vacancies
# grow to holes in faint images, less would leave atoms in holes.
OCCUPIED = np.log(999)
EMPTY_NEIGHBOUR = 0.55 * OCCUPIED
ROUNDS = 3  # of deciding about sites given their neighbours
# Standard deviation of a triangle's middle from the atom: next to hexagons only, and elsewhere.
REGULAR_DEVIATION, IRREGULAR_DEVIATION = 0.012, 0.04  # lattice parameters
FITTED_PARAMETER = 6.0  # pixels; at coarser sampling the image places no atom more exactly
FAINTEST = 1.2  # signal-to-noise ratio of one atom: what is found in noise alone stays below


@dataclass(frozen=True, eq=False)
class Sites:
    """Where atoms should be."""

    positions: np.ndarray  # (n, 2) float64 in pixels
    regular: np.ndarray  # (n,) bool, True where all three rings have six neighbours
    # (n,) bool, triangles of ring centres; the others only complete a ring along an edge.
    triangles: np.ndarray


def ring_centres(signal: LatticeSignal) -> np.ndarray:
    """Return the centres of the rings of atoms, (n, 2) in pixels."""
    closest, crowded = CLOSEST_RINGS * signal.parameter, CROWDED_RINGS * signal.parameter
    return maxima(enhance(signal), closest, crowded, signal.quiet)


def sites_of_rings(centres: np.ndarray, parameter: float) -> Sites:
    """Return the sites of atoms between ring centres (n, 2), both in pixels."""
    corners, open_ring = _triangles(centres, WIDEST_RINGS * parameter)
    middles = centres[corners].mean(axis=1)
    if not len(corners):
        return Sites(middles, *np.zeros((2, 0), bool))
    extra = _opposite(centres, corners, open_ring, middles, CLOSEST_SITES * BOND * parameter)
    regular = (np.bincount(corners.ravel()) == 6)[corners].all(axis=1)
    beside = np.zeros(len(extra), bool)
    return Sites(
        np.concatenate([middles, extra]),
        regular=np.concatenate([regular, beside]),
        triangles=np.concatenate([~np.zeros_like(regular), beside]),
    )


def _triangles(centres: np.ndarray, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Return triangles (t, 3) of ring centres, and which of these, (n,), they do not surround."""
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
    """Return the sites (n, 2) that complete rings along edges and holes."""
    # There a ring centre lacks neighbours to form triangles with. Each of its atoms has another one
    # opposite; what falls on a site that is known is left out, what falls together is averaged.
    triangle, corner = np.nonzero(open_ring[corners])
    mirrored = 2 * centres[corners[triangle, corner]] - middles[triangle]
    mirrored = mirrored[cKDTree(middles).query(mirrored)[0] > closest]
    pairs = cKDTree(mirrored).query_pairs(closest, output_type="ndarray")
    links = sparse.coo_array((np.ones(len(pairs)), pairs.T), (len(mirrored),) * 2)
    number, label = sparse.csgraph.connected_components(links)
    weight = np.bincount(label, minlength=number)
    return np.stack([np.bincount(label, x, number) / weight for x in mirrored.T], axis=1)


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms of one micrograph.

    Attributes
    ----------
    positions
        (n, 2) float64 in pixels, (row, column).
    amplitudes
        (n,) float64, how much of an atom's image is there: 1 on average.
    lattice_parameter
        In pixels.
    contrast
        1 if atoms are bright, −1 if they are dark.
    certainty
        Of a measured contrast, 0…1. Below 0.25 atoms may be confused with ring centres.
    signal_to_noise
        Of a single atom under the matched filter. Below 4 most vacancies are lost in the noise,
        and below 1.2 no atoms are reported, since noise alone gives as much.

    Examples
    --------
    >>> len(Atoms(np.zeros((2, 2)), np.ones(2), 8.2, 1, 1.0, 5.0))
    2
    """

    positions: np.ndarray
    amplitudes: np.ndarray
    lattice_parameter: float
    contrast: int
    certainty: float
    signal_to_noise: float

    def __len__(self) -> int:
        return len(self.positions)


def find_atoms(
    image: np.ndarray,
    lattice_parameter: float,
    mask: np.ndarray | None = None,
    contrast: int | None = None,
) -> Atoms:
    """Find the atoms of a single layer of graphene.

    Parameters
    ----------
    image
        (H, W), any real dtype and scale.
    lattice_parameter
        In pixels: 2.46 Å divided by the pixel size, at least 2.5 and better 4.9 (0.5 Å per pixel)
        or more. All lengths of the search follow from it; an error of 5 % does no harm.
    mask
        (H, W) bool, True = contamination. Noise and contrast are measured outside of it, and no
        atom is reported inside.
    contrast
        1 where atoms are bright, −1 where they are dark; measured by default.

    Raises
    ------
    InputError
        If image and mask do not fit, or the lattice parameter or the contrast is impossible.

    Examples
    --------
    >>> import graphseg as gs
    >>> sample = gs.simulate(3, 0)
    >>> atoms = find_atoms(sample.image, 2.46 / sample.pixel_size, sample.mask)
    >>> bool(abs(len(atoms) / is_true_at(~sample.mask, sample.positions).sum() - 1) < 0.02)
    True
    """
    image, mask = checked_micrograph(image, mask, int(3 * SMALLEST_PARAMETER) + 1)
    clean = ~mask
    if not SMALLEST_PARAMETER <= lattice_parameter <= min(image.shape) / 3:
        raise InputError(
            f"A lattice parameter of {lattice_parameter:.3g} pixels cannot be used in an image of "
            f"{image.shape}; it must be 2.5 pixels to a third of the side: check the pixel size."
        )
    if not clean.any():
        raise InputError("The mask covers the whole image; there is no clean area to search.")
    if contrast not in (None, 1, -1):
        raise InputError(f"contrast={contrast!r} is unknown; give 1, -1 or None.")
    # 1. Images that are sampled finely are binned.
    factor = binning(lattice_parameter)
    small, small_clean = binned(image, factor), binned(clean, factor) == 1
    # 2. Background off; noise, and the sign of the contrast, from the spectrum.
    signal = analyse(small, small_clean, lattice_parameter / factor, contrast)
    del image, small
    # 3. Sites, which of them hold an atom, and a fit of the positions.
    positions, amplitudes, energy = _atoms_of_rings(signal)
    # 4. Back to the pixels of the image; what lies under the mask is left out.
    positions = positions * factor + (factor - 1) / 2
    kept = is_true_at(clean, positions) & (energy >= FAINTEST**2)
    return Atoms(
        positions[kept],
        amplitudes[kept],
        lattice_parameter,
        signal.signs[0],
        signal.certainty if contrast is None else 1.0,
        energy**0.5,
    )


def find_bonds(
    positions: np.ndarray, lattice_parameter: float, longest: float = LONGEST_BOND
) -> np.ndarray:
    """Return the bonds between atoms, (m, 2) int, each once, the smaller index first.

    Two atoms are bonded if each is among the three nearest of the other and they are nearer than
    `longest` bond lengths (1.42 Å). Of two bonds that cross only the shorter stays, so that the
    bonds are a planar graph.

    Parameters
    ----------
    positions
        (n, 2) in pixels.
    lattice_parameter
        In pixels.
    longest
        In bond lengths.

    Raises
    ------
    InputError
        If the lattice parameter or `longest` is not positive.

    Examples
    --------
    >>> angles = np.arange(6) * np.pi / 3
    >>> hexagon = 1.42 * np.column_stack([np.sin(angles), np.cos(angles)])
    >>> len(find_bonds(hexagon, 2.46))
    6
    """
    if not (np.isfinite(lattice_parameter) and lattice_parameter > 0 and longest > 0):
        raise InputError("Lattice parameter and longest bond must be positive; check both.")
    if len(positions) < 2:
        return np.empty((0, 2), np.intp)
    nearest = _neighbours(positions, longest * BOND * lattice_parameter)
    number = len(positions)
    first, second = np.repeat(np.arange(number), 3), nearest.ravel()
    real = second < number
    keys = np.minimum(first, second)[real] * number + np.maximum(first, second)[real]
    keys, counts = np.unique(keys, return_counts=True)
    pairs = np.stack(np.divmod(keys[counts == 2], number), axis=1)
    return _without_crossings(positions, pairs)


def is_true_at(mask: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return whether a mask is True at the pixels nearest to positions, (n,); False outside."""
    pixels = np.rint(positions).astype(int)
    inside = ((pixels >= 0) & (pixels < mask.shape)).all(axis=1)
    rows, columns = np.where(inside[:, None], pixels, 0).T
    return inside & mask[rows, columns]


def binning(lattice_parameter: float) -> int:
    """Return by what images of a lattice parameter in pixels are binned; 1 leaves them."""
    return int(lattice_parameter // (COARSE / 2)) if lattice_parameter > COARSE else 1


def binned(image: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of `factor` pixels squared; what is left over at the far edges is cut off."""
    if factor == 1:
        return image
    height, width = (n // factor for n in image.shape)
    rows = image[: height * factor, : width * factor].reshape(height, factor, -1)
    columns = rows.sum(axis=1, dtype=np.float32).reshape(height, width, factor)
    return columns.sum(axis=2) / np.float32(factor**2)


def _neighbours(positions: np.ndarray, reach: float) -> np.ndarray:
    """Return the three nearest within `reach`, (n, 3) int; n stands for none."""
    nearest = cKDTree(positions).query(positions, k=4, distance_upper_bound=reach)[1]
    own = nearest == np.arange(len(positions))[:, None]
    own[~own.any(axis=1), 3] = True  # of several atoms in one place, any may come first
    return nearest[~own].reshape(-1, 3)


def _atoms_of_rings(signal: LatticeSignal) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions, amplitudes and the squared signal-to-noise ratio of one atom."""
    # 1. A site in the middle of each triangle, and along edges.
    sites = sites_of_rings(ring_centres(signal), signal.parameter)
    if not len(sites.positions):
        return sites.positions, np.empty(0), 0.0
    # 2. The image of one atom, from the sites that are most certain; empty sites by it.
    fit = AtomFit(signal, sites.positions[sites.triangles])
    kept, amplitudes = _occupied(fit, sites, signal.parameter)
    # 3. Move the atoms to where image and triangles agree best.
    positions = sites.positions[kept]
    if signal.parameter >= FITTED_PARAMETER:
        deviation = np.where(sites.regular[kept], REGULAR_DEVIATION, IRREGULAR_DEVIATION)
        positions = fit.refine(positions, deviation * signal.parameter)
    return positions, amplitudes[kept], fit.energy


def _occupied(fit: AtomFit, sites: Sites, parameter: float) -> tuple[np.ndarray, np.ndarray]:
    """Decide which sites hold an atom: (n,) bool, and their amplitudes (n,)."""
    # Amplitudes are normally distributed about 0 or 1, with the spread that is seen or at least
    # that of the noise. An empty site makes its neighbours more probably empty, so that a hole is
    # recognised as a whole (iterated conditional modes, Besag 1986). Sites whose neighbours are
    # outside of the search count them as half empty.
    positions, occupied = sites.positions, sites.triangles
    neighbours = _neighbours(positions, LONGEST_BOND * BOND * parameter)
    for _ in range(ROUNDS):
        amplitudes = fit.amplitudes(positions, occupied)
        odds = _log_odds(fit, positions, amplitudes, occupied)
        before = occupied
        for _ in range(ROUNDS):
            empty = np.append(~occupied, 0.5)[neighbours].sum(axis=1)
            occupied = odds + OCCUPIED - EMPTY_NEIGHBOUR * empty > 0
        if (occupied == before).all():
            break
    return occupied, amplitudes


def _log_odds(
    fit: AtomFit, positions: np.ndarray, amplitudes: np.ndarray, occupied: np.ndarray
) -> np.ndarray:
    """Return the logarithm of the odds of amplitudes (n,) for atoms against empty sites."""
    seen = amplitudes[occupied] if occupied.any() else amplitudes
    spread = 1.4826 * np.median(np.abs(seen - np.median(seen)))
    variance = max(spread**2, 1 / max(fit.energy, 1e-9))
    return (amplitudes - 0.5) / variance * fit.fraction(positions)


def _without_crossings(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Drop the longer of two bonds (m, 2) that cross."""
    if len(bonds) < 2:
        return bonds
    ends = positions[bonds]  # (m, 2, 2): bond, end, axis
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    pairs = cKDTree(ends.mean(axis=1)).query_pairs(lengths.max(), output_type="ndarray")
    shared = (bonds[pairs[:, 0], :, None] == bonds[pairs[:, 1], None, :]).any(axis=(1, 2))
    pairs = pairs[~shared]
    first, second = ends[pairs[:, 0]], ends[pairs[:, 1]]
    pairs = pairs[_separates(first, second) & _separates(second, first)]
    longer = np.where(lengths[pairs[:, 0]] > lengths[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    return np.delete(bonds, longer, axis=0)


def _separates(lines: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return for lines (k, 2, 2) whether the ends of `others` lie on different sides of each."""
    along = lines[:, 1] - lines[:, 0]
    to = others - lines[:, :1]
    side = along[:, None, 0] * to[..., 1] - along[:, None, 1] * to[..., 0]
    return side[:, 0] * side[:, 1] < 0

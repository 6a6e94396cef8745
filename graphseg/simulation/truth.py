"""Maps of what is where, computed from the atoms."""

import numpy as np
from scipy import ndimage

from graphseg.simulation.contaminant import Contaminant
from graphseg.simulation.structures import Structure

GRID = 0.7  # Å, of the grid on which distances to atoms are computed
CLOSING = 3.0  # Å, gaps between atoms narrower than twice this belong to the patch
SMALLEST = 30  # atoms: a person does not outline what is smaller
BOUNDARY = 3.0  # Å, half width of a grain boundary: one ring on each side
HOLE = 1.5  # bond lengths; in a hole the nearest atom is further away, in a ring it is at 1
REACH = 1.42  # Å, a carbon bond: as far as one contaminant atom counts as physical contamination
ATOM = 0.7  # Å, radius of an atom, half a bond of carbon
MARGIN = 6.0  # Å around the frame within which atoms count, wider than any distance used here


def maps(
    layer: Structure, contaminant: Contaminant, size: int, pixel_size: float, growth: float
) -> dict[str, np.ndarray]:
    """Return mask, physical_mask, vacuum, boundary (bool) and orientation (float32), (size, size).

    Parameters
    ----------
    growth
        How far outside of the outermost contaminant atoms the outline runs, Å.
    """
    patches = contaminant.positions[~contaminant.overlooked]
    grid = _Grid(size, pixel_size)
    distance = grid.distance(contaminant.positions)
    physical = grid.sample(distance) < REACH
    outline = _outline(grid, patches, growth)
    return {
        "mask": outline,
        "physical_mask": physical,
        "vacuum": _vacuum(grid, layer, contaminant),
        "boundary": grid.sample(grid.distance(interface(layer))) < BOUNDARY,
        "orientation": _orientation(grid, layer),
    }


class _Grid:
    """A grid finer than the atoms' distance that reaches beyond the frame."""

    def __init__(self, size: int, pixel_size: float):
        self.size, self.pixel_size = size, pixel_size
        self.low = -MARGIN
        self.number = int(np.ceil((size * pixel_size + 2 * MARGIN) / GRID))
        self.places = (np.arange(size) * pixel_size - self.low) / GRID - 0.5

    def cells(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell (n, 2) of each position and whether it lies on the grid (n,)."""
        cells = np.floor((positions - self.low) / GRID).astype(np.intp)
        return cells, ((cells >= 0) & (cells < self.number)).all(axis=1)

    def raster(self, positions: np.ndarray) -> np.ndarray:
        """Return (n, n) bool, True in cells that hold a position."""
        cells, inside = self.cells(positions)
        flat = np.bincount(cells[inside] @ [self.number, 1], minlength=self.number**2)
        return flat.reshape(self.number, self.number) > 0

    def distance(self, positions: np.ndarray) -> np.ndarray:
        """Return the distance of each cell to the nearest position in Å, float32."""
        occupied = self.raster(positions)
        if not occupied.any():
            return np.full(occupied.shape, np.inf, np.float32)
        return _depth(~occupied)

    def sample(self, grid: np.ndarray) -> np.ndarray:
        """Interpolate a map of the grid linearly at the pixels, (size, size)."""
        if not np.isfinite(grid).all():
            return np.full((self.size, self.size), np.inf, np.float32)
        low = np.floor(self.places).astype(int)
        part = (self.places - low).astype(np.float32)
        rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
        return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _depth(inside: np.ndarray) -> np.ndarray:
    """Return the distance of each cell of `inside` to the nearest cell outside, Å, float32."""
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    return ndimage.distance_transform_edt(inside).astype(np.float32) * np.float32(GRID)


def _outline(grid: _Grid, patches: np.ndarray, growth: float) -> np.ndarray:
    """Close the gaps between atoms, drop specks, and grow the patches by `growth`."""
    distance = grid.distance(patches)
    if not np.isfinite(distance).all():
        return np.zeros((grid.size, grid.size), bool)
    closed = distance < CLOSING
    labels, count = ndimage.label(closed)
    atoms = np.bincount((labels * grid.raster(patches)).ravel(), minlength=count + 1)
    atoms[0] = 0
    closed = ndimage.binary_fill_holes((atoms >= SMALLEST)[labels])
    outside = ndimage.gaussian_filter(_depth(closed), 1.0)
    # `outside` is CLOSING on the outermost atoms and 0 that far outside of them.
    return grid.sample(outside) > CLOSING - growth if closed.any() else grid.sample(outside) > 1


def _vacuum(grid: _Grid, layer: Structure, contaminant: Contaminant) -> np.ndarray:
    """Return where discs of radius `HOLE` fit between all atoms, less one atomic radius."""
    hole = HOLE * layer.material.bond
    empty = grid.distance(np.concatenate([layer.positions, contaminant.positions])) > hole
    if not empty.any():
        return np.zeros((grid.size, grid.size), bool)
    return grid.sample(_depth(~empty)) < hole - ATOM


def interface(layer: Structure) -> np.ndarray:
    """Return the midpoints of bonds between grains (k, 2), Å."""
    crossing = layer.grains[layer.bonds[:, 0]] != layer.grains[layer.bonds[:, 1]]
    return layer.positions[layer.bonds[crossing]].mean(axis=1)


def _orientation(grid: _Grid, layer: Structure) -> np.ndarray:
    """Return the lattice direction at the site nearest to each pixel, (size, size) float32."""
    angles = np.mod(layer.angles, np.pi / 3).astype(np.float32)
    if len(angles) == 1:
        return np.full((grid.size, grid.size), angles[0])
    cells, inside = grid.cells(layer.positions)
    owner = np.zeros((grid.number, grid.number), np.intp)
    owner[tuple(cells[inside].T)] = layer.grains[inside]
    nearest = ndimage.distance_transform_edt(
        ~grid.raster(layer.positions), return_distances=False, return_indices=True
    )
    places = np.rint(grid.places).astype(int)
    return angles[owner[tuple(nearest)]][np.ix_(places, places)]

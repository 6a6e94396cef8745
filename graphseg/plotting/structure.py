"""Figures of the structure: orientation maps with their key, boundaries, and the four classes.

Figures of atoms: bonds coloured by direction as in Fig. 5 of Sadre et al. (2021), and rings.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from graphseg.colours import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
)
from graphseg.plotting.micrographs import add_scale_bar, overlay_mask, show_micrograph
from graphseg.structure.boundaries import Boundary
from graphseg.structure.classes import ClassMap
from graphseg.structure.orientation import OrientationMap
from graphseg.structure.rings import Defect, Rings

ORIENTATION_COLOURS = "twilight"  # cyclic: 0° and 60° are the same; safe for colour-blind readers
NO_ORDER = 0.5  # grey where there is no lattice
KEY_PIXELS = 128


def orientation_image(orientation: OrientationMap) -> np.ndarray:
    """Return an orientation map as (H, W, 3) float in [0, 1]: hue for angle, grey for disorder.

    Full colour is the order that 95 % of the valid pixels stay below.
    """
    colours = mpl.colormaps[ORIENTATION_COLOURS](orientation.orientation / SECTOR)[..., :3]
    usual = np.quantile(orientation.order[orientation.valid], 0.95)
    strength = np.clip(orientation.order / usual, 0, 1)[..., None]
    return strength * colours + (1 - strength) * NO_ORDER


def show_orientation(axes: Axes, orientation: OrientationMap, title: str = "") -> AxesImage:
    """Show an orientation map with a scale bar; `add_orientation_key` explains its colours."""
    shown = axes.imshow(orientation_image(orientation))
    _finish(axes, orientation.order.shape, orientation.lattice.pixel_size, title)
    return shown


def add_orientation_key(axes: Axes, size: float = 0.22) -> Axes:
    """Draw the colours of the orientations as a wheel in the lower right corner of an image.

    A point of the wheel has the colour of a lattice with a vector in its direction.

    Parameters
    ----------
    axes
        Those of the image.
    size
        Diameter as a fraction of the height of the image.
    """
    key = axes.inset_axes((1 - size - 0.02, 0.02, size, size))
    side = np.linspace(-1, 1, KEY_PIXELS)
    radius = np.hypot(side[:, None], side)
    angle = np.arctan2(side[:, None], side) % SECTOR
    colours = mpl.colormaps[ORIENTATION_COLOURS](angle / SECTOR)
    colours[..., 3] = (radius <= 1) & (radius > 0.4)
    key.imshow(colours)
    key.set_axis_off()
    key.set_aspect("equal")
    return key


def overlay_boundaries(
    axes: Axes, boundaries: Sequence[Boundary], angles: bool = True, linewidth: float = 2.0
) -> None:
    """Draw boundaries over an image, each with its misorientation in degrees at its middle."""
    for boundary in boundaries:
        rows, columns = boundary.positions.T
        axes.plot(columns, rows, color=CLASS_COLOURS["boundary"], linewidth=linewidth)
        if angles:
            middle = len(rows) // 2
            axes.text(
                columns[middle], rows[middle], f"{np.degrees(boundary.misorientation):.1f}°",
                fontsize=8, ha="center", va="center",
                bbox={"facecolor": "white", "alpha": 0.75, "pad": 1, "linewidth": 0},
            )  # fmt: skip


def show_classes(axes: Axes, classes: ClassMap, title: str = "") -> AxesImage:
    """Show the four classes in their colours; `figures.add_class_legend` explains them."""
    shown = axes.imshow(classes.image)
    known = np.isfinite(classes.pixel_size)
    _finish(axes, classes.labels.shape, classes.pixel_size if known else None, title)
    for spine in axes.spines.values():  # the lattice is white, as is the page
        spine.set(visible=True, linewidth=0.5)
    return shown


def _finish(axes: Axes, shape: tuple[int, int], pixel_size: float | None, title: str) -> None:
    add_scale_bar(axes, shape, pixel_size)
    # A line at the edge must not widen the frame.
    axes.set(
        xlim=(-0.5, shape[1] - 0.5), ylim=(shape[0] - 0.5, -0.5), xticks=[], yticks=[], title=title
    )
    for spine in axes.spines.values():
        spine.set_visible(False)


SECTOR = np.pi / 3  # directions repeat after 60°
# Cyclic, of colours that colour-blind readers can tell apart, and saturated enough for thin lines
# on any grey, which "twilight" is not.
DIRECTION_COLOURS = mpl.colors.LinearSegmentedColormap.from_list(
    "direction", [BLUE, GREEN, YELLOW, VERMILION, PURPLE, BLUE]
)
MASK_TINT = 0.35
RING_COLOURS = {
    4: PURPLE, 5: VERMILION, 6: "#BFBFBF", 7: BLUE, 8: ORANGE, 9: SKY,
}  # fmt: skip
GAP_COLOUR = YELLOW
RING_OPACITY = 0.6
BOND_KEY_PIXELS = 128


def bond_angles(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Return the directions of bonds modulo 60°, (m,) radians in [0, π/3).

    Measured from the direction of the columns towards that of the rows. The three bonds of an
    atom in a perfect lattice have the same value: 30° more than a lattice vector, modulo 60°.

    Parameters
    ----------
    positions
        (n, 2) in pixels, (row, column).
    bonds
        (m, 2) int, pairs of atoms.
    """
    between = positions[bonds[:, 1]] - positions[bonds[:, 0]]
    angles = np.arctan2(between[:, 0], between[:, 1]) % SECTOR
    return np.where(angles >= SECTOR, 0.0, angles)  # the remainder of −1e-17 rounds up to π/3


def draw_bonds(
    axes: Axes, positions: np.ndarray, bonds: np.ndarray, linewidth: float = 1.0
) -> LineCollection:
    """Draw bonds in the colour of their direction modulo 60°; `add_direction_key` explains it.

    Parameters
    ----------
    axes
        Those of the image.
    positions
        (n, 2) in pixels, (row, column).
    bonds
        (m, 2) int, pairs of atoms.
    linewidth
        In points.
    """
    lines = LineCollection(
        positions[bonds][..., ::-1],
        array=bond_angles(positions, bonds),
        cmap=DIRECTION_COLOURS,
        norm=mpl.colors.Normalize(0, SECTOR),
        linewidths=linewidth,
        capstyle="round",
        zorder=0.9,  # above images, below the scale bar
    )
    axes.add_collection(lines, autolim=False)
    return lines


def add_direction_key(axes: Axes, size: float = 0.2) -> Axes:
    """Draw the colours of directions as a wheel in the lower right corner of an image.

    A point of the wheel has the colour of a bond in its direction.

    Parameters
    ----------
    axes
        Those of the image.
    size
        Diameter as a fraction of the height of the image.
    """
    key = axes.inset_axes((0.98 - size, 0.02, size, size))
    side = np.linspace(-1, 1, BOND_KEY_PIXELS)
    colours = DIRECTION_COLOURS(np.arctan2(side[:, None], side) % SECTOR / SECTOR)
    radius = np.hypot(side[:, None], side)
    colours[..., 3] = (radius <= 1) & (radius > 0.4)
    key.imshow(colours)
    key.set_axis_off()
    return key


def show_bonds(
    axes: Axes,
    image: np.ndarray,
    positions: np.ndarray,
    bonds: np.ndarray,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
    title: str = "",
    linewidth: float = 1.0,
) -> LineCollection:
    """Show the bonds over a micrograph and its mask, as in Fig. 5 of the paper.

    Parameters
    ----------
    axes
        Where to draw.
    image
        (H, W).
    positions
        (n, 2) in pixels, (row, column).
    bonds
        (m, 2) int, pairs of atoms.
    mask
        (H, W) bool, True = contamination, tinted.
    pixel_size
        Å per pixel; without it the scale bar is in pixels.
    title
        Text above the image.
    linewidth
        Of bonds, in points.
    """
    show_micrograph(axes, image, pixel_size, title)
    if mask is not None:
        overlay_mask(axes, mask, CLASS_COLOURS["contamination"], tint=MASK_TINT)
    return draw_bonds(axes, positions, bonds, linewidth)


def draw_rings(
    axes: Axes, rings: Rings, positions: np.ndarray, hexagons: bool = True
) -> PolyCollection:
    """Fill the rings of 4 to 9 atoms with the colours of `RING_COLOURS`, by their size.

    Parameters
    ----------
    axes
        Those of the image.
    rings
        Faces of the bond graph.
    positions
        (n, 2) in pixels, (row, column), the atoms.
    hexagons
        Fill hexagons too, in grey; without them the defects stand alone.
    """
    wanted = rings.regular & (hexagons | (rings.sizes != 6))
    shown = rings.keep(wanted)
    polygons = PolyCollection(
        [positions[members][:, ::-1] for members in shown.members],
        facecolors=[mpl.colors.to_rgba(RING_COLOURS[size], RING_OPACITY) for size in shown.sizes],
        edgecolors=BLACK,
        linewidths=0.4,
        zorder=0.8,
    )
    axes.add_collection(polygons, autolim=False)
    return polygons


def mark_vacancies(axes: Axes, defects: Sequence[Defect]) -> None:
    """Mark the vacancies among `defects` with triangles."""
    places = [defect.position for defect in defects if defect.kind == "vacancy"]
    if places:
        rows, columns = zip(*places, strict=True)
        axes.scatter(columns, rows, marker="^", s=28, color=GAP_COLOUR, edgecolors=BLACK, zorder=3)


def add_ring_legend(figure: Figure, sizes: Sequence[int] = tuple(RING_COLOURS)) -> None:
    """Explain the colours of rings of the given sizes below a figure."""
    handles = [
        Patch(facecolor=RING_COLOURS[size], edgecolor=BLACK, label=f"{size} atoms")
        for size in sizes
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

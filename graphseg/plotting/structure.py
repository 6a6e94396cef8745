"""Figures of structure: orientation, boundaries, the four classes, bonds and rings.

Bonds are coloured by direction as in Fig. 5 of Sadre et al. (2021).
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from graphseg.colours import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    GREEN,
    MASK_COLOUR,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
)
from graphseg.plotting.micrographs import (
    TEXT_BOX,
    add_legend,
    overlay_mask,
    show_micrograph,
    show_picture,
)
from graphseg.structure.boundaries import Boundary
from graphseg.structure.classes import ClassMap
from graphseg.structure.orientation import OrientationMap
from graphseg.structure.rings import Defect, Rings

SECTOR = np.pi / 3  # directions repeat after 60°
ORIENTATION_COLOURS = "twilight"  # cyclic: 0° and 60° are the same; safe for colour-blind readers
NO_ORDER = 0.5  # grey where there is no lattice
# Cyclic, of colours that colour-blind readers can tell apart, and saturated enough for thin lines
# on any grey, which "twilight" is not.
DIRECTION_COLOURS = mpl.colors.LinearSegmentedColormap.from_list(
    "direction", [BLUE, GREEN, YELLOW, VERMILION, PURPLE, BLUE]
)
KEY_PIXELS = 128
MASK_TINT = 0.35
RING_COLOURS = {4: PURPLE, 5: VERMILION, 6: "#BFBFBF", 7: BLUE, 8: ORANGE, 9: SKY}
RING_OPACITY = 0.6
GAP_COLOUR = YELLOW


def orientation_image(orientation: OrientationMap) -> np.ndarray:
    """Return an orientation map as (H, W, 3) float in [0, 1]: hue for angle, grey for disorder."""
    # Full colour is the order that 95 % of the valid pixels stay below.
    colours = mpl.colormaps[ORIENTATION_COLOURS](orientation.orientation / SECTOR)[..., :3]
    usual = np.quantile(orientation.order[orientation.valid], 0.95)
    strength = np.clip(orientation.order / usual, 0, 1)[..., None]
    return strength * colours + (1 - strength) * NO_ORDER


def show_orientation(axes: Axes, orientation: OrientationMap, title: str = "") -> AxesImage:
    """Show an orientation map with a scale bar; `add_orientation_key` explains its colours.

    Parameters
    ----------
    axes, title
        Where to draw, and the text above it.
    orientation : OrientationMap
        Of `graphseg.structure.orientation.map_orientation`.

    Examples
    --------
    >>> from graphseg.simulation import crystal, image_of
    >>> from graphseg.structure.orientation import map_orientation
    >>> sheet = crystal(40.0, angle=0.2)
    >>> image = image_of(sheet.positions, 6, 40.0, 0.4, dose=np.inf)
    >>> show_orientation(Figure().add_subplot(), map_orientation(image)).get_array().shape
    (100, 100, 3)
    """
    picture = orientation_image(orientation)
    return show_picture(axes, picture, orientation.lattice.pixel_size, title)


def add_orientation_key(axes: Axes, size: float = 0.22) -> Axes:
    """Draw a wheel of the orientations' colours in the lower right corner of an image.
    A point of the wheel has the colour of a lattice with a vector in its direction; ``size`` is the
    diameter as a fraction of the height of the image."""
    return _add_wheel(axes, mpl.colormaps[ORIENTATION_COLOURS], size)


def add_direction_key(axes: Axes, size: float = 0.2) -> Axes:
    """Draw a wheel as `add_orientation_key` does; its points have the colour of bonds."""
    return _add_wheel(axes, DIRECTION_COLOURS, size)


def _add_wheel(axes: Axes, colours: mpl.colors.Colormap, size: float) -> Axes:
    key = axes.inset_axes((0.98 - size, 0.02, size, size))
    side = np.linspace(-1, 1, KEY_PIXELS)
    wheel = colours(np.arctan2(side[:, None], side) % SECTOR / SECTOR)
    radius = np.hypot(side[:, None], side)
    wheel[..., 3] = (radius <= 1) & (radius > 0.4)
    key.imshow(wheel)
    key.set_axis_off()
    return key


def overlay_boundaries(axes: Axes, boundaries: Sequence[Boundary]) -> None:
    """Draw boundaries over an image, each with its misorientation in degrees at its middle."""
    for boundary in boundaries:
        rows, columns = boundary.positions.T
        axes.plot(columns, rows, color=CLASS_COLOURS["boundary"], linewidth=2.0)
        middle = len(rows) // 2
        axes.text(
            columns[middle], rows[middle], f"{np.degrees(boundary.misorientation):.1f}°",
            fontsize=8, ha="center", va="center", bbox=TEXT_BOX,
        )  # fmt: skip


def show_classes(axes: Axes, classes: ClassMap, title: str = "") -> AxesImage:
    """Show the four classes in their colours; `micrographs.add_class_legend` explains them.

    Parameters
    ----------
    axes, title
        Where to draw, and the text above it.
    classes : ClassMap
        Of `graphseg.structure.classes.classify`.

    Examples
    --------
    >>> from graphseg.structure.classes import ClassMap
    >>> found = ClassMap(np.eye(32, dtype=np.uint8), (), pixel_size=0.4)
    >>> show_classes(Figure().add_subplot(), found).get_array().shape
    (32, 32, 3)
    """
    shown = show_picture(axes, classes.image, classes.pixel_size, title)
    axes.spines[:].set(visible=True, linewidth=0.5)  # the lattice is white, as is the page
    return shown


def bond_angles(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Return the directions of bonds (m, 2) between atoms (n, 2) modulo 60°, (m,) in [0, π/3).
    Measured from the direction of the columns towards that of the rows. The three bonds of an atom
    in a perfect lattice have the same value: 30° more than a lattice vector, modulo 60°."""
    between = positions[bonds[:, 1]] - positions[bonds[:, 0]]
    angles = np.arctan2(between[:, 0], between[:, 1]) % SECTOR
    return np.where(angles >= SECTOR, 0.0, angles)  # the remainder of −1e-17 rounds up to π/3


def draw_bonds(
    axes: Axes, positions: np.ndarray, bonds: np.ndarray, linewidth: float = 1.0
) -> LineCollection:
    """Draw bonds (m, 2) between atoms (n, 2), in pixels, in the colour of their direction.
    The direction is that of `bond_angles`; `add_direction_key` explains the colours."""
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
    """Show the bonds over a micrograph (H, W) and its mask, as in Fig. 5 of the paper.

    Parameters
    ----------
    axes, image, title
        Where to draw, over what, and the text above it.
    positions : array of float, shape (n, 2)
        Atoms in pixels, (row, column).
    bonds : array of int, shape (m, 2)
        Pairs of atoms.
    mask : array of bool, shape (H, W), optional
        True = contamination, tinted.
    pixel_size : float, optional
        Å per pixel; without it the scale bar is in pixels.
    linewidth : float
        Of bonds, in points.

    Examples
    --------
    >>> atoms, bonds = np.array([[10.0, 10.0], [10.0, 15.0]]), np.array([[0, 1]])
    >>> lines = show_bonds(Figure().add_subplot(), np.eye(32), atoms, bonds)
    >>> float(lines.get_array()[0])  # along the columns: 0 radians
    0.0
    """
    show_micrograph(axes, image, pixel_size, title)
    if mask is not None:
        overlay_mask(axes, mask, MASK_COLOUR, tint=MASK_TINT)
    return draw_bonds(axes, positions, bonds, linewidth)


def draw_rings(
    axes: Axes, rings: Rings, positions: np.ndarray, hexagons: bool = True
) -> PolyCollection:
    """Fill the rings of 4 to 9 atoms with the colours of `RING_COLOURS`, by their size.
    Positions of atoms are (n, 2) in pixels, (row, column). Without hexagons, which are grey, the
    defects stand alone."""
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
    add_legend(figure, {f"{size} atoms": RING_COLOURS[size] for size in sizes})

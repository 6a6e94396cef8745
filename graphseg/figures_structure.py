"""Figures of the structure: orientation maps with their key, boundaries, and the four classes."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from graphseg.boundaries import Boundary
from graphseg.classes import ClassMap
from graphseg.figures import CLASS_COLOURS, add_scale_bar
from graphseg.orientation import OrientationMap
from graphseg.spots import SECTOR

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
        Diameter as a share of the height of the image.
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

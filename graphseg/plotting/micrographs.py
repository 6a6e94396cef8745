"""Figures of micrographs, labels and errors in one style, with the same colours on every page."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from graphseg.colours import (
    BLACK,
    BLUE,
    CLASS_COLOURS,
    ERROR_COLOURS,
    GREEN,
    LABEL_COLOUR,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
)

STYLE = {
    "figure.dpi": 150,  # the book enlarges figures
    "savefig.dpi": 150,
    "savefig.bbox": "tight",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK]),
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "svg.hashsalt": "graphseg",
    "svg.fonttype": "none",
}
ROUND_LENGTHS = (1, 2, 5)
TEXT_BOX = {"facecolor": "white", "alpha": 0.75, "pad": 1, "linewidth": 0}


def use_style() -> None:
    """Set the style of the book for all later figures of this process.

    Examples
    --------
    >>> with mpl.rc_context():
    ...     use_style()
    ...     mpl.rcParams["image.cmap"]
    'gray'
    """
    mpl.rcParams.update(STYLE)


def scale_bar_length(width: int, pixel_size: float | None) -> tuple[float, str]:
    """Return the round length nearest below a third of the width, in pixels, and its label.
    Lengths are 1, 2 or 5 times a power of ten: Å below 1 nm, nm above, px without a pixel size."""
    extent = width * (pixel_size or 1.0) / 3
    power = 10.0 ** np.floor(np.log10(extent))
    length = max(r * power for r in ROUND_LENGTHS if r * power <= extent * (1 + 1e-9))
    if pixel_size is None:
        return length, f"{length:g} px"
    label = f"{length / 10:g} nm" if length >= 10 else f"{length:g} Å"
    return length / pixel_size, label


def add_scale_bar(axes: Axes, shape: tuple[int, int], pixel_size: float | None) -> None:
    """Draw a scale bar with its label in the lower left corner of an image of (H, W) pixels."""
    height, width = shape
    length, label = scale_bar_length(width, pixel_size)
    left, bottom, thickness = 0.04 * width, 0.95 * height, 0.02 * height
    axes.add_patch(
        Rectangle(
            (left, bottom - thickness), length, thickness, facecolor="white", edgecolor="black",
            linewidth=0.5, gid="scale-bar",
        )
    )  # fmt: skip
    axes.text(
        left + length / 2, bottom - 1.5 * thickness, label, ha="center", va="bottom", fontsize=8,
        bbox=TEXT_BOX,
    )  # fmt: skip


def show_picture(
    axes: Axes, picture: np.ndarray, pixel_size: float | None = None, title: str = "", **options
) -> AxesImage:
    """Show a picture, (H, W) or (H, W, 3), with a scale bar and without ticks or frame.
    Without a ``pixel_size`` in Å (None, NaN) the scale bar is in pixels; options are `imshow`'s."""
    shown = axes.imshow(picture, **options)
    height, width = picture.shape[:2]
    known = pixel_size is not None and np.isfinite(pixel_size)
    add_scale_bar(axes, (height, width), float(pixel_size) if known else None)
    # Limits that are set stay: a line at the edge must not widen the frame.
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[], title=title)
    axes.spines[:].set_visible(False)
    return shown


def show_micrograph(
    axes: Axes,
    image: np.ndarray,
    pixel_size: float | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
) -> AxesImage:
    """Show a micrograph (H, W) in grey with a scale bar and without ticks.

    Parameters
    ----------
    axes, image, title
        Where to draw, what, and the text above it.
    pixel_size : float, optional
        Å per pixel; without it (None or NaN) the scale bar is in pixels.
    limits : (float, float), optional
        Values shown black and white, instead of the 0.5th and the 99.5th percentile.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> shown = show_micrograph(axes, np.eye(64), pixel_size=0.5, title="a line")
    >>> [text.get_text() for text in axes.texts]  # the label of the scale bar
    ['1 nm']
    """
    low, high = limits or np.percentile(image, [0.5, 99.5])
    return show_picture(axes, image, pixel_size, title, cmap="gray", vmin=low, vmax=high)


def overlay_mask(
    axes: Axes,
    mask: np.ndarray,
    colour: str = LABEL_COLOUR,
    tint: float = 0.0,
    linewidth: float = 1.2,
) -> None:
    """Draw the outline of a mask (H, W) bool over an image, and tint its inside.

    Parameters
    ----------
    axes, mask
        Those of the image.
    colour : str
        By default that of labels.
    tint : float
        Opacity of the inside, from 0 to 1.
    linewidth : float
        Of the outline, in points.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> overlay_mask(axes, np.eye(8, dtype=bool), tint=0.3)
    >>> len(axes.images), len(axes.collections)  # the tint and the outline
    (1, 1)
    """
    if not mask.any():
        return
    if tint > 0:
        rgba = np.zeros((*mask.shape, 4))
        rgba[mask] = mpl.colors.to_rgba(colour, tint)
        axes.imshow(rgba)
    if not mask.all():
        axes.contour(mask.astype(float), levels=[0.5], colors=[colour], linewidths=linewidth)


def add_legend(figure: Figure, colours: dict[str, str]) -> None:
    """Explain the colours of names below a figure."""
    handles = [Patch(facecolor=c, edgecolor="black", label=name) for name, c in colours.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def add_error_legend(figure: Figure) -> None:
    """Explain the four colours of an error map below a figure."""
    add_legend(figure, ERROR_COLOURS)


def add_class_legend(figure: Figure, classes: Sequence[str] = tuple(CLASS_COLOURS)) -> None:
    """Explain the colours of the classes below a figure."""
    add_legend(figure, {name: CLASS_COLOURS[name] for name in classes})


def save(figure: Figure, target: str | Path | IO[bytes], form: str | None = None) -> None:
    """Save a figure so that the same figure gives the same bytes: without a date.
    The ``target`` is a path or an open binary file, the ``form`` svg or png, else the suffix."""
    form = form or Path(str(target)).suffix.removeprefix(".")
    metadata = {"Date": None} if form == "svg" else {}
    figure.savefig(target, format=form, metadata=metadata)

"""Figures of results: simulated samples, curves of labels, contact sheets, reductions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from PIL import Image, ImageOps

from graphseg.batch.ranking import Ranking
from graphseg.colours import BLUE, CLASS_COLOURS, MARK_COLOUR, MASK_COLOUR, ORANGE, SKY
from graphseg.errors import InputError
from graphseg.evaluation import records
from graphseg.io.outputs import small_picture
from graphseg.plotting.micrographs import (
    overlay_mask,
    scale_bar_length,
    show_micrograph,
)
from graphseg.simulation.samples import Sample

SHEET_GAP = 4  # pixels between the tiles of a sheet
CLIPPED = (
    0.005  # fraction of pixels at each end that a tile may lose: stretches hide what they show
)
COLOURS = (ORANGE, BLUE, SKY)


def show_sample(axes: Axes, sample: Sample, title: str = "") -> None:
    """Show a sample with its contamination, grain boundaries and holes outlined."""
    show_micrograph(axes, sample.image, sample.pixel_size, title)
    overlay_mask(axes, sample.boundary, CLASS_COLOURS["boundary"], linewidth=1.0)
    overlay_mask(axes, sample.vacuum, CLASS_COLOURS["vacuum"], linewidth=1.0)
    overlay_mask(axes, sample.mask)


def show_sheet(axes: Axes, images: Sequence[np.ndarray], columns: int = 8) -> None:
    """Show numbered images of one size without any hint of where they come from.

    Parameters
    ----------
    axes : Axes
    images : sequence of arrays, shape (H, W)
        Each is stretched by itself.
    columns : int
        Pictures in a row.
    """
    tiles = []
    for image in images:
        low, high = np.quantile(image, [CLIPPED, 1 - CLIPPED])
        tiles.append(np.clip((image - low) / max(high - low, 1e-12), 0, 1).astype(np.float32))
    mosaic, corners = _mosaic(tiles, columns, SHEET_GAP, SHEET_GAP, 1)
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1)
    for number, (top, left) in enumerate(corners):
        axes.text(
            left + 8, top + 8, f"{number + 1}", va="top", fontsize=7, color="white",
            bbox={"facecolor": "black", "pad": 1, "linewidth": 0},
        )  # fmt: skip
    axes.set_axis_off()


def _mosaic(
    tiles: Sequence[np.ndarray], columns: int, below: int, beside: int, empty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return tiles of one size side by side, and the upper left corner (n, 2) of each in pixels."""
    height, width = tiles[0].shape[:2]
    places = np.stack(np.divmod(np.arange(len(tiles)), columns), axis=1)
    corners = places * [height + below, width + beside]
    last = corners.max(axis=0)
    shape = (last[0] + height + below, last[1] + width, *tiles[0].shape[2:])
    mosaic = np.full(shape, empty, tiles[0].dtype)
    for tile, (top, left) in zip(tiles, corners, strict=True):
        mosaic[top : top + height, left : left + width] = tile
    return mosaic, corners


def show_label_curve(
    axes: Axes,
    curves: Mapping[str, Mapping[int, dict]],
    average: str = "per_image",
    most: int | None = None,
) -> None:
    """Show the Jaccard index against the number of labelled acquisitions, on a logarithmic axis.

    Parameters
    ----------
    axes : Axes
    curves : mapping
        Of each name, records by number of acquisitions, see `book.studies.learning_curve.at`. No
        labels at all stand at one half.
    average : {"per_image", "pooled"}
        See `graphseg.metrics.scores`.
    most : int, optional
        The number that is all of them, and named so.
    """
    for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
        budgets = sorted(points)
        rows = [records.summary(points[budget], average)["jaccard"] for budget in budgets]
        mean, spread = np.array(rows).T
        axes.errorbar(
            [budget or 0.5 for budget in budgets], mean, spread, marker="o", capsize=3,
            color=colour, label=name,
        )  # fmt: skip
    axes.set_xscale("log", base=2)
    ticks = sorted({budget for points in curves.values() for budget in points})
    named = {most: f"all ({most})"} if most is not None else {}
    axes.set_xticks([tick or 0.5 for tick in ticks], [named.get(t, str(t)) for t in ticks])
    axes.set(xlabel="labelled acquisitions", ylabel=f"Jaccard index {average.replace('_', ' ')}")
    axes.legend(loc="lower right")


def show_steps(
    axes: Axes, scores: Mapping[str, Sequence[float]], reference: Sequence[float] = ()
) -> None:
    """Show the Jaccard index of every training of each step, one step below the other.

    Parameters
    ----------
    axes : Axes
    scores : mapping of str to sequence of float
        Step to the indices of its trainings.
    reference : sequence of float
        Indices of trainings that differ in nothing but their seeds, shown in a row of their own:
        how far chance alone moves a point.
    """
    rows = [*scores.items(), *([("full trainings, other seeds", reference)] if reference else [])]
    for place, (name, values) in enumerate(rows):
        colour = BLUE if name in scores else ORANGE
        axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.7)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("Jaccard index, pooled")


SIDE = 128  # pixels of a tile, its longest side
GAP = 6  # pixels between tiles
CAPTION = 26  # pixels below a tile, for rank and clean fraction
INCHES = 0.8  # width of a tile


def contact_sheet(
    ranking: Ranking,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    pixel_size: ArrayLike | None = None,
    columns: int = 12,
) -> Figure:
    """Show all images in order of their clean fraction, contamination in red.

    Below each stand its rank and its clean fraction; every picture has a scale bar of the same
    length, given in the title. After Fig. 6 of Sadre et al. (2021),
    doi 10.1017/S1431927621000167.

    Parameters
    ----------
    ranking : Ranking
        Of these images.
    images, masks : sequences of n arrays, shape (H, W)
        Micrographs and masks (bool) in the order of what was ranked; sizes may differ.
    pixel_size : float or array, shape (n,), optional
        Å per pixel; without it, or where one is unknown, bars are in pixels.
    columns : int
        Pictures in a row.

    Raises
    ------
    InputError
        If there is not one image and one mask for each rank, or no column.
    """
    if len(images) != len(ranking) or len(masks) != len(ranking) or columns < 1:
        raise InputError(
            f"{len(images)} images and {len(masks)} masks in {columns} columns do not make a sheet "
            f"of {len(ranking)} ranks; give one image and one mask for each."
        )
    order = ranking.index
    pictures = [Image.fromarray(small_picture(images[i], masks[i], SIDE)) for i in order]
    tiles = [np.asarray(ImageOps.pad(p, (SIDE, SIDE), color="white")) for p in pictures]
    mosaic, corners = _mosaic(tiles, columns, CAPTION, GAP, 255)
    height, width = np.array(mosaic.shape[:2]) * INCHES / SIDE
    figure = Figure(figsize=(max(width, 4.0), height + 0.4), layout="constrained")
    axes = figure.add_subplot()
    # One picture for all tiles: a hundred axes would take seconds to lay out.
    axes.imshow(mosaic, interpolation="antialiased")
    axes.set_axis_off()
    shapes = np.array([images[i].shape for i in order])
    sizes = np.broadcast_to(np.nan if pixel_size is None else pixel_size, len(images))
    label = _add_bars(axes, corners, shapes, np.asarray(sizes, dtype=float)[order])
    for number, ((top, left), fraction) in enumerate(zip(corners, ranking.fraction, strict=True)):
        text = f"{number + 1}: {100 * fraction:.0f} %"
        middle = left + SIDE / 2
        axes.text(middle, top + SIDE + 2, text, ha="center", va="top", fontsize=6)
    axes.set_title(f"clean fraction; contamination in red; bars {label}")
    return figure


def show_subset(
    axes: np.ndarray,
    ranking: Ranking,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    pixel_sizes: Sequence[float | None],
) -> None:
    """Show images spread evenly over a ranking, the cleanest first, with contamination in red.

    Parameters
    ----------
    axes : array of Axes
        One for each image, in reading order.
    ranking : Ranking
        Of all images.
    images, masks : sequences of arrays, shape (H, W)
        In the order of what was ranked.
    pixel_sizes : sequence of float or None
        Å per pixel of each of them.
    """
    places = np.unique(np.linspace(0, len(ranking) - 1, axes.size).round().astype(int))
    for ax, place in zip(axes.flat, places, strict=False):
        number = ranking.index[place]
        title = f"{100 * ranking.fraction[place]:.0f} %"
        show_micrograph(ax, images[number], pixel_sizes[number], title)
        overlay_mask(ax, masks[number], MASK_COLOUR, tint=0.5, linewidth=0)
    for ax in axes.flat[len(places) :]:
        ax.set_axis_off()


def _add_bars(axes: Axes, corners: np.ndarray, shapes: np.ndarray, sizes: np.ndarray) -> str:
    """Draw bars of one length, (n, 2) shapes in pixels and (n,) Å per pixel; return the label."""
    known = np.isfinite(sizes).all()
    sizes = sizes if known else np.ones(len(sizes))
    smallest = int(np.argmin(shapes[:, 1] * sizes))
    bar, label = scale_bar_length(int(shapes[smallest, 1]), sizes[smallest] if known else None)
    lengths = bar * sizes[smallest] / sizes * SIDE / shapes.max(axis=1)
    margins = (SIDE - SIDE * shapes / shapes.max(axis=1)[:, None]) / 2  # beside a narrow image
    bars = [
        Rectangle((left + aside + 5, top + SIDE - above - 9), length, 4)
        for (top, left), (above, aside), length in zip(corners, margins, lengths, strict=True)
    ]
    axes.add_collection(
        PatchCollection(
            bars, facecolor="white", edgecolor="black", linewidth=0.4, gid="scale-bars"
        )
    )  # fmt: skip
    return label


def show_reduction(
    axes: Sequence[Axes],
    original: np.ndarray,
    reduced: np.ndarray,
    exact: np.ndarray,
    pixel_size: float | None = None,
) -> AxesImage:
    """Show a micrograph, what a reduction kept of it, and the error it made.

    Parameters
    ----------
    axes : three Axes
        Original, reduced with the outline of what is coarse, and reduced minus original.
    original, reduced : arrays, shape (H, W)
    exact : array of bool, shape (H, W)
        True where pixels were kept bit for bit.
    pixel_size : float, optional
        Å per pixel.

    Returns
    -------
    AxesImage
        The error, for a colour bar; in grey levels of the original.
    """
    limits = tuple(np.percentile(original, [0.5, 99.5]))
    show_micrograph(axes[0], original, pixel_size, "original", limits)
    show_micrograph(
        axes[1], reduced, pixel_size, f"{100 * (1 - exact.mean()):.1f} % coarse", limits
    )
    overlay_mask(axes[1], ~exact, MARK_COLOUR)
    error = np.asarray(reduced, dtype=float) - original
    extreme = float(np.abs(error).max()) or 1.0
    shown = show_micrograph(axes[2], error, pixel_size, "error", (-extreme, extreme))
    shown.set_cmap("RdBu_r")
    return shown

"""Figures of the paper, rebuilt: the Bragg filter in seven panels, four classes, masks.

After Figs 1, 2, 4 and 5 of Sadre et al. (2021), doi 10.1017/S1431927621000167; Fig. 3 is in
`book.tools.architecture`, Fig. 6 in `book.tools.figures`.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from book.tools.explore import SPECTRUM_LIMIT
from graphseg import metrics
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import Decomposition
from graphseg.colours import CLASS_COLOURS, MASK_COLOUR, ORANGE, SKY
from graphseg.plotting.micrographs import overlay_mask, show_micrograph, show_picture
from graphseg.plotting.structure import show_classes
from graphseg.preprocessing import weighted_spectrum
from graphseg.structure.boundaries import Boundary
from graphseg.structure.classes import ClassMap

LARGEST_TURN = 30.0  # degrees, of two lattices that look the same after 60°


def show_bragg_steps(
    axes: Sequence[Axes],
    segmenter: BraggSegmenter,
    image: np.ndarray,
    label: np.ndarray,
    pixel_size: float | None = None,
) -> None:
    """Show the seven steps of the Bragg filter on one micrograph.

    Parameters
    ----------
    axes : seven Axes
        The micrograph; its spectrum with the apertures; the lattice image; the difference; its
        absolute value, averaged; the mask; the label.
    segmenter : BraggSegmenter
        Fitted.
    image, label : arrays, shape (H, W)
    pixel_size : float, optional
        Å per pixel.
    """
    parts = segmenter.decompose(image)
    difference = parts.image - parts.lattice
    limits = tuple(np.percentile(parts.image, [0.5, 99.5]))
    show_micrograph(axes[0], parts.image, pixel_size, "(a) micrograph", limits)
    show_spectrum(axes[1], parts, segmenter.aperture_width_)
    axes[1].set(title="(b) spectrum", xticks=[], yticks=[], xlabel="")
    show_micrograph(axes[2], parts.lattice, pixel_size, "(c) lattice image", limits)
    show_micrograph(axes[3], difference, pixel_size, "(d) difference", limits)
    highest = float(parts.residual.max()) or 1.0
    title = "(e) averaged |difference|"
    show_micrograph(axes[4], parts.residual, pixel_size, title, (0, highest))
    mask = segmenter.predict(image[None])[0]
    show_micrograph(axes[5], mask, pixel_size, "(f) mask", (0, 1))
    show_micrograph(axes[6], label, pixel_size, "(g) label", (0, 1))


def show_spectrum(
    axes: Axes, parts: Decomposition, aperture_width: float, limit: float = SPECTRUM_LIMIT
) -> None:
    """Show the weighted spectrum of eq. 4 with its peaks and apertures.

    Circles of radius 2σ mark the peaks in use and crosses those below G. The grey scale is
    logarithmic over a factor of 100.

    Parameters
    ----------
    axes : Axes
    parts : Decomposition
        Of `BraggSegmenter.decompose`.
    aperture_width : float
        σ in cycles per pixel.
    limit : float
        Highest frequency shown on either axis, in cycles per pixel.
    """
    # The left half of the plane mirrors the right one; frequency zero goes to the middle.
    half = weighted_spectrum(parts.image, window_taper=0.25, peak_blur=0.7)
    left = np.roll(half[::-1], 1, axis=0)[:, -1:0:-1]
    plane = np.fft.fftshift(np.hstack([left, half]), axes=0)
    height = np.log10(np.maximum(plane, half.max() / 100 + 1e-6))
    # Row frequencies grow downwards, as rows do.
    axes.imshow(height, extent=(-0.5, 0.5, 0.5, -0.5), cmap="gray", aspect="equal")
    for sign in (1, -1):
        for (row, column), used in zip(sign * parts.peaks.positions, parts.used, strict=True):
            if used:
                place, radius = (column, row), 2 * aperture_width
                axes.add_patch(mpl.patches.Circle(place, radius, fill=False, edgecolor=ORANGE))
            else:
                axes.plot(column, row, "x", color=SKY, markersize=4)
    title = f"spectrum, {parts.used.sum()} pairs used"
    axes.set(xlim=(-limit, limit), ylim=(limit, -limit), title=title)
    axes.set(xlabel="frequency (1/px)")


def six_examples(maps: Mapping[int, ClassMap]) -> list[int]:
    """Choose images by a rule: two each with most boundary, most vacuum, most contamination.

    Parameters
    ----------
    maps : mapping of int to ClassMap
        Number of an image to its class map.

    Returns
    -------
    list of int
        Up to six numbers, each once; fewer if there are fewer maps.
    """
    chosen: list[int] = []
    for name in ("boundary", "vacuum", "contamination"):
        left = [number for number in maps if number not in chosen]
        left.sort(key=lambda number: -maps[number].percentages[name])
        chosen += left[:2]
    return chosen


def show_four_classes(
    axes: np.ndarray, images: Sequence[np.ndarray], maps: Mapping[int, ClassMap]
) -> None:
    """Show micrographs above the maps of their four classes.

    Parameters
    ----------
    axes : array of Axes, shape (2, n)
    images : sequence of arrays, shape (H, W)
    maps : mapping of int to ClassMap
        n numbers of images to their class maps, in the order in which they are shown.
    """
    for column, (number, found) in enumerate(maps.items()):
        letter = "abcdefghijklmnopqrstuvwxyz"[column]
        show_micrograph(axes[0, column], images[number], found.pixel_size, f"({letter})")
        show_classes(axes[1, column], found)


def show_misorientations(axes: Axes, boundaries: Sequence[Boundary], width: float = 2.0) -> None:
    """Show how often each misorientation occurs, in bins of `width` degrees from 0 to 30°."""
    found = np.degrees([boundary.misorientation for boundary in boundaries])
    bins = np.arange(0, LARGEST_TURN + width, width)
    axes.hist(found, bins=bins, color=CLASS_COLOURS["boundary"], edgecolor="white")
    axes.set(xlabel="misorientation (°)", ylabel="lines of boundary", xlim=(0, LARGEST_TURN))


def largest_difference(first: np.ndarray, second: np.ndarray, side: int) -> tuple[slice, slice]:
    """Return the square in which two masks (H, W) differ in most pixels, inside of the image."""
    different = (first != second).astype(float)
    side = min(side, *different.shape)
    total = np.pad(different, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    row, column = np.unravel_index(int(sums.argmax()), sums.shape)
    return slice(row, row + side), slice(column, column + side)


def show_outline(
    axes: Axes, image: np.ndarray, mask: np.ndarray, pixel_size: float | None, title: str
) -> None:
    """Show a mask on its micrograph, tinted, as in Fig. 4 of the paper."""
    show_micrograph(axes, image, pixel_size, title)
    overlay_mask(axes, mask, MASK_COLOUR, tint=0.35)


def show_case(
    axes: Sequence[Axes],
    image: np.ndarray,
    label: np.ndarray,
    predictions: dict[str, np.ndarray],
    pixel_size: float | None = None,
) -> None:
    """Show a labelled micrograph and the error map of each prediction by name, side by side.

    One of the axes is for the image, on which the label is outlined, then come those for the
    predictions with the per-image Jaccard in their titles. All are (H, W); pixel size in Å.
    """
    show_micrograph(axes[0], image, pixel_size, "label")
    overlay_mask(axes[0], label)
    for panel, (name, mask) in zip(axes[1:], predictions.items(), strict=True):
        jaccard = metrics.scores(metrics.counts(label, mask))["jaccard"]
        title = f"{name}, Jaccard {jaccard:.2f}"
        show_picture(panel, metrics.error_map(label, mask), pixel_size, title)

"""Figures of simulated training: samples with their truth, contact sheets, curves of labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from graphseg import records
from graphseg.figures import BLUE, ORANGE, SKY, overlay_mask, show_micrograph
from graphseg.simulation.samples import Sample

GAP = 4  # pixels between the tiles of a sheet
CLIPPED = 0.005  # share of pixels at each end that a tile may lose: stretches hide what they show
COLOURS = (ORANGE, BLUE, SKY)


def show_sample(axes: Axes, sample: Sample, title: str = "") -> None:
    """Show a sample with its outline, its boundaries (dark blue) and its holes (light blue)."""
    show_micrograph(axes, sample.image, sample.pixel_size, title)
    overlay_mask(axes, sample.boundary, BLUE, linewidth=1.0)
    overlay_mask(axes, sample.vacuum, SKY, linewidth=0.8)
    overlay_mask(axes, sample.mask)


def show_sheet(axes: Axes, images: Sequence[np.ndarray], columns: int = 8) -> None:
    """Show numbered images of one size without any hint of where they come from.

    Parameters
    ----------
    axes
    images
        n micrographs (H, W), each stretched by itself.
    columns
        Pictures in a row.
    """
    rows = -(-len(images) // columns)
    height, width = images[0].shape
    sheet = np.ones((rows * (height + GAP), columns * (width + GAP)), np.float32)
    for number, image in enumerate(images):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        low, high = np.quantile(image, [CLIPPED, 1 - CLIPPED])
        tile = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
        sheet[top : top + height, left : left + width] = tile
        axes.text(
            left + 8, top + 8, f"{number + 1}", va="top", fontsize=7, color="white",
            bbox={"facecolor": "black", "pad": 1, "linewidth": 0},
        )  # fmt: skip
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()


def show_label_curve(
    axes: Axes,
    curves: Mapping[str, Mapping[int, dict]],
    average: str = "per_image",
    most: int | None = None,
) -> None:
    """Show the Jaccard index against the number of labelled acquisitions, on a logarithmic axis.

    Parameters
    ----------
    axes
    curves
        Of each name, records by number of acquisitions, see `graphseg.labelbudget.at`. No labels
        at all stand at one half.
    average
        ``"pooled"`` or ``"per_image"``, see `graphseg.metrics.scores`.
    most
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
    axes
    scores
        Step to the indices of its trainings.
    reference
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

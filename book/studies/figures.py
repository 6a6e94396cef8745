"""Figures of out-of-distribution images, of attacks and of what masks endure.

Figures of trust: what masks cover, whether probabilities are true, what to expect of a mask.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from book.studies.clean_sheets import Sheet
from book.studies.ood import SetImage
from book.studies.virtual_microscopes import Frame
from book.tools.tables import METHOD_COLOURS
from graphseg.colours import (
    BLACK,
    BLUE,
    MARK_COLOUR,
    MASK_COLOUR,
    ORANGE,
    SKY,
    VERMILION,
)
from graphseg.plotting.micrographs import overlay_mask, show_micrograph

COLOURS = METHOD_COLOURS | {"unet, eight views": SKY}
NAMES = {
    "bragg": "Bragg filter",
    "adaptive": "adaptive Bragg filter",
    "unet": "our network, one view",
    "unet, eight views": "our network",
}
VARIANTS = {
    "as it is": "as it is",
    "plain": "more epochs, nothing else",
    "noise": "with noise",
    "blur": "with blur",
    "adversarial": "with attacks",
}
MARKERS = {"bragg": "o", "adaptive": "s", "unet": "^", "unet, eight views": "v"}
HEIGHT = 0.5  # of a row over which points are spread
LARGEST = 30.0  # ood_score at which the axis ends


def show_images(axes: Sequence[Axes], images: Sequence[SetImage]) -> None:
    """Show one image in each axes, with its kind above it."""
    for ax, one in zip(axes, images, strict=True):
        show_micrograph(ax, one.image, one.pixel_size, one.kind)


def show_scores(axes: Axes, ood_score: Mapping[str, Sequence[float | None]]) -> None:
    """Show the distance of every image, a row for each kind; the dashed line is the threshold.

    Parameters
    ----------
    axes
        Where to draw.
    ood_score
        Kind to the values of its images; None, what is too small to be judged, is left out. The
        kind ``"known"`` are images held out.
    """
    rng = np.random.default_rng(0)
    for row, (kind, values) in enumerate(ood_score.items()):
        known = np.array([value for value in values if value is not None])
        places = row + HEIGHT * rng.uniform(-0.5, 0.5, len(known))
        colour = BLUE if kind == "known" else VERMILION
        axes.plot(np.minimum(known, LARGEST), places, ".", color=colour, alpha=0.6)
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("distance from the training images, in units of the threshold")
    labels = ["held-out images" if kind == "known" else kind for kind in ood_score]
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()


def attack_title(name: str) -> str:
    """Return what an attack of a record is and which method it was made for, over two lines."""
    attack, target = name.split(" on ")
    return attack if attack == "random signs" else f"{attack}, made for\n{NAMES[target]}"


def show_curve(
    axes: Axes,
    curve: Mapping,
    title: str = "",
    flagged: Sequence[float] | None = None,
    average: str = "pooled",
    log: bool = False,
) -> None:
    """Show the Jaccard index of each method against the strength of a change.

    Parameters
    ----------
    axes
        Where to draw.
    curve
        Of a record of :mod:`book.studies.robustness`: ``strengths``, ``unit`` and ``methods``.
    title
        Above the axes.
    flagged
        Fraction of images that are flagged as out-of-distribution at each strength, shown in grey.
    average
        ``"pooled"`` or ``"per_image"``.
    log
        Whether strengths are on a logarithmic axis.
    """
    for name, scores in curve["methods"].items():
        axes.plot(
            curve["strengths"], scores[average], MARKERS[name] + "-", color=COLOURS[name],
            label=NAMES[name], markersize=4,
        )  # fmt: skip
    if flagged is not None:
        fraction = axes.fill_between(curve["strengths"], flagged, step="mid", label="flagged")
        fraction.set(color="#CCCCCC", zorder=0, linewidth=0)
    axes.set_xscale("log" if log else "linear")
    axes.set_ylim(0, 1)
    axes.set_xlabel(curve["unit"])
    axes.set_title(title)


def show_training(axes: Axes, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Show the Jaccard index of networks that were trained further, in each condition.

    Parameters
    ----------
    axes
        Where to draw.
    scores
        Variant, then condition, to the Jaccard index.
    """
    conditions = list(next(iter(scores.values())))
    width = 0.8 / len(scores)
    for number, (variant, row) in enumerate(scores.items()):
        places = np.arange(len(conditions)) + (number - (len(scores) - 1) / 2) * width
        label = VARIANTS.get(variant, variant)
        axes.bar(places, [row[name] for name in conditions], width, label=label)
    axes.set_xticks(range(len(conditions)), conditions, rotation=30, ha="right")
    axes.set_ylim(0, 1)
    axes.set_ylabel("Jaccard index")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(scores))


# Networks and their ways to predict in a record of `book.studies.domain_shift`: what pages call
# them, colour, marker.
VIEWS = {
    "default": ("our network", SKY, "v"),
    "default, one view": ("our network, one view", BLUE, "^"),
    "general": ("general network, one view", VERMILION, "o"),
    "general, eight views": ("general network", ORANGE, "s"),
    "simulated": ("simulation-only network", BLACK, "x"),
}


def view_name(view: str) -> str:
    """Return what pages call a network and its way to predict."""
    return VIEWS[view][0]


def is_met(target: Mapping, view: str) -> bool:
    """Return whether a network meets a target of a record; what was not asked of it is not met."""
    value = target["reached"].get(view)
    if value is None:
        return False
    return value <= target["limit"] if target["wanted"] == "at most" else value >= target["limit"]


def verdict(target: Mapping, view: str) -> str:
    """Return what a network reaches, bold where that meets the target."""
    value = target["reached"].get(view)
    if value is None:
        return "–"
    return f"**{value:.3f}**" if is_met(target, view) else f"{value:.3f}"


def show_scales(axes: Sequence[Axes], scales: Mapping) -> None:
    """Show the index against the label, and that against the native mask, over the pixel size.

    Parameters
    ----------
    axes
        Two, side by side.
    scales
        The part of that name of a record of :mod:`book.studies.domain_shift`.
    """
    names = ("pooled", "agreement")
    labels = ("Jaccard index with the label", "Jaccard index with the native mask")
    for ax, score, label in zip(axes, names, labels, strict=True):
        for view, found in scales["networks"].items():
            name, colour, marker = VIEWS[view]
            value, low, high = np.array(found["scores"][score]).T
            ax.fill_between(scales["variants"], low, high, color=colour, alpha=0.12, linewidth=0)
            ax.plot(scales["variants"], value, marker + "-", color=colour, label=name, markersize=5)
        ax.set_xscale("log")
        ax.set_xticks(scales["variants"], [f"{factor:g}" for factor in scales["variants"]])
        ax.minorticks_off()
        ax.set_xlabel("pixel size, times the native one")
        ax.set_ylabel(label)


def show_rows(axes: Axes, rows: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> None:
    """Show values with their intervals, a row for each condition and a point for each network.

    Parameters
    ----------
    axes
        Where to draw.
    rows
        Condition, then network, to (value, low, high).
    label
        Of the values.
    """
    views = list(next(iter(rows.values())))
    for number, view in enumerate(views):
        name, colour, marker = VIEWS[view]
        value, low, high = np.array([row[view] for row in rows.values()]).T
        places = np.arange(len(rows)) + (number - (len(views) - 1) / 2) * HEIGHT / len(views)
        axes.hlines(places, low, high, color=colour, linewidth=1)
        axes.plot(value, places, marker, color=colour, label=name, markersize=4)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(label)


def show_frame(axes: Axes, frame: Frame, mask: np.ndarray, title: str) -> None:
    """Show a frame of a virtual microscope, its contamination (orange) and a mask (red).

    Parameters
    ----------
    axes
        Where to draw.
    frame
        The micrograph and its truth.
    mask
        (H, W) bool, a prediction.
    title
        Above the image.
    """
    image = frame.image[:: frame.step, :: frame.step]
    show_micrograph(axes, image, frame.pixel_size * frame.step, title)
    overlay_mask(axes, frame.mask)
    overlay_mask(axes, mask[:: frame.step, :: frame.step], MASK_COLOUR, tint=0.3)


T = TypeVar("T")

LARGEST_SHOWN = 10.0  # per cent, where the colours of fractions end
# What stands in records under a short name, in the order in which it is shown.
METHODS = {
    "bragg": "Bragg filter",
    "adaptive": "adaptive Bragg filter",
    "simulated": "simulation-only network",
    "default": "our network",
    **{f"fold_{number}": f"our network, fold {number}" for number in range(5)},
    "unet": "our network",  # the fold networks, each on its own fold
}
CALIBRATIONS = {"none": "as predicted", "temperature": "temperature", "isotonic": "isotonic"}


def in_order(found: Mapping[str, T]) -> dict[str, T]:
    """Return results of methods under the names that pages use, in one order, ours last."""
    return {METHODS[key]: found[key] for key in METHODS if key in found}


def show_sheet(axes: Axes, sheet: Sheet, mask: np.ndarray) -> None:
    """Show a simulated sheet, what is near its defects (light blue) and what a mask covers (red).

    Parameters
    ----------
    axes
        Where to draw.
    sheet
        The micrograph and its truth.
    mask
        (H, W) bool, a prediction.
    """
    show_micrograph(axes, sheet.image, sheet.pixel_size, sheet.kind)
    overlay_mask(axes, sheet.near, MARK_COLOUR)
    overlay_mask(axes, mask, MASK_COLOUR, tint=0.3)


def show_fractions(
    axes: Axes, verdicts: Mapping[str, Mapping[str, float]], target: float
) -> AxesImage:
    """Show the masked fraction near each kind of defect for each method as a table of colours.

    Parameters
    ----------
    axes
        Where to draw.
    verdicts
        Method, then kind of defect, to the fraction from 0 to 1.
    target
        Fractions above it are in bold.
    """
    methods, kinds = list(verdicts), list(next(iter(verdicts.values())))
    percent = 100 * np.array([[verdicts[m][k] for k in kinds] for m in methods])
    shown = axes.imshow(percent, cmap="cividis", vmin=0, vmax=LARGEST_SHOWN, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        axes.text(
            column, row, f"{value:.1f}", ha="center", va="center", fontsize=8,
            color="black" if value > 0.6 * LARGEST_SHOWN else "white",
            weight="bold" if value > 100 * target else "normal",
        )  # fmt: skip
    axes.set_xticks(range(len(kinds)), kinds, rotation=40, ha="right")
    axes.set_yticks(range(len(methods)), methods)
    axes.spines[:].set_visible(False)
    return shown


def show_reliability(axes: Axes, calibrations: Mapping[str, Mapping]) -> None:
    """Show observed fractions against predicted probabilities, one line a way of calibration.

    Parameters
    ----------
    axes
        Where to draw.
    calibrations
        Name to ``predicted`` and ``observed`` (None in empty bins) and ``error``.
    """
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
    for name, found in calibrations.items():
        predicted, observed = (np.array(found[key], float) for key in ("predicted", "observed"))
        label = f"{CALIBRATIONS.get(name, name)}: error {found['error']:.4f}"
        axes.plot(predicted, observed, ".-", lw=1, label=label)
    axes.set(xlabel="probability", ylabel="contaminated fraction", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(fontsize=8)


def show_expected(axes: Axes, expected: np.ndarray, measured: np.ndarray) -> None:
    """Show expected Jaccard indices with their intervals against measured ones.

    Parameters
    ----------
    axes
        Where to draw.
    expected
        (n, 3): value, lower and upper end.
    measured
        (n,).
    """
    ends = np.abs(expected[:, 1:] - expected[:, :1]).T
    axes.errorbar(measured, expected[:, 0], ends, fmt=".", color=BLUE, ecolor=SKY, lw=0.7, ms=4)
    low = min(float(measured.min()), float(expected[:, 0].min())) - 0.03
    axes.plot([low, 1], [low, 1], color="0.7", lw=1, zorder=0)
    axes.set(xlabel="measured Jaccard index", ylabel="expected", xlim=(low, 1.01))


def show_trade(axes: Axes, rows: Sequence[Mapping[str, float]]) -> None:
    """Show precision and recall against the calibrated threshold, with their intervals."""
    thresholds = [row["threshold"] for row in rows]
    for name, colour in (("precision", BLUE), ("recall", ORANGE)):
        values, low, high = ([row[f"{name}{end}"] for row in rows] for end in ("", "_low", "_high"))
        axes.fill_between(thresholds, low, high, color=colour, alpha=0.25, lw=0)
        axes.plot(thresholds, values, color=colour, label=name)
    axes.set(xlabel="calibrated threshold", ylabel="score")
    axes.legend()

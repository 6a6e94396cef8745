"""Figures of strangers, of attacks and of what masks endure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from graphseg.figures import BLUE, METHOD_COLOURS, SKY, VERMILION, show_micrograph
from graphseg.strangerset import Stranger

COLOURS = METHOD_COLOURS | {"unet, averaged": SKY}
NAMES = {
    "bragg": "Bragg filter",
    "adaptive": "adaptive Bragg filter",
    "unet": "our network, one view",
    "unet, averaged": "our network",
}
VARIANTS = {
    "as it is": "as it is",
    "plain": "more epochs, nothing else",
    "noise": "with noise",
    "blur": "with blur",
    "adversarial": "with attacks",
}
MARKERS = {"bragg": "o", "adaptive": "s", "unet": "^", "unet, averaged": "v"}
HEIGHT = 0.5  # of a row over which points are spread
LARGEST = 30.0  # strangeness at which the axis ends


def show_strangers(axes: Sequence[Axes], strangers: Sequence[Stranger]) -> None:
    """Show one stranger in each axes, with its kind above it."""
    for ax, one in zip(axes, strangers, strict=True):
        show_micrograph(ax, one.image, one.pixel_size, one.kind)


def show_strangeness(axes: Axes, strangeness: Mapping[str, Sequence[float | None]]) -> None:
    """Show the distance of every image, a row for each kind; the dashed line is the threshold.

    Parameters
    ----------
    axes
        Where to draw.
    strangeness
        Kind to the values of its images; None, what is too small to be judged, is left out. The
        kind ``"known"`` are images held out.
    """
    rng = np.random.default_rng(0)
    for row, (kind, values) in enumerate(strangeness.items()):
        known = np.array([value for value in values if value is not None])
        places = row + HEIGHT * rng.uniform(-0.5, 0.5, len(known))
        colour = BLUE if kind == "known" else VERMILION
        axes.plot(np.minimum(known, LARGEST), places, ".", color=colour, alpha=0.6)
    axes.axvline(1, color="black", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("distance from the training images, in units of the threshold")
    labels = ["held-out images" if kind == "known" else kind for kind in strangeness]
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
    announced: Sequence[float] | None = None,
    average: str = "pooled",
    log: bool = False,
) -> None:
    """Show the Jaccard index of each method against the strength of a change.

    Parameters
    ----------
    axes
        Where to draw.
    curve
        Of a record of :mod:`graphseg.robustness`: ``strengths``, ``unit`` and ``methods``.
    title
        Above the axes.
    announced
        Share of images that are called strangers at each strength, shown in grey.
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
    if announced is not None:
        share = axes.fill_between(curve["strengths"], announced, step="mid", label="flagged")
        share.set(color="#CCCCCC", zorder=0, linewidth=0)
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

"""Figures of trust: what masks cover, whether probabilities are true, what to expect of a mask."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from graphseg.figures import BLUE, ORANGE, SKY, VERMILION, overlay_mask, show_micrograph
from graphseg.simulation.sheets import Sheet

T = TypeVar("T")

LARGEST_SHOWN = 10.0  # per cent, where the colours of shares end
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
    overlay_mask(axes, sheet.near, SKY)
    overlay_mask(axes, mask, VERMILION, tint=0.3)


def show_shares(
    axes: Axes, verdicts: Mapping[str, Mapping[str, float]], target: float
) -> AxesImage:
    """Show the masked share near each kind of defect for each method as a table of colours.

    Parameters
    ----------
    axes
        Where to draw.
    verdicts
        Method, then kind of defect, to the share from 0 to 1.
    target
        Shares above it are in bold.
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
    """Show what was said against what was the case, one line for each way of calibration.

    Parameters
    ----------
    axes
        Where to draw.
    calibrations
        Name to ``said`` and ``true`` (None in empty bins) and ``error``.
    """
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
    for name, found in calibrations.items():
        said, true = (np.array(found[key], float) for key in ("said", "true"))
        label = f"{CALIBRATIONS.get(name, name)}: error {found['error']:.4f}"
        axes.plot(said, true, ".-", lw=1, label=label)
    axes.set(xlabel="probability", ylabel="contaminated share", xlim=(0, 1), ylim=(0, 1))
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

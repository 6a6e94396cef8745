"""Pictures of the chapters that follow sliders: what a method does with one micrograph.

Each function gives HTML (see `book.tools.controls`). Most pictures are drawn in advance, one for
each position of the controls; the Bragg filter is computed in the page.
"""

import base64
from collections.abc import Sequence

import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from book.tools.atom_scores import score_atoms
from book.tools.controls import Control, frames, page, source
from graphseg import metrics
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import in_units
from graphseg.colours import BLUE, CLASS_COLOURS, ORANGE, SKY
from graphseg.errors import InputError
from graphseg.plotting.micrographs import (
    overlay_mask,
    scale_bar_length,
    show_micrograph,
    show_picture,
)
from graphseg.plotting.structure import add_direction_key, show_bonds
from graphseg.preprocessing import flat_field
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import image_of
from graphseg.structure.atoms import find_atoms, find_bonds
from graphseg.structure.classes import CLASSES, classify

SPECTRUM_LIMIT = 0.35  # cycles per pixel shown around zero; higher peaks are rare
SPECTRUM_PIXELS = 256
HIGHEST_DEGREE = 6
MOST_PEAKS = 24  # pairs
STEPS = 40  # of a slider on either side of where it starts
SIDES = (64, 1024)  # pixels; the page filters larger images too slowly
# The panels of Fig. 2 of the paper, and what the filter gets wrong.
PANELS = {
    "micrograph": ("(a) micrograph", "The standardised micrograph in grey levels"),
    "spectrum": ("(b) spectrum", "The weighted spectrum with a circle around each peak in use"),
    "lattice": ("(c) lattice image", "The image of the lattice alone"),
    "difference": ("(d) difference", "The micrograph minus its lattice image"),
    "residual": ("(e) averaged |difference|", "The averaged absolute difference, bright: strong"),
    "mask": ("(f) mask", "Where the average reaches M, white"),
    "label": ("(g) label", "The label, contamination white"),
    "errors": ("(h) error map", "White: found, red: falsely called contamination, blue: missed"),
}


def _threshold(*values: float) -> Control:
    return Control("threshold", values, len(values) // 2, [f"{value:.2f}" for value in values])


# Pictures of micrographs are large, and classes take long.
FINE, COARSE, COARSEST = (
    _threshold(*np.round(np.linspace(0, 1, n), 2)[1:-1].tolist()) for n in (21, 11, 7)
)


def bragg_explorer(
    image: ArrayLike,
    label: np.ndarray | None = None,
    pixel_size: float | None = None,
    segmenter: BraggSegmenter | None = None,
) -> HTML:
    """Return the Bragg filter with sliders, which the page itself computes.

    It has the panels of Fig. 2 of the paper, and, with a label, the error map and the Jaccard
    index. Sliders: aperture width σ (cycles per pixel), peak threshold G, mask threshold M, the
    number of pairs of peaks, and the width of the local average (pixels).

    Parameters
    ----------
    image : array, shape (H, W)
        64 to 1024 pixels a side. It becomes a part of the page.
    label : array of bool, shape (H, W), optional
    pixel_size : float, optional
        Å per pixel, for the scale bars.
    segmenter : BraggSegmenter, optional
        A fitted one, which sets where the sliders start and all other choices; by default one
        with the starting values.

    Raises
    ------
    InputError
        If the image is too small or too large, the label has another shape, or the segmenter
        combines apertures otherwise than by their sum.
    """
    image = _checked(image)
    if not SIDES[0] <= min(image.shape) <= max(image.shape) <= SIDES[1]:
        raise InputError(
            f"The image has {image.shape} pixels; the page takes {SIDES[0]} to {SIDES[1]} a side."
        )
    _same_shape(image, label=label)
    if segmenter is None:
        segmenter = BraggSegmenter(progress=False).fit(image[None])
    if segmenter.combine != "sum":
        raise InputError('The page adds apertures up; choose combine="sum".')
    pairs = segmenter.n_peaks if segmenter.lattice_filter else 0
    controls = {
        "width": _spread("σ (1/px)", segmenter.aperture_width_, 8),
        "threshold": _spread("G", segmenter.peak_threshold_, 10),
        "level": _spread("M", segmenter.mask_threshold_, 4),
        "pairs": _numbers("pairs of peaks", range(MOST_PEAKS + 1), pairs),
        "smoothing": _numbers("smoothing (px)", np.arange(0, 12.5, 0.5), segmenter.smoothing),
    }
    scaled = in_units(image, segmenter.units)
    lowest, highest = float(scaled.min()), float(scaled.max())
    step = max(highest - lowest, 1e-12) / (2**16 - 1)
    errors = metrics.error_map([[False, False, True, True]], [[False, True, False, True]])[0]
    given = {
        "height": image.shape[0],
        "width": image.shape[1],
        "lowest": lowest,
        "step": step,
        "image": _packed(np.rint((scaled - lowest) / step).astype("<u2")),
        "label": None if label is None else _packed(np.packbits(np.asarray(label, bool))),
        "limits": np.percentile(scaled, [0.5, 99.5]).tolist(),
        "frequency": SPECTRUM_LIMIT,
        "values": {name: [float(v) for v in c.values] for name, c in controls.items()},
        "mostPeaks": int(controls["pairs"].values[-1]),
        "taper": segmenter.window_taper,
        "peakBlur": segmenter.peak_blur,
        "padding": segmenter.padding,
        "colours": {"used": ORANGE, "unused": SKY, "errors": errors.tolist()},
        "engine": source(("fourier.js", "bragg.js")),
    }
    shown = [name for name in PANELS if label is not None or name not in ("label", "errors")]
    panels = "".join(_panel(name, image.shape, pixel_size) for name in shown)
    body = (
        f'<div class="explorer-panels">{panels}</div>\n'
        '<p>Computed in this page, in <span data-part="time">…</span>.</p>'
    )
    return page(controls, body, given, "showBraggFilter", ("explorer.js", "bragg_explorer.js"))


def flat_field_explorer(image: ArrayLike, pixel_size: float | None = None) -> HTML:
    """Return a picture that fits and removes a Bézier background of a degree from a slider (eq. 1).

    Parameters
    ----------
    image : array, shape (H, W)
        Its mean must not be zero.
    pixel_size : float, optional
        Å per pixel, for the scale bar.
    """
    image = _checked(image)

    def draw(figure: Figure, degree: int) -> None:
        result = flat_field(image, (degree, degree))
        panels = (image, result.background, result.corrected)
        titles = ("micrograph", f"background, degree {degree}", "corrected")
        limits = tuple(np.percentile(image, [0.5, 99.5]))
        for axes, panel, title in zip(figure.subplots(1, 3), panels, titles, strict=True):
            same_scale = limits if panel is not result.corrected else None
            show_micrograph(axes, panel, pixel_size, title, same_scale)

    degrees = range(HIGHEST_DEGREE + 1)
    sliders = {"degree": Control("degree", degrees, 2, [str(n) for n in degrees])}
    alt = "A micrograph, the background fitted to it, and the micrograph divided by it."
    return frames(draw, sliders, (9, 3.2), alt)


def threshold_explorer(
    image: ArrayLike,
    probability: np.ndarray,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
) -> HTML:
    """Return a picture that turns a probability map into a mask by a threshold from a slider.

    It shows the micrograph with the outline of the label, the same with the mask found, and,
    where there is a label, the error map with its Jaccard index.

    Parameters
    ----------
    image : array, shape (H, W)
    probability : array of float, shape (H, W)
        Of contamination, in [0, 1].
    mask : array of bool, shape (H, W), optional
        The label.
    pixel_size : float, optional
        Å per pixel, for the scale bar.
    """
    image = _checked(image)
    _same_shape(image, probability=probability, mask=mask)

    def draw(figure: Figure, threshold: float) -> None:
        found = probability >= threshold
        panels = figure.subplots(1, 2 if mask is None else 3)
        show_micrograph(panels[0], image, pixel_size, f"found: {found.mean():.1%}")
        overlay_mask(panels[0], found, SKY, tint=0.35)
        show_micrograph(panels[1], probability, pixel_size, "probability", (0, 1))
        if mask is not None:
            overlay_mask(panels[0], mask)
            jaccard = metrics.scores(metrics.counts(mask, found))["jaccard"]
            errors = metrics.error_map(mask, found)
            show_picture(panels[2], errors, pixel_size, f"Jaccard {jaccard:.2f}")

    alt = "The mask found on the micrograph, the probability, and what the mask gets wrong."
    return frames(draw, {"threshold": COARSE}, (9, 3.2), alt)


def ranking_explorer(probabilities: np.ndarray, labelled: ArrayLike) -> HTML:
    """Return a picture that ranks images at a threshold from a slider, against the labels' ranks.

    Parameters
    ----------
    probabilities : array of float, shape (n, H, W)
        Of contamination.
    labelled : array of float, shape (n,)
        Clean fractions according to the labels.
    """
    labelled = np.asarray(labelled, dtype=float)
    if labelled.shape != (len(probabilities),):
        raise InputError(
            f"One labelled clean fraction for each image: expected shape {(len(probabilities),)}, "
            f"got {labelled.shape}."
        )
    by_label = stats.rankdata(-labelled)

    def draw(figure: Figure, threshold: float) -> None:
        # `clean_fractions` for plain masks; importing it would bring the network to each chapter.
        ranks = stats.rankdata([np.mean(one >= threshold) for one in probabilities])
        axes = figure.subplots()
        axes.plot(by_label, ranks, ".", color=BLUE)
        axes.plot([1, len(ranks)], [1, len(ranks)], color="0.6", linewidth=0.8)
        same = stats.spearmanr(by_label, ranks).statistic
        axes.set(xlabel="rank by label", ylabel="rank by prediction")
        axes.set_title(f"threshold {threshold:.2f}: Spearman {same:.3f}")

    alt = "The rank of each image by its prediction against the rank by its label."
    return frames(draw, {"threshold": FINE}, (4.5, 4.2), alt)


def classes_explorer(
    image: ArrayLike, probability: np.ndarray, pixel_size: float | None = None
) -> HTML:
    """Return a picture that draws the four-class map for a threshold from a slider.

    Parameters
    ----------
    image : array, shape (H, W)
    probability : array of float, shape (H, W)
        Of contamination.
    pixel_size : float, optional
        Å per pixel; measured from the lattice if left out.
    """
    image = _checked(image)

    def draw(figure: Figure, threshold: float) -> None:
        left, right = figure.subplots(1, 2)
        show_micrograph(left, image, pixel_size, "micrograph")
        found = classify(image, probability >= threshold, pixel_size=pixel_size)
        right.imshow(found.image)
        right.set(xticks=[], yticks=[])
        fractions = ", ".join(f"{name} {found.percentages[name]:.0f} %" for name in CLASSES)
        right.set_title(fractions, fontsize=8)
        for name, colour in CLASS_COLOURS.items():
            right.plot([], [], "s", color=colour, markeredgecolor="black", label=name)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)

    alt = "A micrograph beside the map of its four classes."
    return frames(draw, {"threshold": COARSEST}, (8, 4.2), alt)


def atoms_explorer(
    image: ArrayLike,
    masks: dict[str, np.ndarray],
    lattice_parameter: float,
    pixel_size: float | None = None,
) -> HTML:
    """Return a picture that draws the atoms' bonds under a mask chosen from a list.

    Parameters
    ----------
    image : array, shape (H, W)
    masks : mapping of str to array of bool, shape (H, W)
        True = contamination.
    lattice_parameter : float
        In pixels.
    pixel_size : float, optional
        Å per pixel, for the scale bar.
    """
    image = _checked(image)

    def draw(figure: Figure, mask: str) -> None:
        atoms = find_atoms(image, lattice_parameter, masks[mask])
        bonds = find_bonds(atoms.positions, lattice_parameter)
        title = f"mask: {mask}, {len(atoms)} atoms, {len(bonds)} bonds"
        axes = figure.subplots()
        show_bonds(axes, image, atoms.positions, bonds, masks[mask], pixel_size, title)
        add_direction_key(axes)

    names = list(masks)
    alt = "Bonds between the atoms found outside the mask, coloured by their direction."
    return frames(draw, {"mask": Control("mask", names, 0, names, is_list=True)}, (5, 5), alt)


def dose_explorer(pixel_size: float = 0.3, size: int = 160, seed: int = 0) -> HTML:
    """Return a picture that simulates a crystal at a dose from a slider and finds its atoms.

    Parameters
    ----------
    pixel_size : float
        Å.
    size : int
        Height and width in pixels.
    seed : int
        Of the noise.
    """
    extent = size * pixel_size
    sheet = crystal(extent + 12, 0.3, low=-12.0)

    def draw(figure: Figure, dose: float) -> None:
        rng = np.random.default_rng(seed)
        image = image_of(
            sheet.positions, sheet.numbers, extent, pixel_size, dose=dose, rng=rng, margin=16
        )
        parameter = LATTICE_CONSTANT / pixel_size
        atoms = find_atoms(image, parameter)
        inside = np.zeros(image.shape, bool)
        border = int(np.ceil(parameter))
        inside[border:-border, border:-border] = True
        scores = score_atoms(
            atoms.positions, sheet.positions / pixel_size, 0.4 / pixel_size, inside
        )
        left, right = figure.subplots(1, 2)
        show_micrograph(left, image, pixel_size, f"{dose:.0f} electrons per Å²")
        found = f"recall {scores.recall:.3f}, precision {scores.precision:.3f}"
        bonds = find_bonds(atoms.positions, parameter)
        show_bonds(right, image, atoms.positions, bonds, None, pixel_size, found)

    doses = [float(dose) for dose in np.logspace(2.5, 4.5, 7)]
    slider = Control("dose (electrons per Å²)", doses, 3, [f"{dose:.0f}" for dose in doses])
    alt = "A simulated micrograph at that dose beside the bonds between the atoms found in it."
    return frames(draw, {"dose": slider}, (6.4, 3.3), alt)


def _checked(image: ArrayLike) -> np.ndarray:
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 2:
        raise InputError(f"One image can be explored: expected shape (H, W), got {image.shape}.")
    return image


def _same_shape(image: np.ndarray, **others: np.ndarray | None) -> None:
    for name, other in others.items():
        if other is not None and np.shape(other) != image.shape:
            raise InputError(
                f"The {name} does not match the image: expected shape {image.shape}, got "
                f"{np.shape(other)}."
            )


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _panel(name: str, shape: tuple[int, int], pixel_size: float | None) -> str:
    """Return the HTML of one panel of the Bragg filter."""
    (title, alt), (height, width), bar = PANELS[name], shape, ""
    if name == "spectrum":
        height = width = SPECTRUM_PIXELS
    else:
        length, unit = scale_bar_length(width, pixel_size)
        share = f"width: {100 * length / width:.1f}%"
        bar = f'<span class="explorer-bar" style="{share}"><span>{unit}</span></span>'
    return (
        f'<figure data-panel="{name}"><div><canvas role="img" aria-label="{alt}" width="{width}" '
        f'height="{height}"></canvas>{bar}</div>'
        f'<figcaption>{title}<span data-part="said"></span></figcaption></figure>'
    )


def _numbers(label: str, values: Sequence[float], start: float) -> Control:
    """Return a slider through numbers, of which the first shown is one."""
    column = sorted({*values, start})
    return Control(label, column, column.index(start), [f"{value:.3g}" for value in column])


def _spread(label: str, start: float, factor: float) -> Control:
    """Return a slider from `start` divided by `factor` to `start` times `factor`."""
    return _numbers(label, factor ** (np.arange(-STEPS, STEPS + 1) / STEPS) * start, start)

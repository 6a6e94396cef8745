"""Widgets for notebooks: move a slider and see what a method does with one micrograph.

Each function gives one ipywidgets box: sliders above a picture. The first picture is part of the
widget, so a page without a kernel shows it; moving a slider there does not redraw it.
"""

from collections.abc import Callable
from io import BytesIO

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from book.tools.atom_scores import score_atoms
from graphseg import metrics
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.fourier import Decomposition
from graphseg.colours import BLUE, CLASS_COLOURS, ORANGE, SKY
from graphseg.errors import InputError
from graphseg.plotting.micrographs import STYLE, overlay_mask, show_error_map, show_micrograph
from graphseg.plotting.structure import add_direction_key, show_bonds
from graphseg.preprocessing import flat_field, weighted_spectrum
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import image_of
from graphseg.structure.atoms import find_atoms, find_bonds
from graphseg.structure.classes import CLASSES, classify

SPECTRUM_LIMIT = 0.35  # cycles per pixel shown around zero; higher peaks are rare
HIGHEST_DEGREE = 6


def bragg_explorer(
    image: ArrayLike,
    segmenter: BraggSegmenter | None = None,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
) -> widgets.VBox:
    """Return a widget that applies the Bragg filter with parameters from sliders.

    It shows the micrograph with the outline of the label, the spectrum with the apertures, the
    residual, and the micrograph with the mask found. Sliders: aperture width σ (cycles per
    pixel), peak threshold G, mask threshold M, and the number of pairs of peaks.

    Parameters
    ----------
    image : array, shape (H, W)
    segmenter : BraggSegmenter, optional
        A fitted one, which sets where the sliders start and all other choices; by default one
        with the starting values.
    mask : array of bool, shape (H, W), optional
        The label.
    pixel_size : float, optional
        Å per pixel, for the scale bar.
    """
    image = _checked(image)
    if segmenter is None:
        segmenter = BraggSegmenter(progress=False).fit(image[None])
    settings = segmenter.get_params() | {"progress": False}

    def draw(figure: Figure, width: float, threshold: float, level: float, pairs: int) -> None:
        chosen = {"aperture_width": width, "peak_threshold": threshold, "mask_threshold": level}
        changed = BraggSegmenter(**(settings | chosen | {"n_peaks": pairs}))
        parts = changed.fit(image[None]).decompose(image)
        found = parts.residual >= np.float32(level)
        left, spectrum, middle, right = figure.subplots(1, 4)
        title = "micrograph" if mask is None else "micrograph, label"
        show_micrograph(left, image, pixel_size, title)
        if mask is not None:
            overlay_mask(left, mask)
        show_spectrum(spectrum, parts, width)
        show_residual(middle, parts.residual, pixel_size)
        show_micrograph(right, image, pixel_size, f"found: {found.mean():.1%}")
        overlay_mask(right, found, SKY, tint=0.35)

    sliders = {
        "width": _log_slider("σ (1/px)", segmenter.aperture_width_, 32),
        "threshold": _log_slider("G", segmenter.peak_threshold_, 10),
        "level": _log_slider("M", segmenter.mask_threshold_, 5),
        "pairs": widgets.IntSlider(segmenter.n_peaks, 0, 24, description="pairs of peaks"),
    }
    return explorer(draw, sliders, (11, 3.2))


def flat_field_explorer(image: ArrayLike, pixel_size: float | None = None) -> widgets.VBox:
    """Return a widget that fits and removes a Bézier background of a degree from sliders (eq. 1).

    Parameters
    ----------
    image : array, shape (H, W)
        Its mean must not be zero.
    pixel_size : float, optional
        Å per pixel, for the scale bar.
    """
    image = _checked(image)

    def draw(figure: Figure, rows: int, columns: int) -> None:
        result = flat_field(image, (rows, columns))
        panels = (image, result.background, result.corrected)
        titles = ("micrograph", f"background, degree ({rows}, {columns})", "corrected")
        limits = tuple(np.percentile(image, [0.5, 99.5]))
        for axes, panel, title in zip(figure.subplots(1, 3), panels, titles, strict=True):
            same_scale = limits if panel is not result.corrected else None
            show_micrograph(axes, panel, pixel_size, title, same_scale)

    sliders = {
        name: widgets.IntSlider(2, 0, HIGHEST_DEGREE, description=f"degree, {name}")
        for name in ("rows", "columns")
    }
    return explorer(draw, sliders, (9, 3.2))


def threshold_explorer(
    image: ArrayLike,
    probability: np.ndarray,
    mask: np.ndarray | None = None,
    pixel_size: float | None = None,
) -> widgets.VBox:
    """Return a widget that turns a probability map into a mask by a threshold from a slider.

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
    for name, other in (("probability", probability), ("mask", mask)):
        if other is not None and np.shape(other) != image.shape:
            raise InputError(
                f"The {name} does not match the image: expected shape {image.shape}, got "
                f"{np.shape(other)}."
            )

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
            show_error_map(panels[2], errors, pixel_size, f"Jaccard {jaccard:.2f}")

    return explorer(draw, {"threshold": _threshold_slider()}, (9, 3.2))


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


def show_residual(axes: Axes, residual: np.ndarray, pixel_size: float | None = None) -> None:
    """Show the (H, W) residual of eq. 6 from zero (black) up to its highest value."""
    limits = (0.0, max(float(residual.max()), 1e-6))
    show_micrograph(axes, residual, pixel_size, f"residual, 0 to {limits[1]:.2g}", limits)


def _checked(image: ArrayLike) -> np.ndarray:
    image = np.asarray(image, dtype=np.float32)
    if image.ndim != 2:
        raise InputError(f"One image can be explored: expected shape (H, W), got {image.shape}.")
    return image


def _log_slider(description: str, start: float, factor: float) -> widgets.FloatLogSlider:
    """Return a slider from `start` divided by `factor` to `start` times `factor`."""
    middle, reach = np.log10(start), np.log10(factor)
    return widgets.FloatLogSlider(
        value=start, min=middle - reach, max=middle + reach, step=reach / 50,
        description=description, readout_format=".3g",
    )  # fmt: skip


def explorer(
    draw: Callable[..., None], sliders: dict[str, widgets.Widget], size: tuple[float, float]
) -> widgets.VBox:
    """Return sliders above a picture; `draw(figure, **values)` makes the picture."""
    picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))

    def redraw(change: dict | None = None) -> None:
        picture.value = _png(draw, {name: s.value for name, s in sliders.items()}, size)

    for slider in sliders.values():
        slider.continuous_update = False
        slider.style.description_width = "8em"
        slider.observe(redraw, names="value")
    redraw()
    return widgets.VBox([*sliders.values(), picture])


def _png(draw: Callable[..., None], values: dict, size: tuple[float, float]) -> bytes:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)
        try:
            draw(figure, **values)
        except InputError as error:  # what is wrong with these values, instead of a picture
            figure.clear()
            figure.text(0.5, 0.5, str(error), ha="center", wrap=True)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _threshold_slider() -> widgets.FloatSlider:
    return widgets.FloatSlider(0.5, min=0.02, max=0.98, step=0.02, description="threshold")


def ranking_explorer(probabilities: np.ndarray, labelled: ArrayLike) -> widgets.VBox:
    """Return a widget that ranks images at a threshold from a slider, against the labels' ranks.

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

    return explorer(draw, {"threshold": _threshold_slider()}, (4.5, 4.2))


def classes_explorer(
    image: ArrayLike, probability: np.ndarray, pixel_size: float | None = None
) -> widgets.VBox:
    """Return a widget that draws the four-class map for a threshold from a slider.

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

    return explorer(draw, {"threshold": _threshold_slider()}, (8, 4.2))


def atoms_explorer(
    image: ArrayLike,
    masks: dict[str, np.ndarray],
    lattice_parameter: float,
    pixel_size: float | None = None,
) -> widgets.VBox:
    """Return a widget that draws the atoms' bonds under a mask chosen from a list.

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

    choice = widgets.Dropdown(options=list(masks), description="mask")
    return explorer(draw, {"mask": choice}, (5.5, 5.5))


def dose_explorer(pixel_size: float = 0.3, size: int = 160, seed: int = 0) -> widgets.VBox:
    """Return a widget that simulates a crystal at a dose from a slider and finds its atoms.

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

    slider = widgets.FloatLogSlider(
        value=4000, min=2.5, max=4.5, step=0.1, description="dose (e/Å²)", readout_format=".0f"
    )
    return explorer(draw, {"dose": slider}, (8.5, 4.2))

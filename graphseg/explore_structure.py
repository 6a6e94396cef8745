"""Widgets for structure: thresholds, masks and doses, and what they do to atoms and classes.

As in `graphseg.explore`, each function gives one ipywidgets box whose first picture shows without
a kernel.
"""

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from graphseg import sorting
from graphseg.atoms import find_atoms, find_bonds
from graphseg.atomscores import score_atoms
from graphseg.classes import CLASSES, classify
from graphseg.errors import InputError
from graphseg.explore import explorer
from graphseg.figures import BLUE, CLASS_COLOURS, show_micrograph
from graphseg.figures_atoms import add_direction_key, show_bonds
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.samples import image_of
from graphseg.simulation.structures import crystal


def _threshold_slider() -> widgets.FloatSlider:
    return widgets.FloatSlider(0.5, min=0.05, max=0.95, step=0.05, description="threshold")


def ranking_explorer(probabilities: np.ndarray, labelled: ArrayLike) -> widgets.VBox:
    """Return a widget that ranks images at a threshold from a slider, against the labels' ranks.

    Parameters
    ----------
    probabilities
        (n, H, W) of contamination.
    labelled
        (n,) clean shares according to the labels.

    Raises
    ------
    InputError
        If there is not one label for each image.
    """
    labelled = np.asarray(labelled, dtype=float)
    if labelled.shape != (len(probabilities),):
        raise InputError(
            f"{len(probabilities)} images have {labelled.size} labelled shares; give one each."
        )
    by_label = stats.rankdata(-labelled)

    def draw(figure: Figure, threshold: float) -> None:
        ranks = stats.rankdata(-sorting.clean_fractions(probabilities, threshold))
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
    image
        (H, W) micrograph.
    probability
        (H, W) of contamination.
    pixel_size
        Å per pixel; measured from the lattice if left out.
    """
    image = np.asarray(image, dtype=np.float32)

    def draw(figure: Figure, threshold: float) -> None:
        left, right = figure.subplots(1, 2)
        show_micrograph(left, image, pixel_size, "micrograph")
        try:
            found = classify(image, probability >= threshold, pixel_size=pixel_size)
        except InputError as error:
            right.text(0.5, 0.5, str(error), ha="center", wrap=True)
            return
        right.imshow(found.image)
        right.set(xticks=[], yticks=[])
        shares = ", ".join(f"{name} {found.percentages[name]:.0f} %" for name in CLASSES)
        right.set_title(shares, fontsize=8)
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
    image
        (H, W) micrograph.
    masks
        Name to (H, W) bool, True = contamination.
    lattice_parameter
        In pixels.
    pixel_size
        Å per pixel, for the scale bar.
    """
    image = np.asarray(image, dtype=np.float32)

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
    pixel_size
        Å.
    size
        Height and width in pixels.
    seed
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

"""What a mask does to the atoms: those it keeps out of contamination, and those it costs.

Inside contamination there is no single layer to resolve, so that atoms reported there cannot be
trusted. A mask that is too small lets them in; one that is too large discards good lattice.
"""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from book.studies.label_noise import out_of_fold
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation.records import describe_data
from graphseg.structure.atoms import FAINTEST, find_atoms, find_bonds, is_true_at
from graphseg.structure.lattice import measure_lattice
from graphseg.structure.superposition import find_superposition

COLUMNS = ("atoms_inside", "atoms_outside", "bonds_inside", "bonds_outside")
LEAST_KEPT = 0.95  # of the atoms outside the label, where two masks are called equally good


def run(stack: LabelledStack) -> dict:
    """Record how many false atoms each mask removes, and how many true ones; takes minutes.

    Example: python -m book.studies mask-effect --output data/results/mask_effect.json

    Parameters
    ----------
    stack
        The labelled images.
    """
    return mask_effect(stack, out_of_fold(stack, ("bragg", "unet")))


def summarise(record: dict) -> str:
    """Return the atoms under each mask, inside of labelled contamination and outside."""
    lines = []
    for name, counts in record["counts"].items():
        false, true, *_ = (sum(column) for column in zip(*counts, strict=True))
        lines.append(f"{name}: {false} atoms in contamination, {true} outside")
    return "\n".join(lines)


def count_atoms(
    positions: np.ndarray, label: np.ndarray, lattice_parameter: float
) -> tuple[int, int, int, int]:
    """Count atoms and their bonds inside and outside of labelled contamination.

    Parameters
    ----------
    positions
        (n, 2) in pixels, (row, column).
    label
        (H, W) bool, True = contamination.
    lattice_parameter
        In pixels.

    Returns
    -------
        Atoms inside the label and outside of it, bonds with an end inside and with none: the
        :data:`COLUMNS`.
    """
    bonds = find_bonds(positions, lattice_parameter)
    inside = is_true_at(label, positions)
    touching = inside[bonds].any(axis=1)
    atoms = int(inside.sum()), int((~inside).sum())
    return *atoms, int(touching.sum()), int((~touching).sum())


def _positions(image: np.ndarray, mask: np.ndarray, parameter: float) -> np.ndarray | None:
    """Return the atoms (n, 2) that a mask leaves; None if they are too faint to be told at all."""
    if mask.all():
        return np.empty((0, 2))
    atoms = find_atoms(image, parameter, mask)
    return None if atoms.signal_to_noise < FAINTEST else atoms.positions


def mask_effect(
    stack: LabelledStack, masks: Mapping[str, np.ndarray], progress: bool = True
) -> dict:
    """Count atoms and bonds under several masks over a labelled set; return the record.

    Parameters
    ----------
    stack
        The labelled images.
    masks
        Name to (n, H, W) bool: masks of methods, made without the labels of these images. Two
        more are added: ``none``, which masks nothing, and ``label``, the labels themselves.
    progress
        Show a bar on stderr.

    Returns
    -------
    dict
        ``images`` (names), ``lattice_parameter`` (pixels, measured outside the label),
        ``counts``, for each mask a row of :data:`COLUMNS` an image, and ``jaccard``, for each mask
        its Jaccard index with the label an image, 1 where both are empty. Left out, and listed
        under ``without_lattice``, ``superposed`` and ``faint``, are images without a lattice, with
        two over one another, and those where under some mask an atom does not exceed the noise:
        there the search for atoms reports none, whatever the mask is worth.

    Raises
    ------
    InputError
        If the masks are of another shape, or no image has a lattice.
    """
    for name, mask in masks.items():
        if mask.shape != stack.masks.shape:
            raise InputError(f"The masks {name!r} are of shape {mask.shape}: give one an image.")
    every = {"none": np.zeros_like(stack.masks), **masks, "label": stack.masks}
    chosen: list[int] = []
    parameters: list[float] = []
    counts: dict[str, list[tuple[int, ...]]] = {name: [] for name in every}
    left_out: dict[str, list[str]] = {"without_lattice": [], "superposed": [], "faint": []}
    order = tqdm(range(len(stack)), desc="atoms", unit="image", disable=not progress)
    for index in order:
        image, label, name = stack.images[index], stack.masks[index], stack.names[index]
        lattice = None if label.all() else measure_lattice(image, label)
        if lattice is None or not lattice.found:
            left_out["without_lattice"].append(name)
            continue
        if find_superposition(image, label, lattice).found:
            left_out["superposed"].append(name)
            continue
        found = {
            key: _positions(image, mask[index], lattice.parameter) for key, mask in every.items()
        }
        if any(positions is None for positions in found.values()):
            left_out["faint"].append(name)
            continue
        chosen.append(index)
        parameters.append(lattice.parameter)
        for key, positions in found.items():
            counts[key].append(count_atoms(positions, label, lattice.parameter))
    if not chosen:
        raise InputError("No image has a lattice whose atoms could be found: give others.")
    return {
        "name": "effect of the mask on the atoms",
        "columns": COLUMNS,
        "data": describe_data(stack),
        "images": [stack.names[index] for index in chosen],
        "lattice_parameter": parameters,
        **left_out,
        "counts": counts,
        "jaccard": {
            name: _jaccard(stack.masks[chosen], mask[chosen]) for name, mask in every.items()
        },
    }


def situations(record: dict, method: str, baseline: str) -> dict[str, str]:
    """Choose three images by a rule, as examples of what a mask does.

    Among images in which atoms are reported inside the label if nothing is masked:

    ``gain``: the one where `baseline` leaves most atoms inside the label more than `method`;
    ``even``: the one where the lower of both Jaccard indices is highest, of those where either
    mask keeps at least 95 % of the atoms that the label leaves outside; so no image is chosen
    where atoms are missing because a mask covers them, or because the search for them failed;
    ``cost``: the one where `baseline` loses most atoms outside the label more than `method`.

    Returns
    -------
        Situation to image name; the same image is not chosen twice. A situation that does not
        occur is left out.
    """
    counts = {name: np.array(rows) for name, rows in record["counts"].items()}
    inside = {name: rows[:, 0] for name, rows in counts.items()}
    outside = {name: rows[:, 1] for name, rows in counts.items()}
    jaccard = {name: np.array(values) for name, values in record["jaccard"].items()}
    kept = np.minimum(outside[method], outside[baseline]) >= LEAST_KEPT * outside["label"]
    kept &= outside["label"] > 0
    wishes = {
        "gain": inside[baseline] - inside[method],
        "even": np.where(kept, np.minimum(jaccard[method], jaccard[baseline]), 0),
        "cost": outside[method] - outside[baseline],
    }
    usable = inside["none"] > 0
    chosen: dict[str, str] = {}
    for situation, wish in wishes.items():
        wish = np.where(usable, wish, -np.inf)
        best = int(np.argmax(wish))
        if wish[best] > 0:
            usable[best] = False
            chosen[situation] = record["images"][best]
    return chosen


def _jaccard(labels: np.ndarray, masks: np.ndarray) -> list[float]:
    """Return the Jaccard index of each mask with its label, 1 where both are empty."""
    return metrics.score_table(metrics.counts(labels, masks))["jaccard"].tolist()

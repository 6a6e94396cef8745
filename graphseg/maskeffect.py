"""What a mask does to the atoms: false ones it keeps out, true ones it costs.

Inside contamination there is no single layer to resolve: every atom reported there is false. A
mask that is too small lets false atoms in; one that is too large discards good lattice.
"""

from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from graphseg.atoms import find_atoms, find_bonds
from graphseg.datasets import LabelledStack
from graphseg.errors import InputError
from graphseg.lattice import measure_lattice
from graphseg.records import provenance

COLUMNS = ("false_atoms", "true_atoms", "false_bonds", "true_bonds")


def count_atoms(
    image: np.ndarray, label: np.ndarray, mask: np.ndarray, lattice_parameter: float
) -> tuple[int, int, int, int]:
    """Count atoms and bonds inside and outside of labelled contamination.

    Parameters
    ----------
    image
        (H, W).
    label
        (H, W) bool, True = contamination, what is taken for the truth.
    mask
        (H, W) bool, what the search for atoms is told to leave out.
    lattice_parameter
        In pixels.

    Returns
    -------
        Atoms inside the label and outside of it, bonds with an end inside and with none: the
        :data:`COLUMNS`.
    """
    if mask.all():
        return 0, 0, 0, 0
    positions = find_atoms(image, lattice_parameter, mask).positions
    bonds = find_bonds(positions, lattice_parameter)
    rows, columns = np.rint(positions).astype(int).T
    inside = label[rows, columns] if len(positions) else np.zeros(0, bool)
    touching = inside[bonds].any(axis=1) if len(bonds) else np.zeros(0, bool)
    atoms = int(inside.sum()), int((~inside).sum())
    return *atoms, int(touching.sum()), int((~touching).sum())


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
        ``images`` (names), ``lattice_parameter`` (pixels, measured outside the label; images
        without a lattice are left out and listed under ``without_lattice``) and ``counts``, for
        each mask a row of :data:`COLUMNS` an image.

    Raises
    ------
    InputError
        If the masks are of another shape, or no image has a lattice.
    """
    for name, mask in masks.items():
        if mask.shape != stack.masks.shape:
            raise InputError(f"The masks {name!r} are of shape {mask.shape}: give one an image.")
    every = {"none": np.zeros_like(stack.masks), **masks, "label": stack.masks}
    names, parameters, without = [], [], []
    counts: dict[str, list[tuple[int, ...]]] = {name: [] for name in every}
    order = tqdm(range(len(stack)), desc="atoms", unit="image", disable=not progress)
    for index in order:
        image, label = stack.images[index], stack.masks[index]
        lattice = None if label.all() else measure_lattice(image, label)
        if lattice is None or not lattice.found:
            without.append(stack.names[index])
            continue
        names.append(stack.names[index])
        parameters.append(lattice.parameter)
        for name, mask in every.items():
            counts[name].append(count_atoms(image, label, mask[index], lattice.parameter))
    if not names:
        raise InputError("No image has a lattice whose atoms could be found: give others.")
    return {
        "name": "effect of the mask on the atoms",
        "columns": COLUMNS,
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
        "images": names,
        "lattice_parameter": parameters,
        "without_lattice": without,
        "counts": counts,
        "made_with": provenance(),
    }


def situations(record: dict, method: str, baseline: str) -> dict[str, str]:
    """Choose three images by a rule, as examples of what a mask does.

    Among images in which atoms were found inside the label without a mask:

    ``gain``: the one where `method` leaves most false atoms less than `baseline`;
    ``even``: the one where both leave the smallest share of the false atoms, together;
    ``cost``: the one where `baseline` discards most true atoms more than `method`.

    Returns
    -------
        Situation to image name; the same image is not chosen twice.
    """
    counts = {name: np.array(rows) for name, rows in record["counts"].items()}
    false = {name: rows[:, 0] for name, rows in counts.items()}
    lost = {name: counts["none"][:, 1] - rows[:, 1] for name, rows in counts.items()}
    wishes = {
        "gain": false[baseline] - false[method],
        "even": -(false[baseline] + false[method]) / np.maximum(1, false["none"]),
        "cost": lost[baseline] - lost[method],
    }
    usable = false["none"] > 0
    chosen: dict[str, str] = {}
    for situation, wish in wishes.items():
        wish = np.where(usable, wish, -np.inf)
        best = int(np.argmax(wish))
        usable[best] = False
        chosen[situation] = record["images"][best]
    return chosen

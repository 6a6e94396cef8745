"""The structure of what a network leaves clean: classes, atoms, bonds, rings, defects, areas."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphseg import structurefiles
from graphseg.atoms import Atoms, find_atoms, find_bonds
from graphseg.bulknetwork import Prediction
from graphseg.classes import VACUUM, ClassMap, classify
from graphseg.errors import InputError
from graphseg.lattice import Lattice, measure_lattice
from graphseg.orientation import map_orientation
from graphseg.report import csv_text
from graphseg.rings import Defect, Rings, find_defects, find_rings

RING_SIZES = range(4, 10)
LEAST_CERTAINTY = 0.25  # of the contrast; below, atoms may be confused with ring centres
LEAST_SIGNAL = 4.0  # of one atom to the noise; below, most vacancies are lost in it
DEFECT_COLUMNS = (
    "kind", "size", "missing", "row_px", "column_px", "x_angstrom", "y_angstrom",
    "boundary", "distance_angstrom",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Structure:
    """What the clean part of one micrograph is made of.

    Attributes
    ----------
    lattice
        Of the clean part.
    classes
        The four classes.
    atoms
        Outside of contamination and vacuum.
    bonds
        (m, 2) int, pairs of atoms.
    rings
        Faces of the bonds.
    defects
        Rings that are no hexagons, and vacancies.
    """

    lattice: Lattice
    classes: ClassMap
    atoms: Atoms
    bonds: np.ndarray
    rings: Rings
    defects: list[Defect]

    @property
    def flags(self) -> list[str]:
        """What the structure cannot be trusted for."""
        raised = {
            "uncertain_contrast": self.atoms.certainty < LEAST_CERTAINTY,
            "low_signal": self.atoms.signal_to_noise < LEAST_SIGNAL,
        }
        return [*self.classes.flags, *(flag for flag, yes in raised.items() if yes)]


def find_classes(image: np.ndarray, prediction: Prediction) -> tuple[Lattice, ClassMap] | None:
    """Return the lattice of what is clean, and the four classes.

    Parameters
    ----------
    image
        (H, W), any real dtype.
    prediction
        Of the network for this image.

    Returns
    -------
        None where there is no lattice, or none can be seen: in an image that is too small or too
        coarse, or nearly all contamination.
    """
    mask = prediction.mask
    # A pixel size measured with the contamination in the image can be measured better now.
    stated = None if prediction.pixel_size_from == "lattice" else prediction.pixel_size
    with suppress(InputError):
        lattice = measure_lattice(image, mask, pixel_size=stated)
        if lattice.found:
            orientation = map_orientation(image, mask, lattice=lattice)
            return lattice, classify(image, mask, orientation=orientation)
    return None


def find_structure(image: np.ndarray, prediction: Prediction) -> Structure | None:
    """Return lattice, classes, atoms, bonds, rings and defects, see `find_classes`."""
    found = find_classes(image, prediction)
    if found is None:
        return None
    lattice, classes = found
    try:
        atoms = find_atoms(image, lattice.parameter, prediction.mask | (classes.labels == VACUUM))
    except InputError:  # too coarse for atoms, or nothing but contamination and vacuum
        return None
    bonds = find_bonds(atoms.positions, lattice.parameter)
    rings = find_rings(atoms.positions, bonds)
    lines = [boundary.positions for boundary in classes.boundaries]
    defects = find_defects(rings, atoms.positions, lattice.parameter, prediction.mask, lines)
    return Structure(lattice, classes, atoms, bonds, rings, defects)


def structure_row(structure: Structure) -> dict[str, Any]:
    """Return the columns of a table that tell of a structure: Å, nm, nm², percent and numbers."""
    lattice, classes, rings = structure.lattice, structure.classes, structure.rings
    sizes = np.bincount(rings.sizes, minlength=RING_SIZES.stop)
    lengths = [boundary.length_angstrom for boundary in classes.boundaries]
    row = {
        "lattice_parameter": round(lattice.parameter_angstrom, 4),
        "lattice_parameter_px": round(lattice.parameter, 4),
        "contrast": structure.atoms.contrast,
        "contrast_certainty": round(structure.atoms.certainty, 3),
        "atom_signal_to_noise": round(structure.atoms.signal_to_noise, 3),
    }
    row |= {f"{name}_percent": round(v, 4) for name, v in classes.percentages.items()}
    row |= {f"{name}_nm2": round(v, 4) for name, v in classes.areas.items()}
    row |= {"boundaries": len(lengths), "boundaries_nm": round(sum(lengths) / 10, 4)}
    twist = float(np.degrees(classes.superposition.twist))
    row["twist_degrees"] = round(twist, 2) if classes.superposition.found else None
    row |= {"atoms": len(structure.atoms), "bonds": len(structure.bonds)}
    row |= {f"rings_{size}": int(sizes[size]) for size in RING_SIZES}
    row["mean_ring_size"] = round(rings.mean_size(), 4)
    row["vacancies"] = sum(defect.kind == "vacancy" for defect in structure.defects)
    return row


def defects_csv(structure: Structure, shape: tuple[int, int]) -> str:
    """Return the defects of a micrograph of `shape` (H, W) as CSV, see `structurefiles`."""
    size = structure.lattice.pixel_size
    rows = []
    for defect in structure.defects:
        x, y, _ = structurefiles.to_angstrom(np.array([defect.position]), size, shape)[0].tolist()
        distance = None if defect.distance is None else round(defect.distance * size, 4)
        place = [*(round(v, 4) for v in defect.position), round(x, 4), round(y, 4)]
        row = [defect.kind, defect.size, defect.missing, *place, defect.boundary, distance]
        rows.append(dict(zip(DEFECT_COLUMNS, row, strict=True)))
    return csv_text(rows, DEFECT_COLUMNS)

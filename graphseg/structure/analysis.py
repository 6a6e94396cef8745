"""Everything that is known of the clean part of one micrograph, one step after the other."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphseg.errors import InputError
from graphseg.io.structures import PLACE, places
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.structure.atoms import Atoms, binned, binning, find_atoms, find_bonds
from graphseg.structure.boundaries import Boundary, boundary_mask
from graphseg.structure.classes import (
    BOUNDARY,
    BOUNDARY_WIDTH,
    CONTAMINATION,
    LATTICE,
    VACUUM,
    ClassMap,
    classify,
)
from graphseg.structure.lattice import Lattice, measure_lattice
from graphseg.structure.orientation import map_orientation
from graphseg.structure.rings import Defect, Rings, find_defects, find_rings

RING_SIZES = range(4, 10)
LEAST_CERTAINTY = 0.25  # of the contrast; below, atoms may be confused with ring centres
LEAST_SIGNAL = 4.0  # of one atom to the noise; below, most vacancies are lost in it
PART = 512  # pixels; side of the part of a large image that tells how finely it is sampled
SMALLEST_BINNED = 128  # pixels; images are not binned to less
DEFECT_COLUMNS = ("kind", "size", "missing", *PLACE, "boundary", "distance_angstrom")


@dataclass(frozen=True, eq=False)
class Structure:
    """What the clean part of one micrograph is made of."""

    lattice: Lattice
    classes: ClassMap
    atoms: Atoms  # outside of contamination and vacuum
    bonds: np.ndarray  # (m, 2) int, pairs of atoms
    rings: Rings  # faces of the bonds
    defects: list[Defect]  # rings that are no hexagons, and vacancies

    @property
    def flags(self) -> list[str]:
        """What the structure cannot be trusted for."""
        raised = {
            "uncertain_contrast": self.atoms.certainty < LEAST_CERTAINTY,
            "low_signal": self.atoms.signal_to_noise < LEAST_SIGNAL,
        }
        return [*self.classes.flags, *(flag for flag, yes in raised.items() if yes)]

    def row(self) -> dict[str, Any]:
        """Return the columns of a table of micrographs: Å, nm, nm², percent and numbers."""
        lattice, classes, rings = self.lattice, self.classes, self.rings
        sizes = np.bincount(rings.sizes, minlength=RING_SIZES.stop)
        lengths = [boundary.length_angstrom for boundary in classes.boundaries]
        row = {
            "lattice_parameter": round(lattice.parameter_angstrom, 4),
            "lattice_parameter_px": round(lattice.parameter, 4),
            "contrast": self.atoms.contrast,
            "contrast_certainty": round(self.atoms.certainty, 3),
            "atom_signal_to_noise": round(self.atoms.signal_to_noise, 3),
        }
        row |= {f"{name}_percent": round(v, 4) for name, v in classes.percentages.items()}
        row |= {f"{name}_nm2": round(v, 4) for name, v in classes.areas.items()}
        row |= {"boundaries": len(lengths), "boundaries_nm": round(sum(lengths) / 10, 4)}
        twist = float(np.degrees(classes.superposition.twist))
        row["twist_degrees"] = round(twist, 2) if classes.superposition.found else None
        row |= {"atoms": len(self.atoms), "bonds": len(self.bonds)}
        row |= {f"rings_{size}": int(sizes[size]) for size in RING_SIZES}
        row["mean_ring_size"] = round(rings.mean_size(), 4)
        row["vacancies"] = sum(defect.kind == "vacancy" for defect in self.defects)
        row["defects"] = len(self.defects)
        return row

    def defect_rows(self, shape: tuple[int, int]) -> list[dict[str, Any]]:
        """Return a row for each defect of a micrograph of `shape` (H, W)."""
        size, rows = self.lattice.pixel_size, []
        positions = np.reshape([defect.position for defect in self.defects], (-1, 2))
        placed = places(positions, size, shape).round(4).tolist()
        for defect, place in zip(self.defects, placed, strict=True):
            distance = None if defect.distance is None else round(defect.distance * size, 4)
            row = (defect.kind, defect.size, defect.missing, *place, defect.boundary, distance)
            rows.append(dict(zip(DEFECT_COLUMNS, row, strict=True)))
        return rows


def find_classes(
    image: np.ndarray, mask: np.ndarray, pixel_size: float | None = None
) -> tuple[Lattice, ClassMap] | None:
    """Return the lattice of the clean part of an image (H, W), and the four classes.
    The mask is (H, W) bool, True = contamination; the pixel size, in Å, is stated where it is known
    otherwise than from the lattice. None where there is no lattice, or none can be seen: in an
    image that is too small or too coarse, or nearly all contamination. As for the search of atoms,
    a finely sampled image is binned."""
    with suppress(InputError):
        factor = _binning(image, mask, pixel_size)
        if factor > 1:
            small, covered = binned(image, factor), binned(mask, factor) > 0
            found = find_classes(small, covered, pixel_size and pixel_size * factor)
            return found and _unbinned(*found, mask, factor)
        lattice = measure_lattice(image, mask, pixel_size=pixel_size)
        if lattice.found:
            orientation = map_orientation(image, mask, lattice=lattice)
            return lattice, classify(image, mask, orientation=orientation)
    return None


def _binning(image: np.ndarray, mask: np.ndarray, pixel_size: float | None) -> int:
    """Return the side of the blocks of pixels that an image is binned by, 1 to leave it."""
    most = min(image.shape) // SMALLEST_BINNED
    if most < 2:
        return 1
    if pixel_size is not None:
        return min(binning(LATTICE_CONSTANT / pixel_size), most)
    # The cleanest of some parts.
    starts = [sorted({0, (n - PART) // 2, max(n - PART, 0)}) for n in image.shape]
    parts = [
        np.s_[max(i, 0) : i + PART, max(j, 0) : j + PART] for i in starts[0] for j in starts[1]
    ]
    part = min(parts, key=lambda one: mask[one].mean())
    lattice = measure_lattice(image[part], mask[part])
    return min(binning(lattice.parameter), most) if lattice.found else 1


def _unbinned(
    lattice: Lattice, classes: ClassMap, mask: np.ndarray, factor: int
) -> tuple[Lattice, ClassMap]:
    """Return what was found in a binned image for the pixels (H, W) of the mask of the image."""
    size = classes.pixel_size / factor
    lattice = replace(lattice, parameter=lattice.parameter * factor, pixel_size=size)
    lines = tuple(
        Boundary(line.positions * factor + (factor - 1) / 2, line.misorientation, size)
        for line in classes.boundaries
    )
    drawn = boundary_mask(lines, mask.shape, BOUNDARY_WIDTH * lattice.parameter)
    labels = np.where(drawn, BOUNDARY, LATTICE).astype(np.uint8)
    empty = (classes.labels == VACUUM).repeat(factor, axis=0).repeat(factor, axis=1)
    labels[: len(empty), : empty.shape[1]][empty] = VACUUM
    labels[mask] = CONTAMINATION
    return lattice, replace(classes, labels=labels, boundaries=lines, pixel_size=size)


def find_structure(
    image: np.ndarray, mask: np.ndarray, pixel_size: float | None = None
) -> Structure | None:
    """Return lattice, classes, atoms, bonds, rings and defects, see `find_classes`."""
    found = find_classes(image, mask, pixel_size)
    if found is None:
        return None
    lattice, classes = found
    try:
        atoms = find_atoms(image, lattice.parameter, mask | (classes.labels == VACUUM))
    except InputError:  # too coarse for atoms, or nothing but contamination and vacuum
        return None
    bonds = find_bonds(atoms.positions, lattice.parameter)
    rings = find_rings(atoms.positions, bonds)
    lines = [boundary.positions for boundary in classes.boundaries]
    defects = find_defects(rings, atoms.positions, lattice.parameter, mask, lines)
    return Structure(lattice, classes, atoms, bonds, rings, defects)

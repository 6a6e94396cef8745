"""The structure of what a network leaves clean: classes, atoms, bonds, rings, defects, areas.

What can be done with each micrograph of a folder: masks, a ranking, the structure, less data.
"""

import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from graphseg.batch.coarsening import Coarsening
from graphseg.batch.network import DIGITS, NetworkTask, Prediction
from graphseg.batch.reduction import LossWarning, write_reduced
from graphseg.batch.report import csv_text
from graphseg.batch.stream import Result, Writer
from graphseg.errors import InputError
from graphseg.io import structures
from graphseg.io import structures as structurefiles
from graphseg.io.micrographs import Micrograph
from graphseg.io.outputs import write_labels, write_mask, write_overlay, write_probability
from graphseg.structure.atoms import Atoms, find_atoms, find_bonds
from graphseg.structure.classes import VACUUM, ClassMap, classify
from graphseg.structure.lattice import Lattice, measure_lattice
from graphseg.structure.orientation import map_orientation
from graphseg.structure.rings import Defect, Rings, find_defects, find_rings

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
        x, y, _ = structures.to_angstrom(np.array([defect.position]), size, shape)[0].tolist()
        distance = None if defect.distance is None else round(defect.distance * size, 4)
        place = [*(round(v, 4) for v in defect.position), round(x, 4), round(y, 4)]
        row = [defect.kind, defect.size, defect.missing, *place, defect.boundary, distance]
        rows.append(dict(zip(DEFECT_COLUMNS, row, strict=True)))
    return csv_text(rows, DEFECT_COLUMNS)


@dataclass(frozen=True)
class Segment(NetworkTask):
    """Write masks, and on request probability maps and overlays.

    If the network knows more than two classes, there are also class maps with the grey values of
    the labels that it was trained on, and the fraction of each class is in the table.

    Parameters
    ----------
    network
        That predicts.
    masks
        ``"tif"`` or ``"png"``.
    probabilities
        ``"float32"``, ``"float16"`` or None.
    overlays
        Whether to write pictures with contamination in red.
    """

    masks: str = "tif"
    probabilities: str | None = None
    overlays: bool = False
    command: ClassVar[str] = "segment"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        wanted = {
            f"_mask.{self.masks}": True,
            f"_classmap.{self.masks}": self.network.classes() is not None,
            "_probability.tif": self.probabilities,
            "_overlay.png": self.overlays,
        }
        return tuple(suffix for suffix, written in wanted.items() if written)

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"probabilities": self.probabilities}

    def finish(self, micrograph: Micrograph, prediction: Prediction, name: str) -> Result:
        """Return the row, the thumbnail and what writes the results."""
        mask, size = prediction.mask, prediction.pixel_size
        write: dict[str, Writer] = {
            f"_mask.{self.masks}": partial(write_mask, mask=mask, pixel_size=size, form=self.masks),
            f"_classmap.{self.masks}": partial(
                write_labels, labels=prediction.labels, pixel_size=size, form=self.masks
            ),
            "_probability.tif": partial(
                write_probability,
                probability=prediction.probability,
                pixel_size=size,
                dtype=self.probabilities,
            ),
            "_overlay.png": partial(write_overlay, image=micrograph.image, mask=mask),
        }
        outputs = {suffix: write[suffix] for suffix in self.suffixes}
        classes = self.network.classes()
        fractions = {
            f"class_{value}_fraction": round(float((prediction.labels == value).mean()), DIGITS)
            for value in (classes.values if classes else ())
        }
        return self.result(micrograph, prediction, fractions, outputs)


@dataclass(frozen=True, eq=False)
class Classified:
    """A prediction, and the four classes where there is a lattice."""

    prediction: Prediction
    classes: ClassMap | None = None

    @property
    def flags(self) -> tuple[str, ...]:
        """Of the classes; none where they were not asked for."""
        return () if self.classes is None else self.classes.flags


@dataclass(frozen=True)
class Sort(NetworkTask):
    """Measure how much of each image is clean; writes nothing for the single image.

    Parameters
    ----------
    network
        That predicts.
    exclude_vacuum
        Whether holes count as not usable.
    """

    exclude_vacuum: bool = False
    command: ClassVar[str] = "sort"

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"exclude_vacuum": self.exclude_vacuum}

    def predict(self, micrograph: Micrograph) -> Classified:
        """Run the network, and find the holes if they count."""
        return _classified(self.network.predict(micrograph), micrograph, self.exclude_vacuum)

    def finish(self, micrograph: Micrograph, prediction: Classified, name: str) -> Result:
        """Return the row and the thumbnail."""
        classes = prediction.classes
        vacuum = None if classes is None else classes.labels == VACUUM
        return self.result(micrograph, prediction.prediction, vacuum=vacuum, flags=prediction.flags)


def _classified(prediction: Prediction, micrograph: Micrograph, wanted: bool = True) -> Classified:
    found = find_classes(micrograph.image, prediction) if wanted else None
    return Classified(prediction, None if found is None else found[1])


@dataclass(frozen=True, eq=False)
class Analysed:
    """A prediction, and the structure of what it leaves clean."""

    prediction: Prediction
    structure: Structure | None


@dataclass(frozen=True)
class Analyse(NetworkTask):
    """Write the class map, the atoms, bonds and defects as CSV, and the atoms as extended XYZ.

    Parameters
    ----------
    network
        That predicts.
    structures
        Whether to write extended XYZ files, which needs ASE.
    """

    structures: bool = True
    command: ClassVar[str] = "analyse"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        tables = ("_classes.png", "_atoms.csv", "_bonds.csv", "_defects.csv")
        return (*tables, "_atoms.xyz") if self.structures else tables

    def predict(self, micrograph: Micrograph) -> Analysed:
        """Run the network and find the structure."""
        prediction = self.network.predict(micrograph)
        return Analysed(prediction, find_structure(micrograph.image, prediction))

    def finish(self, micrograph: Micrograph, prediction: Analysed, name: str) -> Result:
        """Return the row, the thumbnail and what writes the results."""
        found = prediction.structure
        if found is None:
            return self.result(micrograph, prediction.prediction, flags=("no_lattice",))
        place = {
            "positions": found.atoms.positions,
            "pixel_size": found.lattice.pixel_size,
            "shape": micrograph.image.shape,
            "amplitudes": found.atoms.amplitudes,
        }
        picture, size = Image.fromarray(found.classes.image), found.lattice.pixel_size
        write: dict[str, Writer] = {
            "_classes.png": partial(picture.save, format="PNG"),
            "_atoms.csv": partial(structurefiles.write_atoms_csv, **place),
            "_bonds.csv": partial(
                structurefiles.write_bonds_csv,
                positions=found.atoms.positions, bonds=found.bonds, pixel_size=size,
            ),
            "_defects.csv": lambda path: path.write_text(
                defects_csv(found, micrograph.image.shape), encoding="utf-8"
            ),
            "_atoms.xyz": partial(structurefiles.write_extended_xyz, **place),
        }  # fmt: skip
        return self.result(
            micrograph,
            prediction.prediction,
            row=structure_row(found) | {"pixel_size": round(size, DIGITS)},
            outputs={suffix: write[suffix] for suffix in self.suffixes},
            flags=found.flags,
        )


@dataclass(frozen=True)
class Reduce(NetworkTask):
    """Store each image with its class map in a small HDF5 file, see `graphseg.batch.reduction`.

    Parameters
    ----------
    network
        That predicts.
    coarsening
        What may be lost; by default nothing.
    """

    coarsening: Coarsening = field(default_factory=Coarsening)
    command: ClassVar[str] = "reduce"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        return ("_reduced.h5",)

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"coarsening": asdict(self.coarsening)}

    def predict(self, micrograph: Micrograph) -> Classified:
        """Run the network and find the classes."""
        return _classified(self.network.predict(micrograph), micrograph)

    def finish(self, micrograph: Micrograph, prediction: Classified, name: str) -> Result:
        """Return the row, the thumbnail and what writes the file."""
        found, image = prediction.prediction, _storable(micrograph.image)
        # Without a lattice nothing but contamination is known.
        known = prediction.classes is not None
        labels = prediction.classes.labels if known else found.mask

        def write(path: Path) -> dict[str, Any]:
            # Each call would warn; the table has the loss of every image instead.
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always", LossWarning)
                report = write_reduced(
                    path, image[None], labels[None], self.coarsening, [name], found.pixel_size
                )
            total = report.losses["total"]
            return {
                "original_bytes": report.original_bytes,
                "file_bytes": report.file_bytes,
                "ratio": round(report.ratio, 3),
                "coarse_fraction": round(total.coarse / total.pixels, DIGITS),
                "rmse": round(total.rmse, DIGITS),
            }

        flags = prediction.flags if known else ("no_lattice",)
        return self.result(micrograph, found, outputs={"_reduced.h5": write}, flags=flags)


def _storable(image: np.ndarray) -> np.ndarray:
    """Return an image of 1 or 64 bits a pixel in a type that can be stored, if it loses nothing."""
    if image.dtype == bool:
        return image.astype(np.uint8)
    for dtype in (np.float32, np.int32, np.uint32) if image.dtype.itemsize == 8 else ():
        if (image == image.astype(dtype)).all():
            return image.astype(dtype)
    return image

"""What can be done with each micrograph of a folder: masks, a ranking, the structure, less data."""

import warnings
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from graphseg import structurefiles
from graphseg.bulkanalysis import (
    Structure,
    defects_csv,
    find_classes,
    find_structure,
    structure_row,
)
from graphseg.bulkjob import Result, Writer
from graphseg.bulknetwork import DIGITS, NetworkTask, Prediction
from graphseg.classes import VACUUM, ClassMap
from graphseg.coarsening import Coarsening
from graphseg.micrographs import Micrograph
from graphseg.outputs import write_labels, write_mask, write_overlay, write_probability
from graphseg.reduction import LossWarning, write_reduced


@dataclass(frozen=True)
class Segment(NetworkTask):
    """Write masks, and on request probability maps and overlays.

    If the network knows more than two classes, there are also class maps with the grey values of
    the labels that it was trained on, and the share of each class is in the table.

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
        shares = {
            f"class_{value}_fraction": round(float((prediction.labels == value).mean()), DIGITS)
            for value in (classes.values if classes else ())
        }
        return self.result(micrograph, prediction, shares, outputs)


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
    """Store each image with its class map in a small HDF5 file, see `graphseg.reduction`.

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

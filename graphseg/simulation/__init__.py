"""Simulated structures and labelled micrographs."""

from graphseg.simulation.configuration import (
    CARBON,
    GRAPHENE,
    HEXAGONAL_BORON_NITRIDE,
    MOS2,
    Configuration,
)
from graphseg.simulation.crystal import Structure, crystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import Sample, image_of, sample_set, simulate, write_sample_set

LATTICE_CONSTANT = CARBON.lattice_constant  # Å, graphene

__all__ = [
    "CARBON",
    "GRAPHENE",
    "HEXAGONAL_BORON_NITRIDE",
    "LATTICE_CONSTANT",
    "MOS2",
    "Conditions",
    "Configuration",
    "Sample",
    "Structure",
    "crystal",
    "image_of",
    "sample_set",
    "simulate",
    "write_sample_set",
]

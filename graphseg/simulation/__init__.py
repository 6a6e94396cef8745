"""The simulation.

Structures with grains, defects and contamination, imaged by the multislice method, and labelled
micrographs with their exact truth. What is drawn from which range stands in `configuration`, with
the reason. It imports nothing of the package but `errors`.
"""

from graphseg.simulation.configuration import (
    CARBON,
    GRAPHENE,
    HEXAGONAL_BORON_NITRIDE,
    LATTICE_CONSTANT,
    MOS2,
    Configuration,
)
from graphseg.simulation.crystal import Structure, crystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import Sample, image_of, sample_set, simulate

__all__ = [
    "CARBON", "GRAPHENE", "HEXAGONAL_BORON_NITRIDE", "LATTICE_CONSTANT", "MOS2", "Conditions",
    "Configuration", "Sample", "Structure", "crystal", "image_of", "sample_set", "simulate",
]  # fmt: skip

"""Simulated structures and labelled micrographs."""

from graphseg.simulation.simple import (
    CONTAMINANT_DENSITY,
    LATTICE_CONSTANT,
    SimulatedSample,
    honeycomb,
    sample_set,
    simulate_sample,
    to_8_bit,
    write_sample_set,
)

__all__ = [
    "CONTAMINANT_DENSITY",
    "LATTICE_CONSTANT",
    "SimulatedSample",
    "honeycomb",
    "sample_set",
    "simulate_sample",
    "to_8_bit",
    "write_sample_set",
]

"""What a micrograph shows where it is clean.

Lattice and pixel size, order and orientation, grain boundaries, the four classes, atoms, bonds,
rings and defects, each as a function of an image and a mask. Positions are (row, column) in pixels,
angles radians, lengths Å. It imports `classical` and `simulation` for their constants and tools.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "lattice": ["Lattice", "measure_lattice"],
        "orientation": ["map_orientation"],
        "boundaries": ["find_boundaries"],
        "classes": ["ClassMap", "classify"],
        "atoms": ["Atoms", "find_atoms", "find_bonds"],
        "rings": ["find_defects", "find_rings"],
    },
)

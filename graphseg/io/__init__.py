"""Files: micrographs in, results out.

Micrographs come from TIFF, PNG, DM3, DM4, EMD, MRC, SER, HDF5 and Zarr files with their pixel size;
a damaged file gives one sentence that names it. Results are written whole or not at all. This room
imports nothing of the others.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "micrographs": ["Micrograph", "open_series", "read_micrograph"],
        "outputs": ["write_mask", "write_overlay", "write_probability"],
        "structures": [
            "write_atoms_csv",
            "write_bonds_csv",
            "write_extended_xyz",
            "write_rings_csv",
        ],
    },
)

"""Atoms, bonds and rings as files that other programs read: CSV, extended XYZ, and ASE's Atoms.

In structures, lengths are in Å and the axes are right-handed as one looks at the micrograph: x
runs along the columns to the right, y from the bottom row upwards, z towards the viewer. Tables
have pixels too, rows counted downwards from the top; the headings say which way each axis runs.
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphseg.errors import InputError, extra
from graphseg.io.outputs import whole_file

if TYPE_CHECKING:
    import ase

CARBON = 6
LINES = 4096  # of a table that are formatted at a time
VACUUM = 10.0  # Å, height of the cell, which is not periodic
PLACE = ("row_down_px", "column_right_px", "x_right_angstrom", "y_up_angstrom")  # in tables


def write_atoms_csv(
    path: str | PathLike,
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    amplitudes: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Write a table of atoms: ``atom``, the columns `PLACE`, and ``amplitude``.

    Parameters
    ----------
    path
        Where to; the file appears under this name only when it is complete.
    positions
        (n, 2) in pixels, (row, column).
    pixel_size
        Å per pixel.
    shape
        (H, W) of the micrograph.
    amplitudes
        (n,), see `graphseg.structure.atoms.Atoms`; without them the column is left out.
    overwrite
        Replace a file of this name.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is not set, or positions or pixel size are unusable.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atoms_csv(f"{folder}/atoms.csv", np.array([[9.0, 3.55]]), 0.4, (10, 10))
    ...     print(Path(folder, "atoms.csv").read_text(), end="")
    atom,row_down_px,column_right_px,x_right_angstrom,y_up_angstrom
    0,9.0000,3.5500,1.4200,0.0000
    """
    columns = {}
    if amplitudes is not None:
        _check_amplitudes(amplitudes, len(positions))
        columns["amplitude"] = amplitudes
    _write_places(path, "atom", positions, pixel_size, shape, columns, overwrite)


def write_rings_csv(
    path: str | PathLike,
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    sizes: np.ndarray,
    areas: np.ndarray,
    overwrite: bool = False,
) -> None:
    """Write a table of rings: ``ring``, the columns `PLACE`, ``size`` and ``area_angstrom2``.

    Parameters
    ----------
    path, pixel_size, shape, overwrite
        As for `write_atoms_csv`.
    positions
        (r, 2), the centres in pixels, (row, column).
    sizes
        (r,) int, atoms of each.
    areas
        (r,) in px².

    Raises
    ------
    InputError
        As `write_atoms_csv`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one = np.array([[9.0, 3.55]]), 0.4, (10, 10), np.array([6]), np.array([32.5])
    ...     write_rings_csv(f"{folder}/rings.csv", *one)
    ...     print(Path(folder, "rings.csv").read_text(), end="")
    ring,row_down_px,column_right_px,x_right_angstrom,y_up_angstrom,size,area_angstrom2
    0,9.0000,3.5500,1.4200,0.0000,6,5.2000
    """
    columns = {"size": sizes, "area_angstrom2": areas * pixel_size**2}
    _write_places(path, "ring", positions, pixel_size, shape, columns, overwrite)


def write_bonds_csv(
    path: str | PathLike,
    positions: np.ndarray,
    bonds: np.ndarray,
    pixel_size: float,
    overwrite: bool = False,
) -> None:
    """Write a table of bonds: ``first, second, length_angstrom, angle_degrees``.

    Atoms are numbered as in the table of atoms. The angle is measured from the direction of the
    columns towards that of the rows and lies in [0, 180).

    Parameters
    ----------
    path, positions, pixel_size, overwrite
        As for `write_atoms_csv`, as are the errors.
    bonds
        (m, 2) int, pairs of atoms.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> positions, bonds = np.array([[0.0, 0.0], [0.0, 3.55]]), np.array([[0, 1]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_bonds_csv(f"{folder}/bonds.csv", positions, bonds, 0.4)
    ...     print(Path(folder, "bonds.csv").read_text(), end="")
    first,second,length_angstrom,angle_degrees
    0,1,1.4200,0.000
    """
    _check_pixel_size(pixel_size)
    between = positions[bonds[:, 1]] - positions[bonds[:, 0]]
    lengths = np.linalg.norm(between, axis=1) * pixel_size
    angles = np.degrees(np.arctan2(between[:, 0], between[:, 1])) % 180
    lines = _lines("%d,%d,%.4f,%.3f", [*bonds.T, lengths, angles])
    _write(path, f"first,second,length_angstrom,angle_degrees\n{lines}", overwrite)


def places(positions: np.ndarray, pixel_size: float, shape: tuple[int, int]) -> np.ndarray:
    """Return the columns `PLACE` of positions (n, 2) in pixels, (n, 4); see `to_angstrom`."""
    return np.column_stack([positions, to_angstrom(positions, pixel_size, shape)[:, :2]])


def to_angstrom(positions: np.ndarray, pixel_size: float, shape: tuple[int, int]) -> np.ndarray:
    """Return coordinates (n, 3) in Å, (x, y, z), of positions (n, 2) in pixels, (row, column).
    The centre of the lower left pixel of a micrograph of `shape` (H, W) is the origin; z is 0."""
    _check_pixel_size(pixel_size)
    positions = np.asarray(positions, float)
    if positions.ndim != 2 or positions.shape[1] != 2 or not np.isfinite(positions).all():
        raise InputError(f"Positions: expected finite ones of shape (n, 2), got {positions.shape}.")
    up = shape[0] - 1 - positions[:, 0]
    flat = np.stack([positions[:, 1], up, np.zeros(len(positions))], axis=1)
    return flat * pixel_size


def to_ase(
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    amplitudes: np.ndarray | None = None,
) -> "ase.Atoms":
    """Return the atoms as an `ase.Atoms` of carbon in Å, not periodic.
    The cell is as large as the micrograph, and 10 Å high; `amplitudes` are its array ``amplitude``.
    InputError if ASE is not installed, or positions or pixel size are unusable."""
    coordinates = to_angstrom(positions, pixel_size, shape)
    with extra("physics", "A structure for ASE"):
        from ase import Atoms
    cell = [shape[1] * pixel_size, shape[0] * pixel_size, VACUUM]
    atoms = Atoms(numbers=[CARBON] * len(coordinates), positions=coordinates, cell=cell)
    atoms.info["pixel_size"] = float(pixel_size)
    if amplitudes is not None:
        atoms.set_array("amplitude", np.asarray(amplitudes, float))
    return atoms


def write_extended_xyz(
    path: str | PathLike,
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    amplitudes: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    r"""Write the atoms as extended XYZ, which OVITO, ASE and others read.

    The file is the one that ASE writes of `to_ase`, which need not be installed. Parameters and
    errors are those of `write_atoms_csv`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_extended_xyz(f"{folder}/atoms.xyz", np.array([[9.0, 3.55]]), 0.4, (10, 10))
    ...     Path(folder, "atoms.xyz").read_text().split("\n")[2].split()[:3]
    ['C', '1.42000000', '0.00000000']
    """
    columns = to_angstrom(positions, pixel_size, shape)
    properties = "species:S:1:pos:R:3"
    if amplitudes is not None:
        _check_amplitudes(amplitudes, len(columns))
        columns = np.column_stack([columns, amplitudes])
        properties += ":amplitude:R:1"
    cell = np.diag([shape[1] * pixel_size, shape[0] * pixel_size, VACUUM]).ravel().tolist()
    lattice, size = " ".join(map(str, cell)), float(pixel_size)
    comment = f'Lattice="{lattice}" Properties={properties} pixel_size={size} pbc="F F F"'
    atoms = _lines("C  " + " ".join(["%16.8f"] * columns.shape[1]), columns.T)
    _write(path, f"{len(columns)}\n{comment}\n{atoms}", overwrite)


def _check_amplitudes(amplitudes: np.ndarray, atoms: int) -> None:
    if np.shape(amplitudes) != (atoms,):
        raise InputError(f"Amplitudes: expected shape ({atoms},), got {np.shape(amplitudes)}.")


def _check_pixel_size(pixel_size: float | None) -> None:
    if pixel_size is None or not np.isfinite(pixel_size) or pixel_size <= 0:
        raise InputError(
            f"Lengths in Å need a pixel size: expected Å per pixel, got {pixel_size}; give for "
            "instance 2.46 divided by the lattice parameter in pixels."
        )


def _write_places(
    path: str | PathLike,
    name: str,
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    columns: dict[str, np.ndarray],
    overwrite: bool,
) -> None:
    """Write a table of what has a place, with a number for each; floats get four decimals."""
    values = [np.asarray(column) for column in columns.values()]
    forms = ["%d" if one.dtype.kind == "i" else "%.4f" for one in values]
    placed = places(positions, pixel_size, shape).T
    lines = _lines(
        ",".join(["%d"] + ["%.4f"] * len(placed) + forms),
        [np.arange(len(positions)), *placed, *values],
    )
    _write(path, f"{','.join([name, *PLACE, *columns])}\n{lines}", overwrite)


def _lines(form: str, columns: Iterable[np.ndarray]) -> str:
    """Return a line for each row of columns (n,), thousands at a time, which is the fastest way."""
    rows = np.column_stack(list(columns))
    parts = (rows[start : start + LINES] for start in range(0, len(rows), LINES))
    return "".join(f"{form}\n" * len(part) % tuple(part.ravel().tolist()) for part in parts)


def _write(path: str | PathLike, text: str, overwrite: bool) -> None:
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists; choose another name or allow to overwrite it.")
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

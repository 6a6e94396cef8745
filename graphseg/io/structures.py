"""Atoms and bonds as files that other programs read: CSV, extended XYZ, and ASE's Atoms.

In structures, lengths are in Å and the axes are right-handed as one looks at the micrograph: x
runs along the columns to the right, y from the bottom row upwards, z towards the viewer.
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


def write_atoms_csv(
    path: str | PathLike,
    positions: np.ndarray,
    pixel_size: float,
    shape: tuple[int, int],
    amplitudes: np.ndarray | None = None,
    overwrite: bool = False,
) -> None:
    """Write a table of atoms: ``atom, row_px, column_px, x_angstrom, y_angstrom, amplitude``.

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
    atom,row_px,column_px,x_angstrom,y_angstrom
    0,9.0000,3.5500,1.4200,0.0000
    """
    coordinates = to_angstrom(positions, pixel_size, shape)
    header = "atom,row_px,column_px,x_angstrom,y_angstrom"
    columns = [np.arange(len(coordinates)), *np.asarray(positions).T, *coordinates.T[:2]]
    if amplitudes is not None:
        _check_amplitudes(amplitudes, len(positions))
        header += ",amplitude"
        columns.append(amplitudes)
    form = ",".join(["%d"] + ["%.4f"] * (len(columns) - 1))
    _write(path, f"{header}\n{_lines(form, columns)}", overwrite)


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
        As for `write_atoms_csv`.
    bonds
        (m, 2) int, pairs of atoms.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is not set, or the pixel size is no positive number.

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


def to_angstrom(positions: np.ndarray, pixel_size: float, shape: tuple[int, int]) -> np.ndarray:
    """Return coordinates (n, 3) in Å, (x, y, z), of positions (n, 2) in pixels, (row, column).

    The centre of the lower left pixel of a micrograph of `shape` (H, W) is the origin; z is 0.
    """
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

    Raises
    ------
    InputError
        If ASE is not installed, or positions or pixel size are unusable.
    """
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
    """Write the atoms as extended XYZ, which OVITO, ASE and others read.

    The file is the one that ASE writes of `to_ase`, which need not be installed.

    Parameters
    ----------
    path, positions, pixel_size, shape, amplitudes, overwrite
        As for `write_atoms_csv`.

    Raises
    ------
    InputError
        As `write_atoms_csv`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_extended_xyz(f"{folder}/atoms.xyz", np.array([[9.0, 3.55]]), 0.4, (10, 10))
    ...     Path(folder, "atoms.xyz").read_text().split("\\n")[2].split()[:3]
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

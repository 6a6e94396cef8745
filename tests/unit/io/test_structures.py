"""Atoms and bonds written to files come back as they were, and nothing is overwritten unasked."""

import csv
from pathlib import Path

import numpy as np
import pytest

from graphseg.errors import InputError
from graphseg.io import structures

PIXEL_SIZE = 0.4  # Å
SHAPE = (100, 80)
POSITIONS = np.array([[99.0, 0.0], [10.25, 20.5], [10.25, 24.05]])  # the first is lower left
BONDS = np.array([[1, 2]])
AMPLITUDES = np.array([1.0, 0.5, 1.25])


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_of_atoms(tmp_path):
    path = tmp_path / "new" / "atoms.csv"
    structures.write_atoms_csv(path, POSITIONS, PIXEL_SIZE, SHAPE, AMPLITUDES)
    rows = read(path)
    assert list(rows[0]) == [
        "atom", "row_down_px", "column_right_px", "x_right_angstrom", "y_up_angstrom", "amplitude",
    ]  # fmt: skip
    assert [row["atom"] for row in rows] == ["0", "1", "2"]
    pixels = [[float(row["row_down_px"]), float(row["column_right_px"])] for row in rows]
    np.testing.assert_allclose(pixels, POSITIONS)
    np.testing.assert_allclose([float(row["amplitude"]) for row in rows], AMPLITUDES)
    assert (float(rows[0]["x_right_angstrom"]), float(rows[0]["y_up_angstrom"])) == (0, 0)
    assert float(rows[1]["x_right_angstrom"]) == pytest.approx(20.5 * 0.4)
    assert float(rows[1]["y_up_angstrom"]) == pytest.approx((99 - 10.25) * 0.4)
    assert [f.name for f in path.parent.iterdir()] == ["atoms.csv"]


def test_the_table_of_rings_has_pixels_downwards_and_angstrom_upwards(tmp_path):
    sizes, areas = np.array([6, 5, 7]), np.array([32.0, 20.0, 40.0])
    path = tmp_path / "rings.csv"
    structures.write_rings_csv(path, POSITIONS, PIXEL_SIZE, SHAPE, sizes, areas)
    rows = read(path)
    assert list(rows[0]) == ["ring", *structures.PLACE, "size", "area_angstrom2"]
    assert [row["size"] for row in rows] == ["6", "5", "7"]
    assert float(rows[0]["area_angstrom2"]) == pytest.approx(32 * 0.4**2)
    assert (float(rows[1]["row_down_px"]), float(rows[1]["y_up_angstrom"])) == pytest.approx(
        (10.25, (99 - 10.25) * 0.4)
    )


def test_the_table_of_bonds(tmp_path):
    path = tmp_path / "bonds.csv"
    structures.write_bonds_csv(path, POSITIONS, BONDS, PIXEL_SIZE)
    (row,) = read(path)
    assert (row["first"], row["second"]) == ("1", "2")
    assert float(row["length_angstrom"]) == pytest.approx(3.55 * 0.4)
    assert float(row["angle_degrees"]) == 0
    down = np.array([[0.0, 0.0], [3.0, 3.0], [0.0, 3.0]])
    structures.write_bonds_csv(path, down, np.array([[0, 1], [1, 2]]), 1.0, overwrite=True)
    assert [float(row["angle_degrees"]) for row in read(path)] == [45, 90]


def test_empty_tables_keep_their_header(tmp_path):
    structures.write_atoms_csv(tmp_path / "a.csv", np.empty((0, 2)), PIXEL_SIZE, SHAPE)
    structures.write_bonds_csv(
        tmp_path / "b.csv", np.empty((0, 2)), np.empty((0, 2), int), PIXEL_SIZE
    )
    header = "atom,row_down_px,column_right_px,x_right_angstrom,y_up_angstrom\n"
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == header
    assert len((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()) == 1


def test_the_structure_is_the_micrograph_seen_from_above():
    pytest.importorskip("ase")
    atoms = structures.to_ase(POSITIONS, PIXEL_SIZE, SHAPE, AMPLITUDES)
    assert atoms.get_chemical_formula() == "C3"
    assert not atoms.pbc.any()
    np.testing.assert_allclose(atoms.cell.lengths(), [80 * 0.4, 100 * 0.4, 10])
    np.testing.assert_allclose(atoms.positions[:, 0], POSITIONS[:, 1] * 0.4)
    np.testing.assert_allclose(atoms.positions[:, 1], (99 - POSITIONS[:, 0]) * 0.4)
    np.testing.assert_array_equal(atoms.positions[:, 2], 0)
    assert atoms.get_distance(1, 2) == pytest.approx(3.55 * 0.4)


@pytest.mark.parametrize("amplitudes", [AMPLITUDES, None], ids=["amplitudes", "positions only"])
def test_extended_xyz_is_what_ase_writes(tmp_path, amplitudes):
    ase_io = pytest.importorskip("ase.io")
    size, path = 0.41234567890123, tmp_path / "sheet.xyz"
    structures.write_extended_xyz(path, POSITIONS, size, SHAPE, amplitudes)
    atoms = structures.to_ase(POSITIONS, size, SHAPE, amplitudes)
    ase_io.write(tmp_path / "ase.xyz", atoms, format="extxyz")
    assert path.read_text(encoding="utf-8") == (tmp_path / "ase.xyz").read_text(encoding="utf-8")


def test_extended_xyz_of_no_atoms_is_read_as_none(tmp_path):
    ase_io = pytest.importorskip("ase.io")
    structures.write_extended_xyz(tmp_path / "none.xyz", np.empty((0, 2)), PIXEL_SIZE, SHAPE)
    atoms = ase_io.read(tmp_path / "none.xyz", format="extxyz")
    assert len(atoms) == 0 and not atoms.pbc.any()
    np.testing.assert_allclose(atoms.cell.lengths(), [80 * 0.4, 100 * 0.4, 10])


def test_extended_xyz_comes_back(tmp_path):
    pytest.importorskip("ase")
    from ase.io import read as read_structure

    path = tmp_path / "sheet.xyz"
    structures.write_extended_xyz(path, POSITIONS, PIXEL_SIZE, SHAPE, AMPLITUDES)
    atoms = read_structure(path, format="extxyz")
    expected = structures.to_angstrom(POSITIONS, PIXEL_SIZE, SHAPE)
    np.testing.assert_allclose(atoms.positions, expected, atol=1e-7)
    np.testing.assert_allclose(atoms.arrays["amplitude"], AMPLITUDES, atol=1e-7)
    assert atoms.info["pixel_size"] == pytest.approx(PIXEL_SIZE)
    assert [f.name for f in tmp_path.iterdir()] == ["sheet.xyz"]


WRITERS = {
    "atoms.csv": lambda path, **o: structures.write_atoms_csv(
        path, POSITIONS, PIXEL_SIZE, SHAPE, **o
    ),
    "bonds.csv": lambda path, **o: structures.write_bonds_csv(
        path, POSITIONS, BONDS, PIXEL_SIZE, **o
    ),
    "atoms.xyz": lambda path, **o: structures.write_extended_xyz(
        path, POSITIONS, PIXEL_SIZE, SHAPE, **o
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_are_overwritten_only_if_told(tmp_path, name):
    path = tmp_path / name
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="exists"):
        WRITERS[name](path)
    assert path.read_text(encoding="utf-8") == "mine"
    WRITERS[name](path, overwrite=True)
    assert path.read_text(encoding="utf-8") != "mine"


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(target, *arguments, **options):
        target.write_bytes(b"half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="full"):
        WRITERS["atoms.xyz"](tmp_path / "atoms.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("pixel_size", [None, 0.0, -1.0, np.nan, np.inf])
def test_lengths_need_a_pixel_size(tmp_path, pixel_size):
    with pytest.raises(InputError, match="pixel size"):
        structures.to_angstrom(POSITIONS, pixel_size, SHAPE)
    with pytest.raises(InputError, match="pixel size"):
        structures.write_bonds_csv(tmp_path / "b.csv", POSITIONS, BONDS, pixel_size)
    assert not list(tmp_path.iterdir())


def test_bad_positions_and_amplitudes_are_refused(tmp_path):
    for positions in (np.zeros(4), np.full((2, 2), np.nan)):
        with pytest.raises(InputError, match="Positions"):
            structures.to_angstrom(positions, PIXEL_SIZE, SHAPE)
    with pytest.raises(InputError, match=r"Amplitudes: expected shape \(3,\), got \(2,\)"):
        structures.write_atoms_csv(tmp_path / "a.csv", POSITIONS, PIXEL_SIZE, SHAPE, AMPLITUDES[:2])
    with pytest.raises(InputError, match=r"Amplitudes: expected shape \(3,\), got \(2,\)"):
        structures.write_extended_xyz(
            tmp_path / "a.xyz", POSITIONS, PIXEL_SIZE, SHAPE, AMPLITUDES[:2]
        )
    assert not list(tmp_path.iterdir())

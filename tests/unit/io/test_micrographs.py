"""Files of every format come back pixel by pixel, with their pixel size in Å, or are refused."""

import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rsciio import digitalmicrograph

from graphseg.api import read_series
from graphseg.errors import InputError
from graphseg.io import guard
from graphseg.io.micrographs import (
    LARGEST_FRAME,
    SUFFIXES,
    open_series,
    quantity_of,
    read_micrograph,
    to_angstrom,
)
from tests.helpers.microscope_files import (
    WRITERS,
    write_delmic,
    write_dm3,
    write_dm4,
    write_dm_tiff,
    write_hspy,
    write_imagej,
    write_mrc,
    write_ncem,
    write_png,
    write_ragged_hspy,
    write_ragged_zspy,
    write_ser,
    write_velox,
    write_zspy,
)

ALL = pytest.mark.parametrize("name", WRITERS)
UNCOMPRESSED = ["lattice.dm3", "lattice.dm4", "lattice.mrc", "lattice.ser", "dm.tif", "velox.emd"]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 4000, (20, 24)).astype(np.uint16)


@pytest.fixture
def series(image):
    return np.stack([image, image + 1, image[::-1]])


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.032, "nm", 0.32),
        (0.32, "Å", 0.32),
        (0.32, "\u212b", 0.32),
        (32, "pm", 0.32),
        (3.2e-11, "m", 0.32),
        (3.2e-5, "µm", 0.32),
        (3.2e-5, "\u03bcm", 0.32),
        (3.2e-5, "microns", 0.32),
        (0.032, "nanometres", 0.32),
        (0.32, "Angstroms", 0.32),
        (0.5, "1/nm", None),
        (0.5, "", None),
        (0.5, "s", None),
        (0.0, "nm", None),
        (-1.0, "nm", None),
        (float("nan"), "nm", None),
    ],
)
def test_lengths_become_angstrom(value, unit, expected):
    result = to_angstrom(value, unit)
    assert result == (None if expected is None else pytest.approx(expected))


def test_units_of_diffraction_and_of_spectra_are_known():
    for unit in ("1/nm", "1 / µm", "nm^-1", "Å^-1", "nm⁻¹", "1/m", "mrad", "rad", "1/(nm)"):
        assert quantity_of(unit) == "diffraction"
    for unit in ("eV", "keV"):
        assert quantity_of(unit) == "energy"
    for unit in ("", "nm", "s", "px", "1/s"):
        assert quantity_of(unit) == ""


@ALL
def test_an_image_keeps_its_pixels_and_pixel_size(tmp_path, image, name):
    WRITERS[name](tmp_path / name, image, 0.32)
    read = read_micrograph(tmp_path / name)
    np.testing.assert_array_equal(read.image, image)
    assert read.image.dtype == image.dtype and read.image.flags.writeable
    assert read.pixel_size == pytest.approx(0.32)
    assert read.frame is None


@ALL
def test_a_series_is_split_into_its_frames(tmp_path, series, name):
    WRITERS[name](tmp_path / name, series, 0.32)
    frames = list(read_series(tmp_path / name))
    assert [frame.frame for frame in frames] == [0, 1, 2]
    for frame, expected in zip(frames, series, strict=True):
        np.testing.assert_array_equal(frame.image, expected)
        assert frame.pixel_size == pytest.approx(0.32)
    np.testing.assert_array_equal(read_micrograph(tmp_path / name, frame=-1).image, series[2])
    with pytest.raises(InputError, match="holds 3 frames; choose one"):
        read_micrograph(tmp_path / name)
    with pytest.raises(InputError, match="there is no frame 3"):
        read_micrograph(tmp_path / name, frame=3)


@ALL
@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted through /proc")
def test_files_are_closed(tmp_path, image, name):
    path = tmp_path / name
    WRITERS[name](path, image, 0.32)
    read = read_micrograph(path)
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
              if os.path.islink(f"/proc/self/fd/{fd}")]  # fmt: skip
    assert not any(str(tmp_path) in target for target in opened)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert read.image.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_its_pixels_and_has_no_pixel_size(tmp_path, image, dtype):
    path = tmp_path / "a.PNG"
    Image.fromarray(image.astype(dtype)).save(path, dpi=(300, 300))
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, image.astype(dtype))
    assert read.pixel_size is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32, np.float64, bool])
def test_tiff_keeps_its_pixels_and_takes_no_print_resolution(tmp_path, image, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image.astype(dtype), resolution=(300, 300), resolutionunit="INCH")
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, image.astype(dtype))
    assert read.pixel_size is None


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
def test_compressed_tiff_is_read(tmp_path, image, compression):
    frames = [Image.fromarray(frame) for frame in (image.astype(np.uint8), image[::-1] // 16)]
    options = dict(save_all=True, append_images=frames[1:], compression=compression)
    frames[0].save(tmp_path / "a.tif", **options)
    with open_series(tmp_path / "a.tif") as series:
        for read, frame in zip(series, frames, strict=True):
            np.testing.assert_array_equal(read.image, np.asarray(frame))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("mode", "dtype"), [(0, "i1"), (1, "i2"), (2, "f4"), (6, "u2"), (12, "f2")]
)
def test_every_type_of_mrc_is_read(tmp_path, image, order, mode, dtype):
    write_mrc(tmp_path / "a.mrc", (image % 100).astype(dtype), 0.32, mode, order)
    read = read_micrograph(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read.image, (image % 100).astype(dtype))
    assert read.image.dtype.isnative and read.pixel_size == pytest.approx(0.32)


def test_newer_ser_has_longer_offsets(tmp_path, series):
    write_ser(tmp_path / "a.ser", series, 0.32, version=0x0220)
    read = [frame.image for frame in read_series(tmp_path / "a.ser")]
    np.testing.assert_array_equal(read, series)


def test_an_hdf5_or_zarr_file_may_hold_one_array_only(tmp_path, image):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/in/here"] = image
        file["numbers"] = np.arange(3)
    zarr.create_array(tmp_path / "a.zarr", data=image)
    for name in ("a.h5", "a.zarr"):
        read = read_micrograph(tmp_path / name)
        np.testing.assert_array_equal(read.image, image)
        assert read.pixel_size is None
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["second"] = image
    with pytest.raises(InputError, match="holds 2 arrays"):
        read_micrograph(tmp_path / "a.h5")


def test_metadata_come_along(tmp_path, image):
    write_hspy(tmp_path / "a.hspy", image, 0.32)
    write_velox(tmp_path / "a.emd", image, 0.32)
    assert read_micrograph(tmp_path / "a.hspy").metadata["General"]["title"] == "lattice"
    assert read_micrograph(tmp_path / "a.emd").metadata["BinaryResult"]["PixelUnitX"] == "m"


def test_one_frame_of_a_series_of_gigabytes_is_read_alone(tmp_path):
    path = tmp_path / "a.mrc"
    write_mrc(path, np.ones((1, 4096, 4096), np.uint16), 0.32)
    with path.open("r+b") as file:
        struct.pack_into("<3i", header := bytearray(file.read(12)), 0, 4096, 4096, 200)
        file.seek(0)
        file.write(header)
        file.truncate(1024 + 200 * 4096 * 4096 * 2)  # 6.7 GB, none of which is on the disk
    with open_series(path) as series:
        assert len(series) == 200
        assert series[0].image.all() and not series[199].image.any()


DIFFRACTION = {
    "a.dm4": lambda path, image: write_dm4(path, image, scales=[(0.5, "1/nm")] * 2),
    "b.dm3": lambda path, image: write_dm4(path, image, scales=[(9.0, "mrad")] * 2, version=3),
    "velox.emd": lambda path, image: write_velox(path, image, 0.5, "1/m", 1e9),
    "ncem.emd": lambda path, image: write_ncem(path, image, 0.5, "1/nm"),
    "a.ser": lambda path, image: write_ser(path, image, 1e17),
    "a.hspy": lambda path, image: write_hspy(path, image, 0.5, "1/nm"),
    "a.zspy": lambda path, image: write_zspy(path, image, 0.5, "nm^-1"),
    "a.tif": lambda path, image: write_imagej(path, image, 0.5, "1/nm"),
}
SPECTRA = {
    "a.dm4": lambda path, image: write_dm4(path, image[0], scales=[(0.5, "eV")]),
    "b.dm4": lambda path, image: write_dm4(
        path, image.reshape(2, 10, 24), scales=[(0.5, "eV"), (0.3, "nm"), (0.3, "nm")]
    ),
    "a.hspy": lambda path, image: write_hspy(path, image, 0.5, "keV"),
    "b.hspy": lambda path, image: write_hspy(path, image, 0.5, "", navigate=(0,)),
}


@pytest.mark.parametrize("name", DIFFRACTION)
def test_diffraction_patterns_are_refused(tmp_path, image, name):
    DIFFRACTION[name](tmp_path / name, image)
    with pytest.raises(InputError, match="diffraction pattern"):
        read_micrograph(tmp_path / name)


@pytest.mark.parametrize("name", SPECTRA)
def test_spectra_are_refused(tmp_path, image, name):
    SPECTRA[name](tmp_path / name, image)
    with pytest.raises(InputError, match="spectr"):
        read_micrograph(tmp_path / name)


def test_what_is_no_micrograph_beside_one_is_left_out(tmp_path, image):
    write_hspy(tmp_path / "a.hspy", image, 0.32)
    with h5py.File(tmp_path / "a.hspy", "a") as file:
        file.copy("Experiments/lattice", "Experiments/also")
        file["Experiments/also/axis-1"].attrs["units"] = "eV"
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.hspy").image, image)


def test_pixels_that_are_not_square_are_refused(tmp_path, image):
    write_dm_tiff(tmp_path / "a.tif", image, 0.32, row_factor=1.005)
    assert read_micrograph(tmp_path / "a.tif").pixel_size == pytest.approx(0.3208)
    write_dm_tiff(tmp_path / "a.tif", image, 0.32, row_factor=1.25)
    with pytest.raises(InputError, match=r"pixels of 0\.4 Å by 0\.32 Å"):
        read_micrograph(tmp_path / "a.tif")


def test_a_stack_of_such_pixels_is_refused_once_and_not_for_every_frame(tmp_path, series):
    options = {"resolution": (25, 20), "metadata": {"unit": "nm", "axes": "TYX"}}
    tifffile.imwrite(tmp_path / "a.tif", series, imagej=True, **options)
    with pytest.raises(InputError, match=r"pixels of 0\.5 Å by 0\.4 Å; resample"):
        open_series(tmp_path / "a.tif").__enter__()


def test_beside_square_ones_only_those_frames_are_refused(tmp_path, image):
    write_hspy(tmp_path / "a.hspy", image, 0.32)
    with h5py.File(tmp_path / "a.hspy", "a") as file:
        file.copy("Experiments/lattice", "Experiments/oblong")
        file["Experiments/oblong/axis-1"].attrs["scale"] = 0.05
    with open_series(tmp_path / "a.hspy") as series:
        np.testing.assert_array_equal(series[0].image, image)
        with pytest.raises(InputError, match="resample it to square ones"):
            series[1]


@pytest.mark.parametrize("name", ["a.zspy", "a.hspy", "zipped.zspy"])
def test_frames_of_different_sizes_are_one_sentence(tmp_path, image, name):
    ragged = [image[:n, :n] for n in (20, 24, 28)]
    if name == "a.hspy":
        write_ragged_hspy(tmp_path / name, ragged)
    elif name == "a.zspy":
        write_ragged_zspy(tmp_path / name, ragged)
    else:
        write_ragged_zspy(tmp_path / "folder", ragged)
        shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path / "folder")
        (tmp_path / "zipped.zip").rename(tmp_path / name)
    with pytest.raises(InputError, match=r"^\S*sp?y holds frames of different sizes") as refused:
        read_micrograph(tmp_path / name)
    assert "\n" not in str(refused.value) and "own file" in str(refused.value)


def test_a_file_of_delmic_is_named_as_what_it_is(tmp_path, image):
    write_delmic(tmp_path / "a.h5", image, 0.32)
    with pytest.raises(InputError, match="Delmic's program, with Acquisition0, Acquisition1"):
        read_micrograph(tmp_path / "a.h5")


def test_complex_numbers_and_four_dimensions_are_refused(tmp_path, image):
    write_dm4(tmp_path / "a.dm4", image.astype(np.complex64), 0.32)
    write_hspy(tmp_path / "a.hspy", np.ones((2, 3, 4, 5), np.float32), 0.32)
    with pytest.raises(InputError, match="complex"):
        read_micrograph(tmp_path / "a.dm4")
    with pytest.raises(InputError, match="4 dimensions"):
        read_micrograph(tmp_path / "a.hspy")


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(".png", "RGB"), (".png", "RGBA"), (".png", "P"), (".png", "LA"), (".tif", "RGB"),
     (".tif", "RGBA")],
)  # fmt: skip
def test_grey_saved_in_colour_is_grey_and_colours_are_refused(tmp_path, image, suffix, mode):
    grey = image.astype(np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(grey).convert("L" if mode == "P" else "RGB").convert(mode).save(path)
    np.testing.assert_array_equal(read_micrograph(path).image, grey)
    if mode != "LA":
        Image.fromarray(np.stack([grey, grey, 255 - grey], -1)).convert(mode).save(path)
        with pytest.raises(InputError, match="several channels"):
            read_micrograph(path)


def test_colours_in_planes_are_refused(tmp_path, image):
    planes = np.stack([image, image, image + 1])
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="several channels"):
        read_micrograph(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_float32_cannot_hold_is_refused(tmp_path, image, value):
    values = image.astype(np.float64)
    values[3, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(InputError, match="not finite"):
        read_micrograph(tmp_path / "a.tif")


def test_a_damaged_frame_leaves_the_others_usable(tmp_path, series):
    frames = series.astype(np.float32)
    frames[1, 0, 0] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="minisblack")
    with open_series(tmp_path / "a.tif") as opened:
        with pytest.raises(InputError, match="not finite"):
            opened[1]
        np.testing.assert_array_equal(opened[2].image, frames[2])
        with pytest.raises(IndexError):
            opened[3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jpg", b"\xff\xd8", "none of the known suffixes"),
        ("a.dm5", b"", "none of the known suffixes"),
        *[(f"a{suffix}", b"", "is empty") for suffix in SUFFIXES],
        *[(f"a{suffix}", b"GIF89a" + bytes(58), "is not a readable") for suffix in SUFFIXES],
    ],
)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_micrograph(tmp_path / name)
    text = str(caught.value)
    assert name in text and text.endswith(".") and "\n" not in text
    if name not in ("a.ser", "a.mrc", "a.mrcs"):  # these say themselves what is missing
        assert message in text


def test_a_missing_file_is_named(tmp_path):
    for name in ("none.png", "none.zarr"):
        with pytest.raises(InputError, match="does not exist"):
            read_micrograph(tmp_path / name)
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(InputError, match="is not a readable"):
        read_micrograph(tmp_path / "empty.zarr")


def outcome(path):
    """Return the first frame; whatever is wrong must be an InputError of one sentence."""
    try:
        with open_series(path) as series:
            return series[0].image
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return None


FILES = [name for name in WRITERS if name != "lattice.zspy"]


@pytest.mark.parametrize("name", FILES)
def test_truncated_files_are_refused_unless_all_pixels_are_there(tmp_path, image, name):
    path = tmp_path / name
    WRITERS[name](path, image, 0.32)
    content = path.read_bytes()
    for length in np.linspace(1, len(content) - 100, 12).astype(int):
        path.write_bytes(content[:length])
        read = outcome(path)
        assert read is None or np.array_equal(read, image)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_bytes_never_crash(tmp_path, name, data):
    path = tmp_path / name
    image = np.arange(480, dtype=np.uint16).reshape(20, 24)
    WRITERS[name](path, image, 0.32)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, min(len(content), 2000) - 1))
        patch = data.draw(
            st.sampled_from([b"\xff", b"\xff" * 8, b"\0" * 4, b"\0\0\0\x10", b"\x7f"])
        )
        content[place : place + len(patch)] = patch
    path.write_bytes(content)
    outcome(path)


def test_sizes_beyond_the_file_are_refused_without_taking_memory(tmp_path, image):
    write_mrc(tmp_path / "a.mrc", image, 0.32)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    struct.pack_into("<3i", content, 0, 2**30, 2**30, 2**30)
    (tmp_path / "a.mrc").write_bytes(content)
    write_ser(tmp_path / "a.ser", image, 0.32)
    content = bytearray((tmp_path / "a.ser").read_bytes())
    struct.pack_into("<I", content, 18, 2**31)  # images
    (tmp_path / "a.ser").write_bytes(content)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (2**20, 2**20), "f8", chunks=(64, 64))
    zarr.create_array(tmp_path / "a.zarr", shape=(2**20, 2**20), dtype="f8", chunks=(64, 64))
    zarr.create_array(tmp_path / "b.zarr", shape=(64, 64), dtype="f8", chunks=(2**20, 2**20))
    for name in ("a.mrc", "a.ser", "a.h5", "a.zarr", "b.zarr"):
        assert outcome(tmp_path / name) is None


def test_a_png_header_that_declares_too_much_is_refused(tmp_path, image):
    write_png(tmp_path / "a.png", image)
    for side in (12000, 10**6):  # beyond what is read, and beyond what Pillow opens
        content = bytearray((tmp_path / "a.png").read_bytes())
        struct.pack_into(">II", content, 16, side, side)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
        (tmp_path / "b.png").write_bytes(content)
        assert side**2 > LARGEST_FRAME
        assert outcome(tmp_path / "b.png") is None


@pytest.mark.parametrize("write", [write_dm3, write_dm4])
@pytest.mark.parametrize("value", [-1, 2**30])
def test_impossible_tags_of_digital_micrograph_are_refused_at_once(tmp_path, image, write, value):
    path = tmp_path / ("a.dm3" if write is write_dm3 else "a.dm4")
    write(path, image, 0.32)
    content = path.read_bytes()
    width, letter = (4, "i") if write is write_dm3 else (8, "q")
    start = content.index(b"%%%%")
    for place in range(start + 4, min(len(content), start + 400), width):
        changed = bytearray(content)
        struct.pack_into(f">{letter}", changed, place, value)
        path.write_bytes(changed)
        outcome(path)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u1", "u2", "u4", "f4", "f8"])
def test_every_type_of_digital_micrograph_is_written(tmp_path, image, version, dtype):
    path = tmp_path / f"a.dm{version}"
    write_dm4(path, (image % 100).astype(dtype), 0.32, version=version)
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, (image % 100).astype(dtype))
    assert read.image.dtype == dtype and read.pixel_size == pytest.approx(0.32)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_tags_of_an_image_are_written(tmp_path, image):
    tags = {"Microscope Info": {"Voltage": 80e3, "Name": "TEAM", "Stage": [1.5, 2], "STEM": False}}
    write_dm4(tmp_path / "a.dm4", image, None, image_tags=tags)
    (signal,) = digitalmicrograph.file_reader(str(tmp_path / "a.dm4"))
    read = signal["original_metadata"]["ImageList"]["TagGroup0"]["ImageTags"]["Microscope Info"]
    assert (read["Voltage"], read["Name"], read["STEM"]) == (80e3, "TEAM", False)
    assert list(read["Stage"].values()) == [1.5, 2]
    assert read_micrograph(tmp_path / "a.dm4").pixel_size is None


@pytest.mark.parametrize(
    "change",
    [dict(image=np.ones((2, 2, 2, 2))), dict(image=np.ones((2, 2), "i8")), dict(version=5)],
)
def test_what_digital_micrograph_does_not_hold_is_not_written(tmp_path, image, change):
    with pytest.raises(InputError, match="convert it"):
        write_dm4(tmp_path / "a.dm4", **({"image": image} | change))
    assert not list(tmp_path.iterdir())


def test_a_zarr_store_that_runs_python_is_refused(tmp_path, image):
    write_zspy(tmp_path / "a.zspy", image, 0.32)
    described = tmp_path / "a.zspy" / "Experiments" / "lattice" / "data" / ".zarray"
    described.write_text(
        described.read_text().replace('"filters": null', '"filters": [{"id": "pickle"}]')
    )
    assert "pickle" in described.read_text()
    with pytest.raises(InputError):
        read_micrograph(tmp_path / "a.zspy")


def test_a_reader_that_crashes_costs_one_file(tmp_path, image, monkeypatch):
    write_hspy(tmp_path / "a.hspy", image, 0.32)
    child = guard._Child()
    monkeypatch.setattr(guard, "_child", child)
    for code in ("input()", "import os; input(); os.abort()", "print('[', end='')"):
        with monkeypatch.context() as patch:
            patch.setattr(guard, "COMMAND", [sys.executable, "-c", code])
            with pytest.raises(
                InputError, match=r"a\.hspy is not a readable HSPY file: its reader"
            ):
                read_micrograph(tmp_path / "a.hspy")
        np.testing.assert_array_equal(read_micrograph(tmp_path / "a.hspy").image, image)
        child.stop()


def test_a_frame_whose_reader_dies_leaves_the_others_usable(tmp_path, series):
    write_dm4(tmp_path / "a.dm4", series, 0.32)
    with open_series(tmp_path / "a.dm4") as opened:
        np.testing.assert_array_equal(opened[0].image, series[0])
        guard._child._process.kill()
        guard._child._process.wait()
        np.testing.assert_array_equal(opened[1].image, series[1])


def test_an_interrupted_request_does_not_answer_the_next(tmp_path, image, monkeypatch):
    write_mrc(tmp_path / "a.mrc", image, 0.32)
    write_mrc(tmp_path / "b.mrc", image + 1, 0.32)
    read_micrograph(tmp_path / "a.mrc")  # so that the process runs

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(guard.json, "loads", interrupt)
        read_micrograph(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read_micrograph(tmp_path / "b.mrc").image, image + 1)


def test_files_are_closed_in_the_reading_process_too(tmp_path, image):
    for name in ("lattice.dm4", "ncem.emd", "lattice.mrc", "lattice.ser", "lattice.hspy"):
        WRITERS[name](tmp_path / name, image, 0.32)
        read_micrograph(tmp_path / name)
    (tmp_path / "broken.hspy").write_bytes((tmp_path / "lattice.hspy").read_bytes()[:2000])
    with pytest.raises(InputError):
        read_micrograph(tmp_path / "broken.hspy")
    process = Path(f"/proc/{guard._child._process.pid}")
    opened = [os.readlink(link) for link in (process / "fd").iterdir()]
    assert not any(str(tmp_path) in target for target in opened)
    assert str(tmp_path) not in (process / "maps").read_text()


def test_readers_have_limits(tmp_path, image):
    code = """if True:
        import sys, numpy
        from graphseg.io import guard, readers
        def hungry(path, stack): return numpy.ones(2**30)  # 8 GB
        def endless(path, stack):
            while True: pass
        readers.OPENERS |= {".mrc": hungry, ".ser": endless}
        guard.SECONDS = 1
        guard.main()
    """
    child = guard._Child()
    for name, message in (
        ("a.mrc", "is not a readable MRC"),
        ("a.ser", "its reader crashed or took"),
    ):
        write = WRITERS[f"lattice{name[1:]}"]
        write(tmp_path / name, image, 0.32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(guard, "COMMAND", [sys.executable, "-c", code])
            patch.setattr(guard, "_child", child)
            with pytest.raises(InputError, match=message):
                read_micrograph(tmp_path / name)
    child.stop()


def test_signed_bytes_of_mrc_have_a_sign_unless_imod_says_not(tmp_path, image):
    values = (image % 256 - 128).astype("i1")
    write_mrc(tmp_path / "a.mrc", values, 0.32, mode=0)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.mrc").image, values)
    content = bytearray((tmp_path / "a.mrc").read_bytes())
    struct.pack_into("<2i", content, 152, 1146047817, 0)
    (tmp_path / "a.mrc").write_bytes(content)
    np.testing.assert_array_equal(read_micrograph(tmp_path / "a.mrc").image, values.view("u1"))


def test_no_module_of_the_folder_with_the_files_is_run(tmp_path, image, monkeypatch):
    write_mrc(tmp_path / "a.mrc", image, 0.32)
    for name in ("numpy", "json", "rsciio", "graphseg"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    child = guard._Child()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(guard, "_child", child)
    np.testing.assert_array_equal(read_micrograph("a.mrc").image, image)
    child.stop()
    assert not (tmp_path / "ran").exists()

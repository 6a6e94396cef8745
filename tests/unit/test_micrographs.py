"""Micrographs of each format come back pixel by pixel, with their pixel size in Å."""

import struct

import numpy as np
import pytest
import rsciio.emd
import tifffile
from PIL import Image

from graphseg.errors import InputError
from graphseg.micrographs import read_micrograph, to_angstrom


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 4000, (20, 24)).astype(np.uint16)


def write_mrc(path, image, pixel_size):
    """Write the header that the MRC2014 standard asks for, and the pixels."""
    rows, columns = image.shape
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, columns, rows, 1, 6)  # mode 6: uint16
    struct.pack_into("<3i", header, 28, columns, rows, 1)
    struct.pack_into("<3f", header, 40, columns * pixel_size, rows * pixel_size, pixel_size)
    struct.pack_into("<3i", header, 64, 1, 2, 3)
    header[208:216] = b"MAP \x44\x44\x00\x00"
    path.write_bytes(bytes(header) + image.tobytes())


def write_ser(path, image, pixel_size):
    """Write one image as TIA does: header, one dimension, offsets, image, time tag."""
    rows, columns = image.shape
    dimension = struct.pack("<IddIII", 1, 0, 1, 0, 0, 0)
    offsets = 30 + len(dimension)
    metres = pixel_size * 1e-10
    element = struct.pack("<ddIddIHII", 0, metres, 0, 0, metres, 0, 2, columns, rows)
    start = offsets + 8
    tag = start + len(element) + image.nbytes
    header = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, 1, 1, offsets, 1)
    pixels = image[::-1].tobytes()  # the first row of the file is the lowest
    places = struct.pack("<II", start, tag)
    path.write_bytes(header + dimension + places + element + pixels + struct.pack("<HHI", 0, 0, 0))


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
        (0.5, "1/nm", None),
        (0.5, "", None),
        (0.0, "nm", None),
        (float("nan"), "nm", None),
    ],
)
def test_lengths_become_angstrom(value, unit, expected):
    result = to_angstrom(value, unit)
    assert result == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_its_pixels_and_has_no_pixel_size(tmp_path, image, dtype):
    path = tmp_path / "a.png"
    Image.fromarray(image.astype(dtype)).save(path, dpi=(300, 300))
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, image.astype(dtype))
    assert read.pixel_size is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int32])
def test_tiff_keeps_its_pixels_and_takes_no_print_resolution(tmp_path, image, dtype):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image.astype(dtype), resolution=(300, 300), resolutionunit="INCH")
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, image.astype(dtype))
    assert read.pixel_size is None


def test_tiff_of_imagej_has_its_pixel_size(tmp_path, image):
    path = tmp_path / "a.TIF"
    resolution = (1 / 0.032, 1 / 0.032)
    tifffile.imwrite(path, image, imagej=True, resolution=resolution, metadata={"unit": "nm"})
    read = read_micrograph(path)
    np.testing.assert_array_equal(read.image, image)
    assert read.pixel_size == pytest.approx(0.32)


# RosettaSciIO leaves the file of an MRC image to the garbage collector.
@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_mrc_keeps_its_pixels_and_pixel_size(tmp_path, image):
    write_mrc(tmp_path / "a.mrc", image, 0.32)
    read = read_micrograph(tmp_path / "a.mrc")
    np.testing.assert_array_equal(read.image, image)
    assert read.pixel_size == pytest.approx(0.32)


def test_ser_keeps_its_pixels_and_pixel_size(tmp_path, image):
    write_ser(tmp_path / "a.ser", image, 0.32)
    read = read_micrograph(tmp_path / "a.ser")
    np.testing.assert_array_equal(read.image, image)
    assert read.pixel_size == pytest.approx(0.32)


def test_a_frame_of_a_series_is_chosen(tmp_path, image):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([image, image + 1]), photometric="minisblack")
    np.testing.assert_array_equal(read_micrograph(path, frame=1).image, image + 1)
    with pytest.raises(InputError, match="holds 2 frames; choose one"):
        read_micrograph(path)
    with pytest.raises(InputError, match="there is no frame 2"):
        read_micrograph(path, frame=2)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "is empty"),
        ("a.png", b"GIF89a", "is no readable PNG"),
        ("a.tif", b"II*\x00", r"cannot be read as \.tif"),
        ("a.dm3", b"\x00" * 64, r"cannot be read as \.dm3"),
        ("a.dm4", b"\x00" * 64, r"cannot be read as \.dm4"),
        ("a.jpg", b"\xff\xd8", "none of the known suffixes"),
    ],
)
def test_a_bad_file_is_named_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_micrograph(tmp_path / name)
    assert name in str(caught.value)


def test_what_is_no_single_finite_greyscale_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_micrograph(tmp_path / "none.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(InputError, match="several channels"):
        read_micrograph(tmp_path / "rgb.png")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    with pytest.raises(InputError, match="several channels"):
        read_micrograph(tmp_path / "rgb.tif")
    tifffile.imwrite(tmp_path / "nan.tif", np.full((8, 8), np.nan, np.float32))
    with pytest.raises(InputError, match="not finite"):
        read_micrograph(tmp_path / "nan.tif")


def test_emd_keeps_its_pixels_and_pixel_size(tmp_path, image):
    axes = [
        {"name": name, "size": size, "scale": 0.032, "offset": 0, "units": "nm", "navigate": False,
         "index_in_array": position}
        for position, (name, size) in enumerate(zip("yx", image.shape, strict=True))
    ]  # fmt: skip
    metadata = {"General": {"title": "lattice"}, "Signal": {}}
    signal = {"data": image, "axes": axes, "metadata": metadata, "original_metadata": {}}
    rsciio.emd.file_writer(tmp_path / "a.emd", signal)
    read = read_micrograph(tmp_path / "a.emd")
    np.testing.assert_allclose(read.image, image)
    assert read.pixel_size == pytest.approx(0.32)

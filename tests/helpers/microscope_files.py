"""Small files of every format that is read, written from the formats' descriptions.

Each writer takes a path, an image (H, W) or a series (n, H, W) of unsigned 16-bit integers, and the
pixel size in Å. Where a library writes the format, it does.
"""

import json
import struct
import zipfile

import h5py
import numcodecs
import numpy as np
import rsciio.emd
import rsciio.hspy
import tifffile
import zarr
from PIL import Image

from book.tools.dm4 import write_dm4


def write_mrc(path, image, pixel_size, mode=6, order="<"):
    """Write the header that the MRC2014 standard asks for, and the pixels."""
    frames, rows, columns = np.atleast_3d(image.T).T.shape
    header = bytearray(1024)
    struct.pack_into(f"{order}4i", header, 0, columns, rows, frames, mode)
    struct.pack_into(f"{order}3i", header, 28, columns, rows, frames)
    sizes = [columns * pixel_size, rows * pixel_size, frames * pixel_size]
    struct.pack_into(f"{order}3f", header, 40, *sizes)
    struct.pack_into(f"{order}3i", header, 64, 1, 2, 3)
    header[208:216] = b"MAP " + (b"\x44\x44" if order == "<" else b"\x11\x11") + b"\0\0"
    path.write_bytes(bytes(header) + image.astype(image.dtype.newbyteorder(order)).tobytes())


def write_ser(path, image, pixel_size, version=0x0210):
    """Write a series as TIA does: header, one dimension, offsets, images with a time tag each."""
    images = image if image.ndim == 3 else image[None]
    word = "I" if version < 0x0220 else "Q"
    head = struct.pack("<HHHIIII", 0x4949, 0x0197, version, 0x4122, 0x4152, *[len(images)] * 2)
    dimension = struct.pack("<IddIII", len(images), 0, 1, 0, 0, 0)
    place = len(head) + struct.calcsize("<" + word) + 4 + len(dimension)
    head += struct.pack(f"<{word}I", place, 1) + dimension
    metres = pixel_size * 1e-10
    rows, columns = image.shape[-2:]
    element = struct.pack("<ddIddIHII", 0, metres, 0, 0, metres, 0, 2, columns, rows)
    size = len(element) + images[0].nbytes + 8
    first = place + 2 * len(images) * struct.calcsize("<" + word)
    starts = [first + i * size for i in range(len(images))]
    offsets = struct.pack(f"<{2 * len(starts)}{word}", *starts, *[s + size - 8 for s in starts])
    # The first row of the file is the lowest.
    body = b"".join(element + one[::-1].tobytes() + bytes(8) for one in images)
    path.write_bytes(head + offsets + body)


def write_velox(path, image, pixel_size, unit="m", factor=1e-10):
    """Write what Velox does for a camera: frames along the last axis, metadata as JSON."""
    frames = np.moveaxis(image if image.ndim == 3 else image[None], 0, -1)
    size = {"width": str(pixel_size * factor), "height": str(pixel_size * factor)}
    metadata = json.dumps({"BinaryResult": {"PixelSize": size, "PixelUnitX": unit}})
    column = np.zeros((len(metadata) + 9, frames.shape[-1]), np.uint8)
    column[: len(metadata)] = np.frombuffer(metadata.encode(), np.uint8)[:, None]
    with h5py.File(path, "w") as file:
        file["Version"] = [b'{"format": "Velox", "version": "10"}']
        group = file.create_group("Data/Image/0123456789abcdef")
        group.create_dataset("Data", data=frames, chunks=(*frames.shape[:2], 1))
        group["Metadata"] = column


def axes_of(image, scale, unit, navigate=()):
    """Return the axes of an array as RosettaSciIO wants them."""
    names = "utyx"[-image.ndim :]
    counting = [name in "ut" for name in names]
    return [
        {"name": name, "size": size, "scale": 1.0 if count else scale, "offset": 0.0,
         "units": "s" if count else unit, "navigate": count or i in navigate, "index_in_array": i}
        for i, (name, size, count) in enumerate(zip(names, image.shape, counting, strict=True))
    ]  # fmt: skip


def signal_of(image, scale, unit, navigate=()):
    """Return an array as RosettaSciIO writes it."""
    return {
        "data": image, "axes": axes_of(image, scale, unit, navigate),
        "metadata": {"General": {"title": "lattice"}, "Signal": {}}, "original_metadata": {},
        "attributes": {"_lazy": False}, "tmp_parameters": {}, "learning_results": {}, "models": {},
        "package_info": {"package": "", "package_version": ""},
    }  # fmt: skip


def write_ncem(path, image, pixel_size, unit="nm"):
    """Write the NCEM's EMD (Berkeley)."""
    rsciio.emd.file_writer(path, signal_of(image, pixel_size / 10, unit))


def write_hspy(path, image, pixel_size, unit="nm", navigate=()):
    """Write HyperSpy's HDF5."""
    signal = signal_of(image, pixel_size / 10, unit, navigate)
    rsciio.hspy.file_writer(path, signal, show_progressbar=False)


def write_zspy(path, image, pixel_size, unit="nm"):
    """Write HyperSpy's Zarr; RosettaSciIO does so only with an older zarr."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    experiment = group.create_group("Experiments/lattice")
    experiment.create_array("data", data=image)
    experiment.create_group("metadata/General").attrs["title"] = "lattice"
    for i, axis in enumerate(axes_of(image, pixel_size / 10, unit)):
        experiment.create_group(f"axis-{i}").attrs.update(axis)


def write_zipped_zspy(path, image, pixel_size):
    """Write the same into a zip file."""
    folder = path.with_name("folder.zspy")
    write_zspy(folder, image, pixel_size)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))


def write_imagej(path, image, pixel_size, unit="nm"):
    """Write a TIFF file as ImageJ does."""
    resolution = (10 / pixel_size, 10 / pixel_size)
    tifffile.imwrite(path, image, imagej=True, resolution=resolution, metadata={"unit": unit})


def write_ome(path, image, pixel_size):
    """Write an OME-TIFF file."""
    metadata = {"axes": "TYX"[-image.ndim :], "PhysicalSizeXUnit": "Å", "PhysicalSizeYUnit": "Å"}
    metadata |= {"PhysicalSizeX": pixel_size, "PhysicalSizeY": pixel_size}
    tifffile.imwrite(path, image, ome=True, metadata=metadata)


def write_dm_tiff(path, image, pixel_size, row_factor=1.0, compression=None):
    """Write a TIFF file with the tags of Digital Micrograph."""
    nm = pixel_size / 10
    tags = [(65003, "s", 0, "nm", True), (65004, "s", 0, "nm", True)]
    tags += [(65009, "d", 1, nm, True), (65010, "d", 1, nm * row_factor, True)]
    options = dict(extratags=tags, photometric="minisblack", compression=compression)
    tifffile.imwrite(path, image, **options)


def write_dm3(path, image, pixel_size):
    """Write the older Digital Micrograph format."""
    write_dm4(path, image, pixel_size, version=3)


def write_png(path, image, pixel_size=None):
    """Write a PNG file, which has no pixel size."""
    Image.fromarray(image).save(path)


WRITERS = {
    "lattice.dm3": write_dm3,
    "lattice.dm4": write_dm4,
    "velox.emd": write_velox,
    "ncem.emd": write_ncem,
    "lattice.mrc": write_mrc,
    "lattice.ser": write_ser,
    "lattice.hspy": write_hspy,
    "lattice.zspy": write_zspy,
    "zipped.zspy": write_zipped_zspy,
    "imagej.tif": write_imagej,
    "ome.ome.tiff": write_ome,
    "dm.tif": write_dm_tiff,
}


def write_ragged_zspy(path, images):
    """Write images of different sizes as HyperSpy does with Zarr 2, which Zarr 3 cannot."""

    def group(folder):
        folder.mkdir()
        (folder / ".zgroup").write_text('{"zarr_format": 2}')

    def array(folder, parts, dtype):
        folder.mkdir()
        codec = numcodecs.VLenArray(dtype)
        objects = np.empty(len(parts), object)
        objects[:] = parts
        (folder / "0").write_bytes(bytes(codec.encode(objects)))
        number = [len(parts)]
        about = {
            "zarr_format": 2, "shape": number, "chunks": number, "dtype": "|O", "order": "C",
            "fill_value": 0, "compressor": None, "filters": [codec.get_config()],
        }  # fmt: skip
        (folder / ".zarray").write_text(json.dumps(about))

    signal = path / "Experiments" / "ragged"
    for folder in (path, signal.parent, signal):
        group(folder)
    array(signal / "data", [one.ravel() for one in images], "<u2")
    array(signal / "ragged_shapes", [np.array(one.shape) for one in images], "<i8")


def write_ragged_hspy(path, images):
    """Write images of different sizes as HyperSpy does with HDF5."""
    with h5py.File(path, "w") as file:
        signal = file.create_group("Experiments/ragged")
        signal.create_group("axis-0").attrs.update(scale=1.0, units="", navigate=True)
        for name, kind in (("data", "u2"), ("ragged_shapes", "i8")):
            data = signal.create_dataset(name, (len(images),), h5py.vlen_dtype(kind))
            for number, one in enumerate(images):
                data[number] = one.ravel() if name == "data" else one.shape


def write_delmic(path, image, pixel_size):
    """Write what Odemis does: two acquisitions of five dimensions, one item without a value."""
    with h5py.File(path, "w") as file:
        file["Preview/Image"] = np.zeros((8, 8, 3), np.uint8)
        for number in range(2):
            acquisition = file.create_group(f"Acquisition{number}")
            acquisition["ImageData/Image"] = image[None, None, None]
            for name in "XY":
                acquisition[f"ImageData/DimensionScale{name}"] = pixel_size * 1e-10
            acquisition["PhysicalData/Title"] = "SEM"
            acquisition["PhysicalData/EmissionWavelength"] = h5py.Empty("f4")
            acquisition["SVIData/Company"] = "Delmic"

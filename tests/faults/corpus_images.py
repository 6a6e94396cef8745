"""Malformed and hostile image files of every format, written into a folder."""

import json
import os
import struct
import zipfile
import zlib

import h5py
import numpy as np
import tifffile
import zarr
from PIL import Image

from tests.helpers import microscope_files as formats

PIXEL_SIZE = 0.4
FLIPS = 2  # files with changed bytes for each format
PARTS = (0.1, 0.9)  # of a file that are left
FILES = {"plain.png": formats.write_png} | {
    name: write for name, write in formats.WRITERS.items() if name != "lattice.zspy"
}


def image(shape=(64, 72), seed=0):
    """Return noise; what is in an image makes no difference here."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.uint16)


def spoil(folder):
    """Write every file and return their names."""
    folder.mkdir(parents=True)
    for write in (_damaged, _declared, _values, _tiffs, _trees, _stores, _names):
        write(folder)
    return sorted(os.listdir(folder))


def _damaged(folder):
    """Every format: empty, cut, bytes changed, and under the suffix of another format."""
    random = np.random.default_rng(1)
    for name, write in FILES.items():
        good = folder.parent / name
        write(good, image(), PIXEL_SIZE)
        content = good.read_bytes()
        stem, dot, suffix = name.partition(".")
        for part in PARTS:
            cut = content[: int(part * len(content))]
            (folder / f"cut_{part}_{stem}{dot}{suffix}").write_bytes(cut)
        for number in range(FLIPS):
            changed = bytearray(content)
            for place in random.integers(0, min(len(content), 1500), 6):
                changed[place] ^= int(random.integers(1, 256))
            (folder / f"flipped_{number}_{stem}{dot}{suffix}").write_bytes(changed)
        (folder / f"empty_{stem}{dot}{suffix}").touch()
        other = ".dm4" if suffix != "dm4" else ".tif"
        (folder / f"really_{suffix.replace('.', '_')}_{stem}{other}").write_bytes(content)
    for suffix in (".png", ".tif", ".dm3", ".dm4", ".emd", ".mrc", ".ser", ".hspy", ".h5", ".zspy"):
        (folder / f"text{suffix}").write_text("This is no image.\n" * 50)
        (folder / f"zeros{suffix}").write_bytes(bytes(5000))


def _declared(folder):
    """Headers that declare more than there is, or nothing."""
    formats.write_mrc(folder / "huge.mrc", image(), PIXEL_SIZE)
    content = bytearray((folder / "huge.mrc").read_bytes())
    for name, sizes in {"huge": (2**30,) * 3, "minus": (-5, -5, -5), "none": (0, 0, 0)}.items():
        struct.pack_into("<3i", content, 0, *sizes)
        (folder / f"{name}.mrc").write_bytes(content)
    formats.write_ser(folder / "many.ser", image(), PIXEL_SIZE)
    content = bytearray((folder / "many.ser").read_bytes())
    struct.pack_into("<I", content, 18, 2**31)
    (folder / "many.ser").write_bytes(content)
    formats.write_png(folder / "huge.png", image())
    content = bytearray((folder / "huge.png").read_bytes())
    for name, side in {"huge": 10**6, "none": 0}.items():
        struct.pack_into(">II", content, 16, side, side)
        struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
        (folder / f"{name}.png").write_bytes(content)
    with h5py.File(folder / "huge.h5", "w") as file:
        file.create_dataset("a", (2**20, 2**20), "f8", chunks=(64, 64))


def _values(folder):
    """Pixels that are no numbers, no image, or say nothing."""
    real = image().astype(np.float32)
    for name, value in {"nan": np.nan, "infinite": np.inf}.items():
        tifffile.imwrite(folder / f"{name}.tif", np.where(real > 3000, np.float32(value), real))
    tifffile.imwrite(folder / "beyond.tif", np.full((64, 64), 1e300))
    tifffile.imwrite(folder / "constant.tif", np.full((64, 64), 7, np.uint8))
    tifffile.imwrite(folder / "one.tif", np.ones((1, 1), np.uint8))
    tifffile.imwrite(folder / "line.tif", image((1, 500)))
    tifffile.imwrite(folder / "complex.tif", image().astype(np.complex64))
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(colours).save(folder / "colours.png")
    Image.fromarray(colours).convert("P").save(folder / "palette.png")
    for name, size in {"no_size": 1e30, "tiny_size": 1e-30, "minus": -0.4}.items():
        formats.write_mrc(folder / f"{name}_pixels.mrc", image(), size)
    formats.write_dm4(folder / "spectrum.dm4", image(), scales=[(1.0, "eV"), (1.0, "eV")])
    formats.write_dm4(folder / "pattern.dm4", image(), scales=[(0.1, "1/nm"), (0.1, "1/nm")])
    formats.write_dm4(folder / "oblong.dm4", image(), scales=[(0.04, "nm"), (0.08, "nm")])


def _tiffs(folder):
    """TIFF files whose directory lies."""
    tifffile.imwrite(folder / "bomb.tif", np.zeros((64, 64), np.uint8), compression="zlib")
    with tifffile.TiffFile(folder / "bomb.tif") as file:
        tags = {n: file.pages[0].tags[n].valueoffset for n in ("StripOffsets", "StripByteCounts")}
    content = bytearray((folder / "bomb.tif").read_bytes())
    packer = zlib.compressobj(9)
    bomb, block = (
        packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    bomb += 255 * block  # 4 GB of zeros in 4 MB
    struct.pack_into("<I", content, tags["StripOffsets"], len(content))
    struct.pack_into("<I", content, tags["StripByteCounts"], len(bomb))
    (folder / "bomb.tif").write_bytes(content + bomb)
    tifffile.imwrite(folder / "loop.tif", image())
    content = bytearray((folder / "loop.tif").read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    number = struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<I", content, first + 2 + 12 * number, first)  # the next is the first again
    (folder / "loop.tif").write_bytes(content)


def _trees(folder):
    """HDF5 files that lead elsewhere, hold objects, or bend their own tree."""
    with h5py.File(folder / "external_link.h5", "w") as file:
        file["a"] = h5py.ExternalLink("/etc/hostname", "/")
    with h5py.File(folder / "external_data.h5", "w") as file:
        file.create_dataset("a", (8, 8), "u1", external=[("/etc/passwd", 0, 64)])
    with h5py.File(folder / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((8, 8), "u1")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "a", (8, 8))
        file.create_virtual_dataset("a", layout)
    with h5py.File(folder / "text_only.h5", "w") as file:
        file["a"] = ["no", "image"]
    with h5py.File(folder / "several.h5", "w") as file:
        file["a"], file["b"] = image(), image()
    with h5py.File(folder / "round.h5", "w") as file:
        file["a/b"] = h5py.SoftLink("/a")
        file["Experiments"] = h5py.SoftLink("/a/b")
    with h5py.File(folder / "velox_text.emd", "w") as file:
        file["Version"] = [b"{}"]
        file["Data/Image/0/Data"] = image()[..., None]
        file["Data/Image/0/Metadata"] = np.frombuffer(b"{not JSON", np.uint8)[:, None]
    h5py.File(folder / "nothing.h5", "w").close()


def _stores(folder):
    """Zarr stores that run code, lead elsewhere or are bombs."""
    for name in ("pickle", "fifo", "link", "metadata"):
        formats.write_zspy(folder / f"{name}.zspy", image(), PIXEL_SIZE)
    data = "Experiments/lattice/data"
    described = folder / "pickle.zspy" / data / ".zarray"
    values = json.loads(described.read_text()) | {"filters": [{"id": "pickle"}]}
    described.write_text(json.dumps(values))
    for name in ("fifo", "link"):
        chunk = next((folder / f"{name}.zspy" / data).glob("0*"))
        chunk.unlink()
        if name == "fifo":
            os.mkfifo(chunk)
        else:
            chunk.symlink_to("/etc/passwd")
    (folder / "metadata.zspy" / data / ".zarray").write_text("[" * 100000)
    formats.write_zipped_zspy(folder / "slip.zspy", image(), PIXEL_SIZE)
    with zipfile.ZipFile(folder / "slip.zspy", "a") as archive:
        archive.writestr("../../slipped", "out of the store")
        archive.writestr("/tmp/graphseg_slipped", "out of the store")
    (folder / "folder.zspy").rename(folder / "fine.zspy")
    zarr.create_array(folder / "chunk.zarr", shape=(64, 64), dtype="f8", chunks=(2**20, 2**20))
    with zipfile.ZipFile(folder / "bomb.zspy", "w", zipfile.ZIP_DEFLATED) as archive:
        array = {"zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "|u1",
                 "compressor": None, "fill_value": 0, "order": "C", "filters": None}  # fmt: skip
        archive.writestr(".zarray", json.dumps(array))
        archive.writestr("0.0", bytes(4096))
        archive.filelist[-1].file_size = 3 * 2**30


def _names(folder):
    """Names that are hard to print, and things that are no files."""
    good = image()
    for name in ("new\nline.tif", "tab\there.tif", "$(touch slipped).tif", "-rf.tif", "ü…😀.tif",
                 "<b>&amp;.tif", "=1+1.tif", "%s{}.tif", "a" * 247 + ".tif"):  # fmt: skip
        formats.write_imagej(folder / name, good, PIXEL_SIZE)
    formats.write_imagej(folder / os.fsdecode(b"not_\xff_utf8.tif"), good, PIXEL_SIZE)
    os.mkfifo(folder / "pipe.tif")
    (folder / "device.tif").symlink_to("/dev/zero")
    (folder / "nowhere.tif").symlink_to("missing")
    (folder / "round.tif").symlink_to("round.tif")
    (folder / "inner.tif").mkdir()
    formats.write_imagej(folder / "inner.tif" / "deep.tif", good, PIXEL_SIZE)

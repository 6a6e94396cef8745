"""Readers of microscope formats, which run in a guarded process of their own (see `guard`).

That process limits their time and memory, so they may believe what a header declares. What limits
cannot notice is refused here: files that take data from other files, and programs in a store.
Digital Micrograph and NCEM's EMD are read by RosettaSciIO; why the others are not stands in
CONTRIBUTING.md under "Kept by hand".

References
----------
Cheng et al. (2015), MRC2014, doi 10.1016/j.jsb.2015.04.002; Boothroyd, description of the TIA
series file format (ER-C, Jülich).
"""

import json
import math
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from graphseg.errors import InputError, extra

RAGGED = "vlen-array"  # how a store of Zarr 2 marks an array of arrays of different sizes
LARGEST_CHUNK = 2**31  # bytes of a piece of a Zarr store: its process could not hold two of them

MRC_HEADER = 1024  # bytes
MRC_TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
MRC_FEI_HEADER = 128 * 1024  # bytes, which only FEI's extended header has
IMOD_STAMP = 1146047817  # the mark of a file whose flags tell whether bytes have a sign

SER_SPECTRA = 0x4120
SER_LONG_OFFSETS = 0x0220  # the version that has offsets of 8 bytes
SER_TYPES = ("", "u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8", "c8", "c16")
SER_IMAGE = struct.Struct("<ddIddIHII")
LARGEST_PIXEL = 1e-3  # metres; a larger step can only be one of diffraction, in 1/m


@dataclass(frozen=True)
class Axis:
    """One dimension of a signal: its step, the unit of it, and whether it only counts frames."""

    scale: float = 1.0
    unit: str = ""
    navigate: bool = False


@dataclass(frozen=True, eq=False)
class Signal:
    """One data set of a file."""

    shape: tuple[int, ...]  # (..., H, W), without colour channels
    dtype: np.dtype  # as stored, of one colour channel
    axes: tuple[Axis, ...]  # one for each dimension of the shape
    # Maps an index into the leading dimensions to the frame, (H, W), or (H, W, channels) where
    # pixels have several.
    read: Callable[[tuple[int, ...]], np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)  # what else the file says


def image_axes(
    dimensions: int, rows: tuple[float, str] = (1.0, ""), columns: tuple[float, str] = (1.0, "")
) -> tuple[Axis, ...]:
    """Return axes of an image or a stack of them: step and unit down the rows and along them."""
    counting = (Axis(navigate=True),) * (dimensions - 2)
    return (*counting, Axis(*rows), Axis(*columns))


def open_digitalmicrograph(path: Path, stack: ExitStack) -> list[Signal]:
    """Return one signal for each image of a DM3 or DM4 file."""
    from rsciio import digitalmicrograph  # on demand, as all readers: it takes long to import

    try:
        signals = digitalmicrograph.file_reader(str(path), lazy=True)
    except ValueError:  # it reads colours only at once
        signals = digitalmicrograph.file_reader(str(path))
    return [from_rosetta(signal) for signal in signals]


def from_rosetta(signal: Mapping[str, Any]) -> Signal:
    """Return what RosettaSciIO read, lazily or not, as a signal."""
    data, axes = signal["data"], tuple(_axis(axis) for axis in signal["axes"])
    metadata = dict(signal.get("metadata", {}))
    return Signal(data.shape, data.dtype, axes, partial(_computed, data), metadata)


def from_hyperspy(signal: Any) -> Signal:
    """Return a signal of HyperSpy, which need not be installed, lazy or not."""
    manager, data = signal.axes_manager, signal.data
    # HyperSpy lists them the other way round, navigation and signal apart.
    axes = sorted(
        (*manager.navigation_axes, *manager.signal_axes), key=lambda axis: axis.index_in_array
    )
    described = tuple(
        _axis({name: getattr(axis, name, None) for name in ("scale", "units", "navigate")})
        for axis in axes
    )
    return Signal(data.shape, data.dtype, described, partial(_computed, data))


def _computed(data: Any, index: tuple[int, ...]) -> np.ndarray:
    frame = data[index]
    # Threads would not make a single frame faster.
    return np.asarray(frame.compute(scheduler="synchronous") if hasattr(frame, "dask") else frame)


def _axis(values: Any) -> Axis:
    """Return an axis of RosettaSciIO's or HyperSpy's; an uneven or nameless one counts as bare."""
    scale, unit = values.get("scale"), values.get("units")
    unit = unit if isinstance(unit, str) else ""
    return Axis(1.0 if scale is None else float(scale), unit, bool(values.get("navigate", False)))


def open_mrc(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of an MRC file; its unit is Å and its rows are as in the file."""
    # FEI's older extended header has the pixel size, in metres, that the header itself then lacks.
    with path.open("rb") as file:
        header = file.read(MRC_HEADER)
    order = ">" if header[212:214] == b"\x11\x11" else "<"
    *shape, mode = struct.unpack_from(f"{order}4i", header)  # columns, rows, frames
    *steps, columns, rows, _ = struct.unpack_from(f"{order}3i3f", header, 28)
    (extended,) = struct.unpack_from(f"{order}i", header, 92)
    stamp, flags = struct.unpack_from(f"{order}2i", header, 152)
    scales = [(rows / max(steps[1], 1), "Å"), (columns / max(steps[0], 1), "Å")]
    if extended == MRC_FEI_HEADER:
        metres = np.fromfile(path, f"{order}f4", 1, offset=MRC_HEADER + 44)[0]
        scales = [(float(metres), "m")] * 2
    kind = "u1" if mode == 0 and stamp == IMOD_STAMP and not flags & 1 else MRC_TYPES[mode]
    data = np.memmap(path, order + kind, "r", MRC_HEADER + extended, tuple(shape[::-1]))
    return [Signal(data.shape, data.dtype, image_axes(3, *scales), data.__getitem__)]


def open_ser(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the one signal of a SER file of TIA; its unit is m, or 1/m in diffraction."""
    # The first row of the file is the lowest of the image, and is turned here. Whether it is a
    # diffraction pattern only the accompanying EMI file says, but the step tells: a pixel larger
    # than a millimetre is none of a micrograph.
    content = np.memmap(path, np.uint8, "r")
    mark, _, version, kind, _, _, valid = struct.unpack_from("<HHHIIII", content)
    if mark != 0x4949 or valid < 1:
        raise InputError(f"{path} holds no finished acquisition; export the image again.")
    if kind == SER_SPECTRA:
        return [Signal((1,), np.dtype("f4"), (Axis(unit="eV"),), content.__getitem__)]
    word = "<u8" if version >= SER_LONG_OFFSETS else "<u4"
    place = int(np.frombuffer(content, word, 1, 22)[0])
    offsets = np.frombuffer(content, word, valid, place).tolist()
    values = SER_IMAGE.unpack_from(content, offsets[0])
    _, column_step, _, _, row_step, _, kind, columns, rows = values
    scales = [(s, "1/m" if abs(s) > LARGEST_PIXEL else "m") for s in (row_step, column_step)]
    shape, read = (valid, rows, columns), partial(_ser_frame, content, offsets)
    return [Signal(shape, np.dtype(SER_TYPES[kind]), image_axes(3, *scales), read)]


def _ser_frame(content: np.ndarray, offsets: list[int], index: tuple[int, ...]) -> np.ndarray:
    offset = offsets[index[0]]
    *_, kind, columns, rows = SER_IMAGE.unpack_from(content, offset)
    start = offset + SER_IMAGE.size
    pixels = np.frombuffer(content, "<" + SER_TYPES[kind], rows * columns, start)
    return pixels.reshape(rows, columns)[::-1]


def open_hdf5(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the signals of an HDF5 file: HyperSpy's, Velox's, NCEM's, or with a single array."""
    import h5py

    file = stack.enter_context(h5py.File(path, "r"))
    arrays = _confined_arrays(path, file)
    if "Experiments" in file:
        return _hyperspy(file)
    if "Data" in file and "Version" in file:
        return [_velox(group) for group in file["Data"].get("Image", {}).values()]
    groups = [file, *(item for item in file.values() if isinstance(item, h5py.Group))]
    if any({"version_major", "emd_group_type"} & set(group.attrs) for group in groups):
        return _ncem(path, stack)
    # Groups of Odemis: AcquisitionN/{ImageData, PhysicalData, SVIData}.
    named = [n for n, i in file.items() if isinstance(i, h5py.Group) and "ImageData" in i]
    delmic = [name for name in named if name.startswith("Acquisition")]
    if delmic:
        raise InputError(
            f"{path} is a file of Odemis, Delmic's program, with {', '.join(delmic)}, and is not "
            "read; export the image as TIFF."
        )
    return [_plain(path, arrays)]


def _confined_arrays(path: Path, file: Any) -> list[Any]:
    """Return all arrays of a file; refuse what leads out of it, to any file of the machine."""
    import h5py

    outside, arrays = [], []

    def look_at_link(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink):
            outside.append(name)

    def look_at_item(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays.append(item)
            if item.external or item.is_virtual:
                outside.append(name)

    file.visititems_links(look_at_link)
    file.visititems(look_at_item)
    if outside:
        raise InputError(f"{path} takes {outside[0]} from another file; export a whole one.")
    return arrays


def _velox(group: Any) -> Signal:
    """Return an image of Velox: Data/Image/identifier/{Data (H, W, frames), Metadata (JSON)}."""
    data = group["Data"]
    text = bytes(group["Metadata"][:, 0]).rstrip(b"\0").decode("utf-8")
    metadata = json.loads(text)
    result = metadata["BinaryResult"]
    steps, unit = result.get("PixelSize", {}), result.get("PixelUnitX", "")
    axes = image_axes(3, *((float(steps.get(side, 0)), unit) for side in ("height", "width")))
    shape = (data.shape[2], *data.shape[:2])
    return Signal(shape, data.dtype, axes, lambda index: data[:, :, index[0]], metadata)


def _ncem(path: Path, stack: ExitStack) -> list[Signal]:
    from rsciio import emd
    from rsciio.utils.file import get_file_handle

    signals = emd.file_reader(str(path), lazy=True)
    for signal in signals:
        handle = get_file_handle(signal["data"], warn=False)
        if handle is not None:
            stack.callback(handle.close)
    return [from_rosetta(signal) for signal in signals]


def open_zarr(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the signals of a Zarr store, a folder or a zip file: HyperSpy's or a single array."""
    with extra("zarr", f"{path}, a Zarr store,"):
        import zarr

    _check_store(path)
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else path
    if path.is_file():
        stack.callback(_close, store)
    root = zarr.open(store, mode="r")
    items = [root] if isinstance(root, zarr.Array) else [item for _, item in root.members(None)]
    arrays = [item for item in items if isinstance(item, zarr.Array)]
    for one in arrays:
        if "pickle" in json.dumps(one.metadata.to_dict(), default=str):
            raise InputError(f"{path} contains a Python program; save it with another compression.")
        if math.prod(one.chunks) * one.dtype.itemsize > LARGEST_CHUNK:
            raise InputError(f"{path} is stored in pieces of {one.chunks}; save smaller ones.")
    if isinstance(root, zarr.Group) and "Experiments" in root:
        return _hyperspy(root)
    return [_plain(path, arrays)]


def _check_store(path: Path) -> None:
    """Refuse what is no plain file inside of a store, or too large to be a piece of one."""
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            sizes = {PurePosixPath(one.filename): one.file_size for one in archive.infolist()}
        if max(sizes.values(), default=0) > LARGEST_CHUNK:
            raise InputError(f"{path} is stored in pieces that are too large; save smaller ones.")
        odd = [name for name in sizes if name.is_absolute() or ".." in name.parts]
    else:
        files = (p for p in path.rglob("*") if not p.is_dir() or p.is_symlink())
        odd = [p for p in files if not stat.S_ISREG(p.lstat().st_mode)]
    if odd:
        raise InputError(f"{path} leads out of itself with {odd[0]}; copy the store as a whole.")
    if any(RAGGED in text for text in _descriptions(path)):  # zarr 3 only has a traceback for it
        raise InputError(f"{path} holds frames of different sizes; save each as its own file.")


def _descriptions(path: Path) -> Iterator[str]:
    """Yield what a store of Zarr 2 says of its arrays, as JSON."""
    if path.is_dir():
        yield from (one.read_text("utf-8", "replace") for one in path.rglob(".zarray"))
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if PurePosixPath(name).name == ".zarray":
                yield archive.read(name).decode("utf-8", "replace")


def _close(store: Any) -> None:
    with suppress(AttributeError):  # zarr cannot close what it failed to open
        store.close()


def _hyperspy(root: Any) -> list[Signal]:
    """Return the signals of HyperSpy's layout: Experiments/title/{data, axis-0, axis-1, …}."""
    signals = []
    for name in root["Experiments"]:
        group = root["Experiments"][name]
        data = group["data"]
        axes = tuple(_axis(group[f"axis-{i}"].attrs) for i in range(len(data.shape)))
        metadata = dict(_leaves(group["metadata"])) if "metadata" in group else {}
        signals.append(Signal(tuple(data.shape), data.dtype, axes, data.__getitem__, metadata))
    return signals


def _leaves(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a group and, as dictionaries, those of the groups in it."""
    yield from group.attrs.items()
    for name in group:
        if hasattr(group[name], "attrs") and not hasattr(group[name], "dtype"):
            yield name, dict(_leaves(group[name]))


def _plain(path: Path, arrays: list[Any]) -> Signal:
    """Return the only array of a file that says nothing about it."""
    # An empty one has no shape.
    images = [one for one in arrays if len(one.shape or ()) >= 2 and one.dtype.kind in "biufc"]
    if len(images) != 1:
        raise InputError(f"{path} holds {len(images)} arrays; export a file with one image.")
    (data,) = images
    return Signal(tuple(data.shape), data.dtype, image_axes(len(data.shape)), data.__getitem__)


OPENERS: dict[str, Callable[[Path, ExitStack], list[Signal]]] = {
    ".dm3": open_digitalmicrograph, ".dm4": open_digitalmicrograph,
    ".emd": open_hdf5, ".mrc": open_mrc, ".mrcs": open_mrc, ".ser": open_ser,
    ".hspy": open_hdf5, ".h5": open_hdf5, ".hdf5": open_hdf5,
    ".zspy": open_zarr, ".zarr": open_zarr,
}  # fmt: skip

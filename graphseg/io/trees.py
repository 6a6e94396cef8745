"""Files that are trees of data sets: EMD, HyperSpy's HDF5 and Zarr, and plain ones of either.

The NCEM's EMD files (Berkeley) have many dialects and are read by RosettaSciIO. Velox's are read
here, because RosettaSciIO wants another package for the spectra beside an image even if only the
image is asked for; and HyperSpy's, because they have one layout in HDF5 and Zarr, and RosettaSciIO
reads Zarr only with a release that is no longer kept up.
"""

import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import numpy as np

from graphseg.errors import InputError
from graphseg.io import guard
from graphseg.io.formats import LARGEST_CHUNK, Axis, Signal, image_axes

SMALL = 2**26  # bytes; what is smaller may hold as little as it likes
HIGHEST_COMPRESSION = 1100  # of deflate, whose limit is 1032


def open_hdf5(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the signals of an HDF5 file, whichever layout it has."""
    guard.check(path)
    file = stack.enter_context(h5py.File(path, "r"))
    _check_confined(path, file)
    datasets: list[h5py.Dataset] = []
    file.visititems(lambda _, item: datasets.append(item) if hasattr(item, "dtype") else None)
    for dataset in datasets:
        _check_extent(path, dataset)
    if "Experiments" in file:
        return _hyperspy(path, file)
    if "Data" in file and "Version" in file:
        return _velox(path, file["Data"].get("Image", {}))
    if _is_ncem(file):
        return _open_ncem(path, stack)
    return [_plain(path, datasets)]


def _is_ncem(file: h5py.File) -> bool:
    groups = [file, *(item for item in file.values() if isinstance(item, h5py.Group))]
    return any({"version_major", "emd_group_type"} & set(group.attrs) for group in groups)


def _check_confined(path: Path, file: h5py.File) -> None:
    """Refuse links and data that lead out of the file: they could name any file of the machine."""
    outside: list[str] = []

    def look_at_link(name: str, link: object) -> None:
        if isinstance(link, h5py.ExternalLink):
            outside.append(name)

    def look_at_item(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            outside.append(name)

    file.visititems_links(look_at_link)
    file.visititems(look_at_item)
    if outside:
        raise InputError(f"{path} takes {outside[0]} from another file; export a whole one.")


def _check_extent(path: Path, dataset: h5py.Dataset) -> None:
    """Refuse a declared size that the stored bytes cannot fill."""
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(SMALL, HIGHEST_COMPRESSION * stored):
        raise InputError(
            f"{path} declares {dataset.shape} values of {dataset.name} but holds too few; copy it "
            "again."
        )


def _velox(path: Path, images: Any) -> list[Signal]:
    """Return the images of Velox: Data/Image/identifier/{Data (H, W, frames), Metadata (JSON)}."""
    signals = []
    for group in images.values():
        data = group["Data"]
        text = bytes(group["Metadata"][:, 0]).rstrip(b"\0").decode("utf-8")
        metadata = json.loads(text)
        result = metadata["BinaryResult"]
        steps, unit = result.get("PixelSize", {}), result.get("PixelUnitX", "")
        rows, columns = (float(steps.get(side, 0)) for side in ("height", "width"))
        axes = image_axes(3, (rows, unit), (columns, unit))
        shape = (data.shape[2], *data.shape[:2])
        read = partial(_velox_frame, data)
        signals.append(_stored(path, data, axes, metadata, shape, read))
    return signals


def _velox_frame(data: h5py.Dataset, index: tuple[int, ...]) -> np.ndarray:
    return data[:, :, index[0] if index else 0]


def _open_ncem(path: Path, stack: ExitStack) -> list[Signal]:
    from rsciio import emd  # on demand: it takes long to import
    from rsciio.utils.file import get_file_handle

    signals = []
    for signal in emd.file_reader(str(path), lazy=True):
        data = signal["data"]
        handle = get_file_handle(data, warn=False)
        if handle is not None:
            stack.callback(handle.close)
        signals.append(from_rosetta(signal))
    return signals


def from_rosetta(signal: dict[str, Any]) -> Signal:
    """Return what RosettaSciIO read, lazily or not, as a signal."""
    data, axes = signal["data"], [_axis(axis) for axis in signal["axes"]]
    return Signal(
        tuple(int(n) for n in data.shape),
        np.dtype(data.dtype),
        tuple(axes),
        partial(_computed, data),
        dict(signal["metadata"]),
    )


def _computed(data: Any, index: tuple[int, ...]) -> np.ndarray:
    frame = data[index] if index else data
    # The scheduler of the caller, who may be a worker himself, is not for single frames.
    return np.asarray(frame.compute(scheduler="synchronous") if hasattr(frame, "dask") else frame)


def _axis(values: Any) -> Axis:
    """Return an axis of RosettaSciIO's or HyperSpy's; an uneven or nameless one counts as bare."""
    scale, unit = values.get("scale", 1.0), values.get("units")
    unit = unit if isinstance(unit, str) else ""
    return Axis(float(scale), unit, bool(values.get("navigate", False)))


def open_zarr(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the signals of a Zarr store, a folder or a zip file."""
    try:
        import zarr
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path} needs the Python package zarr; install graphseg[zarr] and try again."
        ) from error
    _check_store(path)
    store = zarr.storage.ZipStore(path, mode="r") if path.is_file() else path
    if path.is_file():
        stack.callback(_close, store)
    root = zarr.open(store, mode="r")
    if isinstance(root, zarr.Array):
        return [_plain(path, [root])]
    if "Experiments" in root:
        return _hyperspy(path, root)
    return [_plain(path, [item for _, item in root.members(None) if isinstance(item, zarr.Array)])]


def _check_store(path: Path) -> None:
    """Refuse what is no plain file inside of a store, or too large; nothing is ever unpacked."""
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
        odd = [n for n in sizes if PurePosixPath(n).is_absolute() or ".." in PurePosixPath(n).parts]
    else:
        files = {p: p.lstat() for p in path.rglob("*") if not p.is_dir() or p.is_symlink()}
        sizes = {p.relative_to(path).as_posix(): status.st_size for p, status in files.items()}
        odd = [str(p) for p, status in files.items() if not stat.S_ISREG(status.st_mode)]
    if odd:
        raise InputError(f"{path} leads out of itself with {odd[0]}; copy the store as a whole.")
    if max(sizes.values(), default=0) > LARGEST_CHUNK:
        raise InputError(f"{path} is stored in pieces that are too large; save it in smaller ones.")


def _close(store: Any) -> None:
    with suppress(AttributeError):  # zarr cannot close what it failed to open
        store.close()


def _hyperspy(path: Path, root: Any) -> list[Signal]:
    """Return the signals of HyperSpy's layout: Experiments/title/{data, axis-0, axis-1, …}."""
    return [_experiment(path, root["Experiments"][name]) for name in root["Experiments"]]


def _experiment(path: Path, group: Any) -> Signal:
    data = group["data"]
    axes = tuple(_axis(group[f"axis-{i}"].attrs) for i in range(len(data.shape)))
    metadata = dict(_leaves(group["metadata"])) if "metadata" in group else {}
    return _stored(path, data, axes, metadata)


def _leaves(group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the attributes of a group and, as dictionaries, those of the groups in it."""
    yield from group.attrs.items()
    for name in group:
        if hasattr(group[name], "attrs") and not hasattr(group[name], "dtype"):
            yield name, dict(_leaves(group[name]))


def _plain(path: Path, datasets: list[Any]) -> Signal:
    """Return the only array of a file that says nothing about it."""
    arrays = [one for one in datasets if len(one.shape) >= 2 and one.dtype.kind in "biufc"]
    if len(arrays) != 1:
        raise InputError(f"{path} holds {len(arrays)} arrays; export a file with one image.")
    return _stored(path, arrays[0], image_axes(len(arrays[0].shape)), {})


def _stored(
    path: Path,
    data: Any,
    axes: tuple[Axis, ...],
    metadata: dict[str, Any],
    shape: tuple[int, ...] | None = None,
    read: Callable[[tuple[int, ...]], np.ndarray] | None = None,
) -> Signal:
    """Return a signal whose frames stay in the file; its leading dimensions come first."""
    chunk = int(np.prod(data.chunks or (1,), dtype=object)) * data.dtype.itemsize
    if chunk > LARGEST_CHUNK:
        raise InputError(f"{path} is stored in pieces of {chunk} bytes; save it in smaller ones.")
    if hasattr(data, "metadata") and "pickle" in json.dumps(data.metadata.to_dict(), default=str):
        raise InputError(f"{path} contains a Python program; save it with another compression.")
    return Signal(shape or tuple(data.shape), data.dtype, axes, read or data.__getitem__, metadata)

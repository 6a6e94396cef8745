"""Reading micrographs: one 2-D array, its pixel size in Å, and the metadata of the file."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from graphseg.errors import InputError

# The reader of RosettaSciIO for each suffix; PNG is read by Pillow.
READERS = {
    ".tif": "tiff",
    ".tiff": "tiff",
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".mrc": "mrc",
    ".ser": "tia",
}
ANGSTROM = {
    "å": 1.0,
    "angstrom": 1.0,
    "a": 1.0,
    "nm": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "pm": 0.01,
    "m": 1e10,
    "cm": 1e8,
    "mm": 1e7,
}


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One micrograph.

    Attributes
    ----------
    image
        (H, W) array in the units and the dtype of the file; axes are (row, column).
    pixel_size
        Å per pixel, or None where the file does not say.
    metadata
        What else the file says, as RosettaSciIO gives it.
    """

    image: np.ndarray
    pixel_size: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def to_angstrom(value: float, unit: str) -> float | None:
    """Convert a length to Å; None if the unit is not one of length or the value not positive."""
    factor = ANGSTROM.get(unit.strip().replace("μ", "µ").replace("Å", "å").lower())
    if factor is None or not np.isfinite(value) or value <= 0:
        return None
    return float(value) * factor


def read_micrograph(path: str | Path, frame: int | None = None) -> Micrograph:
    """Read one greyscale image from PNG, TIFF, DM3/DM4, EMD, MRC or SER.

    Parameters
    ----------
    path
        The file.
    frame
        Which image to take from a file that holds a series, counted from 0.

    Raises
    ------
    InputError
        If the file is missing, empty, of another format or damaged, has several channels, holds
        a series and `frame` is not given, or has values that are not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy it again.")
    suffix = path.suffix.lower()
    if suffix == ".png":
        return _checked(path, _read_png(path))
    if suffix not in READERS:
        known = ", ".join([".png", *READERS])
        raise InputError(f"{path} has none of the known suffixes; convert it to one of {known}.")
    return _checked(path, _read_rosetta(path, READERS[suffix], frame))


def _read_png(path: Path) -> Micrograph:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in {"1", "L", "I;16", "I"}:
                raise InputError(
                    f"{path} has several channels (mode {image.mode}); save it as greyscale."
                )
            return Micrograph(np.asarray(image))
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path} is no readable PNG image; export or copy it again.") from error


def _read_rosetta(path: Path, reader: str, frame: int | None) -> Micrograph:
    try:
        module = import_module(f"rsciio.{reader}")  # on demand: some take long to import
    except ModuleNotFoundError as error:
        raise InputError(
            f"{path} needs the Python package {error.name}; install it and try again."
        ) from error
    try:
        signal = next(s for s in module.file_reader(str(path)) if s["data"].ndim >= 2)
        data = np.asarray(signal["data"])
        axis = signal["axes"][-1]
        unit = axis["units"] or (_imagej_unit(path) if reader == "tiff" else "")
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise InputError(
            f"{path} cannot be read as {path.suffix.lower()}; export or copy it again."
        ) from error
    image = _choose_frame(path, data, frame)
    return Micrograph(image, to_angstrom(axis["scale"], str(unit)), dict(signal["metadata"]))


def _imagej_unit(path: Path) -> str:
    """Return the unit that ImageJ wrote; RosettaSciIO takes its scale but only knows microns."""
    with tifffile.TiffFile(path) as tiff:
        return str((tiff.imagej_metadata or {}).get("unit", ""))


def _choose_frame(path: Path, data: np.ndarray, frame: int | None) -> np.ndarray:
    if data.dtype.names or (data.ndim == 3 and data.shape[-1] in {3, 4}):
        raise InputError(f"{path} has several channels; save it as greyscale.")
    if data.ndim == 2:
        return data
    if data.ndim > 3:
        raise InputError(f"{path} has {data.ndim} dimensions; export a single image.")
    if frame is None:
        raise InputError(f"{path} holds {len(data)} frames; choose one with frame=0 and so on.")
    if not -len(data) <= frame < len(data):
        raise InputError(f"{path} holds {len(data)} frames, so there is no frame {frame}.")
    return data[frame]


def _checked(path: Path, micrograph: Micrograph) -> Micrograph:
    if np.iscomplexobj(micrograph.image):
        raise InputError(f"{path} holds complex numbers; export an image in real space.")
    if not np.isfinite(micrograph.image).all():
        raise InputError(f"{path} has values that are not finite; mask or replace them first.")
    return micrograph

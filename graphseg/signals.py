"""What a microscope file holds: data sets with axes, whose frames are read when asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Larger frames are refused before memory is taken for them: a header can declare anything. Twice
# the 8192 × 8192 pixels that are promised, so that no camera in use is left out.
LARGEST_FRAME = 2**27  # pixels
LARGEST_CHUNK = 2**31  # bytes, of a compressed chunk of HDF5 or Zarr once it is unpacked

PLAUSIBLE = (1e-3, 1e6)  # Å per pixel of a micrograph; what says otherwise says nothing

ANGSTROM = {
    "pm": 0.01,
    "å": 1.0,
    "a": 1.0,
    "ang": 1.0,
    "angstrom": 1.0,
    "ångström": 1.0,
    "nm": 10.0,
    "nanometer": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "micrometer": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "m": 1e10,
    "meter": 1e10,
}
ANGLES = {"rad", "mrad", "µrad", "urad", "deg", "°"}
ENERGIES = {"ev", "kev", "mev"}


@dataclass(frozen=True)
class Axis:
    """One dimension of a signal: its step, the unit of it, and whether it only counts frames."""

    scale: float = 1.0
    unit: str = ""
    navigate: bool = False


@dataclass(frozen=True, eq=False)
class Signal:
    """One data set of a file.

    Attributes
    ----------
    shape
        (..., H, W), without colour channels.
    dtype
        As stored; a structured one has a field for each colour channel.
    axes
        One for each dimension of `shape`.
    read
        Maps an index into the leading dimensions to the frame, (H, W), or (H, W, channels) where
        pixels have several.
    metadata
        What else the file says.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    read: Callable[[tuple[int, ...]], np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)


def image_axes(
    dimensions: int, rows: tuple[float, str] = (1.0, ""), columns: tuple[float, str] = (1.0, "")
) -> tuple[Axis, ...]:
    """Return axes of an image or a stack of them: step and unit down the rows and along them."""
    counting = (Axis(navigate=True),) * (dimensions - 2)
    return (*counting, Axis(*rows), Axis(*columns))


def to_angstrom(value: float, unit: str) -> float | None:
    """Convert a length to Å; None if the unit is not one of length or the value not positive."""
    factor = ANGSTROM.get(_spelled(unit))
    if factor is None or not np.isfinite(value) or value <= 0:
        return None
    return float(value) * factor


def is_reciprocal(unit: str) -> bool:
    """Tell whether a unit is one of diffraction: 1/nm, Å^-1, mrad and the like."""
    unit = _spelled(unit)
    inverse = unit.startswith("1/") or unit.endswith(("-1", "⁻¹"))
    return unit in ANGLES or (inverse and unit.strip("1/^-⁻¹*()") in ANGSTROM)


def is_energy(unit: str) -> bool:
    """Tell whether a unit is one of energy, as spectra have."""
    return _spelled(unit) in ENERGIES


def _spelled(unit: str) -> str:
    """Return one spelling of a unit: micro and ångström have two characters, names a plural."""
    unit = "".join(unit.split()).replace("\u03bc", "µ").replace("\u212b", "å").lower()
    unit = unit.replace("metre", "meter")
    return unit[:-1] if unit[:-1] in ANGSTROM and unit.endswith("s") else unit

"""Reading micrographs: 2-D arrays, their pixel size in Å, and the metadata of the file."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np

from graphseg.errors import InputError
from graphseg.io import guard, readers
from graphseg.io.formats import (
    LARGEST_FRAME,
    PLAUSIBLE,
    Signal,
    is_energy,
    is_reciprocal,
    named,
    open_png,
    open_tiff,
    to_angstrom,
)

__all__ = ["SUFFIXES", "Micrograph", "Series", "open_series", "read_frames", "read_micrograph"]
__all__ += ["to_angstrom"]

SQUARE = 0.01  # relative difference of height and width of a pixel up to which it counts as square


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
        What else the file says.
    frame
        Place in the file, counted from 0, or None if it is the only image there.

    Examples
    --------
    >>> micrograph = Micrograph(np.zeros((4, 6)), pixel_size=0.4)
    >>> micrograph.image.shape[1] * micrograph.pixel_size  # the width of the field in Å
    2.4000000000000004
    """

    image: np.ndarray
    pixel_size: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    frame: int | None = None


class Series(Sequence[Micrograph]):
    """The micrographs of an open file; each is read when it is asked for.

    Iterating it or indexing it with an integer gives a `Micrograph` and raises an `InputError` for
    a frame that is damaged, which leaves the others usable.
    """

    def __init__(self, path: Path, signals: list[Signal]):
        self.path = path
        self._signals = signals
        self._counts = [int(np.prod(signal.shape[:-2])) for signal in signals]

    def __len__(self) -> int:
        return sum(self._counts)

    def __getitem__(self, index: int) -> Micrograph:
        index = place = as_index(index) + (len(self) if index < 0 else 0)
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} holds {len(self)} frames")
        signals = iter(zip(self._signals, self._counts, strict=True))
        signal, count = next(signals)
        while place >= count:
            place -= count
            signal, count = next(signals)
        frame = index if len(self) > 1 else None
        pixel_size = _pixel_size(self.path, signal)
        return Micrograph(_pixels(self.path, signal, place), pixel_size, signal.metadata, frame)


@contextmanager
def open_series(path: str | Path) -> Iterator[Series]:
    """Open a file of any known format; it is closed at the end of the ``with`` block.

    Formats: PNG, TIFF, DM3, DM4, EMD (Velox, NCEM, Berkeley), MRC, SER, HDF5 (HyperSpy's or with
    a single array) and Zarr (the same). A file with several data sets gives the frames of all that
    are micrographs, one after the other; those that are not are left out.

    Raises
    ------
    InputError
        If the file is missing, empty, damaged or of an unknown format, or holds no micrograph but
        a spectrum, a diffraction pattern, complex numbers or pixels that are not square.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/series.tif", np.zeros((3, 4, 6)), photometric="minisblack")
    ...     with open_series(f"{folder}/series.tif") as series:
    ...         len(series), series[2].frame
    (3, 2)
    """
    path = Path(path)
    opener = _opener(path)
    with ExitStack() as stack:
        with named(path):
            signals = opener(path, stack)
        usable = [signal for signal in signals if _refusal(signal) is None]
        if not usable:
            reason = _refusal(signals[0]) if signals else "holds no image; export one"
            raise InputError(f"{path} {reason}.")
        yield Series(path, usable)


def read_frames(path: str | Path) -> Iterator[Micrograph]:
    """Yield the micrographs of a file one by one, so that a long series needs little memory.

    Raises
    ------
    InputError
        As `open_series` and `read_micrograph`, when the first frame is asked for.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/series.tif", np.zeros((3, 4, 6)), photometric="minisblack")
    ...     [micrograph.image.shape for micrograph in read_frames(f"{folder}/series.tif")]
    [(4, 6), (4, 6), (4, 6)]
    """
    with open_series(path) as series:
        yield from series


def read_micrograph(path: str | Path, frame: int | None = None) -> Micrograph:
    """Read one micrograph from a file of any known format, see `open_series`.

    Grey images that were saved in colour are taken as grey. Pixels whose height and width differ
    by more than 1 % are refused.

    Parameters
    ----------
    path
        The file, or the folder of a Zarr store.
    frame
        Which image to take from a file that holds several, counted from 0.

    Raises
    ------
    InputError
        As `open_series`; and if the image has colours or is not finite, or if the file holds
        several frames and `frame` is not given or not among them.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     resolution = dict(resolution=(25, 25), metadata={"unit": "nm"})  # pixels in a nm
    ...     tifffile.imwrite(f"{folder}/a.tif", np.zeros((4, 6), "u2"), imagej=True, **resolution)
    ...     read_micrograph(f"{folder}/a.tif").pixel_size
    0.4
    """
    with open_series(path) as series:
        if frame is None and len(series) > 1:
            raise InputError(
                f"{path} holds {len(series)} frames; choose one with frame=0 and so on."
            )
        if frame is not None and not -len(series) <= frame < len(series):
            raise InputError(f"{path} holds {len(series)} frames, so there is no frame {frame}.")
        return series[frame or 0]


OPENERS: dict[str, Callable[[Path, ExitStack], list[Signal]]] = {
    ".png": open_png,
    ".tif": open_tiff,
    ".tiff": open_tiff,
} | dict.fromkeys(readers.OPENERS, guard.open_guarded)
SUFFIXES = tuple(OPENERS)
FOLDERS = (".zspy", ".zarr")


def _opener(path: Path) -> Callable[[Path, ExitStack], list[Signal]]:
    suffix = path.suffix.lower()
    if not (path.is_file() or (suffix in FOLDERS and path.is_dir())):
        raise InputError(f"{path} does not exist; check the name.")
    if suffix not in OPENERS:
        known = ", ".join(SUFFIXES)
        raise InputError(f"{path} has none of the known suffixes; convert it to one of {known}.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty; copy it again.")
    return OPENERS[suffix]


def _refusal(signal: Signal) -> str | None:
    """Return why a signal is no micrograph or a series of them, with the remedy."""
    plane = signal.axes[-2:]
    if len(signal.shape) < 2 or any(is_energy(axis.unit) for axis in signal.axes):
        return "holds a spectrum and no image; give an image"
    if any(is_reciprocal(axis.unit) for axis in plane):
        return "holds a diffraction pattern; give an image in real space"
    if any(axis.navigate for axis in plane):
        return "holds a scan of spectra or lines and no image; give an image"
    if sum(n > 1 for n in signal.shape[:-2]) > 1:
        return f"has {len(signal.shape)} dimensions; export a single image or a series"
    if signal.dtype.kind == "c":
        return "holds complex numbers; export an image in real space"
    if signal.dtype.kind not in "biuf":
        return "holds something else than one number a pixel; export an image"
    if min(signal.shape) < 1:
        return "holds no pixels; export the image again"
    if signal.shape[-2] * signal.shape[-1] > LARGEST_FRAME:
        return f"declares an image of {signal.shape[-2:]} pixels, which is too large; cut it up"
    return None


def _pixel_size(path: Path, signal: Signal) -> float | None:
    """Return Å per pixel, or None if the file does not say it for both directions."""
    rows, columns = (to_angstrom(abs(axis.scale), axis.unit) for axis in signal.axes[-2:])
    if rows is None or columns is None:
        return None
    if abs(rows / columns - 1) > SQUARE:
        raise InputError(
            f"{path} has pixels of {rows:.4g} Å by {columns:.4g} Å; resample it to square ones."
        )
    size = (rows + columns) / 2
    return size if PLAUSIBLE[0] <= size <= PLAUSIBLE[1] else None


def _pixels(path: Path, signal: Signal, frame: int) -> np.ndarray:
    """Read one frame, (H, W), in the dtype of the file but the byte order of this machine."""
    leading = signal.shape[:-2]
    index = tuple(int(i) for i in np.unravel_index(frame, leading))
    with named(path):
        image = _grey(path, signal.read(index))
        image = np.array(image, image.dtype.newbyteorder("="), order="C")
    # A NaN would be both extremes; more than float32 holds would become infinite later.
    if not np.abs([float(image.min()), float(image.max())]).max() <= np.finfo(np.float32).max:
        raise InputError(f"{path} has values that are not finite; mask or replace them first.")
    return image


def _grey(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Return a grey image that was saved in colour as (H, W); refuse real colours."""
    if pixels.ndim == 2:
        return pixels
    colours = pixels[..., :-1] if pixels.shape[-1] in (2, 4) else pixels  # without the opacity
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    raise InputError(f"{path} has several channels; save it as greyscale.")

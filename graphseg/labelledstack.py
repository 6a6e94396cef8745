"""Micrographs with their labels, names and acquisitions."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from graphseg.labelclasses import LabelClasses

# Published acquisitions that show a place which an earlier one of the same day shows too, shifted
# or turned: found by `graphseg.duplicates`, confirmed by eye. Later one: earlier one.
SAME_PLACE = {
    "2014_0104_Gr_FS_008": "2014_0104_Gr_FS_005",
    "2014_0105_Gr_FS_024": "2014_0105_Gr_FS_023",
    "2014_0601_Gr_FS_Dyna1_02": "2014_0601_Gr_FS_Dyna1_01",
    "2015_0310_Gr_D4_FS_002": "2015_0310_Gr_D4_FS_001",
}


@dataclass(frozen=True, eq=False)
class LabelledStack:
    """Micrographs with their labels.

    Attributes
    ----------
    images
        (n, H, W) float32 in [0, 1]; axes are (image, row, column).
    masks
        (n, H, W) bool, True where the surface is contaminated.
    names
        One name an image, without suffix.
    groups
        (n,) str, what must stay on one side of a split, see `group_of`: the frames of one focal or
        time series share it, and so do acquisitions that show the same place.
    dates
        (n,) str such as ``2014_0601``, the day of recording.
    source
        ``published``, ``simulated`` or ``folder``.
    pixel_size
        (n,) float64 in Å per pixel, NaN where unknown; None if none is known.
    labels
        (n, H, W) uint8, the number of the class of each pixel; None if there are no classes but
        contamination and the rest.
    classes
        What those numbers mean; None without `labels`.
    """

    images: np.ndarray
    masks: np.ndarray
    names: tuple[str, ...]
    groups: np.ndarray
    dates: np.ndarray
    source: str
    pixel_size: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: LabelClasses | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the names and the pixels of images and masks, as 64 hexadecimal digits."""
        sha = hashlib.sha256("\n".join(self.names).encode())
        sha.update(np.ascontiguousarray(self.images, dtype="<f4").tobytes())
        sha.update(np.packbits(self.masks).tobytes())
        if self.labels is not None:
            sha.update(self.classes.grey(self.labels).tobytes())
        return sha.hexdigest()

    @property
    def targets(self) -> np.ndarray:
        """What a network learns: `labels` if there are any, else `masks`; (n, H, W)."""
        return self.masks if self.labels is None else self.labels

    def pixel_size_of(self, index: int) -> float | None:
        """Return the pixel size of one image in Å per pixel, None where it is unknown."""
        if self.pixel_size is None or not np.isfinite(self.pixel_size[index]):
            return None
        return float(self.pixel_size[index])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "LabelledStack":
        """Return the images chosen by integer indices or a boolean array, in that order."""
        chosen = np.arange(len(self))[indices]
        return LabelledStack(
            self.images[chosen],
            self.masks[chosen],
            tuple(self.names[i] for i in chosen),
            self.groups[chosen],
            self.dates[chosen],
            self.source,
            None if self.pixel_size is None else self.pixel_size[chosen],
            None if self.labels is None else self.labels[chosen],
            self.classes,
        )


def acquisition_of(name: str) -> str:
    """Return the acquisition a frame belongs to: its name without a trailing ``_layer_NNNN``."""
    return re.sub(r"_layer_\d+$", "", name)


def group_of(name: str) -> str:
    """Return what an image must share its side of a split with: its acquisition, or its place.

    Acquisitions of :data:`SAME_PLACE` are one group, named after the first of them.
    """
    acquisition = acquisition_of(name)
    return SAME_PLACE.get(acquisition, acquisition)


def date_of(name: str) -> str:
    """Return the leading date of a name (``2014_0601``), or ``undated`` if it has none."""
    match = re.match(r"\d{4}_\d{4}(?=_|$)", name)
    return match[0] if match else "undated"


def label_overlaps(masks: np.ndarray) -> np.ndarray:
    """Return the overlap of each pair of labels, intersection over union (Jaccard index).

    Parameters
    ----------
    masks
        (n, H, W) bool.

    Returns
    -------
        (n, n) float64, symmetric; NaN for a pair of empty labels.
    """
    flat = masks.reshape(len(masks), -1).astype(np.float32)  # (n, H·W); exact below 2²⁴ pixels
    intersection = (flat @ flat.T).astype(np.float64)
    areas = np.diagonal(intersection)
    union = areas[:, None] + areas - intersection
    return np.divide(intersection, union, out=np.full(union.shape, np.nan), where=union > 0)

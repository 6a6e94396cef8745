"""What plain lossless codecs make of a stack: the yardstick of the chapter on data reduction."""

import io
import lzma
import zlib

import h5py
import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from graphseg.batch.reduction import CODECS, LIBRARY, checked_stack, chunk_shape

LONGEST_RUN = 255  # pixels, what one byte can count


def plain_sizes(images: ArrayLike) -> dict[str, int]:
    """Return the bytes that a stack takes with plain lossless codecs, one stream an image.

    Parameters
    ----------
    images
        (n, H, W) integers or floats of 8, 16 or 32 bits.

    Returns
    -------
        ``none`` (as in memory), ``zlib``, ``lzma`` (each at its strongest), ``HDF5 gzip`` (images
        alone, ``CODECS``) and, for unsigned integers of 8 and 16 bits, ``PNG``.
    """
    images, _ = checked_stack(images, np.zeros(np.shape(images), bool))
    streams = [image.tobytes() for image in images]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=LIBRARY) as file:
        file.create_dataset("images", data=images, chunks=chunk_shape(images), **CODECS)
    sizes = {
        "none": images.nbytes,
        "zlib": sum(len(zlib.compress(s, 9)) for s in streams),
        "HDF5 gzip": buffer.getbuffer().nbytes,
        "lzma": sum(len(lzma.compress(s, preset=9 | lzma.PRESET_EXTREME)) for s in streams),
    }
    native = images.astype(images.dtype.newbyteorder("="), copy=False)
    if native.dtype in (np.uint8, np.uint16):
        sizes["PNG"] = sum(map(_png_size, native))
    return sizes


def run_length_size(images: ArrayLike) -> int:
    """Return the bytes that a stack takes as runs of equal pixels, row after row.

    Each run is one value and one byte for its length, so that a run longer than 255 pixels is
    several.

    Parameters
    ----------
    images
        (n, H, W) integers; the bytes of a value are those of its dtype.
    """
    images = np.asarray(images)
    runs = 0
    for image in images.reshape(len(images), -1):
        ends = np.flatnonzero(np.append(image[1:] != image[:-1], True))
        runs += int(np.sum(-(-np.diff(ends, prepend=-1) // LONGEST_RUN)))
    return runs * (images.dtype.itemsize + 1)


def _png_size(image: np.ndarray) -> int:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getbuffer().nbytes

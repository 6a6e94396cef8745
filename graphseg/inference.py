"""Running a network over images of any size: padding, symmetries, overlapping tiles, blending."""

from collections.abc import Callable

import numpy as np
import torch

from graphseg.errors import InputError
from graphseg.unet import UNet

# The eight symmetries of the square: quarter turns, and whether to mirror first.
SYMMETRIES = tuple((quarters, mirrored) for quarters in range(4) for mirrored in (False, True))


def pad_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Pad an image at its lower and right edge by mirroring.

    Parameters
    ----------
    image : array, shape (..., H, W)
    multiple : int
        Height and width of the result are multiples of this.

    Returns
    -------
    array, shape (..., H', W')
        The image itself where nothing is to be added.
    """
    extra = [(0, -size % multiple) for size in image.shape[-2:]]
    if extra == [(0, 0), (0, 0)]:
        return image
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + extra, mode="symmetric")


def tile_slices(length: int, tile: int, overlap: int) -> list[slice]:
    """Cover a length with tiles of equal size that overlap by at least ``overlap``.

    Parameters
    ----------
    length, tile, overlap : int
        Pixels; ``overlap`` is less than ``tile``.

    Returns
    -------
    list of slice
        In order; the first starts at 0 and the last ends at ``length``.

    Raises
    ------
    InputError
        If the overlap is not between 0 and the tile.
    """
    if not 0 <= overlap < tile:
        raise InputError(f"An overlap of {overlap} px needs tiles larger than that, not {tile} px.")
    if length <= tile:
        return [slice(0, length)]
    number = -(-(length - overlap) // (tile - overlap))
    starts = np.linspace(0, length - tile, number).round().astype(int)
    return [slice(int(start), int(start) + tile) for start in starts]


def _ramp(part: slice, length: int, overlap: int) -> np.ndarray:
    """Weights of one tile along one axis: rising over the overlap, one at the image's edges."""
    position = np.arange(part.stop - part.start) + 1.0
    rising = position / (overlap + 1) if part.start else np.inf
    falling = position[::-1] / (overlap + 1) if part.stop < length else np.inf
    return np.minimum(1, np.minimum(rising, falling) * np.ones_like(position)).astype(np.float32)


def blend_tiles(
    image: np.ndarray, predict: Callable[[np.ndarray], np.ndarray], tile: int, overlap: int
) -> np.ndarray:
    """Predict an image tile by tile and average where the tiles overlap.

    Parameters
    ----------
    image : array of float32, shape (H, W)
    predict : callable
        Maps a tile (h, w) to its probabilities (h, w).
    tile, overlap : int
        Size of a tile and the least overlap of two, in pixels. Weights fall linearly towards a
        tile's inner edges, so that no seam is left. An image no larger than a tile is predicted
        whole.

    Returns
    -------
    array of float32, shape (H, W)
    """
    height, width = image.shape
    if max(height, width) <= tile:
        return predict(image)
    total, weight = np.zeros((2, height, width), np.float32)
    for rows in tile_slices(height, tile, overlap):
        for columns in tile_slices(width, tile, overlap):
            ramp = np.outer(_ramp(rows, height, overlap), _ramp(columns, width, overlap))
            total[rows, columns] += ramp * predict(image[rows, columns])
            weight[rows, columns] += ramp
    total /= weight
    return total


@torch.inference_mode()
def contamination(
    network: UNet, image: np.ndarray, precision: torch.dtype, averaging: bool
) -> np.ndarray:
    """Return the probability of contamination of one standardised image or tile.

    Parameters
    ----------
    network : UNet
        In evaluation mode; class 1 is contamination.
    image : array of float32, shape (H, W)
    precision : torch.dtype
        Of the convolutions.
    averaging : bool
        Average over the eight symmetries of the square instead of one pass.

    Returns
    -------
    array of float32, shape (H, W)
    """
    device = next(network.parameters()).device
    padded = torch.from_numpy(pad_to_multiple(image, network.multiple))[None, None].to(device)
    symmetries = SYMMETRIES if averaging else SYMMETRIES[:1]
    total = torch.zeros(padded.shape[-2:], device=device)
    with torch.autocast(device.type, precision, enabled=precision != torch.float32):
        for quarters, mirrored in symmetries:
            turned = torch.rot90(padded.flip(-1) if mirrored else padded, quarters, (-2, -1))
            logits = network(turned.contiguous(memory_format=torch.channels_last))
            result = torch.rot90(logits.float().softmax(1)[0, 1], -quarters, (-2, -1))
            total += result.flip(-1) if mirrored else result
    probability = (total / len(symmetries))[: image.shape[0], : image.shape[1]]
    return probability.cpu().numpy()

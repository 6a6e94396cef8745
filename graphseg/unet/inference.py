"""Running a network over images of any size: padding, symmetries, overlapping tiles, blending."""

from collections.abc import Callable

import numpy as np
import torch

from graphseg.errors import InputError
from graphseg.unet.network import UNet, prepared

BLOCK = 256  # rows of an image that are worked on at a time

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


def margin(network: UNet) -> int:
    """Return how far the result of one pixel depends on others, in pixels.

    Each 3x3 convolution reaches one pixel of its resolution further; halving and doubling add less
    than the coarsest pixel. Farther than this from its inner edges, a tile is as the whole image.
    """
    encoder = [2 * 2**level for level in range(network.levels)]
    return network.stride * (sum(encoder) + sum(encoder[:-1])) + network.multiple


def tile_slices(length: int, tile: int, overlap: int, multiple: int = 1) -> list[slice]:
    """Cover a length with tiles of equal size that overlap by at least ``overlap``, all in pixels.

    There are as few of them as possible, and they are then made as small as possible, so that the
    work grows with the length and not in steps of a tile. They start at multiples of
    ``multiple``, where the coarse pixels of a network start; the last ends at ``length`` or less
    than ``multiple`` behind it.

    Raises
    ------
    InputError
        If the overlap is not between 0 and the tile.
    """
    tile -= tile % multiple
    overlap += -overlap % multiple
    if not 0 <= overlap < tile:
        raise InputError(
            f"An overlap of {overlap} px needs tiles larger than that, not of {tile} px."
        )
    length += -length % multiple
    if length <= tile:
        return [slice(0, length)]
    number = -(-(length - overlap) // (tile - overlap))
    size = -(-(length + (number - 1) * overlap) // number)
    size += -size % multiple
    starts = [i * (length - size) // ((number - 1) * multiple) * multiple for i in range(number)]
    return [slice(start, start + size) for start in starts]


def tile_weights(slices: list[slice], blank: int) -> list[np.ndarray]:
    """Return the weights of overlapping tiles along an axis; at each pixel they add up to 1.

    ``blank`` pixels at the inner edges of a tile count nothing, because the tile does not know
    their surroundings; at most half the overlap. Between these, weights rise and fall linearly.
    """
    length = slices[-1].stop
    total = np.zeros(length)
    weights = []
    for before, part, after in zip([None, *slices], slices, [*slices[1:], None], strict=False):
        position = np.arange(part.start, part.stop) + 0.5
        weight = np.ones(len(position))
        for neighbour, distance in ((before, position - part.start), (after, part.stop - position)):
            if neighbour is not None:
                first, second = sorted([part, neighbour], key=lambda one: one.start)
                ramp = max(first.stop - second.start - 2 * blank, 1)
                weight = np.minimum(weight, np.clip((distance - blank) / ramp, 0, 1))
        total[part] += weight
        weights.append(weight)
    return [weight / total[part] for weight, part in zip(weights, slices, strict=True)]


def blend_tiles(
    image: np.ndarray,
    predict: Callable[[np.ndarray], np.ndarray],
    tile: int,
    overlap: int,
    blank: int = 0,
    multiple: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Predict an image tile by tile, with memory for one of them, and blend where they overlap.

    Parameters
    ----------
    image : array, shape (H, W)
    predict : callable
        Maps a tile (h, w) to its result (..., h, w).
    tile, overlap : int
        Largest size of a tile and least overlap of two, in pixels; both are made larger if
        ``blank`` needs it. An image no larger than a tile is predicted whole.
    blank, multiple : int
        See `tile_weights` and `tile_slices`. With the `margin` of a network and its ``multiple``,
        the result is that of the whole image, but for rounding.
    out : array of float32, shape (..., H, W), optional
        Zeros to add to, instead of a new array.

    Returns
    -------
    array of float32, shape (..., H, W)
    """
    overlap = max(overlap, 2 * blank)
    tile = max(tile, 2 * overlap) if blank else tile
    slices = [tile_slices(length, tile, overlap, multiple) for length in image.shape]
    weights = [tile_weights(parts, blank) for parts in slices]
    for rows, down in zip(slices[0], weights[0], strict=True):
        for columns, across in zip(slices[1], weights[1], strict=True):
            part = predict(image[rows, columns])
            if out is None:
                out = np.zeros((*part.shape[:-2], *image.shape), np.float32)
            height, width = part.shape[-2:]  # the last tiles may reach beyond the image
            weight = np.outer(down[:height], across[:width]).astype(np.float32)
            out[..., rows, columns] += part * weight
    return out


def moments(image: np.ndarray) -> tuple[np.float64, np.float64]:
    """Return mean and standard deviation of an image, (H, W), without a copy of it.

    The deviation of a constant image is infinite, so that dividing by it gives zeros, as in
    `graphseg.preprocessing.standardise`.
    """
    parts = range(0, len(image), BLOCK)
    mean = sum(image[i : i + BLOCK].sum(dtype=np.float64) for i in parts) / image.size
    square = sum(np.sum(np.subtract(image[i : i + BLOCK], mean, dtype=float) ** 2) for i in parts)
    deviation = np.sqrt(square / image.size)
    return mean, deviation if deviation > 1e-7 * abs(mean) else np.float64(np.inf)


@torch.inference_mode()
def probabilities(
    network: UNet,
    image: np.ndarray,
    precision: torch.dtype,
    test_time_augmentation: bool,
) -> np.ndarray:
    """Return the probability of each class in one standardised image or tile.

    Parameters
    ----------
    network : UNet
        In evaluation mode.
    image : array of float32, shape (H, W)
    precision : torch.dtype
        Of the convolutions.
    test_time_augmentation : bool
        Average over the eight symmetries of the square instead of one pass.

    Returns
    -------
    array of float32, shape (classes, H, W)
        Of two classes only that of class 1, contamination, shape (H, W).
    """
    device = next(network.parameters()).device
    fast = prepared(network, precision)
    padded = torch.from_numpy(pad_to_multiple(image, network.multiple))[None, None]
    padded = padded.to(device, precision)
    symmetries = SYMMETRIES if test_time_augmentation else SYMMETRIES[:1]
    total = 0
    for quarters, mirrored in symmetries:
        turned = torch.rot90(padded.flip(-1) if mirrored else padded, quarters, (-2, -1))
        values = fast(turned.contiguous(memory_format=torch.channels_last)).float().softmax(1)[0]
        values = values[1] if len(values) == 2 else values  # two add up to 1
        result = torch.rot90(values, -quarters, (-2, -1))
        total = total + (result.flip(-1) if mirrored else result)
    probability = (total / len(symmetries))[..., : image.shape[0], : image.shape[1]]
    return probability.cpu().numpy()

"""Running a network over images of any size and scale: pixel size, padding, symmetries, tiles.

A network recognises what it has seen: the lattice of graphene at certain numbers of pixels. An
image with finer pixels is reduced to the middle of that range. One with coarser pixels is taken as
it is, with a warning: enlarging smooths the noise, which networks take for something else. On
thirteen published images, reduced to 0.8 Å per pixel, the Jaccard index was 0.83 as they were, 0.61
enlarged to 0.74 Å and 0.13 enlarged to 0.5 Å.

A network that was trained at all scales, and on blurred images too, can be given every image at one
pixel size, its working one, finer or coarser. Then its mask hardly depends on the camera.

If the file does not state a pixel size, the lattice tells it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch.nn.functional import interpolate

from graphseg.checks import real_numbers
from graphseg.errors import InputError
from graphseg.structure.lattice import SMALLEST_SIDE, Lattice, measure_lattice
from graphseg.unet.network import UNet, prepared

BLOCK = 256  # rows of an image that are worked on at a time

# The eight symmetries of the square: quarter turns, and whether to mirror first.
SYMMETRIES = tuple((quarters, mirrored) for quarters in range(4) for mirrored in (False, True))
KNOWN = (0.30, 0.74)  # Å per pixel, measured from the lattices of the published images
TOLERANCE = 0.05  # relative; so little beyond the range, resizing costs more than it gains
FIELD = 1024  # pixels; side of the parts of a larger image in which the lattice is measured
SMALLEST_RESIZED = 64  # pixels; below it a network has too little to go by


def pad_to_multiple(image: np.ndarray, multiple: int) -> np.ndarray:
    """Mirror an image (..., H, W) at its lower and right edge, up to multiples of a number."""
    extra = [(0, -size % multiple) for size in image.shape[-2:]]
    if extra == [(0, 0), (0, 0)]:
        return image
    return np.pad(image, [(0, 0)] * (image.ndim - 2) + extra, mode="symmetric")


def margin(network: UNet) -> int:
    """Return how far the result of one pixel depends on others, in pixels."""
    # Each 3x3 convolution reaches one pixel of its resolution further; halving and doubling add
    # less than the coarsest pixel. Farther than this from its inner edges, a tile is as the whole
    # image.
    encoder = [2 * 2**level for level in range(network.levels)]
    return network.stride * (sum(encoder) + sum(encoder[:-1])) + network.multiple


def tile_slices(length: int, tile: int, overlap: int, multiple: int = 1) -> list[slice]:
    """Cover a length with tiles of equal size that overlap by at least ``overlap``, all in pixels.
    There are as few of them as possible, and they are then made as small as possible, so that the
    work grows with the length and not in steps of a tile. They start at multiples of ``multiple``,
    where the coarse pixels of a network start; the last ends at ``length`` or less than
    ``multiple`` behind it. InputError if the overlap is not between 0 and the tile."""
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
    their surroundings; at most half the overlap. Between these, weights rise and fall linearly."""
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
    `predict` maps a tile (h, w) of the image (H, W) to its result (..., h, w). Tiles of at most
    `tile` pixels overlap by at least `overlap`; both are made larger if ``blank`` needs it, and an
    image no larger than a tile is predicted whole. With the `margin` of a network as ``blank`` and
    its ``multiple`` (see `tile_weights` and `tile_slices`), the result is that of the whole image,
    but for rounding: (..., H, W) float32, added to the zeros `out` if given."""
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
    """Return mean and standard deviation of an image, (H, W), without a copy of it."""
    # The deviation of a constant image is infinite, so that dividing by it gives zeros, as in
    # `graphseg.preprocessing.standardise`.
    parts = range(0, len(image), BLOCK)
    mean = sum(image[i : i + BLOCK].sum(dtype=np.float64) for i in parts) / image.size
    square = sum(np.sum(np.subtract(image[i : i + BLOCK], mean, dtype=float) ** 2) for i in parts)
    deviation = np.sqrt(square / image.size)
    return mean, deviation if deviation > 1e-7 * abs(mean) else np.float64(np.inf)


def add_probability(
    network: UNet,
    image: np.ndarray,
    out: np.ndarray,
    precision: torch.dtype,
    test_time_augmentation: bool,
    tile: int,
    overlap: int,
) -> None:
    """Add the probability, (..., H, W), to ``out``, standardising by tiles to save memory."""
    mean, deviation = moments(image)

    def predict(part: np.ndarray) -> np.ndarray:
        standard = ((part - mean) / deviation).astype(np.float32)
        return probabilities(network, standard, precision, test_time_augmentation)

    blend_tiles(image, predict, tile, overlap, margin(network), network.multiple, out)


@torch.inference_mode()
def probabilities(
    network: UNet, image: np.ndarray, precision: torch.dtype, test_time_augmentation: bool
) -> np.ndarray:
    """Return the probability of each class in one standardised image or tile (H, W) float32.
    (classes, H, W) float32; of two classes only that of class 1, contamination, (H, W).
    Convolutions have this precision; test-time augmentation averages over the eight symmetries of
    the square. The network is in evaluation mode."""
    device = next(network.parameters()).device
    padded = torch.from_numpy(pad_to_multiple(image, network.multiple))[None, None]
    padded = padded.to(device, precision)
    fast = prepared(network, precision)
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


@dataclass(frozen=True)
class Scale:
    """How an image lies to the pixel sizes that a network knows."""

    pixel_size: float | None  # Å; None if neither the file nor the lattice tells it
    source: str  # where that is from: "file", "lattice" or "none"
    factor: float  # the image's sides are multiplied by this for the network; 1 leaves them
    warning: str = ""  # one sentence if the image is outside of what the network knows
    # What the pixel size was measured from, or was not clear enough; None if the file states it.
    lattice: Lattice | None = field(default=None, compare=False, repr=False)


def known_pixel_sizes(card: dict) -> tuple[float, float]:
    """Return the smallest and the largest pixel size in Å that a network's card states."""
    # Without a statement they are those of the published images.
    low, high = card.get("pixel_sizes") or KNOWN
    return float(low), float(high)


def working_pixel_size(card: dict) -> float | None:
    """Return the Å per pixel to which a network wants every image brought; None if it has none."""
    size = card.get("working_pixel_size")
    return None if size is None else float(size)


def measure_pixel_size(image: np.ndarray, field: int = FIELD) -> float | None:
    """Measure Å per pixel from the lattice of graphene, or return None where there is none.
    Of a larger image the middle and the four quarters are looked at, squares of `field` pixels, and
    the clearest lattice counts. InputError if the image is no finite 2-D array."""
    found = _clearest_lattice(image, field)
    return found.pixel_size if found is not None and found.found else None


def _clearest_lattice(image: np.ndarray, side: int = FIELD) -> Lattice | None:
    """Return the lattice of the image, or of the part of a large one where it is clearest."""
    if min(image.shape) < SMALLEST_SIDE:
        return None
    parts = [image]
    if max(image.shape) > side:
        parts = []
        for centre in ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75)):
            starts = [
                int(np.clip(place * length - side / 2, 0, max(length - side, 0)))
                for place, length in zip(centre, image.shape, strict=True)
            ]
            parts.append(image[tuple(slice(start, start + side) for start in starts)])
    return max(map(measure_lattice, parts), key=attrgetter("score"))


def find_scale(
    image: np.ndarray,
    pixel_size: float | None = None,
    known: Sequence[float] = KNOWN,
    working: float | None = None,
) -> Scale:
    """Find how an image has to be resized for a network, and whether that is enough.

    Parameters
    ----------
    image : array of real numbers, shape (H, W)
    pixel_size : float, optional
        Å per pixel as the file states it; by default it is measured from the lattice.
    known : (float, float)
        Smallest and largest pixel size in Å that the network knows.
    working : float, optional
        Å per pixel to which every image of known pixel size is brought, finer or coarser; by
        default only what is finer than the network knows is reduced, to the middle of that.

    Returns
    -------
    Scale
        With the factor of the sides, and a warning where the result is not to be trusted.

    Raises
    ------
    InputError
        If the image is no finite 2-D array, or the pixel size not positive.

    Examples
    --------
    >>> image = np.zeros((512, 512))
    >>> fine = find_scale(image, pixel_size=0.1)
    >>> round(fine.factor, 3), fine.warning, find_scale(image, pixel_size=2.0).factor
    (0.212, '', 1.0)
    >>> find_scale(image, pixel_size=0.6, working=0.45).factor
    1.3333333333333333
    """
    image = real_numbers(image, "Images")
    if image.ndim != 2 or not image.size:
        raise InputError(f"A single image is needed: expected shape (H, W), got {image.shape}.")
    if pixel_size is not None and not (np.isfinite(pixel_size) and pixel_size > 0):
        raise InputError(f"A pixel size of {pixel_size} Å is impossible; give a positive number.")
    size, source, lattice = pixel_size, "file", None
    if size is None:
        lattice, source = _clearest_lattice(image), "lattice"
        size = lattice.pixel_size if lattice is not None and lattice.found else None
    if size is None:
        warning = (
            "Neither a pixel size nor a lattice was found, so the image was taken as it is; state "
            "its pixel size, or look at its mask before you trust it."
        )
        return Scale(None, "none", 1.0, warning, lattice)
    low, high = known
    if working is not None:
        # Within the tolerance, resizing costs more than it gains.
        factor = 1.0 if abs(size / working - 1) <= TOLERANCE else min(size, high) / working
    else:
        factor = size / (low * high) ** 0.5 if size < low * (1 - TOLERANCE) else 1.0
    return Scale(size, source, factor, _warning(image.shape, size, factor, known), lattice)


def _warning(shape: tuple[int, int], size: float, factor: float, known: Sequence[float]) -> str:
    seen = f"the {known[0]:.2f} to {known[1]:.2f} Å that the network knows"
    look = "do not trust its mask before you have looked at it."
    if size > known[1] * (1 + TOLERANCE):
        return f"With {size:.3g} Å per pixel the image is coarser than {seen}; {look}"
    if factor < 1 and min(shape) * factor < SMALLEST_RESIZED:
        return f"With {size:.3g} Å per pixel the field is too small to be brought to {seen}; {look}"
    return ""


def resize(image: np.ndarray, shape: tuple[int, int], mode: str = "bicubic") -> np.ndarray:
    """Resize an (H, W) image about the corners of its pixels, averaging where it gets smaller.
    ``"bicubic"`` keeps a lattice sharp and treats the noise of all pixels alike (means over areas,
    `graphseg.preprocessing.resize_area`, do not unless the ratio is whole: Jaccard 0.60 instead of
    0.82); ``"bilinear"`` stays within the range of the image. float32; the image itself if the
    shape is the same."""
    image = np.asarray(image, np.float32)
    if image.shape == tuple(shape):
        return image
    # PyTorch warns of memory that cannot be written to, such as a file that joblib has mapped.
    values = torch.from_numpy(np.require(image, requirements=["C", "W"]))[None, None]
    resized = interpolate(values, tuple(shape), mode=mode, antialias=True, align_corners=False)
    return resized[0, 0].numpy()


def predict_proba(
    segmenter: BaseEstimator, image: np.ndarray, pixel_size: float | None = None
) -> tuple[np.ndarray, Scale]:
    """Return the probability of contamination on the grid of the image, at the network's scale.
    The pixel sizes that the segmenter knows, and the one that it works at, are those of its
    ``card_``; else it knows those of the published images. Image and pixel size are those of
    `find_scale`, and the `Scale` says what was done, with a warning where the image is outside of
    what the network knows. The probability is (H, W) float32, of more than two classes (classes, H,
    W). InputError for an image that is not 2-D, not finite or constant, or a bad pixel size."""
    card = getattr(segmenter, "card_", {})
    scale = find_scale(image, pixel_size, known_pixel_sizes(card), working_pixel_size(card))
    if image.min() == image.max():
        raise InputError("The image has the same value everywhere; leave it out.")
    shape = tuple(max(round(length * scale.factor), 1) for length in image.shape)
    predict = getattr(segmenter, "predict_at_scale", segmenter.predict_proba)
    probability = predict(resize(image, shape)[None])[0]
    if probability.ndim == 2:
        return resize(probability, image.shape, "bilinear"), scale
    if shape != image.shape:
        probability = np.stack([resize(one, image.shape, "bilinear") for one in probability])
    return probability, scale

"""What `graphseg.strangers` measures of an image: lattice, grey levels, spectrum, features.

All of it is measured on a field of about `SIDE` pixels, at the scale at which a network gets the
image, and none of it depends on the brightness and contrast of the file.
"""

import numpy as np
import torch
from scipy import fft, stats
from scipy.signal.windows import hann

from graphseg.fastnetwork import prepared
from graphseg.inference import moments
from graphseg.lattice import Lattice, measure_lattice
from graphseg.unet import UNet

SIDE = 256  # pixels; that of the images that networks were trained on
BANDS = 16  # rings of equal width in the spectrum, up to half a cycle per pixel
QUANTILES = (0.001, 0.02, 0.16, 0.5, 0.84, 0.98, 0.999)
FLOOR = 1e-9  # keeps logarithms finite
PARTS = {"lattice": 4, "grey levels": 3 + len(QUANTILES), "spectrum": 2 * BANDS}  # and lengths
# Where fields are cut from larger images, in units of their sides.
CENTRES = ((0.5, 0.5), (0.25, 0.25), (0.75, 0.75))
FEW = 4  # up to as many times the area of a field, its middle has to do


def fields(image: np.ndarray) -> list[np.ndarray]:
    """Return the parts of an image that are looked at, views of (h, w) up to `SIDE` each.

    The image itself if it is small, else its middle, and of a large one two further parts.
    """
    centres = CENTRES if image.size > FEW * SIDE**2 else CENTRES[:1]
    return [_field(image, centre) for centre in centres]


def _field(image: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    slices = []
    for length, place in zip(image.shape, centre, strict=True):
        start = int(np.clip(place * length - SIDE / 2, 0, max(length - SIDE, 0)))
        slices.append(slice(start, start + SIDE))
    return image[tuple(slices)]


def statistics(field: np.ndarray, lattice: Lattice | None = None) -> np.ndarray:
    """Return what is measured without a network, in the order of `PARTS`, float64.

    Parameters
    ----------
    field
        (h, w) float32, at least `graphseg.lattice.SMALLEST_SIDE` pixels each.
    lattice
        Its lattice if it was measured already, without a pixel size being known.
    """
    lattice = measure_lattice(field) if lattice is None else lattice
    mean, deviation = moments(field)
    standard = ((field - mean) / deviation).astype(np.float32)
    return np.concatenate([_lattice(lattice), _grey_levels(field, standard), _spectrum(standard)])


def _lattice(lattice: Lattice) -> np.ndarray:
    """Return clarity, ratio and strength of the two rings, and how certain the contrast is."""
    first, second = np.abs(lattice.amplitudes)
    ratio, strength = np.arctan2(second, first + 1e-6), np.log(np.hypot(first, second) + 1e-3)
    return np.array([np.log(lattice.score + 0.05), ratio, strength, lattice.certainty])


def _grey_levels(field: np.ndarray, standard: np.ndarray) -> np.ndarray:
    """Return skewness, kurtosis, the share of extreme pixels and quantiles."""
    flat = standard.ravel()
    shape = [stats.skew(flat), np.log(stats.kurtosis(flat) + 3 + FLOOR)] if flat.any() else [0, 0]
    extremes = np.log(extreme_share(field) + 1e-4)
    return np.array([*shape, extremes, *np.quantile(flat, QUANTILES)])


def extreme_share(field: np.ndarray) -> float:
    """Return the share of pixels that have the lowest or the highest value."""
    low, high = field.min(), field.max()
    return float(np.count_nonzero((field == low) | (field == high)) / field.size)


def _spectrum(standard: np.ndarray) -> np.ndarray:
    """Return for each ring the logarithm of its mean power, and how much spots stand out in it.

    The latter is the difference between the logarithm of the mean and the mean of the logarithm.
    """
    height, width = standard.shape
    window = np.outer(hann(height, False), hann(width, False)).astype(np.float32)
    power = np.abs(fft.rfft2(standard * window)).ravel() ** 2 + np.float32(FLOOR)
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)).ravel()
    ring = np.minimum((radius * 2 * BANDS).astype(int), BANDS)  # the corners come last
    number = np.maximum(np.bincount(ring, minlength=BANDS + 1), 1)
    mean, logarithm = (
        np.bincount(ring, values, BANDS + 1)[:BANDS] / number[:BANDS]
        for values in (power, np.log(power))
    )
    level = np.log(power.mean())
    mean = np.log(mean + FLOOR)
    return np.concatenate([mean - level, mean - logarithm])


@torch.inference_mode()
def features(network: UNet, field: np.ndarray, precision: torch.dtype) -> np.ndarray:
    """Return the mean of each feature of the encoder, level by level, float64.

    Parameters
    ----------
    network
        In evaluation mode.
    field
        (h, w); what goes beyond a multiple of the network's coarsest pixel is cut off.
    precision
        Of the convolutions.
    """
    height, width = (n - n % network.multiple for n in field.shape)
    mean, deviation = moments(field)
    standard = ((field[:height, :width] - mean) / deviation).astype(np.float32)
    device = next(network.parameters()).device
    values = torch.from_numpy(standard)[None, None].to(device, precision)
    values = torch.nn.functional.pixel_unshuffle(values, network.stride)
    found = []
    for level, block in enumerate(prepared(network, precision).encoder):
        if level:
            values = torch.nn.functional.max_pool2d(values, 2)
        values = block(values)  # (1, features, h', w')
        found.append(values[0].float().mean((1, 2)))
    return torch.cat(found).double().cpu().numpy()

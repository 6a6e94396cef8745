"""Changes of training images: symmetries, noise and blur, and the wider ones of other microscopes.

All work on standardised batches, images (n, 1, H, W) float32 and labels (n, H, W) int64, and draw
from the generator that they are given and from nothing else.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

Batch = tuple[torch.Tensor, torch.Tensor]

BLURRED = 0.5  # fraction of the images that `blurred` changes; the others stay as they are

# Of `randomised`: how often each change comes, and between which limits it is drawn.
SPARED = 0.2  # fraction of the images that are only turned and mirrored
ZOOM = (0.6, 1.7)  # of the pixel size, log-uniform
NEAR, NEAR_ERROR = 0.5, 0.1  # fraction of the images near the working pixel size; relative
CANVAS = 192  # pixels, side of what is cut from images that are brought to a working pixel size
CARPET = 0.35  # fraction of the images
CARPET_COVER = (0.05, 0.5)  # fraction of the image
CARPET_PATCH = 0.012  # cycles per pixel, width of the spectrum of the outlines
# Cycles per pixel: middle and width of the spectrum of a carpet's texture. At .45 Å per pixel the
# first is 1.8 to 5.6 Å, between the neighbours and the clusters of amorphous carbon.
CARPET_MIDDLE, CARPET_WIDTH = (0.08, 0.25), (0.03, 0.10)
CARPET_CONTRAST, CARPET_LEVEL = (0.5, 1.6), 0.4  # standard deviations of the image
SHOWING = (0.0, 0.0, 0.3, 0.6)  # how much of the image shows through
BLUR, BLUR_WIDTH = 0.5, (0.0, 1.5)  # pixels
INVERTED = 0.5
BENT, LOG_GAMMA = 0.4, 0.5
LIT, SLOPE = 0.5, 2.0  # standard deviations, from the middle to an edge
NOISY, NOISE = 0.6, 1.6  # standard deviations
CORRELATED, LINED = 0.35, 0.15  # of the noisy ones: what makes the noise
LINES = 0.5  # of the strength of other noise


def symmetries(
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: np.random.Generator,
    contamination: int = 1,
    scales: np.ndarray | None = None,
) -> Batch:
    """Turn and mirror every image (n, 1, H, W) of a batch at random and change its contrast.
    The eight symmetries of the square keep pixels on pixels; a micrograph has no preferred
    direction. Images that are not square are only turned by 180 degrees. The contrast changes by up
    to 10 %."""
    square = images.shape[-1] == images.shape[-2]
    turned = []
    for image, label in zip(images, labels, strict=True):
        quarters = int(generator.integers(4)) if square else 2 * int(generator.integers(2))
        image, label = (torch.rot90(x, quarters, (-2, -1)) for x in (image, label))
        if generator.random() < 0.5:
            image, label = image.flip(-1), label.flip(-1)
        turned.append((image * float(generator.uniform(0.9, 1.1)), label))
    return torch.stack([i for i, _ in turned]), torch.stack([m for _, m in turned])


def randomised(
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: np.random.Generator,
    contamination: int = 1,
    scales: np.ndarray | None = None,
) -> Batch:
    """Make of every image (n, 1, H, W) one that another microscope might have taken.

    Domain randomisation (Tobin et al., IROS 2017, doi 10.1109/IROS.2017.8202133): pixels of another
    size, any direction, white or black atoms, another grey scale, illumination, sharpness and dose.
    A third of the images get carpets besides, regions of amorphous texture with little or no
    lattice beneath, which are labelled with the class of `contamination`; the published images have
    no such regions. A fifth of the images are spared, and only turned and mirrored.

    What is drawn is much wider than what any one microscope does, so that nothing remains to go by
    but the lattice, and texture where it is broken.

    With `scales`, (n,), by which the sides of the images are multiplied to come to the working
    pixel size of a network, half of the images and those that are spared come near to it, and the
    result has sides of `CANVAS` pixels.
    """
    result, theirs = [], []
    for i, (image, label) in enumerate(zip(images[:, 0], labels, strict=True)):
        scale = None if scales is None else float(scales[i])
        spared = generator.random() < SPARED
        image, label = zoomed(image, label, generator, scale, spared)
        result.append(image if spared else otherwise(image, label, generator, contamination))
        theirs.append(label)
    return torch.stack(result)[:, None], torch.stack(theirs)


def otherwise(
    image: torch.Tensor, label: torch.Tensor, generator: np.random.Generator, contamination: int = 1
) -> torch.Tensor:
    """Change an image (H, W) as another recording might, at the same scale, and standardise it.
    Carpets are labelled in place."""
    if generator.random() < CARPET:
        image = carpeted(image, label, generator, contamination)
    for fraction, change in CHANGES:
        if generator.random() < fraction:
            image = change(image, generator)
    return _standard(image)


def zoomed(
    image: torch.Tensor,
    label: torch.Tensor,
    generator: np.random.Generator,
    scale: float | None = None,
    spared: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn an image (H, W) by any angle, mirror half of them, and change the pixel size.
    By `ZOOM`, or, where the `scale` is known that brings it to the working pixel size, for a part
    of the images about to that; without it the size of the image stays. Pixels are resized as
    `graphseg.unet.inference.resize` does it, so that a network knows what that does to noise.
    Beyond its edges an image is continued by reflection. What is `spared` is only turned by
    quarters, mirrored and, with a scale, brought to the working pixel size."""
    if spared:
        turned, moved = symmetries(image[None, None], label[None], generator)
        image, label = turned[0, 0], moved[0]
    else:
        image, label = _turned(image, label, generator)
    factor = 1.0
    if scale is not None and (spared or generator.random() < NEAR):
        factor = scale * np.exp(generator.uniform(-NEAR_ERROR, NEAR_ERROR))
    elif not spared:
        factor = 1 / np.exp(generator.uniform(*np.log(ZOOM)))
    wanted = image.shape if scale is None else (CANVAS, CANVAS)
    if factor != 1:
        shape = [max(round(length * factor), 2) for length in image.shape]
        image = interpolate(
            image[None, None], shape, mode="bicubic", antialias=True, align_corners=False
        )[0, 0]
        label = interpolate(label[None, None].float(), shape, mode="nearest-exact")[0, 0]
    return _cut(image, label.long(), wanted, generator)


def _turned(
    image: torch.Tensor, label: torch.Tensor, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn an image by any angle about its middle, and mirror half of them."""
    angle, mirror = generator.uniform(0, 2 * np.pi), generator.choice([-1.0, 1.0])
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[mirror * cosine, -sine, 0], [mirror * sine, cosine, 0]], np.float32)
    # The grid is in halves of each side; images that are not square keep their proportions.
    sides = np.array(image.shape[::-1], np.float32)
    matrix[:, :2] *= sides[None, :] / sides[:, None]
    grid = affine_grid(torch.from_numpy(matrix)[None], [1, 1, *image.shape], align_corners=False)
    options = {"padding_mode": "reflection", "align_corners": False}
    turned = grid_sample(image[None, None], grid, mode="bicubic", **options)
    moved = grid_sample(label[None, None].float(), grid, mode="nearest", **options)
    return turned[0, 0], moved[0, 0]


def _cut(
    image: torch.Tensor, label: torch.Tensor, wanted: Sequence[int], generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut a random part of the `wanted` shape; a smaller image is continued by reflection."""
    places = []
    for length, size in zip(image.shape, wanted, strict=True):
        start = int(generator.integers(abs(length - size) + 1)) * (1 if length >= size else -1)
        place = np.mod(np.arange(start, start + size), 2 * length)
        places.append(torch.from_numpy(np.where(place < length, place, 2 * length - 1 - place)))
    rows, columns = places
    return image[rows][:, columns], label[rows][:, columns]


def carpeted(
    image: torch.Tensor, label: torch.Tensor, generator: np.random.Generator, contamination: int = 1
) -> torch.Tensor:
    """Replace parts of an image (H, W) by amorphous texture, and label them in place.
    What has no label, a negative one, gets none. Half of the parts are a side of the image with a
    rough edge, the others patches."""
    frequency = _frequency(image.shape)
    height, width = image.shape
    outline = _texture(image.shape, torch.exp(-((frequency / CARPET_PATCH) ** 2)), generator)
    if generator.random() < 0.5:
        angle = generator.uniform(0, 2 * np.pi)
        down, across = _axes(height, width)
        outline = 0.3 * outline + 3 * (np.cos(angle) * across + np.sin(angle) * down)
    cover = generator.uniform(*CARPET_COVER)
    where = outline > torch.quantile(outline, 1 - cover)
    middle, spread = generator.uniform(*CARPET_MIDDLE), generator.uniform(*CARPET_WIDTH)
    spectrum = torch.exp(-(((frequency - middle) / spread) ** 2))
    texture = _texture(
        image.shape, spectrum + 0.3 * torch.exp(-((frequency / middle) ** 2)), generator
    )
    texture = texture * generator.uniform(*CARPET_CONTRAST)
    texture = texture + generator.uniform(-CARPET_LEVEL, CARPET_LEVEL)
    texture = texture + float(generator.choice(SHOWING)) * image
    label[where & (label >= 0)] = contamination
    return torch.where(where, texture, image)


def _softened(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Blur by a Gaussian that may be wider along one direction, as drift makes it."""
    one, other = generator.uniform(*BLUR_WIDTH, 2)
    return gaussian(image[None], one, other, generator.uniform(0, np.pi), BLUR_WIDTH[1])[0]


def _bent(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Bend the grey scale by a power between e^-`LOG_GAMMA` and its inverse."""
    low, high = image.min(), image.max()
    gamma = float(np.exp(generator.uniform(-LOG_GAMMA, LOG_GAMMA)))
    return _standard(((image - low) / (high - low).clamp_min(1e-6)).clamp_min(1e-4) ** gamma)


def _lit(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Add a linear slope of illumination to a standardised image."""
    angle, slope = generator.uniform(0, 2 * np.pi), generator.uniform(0, SLOPE)
    down, across = _axes(*image.shape)
    return _standard(image) + float(slope) * (np.cos(angle) * across + np.sin(angle) * down)


def _noisy(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """Add white noise, or what a scintillator or a line-wise readout makes."""
    noise = torch.from_numpy(generator.standard_normal(image.shape, np.float32))
    strength, kind = generator.uniform(0, NOISE), generator.random()
    if kind < CORRELATED:
        width = generator.uniform(0.4, 1.2)
        noise = _standard(gaussian(noise[None], width, width, 0.0, 1.2)[0])
    elif kind < CORRELATED + LINED:
        noise = noise[:, :1] * LINES if generator.random() < 0.5 else noise[:1] * LINES
    return _standard(image) + float(strength) * noise


CHANGES: tuple[tuple[float, Callable], ...] = (
    (BLUR, _softened), (INVERTED, lambda image, generator: -image), (BENT, _bent), (LIT, _lit),
    (NOISY, _noisy),
)  # fmt: skip


def noisy(images: torch.Tensor, noise: float, generator: np.random.Generator) -> torch.Tensor:
    """Add white noise to standardised images (n, 1, H, W), of each up to a standard deviation."""
    strengths = generator.uniform(0, noise, (len(images), 1, 1, 1)).astype(np.float32)
    return images + torch.from_numpy(
        strengths * generator.standard_normal(images.shape, np.float32)
    )


def blurred(images: torch.Tensor, blur: float, generator: np.random.Generator) -> torch.Tensor:
    """Blur about half of the images (n, 1, H, W) by Gaussians of random widths and directions.
    The widths along a direction and across it are drawn one by one, each up to ``blur`` pixels:
    alike ones are what focus or a coarse camera do, unlike ones what drift does. The result is
    standardised again, as images are before they are predicted."""
    result = []
    for image in images:
        (one, other), angle = generator.uniform(0, blur, 2), generator.uniform(0, np.pi)
        if generator.random() >= BLURRED:
            one = other = 0.0
        result.append(_standard(gaussian(image, one, other, angle, blur)))
    return torch.stack(result)


def gaussian(
    image: torch.Tensor, one: float, other: float, angle: float, widest: float
) -> torch.Tensor:
    """Blur an image (1, H, W), by a Gaussian of standard deviations along `angle` and across, px.
    Mirrored at the edges to ``3 * widest`` pixels, so that opposite ones do not run together."""
    height, width = image.shape[-2:]
    reach = min(int(np.ceil(3 * widest)), height - 1, width - 1)
    padded = nn.functional.pad(image[None], (reach,) * 4, mode="reflect")[0]
    down, across = torch.fft.fftfreq(padded.shape[-2]), torch.fft.rfftfreq(padded.shape[-1])
    sine, cosine = float(np.sin(angle)), float(np.cos(angle))
    along = sine * down[:, None] + cosine * across
    beside = cosine * down[:, None] - sine * across
    transfer = torch.exp(-2 * np.pi**2 * ((one * along) ** 2 + (other * beside) ** 2))
    smooth = torch.fft.irfft2(torch.fft.rfft2(padded) * transfer, padded.shape[-2:])
    return smooth[:, reach : reach + height, reach : reach + width]


def _standard(image: torch.Tensor) -> torch.Tensor:
    return (image - image.mean()) / image.std().clamp_min(1e-7)


def _frequency(shape: tuple[int, int]) -> torch.Tensor:
    """Return the length of the frequency in cycles per pixel on the half plane of `rfft2`."""
    down, across = torch.fft.fftfreq(shape[0])[:, None], torch.fft.rfftfreq(shape[1])[None]
    return torch.sqrt(down**2 + across**2)


def _texture(
    shape: tuple[int, int], transfer: torch.Tensor, generator: np.random.Generator
) -> torch.Tensor:
    """Return noise (H, W) with the given spectrum, mean 0 and standard deviation 1."""
    white = torch.from_numpy(generator.standard_normal(shape, np.float32))
    return _standard(torch.fft.irfft2(torch.fft.rfft2(white) * transfer, shape))


def _axes(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coordinates of the rows (H, 1) and of the columns (1, W), from -1 to 1."""
    return torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)[None]


# What ``augmentation`` of `graphseg.unet.segmenter.UNetSegmenter` may be.
AUGMENTATIONS: dict[str, Callable[..., Batch]] = {
    "none": lambda images, labels, generator, contamination=1, scales=None: (images, labels),
    "symmetries": symmetries,
    "domain randomisation": randomised,
}

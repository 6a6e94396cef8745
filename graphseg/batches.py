"""The training set in batches: shuffled, turned, mirrored, with other contrast, blur and noise."""

from collections.abc import Iterator

import numpy as np
import torch

BLURRED = 0.5  # share of the images; the others stay as sharp as they are


def augment(
    images: torch.Tensor, labels: torch.Tensor, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn and mirror every image of a batch at random and change its contrast by up to 10 %.

    The eight symmetries of the square keep pixels on pixels; a micrograph has no preferred
    direction.

    Parameters
    ----------
    images : tensor of float, shape (n, 1, H, W)
    labels : tensor of int, shape (n, H, W)
    generator : numpy.random.Generator

    Returns
    -------
    images, labels : tensors of the same shapes
        Images that are not square keep their orientation: they are only turned by 180 degrees.
    """
    square = images.shape[-1] == images.shape[-2]
    turned = []
    for image, label in zip(images, labels, strict=True):
        quarters = int(generator.integers(4)) if square else 2 * int(generator.integers(2))
        image, label = (torch.rot90(x, quarters, (-2, -1)) for x in (image, label))
        if generator.random() < 0.5:
            image, label = image.flip(-1), label.flip(-1)
        turned.append((image * float(generator.uniform(0.9, 1.1)), label))
    return torch.stack([i for i, _ in turned]), torch.stack([m for _, m in turned])


def noisy(images: torch.Tensor, noise: float, generator: np.random.Generator) -> torch.Tensor:
    """Add white noise to standardised images (n, 1, H, W), of each up to a standard deviation."""
    strengths = generator.uniform(0, noise, (len(images), 1, 1, 1)).astype(np.float32)
    return images + torch.from_numpy(
        strengths * generator.standard_normal(images.shape, np.float32)
    )


def blurred(images: torch.Tensor, blur: float, generator: np.random.Generator) -> torch.Tensor:
    """Blur about half of the images by Gaussians of random widths along random directions.

    The widths along a direction and across it are drawn one by one: alike ones are what focus or a
    coarse camera do, unlike ones what drift does. The result is standardised again, as images are
    before they are predicted.

    Parameters
    ----------
    images : tensor of float, shape (n, 1, H, W)
        Standardised.
    blur : float
        Largest standard deviation in pixels.
    generator : numpy.random.Generator

    Returns
    -------
    tensor of float, shape (n, 1, H, W)
    """
    height, width = images.shape[-2:]
    # Mirrored at the edges, so that opposite ones do not run into each other.
    reach = min(int(np.ceil(3 * blur)), height - 1, width - 1)
    padded = torch.nn.functional.pad(images, (reach,) * 4, mode="reflect")
    down, across = torch.fft.fftfreq(padded.shape[-2]), torch.fft.rfftfreq(padded.shape[-1])
    result = []
    for image in padded:
        (one, other), angle = generator.uniform(0, blur, 2), generator.uniform(0, np.pi)
        if generator.random() >= BLURRED:
            one = other = 0.0
        sine, cosine = float(np.sin(angle)), float(np.cos(angle))
        along = sine * down[:, None] + cosine * across
        beside = cosine * down[:, None] - sine * across
        transfer = torch.exp(-2 * np.pi**2 * ((one * along) ** 2 + (other * beside) ** 2))
        smooth = torch.fft.irfft2(torch.fft.rfft2(image) * transfer, padded.shape[-2:])
        smooth = smooth[:, reach : reach + height, reach : reach + width]
        result.append((smooth - smooth.mean()) / smooth.std().clamp_min(1e-7))
    return torch.stack(result)


class Batches:
    """The training set in shuffled, augmented batches; iterating it once is one epoch.

    Parameters
    ----------
    dataset : object with ``X`` (n, 1, H, W) and ``y`` (n, H, W) arrays
    batch_size : int
    seed, first_epoch : int
        Epoch ``e`` draws from ``default_rng([seed, e])``, whatever was drawn before it.
    augmentation : bool
    noise : float, default 0
        Largest standard deviation of noise that is added, see :func:`noisy`.
    blur : float, default 0
        Largest blur in pixels, before the noise, see :func:`blurred`.
    """

    def __init__(
        self,
        dataset,
        batch_size: int,
        seed: int,
        first_epoch: int,
        augmentation: bool,
        noise: float = 0.0,
        blur: float = 0.0,
    ):
        self.images, self.labels = torch.as_tensor(dataset.X), torch.as_tensor(dataset.y)
        self.batch_size, self.seed, self.epoch = batch_size, seed, first_epoch
        self.augmentation, self.noise, self.blur = augmentation, noise, blur

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1
        order = generator.permutation(len(self.images))
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            batch = self.images[chosen], self.labels[chosen]
            images, labels = augment(*batch, generator) if self.augmentation else batch
            images = blurred(images, self.blur, generator) if self.blur else images
            yield (noisy(images, self.noise, generator) if self.noise else images), labels

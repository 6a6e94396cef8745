r"""Adversarial perturbations: the smallest changes that do the most harm to a mask.

An attacker who knows the method adds :math:`\delta` with :math:`|\delta| \le \epsilon` at every
pixel of the standardised image, so :math:`\epsilon` is in standard deviations of the image, and
climbs the loss against the label: in one step of the gradient's sign (FGSM, Goodfellow et al.,
ICLR 2015) or in several, projected back each time (PGD, Madry et al., ICLR 2018).

The U-Net is attacked through its own gradient, one pass, float32. Bragg filtering is a linear
filter, a modulus and a local mean once its peaks are found: `BraggMap` is that chain in torch, so
the attack on it is white-box too, but for the choice of peaks, which is held at that of the
unharmed image; the attacked image is then judged by the method itself, with peaks found anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import fft
from torch.nn import functional

from graphseg.classical import fourier
from graphseg.classical.bragg import BraggSegmenter
from graphseg.errors import InputError
from graphseg.preprocessing import standardise
from graphseg.unet.inference import pad_to_multiple
from graphseg.unet.segmenter import UNetSegmenter

# Maps a standardised image (H, W) that needs a gradient to its loss against the label.
Loss = Callable[[torch.Tensor], torch.Tensor]
STEP = 2.5  # steps of PGD together could go this many times as far as they may


@dataclass(frozen=True)
class Attack:
    """How an image is attacked.

    Attributes
    ----------
    radius
        ε, the largest change of a pixel in standard deviations of the image.
    steps
        0 draws a random sign for every pixel; 1 is FGSM; more are PGD.
    seed
        Of the random start of PGD, and of the random signs.
    """

    radius: float
    steps: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.radius) and self.radius >= 0 and self.steps >= 0):
            raise InputError(
                f"An attack of radius {self.radius} in {self.steps} steps is impossible; neither "
                "can be negative."
            )


def perturb(loss: Loss, image: np.ndarray, attack: Attack) -> np.ndarray:
    """Return the attacked image, standardised before the attack, (H, W) float32.

    Parameters
    ----------
    loss
        To be made large.
    image
        (H, W), any real dtype.
    attack
        How far and in how many steps.
    """
    start = torch.from_numpy(standardise(np.asarray(image, np.float32)))
    rng = np.random.default_rng(attack.seed)
    if attack.radius == 0:
        return start.numpy()
    if attack.steps == 0:
        signs = torch.from_numpy(rng.choice(np.array([-1, 1], np.float32), image.shape))
        return (start + attack.radius * signs).numpy()
    delta = torch.zeros_like(start)
    length = attack.radius
    if attack.steps > 1:
        length *= STEP / attack.steps
        uniform = rng.uniform(-1, 1, image.shape).astype(np.float32)
        delta = attack.radius * torch.from_numpy(uniform)
    for _ in range(attack.steps):
        delta.requires_grad_(True)
        (gradient,) = torch.autograd.grad(loss(start + delta), delta)
        moved = delta.detach() + length * gradient.sign()
        delta = moved.clamp(-attack.radius, attack.radius)
    return (start + delta).numpy()


def network_loss(segmenter: UNetSegmenter, mask: np.ndarray) -> Loss:
    """Return the cross-entropy of a network against a mask (H, W), one pass in float32.

    Raises
    ------
    InputError
        If the network has more than two classes.
    """
    if segmenter.classes != 2:
        raise InputError("Only networks of two classes are attacked; take another one.")
    network = segmenter.module_
    labels = torch.from_numpy(pad_to_multiple(mask.astype(np.int64), network.multiple))[None]
    height, width = (
        after - before for after, before in zip(labels.shape[1:], mask.shape, strict=True)
    )

    def loss(image: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(image[None, None], (0, width, 0, height), mode="reflect")
        return functional.cross_entropy(network(padded), labels)

    return loss


class BraggMap:
    """The residual of Bragg filtering (eqs 5 and 6) as a differentiable function of the image.

    Parameters
    ----------
    segmenter
        Fitted, with units ``"standardised"`` and apertures that add up.
    image
        (H, W), standardised; its peaks are used for all images that come.
    """

    def __init__(self, segmenter: BraggSegmenter, image: np.ndarray) -> None:
        if segmenter.units != "standardised" or segmenter.combine != "sum":
            raise InputError("Only Bragg filters of standardised images by sums are attacked.")
        self.shape = image.shape
        found = segmenter.decompose(image)
        width, padding = segmenter.aperture_width_, segmenter.padding
        self.padded = tuple(fft.next_fast_len(n + 2 * padding, real=True) for n in image.shape)
        positions = found.peaks.positions[found.used]
        centres = np.concatenate([positions, -positions])
        down = fourier._gaussians(fft.fftfreq(self.padded[0]), centres[:, 0], width)
        across = fourier._gaussians(fft.rfftfreq(self.padded[1]), centres[:, 1], width)
        self.aperture = torch.from_numpy(down.T @ across)
        rows, columns = (
            fourier._support(n, m, width) for n, m in zip(image.shape, self.padded, strict=True)
        )
        self.inside = torch.from_numpy(np.outer(rows, columns))
        self.means = [
            torch.from_numpy(fourier._kernel(n, 0, n, segmenter.smoothing)) for n in image.shape
        ]

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the residual, (H, W), of an image (H, W)."""
        spectrum = torch.fft.rfft2(image, self.padded) * self.aperture
        filtered = torch.fft.irfft2(spectrum, self.padded)[: self.shape[0], : self.shape[1]]
        residual = (image - filtered / self.inside).abs()
        return self.means[0] @ residual @ self.means[1].T


def bragg_loss(segmenter: BraggSegmenter, image: np.ndarray, mask: np.ndarray) -> Loss:
    """Return the cross-entropy of a Bragg filter's soft mask against a mask (H, W)."""
    residual = BraggMap(segmenter, standardise(np.asarray(image, np.float32)))
    threshold = segmenter.mask_threshold_
    labels = torch.from_numpy(mask.astype(np.float32))

    def loss(changed: torch.Tensor) -> torch.Tensor:
        margin = (residual(changed) - threshold) / (segmenter.softness * threshold)
        return functional.binary_cross_entropy_with_logits(margin, labels)

    return loss

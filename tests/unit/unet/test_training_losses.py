"""The losses against values worked out by hand, and what they ignore."""

import numpy as np
import pytest
import torch

from graphseg.unet.training import IGNORED, LOSSES, cross_entropy_jaccard


def logits_of(probability: float, shape: tuple[int, ...]) -> torch.Tensor:
    """Two-class logits (n, 2, H, W) that give class 1 one probability everywhere."""
    logits = torch.zeros(shape[0], 2, *shape[1:])
    logits[:, 1] = float(np.log(probability / (1 - probability)))
    return logits


def test_the_jaccard_part_of_a_constant_answer_is_known():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    labels[0, :2] = 1  # 8 of 16 pixels
    p = 0.8
    entropy = -(8 * np.log(p) + 8 * np.log(1 - p)) / 16
    jaccard = (1 + 8 * p) / (1 + 16 * p + 8 - 8 * p)
    loss = cross_entropy_jaccard(logits_of(p, (1, 4, 4)), labels)
    assert loss.item() == pytest.approx((entropy + 1 - jaccard) / 2, rel=1e-5)


def test_images_count_alike_however_small_their_contamination():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :4], labels[1, 0, 0] = 1, 1
    found, missed = torch.full((2, 2, 8, 8), -20.0), torch.full((2, 2, 8, 8), -20.0)
    for answer in (found, missed):
        answer[:, 0] = torch.where(labels == 0, 20.0, -20.0)
        answer[:, 1] = -answer[:, 0]
    missed[1, :, 0, 0] = torch.tensor([20.0, -20.0])
    jaccard = [1 - cross_entropy_jaccard(a, labels).item() * 2 for a in (found, missed)]
    entropy = torch.nn.functional.cross_entropy(missed, labels).item()
    assert jaccard[0] == pytest.approx(1, abs=1e-6)
    # The second image falls from 1 to (1 + 0) / (1 + 1), the mean of both to 0.75.
    assert jaccard[1] + entropy == pytest.approx(0.75, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_ignored_pixels_do_not_count(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 6, 6, generator=generator)
    labels = torch.randint(0, 2, (2, 6, 6), generator=generator)
    labels[:, 4:] = IGNORED
    other = logits.clone()
    other[:, :, 4:] = 9 * torch.randn(2, 2, 2, 6, generator=generator)
    loss = LOSSES[name]
    assert loss(logits, labels).item() == pytest.approx(loss(other, labels).item(), rel=1e-6)
    worse = logits.clone()
    worse[:, :, :4] *= -3
    assert loss(worse, labels).item() != pytest.approx(loss(logits, labels).item(), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_leads_to_the_label(name):
    labels = torch.zeros(1, 6, 6, dtype=torch.long)
    labels[0, 2:4, 2:4] = 1
    logits = torch.zeros(1, 2, 6, 6, requires_grad=True)
    for _ in range(200):
        loss = LOSSES[name](logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 20 * gradient).detach().requires_grad_()
    assert torch.equal(logits.argmax(1), labels)

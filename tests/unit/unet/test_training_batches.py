"""Noise and moves against the label in training: off by default, of the stated strength."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from graphseg.unet.augmentation import blurred, noisy
from graphseg.unet.segmenter import UNetSegmenter
from graphseg.unet.training import batches, moved


def test_noise_is_white_and_no_stronger_than_said():
    images = torch.zeros(200, 1, 16, 16)
    changed = noisy(images, 0.5, np.random.default_rng(0)).numpy()
    deviations = changed.std(axis=(1, 2, 3))
    assert deviations.max() < 0.6 and abs(deviations.mean() - 0.25) < 0.03
    assert changed.dtype == np.float32


def test_without_noise_the_batches_are_those_from_before():
    rng = np.random.default_rng(1)
    data = rng.normal(size=(5, 1, 8, 8)).astype(np.float32), np.zeros((5, 8, 8), np.int64)
    recipe = {"batch_size": 2, "seed": 3, "augmentation": "symmetries"}
    plain, zero, strong = (
        torch.cat([images for images, _ in batches(*data, recipe | changes, 0)])
        for changes in ({}, {"noise": 0.0}, {"noise": 1.0})
    )
    assert torch.equal(plain, zero) and not torch.allclose(plain, strong)


class Largest:
    """Instead of random numbers always the largest."""

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)

    def random(self):
        return 0.0


def test_the_strongest_blur_is_a_gaussian_of_that_width_and_images_stay_standardised():
    images = torch.from_numpy(
        np.random.default_rng(3).normal(size=(3, 1, 40, 56)).astype(np.float32)
    )
    changed = blurred(images, 2.0, Largest()).numpy()
    right = np.stack([gaussian_filter(i[0], 2.0, mode="mirror", truncate=6) for i in images])
    right = (right - right.mean((1, 2), keepdims=True)) / right.std((1, 2), keepdims=True)
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed[:, 0, 6:-6, 6:-6], right[:, 6:-6, 6:-6], atol=0.02)


def test_half_of_the_images_stay_sharp():
    images = torch.randn(200, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True)
    same = np.isclose(blurred(images, 1.5, np.random.default_rng(4)), images, atol=1e-4)
    assert 0.4 < same.all((1, 2, 3)).mean() < 0.6


def test_blur_is_of_any_direction():
    point = torch.zeros(40, 1, 33, 33)
    point[:, 0, 16, 16] = 1
    spots = blurred(point, 3.0, np.random.default_rng(2))
    spots = (spots - spots.flatten(1).median(dim=1).values[:, None, None, None])[:, 0].numpy()
    distance = np.arange(33) - 16
    weight = spots / spots.sum((1, 2), keepdims=True)
    mixed = np.einsum("nij,i,j->n", weight, distance, distance)
    down = np.einsum("nij,i->n", weight, distance**2)
    across = np.einsum("nij,j->n", weight, distance**2)
    assert (mixed > 0.5).any() and (mixed < -0.5).any()
    assert (down > 2 * across).any() and (across > 2 * down).any()
    assert max(down.max(), across.max()) < 9.5


def test_images_are_moved_up_the_loss_by_rising_steps():
    network = torch.nn.Conv2d(1, 2, 1)
    loss = torch.nn.functional.cross_entropy
    recipe = {"adversarial": 0.2, "precision": "float32"}
    images, labels = torch.randn(4, 1, 8, 8), torch.ones(4, 8, 8, dtype=torch.int64)
    harder = moved(network, images, labels, loss, recipe)
    steps = (harder - images).abs().amax((1, 2, 3))
    torch.testing.assert_close(steps, torch.tensor([0.05, 0.1, 0.15, 0.2]))
    assert loss(network(harder), labels) > loss(network(images), labels)


def test_both_are_part_of_what_identifies_a_training_only_if_used():
    plain, hard = UNetSegmenter(), UNetSegmenter(noise=0.5, blur=1.0, adversarial=0.1)
    assert not {"noise", "blur", "adversarial"} & set(plain.portable_parameters())
    assert hard.portable_parameters()["noise"] == 0.5
    assert hard.portable_parameters()["blur"] == 1.0
    assert hard.portable_parameters()["adversarial"] == 0.1

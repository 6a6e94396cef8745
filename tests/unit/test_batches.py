"""Noise and moves against the label in training: off by default, of the stated strength."""

import numpy as np
import torch

from graphseg.batches import Batches, noisy
from graphseg.segmenter import UNetSegmenter
from graphseg.training import AutocastNet


def test_noise_is_white_and_no_stronger_than_said():
    images = torch.zeros(200, 1, 16, 16)
    changed = noisy(images, 0.5, np.random.default_rng(0)).numpy()
    deviations = changed.std(axis=(1, 2, 3))
    assert deviations.max() < 0.6 and abs(deviations.mean() - 0.25) < 0.03
    assert changed.dtype == np.float32


def test_without_noise_the_batches_are_those_from_before():
    data = type("Data", (), {})()
    rng = np.random.default_rng(1)
    data.X = rng.normal(size=(5, 1, 8, 8)).astype(np.float32)
    data.y = np.zeros((5, 8, 8), np.int64)
    plain, zero, strong = (
        torch.cat([images for images, _ in Batches(data, 2, 3, 0, True, noise)])
        for noise in (0.0, 0.0, 1.0)
    )
    assert torch.equal(plain, zero) and not torch.allclose(plain, strong)


def test_images_are_moved_up_the_loss_by_rising_steps():
    network = torch.nn.Conv2d(1, 2, 1)
    net = AutocastNet(
        network, criterion=torch.nn.CrossEntropyLoss, adversarial=0.2, train_split=None
    ).initialize()
    images, labels = torch.randn(4, 1, 8, 8), torch.ones(4, 8, 8, dtype=torch.int64)
    moved = net._moved(images, labels)
    steps = (moved - images).abs().amax((1, 2, 3))
    torch.testing.assert_close(steps, torch.tensor([0.05, 0.1, 0.15, 0.2]))
    loss = torch.nn.functional.cross_entropy
    assert loss(net.module_(moved), labels) > loss(net.module_(images), labels)


def test_both_are_part_of_what_identifies_a_training_only_if_used():
    plain, hard = UNetSegmenter(), UNetSegmenter(noise=0.5, adversarial=0.1)
    assert not {"noise", "adversarial"} & set(plain.portable_parameters())
    assert hard.portable_parameters()["noise"] == 0.5
    assert hard.portable_parameters()["adversarial"] == 0.1

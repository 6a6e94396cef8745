"""Attacks: within their radius, up the loss, and the Bragg chain in torch equals the method's."""

import numpy as np
import pytest
import torch

from book.studies.attacks import Attack, BraggMap, bragg_loss, network_loss, perturb
from graphseg.classical.bragg import BraggSegmenter
from graphseg.errors import InputError
from graphseg.preprocessing import standardise
from graphseg.simulation import simulate
from graphseg.unet import pretrained


@pytest.fixture(scope="module")
def sample():
    return simulate(3, 1)


@pytest.fixture(scope="module")
def bragg():
    return BraggSegmenter(progress=False).fit(np.zeros((1, 64, 64)))


def test_one_step_goes_to_the_corner_that_a_linear_loss_asks_for():
    rng = np.random.default_rng(0)
    image, slope = rng.normal(size=(2, 16, 16)).astype(np.float32)
    attacked = perturb(lambda x: (x * torch.from_numpy(slope)).sum(), image, Attack(0.1))
    expected = standardise(image) + np.float32(0.1) * np.sign(slope)
    np.testing.assert_allclose(attacked, expected, atol=1e-6)


def test_several_steps_find_what_one_step_misses():
    # The loss rises first towards plus, but its maximum within the radius is where x = start - 1.
    image = np.random.default_rng(1).normal(size=(8, 8)).astype(np.float32)
    start = torch.from_numpy(standardise(image))
    away = start + 0.03

    def loss(x: torch.Tensor) -> torch.Tensor:
        return -((x - away) ** 2).sum()

    once, often = (perturb(loss, image, Attack(0.2, steps)) for steps in (1, 40))
    assert loss(torch.from_numpy(often)) > loss(torch.from_numpy(once))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_no_pixel_moves_farther_than_the_radius(steps, sample):
    network = pretrained.load("fold_0", test_time_augmentation=False, precision="float32")
    crop, mask = sample.image[:100, :90], sample.mask[:100, :90]  # no multiple of the network's
    loss = network_loss(network, mask)
    attacked = perturb(loss, crop, Attack(0.05, steps, seed=4))
    start = standardise(crop)
    assert np.abs(attacked - start).max() <= 0.05 + 1e-6
    before, after = (float(loss(torch.from_numpy(x)).detach()) for x in (start, attacked))
    assert after > before if steps else np.isfinite(after)
    again = perturb(loss, crop, Attack(0.05, steps, seed=4))
    np.testing.assert_array_equal(attacked, again)


def test_radius_zero_gives_the_image():
    image = np.random.default_rng(2).normal(size=(16, 16))
    attacked = perturb(lambda x: x.square().sum(), image, Attack(0.0, 5))
    np.testing.assert_array_equal(attacked, standardise(image.astype(np.float32)))


def test_the_bragg_map_is_the_residual_of_the_method(sample, bragg):
    standard = standardise(sample.image)
    found = BraggMap(bragg, standard)(torch.from_numpy(standard)).numpy()
    np.testing.assert_allclose(found, bragg.residuals(standard[None])[0], atol=1e-5)


def test_an_attack_on_bragg_filtering_harms_its_mask(sample, bragg):
    bragg.mask_threshold_ = float(np.quantile(bragg.residuals(sample.image[None]), 0.9))
    label = bragg.predict(sample.image[None])[0]  # so that the score before is 1
    loss = bragg_loss(bragg, sample.image, label)
    attacked = perturb(loss, sample.image, Attack(0.2, 5))
    assert bragg.score(sample.image[None], label[None]) == 1
    assert bragg.score(attacked[None], label[None]) < 0.8


def test_what_cannot_be_attacked_is_refused(sample):
    with pytest.raises(InputError, match="neither can be negative"):
        Attack(-0.1)
    other = BraggSegmenter(units="raw", progress=False).fit(np.zeros((1, 64, 64)))
    with pytest.raises(InputError, match="Only Bragg filters of standardised images"):
        BraggMap(other, standardise(sample.image))

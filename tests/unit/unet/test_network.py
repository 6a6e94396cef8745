"""The network: parameter count derived by hand, shapes, what the skips and padding do."""

import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from graphseg.errors import InputError
from graphseg.unet.network import UNet, parameter_count


def expected_count(classes: int, levels: int, features: int) -> int:
    """Count the weights and biases of a plain U-Net layer by layer."""

    def convolution(before, after, size):
        return before * after * size**2 + after

    widths = [features * 2**level for level in range(levels)]
    total = convolution(features, classes, 1)
    for before, after in zip([1, *widths], widths, strict=False):
        total += convolution(before, after, 3) + convolution(after, after, 3)
    for shallow, deep in itertools.pairwise(widths):
        total += convolution(deep, shallow, 2)
        total += convolution(2 * shallow, shallow, 3) + convolution(shallow, shallow, 3)
    return total


@pytest.mark.parametrize(
    ("levels", "features", "published"), [(4, 32, 1_925_058), (5, 64, 31_030_658)]
)
def test_parameter_count_follows_from_the_layers(levels, features, published):
    count = parameter_count(UNet(levels=levels, features=features))
    assert count == expected_count(2, levels, features) == published


@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (8, 72)])
def test_output_has_the_size_of_the_input(normalisation, height, width):
    network = UNet(classes=3, levels=4, features=4, normalisation=normalisation).eval()
    assert network.multiple == 8
    assert network(torch.zeros(2, 1, height, width)).shape == (2, 3, height, width)


def test_shift_by_the_multiple_shifts_the_output():
    torch.manual_seed(0)
    network = UNet(levels=3, features=4).eval()
    image = torch.zeros(1, 1, 96, 96)
    image[..., 40:44, 40:44] = 1
    with torch.no_grad():
        moved = network(torch.roll(image, network.multiple, dims=-1))
        expected = torch.roll(network(image), network.multiple, dims=-1)
    inside = (..., slice(30, 66), slice(30, 66))  # away from the zero padding at the edges
    torch.testing.assert_close(moved[inside], expected[inside])


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    network = UNet(levels=3, features=4, normalisation="batch")
    network(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_unknown_configurations_are_refused():
    with pytest.raises(InputError, match="normalisation"):
        UNet(normalisation="group")
    with pytest.raises(InputError, match="at least 1"):
        UNet(levels=0)


def test_a_stride_of_two_costs_a_quarter_and_keeps_the_size():
    plain, strided = (UNet(levels=3, features=4, stride=stride).eval() for stride in (1, 2))
    assert strided.multiple == 2 * plain.multiple
    image = torch.randn(1, 1, 32, 48)
    with FlopCounterMode(display=False) as whole, torch.no_grad():
        plain(image)
    with FlopCounterMode(display=False) as quarter, torch.no_grad():
        logits = strided(image)
    assert logits.shape == (1, 2, 32, 48)
    # All but the first convolution and the head, which see the pixels as channels.
    assert quarter.get_total_flops() < 0.3 * whole.get_total_flops()


def test_with_a_stride_every_pixel_still_gets_its_own_answer():
    network = UNet(levels=1, features=8, stride=2).eval()
    logits = network(torch.randn(1, 1, 16, 16))[0, 0]
    blocks = logits.reshape(8, 2, 8, 2)
    assert (blocks.std(dim=(1, 3)) > 0).all()

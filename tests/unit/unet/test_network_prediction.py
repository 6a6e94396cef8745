"""The copy that predicts gives the answers of the network, also after that has changed."""

import pytest
import torch

from graphseg.unet.network import UNet, prepared


@pytest.fixture
def network():
    torch.manual_seed(1)
    network = UNet(levels=3, features=6, normalisation="batch", stride=2)
    with torch.no_grad():
        for _ in range(3):  # in training mode, so that the running statistics are some numbers
            network(torch.randn(4, 1, 32, 32) * 2 + 0.3)
    return network.eval()


@torch.inference_mode()
def test_it_gives_the_same_logits_without_normalisation(network):
    image = torch.randn(1, 1, 32, 48)
    fast = prepared(network, torch.float32)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fast.modules())
    torch.testing.assert_close(fast(image), network(image), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_low_precision_differs_by_rounding_only(network):
    image = torch.randn(1, 1, 32, 48)
    fast = prepared(network, torch.bfloat16)
    assert {p.dtype for p in fast.parameters()} == {torch.bfloat16}
    logits, right = fast(image.to(torch.bfloat16)).float(), network(image)
    assert (logits - right).abs().max() < 0.03 * right.abs().max()


def test_the_network_itself_is_left_alone(network):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    prepared(network, torch.bfloat16)
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype and torch.equal(value, before[name])
    assert all(p.requires_grad for p in network.parameters())


def test_it_is_made_once_and_again_after_a_change(network):
    fast = prepared(network, torch.float32)
    assert prepared(network, torch.float32) is fast
    image = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        network.head.bias += 1
        changed = prepared(network, torch.float32)
        assert changed is not fast
        torch.testing.assert_close(changed(image), network(image), atol=1e-5, rtol=1e-5)
        network.encoder[0][1].running_mean.add_(0.5)
        torch.testing.assert_close(
            prepared(network, torch.float32)(image), network(image), atol=1e-5, rtol=1e-5
        )
    network.load_state_dict({k: torch.zeros_like(v) for k, v in network.state_dict().items()})
    assert not prepared(network, torch.float32)(image).any()

"""The drawing of a network shows what the network does."""

import xml.etree.ElementTree as ElementTree
from collections import Counter

import pytest
from torch import nn

from book.tools import architecture
from graphseg.unet.network import UNet

SVG = "{http://www.w3.org/2000/svg}"
NETWORKS = {
    "paper": {"levels": 4, "features": 32},
    "original": {"levels": 5, "features": 16},
    "strided": {"levels": 3, "features": 6, "stride": 2, "normalisation": "batch", "classes": 3},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return UNet(**NETWORKS[request.param])


def drawn(network, side=64):
    return ElementTree.fromstring(architecture.draw(network, side))


def numbers(root, kind):
    return [e.text for e in root.iter(f"{SVG}text") if e.get("class") == kind]


def test_every_convolution_is_an_arrow(network):
    root = drawn(network)
    arrows = Counter(e.get("class") for e in root.iter(f"{SVG}line") if e.get("class"))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    threes = [m for m in layers if m.kernel_size == (3, 3)]
    assert arrows["conv"] == len(threes)
    assert arrows["last"] == len(layers) - len(threes) == 1
    assert arrows["up"] == arrows["pool"] == arrows["copy"] == network.levels - 1


def test_the_numbers_of_features_are_those_of_the_layers(network):
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    # One box for what each gives, and one for what each block is given.
    given = [block[0].in_channels for block in [*network.encoder, *network.decoder]]
    expected = Counter(str(n) for n in [m.out_channels for m in layers] + given)
    assert Counter(numbers(drawn(network), "features")) == expected


def test_the_papers_network_is_that_of_its_third_figure():
    found = numbers(drawn(UNet(), 256), "features")
    assert found[:6] == ["1", "32", "32", "32", "64", "64"]
    assert found[-4:] == ["64", "32", "32", "2"]


def test_sides_halve_from_level_to_level(network):
    sides = {int(text.removesuffix("²")) for text in numbers(drawn(network), "side")}
    assert sides == {64 // network.stride // 2**level for level in range(network.levels)}


def test_nothing_is_drawn_outside(network):
    root = drawn(network)
    width, height = map(float, root.get("viewBox").split()[2:])
    for box in root.iter(f"{SVG}rect"):
        if box.get("x"):
            assert 0 <= float(box.get("x")) <= width - float(box.get("width"))
            assert 0 <= float(box.get("y")) <= height - float(box.get("height"))
    assert root.find(f"{SVG}title").text.startswith(f"U-Net with {2 * network.levels - 1} blocks")

"""The layers of a U-Net as a graph of OpenVINO, without a converter or a file in between."""

from types import ModuleType

import numpy as np
from torch import nn

from graphseg.unet import UNet


def openvino_model(openvino: ModuleType, network: UNet):
    """Return what `graphseg.unet.UNet.forward` computes as an ``openvino.Model``.

    Parameters
    ----------
    openvino
        The package.
    network
        Without batch normalisation, in float32, see `graphseg.fastnetwork.prediction_copy`.

    Returns
    -------
        From images (1, 1, H, W) of any height and width that are multiples of the network's
        ``multiple`` to logits (1, classes, H, W), float32 both.
    """
    ops = openvino.opset13
    image = ops.parameter([1, 1, -1, -1], np.float32)
    skipped = []
    values = ops.space_to_depth(image, "depth_first", network.stride)
    for level, block in enumerate(network.encoder):
        if level:
            values = ops.max_pool(values, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)
        values = _block(ops, values, block)
        skipped.append(values)
    skipped.pop()
    for upsample, block in zip(network.upsample, network.decoder, strict=True):
        weight, bias = _constants(upsample)
        larger = ops.convolution_backprop_data(values, weight, [2, 2])
        values = ops.concat([ops.add(larger, bias), skipped.pop()], 1)
        values = _block(ops, values, block)
    logits = _convolved(ops, values, network.head)
    return openvino.Model([ops.depth_to_space(logits, "depth_first", network.stride)], [image])


def _block(ops: ModuleType, values, block: nn.Sequential):
    for layer in block:
        convolved = isinstance(layer, nn.Conv2d)
        values = _convolved(ops, values, layer) if convolved else ops.relu(values)
    return values


def _convolved(ops: ModuleType, values, layer: nn.Conv2d):
    weight, bias = _constants(layer)
    found = ops.convolution(values, weight, [1, 1], layer.padding, layer.padding, [1, 1])
    return ops.add(found, bias)


def _constants(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = (t.detach().cpu().contiguous().numpy() for t in (layer.weight, layer.bias))
    return weight, bias[:, None, None]

"""A copy of a network that gives the same answers in less time.

In prediction a batch normalisation is a fixed factor and offset for each feature, which the
convolution before it can take over. Weights that are kept in the precision of the convolutions
need not be converted for every image.
"""

from copy import deepcopy
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from graphseg.unet import UNet

_MADE: WeakKeyDictionary[UNet, tuple[tuple, UNet]] = WeakKeyDictionary()


def prepared(network: UNet, precision: torch.dtype) -> UNet:
    """Return a network for prediction, made once as long as the weights stay what they are.

    Parameters
    ----------
    network
        In evaluation mode; it is left as it is.
    precision
        Of the weights, and so of the convolutions, of the result.

    Returns
    -------
        Without batch normalisation, channels last, on the same device. It takes images and gives
        logits in `precision`; they differ from those of `network` by rounding.
    """
    wanted = (precision, *state(network))
    known = _MADE.get(network)
    if known is None or known[0] != wanted:
        known = wanted, prediction_copy(network, precision)
        _MADE[network] = known
    return known[1]


def state(network: UNet) -> tuple[tuple[int, int], ...]:
    """Return what changes whenever weights of a network are written or replaced."""
    tensors = (*network.parameters(), *network.buffers())
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


def prediction_copy(network: UNet, precision: torch.dtype) -> UNet:
    """Return what `prepared` returns, always a new one."""
    made = deepcopy(network).eval().requires_grad_(False)
    for blocks in (made.encoder, made.decoder):
        for index, block in enumerate(blocks):
            blocks[index] = _without_normalisation(block)
    return made.to(dtype=precision, memory_format=torch.channels_last)


def _without_normalisation(block: nn.Sequential) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in block:
        if isinstance(layer, nn.BatchNorm2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers)

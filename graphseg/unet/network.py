"""The U-Net as a :class:`torch.nn.Module`, and a copy of it that predicts in less time.

In prediction a batch normalisation is a fixed factor and offset for each feature, which the
convolution before it can take over. Weights that are kept in the precision of the convolutions
need not be converted for every image.
"""

from copy import deepcopy
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from graphseg.errors import InputError


class UNet(nn.Module):
    """A U-Net with padded convolutions, so that input and output have one size.

    The encoder halves the image ``levels - 1`` times and doubles the features each time; the
    decoder mirrors it with 2x2 up-convolutions and joins the encoder's features of the same size
    (Ronneberger, Fischer & Brox 2015). With ``levels=4, features=32`` it has the shape that Sadre
    et al. (2021) trained, with ``levels=5, features=64`` that of the original paper.

    Parameters
    ----------
    classes : int, default 2
        Output channels, one logit for each class; class 1 is contamination.
    levels : int, default 4
        Number of resolutions; the network has ``2 * levels - 1`` blocks.
    features : int, default 32
        Features of the first block.
    normalisation : {"none", "batch"}, default "none"
        What stands between a convolution and its rectifier. The paper's network has none.
    input_channels : int, default 1
        Channels of the image.
    stride : int, default 1
        Blocks of ``stride`` x ``stride`` pixels become channels of one pixel at the input, and
        channels become pixels again at the output (Shi et al. 2016, doi 10.1109/CVPR.2016.207).
        With 2, the network is four times cheaper for the same features, and its masks keep
        their resolution. The published networks have 1.

    Raises
    ------
    InputError
        If a parameter is out of its range.

    Examples
    --------
    >>> network = UNet(levels=3, features=8)
    >>> network.multiple, parameter_count(network)
    (4, 29330)
    >>> network(torch.zeros(2, 1, 64, 32)).shape
    torch.Size([2, 2, 64, 32])
    """

    def __init__(
        self,
        classes: int = 2,
        levels: int = 4,
        features: int = 32,
        normalisation: str = "none",
        input_channels: int = 1,
        stride: int = 1,
    ):
        super().__init__()
        if normalisation not in ("none", "batch"):
            raise InputError(
                f"The normalisation {normalisation!r} is unknown: use 'none' or 'batch'."
            )
        if min(classes, levels, features, input_channels, stride) < 1:
            raise InputError(
                "classes, levels, features, input_channels and stride must be at least 1."
            )
        widths = [features * 2**level for level in range(levels)]
        inputs = [input_channels * stride**2, *widths[:-1]]
        self.levels = levels
        self.stride = stride
        self.encoder = nn.ModuleList(
            _block(before, after, normalisation)
            for before, after in zip(inputs, widths, strict=True)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (deeper, shallower)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(d, s, 2, stride=2) for d, s in pairs)
        self.decoder = nn.ModuleList(_block(2 * s, s, normalisation) for _, s in pairs)
        self.head = nn.Conv2d(features, classes * stride**2, 1)

    @property
    def multiple(self) -> int:
        """Height and width of an image must be multiples of this number of pixels."""
        return self.stride * 2 ** (self.levels - 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of every class.

        Parameters
        ----------
        images : tensor of float, shape (n, input_channels, H, W)
            Height and width multiples of :attr:`multiple`.

        Returns
        -------
        tensor of float, shape (n, classes, H, W)
        """
        skipped = []
        values = nn.functional.pixel_unshuffle(images, self.stride)
        for level, block in enumerate(self.encoder):
            if level:
                values = nn.functional.max_pool2d(values, 2)
            values = block(values)  # (n, features * 2**level, H / 2**level, W / 2**level)
            skipped.append(values)
        skipped.pop()  # the deepest features are not skipped, they are where the decoder starts
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            values = block(torch.cat([upsample(values), skipped.pop()], dim=1))
        return nn.functional.pixel_shuffle(self.head(values), self.stride)


def _block(before: int, after: int, normalisation: str) -> nn.Sequential:
    """Two padded 3x3 convolutions, each followed by (normalisation and) a rectifier."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        # Batch normalisation has its own offset, which makes the convolution's bias redundant.
        layers.append(nn.Conv2d(channels, after, 3, padding=1, bias=normalisation == "none"))
        if normalisation == "batch":
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def parameter_count(network: nn.Module) -> int:
    """Number of trainable parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


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
    # A tensor's address and version change whenever weights are replaced or written.
    tensors = (*network.parameters(), *network.buffers())
    wanted = (precision, *((tensor.data_ptr(), tensor._version) for tensor in tensors))
    known = _MADE.get(network)
    if known is None or known[0] != wanted:
        known = wanted, _without_normalisation(network, precision)
        _MADE[network] = known
    return known[1]


def _without_normalisation(network: UNet, precision: torch.dtype) -> UNet:
    made = deepcopy(network).eval().requires_grad_(False)
    for block in (*made.encoder, *made.decoder):
        for index, layer in enumerate(block):
            if isinstance(layer, nn.BatchNorm2d):
                block[index - 1] = fuse_conv_bn_eval(block[index - 1], layer)
                block[index] = nn.Identity()
    return made.to(dtype=precision, memory_format=torch.channels_last)

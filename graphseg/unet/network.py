"""The U-Net as a :class:`torch.nn.Module`, and a copy of it that predicts in less time.

In prediction a batch normalisation is a fixed factor and offset for each feature, which the
convolution before it can take over. Weights that are kept in the precision of the convolutions
need not be converted for every image.

Weight files are safetensors with a JSON header; loading reads data only, nothing is unpickled. A
file is not believed either: no more memory is taken than it is long, the architecture that its
header describes is bounded, and its tensors must have exactly the sizes that this one needs.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from graphseg.datasets.stack import LabelClasses
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file

FORMAT = 1  # of the header; a reader refuses what it does not know
RENAMED = {"averaging": "test_time_augmentation"}  # parameters in files of earlier revisions
AUGMENTED = {True: "symmetries", False: "none"}  # values of ``augmentation`` in these


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
    levels, features : int, default 4 and 32
        Number of resolutions, ``2 * levels - 1`` blocks, and features of the first block.
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
        self.multiple = stride * 2 ** (levels - 1)  # of pixels, height and width of an image
        self.encoder = nn.ModuleList(
            _block(before, after, normalisation)
            for before, after in zip(inputs, widths, strict=True)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (deeper, shallower)
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(d, s, 2, stride=2) for d, s in pairs)
        self.decoder = nn.ModuleList(_block(2 * s, s, normalisation) for _, s in pairs)
        self.head = nn.Conv2d(features, classes * stride**2, 1)

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Self:
        """Return the network that the parameters of an estimator describe, channels last."""
        names = ("classes", "levels", "features", "normalisation", "stride")
        network = cls(**{name: parameters[name] for name in names})
        return network.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (n, classes, H, W) of images (n, input_channels, H, W).

        Height and width are multiples of :attr:`multiple`.
        """
        *skipped, values = self.encoded(images)
        for upsample, block in zip(self.upsample, self.decoder, strict=True):
            values = block(torch.cat([upsample(values), skipped.pop()], dim=1))
        return nn.functional.pixel_shuffle(self.head(values), self.stride)

    def encoded(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of each level, (n, features * 2**level, H / 2**level, W / 2**level).
        H and W are those of the images over the stride."""
        found = [self.encoder[0](nn.functional.pixel_unshuffle(images, self.stride))]
        for block in self.encoder[1:]:
            found.append(block(nn.functional.max_pool2d(found[-1], 2)))
        return found


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
    It has no batch normalisation, is channels last, on the same device and of this `precision`, as
    are its logits; they differ by rounding from those of `network`, which is in evaluation mode and
    left as it is."""
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


def choose_device(device: str) -> str:
    """Resolve "auto" to CUDA where there is one, else the CPU; InputError if absent or unknown."""
    available = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if available else "cpu"
    if device.startswith("cuda") and not available:
        raise InputError(f"The device {device!r} is not available here: use 'auto' or 'cpu'.")
    try:
        known = torch.device(device).type in ("cpu", "cuda")
    except RuntimeError:
        known = False
    if not known:
        raise InputError(f"The device {device!r} is unknown: use 'auto', 'cpu' or 'cuda'.")
    return device


def choose_precision(precision: str, device: str) -> torch.dtype:
    """Resolve ``"auto"`` to bfloat16 where the processor multiplies in it, else float32.
    Where ``GRAPHSEG_PRECISION`` is set, ``"auto"`` is what it says: the tests compare numbers.
    InputError if the name is unknown."""
    if precision == "auto":
        precision = os.environ.get("GRAPHSEG_PRECISION", precision)
    if precision == "auto":
        fast = (
            torch.cuda.is_bf16_supported()
            if device.startswith("cuda")
            else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        return torch.bfloat16 if fast else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise InputError(
            f"The precision {precision!r} is unknown: use 'auto', 'float32' or 'bfloat16'."
        )
    return getattr(torch, precision)


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    names = ("graphseg", "torch", "numpy", "scipy", "scikit-learn")
    return {name: version(name) for name in names}


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of a weight file; InputError if it is missing."""
    if not path.is_file():
        raise InputError(f"There is no weight file {path}: check the name.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save_weights(path: Path, tensors: dict[str, torch.Tensor], header: dict, half: bool) -> None:
    """Write the tensors of a network, floats as float16 if ``half``, and a header (JSON)."""
    stored = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in tensors.items()
    }
    write_tensors(path, stored, header | {"format": FORMAT, "kind": "UNetSegmenter"})


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], header: dict) -> None:
    """Write tensors and a header as safetensors, whole or not at all; InputError if impossible."""
    text = json.dumps(header)
    try:
        with whole_file(path, shared=False) as temporary:
            # `save_file` would make it readable to its owner only, whatever the umask.
            temporary.write_bytes(serialised(tensors, metadata={"graphseg": text}))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); make room or name another file, and the same "
            "command continues."
        ) from error


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict, dict[str, torch.Tensor]]:
    """Return the header, {} if there is none, and the tensors that :func:`write` wrote."""
    with safe_open(path, "pt", device=device) as file:
        text = (file.metadata() or {}).get("graphseg", "{}")
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return json.loads(text), tensors


def load_weights(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read header and tensors, floats as float32; InputError if the file is missing or damaged."""
    if not path.is_file():
        raise InputError(f"There is no weight file {path}: check the name.")
    try:
        header, tensors = read_tensors(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is no readable weight file ({reason}): fetch it again."
        ) from error
    if not _is_ours(header):
        raise InputError(f"{path} holds no graphseg U-Net of format {FORMAT}: name another file.")
    for part, name in ((header, "parameters"), (header["card"], "recipe")):
        if isinstance(part.get(name), dict):
            part[name] = current(part[name])
    if not all(v.isfinite().all() for v in tensors.values() if v.is_floating_point()):
        raise InputError(f"{path} holds weights that are not finite: fetch it again.")
    return header, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def current(parameters: dict) -> dict:
    """Return parameters of an earlier revision by the names and values that they have now."""
    result = {RENAMED.get(name, name): value for name, value in parameters.items()}
    if isinstance(result.get("augmentation"), bool):
        result["augmentation"] = AUGMENTED[result["augmentation"]]
    return result


def _is_ours(header: object) -> bool:
    return (
        isinstance(header, dict)
        and (header.get("kind"), header.get("format")) == ("UNetSegmenter", FORMAT)
        and all(isinstance(header.get(part), dict) for part in ("parameters", "card"))
    )


def checked_parameters(path: str | Path, header: dict, estimator: type[BaseEstimator]) -> dict:
    """Return a header's parameters for an estimator; InputError if these or its card are unfit."""
    parameters, card = header["parameters"], header["card"]
    known = estimator().get_params()
    try:
        low, high = card.get("pixel_sizes") or (0.1, 1.0)
        fits = 0 < float(low) <= float(high) < float("inf") and parameters.keys() <= known.keys()
        fits &= 0 < float(card.get("working_pixel_size") or low) < float("inf")
        if card.get("classes"):
            LabelClasses.from_card(card)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} has a card that cannot be used: fetch it again.") from error
    if not fits:
        raise InputError(f"{path} has a header that cannot be used: fetch it again.")
    return parameters


def fill(network: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put tensors into a network of the same architecture; InputError if names or shapes differ."""
    wanted = network.state_dict()
    if any(
        value.is_floating_point() != wanted[key].is_floating_point()
        for key, value in tensors.items()
        if key in wanted
    ):
        raise InputError(f"{path} holds weights of another type of number: fetch it again.")
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{path} holds weights of another network: name one of {type(network).__name__} with "
            "the same levels, features and normalisation."
        ) from error


def change_classes(
    tensors: dict[str, torch.Tensor], known: Sequence[bool], wanted: Sequence[bool]
) -> dict[str, torch.Tensor]:
    """Give the last layer of a U-Net other classes.
    `known` and `wanted` say for each class of the tensors, and of the result, whether it is
    contamination. Each starts as the first known class of its kind. Of two known classes, the new
    ones of a kind together are as probable as the old one was, so that nothing is forgotten."""
    source = [list(known).index(kind) for kind in wanted]
    fraction = torch.tensor([float(list(wanted).count(kind)) for kind in wanted]).log()
    head = {}
    for key in ("head.weight", "head.bias"):
        rows = tensors[key]  # (classes · stride², ...)
        rows = rows.reshape(len(known), -1, *rows.shape[1:])[source]
        rows = rows - fraction[:, None] if key == "head.bias" else rows
        head[key] = rows.flatten(0, 1)
    return tensors | head

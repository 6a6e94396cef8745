"""Networks as ONNX files, which other programs and languages run without PyTorch or graphseg."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from graphseg.errors import InputError, extra
from graphseg.io.outputs import whole_file
from graphseg.unet.network import UNet
from graphseg.unet.segmenter import UNetSegmenter

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUT, OUTPUT, SEVERAL = "image", "probability", "probabilities"
DIMENSIONS = ("n", "height", "width")
LARGEST_DIFFERENCE = 1e-4  # of a probability from PyTorch's
CHECKED_SHAPES = ((1, 64, 64), (2, 37, 70), (1, 129, 5))  # (n, H, W), multiples and others
LARGEST_SIDE = 2**16  # pixels
ROUNDING = 1e-6  # relative deviation that the float32 mean of a constant image can leave


class PortableNetwork(nn.Module):
    """A network with all that belongs to it: standardising, padding, probabilities.
    It does what `graphseg.unet.segmenter.UNetSegmenter.predict_proba` does with a whole image in
    one pass, in float32. The network is in evaluation mode; images may come `standardised`."""

    def __init__(self, network: UNet, standardised: bool = False):
        super().__init__()
        self.network = network
        self.standardised = standardised

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the probability of contamination (n, H, W), or of more than two classes each.
        Takes images (n, H, W) float32 of any scale, and of any size of at least half the network's
        ``multiple``; each is standardised by itself (eq. 3). More give (n, classes, H, W)."""
        height, width = images.shape[-2:]
        rows, columns = (self._mirrored(length) for length in (height, width))
        padded = self._standard(images)[:, rows][:, :, columns]
        found = self.network(padded[:, None]).softmax(1)[..., :height, :width]
        return found[:, 1] if found.shape[1] == 2 else found

    def _standard(self, images: torch.Tensor) -> torch.Tensor:
        if self.standardised:
            return images
        mean = images.mean((1, 2), keepdim=True)
        centred = images - mean
        deviation = centred.square().mean((1, 2), keepdim=True).sqrt()
        constant = deviation <= ROUNDING * mean.abs()
        return torch.where(constant, 0, centred / torch.where(constant, 1, deviation))

    def _mirrored(self, length: int) -> torch.Tensor:
        """Return which pixel stands at each place of an axis that is padded by mirroring."""
        multiple = self.network.multiple
        place = torch.arange((length + multiple - 1) // multiple * multiple)
        return torch.where(place < length, place, 2 * length - 1 - place).clamp(min=0)


def export_onnx(
    segmenter: UNetSegmenter, path: str | Path, standardised: bool = False, half: bool = False
) -> float:
    """Write a trained network as ONNX; return its largest difference in a probability from PyTorch.
    The file takes ``image``, float32 (n, height, width) of any scale and size, and gives
    ``probability`` of the same shape; of more than two classes ``probabilities``, (n, classes,
    height, width), in the order of the card's ``classes``. It is the single pass, without averaging
    over symmetries and without tiles. Its metadata hold the card of the network, as JSON, the
    threshold and the range of pixel sizes. An existing file is replaced only by one that agrees:
    InputError if the difference exceeds 1e-4, or a package is missing; NotFittedError if the
    segmenter is not trained.

    With `standardised` it leaves out standardising, for programs that cut large images into tiles:
    these are standardised by the mean and the deviation of the whole image. With `half` it stores
    weights that float16 holds exactly, as those of the bundled networks, as float16: half the size
    and the same probabilities, but twice the time to load."""
    check_is_fitted(segmenter, "module_")
    with extra("onnx", "An open model"):
        onnx, _, runtime = (import_module(name) for name in PACKAGES)
    # The network in float32 on the processor, with all that belongs to it, as an ONNX graph.
    network = deepcopy(segmenter.module_).cpu().float()
    network = network.to(memory_format=torch.contiguous_format)
    portable = PortableNetwork(network, standardised).eval()
    output = OUTPUT if segmenter.classes == 2 else SEVERAL
    # Joined with the normalisation behind it, as the optimiser does, a weight is no float16 more.
    model = _exported(portable, output, optimised=not half)
    if half:
        _store_halves(onnx, model)
    _describe(onnx, model, segmenter)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    # Written only if another program finds the same with it.
    difference = _difference(runtime, content, portable, output)
    if not difference <= LARGEST_DIFFERENCE:
        raise InputError(
            f"{path} is not written: ONNX Runtime differs from PyTorch by {difference:.1e}; use "
            "other versions of torch, onnxscript and onnxruntime."
        )
    with whole_file(Path(path)) as temporary:
        temporary.write_bytes(content)
    return difference


def _exported(portable: PortableNetwork, output: str, optimised: bool):
    """Return the ONNX model, an ``onnx.ModelProto``, with free height, width and number."""
    free = [torch.export.Dim(name, min=1, max=LARGEST_SIDE) for name in DIMENSIONS]
    # No dimension is 1 or a multiple: both would be taken as fixed.
    example = torch.randn(2, 70, 93)
    with _quiet_exporter():
        program = torch.onnx.export(
            portable,
            (example,),
            dynamo=True,
            dynamic_shapes=(dict(enumerate(free)),),
            input_names=[INPUT],
            output_names=[output],
            external_data=False,
            optimize=optimised,
            verbose=False,
        )
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep back what the exporter says of packages that are not needed and of its own code."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch warns of its own use of this class; a user can do nothing about it.
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(before)


def _store_halves(onnx: ModuleType, model) -> None:
    """Store float32 weights as float16 where that loses nothing, and convert them on loading."""
    weights = model.graph.initializer
    for weight in list(weights):
        values = onnx.numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16) if values.dtype == np.float32 else values
        if halves.dtype == values.dtype or not (halves == values).all():
            continue
        name = f"{weight.name}_float16"
        cast = onnx.helper.make_node("Cast", [name], [weight.name], to=onnx.TensorProto.FLOAT)
        weights.remove(weight)
        weights.append(onnx.numpy_helper.from_array(halves, name))
        model.graph.node.insert(0, cast)


def _describe(onnx: ModuleType, model, segmenter: UNetSegmenter) -> None:
    """Name the dimensions of the result and add the card."""
    number, *classes, height, width = model.graph.output[0].type.tensor_type.shape.dim
    for dimension, name in zip((number, height, width), DIMENSIONS, strict=True):
        dimension.dim_param = name
    what = "each class" if classes else "surface contamination"
    model.doc_string = (
        f"Probability of {what} for each pixel of micrographs; see the card for what the network "
        "knows."
    )
    card = segmenter.card_
    facts = {
        "card": json.dumps(card),
        "threshold": str(segmenter.threshold),
        "pixel_sizes_angstrom": json.dumps(card.get("pixel_sizes")),
    }
    onnx.helper.set_model_props(model, facts)


def _difference(
    runtime: ModuleType, content: bytes, portable: PortableNetwork, output: str
) -> float:
    """Return the largest difference of ONNX Runtime from PyTorch over images of several sizes."""
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    mean, deviation = (0, 1) if portable.standardised else (100, 10)
    differences = []
    for shape in CHECKED_SHAPES:
        images = generator.normal(mean, deviation, shape).astype(np.float32)
        (found,) = session.run([output], {INPUT: images})
        with torch.inference_mode():
            expected = portable(torch.from_numpy(images)).numpy()
        differences.append(float(np.abs(found - expected).max()))
    return max(differences)

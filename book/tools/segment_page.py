"""Make what the page "Segment in the page" loads: its code, ONNX Runtime, the network, a sample.

A page that is opened from a folder may fetch nothing, so all of it becomes scripts that hand over
text: base64 of gzip. The code of the worker is the third-party libraries and the modules of
``book/browser/``, one after the other.
"""

import base64
import gzip
import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from book.tools.dm4 import write_dm4
from book.tools.errors import ToolError

LIBRARIES = ("onnxruntime/ort.wasm.min.js", "geotiff/geotiff.js")
MODULES = (
    "files.js",
    "fourier.js",
    "lattice.js",
    "scale.js",
    "network.js",
    "known.js",
    "worker.js",
)
PAGE = ("page.js", "page.css", "licences.txt")
GLUE = "onnxruntime/ort-wasm-simd-threaded.mjs"
RUNTIME = "onnxruntime/ort-wasm-simd-threaded.wasm"
NETWORK = "default"
SAMPLE_COUNTS = 1000  # grey levels of the sample's mean; it is stored in 16 bits
MARK = "made-from.json"


def make(folder: Path, source: Path, javascript: Path) -> None:
    """Write the files into a folder, unless they were made from exactly these sources.

    Parameters
    ----------
    folder
        Where they go.
    source
        The folder ``book/browser``.
    javascript
        Folder of the third-party JavaScript.

    Raises
    ------
    ToolError
        If a library is missing.
    """
    from graphseg.evaluation import ood, quality
    from graphseg.unet import export, pretrained

    needed = [javascript / name for name in (*LIBRARIES, GLUE, RUNTIME)]
    if missing := [path for path in needed if not path.is_file()]:
        raise ToolError(f"{missing[0]} is missing: run python -m book.tools.fetch_javascript.")
    own = [source / name for name in (*MODULES, *PAGE)]
    weights = pretrained.find(NETWORK)
    code = (Path(export.__file__), Path(__file__))
    made_from = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*needed, *own, weights, ood.FILE, quality.FILE, *code)
    }
    mark = folder / MARK
    if mark.is_file() and json.loads(mark.read_text(encoding="utf8")) == made_from:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in PAGE:
        shutil.copy(source / name, folder)
    # A source map is named at the end of some, which only a debugger would look for.
    scripts = [javascript / name for name in LIBRARIES] + [source / name for name in MODULES]
    _write(folder, "engine", b"\n;\n".join(path.read_bytes() for path in scripts))
    _write(folder, "glue", (javascript / GLUE).read_bytes())
    _write(folder, "runtime", (javascript / RUNTIME).read_bytes())
    about, network = _network()
    _write(folder, "about", json.dumps(about).encode())
    _write(folder, "network", network)
    _write(folder, "sample", _sample())
    mark.write_text(json.dumps(made_from), encoding="utf8")


def _write(folder: Path, name: str, content: bytes) -> None:
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    (folder / f"{name}.js").write_text(f'graphsegPart("{name}", "{packed}");\n', encoding="utf8")


def _network() -> tuple[dict, bytes]:
    """Return what the page must know of the network, and the network as ONNX."""
    from graphseg.evaluation import ood, quality
    from graphseg.unet import inference, pretrained
    from graphseg.unet.export import export_onnx
    from graphseg.unet.network import weights_digest

    segmenter = pretrained.load(NETWORK, device="cpu", precision="float32")
    digest = weights_digest(pretrained.find(NETWORK))
    about = {
        "digest": digest[:12],  # as tables name it
        "stride": segmenter.stride,
        "levels": segmenter.levels,
        "multiple": segmenter.module_.multiple,
        "tile": segmenter.tile,
        "overlap": segmenter.overlap,
        "threshold": segmenter.threshold,
        "pixelSizes": inference.known_pixel_sizes(segmenter.card_),
        "workingPixelSize": inference.working_pixel_size(segmenter.card_),
        "referenceSet": ood.package(digest).as_json(),
        "expectedJaccard": quality.package()["expected_jaccard"][digest],
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "network.onnx"
        export_onnx(segmenter, path, standardised=True, half=True)
        return about, _with_features(path.read_bytes(), segmenter.levels)


def _with_features(content: bytes, levels: int) -> bytes:
    """Give a U-Net a second output: the means of the features of its encoder, level by level."""
    import onnx

    model = onnx.load_from_string(content)
    rectified = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    ends = rectified[1 : 2 * levels : 2]  # each block has two
    axes = onnx.numpy_helper.from_array(np.array([2, 3]), "height_and_width")
    model.graph.initializer.append(axes)
    means = [f"{end}_mean" for end in ends]
    for end, mean in zip(ends, means, strict=True):
        inputs = [end, axes.name]
        model.graph.node.append(onnx.helper.make_node("ReduceMean", inputs, [mean], keepdims=0))
    model.graph.node.append(onnx.helper.make_node("Concat", means, ["features"], axis=1))
    shape = ["n", "number"]
    output = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, shape)
    model.graph.output.append(output)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _sample() -> bytes:
    """Return the first image of the bundled simulated sample as a DM4 file."""
    from graphseg.datasets.load import load_simulated_sample

    stack = load_simulated_sample()
    image = stack.images[0]
    counts = np.rint(image / image.mean() * SAMPLE_COUNTS).astype(np.uint16)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "sample.dm4"
        write_dm4(path, counts, stack.pixel_size_of(0))
        return path.read_bytes()

"""ONNX files give PyTorch's probabilities for images of any size, and say what they are."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from sklearn.exceptions import NotFittedError

from graphseg.errors import InputError
from graphseg.unet import export, pretrained
from graphseg.unet.network import UNet
from graphseg.unet.segmenter import UNetSegmenter


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    made = UNetSegmenter(levels=2, features=2, device="cpu", precision="float32", threshold=0.4)
    made.module_ = UNet(levels=2, features=2, normalisation="batch").eval()
    made.card_ = {"pixel_sizes": [0.3, 0.5], "limits": "none"}
    return made


@pytest.fixture(scope="module")
def written(segmenter, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "unet.onnx"
    return path, export.export_onnx(segmenter, path)


def test_onnx_runtime_gives_what_pytorch_gives(segmenter, written):
    path, difference = written
    assert difference <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(1)
    for shape in ((1, 64, 64), (3, 33, 50), (2, 9, 9), (1, 40, 3)):
        images = generator.normal(5, 3, shape).astype(np.float32)
        (found,) = session.run(None, {"image": images})
        np.testing.assert_allclose(found, segmenter.predict_proba(images), atol=1e-4)
    constant = np.full((1, 16, 16), 0.1, np.float32)
    (found,) = session.run(None, {"image": constant})
    np.testing.assert_allclose(found, segmenter.predict_proba(constant), atol=1e-4)


def test_the_file_says_what_it_is(written):
    path, _ = written
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    for value in (*model.graph.input, *model.graph.output):
        names = [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
        assert names[0] and len(set(names)) == 3
    facts = {one.key: one.value for one in model.metadata_props}
    assert json.loads(facts["card"])["limits"] == "none"
    assert json.loads(facts["pixel_sizes_angstrom"]) == [0.3, 0.5]
    assert float(facts["threshold"]) == 0.4
    assert [file.name for file in path.parent.iterdir()] == ["unet.onnx"]


@pytest.mark.parametrize("shape", [(1, 9, 17), (2, 33, 50), (1, 8, 12)])
def test_the_bundled_network_is_portable(shape):
    network = pretrained.load(device="cpu", test_time_augmentation=False, precision="float32")
    images = np.random.default_rng(2).normal(3, 2, shape).astype(np.float32)
    with torch.inference_mode():
        found = export.PortableNetwork(network.module_)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, network.predict_proba(images), atol=1e-5)


def test_for_tiles_the_caller_standardises_and_float16_loses_nothing(tmp_path):
    network = pretrained.load(device="cpu", test_time_augmentation=False, precision="float32")
    sizes = []
    for half in (False, True):
        path = tmp_path / f"{half}.onnx"
        assert export.export_onnx(network, path, standardised=True, half=half) <= 1e-6
        sizes.append(path.stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    image = np.random.default_rng(3).normal(5, 3, (1, 40, 56)).astype(np.float32)
    standard = (image - image.mean()) / image.std()
    (found,) = onnxruntime.InferenceSession(path).run(None, {"image": standard})
    np.testing.assert_allclose(found, network.predict_proba(image), atol=1e-5)
    # Twice the contrast is another image for it, since it does not standardise.
    (other,) = onnxruntime.InferenceSession(path).run(None, {"image": 2 * standard})
    assert np.abs(other - found).max() > 0.01


def test_of_several_classes_the_file_gives_each(tmp_path):
    torch.manual_seed(1)
    several = UNetSegmenter(
        levels=2, features=2, classes=3, contamination=(2,), device="cpu", precision="float32"
    )
    several.module_ = UNet(classes=3, levels=2, features=2, normalisation="batch").eval()
    several.card_ = {}
    assert export.export_onnx(several, tmp_path / "unet.onnx") <= 1e-4
    session = onnxruntime.InferenceSession(
        tmp_path / "unet.onnx", providers=["CPUExecutionProvider"]
    )
    images = np.random.default_rng(3).normal(5, 3, (2, 33, 50)).astype(np.float32)
    (found,) = session.run(["probabilities"], {"image": images})
    assert found.shape == (2, 3, 33, 50)
    np.testing.assert_allclose(found, several.predict_proba(images), atol=1e-4)


def test_a_file_that_disagrees_is_not_written(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_exported", lambda *arguments, **options: onnx.ModelProto())
    monkeypatch.setattr(export, "_describe", lambda *arguments: None)
    monkeypatch.setattr(onnx.checker, "check_model", lambda model: None)
    monkeypatch.setattr(export, "_difference", lambda *arguments: float("nan"))
    with pytest.raises(InputError, match="is not written"):
        export.export_onnx(segmenter, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(segmenter, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript: pip install \"graphseg\[onnx\]\""):
        export.export_onnx(segmenter, tmp_path / "a.onnx")


def test_an_untrained_network_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        export.export_onnx(UNetSegmenter(), tmp_path / "a.onnx")

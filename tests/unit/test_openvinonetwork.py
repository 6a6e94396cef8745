"""OpenVINO gives PyTorch's answers but for rounding, in silence, and only to those who ask."""

import csv
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from graphseg import datasets, openvinonetwork, shipped
from graphseg.bulknetwork import Network
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter
from graphseg.unet import UNet

PRECISIONS = {"float32": 1e-5, "bfloat16": 0.02}  # largest difference; bfloat16 has 8 bits


def small_segmenter(engine="openvino", **changes):
    """An untrained network that was normalised over some images, so that nothing is trivial."""
    options = dict(levels=3, features=4, normalisation="batch", stride=2) | changes
    shape = {name: options[name] for name in ("levels", "features", "normalisation", "stride")}
    torch.manual_seed(3)
    segmenter = UNetSegmenter(device="cpu", precision="float32", engine=engine, **options)
    network = UNet(classes=segmenter.classes, **shape)
    with torch.no_grad():
        for _ in range(3):
            network(2 * torch.randn(4, 1, 32, 32) + 0.3)
    segmenter.module_, segmenter.card_ = network.eval(), {}
    return segmenter


def both(images, **changes):
    """Probabilities with PyTorch and with OpenVINO."""
    return [small_segmenter(e, **changes).predict_proba(images) for e in ("torch", "openvino")]


@pytest.fixture(scope="module")
def sample():
    return datasets.load_simulated_sample().images[:3]


@pytest.mark.parametrize("name", ["default", "paper_fold_0"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_shipped_networks_answer_as_with_torch(sample, name, precision):
    options = {"averaging": False, "device": "cpu", "precision": precision}
    right = shipped.load(name, **options).predict_proba(sample)
    found = shipped.load(name, engine="openvino", **options).predict_proba(sample)
    assert found.dtype == np.float32 and 0.05 < (found >= 0.5).mean() < 0.95
    assert np.abs(found - right).max() < PRECISIONS[precision]
    assert ((found >= 0.5) == (right >= 0.5)).mean() >= 0.999


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"averaging": True},
        {"normalisation": "none"},
        {"stride": 1},
        {"levels": 1},
        {"levels": 1, "stride": 1},
        {"tile": 128, "overlap": 16},
        {"classes": 3, "contamination": (1, 2)},
    ],
    ids=str,
)
def test_any_network_and_any_size(changes):
    images = np.random.default_rng(0).normal(5, 3, (2, 187, 230)).astype(np.float32)
    for part in (images, images[:, :37, :21], images[:1, :1, :5]):
        right, found = both(part, **changes)
        assert found.shape == right.shape
        np.testing.assert_allclose(found, right, atol=1e-5)
    assert np.ptp(found) > 0


def test_changed_weights_give_other_answers(sample):
    segmenter = small_segmenter()
    before = segmenter.predict_proba(sample)
    made = openvinonetwork.compiled(segmenter.module_, torch.float32)
    assert openvinonetwork.compiled(segmenter.module_, torch.float32) is made
    with torch.no_grad():
        segmenter.module_.head.bias[:4] += 1  # of the first class
    after = segmenter.predict_proba(sample)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(
        after, segmenter.set_params(engine="torch").predict_proba(sample), atol=1e-5
    )


@pytest.mark.parametrize("torch_threads", [1, 2])
def test_several_threads_at_once_do_not_mix_their_images(torch_threads):
    segmenter = small_segmenter()
    images = np.random.default_rng(1).normal(size=(24, 1, 48, 64)).astype(np.float32)
    right = [segmenter.predict_proba(image) for image in images]

    def predict(image):
        torch.set_num_threads(torch_threads)  # of this thread
        return segmenter.predict_proba(image)

    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(predict, images), right, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_weight_files_do_not_mention_it(tmp_path, sample):
    segmenter = small_segmenter()
    segmenter.save(tmp_path / "a.safetensors")
    assert b"openvino" not in (tmp_path / "a.safetensors").read_bytes()
    plain = UNetSegmenter.load(tmp_path / "a.safetensors", device="cpu")
    again = UNetSegmenter.load(tmp_path / "a.safetensors", device="cpu", engine="openvino")
    assert (plain.engine, again.engine) == ("torch", "openvino")
    np.testing.assert_array_equal(again.predict_proba(sample), segmenter.predict_proba(sample))
    # A record of scores does: they may differ by rounding.
    assert segmenter.portable_parameters()["engine"] == "openvino"
    assert "engine" not in plain.portable_parameters()


def test_a_training_is_the_same_with_it(sample):
    masks = sample[:2, :32, :32] > 0.5
    fitted = [
        UNetSegmenter(
            levels=2, features=2, epochs=1, device="cpu", progress=False, precision="float32",
            engine=engine,
        ).fit(sample[:2, :32, :32], masks, held_out=(sample[:2, :32, :32], masks))
        for engine in ("torch", "openvino")
    ]  # fmt: skip
    assert fitted[0].card_["training_digest"] == fitted[1].card_["training_digest"]
    assert torch.equal(fitted[0].module_.head.weight, fitted[1].module_.head.weight)
    scores = [one.history_[-1]["accuracy"] for one in fitted]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_what_cannot_be_used_is_said_in_one_sentence(monkeypatch):
    with pytest.raises(InputError, match="'tpu' is unknown: use 'torch' or 'openvino'"):
        shipped.load(engine="tpu")
    with pytest.raises(InputError, match="runs on processors: use the device 'cpu'"):
        openvinonetwork.check_engine("openvino", "cuda:0")
    openvinonetwork.package.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r'pip install "graphseg\[openvino\]"'):
        Network.choose(engine="openvino", device="cpu")
    assert shipped.load(device="cpu").engine == "torch"  # needs no package


def test_results_of_earlier_runs_with_torch_stay_valid():
    torch_made, openvino_made = (
        Network.choose(engine=engine, device="cpu").made_by() for engine in ("torch", "openvino")
    )
    assert set(torch_made) == {"model", "averaging", "precision", "pixel_size"}
    assert openvino_made == torch_made | {"engine": "openvino"}


def test_the_command_line_writes_the_same_masks(run, tmp_path, sample):
    (tmp_path / "night").mkdir()
    for index, image in enumerate((255 * sample[:2]).astype(np.uint8)):
        tifffile.imwrite(tmp_path / "night" / f"{index}.tif", image[: 200 + 56 * index])
    command = ("segment", "night", "--no-averaging", "--device", "cpu")
    for engine in openvinonetwork.ENGINES:
        code, out, _ = run(*command, "--engine", engine, "--output", engine)
        assert code == 0 and "2 images done" in out
    for index in range(2):
        right, found = (
            tifffile.imread(f"{engine}/{index}_mask.tif") for engine in openvinonetwork.ENGINES
        )
        assert 0.02 < (found > 0).mean() < 0.98 and (found == right).mean() >= 0.999
    with open("openvino/segment.csv", newline="", encoding="utf-8") as file:
        assert all(row["error"] == "" for row in csv.DictReader(file))
    code, _, err = run(*command, "--output", "openvino")
    assert code == 2 and "--overwrite" in err  # another engine, other results


SILENT = """
import sys
import numpy as np
from graphseg import shipped
heard = []
sys.addaudithook(lambda event, values: heard.append(event) if event in {
    "socket.connect", "socket.getaddrinfo", "urllib.Request", "subprocess.Popen", "os.fork",
} else None)
segmenter = shipped.load(device="cpu", averaging=False, engine="openvino")
assert segmenter.predict_proba(np.eye(64)[None]).shape == (1, 64, 64)
import openvino
assert callable(openvino.convert_model)
assert "openvino_telemetry" not in sys.modules
assert not heard, heard
"""


def test_it_says_nothing_and_sends_nothing(tmp_path):
    # Not as on a server for continuous integration, where nothing is sent anyway.
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "OMP_NUM_THREADS", "VIRTUAL_ENV")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SILENT],
        env=environment | {"HOME": str(tmp_path)},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())  # no identification is kept

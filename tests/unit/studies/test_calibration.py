"""The record of confidence holds what the package needs, on the bundled images too."""

import json
import shutil

import numpy as np
import pytest

from book.studies import calibration as confidence
from book.studies import reliability
from book.tools.fold_networks import fold_of
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation import quality
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where predictions would look for what they need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "FILE", tmp_path_factory.mktemp("package") / "calibration.json")
        yield quality.FILE


@pytest.fixture(scope="module")
def record(written, tmp_path_factory):
    stack = load.load_stack("simulated")
    small = stack.subset(np.arange(15))
    cut = type(small)(
        **{name: getattr(small, name) for name in
           ("names", "dates", "source", "pixel_size")},
        groups=np.array([f"g{k}" for k in range(15)]),
        images=small.images[:, :32, :32],
        masks=small.masks[:, :32, :32],
    )  # fmt: skip
    # The fold networks of the general network are not bundled: those of ours stand in.
    folds = tmp_path_factory.mktemp("folds")
    for number in range(5):
        shutil.copy(pretrained.find(f"fold_{number}"), folds / f"general_fold_{number}.safetensors")
    return confidence.run(cut, draws=20, folds=folds)


def test_the_record_is_json_and_complete(record):
    again = json.loads(json.dumps(record))
    assert set(again["calibration"]) == set(reliability.METHODS)
    assert len(again["images"]) == 15
    for way in ("eight views", "eight views, inner", "eight views, other", "one view"):
        assert set(again["correlations"][way]) == {"pearson", "spearman"}
    for found in again["calibration"].values():
        assert sum(found["pixels"]) == 15 * 32 * 32
        assert 0 <= found["error"] <= 1
    for name in ("undecided mean", "spread of views"):
        assert 0 <= again["errors_found"][name] <= 1


def test_the_file_of_the_package_is_part_of_the_record(record, written):
    kept = json.loads(written.read_text())
    assert kept["temperature"] == record["temperature"]
    names = ("default", "general", "simulated")
    folds = (f"{kind}fold_{k}" for k in range(5) for kind in ("", "general_"))
    assert set(kept["networks"]) == {*names, *folds}
    digests = {weights_digest(pretrained.find(name)) for name in names}
    assert set(kept["expected_jaccard"]) == digests
    for lines in kept["expected_jaccard"].values():
        assert set(lines) == set(quality.WAYS.values())
        for line in lines.values():
            assert 0 <= quality.ExpectedJaccard(**line)(np.array([0.8]))[0, 0] <= 1


def test_a_network_of_a_fold_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match="general_fold_0"):
        confidence.run(load.load_stack("simulated"), folds=tmp_path)


def test_every_image_belongs_to_the_network_that_has_not_seen_it():
    held_out = [pretrained.load(f"fold_{k}").card_["held_out"] for k in range(5)]
    names = [images[0] for images in held_out]
    assert fold_of(names).tolist() == list(range(5))
    assert fold_of(["unknown"] * 7).tolist() == [0, 1, 2, 3, 4, 0, 1]

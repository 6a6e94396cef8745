"""Corrected masks: what analyse, sort, reduce and train make of them."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from graphseg.batch.manifest import find_inputs
from graphseg.batch.masks import MaskFolder, is_reviewed, read_reviewed
from graphseg.batch.reduction import read_reduced
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation import scorecard
from graphseg.unet import at_scale, finetune
from graphseg.unet.at_scale import Scales
from graphseg.unet.network import load_weights
from graphseg.unet.segmenter import UNetSegmenter
from graphseg.unet.training import IGNORED, LOSSES
from tests.helpers.microscope_files import write_dm4

FAST = ("--no-test-time-augmentation", "--device", "cpu")
TINY = (
    "--set", "epochs=1", "--set", "device=cpu", "--set", "precision='float32'",
    "--set", "test_time_augmentation=False", "--set", "progress=False",
)  # fmt: skip
LEFT = np.s_[:, :100]


@pytest.fixture(scope="session")
def segmented(tmp_path_factory):
    """A night of three files, one a series, and their masks; (folder, names of the masks)."""
    folder = tmp_path_factory.mktemp("run")
    stack = load.load_simulated_sample()
    chosen = [i for i in range(len(stack)) if 0.05 < stack.masks[i].mean() < 0.6][:4]
    images = (3000 + 20000 * stack.images[chosen]).astype(np.uint16)
    (folder / "night").mkdir()
    size = stack.pixel_size_of(chosen[0])
    write_dm4(folder / "night" / "a.dm4", images[0], size)
    tifffile.imwrite(folder / "night" / "b.tif", images[1])
    tifffile.imwrite(folder / "night" / "series.tif", images[2:], photometric="minisblack")
    return folder


@pytest.fixture
def night(run, segmented, tmp_path):
    """The same in the present folder: ``night`` and, made by ``segment``, ``masks``."""
    for path in (segmented / "night").iterdir():
        (tmp_path / "night").mkdir(exist_ok=True)
        (tmp_path / "night" / path.name).write_bytes(path.read_bytes())
    assert run("segment", "night", "--output", "masks", *FAST)[0] == 0
    return MaskFolder(tmp_path / "masks")


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_the_automatic_mask_stays_and_corrections_lie_beside_it(night):
    assert night.names() == ["a", "b", "series_frame_0000", "series_frame_0001"]
    before = (night.folder / "a_mask.tif").read_bytes()
    mask, reviewed = night.read("a")
    assert not reviewed.any() and not is_reviewed(night.folder)
    mask[LEFT], reviewed[LEFT] = True, True
    night.write("a", mask, reviewed)
    assert (night.folder / "a_mask.tif").read_bytes() == before
    for found, expected in zip(night.read("a"), (mask, reviewed), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (tifffile.imread(night.folder / "a_corrected.tif") == 255).sum() == mask.sum()
    assert night.reviewed_fraction("a") == reviewed.mean() and is_reviewed(night.folder)
    # As results inside a folder of images they are no images of the next run.
    assert len(find_inputs([night.folder.parent]).sources) == 3


def test_analyse_sort_and_reduce_take_corrected_masks(run, night):
    mask, reviewed = night.read("a")
    mask[LEFT], reviewed[LEFT] = True, True
    night.write("a", mask, reviewed)
    clean = np.zeros_like(mask)
    night.write("series_frame_0001", clean, np.ones_like(clean))
    (night.folder.parent / "night" / "b.tif").rename("night/moved.tif")  # found by its content
    given = ("night", "--masks", "masks")
    assert run("sort", *given, "--output", "sorted")[0] == 0
    rows = table("sorted/sort.csv")
    assert set(rows) == set(night.names())
    states = {name: row["mask"] for name, row in rows.items()}
    assert states == {
        "a": "corrected", "b": "automatic", "series_frame_0000": "automatic",
        "series_frame_0001": "accepted",
    }  # fmt: skip
    assert float(rows["a"]["clean_fraction"]) == pytest.approx(1 - mask.mean(), abs=1e-6)
    assert float(rows["series_frame_0001"]["clean_fraction"]) == 1
    before = table("masks/segment.csv")
    assert rows["b"]["expected_jaccard"] == before["b"]["expected_jaccard"] != ""
    assert rows["a"]["expected_jaccard"] == "" and rows["a"]["model"] == before["a"]["model"]

    assert run("analyse", *given, "--output", "atoms")[0] == 0
    with open("atoms/a_atoms.csv", newline="", encoding="utf-8") as file:
        columns = [float(row["column_right_px"]) for row in csv.DictReader(file)]
    assert len(columns) > 20 and min(columns) > 99
    assert run("reduce", *given, "--output", "small")[0] == 0
    classes = read_reduced(night.folder.parent / "small" / "a_reduced.h5").classes[0]
    assert (classes[LEFT] == 3).all()

    # Only what was corrected since is done again, and only if one says so.
    kept = {p: p.stat().st_mtime_ns for p in (night.folder.parent / "small").glob("*.h5")}
    night.write("b", mask, reviewed)
    code, _, err = run("reduce", *given, "--output", "small")
    assert code == 2 and "--overwrite" in err
    assert run("reduce", *given, "--output", "small", "--overwrite")[0] == 0
    assert [p.name for p, then in kept.items() if p.stat().st_mtime_ns != then] == ["b_reduced.h5"]


def test_what_has_no_mask_is_said_and_the_others_are_done(run, night):
    image = tifffile.imread("night/b.tif")
    tifffile.imwrite("night/new.tif", image[:200])
    os.mkdir("night/inner")
    tifffile.imwrite("night/inner/a.tif", image[:100])  # its name is that of another one's mask
    code, out, err = run("sort", "night", "--masks", "masks", "--output", "sorted")
    assert code == 2 and "4 images done" in out and err.count("has no mask in") == 2
    code, _, err = run("sort", "night", "--masks", "nowhere", "--output", "o")
    assert code == 2 and "no masks of graphseg segment" in err
    more = ("--masks", "masks", "--model", "general", "--output", "o")
    assert run("sort", "night", *more)[0] == 2
    tifffile.imwrite("night/b.tif", image[::-1])
    with pytest.raises(InputError, match=r"b\.tif has changed"):
        night.micrograph("b")
    os.remove("night/b.tif")
    with pytest.raises(InputError, match=r"b\.tif is gone"):
        night.micrograph("b")


def test_train_learns_from_what_was_reviewed(run, night):
    code, _, err = run("train", "masks", "--output", "w.safetensors", *TINY)
    assert code == 2  # there are no labels, and nothing is corrected
    mask, reviewed = night.read("a")
    night.write("a", mask, np.ones_like(reviewed))
    second, partly = night.read("series_frame_0001")
    partly[LEFT] = True
    second[LEFT][:50] = True
    night.write("series_frame_0001", second, partly)
    night.write("series_frame_0000", *night.read("series_frame_0000"))  # nothing seen
    stack, classes, report = read_reviewed(night.folder)
    assert stack.names == ("a", "series_frame_0001") and len(set(stack.groups)) == 2
    assert stack.pixel_size_of(1) is None and stack.pixel_size_of(0) > 0.2
    assert str(classes) == "0 clean; 255 contamination"
    seen = np.concatenate([mask.ravel(), second[LEFT].ravel()])
    assert report.values[255.0] == pytest.approx(seen.mean())
    targets = at_scale.training_set(stack, (1.0, 1.0))[1]
    np.testing.assert_array_equal(targets == IGNORED, ~stack.reviewed)
    np.testing.assert_array_equal(targets[stack.reviewed] == 1, stack.masks[stack.reviewed])
    code, out, err = run("train", "masks", "--output", "w.safetensors", "--folds", 2, *TINY)
    assert code == 0 and "gain inside folds" in out, err
    card = load_weights(night.folder.parent / "w.safetensors")[0]["card"]
    assert card["reviewed_fraction"] == pytest.approx(stack.reviewed.mean(), abs=1e-6)
    assert "2 images of 2 acquisitions" in card["data"]
    night.write("a", np.zeros_like(mask), np.ones_like(mask))
    night.write("series_frame_0001", np.zeros_like(mask), partly)
    with pytest.raises(InputError, match="only clean"):
        read_reviewed(night.folder)
    assert json.loads((night.folder.parent / "w_card.json").read_text())["reviewed_fraction"] < 1


def partial_stack():
    """Three small images; of the second half is known, of the third nothing."""
    generator = np.random.default_rng(4)
    images = generator.normal(size=(3, 32, 32)).astype(np.float32)
    masks = generator.random((3, 32, 32)) < 0.4
    reviewed = np.ones(masks.shape, bool)
    reviewed[1, :, 16:], reviewed[2] = False, False
    names = ("a", "b", "c")
    groups = np.array(names)
    return load.LabelledStack(
        images, masks, names, groups, groups, "folder", np.full(3, 0.4), reviewed=reviewed
    )


@pytest.mark.parametrize("name", LOSSES)
def test_unknown_pixels_have_no_part_in_the_loss(name):
    """It is that of the known pixels by themselves, and no gradient flows into the others."""
    stack = partial_stack()
    images, targets = at_scale.training_set(stack, (1.0,) * 3)
    assert len(images) == 2  # of the third there is nothing to learn
    labels = torch.from_numpy(targets.astype(np.int64))
    logits = torch.randn(2, 2, 32, 32, generator=torch.manual_seed(0), requires_grad=True)
    loss = LOSSES[name](logits, labels)
    loss.backward()
    seen = stack.reviewed[:2]
    assert (logits.grad.numpy()[~np.stack([seen, seen], 1)] == 0).all()
    probability = logits.detach().softmax(1).numpy()
    true = stack.masks[:2]
    right = np.where(true, probability[:, 1], probability[:, 0])
    expected = -np.log(right[seen]).mean()
    if "jaccard" in name:
        soft = []
        for p, y, known in zip(probability[:, 1], true, seen, strict=True):
            both = (p * y)[known].sum()
            soft.append((1 + both) / (1 + p[known].sum() + y[known].sum() - both))
        expected = (expected + 1 - np.mean(soft)) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_what_nobody_has_seen_changes_nothing_that_is_learnt_or_scored():
    stack = partial_stack()
    other = load.LabelledStack(
        **vars(stack) | {"masks": np.where(stack.reviewed, stack.masks, ~stack.masks)}
    )
    networks = [
        UNetSegmenter(levels=2, features=2, epochs=2, device="cpu", progress=False)
        for _ in range(2)
    ]
    scales = Scales(None, (1.0,) * 3)
    for network, one in zip(networks, (stack, other), strict=True):
        at_scale.fit(network, one, scales)
    weights = (network.module_.state_dict() for network in networks)
    assert all(torch.equal(*pair) for pair in zip(*(w.values() for w in weights), strict=True))
    folds = [scorecard._counted(networks[0], one)["counts"] for one in (stack, other)]
    assert folds[0] == folds[1]
    assert [int(np.sum(one)) for one in folds[0]] == stack.reviewed.sum((1, 2)).tolist()
    assert stack.digest != replace(stack, reviewed=None).digest


def test_reduced_images_keep_what_is_unknown():
    stack = partial_stack()
    _, targets = at_scale.training_set(stack, (0.5,) * 3)
    assert targets.shape == (2, 16, 16) and set(np.unique(targets)) == {IGNORED, 0, 1}
    np.testing.assert_array_equal(
        targets[1] == IGNORED, np.arange(16)[None] >= 8 + np.zeros((16, 1))
    )
    assert finetune._reviewed_fraction(stack) == pytest.approx(0.5)

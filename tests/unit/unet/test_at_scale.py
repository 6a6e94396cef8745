"""Labels of any size and scale: what is learnt, and that masks are those of ``segment``."""

import csv
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from graphseg import metrics
from graphseg.datasets import load
from graphseg.datasets.stack import LabelClasses
from graphseg.evaluation import scorecard
from graphseg.unet import at_scale, inference, pretrained
from graphseg.unet.network import load_weights
from graphseg.unet.segmenter import UNetSegmenter
from tests.helpers.microscope_files import write_dm4

FAST = ("--set", "test_time_augmentation=False", "--set", "device=cpu", "--set", "progress=False")
SIDES = (512, 384, 512, 448)


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory):
    """Four simulated images, twice or nearly twice as large, as TIFF and DM4 with their labels."""
    folder = tmp_path_factory.mktemp("labels")
    stack = load.load_simulated_sample()
    chosen = [i for i in range(len(stack)) if 0.05 < stack.masks[i].mean() < 0.6]
    firsts = {stack.groups[i]: i for i in reversed(chosen)}
    for number, (side, index) in enumerate(zip(SIDES, sorted(firsts.values()), strict=False)):
        image = Image.fromarray(stack.images[index]).resize((side, side), Image.Resampling.BICUBIC)
        pixels = (3000 + 20000 * np.clip(np.asarray(image), 0, 1)).astype(np.uint16)
        size = stack.pixel_size_of(index) * 256 / side
        name = f"place_{number}"
        if number % 2:
            write_dm4(folder / f"{name}.dm4", pixels, size)
        else:
            about = {"resolution": (10 / size,) * 2, "metadata": {"unit": "nm"}}
            tifffile.imwrite(folder / f"{name}.tif", pixels, imagej=True, **about)
        label = Image.fromarray(stack.masks[index]).resize((side, side), Image.Resampling.NEAREST)
        label.convert("L").save(folder / f"{name}_LABEL.png")
    return folder


def test_fine_images_are_reduced_and_their_labels_with_them(enlarged):
    stack = load.load_images(enlarged)
    scales = at_scale.find_scales(stack)
    assert scales.known == inference.KNOWN and max(scales.factors) < 0.8 and not scales.warnings
    for index, factor in enumerate(scales.factors):
        size = stack.pixel_size_of(index) / factor
        assert size == pytest.approx(np.sqrt(np.prod(inference.KNOWN)))
    images, targets = at_scale.training_set(stack, scales.factors)
    assert images.shape == targets.shape and targets.dtype == bool and images.dtype == np.float32
    fraction = np.mean([mask.mean() for mask in stack.masks])
    assert targets.mean() == pytest.approx(fraction, abs=0.05)
    assert "4 of 4 images are finer than 0.30 to 0.74 Å" in scales.told()[0]


def test_an_image_at_a_known_scale_is_learnt_as_it_is():
    stack = load.load_simulated_sample().subset(range(3))
    scales = at_scale.find_scales(stack)
    images, targets = at_scale.training_set(stack, scales.factors)
    np.testing.assert_array_equal(images, stack.images)
    np.testing.assert_array_equal(targets, stack.masks)
    sizes = [stack.pixel_size_of(index) for index in range(3)]
    assert scales.known == (round(min(sizes), 4), round(max(sizes), 4)) and not scales.told()


def test_the_network_then_gets_each_image_as_it_was_learnt():
    """Whatever mixture of scales it was: `segment` goes by the card of the trained network."""
    stack = load.load_simulated_sample().subset(range(3))
    stack = load.LabelledStack(**vars(stack) | {"images": np.zeros((3, 800, 800), np.float32)})
    for sizes in ([0.1, 0.2, 0.29], [0.1, 0.35, 0.5], [0.2, 0.4, 0.9], [0.31, 0.5, 0.8]):
        changed = load.LabelledStack(**vars(stack) | {"pixel_size": np.array(sizes)})
        scales = at_scale.find_scales(changed)
        for size, factor in zip(sizes, scales.factors, strict=True):
            found = inference.find_scale(stack.images[0], size, scales.known)
            assert found.factor == pytest.approx(factor) and not found.warning


def test_images_of_different_sizes_become_tiles_that_cover_them():
    shapes = [(300, 520), (200, 256)]
    images = [np.arange(h * w, dtype=np.float32).reshape(h, w) for h, w in shapes]
    masks = [image % 7 == 0 for image in images]
    names = np.array(["a", "b"])
    stack = load.LabelledImages(
        load.objects(images), load.objects(masks), ("a", "b"), names, names, "test"
    )
    tiles, targets = at_scale.training_set(stack, (1.0, 1.0))
    assert tiles.shape == (7, 256, 256)
    np.testing.assert_array_equal(targets, tiles % 7 == 0)  # also where they are mirrored
    assert set(np.unique(tiles[:6])) == set(images[0].ravel())
    assert set(np.unique(tiles[6])) == set(images[1].ravel())


def test_classes_are_reduced_as_classes():
    label = np.zeros((64, 64), np.uint8)
    label[:, 30:] = 2
    label[40:, :] = 1
    _, small = at_scale._reduced(np.zeros(label.shape, np.float32), label, 0.5)
    np.testing.assert_array_equal(small, label[::2, ::2])  # and no 1 between 0 and 2


def test_the_scores_before_are_those_of_segment(run, enlarged, tmp_path):
    """Of the default network at its own scale, and not of what it makes of single large pixels."""
    command = ("train", enlarged, "--folds", 2, "--set", "epochs=1", *FAST)
    code, _, err = run(*command, "--output", "w.safetensors")
    assert code == 0 and "4 of 4 images are finer" in err
    code, _, _ = run("segment", enlarged, "--output", "out", "--no-test-time-augmentation",
                     "--device", "cpu")  # fmt: skip
    assert code == 0
    with open(tmp_path / "out" / "segment.csv", newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 4  # labels are none
    stack = load.load_images(enlarged)
    masks = [tifffile.imread(f"out/{name}_mask.tif") == 255 for name in stack.names]
    counts = [metrics.counts(t[None], m[None])[0] for t, m in zip(stack.masks, masks, strict=True)]
    card = load_weights(tmp_path / "w.safetensors")[0]["card"]
    scores = card["cross_validation"]
    assert card["reduced_images"] == 4 and card["pixel_sizes"] == [0.3, 0.74]
    before = scores["before_training"]["per_image"]["jaccard"][0]
    assert before == pytest.approx(
        metrics.scores(np.array(counts), "per_image")["jaccard"], abs=2e-3
    )
    assert before > 0.6 and scores["default_network"] == scores["before_training"]
    # And afterwards too: segment with the new network makes what its training was scored by.
    known = UNetSegmenter.load(tmp_path / "w.safetensors", device="cpu")
    assert inference.known_pixel_sizes(known.card_) == (0.3, 0.74)
    assert json.loads((tmp_path / "w_card.json").read_text())["cross_validation"] == scores


def test_a_training_that_is_no_better_says_so(run, enlarged, tmp_path):
    spoil = ("--set", "epochs=2", "--set", "learning_rate=3.0", "--set", "schedule=constant", *FAST)
    code, out, _ = run("train", enlarged, "--folds", 2, *spoil, "--output", "w.safetensors")
    assert code == 0 and "no better than the default network: keep that one" in out
    # From another start the default is scored too.
    tiny = ("--from", "nothing", "--set", "features=2", "--set", "levels=2", *spoil)
    code, out, _ = run("train", enlarged, "--folds", 2, *tiny, "--output", "v.safetensors")
    assert code == 0 and "default network: 0." in out and "keep that one" in out
    card = load_weights(tmp_path / "v.safetensors")[0]["card"]["cross_validation"]
    assert card["keep_default"] and "before_training" not in card


def test_a_gain_counts_from_its_standard_error():
    assert scorecard._is_no_gain({"per_image": [0.01, 0.04]}, 4)
    assert not scorecard._is_no_gain({"per_image": [0.03, 0.04]}, 4)
    assert scorecard._is_no_gain({"per_image": [-0.1, 0.0]}, 4)


def test_more_classes_are_scored_on_the_grid_of_their_labels():
    stack = load.load_simulated_sample().subset([0])
    classes = LabelClasses.of([0, 128, 255], [255])
    label = np.where(stack.masks, 2, 0).astype(np.uint8)
    several = load.LabelledStack(**vars(stack) | {"labels": label, "classes": classes})
    network = UNetSegmenter.load(pretrained.find("default"), device="cpu")
    (found,) = at_scale.predict_proba(network, several)
    assert found.shape == label[0].shape and found.dtype == np.float32

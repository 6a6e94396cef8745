"""Training on your own labels as a user meets it: classes, folds, scores, resuming, segmenting."""

import json
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from graphseg import cli
from graphseg.batch.tasks import Network
from graphseg.datasets.check import check_folder
from graphseg.datasets.load import load_folder, load_simulated_sample
from graphseg.datasets.stack import LabelClasses
from graphseg.errors import InputError
from graphseg.evaluation import ood, scorecard
from graphseg.io.micrographs import Micrograph
from graphseg.simulation import simulate
from graphseg.unet import export, finetune, training
from graphseg.unet.network import load_weights
from graphseg.unet.segmenter import UNetSegmenter

TINY = (
    "--set", "features=2", "--set", "levels=2", "--set", "epochs=2", "--set", "device=cpu",
    "--set", "precision='float32'", "--set", "test_time_augmentation=False",
    "--set", "progress=False",
)  # fmt: skip


def write_labels(folder, names, values=(255,), size=32):
    """Write images whose rough squares are contamination; each value marks a part of them."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for name in names:
        label = np.zeros((size, size), np.uint8)
        row, column = generator.integers(2, size // 2, 2)
        for number, value in enumerate(values):
            label[row : row + 10, column + 6 * number : column + 6 * (number + 1)] = value
        image = 100 + generator.normal(0, 10, label.shape) * np.where(label > 0, 3, 1)
        image = np.clip(image + (label == 128) * 60, 0, 255)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(label).save(folder / f"{name}_LABEL.png")
    (folder / "pixel_sizes.json").write_text(json.dumps({names[0]: 0.31, names[1]: 0.42}))
    return folder


NAMES = ("a_layer_1", "a_layer_2", "b", "c")


@pytest.fixture
def folder(tmp_path):
    return write_labels(tmp_path / "labels", NAMES)


@pytest.fixture
def three(tmp_path):
    return write_labels(tmp_path / "three", NAMES, (128, 255))


def test_folds_keep_acquisitions_apart_and_the_scores_are_in_the_card(run, folder, tmp_path):
    code, out, err = run("train", folder, "--from", "nothing", "--output", "w.safetensors", *TINY)
    assert code == 0 and "mean ± spread of 3 folds" in out and "0 clean; 255 contamination" in err
    card = load_weights(tmp_path / "w.safetensors")[0]["card"]
    assert card == json.loads((tmp_path / "w_card.json").read_text(encoding="utf-8"))
    assert card["data_digest"] == load_folder(folder).digest
    assert card["acquisitions"] == 3 and card["pixel_sizes"] == [0.31, 0.42]
    assert [one["grey_value"] for one in card["classes"]] == [0, 255]
    assert card["started_from"] == {"name": "nothing", "digest": None}
    scores = card["cross_validation"]
    assert scores["folds"] == 3 and "before_training" not in scores
    mean, spread = scores["mean_and_spread"]["per_image"]["jaccard"]
    assert 0 <= mean <= 1 and spread >= 0 and f"{mean:.3f} ± {spread:.3f} per image" in out
    assert {path.name for path in tmp_path.iterdir()} == {"labels", "w.safetensors", "w_card.json"}


def test_it_starts_from_other_weights_and_tells_what_they_reach(run, folder, tmp_path):
    first = ("train", folder, "--from", "nothing", "--folds", 0, *TINY)
    assert run(*first, "--output", "a.safetensors")[0] == 0
    start = UNetSegmenter.load(tmp_path / "a.safetensors")
    stack = load_folder(folder)
    options = ("--set", "epochs=1", "--set", "device=cpu", "--set", "test_time_augmentation=False")
    command = ("train", folder, "--from", "a.safetensors", "--folds", 2, *options)
    code, out, _ = run(*command, "--output", "b.safetensors")
    assert code == 0 and "before training" in out
    header = load_weights(tmp_path / "b.safetensors")[0]
    assert header["parameters"]["features"] == 2 and header["parameters"]["initial"]
    assert header["card"]["started_from"]["name"] == "a.safetensors"
    before = header["card"]["cross_validation"]["before_training"]["per_image"]["accuracy"][0]
    groups = len(np.unique(stack.groups))
    gain = header["card"]["cross_validation"]["gain"]["pooled"]
    rise = [
        header["card"]["cross_validation"][key]["pooled"]["jaccard"][0]
        for key in ("mean_and_spread", "before_training")
    ]
    assert gain[0] == pytest.approx(rise[0] - rise[1]) and "gain inside folds" in out
    assert groups == 3 and before == pytest.approx(start.score(stack.images, stack.masks), abs=0.2)


def test_a_killed_training_continues_and_repeats_no_fold(run, folder, tmp_path, monkeypatch):
    command = ("train", folder, "--from", "nothing", *TINY, "--output")
    assert run(*command, "undisturbed.safetensors")[0] == 0
    write, done = training.write_checkpoint, []

    def watched(path, *state):
        write(path, *state)
        done.append(path.name)
        if len(done) == 3:  # after the first epoch of the second fold
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_checkpoint", watched)
        with pytest.raises(RuntimeError, match="killed"):
            cli_main(patch, *command, "w.safetensors")
        assert (tmp_path / "w.safetensors.training").is_dir()
        assert not (tmp_path / "w.safetensors").exists()
        assert run(*command, "w.safetensors")[0] == 0
    assert done[:3] == ["shuffle_0_fold_0.checkpoint"] * 2 + ["shuffle_0_fold_1.checkpoint"]
    assert done[3:] == [
        "shuffle_0_fold_1.checkpoint", *["shuffle_0_fold_2.checkpoint"] * 2,
        *["all.checkpoint"] * 2,
    ]  # fmt: skip
    resumed, undisturbed = (
        load_weights(tmp_path / f"{name}.safetensors") for name in ("w", "undisturbed")
    )
    for key, tensor in undisturbed[1].items():
        assert (resumed[1][key] == tensor).all()
    scores = [header["card"]["cross_validation"] for header, _ in (resumed, undisturbed)]
    assert scores[0] == scores[1]
    assert not (tmp_path / "w.safetensors.training").exists()


def cli_main(patch, *arguments):
    patch.setattr(sys, "argv", ["graphseg", *map(str, arguments)])
    cli.main()


def test_another_folder_does_not_continue_a_training(run, folder, tmp_path):
    leftover = tmp_path / "w.safetensors.training"
    command = ("train", folder, "--from", "nothing", *TINY, "--output", "w.safetensors")
    assert run(*command)[0] == 0
    (tmp_path / "w.safetensors").unlink()
    code, _, err = run(*command)
    assert code == 2 and "w_card.json exists already" in err
    (tmp_path / "w_card.json").unlink()
    leftover.mkdir()
    (leftover / "shuffle_0_fold_0.json").write_text('{"header": {}, "result": {}}')
    (leftover / "mine.txt").write_text("of the user")
    code, _, err = run(*command)
    assert code == 2 and "of another run" in err
    (leftover / "shuffle_0_fold_0.json").unlink()
    assert run(*command)[0] == 0
    assert [path.name for path in leftover.iterdir()] == ["mine.txt"]


def test_three_classes_come_out_as_a_class_map(run, three, tmp_path):
    train = ("train", three, "--from", "nothing", "--contamination", 255, "--folds", 2, *TINY)
    code, out, err = run(*train, "--output", "w.safetensors")
    assert code == 0 and "0, 128 clean; 255 contamination" in err and "grey value 128:" in out
    card = load_weights(tmp_path / "w.safetensors")[0]["card"]
    assert [(c["grey_value"], c["contamination"]) for c in card["classes"]] == [
        (0, False), (128, False), (255, True),
    ]  # fmt: skip
    assert [one["grey_value"] for one in card["cross_validation"]["classes"]] == [0, 128, 255]
    images = [three / f"{name}.png" for name in NAMES]
    segment = ("segment", *images, "--model", "w.safetensors", "--no-test-time-augmentation")
    assert run(*segment, "--output", "tif", "--pixel-size", 0.4)[0] == 0
    assert run(*segment, "--output", "png", "--masks", "png")[0] == 0
    network = UNetSegmenter.load(tmp_path / "w.safetensors")
    expected = np.array([0, 128, 255])[network.predict(load_folder(three).images)]
    for name, labels in zip(NAMES, expected, strict=True):
        found = tifffile.imread(f"tif/{name}_classmap.tif")
        assert found.dtype == np.uint8 and (found == labels).mean() > 0.99  # 8 bit or float
        np.testing.assert_array_equal(found, np.array(Image.open(f"png/{name}_classmap.png")))
        mask = tifffile.imread(f"tif/{name}_mask.tif")
        np.testing.assert_array_equal(mask == 255, found == 255)
    assert "class_128_fraction" in (tmp_path / "tif" / "segment.csv").read_text()


def test_more_classes_start_from_weights_of_two(run, folder, three, tmp_path):
    first = ("train", folder, "--from", "nothing", "--folds", 0, *TINY)
    assert run(*first, "--output", "a.safetensors")[0] == 0
    second = ("train", three, "--from", "a.safetensors", "--folds", 0, "--set", "epochs=1")
    assert run(*second, "--output", "b.safetensors")[0] == 0
    assert UNetSegmenter.load(tmp_path / "b.safetensors").classes == 3
    assert run(*second, "--two-classes", "--output", "c.safetensors")[0] == 0
    card = load_weights(tmp_path / "c.safetensors")[0]["card"]
    assert UNetSegmenter.load(tmp_path / "c.safetensors").classes == 2
    assert [one["number"] for one in card["classes"]] == [0, 1, 1]


def test_one_acquisition_is_trained_but_not_called_tested(run, tmp_path):
    series = write_labels(tmp_path / "series", ("a_layer_1", "a_layer_2"))
    command = ("train", series, "--from", "nothing", *TINY, "--output")
    code, out, err = run(*command, "w.safetensors")
    assert code == 0 and "Not cross-validated" in out and "one acquisition" in err
    card = load_weights(tmp_path / "w.safetensors")[0]["card"]
    assert card["cross_validation"] is None and "not cross-validated" in card["limits"]
    code, _, err = run(*command, "v.safetensors", "--folds", 2)
    assert code == 2 and "2 folds cannot be made of 1 acquisition," in err
    assert not (tmp_path / "v.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "nowhere"), "There is no weight file nowhere"),
        (("--contamination", 7), "No label holds the value 7"),
        (("--contamination", 0, "--contamination", 255), "all would be contamination"),
        (("--folds", 4), "4 folds cannot be made of 3 acquisitions"),
        (("--set", "classes=3"), "--set classes is not possible"),
        (("--from", "default", "--set", "features=2", "--folds", 0), "weights of another network"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_trained(
    run, folder, tmp_path, arguments, message
):
    code, _, err = run("train", folder, *arguments, "--output", "w.safetensors")
    assert code == 2 and message in err and "Traceback" not in err
    assert not (tmp_path / "w.safetensors").exists()


def test_a_folder_with_errors_is_not_trained_on(run, folder):
    (folder / "b_LABEL.png").unlink()
    code, _, err = run("train", folder, "--output", "w.safetensors")
    assert code == 2 and "b.png has no label" in err


def test_folds_are_as_many_as_there_are_acquisitions_up_to_five(folder, tmp_path):
    stack, classes = finetune.read_labels(check_folder(folder))
    assert scorecard.number_of_folds(stack) == 3 and scorecard.number_of_folds(stack, 0) == 0
    assert classes.values == (0, 255) and stack.labels is None
    many = write_labels(tmp_path / "many", "abcdefg")
    assert scorecard.number_of_folds(finetune.read_labels(check_folder(many))[0]) == 5
    with pytest.raises(InputError, match="--folds 0"):
        scorecard.number_of_folds(stack, 1)


def test_the_recipe_of_the_weights_that_come_along():
    parameters = finetune.Start.find("default").parameters()
    segmenter = UNetSegmenter(**parameters)
    assert segmenter.stride == 2 and segmenter.learning_rate < 1e-3
    classes = LabelClasses.of([0, 128, 255])
    several = UNetSegmenter(**finetune.Start.find("default").parameters(classes))
    assert (several.classes, tuple(several.contamination)) == (3, (1, 2))
    assert several.learning_rate > segmenter.learning_rate and several.epochs > segmenter.epochs
    assert finetune.Start.find("nothing").parameters() == {"test_time_augmentation": True}


def test_without_pixel_sizes_those_of_the_start_are_kept(folder):
    (folder / "pixel_sizes.json").unlink()
    stack = load_folder(folder)
    start = finetune.Start.find("default")
    known = load_weights(start.path)[0]["card"]["pixel_sizes"]
    assert finetune.scales_of(stack, start).known == tuple(known)
    assert finetune.scales_of(stack, finetune.Start.find("nothing")).known is None


def test_a_network_is_exported(run, folder, tmp_path, monkeypatch):
    train = ("train", folder, "--from", "nothing", "--folds", 0, *TINY)
    assert run(*train, "--output", "w.safetensors")[0] == 0
    (tmp_path / "there.onnx").write_text("of the user")
    code, _, err = run("export", "w.safetensors", "--output", "there.onnx")
    assert code == 2 and "exists already" in err
    for name, message in (("absent", "no weight file absent"), ("nothing", "nothing to export")):
        code, _, err = run("export", name, "--output", "w.onnx")
        assert code == 2 and message in err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        code, _, err = run("export", "w.safetensors", "--output", "w.onnx")
        assert code == 2 and "graphseg[onnx]" in err and not (tmp_path / "w.onnx").exists()
    # Exporting takes long and is tested in test_export.
    monkeypatch.setattr(export, "export_onnx", lambda network, path: 2e-7)
    code, out, _ = run("export", "w.safetensors", "--output", "w.onnx")
    assert code == 0 and "w.onnx: ONNX Runtime agrees with PyTorch within 2e-07" in out


def test_an_own_network_knows_which_images_are_unlike_its_own(run, tmp_path):
    stack = load_simulated_sample()
    labels = tmp_path / "labels"
    labels.mkdir()
    for name, image, mask in zip(stack.names, stack.images, stack.masks, strict=True):
        Image.fromarray((255 * image).round().astype(np.uint8)).save(labels / f"{name}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(labels / f"{name}_LABEL.png")
    options = ("--folds", 0, "--set", "epochs=1", "--set", "test_time_augmentation=False")
    code, out, _ = run("train", labels, "--output", "own.safetensors", *options)
    assert code == 0 and "Too few images" not in out
    assert "reference_set" not in (tmp_path / "own_card.json").read_text(encoding="utf-8")
    network = Network.choose(tmp_path / "own.safetensors", device="cpu")
    known = network.predict(Micrograph(simulate(3, 0).image))
    assert known.ood_score < 1 and known.flags == ()
    blurred = ndimage.gaussian_filter(simulate(3, 0).image, 1.5)
    unlike = network.predict(Micrograph(blurred))
    assert unlike.ood_score > 1 and ood.FLAG in unlike.flags

    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(labels.iterdir())[:8]:
        (few / path.name).write_bytes(path.read_bytes())
    code, out, _ = run("train", few, "--output", "few.safetensors", *options)
    assert code == 0 and "10 images of 5 acquisitions" in out
    network = Network.choose(tmp_path / "few.safetensors", device="cpu")
    assert network.predict(Micrograph(simulate(3, 0).image)).ood_score is None

"""Labels painted in a folder of images: how they start, where they are, what is never replaced."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image

from graphseg.batch.tasks import Network
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.plotting.review import Labelling, alone
from tests.helpers.microscope_files import write_dm4
from tests.unit.plotting.test_review import ask, stroke

SHAPE = (20, 30)


class Bright:
    """A network that finds what is above 200, and a further class above 230."""

    file = "bright.safetensors"

    def __init__(self, several=False):
        self.several = several

    def predict(self, micrograph):
        mask = micrograph.image > 200
        labels = mask + (micrograph.image > 230).astype(np.uint8) if self.several else None
        return SimpleNamespace(mask=mask, labels=labels, warning="The scale is not known.")


@pytest.fixture
def folder(tmp_path):
    """Three images, each with a rectangle of its own in two bright greys."""
    generator = np.random.default_rng(0)
    for name, place in (("a", np.s_[2:5, 3:9]), ("b", np.s_[10:12, :4]), ("c", np.s_[15:, 20:])):
        image = generator.integers(50, 150, SHAPE, dtype=np.uint8)
        image[place] = 220
        image[place][0] = 240
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return tmp_path


def walk_of(folder, classes=("contamination",), network=None, overwrite=False):
    return Labelling(folder, classes, network, overwrite)


def shown(walk):
    """Return the label as the page gets it."""
    _, ((about, (label, _)), _) = ask(walk, "ready")
    return np.frombuffer(label, np.uint8).reshape(about["height"], about["width"])


def grey(folder, name):
    with Image.open(folder / f"{name}.png") as image:
        return np.asarray(image)


def label_of(folder, name):
    with Image.open(folder / f"{name}_LABEL.png") as image:
        assert image.mode == "L"
        return np.asarray(image)


def write_label(folder, name, values):
    Image.fromarray(np.asarray(values, np.uint8)).save(folder / f"{name}_LABEL.png")


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# --- how a label starts --------------------------------------------------------------------------


def test_a_label_starts_empty_or_as_its_file_or_as_what_the_network_finds(folder):
    assert not shown(walk_of(folder)).any()
    saved = np.zeros(SHAPE)
    saved[0, 0] = 255
    write_label(folder, "b", saved)
    walk, found = walk_of(folder, network=Bright()), {}
    assert walk.values()["status"] == "The scale is not known."
    for _ in range(3):
        found[walk.values()["name"]] = shown(walk)
        ask(walk, "next")
    np.testing.assert_array_equal(found["b"], saved)
    for name in ("a", "c"):
        np.testing.assert_array_equal(found[name], 255 * (grey(folder, name) > 200))
    assert visible(folder) == ["a.png", "b.png", "b_LABEL.png", "c.png"]  # until one is accepted


def test_of_several_classes_a_network_finds_contamination_or_all_that_it_knows(folder):
    classes = ["vacuum", "contamination"]
    bright = grey(folder, "a") > 200
    np.testing.assert_array_equal(shown(walk_of(folder, classes, Bright())), 2 * bright)
    several = shown(walk_of(folder, classes, Bright(several=True)))
    np.testing.assert_array_equal(several, bright + (grey(folder, "a") > 230).astype(np.uint8))
    one = shown(walk_of(folder, network=Bright(several=True)))
    np.testing.assert_array_equal(one, 255 * bright)
    with pytest.raises(InputError, match="contamination"):
        walk_of(folder, ["vacuum"], Bright())


def test_a_bundled_network_can_be_the_start(folder):
    stack = load.load_simulated_sample()
    place = folder / "simulated"
    place.mkdir()
    Image.fromarray((255 * stack.images[0]).astype(np.uint8)).save(place / "one.png")
    network = Network.choose("default", test_time_augmentation=False, device="cpu")
    label = shown(walk_of(place, network=network)) == 255
    truth = stack.masks[0]
    assert (label & truth).sum() / (label | truth).sum() > 0.6


def test_images_of_every_format_that_train_reads(folder):
    write_dm4(folder / "d.dm4", np.ones(SHAPE, np.float32), 0.4)
    write_dm4(folder / "a.dm4", np.ones((8, 8), np.float32), 0.4)
    walk = walk_of(folder)
    assert walk.names == ["a", "b", "c", "d"]
    assert shown(walk).shape == SHAPE  # the picture, which `train` takes as well
    for _ in walk.names:
        ask(walk, "accept")
    assert load.load_folder(folder).names == ("a", "b", "c", "d")


# --- drafts and labels ---------------------------------------------------------------------------


def test_every_stroke_is_a_draft_on_disk_and_an_accepted_one_a_label(folder):
    walk = walk_of(folder)
    assert walk.values()["threshold"] is None
    stroke(walk, 3, 5, np.full((4, 6), 255))
    stroke(walk, 9, 5, np.full((4, 6), 255))
    ask(walk, "undo")
    assert visible(folder) == ["a.png", "b.png", "c.png"]
    walk = walk_of(folder)  # whatever has happened to the first
    expected = np.zeros(SHAPE)
    expected[3:7, 5:11] = 255
    np.testing.assert_array_equal(shown(walk), expected)
    stroke(walk, 4, 6, np.zeros((1, 2)))
    expected[4, 6:8] = 0
    assert walk.summary() == f"0 of 3 labels accepted, 1 painted in part: {folder}/NAME_LABEL.png."
    ask(walk, "accept")
    np.testing.assert_array_equal(label_of(folder, "a"), expected)
    assert walk.values()["name"] == "b" and walk.values()["place"].endswith("1 accepted in all")
    for _ in range(2):
        ask(walk, "accept")
    assert walk.values()["status"] == "All 3 labels are accepted."
    stack = load.load_folder(folder)
    np.testing.assert_array_equal(stack.masks[0], expected > 0)
    assert not stack.masks[1:].any()
    assert not list(folder.rglob("drafts/*"))
    assert walk_of(folder).summary().startswith("3 of 3 labels accepted, 0 painted in part")


def test_several_classes_are_numbers(folder):
    walk = walk_of(folder, ["boundary", "vacuum"])
    assert [one["value"] for one in walk.values()["classes"]] == [1, 2]
    stroke(walk, 0, 0, np.array([[2, 1, 0]]))
    stroke(walk, 5, 5, np.array([[3]]))
    assert "other values" in walk.values()["status"]
    ask(walk, "accept")
    expected = np.zeros(SHAPE)
    expected[0, :2] = 2, 1
    np.testing.assert_array_equal(label_of(folder, "a"), expected)
    # Who asks for one class only is not shown two of them as one.
    again = walk_of(folder)
    ask(again, "previous")
    assert again.values()["name"] == "b" and "a_LABEL.png holds" in again.values()["status"]


def test_the_page_of_a_folder_knows_no_threshold(folder):
    values, _ = ask(walk_of(folder), "threshold", value=0.5)
    assert "nothing that a page can ask for" in values["status"]


# --- what is never replaced ----------------------------------------------------------------------


def test_a_label_that_exists_is_replaced_only_if_one_says_so(folder):
    write_label(folder, "a", np.eye(*SHAPE))  # with the value 1
    before = (folder / "a_LABEL.png").read_bytes()
    walk = walk_of(folder)
    ask(walk, "previous")
    assert "a_LABEL.png exists" in walk.values()["status"]
    ask(walk, "accept")  # as it is
    assert walk.values()["name"] == "b"
    ask(walk, "previous")
    stroke(walk, 9, 9, np.full((2, 2), 255))
    ask(walk, "accept")
    assert walk.values()["name"] == "a" and "--overwrite" in walk.values()["status"]
    assert (folder / "a_LABEL.png").read_bytes() == before
    expected = 255 * np.eye(*SHAPE)
    expected[9:11, 9:11] = 255
    walk = walk_of(folder, overwrite=True)
    np.testing.assert_array_equal(shown(walk), expected)  # nothing painted was lost
    ask(walk, "accept")
    np.testing.assert_array_equal(label_of(folder, "a"), expected)


def test_what_a_review_has_written_itself_it_may_replace(folder):
    walk = walk_of(folder)
    ask(walk, "accept")
    ask(walk, "previous")
    assert walk.values()["status"] == ""
    stroke(walk, 9, 9, np.full((2, 2), 255))
    ask(walk, "accept")
    assert label_of(folder, "a").sum() == 4 * 255
    write_label(folder, "a", np.eye(*SHAPE))  # by somebody else
    ask(walk, "previous")
    stroke(walk, 0, 0, np.full((2, 2), 255))
    ask(walk, "accept")
    assert "a_LABEL.png exists" in walk.values()["status"]
    np.testing.assert_array_equal(label_of(folder, "a"), np.eye(*SHAPE))


def test_a_label_that_appears_meanwhile_or_cannot_be_read_stays(folder):
    walk = walk_of(folder)
    (folder / "a_LABEL.png").write_bytes(b"precious")
    ask(walk, "accept")
    assert "a_LABEL.png" in walk.values()["status"] and walk.values()["name"] == "a"
    assert walk_of(folder, overwrite=True).values()["name"] == "b"
    (folder / "a.png").unlink()
    write_label(folder, "b", np.eye(*SHAPE))
    (folder / "b.png").unlink()
    ask(walk, "next")
    assert walk.values()["name"] == "c" and "b.png" in walk.values()["status"]
    assert (folder / "a_LABEL.png").read_bytes() == b"precious"


def test_a_label_in_a_tiff_file_is_replaced_there_and_never_doubled(folder):
    tifffile.imwrite(folder / "a_LABEL.tif", (255 * np.eye(*SHAPE)).astype(np.uint8))
    walk = walk_of(folder, overwrite=True)
    ask(walk, "previous")
    np.testing.assert_array_equal(shown(walk), 255 * np.eye(*SHAPE))
    stroke(walk, 0, 0, np.full((1, 3), 255))
    ask(walk, "accept")
    assert tifffile.imread(folder / "a_LABEL.tif")[0].tolist() == [255] * 3 + [0] * 27
    assert not (folder / "a_LABEL.png").exists()
    assert load.find_pairs(folder)[0]["a"][1].name == "a_LABEL.tif"


def test_a_label_is_whole_or_not_there(folder, monkeypatch):
    walk = walk_of(folder)

    def fail(path, *_, **__):
        path.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("graphseg.plotting.review.write_labels", fail)
        stroke(walk, 9, 9, np.full((2, 2), 255))
        assert walk.values()["status"] == "disk full"
        ask(walk, "accept")
        assert walk.values()["status"] == "disk full" and walk.values()["name"] == "a"
    files = sorted(path.name for path in folder.rglob("*") if path.is_file())
    assert files == ["a.png", "b.png", "c.png"]
    ask(walk, "accept")
    assert label_of(folder, "a").sum() == 4 * 255


def test_names_with_brackets_are_names(folder):
    (folder / "b.png").rename(folder / "[ab].png")
    write_label(folder, "a", np.eye(*SHAPE))
    walk = walk_of(folder)
    assert walk.values()["name"] == "[ab]" and not shown(walk).any()
    ask(walk, "accept")
    assert not label_of(folder, "[ab]").any() and label_of(folder, "a").any()


# --- from image to image, and the command --------------------------------------------------------


def test_images_that_cannot_be_read_are_passed_over_and_named(folder):
    (folder / "b.png").write_bytes(b"no image")
    write_label(folder, "a", np.zeros((4, 4)))
    walk = walk_of(folder)
    assert walk.values()["name"] == "c" and "b.png" in walk.values()["status"]
    (folder / "b.png").unlink()
    ask(walk, "previous")
    assert walk.values()["name"] == "c" and "b.png does not exist" in walk.values()["status"]
    (folder / "c.png").unlink()
    with pytest.raises(InputError, match=r"a_LABEL\.png: expected the shape"):
        walk_of(folder)


def test_the_command_names_what_does_not_fit(run, folder):
    with alone(folder):
        code, _, err = run("review", folder, "--no-browser")
        assert code == 2 and "being reviewed already" in err
    code, _, err = run("review", folder, "--classes", "vacuum,,boundary", "--no-browser")
    assert code == 2 and "Name each class once" in err
    code, _, err = run("review", folder, "--classes", "vacuum", "--model", "default")
    assert code == 2 and "name that among the --classes" in err
    code, _, err = run("review", folder / "absent", "--no-browser")
    assert code == 2 and "no micrographs" in err
    (folder / "run.toml").touch()
    for option in (("--classes", "vacuum"), ("--overwrite",)):
        code, _, err = run("review", folder, *option, "--no-browser")
        assert code == 2 and "leave out --classes and --overwrite" in err

"""The check of a folder of your own labels: what it finds, and what it lets pass."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFilter

from graphseg.datasets import load
from graphseg.datasets.check import check_folder
from graphseg.errors import InputError
from tests.helpers.microscope_files import write_dm3, write_dm4

SHAPE = (64, 80)


def write(path, values):
    Image.fromarray(np.asarray(values)).save(path)


def pair(folder, name, seed, values=(0, 255)):
    """Write an image of noise and a label with a rectangle for each value above the first."""
    rng = np.random.default_rng(seed)
    write(folder / f"{name}.png", rng.integers(0, 256, SHAPE, dtype=np.uint8))
    label = np.full(SHAPE, values[0], np.uint8)
    for place, value in enumerate(values[1:]):
        label[10 + 12 * place : 20 + 12 * place, 5:40] = value
    write(folder / f"{name}_LABEL.png", label)


@pytest.fixture
def folder(tmp_path):
    """A folder of four good pairs of three acquisitions."""
    names = ("2020_0203_FS_001_layer_0000", "2020_0203_FS_001_layer_0004", "flake", "rim")
    for seed, name in enumerate(names):
        pair(tmp_path, name, seed)
    return tmp_path


def only(messages, *parts):
    """Assert that there is one message, one sentence that has all parts."""
    (message,) = messages
    for part in parts:
        assert part in message
    assert message.endswith(".") and "\n" not in message
    return message


def test_a_good_folder_passes(folder):
    report = check_folder(folder)
    assert report.errors == () and report.warnings == () and report.near_duplicates == ()
    report.raise_if_errors()
    assert report.names == load.load_folder(folder).names
    assert len(set(report.groups)) == 3
    fraction = 350 / np.prod(SHAPE)
    assert report.values == pytest.approx({0: 1 - fraction, 255: fraction})
    assert "4 pairs of 3 acquisitions" in str(report)


def test_the_simulated_sample_passes(root):
    report = check_folder(root / "data" / "simulated")
    assert report.errors == ()
    # A false alarm: one of the images shows too little for a comparison of textures.
    assert [w.split(" seem ")[0] for w in report.warnings] == [
        "2000_0104_Simulated_FS_003_layer_0001 and 2000_0105_Simulated_009"
    ]
    assert len(report.names) == 24


def test_an_empty_label_passes(folder):
    write(folder / "clean_LABEL.png", np.zeros(SHAPE, np.uint8))
    write(folder / "clean.png", np.random.default_rng(9).integers(0, 256, SHAPE, dtype=np.uint8))
    report = check_folder(folder)
    assert report.errors == () and report.warnings == ()


# --- errors --------------------------------------------------------------------------------------


def test_sizes_of_image_and_label_are_compared(folder):
    write(folder / "flake_LABEL.png", np.zeros((8, 9), np.uint8))
    report = check_folder(folder)
    only(report.errors, "flake_LABEL.png: expected the 64 × 80 pixels", "got 8 × 9")
    assert "flake" not in report.names
    with pytest.raises(InputError, match="flake_LABEL"):
        load.load_folder(folder)


def test_images_of_different_sizes_are_for_training_only(folder):
    for name in ("flake.png", "flake_LABEL.png"):
        image = Image.open(folder / name).crop((0, 0, 50, 40))
        image.save(folder / name)
    report = check_folder(folder)
    assert report.errors == () and "flake" in report.names
    with pytest.raises(InputError, match=r"flake\.png: expected the 64 × 80 .* got 40 × 50"):
        load.load_folder(folder)
    stack = load.load_images(folder)
    assert [image.shape for image in stack.images] == [SHAPE, SHAPE, (40, 50), SHAPE]
    assert all((m.shape, m.dtype) == (i.shape, bool) for m, i in zip(stack.masks, stack.images,
                                                                     strict=True))  # fmt: skip
    assert stack.subset([2, 0]).names == ("flake", stack.names[0])
    assert len({stack.digest, stack.subset([0, 1, 2]).digest, load.load_images(folder).digest}) == 2


def test_images_of_one_height_but_different_widths_are_read(folder):
    for name in ("flake.png", "flake_LABEL.png"):
        Image.open(folder / name).crop((0, 0, 50, SHAPE[0])).save(folder / name)
    assert {image.shape for image in load.load_images(folder).images} == {SHAPE, (SHAPE[0], 50)}


def test_a_microscopes_file_with_a_label_beside_it_is_a_pair(folder):
    image = np.asarray(Image.open(folder / "flake.png")).astype(np.uint16)
    write_dm4(folder / "sheet.dm4", image, 0.32)
    write_dm4(folder / "unlabelled.dm4", image, 0.32)
    (folder / "rim.dm3").write_bytes(b"beside rim.png")
    (folder / "sheet_LABEL.png").write_bytes((folder / "flake_LABEL.png").read_bytes())
    report = check_folder(folder)
    assert report.errors == () and "sheet" in report.names and "unlabelled" not in report.names
    assert any("left out (1 .dm3, 1 .dm4)" in message for message in report.warnings)
    stack = load.load_folder(folder)
    place = stack.names.index("sheet")
    assert stack.pixel_size_of(place) == pytest.approx(0.32)
    expected = stack.images[stack.names.index("flake")]
    assert np.corrcoef(stack.images[place].ravel(), expected.ravel())[0, 1] > 0.9999
    write_dm3(folder / "sheet.dm3", image, 0.32)
    only(check_folder(folder).errors, "sheet.dm3", "sheet.dm4", "one name")


@pytest.mark.parametrize(
    ("removed", "parts"),
    [
        ("flake_LABEL.png", ("flake.png has no label flake_LABEL.png",)),
        ("flake.png", ("flake_LABEL.png has no image flake.png",)),
    ],
)
def test_missing_partners_are_named(folder, removed, parts):
    (folder / removed).unlink()
    report = check_folder(folder)
    only(report.errors, *parts)
    assert len(report.names) == 3
    with pytest.raises(InputError, match=r"flake.*; add it, or remove"):
        report.raise_if_errors()


@pytest.mark.parametrize("name", ["flake_label.png", "flake_Label.png", "flake_mask.png"])
def test_labels_with_another_ending_are_recognised(folder, name):
    (folder / "flake_LABEL.png").rename(folder / name)
    errors = check_folder(folder).errors
    assert len(errors) == 2
    assert any(f"{name} looks like a label" in e and "flake_LABEL.png" in e for e in errors)


def test_two_files_of_one_name_are_refused(folder):
    tifffile.imwrite(folder / "flake.tif", np.arange(64 * 80, dtype=np.uint16).reshape(SHAPE))
    only(check_folder(folder).errors, "flake.tif", "flake.png", "one name")


def test_files_that_cannot_be_read_are_named(folder):
    (folder / "flake.png").write_bytes(b"\x89PNG nothing")
    (folder / "rim_LABEL.png").write_bytes(b"")
    report = check_folder(folder)
    assert len(report.errors) == 2
    assert "flake.png" in report.errors[0] and "rim_LABEL.png" in report.errors[1]
    assert len(report.names) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_constant_images_are_refused(folder, dtype):
    write(folder / "flake.png", np.full(SHAPE, 12, dtype))
    only(check_folder(folder).errors, "flake.png", "same value everywhere")


def test_values_that_are_not_finite_are_refused(folder):
    (folder / "flake.png").unlink()
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[3, 4] = np.nan
    tifffile.imwrite(folder / "flake.tif", values)
    only(check_folder(folder).errors, "flake.tif", "not finite")


def test_smoothed_labels_are_refused(folder):
    path = folder / "flake_LABEL.png"
    Image.open(path).filter(ImageFilter.GaussianBlur(2)).save(path)
    only(check_folder(folder).errors, "flake_LABEL.png has", "grey values", "smoothed")


def test_labels_that_went_through_jpeg_are_refused(folder, tmp_path_factory):
    path = folder / "flake_LABEL.png"
    lossy = tmp_path_factory.mktemp("jpeg") / "label.jpg"
    Image.open(path).save(lossy, quality=85)
    Image.open(lossy).save(path)
    only(check_folder(folder).errors, "flake_LABEL.png", "JPEG")


def test_labels_that_say_nothing_are_refused(folder):
    for path in folder.glob("*_LABEL.png"):
        write(path, np.zeros(SHAPE, np.uint8))
    only(check_folder(folder).errors, "hold only the value 0")


def test_an_empty_folder_is_an_error_and_no_folder_raises(tmp_path):
    report = check_folder(tmp_path)
    only(report.errors, "holds no pairs")
    assert report.names == () and report.values == {}
    with pytest.raises(InputError, match="is not a folder"):
        check_folder(tmp_path / "absent")


def test_many_errors_are_counted(folder):
    for number in range(9):
        pair(folder, f"x{number}", number)
        (folder / f"x{number}.png").unlink()
    report = check_folder(folder)
    assert len(report.errors) == 9
    with pytest.raises(InputError, match=r"x0_LABEL.*x4_LABEL.*4 more errors"):
        report.raise_if_errors()


# --- warnings ------------------------------------------------------------------------------------


def test_values_along_edges_are_suspect(folder):
    path = folder / "flake_LABEL.png"
    label = np.array(Image.open(path))
    label[9, 4:41] = label[20, 4:41] = 128
    write(path, label)
    report = check_folder(folder)
    assert report.errors == ()
    assert any("128" in w and "edges" in w and "flake_LABEL" in w for w in report.warnings)


def test_several_classes_pass(tmp_path):
    for seed, name in enumerate(("a", "b", "c")):
        pair(tmp_path, name, seed, values=(0, 1, 2))
    report = check_folder(tmp_path)
    assert report.errors == () and report.warnings == ()
    assert list(report.values) == [0, 1, 2]


def test_a_class_of_a_single_acquisition_is_named(folder):
    pair(folder, "rim", 3, values=(0, 255, 100))
    only(check_folder(folder).warnings, "value 100", "acquisition rim only")


def test_two_ways_to_write_one_class_are_named(folder):
    pair(folder, "rim", 3, values=(0, 1))
    pair(folder, "hill", 7, values=(0, 1))
    only(check_folder(folder).warnings, "mark with 1 (hill_LABEL, rim_LABEL) and 255", "flake")


def test_a_folder_of_one_acquisition_is_named(tmp_path):
    for number in range(3):
        pair(tmp_path, f"series_layer_{number}", number)
    only(check_folder(tmp_path).warnings, "one acquisition")


def test_images_that_are_mostly_one_value_are_suspect(folder):
    image = np.array(Image.open(folder / "flake.png"))
    image[:40] = 0
    write(folder / "flake.png", image)
    only(check_folder(folder).warnings, "flake.png has the value 0 in 6")


def test_files_that_are_left_out_are_counted(folder):
    for name in ("x.dm4", "y.dm4", "notes.txt", "pixel_sizes.json", ".hidden"):
        (folder / name).write_bytes(b"")
    only(check_folder(folder).warnings, "2 .dm4", "1 .txt")


def test_copies_in_other_acquisitions_are_named(folder):
    bright = Image.open(folder / "flake.png").point(lambda v: v // 2 + 100)
    bright.save(folder / "copy.png")
    write(folder / "copy_LABEL.png", np.array(Image.open(folder / "flake_LABEL.png")))
    report = check_folder(folder)
    ((first, second, alike),) = report.near_duplicates
    assert (first, second) == ("copy", "flake") and alike > 0.99
    only(report.warnings, "copy and flake", "same place", "_layer_1")


def test_copies_inside_an_acquisition_are_no_matter(folder):
    for ending in (".png", "_LABEL.png"):
        content = (folder / f"2020_0203_FS_001_layer_0000{ending}").read_bytes()
        (folder / f"2020_0203_FS_001_layer_0099{ending}").write_bytes(content)
    report = check_folder(folder)
    assert report.near_duplicates == () and report.warnings == ()


def test_one_place_in_two_published_acquisitions_is_found(published, tmp_path):
    names = ("2014_0105_Gr_FS_023_layer_0002", "2014_0105_Gr_FS_024_layer_0020", "2013_1113_Gr_034")
    for index in (published.names.index(name) for name in names):
        path = Path(tmp_path, published.names[index])
        write(path.with_suffix(".png"), np.uint8(np.rint(published.images[index] * 255)))
        write(f"{path}_LABEL.png", np.uint8(published.masks[index] * 255))
    report = check_folder(tmp_path)
    assert report.errors == ()
    assert [pair[:2] for pair in report.near_duplicates] == [names[:2]]

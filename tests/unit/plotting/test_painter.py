"""The label painter's Python side: strokes, undo, starting points, and what is saved where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.plotting.labels import STEPS, History, Patch
from graphseg.plotting.painter import LabelPainter

SHAPE = (20, 30)


class Bright:
    """A segmenter that finds all pixels above 200."""

    def predict(self, images):
        return images > 200


@pytest.fixture
def folder(tmp_path):
    """Three images, each with a bright rectangle of its own."""
    rng = np.random.default_rng(0)
    for name, place in (("a", np.s_[2:5, 3:9]), ("b", np.s_[10:12, :4]), ("c", np.s_[15:, 20:])):
        image = rng.integers(50, 150, SHAPE, dtype=np.uint8)
        image[place] = 240
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=SHAPE)


def write_label(folder, name, values):
    Image.fromarray(values).save(folder / f"{name}_LABEL.png")


def read(path):
    with Image.open(path) as image:
        return image.mode, np.asarray(image)


def from_browser(painter, content, *buffers):
    """Deliver a message as the browser sends it; return the messages that are sent back."""
    sent = []
    painter.send = lambda content, buffers=None: sent.append((content, buffers))
    data = {"method": "custom", "content": content}
    painter._handle_msg({"content": {"data": data}, "buffers": [memoryview(b) for b in buffers]})
    del painter.send
    return sent


def stroke(row, column, values, last=True):
    height, width = values.shape
    place = {"row": row, "column": column, "height": height, "width": width}
    return {"kind": "stroke", **place, "last": last}, values.tobytes()


# --- strokes, undo and redo ----------------------------------------------------------------------


@st.composite
def patches(draw):
    row, column = draw(st.integers(0, 7)), draw(st.integers(0, 5))
    height, width = draw(st.integers(1, 8 - row)), draw(st.integers(1, 6 - column))
    values = draw(st.lists(st.sampled_from([0, 255]), min_size=48, max_size=48))
    values = np.array(values[: height * width], np.uint8).reshape(height, width)
    return Patch(row, column, values), draw(st.booleans())


@given(st.lists(patches(), min_size=1, max_size=12))
def test_undo_takes_back_every_step_and_redo_paints_it_again(strokes):
    history = History(np.zeros((8, 6), np.uint8))
    states = [history.mask.copy()]
    for number, (patch, last) in enumerate(strokes, start=1):
        last = last or number == len(strokes)
        history.paint(patch, last)
        if last:
            states.append(history.mask.copy())
    for state in states[-2::-1]:
        assert history.undo()
        np.testing.assert_array_equal(history.mask, state)
    assert not history.undoable and history.undo() == []
    for state in states[1:]:
        assert history.redo()
        np.testing.assert_array_equal(history.mask, state)
    assert not history.redoable and history.redo() == []


def test_what_undo_returns_changes_another_copy_alike():
    history = History(np.zeros((8, 6), np.uint8))
    shown = history.mask.copy()
    rng = np.random.default_rng(2)
    for row, column in ((0, 0), (2, 1), (1, 1)):
        patch = Patch(row, column, rng.choice(np.array([0, 255], np.uint8), (4, 3)))
        history.paint(patch, last=row == 1)
        patch.exchange(shown)
    for step in (history.undo, history.redo, history.undo):
        for patch in step():
            patch.exchange(shown)
        np.testing.assert_array_equal(shown, history.mask)
    assert not history.mask.any()


def test_a_new_stroke_ends_what_can_be_redone():
    history = History(np.zeros((4, 4), np.uint8))
    history.paint(Patch(0, 0, np.full((1, 1), 255, np.uint8)))
    history.undo()
    history.paint(Patch(3, 3, np.full((1, 1), 255, np.uint8)))
    assert not history.redoable
    assert history.mask.sum() == 255


def test_only_so_many_steps_are_kept():
    history = History(np.zeros((1, STEPS + 5), np.uint8))
    for column in range(STEPS + 5):
        history.paint(Patch(0, column, np.full((1, 1), 255, np.uint8)))
    while history.undoable:
        history.undo()
    np.testing.assert_array_equal(np.flatnonzero(history.mask), np.arange(5))


def test_strokes_from_the_browser_are_painted_undone_and_redone(image):
    painter = LabelPainter(image)
    square = np.full((3, 4), 255, np.uint8)
    assert from_browser(painter, *stroke(5, 6, square)) == []
    expected = np.zeros(SHAPE, np.uint8)
    expected[5:8, 6:10] = 255
    np.testing.assert_array_equal(painter.mask, expected)
    assert painter.undoable and not painter.redoable
    (patch, buffers), (done, _) = from_browser(painter, {"kind": "undo"})
    assert patch == {"kind": "patch", "row": 5, "column": 6, "height": 3, "width": 4}
    assert bytes(buffers[0]) == bytes(12)
    assert done == {"kind": "done"}
    assert not painter.mask.any() and painter.redoable
    from_browser(painter, {"kind": "redo"})
    np.testing.assert_array_equal(painter.mask, expected)


def test_the_pieces_of_a_stroke_are_one_step(image):
    painter = LabelPainter(image)
    square = np.full((2, 2), 255, np.uint8)
    from_browser(painter, *stroke(0, 0, square, last=False))
    assert not painter.undoable
    from_browser(painter, *stroke(2, 0, square))
    painter.undo()
    assert not painter.mask.any()


def test_a_stroke_that_cannot_be_painted_is_taken_from_the_browser_again(image):
    painter = LabelPainter(image)
    for row, values in ((SHAPE[0] - 1, [[255], [255]]), (-1, [[255]]), (0, [[7]])):
        ((message, buffers),) = from_browser(painter, *stroke(row, 0, np.array(values, np.uint8)))
        assert message == {"kind": "image", "height": SHAPE[0], "width": SHAPE[1]}
        assert bytes(buffers[0]) == bytes(SHAPE[0] * SHAPE[1])
        assert "paint" in painter.status
    assert not painter.undoable


def test_a_browser_that_comes_later_gets_the_present_mask(image):
    painter = LabelPainter(image)
    painter.paint(3, 4, [[255, 255]])
    (message, (mask, picture)), (done, _) = from_browser(painter, {"kind": "ready"})
    assert message["kind"] == "image" and done == {"kind": "done"}
    np.testing.assert_array_equal(np.frombuffer(mask, np.uint8).reshape(SHAPE), painter.mask)
    assert picture.startswith(b"\x89PNG")


def test_commands_that_do_not_exist_are_not_followed(image):
    painter = LabelPainter(image)
    for kind in ("close", "_move", None):
        assert from_browser(painter, {"kind": kind}) == []
    assert painter.comm is not None


# --- where one starts ----------------------------------------------------------------------------


def test_nothing_is_painted_at_first(image):
    painter = LabelPainter(image)
    assert painter.mask.shape == SHAPE
    assert not painter.mask.any()
    assert painter.unsaved and not painter.undoable


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_a_mask_is_the_starting_point(image, dtype):
    start = image > 0.5
    painter = LabelPainter(image, start=start.astype(dtype))
    np.testing.assert_array_equal(painter.mask, 255 * start)
    painter.paint(0, 0, np.zeros(SHAPE))
    assert start.any()


def test_a_prediction_is_the_starting_point_unless_a_label_is_saved(folder):
    saved = np.zeros(SHAPE, np.uint8)
    saved[0, 0] = 255
    write_label(folder, "b", saved)
    painter = LabelPainter(folder, start=Bright())
    found = []
    for _ in range(3):
        found.append((painter.name, painter.mask, painter.unsaved))
        painter.next()
    assert [name for name, _, _ in found] == ["a", "b", "c"]
    assert [unsaved for _, _, unsaved in found] == [True, False, True]
    for name, mask, _ in found:
        expected = saved if name == "b" else 255 * (read(folder / f"{name}.png")[1] > 200)
        np.testing.assert_array_equal(mask, expected)


def test_a_new_prediction_replaces_the_label_and_can_be_undone(image):
    painter = LabelPainter(image)
    painter.paint(0, 0, [[255]])
    painter.replace_mask(image > 0)
    np.testing.assert_array_equal(painter.mask, 255 * (image > 0))
    painter.undo()
    assert painter.mask.sum() == 255


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (np.zeros((3, 3), bool), r"got \(3, 3\)"),
        (np.full(SHAPE, 0.5), "other values"),
        (np.full(SHAPE, 2), "other values"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(image, start, said):
    with pytest.raises(InputError, match=said):
        LabelPainter(image, start=start)


def test_several_classes_are_numbers(image, tmp_path):
    start = np.zeros(SHAPE, np.int64)
    start[4:6], start[8:9] = 1, 2
    path = tmp_path / "many_LABEL.png"
    painter = LabelPainter(image, start, classes=("boundary", "vacuum"), output=path)
    assert [each["value"] for each in painter.classes] == [1, 2]
    painter.paint(0, 0, [[2, 1, 0]])
    with pytest.raises(InputError, match="values"):
        painter.paint(0, 0, [[3]])
    painter.save()
    start[0, :2] = 2, 1
    np.testing.assert_array_equal(read(path)[1], start)
    again = LabelPainter(image, classes=("boundary", "vacuum"), output=path)
    np.testing.assert_array_equal(again.mask, start)
    with pytest.raises(InputError, match="other values"):
        LabelPainter(image, start=start + 1, classes=("boundary", "vacuum"))


# --- saving --------------------------------------------------------------------------------------


def test_a_folder_that_is_labelled_can_be_loaded(folder):
    painter = LabelPainter(folder, start=Bright())
    for _ in range(3):
        assert painter.save() == folder / f"{painter.name}_LABEL.png"
        assert not painter.unsaved
        painter.next()
    stack = load.load_folder(folder)
    assert stack.names == ("a", "b", "c")
    np.testing.assert_array_equal(stack.masks, stack.images > 200 / 255)
    mode, values = read(folder / "a_LABEL.png")
    assert mode == "L"
    assert set(np.unique(values)) == {0, 255}
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".png") == []


def test_a_label_is_replaced_only_if_one_says_so(folder):
    write_label(folder, "a", np.zeros(SHAPE, np.uint8))
    before = (folder / "a_LABEL.png").read_bytes()
    painter = LabelPainter(folder)
    painter.paint(1, 1, [[255]])
    with pytest.raises(InputError, match=r"a_LABEL\.png exists"):
        painter.save()
    sent = from_browser(painter, {"kind": "save"})
    assert [content["kind"] for content, _ in sent] == ["done"]
    assert "exists" in painter.status and painter.unsaved
    assert (folder / "a_LABEL.png").read_bytes() == before
    painter.overwrite = True
    painter.save()
    assert read(folder / "a_LABEL.png")[1].sum() == 255
    assert not painter.unsaved
    with pytest.raises(InputError, match="exists"):
        painter.save()
    painter.save(overwrite=True)


def test_the_box_that_allows_replacing_holds_for_one_image(folder):
    painter = LabelPainter(folder)
    painter.overwrite = True
    painter.next()
    assert not painter.overwrite
    always = LabelPainter(folder, overwrite=True)
    always.next()
    assert always.overwrite
    always.save()
    assert always.save() == folder / "b_LABEL.png"


def test_a_label_of_another_format_is_opened_but_never_doubled(folder):
    label = np.zeros(SHAPE, np.uint8)
    label[3, 3] = 255
    Image.fromarray(label).save(folder / "a_LABEL.tif")
    painter = LabelPainter(folder, overwrite=True)
    np.testing.assert_array_equal(painter.mask, label)
    with pytest.raises(InputError, match=r"a_LABEL\.tif is the label already"):
        painter.save()


def test_a_label_is_whole_or_not_there(folder, monkeypatch):
    painter = LabelPainter(folder)

    def fail(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        painter.save()
    assert sorted(p.name for p in folder.iterdir()) == ["a.png", "b.png", "c.png"]
    from_browser(painter, {"kind": "save"})
    assert "disk full" in painter.status
    assert painter.unsaved


def test_labels_can_go_to_another_folder(folder, tmp_path):
    painter = LabelPainter(folder / "b.png", output=tmp_path / "labels")
    assert painter.save() == tmp_path / "labels" / "b_LABEL.png"
    assert not painter.has_next


def test_an_array_needs_a_file_named_like_a_label(image, tmp_path):
    with pytest.raises(InputError, match="no file to save to"):
        LabelPainter(image).save()
    with pytest.raises(InputError, match=r"end it with _LABEL\.png"):
        LabelPainter(image, output=tmp_path / "mine.png")


# --- from image to image -------------------------------------------------------------------------


def test_what_is_not_saved_is_kept_with_its_steps(folder):
    painter = LabelPainter(folder)
    painter.paint(7, 7, [[255]])
    painter.next()
    assert (painter.name, painter.mask.any(), painter.undoable) == ("b", False, False)
    painter.next()
    painter.next()  # there is none
    assert (painter.place, painter.has_next) == ("3 of 3", False)
    painter.previous()
    painter.previous()
    assert painter.mask[7, 7] == 255 and painter.undoable and painter.unsaved
    painter.undo()
    assert not painter.mask.any()


def test_images_that_cannot_be_read_are_passed_over_and_named(folder):
    (folder / "b.png").write_bytes(b"no image")
    painter = LabelPainter(folder)
    painter.next()
    assert painter.name == "c"
    assert "b.png" in painter.status
    (folder / "c.png").unlink()
    painter.previous()
    with pytest.raises(InputError, match=r"b\.png"):
        painter.next()
    assert painter.name == "a"


def test_labels_of_another_size_are_named(folder):
    write_label(folder, "a", np.zeros((4, 4), np.uint8))
    painter = LabelPainter(folder)
    assert painter.name == "b"
    assert "a_LABEL.png: expected the shape" in painter.status and "(4, 4)" in painter.status


@pytest.mark.parametrize("source", ["empty", "absent.png", np.zeros((2, 3, 3)), np.zeros((0, 4))])
def test_what_holds_no_image_is_refused(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        LabelPainter(tmp_path / source if isinstance(source, str) else source)


@pytest.mark.parametrize("classes", ["contamination", (), ("x",) * 300])
def test_classes_are_a_few_names(image, classes):
    with pytest.raises(InputError, match="classes"):
        LabelPainter(image, classes=classes)

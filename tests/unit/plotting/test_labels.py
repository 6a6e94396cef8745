"""Strokes that are undone and redone, and the values of the classes of a label."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphseg.errors import InputError
from graphseg.plotting.labels import STEPS, History, Patch, as_values, described

SHAPE = (4, 6)


@st.composite
def patches(draw):
    row, column = draw(st.integers(0, 7)), draw(st.integers(0, 5))
    height, width = draw(st.integers(1, 8 - row)), draw(st.integers(1, 6 - column))
    size = height * width  # bytes are drawn faster than numbers
    values = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8) % 2 * 255
    return Patch(row, column, values.reshape(height, width)), draw(st.booleans())


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


def test_one_class_has_255_and_several_have_their_numbers():
    (only,) = described(["contamination"])
    assert (only["label"], only["value"]) == ("contamination", 255)
    several = described(["boundary", "vacuum", "tip"])
    assert [one["value"] for one in several] == [1, 2, 3]
    assert len({one["colour"] for one in several}) == 3


@pytest.mark.parametrize("names", [[], [""], ["vacuum", "vacuum"], [str(n) for n in range(255)]])
def test_classes_are_a_few_names(names):
    with pytest.raises(InputError, match="--classes"):
        described(names)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32])
def test_a_label_is_read_as_it_is_painted(dtype):
    label = np.eye(*SHAPE).astype(dtype)
    one = as_values(label, SHAPE, 1, Path("a_LABEL.png"))
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, 255 * np.eye(*SHAPE))
    np.testing.assert_array_equal(as_values(label, SHAPE, 2, Path("a_LABEL.png")), np.eye(*SHAPE))


@pytest.mark.parametrize(
    ("label", "classes", "said"),
    [
        (np.zeros((3, 3), bool), 1, r"a_LABEL\.png: expected the shape \(4, 6\)"),
        (
            np.arange(24).reshape(SHAPE) % 3,
            1,
            r"a_LABEL\.png holds the values 0, 1, 2; .*--classes",
        ),
        (np.full(SHAPE, 255), 2, "holds the values 255; .*--classes"),
        (np.full(SHAPE, 0.5), 2, "holds the values 0.5; .*--classes"),
    ],
)
def test_a_label_of_other_classes_is_refused(label, classes, said):
    with pytest.raises(InputError, match=said):
        as_values(label, SHAPE, classes, Path("a_LABEL.png"))

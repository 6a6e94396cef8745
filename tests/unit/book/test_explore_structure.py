"""The widgets for structure redraw when their controls move, and begin with a picture."""

import numpy as np
import pytest

from book.tools import explore
from graphseg.errors import InputError
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import image_of

PIXEL = 0.35


@pytest.fixture(scope="module")
def image():
    sheet = crystal(28 + 12, 0.2, low=-12.0)
    rng = np.random.default_rng(0)
    return image_of(sheet.positions, sheet.numbers, 28.0, PIXEL, dose=1e4, rng=rng, margin=16)


def pictures(box, name, value):
    """The picture before and after a control takes a value."""
    controls = {child.description: child for child in box.children[:-1]}
    before = bytes(box.children[-1].value)
    controls[name].value = value
    return before, bytes(box.children[-1].value)


def test_a_threshold_moves_the_ranking():
    rng = np.random.default_rng(0)
    probabilities = rng.random((6, 8, 8)).astype(np.float32)
    box = explore.ranking_explorer(probabilities, rng.random(6))
    before, after = pictures(box, "threshold", 0.9)
    assert before.startswith(b"\x89PNG") and before != after
    with pytest.raises(InputError, match="labelled"):
        explore.ranking_explorer(probabilities, rng.random(5))


def test_a_threshold_moves_the_classes(image):
    probability = np.zeros(image.shape, np.float32)
    probability[:, :30] = 0.7
    before, after = pictures(explore.classes_explorer(image, probability), "threshold", 0.8)
    assert before.startswith(b"\x89PNG") and before != after


def test_a_mask_hides_atoms(image):
    none = np.zeros(image.shape, bool)
    half = none.copy()
    half[:, :40] = True
    box = explore.atoms_explorer(image, {"none": none, "half": half}, 2.46 / PIXEL)
    before, after = pictures(box, "mask", "half")
    assert before.startswith(b"\x89PNG") and before != after


def test_a_dose_changes_the_picture():
    box = explore.dose_explorer(size=64)
    before, after = pictures(box, "dose (e/Å²)", 400.0)
    assert before.startswith(b"\x89PNG") and before != after

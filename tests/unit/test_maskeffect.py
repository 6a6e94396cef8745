"""Atoms under masks: counts on a simulated image, and the rule that chooses examples."""

import numpy as np
import pytest

from graphseg import maskeffect
from graphseg.datasets import LabelledStack
from graphseg.errors import InputError
from graphseg.simulation.samples import image_of
from graphseg.simulation.structures import crystal

PIXEL = 0.35  # Å


@pytest.fixture(scope="module")
def stack():
    """One clean lattice, half of which is called contamination."""
    rng = np.random.default_rng(0)
    sheet = crystal(45 + 8, 0.2, low=-8.0)
    image = image_of(sheet.positions, sheet.numbers, 45.0, PIXEL, dose=1e4, rng=rng, margin=16)
    label = np.zeros(image.shape, bool)
    label[:, : image.shape[1] // 2] = True
    names = ("a", "b")
    noise = rng.normal(size=image.shape).astype(np.float32)
    return LabelledStack(
        images=np.stack([image, noise]),
        masks=np.stack([label, label]),
        names=names,
        groups=np.array(names),
        dates=np.array(names),
        source="folder",
    )


def test_true_and_false_atoms_are_those_on_either_side_of_the_label(stack):
    narrow = stack.masks & (np.arange(stack.masks.shape[2]) < 20)
    record = maskeffect.mask_effect(stack, {"narrow": narrow}, progress=False)
    assert record["images"] == ["a"] and record["without_lattice"] == ["b"]
    assert record["lattice_parameter"][0] == pytest.approx(2.46 / PIXEL, rel=0.01)
    none, some, label = (record["counts"][k][0] for k in ("none", "narrow", "label"))
    half = 45.0 * 22.5 * 2 / (np.sqrt(3) / 2 * 2.46**2)  # two atoms a cell
    assert none[1] == pytest.approx(half, rel=0.1) and none[0] == pytest.approx(half, rel=0.1)
    assert label[0] == 0 and label[2] == 0
    assert 0 < some[0] < none[0]
    assert none[3] == pytest.approx(1.5 * none[1], rel=0.12)


def test_a_mask_of_everything_leaves_nothing(stack):
    full = np.ones(stack.images[0].shape, bool)
    assert maskeffect.count_atoms(stack.images[0], stack.masks[0], full, 7.0) == (0, 0, 0, 0)


def test_masks_of_another_shape_are_refused(stack):
    with pytest.raises(InputError, match="shape"):
        maskeffect.mask_effect(stack, {"x": stack.masks[:1]}, progress=False)


def test_the_rule_chooses_three_different_images():
    counts = {
        "none": [[50, 900, 0, 0], [50, 900, 0, 0], [50, 900, 0, 0], [0, 900, 0, 0]],
        "bragg": [[40, 900, 0, 0], [1, 890, 0, 0], [5, 300, 0, 0], [0, 100, 0, 0]],
        "unet": [[2, 890, 0, 0], [0, 895, 0, 0], [4, 880, 0, 0], [0, 900, 0, 0]],
    }
    record = {"images": list("abcd"), "counts": counts}
    chosen = maskeffect.situations(record, "unet", "bragg")
    assert chosen == {"gain": "a", "even": "b", "cost": "c"}

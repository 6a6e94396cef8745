"""Atoms under masks: counts on a simulated image, and the rule that chooses examples."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from book.studies import atoms_under_masks
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import image_of
from graphseg.structure.atoms import find_atoms, is_true_at

PIXEL = 0.35  # Å


def exposed(*angles, dose=1e4):
    """One sheet for each angle, 3.35 Å over the last."""
    sheets = [crystal(45 + 8, angle, low=-8.0).positions for angle in angles]
    heights = np.repeat(3.35 * np.arange(len(sheets)), [len(sheet) for sheet in sheets])
    rng = np.random.default_rng(0)
    return image_of(
        np.concatenate(sheets), 6, 45.0, PIXEL, dose=dose, rng=rng, heights=heights, margin=24
    )


@pytest.fixture(scope="module")
def stack():
    """One clean lattice, half of which is called contamination; noise; and a twisted bilayer."""
    image = exposed(0.2)
    label = np.zeros(image.shape, bool)
    label[:, : image.shape[1] // 2] = True
    names = ("a", "b", "c")
    noise = np.random.default_rng(0).normal(size=image.shape).astype(np.float32)
    return LabelledStack(
        images=np.stack([image, noise, exposed(0.2, 0.6)]),
        masks=np.stack([label, label, np.zeros_like(label)]),
        names=names,
        groups=np.array(names),
        dates=np.array(names),
        source="folder",
    )


def test_atoms_are_counted_on_either_side_of_the_label(stack):
    narrow = stack.masks & (np.arange(stack.masks.shape[2]) < 32)
    record = atoms_under_masks.mask_effect(stack, {"narrow": narrow}, progress=False)
    assert record["images"] == ["a"]
    assert record["without_lattice"] == ["b"] and record["superposed"] == ["c"]
    assert record["lattice_parameter"][0] == pytest.approx(2.46 / PIXEL, rel=0.01)
    none, some, label = (record["counts"][k][0] for k in ("none", "narrow", "label"))
    half = 45.0 * 22.5 * 2 / (np.sqrt(3) / 2 * 2.46**2)  # two atoms a cell
    assert none[1] == pytest.approx(half, rel=0.1) and none[0] == pytest.approx(half, rel=0.1)
    assert label[0] == 0 and label[2] == 0
    assert 0 < some[0] < none[0]
    assert none[3] == pytest.approx(1.5 * none[1], rel=0.12)
    assert record["jaccard"]["label"] == [1.0] and record["jaccard"]["none"] == [0.0]
    assert record["jaccard"]["narrow"] == [32 / (stack.masks.shape[2] // 2)]


@pytest.mark.parametrize("dose", [2e3, 1e4])
@pytest.mark.parametrize("side", [60, 90])
def test_contamination_that_is_not_masked_costs_no_atom_elsewhere(dose, side):
    """Its contrast is five times that of the lattice and the noise together."""
    image = exposed(0.2, dose=dose)
    label = np.zeros(image.shape, bool)
    label[:, :side] = True
    rough = gaussian_filter(np.random.default_rng(1).normal(size=image.shape), 2.0)
    image = image + np.where(label, 5 * image.std() / rough.std() * rough, 0)
    near = binary_dilation(label, iterations=10)
    counted = {
        name: (~is_true_at(near, find_atoms(image, 2.46 / PIXEL, mask).positions)).sum()
        for name, mask in {"none": None, "label": label}.items()
    }
    assert counted["label"] == pytest.approx(2 * (~near).sum() * PIXEL**2 / 5.24, rel=0.03)
    assert counted["none"] == pytest.approx(counted["label"], rel=0.03)


def test_a_mask_of_everything_leaves_nothing(stack):
    full = np.ones_like(stack.masks)
    record = atoms_under_masks.mask_effect(stack, {"full": full}, progress=False)
    assert record["counts"]["full"] == [(0, 0, 0, 0)]


def test_where_an_atom_is_lost_in_the_noise_no_mask_is_judged(stack, monkeypatch):
    """The counts are then those of noise, or none at all."""
    noisy = stack.images[0] + 1.5 * stack.images[0].std() * stack.images[1]
    images = np.stack([stack.images[0], noisy, stack.images[2]])
    changed = replace(stack, images=images)
    assert atoms_under_masks.mask_effect(changed, {}, progress=False)["images"] == ["a", "b"]
    monkeypatch.setattr(atoms_under_masks, "FAINTEST", 5.0)  # between the signals of the two
    record = atoms_under_masks.mask_effect(changed, {}, progress=False)
    assert record["images"] == ["a"] and record["faint"] == ["b"]


def test_masks_of_another_shape_are_refused(stack):
    with pytest.raises(InputError, match="shape"):
        atoms_under_masks.mask_effect(stack, {"x": stack.masks[:1]}, progress=False)


def record(**changed):
    """Four images; in the second one both masks are good."""
    counts = {
        "none": [[50, 900, 0, 0], [50, 900, 0, 0], [50, 900, 0, 0], [0, 900, 0, 0]],
        "bragg": [[40, 900, 0, 0], [1, 890, 0, 0], [5, 300, 0, 0], [0, 100, 0, 0]],
        "unet": [[2, 890, 0, 0], [0, 895, 0, 0], [4, 880, 0, 0], [0, 900, 0, 0]],
        "label": [[0, 900, 0, 0]] * 4,
    }
    jaccard = {"bragg": [0.5, 0.8, 0.2, 0.0], "unet": [0.9, 0.9, 0.8, 1.0]}
    return {"images": list("abcd"), "counts": counts, "jaccard": jaccard} | changed


def test_the_rule_chooses_three_different_images():
    chosen = atoms_under_masks.situations(record(), "unet", "bragg")
    assert chosen == {"gain": "a", "even": "b", "cost": "c"}


@pytest.mark.parametrize("failed", ["bragg", "unet"])
def test_no_atom_left_is_not_equally_good(failed):
    """A mask over everything, or a search that fails, leaves no atom inside the label either."""
    counts = record()["counts"] | {failed: [[40, 900, 0, 0], [0, 0, 0, 0], [5, 880, 0, 0], [0] * 4]}
    chosen = atoms_under_masks.situations(record(counts=counts), "unet", "bragg")
    assert chosen.get("even") != "b"


def test_equally_good_needs_overlap_with_the_label():
    jaccard = {"bragg": [0.5, 0.3, 0.6, 0.0], "unet": [0.9, 0.9, 0.8, 1.0]}
    counts = record()["counts"] | {
        "bragg": [[40, 900, 0, 0], [0, 890, 0, 0], [5, 880, 0, 0], [0] * 4]
    }
    chosen = atoms_under_masks.situations(record(jaccard=jaccard, counts=counts), "unet", "bragg")
    assert chosen["even"] == "c"


def test_a_situation_that_does_not_occur_is_left_out():
    counts = {name: [[50 * (name == "none"), 900, 0, 0]] * 4 for name in record()["counts"]}
    assert set(atoms_under_masks.situations(record(counts=counts), "unet", "bragg")) == {"even"}

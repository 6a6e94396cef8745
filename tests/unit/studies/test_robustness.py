"""The record of robustness on few images: complete, resumed, refused when it is of others."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from book.studies import robust_finetuning, robustness
from book.studies.changes import CHANGES, Change
from book.tools import tables
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation.records import StepStore


@pytest.fixture(scope="module")
def stack():
    whole = load.load_stack("simulated")
    part = np.s_[:, :128, :128]
    contaminated = np.flatnonzero(whole.masks[part].mean(axis=(1, 2)) > 0.1)
    part_of = replace(whole, images=whole.images[part], masks=whole.masks[part])
    return part_of.subset(contaminated[:6])


@pytest.fixture
def few(monkeypatch):
    """Two changes, one strength each, short attacks, short fits."""
    monkeypatch.setattr(robustness, "BraggSegmenter", partial(BraggSegmenter, steps=1))
    # So few images tell nothing of out-of-distribution images; here those with more than 256 values
    # are flagged.
    many = lambda _, image, fold: len(np.unique(image)) > 256  # noqa: E731
    monkeypatch.setattr(robustness.Judges, "flags", many)
    chosen = {name: CHANGES[name] for name in ("inversion", "noise")}
    short = {n: Change(c.unit, c.strengths[:2], c.make, c.said) for n, c in chosen.items()}
    monkeypatch.setattr(robustness, "CHANGES", short)
    monkeypatch.setattr(robustness, "PHYSICAL", {})
    monkeypatch.setattr(robustness, "RADII", (0.0, 0.2))
    monkeypatch.setattr(robustness, "ATTACKS", {"FGSM": 1})


def test_a_record_is_complete_and_continued(stack, few, tmp_path, monkeypatch):
    arguments = dict(images=2, samples=1, training=False, run_folder=tmp_path)
    found = robustness.run(stack, **arguments)
    assert set(found["changes"]) == {"inversion", "noise"}
    assert set(found["attacks"]) == {"FGSM on unet", "FGSM on bragg"}
    assert found["flagged"] == {"inversion": [0, 0], "noise": [0, 1]}
    for part in ("changes", "attacks"):
        for curve in found[part].values():
            for scores in curve["methods"].values():
                assert len(scores["pooled"]) == len(curve["strengths"])
                assert all(0 <= value <= 1 for value in scores["pooled"] + scores["per_image"])
    attacked = found["attacks"]["FGSM on unet"]["methods"]["unet"]["pooled"]
    assert attacked[1] < attacked[0]

    def never(*_):
        raise AssertionError("what is recorded is not measured again")

    monkeypatch.setattr(robustness, "_curve", never)
    assert robustness.run(stack, **arguments) == found
    with pytest.raises(InputError, match="of another run"):
        robustness.run(stack, **arguments | {"seed": 1})


def test_further_training_is_scored_in_every_condition(stack, monkeypatch):
    monkeypatch.setattr(robust_finetuning, "VARIANTS", {"adversarial": {"adversarial": 0.1}})
    monkeypatch.setattr(robust_finetuning, "NATURAL", (("noise", 1.0), ("blur", 0.5)))
    monkeypatch.setattr(robust_finetuning, "RADII", (0.1,))
    monkeypatch.setattr(robust_finetuning, "PGD_STEPS", 2)
    small = replace(stack, images=stack.images[:, :64, :64], masks=stack.masks[:, :64, :64])
    found = robust_finetuning.measure(small, StepStore(None, {}), fold=0, epochs=1, images=1)
    assert set(found["scores"]) == {"as it is", "adversarial"}
    conditions = ["unchanged", "noise 1", "blur 0.5", "FGSM 0.1", "PGD 0.1"]
    assert all(list(scores) == conditions for scores in found["scores"].values())
    assert found["images"] == [small.names[0]]


def test_the_caption_of_the_short_trainings_says_what_the_record_says():
    """What chapter 13 tells its reader to notice in the figure of robust fine-tuning."""
    scores = tables.read_result("robustness")["training"]["scores"]
    others = [name for name in scores if name != "blur"]
    for change in ("blur 1", "blur 1.5", "drift 2", "drift 4"):
        assert all(scores["blur"][change] > scores[name][change] for name in others)
    assert min(scores, key=lambda name: scores[name]["unchanged"]) == "adversarial"
    assert scores["noise"]["noise 2"] < scores["plain"]["noise 2"]

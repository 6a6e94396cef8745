"""Few labels: nested draws of acquisitions on the folds of the other evaluations."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.studies import learning_curve
from graphseg import metrics
from graphseg.datasets.stack import SAME_PLACE
from graphseg.errors import InputError
from graphseg.evaluation.crossval import splits
from graphseg.simulation.configuration import GRAPHENE
from graphseg.unet import finetune
from graphseg.unet.segmenter import UNetSegmenter

RECIPE = dict(
    levels=2, features=4, epochs=1, batch_size=2, progress=False, precision="float32", device="cpu"
)


@pytest.fixture(scope="module")
def stack():
    return finetune.simulated_stack(8, 5, replace(GRAPHENE, size=64), progress=False)


@given(small=st.integers(1, 6), more=st.integers(0, 10), seed=st.integers(0, 9))
def test_larger_draws_contain_the_smaller(stack, small, more, seed):
    grouped = replace(stack, groups=np.array(list("aabbcdef")))
    train = np.arange(8)
    first = learning_curve.labelled(grouped, train, small, seed)
    second = learning_curve.labelled(grouped, train, min(6, small + more), seed)
    assert set(first) <= set(second)
    assert len(set(grouped.groups[first])) == small
    assert set(np.flatnonzero(np.isin(grouped.groups, grouped.groups[first]))) == set(first)


def test_too_many_acquisitions_are_refused(stack):
    with pytest.raises(InputError, match="9 acquisitions cannot be drawn from 8"):
        learning_curve.labelled(stack, np.arange(8), 9, 0)


def test_the_curve_keeps_folds_and_budgets(stack, tmp_path, monkeypatch):
    start = UNetSegmenter(**RECIPE).fit(stack.images, stack.masks)
    start.save(tmp_path / "start.safetensors")
    changes = RECIPE | {"initial": tmp_path / "start.safetensors"}
    arguments = (stack, [0, 2], 2, 2, changes, tmp_path / "runs")
    record = learning_curve.run(*arguments)
    parts = splits(stack, "acquisition", 2)
    for row, (budget, fold) in zip(
        record["results"], [(0, 0), (0, 1), (2, 0), (2, 1)], strict=True
    ):
        assert (row["budget"], row["fold"], row["images"]) == (budget, fold, budget)
        assert row["test"] == [stack.names[i] for i in parts[fold][1]]
    test = parts[1][1]
    expected = metrics.counts(stack.masks[test], start.predict(stack.images[test]))
    np.testing.assert_array_equal(learning_curve.at(record, 0)["results"][1]["counts"], expected)
    monkeypatch.setattr(learning_curve, "evaluate_fold", None)
    assert learning_curve.run(*arguments)["results"] == record["results"]


def test_no_labels_and_no_initial_network_is_refused(stack, tmp_path):
    with pytest.raises(InputError, match="initial weights"):
        learning_curve.run(stack, [0, 1], changes=RECIPE, run_folder=tmp_path)


def test_places_in_two_folds_are_counted():
    later, earlier = next(iter(SAME_PLACE.items()))
    together = [{"shuffle": 0, "fold": 0, "test": [f"{later}_layer_0001", earlier, "other"]}]
    assert learning_curve.split_places({"results": together}) == 0
    apart = [
        {"shuffle": 0, "fold": 0, "test": [f"{later}_layer_0001"]},
        {"shuffle": 0, "fold": 1, "test": [earlier, "other"]},
    ]
    assert learning_curve.split_places({"results": apart}) == 1

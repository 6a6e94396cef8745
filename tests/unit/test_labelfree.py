"""Networks that saw simulated images only: what is scored, and what is not repeated."""

from dataclasses import replace

import numpy as np
import pytest

from graphseg import datasets, labelfree, metrics, pretraining
from graphseg.errors import InputError
from graphseg.records import summary
from graphseg.segmenter import UNetSegmenter
from graphseg.simulation.configuration import GRAPHENE
from graphseg.simulation.presets import ABLATION, NAIVE

RECIPE = dict(
    levels=2, features=4, epochs=2, batch_size=2, progress=False, precision="float32", device="cpu"
)
SMALL = {"naive": replace(NAIVE, size=64), "graphene": replace(GRAPHENE, size=64)}


@pytest.fixture(scope="module")
def stack():
    return pretraining.simulated_stack(6, 11, SMALL["graphene"], progress=False)


@pytest.fixture(scope="module")
def finished(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    arguments = (UNetSegmenter(**RECIPE), stack, SMALL, 2, 4, folder)
    return labelfree.score_simulated(*arguments), arguments


def test_counts_are_those_of_the_kept_networks(stack, finished):
    record, (*_, folder) = finished
    assert [(r["configuration"], r["shuffle"]) for r in record["results"]] == [
        ("naive", 0), ("graphene", 0), ("naive", 1), ("graphene", 1),
    ]  # fmt: skip
    network = UNetSegmenter.load(folder / "naive_1.safetensors", device="cpu")
    expected = metrics.counts(stack.masks, network.predict(stack.images))
    np.testing.assert_array_equal(record["results"][2]["counts"], expected)
    assert network.card_["recipe"]["seed"] == 1 and "seed 1" in network.card_["data"]


def test_what_is_finished_is_not_trained_again(finished, monkeypatch):
    record, arguments = finished
    monkeypatch.setattr(pretraining, "pretrain", None)
    assert labelfree.score_simulated(*arguments)["results"] == record["results"]


def test_the_design_part_and_the_rest_share_no_image(stack, finished):
    record = finished[0]
    design, rest = (labelfree.part_of(record, part) for part in (True, False))
    names = [set(part["results"][0]["test"]) for part in (design, rest)]
    assert not names[0] & names[1] and names[0] | names[1] == set(stack.names)
    assert names[0] == set(record["design"]) == set(np.array(stack.names)[:3])
    pixels = sum(np.sum(part["results"][0]["counts"]) for part in (design, rest))
    assert pixels == stack.masks.size
    assert 0 <= summary(rest, "pooled")["jaccard"][0] <= 1


def test_the_design_part_of_the_published_images(published):
    known = labelfree.designed_on(published)
    names = np.array(published.names)[known]
    assert len({datasets.acquisition_of(name) for name in names}) == 54
    assert not set(published.groups[known]) & set(published.groups[~known])
    assert max(published.groups[known]) < min(published.groups[~known])


def test_steps_have_names():
    assert list(labelfree.steps_of_realism()) == ["graphene"]
    assert labelfree.steps_of_realism(["naive"])["naive"] is ABLATION["naive"]
    with pytest.raises(InputError, match="no step 'nice'"):
        labelfree.steps_of_realism(["nice"])

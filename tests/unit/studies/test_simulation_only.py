"""Networks that saw simulated images only: what is scored, and what is not repeated."""

from dataclasses import replace

import numpy as np
import pytest

from book.studies import simulation_only
from book.studies.configurations import ABLATION, NAIVE
from graphseg import metrics
from graphseg.datasets.stack import acquisition_of
from graphseg.errors import InputError
from graphseg.evaluation.records import summary
from graphseg.simulation.configuration import GRAPHENE
from graphseg.unet import finetune
from graphseg.unet.segmenter import UNetSegmenter

RECIPE = dict(
    levels=2, features=4, epochs=2, batch_size=2, progress=False, precision="float32", device="cpu"
)
SMALL = {"naive": replace(NAIVE, size=64), "graphene": replace(GRAPHENE, size=64)}


@pytest.fixture(scope="module")
def stack():
    return finetune.simulated_stack(6, 11, SMALL["graphene"], progress=False)


@pytest.fixture(scope="module")
def finished(stack, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    arguments = dict(seeds=2, images=4, step=list(SMALL), changes=RECIPE, run_folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, configuration in SMALL.items():
            patch.setitem(simulation_only.ABLATION, name, configuration)
        yield simulation_only.run(stack, **arguments), arguments


def test_counts_are_those_of_the_kept_networks(stack, finished):
    record, folder = finished[0], finished[1]["run_folder"]
    assert [(r["configuration"], r["shuffle"]) for r in record["results"]] == [
        ("naive", 0), ("graphene", 0), ("naive", 1), ("graphene", 1),
    ]  # fmt: skip
    network = UNetSegmenter.load(folder / "naive_1.safetensors", device="cpu")
    expected = metrics.counts(stack.masks, network.predict(stack.images))
    np.testing.assert_array_equal(record["results"][2]["counts"], expected)
    assert network.card_["recipe"]["seed"] == 1 and "seed 1" in network.card_["data"]


def test_what_is_finished_is_not_trained_again(stack, finished, monkeypatch):
    record, arguments = finished
    monkeypatch.setattr(finetune, "pretrain", None)
    assert simulation_only.run(stack, **arguments)["results"] == record["results"]


def test_the_design_part_and_the_rest_share_no_image(stack, finished):
    record = finished[0]
    design, rest = (simulation_only.part_of(record, part) for part in (True, False))
    names = [set(part["results"][0]["test"]) for part in (design, rest)]
    assert not names[0] & names[1] and names[0] | names[1] == set(stack.names)
    assert names[0] == set(record["design"]) == set(np.array(stack.names)[:3])
    pixels = sum(np.sum(part["results"][0]["counts"]) for part in (design, rest))
    assert pixels == stack.masks.size
    assert 0 <= summary(rest, "pooled")["jaccard"][0] <= 1


def test_the_design_part_of_the_published_images(published):
    known = simulation_only.designed_on(published)
    names = np.array(published.names)[known]
    assert len({acquisition_of(name) for name in names}) == 54
    assert not set(published.groups[known]) & set(published.groups[~known])
    assert max(published.groups[known]) < min(published.groups[~known])


def test_steps_have_names():
    assert list(simulation_only.steps_of_realism()) == ["graphene"]
    assert simulation_only.steps_of_realism(["naive"])["naive"] is ABLATION["naive"]
    with pytest.raises(InputError, match="no step 'nice'"):
        simulation_only.steps_of_realism(["nice"])


def test_the_scores_of_all_trainings_are_averaged_under_each_convention():
    # An empty label left empty, an empty label with a false alarm, a mask that is half right.
    counts = [[0, 0, 0, 10], [0, 2, 0, 8], [2, 1, 1, 6]]
    record = {"results": [{"test": ["a", "b", "c"], "counts": counts}] * 2}
    expected = {
        "per image, 0/0 = 1": (1 + 0 + 0.5) / 3,
        "per image, 0/0 = 0": (0 + 0 + 0.5) / 3,
        "per image, empty labels left out": 0.5,
        "pooled": 2 / 6,
    }
    for convention, value in expected.items():
        found = simulation_only.score_intervals(record, convention, draws=50)["jaccard"]
        assert found[0] == pytest.approx(value)
        assert found[1] <= found[0] <= found[2]


def test_intervals_draw_whole_places_and_average_the_seeds():
    names = ["a_layer_1", "a_layer_2", "b_layer_1", "b_layer_2"]
    good, bad = [4, 0, 0, 4], [0, 4, 4, 0]
    results = [
        {"test": names, "counts": [good, good, bad, bad]},
        {"test": names, "counts": [bad, bad, good, good]},
    ]
    whole = simulation_only.score_intervals(
        {"results": results[:1]}, "per image, 0/0 = 1", draws=400
    )
    assert whole["jaccard"] == (0.5, 0.0, 1.0)  # both groups may be the same one
    both = simulation_only.score_intervals({"results": results}, "per image, 0/0 = 1", draws=400)
    assert both["jaccard"] == pytest.approx((0.5, 0.5, 0.5))  # what one loses the other wins


def test_the_intervals_agree_with_scores_of_drawn_tables():
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 50, (2, 12, 4))
    names = [f"{letter}_layer_{k}" for letter in "abcd" for k in range(3)]
    record = {"results": [{"test": names, "counts": table.tolist()} for table in counts]}
    for convention, (average, zero_division, _) in simulation_only.CONVENTIONS.items():
        found = simulation_only.score_intervals(record, convention, draws=1)
        for name in metrics.NAMES:
            whole = [metrics.scores(table, average, zero_division)[name] for table in counts]
            assert found[name][0] == pytest.approx(np.mean(whole))

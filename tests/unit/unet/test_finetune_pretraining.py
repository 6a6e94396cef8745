"""Networks trained on simulated images only: deterministic data, weights that begin a training."""

from dataclasses import replace

import numpy as np
import pytest

from graphseg import metrics
from graphseg.simulation.configuration import GRAPHENE
from graphseg.unet import finetune
from graphseg.unet.segmenter import UNetSegmenter

SMALL = replace(GRAPHENE, size=64)
RECIPE = dict(
    levels=2, features=8, epochs=10, batch_size=2, learning_rate=1e-2, progress=False,
    precision="float32", device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack():
    return finetune.simulated_stack(16, 3, SMALL, progress=False)


def test_the_stack_does_not_depend_on_the_number_of_processes(stack):
    again = finetune.simulated_stack(4, 3, SMALL, n_jobs=2, progress=False)
    assert again.digest == stack.subset(np.arange(4)).digest
    assert len(set(stack.groups)) == 16 and stack.source == "generated"
    assert 0.02 < stack.masks.mean() < 0.6


def test_joined_stacks_keep_both_and_their_order(stack):
    other = finetune.simulated_stack(2, 9, SMALL, progress=False)
    both = finetune.joined(stack, other)
    assert both.names == stack.names + other.names and len(both) == 18
    np.testing.assert_array_equal(both.masks[16:], other.masks)
    assert both.digest not in (stack.digest, other.digest)
    np.testing.assert_array_equal(both.groups, both.names)


def test_stacks_are_joined_if_one_does_not_state_its_pixel_sizes(stack):
    both = finetune.joined(replace(stack, pixel_size=None), stack)
    assert both.pixel_size_of(0) is None
    assert both.pixel_size_of(len(stack)) == pytest.approx(stack.pixel_size[0])


def test_a_network_learns_from_simulated_images_and_says_so(tmp_path, stack):
    path = tmp_path / "simulated.safetensors"
    finetune.pretrain(UNetSegmenter(**RECIPE), path, 16, 3, SMALL)
    assert not list(tmp_path.glob("*.checkpoint"))
    loaded = UNetSegmenter.load(path, device="cpu")
    assert "no published image" in loaded.card_["data"]
    assert loaded.card_["data_digest"] == stack.digest
    other = finetune.simulated_stack(6, 4, SMALL, progress=False)
    found = metrics.scores(metrics.counts(other.masks, loaded.predict(other.images)))
    everything = metrics.scores(metrics.counts(other.masks, np.ones_like(other.masks)))
    assert found["jaccard"] > everything["jaccard"] + 0.1

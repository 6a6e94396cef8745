"""Out-of-fold predictions, moved outlines against geometry, and what the record holds."""

import numpy as np
import pytest

from book.studies import label_noise
from book.tools.fold_networks import out_of_fold
from graphseg import metrics
from graphseg.datasets import load
from graphseg.unet import pretrained


def disc(radius: float, size: int = 96) -> np.ndarray:
    rows, columns = np.indices((size, size)) - size / 2
    return np.hypot(rows, columns) <= radius


def test_a_moved_outline_of_a_disc_is_a_ratio_of_areas():
    table = label_noise.moved_outlines(disc(30)[None], (-2, 2))
    assert metrics.scores(table[2])["jaccard"] == pytest.approx((30 / 32) ** 2, abs=0.02)
    assert metrics.scores(table[-2])["jaccard"] == pytest.approx((28 / 30) ** 2, abs=0.02)


def test_empty_and_full_labels_have_no_outline_to_move():
    masks = np.stack([np.zeros((8, 8), bool), np.ones((8, 8), bool)])
    for table in label_noise.moved_outlines(masks).values():
        assert metrics.scores(table, "per_image")["jaccard"] == 1


def test_fold_networks_predict_what_they_have_not_seen(published):
    probabilities = out_of_fold(published, test_time_augmentation=False)
    network = pretrained.load("fold_2", test_time_augmentation=False)
    chosen = [published.names.index(name) for name in network.card_["held_out"][:2]]
    assert (probabilities[chosen] == network.predict_proba(published.images[chosen])).all()


@pytest.fixture(scope="module")
def found():
    stack = load.load_simulated_sample().subset(np.arange(8))
    label = stack.masks
    shifted = np.roll(label, 3, axis=2)
    wrong = shifted.copy()
    wrong[0, 100:140, 100:140] = ~label[0, 100:140, 100:140]
    predictions = {"adaptive": wrong, "classifier": wrong, "unet": wrong, "no-lattice": label}
    return stack, label_noise.label_noise(stack, predictions)


def test_the_record_knows_a_perfect_method_and_ranks_tolerances(found):
    _, record = found
    assert record["bands"]["no-lattice"]["pooled"] == [1.0] * 4
    assert np.all(np.diff(record["bands"]["unet"]["pooled"]) > 0)


def test_the_largest_disagreement_is_the_planted_one(found):
    stack, record = found
    region = record["regions"][0]
    assert region["image"] == stack.names[0] and region["area"] > 800
    assert region["rows"][0] >= 98 and region["rows"][1] <= 142


def test_strong_methods_are_needed():
    stack = load.load_simulated_sample().subset(np.arange(2))
    with pytest.raises(KeyError):
        label_noise.label_noise(stack, {"no-lattice": stack.masks})

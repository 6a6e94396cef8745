"""The six scores against scikit-learn, analytic discs and the edge cases."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis.extra.numpy import arrays

from graphseg import metrics
from graphseg.errors import InputError

REFERENCE = {
    "accuracy": sklearn.metrics.accuracy_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "jaccard": sklearn.metrics.jaccard_score,
    "f1": sklearn.metrics.f1_score,
    "precision": sklearn.metrics.precision_score,
    "recall": sklearn.metrics.recall_score,
}


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


@pytest.fixture
def masks():
    generator = np.random.default_rng(3)
    true = generator.random((6, 32, 40)) < 0.3
    return true, true ^ (generator.random(true.shape) < 0.1)


@pytest.mark.parametrize("name", metrics.NAMES)
def test_scores_equal_scikit_learn(masks, name):
    true, predicted = masks
    table = metrics.counts(true, predicted)
    pooled = REFERENCE[name](true.ravel(), predicted.ravel())
    each = [REFERENCE[name](t.ravel(), p.ravel()) for t, p in zip(true, predicted, strict=True)]
    assert abs(metrics.scores(table)[name] - pooled) < 1e-12
    assert abs(metrics.scores(table, "per_image")[name] - np.mean(each)) < 1e-12


@given(arrays(bool, (2, 5, 4)), arrays(bool, (2, 5, 4)))
def test_counts_sum_to_the_pixels_and_swap_with_the_roles(true, predicted):
    table = metrics.counts(true, predicted)
    assert (table.sum(axis=1) == 20).all()
    assert (metrics.counts(predicted, true) == table[:, [0, 2, 1, 3]]).all()
    values = metrics.score_table(table)
    assert all(((v >= 0) & (v <= 1)).all() for v in values.values())
    np.testing.assert_allclose(
        values["f1"], 2 * values["jaccard"] / (1 + values["jaccard"]), atol=1e-12
    )


def test_discs_of_known_overlap():
    inner, outer = disc((65, 65), (32, 32), 10), disc((65, 65), (32, 32), 20)
    values = metrics.scores(metrics.counts(outer, inner))
    assert values["precision"] == 1.0
    assert values["recall"] == values["jaccard"] == inner.sum() / outer.sum()


@pytest.mark.parametrize(("zero_division", "mean"), [(1.0, 0.75), (0.0, 0.25), (np.nan, 0.5)])
def test_empty_label_and_empty_prediction(zero_division, mean):
    half = np.zeros((2, 4), bool)
    half[:, :2] = True
    true = np.stack([np.zeros_like(half), half])
    predicted = np.stack([np.zeros_like(half), np.ones_like(half)])
    table = metrics.counts(true, predicted)
    assert metrics.scores(table, "per_image", zero_division)["jaccard"] == mean
    assert metrics.scores(table[:1])["accuracy"] == 1.0


def test_all_undefined_is_nan_not_a_number_made_up():
    empty = np.zeros((2, 3, 3), bool)
    values = metrics.scores(metrics.counts(empty, empty), "per_image", zero_division=np.nan)
    assert np.isnan(values["jaccard"]) and values["accuracy"] == 1.0


def test_empty_label_with_false_positives():
    values = metrics.scores(metrics.counts(np.zeros((2, 2), bool), np.eye(2, dtype=bool)))
    assert values["jaccard"] == values["f1"] == values["precision"] == 0.0
    assert values["recall"] == 1.0  # 0/0
    assert values["balanced_accuracy"] == values["accuracy"] == 0.5


def test_error_map_has_the_four_colours():
    true = np.array([[True, False], [True, False]])
    predicted = np.array([[True, False], [False, True]])
    expected = [[(255, 255, 255), (0, 0, 0)], [(0, 0, 255), (255, 0, 0)]]
    assert (metrics.error_map(true, predicted) == np.array(expected)).all()


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        metrics.counts(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="unknown"):
        metrics.scores(np.ones((1, 4)), average="median")
    with pytest.raises(InputError, match="cannot be scored"):
        metrics.scores(np.ones((0, 4)))
    with pytest.raises(InputError, match="cannot be compared"):
        metrics.error_map(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 2), bool))


def test_the_confusion_of_classes_is_counted():
    true = np.array([[0, 0, 1], [2, 2, 2]])
    found = np.array([[0, 1, 1], [2, 2, 0]])
    table = metrics.confusion(true, found, 4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(metrics.class_jaccard(table), [1 / 3, 1 / 2, 2 / 3, np.nan])

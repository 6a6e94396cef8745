"""Grid search inside the training folds: the best inner one wins, and no choice sees its test."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from book.studies import grid_search
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import crossval, methods


class Threshold(BaseEstimator):
    """Calls bright pixels contamination, and remembers which images it was fitted on."""

    fitted_on: list = []  # noqa: RUF012 - the test reads what all clones were given

    def __init__(self, level: float = 0.5, epochs: int = 1, seed: int = 0):
        self.level, self.epochs, self.seed = level, epochs, seed

    def fit(self, images, masks):
        type(self).fitted_on.append((self.level, self.epochs, self.seed, set(images[:, 0, 0])))
        return self

    def predict(self, images):
        return images > self.level


@pytest.fixture
def stack():
    generator = np.random.default_rng(0)
    images = generator.random((24, 8, 8)).astype(np.float32)
    names = tuple(f"2020_0101_FS_{i // 2:03d}_layer_{i:04d}" for i in range(24))
    return LabelledStack(
        images=images,
        masks=images > 0.7,
        names=names,
        groups=np.array([name.split("_layer")[0] for name in names]),
        dates=np.array(["2020_0101"] * 24),
        source="folder",
    )


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "threshold", Threshold)


GRID = {"level": [0.3, 0.7, 0.9]}
QUIET = dict(folds=4, progress=False)


def test_the_best_inner_candidate_is_trained_and_scored_once(stack):
    record = grid_search.run(stack, "threshold", GRID, **QUIET)
    assert [found["chosen"] for found in record["searches"]] == [1] * 4
    assert record["candidates"][1] == {"level": 0.7}
    tested = [name for result in record["results"] for name in result["test"]]
    assert sorted(tested) == sorted(stack.names)
    for result in record["results"]:
        assert result["parameters"]["level"] == 0.7
        assert metrics.scores(np.array(result["counts"]))["jaccard"] == 1


def test_no_search_sees_the_images_it_is_scored_on(stack, monkeypatch):
    monkeypatch.setattr(Threshold, "fitted_on", [])
    grid_search.run(stack, "threshold", GRID, only=[2], **QUIET)
    test = crossval.splits(stack, "acquisition", 4)[2][1]
    unseen = set(stack.images[test, 0, 0])
    assert len(Threshold.fitted_on) == 3 * 3 + 1
    assert all(not unseen & seen for *_, seen in Threshold.fitted_on)


def test_several_grids_are_one_list_of_candidates(stack):
    grids = [{"level": [0.3]}, {"level": [0.7, 0.9], "epochs": [2]}]
    record = grid_search.run(stack, "threshold", grids, only=[0], trials=0, **QUIET)
    assert len(record["candidates"]) == 3 and record["results"] == []
    assert record["candidates"][record["searches"][0]["chosen"]] == {"level": 0.7, "epochs": 2}


def test_final_trainings_take_their_own_parameters_and_seeds(stack):
    record = grid_search.run(
        stack, "threshold", GRID, final={"epochs": 300}, trials=2, only=[0], inner_tested=1, **QUIET
    )
    finals = [result["parameters"] for result in record["results"]]
    assert finals == [{"level": 0.7, "epochs": 300, "seed": seed} for seed in (0, 1)]
    assert record["only"] == [0] and record["inner_tested"] == 1


def test_finished_trainings_are_not_run_again(stack, monkeypatch, tmp_path):
    monkeypatch.setattr(Threshold, "fitted_on", [])
    first = grid_search.run(stack, "threshold", GRID, run_folder=tmp_path, **QUIET)
    number = len(Threshold.fitted_on)
    assert number == 4 * 3 * 3 + 4
    (tmp_path / "fold_2_candidate_1_inner_1.json").unlink()
    again = grid_search.run(stack, "threshold", GRID, run_folder=tmp_path, **QUIET)
    assert len(Threshold.fitted_on) == number + 1
    assert [s["scores"] for s in first["searches"]] == [s["scores"] for s in again["searches"]]


@pytest.mark.parametrize(
    ("grid", "score", "message"),
    [
        ({"depth": [1]}, "accuracy", "does not have"),
        ({}, "accuracy", "empty"),
        ([], "accuracy", "empty"),
        ([{"level": [1]}, {"depth": [1]}], "accuracy", "does not have"),
        ({"level": []}, "accuracy", "empty"),
        (GRID, "auc", "unknown"),
    ],
)
def test_what_cannot_be_searched_is_refused(stack, grid, score, message):
    with pytest.raises(InputError, match=message):
        grid_search.run(stack, "threshold", grid, score=score, **QUIET)

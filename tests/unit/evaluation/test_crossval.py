"""Splits that do not leak, folds that are not run twice, records that say what they are."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV

from book.studies import re_evaluation
from book.tools import tables
from graphseg import metrics
from graphseg.batch import pools
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import crossval, methods, records
from graphseg.unet import training
from graphseg.unet.segmenter import UNetSegmenter


class Threshold(BaseEstimator):
    """Calls bright pixels contamination; learns the mean brightness of the training images."""

    fits = 0

    def __init__(self, factor: float = 1.0):
        self.factor = factor

    def fit(self, images, masks):
        type(self).fits += 1
        self.level_ = float(images.mean())
        return self

    def predict(self, images):
        return images > self.factor * self.level_


@pytest.fixture
def stack():
    generator = np.random.default_rng(0)
    images = generator.random((20, 8, 8)).astype(np.float32)
    names = tuple(f"2020_010{1 + i // 8}_FS_{i // 3:03d}_layer_{i:04d}" for i in range(20))
    return LabelledStack(
        images=images,
        masks=images > 0.7,
        names=names,
        groups=np.array([name.split("_layer")[0] for name in names]),
        dates=np.array([name[:9] for name in names]),
        source="folder",
    )


@pytest.mark.parametrize(("protocol", "folds"), [("random", 5), ("acquisition", 5), ("date", 3)])
@pytest.mark.parametrize("shuffle", [0, 1])
def test_every_image_is_tested_once_and_groups_stay_together(stack, protocol, folds, shuffle):
    parts = crossval.splits(stack, protocol, folds, shuffle)
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(20))
    for train, test in parts:
        assert not set(train) & set(test) and len(train) + len(test) == 20
        if protocol != "random":
            groups = stack.groups if protocol == "acquisition" else stack.dates
            assert not set(groups[train]) & set(groups[test])


def test_shuffles_differ(stack):
    first, second = (crossval.splits(stack, "acquisition", 5, s)[0][1] for s in (0, 1))
    assert set(first) != set(second)


def test_published_groups_are_never_split(published):
    for train, test in crossval.splits(published, "acquisition"):
        assert not set(published.groups[train]) & set(published.groups[test])
        assert len(test) > 15


@pytest.mark.parametrize(("protocol", "folds"), [("week", 5), ("date", 4), ("random", 1)])
def test_impossible_splits_are_refused(stack, protocol, folds):
    with pytest.raises(InputError, match=r"unknown|between 2 and"):
        crossval.splits(stack, protocol, folds)


def test_a_record_holds_every_image_and_the_scores_follow(stack):
    record = crossval.cross_validate(Threshold(), stack, "t", shuffles=2, progress=False)
    assert len(record["results"]) == 10
    names = [name for result in record["results"][:5] for name in result["test"]]
    assert sorted(names) == sorted(stack.names)
    assert record["data"]["digest"] == stack.digest and record["parameters"] == {"factor": 1.0}
    assert {"revision", "versions", "hardware", "time"} <= set(record["made_with"])
    assert json.loads(json.dumps(record)) == record
    first = record["results"][0]
    test = [stack.names.index(name) for name in first["test"]]
    expected = metrics.counts(stack.masks[test], stack.images[test] > first["fitted"]["level_"])
    assert (expected == np.array(first["counts"])).all()
    mean, spread = records.summary(record)["jaccard"]
    each = [metrics.scores(table)["jaccard"] for _, _, table in records.fold_counts(record)]
    assert mean == pytest.approx(np.mean(each)) and spread == pytest.approx(np.std(each, ddof=1))


def test_finished_folds_are_not_run_again(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(Threshold, "fits", 0)
    arguments = dict(name="t", run_folder=tmp_path, progress=False)
    first = crossval.cross_validate(Threshold(), stack, **arguments)
    (tmp_path / "shuffle_0_fold_3.json").unlink()
    again = crossval.cross_validate(Threshold(), stack, **arguments)
    assert Threshold.fits == 6
    timeless = [
        [{k: v for k, v in r.items() if "seconds" not in k} for r in record["results"]]
        for record in (first, again)
    ]
    assert timeless[0] == timeless[1]
    with pytest.raises(InputError, match="another run"):
        crossval.cross_validate(Threshold(factor=2.0), stack, **arguments)


def test_fold_models_are_kept_with_what_they_have_not_seen(stack, tmp_path):
    network = UNetSegmenter(levels=2, features=2, epochs=1, progress=False, device="cpu")
    arguments = dict(folds=2, run_folder=tmp_path, progress=False)
    record = crossval.cross_validate(network, stack, "u", **arguments)
    assert not list(tmp_path.glob("*.checkpoint"))
    for result in record["results"]:
        path = tmp_path / f"shuffle_0_fold_{result['fold']}.safetensors"
        loaded = UNetSegmenter.load(path, device="cpu")
        assert loaded.card_["held_out"] == result["test"]
        test = [stack.names.index(name) for name in result["test"]]
        table = metrics.counts(stack.masks[test], loaded.predict(stack.images[test]))
        # Half precision may move single pixels.
        assert np.abs(table - np.array(result["counts"])).max() <= 3


def test_the_time_of_a_training_survives_an_interruption(stack, tmp_path, monkeypatch):
    """A fold that is stopped and continued counts every epoch, and the pause between them not."""
    network = UNetSegmenter(levels=2, features=2, epochs=4, progress=False, device="cpu")
    train, test = crossval.splits(stack)[0]
    arguments = (network, stack, train, test, tmp_path / "fold.checkpoint")
    write = training.write_checkpoint

    def stopped(path, network, optimiser, history, signature):
        history[-1]["dur"] = 1000.0 * len(history)  # as if it had taken so long
        write(path, network, optimiser, history, signature)
        if len(history) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "write_checkpoint", stopped)
        with pytest.raises(KeyboardInterrupt):
            crossval.evaluate_fold(*arguments)
    result = crossval.evaluate_fold(*arguments)
    times = [row["dur"] for row in result["history"]]
    assert times[:3] == [1000, 2000, 3000] and 0 < times[3] < 1000
    assert result["fit_seconds"] == pytest.approx(sum(times), abs=0.001)
    assert tables.training_minutes(result) == pytest.approx(sum(times) / 60)


def test_an_undisturbed_training_takes_at_least_the_time_of_its_epochs(stack):
    network = UNetSegmenter(levels=2, features=2, epochs=2, progress=False, device="cpu")
    result = crossval.evaluate_fold(network, stack, *crossval.splits(stack)[0])
    assert result["fit_seconds"] >= sum(row["dur"] for row in result["history"]) - 0.001 > 0


def test_more_shuffles_continue_a_finished_run(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(Threshold, "fits", 0)
    for shuffles in (1, 2):
        crossval.cross_validate(
            Threshold(), stack, "t", shuffles=shuffles, run_folder=tmp_path, progress=False
        )
    assert Threshold.fits == 10


def test_workers_give_the_same_numbers(stack):
    one, two = (
        crossval.cross_validate(Threshold(), stack, "t", n_jobs=n, progress=False) for n in (1, 2)
    )
    assert [r["counts"] for r in one["results"]] == [r["counts"] for r in two["results"]]


def test_scikit_learn_grid_search_takes_the_scorer(stack):
    search = GridSearchCV(
        Threshold(),
        {"factor": [0.5, 1.4, 2.0]},
        scoring=crossval.pixel_scorer("accuracy"),
        cv=crossval.splits(stack),
    )
    assert search.fit(stack.images, stack.masks).best_params_ == {"factor": 1.4}
    with pytest.raises(InputError, match="unknown"):
        crossval.pixel_scorer("auc")


def test_dask_workers_give_the_same_numbers(stack):
    from distributed import LocalCluster

    baseline = methods.make("no-lattice", smoothing=1.0, progress=False)
    arguments = dict(folds=4, shuffles=2, progress=False)
    here = crossval.cross_validate(baseline, stack, "c", **arguments)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        pools.workers(cluster.scheduler_address),
    ):
        there = crossval.cross_validate(baseline, stack, "c", n_jobs=-1, **arguments)
    for one, other in zip(here["results"], there["results"], strict=True):
        assert {k: v for k, v in one.items() if "seconds" not in k} == {
            k: v for k, v in other.items() if "seconds" not in k
        }


def test_a_scheduler_that_does_not_answer_is_one_sentence():
    with (
        pytest.raises(InputError, match="No Dask scheduler answers"),
        pools.workers("tcp://127.0.0.1:9"),
    ):
        pass


def test_some_folds_only_say_so(stack):
    record = crossval.cross_validate(Threshold(), stack, "t", only=[1, 3], progress=False)
    assert [result["fold"] for result in record["results"]] == [1, 3] and record["only"] == [1, 3]
    with pytest.raises(InputError, match="not all among"):
        crossval.cross_validate(Threshold(), stack, "t", only=[5], progress=False)


def test_kept_networks_are_scored_again_in_another_way(stack, tmp_path):
    network = UNetSegmenter(levels=2, features=2, epochs=1, progress=False, device="cpu")
    record = crossval.cross_validate(
        network, stack, "u", folds=2, run_folder=tmp_path, progress=False
    )
    path = tmp_path / "u.json"
    records.write_record(path, record)
    everything = re_evaluation.run(stack, path, tmp_path, {"threshold": 0.0})
    for result in everything["results"]:
        counts = np.array(result["counts"])
        assert (counts[:, 2:] == 0).all() and counts[:, :2].sum() == 64 * len(counts)
    assert everything["re_evaluated"] == {"threshold": 0.0}
    with pytest.raises(InputError, match="other images"):
        re_evaluation.run(stack.subset([0, 1]), path, tmp_path)


def test_further_images_are_trained_on_and_never_tested(stack):
    extra = replace(stack.subset(np.arange(3)), images=np.full((3, 8, 8), 9, np.float32))
    record = crossval.cross_validate(Threshold(), stack, "threshold", progress=False, extra=extra)
    assert record["extra"] == {"images": 3, "digest": extra.digest}
    assert sorted(n for r in record["results"] for n in r["test"]) == sorted(stack.names)
    train, _ = crossval.splits(stack)[0]
    level = np.concatenate([stack.images[train], extra.images]).mean()
    assert record["results"][0]["fitted"]["level_"] == pytest.approx(level, rel=1e-6)


def test_further_images_of_another_size_are_refused(stack):
    extra = replace(stack, images=stack.images[:, :4], masks=stack.masks[:, :4])
    with pytest.raises(InputError, match="images of one size"):
        crossval.cross_validate(Threshold(), stack, "t", progress=False, extra=extra)

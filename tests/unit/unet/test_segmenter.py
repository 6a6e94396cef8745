"""The U-Net estimator: learning, resuming, saving, any size, and refusing bad input."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from graphseg import metrics
from graphseg.errors import InputError
from graphseg.unet import training
from graphseg.unet.network import choose_precision
from graphseg.unet.segmenter import UNetSegmenter

SMALL = dict(levels=3, features=4, progress=False, precision="float32", device="cpu")


def easy_stack(number=6, size=32, seed=0):
    """Return bright, rough squares on smooth ground: what a network must learn in seconds."""
    generator = np.random.default_rng(seed)
    masks = np.zeros((number, size, size), bool)
    for mask in masks:
        row, column = generator.integers(2, size // 2, 2)
        mask[row : row + size // 3, column : column + size // 3] = True
    noise = generator.normal(size=masks.shape)
    return (0.1 * noise + masks * (1 + noise)).astype(np.float32), masks


@pytest.fixture(scope="module")
def stack():
    return easy_stack()


@pytest.fixture(scope="module")
def trained(stack):
    return UNetSegmenter(epochs=40, learning_rate=1e-2, **SMALL).fit(*stack)


def same_weights(first, second):
    pairs = zip(
        first.module_.state_dict().values(), second.module_.state_dict().values(), strict=True
    )
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_and_generalises(trained):
    images, masks = easy_stack(seed=1)
    values = metrics.scores(metrics.counts(masks, trained.predict(images)))
    assert values["jaccard"] > 0.8
    assert trained.history_[-1]["train_loss"] < 0.5 * trained.history_[0]["train_loss"]
    assert trained.score(images, masks) == values["accuracy"]


def test_probabilities_have_the_promised_type_and_range(trained, stack):
    probability = trained.predict_proba(stack[0])
    assert probability.dtype == np.float32 and probability.shape == stack[0].shape
    assert probability.min() >= 0 and probability.max() <= 1
    assert (trained.predict(stack[0]) == (probability >= 0.5)).all()


@pytest.mark.parametrize("shape", [(1, 1), (9, 50), (37, 33)])
def test_any_size_is_predicted(trained, shape):
    image = np.random.default_rng(0).normal(size=(1, *shape))
    assert trained.predict(image).shape == (1, *shape)


def test_tiles_agree_with_the_whole(trained):
    image = easy_stack(1, size=160, seed=5)[0]
    tiled = clone(trained).set_params(tile=96, overlap=48)
    tiled.module_ = trained.module_
    agreement = tiled.predict(image) == trained.predict(image)
    assert agreement.mean() >= 0.999


@pytest.mark.parametrize("schedule", ["one-cycle", "constant"])
@pytest.mark.parametrize("killed_after", [1, 3])
def test_a_killed_training_continues_to_the_same_weights(
    stack, tmp_path, monkeypatch, schedule, killed_after
):
    recipe = dict(epochs=4, schedule=schedule, **SMALL)
    undisturbed = UNetSegmenter(**recipe).fit(*stack)
    write = training.write_checkpoint

    def killed(path, network, optimiser, history, signature):
        write(path, network, optimiser, history, signature)
        if len(history) == killed_after:
            raise RuntimeError("killed")

    resumed = UNetSegmenter(checkpoint=tmp_path / "run.safetensors", **recipe)
    with monkeypatch.context() as patch:
        patch.setattr(training, "write_checkpoint", killed)
        with pytest.raises(RuntimeError, match="killed"):
            resumed.fit(*stack)
    resumed.fit(*stack)
    assert same_weights(undisturbed, resumed)
    losses = [[row["train_loss"] for row in s.history_] for s in (undisturbed, resumed)]
    assert losses[0] == losses[1]
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_checkpoint_of_another_training_is_refused(stack, tmp_path):
    path = tmp_path / "run.safetensors"
    UNetSegmenter(epochs=1, checkpoint=path, **SMALL).fit(*stack)
    with pytest.raises(InputError, match="other data or parameters"):
        UNetSegmenter(epochs=2, checkpoint=path, **SMALL).fit(*stack)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        UNetSegmenter(epochs=1, checkpoint=path, **SMALL).fit(*stack)


def test_the_seed_decides_and_the_global_generator_is_untouched(stack):
    state = torch.get_rng_state()
    first, again, other = (
        UNetSegmenter(epochs=1, seed=seed, **SMALL).fit(*stack) for seed in (1, 1, 2)
    )
    assert same_weights(first, again) and not same_weights(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_saved_weights_may_be_read_by_whom_the_umask_lets(trained, tmp_path):
    (tmp_path / "other").write_text("", encoding="utf-8")
    trained.save(tmp_path / "weights.safetensors")
    modes = [(tmp_path / name).stat().st_mode for name in ("other", "weights.safetensors")]
    assert modes[0] == modes[1]


def test_saved_weights_come_back(trained, stack, tmp_path):
    probability = trained.predict_proba(stack[0])
    for half, tolerance in ((False, 0), (True, 5e-3)):
        trained.save(tmp_path / "w.safetensors", half=half, card={"note": "test"})
        loaded = UNetSegmenter.load(tmp_path / "w.safetensors")
        np.testing.assert_allclose(loaded.predict_proba(stack[0]), probability, atol=tolerance)
        assert loaded.card_["note"] == "test" and loaded.card_["images"] == len(stack[0])
    assert loaded.get_params()["features"] == 4


def test_bad_weight_files_are_refused(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="no weight file"):
        UNetSegmenter.load(path)
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="no readable weight file"):
        UNetSegmenter.load(path)
    trained.save(path)
    path.write_bytes(path.read_bytes().replace(b"UNetSegmenter", b"Segmenter____"))
    with pytest.raises(InputError, match="no graphseg U-Net"):
        UNetSegmenter.load(path)


def test_held_out_scores_are_recorded_and_change_nothing(stack):
    plain = UNetSegmenter(epochs=2, **SMALL).fit(*stack)
    watched = UNetSegmenter(epochs=2, **SMALL).fit(*stack, held_out=easy_stack(2, seed=9))
    assert same_weights(plain, watched)
    assert all(0 <= row["jaccard"] <= 1 for row in watched.history_)
    assert "jaccard" not in plain.history_[0]


def test_sizes_that_are_no_multiple_train(stack):
    images, masks = stack[0][:, :29, :27], stack[1][:, :29, :27]
    assert UNetSegmenter(epochs=1, **SMALL).fit(images, masks).predict(images).shape == masks.shape


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precisions_agree(trained, stack, precision):
    other = clone(trained).set_params(precision=precision)
    other.module_ = trained.module_
    assert (other.predict(stack[0]) == trained.predict(stack[0])).mean() > 0.99
    assert other.precision_ == precision


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_environment_says_what_auto_is(name, monkeypatch):
    monkeypatch.setenv("GRAPHSEG_PRECISION", name)
    assert choose_precision("auto", "cpu") == getattr(torch, name)
    assert choose_precision("float32", "cpu") == torch.float32
    monkeypatch.setenv("GRAPHSEG_PRECISION", "float8")
    with pytest.raises(InputError, match="'float8' is unknown"):
        choose_precision("auto", "cpu")


def test_published_recipes():
    paper, original = UNetSegmenter.paper(), UNetSegmenter.original(epochs=3)
    assert (paper.features, paper.levels, paper.epochs, paper.batch_size) == (32, 4, 300, 1)
    assert (original.features, original.levels, original.epochs) == (64, 5, 3)
    assert paper.augmentation == "none" and paper.normalisation == "none"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(precision="float8"), "precision"),
        (dict(schedule="cosine"), "schedule"),
        (dict(optimiser="lion"), "optimiser"),
        (dict(device="cuda"), "device"),
    ],
)
def test_unknown_parameters_are_refused(stack, changes, message):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so asking for it is no error")
    with pytest.raises(InputError, match=message):
        UNetSegmenter(**(SMALL | changes)).fit(*stack)


def test_bad_images_are_refused(trained, stack):
    images, masks = stack
    with pytest.raises(NotFittedError):
        UNetSegmenter().predict(images)
    with pytest.raises(InputError, match=r"expected shape \(n, H, W\)"):
        trained.predict(images[0])
    with pytest.raises(InputError, match="not finite"):
        trained.predict(np.full_like(images, np.nan))
    with pytest.raises(InputError, match="do not match images"):
        UNetSegmenter(**SMALL).fit(images, masks[1:])


def test_initial_weights_are_where_the_training_starts(trained, stack, tmp_path):
    path = tmp_path / "start.safetensors"
    trained.save(path)
    recipe = SMALL | {"epochs": 1, "learning_rate": 1e-6}
    continued = UNetSegmenter(initial=path, **recipe).fit(*stack)
    afresh = UNetSegmenter(**recipe).fit(*stack)
    assert continued.history_[0]["train_loss"] < 0.7 * afresh.history_[0]["train_loss"]
    # A weight file says which weights it began with, and not where they lay.
    assert str(tmp_path) not in str(continued.portable_parameters())
    assert continued.portable_parameters()["initial"].startswith("sha256:")


def test_initial_weights_of_another_network_are_refused(trained, stack, tmp_path):
    path = tmp_path / "start.safetensors"
    trained.save(path)
    with pytest.raises(InputError, match="another network"):
        UNetSegmenter(initial=path, **(SMALL | {"features": 5})).fit(*stack)
    with pytest.raises(InputError, match="no weight file"):
        UNetSegmenter(initial=tmp_path / "absent.safetensors", **SMALL).fit(*stack)


def test_a_training_at_a_constant_rate_can_be_made_longer(stack, tmp_path):
    path = tmp_path / "training.checkpoint"
    recipe = SMALL | {"schedule": "constant"}
    UNetSegmenter(epochs=2, checkpoint=path, **recipe).fit(*stack)
    longer = UNetSegmenter(epochs=4, checkpoint=path, **recipe).fit(*stack)
    assert same_weights(longer, UNetSegmenter(epochs=4, **recipe).fit(*stack))
    with pytest.raises(InputError, match="beyond"):
        UNetSegmenter(epochs=3, checkpoint=path, **recipe).fit(*stack)


def test_a_cycle_cannot_be_made_longer(stack, tmp_path):
    path = tmp_path / "training.checkpoint"
    UNetSegmenter(epochs=2, checkpoint=path, **SMALL).fit(*stack)
    with pytest.raises(InputError, match="other data or parameters"):
        UNetSegmenter(epochs=4, checkpoint=path, **SMALL).fit(*stack)


def three_classes():
    """Return images whose dark and bright squares are classes of their own."""
    images, masks = easy_stack(8)
    labels = np.where(masks, 2, 0).astype(np.uint8)
    labels[:, 22:30, 22:30] = 1
    images[:, 22:30, 22:30] -= 3
    return images, labels


def test_three_classes_are_learnt_saved_and_continued(tmp_path):
    images, labels = three_classes()
    several = UNetSegmenter(
        epochs=40, learning_rate=1e-2, classes=3, contamination=(2,), **(SMALL | {"features": 8})
    ).fit(images, labels)
    probability, found = several.predict_proba(images), several.predict(images)
    assert probability.shape == (8, 3, 32, 32) and found.dtype == np.uint8
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    assert (found == labels).mean() > 0.97
    assert several.score(images, labels) > 0.97
    several.save(tmp_path / "w.safetensors")
    loaded = UNetSegmenter.load(tmp_path / "w.safetensors")
    assert loaded.classes == 3 and tuple(loaded.contamination) == (2,)
    np.testing.assert_array_equal(loaded.predict(images), found)
    large = np.tile(images[0], (5, 1))
    tiled = clone(loaded).set_params(tile=96, overlap=48)
    tiled.module_ = loaded.module_
    assert (tiled.predict(large[None]) == loaded.predict(large[None])).mean() > 0.999


@pytest.mark.parametrize("stride", [1, 2])
def test_more_classes_start_with_what_two_have_learnt(stack, tmp_path, stride):
    path = tmp_path / "two.safetensors"
    small = SMALL | {"stride": stride, "augmentation": "none"}
    two = UNetSegmenter(epochs=3, learning_rate=1e-2, **small).fit(*stack)
    two.save(path)
    labels = stack[1].astype(np.uint8)
    labels[:, :4] += 2  # each class is divided
    start = dict(epochs=1, learning_rate=1e-12, weight_decay=0.0, initial=path, **small)
    four = UNetSegmenter(classes=4, contamination=(1, 3), **start).fit(stack[0], labels)
    four.module_.load_state_dict(batch_statistics(two) | weights_of(four))
    probability = four.predict_proba(stack[0])
    expected = two.predict_proba(stack[0])
    np.testing.assert_allclose(probability[:, [1, 3]].sum(1), expected, atol=1e-5)
    np.testing.assert_allclose(probability[:, 1], probability[:, 3], atol=1e-5)


def batch_statistics(segmenter):
    state = segmenter.module_.state_dict()
    return {key: value for key, value in state.items() if "running" in key or "num_" in key}


def weights_of(segmenter):
    state = segmenter.module_.state_dict()
    return {key: value for key, value in state.items() if key not in batch_statistics(segmenter)}


def test_two_classes_leave_no_trace_in_what_identifies_a_training():
    assert not {"classes", "contamination"} & set(UNetSegmenter().portable_parameters())
    several = UNetSegmenter(classes=3, contamination=(1, 2)).portable_parameters()
    assert several["classes"] == 3 and several["contamination"] == (1, 2)


@pytest.mark.parametrize(
    ("changes", "value", "message"),
    [
        (dict(contamination=(0, 1, 2)), 0, "some but not all"),
        (dict(contamination=()), 0, "some but not all"),
        (dict(contamination=(3,)), 0, "some but not all"),
        (dict(contamination=(1,)), 5, "other values than the numbers 0 to 2"),
    ],
)
def test_classes_that_do_not_fit_are_refused(stack, changes, value, message):
    labels = np.full(stack[0].shape, value)
    with pytest.raises(InputError, match=message):
        UNetSegmenter(classes=3, **changes, **SMALL).fit(stack[0], labels)
    with pytest.raises(InputError, match="do not match"):
        UNetSegmenter(classes=3, **SMALL).fit(stack[0], labels[:1])

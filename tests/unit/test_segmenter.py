"""The U-Net estimator: learning, resuming, saving, any size, and refusing bad input."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from graphseg import metrics, training
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter

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
    write = training.EpochCheckpoint.on_epoch_end

    def killed(self, net, **kwargs):
        write(self, net, **kwargs)
        if len(net.history) == killed_after:
            raise RuntimeError("killed")

    resumed = UNetSegmenter(checkpoint=tmp_path / "run.safetensors", **recipe)
    with monkeypatch.context() as patch:
        patch.setattr(training.EpochCheckpoint, "on_epoch_end", killed)
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


def test_augmentation_is_a_symmetry_of_image_and_label():
    generator = np.random.default_rng(0)
    image = torch.from_numpy(generator.random((40, 1, 6, 6)).astype(np.float32))
    label = (image[:, 0] * 1e6).long()
    turned, labels = training.augment(image, label, generator)
    gain = turned[:, 0].sum((1, 2)) / image[:, 0].sum((1, 2))
    assert ((gain > 0.89) & (gain < 1.11)).all()
    torch.testing.assert_close(
        (turned[:, 0] / gain[:, None, None] * 1e6), labels.float(), rtol=1e-4, atol=5
    )
    assert len({tuple(m.flatten().tolist()) for m in labels}) == 40
    assert any(not torch.equal(a, b) for a, b in zip(label, labels, strict=True))


def test_published_recipes():
    paper, original = UNetSegmenter.paper(), UNetSegmenter.original(epochs=3)
    assert (paper.features, paper.levels, paper.epochs, paper.batch_size) == (32, 4, 300, 1)
    assert (original.features, original.levels, original.epochs) == (64, 5, 3)
    assert not paper.augmentation and paper.normalisation == "none"


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
    with pytest.raises(InputError, match="no stack"):
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

"""What holds for every image: shapes, types, and what must not change the answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from book.tools.dm4 import write_dm4
from graphseg import metrics
from graphseg.classical.adaptive import AdaptiveBraggSegmenter
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets import load
from graphseg.io.micrographs import read_micrograph
from graphseg.preprocessing import standardise
from graphseg.unet import pretrained
from graphseg.unet.inference import SYMMETRIES, margin, probabilities
from graphseg.unet.segmenter import UNetSegmenter

few = settings(deadline=None, max_examples=12)
SIDES = st.integers(32, 75)


@pytest.fixture(scope="module")
def sample():
    """Two simulated micrographs with contamination."""
    stack = load.load_simulated_sample()
    order = np.argsort(-stack.masks.mean(axis=(1, 2)))
    return stack.subset(order[:2])


@pytest.fixture(scope="module")
def methods(sample):
    """Every method, fitted; the networks predict in float32, so that rounding is small."""
    images, masks = sample.images, sample.masks
    network = dict(device="cpu", precision="float32")
    return {
        "bragg": BraggSegmenter(steps=0, progress=False).fit(images, masks),
        "adaptive": AdaptiveBraggSegmenter(rounds=0, progress=False).fit(images, masks),
        "unet": pretrained.load("default", test_time_augmentation=False, **network),
        "averaged": pretrained.load("default", test_time_augmentation=True, **network),
    }


NAMES = ("bragg", "adaptive", "unet", "averaged")


@pytest.mark.parametrize("name", NAMES[:3])
@few
@given(
    height=SIDES,
    width=SIDES,
    dtype=st.sampled_from(["u1", "u2", "i4", "f2", "f4", ">f8", bool]),
    seed=st.integers(0, 99),
)
def test_any_size_and_type_gives_a_mask_of_its_size(methods, name, height, width, dtype, seed):
    noise = np.random.default_rng(seed).integers(0, 2 if dtype is bool else 200, (1, height, width))
    images = noise.astype(dtype)
    before = images.copy()
    probability, mask = methods[name].predict_proba(images), methods[name].predict(images)
    assert probability.shape == mask.shape == images.shape
    assert probability.dtype == np.float32 and mask.dtype == bool
    assert probability.min() >= 0 and probability.max() <= 1
    assert (images == before).all()
    assert (mask == (probability >= 0.5)).all()


@pytest.mark.parametrize("name", NAMES)
@few
@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100))
def test_brightness_and_contrast_do_not_count(methods, sample, name, scale, offset):
    image = sample.images[:1, :96, :96].astype(np.float64)
    expected = methods[name].predict(image)
    found = methods[name].predict(scale * (image + offset))
    assert (found == expected).mean() > 0.999  # rounding to float32 at the threshold


@pytest.mark.parametrize("name", ["bragg", "averaged"])
def test_a_turned_or_mirrored_image_gives_the_turned_or_mirrored_mask(methods, sample, name):
    """The averaged network is claimed to; one pass is not."""
    image = sample.images[:1, :128, :128]
    expected = methods[name].predict_proba(image)
    assert len(SYMMETRIES) == 8
    for quarters, mirrored in SYMMETRIES:
        turned = np.rot90(image[..., ::-1] if mirrored else image, quarters, (-2, -1))
        found = np.rot90(methods[name].predict_proba(turned), -quarters, (-2, -1))
        found = found[..., ::-1] if mirrored else found
        if name == "averaged":
            np.testing.assert_allclose(found, expected, atol=1e-4)
        else:
            assert ((found >= 0.5) == (expected >= 0.5)).mean() > 0.999


@pytest.mark.parametrize("name", ["bragg", "adaptive"])
def test_inverted_contrast_gives_the_same_mask(methods, sample, name):
    """As their descriptions say; a network has seen both contrasts but is claimed no such thing."""
    expected = methods[name].predict(sample.images)
    found = methods[name].predict(1 - sample.images)
    assert (found == expected).mean() > 0.9999


@few
@given(rows=st.integers(0, 31), columns=st.integers(0, 31))
def test_padding_to_what_a_network_needs_leaves_no_trace(methods, sample, rows, columns):
    """Farther from the cut than the network sees, a part agrees with the whole."""
    network = methods["unet"].module_
    image = standardise(sample.images[0])
    cut = image[: 256 - rows, : 256 - columns]
    whole, part = (probabilities(network, one, torch.float32, False) for one in (image, cut))
    inner = tuple(slice(0, side - margin(network)) for side in cut.shape)
    assert part.shape == cut.shape and part[inner].size > 1000
    np.testing.assert_allclose(part[inner], whole[inner], atol=1e-4)


def test_tiles_agree_with_the_whole(sample):
    image = np.tile(sample.images[:1], (1, 2, 2))[:, :391, :500]
    whole, tiled = (
        pretrained.load(
            "default", device="cpu", precision="float32", test_time_augmentation=False, tile=tile
        )
        for tile in (1024, 320)
    )
    np.testing.assert_allclose(tiled.predict_proba(image), whole.predict_proba(image), atol=1e-4)


@few
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=64),
    st.integers(0, 2**32 - 1),
)
def test_scores_are_those_of_counting_and_do_not_depend_on_order(pixels, seed):
    true, found = (np.array(column)[None, None] for column in zip(*pixels, strict=True))
    scores = metrics.scores(metrics.counts(true, found))
    order = np.random.default_rng(seed).permutation(true.shape[-1])
    assert metrics.scores(metrics.counts(true[..., order], found[..., order])) == scores
    both, either = (true & found).sum(), (true | found).sum()
    assert scores["jaccard"] == pytest.approx(both / either if either else 1.0)
    assert all(0 <= value <= 1 for value in scores.values())


@few
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
    size=st.floats(0.01, 100),
)
def test_micrographs_come_back_as_they_were_written(tmp_path_factory, shape, dtype, size):
    image = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    path = tmp_path_factory.mktemp("dm4") / "a.dm4"
    write_dm4(path, image, size)
    back = read_micrograph(path)
    assert back.image.dtype == image.dtype and back.pixel_size == pytest.approx(size, rel=1e-5)
    np.testing.assert_array_equal(back.image, image)


def test_training_does_not_depend_on_what_was_drawn_before():
    images = np.random.default_rng(0).normal(size=(2, 16, 16))
    recipe = dict(levels=2, features=2, epochs=1, progress=False, device="cpu")
    first = UNetSegmenter(**recipe).fit(images, images > 1).predict_proba(images)
    np.random.default_rng(5).random(3)
    second = UNetSegmenter(**recipe).fit(images, images > 1).predict_proba(images)
    np.testing.assert_array_equal(first, second)

"""Pixel sizes from file and lattice, resizing there and back, and what is flagged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphseg.errors import InputError
from graphseg.simulation import crystal
from graphseg.unet import inference


def lattice_image(pixel_size, shape=(300, 260), noise=0.2, seed=0):
    """Return the image of clean graphene, bright atoms of 0.4 Å on dark ground."""
    generator = np.random.default_rng(seed)
    extent = max(shape) * pixel_size
    atoms = crystal(extent, 0.3, np.zeros(2)).positions / pixel_size
    rows, columns = (np.arange(n)[:, None] for n in shape)
    width = 0.4 / pixel_size
    down = np.exp(-(((rows - atoms[:, 0]) / width) ** 2) / 2)
    across = np.exp(-(((columns - atoms[:, 1]) / width) ** 2) / 2)
    return (down @ across.T + noise * generator.normal(size=shape)).astype(np.float32)


class Recorder:
    """Stands for a network: remembers what it is given, calls pixels above 2 contamination."""

    def __init__(self, **card):
        self.card_ = card

    def predict_proba(self, images):
        self.shape = images.shape
        return (images > 2).astype(np.float32)


@pytest.mark.parametrize("pixel_size", [0.1, 0.2, 0.34, 0.5])
def test_the_lattice_tells_the_pixel_size(pixel_size):
    found = inference.find_scale(lattice_image(pixel_size, (400, 360)))
    assert found.source == "lattice"
    assert found.pixel_size == pytest.approx(pixel_size, rel=0.02)
    assert not found.warning


def test_the_lattice_of_a_large_image_is_found_wherever_it_is():
    image = np.random.default_rng(0).normal(size=(700, 900)).astype(np.float32)
    image[450:, 550:] += 3 * lattice_image(0.34, (250, 350))
    assert inference.measure_pixel_size(image, field=256) == pytest.approx(0.34, rel=0.02)


def test_without_lattice_and_pixel_size_the_image_is_taken_as_it_is_and_flagged():
    image = np.random.default_rng(0).normal(size=(128, 100))
    for small in (image, image[:20, :30]):
        found = inference.find_scale(small)
        assert (found.pixel_size, found.source, found.factor) == (None, "none", 1.0)
        assert found.warning and "state its pixel size" in found.warning


@given(st.floats(0.01, 5.0), st.floats(0.1, 0.5), st.floats(1.0, 3.0))
def test_images_come_into_the_known_range_or_are_flagged(pixel_size, low, ratio):
    known = (low, low * ratio)
    found = inference.find_scale(np.broadcast_to(0.0, (2048, 4096)), pixel_size, known)
    assert found.source == "file" and found.pixel_size == pixel_size
    size = pixel_size / found.factor
    assert found.factor <= 1
    if not found.warning:
        assert known[0] * 0.94 <= size <= known[1] * 1.06
        assert 2048 * found.factor >= 64
    if known[0] <= pixel_size <= known[1]:
        assert found.factor == 1 and not found.warning


@pytest.mark.parametrize(
    ("pixel_size", "part"), [(0.9, "coarser than the 0.30 to 0.74 Å"), (0.01, "field is too small")]
)
def test_warnings_are_one_sentence(pixel_size, part):
    warning = inference.find_scale(np.eye(128), pixel_size).warning
    assert part in warning and warning.endswith(".") and warning.count(". ") == 0


def test_bad_input_is_refused():
    for size in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="impossible"):
            inference.find_scale(np.eye(64), size)
    with pytest.raises(InputError, match="single image"):
        inference.find_scale(np.zeros((2, 64, 64)), 0.3)
    with pytest.raises(InputError, match="same value everywhere"):
        inference.predict_proba(Recorder(), np.ones((64, 64)), 0.4)
    with pytest.raises(InputError, match="not finite"):
        inference.predict_proba(Recorder(), np.full((64, 64), np.nan))


@given(st.floats(0.02, 1.2))
def test_a_network_with_a_working_pixel_size_gets_every_image_at_that(pixel_size):
    found = inference.find_scale(np.broadcast_to(0.0, (4096, 4096)), pixel_size, (0.05, 0.9), 0.45)
    assert pixel_size / found.factor == pytest.approx(0.45, rel=0.051) or found.warning
    assert bool(found.warning) == (pixel_size > 0.9 * 1.05)
    assert found.factor <= 0.9 / 0.45  # what is too coarse is not enlarged without bounds


def test_the_working_pixel_size_is_that_of_the_card():
    network, image = Recorder(), lattice_image(0.2, (256, 256))
    network.card_ = {"pixel_sizes": [0.05, 0.9], "working_pixel_size": 0.4}
    probability, scale = inference.predict_proba(network, image, 0.2)
    assert network.shape == (1, 128, 128) and probability.shape == image.shape
    assert scale.factor == 0.5
    assert inference.working_pixel_size({}) is None


def test_the_range_is_that_of_the_card():
    assert inference.known_pixel_sizes({}) == inference.KNOWN
    assert inference.known_pixel_sizes({"pixel_sizes": [0.2, 0.6]}) == (0.2, 0.6)


def test_resizing_moves_nothing():
    rows, columns = np.mgrid[:90, :120] + 0.5
    image = np.sin(rows / 9) + np.cos(columns / 11)
    small = inference.resize(image, (45, 40))
    expected = np.sin((np.arange(45) + 0.5) * 2 / 9)[:, None] + np.cos(
        (np.arange(40) + 0.5) * 3 / 11
    )
    np.testing.assert_allclose(small[3:-3, 3:-3], expected[3:-3, 3:-3], atol=0.02)
    small.flags.writeable = False  # as a file that joblib has mapped; PyTorch would warn of it
    again = inference.resize(small, (90, 120), "bilinear")
    np.testing.assert_allclose(again[6:-6, 6:-6], image[6:-6, 6:-6], atol=0.03)
    assert small.dtype == again.dtype == np.float32


@pytest.mark.parametrize("pixel_size", [None, 0.12])
def test_the_result_lies_on_the_grid_of_the_image(pixel_size):
    image = lattice_image(0.12, (301, 420), noise=0.05)
    image[100:180, 200:330] += 5
    network = Recorder(pixel_sizes=[0.3, 0.5])
    probability, found = inference.predict_proba(network, image, pixel_size)
    factor = 0.12 / 0.15**0.5
    assert network.shape[1:] == pytest.approx([301 * factor, 420 * factor], abs=5)
    assert probability.shape == image.shape and probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    truth = np.zeros(image.shape, bool)
    truth[100:180, 200:330] = True
    assert ((probability >= 0.5) == truth).mean() > 0.99
    assert not found.warning


def test_within_the_range_nothing_is_touched():
    image = lattice_image(0.4, (64, 80))
    network = Recorder()
    probability, found = inference.predict_proba(network, image, 0.4)
    assert found.factor == 1 and network.shape == (1, 64, 80)
    np.testing.assert_array_equal(probability, network.predict_proba(image[None])[0])


def test_most_published_images_tell_their_pixel_size(published):
    chosen = published.images[::26]
    sizes = [inference.measure_pixel_size(image) for image in chosen]
    assert None not in sizes
    assert min(sizes) > 0.29 and max(sizes) < 0.75

"""Padding, tiles and symmetries, against what must come out exactly."""

import itertools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphseg.errors import InputError
from graphseg.preprocessing import standardise
from graphseg.unet import inference
from graphseg.unet.network import UNet


@given(st.integers(1, 300), st.integers(2, 64), st.sampled_from([1, 2, 8]), st.data())
def test_tiles_cover_every_pixel_with_the_overlap(length, tile, multiple, data):
    tile *= multiple
    overlap = data.draw(st.integers(0, tile - multiple))
    tiles = inference.tile_slices(length, tile, overlap, multiple)
    assert tiles[0].start == 0 and 0 <= tiles[-1].stop - length < multiple
    assert len({part.stop - part.start for part in tiles}) == 1
    assert all(part.stop - part.start <= tile and part.start % multiple == 0 for part in tiles)
    assert all(a.stop - b.start >= overlap for a, b in itertools.pairwise(tiles))


def test_the_work_grows_with_the_length_and_not_in_steps():
    lengths = range(1024, 8193, 8)
    parts = [inference.tile_slices(length, 1024, 128, 8) for length in lengths]
    work = [
        sum(part.stop - part.start for part in tiles) / n
        for n, tiles in zip(lengths, parts, strict=True)
    ]
    assert max(work) < 1.16  # (1024 / 896), and a coarse pixel a tile


@given(st.integers(64, 400), st.integers(32, 64), st.data())
def test_weights_add_up_to_one_and_leave_the_inner_edges_out(length, tile, data):
    blank = data.draw(st.integers(0, tile // 4))
    overlap = data.draw(st.integers(2 * blank, tile // 2))
    slices = inference.tile_slices(length, tile, overlap)
    weights = inference.tile_weights(slices, blank)
    total = np.zeros(length)
    for number, (part, weight) in enumerate(zip(slices, weights, strict=True)):
        total[part] += weight
        assert weight.min() >= 0 and len(weight) == part.stop - part.start
        assert not number or not weight[:blank].any()
        assert number == len(slices) - 1 or not weight[len(weight) - blank :].any()
    np.testing.assert_allclose(total, 1)


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(InputError, match="larger"):
        inference.tile_slices(100, 16, 16)


@pytest.mark.parametrize("shape", [(1, 1), (7, 8), (16, 17), (3, 40)])
def test_padding_mirrors_and_reaches_the_multiple(shape):
    image = np.random.default_rng(0).random(shape)
    padded = inference.pad_to_multiple(image, 8)
    assert all(size % 8 == 0 for size in padded.shape)
    assert (padded[: shape[0], : shape[1]] == image).all()


def test_blending_tiles_of_a_local_function_changes_nothing():
    image = np.random.default_rng(1).random((90, 131)).astype(np.float32)
    result = inference.blend_tiles(image, lambda tile: tile**2, tile=32, overlap=8)
    np.testing.assert_allclose(result, image**2, rtol=1e-5)


def test_tiles_of_an_odd_image_may_have_several_results():
    image = np.random.default_rng(1).random((61, 131)).astype(np.float32)

    def predict(tile):
        return np.stack([tile, 1 - tile])

    result = inference.blend_tiles(image, predict, 40, 12, blank=4, multiple=8)
    np.testing.assert_allclose(result, [image, 1 - image], rtol=1e-5, atol=1e-6)


def test_the_result_is_added_to_the_given_array():
    image = np.ones((70, 70), np.float32)
    out = np.zeros_like(image)
    assert inference.blend_tiles(image, np.copy, 32, 8, out=out) is out
    np.testing.assert_allclose(out, 1, rtol=1e-6)


NETWORKS = [dict(levels=2), dict(levels=3), dict(levels=4), dict(levels=3, stride=2)]


def network_of(seed=0, **shape):
    torch.manual_seed(seed)
    return UNet(features=2, **shape).eval()


@pytest.mark.parametrize("shape", NETWORKS)
def test_no_pixel_sees_farther_than_the_margin(shape):
    network = network_of(**shape)
    with torch.no_grad():
        for parameter in network.parameters():  # positive, so that no path is cut or cancelled
            parameter.abs_()
    margin, coarse = inference.margin(network), network.multiple
    side = 2 * (margin // coarse + 1) * coarse
    image = torch.rand(1, 1, side, side, requires_grad=True)
    logits = network(image)
    for row in (side // 2, side // 2 + coarse - 1):
        (gradient,) = torch.autograd.grad(logits[0, 1, row, row], image, retain_graph=True)
        reach = (torch.nonzero(gradient[0, 0]) - row).abs().max()
        assert margin - 2 * coarse <= reach <= margin


@pytest.mark.parametrize(
    ("shape", "test_time_augmentation"),
    [(dict(levels=3), False), (dict(levels=2), True), (dict(levels=2, stride=2), False)],
)
def test_tiles_give_what_the_whole_image_gives(shape, test_time_augmentation):
    network = network_of(**shape)
    image = np.random.default_rng(3).normal(size=(101, 70)).astype(np.float32)

    def run(values):
        return inference.probabilities(network, values, torch.float32, test_time_augmentation)

    margin, multiple = inference.margin(network), network.multiple
    tiled = inference.blend_tiles(image, run, 64, 16, margin, multiple)
    np.testing.assert_allclose(tiled, run(image), atol=1e-5)


@given(st.integers(0, 10**6), st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_moments_standardise_as_the_preprocessing_does(seed, mean, deviation):
    image = np.random.default_rng(seed).normal(mean, deviation, (300, 7)).astype(np.float32)
    found, spread = inference.moments(image)
    np.testing.assert_allclose((image - found) / spread, standardise(image), atol=1e-5)


def test_a_constant_image_becomes_zero():
    image = np.full((300, 5), 0.1, np.float32)
    mean, deviation = inference.moments(image)
    assert not ((image - mean) / deviation).any()


def test_prediction_takes_little_memory_beyond_image_and_result():
    tracemalloc.start()
    image = np.random.default_rng(4).random((1500, 900)).astype(np.float32)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    mean, deviation = inference.moments(image)
    inference.blend_tiles(image, lambda tile: (tile - mean) / deviation, 128, 32, 8)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 1.6 * image.nbytes


def test_averaging_over_the_symmetries_commutes_with_them():
    torch.manual_seed(1)
    network = UNet(levels=2, features=4).eval()
    image = np.random.default_rng(2).normal(size=(16, 16)).astype(np.float32)

    def run(values):
        return inference.probabilities(network, values, torch.float32, test_time_augmentation=True)

    for quarters, mirrored in inference.SYMMETRIES:
        turned = np.rot90(image[:, ::-1] if mirrored else image, quarters)
        expected = run(image)
        expected = np.rot90(expected[:, ::-1] if mirrored else expected, quarters)
        np.testing.assert_allclose(run(np.ascontiguousarray(turned)), expected, atol=1e-5)

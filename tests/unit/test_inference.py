"""Padding, tiles and symmetries, against what must come out exactly."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphseg import inference
from graphseg.errors import InputError
from graphseg.unet import UNet


@given(st.integers(1, 300), st.integers(2, 64), st.data())
def test_tiles_cover_every_pixel_with_the_overlap(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    tiles = inference.tile_slices(length, tile, overlap)
    assert tiles[0].start == 0 and tiles[-1].stop == length
    assert all(part.stop - part.start == min(tile, length) for part in tiles)
    assert all(a.stop - b.start >= overlap for a, b in itertools.pairwise(tiles))


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


def test_averaging_over_the_symmetries_commutes_with_them():
    torch.manual_seed(1)
    network = UNet(levels=2, features=4).eval()
    image = np.random.default_rng(2).normal(size=(16, 16)).astype(np.float32)

    def run(values):
        return inference.contamination(network, values, torch.float32, averaging=True)

    for quarters, mirrored in inference.SYMMETRIES:
        turned = np.rot90(image[:, ::-1] if mirrored else image, quarters)
        expected = run(image)
        expected = np.rot90(expected[:, ::-1] if mirrored else expected, quarters)
        np.testing.assert_allclose(run(np.ascontiguousarray(turned)), expected, atol=1e-5)

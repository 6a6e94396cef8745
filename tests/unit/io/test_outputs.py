"""Files of results: what was written comes back, and never half of it."""

import io

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from graphseg.errors import InputError
from graphseg.io.micrographs import read_micrograph
from graphseg.io.outputs import (
    OPACITY,
    RED,
    grey_levels,
    previews,
    small_picture,
    whole_file,
    write_mask,
    write_overlay,
    write_probability,
)

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
few = settings(deadline=None, max_examples=30)


@few
@given(arrays(bool, SHAPES), st.sampled_from([None, 0.02, 0.4, 1 / 3, 7.7]))
def test_masks_come_back(tmp_path_factory, mask, pixel_size):
    folder = tmp_path_factory.mktemp("masks")
    write_mask(folder / "m.tif", mask, pixel_size)
    write_mask(folder / "m.png", mask, pixel_size, form="png")
    for name in ("m.tif", "m.png"):
        image = np.array(Image.open(folder / name).convert("L"))
        assert (image == 255 * mask).all()
    back = read_micrograph(folder / "m.tif")
    assert back.pixel_size == (None if pixel_size is None else pytest.approx(pixel_size, rel=1e-6))


@few
@given(arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32)))
def test_probabilities_come_back(tmp_path_factory, probability):
    folder = tmp_path_factory.mktemp("maps")
    for dtype in ("float32", "float16"):
        write_probability(folder / "p.tif", probability, 0.4, dtype)
        back = tifffile.imread(folder / "p.tif").reshape(probability.shape)
        assert back.dtype == dtype and (back == probability.astype(dtype)).all()
        assert read_micrograph(folder / "p.tif").pixel_size == pytest.approx(0.4)


def test_imagej_finds_the_pixel_size_where_it_looks_for_it(tmp_path):
    write_mask(tmp_path / "m.tif", np.eye(4, dtype=bool), 0.4)
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        assert file.is_imagej and file.imagej_metadata["unit"] == "nm"
        numerator, denominator = file.pages[0].tags["XResolution"].value
        assert numerator / denominator == 25  # pixels in a nanometre


def test_same_results_give_the_same_bytes(tmp_path):
    mask = np.eye(8, dtype=bool)
    for path in (tmp_path / "a.tif", tmp_path / "b.tif"):
        write_mask(path, mask, 0.4)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_unknown_forms_are_refused(tmp_path):
    with pytest.raises(InputError, match="tif or png"):
        write_mask(tmp_path / "m", np.eye(2, dtype=bool), form="bmp")
    with pytest.raises(InputError, match="float32 or float16"):
        write_probability(tmp_path / "p", np.eye(2), dtype="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64])
def test_grey_levels_run_from_black_to_white(dtype):
    image = np.tile(np.arange(100), (20, 1)).astype(dtype)
    grey = grey_levels(image)
    assert grey.dtype == np.uint8 and grey.min() == 0 and grey.max() == 255
    assert (np.diff(grey[0].astype(int)) >= 0).all()
    assert (grey_levels(np.full((3, 4), 7, dtype)) == 0).all()


def test_one_hot_pixel_does_not_darken_the_rest():
    image = np.tile(np.linspace(0, 1, 300), (300, 1))
    image[5, 5] = 1e6
    assert np.median(grey_levels(image)) == pytest.approx(127, abs=2)


def test_overlay_shows_the_image_and_tints_contamination(tmp_path):
    image = np.tile(np.arange(200.0), (100, 1))
    mask = np.zeros(image.shape, bool)
    mask[:50] = True
    write_overlay(tmp_path / "o.png", image, mask)
    rgb = np.asarray(Image.open(tmp_path / "o.png").convert("RGB")).astype(float)
    plain, tinted = rgb[50:], rgb[:50]
    assert (np.ptp(plain, axis=2) == 0).all()
    assert np.abs(plain[..., 0] - grey_levels(image)[50:]).max() <= 2  # 128 levels
    expected = (1 - OPACITY) * plain + OPACITY * np.array(RED)
    assert np.abs(tinted - expected).max() <= 1


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "small"), [((200, 400), (48, 96)), ((40, 40), (96, 96)), ((1, 500), (1, 96))]
)
def test_thumbnails_keep_the_ratio_of_the_sides(dtype, shape, small):
    image = (np.indices(shape).sum(axis=0) % 2).astype(dtype)
    picture = small_picture(image, np.zeros(shape, bool))
    assert picture.shape == (*small, 3) and picture.dtype == np.uint8
    assert (np.ptp(picture, axis=2) == 0).all()
    red = small_picture(image, np.ones(shape, bool)).astype(float)
    expected = (1 - OPACITY) * picture + OPACITY * np.array(RED)
    assert np.abs(red - expected).max() <= 1


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    with pytest.raises(KeyError), whole_file(path) as temporary:
        temporary.write_text("half of")
        raise KeyError
    assert path.read_text() == "all of it" and list(path.parent.iterdir()) == [path]
    with whole_file(path, tmp_path) as temporary, whole_file(path, tmp_path) as other:
        assert temporary != other and temporary.parent == tmp_path
        temporary.write_text("one")
        other.write_text("two")
    assert path.read_text() == "one"  # the last that was finished


def test_previews_hold_image_probability_and_fractions_above_thresholds():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(300, 400))
    probability = rng.random((300, 400), np.float32)
    pictures, above = previews(image, probability)
    small = np.asarray(Image.open(io.BytesIO(pictures[".png"])))
    np.testing.assert_array_equal(small >= 128, probability >= 0.5)
    assert Image.open(io.BytesIO(pictures[".jpg"])).size == (400, 300)
    limits = np.arange(1, 20) / 20
    expected = [1000 * (probability >= limit).mean() for limit in limits]
    assert above == pytest.approx(expected, abs=1000 / 512 + 1)  # half a level, and rounding
    pictures, above = previews(np.ones((600, 1200), np.uint16), np.zeros((600, 1200), np.float16))
    assert Image.open(io.BytesIO(pictures[".png"])).size == (512, 256) and above == [0] * 19

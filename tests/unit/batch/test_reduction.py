"""Data reduction: bit for bit where promised, known errors elsewhere, and files that are wrong."""

import io
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from book.tools import figures
from book.tools.codecs import plain_sizes
from graphseg.batch import reduction
from graphseg.batch.reduction import (
    CLASSES,
    Coarsening,
    LossWarning,
    coarsen,
    read_reduced,
    write_reduced,
)
from graphseg.errors import InputError

SHAPE = (3, 24, 31)
TYPES = ("u1", "i1", "<u2", ">u2", "<i2", "<u4", ">i4", "<f2", "<f4", ">f4")
LOSSY = ("levels", "blocks", "flat")
one_file = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def stack(dtype=np.uint8, seed=0):
    """Random images and a class map with a square of contamination and a strip of vacuum."""
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 20, SHAPE).clip(0, 120).astype(dtype)
    classes = np.zeros(SHAPE, np.uint8)
    classes[:, 4:20, 5:20] = CLASSES.index("contamination")
    classes[:, :, 25:] = CLASSES.index("vacuum")
    return images, classes


def bits(values):
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


@one_file
@given(st.sampled_from(TYPES), st.data())
def test_lossless_is_the_default_and_bit_for_bit(tmp_path, dtype, data):
    """Every bit pattern: also NaN with a payload, infinities, negative zero, byte order."""
    size = int(np.prod(SHAPE)) * np.dtype(dtype).itemsize
    seed = data.draw(st.integers(0, 2**32))
    images = np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(SHAPE)
    _, classes = stack()
    report = write_reduced(tmp_path / "a.h5", images, classes, overwrite=True)
    back = read_reduced(tmp_path / "a.h5")
    assert back.images.dtype == images.dtype
    assert (bits(back.images) == bits(images)).all()
    assert (back.classes == classes).all() and back.exact.all()
    assert back.warning == report.warning == ""
    assert report.losses["total"].coarse == 0 and report.original_bytes == images.nbytes
    assert report.file_bytes == (tmp_path / "a.h5").stat().st_size


@one_file
@given(st.sampled_from(TYPES), st.sampled_from(LOSSY), st.integers(0, 3), st.integers(0, 99))
def test_important_pixels_are_bit_for_bit_in_every_mode(tmp_path, dtype, mode, margin, seed):
    images, classes = stack(dtype, seed)
    chosen = Coarsening(mode, margin=margin)
    with pytest.warns(LossWarning):
        report = write_reduced(tmp_path / "a.h5", images, classes, chosen, overwrite=True)
    with pytest.warns(LossWarning):
        back = read_reduced(tmp_path / "a.h5")
    assert back.images.dtype == images.dtype and back.coarsening == chosen
    assert (bits(back.images)[back.exact] == bits(images)[back.exact]).all()
    assert back.exact[classes < 2].all() and not back.exact.all()
    errors = (back.images.astype(float) - images)[~back.exact]
    total = report.losses["total"]
    assert (total.pixels, total.coarse) == (images.size, errors.size)
    assert total.rmse == pytest.approx(np.sqrt(np.mean(errors**2)))
    assert total.largest == np.abs(errors).max()


def test_levels_are_no_further_than_half_a_step():
    images, classes = stack(np.float32)
    coarse, exact = coarsen(images, classes, Coarsening("levels", levels=5, margin=0))
    for image, rough, keep in zip(images, coarse, exact, strict=True):
        values = image[~keep]
        step = np.ptp(values) / 4
        assert np.abs(rough - image).max() <= step / 2 * (1 + 1e-5)
        assert len(np.unique(rough[~keep])) <= 5
        assert {values.min(), values.max()} <= set(rough[~keep])


def test_blocks_hold_means_of_their_coarse_pixels():
    image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    mask = np.zeros(image.shape, bool)
    mask[0, :4, :4], mask[0, 4, 0] = True, True
    coarse, _ = coarsen(image, mask, Coarsening("blocks", block=4, margin=0))
    assert (coarse[0, :4, :4] == 14).all()  # the mean 13.5, rounded to even
    assert coarse[0, 4, 0] == 32
    assert (coarse[~mask] == image[~mask]).all()


def test_flat_holds_one_mean_for_each_image():
    images, classes = stack(np.uint16)
    coarse, exact = coarsen(images, classes, Coarsening("flat", margin=0))
    for image, rough, keep in zip(images, coarse, exact, strict=True):
        assert (rough[~keep] == np.rint(image[~keep].mean())).all()


def test_margin_is_a_distance_to_what_matters_but_not_to_the_edge():
    image = np.random.default_rng(0).integers(0, 255, (1, 20, 40), dtype=np.uint8)
    classes = np.zeros(image.shape, int)
    classes[:, :, 10:25] = CLASSES.index("vacuum")
    classes[:, :, 25:] = CLASSES.index("contamination")
    _, exact = coarsen(image, classes, Coarsening("flat", margin=5))
    assert exact[0, :, :15].all() and not exact[0, :, 15:].any()
    _, exact = coarsen(image, np.ones(image.shape, bool), Coarsening("flat", margin=5))
    assert not exact.any()


def test_only_the_classes_asked_for_are_coarse():
    images, classes = stack()
    _, exact = coarsen(images, classes, Coarsening("flat", classes=("vacuum",), margin=0))
    assert (exact == (classes != CLASSES.index("vacuum"))).all()


def test_loss_is_told_when_writing_when_reading_and_in_the_file(tmp_path):
    images, classes = stack()
    path = tmp_path / "a.h5"
    with pytest.warns(LossWarning, match="NOT LOSSLESS") as caught:
        report = write_reduced(path, images, classes, Coarsening("blocks", block=6, margin=2))
    coarse = report.losses["total"].coarse
    assert f"{coarse / images.size:.2%} of all pixels, in 3 of 3 images" in report.warning
    assert str(caught[0].message) == report.warning
    assert caught[0].filename == __file__
    with pytest.warns(LossWarning, match="NOT LOSSLESS"):
        assert read_reduced(path).warning == report.warning
    with h5py.File(path) as file:
        assert bytes(file.attrs["warning"]).decode() == report.warning
    assert report.losses["lattice"].coarse == report.losses["boundary"].pixels == 0
    assert report.losses["vacuum"].coarse + report.losses["contamination"].coarse == coarse


def test_nothing_to_lose_is_lossless_in_every_mode(tmp_path):
    images, _ = stack()
    report = write_reduced(tmp_path / "a.h5", images, np.zeros(SHAPE, bool), Coarsening("flat"))
    assert report.warning == "" and read_reduced(tmp_path / "a.h5").exact.all()


def test_any_hdf5_reader_sees_the_images(tmp_path):
    images, classes = stack(np.uint16)
    names = ("a", "Größe", "bad\udcff")
    sizes = [0.3, np.nan, 0.5]
    write_reduced(tmp_path / "a.h5", images, classes == 3, names=names, pixel_size=sizes)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["images"].chunks == (1, *SHAPE[1:])
        assert (file["images"][1] == images[1]).all()
        assert file["images"].compression == "gzip" and file["images"].fletcher32
    back = read_reduced(tmp_path / "a.h5")
    assert back.names == ("a", "Größe", r"bad\udcff")
    assert back.pixel_size == pytest.approx(sizes, nan_ok=True)
    assert (back.classes == 3 * (classes == 3)).all()


def test_large_images_lie_in_several_chunks(tmp_path):
    images = np.zeros((1, 1100, 1024), np.uint16)
    report = write_reduced(tmp_path / "a.h5", images, images > 0)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["images"].chunks == (1, 512, 1024)
    assert report.ratio > 100
    assert (read_reduced(tmp_path / "a.h5").images == 0).all()


def test_runs_of_coarse_pixels_take_almost_no_room(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 256, 256), dtype=np.uint8)  # noise: incompressible
    mask = np.zeros(images.shape, bool)
    mask[:, :128] = True
    exact_fraction = 0.5 + 8 / 256  # with the margin
    with pytest.warns(LossWarning):
        report = write_reduced(tmp_path / "a.h5", images, mask, Coarsening("flat"))
    assert report.ratio == pytest.approx(1 / exact_fraction, rel=0.1)


def test_existing_files_are_not_overwritten(tmp_path):
    images, classes = stack()
    path = tmp_path / "a.h5"
    write_reduced(path, images, classes)
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_reduced(path, images, classes)
    assert path.read_bytes() == before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    images, classes = stack()
    path = tmp_path / "a.h5"
    write_reduced(path, images, classes)
    before = path.read_bytes()
    fill = reduction._fill

    def other_pixels(file, content):
        fill(file, content)
        file["images"][0, 0, 0] += 1

    monkeypatch.setattr(reduction, "_fill", other_pixels)
    with pytest.raises(OSError, match="does not hold what was written"):
        write_reduced(path, images, classes, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A valid file as bytes, and its content."""
    path = tmp_path_factory.mktemp("good") / "a.h5"
    write_reduced(path, *stack())
    return path.read_bytes(), read_reduced(path)


@one_file
@given(st.data())
def test_a_flipped_bit_is_noticed_or_does_no_harm(tmp_path, good, data):
    content, original = good
    damaged = bytearray(content)
    place = data.draw(st.integers(0, len(content) - 1))
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "damaged.h5"
    path.write_bytes(damaged)
    try:
        back = read_reduced(path)
    except InputError as error:
        assert str(path) in str(error)
    else:
        for name in ("images", "classes", "exact", "pixel_size"):
            assert getattr(back, name).tobytes() == getattr(original, name).tobytes()
        assert (back.names, back.coarsening) == (original.names, original.coarsening)


@pytest.mark.parametrize("fraction", [0, 0.01, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path, good, fraction):
    path = tmp_path / "a.h5"
    path.write_bytes(good[0][: int(fraction * len(good[0]))])
    with pytest.raises(InputError, match=r"a\.h5"):
        read_reduced(path)


def test_files_that_are_missing_or_something_else_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_reduced(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["images"] = np.zeros((1, 2, 2))
    for name in ("b.h5", "c.h5"):
        with pytest.raises(InputError, match="no reduced stack"):
            read_reduced(tmp_path / name)


def without(file, name, **data):
    del file[name]
    if data:
        file.create_dataset(name, **data)


def linked(file):
    """Let a data set that would be right come from another file."""
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        file.copy("images", other)
    del file["images"]
    file["images"] = h5py.ExternalLink("other.h5", "images")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: without(file, "classes"),
        lambda file: without(file, "exact", data=np.ones((1, 2, 2), bool), chunks=True),
        lambda file: without(file, "exact", data=np.zeros(SHAPE, bool), chunks=True),
        lambda file: without(file, "classes", data=np.full(SHAPE, 9), chunks=True),
        lambda file: without(file, "images", data=np.zeros(SHAPE), chunks=True),
        lambda file: without(file, "images", shape=SHAPE, dtype="u1", chunks=True),
        lambda file: without(file, "pixel_size", data=np.zeros(9), chunks=True),
        lambda file: without(file, "names", data=np.zeros(3), chunks=True),
        lambda file: without(file, "names", data=0.0),
        linked,
        lambda file: file.attrs.update({"format": np.bytes_(b"graphseg-reduced 2")}),
        lambda file: file.attrs.update({"coarsening": "{}"}),
        lambda file: file.attrs.update({"coarsening": np.bytes_(b'{"classes": ["film"]}')}),
    ],
)
def test_inconsistent_files_are_refused(tmp_path, good, spoil):
    path = tmp_path / "a.h5"
    path.write_bytes(good[0])
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(InputError, match="no reduced stack"):
        read_reduced(path)


@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        (np.zeros(SHAPE), np.zeros(SHAPE, bool), "float64"),
        (np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), "bool"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool), "expected shape"),
        (np.zeros(SHAPE, np.uint8), np.zeros((1, 2, 2), bool), "do not match"),
        (np.zeros(SHAPE, np.uint8), np.zeros((1, 2, 2), int), "do not fit"),
        (np.zeros(SHAPE, np.uint8), np.zeros(SHAPE), "do not fit"),
        (np.zeros(SHAPE, np.uint8), np.full(SHAPE, 4), "0 to 3"),
        (np.zeros(SHAPE, np.uint8), np.full(SHAPE, -1), "0 to 3"),
        (np.full(SHAPE, np.nan, np.float32), np.ones(SHAPE, bool), "not finite"),
    ],
)
def test_stacks_that_cannot_be_reduced_are_refused(tmp_path, images, classes, message):
    with pytest.raises(InputError, match=message):
        write_reduced(tmp_path / "a.h5", images, classes, Coarsening("flat"))
    assert not list(tmp_path.iterdir())


def test_names_and_pixel_sizes_must_fit(tmp_path):
    images, classes = stack()
    with pytest.raises(InputError, match="2 names for 3"):
        write_reduced(tmp_path / "a.h5", images, classes, names=["a", "b"])
    with pytest.raises(InputError, match="Pixel sizes"):
        write_reduced(tmp_path / "a.h5", images, classes, pixel_size=[0.3, 0.3])


@pytest.mark.parametrize(
    "changes",
    [
        {"mode": "jpeg"},
        {"classes": ("film",)},
        {"classes": "vacuum"},
        {"margin": -1},
        {"margin": np.nan},
        {"block": 0},
        {"levels": 1},
    ],
)
def test_coarsenings_without_sense_are_refused(changes):
    with pytest.raises(InputError):
        Coarsening(**({"mode": "flat"} | changes))


def test_plain_sizes_are_those_of_the_codecs():
    images, _ = stack(np.uint16)
    sizes = plain_sizes(images)
    assert sizes["none"] == images.nbytes
    expected = 0
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG", optimize=True)
        expected += len(buffer.getvalue())
    assert sizes["PNG"] == expected
    assert sizes["zlib"] == sum(len(zlib.compress(image.tobytes(), 9)) for image in images)
    assert sizes["lzma"] < sizes["none"]


def test_png_is_left_out_where_it_cannot_hold_the_values():
    images, _ = stack(np.float32)
    assert set(plain_sizes(images)) == {"none", "zlib", "HDF5 gzip", "lzma"}
    assert "PNG" in plain_sizes(images.astype(">u2"))


def test_what_is_lost_is_shown():
    images, classes = stack()
    coarse, exact = coarsen(images, classes, Coarsening("flat", margin=0))
    axes = Figure().subplots(1, 3)
    shown = figures.show_reduction(axes, images[0], coarse[0], exact[0])
    error = coarse[0].astype(float) - images[0]
    assert (shown.get_array() == error).all()
    assert shown.get_clim() == pytest.approx((-np.abs(error).max(), np.abs(error).max()))
    assert axes[1].get_title() == f"{100 * (1 - exact[0].mean()):.1f} % coarse"


def test_published_images(published, tmp_path):
    """Little is gained, and that is the finding: the images are noise and mostly clean."""
    images = np.rint(255 * published.images).astype(np.uint8)[::8]
    masks = published.masks[::8]
    plain = plain_sizes(images)
    lossless = write_reduced(tmp_path / "a.h5", images, masks)
    with pytest.warns(LossWarning):
        lossy = write_reduced(tmp_path / "b.h5", images, masks, Coarsening("blocks"))
        back = read_reduced(tmp_path / "b.h5")
    assert (read_reduced(tmp_path / "a.h5").images == images).all()
    assert (back.images == images)[~masks].all()
    assert lossless.file_bytes == pytest.approx(plain["HDF5 gzip"], rel=0.02)
    assert lossy.file_bytes < min(plain.values()) < lossless.file_bytes

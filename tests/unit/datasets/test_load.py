"""Where labelled stacks come from, what they hold, and what is said when they cannot be had."""

import hashlib
import json
import os
import shutil
import socket
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from book.tools.overlaps import label_overlaps
from graphseg.datasets import load
from graphseg.datasets import published as registry
from graphseg.datasets.stack import SAME_PLACE, acquisition_of
from graphseg.errors import InputError


@pytest.fixture
def small_registry(tmp_path, monkeypatch):
    """A registered data set of two pairs, its files in `tmp_path/origin`."""
    origin = tmp_path / "origin"
    (origin / "training_images").mkdir(parents=True)
    (origin / "LICENSE.txt").write_text("A licence.\n")
    rng = np.random.default_rng(0)
    for name in ("2001_0101_A_layer_0001", "2001_0101_A_layer_0002"):
        write_pair(origin / "training_images", name, rng)
    known = {
        "repository": "someone/something",
        "commit": "0123456789abcdef",
        "folder": "training_images",
        "licence": {"LICENSE.txt": sha(origin / "LICENSE.txt")},
        "files": {p.name: sha(p) for p in sorted((origin / "training_images").iterdir())},
    }
    monkeypatch.setattr(registry, "registry", lambda: known)
    monkeypatch.delenv("GRAPHSEG_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return origin


@pytest.fixture
def server(small_registry):
    """Serve the small data set; its `requests` counts what was asked for."""
    asked = Counter()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            asked[self.path] += 1
            super().do_GET()

        def log_message(self, *args):
            pass

    handler = partial(Handler, directory=str(small_registry))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/", asked
        http.shutdown()


@pytest.fixture
def offline(small_registry, monkeypatch):
    """Let the public repository be an address where nothing answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(registry, "source_url", lambda: f"http://127.0.0.1:{port}/")


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_pair(folder, name, rng, shape=(16, 16)):
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    label = np.zeros(shape, np.uint8)
    label[:3, :4] = 255
    Image.fromarray(label).save(folder / f"{name}_LABEL.png")


@pytest.fixture
def folder(tmp_path):
    """A folder of three good pairs."""
    path = tmp_path / "mine"
    path.mkdir()
    for name in ("2020_0203_FS_001_layer_0000", "2020_0203_FS_001_layer_0004", "flake"):
        write_pair(path, name, np.random.default_rng(7))
    return path


# --- names, acquisitions and dates ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "acquisition", "date"),
    [
        ("2014_0601_Gr_FS_013_layer_0016", "2014_0601_Gr_FS_013", "2014_0601"),
        ("2013_0611_GrGB_TS_001_layer_0003", "2013_0611_GrGB_TS_001", "2013_0611"),
        ("2013_1113_Gr_034", "2013_1113_Gr_034", "2013_1113"),
        ("2014_0601_Gr_FS_Dyna1_01_layer_0021", "2014_0601_Gr_FS_Dyna1_01", "2014_0601"),
        ("my_layer_cake", "my_layer_cake", "undated"),
        ("12014_0601", "12014_0601", "undated"),
    ],
)
def test_acquisition_and_date_come_from_the_name(name, acquisition, date):
    assert acquisition_of(name) == acquisition
    assert load.date_of(name) == date


def test_the_registry_names_every_image_and_its_label():
    known = registry.registry()
    assert len(known["files"]) == 262
    assert len(known["commit"]) == 40
    images = {name for name in known["files"] if "_LABEL" not in name}
    assert len({acquisition_of(name.removesuffix(".png")) for name in images}) == 109
    assert {name.replace(".png", "_LABEL.png") for name in images} == known["files"].keys() - images


def test_the_published_set_is_as_registered(published):
    assert published.images.shape == published.masks.shape == (131, 256, 256)
    assert published.images.dtype == np.float32
    assert published.masks.dtype == bool
    assert (published.images.min(), published.images.max()) == (0, 1)
    assert len(set(published.groups)) == 105  # of 109 acquisitions, 4 show a place again
    assert len(set(published.dates)) == 17
    frames = Counter(map(acquisition_of, published.names))
    assert len(frames) == 109
    series = [count for count in frames.values() if count > 1]
    assert (len(series), sum(series)) == (20, 42)
    assert (~published.masks.any(axis=(1, 2))).sum() == 3
    assert published.source == "published"


def test_acquisitions_of_one_place_are_one_group(published):
    of_acquisition = {
        acquisition_of(n): g
        for n, g in zip(published.names, published.groups.tolist(), strict=True)
    }
    merged = {a: g for a, g in of_acquisition.items() if a != g}
    assert merged == SAME_PLACE
    assert SAME_PLACE.keys().isdisjoint(SAME_PLACE.values())


def test_the_published_set_is_found_in_the_folder_or_the_one_above(published, monkeypatch):
    if "GRAPHSEG_DATA" not in os.environ:
        pytest.skip("the published data come from the download cache, not from $GRAPHSEG_DATA")
    folder = registry._given_folder(Path(os.environ["GRAPHSEG_DATA"]))
    for path in (folder, folder.parent):
        monkeypatch.setenv("GRAPHSEG_DATA", str(path))
        assert registry._given_folder(path) == folder
    assert load.load_stack("auto").digest == published.digest


# --- the stack -----------------------------------------------------------------------------------


def test_a_subset_keeps_everything_together(folder):
    stack = load.load_folder(folder)
    part = stack.subset([2, 0])
    assert part.names == ("flake", "2020_0203_FS_001_layer_0000")
    np.testing.assert_array_equal(part.images, stack.images[[2, 0]])
    np.testing.assert_array_equal(part.masks, stack.masks[[2, 0]])
    np.testing.assert_array_equal(part.groups, ["flake", "2020_0203_FS_001"])
    assert part.dates[0] == "undated"
    assert stack.subset(np.array([True, False, True])).names == part.names[::-1]


def test_the_digest_tells_any_change(folder):
    stack = load.load_folder(folder)
    assert stack.digest == load.load_folder(folder).digest
    assert stack.digest == stack.subset(np.arange(3)).digest
    others = [stack.subset([1, 0, 2]), stack.subset([0, 1])]
    masks = stack.masks.copy()
    masks[0, 0, 0] ^= True
    others.append(load.LabelledStack(**{**vars(stack.subset([0, 1, 2])), "masks": masks}))
    assert len({stack.digest, *(other.digest for other in others)}) == 4


def test_overlaps_of_labels_are_intersection_over_union():
    masks = np.zeros((4, 10, 10), bool)
    masks[0, :4] = masks[1, 2:6] = masks[2, 8:] = True
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, np.nan]]
    np.testing.assert_allclose(label_overlaps(masks), expected)


def test_an_unknown_source_is_refused():
    with pytest.raises(InputError, match="expected one of auto, published, simulated, got"):
        load.load_stack("real")


# --- downloading ---------------------------------------------------------------------------------


def test_the_source_is_the_authors_repository_at_the_registered_commit():
    url = registry.source_url()
    assert url.endswith(
        "/lbnlcomputerarch/graphene-u-net/f9899dac26c79a56825e719472ff13eaaf01674e/"
    )


def test_everything_is_downloaded_once_with_its_licence(server, capfd):
    url, asked = server
    folder = registry.fetch(base_url=url)
    assert (folder.parent / "LICENSE.txt").read_text() == "A licence.\n"
    assert len(list(folder.iterdir())) == 4
    assert set(asked.values()) == {1}
    captured = capfd.readouterr()
    assert "downloading" in captured.err
    assert captured.out == ""
    asked.clear()
    assert registry.fetch(base_url=url) == folder
    assert not asked


def test_damaged_and_partial_files_are_downloaded_again(server, small_registry):
    url, asked = server
    folder = registry.fetch(base_url=url, progress=False)
    damaged, partial_file, gone = sorted(folder.iterdir())[:3]
    damaged.write_bytes(b"no image")
    partial_file.write_bytes(partial_file.read_bytes()[:50])
    gone.unlink()
    asked.clear()
    registry.fetch(base_url=url, progress=False)
    assert len(asked) == 3
    for path in folder.iterdir():
        assert sha(path) == sha(small_registry / "training_images" / path.name)


def test_a_file_that_is_not_the_registered_one_is_not_kept(server, small_registry):
    name = "2001_0101_A_layer_0002.png"
    (small_registry / "training_images" / name).write_bytes(b"a log-in page")
    with pytest.raises(registry.NotObtainableError, match=f"{name} is not the registered file"):
        registry.fetch(base_url=server[0], progress=False)
    cached = registry.pooch.os_cache("graphseg")
    assert not list(cached.rglob(name))


def test_a_cache_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(registry.NotObtainableError, match="cannot be created"):
        registry.fetch(tmp_path / "file" / "cache", server[0], progress=False)


def test_a_missing_file_on_the_server_is_named(server, small_registry):
    name = "2001_0101_A_layer_0001_LABEL.png"
    (small_registry / "training_images" / name).unlink()
    with pytest.raises(registry.NotObtainableError, match=f"{name} cannot be downloaded"):
        registry.fetch(base_url=server[0], progress=False)


def test_downloaded_data_load_and_then_need_no_server(server, monkeypatch):
    monkeypatch.setattr(registry, "source_url", lambda: server[0])
    stack = load.load_default()
    assert (stack.source, len(stack)) == ("published", 2)
    assert len(set(stack.groups)) == 1
    monkeypatch.setattr(registry, "source_url", lambda: "http://127.0.0.1:9/")
    assert load.load_published().digest == stack.digest


def test_offline_says_what_to_do_and_the_default_falls_back(offline):
    with pytest.raises(InputError, match="GRAPHSEG_DATA"):
        load.load_published()
    with pytest.warns(UserWarning, match="simulated sample instead"):
        stack = load.load_default()
    assert stack.source == "simulated"


def test_a_wrong_environment_variable_is_an_error_not_a_fallback(offline, monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere, which is not a folder"):
        load.load_default()


def test_a_damaged_file_in_the_given_folder_is_named_and_left_alone(
    small_registry, monkeypatch, tmp_path
):
    copy = shutil.copytree(small_registry, tmp_path / "copy")
    monkeypatch.setenv("GRAPHSEG_DATA", str(copy))
    assert len(load.load_default()) == 2
    damaged = copy / "training_images" / "2001_0101_A_layer_0001.png"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = sha(damaged)
    with pytest.raises(InputError, match=r"A_layer_0001\.png is damaged"):
        load.load_default()
    assert sha(damaged) == before
    damaged.unlink()
    with pytest.raises(InputError, match=r"A_layer_0001\.png .* cannot be read"):
        load.load_default()


# --- the simulated sample ------------------------------------------------------------------------


def test_the_simulated_sample_is_labelled_in_series_and_small():
    stack = load.load_simulated_sample()
    assert stack.images.shape == (24, 256, 256)
    assert stack.source == "simulated"
    assert len(set(stack.groups)) == 15
    assert len(set(stack.dates)) == 5
    assert (~stack.masks.any(axis=(1, 2))).sum() == 2
    assert ((stack.pixel_size > 0.29) & (stack.pixel_size < 0.51)).all()
    files = [p for p in load.SAMPLE_FOLDER.iterdir() if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 3e6


def test_outside_a_checkout_the_sample_is_simulated_anew(monkeypatch, tmp_path):
    bundled = load.load_simulated_sample()
    monkeypatch.setattr(load, "SAMPLE_FOLDER", tmp_path / "absent")
    anew = load.load_simulated_sample()
    assert anew.names == bundled.names
    np.testing.assert_allclose(anew.images, bundled.images, atol=1.01 / 255)
    np.testing.assert_array_equal(anew.masks, bundled.masks)
    np.testing.assert_allclose(anew.pixel_size, bundled.pixel_size, atol=1e-5)


# --- one's own folder ----------------------------------------------------------------------------


def test_a_folder_of_pairs_loads(folder):
    stack = load.load_folder(folder)
    assert stack.names == ("2020_0203_FS_001_layer_0000", "2020_0203_FS_001_layer_0004", "flake")
    assert len(set(stack.groups)) == 2
    assert stack.images.dtype == np.float32
    assert stack.masks.sum() == 3 * 12
    assert stack.pixel_size is None
    raw = np.asarray(Image.open(folder / "flake.png"))
    np.testing.assert_allclose(stack.images[2], raw / 255, rtol=1e-6)


def test_pixel_sizes_may_be_listed(folder):
    (folder / "pixel_sizes.json").write_text(json.dumps({"flake": 0.4}))
    np.testing.assert_array_equal(load.load_folder(folder).pixel_size, [np.nan, np.nan, 0.4])
    (folder / "pixel_sizes.json").write_text("[0.4]")
    with pytest.raises(InputError, match=r"pixel_sizes\.json does not hold pixel sizes"):
        load.load_folder(folder)


def test_tiff_pairs_of_16_bits_are_stretched(tmp_path):
    import tifffile

    image = np.arange(1000, 1064, dtype=np.uint16).reshape(8, 8)
    tifffile.imwrite(tmp_path / "a.tif", image)
    tifffile.imwrite(tmp_path / "a_LABEL.tif", (image > 1060).astype(np.uint8))
    stack = load.load_folder(tmp_path)
    np.testing.assert_allclose(stack.images[0], (image - 1000.0) / 63, rtol=1e-6)
    assert stack.masks.sum() == 3


@pytest.mark.parametrize(
    ("missing", "partner"),
    [
        ("flake.png", r"flake_LABEL\.png has no image flake\.png"),
        ("flake_LABEL.png", r"flake\.png has no label flake_LABEL\.png"),
    ],
)
def test_a_missing_partner_is_named(folder, missing, partner):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=partner):
        load.load_folder(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "flake_LABEL.png",
            np.zeros((16, 15), np.uint8),
            r"flake_LABEL\.png: expected the 16 × 16 pixels of its image, got 16 × 15",
        ),
        (
            "flake.png",
            np.arange(768, dtype=np.uint8).reshape(16, 16, 3),
            r"flake\.png has several channels",
        ),
        ("flake.png", b"", r"flake\.png is empty"),
        ("flake.png", b"not an image", r"flake\.png is not a readable PNG"),
    ],
)
def test_a_bad_file_is_named(folder, name, content, message):
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
    else:
        Image.fromarray(content).save(folder / name)
    with pytest.raises(InputError, match=message):
        load.load_folder(folder)


def test_a_truncated_image_is_named(folder):
    content = (folder / "flake.png").read_bytes()
    (folder / "flake.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"flake\.png is not a readable PNG"):
        load.load_folder(folder)


def test_images_of_different_sizes_are_refused(folder):
    write_pair(folder, "wide", np.random.default_rng(1), shape=(16, 20))
    with pytest.raises(
        InputError, match=r"wide\.png: expected the 16 × 16 pixels of the first .* got 16 × 20"
    ):
        load.load_folder(folder)


def test_a_folder_without_pairs_or_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no pairs"):
        load.load_folder(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        load.load_folder(tmp_path / "absent")

"""The page that segments in the browser does what the package does, from a folder and offline."""

import base64
import re
import shutil
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import tifffile
from PIL import Image

from book.tools import build
from book.tools.fetch_javascript import default_folder
from graphseg.batch.tasks import Network
from graphseg.datasets.load import load_simulated_sample
from graphseg.evaluation import ood, quality
from graphseg.io.micrographs import Micrograph, read_micrograph
from graphseg.unet import inference, pretrained
from tests.helpers import microscope_files as files

pytestmark = pytest.mark.timeout(600)
TOLERANCE = 1e-4
PROBABILITY = """() => {
  const { probability } = graphsegSegment.result;
  const bytes = new Uint8Array(probability.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 32768) {
    text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  }
  const { probability: left_out, ...rest } = graphsegSegment.result;
  return { ...rest, probability: btoa(text) };
}"""
READY = """name => graphsegSegment.name === name
  && !document.querySelector("#segment-page").hasAttribute("aria-busy")"""


def scene(height, width, seed=0):
    """Return simulated micrographs side by side, as 16-bit counts of that size."""
    sample = load_simulated_sample().images[seed : seed + 4]
    rows = [np.hstack([sample[0], sample[1, :, ::-1]]), np.hstack([sample[2], sample[3]])]
    whole = np.pad(np.vstack(rows), [(0, max(n - 512, 0)) for n in (height, width)], "symmetric")
    cut = whole[:height, :width]
    return np.rint(cut / cut.mean() * 1000).astype(np.uint16)


def eight_bits(image):
    return np.rint(image / image.max() * 255).astype(np.uint8)


def jpeg(path, image, _):
    Image.fromarray(eight_bits(image)).save(path, quality=95)


def lzw(path, image, _):
    Image.fromarray(eight_bits(image)).save(path, compression="tiff_lzw")


def tiled(path, image, _):
    values = (image / 1000).astype(np.float32)
    options = dict(tile=(64, 128), byteorder=">", photometric="minisblack")
    tifffile.imwrite(path, values, compression="zlib", **options)


def wide(path, image, pixel_size):
    tifffile.imwrite(path, image.astype(np.uint32) * 70000, photometric="minisblack")


def finer(writer):
    def write(path, image, pixel_size):
        shape = [round(2.2 * n) for n in image.shape]
        larger = np.rint(inference.resize(image, shape)).clip(0).astype(np.uint16)
        writer(path, larger, pixel_size / 2.2)

    return write


# name: (what writes it, height, width, Å per pixel)
FILES = {
    "small.png": (lambda p, i, _: files.write_png(p, eight_bits(i)), 256, 256, None),
    "deep.png": (files.write_png, 301, 250, None),
    "grey.jpg": (jpeg, 200, 333, None),
    "imagej.tif": (files.write_imagej, 255, 257, 0.4),
    "dm.tif": (lambda p, i, s: files.write_dm_tiff(p, i, s, compression="zlib"), 128, 300, 0.4),
    "ome.ome.tif": (files.write_ome, 240, 240, 0.45),
    "lzw.tif": (lzw, 256, 199, None),
    "tiled.tiff": (tiled, 270, 350, None),
    "wide.tif": (wide, 160, 160, None),
    "old.dm3": (files.write_dm3, 256, 300, 0.4),
    "new.dm4": (files.write_dm4, 333, 256, 0.4),
    "finer.dm4": (finer(files.write_dm4), 256, 211, 0.35),
    "unknown_size.dm4": (finer(lambda p, i, _: files.write_dm4(p, i)), 150, 170, 0.35),
    "coarse.dm4": (files.write_dm4, 96, 96, 2.0),
    "big_endian.mrc": (lambda p, i, s: files.write_mrc(p, i, s, order=">"), 256, 256, 0.4),
    "floats.mrc": (
        lambda p, i, s: files.write_mrc(p, (i / 7).astype(np.float32), s, mode=2), 129, 387, 0.4,
    ),
    "larger_than_a_tile.mrc": (files.write_mrc, 512, 1100, 0.4),
    "saturated.tif": (lambda p, i, s: files.write_imagej(p, i.clip(900, 1100), s), 200, 200, 0.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def html(tmp_path_factory, root):
    """The page in a book of its own, built as the book is."""
    folder = tmp_path_factory.mktemp("book")
    shutil.copytree(root / "book", folder / "book", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(root / name, folder)
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: segment\n")
    page = folder / "book" / "segment.md"  # whose links to chapters lead nowhere here
    page.write_text(re.sub(r"\{(doc|numref)\}`[^`]*`", "elsewhere", page.read_text("utf8")), "utf8")
    build.build(folder, folder / "html", folder, default_folder())
    return folder / "html"


@pytest.fixture(scope="module")
def page(html, browser):
    """The page, opened from its folder with the network off."""
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    page.requested = []
    page.on("request", lambda request: page.requested.append(request.url))
    page.goto((html / "segment.html").as_uri())
    assert not any("runtime.js" in url for url in page.requested), "it is heavy before it is used"
    yield page
    context.close()


@pytest.fixture(scope="module")
def network():
    return pretrained.load(
        "default", device="cpu", precision="float32", test_time_augmentation=False
    )


def drop(page, path):
    """Give the page a file; return its answer, or the sentence with which it refuses it."""
    page.set_input_files("[data-part=file]", path)
    page.wait_for_function(READY, arg=path.name, timeout=120_000)
    if page.locator("[data-part=status]").evaluate("e => e.classList.contains('segment-error')"):
        return page.locator("[data-part=status]").inner_text()
    return answer(page)


def answer(page):
    found = page.evaluate(PROBABILITY)
    shape = found["height"], found["width"]
    values = np.frombuffer(base64.b64decode(found["probability"]), np.float32)
    return found | {"probability": values.reshape(shape)}


def compare_doubts(found, network, image, expected, scale):
    """Compare warnings, distance to the training images and expected quality with the package's."""
    verdict = ood.judge(ood.package(Network.choose().digest), network, image, scale)
    mask = expected >= network.threshold
    doubts = [scale.warning, verdict.warning, quality.covered(mask)]
    assert found["warnings"] == [doubt for doubt in doubts if doubt]
    assert found["oodScore"] == pytest.approx(verdict.ood_score, rel=1e-3)
    assert found["verdict"] == verdict.words
    line = quality.known_to(network, Network.choose().digest)
    columns = quality.columns(expected, line, flagged=any(doubts))
    names = ("expected_jaccard", "expected_low", "expected_high")
    wanted = [columns[name] for name in names]
    assert found["expected"] == (None if any(doubts) else pytest.approx(wanted, abs=1e-3))


@pytest.mark.parametrize("name", FILES)
def test_probabilities_are_those_of_the_package(name, page, network, tmp_path):
    writer, height, width, size = FILES[name]
    path = tmp_path / name
    writer(path, scene(height, width), size)
    found = drop(page, path)
    assert not isinstance(found, str), found

    if name.endswith("jpg"):
        with Image.open(path) as picture:
            micrograph = Micrograph(np.asarray(picture))
    else:
        micrograph = read_micrograph(path)
    image = micrograph.image
    expected, scale = inference.predict_proba(network, image, micrograph.pixel_size)
    assert np.abs(found["probability"] - expected).max() <= TOLERANCE
    assert found["source"] == scale.source
    assert found["pixelSize"] == pytest.approx(scale.pixel_size, rel=1e-6)
    assert found["factor"] == pytest.approx(scale.factor, rel=1e-6)
    compare_doubts(found, network, image, expected, scale)


def test_the_average_over_symmetries_is_that_of_the_command_line(page, network, tmp_path):
    path = tmp_path / "odd.mrc"
    files.write_mrc(path, scene(150, 203), 0.4)
    page.check("[data-part=averaged]")
    try:
        found = drop(page, path)
    finally:
        page.uncheck("[data-part=averaged]")
    averaged = pretrained.load("default", device="cpu", precision="float32")
    assert averaged.test_time_augmentation
    expected, _ = inference.predict_proba(averaged, read_micrograph(path).image, 0.4)
    assert np.abs(found["probability"] - expected).max() <= TOLERANCE
    single, _ = inference.predict_proba(network, read_micrograph(path).image, 0.4)
    assert np.abs(single - expected).max() > 10 * TOLERANCE


def test_noise_has_neither_pixel_size_nor_lattice(page, network, tmp_path):
    path = tmp_path / "noise.tif"
    image = np.random.default_rng(0).normal(1000, 50, (160, 160)).astype(np.uint16)
    tifffile.imwrite(path, image, photometric="minisblack")
    found = drop(page, path)
    assert (found["pixelSize"], found["source"]) == (None, "none")
    expected, scale = inference.predict_proba(network, image)
    compare_doubts(found, network, image, expected, scale)
    assert page.locator("[data-part=warnings] li").count() == 2


def test_a_pixel_size_that_is_entered_counts(page, tmp_path):
    path = tmp_path / "stated.dm4"
    files.write_dm4(path, scene(128, 128), 0.4)
    page.fill("[data-part=given-size]", "0.2")
    try:
        found = drop(page, path)
    finally:
        page.fill("[data-part=given-size]", "")
    assert (found["pixelSize"], found["source"]) == (0.2, "given")
    assert found["factor"] < 1
    assert "lattice constant would be" in " ".join(found["warnings"])


def test_the_sample_threshold_digest_and_saved_masks(page, tmp_path):
    page.click("[data-part=try]")
    page.wait_for_function(READY, arg="simulated.dm4")
    found = answer(page)
    assert page.locator("[data-part=digest]").inner_text() == Network.choose().digest[:12]

    def share():
        return float(page.locator("[data-part=fraction]").inner_text().rstrip(" %"))

    for least in ("0.5", "0.9"):  # moved by its keys, it acts at once
        page.fill("[data-part=threshold]", least)
        mask = found["probability"] >= float(least)
        assert share() == pytest.approx(100 * mask.mean(), abs=0.006)
    assert 0 < mask.mean() < 0.9
    low, high = (f"{value:.2f}" for value in found["expected"][1:])
    said = page.locator("[data-part=quality]").inner_text()
    assert said.endswith(f"for nine of ten such images {low} to {high}")

    for part, name in (("save-png", "simulated_mask.png"), ("save-tiff", "simulated_mask.tif")):
        with page.expect_download() as download:
            page.click(f"[data-part={part}]")
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
        saved = read_micrograph(tmp_path / name)
        np.testing.assert_array_equal(saved.image, np.where(mask, 255, 0))
    assert saved.pixel_size == pytest.approx(found["pixelSize"], rel=1e-5)
    with page.expect_download() as download:
        page.click("[data-part=save-overlay]")
    with Image.open(download.value.path()) as overlay:
        red, green, _ = np.moveaxis(np.asarray(overlay.convert("RGB")).astype(int), -1, 0)
    np.testing.assert_array_equal(red - green > 30, mask)  # a tint of orange-red
    page.fill("[data-part=threshold]", "0.5")


def broken(kind, path):
    """Write a file with one fault."""
    image = scene(64, 80)
    whole = path.with_name(f"whole.{path.suffix[1:]}")
    if kind == "large":  # 10^12 pixels in a small file
        million = 10**6
        if path.suffix == ".png":
            files.write_png(path, image)
            content = bytearray(path.read_bytes())
            content[16:24] = million.to_bytes(4, "big") * 2
        elif path.suffix == ".tif":
            files.write_imagej(path, image, 0.4)
            with tifffile.TiffFile(path) as tiff:
                tags = [tiff.pages[0].tags[tag] for tag in (256, 257)]
                order = {">": "big", "<": "little"}[tiff.byteorder]
            content = bytearray(path.read_bytes())
            for tag in tags:
                size = 2 if tag.dtype == 3 else 4
                content[tag.offset + 2 : tag.offset + 4] = (4).to_bytes(2, order)
                assert size <= 4
                content[tag.offset + 8 : tag.offset + 12] = million.to_bytes(4, order)
        elif path.suffix == ".mrc":
            files.write_mrc(path, image, 0.4)
            content = bytearray(path.read_bytes())
            content[0:8] = million.to_bytes(4, "little") * 2
        else:
            writer = files.write_dm3 if path.suffix == ".dm3" else files.write_dm4
            writer(path, image, 0.4)
            content = path.read_bytes()
            dimensions = content.index(b"Dimensions")
            head, tail = content[:dimensions], content[dimensions:]
            for length in image.shape:
                tail = tail.replace(length.to_bytes(4, "little"), million.to_bytes(4, "little"), 1)
            content = head + tail
    elif kind == "text":
        content = b"This is no image but a letter.\n" * 50
    elif kind == "empty":
        content = b""
    else:
        writers = {
            ".png": files.write_png, ".tif": files.write_imagej, ".mrc": files.write_mrc,
            ".dm3": files.write_dm3, ".dm4": files.write_dm4,
            ".jpg": jpeg,
        }  # fmt: skip
        writers[path.suffix](whole, image, 0.4)
        content = whole.read_bytes()
        content = content[: len(content) * 2 // 3]
    path.write_bytes(bytes(content))


SUFFIXES = ("png", "jpg", "tif", "dm3", "dm4", "mrc")


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "large"])
def test_a_bad_file_gets_one_sentence(kind, page, tmp_path):
    said = set()
    for suffix in SUFFIXES:
        if (kind, suffix) == ("large", "jpg"):  # it has 16 bits for each side
            continue
        path = tmp_path / f"bad.{suffix}"
        broken(kind, path)
        sentence = drop(page, path)
        assert isinstance(sentence, str), f"{path.name} was taken"
        assert re.fullmatch(rf"{re.escape(path.name)} [^.]*; [^.]*\.", sentence), sentence
        said.add(sentence.removeprefix(path.name))
    expected = {
        "empty": " is empty; copy it again.",
        "large": " declares an image of (1000000, 1000000) pixels, which is too large for this page"
        "; cut it up, or use graphseg segment.",
    }
    if kind in expected:
        assert said == {expected[kind]}
    path = tmp_path / "good.png"  # and the page goes on
    files.write_png(path, eight_bits(scene(64, 64)))
    assert drop(page, path)["height"] == 64


def test_other_files_are_refused(page, tmp_path):
    constant, colour, series = (tmp_path / n for n in ("same.png", "colour.png", "series.tif"))
    files.write_png(constant, np.full((64, 64), 7, np.uint8))
    generator = np.random.default_rng(0)
    files.write_png(colour, generator.integers(0, 255, (64, 64, 3), np.uint8))
    tifffile.imwrite(series, np.stack([scene(64, 64)] * 3), photometric="minisblack")
    other = tmp_path / "image.bmp"
    other.write_bytes(b"BM")
    assert drop(page, constant) == "same.png has the same value everywhere; leave it out."
    assert drop(page, colour) == "colour.png has several channels; save it as greyscale."
    assert drop(page, series) == "series.tif holds several frames; export a single image."
    assert drop(page, other).startswith("image.bmp has none of the known suffixes; convert it")


def test_nothing_left_the_machine(page):
    assert len(page.requested) > 5
    assert all(url.startswith(("file:", "blob:", "data:")) for url in page.requested)


def test_a_file_whose_pages_go_round_in_circles_does_not_stop_the_page(page, tmp_path):
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, scene(64, 64), photometric="minisblack", byteorder="<")
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (number,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * number, first)  # the next page is this one
    path.write_bytes(content)
    assert drop(page, path) == "circle.tif holds several frames; export a single image."


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing of what was asked for."""


@pytest.fixture
def address(html):
    """Where a plain server gives out the pages."""
    handler = partial(Quiet, directory=html)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_fits_a_phone_and_works_on_a_static_host(address, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{address}/segment.html")
    page.click("[data-part=try]")
    page.wait_for_function(READY, arg="simulated.dm4", timeout=120_000)
    width = "document.scrollingElement.scrollWidth"
    assert page.evaluate(width) <= 390
    for name in ("overlay", "mask"):
        box = page.locator(f"[data-part={name}]").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["width"] > 200
    context.close()

"""What the page of a review asks for, and what is then on disk."""

import http.client
import json
import threading

import numpy as np
import pytest
import tifffile

from graphseg.batch import masks as written
from graphseg.batch.masks import MaskFolder
from graphseg.errors import InputError
from graphseg.plotting.review import Review, Server, alone

SHAPE = (64, 80)
FAST = ("--no-test-time-augmentation", "--device", "cpu")


@pytest.fixture
def masks(run, tmp_path):
    """Masks of a series of two frames that need a look first, and of an image after them."""
    generator = np.random.default_rng(0)
    (tmp_path / "night").mkdir()
    images = generator.integers(0, 2000, (3, *SHAPE)).astype(np.uint16)
    tifffile.imwrite("night/one.tif", images[0])
    tifffile.imwrite("night/two.tif", images[1:], photometric="minisblack")
    assert run("segment", "night", "--output", "masks", "--pixel-size", 0.4, *FAST)[0] == 0
    folder = MaskFolder(tmp_path / "masks")
    for name, look in (("one", ""), ("two_frame_0000", "yes"), ("two_frame_0001", "yes")):
        path = folder.folder / ".graphseg" / "segment" / f"{name}.json"
        record = json.loads(path.read_text())
        record["row"] |= {"look_first": look, "flags": ""}
        path.write_text(json.dumps(record))
    return folder


def stroke(review, row, column, values):
    """Paint a rectangle as the page does."""
    height, width = values.shape
    place = {"row": row, "column": column, "height": height, "width": width, "last": True}
    ask(review, "stroke", values.astype(np.uint8).tobytes(), **place)


def ask(review, kind, body=b"", **more):
    return review.receive({"kind": kind, "view": review.values()["view"], **more}, body)


def test_a_stroke_is_on_disk_at_once_and_a_second_start_goes_on(masks):
    review = Review(masks)
    assert review.names == ["two_frame_0000", "two_frame_0001", "one"]
    automatic = masks.read("two_frame_0000")[0]
    stroke(review, 3, 5, np.full((4, 6), 3))
    stroke(review, 20, 5, np.full((4, 6), 2))
    mask, reviewed = MaskFolder(masks.folder).read("two_frame_0000")  # whatever happens now
    expected = automatic.copy()
    expected[3:7, 5:11], expected[20:24, 5:11] = True, False
    np.testing.assert_array_equal(mask, expected)
    assert reviewed.sum() == 48 and reviewed[3:7, 5:11].all() and reviewed[20:24, 5:11].all()
    ask(review, "undo")
    assert masks.read("two_frame_0000")[1].sum() == 24
    ask(review, "redo")
    ask(review, "accept")
    assert masks.read("two_frame_0000")[1].all()
    assert review.values()["name"] == "two_frame_0001"
    again = Review(masks)
    assert again.values()["name"] == "two_frame_0001"
    ask(again, "previous")
    assert again.values()["place"] == "1 of 3, accepted; 1 accepted in all"
    np.testing.assert_array_equal(masks.read("two_frame_0000")[0], expected)
    for _ in range(4):
        ask(again, "accept")
    assert "All 3 masks are accepted" in again.values()["status"]
    assert again.summary().startswith("3 of 3 masks accepted, 0 corrected in part")


def test_the_threshold_moves_what_nobody_has_painted(masks):
    review = Review(masks)
    stroke(review, 0, 0, np.full((10, 10), 3))
    _, ((about, buffers), _) = ask(review, "threshold", value=0.02)
    probability = masks.probability("two_frame_0000", masks.micrograph("two_frame_0000"), None)
    expected = probability >= 0.02
    expected[:10, :10] = True
    mask, reviewed = masks.read("two_frame_0000")
    np.testing.assert_array_equal(mask, expected)
    assert reviewed.sum() == 100  # a threshold is no look at every pixel
    shown = np.frombuffer(buffers[0], np.uint8).reshape(about["height"], about["width"])
    np.testing.assert_array_equal(shown & 1, mask)
    np.testing.assert_array_equal(shown > 1, reviewed)


def test_the_probability_is_that_of_the_network_that_made_the_mask(run, masks):
    options = ("--output", "other", "--model", "simulated", "--pixel-size", 0.4, *FAST)
    assert run("segment", "night", *options, "--probabilities", "float32")[0] == 0
    other = MaskFolder(masks.folder.parent / "other")
    image = other.micrograph("one")
    written = other.probability("one", image, None)
    np.testing.assert_array_equal(written >= 0.5, other.read("one")[0])
    (other.folder / "one_probability.tif").unlink()
    np.testing.assert_allclose(other.probability("one", image, None), written, atol=1e-6)
    record = other.folder / ".graphseg" / "segment" / "one.json"
    record.write_text(record.read_text().replace('"model": "', '"model": "0'))
    with pytest.raises(InputError, match="--model"):
        other.probability("one", image, None)


def test_what_cannot_be_done_is_said_on_the_page(masks):
    review = Review(masks)
    old = review.values()["view"]
    ask(review, "ready")
    before = masks.read("two_frame_0000")
    values, _ = review.receive({"kind": "accept", "view": old}, b"")
    assert "another page" in values["status"]
    for place in ((-1, 0), (SHAPE[0] - 1, 0)):
        stroke(review, *place, np.full((4, 6), 3))
        assert "outside" in review.values()["status"]
    stroke(review, 0, 0, np.full((4, 6), 4))
    assert "other values" in review.values()["status"]
    np.testing.assert_array_equal(masks.read("two_frame_0000"), before)
    (masks.folder.parent / "night" / "one.tif").unlink()
    for _ in range(3):
        ask(review, "next")
    assert "one.tif is gone" in review.values()["status"]
    assert review.values()["name"] == "two_frame_0001"


def test_only_who_has_the_address_gets_an_answer(masks):
    with alone(masks.folder), Server(Review(masks)) as server:
        with pytest.raises(InputError, match="being reviewed already"), alone(masks.folder):
            pass
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
        for path, expected in (
            (f"/{server.token}/", 200), (f"/{server.token}/start", 200), ("/", 404),
            ("/wrong/start", 404), (f"/{server.token}/../review.py", 404),
        ):  # fmt: skip
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == expected
        connection.request("POST", "/wrong/message", b"", {"X-Message": "{}"})
        assert connection.getresponse().status == 404
        connection.close()
        server.shutdown()
        thread.join()


def test_a_folder_without_masks_cannot_be_reviewed(run, tmp_path):
    code, _, err = run("review", tmp_path, "--no-browser")
    assert code == 2 and "no masks of graphseg segment" in err


def test_a_kill_amid_writing_leaves_what_was_before(masks, monkeypatch):
    review = Review(masks)
    stroke(review, 3, 5, np.full((4, 6), 3))
    before = masks.read("two_frame_0000")
    write, calls = written.write_mask, []

    def killed(path, part, size):
        calls.append(path)
        if len(calls) == 2:  # the corrected mask is written, and not what was reviewed
            raise KeyboardInterrupt
        write(path, part, size)

    monkeypatch.setattr(written, "write_mask", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(review, "accept")
    monkeypatch.undo()
    mask, reviewed = masks.read("two_frame_0000")
    np.testing.assert_array_equal(reviewed, before[1])
    np.testing.assert_array_equal(mask[reviewed], before[0][reviewed])
    assert Review(masks).values()["place"] == "1 of 3; 0 accepted in all"

"""``segment --watch``: files as they come, half-written ones only when they are complete."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import tifffile

from graphseg.batch import run as running
from graphseg.batch.manifest import find_inputs
from graphseg.batch.run import Result, run
from graphseg.batch.watch import complete_files

PATIENCE = 120  # s, on a machine that is busy


def image(seed):
    return np.random.default_rng(seed).integers(0, 999, (64, 72)).astype(np.uint16)


def test_a_file_is_given_when_it_is_complete_and_again_when_it_has_changed(tmp_path):
    looks = complete_files([str(tmp_path)], seconds=0.01)
    path = tmp_path / "a.tif"
    path.touch()  # empty, and no micrograph for long
    tifffile.imwrite(tmp_path / "b.tif", image(0))
    (tmp_path / "notes.txt").write_text("no image")
    assert [source.name for source in next(looks)] == ["b"]
    tifffile.imwrite(path, image(1))
    assert [source.name for source in next(looks)] == ["a"]
    tifffile.imwrite(tmp_path / "b.tif", image(2)[:40])
    assert [source.name for source in next(looks)] == ["b"]


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return {row["file"]: row["error"] for row in csv.DictReader(file)}


def wait_for(said):
    deadline = time.monotonic() + PATIENCE
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_night_is_watched_until_ctrl_c(tmp_path, root):
    night, masks = tmp_path / "night", tmp_path / "masks"
    night.mkdir()
    command = [sys.executable, "-m", "graphseg", "segment", "night", "--output", "masks"]
    command += ["--watch", "--no-test-time-augmentation", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True
    )
    try:
        assert "Waiting for files" in process.stderr.readline()
        tifffile.imwrite(night / "a.tif", image(0))
        wait_for((masks / "segment.csv").exists)
        assert list(table(masks / "segment.csv")) == ["night/a.tif"]
        # Written slowly, and its mask is not begun before it is complete.
        tifffile.imwrite(tmp_path / "b.tif", image(1))
        content = (tmp_path / "b.tif").read_bytes()
        with (night / "b.tif").open("wb", buffering=0) as file:
            for part in range(8):
                file.write(content[part * len(content) // 8 : (part + 1) * len(content) // 8])
                time.sleep(0.4)
                assert not (masks / "b_mask.tif").exists()
        (night / "broken.tif").write_bytes(b"II*\0 and no more")
        wait_for(lambda: len(table(masks / "segment.csv")) == 3)
        assert [bool(error) for error in table(masks / "segment.csv").values()] == [0, 0, 1]
        tifffile.imwrite(night / "broken.tif", image(2))  # it has come through after all
        wait_for((masks / "broken_mask.tif").exists)
        wait_for(lambda: not any(table(masks / "segment.csv").values()))
        tifffile.imwrite(night / "a.tif", image(3)[:50])  # it was not complete
        wait_for(lambda: tifffile.imread(masks / "a_mask.tif").shape == (50, 72))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "Traceback" not in err
    assert out.startswith("3 images done: ") and "segment.html" in out
    assert "broken.tif" in (masks / "segment.html").read_text(encoding="utf-8")


def test_what_is_no_folder_cannot_be_watched(run, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", image(0))
    for given in ("a.tif", "nowhere"):
        code, _, err = run("segment", given, "--output", "masks", "--watch")
        assert code == 2 and "--watch needs a folder" in err
    assert not (tmp_path / "masks").exists()


class Plain:
    """A task that does nothing."""

    command, suffixes = "plain", ()

    def made_by(self):
        return {"model": "none"}

    def threads(self):
        return 1

    def processes(self):
        return 1

    def work(self, micrograph, name):
        return Result({"flags": "", "model": ""})


def test_the_table_grows_while_a_run_goes_on(tmp_path, monkeypatch):
    for number in range(4):
        tifffile.imwrite(tmp_path / f"{number}.tif", image(number))
    monkeypatch.setattr(running, "TABLES", 0.0)
    monkeypatch.setattr(running, "TIME_FRACTION", 1e9)
    lengths = []
    found = run(
        Plain(), find_inputs([tmp_path]).sources, tmp_path / "out", progress=False,
        tables=lambda one: lengths.append((len(one.pairs), one.finished)),
    )  # fmt: skip
    assert len(lengths) == 4 and lengths[-1] == (4, 4) and found.finished == 4
    assert [finished for _, finished in lengths] == [1, 2, 3, 4]
    assert all(rows >= finished for rows, finished in lengths)

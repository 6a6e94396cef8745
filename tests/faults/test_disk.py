"""A full disk, and places that cannot be written: a clear error, and the last good state stays.

The full disk is a limit on the size of files (RLIMIT_FSIZE, which gives "File too large" where a
disk gives "No space left"), and writing that fails as on a full disk. What cannot be written is a
folder of which this process has no rights any more.
"""

import errno
import os
import resource
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from book.tools.dm4 import write_dm4
from graphseg.batch.reduction import read_reduced, write_reduced
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation import records
from graphseg.io import structures
from graphseg.unet import pretrained
from graphseg.unet.segmenter import UNetSegmenter
from tests.faults import guard

FAST = ("--no-test-time-augmentation", "--device", "cpu")
NOBODY = 65534


@contextmanager
def largest_file(size):
    """Let nothing be written beyond so many bytes of a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def state(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.fixture
def trained():
    images = np.random.default_rng(0).normal(size=(2, 16, 16))
    recipe = dict(levels=2, features=2, epochs=2, progress=False, device="cpu")
    return UNetSegmenter(**recipe).fit(images, images > 1)


def test_files_of_the_package_stay_as_they_were_when_the_disk_is_full(tmp_path, trained):
    images = np.random.default_rng(0).integers(0, 255, (1, 64, 64)).astype(np.uint8)
    writers = {
        "w.safetensors": trained.save,
        "r.json": lambda path: records.write_record(path, {"a": "b" * 9999}),
        "r.h5": lambda path: write_reduced(path, images, images > 9),
        "a.dm4": lambda path: write_dm4(path, images[0]),
        "a.csv": lambda path: structures.write_atoms_csv(
            path, np.random.default_rng(0).random((900, 2)), 0.4, (9, 9), overwrite=True
        ),
    }
    for name, write in writers.items():
        write(tmp_path / name)
    before = state(tmp_path)
    for name, write in writers.items():
        with largest_file(1000), pytest.raises((InputError, OSError)):
            write(tmp_path / name)
        assert state(tmp_path) == before, name
    assert read_reduced(tmp_path / "r.h5").images.shape == (1, 64, 64)


def test_a_training_says_what_stopped_it_and_goes_on(tmp_path, trained):
    images = np.random.default_rng(0).normal(size=(2, 16, 16))
    checkpoint = tmp_path / "c.checkpoint"
    recipe = trained.get_params() | {"checkpoint": checkpoint}
    with largest_file(500):
        said = guard.outcome(lambda: UNetSegmenter(**recipe).fit(images, images > 1))
    assert "cannot be written" in said and not list(tmp_path.iterdir())
    UNetSegmenter(**recipe).fit(images, images > 1)
    before = state(tmp_path)
    longer = recipe | {"epochs": 4, "schedule": "constant"}
    short = longer | {"epochs": 2, "checkpoint": tmp_path / "d.checkpoint"}
    UNetSegmenter(**short).fit(images, images > 1)
    before = state(tmp_path)
    with largest_file(500):
        longer |= {"checkpoint": short["checkpoint"]}
        assert guard.outcome(lambda: UNetSegmenter(**longer).fit(images, images > 1))
    assert state(tmp_path) == before
    assert len(UNetSegmenter(**longer).fit(images, images > 1).history_) == 4


@pytest.fixture
def night(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night").mkdir()
    for index, image in enumerate(load.load_simulated_sample().images[:3]):
        tifffile.imwrite(f"night/{index}.tif", (255 * image[:128, :128]).astype(np.uint8))
    return tmp_path


@pytest.mark.parametrize("command", ["segment", "analyse", "sort", "reduce"])
def test_a_folder_of_results_stays_good_when_the_disk_is_full(night, capsys, monkeypatch, command):
    arguments = (command, "night", "--output", "out", *FAST)
    with largest_file(400):
        code, _, told = guard.command(capsys, monkeypatch, *arguments)
    assert code == 2 and guard.is_sentence(told[-1]) and "make room" in told[-1]
    assert not list(Path("out").glob("[!.]*")) and not guard.unfinished("out")
    assert guard.command(capsys, monkeypatch, *arguments)[0] == 0
    before = state("out")
    with largest_file(400):  # what is there already cannot be replaced
        code, _, told = guard.command(
            capsys, monkeypatch, *arguments, "--overwrite", "--pixel-size", 0.4
        )
    assert code == 2 and "make room" in told[-1]
    assert {p: c for p, c in state("out").items() if "started" not in p.name} == {
        p: c for p, c in before.items() if "started" not in p.name
    }


def test_no_space_is_said_by_every_command_that_writes_one_file(night, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    recipe = ("--set", "epochs=1", "--set", "levels=1", "--set", "features=1")
    for arguments in (
        ("segment", "night", "--output", "out", *FAST),
        ("pretrain", "--images", 1, "--output", "w.safetensors", *recipe),
        ("evaluate", "bragg", "--source", "simulated", "--only", 0, "--set", "steps=0",
         "--output", "r.json"),
    ):  # fmt: skip
        code, _, told = guard.command(capsys, monkeypatch, *arguments)
        assert code == 2 and "No space left on device" in told[-1], told
        assert guard.is_sentence(told[-1])
        assert not [p for p in night.rglob("*.*") if p.is_file() and p.parent.name != "night"]


@contextmanager
def without_rights(folder):
    """Take away this process's right to write below a folder."""
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # who may do everything
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def test_what_cannot_be_written_is_said(night, capsys, monkeypatch):
    # Other users cannot look into the folders of pytest.
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "night").mkdir()
        for path in Path("night").iterdir():
            (folder / "night" / path.name).write_bytes(path.read_bytes())
        monkeypatch.chdir(folder)
        good = ("segment", "night", "--output", "out", *FAST)
        with without_rights(folder):
            code, _, told = guard.command(capsys, monkeypatch, *good)
        assert code == 2 and "Permission denied" in told[-1] and guard.is_sentence(told[-1])
        assert guard.command(capsys, monkeypatch, *good)[0] == 0
        before = state("out")
        for inside in ("out/.graphseg/partial", "out/.graphseg/segment", "out"):
            with without_rights(folder / inside):
                code, _, told = guard.command(
                    capsys, monkeypatch, *good, "--overwrite", "--pixel-size", 0.4
                )
            assert code == 2 and guard.is_sentence(told[-1]), inside
            assert state("out").keys() >= {p for p in before if p.suffix in (".tif", ".csv")}
        assert pretrained.load("default", device="cpu")

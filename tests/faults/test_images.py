"""Malformed and hostile image files through the readers and through the command line."""

import csv
import os

import numpy as np
import pytest

from graphseg.api import read_series
from graphseg.datasets.load import load_folder
from graphseg.io import guard as reading
from graphseg.io.micrographs import read_micrograph
from tests.faults import corpus_images, guard


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images") / "night"
    names = corpus_images.spoil(folder)
    yield folder, names
    reading._child.stop()


def is_image(found):
    return all(f.image.ndim == 2 and f.image.size and np.isfinite(f.image).all() for f in found)


def test_every_file_is_read_or_refused_with_one_sentence(spoilt):
    folder, names = spoilt
    refused = []
    for name in names:
        try:
            said = guard.outcome(lambda name=name: list(read_series(folder / name)), is_image)
        except (Exception, guard.Hang) as error:
            raise AssertionError(f"{name!r}: {type(error).__name__}: {error}") from error
        refused += [name] if said else []
        assert said is None or " ".join(name.split())[:40] in " ".join(said.split())
    assert len(names) >= 130 and len(refused) >= 100
    for name in ("bomb.tif", "bomb.zspy", "external_data.h5", "external_link.h5", "virtual.h5",
                 "slip.zspy", "pickle.zspy", "fifo.zspy", "link.zspy", "huge.mrc"):  # fmt: skip
        assert name in refused
    assert not os.path.exists("/tmp/graphseg_slipped")


def test_other_readers_refuse_them_in_the_same_way(spoilt):
    folder, names = spoilt
    for name in names[::9]:
        for read in (read_micrograph, load_folder):
            guard.outcome(lambda name=name, read=read: read(folder / name))


def test_a_folder_of_them_ends_with_a_table_of_what_failed(spoilt, tmp_path, capsys, monkeypatch):
    folder, names = spoilt
    out = tmp_path / "out"
    code, said, told = guard.command(
        capsys,
        monkeypatch,
        "segment",
        folder,
        "--output",
        out,
        "--no-test-time-augmentation",
        "--device",
        "cpu",
    )
    assert code == 2 and "images done" in said[-1]
    sentences = [line.strip() for line in told if str(folder) in line]
    assert not [line for line in sentences if not guard.is_sentence(line)]
    with open(out / "segment.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    failed = [row for row in rows if row["error"]]
    assert len(failed) >= 100 and f"{len(failed)} of {len(rows)} images failed" in told[-1]
    for row in rows:
        mask = out / f"{row['name']}_mask.tif"
        if not row["error"] and "\\ud" not in row["name"]:
            mask = read_micrograph(mask).image
            assert mask.shape == (int(row["height"]), int(row["width"]))
    assert not guard.unfinished(out)
    assert sorted(os.listdir(folder)) == names

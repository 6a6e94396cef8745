"""The commands for a folder of micrographs as a user meets them."""

import csv
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from distributed import Client
from PIL import Image

from graphseg.batch.reduction import LossWarning, read_reduced
from graphseg.batch.tasks import Network
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.io.micrographs import read_micrograph
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest
from graphseg.unet.segmenter import UNetSegmenter

FAST = ("--no-test-time-augmentation", "--device", "cpu")


def write(path, image, pixel_size=None):
    """Write a TIFF file as ImageJ does, with its pixel size in nm."""
    options = {}
    if pixel_size is not None:
        options = {"resolution": (10 / pixel_size,) * 2, "metadata": {"unit": "nm"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, imagej=True, **options)


@pytest.fixture(scope="session")
def sample():
    """Four simulated micrographs; the first has most contamination."""
    stack = load.load_simulated_sample()
    order = np.argsort(-stack.masks.mean(axis=(1, 2)), kind="stable")
    return stack.subset(order[[0, 1, -2, -1]])


@pytest.fixture
def night(tmp_path, sample):
    images = (255 * sample.images).round().astype(np.uint8)
    write(tmp_path / "night" / "a.tif", images[0], 0.4)
    write(tmp_path / "night" / "b.tif", images[1, :200], 0.4)
    write(tmp_path / "night" / "later" / "a.tif", images[2:], 0.4)
    return "night"


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_segment_writes_masks_maps_pictures_a_table_and_a_report(run, night, tmp_path):
    options = ("--output", "out", "--probabilities", "float16", "--overlays", *FAST)
    code, out, err = run("segment", night, *options)
    assert code == 0 and "4 images done" in out and "4/4" in err
    rows = table("out/segment.csv")
    names = ["a", "b", "later/a_frame_0000", "later/a_frame_0001"]
    assert [row["name"] for row in rows] == names
    network = Network.choose(test_time_augmentation=False, device="cpu")
    for row in rows:
        mask = read_micrograph(tmp_path / "out" / f"{row['name']}_mask.tif")
        assert mask.pixel_size == pytest.approx(0.4)
        assert mask.image.shape == (int(row["height"]), int(row["width"]))
        frame = int(row["frame"]) if row["frame"] else None
        predicted = network.predict(read_micrograph(row["file"], frame)).mask
        assert ((mask.image == 255) == predicted).all() and not predicted.all()
        contaminated = float(row["contaminated_fraction"])
        assert contaminated == pytest.approx((mask.image == 255).mean(), abs=1e-6)
        assert float(row["clean_fraction"]) == pytest.approx(1 - contaminated)
        assert float(row["clean_low"]) <= float(row["clean_fraction"]) <= float(row["clean_high"])
        assert row["pixel_size"] == "0.4" and row["pixel_size_from"] == "file"
        assert row["error"] == "" and float(row["seconds"]) > 0
        # Not all of them have 0.4 Å per pixel, and then the lattice tells.
        assert (row["flags"] == "out_of_distribution") == ("lattice constant" in row["warning"])
        assert (row["flags"] == "") == (row["warning"] == "") and float(row["ood_score"]) < 1
        probability = tifffile.imread(f"out/{row['name']}_probability.tif")
        assert probability.dtype == np.float16
        assert ((probability >= 0.5) == (mask.image == 255)).mean() > 0.999  # but for rounding
        overlay = np.asarray(Image.open(f"out/{row['name']}_overlay.png"))
        assert overlay.shape == mask.image.shape
    # One is far out of focus, others do not have the pixel size that is stated.
    assert sum(float(row["contaminated_fraction"]) > 0.05 for row in rows) >= 2
    report = (tmp_path / "out" / "segment.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]", report)
    for name in names:
        for end in (f"out/{name}_overlay.png", f"out/.graphseg/segment/{name}.jpg"):
            assert end.removeprefix("out/") in report and (tmp_path / end).exists()
    assert f"network: {Network.choose().digest[:12]}" in report


def test_another_network_gives_other_results(run, night):
    assert run("segment", night, "--output", "out", *FAST)[0] == 0
    model = pretrained.FOLDER / "fold_0.safetensors"
    command = ("segment", night, "--model", model, *FAST)
    assert run(*command, "--output", "other")[0] == 0
    first, second = table("out/segment.csv"), table("other/segment.csv")
    assert first[0]["model"] != second[0]["model"] == Network.choose(model).digest[:12]
    code, _, err = run(*command, "--output", "out")
    assert code == 2 and "--overwrite" in err


def test_networks_that_come_along_go_by_their_names(run, night, tmp_path):
    assert Network.choose(Path("general")) == Network.choose(
        pretrained.FOLDER / "general.safetensors"
    )
    assert run("segment", night, "--model", "general", "--output", "out", *FAST)[0] == 0
    digest = weights_digest(pretrained.FOLDER / "general.safetensors")
    assert {row["model"] for row in table("out/segment.csv")} == {digest[:12]}
    for model, chosen, expected in (
        (None, None, True),
        ("general", None, False),
        ("general", True, True),
    ):
        network = Network.choose(model and Path(model), test_time_augmentation=chosen)
        assert network.test_time_augmentation == expected
    code, _, err = run("segment", night, "--model", "bulrred", "--output", "o", *FAST)
    assert code == 2 and "bulrred" in err


def test_segment_continues_and_replaces_only_if_told(run, night, tmp_path):
    command = ("segment", night, "--output", "out", "--masks", "png", *FAST)
    assert run(*command)[0] == 0
    first = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_mask.png")}
    assert len(first) == 4
    assert run(*command)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_mask.png")} == first
    for other in (("--pixel-size", 0.45), ("--masks", "tif"), ("--no-resume",)):
        code, _, err = run(*command, *other)
        assert code == 2 and "--overwrite" in err and err.strip().count("\n") == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_mask.*")} == first
    command = (*command, "--pixel-size", 0.45)
    assert run(*command, "--overwrite")[0] == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_mask.png")} != first
    (tmp_path / "out" / "segment.csv").write_text("with my remarks")
    code, _, err = run(*command)
    assert code == 2 and "segment.csv exists already" in err
    assert (tmp_path / "out" / "segment.csv").read_text() == "with my remarks"


def test_broken_files_are_reported_and_the_others_done(run, night, tmp_path):
    (tmp_path / "night" / "broken.dm4").write_bytes(b"no image")
    write(tmp_path / "night" / "flat.tif", np.full((64, 64), 7, np.uint8), 0.4)
    command = ("segment", night, "missing.png", "--output", "out", *FAST)
    code, out, err = run(*command)
    assert code == 2 and "4 images done" in out and "3 of 7 images failed" in err
    assert "Traceback" not in err
    for name, reason in (
        ("broken.dm4", "a readable DM4"), ("flat.tif", "same value"), ("missing.png", "not exist"),
    ):  # fmt: skip
        lines = [line for line in err.splitlines() if name in line and reason in line]
        assert len(lines) == 1 and lines[0].count(name) == 1
    rows = table("out/segment.csv")
    assert sum(row["error"] != "" for row in rows) == 3 and len(rows) == 7
    report = (tmp_path / "out" / "segment.html").read_text(encoding="utf-8")
    assert "Images: 4; failed: 3" in report and "not exist" in report


def test_what_is_left_out_is_told_at_the_end(run, night, tmp_path):
    (tmp_path / "night" / "notes.txt").write_text("of the user")
    for command in (("sort", night), ("sort", night)):
        code, out, _ = run(*command, "--output", "night/out", *FAST)
        last = (
            f"Files left out: 1 (1 .txt): night/notes.txt. {tmp_path}/night/out/run.toml has all."
        )
        assert code == 0 and out.splitlines()[-1] == last  # and no result of the first time


def test_other_scales_are_told_and_flagged(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 72)).astype(np.uint8)
    write(tmp_path / "near.tif", noise, 0.4)
    write(tmp_path / "coarse.tif", noise, 1.0)
    command = ("segment", "near.tif", "coarse.tif", "--output", "out", *FAST)
    code, _, err = run(*command)
    assert code == 0 and "coarse.tif: With 1 Å per pixel" in err and "near.tif: With" not in err
    assert "near.tif: The image is outside of what the network knows: no lattice" in err
    for row in table("out/segment.csv"):
        assert row["expected_jaccard"] == row["expected_low"] == row["expected_high"] == ""
        assert row["look_first"] == "yes"
    flags = {row["name"]: row["flags"] for row in table("out/segment.csv")}
    assert flags == {
        "near": "out_of_distribution",
        "coarse": "outside_known_scale out_of_distribution",
    }
    # The user knows better.
    code, _, err = run(*command, "--pixel-size", 0.4, "--overwrite")
    assert code == 0 and "Å per pixel" not in err
    assert {row["pixel_size_from"] for row in table("out/segment.csv")} == {"given"}
    code, _, err = run(*command, "--pixel-size", -1)
    assert code == 2 and "pixel size" in err


def test_expected_quality_is_blank_where_an_image_is_flagged(run, night):
    assert run("sort", night, "--output", "out", *FAST)[0] == 0
    rows = table("out/sort.csv")
    assert {bool(row["flags"]) for row in rows} == {True, False}
    for row in rows:
        names = ("expected_jaccard", "expected_low", "expected_high")
        assert {row[name] == "" for name in names} == {bool(row["flags"])}
        assert row["look_first"] == "yes" or not row["flags"]


def test_a_network_of_ones_own_that_calls_everything_contaminated_is_flagged(run, night, tmp_path):
    """Nothing is known of its training images, and still no row is silent nonsense."""
    network = UNetSegmenter(levels=2, features=2, epochs=0, device="cpu", progress=False)
    images = np.random.default_rng(0).normal(size=(1, 32, 32))
    network.fit(images, images > 9).set_params(threshold=0.0).save(tmp_path / "all.safetensors")
    command = ("segment", night, "--model", "all.safetensors", "--output", "out", *FAST)
    code, _, err = run(*command)
    assert code == 0 and "100.0% of the image is called contaminated" in err
    for row in table("out/segment.csv"):
        assert row["contaminated_fraction"] == "1.0" and row["look_first"] == "yes"
        assert row["flags"].split()[-1] == "nearly_all_contaminated" and row["warning"]
        assert "expected_jaccard" not in row
    report = (tmp_path / "out" / "segment.html").read_text(encoding="utf-8")
    assert "to be looked at first: 4" in report


def test_sort_ranks_by_the_clean_fraction(run, night):
    assert run("sort", night, "--output", "out", *FAST)[0] == 0
    rows = table("out/sort.csv")
    fractions = [float(row["clean_fraction"]) for row in rows]
    assert fractions == sorted(fractions, reverse=True) and {rows[2]["name"], rows[3]["name"]} == {
        "a",
        "b",
    }
    assert [row["rank"] for row in rows] == list("1234")
    assert all(int(r["best_rank"]) <= int(r["rank"]) <= int(r["worst_rank"]) for r in rows)


def test_sort_can_leave_out_vacuum(run, sample, tmp_path):
    image = (255 * sample.images[3]).astype(np.uint8)
    rows, columns = np.indices(image.shape)
    hole = np.hypot(rows - 128, columns - 128) < 45
    noise = np.random.default_rng(0).normal(image.mean(), 4, image.shape)
    write(tmp_path / "hole.tif", np.where(hole, noise, image).astype(np.uint8), 0.46)
    command = ("sort", "hole.tif", *FAST)
    assert run(*command, "--output", "all")[0] == 0
    assert run(*command, "--output", "usable", "--exclude-vacuum")[0] == 0
    everything, usable = table("all/sort.csv")[0], table("usable/sort.csv")[0]
    lost = float(everything["clean_fraction"]) - float(usable["clean_fraction"])
    assert lost == pytest.approx(hole.mean(), abs=0.04)
    assert float(usable["clean_high"]) < float(everything["clean_high"])


def test_analyse_finds_the_structure(run, night, sample, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8)
    write(tmp_path / "night" / "noise.tif", noise)
    assert run("analyse", night, "--output", "out", *FAST)[0] == 0
    rows = {row["name"]: row for row in table("out/analyse.csv")}
    empty = rows.pop("noise")
    assert "no_lattice" in empty["flags"].split() and empty["atoms"] == ""
    assert not list((tmp_path / "out").glob("noise*"))
    for name, row in rows.items():
        shape = int(row["height"]), int(row["width"])
        atoms, bonds = table(f"out/{name}_atoms.csv"), table(f"out/{name}_bonds.csv")
        assert len(atoms) == int(row["atoms"]) > 500 and len(bonds) == int(row["bonds"])
        with open(f"out/{name}_atoms.xyz") as file:
            assert int(file.readline()) == len(atoms)
        classes = np.asarray(Image.open(f"out/{name}_classes.png"))
        assert classes.shape == (*shape, 3)
        blue = (classes == np.array([0x00, 0x72, 0xB2])).all(axis=2)  # contamination
        assert blue.mean() == pytest.approx(float(row["contaminated_fraction"]), abs=1e-6)
        places = np.array([(float(r["row_down_px"]), float(r["column_right_px"])) for r in atoms])
        assert not blue[tuple(np.rint(places).astype(int).T)].any()
        areas = [float(row[f"{c}_nm2"]) for c in ("lattice", "boundary", "vacuum", "contamination")]
        assert sum(areas) == pytest.approx(np.prod(shape) * (0.04) ** 2, rel=1e-4)
        defects = table(f"out/{name}_defects.csv")
        kinds = [defect["kind"] for defect in defects]
        assert kinds.count("vacancy") == int(row["vacancies"])
        others = sum(int(row[f"rings_{size}"]) for size in (4, 5, 7, 8, 9))
        assert kinds.count("ring") == others and len(defects) == int(row["defects"])
        rings = [ring["size"] for ring in table(f"out/{name}_rings.csv")]
        assert all(rings.count(f"{size}") == int(row[f"rings_{size}"]) for size in range(4, 10))
        assert float(row["mean_ring_size"]) == pytest.approx(6, abs=0.1)
    report = (tmp_path / "out" / "analyse.html").read_text(encoding="utf-8")
    assert "6-rings" in report and "y_up_angstrom" in report


@pytest.mark.parametrize("command", ["analyse", "reduce"])
def test_where_no_lattice_can_be_seen_a_flag_says_so(run, sample, tmp_path, command):
    image = (255 * sample.images[0]).astype(np.uint8)
    for name, size in (("coarse", 1.5), ("nearly", 1.1), ("fine", 0.012)):
        write(tmp_path / "night" / f"{name}.tif", image, size)
    write(tmp_path / "night" / "small.tif", image[:24, :24], 0.4)
    assert run(command, "night", "--output", "out", *FAST)[0] == 0
    for row in table(f"out/{command}.csv"):
        assert "no_lattice" in row["flags"].split() and row["contaminated_fraction"] != ""


def test_structures_need_no_ase_and_can_be_left_out(run, night, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ase", None)  # an import of it fails
    assert run("analyse", "night/a.tif", "--output", "with", *FAST)[0] == 0
    assert [path.name for path in tmp_path.rglob("*.xyz")] == ["a_atoms.xyz"]
    assert run("analyse", "night/a.tif", "--output", "out", "--no-structures", *FAST)[0] == 0
    assert (tmp_path / "out" / "a_atoms.csv").exists() and len(list(tmp_path.rglob("*.xyz"))) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_reduce_loses_nothing_unless_told(run, sample, tmp_path, dtype):
    image = (200 * sample.images[0]).astype(dtype)
    write(tmp_path / "a.tif", image, 0.4)
    command = ("reduce", "a.tif", *FAST)
    assert run(*command, "--output", "out")[0] == 0
    back = read_reduced("out/a_reduced.h5")
    assert back.images.dtype == dtype and (back.images[0] == image).all()
    assert back.names == ("a",) and back.pixel_size[0] == pytest.approx(0.4)
    row = table("out/reduce.csv")[0]
    assert float(row["coarse_fraction"]) == 0 and int(row["original_bytes"]) == image.nbytes
    assert run(*command, "--output", "small", "--mode", "flat", "--margin", 0)[0] == 0
    with pytest.warns(LossWarning, match="NOT LOSSLESS"):
        back = read_reduced("small/a_reduced.h5")
    row = table("small/reduce.csv")[0]
    assert (back.images[0] == image)[back.exact[0]].all()
    assert float(row["coarse_fraction"]) == pytest.approx((~back.exact).mean(), abs=1e-6)
    assert float(row["rmse"]) > 0 and float(row["ratio"]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segment", "night", "--output", "m", "--model", "none.safetensors"), "no weight file"),
        (("segment", "night", "--output", "m", "--device", "cuda:7"), "not available"),
        (("segment", "night", "--output", "m", "--masks", "bmp"), "--masks bmp"),
        (("segment", "night", "--output", "m", "--probabilities", "int8"), "--probabilities int8"),
        (("segment", "*.dm4", "--output", "m"), "gives no micrograph"),
        (("reduce", "night", "--output", "m", "--mode", "jpeg"), "Unknown mode"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, night, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert err.strip().count("\n") == 0


@pytest.mark.parametrize("command", ["segment", "analyse", "sort", "reduce"])
def test_help_has_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and f"graphseg {command} night/" in " ".join(out.split())
    assert f"graphseg {command} night/" in run("--help")[1]


def test_a_worker_refuses_another_network():
    network = Network.choose()
    assert network.precision in ("float32", "bfloat16")  # the same for all workers
    other = replace(network, digest="0" * 64)
    with pytest.raises(InputError, match="not the same on all machines"):
        other.segmenter()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a Dask scheduler with two workers, each started in a folder of its own."""
    hosts = tmp_path_factory.mktemp("hosts")
    dask = (sys.executable, "-m", "dask")
    file = hosts / "scheduler.json"
    common = ("--scheduler-file", str(file), "--no-dashboard")
    commands = [(*dask, "scheduler", *common, "--host", "127.0.0.1", "--port", "0")]
    commands += 2 * [(*dask, "worker", *common, "--nthreads", "1", "--host", "127.0.0.1")]
    started = []
    try:
        for number, command in enumerate(commands):
            folder = hosts / str(number)
            folder.mkdir()
            told = (folder / "log").open("w")
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            started.append(
                subprocess.Popen(command, cwd=folder, stdout=told, stderr=told, env=environment)
            )
            told.close()
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def test_two_hosts_of_a_scheduler_do_what_this_machine_does(run, night, scheduler, tmp_path):
    where = ("--scheduler", scheduler)
    for command in ("segment", "analyse", "sort"):
        rows = []
        for name, options in ((f"{command}_here", ()), (f"{command}_there", where)):
            code, out, err = run(command, night, "--output", name, *FAST, *options)
            assert code == 0 and "4 images done" in out, err
            rows.append(
                [row | {"seconds": ""} for row in table(tmp_path / name / f"{command}.csv")]
            )
        assert rows[0] == rows[1]
        here, there = (
            {
                str(path.relative_to(tmp_path / name)): path.read_bytes()
                for path in (tmp_path / name).rglob("*_*.*")
                if path.suffix in (".tif", ".png", ".csv", ".xyz")
            }
            for name in (f"{command}_here", f"{command}_there")
        )
        assert here and here == there


def executed(scheduler):
    """How many calls the workers have done so far."""
    with Client(scheduler) as client:
        client.wait_for_workers(2, timeout=60)
        done = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert len(done) == 2
    return sum(done.values())


def test_the_folds_of_a_training_run_on_the_hosts(run, scheduler, sample, tmp_path):
    for name, image, mask in zip(sample.names, sample.images, sample.masks, strict=True):
        write(tmp_path / "labels" / f"{name}.tif", (255 * image).astype(np.uint8), 0.4)
        label = Image.fromarray(mask * np.uint8(255))
        label.save(tmp_path / "labels" / f"{name}_LABEL.png")
    small = (
        "--from", "nothing", "--set", "features=4", "--set", "levels=2", "--set", "epochs=1",
        "--set", "device=cpu", "--set", "precision=float32", "--folds", 2,
    )  # fmt: skip
    found, before = [], executed(scheduler)
    for name, where in (("here", ()), ("there", ("--scheduler", scheduler))):
        code, out, err = run("train", "labels", "--output", f"{name}.safetensors", *small, *where)
        assert code == 0 and "mean ± spread of 2 folds" in out, err
        found.append(json.loads((tmp_path / f"{name}_card.json").read_text())["cross_validation"])
    assert found[0] == found[1]
    assert executed(scheduler) >= before + 2  # they were trained there

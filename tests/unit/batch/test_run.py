"""A folder of micrographs: nothing is lost, nothing is half-written, nothing is done twice."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from graphseg.batch import manifest, pools
from graphseg.batch import run as batch
from graphseg.batch.manifest import HIDDEN, Source, find_inputs
from graphseg.batch.run import Outcome, Result
from graphseg.cli.application import skipped_text
from graphseg.errors import InputError
from tests.helpers.batch_task import SIGKILL, Brightness, run
from tests.helpers.microscope_files import write_dm4


def image(seed, shape=(16, 17)):
    return np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8)


@pytest.fixture
def night(tmp_path):
    """A folder with six images, one of them in a folder, and a series of three frames."""
    folder = tmp_path / "night"
    (folder / "later").mkdir(parents=True)
    for index in range(5):
        tifffile.imwrite(folder / f"image_{index}.tif", image(index))
    tifffile.imwrite(folder / "later" / "image_0.tif", image(9))
    tifffile.imwrite(folder / "series.tif", image(20, (3, 16, 17)), photometric="minisblack")
    return folder


def content(folder):
    """Everything in a folder of results, records without times, and nothing unfinished."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if "partial" in path.parent.name:
            continue
        if path.suffix == ".json" and HIDDEN in name:
            record = json.loads(path.read_text())
            del record["row"]["seconds"]
            files[name] = record
        else:
            files[name] = path.read_bytes()
    return files


def timeless(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_every_image_and_frame_has_its_results(night, tmp_path):
    out = tmp_path / "out"
    found = run(night, out)
    assert found.finished == 9 and not found.errors
    names = [f"image_{i}" for i in range(5)] + ["later/image_0"]
    names += [f"series_frame_{i:04d}" for i in range(3)]
    assert [row["name"] for row in found.rows] == names
    assert [row["frame"] for row in found.rows] == [""] * 6 + [0, 1, 2]
    assert found.rows[5]["file"] == str(night / "later" / "image_0.tif")
    assert all(row["written"] and row["error"] == "" for row in found.rows)
    for name, seed in ((names[2], 2), ("later/image_0", 9)):
        assert (out / f"{name}_mean.txt").read_text() == f"{image(seed).mean():.3f} 1"
        expected = image(seed).tobytes()
        assert (out / f"{name}_copy.bin").read_bytes() == expected
    frame = image(20, (3, 16, 17))[2].mean()
    assert (out / "series_frame_0002_mean.txt").read_text() == f"{frame:.3f} 1"
    assert not list((out / HIDDEN / "partial").iterdir())


def test_what_is_finished_is_not_done_again(night, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = run(night, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    monkeypatch.setattr(batch, "open_series", None)  # nothing may even be opened
    again = run(night, out)
    assert again.pairs == first.pairs
    assert again.finished == 9 and not again.errors
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == before


def test_what_is_missing_is_done_and_nothing_else(night, tmp_path):
    out = tmp_path / "out"
    run(night, out)
    undisturbed = content(out)
    gone = [out / "image_1_mean.txt", out / "series_frame_0001_copy.bin"]
    for path in gone:
        path.unlink()
    before = {p: p.stat().st_mtime_ns for p in out.glob("*") if p.is_file()}
    assert run(night, out).finished == 9
    assert content(out) == undisturbed
    same = [p for p, modified in before.items() if p.stat().st_mtime_ns == modified]
    assert len(same) == len(before) - 2  # the other result of each of the two


def test_a_moved_folder_is_recognised_by_its_content(night, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(night, out)
    moved = night.rename(tmp_path / "moved")
    for path in moved.rglob("*.tif"):
        os.utime(path)
    monkeypatch.setattr(batch, "open_series", None)
    found = run(moved, out)
    assert found.finished == 9
    assert {Path(row["file"]).is_relative_to(moved) for row in found.rows} == {True}


@pytest.mark.parametrize(
    "why", ["input", "options", "edited", "out_of_distribution", "no resume", "table"]
)
def test_what_is_in_the_way_is_replaced_only_if_told(night, tmp_path, why):
    out, task, options = tmp_path / "out", Brightness(), {}
    if why == "out_of_distribution":
        out.mkdir()
        (out / "image_3_mean.txt").write_text("mine")
    else:
        run(night, out)
    if why == "input":
        tifffile.imwrite(night / "image_3.tif", image(99))
    elif why == "options":
        task = Brightness(version=2)
    elif why == "edited":
        (out / "image_3_mean.txt").write_text("edited by hand")
    elif why == "no resume":
        options = {"resume": False}
    elif why == "table":
        (out / "brightness.csv").write_text("mine")
    before = content(out)
    with pytest.raises(InputError, match="--overwrite"):
        run(night, out, task, **options)
    assert content(out) == before
    found = run(night, out, task, overwrite=True, **options)
    assert found.finished == 9 and not found.errors
    fresh = tmp_path / "fresh"
    run(night, fresh, task)
    if why != "table":  # which the run itself does not write
        assert content(out) == content(fresh)


def test_results_that_are_no_longer_wanted_go_only_if_told(night, tmp_path):
    class More(Brightness):
        suffixes = (*Brightness.suffixes, "_more.txt")

        def made_by(self):
            return {"version": 3}

        def work(self, micrograph, name):
            result = super().work(micrograph, name)
            result.outputs["_more.txt"] = lambda path: path.write_text("more") and {}
            return result

    class Other(Brightness):
        suffixes = ("_other.txt",)

        def work(self, micrograph, name):
            return Result({}, {"_other.txt": lambda path: path.write_text("other") and {}})

        def made_by(self):
            return {"version": 4}

    out = tmp_path / "out"
    run(night, out, More())
    assert len(list(out.rglob("*_more.txt"))) == 9
    before = content(out)
    with pytest.raises(InputError, match="--overwrite"):
        run(night, out, Other())  # none of its own results is in the way
    assert content(out) == before
    run(night, out, overwrite=True)
    assert not list(out.rglob("*_more.txt"))


def test_files_that_fail_are_named_and_the_others_done(night, tmp_path, capsys):
    (night / "broken.dm4").write_bytes(b"no image")
    tifffile.imwrite(night / "empty.tif", np.full((16, 17), np.nan, np.float32))
    frames = image(30, (3, 16, 17)).astype(np.float32)
    frames[1, 3] = np.nan
    tifffile.imwrite(night / "half.tif", frames, photometric="minisblack")
    found = run(night, tmp_path / "out")
    assert found.finished == 9 + 2 and len(found.errors) == 3
    starts = ("broken.dm4 ", "empty.tif ", "half.tif, frame 1: ")
    for text, start in zip(sorted(found.errors), starts, strict=True):
        assert text.startswith(str(night / start)) and "\n" not in text and text.endswith(".")
    assert sum(row["error"] != "" for row in found.rows) == 3
    assert capsys.readouterr().err.count(str(night)) == 3
    # The next run tries them again; what is repaired is done.
    tifffile.imwrite(night / "empty.tif", image(31))
    again = run(night, tmp_path / "out")
    assert again.finished == 12 and len(again.errors) == 2


def test_a_task_that_fails_in_any_way_costs_one_image_only(night, tmp_path):
    class Weak(Brightness):
        def work(self, micrograph, name):
            if micrograph.frame == 1:
                raise MemoryError("no room")
            result = super().work(micrograph, name)
            if name == "image_2":
                result.outputs["_mean.txt"] = self.fail
            return result

        def fail(self, path):
            raise ValueError("no sense")

    found = run(night, tmp_path / "out", Weak())
    assert found.finished == 7
    assert sorted(found.errors) == [
        f"{night / 'image_2.tif'}: ValueError: no sense",
        f"{night / 'series.tif'}, frame 1: MemoryError: no room",
    ]
    assert not list((tmp_path / "out" / HIDDEN / "partial").iterdir())


def test_a_full_disk_stops_the_run_with_one_sentence(night, tmp_path):
    class Full(Brightness):
        def work(self, micrograph, name):
            def write(path):
                path.write_text("half")
                raise OSError(28, "No space left on device")

            return Result({}, {"_mean.txt": write})

    with pytest.raises(InputError, match="No space left on device"):
        run(night, tmp_path / "out", Full())
    assert not list((tmp_path / "out").glob("*.txt"))


def test_warnings_are_told_for_the_first_images_only(tmp_path, capsys):
    folder = tmp_path / "night"
    folder.mkdir()
    for index in range(14):
        tifffile.imwrite(folder / f"{index:02d}.tif", image(index) // 16)
    found = run(folder, tmp_path / "out")
    assert len(found.warnings) == 14 and found.finished == 14
    told = capsys.readouterr().err
    assert told.count("It is dark.") == batch.SHOWN_WARNINGS and "4 more warnings" in told


class Dead(BaseException):
    """The end of the process, for the code that it happens to."""


@pytest.fixture
def life(monkeypatch):
    """Let the process die before the n-th renaming or removal of a file: ``life.left = n``."""

    class Life:
        left = 10**9

    def mortal(function):
        def step(*arguments, **options):
            if Life.left == 0:
                raise Dead
            Life.left -= 1
            return function(*arguments, **options)

        return step

    for name in ("replace", "unlink"):
        monkeypatch.setattr(os, name, mortal(getattr(os, name)))
    return Life


@pytest.mark.parametrize("overwrite", [False, True])
def test_dying_at_any_step_of_writing_changes_nothing_in_the_end(tmp_path, life, overwrite):
    night, out = tmp_path / "night", tmp_path / "out"
    night.mkdir()
    tifffile.imwrite(night / "one.tif", image(1))
    tifffile.imwrite(night / "series.tif", image(2, (2, 16, 17)), photometric="minisblack")
    task = Brightness(version=2)
    run(night, tmp_path / "undisturbed", task)
    undisturbed = content(tmp_path / "undisturbed")
    deaths = 0
    while True:
        shutil.rmtree(out, ignore_errors=True)
        if overwrite:
            run(night, out)
        life.left = deaths
        try:
            run(night, out, task, overwrite=overwrite)
            break
        except Dead:
            deaths += 1
        life.left = 10**9
        for path in out.rglob("*_mean.txt"):
            assert path.read_text()[-1] in "12"  # whole, the old one or the new one
        assert run(night, out, task, overwrite=overwrite).finished == 3
        assert content(out) == undisturbed
    assert deaths > 20


def kill_when(process, folder, number):
    """Kill a process as soon as there are as many results."""
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("*_mean.txt"))) < number:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    time.sleep(1)  # its workers see that it is dead, and stop


@pytest.fixture
def long_night(tmp_path):
    folder = tmp_path / "night"
    folder.mkdir()
    for index in range(20):
        tifffile.imwrite(folder / f"{index:02d}.tif", image(index))
    return folder


@pytest.mark.skipif(SIGKILL is None, reason="this system cannot kill like that")
@pytest.mark.parametrize(("workers", "kills"), [(1, (3, 12)), (2, (8,))])
def test_a_run_that_is_killed_continues_to_the_same_end(long_night, tmp_path, workers, kills):
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    found = run(long_night, undisturbed, Brightness())
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import tests.helpers.batch_task as t;"
        "from pathlib import Path;"
        f"t.run(Path({str(long_night)!r}), Path({str(out)!r}), t.Brightness(seconds=0.05),"
        f"workers={workers})"
    )
    for number in kills:
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
        kill_when(process, out, number)
        process.stderr.close()
    done = len(list(out.rglob("*_mean.txt")))
    assert kills[-1] <= done < 20
    again = run(long_night, out)
    assert content(out) == content(undisturbed)
    assert timeless(again.rows) == timeless(found.rows)


@pytest.mark.skipif(SIGKILL is None, reason="this system cannot kill like that")
def test_the_death_of_a_process_costs_nothing_or_the_file_that_causes_it(long_night, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    found = run(long_night, undisturbed)
    task = Brightness(killers=("07",), once="03", mercy=str(tmp_path / "mercy"))
    survived = run(long_night, tmp_path / "out", task, workers=2)
    assert (tmp_path / "mercy").exists() and survived.finished == 19
    assert [Path(text.split(":")[0]).name for text in survived.errors] == ["07.tif"]
    assert "died twice" in survived.errors[0]
    expected = {name: v for name, v in content(undisturbed).items() if "07" not in name}
    assert content(tmp_path / "out") == expected
    good = [row for row in survived.rows if not row["error"]]
    assert timeless(good) == [row for row in timeless(found.rows) if row["name"] != "07"]


@pytest.mark.skipif(SIGKILL is None, reason="this system cannot kill like that")
def test_dask_workers_give_the_same_even_if_one_is_killed(long_night, tmp_path):
    from distributed import LocalCluster

    found = run(long_night, tmp_path / "undisturbed")
    task = Brightness(once="07", mercy=str(tmp_path / "mercy"))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        there = run(long_night, tmp_path / "out", task, scheduler=cluster.scheduler_address)
    assert (tmp_path / "mercy").exists()
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")
    assert timeless(there.rows) == timeless(found.rows) and not there.errors


def test_a_scheduler_that_does_not_answer_is_one_sentence(night, tmp_path, monkeypatch):
    from distributed import Client, default_client

    made = []
    start = Client.start
    monkeypatch.setattr(pools, "ANSWER", 1)
    monkeypatch.setattr(Client, "start", lambda self, **kw: (made.append(self), start(self, **kw)))
    with pytest.raises(InputError, match="No Dask scheduler answers"):
        run(night, tmp_path / "out", scheduler="tcp://127.0.0.1:9")
    # Left to the garbage collector, a client may wait there for ever.
    assert [client.status for client in made] == ["closed"]
    with pytest.raises(ValueError, match="No clients"):
        default_client()


def started_pools(monkeypatch):
    """The numbers of processes of the pools that are opened from now on."""
    opened, original = [], pools.local_processes
    monkeypatch.setattr(pools, "local_processes", lambda n: (opened.append(n), original(n))[1])
    return opened


def test_processes_are_started_only_for_long_work_and_as_many_as_fit(
    long_night, tmp_path, monkeypatch
):
    opened, sources = started_pools(monkeypatch), find_inputs([long_night]).sources
    task = Brightness()
    # A short run stays in this process, however many are allowed; a long one leaves it.
    short = batch.run(task, sources, tmp_path / "short", workers=2, progress=False)
    assert opened == []
    monkeypatch.setattr(batch, "LONG", 0.0)
    for free, processes in ((5 * pools.PROCESS, 2), (1.9 * pools.PROCESS, None)):
        monkeypatch.setattr(batch, "free_memory", lambda free=free: free)
        opened.clear()
        out = tmp_path / f"{processes}"
        long = batch.run(task, sources, out, progress=False)
        assert opened == ([processes] if processes else [])
        assert content(out) == content(tmp_path / "short")
        assert timeless(long.rows) == timeless(short.rows)


def test_free_memory_is_that_of_the_container(monkeypatch):
    texts = {"/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  3000 kB\n"}

    def read_text(path):
        if str(path) not in texts:
            raise FileNotFoundError(path)
        return texts[str(path)]

    assert 0 < batch.free_memory() < 2**50
    monkeypatch.setattr(Path, "read_text", read_text)
    assert batch.free_memory() == 3000 * 1024
    texts |= {"/sys/fs/cgroup/memory.max": "2000000", "/sys/fs/cgroup/memory.current": "500000"}
    assert batch.free_memory() == 1_500_000
    texts["/sys/fs/cgroup/memory.max"] = "max"
    assert batch.free_memory() == 3000 * 1024
    texts.clear()
    assert batch.free_memory() == batch.UNKNOWN


def test_memory_bounds_what_is_read_ahead(tmp_path, monkeypatch):
    """While a budget of three images is used up, no fourth is read."""
    night = tmp_path / "night"
    night.mkdir()
    for index in range(12):
        tifffile.imwrite(night / f"{index:02d}.tif", image(index))
    monkeypatch.setattr(batch, "memory_for", lambda threads: 3 * batch.WORK * 16 * 17)
    read, written = [], []

    class Watching(Brightness):
        def work(self, micrograph, name):
            written.append(name)
            # One more may be read and wait at the gate.
            assert len(read) - len(written) <= 3
            return super().work(micrograph, name)

    original = batch.open_series

    def counting(path):
        read.append(path)
        return original(path)

    monkeypatch.setattr(batch, "open_series", counting)
    assert run(night, tmp_path / "out", Watching()).finished == len(read) == 12


def touched(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def named(*inputs):
    return [source.name for source in find_inputs(inputs).sources]


def test_folders_patterns_and_files_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched(tmp_path, "a/x.DM4", "a/b/y.png", "a/notes.txt", "a/.hidden/z.png", "a/.z.png", "c.mrc")
    (tmp_path / "a" / "store.zarr" / "0").mkdir(parents=True)
    touched(tmp_path, "a/store.zarr/0/inner.png")
    assert named("a") == ["b/y", "store", "x"]
    assert [source.shown for source in find_inputs(["a"]).sources] == [
        os.path.join("a", name) for name in (os.path.join("b", "y.png"), "store.zarr", "x.DM4")
    ]
    assert named("a/*.DM4", "a/x.DM4", "c.mrc") == ["x", "c"]
    assert named("a/b/*.png", "a/**/y.*") == ["y"]
    assert named("a/**/y.*") == ["b/y"]
    assert named("*") == ["a/b/y", "a/store", "a/x", "c"]
    assert named("missing.dm4") == ["missing"]
    touched(tmp_path, "a/[1].png")
    assert named("a/[1].png") == ["[1]"]
    for nothing in ("a/*.ser", "a/*.txt", "a/.hidden/deeper"):
        (tmp_path / "a" / ".hidden" / "deeper").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="gives no micrograph"):
            find_inputs([nothing])


def test_labels_and_results_are_no_micrographs(tmp_path):
    for index in range(2):
        tifffile.imwrite(tmp_path / f"{index}.tif", image(index))
    touched(tmp_path, "0_LABEL.tif", "1_LABEL.png", "5_LABEL.tif")
    assert named(tmp_path) == ["0", "1", "5_LABEL"]
    (tmp_path / "5_LABEL.tif").unlink()

    class Masks(Brightness):
        suffixes = ("_mask.tif",)

        def work(self, micrograph, name):
            write = lambda path: tifffile.imwrite(path, micrograph.image) and {}  # noqa: E731
            return Result({}, {"_mask.tif": write})

    run(tmp_path, tmp_path, Masks())  # results beside the images
    assert (tmp_path / "0_mask.tif").exists() and named(tmp_path) == ["0", "1"]
    with pytest.raises(InputError, match="only labels and results"):
        find_inputs([tmp_path / "0_mask.tif"])


def test_equal_names_get_results_of_their_own(tmp_path):
    files = [
        "monday/x.png", "tuesday/x.png", "monday/y.png", "tuesday/y.tif", "monday/Y.dm4", "z.png",
        "monday/w.png", "monday/w.dm4",
    ]  # fmt: skip
    touched(tmp_path, *files)
    names = dict(zip(sorted(files), named(*(tmp_path / name for name in files)), strict=True))
    assert names["monday/x.png"] == "monday/x" and names["tuesday/x.png"] == "tuesday/x"
    assert names["z.png"] == "z"
    assert {names["monday/w.png"], names["monday/w.dm4"]} == {"w_png", "w_dm4"}
    assert {names["monday/y.png"], names["monday/Y.dm4"]} == {"monday/y_png", "monday/Y_dm4"}
    assert len({name.lower() for name in names.values()}) == len(files)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "a/", "b/", "a/b/"]), st.sampled_from("xyX"),
                  st.sampled_from([".png", ".tif", ".DM4"])),
        min_size=1, unique=True,
    )
)  # fmt: skip
def test_names_always_differ(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("names")
    files = ["".join(part) for part in parts]
    touched(folder, *files)
    for inputs in ([folder], [folder / file for file in files]):
        names = named(*inputs)
        assert len({name.lower() for name in names}) == len(names) == len(set(files))


def test_two_sessions_of_dm4_and_tiff_of_equal_names_are_one_run(tmp_path):
    """However they are named: as folder, as files, as a pattern."""
    for session in ("s1", "s2"):
        (tmp_path / "night" / session).mkdir(parents=True)
        for number, name in enumerate(("0001.dm4", "0001.tif")):
            write = write_dm4 if name.endswith("dm4") else lambda p, i, _: tifffile.imwrite(p, i)
            write(tmp_path / "night" / session / name, image(number).astype(np.uint16), 0.4)
    names = [f"{session}/0001_{kind}" for session in ("s1", "s2") for kind in ("dm4", "tif")]
    files = sorted((tmp_path / "night").rglob("*.*"))
    for inputs in ([tmp_path / "night"], files, [tmp_path / "night" / "**" / "*.*"]):
        assert named(*inputs) == names
    found = run(tmp_path / "night", tmp_path / "out")
    assert found.finished == 4 and not found.errors
    for name, path in zip(names, files, strict=True):
        mean = image(path.suffix == ".tif").mean()
        assert (tmp_path / "out" / f"{name}_mean.txt").read_text() == f"{mean:.3f} 1"


def test_names_that_differ_in_case_only_or_look_like_solved_clashes_are_kept_apart(tmp_path):
    touched(tmp_path, "0001.dm4", "0001.tif", "0001_dm4.tif", "x.DM4", "X.dm4", "x.dm4")
    names = named(tmp_path)
    assert len({name.lower() for name in names}) == len(names) == 6
    assert {"0001_dm4", "0001_tif"} & set(names)
    assert names == named(tmp_path)  # and another run finds the same


def test_what_is_left_out_is_counted_and_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touched(
        tmp_path, "a/x.png", "a/x_LABEL.png", "a/notes.txt", "a/b/y.jpg", "a/b/z.jpg", "a/b/README",
        "a/.hidden.txt",
    )  # fmt: skip
    inputs = find_inputs(["a"])
    assert [source.name for source in inputs.sources] == ["x"]
    assert [(Path(one["file"]).name, one["reason"]) for one in inputs.skipped] == [
        ("README", "it has no suffix"),
        ("y.jpg", "its format, .jpg, is not a known one"),
        ("z.jpg", "its format, .jpg, is not a known one"),
        ("notes.txt", "its format, .txt, is not a known one"),
        ("x_LABEL.png", "it is the label of another image"),
    ]
    text = skipped_text(inputs.skipped)
    assert text.startswith("Files left out: 5 (2 .jpg, 1 no suffix, 1 .txt, 1 .png): ")
    assert "y.jpg" in text and text.endswith(" and 2 more.")
    assert find_inputs(["a/x.png"]).skipped == []


def test_a_run_on_other_images_adds_to_the_table(night, tmp_path):
    out = tmp_path / "out"
    run(night, out)
    other = tmp_path / "other"
    other.mkdir()
    tifffile.imwrite(other / "new.tif", image(50))
    found = run(other, out)
    assert found.finished == 1 and len(found.rows) == 10
    # An image of the same name in another folder is not mistaken for the one that is done.
    tifffile.imwrite(other / "image_0.tif", image(51))
    with pytest.raises(InputError, match=r"image_0_\w+\.\w+ and 1 more exist"):
        run(other, out)


def test_what_a_record_says_is_checked(night, tmp_path):
    out = tmp_path / "out"
    run(night, out)
    record = out / HIDDEN / "brightness" / "image_1.json"
    for damaged in ("", "{", '{"format": 99}'):
        record.write_text(damaged)
        with pytest.raises(InputError, match="image_1"):
            run(night, out)
    assert run(night, out, overwrite=True).finished == 9
    assert json.loads(record.read_text())["outputs"]["image_1_mean.txt"] > 0


def test_a_source_that_is_a_folder_has_a_digest(tmp_path):
    touched(tmp_path, "s.zarr/a", "s.zarr/b/c")
    store = tmp_path / "s.zarr"
    first = manifest.content_digest(manifest.Fingerprint.of(store))
    (store / "a").write_text("changed")
    now = manifest.Fingerprint.of(store)
    assert now.size == 7 and manifest.content_digest(now) != first
    assert manifest.Fingerprint.of(tmp_path / "missing").size == 0
    source = Source(store, "s.zarr", "s")
    assert source.frame_name(0, 1) == "s"
    assert source.frame_name(12, 20) == "s_frame_0012"


def test_files_are_dealt_out_in_few_pieces():
    """Each worker gets several chunks, so that all end together, but not one for every file."""
    given_out = []

    class Executor:
        def submit(self, work, chunk):
            given_out.append(len(chunk))
            future = pools.Future()
            future.set_result(work(chunk))
            return future

    @pools.contextmanager
    def open_pool():
        yield pools.Pool(Executor(), 4, (RuntimeError,))

    done = list(
        pools.distribute(lambda chunk: [Outcome(str(i)) for i in chunk], range(200), open_pool)
    )
    assert sorted(int(outcome.shown) for outcome in done) == list(range(200))
    assert max(given_out) == 12 and len(given_out) == 17


def children(parent):
    """The processes that a process has started, and theirs, as Linux lists them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                number = int(path.parent.name)
                found += [number, *children(number)]
    return found


def alive(process):
    """Whether a process is there and more than what is left of it until its parent has noticed."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the files of Linux")
def test_no_worker_outlives_a_parent_that_is_killed(long_night, tmp_path):
    """Not while they work, and not while they wait for the one that does."""
    out, mercy = tmp_path / "out", tmp_path / "working"
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import tests.helpers.batch_task as t;"
        "from pathlib import Path;"
        f"t.run(Path({str(long_night)!r}), Path({str(out)!r}), t.Brightness(seconds=600,"
        f" begun={str(mercy)!r}), workers=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not mercy.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    started = children(process.pid)
    assert len(started) >= 2
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [number for number in started if alive(number)]


def test_a_folder_that_the_first_version_left_half_done_is_continued(long_night, tmp_path):
    """Its records as they were written, with the names that options and columns had then."""

    class Today(Brightness):
        def made_by(self):
            return {"version": 1, "test_time_augmentation": True}

    out, task = tmp_path / "out", Today()
    sources = find_inputs([long_night]).sources
    for number, source in enumerate(sources[:7]):
        now = os.stat(source.path)
        results = {"_mean.txt": "as it was left", "_copy.bin": "in those days"}
        for suffix, text in results.items():
            path = out / f"{source.name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        record = {
            "format": 1,
            "made_by": {"version": 1, "averaging": True},
            "outputs": {f"{source.name}{s}": len(text) for s, text in results.items()},
            "source": {
                "path": str(source.path),
                "size": now.st_size,
                "modified": now.st_mtime_ns,
                "sha256": "0" * 64,
            },
            "frame": 0,
            "frames": 1,
            "row": {
                "file": source.shown,
                "frame": "",
                "name": source.name,
                "mean": number,
                "strangeness": 0.5,
                "flags": "stranger low_signal",
            },
            "thumbnail": None,
        }
        path = out / ".graphseg" / "brightness" / f"{source.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    found = run(long_night, out, task)
    assert found.finished == 20 and not found.errors
    assert [row["mean"] for row in found.rows[:7]] == list(range(7))
    assert {(row["ood_score"], row["flags"]) for row in found.rows[:7]} == {
        (0.5, "out_of_distribution low_signal")
    }
    assert (out / "06_mean.txt").read_text() == "as it was left"
    assert (out / "07_mean.txt").read_text() != "as it was left"

"""Killing a training, a batch segmentation and a book build at random moments, and going on.

``python -m tests.faults.kills --moments 20 --output data/results/kills.json`` records for each
moment whether the end was that of an undisturbed run, and whether what was finished stayed as it
was. It continues when it is itself interrupted.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import tifffile
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600  # seconds that anything may take
STEP = 0.05  # seconds between two looks for the first sign of work


class Work(ABC):
    """Something that can be killed; each run has a folder of its own."""

    name: str
    code = 0  # that it ends with

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Put the inputs into an empty folder."""

    @abstractmethod
    def command(self, folder: Path) -> list[str]:
        """Return what to run in that folder."""

    @abstractmethod
    def began(self, folder: Path) -> bool:
        """Whether there is a sign of work yet; before it, only modules are being imported."""

    @abstractmethod
    def finished(self, folder: Path) -> dict:
        """Return what is finished already and must not be done again."""

    @abstractmethod
    def content(self, folder: Path) -> dict:
        """Return all of the end result but times."""

    def start(self, folder: Path) -> subprocess.Popen:
        """Start it, as the leader of a group of processes."""
        paths = os.pathsep.join([str(folder), str(ROOT)])
        # None of the works needs the published images.
        environment = os.environ | {"PYTHONPATH": paths, "GRAPHSEG_DATA": str(folder / "none")}
        with (folder.parent / f"{folder.name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(folder), cwd=folder, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip


class Training(Work):
    """A training of a small network; see `train`."""

    name = "training"

    def prepare(self, folder):
        """Nothing: the images come from a generator of random numbers."""

    def command(self, folder):
        """Run `train`."""
        return [sys.executable, "-c", "from tests.faults.kills import train; train()"]

    def began(self, folder):
        """Whether an epoch is finished."""
        return (folder / "run.checkpoint").exists()

    def finished(self, folder):
        """Return the seconds of each finished epoch; one that is done again takes other ones."""
        path = folder / "history.json"
        if path.exists():
            return {"epochs": [row["dur"] for row in json.loads(path.read_text())["history"]]}
        if not self.began(folder):
            return {"epochs": []}
        with safe_open(folder / "run.checkpoint", "pt") as file:
            header = json.loads(file.metadata()["graphseg"])
        return {"epochs": [row["dur"] for row in header["history"]]}

    def content(self, folder):
        """Return weights, parameters, losses and the names of the files."""
        with safe_open(folder / "w.safetensors", "np") as file:
            tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118
            header = json.loads(file.metadata()["graphseg"])
        history = json.loads((folder / "history.json").read_text())["history"]
        losses = [row["train_loss"] for row in history]
        return tensors | {
            "parameters": header["parameters"],
            "losses": losses,
            "files": sorted(os.listdir(folder)),
        }


def train() -> None:
    """Train a small network in the current folder, with a checkpoint, and write its weights."""
    from graphseg.evaluation import records
    from graphseg.unet.segmenter import UNetSegmenter

    random = np.random.default_rng(0)
    images = random.normal(size=(8, 64, 64))
    masks = random.random(images.shape) > 0.7
    segmenter = UNetSegmenter(
        levels=3, features=4, epochs=24, checkpoint="run.checkpoint", progress=False, device="cpu"
    ).fit(images, masks)
    segmenter.save("w.safetensors")
    records.write_record("history.json", {"history": segmenter.history_})


class Segmentation(Work):
    """``graphseg segment`` of a folder with a series and a broken file."""

    name = "segmentation"
    code = 2

    def prepare(self, folder):
        """Write noise, a series and a broken file."""
        random = np.random.default_rng(0)
        (folder / "night").mkdir()
        for index in range(20):
            image = random.integers(0, 255, (160, 180)).astype(np.uint8)
            tifffile.imwrite(folder / "night" / f"{index:02d}.tif", image)
        series = random.integers(0, 255, (3, 96, 96)).astype(np.uint8)
        tifffile.imwrite(folder / "night" / "series.tif", series, photometric="minisblack")
        (folder / "night" / "broken.dm4").write_bytes(b"no image")

    def command(self, folder):
        """Run the command line."""
        return [sys.executable, "-c", "from graphseg.cli import main; main()", "segment", "night",
                "--output", "out", "--probabilities", "float16", "--overlays", "--device", "cpu",
                "--pixel-size", "0.4"]  # fmt: skip

    def began(self, folder):
        """Whether there is a mask."""
        return any((folder / "out").glob("*_mask.tif"))

    def finished(self, folder):
        """Return when each result of a finished image was written."""
        times = {}
        for path in (folder / "out" / ".graphseg" / "segment").rglob("*.json"):
            outputs = {folder / "out" / n: size for n, size in _read(path)["outputs"].items()}
            if all(p.exists() and p.stat().st_size == size for p, size in outputs.items()):
                times |= {p.name: p.stat().st_mtime_ns for p in (path, *outputs)}
        return times

    def content(self, folder):
        """Return every file; no file may be left over, and records and table have no times."""
        found = {}
        for path in sorted(p for p in (folder / "out").rglob("*") if p.is_file()):
            name = path.relative_to(folder / "out").as_posix()
            if path.suffix == ".json" and ".graphseg/segment/" in name:
                record = _read(path)
                del record["row"]["seconds"], record["source"]["modified"], record["source"]["path"]
                found[name] = record
            elif path.suffix == ".csv":
                lines = [line.split(",") for line in path.read_text().splitlines()]
                place = lines[0].index("seconds")
                found[name] = [line[:place] + line[place + 1 :] for line in lines]
            elif path.suffix == ".html":
                data = re.search(r'id="data"[^>]*>(.*?)</script>', path.read_text(), re.S)[1]
                found[name] = json.loads(data)
                place = [column["key"] for column in found[name]["columns"]].index("seconds")
                for row in found[name]["rows"]:
                    del row["values"][place]
            elif name == "run.toml":
                found[name] = tomllib.loads(path.read_text(encoding="utf-8"))["segment"]
                for changing in ("begun", "ended", "directory"):
                    del found[name][changing]
            elif not name.endswith(("partial/started", ".graphseg/segment.json", "run.log")):
                found[name] = path.read_bytes()
        return found


class Book(Work):
    """``make book`` of two small chapters."""

    name = "book"

    def prepare(self, folder):
        """Copy the Makefile and the tools, and write the chapters."""
        from tests.book import test_resumable as small

        for name in ("Makefile", "_config.yml", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, folder)
        for name in ("book/tools", "book/theme"):
            shutil.copytree(ROOT / name, folder / name)
        for name, text in small.FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    def command(self, folder):
        """Run make."""
        return ["make", "book", "STAMP=", f"VENV={sys.prefix}"]

    def began(self, folder):
        """Whether a chapter is being executed."""
        return (folder / "_build" / "executed" / "work").exists()

    def finished(self, folder):
        """Return when each executed chapter was written."""
        paths = (folder / "_build" / "executed").glob("*.ipynb")
        return {path.name: path.stat().st_mtime_ns for path in paths}

    def content(self, folder):
        """Return the outputs of the chapters, the pages, and the names of all files."""
        built = folder / "_build"
        found = {"files": sorted(p.relative_to(built).as_posix() for p in built.rglob("*"))}
        for path in sorted((built / "executed").glob("*.ipynb")):
            notebook = _read(path)
            cells = [(cell["source"], cell.get("outputs")) for cell in notebook["cells"]]
            found[path.name] = [cells, notebook["metadata"]["graphseg"]]
        for path in sorted((built / "html").rglob("*.html")):
            found[path.relative_to(built).as_posix()] = path.read_text()
        return found


WORKS = {work.name: work for work in (Training(), Segmentation(), Book())}


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def undisturbed(work: Work, folder: Path) -> tuple[dict, float, float]:
    """Run to the end; return the content, and seconds until the first sign and until the end."""
    folder.mkdir(parents=True)
    work.prepare(folder)
    started, first = time.monotonic(), None
    process = work.start(folder)
    while process.poll() is None and time.monotonic() - started < LONGEST:
        if first is None and work.began(folder):
            first = time.monotonic() - started
        time.sleep(STEP)
    seconds = time.monotonic() - started
    if process.returncode != work.code:
        raise RuntimeError(f"{work.name} ended with {process.returncode}")
    return work.content(folder), first or 0.0, seconds


def killed(work: Work, folder: Path, moment: float) -> tuple[dict, bool, bool]:
    """Run, kill `moment` seconds after the first sign of work, run again to the end.

    Returns
    -------
        The content; whether it was killed before its end; whether all that was finished then is as
        it was.
    """
    folder.mkdir(parents=True)
    work.prepare(folder)
    process = work.start(folder)
    while process.poll() is None and not work.began(folder):
        time.sleep(STEP)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    was_killed = process.returncode == -signal.SIGKILL
    before = work.finished(folder)
    if work.start(folder).wait(LONGEST) != work.code:
        raise RuntimeError(f"{work.name}, killed after {moment:.3f} s, does not end")
    return work.content(folder), was_killed, _kept(before, work.finished(folder))


def _kept(before: dict, after: dict) -> bool:
    """Whether everything is there as before; lists may have grown."""
    return all(
        after[key][: len(value)] == value if isinstance(value, list) else after.get(key) == value
        for key, value in before.items()
    )


def measure(work: Work, moments: int, workspace: Path, seed: int = 0, done=(), keep=print) -> list:
    """Kill at random moments between the first sign of work and the end.

    Parameters
    ----------
    work
        One of `WORKS`.
    moments
        How many.
    workspace
        An empty folder.
    seed
        Of the moments.
    done
        Results of an earlier call, which are not measured again.
    keep
        Called with all results after each.

    Returns
    -------
        For each moment ``fraction`` (of the time between first sign and end), ``seconds`` after the
        first sign, whether the end was ``identical``, and whether what was finished was ``kept``.
    """
    results = list(done)
    expected, first, last = undisturbed(work, workspace / "undisturbed")
    fractions = np.random.default_rng([seed, len(work.name)]).random(moments)
    for number, fraction in enumerate(fractions[len(results) :].tolist(), len(results)):
        moment, was_killed = fraction * (last - first), False
        while not was_killed:  # else the machine is faster now, and it had ended before
            folder = workspace / f"killed_{number}"
            content, was_killed, kept = killed(work, folder, moment)
            shutil.rmtree(folder)
            found = {"seconds": round(moment, 3), "identical": content == expected, "kept": kept}
            moment *= 0.7
        results.append({"fraction": round(fraction, 4)} | found)
        keep(results)
    return results


def main() -> int:
    """Measure what the record does not have yet, and write it after each moment."""
    from graphseg.evaluation import records

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--work", action="append", choices=WORKS, help="all by default; repeat")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    record = records.read_record(chosen.output) if chosen.output.exists() else {"works": {}}
    for name in chosen.work or WORKS:

        def keep(results, name=name):
            record["works"][name] = results
            record["made_with"] = records.provenance()
            records.write_record(chosen.output, record)

        done = record["works"].get(name, [])
        if len(done) >= chosen.moments:
            continue
        with tempfile.TemporaryDirectory(prefix="graphseg_kills_") as workspace:
            measure(WORKS[name], chosen.moments, Path(workspace), done=done, keep=keep)
    for name, results in record["works"].items():
        good = sum(r["identical"] and r["kept"] for r in results)
        print(f"{name}: killed {len(results)} times, {good} times the end was the undisturbed one")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One task for many micrographs: what is finished already, the rest, and what the run was.

`graphseg.batch.manifest` lists the micrographs and knows what is finished, `graphseg.batch.tasks`
has the tasks, and `graphseg.batch.pools` other processes that do them. Results are on disk before
they are reported, so whatever dies loses only what it had in hand.
"""

import errno
import hashlib
import itertools
import json
import logging
import os
import platform
import re
import sys
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg.batch import pools
from graphseg.batch.manifest import LOG, RUN, Fingerprint, Manifest, Source, Writer
from graphseg.errors import InputError
from graphseg.io.micrographs import Micrograph, open_series
from graphseg.io.outputs import whole_file

if TYPE_CHECKING:
    from graphseg.batch.tasks import NetworkTask

SHOWN_WARNINGS = 10  # lines; the table has all
WORK = 80  # bytes for each pixel of an image in work, by far most of them in `analyse`
UNKNOWN = 2**32  # bytes that are taken to be free where the system does not say
MEMORY_FRACTION = 0.5  # of what is free that images in work may take
TRIAL = 8  # files after which the time that the others take is known
LONG = 300.0  # seconds of work from which further processes, which take some to start, are no loss
TABLES = 10.0  # seconds after which tables are written anew while a run goes on
TIME_FRACTION = 0.05  # that this may take, which is long with thousands of rows
AHEAD = 4  # images that are read ahead at most
LOGGER = logging.getLogger("graphseg")
LOGGER.addHandler(logging.NullHandler())  # whoever wants it in a file or on a terminal adds one
HEAD = "# What the runs into this folder were. `graphseg COMMAND --config run.toml` repeats one.\n"
SEAL = "\n# SHA-256 of the lines above: "
VERSIONS = ("graphseg", "torch", "numpy", "scipy", "scikit-learn")  # of these, in ``run.toml``
NAME_PROBLEMS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


@dataclass(frozen=True, eq=False)
class Result:
    """What a task found in one micrograph."""

    row: dict[str, Any]  # columns of the table, text or numbers
    outputs: dict[str, Writer] = field(default_factory=dict)  # suffix of a file to what writes it
    pictures: dict[str, bytes] = field(default_factory=dict)  # for the report, by their suffixes
    above: list[int] | None = None  # see `graphseg.io.outputs.previews`
    warning: str = ""  # one sentence for the user


@dataclass(frozen=True)
class Outcome:
    """What became of one frame, or of a whole file where `frames` is 0."""

    shown: str  # the file
    frame: int | None = None  # from 0; None for the only one, or for a file that cannot be read
    frames: int = 1  # of the file
    error: str | None = None  # one sentence
    warning: str = ""  # one sentence


@dataclass(frozen=True, eq=False)
class Run:
    """What a run has done."""

    manifest: Manifest  # of the folder of results
    # A row for each image, in order of files and frames, and what else the report shows, see
    # `Manifest.rows`: those of this run, finished or failed, and those of earlier runs whose
    # results lie in the same folder.
    pairs: list[tuple[dict, dict]]
    finished: int  # images of this run, earlier ones included
    errors: list[str]  # one sentence for each that failed
    warnings: list[str]

    @property
    def rows(self) -> list[dict]:
        """The rows alone."""
        return [row for row, _ in self.pairs]


def run(
    task: "NetworkTask",
    sources: Sequence[Source],
    folder: Path,
    *,
    resume: bool = True,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
    about: Mapping[str, Any] | None = None,
    tables: Callable[[Run], object] | None = None,
) -> Run:
    """Do a task with many micrographs; what is finished already is not done again.
    A file that cannot be read or a frame that fails is reported on stderr and skipped. `workers`
    are at most so many processes on this machine, by default as many as cores: this one, with a
    thread for each core, begins, and others take over if more than `LONG` seconds of work are left
    and there is memory for them. Those of a Dask scheduler at an address do it instead. `resume`
    and `overwrite` are those of the `Manifest`; `progress` shows a bar with an estimate of the time
    left on stderr. `about` is what ``run.toml`` in the folder of results says of this run:
    ``options`` and ``skipped``; times, versions, model digest and what failed are added. Without it
    there is no such file, nor ``run.log``, to which the lines of each run are added. `tables` is
    called now and then with what has been done so far, so that tables grow. InputError if something
    is in the way of the results and may not be replaced, before anything is done; if results cannot
    be written; if no scheduler answers."""
    begun, made_by = _now(), task.made_by()
    at_a_time = workers or task.processes(), task.threads()
    manifest = Manifest(folder, task.command, made_by, task.suffixes, resume, overwrite)
    done = manifest.finished(sources)
    earlier = sum(done.values())
    with manifest.writing(), ExitStack() as stack:
        if about is not None:
            _keep_log(stack, folder / LOG)

        def note(**ended: Any) -> None:
            if about is not None:
                times = {"begun": begun} | ({"ended": _now()} if ended else {})
                write_run(manifest, times | ended | dict(about))

        def begin() -> None:
            note()
            LOGGER.info("%s begins: %d files, %d images finished", task.command, len(done), earlier)

        waiting = [source for source in sources if not done[source]]
        if scheduler is None:
            results = _locally(task, manifest, waiting, *at_a_time)
        else:
            results = _distribute(task, manifest, waiting, partial(pools.dask_workers, scheduler))
        outcomes, due = [], time.monotonic() + TABLES
        for outcome in _watched(_begun(results, begin), len(waiting), earlier, progress):
            outcomes.append(outcome)
            if tables is not None and (now := time.monotonic()) > due:
                missing, *come_to = _summed(outcomes, earlier)
                tables(Run(manifest, manifest.rows(sources, missing), *come_to))
                due = time.monotonic() + max(TABLES, (time.monotonic() - now) / TIME_FRACTION)
        missing, finished, errors, warnings = _summed(outcomes, earlier)
        LOGGER.info("%s ends: %d images finished, %d failed", task.command, finished, len(errors))
        note(finished=finished, failed=errors)
    return Run(manifest, manifest.rows(sources, missing), finished, errors, warnings)


def _summed(
    outcomes: Sequence[Outcome], earlier: int
) -> tuple[list[dict], int, list[str], list[str]]:
    """Return rows of what failed, how many are finished with `earlier` ones, errors, warnings."""
    failed = [outcome for outcome in outcomes if outcome.error]
    missing = [
        {"file": one.shown, "frame": "" if one.frame is None else one.frame, "error": one.error}
        for one in failed
    ]
    errors = [outcome.error for outcome in failed]
    warnings = [outcome.warning for outcome in outcomes if outcome.warning]
    return missing, earlier + len(outcomes) - len(failed), errors, warnings


def _keep_log(stack: ExitStack, path: Path) -> None:
    """Add the lines of this run to a file until `stack` is left."""
    handler = logging.FileHandler(path, delay=True, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.handleError = lambda record: None  # a full disk is said of the results themselves
    stack.callback(handler.close)
    stack.callback(LOGGER.setLevel, LOGGER.level)
    stack.callback(LOGGER.removeHandler, handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(handler)


def _begun(outcomes: Iterable[Outcome], begin: Callable[[], None]) -> Iterator[Outcome]:
    """Pass outcomes on; with the first one, or their end, the run has begun."""
    # Before that it may still be refused, for instance for want of a scheduler, and leaves nothing.
    # Afterwards what it is stands on disk, whatever happens.
    outcomes = iter(outcomes)
    first = list(itertools.islice(outcomes, 1))
    begin()
    yield from first
    yield from outcomes


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _locally(
    task: "NetworkTask",
    manifest: Manifest,
    sources: Sequence[Source],
    workers: int,
    threads: int,
) -> Iterator[Outcome]:
    """Work on files in this process, and in others as soon as they are known to be worth it."""
    waiting, started = deque(sources), time.monotonic()

    def few() -> Iterator[Source]:
        for number in itertools.count():
            spent = time.monotonic() - started
            if not waiting or (number >= TRIAL and spent * len(waiting) > number * LONG):
                return
            yield waiting.popleft()

    most = min(workers, len(sources), free_memory() // pools.PROCESS)
    yield from stream(task, manifest, few() if most > 1 else sources, threads)
    if most > 1 and waiting:
        yield from _distribute(task, manifest, waiting, partial(pools.local_processes, most))


def _distribute(
    task: "NetworkTask", manifest: Manifest, sources: Sequence[Source], open_pool: pools.OpenPool
) -> Iterator[Outcome]:
    """Work on files in other processes; the outcomes are those of `stream`."""
    work = partial(_stream_to_the_end, task, manifest)
    for source in (yield from pools.distribute(work, sources, open_pool)):
        text = f"{source.shown}: its process died twice; is there enough memory for it?"
        yield Outcome(source.shown, frames=0, error=text)


def _stream_to_the_end(
    task: "NetworkTask", manifest: Manifest, sources: list[Source]
) -> list[Outcome]:
    with closing(stream(task, manifest, sources, task.threads())) as outcomes:
        return list(outcomes)


def _watched(
    outcomes: Iterable[Outcome], files: int, finished: int, progress: bool
) -> Iterator[Outcome]:
    """Pass outcomes on, with a bar, and with sentences on stderr for what the user must know."""
    told, opened = 0, set()
    total = finished + files
    with tqdm(total=total, initial=finished, unit="image", disable=not progress) as bar:
        for outcome in outcomes:
            if outcome.frames > 1 and outcome.shown not in opened:
                opened.add(outcome.shown)
                bar.total += outcome.frames - 1
            bar.update()
            _log(outcome)
            if outcome.error:
                bar.write(outcome.error, file=sys.stderr)
            told += bool(outcome.warning)
            if outcome.warning and told <= SHOWN_WARNINGS:
                bar.write(outcome.warning, file=sys.stderr)
            yield outcome
    if told > SHOWN_WARNINGS:
        print(f"… and {told - SHOWN_WARNINGS} more warnings, see the table.", file=sys.stderr)


def _log(outcome: Outcome) -> None:
    if outcome.error:
        LOGGER.error(outcome.error)
        return
    frame = "" if outcome.frame is None else f", frame {outcome.frame}"
    LOGGER.info("%s%s: done", outcome.shown, frame)
    if outcome.warning:
        LOGGER.warning(outcome.warning)


@dataclass(frozen=True)
class _Frame:
    """One frame of a file, and what the file was before it was opened."""

    source: Source
    now: Fingerprint
    number: int
    frames: int
    name: str

    def outcome(self, error: str | Exception | None = None, warning: str = "") -> Outcome:
        shown, number = self.source.shown, self.number if self.frames > 1 else None
        error, warning = (x and _sentence(self.source, x, number) for x in (error, warning))
        return Outcome(shown, number, self.frames, error or None, warning or "")


def stream(
    task: "NetworkTask", manifest: Manifest, sources: Iterable[Source], threads: int
) -> Iterator[Outcome]:
    """Work on files in this process: this thread reads, others do the task and write.
    Frames that are finished are skipped. A frame that fails gives an outcome with a sentence and
    leaves the others alone. InputError if results cannot be written."""
    running: dict[Future[Outcome], int] = {}  # to the bytes that its image needs
    memory = memory_for(threads)
    # Several threads that each multiply small matrices with all cores wait for one another: 13
    # images a second instead of 21.
    with threadpool_limits(1, "blas"), ExitStack() as stack:
        pool = ThreadPoolExecutor(threads)
        stack.callback(pool.shutdown, cancel_futures=True)  # drops what was not begun
        for item in _read(manifest, sources):
            if isinstance(item, Outcome):
                yield item
                continue
            frame, micrograph = item
            size = WORK * micrograph.image.size
            yield from _completed(running, timeout=0)
            # One image is always allowed, however large.
            while running and (
                len(running) >= threads + AHEAD or sum(running.values()) + size > memory
            ):
                yield from _completed(running)
            running[pool.submit(_work_on, task, manifest, frame, micrograph)] = size
        while running:
            yield from _completed(running)


def free_memory() -> int:
    """Return the bytes that programs can still have, of this machine or of the container."""
    free = UNKNOWN
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        (told,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
        free = int(told) * 1024
    with suppress(OSError, ValueError):  # "max" where the container has no limit
        limit, used = (
            int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current")
        )
        free = min(free, limit - used)
    return free


@lru_cache
def memory_for(threads: int) -> int:
    """Return the bytes that images may take which are read and whose results are not yet written,
    the part of a process that works with some of the machine's cores."""
    cores = os.cpu_count() or 1
    return int(free_memory() * MEMORY_FRACTION * min(threads / cores, 1))


def _completed(running: dict[Future, Any], timeout: float | None = None) -> Iterator[Outcome]:
    """Wait until something is finished, and take it out of what is running."""
    for future in wait(running, timeout, FIRST_COMPLETED).done:
        del running[future]
        yield future.result()


def _read(
    manifest: Manifest, sources: Iterable[Source]
) -> Iterator[Outcome | tuple[_Frame, Micrograph]]:
    """Yield the frames that are to be done, and what is finished or cannot be read as outcomes."""
    for source in sources:
        try:
            now = source.fingerprint()
            with open_series(source.path) as series:
                frames = len(series)
                for number in range(frames):
                    name = source.frame_name(number, frames)
                    frame = _Frame(source, now, number, frames, name)
                    try:
                        if manifest.is_finished(name, now):
                            found = frame.outcome()
                        else:
                            found = frame, series[number]
                    except Exception as error:
                        found = frame.outcome(error)
                    yield found
        except Exception as error:  # a reader may fail in any way; the others shall go on
            yield Outcome(source.shown, frames=0, error=_sentence(source, error))


def _work_on(
    task: "NetworkTask", manifest: Manifest, frame: _Frame, micrograph: Micrograph
) -> Outcome:
    """Do the task with one frame, and write its results and its record."""
    started = time.perf_counter()
    try:
        result = task.work(micrograph, frame.name)
    except Exception as error:
        return frame.outcome(error)
    seconds = round(time.perf_counter() - started, 3)
    number = frame.number if frame.frames > 1 else ""
    row = {"file": frame.source.shown, "frame": number, "name": frame.name}
    record = {
        "frame": frame.number,
        "frames": frame.frames,
        "row": row | result.row | {"seconds": seconds},
        "pictures": result.pictures,
        "above": result.above,
    }
    try:
        manifest.write(frame.name, frame.now, result.outputs, record)
    except OSError as error:
        if error.errno in NAME_PROBLEMS:
            return frame.outcome(error)
        raise InputError(
            f"Results cannot be written to {manifest.folder} ({error.strerror or error}); make "
            "room or name another folder, and the same command continues."
        ) from error
    except Exception as error:
        return frame.outcome(error)
    return frame.outcome(warning=result.warning)


def _sentence(source: Source, problem: str | Exception, frame: int | None = None) -> str:
    """Return one sentence that names the file as the user did."""
    expected = isinstance(problem, str | InputError)
    text = str(problem) if expected else f"{type(problem).__name__}: {problem}"
    if isinstance(problem, OSError) and problem.errno in NAME_PROBLEMS:
        text = "No result can have such a name; rename the file."
    # Names may have line breaks too.
    shown, path = (" ".join(str(name).split()) for name in (source.shown, source.path))
    text = " ".join(text.split()).replace(path, shown)
    if frame is not None:
        return f"{shown}, frame {frame}: {text.removeprefix(shown).lstrip(': ')}"
    return text if text.startswith(shown) else f"{shown}: {text}"


def write_run(manifest: Manifest, about: Mapping) -> None:
    """Write what this run is, into its command's part of ``run.toml``.
    The parts of other commands stay. A file that somebody has edited since is kept under another
    name, which is said."""
    path = manifest.folder / RUN
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if text and not text.endswith(_seal(text.rpartition(SEAL)[0])):
        names = (manifest.folder / f"run_{number}.toml" for number in itertools.count(1))
        kept = path.rename(next(name for name in names if not name.exists()))
        tell = f"run.toml was edited after an earlier run and is now called {kept.name}."
        print(tell, file=sys.stderr)
    try:
        parts = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        parts = {}
    versions = {name: version(name) for name in VERSIONS} | {"python": platform.python_version()}
    made = {"directory": str(Path.cwd()), "made_by": manifest.made_by, "versions": versions}
    text = HEAD + toml_text(parts | {manifest.command: dict(about) | made})
    text += _seal(text)
    with whole_file(path, manifest.partial) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_run(path: Path, command: str) -> dict:
    """Return what a ``run.toml`` says of a command.
    The paths in its ``options`` lead, from here, to where they led from the folder of that run.
    InputError if there is no such file, it is no TOML, or does not tell of this command."""
    try:
        part = tomllib.loads(path.read_text(encoding="utf-8")).get(command, {})
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the name.") from error
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML ({error}); correct it.") from error
    if not isinstance(part, dict) or not isinstance(part.get("options"), dict):
        raise InputError(f"{path} has no [{command}.options]; give one of graphseg {command}.")
    options, directory = dict(part["options"]), Path(str(part.get("directory", ".")))
    if isinstance(options.get("images"), str):
        options["images"] = [options["images"]]
    if directory.resolve() != Path.cwd():
        for name, there in (("images", True), ("output", True), ("model", False), ("given", False)):
            value = options.get(name)
            if isinstance(value, list):
                options[name] = [str(directory / str(one)) for one in value]
            elif value is not None and (there or (directory / str(value)).exists()):
                options[name] = str(directory / str(value))  # a model may also be a mere name
    return part | {"options": options}


def toml_text(table: Mapping[str, Any], name: str = "") -> str:
    """Return a table as TOML, which the standard library reads and does not write.
    It may hold text, numbers, bool, lists of these, tables, and lists of tables; None is left out,
    for TOML has no such value. `name` is that of the table it is in, with dots."""
    lines, inner = [], []
    for key, value in table.items():
        label = key if re.fullmatch(r"[-\w]+", key, re.ASCII) else _toml_value(key)
        path = f"{name}.{label}" if name else label
        if isinstance(value, Mapping):
            inner.append(f"\n[{path}]\n{toml_text(value, path)}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            inner += [f"\n[[{path}]]\n{toml_text(one, path)}" for one in value]
        elif value is not None:
            lines.append(f"{label} = {_toml_value(value)}\n")
    return "".join(lines + inner)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    # Names of files need not be UTF-8; JSON lets one control character stand that TOML does not.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _seal(text: str) -> str:
    """Return the last line of a run file, which tells whether somebody has edited it."""
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n"

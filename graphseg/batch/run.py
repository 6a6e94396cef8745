"""One task for many micrographs: what is finished already, the rest, the rows of the table.

`graphseg.batch.sources` lists the micrographs, `graphseg.batch.manifest` knows what is finished,
`graphseg.batch.tasks` has the tasks, and `graphseg.batch.pools` other processes that do them.
Results are on disk before they are reported, so whatever dies loses only what it had in hand.
"""

import errno
import logging
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from threadpoolctl import threadpool_limits
from tqdm import tqdm

from graphseg.batch import pools
from graphseg.batch.manifest import LOG, Manifest, Writer, frame_name, source_fingerprint
from graphseg.batch.sources import Source
from graphseg.errors import InputError
from graphseg.io.micrographs import Micrograph, open_series
from graphseg.unet.network import versions

SHOWN_WARNINGS = 10  # lines; the table has all
FLOAT = 4  # bytes of a pixel in work
MEMORY = 64 * 2**20  # bytes of images that are read and whose results are not yet written
TABLES = 10.0  # seconds after which tables are written anew while a run goes on
SHARE = 0.05  # of the time that this may take, which is long with thousands of rows
AHEAD = 4  # images that are read ahead at most
LOGGER = logging.getLogger("graphseg")
LOGGER.addHandler(logging.NullHandler())  # whoever wants it in a file or on a terminal adds one
NAME_PROBLEMS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


@dataclass(frozen=True, eq=False)
class Result:
    """What a task found in one micrograph.

    Attributes
    ----------
    row
        Columns of the table, text or numbers.
    outputs
        Suffix of each file to what writes it.
    thumbnail
        A picture as the content of a JPEG file, or None.
    warning
        One sentence for the user, or "".
    """

    row: dict[str, Any]
    outputs: dict[str, Writer] = field(default_factory=dict)
    thumbnail: bytes | None = None
    warning: str = ""


class Task(Protocol):
    """What is done with each micrograph. It is sent to the workers, so it is small."""

    command: str
    suffixes: tuple[str, ...]

    def made_by(self) -> dict:
        """Return model digest and options: what decides on the results besides the input."""

    def threads(self) -> int:
        """Return how many micrographs a process works on at a time, each in its own thread."""

    def work(self, micrograph: Micrograph, name: str) -> Result:
        """Do it; the results are called `name`."""


@dataclass(frozen=True)
class Outcome:
    """What became of one frame, or of a whole file where `frames` is 0.

    Attributes
    ----------
    shown
        The file.
    frame
        Counted from 0; None for the only one, or for a file that cannot be read.
    frames
        Of the file.
    error
        One sentence, or None.
    warning
        One sentence, or "".
    """

    shown: str
    frame: int | None = None
    frames: int = 1
    error: str | None = None
    warning: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """What a run has done.

    Attributes
    ----------
    manifest
        Of the folder of results.
    pairs
        A row for each image, in order of files and frames, as the table shows them, and its
        thumbnail, a JPEG file in base64 or None: those of this run, finished or failed, and those
        of earlier runs whose results lie in the same folder.
    finished
        Images of this run that are finished, earlier ones included.
    errors
        One sentence for each that failed.
    warnings
        Sentences.
    """

    manifest: Manifest
    pairs: list[tuple[dict, str | None]]
    finished: int
    errors: list[str]
    warnings: list[str]

    @property
    def rows(self) -> list[dict]:
        """The rows alone."""
        return [row for row, _ in self.pairs]


def run(
    task: Task,
    sources: Sequence[Source],
    folder: Path,
    *,
    resume: bool = True,
    overwrite: bool = False,
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
    about: Mapping[str, Any] | None = None,
    tables: Callable[[Run], object] | None = None,
) -> Run:
    """Do a task with many micrographs; what is finished already is not done again.

    A file that cannot be read or a frame that fails is reported on stderr and skipped.

    Parameters
    ----------
    task
        What to do.
    sources
        See `graphseg.batch.sources.find_inputs`.
    folder
        Of the results.
    resume
        If False, nothing counts as finished.
    overwrite
        Replace results of other inputs, models or options.
    workers
        Processes on this machine; with 1 it is this one.
    scheduler
        Address of a Dask scheduler whose workers do it instead.
    progress
        Show a bar with an estimate of the time left on stderr.
    about
        What ``run.toml`` in the folder of results says of this run: ``options`` and ``skipped``;
        times, versions, model digest and what failed are added. By default there is no such file,
        nor ``run.log``, to which the lines of each run are added.
    tables
        Called now and then with what has been done so far, so that tables grow.

    Raises
    ------
    InputError
        If something is in the way of the results and may not be replaced, before anything is done;
        if results cannot be written; if no scheduler answers.
    """
    threads, made_by = task.threads(), task.made_by()
    manifest = Manifest(folder, task.command, made_by, task.suffixes, resume, overwrite)
    done = manifest.finished(sources)
    with manifest.writing(), _noted(manifest, about) as note:

        def begin() -> None:
            note()
            counts = len(sources), sum(done.values())
            LOGGER.info("%s begins: %d files, %d images finished", task.command, *counts)

        waiting = [source for source in sources if not done[source]]
        if not waiting or (workers == 1 and scheduler is None):
            results = stream(task, manifest, waiting, threads)
        else:
            results = _distribute(task, manifest, waiting, workers, scheduler)
        results = _begun(results, begin)
        outcomes, due = [], time.monotonic() + TABLES
        for outcome in _watched(results, len(waiting), sum(done.values()), progress):
            outcomes.append(outcome)
            if tables is not None and (now := time.monotonic()) > due:
                tables(_so_far(manifest, sources, outcomes, sum(done.values())))
                due = time.monotonic() + max(TABLES, (time.monotonic() - now) / SHARE)
        found = _so_far(manifest, sources, outcomes, sum(done.values()))
        counts = found.finished, len(found.errors)
        LOGGER.info("%s ends: %d images finished, %d failed", task.command, *counts)
        note(finished=found.finished, failed=found.errors)
    return found


def _so_far(
    manifest: Manifest, sources: Sequence[Source], outcomes: Sequence[Outcome], earlier: int
) -> Run:
    """Return what outcomes come to, after `earlier` images that were finished before."""
    failed = [outcome for outcome in outcomes if outcome.error]
    missing = [
        {"file": one.shown, "frame": "" if one.frame is None else one.frame, "error": one.error}
        for one in failed
    ]
    return Run(
        manifest,
        manifest.rows(sources, missing),
        earlier + len(outcomes) - len(failed),
        [outcome.error for outcome in failed],
        [outcome.warning for outcome in outcomes if outcome.warning],
    )


@contextmanager
def _noted(manifest: Manifest, about: Mapping[str, Any] | None) -> Iterator[Callable[..., None]]:
    """Keep ``run.log`` of a run, and give what writes ``run.toml``."""
    if about is None:
        yield lambda **_: None
        return
    begun, made = _now(), {"versions": versions() | {"python": platform.python_version()}}

    def note(**ended: Any) -> None:
        times = {"begun": begun} | ({"ended": _now()} if ended else {})
        where = {"directory": str(Path.cwd())}
        kept = manifest.write_run(times | ended | where | dict(about) | made)
        if kept is not None:
            tell = f"run.toml was edited after an earlier run and is now called {kept.name}."
            print(tell, file=sys.stderr)

    path, level = manifest.folder / LOG, LOGGER.level
    handler = logging.FileHandler(path, delay=True, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.handleError = lambda record: None  # a full disk is said of the results themselves
    LOGGER.setLevel(logging.INFO)
    LOGGER.addHandler(handler)
    try:
        yield note
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        handler.close()


def _begun(outcomes: Iterable[Outcome], begin: Callable[[], None]) -> Iterator[Outcome]:
    """Pass outcomes on; with the first one, or their end, the run has begun.

    Before that it may still be refused, for instance for want of a scheduler, and leaves nothing.
    Afterwards what it is stands on disk, whatever happens.
    """
    outcomes = iter(outcomes)
    first = next(outcomes, None)
    begin()
    if first is not None:
        yield first
    yield from outcomes


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _distribute(
    task: Task, manifest: Manifest, sources: Sequence[Source], workers: int, scheduler: str | None
) -> Iterator[Outcome]:
    """Work on files in other processes; the outcomes are those of `stream`."""
    open_pool = partial(pools.local_processes, min(workers, len(sources)))
    if scheduler is not None:
        open_pool = partial(pools.dask_workers, scheduler)
    work = partial(_stream_to_the_end, task, manifest)
    for source in (yield from pools.distribute(work, sources, open_pool)):
        text = f"{source.shown}: its process died twice; is there enough memory for it?"
        yield Outcome(source.shown, frames=0, error=text)


def _stream_to_the_end(task: Task, manifest: Manifest, sources: list[Source]) -> list[Outcome]:
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
    """One frame of a file, and the `source_fingerprint` of the file before it was opened."""

    source: Source
    now: dict
    number: int
    frames: int
    name: str

    def outcome(self, error: str | Exception | None = None, warning: str = "") -> Outcome:
        shown, number = self.source.shown, self.number if self.frames > 1 else None
        error, warning = (x and _sentence(self.source, x, number) for x in (error, warning))
        return Outcome(shown, number, self.frames, error or None, warning or "")


def stream(
    task: Task, manifest: Manifest, sources: Iterable[Source], threads: int
) -> Iterator[Outcome]:
    """Work on files in this process: this thread reads, others do the task and write.

    Frames that are finished are skipped. A frame that fails gives an outcome with a sentence
    and leaves the others alone.

    Raises
    ------
    InputError
        If results cannot be written; then nothing else could be either.
    """
    running: dict[Future[Outcome], int] = {}  # to the bytes of its image
    # Several threads that each multiply small matrices with all cores wait for one another: 13
    # images a second instead of 21.
    with threadpool_limits(1, "blas"), _threads(threads) as pool:
        for item in _read(manifest, sources):
            if isinstance(item, Outcome):
                yield item
                continue
            frame, micrograph = item
            size = FLOAT * micrograph.image.size
            yield from _completed(running, timeout=0)
            # One image is always allowed, however large.
            while running and (
                len(running) >= threads + AHEAD or sum(running.values()) + size > MEMORY
            ):
                yield from _completed(running)
            running[pool.submit(_work_on, task, manifest, frame, micrograph)] = size
        while running:
            yield from _completed(running)


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that drop what they have not begun when the ``with`` block is left."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


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
            now = source_fingerprint(source)
            with open_series(source.path) as series:
                frames = len(series)
                for number in range(frames):
                    name = frame_name(source, number, frames)
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


def _work_on(task: Task, manifest: Manifest, frame: _Frame, micrograph: Micrograph) -> Outcome:
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
        "thumbnail": result.thumbnail,
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

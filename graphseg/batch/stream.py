"""What is done with each micrograph of a folder, where its results go, and what became of it.

What one process does with many micrographs: reading and writing beside the network.

Results are on disk before they are reported, so a process that dies loses only what it has in hand.
"""

import base64
import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from graphseg.batch.manifest import Ledger, Source, content_digest, fingerprint, frame_name
from graphseg.errors import InputError
from graphseg.io.micrographs import Micrograph, open_series
from graphseg.io.outputs import temporary_name

# Writes a file, given its path; if it returns a dict, those are further columns of the table.
Writer = Callable[[Path], object]


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

    def lanes(self) -> int:
        """Return how many micrographs are predicted at a time, each in a thread of its own."""

    def predict(self, micrograph: Micrograph) -> Any:
        """Run the network."""

    def finish(self, micrograph: Micrograph, prediction: Any, name: str) -> Result:
        """Do the rest, while the network has the next micrograph; results are called `name`."""


@dataclass(frozen=True)
class Job:
    """A task, where its results go, and whether what is in their place may be replaced."""

    task: Task
    folder: Path
    resume: bool = True
    overwrite: bool = False

    def ledger(self) -> Ledger:
        """Return the records of this job."""
        return Ledger(self.folder, self.task.command, self.task.made_by(), self.resume)


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


FLOAT = 4  # bytes of a pixel in work
MEMORY = 64 * 2**20  # bytes of images that are read and whose results are not yet written
AHEAD = 8  # images that are read ahead at most
NAME_PROBLEMS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


@dataclass(frozen=True, eq=False)
class _Loaded:
    source: Source
    frame: int
    frames: int
    now: dict
    micrograph: Micrograph

    @property
    def name(self) -> str:
        return frame_name(self.source, self.frame, self.frames)

    @property
    def size(self) -> int:
        return FLOAT * self.micrograph.image.size

    def outcome(self, error: str | None = None, warning: str = "") -> Outcome:
        number = self.frame if self.frames > 1 else None
        return Outcome(self.source.shown, number, self.frames, error, warning)

    def sentence(self, problem: str | Exception) -> str:
        return _sentence(self.source, problem, self.frame, self.frames)


class _Budget:
    """Holds back who reads while too many bytes are in work; one image is always allowed."""

    def __init__(self, limit: int):
        self._limit, self._used, self._closed = limit, 0, False
        self._changed = threading.Condition()

    def acquire(self, size: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or not self._used or self._used + size <= self._limit
            )
            self._used += size

    def release(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def stream(job: Job, sources: Sequence[Source]) -> Iterator[Outcome]:
    """Work on files in this process: a thread reads ahead, some compute, another one writes.

    Frames that are finished are passed over. A frame that fails gives an outcome with a sentence
    and leaves the others alone.

    Raises
    ------
    InputError
        If results cannot be written; then nothing else could be either.
    """
    ledger, budget = job.ledger(), _Budget(MEMORY)
    with (
        # Several lanes that each multiply small matrices with all cores wait for one another:
        # 13 images a second instead of 21.
        threadpool_limits(1, "blas"),
        _threads(1) as writer,
        _threads(job.task.lanes()) as network,
        closing(_ahead(_load(job, ledger, sources, budget), budget)) as loaded,
    ):
        running: deque[Future[Future[Outcome]]] = deque()
        for item in loaded:
            if isinstance(item, Outcome):
                yield item
            else:
                running.append(network.submit(_predict, job, ledger, budget, writer, item))
            while running and running[0].done() and running[0].result().done():
                yield running.popleft().result().result()
        while running:
            yield running.popleft().result().result()


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Give threads that drop what they have not begun when the ``with`` block is left."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(items: Iterator, budget: _Budget) -> Iterator:
    """Run an iterator in a thread of its own, some steps ahead."""
    with _threads(1) as reader:
        try:
            steps = deque(reader.submit(next, items, None) for _ in range(AHEAD))
            while (item := steps.popleft().result()) is not None:
                steps.append(reader.submit(next, items, None))
                yield item
        finally:
            budget.close()


def _load(
    job: Job, ledger: Ledger, sources: Sequence[Source], budget: _Budget
) -> Iterator[_Loaded | Outcome]:
    """Yield the frames that are to be done, and what is finished or cannot be read as outcomes."""
    for source in sources:
        try:
            with open_series(source.path) as series:
                frames = len(series)
                for frame in range(frames):
                    yield _load_frame(job, ledger, source, series, frame, budget)
        except Exception as error:  # a reader may fail in any way; the others shall go on
            yield Outcome(source.shown, frames=0, error=_sentence(source, error))


def _load_frame(
    job: Job,
    ledger: Ledger,
    source: Source,
    series: Sequence[Micrograph],
    frame: int,
    budget: _Budget,
) -> _Loaded | Outcome:
    frames = len(series)
    number = frame if frames > 1 else None
    name, now = frame_name(source, frame, frames), fingerprint(source.path)
    if ledger.frame_finished(name, source, now):
        return Outcome(source.shown, number, frames)
    try:
        targets = [job.folder / f"{name}{suffix}" for suffix in job.task.suffixes]
        foreign = ledger.foreign(name, source, now, targets)
        if foreign and not job.overwrite:
            raise InputError(already_there(foreign))
        micrograph = series[frame]
    except Exception as error:
        text = _sentence(source, error, frame, frames)
        return Outcome(source.shown, number, frames, error=text)
    loaded = _Loaded(source, frame, frames, now, micrograph)
    budget.acquire(loaded.size)
    return loaded


def already_there(foreign: Sequence[Path]) -> str:
    """Return the sentence for files that are in the way."""
    more = f" and {len(foreign) - 1} more exist" if len(foreign) > 1 else " exists"
    return (
        f"{foreign[0]}{more} already, of another input, model or options or changed since; say "
        "--overwrite or name another folder."
    )


def _predict(
    job: Job, ledger: Ledger, budget: _Budget, writer: Executor, item: _Loaded
) -> Future[Outcome]:
    """Run the network on one frame, and leave the rest to the writer."""
    started = time.perf_counter()
    try:
        prediction = job.task.predict(item.micrograph)
    except Exception as error:
        budget.release(item.size)
        return writer.submit(item.outcome, item.sentence(error))
    seconds = time.perf_counter() - started
    return writer.submit(_finish, job, ledger, budget, item, prediction, seconds)


def _finish(
    job: Job, ledger: Ledger, budget: _Budget, item: _Loaded, prediction: Any, seconds: float
) -> Outcome:
    """Write the results of one frame and its record."""
    try:
        result = job.task.finish(item.micrograph, prediction, item.name)
        _write(job, ledger, item, result, seconds)
        return item.outcome(warning=result.warning and item.sentence(result.warning))
    except OSError as error:
        if error.errno in NAME_PROBLEMS:
            return item.outcome(item.sentence(error))
        raise InputError(
            f"Results cannot be written to {job.folder} ({error.strerror or error}); make room or "
            "name another folder, and the same command continues."
        ) from error
    except Exception as error:
        return item.outcome(item.sentence(error))
    finally:
        budget.release(item.size)


def _write(job: Job, ledger: Ledger, item: _Loaded, result: Result, seconds: float) -> None:
    name = item.name
    number = item.frame if item.frames > 1 else ""
    row = {"file": item.source.shown, "frame": number, "name": name} | result.row
    written: dict[Path, Path] = {}
    try:
        for suffix, write in result.outputs.items():
            target = job.folder / f"{name}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            written[target] = temporary_name(target, ledger.partial)
            more = write(written[target])
            row |= more if isinstance(more, dict) else {}
        picture = result.thumbnail and base64.b64encode(result.thumbnail).decode()
        record = {
            "source": item.now | {"sha256": content_digest(item.now)},
            "frame": item.frame,
            "frames": item.frames,
            "row": row | {"seconds": round(seconds, 3)},
            "thumbnail": picture,
        }
        if not ledger.frame_finished(name, item.source, item.now):  # nor by another process
            ledger.claim(name, record, written)
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _sentence(source: Source, problem: str | Exception, frame: int = 0, frames: int = 1) -> str:
    """Return one sentence that names the file as the user did."""
    expected = isinstance(problem, str | InputError)
    text = str(problem) if expected else f"{type(problem).__name__}: {problem}"
    if isinstance(problem, OSError) and problem.errno in NAME_PROBLEMS:
        text = "No result can have such a name; rename the file."
    # Names may have line breaks too.
    shown, path = (" ".join(str(name).split()) for name in (source.shown, source.path))
    text = " ".join(text.split()).replace(path, shown)
    if frames > 1:
        return f"{shown}, frame {frame}: {text.removeprefix(shown).lstrip(': ')}"
    return text if text.startswith(shown) else f"{shown}: {text}"

"""Work on many machines: the client of a Dask scheduler, and folds that joblib gives to it.

Many processes that work on files: on this machine, or wherever a Dask scheduler has workers.

A worker that dies takes nothing along but what it had in hand. Those files are done again, one at
a time, so that a file that kills its worker each time is found and named.

One task for a folder of micrographs: what is finished already, the rest, the rows of the table.

`graphseg.batch.sources` lists the micrographs, `graphseg.batch.tasks` has the tasks, and
`graphseg.batch.stream` and `graphseg.batch.run` do the work.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import joblib
from tqdm import tqdm

from graphseg.batch.manifest import FRAME, HIDDEN, Ledger, Source, fingerprint
from graphseg.batch.stream import Job, Outcome, already_there, stream
from graphseg.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

ANSWER = 10  # seconds that a scheduler may take to answer


def connect(address: str) -> Client:
    """Return a client of the Dask scheduler at an address.

    Parameters
    ----------
    address
        Of the scheduler.

    Raises
    ------
    InputError
        If nothing answers at the address.
    """
    from distributed import Client  # takes a second to import, which most runs do not need

    class ClosingClient(Client):
        """Closed at once if it finds no scheduler.

        Dask leaves that to the garbage collector, and it can then wait for ever for a lock that
        the interrupted thread holds; until then it stays the default client of everything.
        """

        def start(self, **kwargs):
            try:
                super().start(**kwargs)
            except BaseException:
                self.close()
                raise

    try:
        return ClosingClient(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address}: start one with `dask scheduler`, and "
            "give the address that it prints."
        ) from error


@contextmanager
def workers(scheduler: str | None) -> Iterator[None]:
    """Let what joblib runs, for instance folds, run on the workers of a Dask scheduler.

    The workers need this package, and the run folder if checkpoints are to be found again.

    Parameters
    ----------
    scheduler : str or None
        Its address; None leaves the folds on this machine.

    Raises
    ------
    InputError
        If nothing answers at the address.
    """
    if scheduler is None:
        yield
        return
    with connect(scheduler), joblib.parallel_config("dask"):
        yield


CHUNK = 16  # files that a worker is given at a time, at most
ROUNDS = 4  # times that each worker is given some, at least, so that all finish together
QUEUED = 2  # chunks for each worker that are handed out at a time
PATIENCE = 60  # seconds to wait for the first worker of a scheduler


class Pool(NamedTuple):
    """Where to send work.

    Attributes
    ----------
    executor
        That does it.
    workers
        How many work at a time.
    deaths
        What the death of one looks like.
    parent
        Process without which they stop; None if they belong to nobody.
    """

    executor: Executor
    workers: int
    deaths: tuple[type[Exception], ...]
    parent: int | None = None


OpenPool = Callable[[], AbstractContextManager[Pool]]


def distribute(job: Job, sources: Sequence[Source], open_pool: OpenPool) -> Iterator[Outcome]:
    """Work on files in the processes of a pool; the results are those of `stream`.

    Parameters
    ----------
    job
        What to do.
    sources
        The files.
    open_pool
        `local_processes` or `dask_workers` with their parameters.

    Raises
    ------
    InputError
        If results cannot be written, or there is no pool any more.
    """
    suspects = yield from _round(job, None, sources, open_pool)
    guilty = yield from _round(job, 1, suspects, open_pool)
    for source in guilty:
        text = f"{source.shown}: its process died twice; is there enough memory for it?"
        yield Outcome(source.shown, frames=0, error=text)


def _round(
    job: Job, width: int | None, sources: Sequence[Source], open_pool: OpenPool
) -> Iterator[Outcome]:
    """Do each file once, and return those that a worker died with.

    With a `width` of 1 they are done one after the other, so that there is no doubt which.
    """
    waiting, suspects = deque(sources), []
    while waiting:
        with open_pool() as pool:
            size = 1 if width else max(1, min(CHUNK, len(sources) // (ROUNDS * pool.workers)))
            running: dict[Future, list[Source]] = {}
            try:
                while waiting or running:
                    while waiting and len(running) < (width or QUEUED * pool.workers):
                        chunk = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                        running[pool.executor.submit(_work, job, chunk, pool.parent)] = chunk
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield from future.result()
                        del running[future]
            except pool.deaths:
                suspects += [source for chunk in running.values() for source in chunk]
    return suspects


def _work(job: Job, sources: Sequence[Source], parent: int | None) -> list[Outcome]:
    """Work on files, unless the process that asked for it is dead: another may do it again."""
    outcomes = []
    with closing(stream(job, sources)) as results:
        while parent in (None, os.getppid()) and (outcome := next(results, None)):
            outcomes.append(outcome)
    return outcomes


@contextmanager
def local_processes(workers: int) -> Iterator[Pool]:
    """Open a pool of processes on this machine that share its cores.

    Parameters
    ----------
    workers
        How many; each computes with as many threads as there are cores for each.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    pool = ProcessPoolExecutor(workers, env=dict.fromkeys(names, threads))
    try:
        yield Pool(pool, workers, (BrokenExecutor,), os.getpid())
    finally:
        pool.shutdown(wait=True, kill_workers=True)


@contextmanager
def dask_workers(address: str) -> Iterator[Pool]:
    """Use the workers of a Dask scheduler; they need this package and must see the same folders.

    Parameters
    ----------
    address
        Of the scheduler.

    Raises
    ------
    InputError
        If nothing answers at the address, or it has no worker, or it goes away.
    """
    from distributed.scheduler import KilledWorker  # slow to import, and seldom needed

    with connect(address) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
            # Not pure: the same call may be made again, and shall then be done again.
            executor = client.get_executor(pure=False)
            yield Pool(executor, sum(client.nthreads().values()), (KilledWorker,))
        except TimeoutError as error:
            raise InputError(
                f"The Dask scheduler at {address} has no workers: start one with `dask worker`."
            ) from error
        except CancelledError as error:
            raise InputError(
                f"The Dask scheduler at {address} has gone; the same command continues."
            ) from error


SHOWN_WARNINGS = 10  # lines; the table has all


@dataclass(frozen=True, eq=False)
class Run:
    """What a run has done.

    Attributes
    ----------
    rows
        One for each image, in order of files and frames, as the table shows them: those of this
        run, finished or failed, and those of earlier runs whose results lie in the same folder.
    thumbnails
        Content of a JPEG file in base64 for each row, or None.
    finished
        Images of this run that are finished, earlier ones included.
    errors
        One sentence for each that failed.
    warnings
        Sentences.
    """

    rows: list[dict]
    thumbnails: list[str | None]
    finished: int
    errors: list[str]
    warnings: list[str]


def run(
    job: Job,
    sources: Sequence[Source],
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
) -> Run:
    """Do a task with many micrographs; what is finished already is not done again.

    A file that cannot be read or a frame that fails is reported on stderr and passed over.

    Parameters
    ----------
    job
        The task and where its results go.
    sources
        See `graphseg.batch.sources.find_sources`.
    workers
        Processes on this machine; with 1 it is this one.
    scheduler
        Address of a Dask scheduler whose workers do it instead.
    progress
        Show a bar with an estimate of the time left on stderr.

    Raises
    ------
    InputError
        If something is in the way of the results and may not be replaced, before anything is done;
        if results cannot be written; if no scheduler answers.
    """
    ledger = job.ledger()
    done = {source: ledger.finished(source) for source in sources}
    waiting = [source for source in sources if not done[source]]
    if not job.overwrite:
        _refuse_foreign(job, ledger, waiting)
    with ledger.writing():
        results = _results_of(job, waiting, workers, scheduler)
        outcomes = list(_watched(results, len(waiting), sum(done.values()), progress))
    failed = [outcome for outcome in outcomes if outcome.error]
    rows = sorted(
        _rows(replace(job, resume=True).ledger(), sources, failed),
        key=lambda pair: (pair[0]["file"], pair[0]["frame"] or 0),
    )
    return Run(
        [row for row, _ in rows],
        [thumbnail for _, thumbnail in rows],
        sum(done.values()) + len(outcomes) - len(failed),
        [outcome.error for outcome in failed],
        [outcome.warning for outcome in outcomes if outcome.warning],
    )


def _results_of(
    job: Job, sources: Sequence[Source], workers: int, scheduler: str | None
) -> Iterator[Outcome]:
    if not sources or (workers == 1 and scheduler is None):
        return stream(job, sources)
    if scheduler is None:
        open_pool = partial(local_processes, min(workers, len(sources)))
    else:
        open_pool = partial(dask_workers, scheduler)
    return distribute(job, sources, open_pool)


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
            if outcome.error:
                bar.write(outcome.error, file=sys.stderr)
            told += bool(outcome.warning)
            if outcome.warning and told <= SHOWN_WARNINGS:
                bar.write(outcome.warning, file=sys.stderr)
            yield outcome
    if told > SHOWN_WARNINGS:
        print(f"… and {told - SHOWN_WARNINGS} more warnings, see the table.", file=sys.stderr)


def _refuse_foreign(job: Job, ledger: Ledger, sources: Iterable[Source]) -> None:
    """Raise before anything is done if what lies in the folder may not be replaced."""
    foreign = ledger.foreign_tables()
    present = _present(job, ledger)
    for source in sources:
        now = fingerprint(source.path) if source.name in present else {}
        for name, targets in present.get(source.name, {}).items():
            foreign += ledger.foreign(name, source, now, targets)
    if foreign:
        raise InputError(already_there(foreign))


def _present(job: Job, ledger: Ledger) -> dict[str, dict[str, list[Path]]]:
    """Return the results that lie in the folder: name of a source to names of frames to files."""
    found: dict[str, dict[str, list[Path]]] = {}
    for name, _ in ledger.all():
        for source in {name, name.rpartition(FRAME)[0]}:
            found.setdefault(source, {}).setdefault(name, [])
    for folder, inner, files in os.walk(job.folder):
        inner[:] = [name for name in inner if name != HIDDEN]
        for file in files:
            for suffix in filter(file.endswith, job.task.suffixes):
                path = Path(folder, file)
                name = path.relative_to(job.folder).as_posix().removesuffix(suffix)
                for source in {name, name.rpartition(FRAME)[0]}:
                    found.setdefault(source, {}).setdefault(name, []).append(path)
    return found


def _rows(
    ledger: Ledger, sources: Sequence[Source], failed: Iterable[Outcome]
) -> Iterator[tuple[dict, str | None]]:
    named = {source.name: source for source in sources}
    paths = {str(source.path) for source in sources}
    for name, record in ledger.all():
        source = named.get(name) or named.get(name.rpartition(FRAME)[0])
        if source is not None and ledger.frame_finished(name, source, fingerprint(source.path)):
            shown = {"file": source.shown, "error": ""}
        elif (
            record["outputs"]
            and record["source"]["path"] not in paths
            and (ledger.complete(record))
        ):
            shown = {"error": ""}  # of an earlier run on other files
        else:
            continue
        yield record["row"] | shown, record["thumbnail"]
    for outcome in failed:
        number = "" if outcome.frame is None else outcome.frame
        yield {"file": outcome.shown, "frame": number, "error": outcome.error}, None

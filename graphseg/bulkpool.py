"""Many processes that work on files: on this machine, or wherever a Dask scheduler has workers.

A worker that dies takes nothing along but what it had in hand. Those files are done again, one at
a time, so that a file that kills its worker each time is found and named.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from contextlib import AbstractContextManager, closing, contextmanager
from typing import NamedTuple

from graphseg.bulkjob import Job, Outcome
from graphseg.bulkrecords import Source
from graphseg.bulkstream import stream
from graphseg.errors import InputError
from graphseg.scheduling import connect

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

"""Processes that work on files: those of joblib on this machine, or the workers of Dask.

A worker that dies takes nothing along but the files that it had in hand. They are done again one at
a time, so that a file that kills its worker each time is found and named.
"""

from __future__ import annotations

import os
import threading
import time
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
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import joblib

from graphseg.batch.manifest import Source
from graphseg.errors import InputError, extra

if TYPE_CHECKING:
    from distributed import Client

CHUNK = 16  # files that a worker is given at a time, at most
ROUNDS = 4  # times that each worker is given some, at least, so that all finish together
QUEUED = 2  # chunks for each worker that are handed out at a time
ANSWER = 10  # seconds that a scheduler may take to answer
PATIENCE = 60  # seconds to wait for the first worker of a scheduler
WATCH = 0.5  # seconds between two looks of a worker whether its parent is alive
PROCESS = 3 * 2**29  # bytes that a worker needs: PyTorch, the network, an image of 4096² pixels


class Pool(NamedTuple):
    """Where to send work: what does it, how many at a time, and what a worker's death raises."""

    executor: Executor
    workers: int
    deaths: tuple[type[Exception], ...]


OpenPool = Callable[[], AbstractContextManager[Pool]]
Work = Callable[[list[Source]], list]


def distribute(work: Work, sources: Sequence[Source], open_pool: OpenPool) -> Iterator[Any]:
    """Work on files in the processes of a pool, `local_processes` or `dask_workers`.
    `work` is called there with some of the files at a time. What it returns is passed on one by one
    as soon as it is there; returned are the files whose worker died twice. InputError if there is
    no pool any more; and what `work` raises."""
    suspects = yield from _hand_out(work, sources, open_pool)
    # One after the other, so that there is no doubt which of them a worker dies with.
    return (yield from _hand_out(work, suspects, open_pool, alone=True))


def _hand_out(
    work: Work, sources: Sequence[Source], open_pool: OpenPool, alone: bool = False
) -> Iterator[Any]:
    """Do each file once, and return those that a worker had in hand when it died."""
    waiting, suspects = deque(sources), []
    while waiting:
        with open_pool() as pool:
            size = 1 if alone else max(1, min(CHUNK, len(sources) // (ROUNDS * pool.workers)))
            width = 1 if alone else QUEUED * pool.workers
            running: dict[Future, list[Source]] = {}
            try:
                while waiting or running:
                    while waiting and len(running) < width:
                        chunk = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                        running[pool.executor.submit(work, chunk)] = chunk
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        yield from future.result()
                        del running[future]
            except InputError:
                raise  # it says what `work` finds wrong
            except pool.deaths:
                suspects += [source for chunk in running.values() for source in chunk]
    return suspects


@contextmanager
def local_processes(workers: int) -> Iterator[Pool]:
    """Open a pool of processes on this machine that share its cores, and end with this one."""
    from joblib.externals.loky import ProcessPoolExecutor

    threads = str(max(1, (os.cpu_count() or 1) // workers))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    pool = ProcessPoolExecutor(
        workers, env=dict.fromkeys(names, threads), initializer=_end_with, initargs=(os.getpid(),)
    )
    try:
        yield Pool(pool, workers, (BrokenExecutor,))
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _end_with(parent: int) -> None:
    """Let this process end as soon as its parent is dead: nobody else would end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)  # what is half-written has a temporary name

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def dask_workers(address: str) -> Iterator[Pool]:
    """Use the workers of a Dask scheduler; they need this package and must see the same folders.
    InputError if Dask is not installed, or nothing answers at the address, or it has no worker, or
    it goes away."""
    with extra("dask", "A Dask scheduler"):
        from distributed.scheduler import KilledWorker  # slow to import, and seldom needed

    with connect(address) as client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
            # Not pure: the same call may be made again, and shall then be done again.
            executor = client.get_executor(pure=False)
            # A result that is lost with its worker while it is fetched makes distributed stumble
            # over its state, with ValueError.
            deaths = KilledWorker, ValueError
            yield Pool(executor, sum(client.nthreads().values()), deaths)
        except TimeoutError as error:
            raise InputError(
                f"The Dask scheduler at {address} has no workers: start one with `dask worker`."
            ) from error
        except CancelledError as error:
            raise InputError(
                f"The Dask scheduler at {address} has gone; the same command continues."
            ) from error


def connect(address: str) -> Client:
    """Return a client of a Dask scheduler; InputError if nothing answers, or without Dask."""
    with extra("dask", "A Dask scheduler"):
        from distributed import Client

    class ClosingClient(Client):
        """Closed at once if it finds no scheduler."""

        # Dask leaves that to the garbage collector, and it can then wait for ever for a lock that
        # the interrupted thread holds; until then it stays the default client of everything.

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
    Without its address all stays on this machine. The workers need this package, and the run folder
    if checkpoints are to be found again. InputError as `connect`."""
    if scheduler is None:
        yield
        return
    with connect(scheduler), joblib.parallel_config("dask"):
        yield

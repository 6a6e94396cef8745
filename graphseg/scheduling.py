"""Work on many machines: the client of a Dask scheduler, and folds that joblib gives to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import joblib

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

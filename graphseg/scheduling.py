"""Folds on many machines, through joblib and the workers of a Dask scheduler."""

from collections.abc import Iterator
from contextlib import contextmanager

import joblib

from graphseg.errors import InputError


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
    from distributed import Client  # takes a second to import, which most runs do not need

    try:
        client = Client(scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No Dask scheduler answers at {scheduler}: start one with `dask scheduler`, and "
            "give the address that it prints."
        ) from error
    with client, joblib.parallel_config("dask"):
        yield

"""The one exception that bad input raises, in every room of the package."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A user's input cannot be used; the message is one sentence naming it and the remedy.

    Examples
    --------
    >>> import graphseg as gs
    >>> try:
    ...     gs.read("missing.png")
    ... except gs.InputError as error:
    ...     print(error)
    missing.png does not exist; check the name.
    """


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Let imports of the block that fail say which extra of graphseg brings the package.
    The InputError begins with `what` needs it, and names the extra of pyproject.toml: ``A Zarr
    store needs the Python package zarr: pip install "graphseg[zarr]".``"""
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise InputError(
            f'{what} needs the Python package {package}: pip install "graphseg[{name}]".'
        ) from error

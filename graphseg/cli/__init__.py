"""The command line, ``graphseg --help``: every command is a few calls into the package."""

import sys

import typer

# Importing them adds their commands.
from graphseg.cli import evidence, images, labels, simulated, trust  # noqa: F401
from graphseg.cli.common import app
from graphseg.errors import InputError


def main() -> None:
    """Run the command line; bad input gives one sentence and exit code 2."""
    try:
        app()
    except (InputError, OSError, MemoryError) as error:
        typer.echo(f"graphseg: {_sentence(error)}", err=True)
        sys.exit(2)


def _sentence(error: Exception) -> str:
    """Return what the user can do; what the system says of a file is no sentence by itself."""
    if isinstance(error, OSError):
        where = f" with {error.filename}" if error.filename else ""
        return (
            f"The system reports a problem{where} ({error.strerror or error}); make room, or name "
            "a place that can be read and written."
        )
    if isinstance(error, MemoryError):
        return f"The memory is not enough ({error or 'no size given'}); use less at a time."
    return " ".join(str(error).split())

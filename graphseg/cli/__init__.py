"""The command line, ``graphseg --help``: every command is a few calls into the package."""

import sys

import typer

# Importing them adds their commands.
from graphseg.cli import evidence, images, labels, simulated  # noqa: F401
from graphseg.cli.common import app
from graphseg.errors import InputError


def main() -> None:
    """Run the command line; bad input gives one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        typer.echo(f"graphseg: {error}", err=True)
        sys.exit(2)

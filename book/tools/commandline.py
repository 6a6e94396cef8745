"""Commands in a notebook. A module of its own: they need much that other notebooks do not."""

import io
import shlex
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

from graphseg.cli import app
from graphseg.errors import InputError


def command_line(command: str, folder: str | Path) -> int:
    """Run a command of ``graphseg`` as one would type it, and print what it says.

    It runs in this process, which spares the start of another one. Progress bars are left out, and
    so is the name of the folder.

    Parameters
    ----------
    command
        Such as ``graphseg segment night --output masks``.
    folder
        Where it is run.

    Returns
    -------
        The exit code.
    """
    messages, code = io.StringIO(), 0
    with chdir(folder), redirect_stderr(messages), redirect_stdout(messages):
        try:
            app(shlex.split(command)[1:], standalone_mode=False)
        except InputError as error:
            print(f"graphseg: {error}", file=messages)
            code = 2
    text = messages.getvalue().replace("\r", "\n").replace(f"{Path(folder).resolve()}/", "")
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and "%|" not in line]
    print("\n".join([f"$ {command}", *lines]))
    return code

"""Commands in a notebook. A module of its own: they need much that other notebooks do not."""

import io
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
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
    _show(command, messages.getvalue(), folder)
    return code


def watching_command(
    command: str, folder: str | Path, arrivals: Mapping[Path, str | Path], patience: float = 300
) -> int:
    """Run a command that waits for files, let them arrive, end it with Ctrl-C, print what it said.

    Parameters
    ----------
    command, folder
        As for `command_line`.
    arrivals
        Files, each with the result that the command is to make of it before the next one comes.
        They are copied into the folder that the command watches, its first argument.
    patience
        Seconds to wait for each result.

    Returns
    -------
        The exit code.
    """
    words, folder = shlex.split(command), Path(folder)
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with subprocess.Popen([sys.executable, "-m", *words], cwd=folder, **options) as process:
        for file, result in arrivals.items():
            shutil.copy(file, folder / words[2])
            end = time.monotonic() + patience
            while not (folder / result).exists() and process.poll() is None:
                if time.monotonic() > end:
                    process.kill()
                time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _show(command, process.communicate()[0], folder)
    return process.returncode


def _show(command: str, said: str, folder: str | Path) -> None:
    text = said.replace("\r", "\n").replace(f"{Path(folder).resolve()}/", "")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if "%|" not in line and not line.endswith("image/s]")]
    print("\n".join([f"$ {command}", *lines]))

"""Execute one py:percent notebook with papermill, unless nothing it depends on has changed."""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from book.tools import identity, profiles
from book.tools.errors import ToolError


def execute(
    source: Path,
    output: Path,
    profile: str = profiles.DEFAULT,
    parameters: dict[str, Any] | None = None,
    root: Path | None = None,
) -> bool:
    """Execute a notebook if its digest is not the one stamped in its output.

    The notebook runs in a folder of its own beside the output. If a cell fails, this folder
    stays, so that a computation which saves checkpoints there resumes in the next run.

    Parameters
    ----------
    source
        The py:percent source.
    output
        Where the executed notebook goes. It is only replaced by a complete one.
    profile
        Name of the profile in ``book/profiles.yml``.
    parameters
        Further parameters; they win over those of the profile.
    root
        The project's folder; by default the current one.

    Returns
    -------
    bool
        True if the notebook was executed, False if its output was up to date.

    Raises
    ------
    ToolError
        If a cell fails, or if the parameters do not fit the notebook.
    """
    root = (root or Path.cwd()).resolve()
    given = profiles.profile_parameters(source.stem, profile, root / "book" / "profiles.yml")
    given |= parameters or {}
    digest = identity.notebook_digest(source, given, root)
    if stamp(output).get("digest") == digest:
        return False
    mark = {
        "digest": digest,
        "profile": profile,
        "parameters": given,
        "source_digest": identity.source_digest(source),
    }
    _run(source, output, given, mark)
    return True


def stamp(path: Path) -> dict[str, Any]:
    """Read the stamp of an executed notebook; empty if there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf8"))["metadata"].get("graphseg", {})
    except (OSError, ValueError, KeyError):
        return {}


def _own_folder(source: Path, output: Path, digest: str) -> Path:
    """Make the folder that a notebook runs in and remove those of its former versions."""
    folder = output.parent / "work" / f"{source.stem}-{digest[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.glob(f"{source.stem}-*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _run(source: Path, output: Path, given: dict, mark: dict) -> None:
    """Execute to a temporary name, stamp the result and give it its final name."""
    # These imports take about a second, which an unchanged notebook need not wait for.
    import jupytext
    import nbformat

    notebook = jupytext.read(source)
    profiles.check(given, profiles.defaults(notebook, source.stem), source.stem)
    folder = _own_folder(source, output, mark["digest"])
    with tempfile.TemporaryDirectory(prefix="graphseg-") as scratch:
        partial = Path(scratch) / output.name
        executed = _papermill(notebook, partial, given, source.stem, folder, scratch)
        _strip(executed)
        executed.metadata["graphseg"] = mark
        complete = output.with_suffix(".tmp")
        nbformat.write(executed, complete)
        complete.replace(output)
    shutil.rmtree(folder)


def _papermill(
    notebook: Any, partial: Path, given: dict, name: str, folder: Path, scratch: str
) -> Any:
    """Execute a notebook; what goes wrong in it becomes one message."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    # Sockets in a folder of their own: ports can be taken by another kernel in between.
    transport = {"transport": "ipc", "ip": str(Path(scratch) / "kernel")}
    try:
        return papermill.execute_notebook(
            notebook,
            partial,
            parameters=given,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=folder,
            config=Config({"KernelManager": transport}),
            # Stopping a kernel makes it log an interrupt as an error, which it is not.
            extra_arguments=["--log-level=CRITICAL"],
        )
    except PapermillExecutionError as error:
        raise ToolError(_failure(name, error, len(notebook.cells) + bool(given))) from error
    except DeadKernelError as error:
        raise ToolError(f"{name} failed: its kernel died (out of memory?).") from error


def _failure(name: str, error: Any, count: int) -> str:
    """Name the chapter, the cell and the error in a few lines."""
    lines = [line for line in error.source.splitlines() if line.strip()]
    code = "\n".join(f"    {line}" for line in lines)
    where = f"cell {error.cell_index + 1} of {count} ({lines[0].strip()})"
    return f"{name} failed in {where}:\n{code}\n{error.ename}: {error.evalue}"


def _strip(notebook: Any) -> None:
    """Remove what differs between equal executions: times and paths."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)


def _setting(text: str) -> tuple[str, Any]:
    """Read one parameter from the command line, such as ``epochs=3``."""
    name, value = text.split("=", 1)
    return name, json.loads(value)


def share_cores(environment: dict[str, str], cores: int) -> None:
    """Give each of the notebooks that `make -j` runs side by side its share of the cores.

    Two trainings that both count on all cores wait for each other and take five times as long.

    Parameters
    ----------
    environment
        Environment variables; ``OMP_NUM_THREADS`` is set unless it is there already.
    cores
        Number of cores of the machine.
    """
    jobs = re.search(r"-j ?(\d+)", environment.get("MAKEFLAGS", ""))
    if jobs and int(jobs[1]) > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(jobs[1]))))


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="the py:percent notebook")
    parser.add_argument("output", type=Path, help="the executed notebook")
    parser.add_argument("--profile", default=profiles.DEFAULT)
    parser.add_argument("--set", action="append", type=_setting, default=[], metavar="NAME=JSON")
    chosen = parser.parse_args(arguments)
    share_cores(os.environ, os.cpu_count() or 1)
    # Chapters import studies and tools of the book, which are not installed.
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *([given] if given else [])])
    start = time.monotonic()
    try:
        done = execute(chosen.source, chosen.output, chosen.profile, dict(chosen.set))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    took = f"executed in {time.monotonic() - start:.0f} s" if done else "unchanged"
    print(f"{chosen.source.stem}: {took}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

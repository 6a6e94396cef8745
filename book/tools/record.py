"""Record the numbers of the executed notebooks, and compare them with their record."""

import argparse
import ast
import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from book.tools import identity
from book.tools.errors import ToolError

PROFILE = "test"
SOURCES = ("published", "simulated")
RECORD = Path("data") / "results" / "regression.json"

Values = dict[str, dict[str, Any]]


def available_sources() -> list[str]:
    """List the data sources that are at hand on this machine."""
    return [s for s in SOURCES if s == "simulated" or any(identity.image_listing())]


def collect(path: Path) -> Values:
    """Read the recorded values of an executed notebook.

    Parameters
    ----------
    path
        The executed notebook.

    Returns
    -------
    dict
        Name to ``{"value": ..., "tolerance": ...}``.

    Raises
    ------
    ToolError
        If a name was recorded twice.
    """
    values: Values = {}
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        mark = output.get("metadata", {}).get("scrapbook")
        if mark is None:
            continue
        if mark["name"] in values:
            raise ToolError(f"{path.stem} records {mark['name']!r} twice.")
        text = "".join(output["data"][mark["mime_prefix"] + "text/plain"])
        values[mark["name"]] = {
            "value": ast.literal_eval(text),
            "tolerance": mark.get("tolerance", 0.0),
        }
    return values


def compare(recorded: Values, found: Values, where: str) -> list[str]:
    """Describe every value that moved by more than its recorded tolerance, is missing or new.

    Parameters
    ----------
    recorded, found
        Values as `collect` gives them.
    where
        The notebook and the data source, for the sentences.

    Returns
    -------
    list of str
        One sentence a difference; empty if there is none.
    """
    said = []
    for name in sorted(recorded.keys() | found.keys()):
        if name not in found:
            said.append(f"{where}: {name} was recorded but is no longer computed.")
        elif name not in recorded:
            said.append(f"{where}: {name} = {found[name]['value']!r} is new and not recorded.")
        elif _moved(recorded[name], found[name]["value"]):
            old, allowed = recorded[name]["value"], recorded[name]["tolerance"]
            new = found[name]["value"]
            said.append(
                f"{where}: {name} was {old!r} when recorded (tolerance {allowed:g}) "
                f"and is {new!r} now."
            )
    return said


def compare_all(
    recorded: dict[str, dict[str, Values]], found: dict[str, dict[str, Values]]
) -> list[str]:
    """Describe every difference between two records, over all data sources and notebooks."""
    pairs = {
        (source, name) for both in (recorded, found) for source in both for name in both[source]
    }
    return [
        sentence
        for source, name in sorted(pairs)
        for sentence in compare(
            recorded.get(source, {}).get(name, {}),
            found.get(source, {}).get(name, {}),
            f"{name} ({source} data)",
        )
    ]


def _moved(recorded: dict[str, Any], value: Any) -> bool:
    """Say if a value differs from its record by more than the tolerance."""
    old = recorded["value"]
    if isinstance(old, str) or isinstance(value, str):
        return old != value
    # Written so that NaN, should one ever get here, counts as moved.
    return not abs(value - old) <= recorded["tolerance"]


def start_all(pool: ThreadPoolExecutor, folder: Path, root: Path) -> dict[tuple[str, str], Future]:
    """Execute every notebook on every data source with the test parameters, side by side.

    Parameters
    ----------
    pool
        Where the executions run.
    folder
        Executed notebooks go to ``folder/<data source>/<name>.ipynb``.
    root
        The project's folder.

    Returns
    -------
    dict
        (data source, notebook name) to the future path of the executed notebook.
    """
    sources = available_sources()
    notebooks = sorted((root / "notebooks").glob("*.py"))
    return {
        (source, path.stem): pool.submit(_one, path, source, folder, root)
        for path in notebooks
        for source in sources
    }


def _one(path: Path, source: str, folder: Path, root: Path) -> Path:
    """Execute one notebook on one data source."""
    output = folder / source / f"{path.stem}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "book.tools.execute", path, output, "--profile", PROFILE]
    options = ["--set", f"data_source={json.dumps(source)}"]
    # One thread each: they run side by side, and sums come out the same on every machine.
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *options], cwd=root, capture_output=True, text=True, env=one_thread
    )
    if done.returncode:
        raise ToolError(f"On {source} data, {done.stderr.strip()}")
    return output


def read(path: Path) -> dict[str, dict[str, Values]]:
    """Read the record: data source to notebook to values; empty if there is none yet."""
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}


def write(folder: Path, root: Path) -> Path:
    """Execute what has changed and write the record anew.

    What was recorded on a data source that is not at hand stays as it is.

    Parameters
    ----------
    folder
        Folder of the executed notebooks.
    root
        The project's folder.

    Returns
    -------
    Path
        The written file.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        started = start_all(pool, folder, root)
    known = read(root / RECORD)
    known.update({source: {} for source, _ in started})
    for (source, name), future in started.items():
        known[source][name] = collect(future.result())
    text = json.dumps(known, indent=2, sort_keys=True)
    (root / RECORD).write_text(text + "\n", encoding="utf8")
    return root / RECORD


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executed", type=Path, default=Path("_build") / PROFILE / "executed")
    chosen = parser.parse_args(arguments)
    root = Path.cwd()
    before = read(root / RECORD)
    try:
        after = read(write(chosen.executed, root))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    for sentence in compare_all(before, after):
        print(sentence)
    print(f"Recorded in {RECORD}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

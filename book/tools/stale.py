"""Say which recorded results are older than the code that they depend on.

A record names the revision of the code that made it. What it depends on today is the definitions
that ``recipes.yml`` names for its command, with all that they use (`book.tools.definitions`).

``python -m book.tools.stale`` prints the table, ``--write`` writes it to
``data/results/README.md``, and with names of records it lists the changed definitions.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import yaml

from book.tools.closure import PACKAGES
from book.tools.definitions import changed, used
from book.tools.errors import ToolError

HERE = Path(__file__).resolve().parent
TABLE = Path("data") / "results" / "README.md"
# Written from the executed notebooks by `make record`, which compares it by itself.
NO_RECORD = "regression"
# Records before this time do not name the processor.
PROCESSOR_SINCE = "2026-11-27T23:15:50+00:00"

_TOP = """\
# Recorded results

Written by `make stale`; a test compares it with the code. Each record was made by the command below
from the code of its revision. The last column counts, for each module, the functions, methods and
constants that the command uses today and that were others, or not there, at that revision;
comments, docstrings, formatting and moves between modules do not count. It does not say that the
numbers would differ: `python -m book.tools.stale NAME` lists what has changed.

| record | made | revision | machine | changed since |
| --- | --- | --- | --- | --- |
"""


def recipes() -> dict:
    """Read how the records are made, with the phrases filled in."""
    read = yaml.safe_load((HERE / "recipes.yml").read_text(encoding="utf8"))
    for name, command in read["commands"].items():
        while "{" in command:
            command = command.format(**read["phrases"])
        read["commands"][name] = command
    return read


def beginnings(command: str, code: dict[str, list[str]]) -> list[str]:
    """Give the files with which the dependence of a command begins."""
    fitting = [start for start in code if command.startswith(start)]
    if not fitting:
        raise ToolError(f"recipes.yml says of no code that {command!r} depends on it.")
    return code[max(fitting, key=len)]


def sources_now(root: Path) -> dict[str, str]:
    """Read the Python files of the project as they are."""
    paths = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    return {str(path.relative_to(root)): path.read_text(encoding="utf8") for path in paths}


def has_history(root: Path) -> bool:
    """Say if this is a git repository with all of its history."""
    command = ["git", "-C", root, "rev-parse", "--is-shallow-repository"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() == "false"


@cache
def sources_at(revision: str, root: Path) -> dict[str, str]:
    """Read the Python files of the project at a revision.

    Raises
    ------
    ToolError
        If the revision is unknown.
    """
    command = ["git", "-C", root, "ls-tree", "-r", "-z", revision, *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ToolError(f"The revision {revision} is not in the history: {done.stderr.strip()}")
    rows = [row.split("\t") for row in done.stdout.split("\0") if row.endswith(".py")]
    return {path: _blob(about.split()[2], root) for about, path in rows}


@cache
def _blob(name: str, root: Path) -> str:
    command = ["git", "-C", root, "cat-file", "blob", name]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def records(root: Path) -> dict[str, dict]:
    """Read what made each record."""
    paths = sorted((root / TABLE.parent).glob("*.json"))
    return {
        path.stem: json.loads(path.read_text(encoding="utf8"))["made_with"]
        for path in paths
        if path.stem != NO_RECORD
    }


def changed_since(root: Path) -> dict[str, list[str]]:
    """List for each record the definitions that have changed since it was made."""
    recipe, now = recipes(), sources_now(root)
    found = {}
    for name, made in records(root).items():
        starts = beginnings(recipe["commands"].get(name, name), recipe["code"])
        then = sources_at(made["revision"], root)
        found[name] = changed(used(starts, now, root), now, then)
    return found


def table(root: Path) -> str:
    """Give the text of the table of all records."""
    recipe, made, rows = recipes(), records(root), []
    for name, lines in changed_since(root).items():
        about, machine = made[name], made[name]["hardware"]
        revision = about["revision"][:7]
        if about["uncommitted_changes"]:
            revision += f" and more, not committed: {recipe['uncommitted'].get(name, '?')}"
        modules = Counter(Path(line.split(":")[0]).stem for line in lines)
        processor = machine.get("processor", "processor not recorded")
        cells = [name, about["time"][:10], revision, f"{processor}, {machine['cores']} cores"]
        rows.append(f"| {' | '.join(cells)} | {_counted(modules)} |")
    commands = [
        f"- {name}: `{command}`"
        for name, command in sorted(recipe["commands"].items())
        if name in made
    ]
    ending = "Each command ends in `--output data/results/NAME.json`."
    return "\n".join([_TOP + "\n".join(rows), "", "## Commands", "", ending, "", *commands, ""])


def _counted(modules: Counter) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(modules.items())) or "–"


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="records whose changed definitions are listed")
    parser.add_argument("--write", action="store_true", help=f"write the table to {TABLE}")
    chosen, root = parser.parse_args(arguments), Path.cwd()
    try:
        if chosen.write:
            (root / TABLE).write_text(table(root), encoding="utf8")
        elif chosen.names:
            found = changed_since(root)
            print("\n".join(f"{name}  {line}" for name in chosen.names for line in found[name]))
        else:
            print(table(root), end="")
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Say which recorded results are older than the code that they depend on.

A record names the revision of the code that made it. What it depends on now is the files that
``recipes.yml`` names for its command, with all that they import. Both are compared definition by
definition, without comments, docstrings and formatting. A definition that was only moved to
another module is the same, and so is a call to it by the module's new name: which of two functions
of one name in two modules is called is therefore not seen.

``python -m book.tools.stale`` prints the table, ``--write`` writes it to
``data/results/README.md``, and with names of records it lists the changed definitions.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from book.tools.closure import PACKAGE, closure
from book.tools.errors import ToolError

HERE = Path(__file__).resolve().parent
TABLE = Path("data") / "results" / "README.md"
# Written from the executed notebooks by `make record`, which compares it by itself.
NO_RECORD = "regression"
FOLDERS = (PACKAGE, "book", "tests/faults")
# Records before this time do not name the processor.
PROCESSOR_SINCE = "2026-11-27T23:15:50+00:00"

_TOP = """\
# Recorded results

Written by `python -m book.tools.stale --write`; a test compares it with the code. Each record was
made by the command below from the code of its revision. The last column names the modules that the
command depends on today and that hold a definition which was another one, or none, at that
revision; comments, docstrings, formatting and moves between modules do not count. It does not say
that the numbers would differ: `python -m book.tools.stale NAME` lists the definitions.

| record | made | revision | machine | changed since |
| --- | --- | --- | --- | --- |
"""


class _Canonical(ast.NodeTransformer):
    """Takes away docstrings, and the names of own modules before what is in them."""

    def __init__(self, modules: set[str]):
        self.modules = modules

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:]
        return node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def definitions(source: str) -> dict[str, str]:
    """Give the definitions of a module in a form that only changes with what they do.

    Parameters
    ----------
    source
        Python source text.

    Returns
    -------
    dict of str to str
        The canonical form, to the name: that of a function, class, ``Class.method`` or constant.
        Imports of other packages are in it as well; a class stands for its bases, decorators,
        attributes and the names of its methods.
    """
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    own = [node for node in imports if _is_own(node)]
    names = {(alias.asname or alias.name) for node in own for alias in node.names}
    tree = _Canonical(names).visit(tree)
    return {ast.dump(node): name for name, node in _parts(tree.body) if node not in own}


def _is_own(node: ast.Import | ast.ImportFrom) -> bool:
    """Say if an import is one of this project, whose modules may have other names now."""
    first = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
    tops = {folder.split("/")[0] for folder in FOLDERS}
    return bool(getattr(node, "level", 0)) or first.split(".")[0] in tops


def _parts(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each statement of a module with a name; methods apart from their class."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            for method in methods:
                yield f"{node.name}.{method.name}", method
            rest = [part for part in node.body if part not in methods]
            node.body = rest + [ast.Expr(ast.Name(method.name)) for method in methods]
        yield _name(node), node


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    return getattr(node, "name", None) or ast.unparse(node).splitlines()[0]


def changed(now: dict[str, str], needed: list[str], then: dict[str, str]) -> list[str]:
    """List the definitions that are not what they were.

    Parameters
    ----------
    now, then
        Source text of each Python file, today and at the record's revision.
    needed
        The files that the record depends on today.

    Returns
    -------
    list of str
        ``file: name``. A definition that another file had and no longer has was moved: it is not
        in the list.
    """
    gone = set()
    for path, source in then.items():
        gone |= definitions(source).keys() - definitions(now.get(path, "")).keys()
    found = []
    for path in needed:
        before = definitions(then.get(path, "")).keys() | gone
        found += [
            f"{path}: {n}" for form, n in definitions(now[path]).items() if form not in before
        ]
    return found


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


def needed_files(starts: list[str], root: Path) -> list[str]:
    """List some files and all modules of the project that they import, as paths from the root."""
    found = {root / start for start in starts}
    for package in ("book", PACKAGE):
        texts = [path.read_text(encoding="utf8") for path in found]
        found |= set(closure(texts, root, package))
    return sorted(str(path.relative_to(root)) for path in found)


def sources_now(root: Path) -> dict[str, str]:
    """Read the Python files of the project as they are."""
    paths = (path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
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
    command = ["git", "-C", root, "ls-tree", "-r", "-z", revision, *FOLDERS]
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
        found[name] = changed(now, needed_files(starts, root), then)
    return found


def table(root: Path) -> str:
    """Give the text of the table of all records."""
    recipe, made, rows = recipes(), records(root), []
    for name, definitions_ in changed_since(root).items():
        about, machine = made[name], made[name]["hardware"]
        revision = about["revision"][:7]
        if about["uncommitted_changes"]:
            revision += f", with uncommitted changes: {recipe['uncommitted'].get(name, '')}"
        modules = sorted({Path(line.split(":")[0]).stem for line in definitions_})
        processor = machine.get("processor", "processor not recorded")
        cells = [name, about["time"][:10], revision, f"{processor}, {machine['cores']} cores"]
        rows.append(f"| {' | '.join(cells)} | {', '.join(modules) or '–'} |")
    commands = [f"- {name}: `{command}`" for name, command in sorted(recipe["commands"].items())]
    ending = "Each command ends in `--output data/results/NAME.json`."
    return "\n".join([_TOP + "\n".join(rows), "", "## Commands", "", ending, "", *commands, ""])


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

"""Find which package modules a source file depends on, without importing anything."""

import ast
from functools import cache
from pathlib import Path

PACKAGE = "graphseg"
PACKAGES = (PACKAGE, "book", "tests")


def closure(sources: list[str], root: Path, package: str = PACKAGE) -> list[Path]:
    """List every module of the package that some Python sources import, directly or not.

    Imports inside functions count as much as those at the top of a file. The package's own
    ``__init__.py`` is in the list as soon as anything of the package is imported.

    Parameters
    ----------
    sources
        Python source texts; lines that only IPython understands are ignored.
    root
        Folder that holds the package.
    package
        Name of the package.

    Returns
    -------
    list of Path
        Files of the package, sorted.
    """
    found: set[Path] = set()
    waiting = [name for source in sources for name in imported_names(source, package, package)]
    while waiting:
        new = set(_files(waiting.pop(), root)) - found
        found |= new
        for path in new:
            parent = _parent(path, root)
            waiting += imported_names(path.read_text(encoding="utf8"), parent, package)
    return sorted(found)


@cache
def imported_names(source: str, parent: str, package: str = PACKAGE) -> list[str]:
    """List the dotted names inside a package that a source text imports.

    ``from graphseg import bragg`` gives ``graphseg`` and ``graphseg.bragg``: whether the
    last part is a module or an attribute is settled by looking for the file.

    Parameters
    ----------
    source
        Python source text.
    parent
        Dotted name of the package that the source is in, for relative imports.
    package
        Name of the package of interest.
    """
    found = []
    for node in ast.walk(ast.parse(_without_magics(source))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, parent)
            names = [base] + [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [name for name in names if name.split(".")[0] == package]
    return found


@cache
def imported_files(path: str, root: Path) -> set[str]:
    """List the files of the project that a Python file itself imports, as paths from the root."""
    source = (root / path).read_text(encoding="utf8")
    parent = _parent(root / path, root)
    names = [n for package in PACKAGES for n in imported_names(source, parent, package)]
    return {str(file.relative_to(root)) for name in names for file in _files(name, root)}


def _base(node: ast.ImportFrom, parent: str) -> str:
    """Give the absolute module name of a ``from ... import`` statement."""
    if node.level == 0:
        return node.module or ""
    parts = parent.split(".")
    kept = parts[: len(parts) - node.level + 1]
    return ".".join(kept + ([node.module] if node.module else []))


def _without_magics(source: str) -> str:
    """Blank the lines that begin with % or !, which are IPython's and not Python's."""
    lines = source.splitlines()
    return "\n".join("" if line.lstrip()[:1] in ("%", "!") else line for line in lines)


def _files(name: str, root: Path) -> list[Path]:
    """List the files that importing a dotted name reads: each package and the module."""
    files, folder = [], root
    for part in name.split("."):
        module = folder / f"{part}.py"
        folder = folder / part
        files += [path for path in (folder / "__init__.py", module) if path.is_file()]
    return files


def _parent(path: Path, root: Path) -> str:
    """Give the dotted name of the package that a module file is in."""
    return ".".join(path.relative_to(root).parent.parts)

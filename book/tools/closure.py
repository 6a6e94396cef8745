"""Find which package modules a source file depends on, without importing anything."""

import ast
from functools import cache
from pathlib import Path

PACKAGES = ("graphseg", "book", "tests")


def closure(sources: list[str], root: Path, packages: tuple[str, ...] = PACKAGES) -> list[Path]:
    """List every module of the project that some Python sources import, directly or not.

    Imports inside functions count as much as those at the top of a file, and so do names that a
    package loads when they are first asked for (`lazy_loader.attach`). A package's own
    ``__init__.py`` is in the list as soon as anything of it is imported.

    Parameters
    ----------
    sources
        Python source texts; lines that only IPython understands are ignored.
    root
        Folder that holds the packages.
    packages
        Names of those that count.

    Returns
    -------
    list of Path
        Files of the packages, sorted.
    """
    found: set[Path] = set()
    waiting = [n for text in sources for p in packages for n in imported_names(text, p, p)]
    while waiting:
        new = set(_files(waiting.pop(), root)) - found
        found |= new
        for path in new:
            text, parent = path.read_text(encoding="utf8"), _parent(path, root)
            waiting += [name for p in packages for name in imported_names(text, parent, p)]
    return sorted(found)


@cache
def imported_names(source: str, parent: str, package: str) -> list[str]:
    """List the dotted names inside a package that a source text imports.

    ``from graphseg import bragg`` gives ``graphseg`` and ``graphseg.classical.bragg``, and a use of
    ``bragg.fit`` also ``graphseg.classical.bragg.fit``: whether the last part is a module or
    something in it is settled by looking for the file.

    Parameters
    ----------
    source
        Python source text.
    parent
        Dotted name of the package that the source is in, for relative imports.
    package
        Name of the package of interest.
    """
    found, bound = [], {}
    tree = _Executed().visit(ast.parse(_without_magics(source)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, parent)
            found += [base] if base.split(".")[0] == package else []
            names = {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
        else:
            continue
        bound |= {k: name for k, name in names.items() if name.split(".")[0] == package}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"{bound[node.value.id]}.{node.attr}"] if node.value.id in bound else []
    return found + list(bound.values())


@cache
def imported_files(path: str, root: Path) -> set[str]:
    """List the files of the project that a Python file itself imports, as paths from the root."""
    source = (root / path).read_text(encoding="utf8")
    parent = _parent(root / path, root)
    names = [n for package in PACKAGES for n in imported_names(source, parent, package)]
    return {str(file.relative_to(root)) for name in names for file in _files(name, root)}


class _Executed(ast.NodeTransformer):
    """Takes away what is for checkers of types only."""

    def visit_If(self, node: ast.If) -> ast.AST:
        checked = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return ast.Pass() if checked else self.generic_visit(node)


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
        if not module.is_file() and not folder.is_dir():  # something in what was looked at last
            found = _lazy_names(folder.parent / "__init__.py").get(part)
            return files + (_files(found, folder.parent) if found else [])
        files += [path for path in (folder / "__init__.py", module) if path.is_file()]
    return files


@cache
def _lazy_names(init: Path) -> dict[str, str]:
    """Read which names a package loads on demand, and from which of its modules."""
    if not init.is_file():
        return {}
    for node in ast.walk(ast.parse(init.read_text(encoding="utf8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "attach":
            (listed,) = (k.value for k in node.keywords if k.arg == "submod_attrs")
            modules = ast.literal_eval(listed).items()
            return {name: module for module, names in modules for name in names}
    return {}


def _parent(path: Path, root: Path) -> str:
    """Give the dotted name of the package that a module file is in."""
    return ".".join(path.relative_to(root).parent.parts)

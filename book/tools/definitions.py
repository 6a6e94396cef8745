"""The definitions of Python files: what they are, which ones others use, which ones have changed.

They are compared without comments, docstrings and formatting. A definition that was only moved to
another file is the same, and so is a use of it by the other module's name.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from book.tools.closure import PACKAGES, imported_files
from book.tools.errors import ToolError

_IMPORT = "import "


@dataclass(frozen=True)
class Definition:
    """A function, class, method, constant, or import of another package.

    Attributes
    ----------
    name
        As the file has it; ``Class.method`` for a method. The class itself stands for its bases,
        decorators and attributes and for the names of its methods.
    form
        What it does: its syntax tree as text.
    uses
        All names and attributes in it.
    """

    name: str
    form: str
    uses: frozenset[str]


class _Bare(ast.NodeTransformer):
    """Takes away docstrings, and own modules before what is in them (``metrics.scores``)."""

    def __init__(self, modules: set[str]):
        self.modules = modules

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return ast.Name(node.attr, node.ctx)
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
        return node


@cache
def definitions(source: str) -> tuple[Definition, ...]:
    """List the definitions of a Python file."""
    tree = ast.parse(source)
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom | ast.Import)]
    own = {alias.asname or alias.name for n in imports if _is_own(n) for alias in n.names}
    return tuple(_defined(*part) for part in _parts(_Bare(own).visit(tree).body))


def _defined(name: str, node: ast.AST) -> Definition:
    uses = (getattr(part, "id", None) or getattr(part, "attr", None) for part in ast.walk(node))
    return Definition(name, ast.dump(node), frozenset(filter(None, uses)))


def _is_own(node: ast.Import | ast.ImportFrom) -> bool:
    """Say if an import is one of this project."""
    first = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
    return bool(getattr(node, "level", 0)) or first.split(".")[0] in PACKAGES


def _parts(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """Yield each statement of a module with a name; methods apart from their class."""
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in () if _is_own(node) else node.names:
                origin = f"{getattr(node, 'module', '')} {alias.name}"
                yield f"{_IMPORT}{alias.asname or alias.name.split('.')[0]}", ast.Constant(origin)
        elif isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            for method in methods:
                yield f"{node.name}.{method.name}", method
            rest = [part for part in node.body if part not in methods]
            node.body = rest + [ast.Constant(method.name) for method in methods]
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            yield ast.unparse(getattr(node, "target", None) or node.targets[0]), node
        else:
            yield getattr(node, "name", None) or ast.unparse(node).splitlines()[0], node


def used(starts: Iterable[str], sources: dict[str, str], root: Path) -> dict[str, set[Definition]]:
    """Find all definitions that some definitions use, directly or not.

    A name stands for whatever has this name in the same file or in the ones that it imports, and a
    class for all of its methods: too many rather than too few.

    Parameters
    ----------
    starts
        ``file.py``, for all of a file, or ``file.py:name``.
    sources
        Source text of each file, by its path from the root.
    root
        The project's folder.

    Returns
    -------
    dict
        The definitions of each file.
    """
    found: dict[str, set[Definition]] = {}
    waiting = []
    for path, _, wanted in (start.partition(":") for start in starts):
        fitting = [d for d in definitions(sources[path]) if not wanted or wanted in _words(d.name)]
        if not fitting:
            raise ToolError(f"{path} has no {wanted}, which recipes.yml names.")
        waiting += [(path, definition) for definition in fitting]
    while waiting:
        path, definition = waiting.pop()
        if definition not in found.setdefault(path, set()):
            found[path].add(definition)
            for other in {path} | imported_files(path, root):
                fitting = (
                    d for d in definitions(sources[other]) if _words(d.name) & definition.uses
                )
                waiting += [(other, d) for d in fitting]
    return found


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", name))


def changed(
    found: dict[str, set[Definition]], now: dict[str, str], then: dict[str, str]
) -> list[str]:
    """List those of some definitions that are not what they were.

    Parameters
    ----------
    found
        The definitions, of today.
    now, then
        Source text of each file, by its path, today and before.

    Returns
    -------
    list of str
        ``file.py:name``. What another file had and no longer has was moved and is not listed, nor
        is an import that another file had.
    """
    anywhere = set().union(*map(_forms, then.values()))
    moved = set().union(*(_forms(then[path]) - _forms(now.get(path, "")) for path in then))
    return sorted(
        f"{path}:{definition.name}"
        for path, those in found.items()
        for definition in those
        if definition.form not in _forms(then.get(path, ""))
        and definition.form not in (anywhere if definition.name.startswith(_IMPORT) else moved)
    )


@cache
def _forms(source: str) -> frozenset[str]:
    return frozenset(definition.form for definition in definitions(source))

"""Parameters of the notebooks: the defaults in their parameters cell and the profiles."""

import ast
from pathlib import Path
from typing import Any

import yaml

from book.tools.errors import ToolError

DEFAULT = "default"


def profile_parameters(notebook: str, profile: str, path: Path) -> dict[str, Any]:
    """Read what a profile sets for one notebook.

    Parameters
    ----------
    notebook
        Name of the notebook without suffix, e.g. ``04_unet``.
    profile
        Name of the profile; ``default`` sets nothing.
    path
        The file of profiles, ``book/profiles.yml``.

    Raises
    ------
    ToolError
        If the file cannot be used, or there is no such profile.
    """
    if profile == DEFAULT:
        return {}
    try:
        profiles = dict(yaml.safe_load(path.read_text(encoding="utf8")) or {})
        chapters = {name: dict(chapters or {}) for name, chapters in profiles.items()}
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ToolError(f"{path} is no list of profiles with parameters of notebooks.") from error
    if profile not in chapters:
        known = ", ".join([DEFAULT, *chapters])
        raise ToolError(f"{path} has no profile {profile!r}; choose one of {known}.")
    given = chapters[profile].get(notebook) or {}
    if not isinstance(given, dict):
        raise ToolError(f"The profile {profile!r} of {path} gives {notebook} no parameters.")
    return dict(given)


def defaults(notebook: Any, name: str) -> dict[str, Any]:
    """Read names and values from the parameters cell of a notebook.

    Parameters
    ----------
    notebook
        An nbformat notebook.
    name
        Its name, for messages.

    Raises
    ------
    ToolError
        If there is not exactly one cell tagged ``parameters``, or if it holds anything but
        assignments of literals: papermill could not replace them one by one.
    """
    cells = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ToolError(f"{name} has {len(cells)} cells tagged 'parameters'; it needs exactly one.")
    try:
        return dict(_assignment(node) for node in ast.parse(cells[0].source).body)
    except (TypeError, ValueError, AttributeError) as error:
        raise ToolError(
            f"The parameters cell of {name} may hold only lines such as 'epochs: int = 5' "
            "with a literal value."
        ) from error


def _assignment(node: ast.stmt) -> tuple[str, Any]:
    """Read one assignment of a literal to a name."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id, ast.literal_eval(node.value)


def check(given: dict[str, Any], known: dict[str, Any], name: str) -> None:
    """Check the parameters that replace the defaults of a notebook.

    A misspelt name would otherwise have no effect, and a value of another type (YAML reads
    ``1e-3`` as a string) would fail far from its cause.

    Raises
    ------
    ToolError
        If a name is not in the parameters cell or a value is of another type there.
    """
    for key, value in given.items():
        if key not in known:
            raise ToolError(
                f"{name} has no parameter {key!r}; its parameters cell has {', '.join(known)}."
            )
        default = known[key]
        is_number = type(default) is float and type(value) is int
        if default is not None and type(value) is not type(default) and not is_number:
            raise ToolError(
                f"Parameter {key!r} of {name} is {value!r}, a {type(value).__name__}; "
                f"its default is a {type(default).__name__}."
            )

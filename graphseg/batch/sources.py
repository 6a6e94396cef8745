"""Which micrographs are meant by files, folders and patterns, and how their results are named."""

import glob
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from graphseg.batch.manifest import HIDDEN, Ledger, Source
from graphseg.errors import InputError
from graphseg.io.micrographs import FOLDERS, SUFFIXES

LABEL = "_LABEL"


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """List the micrographs that files, folders and patterns name, in order of their paths.

    A folder gives every file of a known format in it and in its folders, hidden ones left out. Left
    out are also labels (``NAME_LABEL`` beside ``NAME``) and the results of earlier runs. Files of
    the same name in different folders get results in different folders.

    Parameters
    ----------
    inputs
        Files, folders, or patterns with ``*``, ``?``, ``[…]`` and ``**``. A file that does not
        exist is listed, so that it is reported with those that cannot be read.

    Raises
    ------
    InputError
        If a folder or a pattern gives no micrograph, or results cannot be named apart.
    """
    found: dict[Path, tuple[str, PurePath]] = {}  # absolute path to how it is shown and named
    for given in map(str, inputs):
        files = list(_expand(given))
        if not files:
            known = ", ".join(SUFFIXES)
            raise InputError(f"{given} gives no micrograph; name files or folders with {known}.")
        for path, base in files:
            name = path.relative_to(base).with_suffix("")
            found.setdefault(Path(os.path.abspath(path)), (str(path), name))
    results = _results(found)
    kept = {p: v for p, v in found.items() if p not in results and not _is_label(p, found)}
    if not kept:
        raise InputError("There are only labels and results of earlier runs; name micrographs.")
    names = _distinct({path: name for path, (_, name) in kept.items()})
    listed = [Source(path, kept[path][0], names[path]) for path in kept]
    return sorted(listed, key=lambda source: source.shown)


def _expand(given: str) -> Iterator[tuple[Path, Path]]:
    """Yield each file that is meant, with the folder that its results' names start from."""
    path = Path(given)
    if _is_folder(path):
        yield from ((file, path) for file in _inside(path))
    elif path.exists() or not glob.has_magic(given):
        yield path, path.parent
    else:
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        for match in map(Path, sorted(glob.glob(given, recursive=True))):
            files = _inside(match) if _is_folder(match) else [match]
            yield from ((file, base) for file in files if file.suffix.lower() in SUFFIXES)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() not in FOLDERS


def _inside(path: Path) -> Iterator[Path]:
    """Yield the files and stores of known formats in a folder and its folders."""
    for folder, inner, files in os.walk(path):
        stores = [name for name in inner if not _is_folder(Path(folder, name))]
        inner[:] = sorted(n for n in inner if n not in stores and not n.startswith("."))
        for name in sorted(files + stores):
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(folder, name)


def _is_label(path: Path, found: Iterable[Path]) -> bool:
    image = path.with_name(path.stem.removesuffix(LABEL) + path.suffix)
    return path.stem.endswith(LABEL) and image in found


def _results(found: Iterable[Path]) -> set[Path]:
    """Return the files that earlier runs have written to the folders of these files, or above."""
    folders = {parent for path in found for parent in path.parents}
    written = set()
    for folder in folders:
        for command in (folder / HIDDEN).glob("*/"):
            for _, record in Ledger(folder, command.name, {}).all():
                written |= {folder / file for file in record["outputs"]}
    return written


def _distinct(names: dict[Path, PurePath]) -> dict[Path, str]:
    """Return names that differ, also where upper and lower case do not count."""
    for rule in (_with_folders, _with_suffix):
        for clash in _clashes(names):
            names |= rule(clash, names)
    for clash in _clashes(names):
        raise InputError(
            f"The results of {clash[0]} and {clash[1]} would have the same names; do them in "
            "different runs with different folders."
        )
    return {path: name.as_posix() for path, name in names.items()}


def _clashes(names: dict[Path, PurePath]) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path, name in names.items():
        groups.setdefault(name.as_posix().casefold(), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _with_folders(clash: list[Path], _: dict[Path, PurePath]) -> dict[Path, PurePath]:
    try:
        common = os.path.commonpath([path.parent for path in clash])
    except ValueError:  # different drives
        return {}
    return {path: path.relative_to(common).with_suffix("") for path in clash}


def _with_suffix(clash: list[Path], names: dict[Path, PurePath]) -> dict[Path, PurePath]:
    return {p: names[p].with_name(f"{p.stem}_{p.suffix.lower().strip('.')}") for p in clash}

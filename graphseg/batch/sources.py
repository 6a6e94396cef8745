"""Which micrographs are meant, how their results are named, and what is left out."""

import glob
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath

from graphseg.errors import InputError
from graphseg.io.micrographs import FOLDERS, SUFFIXES

HIDDEN = ".graphseg"  # folder of the records inside a folder of results
FORMAT = 1  # of a record; one of another format counts as none
# What a run leaves beside the results, see `graphseg.batch.manifest`; {} is the command.
LEFT = ("{}.csv", "{}.html", "run.toml", "run.log")
LABEL = "_LABEL"
NAMED = 3  # files that a message names before it counts the others


@dataclass(frozen=True)
class Source:
    """A file whose images are to be worked on.

    Attributes
    ----------
    path
        Absolute.
    shown
        The path as the user gave it, for tables and messages.
    name
        Of its results, relative to the folder of results and without suffix; may have folders.
    masks
        Digest of the masks that it comes with, "" if there are none; with others its results are
        not the same.
    """

    path: Path
    shown: str
    name: str
    masks: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file in a folder that was named which is not worked on, and why, as a clause."""

    file: str  # as the user would name it
    reason: str


@dataclass(frozen=True)
class Inputs:
    """What files, folders and patterns come to.

    Attributes
    ----------
    sources
        What is worked on, in order of paths.
    skipped
        What is not, in order of paths. The results of earlier runs are not mentioned.
    """

    sources: list[Source]
    skipped: list[Skipped]

    def skipped_text(self) -> str:
        """Return one sentence that counts what is left out and names some of it, or ""."""
        if not self.skipped:
            return ""
        kinds = Counter(Path(one.file).suffix.lower() or "no suffix" for one in self.skipped)
        counted = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        named = ", ".join(one.file for one in self.skipped[:NAMED])
        more = len(self.skipped) - NAMED
        rest = f" and {more} more" if more > 0 else ""
        return f"Files left out: {len(self.skipped)} ({counted}): {named}{rest}."


def find_sources(inputs: Sequence[str | Path]) -> list[Source]:
    """List the micrographs that files, folders and patterns name, see `find_inputs`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("0001.dm4", "0001.tif", "notes.txt"):
    ...     pathlib.Path(folder.name, name).touch()
    >>> [source.name for source in find_sources([folder.name])]
    ['0001_dm4', '0001_tif']
    >>> folder.cleanup()
    """
    return find_inputs(inputs).sources


def find_inputs(inputs: Sequence[str | Path]) -> Inputs:
    """List the micrographs that files, folders and patterns name, and what else is there.

    A folder gives every file of a known format in it and in its folders, hidden ones left out. Left
    out are also labels (``NAME_LABEL`` beside ``NAME``) and the results of earlier runs. Files of
    the same name in different folders get results in different folders; what is left of equal names
    gets the suffix of its file, and after that a part of the digest of its path.

    Parameters
    ----------
    inputs
        Files, folders, or patterns with ``*``, ``?``, ``[…]`` and ``**``. A file that does not
        exist is listed, so that it is reported with those that cannot be read.

    Raises
    ------
    InputError
        If a folder or a pattern gives no micrograph.
    """
    found: dict[Path, tuple[str, PurePath]] = {}  # absolute path to how it is shown and named
    others: dict[Path, Skipped] = {}
    for given in map(str, inputs):
        files, unknown = _expand(given)
        if not files:
            known = ", ".join(SUFFIXES)
            raise InputError(f"{given} gives no micrograph; name files or folders with {known}.")
        for path, base in files:
            name = path.relative_to(base).with_suffix("")
            found.setdefault(_absolute(path), (str(path), name))
        for path in unknown:
            reason = (
                f"the suffix {path.suffix} is none of a known format"
                if path.suffix
                else "it has no suffix"
            )
            others[_absolute(path)] = Skipped(str(path), reason)
    earlier = _results([*found, *others])
    labels = _labels(found)
    kept = {path: v for path, v in found.items() if path not in earlier | labels}
    if not kept:
        raise InputError("There are only labels and results of earlier runs; name micrographs.")
    names = _distinct({path: name for path, (_, name) in kept.items()})
    others |= {path: Skipped(found[path][0], "it is the label of another image") for path in labels}
    return Inputs(
        sorted((Source(p, kept[p][0], names[p]) for p in kept), key=lambda one: one.shown),
        sorted((o for p, o in others.items() if p not in earlier), key=lambda one: one.file),
    )


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _expand(given: str) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return the files that are meant, with the folder that their results' names start from.

    And the other files that are there, which no known format would have.
    """
    path = Path(given)
    if not _is_folder(path) and (path.exists() or not glob.has_magic(given)):
        return [(path, path.parent)], []
    base = path
    if not _is_folder(path):
        base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches = [path] if base is path else map(Path, sorted(glob.glob(given, recursive=True)))
    files = [
        file for match in matches for file in (_inside(match) if _is_folder(match) else [match])
    ]
    known = [(file, base) for file in files if file.suffix.lower() in SUFFIXES]
    return known, [file for file in files if file.suffix.lower() not in SUFFIXES]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and path.suffix.lower() not in FOLDERS


def _inside(path: Path) -> Iterator[Path]:
    """Yield the visible files and stores in a folder and its folders."""
    for folder, inner, files in os.walk(path):
        stores = [name for name in inner if not _is_folder(Path(folder, name))]
        inner[:] = sorted(n for n in inner if n not in stores and not n.startswith("."))
        for name in sorted(files + stores):
            if not name.startswith("."):
                yield Path(folder, name)


def _labels(found: Iterable[Path]) -> set[Path]:
    """Return the labels: ``NAME_LABEL`` beside ``NAME``, whatever the formats of the two."""
    images = {path.with_suffix("") for path in found}
    return {
        path
        for path in found
        if path.stem.endswith(LABEL) and path.with_name(path.stem.removesuffix(LABEL)) in images
    }


def _results(found: Iterable[Path]) -> set[Path]:
    """Return the files that earlier runs have written to the folders of these files, or above."""
    folders = {parent for path in found for parent in path.parents}
    written = set()
    for folder in folders:
        commands = [path.stem for path in (folder / HIDDEN).glob("*.json")]
        written |= {folder / left.format(command) for command in commands for left in LEFT}
        for path in (folder / HIDDEN).glob("*/**/*.json"):
            written |= {folder / file for file in _outputs(path)}
    return written


def _outputs(path: Path) -> list[str]:
    """Return the files that a record covers; none where it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return list(record["outputs"]) if record.get("format") == FORMAT else []
    except (OSError, ValueError, AttributeError):
        return []


def _distinct(names: dict[Path, PurePath]) -> dict[Path, str]:
    """Return names that differ, also where upper and lower case do not count."""
    for rule in (_with_folders, _with_suffix, _with_folders, _with_suffix, _with_digest):
        for clash in _clashes(names):
            names |= rule(clash, names)
    return {path: name.as_posix() for path, name in names.items()}


def _clashes(names: dict[Path, PurePath]) -> list[list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path, name in names.items():
        groups.setdefault(name.as_posix().casefold(), []).append(path)
    return [group for group in groups.values() if len(group) > 1]


def _with_folders(clash: list[Path], names: dict[Path, PurePath]) -> dict[Path, PurePath]:
    try:
        common = os.path.commonpath([path.parent for path in clash])
    except ValueError:  # different drives
        return {}
    longer = {p: p.relative_to(common).parent / names[p].name for p in clash}
    # Files of one folder have nothing more to tell, and must not lose what names it.
    return {p: n for p, n in longer.items() if len(n.parts) > len(names[p].parts)}


def _with_suffix(clash: list[Path], names: dict[Path, PurePath]) -> dict[Path, PurePath]:
    return {p: names[p].with_name(f"{p.stem}_{p.suffix.lower().strip('.')}") for p in clash}


def _with_digest(clash: list[Path], names: dict[Path, PurePath]) -> dict[Path, PurePath]:
    """Add what differs even between names that differ in nothing but upper and lower case."""
    digests = {path: sha256(os.fsencode(path)).hexdigest()[:8] for path in clash}
    return {p: names[p].with_name(f"{names[p].name}_{digests[p]}") for p in clash}

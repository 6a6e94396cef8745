"""Which micrographs are meant, which of them are finished, and whose the results there are.

Beside the results lies a small record for each frame, written just before they get their final
names, with their sizes. A process may be killed at any moment: what has its final name is whole,
and a frame is finished when its record says the same input, model and options and all its results
are there. Results that no record covers are somebody else's and not overwritten unasked.
"""

import glob
import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import NamedTuple, Self

from graphseg.errors import InputError
from graphseg.io.micrographs import FOLDERS, SUFFIXES
from graphseg.io.outputs import temporary_name, whole_file

HIDDEN = ".graphseg"  # folder of the records inside a folder of results
FORMAT = 1  # of a record; one of another format counts as none
RUN, LOG = "run.toml", "run.log"
LEFT = ("{}.csv", "{}.html", RUN, LOG)  # what a run leaves beside the results; {} is the command
FRAME, LABEL = "_frame_", "_LABEL"  # in names of results, and of labels
RENAMED = {  # options, columns and flags that records of before call otherwise
    "averaging": "test_time_augmentation",
    "strangeness": "ood_score",
    "stranger": "out_of_distribution",
}

Writer = Callable[[Path], object]  # of a file; a dict that it returns has further columns


@dataclass(frozen=True)
class Source:
    """A file whose images are to be worked on."""

    path: Path  # absolute
    shown: str  # as the user gave it, for tables and messages
    name: str  # of its results, from their folder on and without suffix; may have folders
    masks: str = ""  # digest of the masks that it comes with; with others its results differ

    def fingerprint(self) -> "Fingerprint":
        """Look at the file as it is now, and at the masks that it comes with."""
        return Fingerprint.of(self.path)._replace(masks=self.masks)

    def frame_name(self, frame: int, frames: int) -> str:
        """Return the name of the results of one frame, counted from 0."""
        return self.name if frames == 1 else f"{self.name}{FRAME}{frame:04d}"


class Inputs(NamedTuple):
    """What files, folders and patterns come to, in order of paths."""

    sources: list[Source]
    skipped: list[dict[str, str]]  # ``file`` and, as a clause, the ``reason`` that it is left out


class Fingerprint(NamedTuple):
    """What tells quickly whether a file, or a store that is a folder, is unchanged."""

    path: str
    size: int  # bytes; 0 if there is none
    modified: int  # ns
    masks: str = ""  # digest of those that come with it

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file or a store as it is now."""
        stats = [os.stat(part) for part in _parts(path)]
        last = max((one.st_mtime_ns for one in stats), default=0)
        return cls(str(path), sum(one.st_size for one in stats), last)


@lru_cache(maxsize=64)
def content_digest(now: Fingerprint) -> str:
    """Return the SHA-256 of what is there, computed once for its frames."""
    total, path = hashlib.sha256(), Path(now.path)
    for part in _parts(path):
        if part != path:
            total.update(part.relative_to(path).as_posix().encode("utf-8", "surrogateescape"))
        with part.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _parts(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(part for part in path.rglob("*") if part.is_file())
    return [path] if path.exists() else []


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

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("0001.dm4", "0001.tif", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     found = find_inputs([folder])
    >>> [source.name for source in found.sources], found.skipped[0]["reason"]
    (['0001_dm4', '0001_tif'], 'its format, .txt, is not a known one')
    """
    shown: dict[Path, str] = {}  # absolute path to what the user would call it
    names: dict[Path, PurePath] = {}
    reasons: dict[Path, str] = {}
    for given in map(str, inputs):
        base, files = _expand(given)
        known = {path for path in files if base is None or path.suffix.lower() in SUFFIXES}
        if not known:
            suffixes = ", ".join(SUFFIXES)
            raise InputError(f"{given} gives no micrograph; name files or folders with {suffixes}.")
        for path in files:
            absolute = Path(os.path.abspath(path))
            shown.setdefault(absolute, str(path))
            if path in known:
                name = path.relative_to(path.parent if base is None else base).with_suffix("")
                names.setdefault(absolute, name)
            else:
                unknown = f"its format, {path.suffix}, is not a known one"
                reasons[absolute] = unknown if path.suffix else "it has no suffix"
    reasons = {path: reason for path, reason in reasons.items() if path not in names}
    images = {path.with_suffix("") for path in names}
    for path in names:
        if path.stem.endswith(LABEL) and path.with_name(path.stem.removesuffix(LABEL)) in images:
            reasons[path] = "it is the label of another image"
    earlier = _results(shown)
    names = _distinct({p: n for p, n in names.items() if p not in earlier and p not in reasons})
    if not names:
        raise InputError("There are only labels and results of earlier runs; name micrographs.")
    order = sorted({*names, *reasons} - earlier, key=shown.get)
    return Inputs(
        [Source(path, shown[path], names[path].as_posix()) for path in order if path in names],
        [{"file": shown[path], "reason": reasons[path]} for path in order if path in reasons],
    )


def _expand(given: str) -> tuple[Path | None, list[Path]]:
    """Return the files that are there, and the folder that the names of their results start from.

    That is None for a file that was named itself; it counts whatever its suffix is.
    """
    path = Path(given)
    if _is_folder(path):
        return path, list(_inside(path))
    if path.exists() or not glob.has_magic(given):
        return None, [path]
    base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    matches = map(Path, sorted(glob.glob(given, recursive=True)))
    return base, [
        f for match in matches for f in (_inside(match) if _is_folder(match) else [match])
    ]


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


def _results(found: Iterable[Path]) -> set[Path]:
    """Return the files that earlier runs have written to the folders of these files, or above."""
    written = set()
    for folder in {parent for path in found for parent in path.parents}:
        commands = [path.stem for path in (folder / HIDDEN).glob("*.json")]
        written |= {folder / left.format(command) for command in commands for left in LEFT}
        for path in (folder / HIDDEN).glob("*/**/*.json"):
            written |= {folder / file for file in (read_record(path) or {}).get("outputs", ())}
    return written


def _distinct(names: dict[Path, PurePath]) -> dict[Path, PurePath]:
    """Return names that differ, also where upper and lower case do not count."""
    for rule in (_with_folders, _with_suffix, _with_folders, _with_suffix, _with_digest):
        groups = defaultdict(list)
        for path, name in names.items():
            groups[name.as_posix().casefold()].append(path)
        for group in groups.values():
            if len(group) > 1:
                names |= rule(group, names)
    return names


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
    named = ((p, names[p], _sha256(os.fsencode(p))[:8]) for p in clash)
    return {p: name.with_name(f"{name.name}_{digest}") for p, name, digest in named}


@dataclass(eq=False)
class Manifest:
    """The records of one command in a folder of results.

    Parameters
    ----------
    folder
        Of the results.
    command
        Records of different commands do not see each other.
    made_by
        What decides on the results besides the input: model digest and options, as JSON holds it.
    suffixes
        Ends of the names of the results.
    resume
        If False, nothing counts as finished.
    overwrite
        Whether results of other inputs, models or options may be replaced.
    """

    folder: Path
    command: str
    made_by: Mapping
    suffixes: Sequence[str] = ()
    resume: bool = True
    overwrite: bool = False

    def __post_init__(self):
        self.made_by = json.loads(json.dumps(self.made_by))
        self.records = self.folder / HIDDEN / self.command
        self.partial = self.folder / HIDDEN / "partial"  # files that are being written
        self._notes = self.folder / HIDDEN / f"{self.command}.json"  # on the tables
        self.tables = tuple(self.folder / f"{self.command}.{form}" for form in ("csv", "html"))

    def finished(self, sources: Iterable[Source]) -> dict[Source, int]:
        """Return for each source the number of its frames if all of them are finished, else 0.

        Raises
        ------
        InputError
            If what lies in the place of the others or of the tables may not be replaced.
        """
        done = {source: self._finished(source) for source in sources}
        if not self.overwrite:
            self._refuse_conflicts([source for source, frames in done.items() if not frames])
        return done

    def _finished(self, source: Source) -> int:
        first = self._read(source.name) or self._read(source.frame_name(0, 2))
        if first is None or not self.resume:
            return 0
        now, frames = source.fingerprint(), first["frames"]
        names = (source.frame_name(frame, frames) for frame in range(frames))
        return frames if all(self._is_finished(self._read(name), now) for name in names) else 0

    def _refuse_conflicts(self, sources: Iterable[Source]) -> None:
        known = self._table_digests()
        conflicts = [p for p in self.tables if p.exists() and _sha256(p.read_bytes()) not in known]
        present: dict[str, list[Path]] = {name: [] for name in self._names()}
        for folder, inner, files in os.walk(self.folder):
            inner[:] = [name for name in inner if name != HIDDEN]
            for path in (Path(folder, file) for file in files):
                for suffix in filter(path.name.endswith, self.suffixes):
                    name = path.relative_to(self.folder).as_posix().removesuffix(suffix)
                    present.setdefault(name, []).append(path)
        named, now = {source.name: source for source in sources}, cache(Source.fingerprint)
        for name, targets in present.items():
            if (source := _source_of(name, named)) is not None:
                conflicts += self._conflicts(self._read(name), now(source), targets)
        _refuse(conflicts)

    def is_finished(self, name: str, now: Fingerprint) -> bool:
        """Tell whether a frame is finished; `now` is that of its source.

        Raises
        ------
        InputError
            If it is not, and something lies in its place that may not be replaced.
        """
        record = self._read(name)
        if self.resume and self._is_finished(record, now):
            return True
        if not self.overwrite:
            targets = [self.folder / f"{name}{suffix}" for suffix in self.suffixes]
            _refuse(self._conflicts(record, now, targets))
        return False

    def rows(
        self, sources: Sequence[Source], failed: Sequence[dict] = ()
    ) -> list[tuple[dict, dict]]:
        """Return the rows of what is finished, and `failed` ones, in order of files.

        Each with ``files``, its results and pictures as seen from the folder of results, and
        ``above``, the fractions that `graphseg.io.outputs.previews` returns. Of `sources` those
        whose results are from this input, model and options; of other files those whose results
        are still there as they were left.
        """
        found: list[tuple[dict, dict]] = [(row, {"files": []}) for row in failed]
        named, now = {source.name: source for source in sources}, cache(Source.fingerprint)
        paths = {str(source.path) for source in sources}
        for name in self._names():
            record, source = self._read(name), _source_of(name, named)
            if record is None:
                continue
            shown = {"error": ""}
            if source is not None and self._is_finished(record, now(source)):
                shown |= {"file": source.shown}
            elif (
                record["source"]["path"] in paths
                or not record["outputs"]
                or not self._is_complete(record)
            ):
                continue
            hidden = f"{HIDDEN}/{self.command}/{name}"
            pictures = [f"{hidden}{end}" for end in record.get("pictures", ())]
            files = {"files": [*pictures, *record["outputs"]], "above": record.get("above")}
            found.append((record["row"] | shown, files))
        return sorted(found, key=lambda pair: (pair[0]["file"], pair[0]["frame"] or 0))

    def _names(self) -> list[str]:
        """Return the names of the frames that have a record."""
        records = sorted(self.records.rglob("*.json"))
        return [one.relative_to(self.records).as_posix().removesuffix(".json") for one in records]

    def _is_finished(self, record: dict | None, now: Fingerprint) -> bool:
        return self._is_ours(record, now) and self._is_complete(record)

    def _is_ours(self, record: dict | None, now: Fingerprint) -> bool:
        if record is None or record["made_by"] != self.made_by:
            return False
        stored = record["source"]
        if stored.get("masks", "") != now.masks:
            return False
        if (stored["path"], stored["size"], stored["modified"]) == now[:3]:
            return True
        # Moved or copied, but the same content.
        return stored["size"] == now.size and stored["sha256"] == content_digest(now)

    def _is_complete(self, record: dict) -> bool:
        return len(self._covered(record)) == len(record["outputs"])

    def _covered(self, record: dict) -> list[Path]:
        """Return the results of a record that are there as it says."""
        paths = {self.folder / file: size for file, size in record["outputs"].items()}
        return [path for path, size in paths.items() if _size(path) == size]

    def _conflicts(self, record: dict | None, now: Fingerprint, targets: list[Path]) -> list[Path]:
        """Return what exists, would go, and is not of this input, model and options.

        Those are the targets, and the results that the frame's last record covers.
        """
        ours = self.resume and self._is_ours(record, now)
        known = record["outputs"] if ours else {}
        present = dict.fromkeys(target for target in targets if target.exists())
        if record is not None and not ours:
            present |= dict.fromkeys(self._covered(record))
        return [
            path
            for path in present
            if known.get(path.relative_to(self.folder).as_posix()) != _size(path)
        ]

    def _read(self, name: str) -> dict | None:
        return read_record(self.records / f"{name}.json")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have a folder for files that are being written, and clear it of what was left over.

        A run that was killed leaves files there. What is younger than this run's start is spared:
        another run may be writing to the same folder.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        started = self.partial / "started"
        started.touch()
        start = started.stat().st_mtime_ns  # by the clock of the file system
        yield
        for path in self.partial.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns <= start:
                    path.unlink()

    def write(self, name: str, now: Fingerprint, outputs: dict[str, Writer], record: dict) -> None:
        """Write the results of a frame, each by what writes it, and its record.

        `now` is its source before it was read; the record has ``frame``, ``frames``, ``row``,
        ``above``, and ``pictures``: the contents by their suffixes of files that lie beside it.
        """
        source = now._asdict() | {"sha256": content_digest(now)}
        place = self.records / f"{name}.json"
        targets = {suffix: self.folder / f"{name}{suffix}" for suffix in outputs}
        row = record["row"]
        pictures = {self.records / f"{name}{end}": v for end, v in record["pictures"].items()}
        # Final to temporary names; of record and results the record comes first.
        names = (*pictures, place, *targets.values())
        written = {path: temporary_name(path, self.partial) for path in names}
        for path in written:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            for suffix, write in outputs.items():
                more = write(written[targets[suffix]])
                row |= more if isinstance(more, dict) else {}
            before = self._read(name)
            if self.resume and self._is_finished(before, now):  # by another process
                return
            sizes = {f"{name}{end}": _size(written[path]) for end, path in targets.items()}
            record |= {"format": FORMAT, "made_by": self.made_by, "outputs": sizes}
            record |= {"source": source, "row": row}
            record["pictures"] = list(record["pictures"])
            for path, content in pictures.items():
                written[path].write_bytes(content)
            written[place].write_text(json.dumps(record), encoding="utf-8")
            # Nothing more is to be written now that a full disk could refuse. What the last record
            # or these names held goes first: a record must not cover what is older than itself.
            for path in {*(self._covered(before) if before else ()), *targets.values()}:
                path.unlink(missing_ok=True)
            for path, temporary in written.items():
                os.replace(temporary, path)
        finally:
            for temporary in written.values():
                temporary.unlink(missing_ok=True)

    def write_tables(self, table: str, page: str) -> tuple[Path, Path]:
        """Write the table of all images as CSV and the report as HTML; return their paths.

        How they were left is noted, so that a later run knows whether somebody has edited them.
        """
        contents = [text.encode("utf-8", "backslashreplace") for text in (table, page)]  # as names
        digests = [*self._table_digests(), *map(_sha256, contents)]
        # The notes go first; the newest are enough, and whoever is killed in between loses nothing.
        contents.insert(0, json.dumps(digests[-8:]).encode())
        for path, content in zip((self._notes, *self.tables), contents, strict=True):
            with whole_file(path, self.partial) as temporary:
                temporary.write_bytes(content)
        return self.tables

    def _table_digests(self) -> list[str]:
        try:
            return json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []


def _source_of(name: str, named: Mapping[str, Source]) -> Source | None:
    """Return the source, of those `named`, that a frame's name belongs to."""
    return named.get(name) or named.get(name.rpartition(FRAME)[0])


def read_record(path: Path) -> dict | None:
    """Return a record; None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            return None
        for part in ("made_by", "row"):
            record[part] = {RENAMED.get(key, key): value for key, value in record[part].items()}
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return None
    if flags := record["row"].get("flags"):
        record["row"]["flags"] = " ".join(RENAMED.get(flag, flag) for flag in flags.split())
    return record


def _refuse(conflicts: Sequence[Path]) -> None:
    if conflicts:
        more = f" and {len(conflicts) - 1} more exist" if len(conflicts) > 1 else " exists"
        raise InputError(
            f"{conflicts[0]}{more} already, of another input, model or options or changed since; "
            "give --overwrite or name another folder."
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

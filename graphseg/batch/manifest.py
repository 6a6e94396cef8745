"""Which micrographs of a folder are finished, and whose the results there are.

Beside the results lies one small record for each frame. It is written just before the results get
their final names, and holds their sizes. A process may be killed at any moment: what has its final
name is whole, and a frame is finished when its record says the same input, model and options and
all its results are there. Results that no such record covers belong to somebody else and are not
overwritten unasked.
"""

import base64
import hashlib
import itertools
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from graphseg.batch.sources import FORMAT, HIDDEN, Source
from graphseg.batch.sources import find_sources as find_sources  # its place until now
from graphseg.errors import InputError
from graphseg.io.outputs import temporary_name, whole_file

FRAME = "_frame_"
RUN, LOG = "run.toml", "run.log"
HEAD = "# What the runs into this folder were. `graphseg COMMAND --config run.toml` repeats one.\n"
SEAL = "\n# SHA-256 of the lines above: "
RENAMED = {  # options, columns and flags that records of before call otherwise
    "averaging": "test_time_augmentation",
    "strangeness": "ood_score",
    "stranger": "out_of_distribution",
}

# Writes a file, given its path; if it returns a dict, those are further columns of the table.
Writer = Callable[[Path], object]


def frame_name(source: Source, frame: int, frames: int) -> str:
    """Return the name of the results of one frame, counted from 0."""
    return source.name if frames == 1 else f"{source.name}{FRAME}{frame:04d}"


def fingerprint(path: Path) -> dict:
    """Return what tells quickly whether a file, or a store that is a folder, is unchanged.

    ``path``, ``size`` in bytes and ``modified`` in nanoseconds; both 0 if it does not exist.
    """
    stats = [os.stat(part) for part in _parts(path)]
    return {
        "path": str(path),
        "size": sum(one.st_size for one in stats),
        "modified": max((one.st_mtime_ns for one in stats), default=0),
    }


def source_fingerprint(source: Source) -> dict:
    """Return the `fingerprint` of a source's file, and the digest of masks that it comes with."""
    return fingerprint(source.path) | ({"masks": source.masks} if source.masks else {})


def content_digest(now: Mapping) -> str:
    """Return the SHA-256 of what a `fingerprint` belongs to, computed once for its frames."""
    return _digest(Path(now["path"]), now["size"], now["modified"])


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, modified: int) -> str:
    total = hashlib.sha256()
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

    def __init__(
        self,
        folder: Path,
        command: str,
        made_by: Mapping,
        suffixes: Sequence[str] = (),
        resume: bool = True,
        overwrite: bool = False,
    ):
        self.folder = folder
        self.command = command
        self.made_by = json.loads(json.dumps(made_by))
        self.suffixes = tuple(suffixes)
        self.resume = resume
        self.overwrite = overwrite
        self.records = folder / HIDDEN / command
        self.partial = folder / HIDDEN / "partial"  # files that are being written
        self.tables = folder / f"{command}.csv", folder / f"{command}.html"

    # What is there, and whose it is.

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
        first = self._read(source.name) or self._read(frame_name(source, 0, 2))
        if first is None:
            return 0
        now, frames = source_fingerprint(source), first["frames"]
        names = (frame_name(source, frame, frames) for frame in range(frames))
        return frames if all(self._is_finished(self._read(name), now) for name in names) else 0

    def _refuse_conflicts(self, sources: Iterable[Source]) -> None:
        known = self._table_digests()
        conflicts = [p for p in self.tables if p.exists() and _sha256(p.read_bytes()) not in known]
        present = self._present()
        for source in sources:
            now = source_fingerprint(source) if source.name in present else {}
            for name, targets in present.get(source.name, {}).items():
                conflicts += self._conflicts(self._read(name), now, targets)
        _refuse(conflicts)

    def is_finished(self, name: str, now: dict) -> bool:
        """Tell whether a frame is finished; `now` is the `fingerprint` of its source.

        Raises
        ------
        InputError
            If it is not, and something lies in its place that may not be replaced.
        """
        record = self._read(name)
        if self._is_finished(record, now):
            return True
        if not self.overwrite:
            targets = [self.folder / f"{name}{suffix}" for suffix in self.suffixes]
            _refuse(self._conflicts(record, now, targets))
        return False

    def rows(
        self, sources: Sequence[Source], failed: Sequence[dict] = ()
    ) -> list[tuple[dict, str | None]]:
        """Return the rows and thumbnails of what is finished, and `failed` rows, in order of files.

        Of `sources` those whose results are from this input, model and options; of other files
        those whose results are still there as they were left.
        """
        found: list[tuple[dict, str | None]] = [(row, None) for row in failed]
        named = {source.name: source for source in sources}
        paths = {str(source.path) for source in sources}
        for path in sorted(self.records.rglob("*.json")):
            record = read_record(path)
            if record is None:
                continue
            name = path.relative_to(self.records).as_posix().removesuffix(".json")
            source = named.get(name) or named.get(name.rpartition(FRAME)[0])
            shown = {"error": ""}
            if source is not None and self._is_finished(record, source_fingerprint(source), True):
                shown |= {"file": source.shown}
            elif (
                record["source"]["path"] in paths
                or not record["outputs"]
                or not self._is_complete(record)
            ):
                continue
            found.append((record["row"] | shown, record["thumbnail"]))
        return sorted(found, key=lambda pair: (pair[0]["file"], pair[0]["frame"] or 0))

    def _present(self) -> dict[str, dict[str, list[Path]]]:
        """Return the results in the folder: name of a source to names of frames to files."""
        found: dict[str, dict[str, list[Path]]] = {}
        for path in self.records.rglob("*.json"):
            name = path.relative_to(self.records).as_posix().removesuffix(".json")
            for source in {name, name.rpartition(FRAME)[0]}:
                found.setdefault(source, {}).setdefault(name, [])
        for folder, inner, files in os.walk(self.folder):
            inner[:] = [name for name in inner if name != HIDDEN]
            for file in files:
                for suffix in filter(file.endswith, self.suffixes):
                    path = Path(folder, file)
                    name = path.relative_to(self.folder).as_posix().removesuffix(suffix)
                    for source in {name, name.rpartition(FRAME)[0]}:
                        found.setdefault(source, {}).setdefault(name, []).append(path)
        return found

    def _is_finished(self, record: dict | None, now: dict, resume: bool | None = None) -> bool:
        return self._is_ours(record, now, resume) and self._is_complete(record)

    def _is_ours(self, record: dict | None, now: dict, resume: bool | None = None) -> bool:
        resume = self.resume if resume is None else resume
        if record is None or not resume or record["made_by"] != self.made_by:
            return False
        stored = record["source"]
        if stored.get("masks") != now.get("masks"):
            return False
        if {key: stored[key] for key in now} == now:
            return True
        # Moved or copied, but the same content.
        return stored["size"] == now["size"] and stored["sha256"] == content_digest(now)

    def _is_complete(self, record: dict) -> bool:
        return len(self._covered(record)) == len(record["outputs"])

    def _covered(self, record: dict) -> list[Path]:
        """Return the results of a record that are there as it says."""
        paths = {self.folder / file: size for file, size in record["outputs"].items()}
        return [path for path, size in paths.items() if _size(path) == size]

    def _conflicts(self, record: dict | None, now: dict, targets: Sequence[Path]) -> list[Path]:
        """Return what exists, would go, and is not of this input, model and options.

        Those are the targets, and the results that the frame's last record covers.
        """
        ours = self._is_ours(record, now)
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

    # Writing.

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

    def write(self, name: str, now: dict, outputs: Mapping[str, Writer], record: dict) -> None:
        """Write the results of a frame and its record.

        Parameters
        ----------
        name
            Of the frame.
        now
            The `fingerprint` of its source before it was read.
        outputs
            Suffix of each result to what writes it.
        record
            ``frame``, ``frames``, ``row`` and ``thumbnail`` (bytes or None).
        """
        written: dict[Path, Path] = {}  # final to temporary name
        row, picture = record["row"], record["thumbnail"]
        picture = picture and base64.b64encode(picture).decode()
        source = now | {"sha256": content_digest(now)}
        try:
            for suffix, write in outputs.items():
                target = self.folder / f"{name}{suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                written[target] = temporary_name(target, self.partial)
                more = write(written[target])
                row |= more if isinstance(more, dict) else {}
            before = self._read(name)
            if not self._is_finished(before, now):  # nor by another process
                record = record | {"source": source, "row": row, "thumbnail": picture}
                self._commit(name, before, record, written)
        finally:
            for temporary in written.values():
                temporary.unlink(missing_ok=True)

    def _commit(
        self, name: str, before: dict | None, record: dict, written: Mapping[Path, Path]
    ) -> None:
        """Write the record of a frame, then give its results their final names.

        What the frame's last record or these names held goes first: a record must not cover results
        that are older than itself.
        """
        outputs = {
            target.relative_to(self.folder).as_posix(): _size(one)
            for target, one in written.items()
        }
        record = {"format": FORMAT, "made_by": self.made_by, "outputs": outputs} | record
        with whole_file(self.records / f"{name}.json", self.partial) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
            # Only now, when nothing more is to be written that a full disk could refuse.
            for path in {*(self._covered(before) if before else ()), *written}:
                path.unlink(missing_ok=True)
        for target, one in written.items():
            os.replace(one, target)

    def write_tables(self, table: str, page: str) -> tuple[Path, Path]:
        """Write the table of all images as CSV and the report as HTML; return their paths.

        How they were left is noted, so that a later run knows whether somebody has edited them.
        """
        # File names need not be UTF-8.
        contents = [text.encode("utf-8", "backslashreplace") for text in (table, page)]
        digests = [*self._table_digests(), *map(_sha256, contents)]
        # The notes go first; the newest are enough, and whoever is killed in between loses nothing.
        with whole_file(self._notes, self.partial) as temporary:
            temporary.write_text(json.dumps(digests[-8:]), encoding="utf-8")
        for path, content in zip(self.tables, contents, strict=True):
            with whole_file(path, self.partial) as temporary:
                temporary.write_bytes(content)
        return self.tables

    def write_run(self, about: Mapping) -> Path | None:
        """Write what this run is, into its command's part of ``run.toml``.

        The parts of other commands stay. A file that somebody has edited since is kept under
        another name, which is returned; None if there is none.
        """
        path, kept = self.folder / RUN, None
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        if text and not text.endswith(_seal(text.rpartition(SEAL)[0])):
            numbers = itertools.count(1)
            kept = next(p for n in numbers if not (p := self.folder / f"run_{n}.toml").exists())
            path.rename(kept)
        try:
            parts = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            parts = {}
        text = HEAD + toml_text(parts | {self.command: dict(about) | {"made_by": self.made_by}})
        text += _seal(text)
        with whole_file(path, self.partial) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return kept

    @property
    def _notes(self) -> Path:
        return self.folder / HIDDEN / f"{self.command}.json"

    def _table_digests(self) -> list[str]:
        try:
            return json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []


def read_run(path: Path, command: str) -> dict:
    """Return what a ``run.toml`` says of a command.

    The paths in its ``options`` lead, from here, to where they led from the folder of that run.

    Raises
    ------
    InputError
        If there is no such file, it is no TOML, or does not tell of this command.
    """
    try:
        part = tomllib.loads(path.read_text(encoding="utf-8")).get(command, {})
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the name.") from error
    except ValueError as error:
        raise InputError(f"{path} is no TOML ({error}); correct it.") from error
    if not isinstance(part, dict) or not isinstance(part.get("options"), dict):
        raise InputError(f"{path} has no [{command}.options]; give one of graphseg {command}.")
    options, directory = dict(part["options"]), Path(str(part.get("directory", ".")))
    if isinstance(options.get("images"), str):
        options["images"] = [options["images"]]
    if directory.resolve() != Path.cwd():
        for name, there in (("images", True), ("output", True), ("model", False), ("given", False)):
            value = options.get(name)
            if isinstance(value, list):
                options[name] = [str(directory / str(one)) for one in value]
            elif value is not None and (there or (directory / str(value)).exists()):
                options[name] = str(directory / str(value))  # a model may also be a mere name
    return part | {"options": options}


def toml_text(table: Mapping[str, Any], name: str = "") -> str:
    """Return a table as TOML, which the standard library reads and does not write.

    Parameters
    ----------
    table
        Text, numbers, bool, lists of these, tables, and lists of tables. None is left out, for TOML
        has no such value.
    name
        Of the table that it is in, with dots.

    Examples
    --------
    >>> print(toml_text({"a": 1, "b": {"c": ["x", "y"], "d": None}}), end="")
    a = 1
    <BLANKLINE>
    [b]
    c = ["x", "y"]
    """
    lines, inner = [], []
    for key, value in table.items():
        label = key if re.fullmatch(r"[-\w]+", key, re.ASCII) else _toml_value(key)
        path = f"{name}.{label}" if name else label
        if isinstance(value, Mapping):
            inner.append(f"\n[{path}]\n{toml_text(value, path)}")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            inner += [f"\n[[{path}]]\n{toml_text(one, path)}" for one in value]
        elif value is not None:
            lines.append(f"{label} = {_toml_value(value)}\n")
    return "".join(lines + inner)


def _toml_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    # Names of files need not be UTF-8; JSON lets one control character stand that TOML does not.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _seal(text: str) -> str:
    """Return the last line of a run file, which tells whether somebody has edited it."""
    return f"{SEAL}{_sha256(text.encode())}\n"


def read_record(path: Path) -> dict | None:
    """Return a record; None where there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("format") != FORMAT:
            return None
    except (OSError, ValueError, AttributeError):
        return None
    for part in ("made_by", "row"):
        record[part] = {RENAMED.get(key, key): value for key, value in record[part].items()}
    if "flags" in record["row"]:
        flags = record["row"]["flags"].split()
        record["row"]["flags"] = " ".join(RENAMED.get(flag, flag) for flag in flags)
    return record


def _refuse(conflicts: Sequence[Path]) -> None:
    if conflicts:
        more = f" and {len(conflicts) - 1} more exist" if len(conflicts) > 1 else " exists"
        raise InputError(
            f"{conflicts[0]}{more} already, of another input, model or options or changed since; "
            "say --overwrite or name another folder."
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

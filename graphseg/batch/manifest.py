"""Which images of a folder are finished: one small record for each, beside the results.

A record is written just before the results get their final names, and holds their sizes. A
process may be killed at any moment: what has its final name is whole, and a frame counts as
finished when its record says the same input, model and options and all its results are there.
Results that no such record covers belong to somebody else and are not overwritten unasked.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from graphseg.io.outputs import whole_file

HIDDEN = ".graphseg"  # folder of the records inside a folder of results
FORMAT = 1  # of a record; one of another format counts as none
FRAME = "_frame_"


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
    """

    path: Path
    shown: str
    name: str


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


class Ledger:
    """The records of one command in a folder of results.

    Parameters
    ----------
    folder
        Of the results.
    command
        Records of different commands do not see each other.
    made_by
        What decides on the results besides the input: model digest and options, as JSON holds it.
    resume
        If False, nothing counts as finished.
    """

    def __init__(self, folder: Path, command: str, made_by: Mapping, resume: bool = True):
        self.folder = folder
        self.command = command
        self.made_by = json.loads(json.dumps(made_by))
        self.resume = resume

    @property
    def records(self) -> Path:
        """The folder of the records."""
        return self.folder / HIDDEN / self.command

    @property
    def partial(self) -> Path:
        """The folder of files that are being written."""
        return self.folder / HIDDEN / "partial"

    def read(self, name: str) -> dict | None:
        """Return the record of a frame; None without one that can be read."""
        try:
            record = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if record.get("format") == FORMAT else None

    def finished(self, source: Source) -> int:
        """Return the number of frames of a source if all of them are finished, else 0."""
        first = self.read(source.name) or self.read(frame_name(source, 0, 2))
        if first is None:
            return 0
        now, frames = fingerprint(source.path), first["frames"]
        names = (frame_name(source, frame, frames) for frame in range(frames))
        return frames if all(self.frame_finished(name, source, now) for name in names) else 0

    def frame_finished(self, name: str, source: Source, now: dict) -> bool:
        """Tell whether a frame is finished; `now` is the `fingerprint` of its source."""
        record = self.read(name)
        return self._ours(record, source, now) and self.complete(record)

    def complete(self, record: dict) -> bool:
        """Tell whether all results of a record are there."""
        return len(self.covered(record)) == len(record["outputs"])

    def foreign(self, name: str, source: Source, now: dict, targets: Sequence[Path]) -> list[Path]:
        """Return what exists, would go, and is not of this frame, model and options.

        Those are the targets, and the results that the frame's last record covers.
        """
        record = self.read(name)
        ours = self._ours(record, source, now)
        known = record["outputs"] if ours else {}
        present = dict.fromkeys(target for target in targets if target.exists())
        if record is not None and not ours:
            present |= dict.fromkeys(self.covered(record))
        return [one for one in present if known.get(self._relative(one)) != _size(one)]

    def covered(self, record: dict) -> list[Path]:
        """Return the results of a record that are there as it says."""
        paths = {self.folder / file: size for file, size in record["outputs"].items()}
        return [path for path, size in paths.items() if _size(path) == size]

    def _ours(self, record: dict | None, source: Source, now: dict) -> bool:
        if record is None or not self.resume or record["made_by"] != self.made_by:
            return False
        stored = record["source"]
        if {key: stored[key] for key in now} == now:
            return True
        # Moved or copied, but the same content.
        return stored["size"] == now["size"] and stored["sha256"] == content_digest(now)

    def claim(self, name: str, record: dict, written: Mapping[Path, Path]) -> None:
        """Write the record of a frame, then give its results their final names.

        Parameters
        ----------
        name
            Of the frame.
        record
            Its content, without ``format``, ``made_by`` and ``outputs``.
        written
            Final to temporary name. What the frame's last record or these names held goes first:
            a record must not cover results that are older than itself.
        """
        before = self.read(name) or {"outputs": {}}
        outputs = {self._relative(target): _size(one) for target, one in written.items()}
        record = {"format": FORMAT, "made_by": self.made_by, "outputs": outputs} | record
        with whole_file(self._path(name), self.partial) as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")
            # Only now, when nothing more is to be written that a full disk could refuse.
            for path in {*self.covered(before), *written}:
                path.unlink(missing_ok=True)
        for target, one in written.items():
            os.replace(one, target)

    def all(self) -> Iterator[tuple[str, dict]]:
        """Yield the name and the record of every frame, in order of names."""
        for path in sorted(self.records.rglob("*.json")):
            name = path.relative_to(self.records).as_posix().removesuffix(".json")
            record = self.read(name)
            if record is not None:
                yield name, record

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Have a folder for files that are being written, and clear it of what was left over.

        A run that was killed leaves files there. What is younger than this run's start is spared:
        another run may be writing to the same folder.
        """
        self.partial.mkdir(parents=True, exist_ok=True)
        with whole_file(self.partial / "started", self.partial) as temporary:
            temporary.touch()
            start = temporary.stat().st_mtime_ns  # by the clock of the file system
        yield
        for path in self.partial.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime_ns <= start:
                    path.unlink()

    @property
    def tables(self) -> tuple[Path, Path]:
        """The table of all images as CSV, and the report as HTML."""
        return self.folder / f"{self.command}.csv", self.folder / f"{self.command}.html"

    def foreign_tables(self) -> list[Path]:
        """Return those of the tables that exist and are not as a run has left them."""
        known = self._table_digests()
        return [
            path
            for path in self.tables
            if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() not in known
        ]

    def write_table(self, path: Path, text: str) -> None:
        """Write one of the tables, and note how it was left."""
        content = text.encode("utf-8", "backslashreplace")  # file names need not be UTF-8
        digests = [*self._table_digests(), hashlib.sha256(content).hexdigest()]
        # The notes go first; the newest are enough, and whoever is killed in between loses nothing.
        with whole_file(self._notes, self.partial) as temporary:
            temporary.write_text(json.dumps(digests[-8:]), encoding="utf-8")
        with whole_file(path, self.partial) as temporary:
            temporary.write_bytes(content)

    @property
    def _notes(self) -> Path:
        return self.folder / HIDDEN / f"{self.command}.json"

    def _table_digests(self) -> list[str]:
        try:
            return json.loads(self._notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []

    def _path(self, name: str) -> Path:
        return self.records / f"{name}.json"

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None

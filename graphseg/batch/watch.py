"""A folder that is still being filled: files are worked on as they are complete."""

import glob
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphseg.batch.manifest import Fingerprint, Source, find_inputs
from graphseg.batch.report import write_tables
from graphseg.batch.run import Run, run
from graphseg.errors import InputError

if TYPE_CHECKING:
    from graphseg.batch.tasks import NetworkTask

SECONDS = 1.0  # between two looks; a file that is the same in both is complete
TIME_FRACTION = 0.2  # that looks may take, which are long in folders of thousands of results


def complete_files(images: Sequence[str], seconds: float = SECONDS) -> Iterator[list[Source]]:
    """Yield files once they have not changed between two looks, and again if they do later.
    Folders or patterns are those of `find_inputs`; they may be empty yet."""
    before: dict[Path, Fingerprint] = {}
    given: dict[Path, Fingerprint] = {}
    while True:
        started = time.monotonic()
        try:
            sources = find_inputs(images).sources
        except InputError:  # there is no micrograph yet
            sources = []
        now = {source.path: Fingerprint.of(source.path) for source in sources}
        ready = [
            source
            for source in sources
            if now[source.path].size
            and now[source.path] == before.get(source.path)
            and now[source.path] != given.get(source.path)
        ]
        before = now
        took = time.monotonic() - started
        if ready:
            given |= {source.path: now[source.path] for source in ready}
            yield ready
        time.sleep(max(seconds, took / TIME_FRACTION) - took)


def watch(
    task: "NetworkTask",
    images: Sequence[str],
    folder: Path,
    *,
    overwrite: bool = False,
    about: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Do a task with micrographs as they come, until Ctrl-C; then return what was done.
    The tables are written after each. A file that fails is tried again when it has changed; what
    was made of one that has changed since is made anew. Images are folders or quoted patterns, and
    the rest is as `graphseg.batch.run.run` takes it. InputError if a folder is not there or no
    folder; if results may not be replaced, or not be written."""
    for one in images:
        if not Path(one).is_dir() and not glob.has_magic(one):
            raise InputError(f"{one} is no folder; --watch needs a folder or a quoted pattern.")
    done: set[Path] = set()
    failed: dict[Path, list[dict]] = {}  # rows of the table

    def work(sources: list[Source], replaced: bool, more: Mapping[str, Any] | None = None) -> Run:
        told = None if about is None else dict(about) | dict(more or {})
        found = run(task, sources, folder, overwrite=replaced, about=told, **options)
        for source in sources:
            done.add(source.path)
            failed[source.path] = [
                row for row in found.rows if row["error"] and row["file"] == source.shown
            ]
        good = [pair for pair in found.pairs if not pair[0]["error"]]
        bad = [row for rows in failed.values() for row in rows]
        errors = [row["error"] for row in bad]
        found = replace(found, pairs=[*good, *((row, {"files": []}) for row in bad)], errors=errors)
        write_tables(found)
        return replace(found, finished=len(good))

    found = None
    try:
        for ready in complete_files(images):
            again = [source for source in ready if source.path in done]
            new = [source for source in ready if source.path not in done]
            for sources, replaced in ((new, overwrite), (again, True)):
                if not sources:
                    continue
                try:
                    found = work(sources, replaced)
                except InputError as error:
                    if found is None:
                        raise
                    print(error, file=sys.stderr)  # one clash does not end a night
                    for source in sources:
                        done.add(source.path)
                        row = {"file": source.shown, "frame": "", "error": str(error)}
                        failed[source.path] = [row]
                else:
                    print(f"{found.finished} images done in all", file=sys.stderr)
    except KeyboardInterrupt:
        ended = {} if found is None else {"finished": found.finished, "failed": found.errors}
        return work([], overwrite, ended)

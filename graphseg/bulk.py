"""One task for a folder of micrographs: what is finished already, the rest, the rows of the table.

`graphseg.bulksources` lists the micrographs, `graphseg.bulktasks` has the tasks, and
`graphseg.bulkstream` and `graphseg.bulkpool` do the work.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from graphseg import bulkpool
from graphseg.bulkjob import Job, Outcome
from graphseg.bulkrecords import FRAME, HIDDEN, Ledger, Source, fingerprint
from graphseg.bulkstream import already_there, stream
from graphseg.errors import InputError

SHOWN_WARNINGS = 10  # lines; the table has all


@dataclass(frozen=True, eq=False)
class Run:
    """What a run has done.

    Attributes
    ----------
    rows
        One for each image, in order of files and frames, as the table shows them: those of this
        run, finished or failed, and those of earlier runs whose results lie in the same folder.
    thumbnails
        Content of a JPEG file in base64 for each row, or None.
    finished
        Images of this run that are finished, earlier ones included.
    errors
        One sentence for each that failed.
    warnings
        Sentences.
    """

    rows: list[dict]
    thumbnails: list[str | None]
    finished: int
    errors: list[str]
    warnings: list[str]


def run(
    job: Job,
    sources: Sequence[Source],
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = True,
) -> Run:
    """Do a task with many micrographs; what is finished already is not done again.

    A file that cannot be read or a frame that fails is reported on stderr and passed over.

    Parameters
    ----------
    job
        The task and where its results go.
    sources
        See `graphseg.bulksources.find_sources`.
    workers
        Processes on this machine; with 1 it is this one.
    scheduler
        Address of a Dask scheduler whose workers do it instead.
    progress
        Show a bar with an estimate of the time left on stderr.

    Raises
    ------
    InputError
        If something is in the way of the results and may not be replaced, before anything is done;
        if results cannot be written; if no scheduler answers.
    """
    ledger = job.ledger()
    done = {source: ledger.finished(source) for source in sources}
    waiting = [source for source in sources if not done[source]]
    if not job.overwrite:
        _refuse_foreign(job, ledger, waiting)
    with ledger.writing():
        results = _results_of(job, waiting, workers, scheduler)
        outcomes = list(_watched(results, len(waiting), sum(done.values()), progress))
    failed = [outcome for outcome in outcomes if outcome.error]
    rows = sorted(
        _rows(replace(job, resume=True).ledger(), sources, failed),
        key=lambda pair: (pair[0]["file"], pair[0]["frame"] or 0),
    )
    return Run(
        [row for row, _ in rows],
        [thumbnail for _, thumbnail in rows],
        sum(done.values()) + len(outcomes) - len(failed),
        [outcome.error for outcome in failed],
        [outcome.warning for outcome in outcomes if outcome.warning],
    )


def _results_of(
    job: Job, sources: Sequence[Source], workers: int, scheduler: str | None
) -> Iterator[Outcome]:
    if not sources or (workers == 1 and scheduler is None):
        return stream(job, sources)
    if scheduler is None:
        open_pool = partial(bulkpool.local_processes, min(workers, len(sources)))
    else:
        open_pool = partial(bulkpool.dask_workers, scheduler)
    return bulkpool.distribute(job, sources, open_pool)


def _watched(
    outcomes: Iterable[Outcome], files: int, finished: int, progress: bool
) -> Iterator[Outcome]:
    """Pass outcomes on, with a bar, and with sentences on stderr for what the user must know."""
    told, opened = 0, set()
    total = finished + files
    with tqdm(total=total, initial=finished, unit="image", disable=not progress) as bar:
        for outcome in outcomes:
            if outcome.frames > 1 and outcome.shown not in opened:
                opened.add(outcome.shown)
                bar.total += outcome.frames - 1
            bar.update()
            if outcome.error:
                bar.write(outcome.error, file=sys.stderr)
            told += bool(outcome.warning)
            if outcome.warning and told <= SHOWN_WARNINGS:
                bar.write(outcome.warning, file=sys.stderr)
            yield outcome
    if told > SHOWN_WARNINGS:
        print(f"… and {told - SHOWN_WARNINGS} more warnings, see the table.", file=sys.stderr)


def _refuse_foreign(job: Job, ledger: Ledger, sources: Iterable[Source]) -> None:
    """Raise before anything is done if what lies in the folder may not be replaced."""
    foreign = ledger.foreign_tables()
    present = _present(job, ledger)
    for source in sources:
        now = fingerprint(source.path) if source.name in present else {}
        for name, targets in present.get(source.name, {}).items():
            foreign += ledger.foreign(name, source, now, targets)
    if foreign:
        raise InputError(already_there(foreign))


def _present(job: Job, ledger: Ledger) -> dict[str, dict[str, list[Path]]]:
    """Return the results that lie in the folder: name of a source to names of frames to files."""
    found: dict[str, dict[str, list[Path]]] = {}
    for name, _ in ledger.all():
        for source in {name, name.rpartition(FRAME)[0]}:
            found.setdefault(source, {}).setdefault(name, [])
    for folder, inner, files in os.walk(job.folder):
        inner[:] = [name for name in inner if name != HIDDEN]
        for file in files:
            for suffix in filter(file.endswith, job.task.suffixes):
                path = Path(folder, file)
                name = path.relative_to(job.folder).as_posix().removesuffix(suffix)
                for source in {name, name.rpartition(FRAME)[0]}:
                    found.setdefault(source, {}).setdefault(name, []).append(path)
    return found


def _rows(
    ledger: Ledger, sources: Sequence[Source], failed: Iterable[Outcome]
) -> Iterator[tuple[dict, str | None]]:
    named = {source.name: source for source in sources}
    paths = {str(source.path) for source in sources}
    for name, record in ledger.all():
        source = named.get(name) or named.get(name.rpartition(FRAME)[0])
        if source is not None and ledger.frame_finished(name, source, fingerprint(source.path)):
            shown = {"file": source.shown, "error": ""}
        elif (
            record["outputs"]
            and record["source"]["path"] not in paths
            and (ledger.complete(record))
        ):
            shown = {"error": ""}  # of an earlier run on other files
        else:
            continue
        yield record["row"] | shown, record["thumbnail"]
    for outcome in failed:
        number = "" if outcome.frame is None else outcome.frame
        yield {"file": outcome.shown, "frame": number, "error": outcome.error}, None

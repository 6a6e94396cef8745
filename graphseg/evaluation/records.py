"""Records of long computations: JSON files with all that is needed to trust and reuse them."""

import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import BaseEstimator
from tqdm import tqdm

from graphseg import metrics
from graphseg.datasets.stack import LabelledStack
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file
from graphseg.unet.network import versions


class StepStore:
    """Finished steps of a long computation, in memory and as one small file each in a folder.
    It is the only thing that lets a killed evaluation, training or study continue: what is finished
    is read, the rest is run. The header says what the steps belong to (data, parameters, seeds);
    files of another one are refused. Without a folder all is in memory only."""

    def __init__(self, folder: str | Path | None, header: dict):
        self.folder = Path(folder) if folder is not None else None
        self.header = _as_json(header)
        self.results: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return the result of a finished step, or None."""
        path = self._path(key)
        if key not in self.results and path is not None and path.exists():
            stored = read_record(path)
            if stored.get("header") != self.header or "result" not in stored:
                raise InputError(
                    f"The finished step {path} is of another run: remove its folder, or name "
                    "another output."
                )
            self.results[key] = stored["result"]
        return self.results.get(key)

    def put(self, key: str, result: Any, seconds: float = 0.0) -> None:
        """Keep the result of a finished step, and how long it took."""
        self.results[key] = _as_json(result)
        path = self._path(key)
        if path is not None:
            kept = {"header": self.header, "seconds": round(seconds, 3), "result": result}
            write_record(path, kept)
            path.with_suffix(".checkpoint").unlink(missing_ok=True)  # of a training now finished

    def finish(
        self,
        steps: Mapping[str, Callable[[], Any]],
        title: str,
        n_jobs: int = 1,
        progress: bool = True,
    ) -> list:
        """Run the steps that are not finished yet, and return the results of all in their order.
        Each is a call without arguments, whose result JSON can hold. They run through joblib, so
        ``joblib.parallel_config("dask")`` spreads them over machines."""
        waiting = {key: step for key, step in steps.items() if self.get(key) is None}
        calls = (joblib.delayed(_timed)(key, step) for key, step in waiting.items())
        done = len(steps) - len(waiting)
        with tqdm(total=len(steps), initial=done, desc=title, disable=not progress) as bar:
            for found in joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(calls):
                self.put(*found)
                bar.update()
        return [self.get(key) for key in steps]

    def _path(self, key: str) -> Path | None:
        return self.folder and self.folder / f"{re.sub(r'[^-.0-9A-Za-z]+', '_', key)}.json"


def fold_key(shuffle: int, fold: int) -> str:
    """Return the name of a fold of a shuffle: that of its files in a run folder."""
    return f"shuffle_{shuffle}_fold_{fold}"


def _timed(key: str, step: Callable[[], Any]) -> tuple[str, Any, float]:
    started = time.perf_counter()
    result = step()
    return key, result, time.perf_counter() - started


def _as_json(value: Any) -> Any:
    """Return a value as it is read again: tuples as lists, keys as text."""
    return json.loads(json.dumps(value))


def describe_data(stack: LabelledStack) -> dict:
    """Return what a record says of its images."""
    return {"source": stack.source, "digest": stack.digest, "images": len(stack)}


def describe(estimator: BaseEstimator) -> dict:
    """Return the parameters of an estimator that JSON can hold and that belong to the result."""
    left_out = ("checkpoint", "progress", "verbose", "device")
    parameters = getattr(estimator, "portable_parameters", estimator.get_params)()
    return {
        key: value
        for key, value in parameters.items()
        if key not in left_out and not isinstance(value, BaseEstimator)
    }


def hardware() -> dict:
    """Return the machine: architecture, processor, its cores, and the graphics card if any."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found = {
        "machine": platform.machine(),
        "processor": named[0] if named else platform.processor() or "unknown",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
    }
    if torch.cuda.is_available():
        found["graphics"] = torch.cuda.get_device_name()
    return found


def provenance() -> dict:
    """Return what made a result: code revision, versions, hardware, time."""
    root = Path(__file__).resolve().parents[2]
    git = ["git", "-C", os.fspath(root)]
    revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    # What else has changed makes no difference.
    code = ["--", "graphseg", "book/studies", "requirements.lock"]
    status = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True, text=True)
    return {
        "revision": revision.stdout.strip() or "unknown",
        "uncommitted_changes": bool(status.stdout.strip()),
        "versions": versions() | {"python": platform.python_version()},
        "hardware": hardware(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_record(path: str | Path, record: dict) -> None:
    """Write a record as JSON, to a temporary name first.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_record(f"{folder}/a.json", {"name": "a"})
    ...     read_record(f"{folder}/a.json")
    {'name': 'a'}
    """
    with whole_file(Path(path), shared=False) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(path: str | Path) -> dict:
    """Read a record.

    Raises
    ------
    InputError
        If the file is missing or no JSON.

    Examples
    --------
    >>> read_record("missing.json")
    Traceback (most recent call last):
    graphseg.errors.InputError: There is no record missing.json: run the command that writes it.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"There is no record {path}: run the command that writes it.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: delete it and run it again.") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} is not a record: delete it and run it again.")
    return record


def fold_counts(record: dict) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (shuffle, fold, counts) of a record, counts as an array of shape (n, 4)."""
    for result in record["results"]:
        yield result["shuffle"], result["fold"], np.array(result["counts"], dtype=np.int64)


def summary(record: dict, average: str = "pooled") -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each score over folds and shuffles.

    Parameters
    ----------
    record, average
        As :func:`cross_validate` returns it; inside a fold, see :func:`graphseg.metrics.scores`.

    Returns
    -------
    dict of str to (mean, standard deviation)
        The deviation is that of single folds (``ddof=1``), not of the mean.

    Examples
    --------
    >>> fold = {"shuffle": 0, "counts": [[8, 0, 2, 90]]}  # hits, false alarms, misses, rest
    >>> record = {"results": [fold | {"fold": 0}, fold | {"fold": 1}]}
    >>> summary(record)["jaccard"]
    (0.8, 0.0)
    """
    rows = [metrics.scores(table, average) for _, _, table in fold_counts(record)]
    columns = {name: np.array([row[name] for row in rows]) for name in metrics.NAMES}
    spread = 1 if len(rows) > 1 else 0
    return {name: (float(v.mean()), float(v.std(ddof=spread))) for name, v in columns.items()}

"""Records of long computations: JSON files with all that is needed to trust and reuse them."""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator

from graphseg import metrics
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file
from graphseg.unet import weights


class FoldStore:
    """Finished folds, in memory and as one small file each.

    Parameters
    ----------
    folder : path or None
        Where the files are; None keeps them in memory only.
    header : dict
        What the folds belong to. Files of another header are refused.
    """

    def __init__(self, folder: str | Path | None, header: dict):
        self.folder = Path(folder) if folder is not None else None
        self.header = json.loads(json.dumps(header))
        self.results: dict[tuple[int, int], dict] = {}

    def get(self, shuffle: int, fold: int) -> dict | None:
        """Return a finished fold, or None."""
        path = self._path(shuffle, fold)
        if (shuffle, fold) not in self.results and path is not None and path.exists():
            stored = read_record(path)
            if stored.get("header") != self.header or "result" not in stored:
                raise InputError(
                    f"The fold {path} is of another run: delete it or name another run folder."
                )
            self.results[shuffle, fold] = stored["result"]
        return self.results.get((shuffle, fold))

    def put(self, result: dict) -> None:
        """Keep a finished fold."""
        self.results[result["shuffle"], result["fold"]] = result
        path = self._path(result["shuffle"], result["fold"])
        if path is not None:
            write_record(path, {"header": self.header, "result": result})
            path.with_suffix(".checkpoint").unlink(missing_ok=True)  # of a training now finished

    def _path(self, shuffle: int, fold: int) -> Path | None:
        return self.folder and self.folder / f"shuffle_{shuffle}_fold_{fold}.json"


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
    code = [
        "--",
        "graphseg",
        "book/studies",
        "requirements.lock",
    ]  # what else has changed makes no difference
    status = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True, text=True)
    return {
        "revision": revision.stdout.strip() or "unknown",
        "uncommitted_changes": bool(status.stdout.strip()),
        "versions": weights.versions() | {"python": platform.python_version()},
        "hardware": hardware(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write_record(path: str | Path, record: dict) -> None:
    """Write a record as JSON, to a temporary name first."""
    with whole_file(Path(path), shared=False) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(path: str | Path) -> dict:
    """Read a record.

    Raises
    ------
    InputError
        If the file is missing or no JSON.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"There is no record {path}: run the command that writes it.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The record {path} is no JSON: delete it and run it again.") from error
    if not isinstance(record, dict):
        raise InputError(f"{path} is no record: delete it and run it again.")
    return record


def fold_counts(record: dict) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (shuffle, fold, counts) of a record, counts as an array of shape (n, 4)."""
    for result in record["results"]:
        yield result["shuffle"], result["fold"], np.array(result["counts"], dtype=np.int64)


def summary(record: dict, average: str = "pooled") -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each score over folds and shuffles.

    Parameters
    ----------
    record : dict
        As :func:`cross_validate` returns it.
    average : {"pooled", "per_image"}
        Inside a fold, see :func:`graphseg.metrics.scores`.

    Returns
    -------
    dict of str to (mean, standard deviation)
        The deviation is that of single folds (``ddof=1``), not of the mean.
    """
    rows = [metrics.scores(table, average) for _, _, table in fold_counts(record)]
    columns = {name: np.array([row[name] for row in rows]) for name in metrics.NAMES}
    spread = 1 if len(rows) > 1 else 0
    return {name: (float(v.mean()), float(v.std(ddof=spread))) for name, v in columns.items()}

"""Record the numbers of the executed notebooks, and compare them with their record.

How far a number may move is measured, not chosen. Processors add in different orders and with
different instructions, so that a number differs between them. To see by how much, every notebook is
executed in several kinds of arithmetic that this processor can imitate.
"""

import argparse
import ast
import json
import math
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from book.tools import identity
from book.tools.errors import ToolError

PROFILE = "test"
SOURCES = ("published", "simulated")
RECORD = Path("data") / "results" / "regression.json"

FACTOR = 3  # times the measured spread is no change: other processors than those imitated
LARGEST = 0.1  # of the value; above it a tolerance needs a written reason
ROUNDING = 1e-5  # of the value, for floats: the least that is allowed

# One thread and one precision, so that the numbers depend on the processor as little as can be.
ALWAYS = {"OMP_NUM_THREADS": "1", "GRAPHSEG_PRECISION": "float32"}
HERE = "here"
# What the libraries are told to use: PyTorch, oneDNN, MKL, OpenBLAS and NumPy.
ARITHMETIC = {
    HERE: {},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    },
    "SSE4": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    },
}

Values = dict[str, dict[str, Any]]


def available_sources() -> list[str]:
    """List the data sources that are at hand on this machine."""
    return [s for s in SOURCES if s == "simulated" or any(identity.image_listing())]


def collect(path: Path) -> Values:
    """Read the recorded values of an executed notebook.

    Parameters
    ----------
    path
        The executed notebook.

    Returns
    -------
    dict
        Name to ``{"value": ...}``, with a ``"reason"`` where one was given. Times are left out.

    Raises
    ------
    ToolError
        If a name was recorded twice.
    """
    values: Values = {}
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        mark = output.get("metadata", {}).get("scrapbook")
        if mark is None or "timing" in mark:
            continue
        if mark["name"] in values:
            raise ToolError(f"{path.stem} records {mark['name']!r} twice.")
        text = "".join(output["data"][mark["mime_prefix"] + "text/plain"])
        values[mark["name"]] = {"value": ast.literal_eval(text)}
        if "reason" in mark:
            values[mark["name"]]["reason"] = mark["reason"]
    return values


def with_tolerances(samples: list[Values], where: str) -> tuple[Values, list[str]]:
    """Give each value the tolerance that follows from its spread.

    Parameters
    ----------
    samples
        The values of one notebook as `collect` gives them, by kind of arithmetic; those of the
        first are recorded. Where an entry has a ``"spread"``, that counts as well.
    where
        The notebook and the data source, for the sentences.

    Returns
    -------
    dict
        Name to ``{"value", "spread", "tolerance"}`` and the ``"reason"``, if any; strings have a
        value only.
    list of str
        One sentence for each value that its tolerance cannot hold.
    """
    entries, said = {}, []
    for name, first in samples[0].items():
        missing = [sample for sample in samples if name not in sample]
        if missing:
            said.append(f"{where}: {name} is computed on some processors only.")
            continue
        entries[name] = _entry(first, [sample[name] for sample in samples])
        entry = entries[name]
        if isinstance(first["value"], str):
            seen = sorted({sample[name]["value"] for sample in samples})
            if len(seen) > 1:
                said.append(f"{where}: {name} depends on the processor: {' or '.join(seen)}.")
        elif entry["spread"] > entry["tolerance"]:
            said.append(
                f"{where}: {name} = {entry['value']!r} moves by {entry['spread']:.3g} between "
                "processors, more than a tenth of it: give a reason, or record something steadier."
            )
    return entries, said


def _entry(first: dict[str, Any], samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is recorded of one value that was computed in several kinds of arithmetic."""
    value = first["value"]
    reason = {"reason": first["reason"]} if first.get("reason") else {}
    if isinstance(value, str):
        return {"value": value}
    spread = max(
        max(abs(sample["value"] - value) for sample in samples),
        max(sample.get("spread", 0) for sample in samples),
    )
    tolerance = FACTOR * spread
    if isinstance(value, float):
        tolerance = max(tolerance, ROUNDING * abs(value))
    if not reason:
        tolerance = min(tolerance, largest_tolerance(value))
    return {"value": value, "spread": spread, "tolerance": tolerance} | reason


def largest_tolerance(value: float | int) -> float | int:
    """Give the largest tolerance of a value that needs no reason; a whole number for an int."""
    largest = LARGEST * abs(value)
    return math.floor(largest) if isinstance(value, int) else largest


def compare(recorded: Values, found: Values, where: str) -> list[str]:
    """Describe every value that moved by more than its recorded tolerance, is missing or new.

    Parameters
    ----------
    recorded, found
        Values as `collect` gives them.
    where
        The notebook and the data source, for the sentences.

    Returns
    -------
    list of str
        One sentence a difference; empty if there is none.
    """
    said = []
    for name in sorted(recorded.keys() | found.keys()):
        if name not in found:
            said.append(f"{where}: {name} was recorded but is no longer computed.")
        elif name not in recorded:
            said.append(f"{where}: {name} = {found[name]['value']!r} is new and not recorded.")
        elif _moved(recorded[name], found[name]["value"]):
            old, allowed = recorded[name]["value"], recorded[name].get("tolerance", 0)
            new = found[name]["value"]
            said.append(
                f"{where}: {name} was {old!r} when recorded (tolerance {allowed:g}) "
                f"and is {new!r} now."
            )
        elif recorded[name].get("reason") != found[name].get("reason"):
            said.append(f"{where}: {name} has another reason than when it was recorded.")
    return said


def compare_all(
    recorded: dict[str, dict[str, Values]], found: dict[str, dict[str, Values]]
) -> list[str]:
    """Describe every difference between two records, over all data sources and notebooks."""
    pairs = {
        (source, name) for both in (recorded, found) for source in both for name in both[source]
    }
    return [
        sentence
        for source, name in sorted(pairs)
        for sentence in compare(
            recorded.get(source, {}).get(name, {}),
            found.get(source, {}).get(name, {}),
            f"{name} ({source} data)",
        )
    ]


def _moved(recorded: dict[str, Any], value: Any) -> bool:
    """Say if a value differs from its record by more than the tolerance."""
    old = recorded["value"]
    if isinstance(old, str) or isinstance(value, str):
        return old != value
    # Written so that NaN, should one ever get here, counts as moved.
    return not abs(value - old) <= recorded.get("tolerance", 0)


def start_all(
    pool: ThreadPoolExecutor, folder: Path, root: Path, arithmetic: str = HERE
) -> dict[tuple[str, str], Future]:
    """Execute every notebook on every data source with the test parameters, side by side.

    Parameters
    ----------
    pool
        Where the executions run.
    folder
        Executed notebooks go to ``folder/<data source>/<name>.ipynb``.
    root
        The project's folder.
    arithmetic
        One of `ARITHMETIC`.

    Returns
    -------
    dict
        (data source, notebook name) to the future path of the executed notebook.
    """
    sources = available_sources()
    notebooks = sorted((root / "notebooks").glob("*.py"))
    return {
        (source, path.stem): pool.submit(_one, path, source, folder, root, arithmetic)
        for path in notebooks
        for source in sources
    }


def _one(path: Path, source: str, folder: Path, root: Path, arithmetic: str = HERE) -> Path:
    """Execute one notebook on one data source."""
    output = folder / source / f"{path.stem}.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "book.tools.execute", path, output, "--profile", PROFILE]
    options = ["--set", f"data_source={json.dumps(source)}"]
    environment = os.environ | ALWAYS | ARITHMETIC[arithmetic]
    done = subprocess.run(
        [*command, *options], cwd=root, capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise ToolError(f"On {source} data, {done.stderr.strip()}")
    return output


def read(path: Path) -> dict[str, dict[str, Values]]:
    """Read the record: data source to notebook to values; empty if there is none yet."""
    return json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}


def write(folder: Path, root: Path, widen: bool = False) -> tuple[Path, list[str]]:
    """Execute what has changed, in every kind of arithmetic, and write the record anew.

    What was recorded on a data source that is not at hand stays as it is.

    Parameters
    ----------
    folder
        Folder of the executed notebooks.
    root
        The project's folder.
    widen
        Keep the recorded values, which another processor computed from the same code, and add
        what this one computes to their spread. What has moved by more than a tenth, or is new,
        is no spread: it is recorded as it is now.

    Returns
    -------
    Path
        The written file.
    list of str
        What needs a reason, see `with_tolerances`.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        started = {name: start_all(pool, folder / name.lower(), root, name) for name in ARITHMETIC}
    before = read(root / RECORD)
    known = before | {source: {} for source, _ in started[HERE]}
    said = []
    for source, name in started[HERE]:
        samples = [collect(futures[source, name].result()) for futures in started.values()]
        if widen:
            samples = [_kept(before.get(source, {}).get(name, {}), samples[0]), *samples]
        known[source][name], more = with_tolerances(samples, f"{name} ({source} data)")
        said += more
    text = json.dumps(known, indent=2, sort_keys=True)
    (root / RECORD).write_text(text + "\n", encoding="utf8")
    return root / RECORD, said


def _kept(recorded: Values, found: Values) -> Values:
    """Return `found` with the recorded value and spread of what has hardly moved."""
    kept = {}
    for name, entry in found.items():
        old = recorded.get(name)
        if old is None or isinstance(old["value"], str) or isinstance(entry["value"], str):
            kept[name] = entry
        else:
            hardly = max(largest_tolerance(old["value"]), old["tolerance"])
            same = abs(entry["value"] - old["value"]) <= hardly
            kept[name] = entry | {k: old[k] for k in ("value", "spread")} if same else entry
    return kept


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executed", type=Path, default=Path("_build") / PROFILE / "executed")
    parser.add_argument(
        "--widen", action="store_true", help="keep the values and widen their spread only"
    )
    chosen = parser.parse_args(arguments)
    root = Path.cwd()
    before = read(root / RECORD)
    try:
        path, said = write(chosen.executed, root, chosen.widen)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    for sentence in compare_all(before, read(path)):
        print(sentence)
    print(f"Recorded in {RECORD}.")
    for sentence in said:
        print(sentence, file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())

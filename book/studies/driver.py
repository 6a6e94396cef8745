"""The one driver of all studies: their commands, their records, and where a killed one resumes.

A study is a module with two functions. ``run(stack, **parameters) -> dict`` computes a record;
``summarise(record) -> str`` says in a few lines what is in it; a ``check(**parameters)``, where
there is one, refuses bad parameters before images are loaded. The command of a study is built from
the signature of its ``run``, and the help of each option from its docstring:

- ``stack`` is loaded as ``--source`` says;
- a parameter without a default is an argument, a list or mapping an option that may be repeated;
- ``changes`` is ``--set NAME=VALUE``;
- ``run_folder`` is where a `graphseg.evaluation.records.StepStore` keeps finished steps, under
  ``runs/`` by the name of the record: the same command continues after it was killed, and one with
  other parameters is refused in one sentence;
- with ``jobs`` comes ``--scheduler``, for a Dask cluster instead of the processes of one machine.
"""

import inspect
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

import typer

from graphseg.batch.pools import workers
from graphseg.cli.networks import parsed
from graphseg.datasets.load import load_stack
from graphseg.evaluation.records import describe_data, provenance, write_record

RUNS = Path("runs")
ROOT = Path(__file__).resolve().parents[2]
GIVEN = ("stack", "run_folder", "progress")  # parameters that are no options
OUTPUT = Annotated[Path | None, typer.Option(help="the record to write")]
SOURCE = Annotated[str, typer.Option(help="auto, published or simulated")]
SCHEDULER = Annotated[
    str | None, typer.Option(help="address of a Dask scheduler whose workers run the folds")
]
NAMES = {"changes": "--set"}  # of options that are not called as their parameter


def execute(
    name: str,
    study: ModuleType,
    parameters: dict[str, Any],
    output: Path | None = None,
    source: str = "auto",
    scheduler: str | None = None,
) -> dict:
    """Run a study, write its record and return it.

    Parameters
    ----------
    name, study
        Of the command, and its module.
    parameters
        Of its ``run``, without `GIVEN`.
    output
        The record to write; None writes none.
    source
        Of the labelled images, see :func:`graphseg.datasets.load.load_stack`.
    scheduler
        Address of a Dask scheduler whose workers run the steps.

    Returns
    -------
        The record: what ``run`` found, ``data`` (source, digest and number of the images) and
        ``made_with``: revision, uncommitted changes, versions, hardware, time, the name and the
        parameters of the study, and the ``seconds`` it took, also before an interruption.
    """
    folder = RUNS / (name if output is None else output.stem)
    given = {"run_folder": folder} if "run_folder" in _signature(study) else {}
    earlier, started = seconds_of(folder) if given else 0.0, time.perf_counter()
    getattr(study, "check", lambda **_: None)(**parameters)  # before a download
    stack = load_stack(source)
    if scheduler is not None:
        given["jobs"] = -1
    # Before it runs: some studies also write what belongs to the networks of the package.
    code = {name: provenance()[name] for name in ("revision", "uncommitted_changes")}
    with workers(scheduler):
        found = study.run(stack, **parameters | given)
    made_with = (
        provenance()
        | code
        | {
            "study": name,
            "parameters": json.loads(json.dumps(parameters, default=_portable)),
            "seconds": round(earlier + time.perf_counter() - started, 1),
        }
    )
    record = {"data": describe_data(stack)} | found | {"made_with": made_with}
    if output is not None:
        write_record(output, record)
    return record


def _portable(value: object) -> str:
    """Return what a record says of a value; of a path no folder that only this machine has."""
    if not isinstance(value, Path):
        return str(value)
    path = value.absolute()
    root = next((r for r in (Path.cwd(), ROOT) if path.is_relative_to(r)), None)
    return path.relative_to(root).as_posix() if root else path.name


def seconds_of(folder: Path) -> float:
    """Return how long the steps took that are finished in a run folder."""
    steps = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sum(step.get("seconds", 0.0) for step in steps if isinstance(step, dict))


def command(name: str, study: ModuleType) -> Callable[..., None]:
    """Return the function that typer turns into the command of a study."""
    about, helps = described(study.run)
    chosen = [p for key, p in _signature(study).items() if key not in GIVEN]
    mappings = [p.name for p in chosen if "dict" in str(p.annotation)]

    def run(output: Path | None, source: str, scheduler: str | None = None, **parameters) -> None:
        for key in mappings:
            parameters[key] = parsed(parameters[key], NAMES.get(key, f"--{key}"))
        record = execute(name, study, parameters, output, source, scheduler)
        typer.echo(study.summarise(record))

    options = [_option(p, helps[p.name]) for p in chosen]
    optional = getattr(study, "RECORD_IS_OPTIONAL", False)
    options += [
        _further("output", OUTPUT, *([None] if optional else [])),
        _further("source", SOURCE, getattr(study, "SOURCE", "auto")),
    ]
    if "jobs" in helps:
        options.append(_further("scheduler", SCHEDULER, None))
    run.__doc__ = about
    run.__signature__ = inspect.Signature(options)
    return run


def _option(parameter: inspect.Parameter, text: str) -> inspect.Parameter:
    """Return a parameter of a study as typer takes it, with its help."""
    kind, info = parameter.annotation, typer.Option()
    if get_origin(kind) is Annotated:
        kind, info = get_args(kind)
    if "dict" in str(kind):
        kind = list[str] if parameter.default is parameter.empty else list[str] | None
    if parameter.default is parameter.empty and "list" not in str(kind):
        info = typer.Argument()
    elif parameter.name in NAMES:
        info.param_decls = (NAMES[parameter.name],)
    info.help = text.rstrip(".")
    if isinstance(parameter.default, Path):
        info.show_default = _portable(parameter.default)  # not where this machine has it
    return parameter.replace(annotation=Annotated[kind, info], kind=parameter.KEYWORD_ONLY)


def _further(name: str, annotation: Any, *default: Any) -> inspect.Parameter:
    given = {"default": default[0]} if default else {}
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, **given)


def described(function: Callable) -> tuple[str, dict[str, str]]:
    """Split a numpydoc docstring: what is before its parameters, and what it says of each."""
    about, _, rest = inspect.getdoc(function).partition("\nParameters\n----------\n")
    section = re.split(r"\n[A-Z]\w+\n---", rest)[0]
    entries = re.findall(r"^(\S.*)\n((?: +.*\n?|\n)*)", section, re.M)
    return about.strip(), {
        name: " ".join(text.split())
        for names, text in entries
        for name in names.partition(" :")[0].split(", ")
    }


def _signature(study: ModuleType) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(study.run).parameters)

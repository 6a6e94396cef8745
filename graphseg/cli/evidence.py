"""The commands of the evidence: data, cross-validation, grid search, label noise."""

from pathlib import Path
from typing import Annotated

import typer

import graphseg
from graphseg import (
    datasets,
    evidence,
    gridsearch,
    maskeffect,
    methods,
    pretraining,
    records,
    rescoring,
    scheduling,
    validation,
)
from graphseg.cli.common import (
    Changes,
    Defects,
    Jobs,
    Only,
    Output,
    Protocol,
    Scheduler,
    Source,
    app,
    parsed,
)
from graphseg.simulation.presets import DEFECTS


@app.command()
def fetch() -> None:
    """Download the published data set, or check what is there."""
    stack = datasets.load_published()
    typer.echo(f"{len(stack)} labelled micrographs, digest {stack.digest[:12]}")


@app.command()
def info() -> None:
    """Print the version, the data found and its digest."""
    stack = datasets.load_default()
    typer.echo(f"graphseg {graphseg.__version__}")
    typer.echo(f"data: {stack.source}, {len(stack)} images, digest {stack.digest[:12]}")


@app.command()
def evaluate(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join(methods.METHODS)}")],
    output: Output,
    protocol: Protocol = "acquisition",
    folds: int = 5,
    shuffles: int = 1,
    source: Source = "auto",
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    only: Only = None,
    defects: Defects = 0,
    changes: Changes = None,
) -> None:
    """Cross-validate a method and write the record; a killed run continues.

    Example: graphseg evaluate unet --set epochs=12 --output data/results/unet.json
    """
    estimator = methods.make(method, **parsed(changes))
    with scheduling.workers(scheduler):
        record = validation.cross_validate(
            estimator,
            datasets.load(source),
            name=method,
            protocol=protocol,
            folds=folds,
            shuffles=shuffles,
            run_folder=Path("runs") / output.stem,
            n_jobs=jobs if scheduler is None else -1,
            only=only or None,
            extra=pretraining.simulated_stack(defects, 0, DEFECTS) if defects else None,
        )
    records.write_record(output, record)
    for average in ("pooled", "per_image"):
        row = records.summary(record, average)
        scores = ", ".join(f"{name} {m:.3f} ± {s:.3f}" for name, (m, s) in row.items())
        typer.echo(f"{average}: {scores}")


@app.command()
def search(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join(methods.METHODS)}")],
    output: Output,
    grid: Annotated[
        list[str], typer.Option(help="a parameter and its values, NAME=[VALUE, ...]; repeat")
    ],
    score: Annotated[str, typer.Option(help="what the inner folds are compared by")] = "accuracy",
    protocol: Protocol = "acquisition",
    folds: int = 5,
    inner_folds: int = 3,
    inner_tested: Annotated[
        int | None, typer.Option(help="how many inner folds are run; all by default")
    ] = None,
    final: Annotated[
        list[str] | None, typer.Option(help="a parameter of the final training, NAME=VALUE; repeat")
    ] = None,
    trials: Annotated[int, typer.Option(help="final trainings of the winner")] = 1,
    only: Only = None,
    source: Source = "auto",
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    changes: Changes = None,
) -> None:
    """Choose parameters on inner folds, score the choice on outer ones; a killed run continues.

    The paper's grid, for a GPU: graphseg search unet-paper --grid "features=[16, 32, 64]"
    --grid "levels=[3, 4, 5]" --grid "learning_rate=[1e-5, 1e-4, 1e-3]" --set epochs=150
    --final epochs=300 --trials 2 --protocol random --output data/results/search_paper.json
    """
    with scheduling.workers(scheduler):
        record = gridsearch.search(
            methods.make(method, **parsed(changes)),
            parsed(grid, "--grid"),
            datasets.load(source),
            name=method,
            score=score,
            protocol=protocol,
            folds=folds,
            inner_folds=inner_folds,
            inner_tested=inner_tested,
            final=parsed(final, "--final"),
            trials=trials,
            only=only or None,
            run_folder=Path("runs") / output.stem,
            n_jobs=jobs if scheduler is None else -1,
        )
    records.write_record(output, record)
    for found in record["searches"]:
        chosen = record["candidates"][found["chosen"]]
        typer.echo(f"fold {found['fold']}: {chosen}, {score} {max(found['scores']):.4f}")


@app.command()
def rescore(
    record: Annotated[Path, typer.Argument(help="a record of `graphseg evaluate`")],
    output: Output,
    source: Source = "auto",
    changes: Changes = None,
) -> None:
    """Score the networks of a finished evaluation again, predicting in another way.

    Example: graphseg rescore data/results/unet.json --set averaging=True --output other.json
    """
    stack = datasets.load(source)
    folder = Path("runs") / record.stem
    found = rescoring.rescore(records.read_record(record), stack, folder, **parsed(changes))
    records.write_record(output, found)
    for average in ("pooled", "per_image"):
        mean, spread = records.summary(found, average)["jaccard"]
        typer.echo(f"{average}: jaccard {mean:.3f} ± {spread:.3f}")


@app.command()
def label_noise(output: Output, source: Source = "auto") -> None:
    """Record where methods contradict the labels out of fold, and what edges cost; minutes.

    Example: graphseg label-noise --output data/results/label_noise.json
    """
    stack = datasets.load(source)
    found = evidence.label_noise(stack, evidence.out_of_fold(stack))
    records.write_record(output, found)
    ceiling = found["agreed"]["pooled"]["jaccard"]
    typer.echo(
        f"{output}: labels corrected by agreement have Jaccard {ceiling:.3f} with the labels"
    )


@app.command()
def mask_effect(output: Output, source: Source = "auto") -> None:
    """Record how many false atoms each mask keeps out, and how many true ones it costs; minutes.

    Example: graphseg mask-effect --output data/results/mask_effect.json
    """
    stack = datasets.load(source)
    predicted = evidence.out_of_fold(stack, ("bragg", "unet"))
    found = maskeffect.mask_effect(stack, predicted)
    records.write_record(output, found)
    for name, counts in found["counts"].items():
        false, true, *_ = (sum(column) for column in zip(*counts, strict=True))
        typer.echo(f"{name}: {false} atoms in contamination, {true} outside")

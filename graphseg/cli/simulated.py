"""The commands that measure what simulated images can do in place of labels."""

from pathlib import Path
from typing import Annotated

import typer

from graphseg import datasets, labelbudget, labelfree, methods, records
from graphseg.cli.common import Changes, Defects, Jobs, Output, Source, app, parsed


@app.command()
def label_free(
    output: Output,
    seeds: Annotated[int, typer.Option(help="trainings of each configuration")] = 5,
    images: Annotated[int, typer.Option(help="simulated images of each training")] = 900,
    step: Annotated[
        list[str] | None,
        typer.Option(help="a step from the naive to the final generator; repeat; default: final"),
    ] = None,
    defects: Defects = 0,
    source: Source = "auto",
    jobs: Jobs = 1,
    changes: Changes = None,
) -> None:
    """Train on simulated images only and score on labelled ones; a killed run continues.

    Example: graphseg label-free --seeds 5 --set epochs=12 --output data/results/label_free.json
    """
    record = labelfree.score_simulated(
        methods.make("unet", **parsed(changes)),
        datasets.load(source),
        labelfree.steps_of_realism(step),
        seeds,
        images,
        Path("runs") / output.stem,
        jobs,
        defects,
    )
    records.write_record(output, record)
    for number, name in enumerate(record["configurations"]):
        rows = [row for row in record["results"] if row["fold"] == number]
        _show(name, record | {"results": rows})


@app.command()
def label_budget(
    output: Output,
    budget: Annotated[
        list[int] | None, typer.Option(help="a number of labelled acquisitions; repeat")
    ] = None,
    folds: int = 5,
    steps: Annotated[int, typer.Option(help="of each training at least")] = labelbudget.STEPS,
    source: Source = "auto",
    changes: Changes = None,
) -> None:
    """Train with few labelled acquisitions and score on whole folds; a killed run continues.

    Example: graphseg label-budget --budget 0 --budget 4 --set initial=simulated.safetensors
    --output data/results/budget.json
    """
    record = labelbudget.label_curve(
        methods.make("unet", **parsed(changes)),
        datasets.load(source),
        budget or labelbudget.BUDGETS,
        folds,
        Path("runs") / output.stem,
        steps,
    )
    records.write_record(output, record)
    for number in record["budgets"]:
        _show(f"{number} acquisitions", labelbudget.at(record, number))


def _show(name: str, record: dict) -> None:
    scores = (
        "{} {:.3f} ± {:.3f}".format(a.replace("_", " "), *records.summary(record, a)["jaccard"])
        for a in ("per_image", "pooled")
    )
    typer.echo(f"{name}: Jaccard {', '.join(scores)}")

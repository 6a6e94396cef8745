"""The command line, ``graphseg --help``: every command is a few calls into the package."""

import ast
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

import graphseg
from graphseg import (
    datasets,
    gridsearch,
    methods,
    metrics,
    micrographs,
    records,
    shipped,
    validation,
)
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter

app = typer.Typer(
    help="Find surface contamination in atomic-resolution micrographs of graphene.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Source = Annotated[str, typer.Option(help="auto, published or simulated")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="a parameter of the method, NAME=VALUE; repeat")
]


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
    output: Annotated[Path, typer.Option(help="the record to write")],
    protocol: Annotated[str, typer.Option(help="acquisition, date or random")] = "acquisition",
    folds: int = 5,
    shuffles: int = 1,
    source: Source = "auto",
    jobs: Annotated[int, typer.Option(help="folds at a time; -1: as many as there are cores")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="address of a Dask scheduler whose workers run the folds")
    ] = None,
    only: Annotated[
        list[int] | None, typer.Option(help="run this fold only, counted from 0; repeat")
    ] = None,
    changes: Changes = None,
) -> None:
    """Cross-validate a method and write the record; a killed run continues.

    Example: graphseg evaluate unet --set epochs=12 --output data/results/unet.json
    """
    estimator = methods.make(method, **_parsed(changes))
    with validation.workers(scheduler):
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
        )
    records.write_record(output, record)
    for average in ("pooled", "per_image"):
        row = records.summary(record, average)
        scores = ", ".join(f"{name} {m:.3f} ± {s:.3f}" for name, (m, s) in row.items())
        typer.echo(f"{average}: {scores}")


@app.command()
def search(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join(methods.METHODS)}")],
    output: Annotated[Path, typer.Option(help="the record to write")],
    grid: Annotated[
        list[str], typer.Option(help="a parameter and its values, NAME=[VALUE, ...]; repeat")
    ],
    score: Annotated[str, typer.Option(help="what the inner folds are compared by")] = "accuracy",
    protocol: Annotated[str, typer.Option(help="acquisition, date or random")] = "acquisition",
    folds: int = 5,
    inner_folds: int = 3,
    inner_tested: Annotated[
        int | None, typer.Option(help="how many inner folds are run; all by default")
    ] = None,
    final: Annotated[
        list[str] | None, typer.Option(help="a parameter of the final training, NAME=VALUE; repeat")
    ] = None,
    trials: Annotated[int, typer.Option(help="final trainings of the winner")] = 1,
    only: Annotated[
        list[int] | None, typer.Option(help="run this outer fold only, from 0; repeat")
    ] = None,
    source: Source = "auto",
    jobs: Annotated[int, typer.Option(help="trainings at a time")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="address of a Dask scheduler")] = None,
    changes: Changes = None,
) -> None:
    """Choose parameters on inner folds, score the choice on outer ones; a killed run continues.

    The paper's grid, for a GPU: graphseg search unet-paper --grid "features=[16, 32, 64]"
    --grid "levels=[3, 4, 5]" --grid "learning_rate=[1e-5, 1e-4, 1e-3]" --set epochs=150
    --final epochs=300 --trials 2 --protocol random --output data/results/search_paper.json
    """
    with validation.workers(scheduler):
        record = gridsearch.search(
            methods.make(method, **_parsed(changes)),
            _parsed(grid, "--grid"),
            datasets.load(source),
            name=method,
            score=score,
            protocol=protocol,
            folds=folds,
            inner_folds=inner_folds,
            inner_tested=inner_tested,
            final=_parsed(final, "--final"),
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
def train(
    folder: Annotated[Path, typer.Argument(help="NAME.png and NAME_LABEL.png pairs")],
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    changes: Changes = None,
) -> None:
    """Train a U-Net on a folder of labelled micrographs; a killed training continues.

    Example: graphseg train my_labels --set epochs=25 --output my_unet.safetensors
    """
    _refuse_existing(output)
    stack = datasets.load_folder(folder)
    checkpoint = output.with_suffix(".checkpoint")
    segmenter = methods.make("unet", checkpoint=checkpoint, **_parsed(changes))
    segmenter.fit(stack.images, stack.masks)
    segmenter.save(output, card={"data_digest": stack.digest, "source": stack.source})
    checkpoint.unlink(missing_ok=True)
    table = metrics.counts(stack.masks, segmenter.predict(stack.images))
    jaccard = metrics.scores(table)["jaccard"]
    typer.echo(f"{output}: Jaccard {jaccard:.3f} on its own training images, which flatters it")


@app.command()
def segment(
    images: Annotated[list[Path], typer.Argument(help="micrographs")],
    output: Annotated[Path, typer.Option(help="the folder for the masks")],
    model: Annotated[
        Path | None,
        typer.Option(help="a weight file of `graphseg train`; else the one that comes along"),
    ] = None,
    averaging: Annotated[
        bool,
        typer.Option(help="over the eight symmetries: a little better, eight times slower"),
    ] = True,
    overwrite: bool = False,
) -> None:
    """Write a mask (PNG, white = contamination) for every micrograph.

    Example: graphseg segment *.dm4 --output masks
    """
    load = shipped.load if model is None else partial(UNetSegmenter.load, model)
    segmenter = load(averaging=averaging)
    output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in tqdm(images, desc="segmenting", unit="image"):
        target = output / f"{path.stem}_mask.png"
        if target.exists() and not overwrite:
            continue  # done in an earlier, interrupted run
        try:
            micrograph = micrographs.read_micrograph(path)
            _warn_of_pixel_size(path, micrograph.pixel_size, segmenter.card_.get("pixel_sizes"))
            mask = segmenter.predict(micrograph.image[None])[0]
        except InputError as error:
            tqdm.write(f"{path}: {error}", file=sys.stderr)
            failed += 1
            continue
        temporary = target.with_suffix(".tmp")
        Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(temporary, format="PNG")
        temporary.replace(target)
    if failed:
        raise InputError(f"{failed} of {len(images)} files could not be segmented, see above.")


def _warn_of_pixel_size(path: Path, pixel_size: float | None, known: list | None) -> None:
    if pixel_size is not None and known and not known[0] <= pixel_size <= known[1]:
        tqdm.write(
            f"{path}: {pixel_size:.3f} Å per pixel is outside the {known[0]} to {known[1]} Å that "
            "the network knows; do not trust its mask before you have looked at it.",
            file=sys.stderr,
        )


def _parsed(changes: list[str] | None, option: str = "--set") -> dict:
    """Turn NAME=VALUE into parameters; a value that is no Python literal is a string."""
    parsed = {}
    for change in changes or []:
        name, equals, text = change.partition("=")
        if not equals:
            raise InputError(f"{option} {change} has no value: write NAME=VALUE.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} exists already: name another file or remove it.")


def main() -> None:
    """Run the command line; bad input gives one sentence and exit code 2."""
    try:
        app()
    except InputError as error:
        typer.echo(f"graphseg: {error}", err=True)
        sys.exit(2)

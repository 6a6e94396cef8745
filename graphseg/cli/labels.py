"""The commands for one's own labels."""

from pathlib import Path
from typing import Annotated

import typer

from graphseg import datasets, foldercheck, methods, metrics, pretraining
from graphseg.cli.common import Changes, Defects, app, parsed, refuse_existing


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="NAME.png and NAME_LABEL.png pairs")],
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    changes: Changes = None,
) -> None:
    """Train a U-Net on a folder of labelled micrographs; a killed training continues.

    Example: graphseg train my_labels --set epochs=25 --output my_unet.safetensors
    """
    refuse_existing(output)
    report = foldercheck.check_folder(folder)
    report.raise_if_errors()
    typer.echo(str(report), err=True)
    stack = datasets.load_folder(folder)
    checkpoint = output.with_suffix(".checkpoint")
    segmenter = methods.make("unet", checkpoint=checkpoint, **parsed(changes))
    segmenter.fit(stack.images, stack.masks)
    segmenter.save(output, card={"data_digest": stack.digest, "source": stack.source})
    checkpoint.unlink(missing_ok=True)
    table = metrics.counts(stack.masks, segmenter.predict(stack.images))
    jaccard = metrics.scores(table)["jaccard"]
    typer.echo(f"{output}: Jaccard {jaccard:.3f} on its own training images, which flatters it")


@app.command()
def pretrain(
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    images: Annotated[int, typer.Option(help="how many simulated images")] = 600,
    seed: Annotated[int, typer.Option(help="of the simulation and of the training")] = 0,
    jobs: Annotated[int, typer.Option(help="processes that simulate")] = 1,
    defects: Defects = 0,
    changes: Changes = None,
) -> None:
    """Train a U-Net on simulated images only: no labels needed; a killed training continues.

    Example: graphseg pretrain --images 600 --set epochs=20 --output simulated.safetensors
    """
    refuse_existing(output)
    segmenter = methods.make("unet", **({"seed": seed} | parsed(changes)))
    pretraining.pretrain(segmenter, output, images, seed, n_jobs=jobs, defects=defects)
    typer.echo(
        f"{output}: trained on {images + defects} simulated images; `graphseg segment --model` takes it"
    )

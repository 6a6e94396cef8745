"""The commands for one's own networks: training them, and exporting them."""

from pathlib import Path
from typing import Annotated

import typer

from graphseg import foldercheck, methods, openmodels, ownlabels, ownscores, pretraining
from graphseg.cli.common import Changes, Defects, Jobs, app, parsed, refuse_existing
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="NAME.png and NAME_LABEL.png pairs")],
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    start: Annotated[
        str,
        typer.Option("--from", help="default, simulated, nothing, or a weight file to start from"),
    ] = "default",
    contamination: Annotated[
        list[int] | None,
        typer.Option(help="a grey value of the labels that means contamination; repeat; all > 0"),
    ] = None,
    two_classes: Annotated[
        bool, typer.Option("--two-classes", help="contamination or not, whatever the labels tell")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(min=0, help="of the cross-validation by acquisition; 0: none; 5 if possible"),
    ] = None,
    jobs: Jobs = 1,
    changes: Changes = None,
) -> None:
    """Train a U-Net on a folder of labelled micrographs, and cross-validate it by acquisition.

    Example: graphseg train my_labels --output my_unet.safetensors

    Example: graphseg train my_labels --from nothing --contamination 128 --output w.safetensors

    The folder is checked first. The weights start from those that come along. Labels may have
    any number of classes, one grey value each; with more than two, `graphseg segment --model` also
    writes class maps. The card with the scores is in the weight file, and beside it as JSON. A
    killed training continues when the same command is given again.
    """
    refuse_existing(output)
    refuse_existing(ownlabels.card_file_of(output))
    beginning, changed = ownlabels.Start.find(start), parsed(changes)
    for name in sorted({"classes", "contamination", "initial", "checkpoint"} & set(changed)):
        raise InputError(f"--set {name} is not possible here; see graphseg train --help.")
    report = foldercheck.check_folder(folder, progress=True)
    stack, classes = ownlabels.read_labels(report, contamination or (), two_classes)
    number = ownscores.number_of_folds(stack, folds)
    segmenter = methods.make("unet", **(beginning.parameters(stack.classes) | changed))
    typer.echo(f"{report}\nclasses: {classes}", err=True)
    scores = ownscores.cross_validation(
        segmenter, stack, number, beginning.path, ownlabels.run_folder_of(output), jobs
    )
    card = ownlabels.model_card(stack, classes, report, beginning, scores)
    card = ownlabels.train_all(segmenter, stack, output, card)
    typer.echo(f"{output}: {card['data']}, from {beginning.name}; {classes}")
    typer.echo(ownscores.scores_text(card))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="a weight file, or a network that comes along")],
    output: Annotated[Path, typer.Option(help="the ONNX file to write")],
) -> None:
    """Write a network as ONNX, for programs without Python; needs graphseg[onnx].

    Example: graphseg export my_unet.safetensors --output my_unet.onnx

    It takes images as float32 (n, height, width) of any scale and size, and gives probabilities.
    The file is only written if ONNX Runtime agrees with PyTorch within 1e-4.
    """
    refuse_existing(output)
    path = ownlabels.Start.find(model).path
    if path is None:
        raise InputError("There is nothing to export; name a weight file.")
    segmenter = UNetSegmenter.load(path, device="cpu")
    difference = openmodels.export_onnx(segmenter, output)
    typer.echo(f"{output}: ONNX Runtime agrees with PyTorch within {difference:.0e}")


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
    number = images + defects
    typer.echo(f"{output}: trained on {number} simulated images; segment --model takes it")

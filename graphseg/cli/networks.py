"""The commands that make networks: ``train``, ``pretrain``, and ``export`` for other programs."""

import ast
from pathlib import Path
from typing import Annotated

import typer

from graphseg.errors import InputError

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="parameter of the method, as NAME=VALUE; may be repeated"),
]


def parsed(changes: list[str] | None, option: str = "--set") -> dict:
    """Turn NAME=VALUE into parameters; a value that is no Python literal is a string."""
    parsed = {}
    for change in changes or []:
        name, equals, text = change.partition("=")
        if not equals:
            raise InputError(f"{option} {change} has no value: write NAME=VALUE.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            parsed[name] = text
    return parsed


def refuse_existing(path: Path) -> None:
    """Raise InputError if there is something at `path`: nothing is overwritten silently."""
    if path.exists():
        raise InputError(f"{path} exists already: name another file or remove it.")


def train(
    folder: Annotated[
        Path,
        typer.Argument(
            help="a folder of micrographs NAME.dm4, .tif, .png … with NAME_LABEL.png, or results "
            "of `graphseg segment` that were corrected with `graphseg review`"
        ),
    ],
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="initial weights: default, simulated, nothing (random weights), or a weight file",
        ),
    ] = "default",
    contamination: Annotated[
        list[int] | None,
        typer.Option(
            help="grey value that means contamination; may be repeated; by default all above 0"
        ),
    ] = None,
    two_classes: Annotated[
        bool,
        typer.Option(
            "--two-classes",
            help="distinguish only contamination from the rest, also if labels have more classes",
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="folds of the cross-validation by acquisition; 0: no cross-validation; by default "
            "5, or fewer if there are fewer acquisitions",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="folds trained in parallel; -1: one per core")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="address of a Dask scheduler, on whose workers the folds are trained; they must "
            "see the folder of the weight file under the same path"
        ),
    ] = None,
    changes: Changes = None,
) -> None:
    """Train a network on your labelled micrographs and score it.

    \b
    Examples:
      graphseg train my_labels --output my_unet.safetensors
      graphseg train my_labels --from nothing --output new.safetensors

    The folder is checked first. The scores come from a cross-validation that leaves out whole
    acquisitions, with every image at the scale that segment would use. Sizes and pixel sizes may
    differ. Of corrected masks, only reviewed pixels count, in the training and in the scores. If
    the new network is no better than the default one, the last line advises you to keep that.
    Labels may have any number of classes, one grey value each; with more than two,
    `graphseg segment --model` also writes class maps. The weight file contains a model card with
    the scores, which is also written beside it as JSON. An interrupted training resumes when the
    same command is given again.
    """
    from graphseg.batch import masks, pools
    from graphseg.datasets import check
    from graphseg.evaluation import methods, scorecard
    from graphseg.unet import finetune

    refuse_existing(output)
    refuse_existing(finetune.card_file_of(output))
    initial, changed = finetune.Start.find(start), parsed(changes)
    for name in sorted({"classes", "contamination", "initial", "checkpoint"} & set(changed)):
        raise InputError(f"--set {name} is not possible here; see graphseg train --help.")
    if masks.is_reviewed(folder):
        if contamination or two_classes:
            raise InputError(
                "Corrected masks have two classes: leave out the options that name others."
            )
        stack, classes, report = masks.read_reviewed(folder)
    else:
        report = check.check_folder(folder, progress=True)
        stack, classes = finetune.read_labels(report, contamination or (), two_classes)
    number = scorecard.number_of_folds(stack, folds)
    scales = finetune.scales_of(stack, initial)
    segmenter = methods.make("unet", **(initial.parameters(stack.classes) | changed))
    typer.echo("\n".join([f"{report}\nclasses: {classes}", *scales.told()]), err=True)
    # Other machines have other working folders.
    run_folder, jobs = finetune.run_folder_of(output.absolute()), -1 if scheduler else jobs
    with pools.workers(scheduler):
        scores = scorecard.cross_validation(
            segmenter, stack, scales, number, initial.path, run_folder, jobs
        )
    card = finetune.model_card(stack, classes, report, initial, scales, scores)
    card = finetune.train_all(
        segmenter, stack, scales, output, card,
        lambda trained: scorecard.reference_set(trained, stack, scales),
    )  # fmt: skip
    typer.echo(f"{output}: {card['data']}, from {initial.name}; {classes}")
    typer.echo(scorecard.scores_text(card))


def export(
    model: Annotated[str, typer.Argument(help="a weight file, or the name of a bundled network")],
    output: Annotated[Path, typer.Option(help="the ONNX file to write")],
) -> None:
    """Write a network as ONNX, for programs without Python.

    \b
    Example:
      graphseg export my_unet.safetensors --output my_unet.onnx

    Needs graphseg[onnx]. The ONNX network takes images as float32 (n, height, width), with grey
    values of any range and of any size, and returns probabilities. The file is written only if ONNX
    Runtime agrees with PyTorch within 1e-4.
    """
    from graphseg.unet import finetune
    from graphseg.unet.export import export_onnx
    from graphseg.unet.segmenter import UNetSegmenter

    refuse_existing(output)
    path = finetune.Start.find(model).path
    if path is None:
        raise InputError("There is nothing to export; name a weight file.")
    segmenter = UNetSegmenter.load(path, device="cpu")
    difference = export_onnx(segmenter, output)
    typer.echo(f"{output}: ONNX Runtime agrees with PyTorch within {difference:.0e}")


def pretrain(
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    images: Annotated[int, typer.Option(help="number of simulated images")] = 600,
    seed: Annotated[int, typer.Option(help="seed of the simulation and of the training")] = 0,
    jobs: Annotated[int, typer.Option(help="processes for the simulation")] = 1,
    defects: Annotated[
        int,
        typer.Option(
            help="number of additional simulated images with many defects, which are not "
            "contamination"
        ),
    ] = 0,
    changes: Changes = None,
) -> None:
    """Train a network on simulated images, without labels.

    \b
    Example:
      graphseg pretrain --images 600 --set epochs=20 --output simulated.safetensors

    An interrupted training resumes when the same command is given again.
    """
    from graphseg.evaluation import methods
    from graphseg.unet import finetune

    refuse_existing(output)
    segmenter = methods.make("unet", **({"seed": seed} | parsed(changes)))
    finetune.pretrain(segmenter, output, images, seed, n_jobs=jobs, defects=defects)
    number = images + defects
    typer.echo(f"{output}: trained on {number} simulated images; segment --model takes it")

"""The command line, ``graphseg --help``: every command is a few calls into the package."""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphseg import __version__
from graphseg.errors import InputError

if TYPE_CHECKING:
    from graphseg.batch.masks import MaskFolder
    from graphseg.batch.tasks import Network, NetworkTask

# What a command needs is imported when it is called: --help shall not wait for PyTorch.
app = typer.Typer(
    help="Find surface contamination in atomic-resolution micrographs of graphene.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # it would take [square brackets] in help texts for markup
    pretty_exceptions_enable=False,
)
MARGIN = 8.0  # px, that of `graphseg.batch.reduction.Coarsening`
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


EXAMPLES = """\b
Examples:
  graphseg segment night/ --output masks
  graphseg segment "night/*.dm4" --output masks --overlays
  graphseg analyse night/ --output atoms
  graphseg sort night/ --output ranking
  graphseg reduce night/ --output small --mode blocks
  graphseg review masks
  graphseg train masks --output my_unet.safetensors
  graphseg segment --config masks/run.toml --output again

graphseg COMMAND --help explains a command."""
app.info.epilog = EXAMPLES


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"graphseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None: ...


@app.command()
def fetch() -> None:
    """Download the published images, or check those that are there."""
    from graphseg.datasets import load

    stack = load.load_published()
    typer.echo(f"{len(stack)} labelled micrographs, digest {stack.digest[:12]}")


@app.command()
def info() -> None:
    """Print the version, and which images are found."""
    from graphseg.datasets import load

    stack = load.load_default()
    typer.echo(f"graphseg {__version__}")
    typer.echo(f"data: {stack.source}, {len(stack)} images, digest {stack.digest[:12]}")


def _configured(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of an earlier run, unless the command line says otherwise."""
    if path is None:
        return None
    from graphseg.batch.run import read_run

    earlier = read_run(path, context.info_name)
    known = {parameter.name for parameter in context.command.params} - {"config"}
    if unknown := sorted(set(earlier["options"]) - known):
        raise InputError(f"{path} has the unknown option {unknown[0]}; correct or remove it.")
    # What destroys is to be said each time, and what a night has brought is there.
    once = ("overwrite", "watch")
    context.default_map = {k: v for k, v in earlier["options"].items() if k not in once}
    context.obj = {"config": path, "made_by": earlier.get("made_by", {})}
    return path


def _on_a_folder(
    context: typer.Context,
    images: Annotated[
        list[str], typer.Argument(help="micrographs, folders of them, or quoted patterns")
    ],
    output: Annotated[Path, typer.Option(help="the folder for the results")],
    given: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            help="take masks from the results of `graphseg segment`, with the corrections of "
            "`graphseg review`, instead of a network",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="weight file from `graphseg train`, or name of a bundled network, such as "
            "`general` for images whose scale, sharpness or noise differ from the published ones; "
            "by default the network `default`"
        ),
    ] = None,
    test_time_augmentation: Annotated[
        bool | None,
        typer.Option(
            help="average predictions over the eight symmetries of the square: slightly better, "
            "eight times slower; by default on for `default` and off for `general`"
        ),
    ] = None,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Å per pixel of all images; overrides what their files say"),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="go on with files that come into the folder, as they are complete, until Ctrl-C",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="processes on this machine, at most; by default one a core, as far as there is "
            "memory. One uses all cores as well, so others are started only where more than five "
            "minutes of work are left; files that kill a process are then found and named",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="address of a Dask scheduler, whose workers must see images and results under "
            "the same paths; then it does not matter what --workers says"
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(help="skip what an earlier run with the same options has finished"),
    ] = True,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="replace results that were made from other inputs, models or options",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            is_eager=True,
            callback=_configured,
            help="read images, output and options from the run.toml of an earlier run; options on "
            "the command line take precedence, and --overwrite and --watch must be given there",
        ),
    ] = None,
) -> None:
    """Have the options of all commands that work on a folder of micrographs."""


def folder_command(task_of: Callable[..., "NetworkTask"]) -> None:
    """Make a command of what returns the task for a network and the options of its own."""
    own = list(inspect.signature(task_of).parameters.values())[1:]
    common = inspect.signature(_on_a_folder).parameters
    # Masks are made by one command, also of files that are still to come, and taken by the others.
    absent = "given" if "masks" in {one.name for one in own} else "watch"
    common = [one for name, one in common.items() if name != absent]

    def command(context: typer.Context, **options) -> None:
        network = _network(options)
        # The network of the same name need not be the one that an earlier run had.
        known = (context.obj or {}).get("made_by", {}).get("model", network.digest)
        named = context.get_parameter_source("model").name == "COMMANDLINE"
        if network.digest not in ("", known) and not named:
            text = f"The network is not the one of {context.obj['config']}, so masks may differ"
            typer.echo(f"{text}: name that one with --model.", err=True)
        _work(context, task_of(network, **{one.name: options[one.name] for one in own}))

    command.__name__, command.__doc__ = task_of.__name__, task_of.__doc__
    command.__signature__ = inspect.Signature([*common[:3], *own, *common[3:]])
    app.command()(command)


def _network(options: dict) -> "Network | MaskFolder":
    """Return the network that the options name, or the masks that take its place."""
    from graphseg.batch.tasks import Network

    given, names = options.get("given"), ("test_time_augmentation", "device", "pixel_size")
    if given is None:
        return Network.choose(options["model"], **{name: options[name] for name in names})
    from graphseg.batch.masks import MaskFolder

    if options["model"] is not None or options["test_time_augmentation"] is not None:
        raise InputError("--masks takes masks that are there: leave out what is of a network.")
    masks = MaskFolder(given.absolute(), options["pixel_size"])
    masks.names()  # a folder without any is refused here
    return masks


@folder_command
def segment(
    network: "Network",
    masks: Annotated[
        str, typer.Option(help="format of the masks: tif (stores the pixel size) or png")
    ] = "tif",
    probabilities: Annotated[
        str | None, typer.Option(help="also write probability maps: float32 or float16")
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="also write pictures with contamination in red")
    ] = False,
) -> "NetworkTask":
    """Write a mask for every micrograph, a table and a report.

    \b
    Examples:
      graphseg segment night/ --output masks
      graphseg segment "night/**/*.dm4" --output masks --overlays
      graphseg segment night/ --output masks --watch

    White is contamination. Images that are finished are skipped, so the same command resumes an
    interrupted run. A file that cannot be read is reported and skipped; the exit code is then 2.
    """
    from graphseg.batch.tasks import Segment
    from graphseg.io.outputs import MASK_FORMS, PROBABILITY_TYPES

    for option, value, known in (
        ("--masks", masks, MASK_FORMS),
        ("--probabilities", probabilities or PROBABILITY_TYPES[0], PROBABILITY_TYPES),
    ):
        if value not in known:
            raise InputError(f"{option} {value} is unknown: use {' or '.join(known)}.")
    return Segment(network, masks, probabilities, overlays)


@folder_command
def analyse(
    network: "Network",
    structures: Annotated[bool, typer.Option(help="also write the atoms as extended XYZ")] = True,
) -> "NetworkTask":
    """Find atoms, bonds, rings and defects outside contamination.

    \b
    Examples:
      graphseg analyse night/ --output atoms
      graphseg analyse night/ --output atoms --masks masks

    For every micrograph it writes a class map (lattice white, boundary red, vacuum green,
    contamination blue), the atoms, bonds and defects as CSV, and the atoms as extended XYZ. The
    table has the areas in nm² and the numbers of atoms, rings and vacancies.
    """
    from graphseg.batch.tasks import Analyse

    return Analyse(network, structures)


@folder_command
def sort(
    network: "Network",
    exclude_vacuum: Annotated[
        bool, typer.Option("--exclude-vacuum", help="count vacuum (holes) as not clean, too")
    ] = False,
) -> "NetworkTask":
    """Rank micrographs by their clean fraction.

    \b
    Example:
      graphseg sort night/ --output ranking

    The result is a table and a page with pictures.
    """
    from graphseg.batch.tasks import Sort

    return Sort(network, exclude_vacuum)


@folder_command
def reduce(
    network: "Network",
    mode: Annotated[
        str,
        typer.Option(
            help="lossless, or how contamination is stored coarsely: levels, blocks or flat"
        ),
    ] = "lossless",
    margin: Annotated[
        float, typer.Option(help="pixels around outlines of contamination that stay exact")
    ] = MARGIN,
) -> "NetworkTask":
    """Store micrographs and class maps in small HDF5 files.

    \b
    Examples:
      graphseg reduce night/ --output small
      graphseg reduce night/ --output smaller --mode blocks

    By default the compression is lossless.
    """
    from graphseg.batch.reduction import Coarsening
    from graphseg.batch.tasks import Reduce

    return Reduce(network, Coarsening(mode=mode, margin=margin))


def _work(context: typer.Context, task: "NetworkTask") -> None:
    """Do a task with the options of the command line, write the tables, say what came out.

    Failures end in exit code 2.
    """
    from graphseg.batch.manifest import RUN, Inputs, find_inputs
    from graphseg.batch.report import write_tables
    from graphseg.batch.run import run

    options = {k: v for k, v in context.params.items() if k != "config"}
    named = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    chosen = {name: options[name] for name in ("resume", "overwrite", "workers", "scheduler")}
    chosen["tables"] = write_tables
    inputs, output, about = Inputs([], []), options["output"].absolute(), {"options": named}
    if options.get("watch"):
        from graphseg.batch.watch import watch

        typer.echo("Waiting for files; Ctrl-C ends it.", err=True)
        found = watch(task, options["images"], output, about=about, **chosen)
    else:
        inputs = find_inputs(options["images"])
        sources = inputs.sources
        if options.get("given") is not None:
            sources = task.network.matched(sources)
        about["skipped"] = inputs.skipped
        found = run(task, sources, output, about=about, **chosen)
    table, page = write_tables(found)
    typer.echo(f"{found.finished} images done: {table} and {page}")
    if inputs.skipped:
        typer.echo(f"{skipped_text(inputs.skipped)} {output / RUN} has all.")
    if found.errors:
        total = found.finished + len(found.errors)
        raise InputError(f"{len(found.errors)} of {total} images failed, see {table}.")


def skipped_text(skipped: list[dict[str, str]]) -> str:
    """Return one sentence that counts the files that are left out and names the first three."""
    files = [one["file"] for one in skipped]
    kinds = Counter(Path(file).suffix.lower() or "no suffix" for file in files)
    counted = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    rest = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"Files left out: {len(files)} ({counted}): {', '.join(files[:3])}{rest}."


@app.command()
def review(
    results: Annotated[Path, typer.Argument(help="the folder of results of `graphseg segment`")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="the weight file that made the masks, if it is not where it was: the threshold "
            "needs its probabilities, unless they were written"
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0: any")] = 0,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
) -> None:
    """Correct masks in the browser: threshold, brush, accept.

    \b
    Example:
      graphseg segment night/ --output masks
      graphseg review masks
      graphseg analyse night/ --output atoms --masks masks
      graphseg train masks --output my_unet.safetensors

    The masks that need a look first come first. Beside NAME_mask.tif, which stays, come
    NAME_corrected.tif and NAME_reviewed.tif (where you have looked: what was painted, or all of an
    accepted image). analyse, sort and reduce take corrected masks with --masks; train learns from
    them, and what nobody has looked at is unknown to it. Every stroke is saved at once, and the
    same command goes on where you stopped. The page is served to this machine only.
    """
    import webbrowser

    from graphseg.batch.masks import MaskFolder
    from graphseg.plotting.review import Review, Server, alone

    masks = MaskFolder(results)
    walk = Review(masks, model)
    with alone(results), Server(walk, port) as server:
        typer.echo(
            f"{len(walk.names)} masks to review at {server.address}\nCtrl-C ends the review."
        )
        if browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo(walk.summary())


@app.command()
def train(
    folder: Annotated[
        Path,
        typer.Argument(
            help="a folder of micrographs NAME.dm4, .tif, .png … and NAME_LABEL.png, or results "
            "of `graphseg segment` that `graphseg review` has corrected"
        ),
    ],
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            help="initial weights: default, simulated, nothing (random ones), or a weight file",
        ),
    ] = "default",
    contamination: Annotated[
        list[int] | None,
        typer.Option(
            help="grey value that means contamination; may be repeated; by default any above 0"
        ),
    ] = None,
    two_classes: Annotated[
        bool,
        typer.Option(
            "--two-classes",
            help="learn contamination against the rest, whatever values labels have",
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="folds of the cross-validation by acquisition; 0: none; by default 5 if possible",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="folds trained in parallel; -1 for one per core")] = 1,
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

    The folder is checked first; the scores come from a cross-validation by acquisition, with every
    image at the scale that segment brings it to. Sizes and pixel sizes may differ. Of corrected
    masks only what was reviewed counts, in the training and in the scores. If the training
    is no better than the default network, the last line says to keep that one. Labels may
    have any number of classes, one grey value each; with more than two, `graphseg segment --model`
    also writes class maps. A model card with the scores is in the weight file, and beside it as
    JSON.
    An interrupted training resumes when the same command is given again.
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
            raise InputError("Corrected masks have two classes: leave out what names others.")
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


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="a weight file, or the name of a bundled network")],
    output: Annotated[Path, typer.Option(help="the ONNX file to write")],
) -> None:
    """Write a network as ONNX, for programs without Python.

    \b
    Example:
      graphseg export my_unet.safetensors --output my_unet.onnx

    Needs graphseg[onnx]. The ONNX network takes images as float32 (n, height, width) of any scale
    and size, and gives probabilities. The file is only written if ONNX Runtime agrees with PyTorch
    within 1e-4.
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


@app.command()
def pretrain(
    output: Annotated[Path, typer.Option(help="the weight file to write")],
    images: Annotated[int, typer.Option(help="how many simulated images")] = 600,
    seed: Annotated[int, typer.Option(help="seed of the simulation and of the training")] = 0,
    jobs: Annotated[int, typer.Option(help="worker processes for the simulation")] = 1,
    defects: Annotated[
        int,
        typer.Option(
            help="further simulated training images, with many defects that are not contamination"
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


def main() -> None:
    """Run the command line."""
    # Named, so that completion installed with `python -m graphseg` is that of `graphseg`.
    call(app, "graphseg")


def call(commands: typer.Typer, name: str | None = None) -> None:
    """Run a command line; bad input gives one sentence and exit code 2."""
    try:
        commands(prog_name=name)
    except (InputError, OSError, MemoryError) as error:
        typer.echo(f"graphseg: {_sentence(error)}", err=True)
        sys.exit(2)


def _sentence(error: Exception) -> str:
    """Return what the user can do; what the system says of a file is no sentence by itself."""
    if isinstance(error, OSError):
        where = f" with {error.filename}" if error.filename else ""
        return (
            f"The system reports a problem{where} ({error.strerror or error}); make room, or name "
            "a place that can be read and written."
        )
    if isinstance(error, MemoryError):
        return f"The memory is not enough ({error or 'no size given'}); use less at a time."
    return " ".join(str(error).split())

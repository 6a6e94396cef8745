"""The program ``graphseg``, its errors, and the commands for a folder of micrographs."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphseg import __version__
from graphseg.cli import labels, networks
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
    """Download the published images, or check the copy that is on disk."""
    from graphseg.datasets import load

    stack = load.load_published()
    typer.echo(f"{len(stack)} labelled micrographs, digest {stack.digest[:12]}")


@app.command()
def info() -> None:
    """Print the version, and which images the package finds."""
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
        list[str], typer.Argument(help="micrographs, folders of micrographs, or quoted patterns")
    ],
    output: Annotated[Path, typer.Option(help="the folder for the results")],
    given: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            help="use the masks in a folder of results of `graphseg segment`, with corrections "
            "from `graphseg review`, instead of a network",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            help="weight file from `graphseg train`, or name of a bundled network, such as "
            "`general` for images whose scale, sharpness or noise differ from the published ones; "
            "`default` if not given"
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
        typer.Option(help="Å per pixel of all images; overrides what their files state"),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="keep running, and process new files in the folder as they are completed, until "
            "Ctrl-C",
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="highest number of processes on this machine; by default one per core, as far as "
            "memory allows. Since a single process uses all cores too, further ones start only if "
            "more than five minutes of work are left; a file that kills a process is then found "
            "and named",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="address of a Dask scheduler, whose workers must see images and results under "
            "the same paths; --workers is then ignored"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="skip what an earlier run with the same options has finished")
    ] = True,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="replace results that were made with other inputs, networks or options",
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            is_eager=True,
            callback=_configured,
            help="read images, output and options from the run.toml of an earlier run; options on "
            "the command line take precedence; --overwrite and --watch are not read from it",
        ),
    ] = None,
) -> None:
    """Hold the options of all commands that work on a folder of micrographs."""


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
        raise InputError("--masks uses existing masks: leave out the options of a network.")
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
        bool,
        typer.Option("--overlays", help="also write the images with contamination in orange-red"),
    ] = False,
) -> "NetworkTask":
    """Write a mask for every micrograph, a table and a report.

    \b
    Examples:
      graphseg segment night/ --output masks
      graphseg segment "night/**/*.dm4" --output masks --overlays
      graphseg segment night/ --output masks --watch

    In a mask, white is contamination. Finished images are skipped, so the same command resumes an
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

    For every micrograph, the command writes a class map (lattice white, boundary red, vacuum green,
    contamination blue), tables of atoms, bonds, rings and defects, and the atoms as extended XYZ.
    analyse.csv lists the areas in nm² and the numbers of atoms, rings and defects of each image;
    analyse.html shows the same with pictures.

    \b
    NAME_atoms.csv    atom, PLACE, amplitude
    NAME_bonds.csv    first and second atom, length_angstrom, angle_degrees (from the
                      right, clockwise)
    NAME_rings.csv    ring (of 4 to 9 atoms), PLACE of its centre, size (its atoms),
                      area_angstrom2
    NAME_defects.csv  kind (ring: of other than 6 atoms; vacancy), size, missing
                      (atoms), PLACE of its centre, boundary (the nearest one),
                      distance_angstrom (to it)

    \b
    PLACE is four columns: row_down_px and column_right_px from the centre of the upper
    left pixel, x_right_angstrom and y_up_angstrom from that of the lower left one.
    """
    from graphseg.batch.tasks import Analyse

    return Analyse(network, structures)


@folder_command
def sort(
    network: "Network",
    exclude_vacuum: Annotated[
        bool, typer.Option("--exclude-vacuum", help="count vacuum (holes) as not clean either")
    ] = False,
) -> "NetworkTask":
    """Rank micrographs by their clean fraction.

    \b
    Example:
      graphseg sort night/ --output ranking

    The ranking is written as a table and as a page with pictures.
    """
    from graphseg.batch.tasks import Sort

    return Sort(network, exclude_vacuum)


@folder_command
def reduce(
    network: "Network",
    mode: Annotated[
        str,
        typer.Option(
            help="lossless, or how contamination is simplified: levels (fewer grey values), blocks "
            "(means of blocks) or flat (one grey value)"
        ),
    ] = "lossless",
    margin: Annotated[
        float, typer.Option(help="width in pixels of the rim of contamination that stays exact")
    ] = MARGIN,
) -> "NetworkTask":
    """Store micrographs and class maps in small HDF5 files.

    \b
    Examples:
      graphseg reduce night/ --output small
      graphseg reduce night/ --output smaller --mode blocks

    By default, every pixel can be restored exactly. The other modes keep clean areas exact and
    store contamination coarsely, which makes the files smaller.
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


for command in (labels.review, networks.train, networks.export, networks.pretrain):
    app.command()(command)


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
        return f"There is not enough memory ({error or 'no size given'}); use less at a time."
    return " ".join(str(error).split())

"""What the commands share: the typer application, options, and how NAME=VALUE is read."""

import ast
from pathlib import Path
from typing import Annotated

import typer

from graphseg.errors import InputError

app = typer.Typer(
    help="Find surface contamination in atomic-resolution micrographs of graphene.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # it would take [square brackets] in help texts for markup
    pretty_exceptions_enable=False,
)
Source = Annotated[str, typer.Option(help="auto, published or simulated")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="a parameter of the method, NAME=VALUE; repeat")
]
Protocol = Annotated[str, typer.Option(help="acquisition, date or random")]
Only = Annotated[list[int] | None, typer.Option(help="run this fold only, counted from 0; repeat")]
Jobs = Annotated[int, typer.Option(help="folds at a time; -1: as many as there are cores")]
Defects = Annotated[
    int, typer.Option(help="further simulated training images, full of defects that are no dirt")
]
Scheduler = Annotated[
    str | None, typer.Option(help="address of a Dask scheduler whose workers run the folds")
]
Output = Annotated[Path, typer.Option(help="the record to write")]


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


# For the commands that work on a folder of micrographs.
Images = Annotated[
    list[str], typer.Argument(help="micrographs, folders of them, or quoted patterns")
]
Results = Annotated[Path, typer.Option("--output", help="the folder for the results")]
Model = Annotated[
    Path | None,
    typer.Option(
        help="a weight file of `graphseg train`, or `blurred`, a network for images that are less "
        "sharp; else the one that comes along"
    ),
]
Averaging = Annotated[
    bool, typer.Option(help="over the eight symmetries: a little better, eight times slower")
]
PixelSize = Annotated[
    float | None, typer.Option(help="Å per pixel of all images, whatever their files say")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Workers = Annotated[
    int, typer.Option(min=1, help="processes on this machine, which share its cores")
]
Address = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="address of a Dask scheduler; its workers must see images and results by the same "
        "paths",
    ),
]
Resume = Annotated[
    bool, typer.Option(help="pass over what an earlier run with the same options has finished")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="replace results of other inputs, models or options")
]
EXAMPLES = """\b
Examples:
  graphseg segment night/ --output masks
  graphseg segment "night/*.dm4" --output masks --overlays --workers 2
  graphseg analyse night/ --output atoms
  graphseg sort night/ --output ranking
  graphseg reduce night/ --output small --mode blocks
  graphseg train my_labels --output my_unet.safetensors

graphseg COMMAND --help tells more."""
app.info.epilog = EXAMPLES

"""The commands for a folder of micrographs."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from graphseg import bulk
from graphseg.bulkjob import Job, Task
from graphseg.bulknetwork import Network
from graphseg.bulksources import find_sources
from graphseg.bulktables import write_tables
from graphseg.bulktasks import Analyse, Reduce, Segment, Sort
from graphseg.cli.common import (
    Address,
    Averaging,
    Device,
    Images,
    Model,
    Overwrite,
    PixelSize,
    Results,
    Resume,
    Workers,
    app,
)
from graphseg.coarsening import Coarsening
from graphseg.errors import InputError
from graphseg.outputs import MASK_FORMS, PROBABILITY_TYPES


@dataclass(frozen=True)
class How:
    """How a folder of micrographs is worked on, whatever is done with them."""

    images: list[str]
    output: Path
    workers: int
    scheduler: str | None
    resume: bool
    overwrite: bool


@app.command()
def segment(
    images: Images,
    output: Results,
    model: Model = None,
    averaging: Averaging = True,
    masks: Annotated[str, typer.Option(help="tif (with the pixel size) or png")] = "tif",
    probabilities: Annotated[
        str | None, typer.Option(help="also write probability maps: float32 or float16")
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="also write pictures, contamination in red")
    ] = False,
    pixel_size: PixelSize = None,
    device: Device = "auto",
    workers: Workers = 1,
    scheduler: Address = None,
    resume: Resume = True,
    overwrite: Overwrite = False,
) -> None:
    """Write a mask (white = contamination) for every micrograph, a table and a report.

    Example: graphseg segment night/ --output masks

    Example: graphseg segment "night/**/*.dm4" --output masks --probabilities float32 --overlays

    What is finished is passed over, so the same command continues after an interruption. A file
    that cannot be read is reported and passed over, and the exit code is then 2.
    """
    _refuse_unknown("--masks", masks, MASK_FORMS)
    _refuse_unknown("--probabilities", probabilities, (None, *PROBABILITY_TYPES))
    network = _network(model, averaging, device, pixel_size)
    how = How(images, output, workers, scheduler, resume, overwrite)
    _work(Segment(network, masks, probabilities, overlays), how)


@app.command()
def analyse(
    images: Images,
    output: Results,
    structures: Annotated[
        bool, typer.Option(help="also write the atoms as extended XYZ, which needs ASE")
    ] = True,
    model: Model = None,
    averaging: Averaging = True,
    pixel_size: PixelSize = None,
    device: Device = "auto",
    workers: Workers = 1,
    scheduler: Address = None,
    resume: Resume = True,
    overwrite: Overwrite = False,
) -> None:
    """Find classes, atoms, bonds, rings and defects outside of contamination.

    Example: graphseg analyse night/ --output atoms

    For every micrograph it writes a class map (lattice white, boundary red, vacuum green,
    contamination blue), the atoms, bonds and defects as CSV and the atoms as extended XYZ; areas
    in nm² and the numbers of atoms, rings and vacancies are in the table.
    """
    if structures and find_spec("ase") is None:
        raise InputError(
            "Structures need the package ase: install it with pip install 'graphseg[physics]', or "
            "say --no-structures."
        )
    network = _network(model, averaging, device, pixel_size)
    how = How(images, output, workers, scheduler, resume, overwrite)
    _work(Analyse(network, structures), how)


@app.command()
def sort(
    images: Images,
    output: Results,
    exclude_vacuum: Annotated[
        bool, typer.Option("--exclude-vacuum", help="holes do not count as clean either")
    ] = False,
    model: Model = None,
    averaging: Averaging = True,
    pixel_size: PixelSize = None,
    device: Device = "auto",
    workers: Workers = 1,
    scheduler: Address = None,
    resume: Resume = True,
    overwrite: Overwrite = False,
) -> None:
    """Rank micrographs by their clean fraction: a table and a page with pictures.

    Example: graphseg sort night/ --output ranking
    """
    network = _network(model, averaging, device, pixel_size)
    how = How(images, output, workers, scheduler, resume, overwrite)
    _work(Sort(network, exclude_vacuum), how)


@app.command()
def reduce(
    images: Images,
    output: Results,
    mode: Annotated[
        str, typer.Option(help="lossless; or levels, blocks, flat: contamination stored coarsely")
    ] = "lossless",
    margin: Annotated[
        float, typer.Option(help="pixels along the outline of contamination that stay exact")
    ] = Coarsening.margin,
    model: Model = None,
    averaging: Averaging = True,
    pixel_size: PixelSize = None,
    device: Device = "auto",
    workers: Workers = 1,
    scheduler: Address = None,
    resume: Resume = True,
    overwrite: Overwrite = False,
) -> None:
    """Store every micrograph with its class map in a small HDF5 file; by default nothing is lost.

    Example: graphseg reduce night/ --output small

    Example: graphseg reduce night/ --output smaller --mode blocks
    """
    network = _network(model, averaging, device, pixel_size)
    task = Reduce(network, Coarsening(mode=mode, margin=margin))
    _work(task, How(images, output, workers, scheduler, resume, overwrite))


def _network(model: Path | None, averaging: bool, device: str, pixel_size: float | None) -> Network:
    return Network.choose(model, averaging=averaging, device=device, pixel_size=pixel_size)


def _refuse_unknown(option: str, value: str | None, known: tuple[str | None, ...]) -> None:
    if value not in known:
        listed = " or ".join(filter(None, known))
        raise InputError(f"{option} {value} is unknown: use {listed}.")


def _work(task: Task, how: How) -> None:
    """Do a task, write the tables, say what came out; failures end in exit code 2."""
    sources = find_sources(how.images)
    job = Job(task, how.output.absolute(), how.resume, how.overwrite)
    found = bulk.run(job, sources, how.workers, how.scheduler)
    table, page = write_tables(job, found)
    typer.echo(f"{found.finished} images done: {table} and {page}")
    if found.errors:
        total = found.finished + len(found.errors)
        raise InputError(f"{len(found.errors)} of {total} images failed, see {table}.")

"""The commands for a folder of micrographs."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from tqdm import tqdm

from graphseg import micrographs, shipped
from graphseg.cli.common import app
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter


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

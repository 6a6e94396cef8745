"""The command that corrects masks and paints labels in the browser: ``review``."""

from pathlib import Path
from typing import Annotated

import typer

from graphseg.errors import InputError


def review(
    folder: Annotated[Path, typer.Argument(help="masks of `graphseg segment`, or images to label")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="the weight file that made the masks, if it was moved; it is needed to change the "
            "threshold, unless the run wrote its probabilities. For images: the network, such as "
            "`default`, whose mask each label starts with"
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="what to paint on images, separated by commas: one class is saved as 255, several "
            "as 1, 2, 3 and so on; unpainted pixels are 0"
        ),
    ] = "contamination",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace existing labels of images")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port of the page; 0: any")] = 0,
    browser: Annotated[bool, typer.Option(help="open the page in the browser")] = True,
) -> None:
    """Correct masks, or paint labels, in the browser: threshold, brush, accept.

    \b
    Examples:
      graphseg segment night/ --output masks
      graphseg review masks
      graphseg analyse night/ --output atoms --masks masks
      graphseg train masks --output my_unet.safetensors
      graphseg review my_images --classes boundary,vacuum

    The page begins with the masks that most need checking. NAME_mask.tif is left as it is; beside
    it, NAME_corrected.tif holds the corrected mask and NAME_reviewed.tif the reviewed pixels (those
    that you painted, or all of an image that you accepted). analyse, sort and reduce use corrected
    masks with --masks, and train learns from them, with pixels that nobody reviewed as unknown.
    Every stroke is saved at once, and the same command continues where you stopped. The page can
    be opened on this machine only.

    In a folder of images you paint labels: an accepted one is saved as NAME_LABEL.png beside its
    image, as train reads it.
    """
    import webbrowser

    from graphseg.batch.manifest import HIDDEN, RUN
    from graphseg.batch.masks import SEGMENT, MaskFolder
    from graphseg.batch.tasks import Network
    from graphseg.plotting.review import Labelling, Review, Server, alone

    if (folder / RUN).exists() or (folder / HIDDEN / SEGMENT).is_dir():
        if classes != "contamination" or overwrite:
            raise InputError(f"{folder} has masks of a run: leave out --classes and --overwrite.")
        walk = Review(MaskFolder(folder), model)
    else:
        # One view of eight: a start need not wait for the rest.
        network = model and Network.choose(model, test_time_augmentation=False)
        names = [name.strip() for name in classes.split(",")]
        walk = Labelling(folder, names, network, overwrite)
    with alone(folder), Server(walk, port) as server:
        typer.echo(
            f"{len(walk.names)} {walk.nouns[0]} to review at {server.address}\n"
            "Ctrl-C ends the review."
        )
        if browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo(walk.summary())

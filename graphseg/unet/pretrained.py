"""The trained networks that come with the package, and how they are made.

``default`` is trained on simulated images and then on all published ones. ``simulated`` has seen no
published image or label; ``initial``, from an earlier generator, neither, and is what the
networks that have seen labels started from. ``fold_0`` … ``fold_4`` are the networks
of one cross-validation grouped by acquisition: each has never seen the images that its card lists
as held out, so that predictions on published images can be shown honestly. ``paper_fold_0`` is the
paper's network trained by the paper's recipe outside the first fold, for comparisons of speed.
Those two kinds are in the repository only (`exclude-package-data` in pyproject.toml).
``general`` is for images of another scale, sharpness or noise: to the end of its training one image
in three was simulated, and most were changed as other microscopes might, see
:func:`graphseg.unet.augmentation.randomised`. It is given all images at one pixel size.
"""

from pathlib import Path

from graphseg.errors import InputError
from graphseg.unet.segmenter import UNetSegmenter

FOLDER = Path(__file__).resolve().parent / "models"


def names() -> list[str]:
    """Return the names of the networks that are here."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find(name: str | Path) -> Path:
    """Return the file of a bundled network, or the file named itself; InputError if neither is."""
    if str(name) in names():
        return FOLDER / f"{name}.safetensors"
    if not Path(name).is_file():
        raise InputError(
            f"There is no weight file {name}, nor is a network of that name bundled; name a file "
            f"or one of {', '.join(names())}."
        )
    return Path(name).absolute()


def load(name: str | Path = "default", **changes) -> UNetSegmenter:
    """Load a bundled network by its name, or a weight file by its path.

    Parameters
    ----------
    name : str or path
        ``default``, ``general`` (for other recordings), ``simulated``, ``initial``,
        ``paper_fold_0``, ``fold_0`` to ``fold_4``, or a file that ``graphseg train`` wrote.
    **changes
        Parameters, for instance ``device``, or ``test_time_augmentation=False`` for speed.

    Raises
    ------
    InputError
        If there is neither such a network nor such a file, or the file is no weight file.

    Examples
    --------
    >>> import numpy as np
    >>> network = load("simulated", test_time_augmentation=False)
    >>> network.predict(np.random.default_rng(0).random((1, 64, 64))).shape
    (1, 64, 64)
    """
    return UNetSegmenter.load(find(name), **changes)


load_model = load  # its name in `graphseg`, where `load` would not say what

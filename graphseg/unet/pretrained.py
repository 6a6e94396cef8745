"""The trained networks that come with the package, and how they are made.

``default`` is trained on simulated images and then on all published ones. ``simulated`` has seen no
published image or label; ``initial``, from an earlier generator, neither, and is what the
networks that have seen labels started from. ``fold_0`` … ``fold_4`` are the networks
of one cross-validation grouped by acquisition: each has never seen the images that its card lists
as held out, so that predictions on published images can be shown honestly. ``paper_fold_0`` is the
paper's network trained by the paper's recipe outside the first fold, for comparisons of speed.
Those two kinds are in the repository only, see `FOR_THE_BOOK`.
``general`` is for images of another scale, sharpness or noise: to the end of its training one image
in three was simulated, and most were changed as other microscopes might, see
:func:`graphseg.unet.augmentation.randomised`. It is given all images at one pixel size.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.unet.network import load_weights
from graphseg.unet.segmenter import UNetSegmenter

FOLDER = Path(__file__).resolve().parent / "models"
# Names of the networks that an installed package lacks (`exclude-package-data` in pyproject.toml).
FOR_THE_BOOK = re.compile(r"fold_|paper_")
PIXEL_SIZES = (0.30, 0.74)  # Å per pixel, measured from the lattices of the published images
# Of a network that was trained at all scales: finer pixels are averaged, and in coarser ones the
# lattice, 2.13 Å between its rows, has hardly two pixels left.
WIDE_PIXEL_SIZES = (0.05, 0.80)
LIMITS = (
    "Trained on HRTEM images of monolayer graphene at 80 kV, 256 x 256 pixels, with labels of one "
    "person. Other materials, STEM images and other pixel sizes are outside what it has seen; "
    "flakes of a second layer may be called contamination. The probability is not calibrated."
)

WIDE_LIMITS = (
    "Trained on HRTEM images of monolayer graphene at 80 kV with labels of one person, and on "
    "simulated ones, all of them changed as other microscopes might: scale, sharpness, grey scale, "
    "illumination, noise, amorphous areas. Other materials and STEM images are outside what it has "
    "seen. The probability is not calibrated."
)


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
    >>> network = load("simulated", test_time_augmentation=False)
    >>> network.predict(np.random.default_rng(0).random((1, 64, 64))).shape
    (1, 64, 64)
    """
    return UNetSegmenter.load(find(name), **changes)


load_model = load  # its name in `graphseg`, where `load` would not say what


def out_of_fold(stack: LabelledStack, **changes) -> np.ndarray:
    """Predict every image of a stack with a fold network that has not seen it (see `fold_of`).
    (n, H, W) float32, the probability of contamination. `changes` are parameters to change, for
    instance ``test_time_augmentation=False`` for speed."""
    result = np.empty(stack.images.shape, np.float32)
    numbers = fold_of(stack.names)
    for number in np.unique(numbers):
        network = load(f"fold_{number}", **changes)
        result[numbers == number] = network.predict_proba(stack.images[numbers == number])
    return result


def fold_of(images: Sequence[str]) -> np.ndarray:
    """Return the number of the fold network that has not seen each image, (n,) int.
    Images that no card lists are unknown to all networks, and are dealt out to them in turn. An
    installed package has no fold networks: InputError."""
    networks = [name for name in names() if name.startswith("fold_")]
    if not networks:
        raise InputError(
            "The fold networks are in the repository of graphseg and not in the installed package: "
            "work in a checkout."
        )
    owner = {
        image: number
        for number, name in enumerate(networks)
        for image in load_weights(FOLDER / f"{name}.safetensors")[0]["card"]["held_out"]
    }
    return np.array([owner.get(name, i % len(networks)) for i, name in enumerate(images)], int)

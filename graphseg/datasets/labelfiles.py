"""Files of images and their labels, and the values in them, as `labelling` paints them."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from graphseg.colours import BLACK, CLASS_COLOURS, GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from graphseg.datasets.load import LABEL, SUFFIXES
from graphseg.errors import InputError
from graphseg.io.micrographs import read_micrograph
from graphseg.io.outputs import grey_levels

CONTAMINATION = 255  # in a label with no other class
COLOURS = (ORANGE, SKY, GREEN, VERMILION, PURPLE, YELLOW, BLACK)  # of classes without their own


def checked_image(source: ArrayLike) -> np.ndarray:
    """Return an image (H, W) as array; InputError if it is none."""
    image = np.asarray(source)
    if image.ndim != 2 or not image.size:
        raise InputError(f"Expected an image of shape (H, W), got shape {image.shape}.")
    return image


def read_image(path: Path) -> np.ndarray:
    """Return the image (H, W) of a file."""
    return checked_image(read_micrograph(path).image)


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W) of any scale as PNG of 8 bits, see `outputs.grey_levels`."""
    buffer = BytesIO()
    Image.fromarray(grey_levels(image)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def paired_files(source: str | Path, output: str | Path | None) -> list[tuple[Path, Path]]:
    """Return images with the paths of their labels, of a PNG or TIFF image or a folder of them.
    Labels are in the folder `output`, by default that of the images. InputError without any."""
    source = Path(source)
    images = [source]
    if source.is_dir():
        found = (p for p in sorted(source.iterdir()) if p.suffix.lower() in SUFFIXES)
        images = [p for p in found if not p.stem.endswith(LABEL)]
        if not images:
            raise InputError(f"{source} holds no PNG or TIFF images; add some.")
    folder = images[0].parent if output is None else Path(output)
    return [(path, folder / f"{path.stem}{LABEL}.png") for path in images]


def label_target(output: str | Path | None) -> Path | None:
    """Return the file of a single label; InputError if it is not named like a label."""
    if output is None:
        return None
    if not Path(output).name.endswith(f"{LABEL}.png"):
        raise InputError(f"{output} is not the name of a label file; end it with {LABEL}.png.")
    return Path(output)


def existing_label(path: Path | None) -> Path | None:
    """Return the label that exists under a name, whatever its suffix."""
    if path is None:
        return None
    return next((p for suffix in SUFFIXES if (p := path.with_suffix(suffix)).exists()), None)


def described(classes: Sequence[str]) -> list[dict]:
    """Return ``label`` (its name), ``value`` (in the file) and ``colour`` of each class."""
    # A single class has the value 255, several have 1, 2, 3 and so on.
    if isinstance(classes, str) or not 0 < len(classes) < CONTAMINATION:
        raise InputError("Give the classes as a sequence of names, such as ('contamination',).")
    values = [CONTAMINATION] if len(classes) == 1 else range(1, len(classes) + 1)
    return [
        {
            "label": name,
            "value": value,
            "colour": CLASS_COLOURS.get(name, COLOURS[i % len(COLOURS)]),
        }
        for i, (name, value) in enumerate(zip(classes, values, strict=True))
    ]


def as_values(
    mask: ArrayLike, shape: tuple[int, ...], classes: int, file: Path | None = None
) -> np.ndarray:
    """Return a mask (H, W) as it is saved, a new array: uint8, the values of `described`, else 0.
    It has bool or the number of the class, of `classes` without the background; with a single class
    also its value, and if it was read from a `file`, everything above 0 is that class. InputError
    if the shape is not that of the image or a value does not fit."""
    mask = np.asarray(mask)
    name = file or "The mask"
    if mask.shape != shape:
        raise InputError(f"{name}: expected the shape {shape} of its image, got {mask.shape}.")
    if classes == 1 and file:
        mask = mask > 0  # as `datasets.load_folder` reads it
    known = (0, 1, CONTAMINATION) if classes == 1 else range(classes + 1)
    if not np.isin(mask, known).all():
        raise InputError(
            f"{name} holds other values than {', '.join(map(str, known))}; give a "
            "bool mask or the number of the class."
        )
    values = mask.astype(np.uint8)
    return np.where(values > 0, np.uint8(CONTAMINATION), values) if classes == 1 else values

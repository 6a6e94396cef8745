"""Labelled stacks: the published data set, the bundled simulated sample, a folder of one's own.

All three come back as a `LabelledStack` with names, acquisitions and dates, so that frames of one
focal or time series can stay on one side of a split.
"""

import json
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from graphseg import simulation
from graphseg.datasets.published import NotObtainableError, read_published
from graphseg.datasets.stack import (
    LabelClasses,
    LabelledImages,
    LabelledStack,
    as_mask,
    date_of,
    group_of,
)
from graphseg.errors import InputError
from graphseg.io import micrographs
from graphseg.io.micrographs import read_micrograph

SAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "data" / "simulated"
SUFFIXES = (".png", ".tif", ".tiff")
MICROGRAPHS = tuple(set(micrographs.SUFFIXES) - set(SUFFIXES))
LABEL = "_LABEL"
PIXEL_SIZES = "pixel_sizes.json"


def load_stack(source: str = "auto") -> LabelledStack:
    """Return a labelled stack: ``auto`` (see `load_default`), ``published`` or ``simulated``.

    Raises
    ------
    InputError
        If `source` is none of the three, or if it is not obtainable.

    Examples
    --------
    >>> load_stack("simulated").source
    'simulated'
    """
    loaders = {
        "auto": load_default,
        "published": load_published,
        "simulated": load_simulated_sample,
    }
    if source not in loaders:
        raise InputError(f"Data source: expected one of {', '.join(loaders)}, got {source!r}.")
    return loaders[source]()


def load_default() -> LabelledStack:
    """Return the published data, or the simulated sample if they cannot be obtained."""
    # Falling back gives a UserWarning. A `$GRAPHSEG_DATA` that is set but wrong is an error, never
    # a reason to fall back.
    try:
        return load_published()
    except NotObtainableError as error:
        warnings.warn(f"{error} Using the bundled simulated sample instead.", stacklevel=2)
        return load_simulated_sample()


def load_published(progress: bool = True) -> LabelledStack:
    """Return the 131 published images of Sadre et al. (2021) with their labels.

    They are read from `$GRAPHSEG_DATA` (the folder ``training_images`` or the one above it) if it
    is set, else from the download cache, else downloaded. Every file is checked against its
    SHA-256; files below `$GRAPHSEG_DATA` are never modified.

    Raises
    ------
    InputError
        If `$GRAPHSEG_DATA` lacks a file or holds a damaged one, or if nothing is obtainable.

    Examples
    --------
    >>> stack = load_published()  # doctest: +SKIP
    >>> stack.images.shape  # doctest: +SKIP
    (131, 256, 256)
    """
    content = read_published(progress)
    names = sorted(Path(name).stem for name in content if LABEL not in name)
    images = [_decode(content[f"{name}.png"]) for name in names]
    labels = [_decode(content[f"{name}{LABEL}.png"]) for name in names]
    return assemble(names, [scaled(image) for image in images], labels, "published")


def load_simulated_sample() -> LabelledStack:
    """Return the bundled simulated sample; it is simulated anew outside a checkout.

    Examples
    --------
    >>> stack = load_simulated_sample()
    >>> len(stack), stack.images.dtype
    (24, dtype('float32'))
    """
    if SAMPLE_FOLDER.is_dir():
        return load_folder(SAMPLE_FOLDER, source="simulated")
    samples = list(simulation.sample_set())
    return assemble(
        [s.name for s in samples],
        [s.image for s in samples],
        [s.mask for s in samples],
        "simulated",
        [s.pixel_size for s in samples],
    )


def load_folder(
    path: str | Path, source: str = "folder", classes: LabelClasses | None = None
) -> LabelledStack:
    """Return the labelled images of a folder of ``name.png`` and ``name_LABEL.png`` pairs.

    TIFF works too, and every other format of micrographs for the image. 8-bit images are divided by
    255, all others stretched to their own minimum and maximum. Pixel sizes (Å) come from an
    optional ``pixel_sizes.json`` (name: value), else from the files.

    Parameters
    ----------
    path
        The folder.
    source
        What the stack is called.
    classes
        What the grey values of the labels mean; by default every pixel above zero is
        contamination. With more than two, the stack has ``labels``.

    Raises
    ------
    InputError
        If the folder has no pairs, a partner is missing, a file cannot be read as one greyscale
        image, sizes differ, or a label has a value of none of the classes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.zeros((4, 6), np.uint8)).save(f"{folder}/flake.png")
    ...     Image.fromarray(np.eye(4, 6, dtype=np.uint8)).save(f"{folder}/flake_LABEL.png")
    ...     stack = load_folder(folder)
    >>> stack.names, int(stack.masks.sum())
    (('flake',), 4)
    """
    stack = load_images(path, source, classes)
    if isinstance(stack, LabelledImages):
        shapes = [image.shape for image in stack.images]
        odd = next(i for i, shape in enumerate(shapes) if shape != shapes[0])
        raise InputError(
            f"{find_pairs(Path(path))[0][stack.names[odd]][0]}: expected the {size(shapes[0])} "
            f"pixels of the first image of the folder, got {size(shapes[odd])}; bring all images "
            "to one size."
        )
    return stack


def load_images(
    path: str | Path, source: str = "folder", classes: LabelClasses | None = None
) -> LabelledStack:
    """Do what `load_folder` does; if the sizes differ the result is a `LabelledImages`."""
    folder = Path(path)
    pairs, errors = find_pairs(folder)
    if errors:
        raise InputError(errors[0])
    listed = _listed_pixel_sizes(folder)
    images, labels, sizes = [], [], []
    for name, (image_path, label_path) in pairs.items():
        micrograph, label = read_micrograph(image_path), read_micrograph(label_path)
        if label.image.shape != micrograph.image.shape:
            raise InputError(
                f"{label_path}: expected the {size(micrograph.image.shape)} pixels of its image, "
                f"got {size(label.image.shape)}; save the label at the size of its image."
            )
        images.append(scaled(micrograph.image))
        labels.append(label.image)
        sizes.append(listed.get(name, micrograph.pixel_size))
    numbers = None
    if classes is not None:
        numbers = [classes.numbers(label) for label in labels]
        labels = [as_mask(one, classes.contamination) for one in numbers]
        numbers = None if len(classes) == 2 else numbers
    return assemble(list(pairs), images, labels, source, sizes, numbers, classes)


def assemble(
    names: Sequence[str],
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    source: str,
    pixel_sizes: Sequence[float | None] = (),
    numbers: Sequence[np.ndarray] | None = None,
    classes: LabelClasses | None = None,
) -> LabelledStack:
    """Return images and labels as a stack, a `LabelledImages` if their sizes differ.
    Images (H, W) are float32 in [0, 1]; in labels everything above 0 is contamination; pixel sizes
    are Å or None. `numbers` (H, W) uint8 are those of more than two `classes`."""
    same = len({image.shape for image in images}) == 1
    kind, joined = (LabelledStack, np.stack) if same else (LabelledImages, objects)
    sizes = np.array([np.nan if s is None else s for s in pixel_sizes], dtype=float)
    several = {} if numbers is None else {"labels": joined(numbers), "classes": classes}
    return kind(
        images=joined(images),
        masks=joined([label > 0 for label in labels]),
        names=tuple(names),
        groups=np.array([group_of(name) for name in names]),
        dates=np.array([date_of(name) for name in names]),
        source=source,
        pixel_size=sizes if np.isfinite(sizes).any() else None,
        **several,
    )


def objects(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays of different sizes as (n,) objects."""
    found = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):  # at once, NumPy would take apart what has equal heights
        found[place] = array
    return found


def visible_files(folder: Path) -> list[Path]:
    """Return the files of a folder in order, without hidden ones."""
    return [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]


def find_pairs(folder: Path) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """Return image and label of each name, and what is wrong with the names, one sentence each.
    InputError if there is no such folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with name.png and name{LABEL}.png.")
    found, errors = {}, []
    files = visible_files(folder)
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    named = {path.stem for path in pictures}
    # A microscope's file counts if there is a label beside it and no picture of its name.
    pictures += [
        path
        for path in files
        if path.suffix.lower() in MICROGRAPHS and path.stem not in named
        and path.stem + LABEL in named
    ]  # fmt: skip
    for path in sorted(pictures):
        if path.stem in found:
            errors.append(
                f"{path} and {found[path.stem].name} have one name; remove or rename one of them."
            )
        found.setdefault(path.stem, path)
    errors += [wrong for name, path in found.items() if (wrong := _unpaired(name, path, found))]
    pairs = {n: (p, found[n + LABEL]) for n, p in found.items() if n + LABEL in found}
    if not pairs:
        errors.append(f"{folder} holds no pairs of name.png and name{LABEL}.png; add some.")
    return pairs, errors


def _unpaired(name: str, path: Path, found: dict[str, Path]) -> str:
    if name.endswith(LABEL):
        image = name.removesuffix(LABEL)
        return "" if image in found else f"{path} has no image {image}.png; add it, or remove it."
    if name + LABEL in found:
        return ""
    for ending in ("_label", "_labels", "_mask"):
        if name.lower().endswith(ending):
            right = name[: -len(ending)] + LABEL + path.suffix
            return f"{path} looks like a label but is not named like one; rename it to {right}."
    return f"{path} has no label {name}{LABEL}.png; add it, or remove the image."


def _listed_pixel_sizes(folder: Path) -> dict[str, float]:
    path = folder / PIXEL_SIZES
    if not path.is_file():
        return {}
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: float(size) for name, size in listed.items()}
        if not all(0 < size < np.inf for size in sizes.values()):
            raise ValueError("no length")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f'{path} does not hold pixel sizes; write it as {{"name": 0.32, ...}} in Å.'
        ) from error
    return sizes


def _decode(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image)


def scaled(image: np.ndarray) -> np.ndarray:
    """Return an image as float32 in [0, 1], see `load_folder`."""
    if image.dtype == np.uint8:
        return image.astype(np.float32) / np.float32(255)
    low, high = float(image.min()), float(image.max())
    return ((image - low) / max(high - low, np.finfo(np.float32).tiny)).astype(np.float32)


def size(shape: tuple[int, ...]) -> str:
    """Return a shape as messages show it: ``H × W``."""
    return " × ".join(str(n) for n in shape)

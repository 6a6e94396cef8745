"""What is wrong with a folder of your own labels, said before anything is trained on it.

A folder holds ``name.png`` (or TIFF, DM4, …) with ``name_LABEL.png``, as `datasets.load_images`
reads it; sizes and pixel sizes of the images may differ.
Files are read one after the other, so that a thousand large images need little memory.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from graphseg.datasets.duplicates import near_duplicates, texture_map
from graphseg.datasets.load import LABEL, PIXEL_SIZES, SUFFIXES, find_pairs, size, visible_files
from graphseg.datasets.stack import acquisition_of
from graphseg.errors import InputError
from graphseg.io.micrographs import read_micrograph

MOST_CLASSES = 16  # a label with more grey values was smoothed or compressed
FLAT = 0.5  # fraction of pixels of one value from which an image is suspect
NAMED = 3  # files that a message names before it counts the others
SHOWN = 5  # errors that `FolderReport.raise_if_errors` quotes


@dataclass(frozen=True)
class FolderReport:
    """What `check_folder` found; errors must be put right before training."""

    folder: Path
    names: tuple[str, ...] = ()  # of the usable pairs, without suffix
    # Grey values of the labels, lowest first, with the fraction of all label pixels that has them.
    values: dict[float, float] = field(default_factory=dict)
    # Pairs of names in different acquisitions that show the same place, with their similarity in
    # [0, 1], the most alike first; see `duplicates.similarities`.
    near_duplicates: tuple[tuple[str, str, float], ...] = ()
    errors: tuple[str, ...] = ()  # one sentence each, as are
    warnings: tuple[str, ...] = ()  # what should be looked at

    @property
    def groups(self) -> tuple[str, ...]:
        """The acquisition of each name."""
        return tuple(acquisition_of(name) for name in self.names)

    def raise_if_errors(self) -> None:
        """Raise an InputError with the first errors if there are any."""
        if self.errors:
            more = len(self.errors) - SHOWN
            rest = [f"There are {more} more errors."] if more > 0 else []
            raise InputError(" ".join([*self.errors[:SHOWN], *rest]))

    def __str__(self) -> str:
        fractions = ", ".join(
            f"{value:g} ({fraction:.1%})" for value, fraction in self.values.items()
        )
        return "\n".join(
            [
                f"{self.folder}: {len(self.names)} pairs of {len(set(self.groups))} acquisitions",
                f"label values: {fractions or 'none'}",
                *(f"error: {message}" for message in self.errors),
                *(f"warning: {message}" for message in self.warnings),
            ]
        )


@dataclass
class _Pair:
    """What is kept of an image and its label after reading them."""

    name: str
    shape: tuple[int, ...]
    texture: np.ndarray  # see `duplicates.texture_map`
    counts: dict[float, int]  # pixels of each value of the label
    solid: set[float]  # values with a pixel whose neighbours all have it too


def check_folder(path: str | Path, progress: bool = False) -> FolderReport:
    """Check a folder of images and labels before training.

    Parameters
    ----------
    path, progress
        The folder, and whether to show a progress bar.

    Returns
    -------
    FolderReport
        Errors are: files that cannot be read, missing partners, sizes that differ between image
        and label, constant images, labels with smoothed or compressed values, and labels that all
        hold one value. Warnings are: near-duplicates in different acquisitions, nearly constant
        images, values that occur along edges only or are written in two ways, classes or folders of
        a single acquisition, and files that are left out.

    Raises
    ------
    InputError
        If `path` is no folder.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.fromarray(np.eye(4, dtype=np.uint8)).save(f"{folder}/flake.png")
    ...     report = check_folder(folder)
    >>> "flake.png has no label flake_LABEL.png" in report.errors[0]
    True
    """
    folder = Path(path)
    found, errors = find_pairs(folder)
    used = {path for pair in found.values() for path in pair}
    warnings, pairs = _left_out(folder, used), []
    for name, files in tqdm(found.items(), desc="Checking", disable=not progress):
        pair, said = _read_pair(name, *files)
        errors += said[0]
        warnings += said[1]
        pairs += [pair] if pair else []
    wrong, odd = _check_values(folder, pairs)
    names = tuple(pair.name for pair in pairs)
    groups = [acquisition_of(name) for name in names]
    alike = named_duplicates(names, [pair.texture for pair in pairs], groups)
    warnings += odd + _check_groups(folder, pairs) + describe_duplicates(alike)
    counts = sum((Counter(pair.counts) for pair in pairs), Counter())
    fractions = {value: counts[value] / counts.total() for value in sorted(counts)}
    return FolderReport(folder, names, fractions, alike, tuple(errors + wrong), tuple(warnings))


def _left_out(folder: Path, used: set[Path]) -> list[str]:
    """Return a warning of files that are neither images nor labels, or have no label."""
    ignored = Counter(
        path.suffix.lower() or "without suffix"
        for path in visible_files(folder)
        if path not in used and path.suffix.lower() not in SUFFIXES and path.name != PIXEL_SIZES
    )
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in ignored.items())
    left = (
        f"{folder} holds files that are left out ({kinds}); a micrograph needs its name{LABEL}.png."
    )
    return [left] if ignored else []


def _read_pair(
    name: str, image_path: Path, label_path: Path
) -> tuple[_Pair | None, tuple[list[str], list[str]]]:
    """Return a pair, None if it cannot be used, with errors and warnings."""
    read, errors = [], []
    for path in (image_path, label_path):
        try:
            read.append(read_micrograph(path).image)
        except InputError as error:
            errors.append(str(error))
    if errors:
        return None, (errors, [])
    image, label = read
    if image.shape != label.shape:
        message = (
            f"{label_path}: expected the {size(image.shape)} pixels of its image, got "
            f"{size(label.shape)}; save the label at the size of its image."
        )
        return None, ([message], [])
    errors, warnings = _check_image(image_path, image)
    counted = _count_values(label)
    if len(counted) > MOST_CLASSES:
        errors.append(
            f"{label_path} has {len(counted)} grey values, as if it had been smoothed, rescaled or "
            "saved as JPEG; save it again with one value for each class."
        )
    if errors:
        return None, (errors, warnings)
    # Values that somewhere fill a square of 3 × 3 pixels.
    lowest, highest = ndimage.minimum_filter(label, 3), ndimage.maximum_filter(label, 3)
    solid = set(_count_values(label[lowest == highest]))
    return _Pair(name, image.shape, texture_map(image), counted, solid), (errors, warnings)


def _count_values(image: np.ndarray) -> dict[float, int]:
    """Return the number of pixels of each value that occurs."""
    if image.dtype in (bool, np.uint8, np.uint16):
        counts = np.bincount(image.ravel())  # several times faster than sorting
        return {float(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(image, return_counts=True)
    return {float(v): int(n) for v, n in zip(values, counts, strict=True)}


def _check_image(path: Path, image: np.ndarray) -> tuple[list[str], list[str]]:
    counted = _count_values(image)
    if len(counted) == 1:
        return [f"{path} has the same value everywhere; export it again, or remove it."], []
    common = max(counted, key=counted.get)
    fraction = counted[common] / image.size
    if fraction < FLAT:
        return [], []
    return [], [f"{path} has the value {common:g} in {fraction:.0%} of its pixels; look at it."]


def _check_values(folder: Path, pairs: list[_Pair]) -> tuple[list[str], list[str]]:
    """Return errors and warnings on the values of all labels together."""
    values = sorted({value for pair in pairs for value in pair.counts})
    if len(values) == 1:
        return [
            f"All labels of {folder} hold only the value {values[0]:g}; paint at least one that "
            "shows something."
        ], []
    warnings = []
    for value in values[1:-1]:
        if not any(value in pair.solid for pair in pairs):
            files = [pair.name + LABEL for pair in pairs if value in pair.counts]
            warnings.append(
                f"The value {value:g} is only found along edges ({_listed(files)}), as if the "
                "label had been smoothed; save it again unless it is a class of thin lines."
            )
    return [], warnings + _two_ways(folder, pairs)


def _two_ways(folder: Path, pairs: list[_Pair]) -> list[str]:
    """Warn if some labels of two values use another second value than others."""
    second = defaultdict(list)
    for pair in pairs:
        if len(pair.counts) == 2:
            second[max(pair.counts)].append(pair.name + LABEL)
    if len(second) < 2:
        return []
    ways = " and ".join(f"{value:g} ({_listed(files)})" for value, files in sorted(second.items()))
    return [
        f"Labels of two values in {folder} mark with {ways}; use one value if they mean one class."
    ]


def _check_groups(folder: Path, pairs: list[_Pair]) -> list[str]:
    """Warn of what cannot be cross-validated by acquisition."""
    groups = defaultdict(set)
    for pair in pairs:
        for value in pair.counts:
            groups[value].add(acquisition_of(pair.name))
    if len(set().union(*groups.values())) == 1:
        return [
            f"All images of {folder} belong to one acquisition, so they cannot be split for "
            "cross-validation; add images of other places."
        ]
    return [
        f"The label value {value:g} occurs in the acquisition {min(found)} only, so it cannot be "
        "learnt and tested on different ones; label it in more places."
        for value, found in sorted(groups.items())
        if len(found) == 1
    ]


def named_duplicates(
    names: Sequence[str], textures: Sequence[np.ndarray], groups: Sequence[str]
) -> tuple[tuple[str, str, float], ...]:
    """Return the names of near-duplicates in different groups, with their similarity."""
    found = near_duplicates(np.stack(textures), groups) if names else ()
    return tuple((names[i], names[j], alike) for i, j, alike in found)


def describe_duplicates(found: Iterable[tuple[str, str, float]]) -> list[str]:
    """Return one sentence for each pair of acquisitions, led by their most similar images."""
    together = defaultdict(list)
    for first, second, alike in found:
        together[acquisition_of(first), acquisition_of(second)].append((first, second, alike))
    return [
        f"{first} and {second} seem to show the same place (similarity {alike:.2f}"
        + (f", with {len(others)} more pairs of these acquisitions" if others else "")
        + ") but count as different acquisitions, so one can be tested on the other; give them one "
        "name that ends in _layer_1, _layer_2, or remove one."
        for (first, second, alike), *others in together.values()
    ]


def _listed(names: list[str]) -> str:
    """Return some names and the number of the others."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")

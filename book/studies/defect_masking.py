"""How much structure a mask covers: the measure of what a microscopist would lose.

On simulated clean sheets the places of all defects are known. A mask should leave the area within
one lattice constant of them alone, and still find contamination that lies at a boundary.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from book.studies.clean_sheets import ALONE, KINDS, TOUCHING, Sheet, sheets
from book.studies.label_noise import out_of_fold
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.records import StepStore, describe
from graphseg.structure.boundaries import Boundary, find_boundaries
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest

LARGEST_MASKED = 0.02  # of the area near defects, the target
LEAST_RECALL = 0.9  # of contamination at boundaries, the target
REPEATS = 3  # sheets of a kind in each condition; with one, intervals are three times the target
DRAWS = 2000  # of the bootstrap over sheets
INTERVAL = (2.5, 97.5)  # percentiles of it
BAND = 5.0  # pixels from a detected boundary in published images
SETTING = ("kind", "pixel_size", "dose", "contrast")
AREAS = ("near", "far", "other", "visible")
COLUMNS = (*SETTING, *(f"{area}{end}" for area in AREAS for end in ("", "_masked")))
SEED = 11  # of the sheets
NETWORKS = ("default", "simulated", *(f"fold_{number}" for number in range(5)))
OUT_OF_FOLD = ("bragg", "adaptive", "unet")
FITTED = ("bragg", "adaptive")  # methods without a trained network that are bundled
Predict = Callable[[np.ndarray], np.ndarray]


def count_masked(predict: Predict, frames: Iterable[Sheet]) -> list[list]:
    """Count what a mask covers on each sheet.

    Parameters
    ----------
    predict
        Maps images (n, H, W) to masks (n, H, W) bool, True = contamination.
    frames
        See :func:`book.studies.clean_sheets.sheets`.

    Returns
    -------
        One row for each sheet with the columns `COLUMNS`: ``near`` counts the pixels of
        `Sheet.near`, ``far`` the others without contamination, ``other`` contamination elsewhere,
        ``visible`` that part of ``near`` that is contamination above the noise; the columns that
        end in ``_masked`` count how many of them are masked.
    """
    rows = []
    for frame in frames:
        masked = predict(frame.image[None])[0]
        away, contaminant = ~frame.near, frame.mask
        areas = (frame.near, away & ~contaminant, away & contaminant, frame.near & frame.visible)
        counts = [int(part.sum()) for area in areas for part in (area, area & masked)]
        rows.append([frame.kind, frame.pixel_size, frame.dose, frame.contrast, *counts])
    return rows


def masked_fraction(rows: Sequence[Sequence], area: str = "near", **where) -> float:
    """Return the masked fraction of all pixels of an area, each pixel alike.

    Parameters
    ----------
    rows
        Of :func:`count_masked`.
    area
        ``"near"`` (defects; of the kind ``"touching"``, contamination near boundaries, and of
        ``"one crystal"`` the same contamination without them, so that the fraction is a recall),
        ``"far"``, ``"other"`` or ``"visible"``.
    **where
        Values of columns that count, for instance ``kind="loop"`` or ``dose=3e3``. Without a
        kind, all clean sheets count.

    Returns
    -------
        From 0 to 1; NaN without a pixel.

    Raises
    ------
    InputError
        If there is no such area or column.
    """
    if area not in AREAS or not set(where) <= set(SETTING):
        raise InputError(
            f"There is no area {area!r} or no column among {sorted(where)}: areas are "
            f"{', '.join(AREAS)}, columns {', '.join(SETTING)}."
        )
    total, masked = _counts(rows, area, where).sum(axis=0)
    return float(masked / total) if total else float("nan")


def _counts(rows: Sequence[Sequence], area: str, where: Mapping) -> np.ndarray:
    """Return pixels of an area and how many of them are masked, (sheets, 2) int64."""
    place = {name: COLUMNS.index(name) for name in (area, *where)}
    chosen = [
        row[place[area] : place[area] + 2]
        for row in rows
        if all(row[place[name]] == value for name, value in where.items())
        and ("kind" in where or row[0] in KINDS)
    ]
    return np.array(chosen, np.int64).reshape(-1, 2)


def fraction_interval(
    rows: Sequence[Sequence], area: str = "near", seed: int = 0, **where
) -> tuple[float, float]:
    """Return the 95 % interval of :func:`masked_fraction`, by a bootstrap over sheets.

    Parameters
    ----------
    rows, area, **where
        See :func:`masked_fraction`.
    seed
        Of the bootstrap.
    """
    counts = _counts(rows, area, where)
    draws = np.random.default_rng(seed).integers(len(counts), size=(DRAWS, len(counts)))
    total, masked = counts[draws].sum(axis=1).T
    low, high = np.percentile(masked / np.maximum(total, 1), INTERVAL)
    return float(low), float(high)


def cost_of_boundaries(
    rows: Sequence[Sequence], area: str = "near", seed: int = 0
) -> tuple[float, float, float]:
    """Return how much recall a boundary costs, and its 95 % interval over pairs of frames.

    The recall of contamination near boundaries minus that of the same pixels where there is one
    crystal under the same contamination; below zero if boundaries cost recall.

    Parameters
    ----------
    rows
        Of :func:`count_masked`.
    area
        ``"near"`` for all contamination there, ``"visible"`` for what is above the noise.
    seed
        Of the bootstrap.
    """
    pairs = np.stack([_counts(rows, area, {"kind": kind}) for kind in (TOUCHING, ALONE)])
    number = pairs.shape[1]
    draws = np.random.default_rng(seed).integers(number, size=(DRAWS, number))
    draws = np.vstack([np.arange(number), draws])
    totals = pairs[:, draws].sum(axis=2)  # (2, draws, 2)
    fractions = totals[..., 1] / np.maximum(totals[..., 0], 1)
    difference = fractions[0] - fractions[1]
    low, high = np.percentile(difference[1:], INTERVAL)
    return float(difference[0]), float(low), float(high)


def verdict(rows: Sequence[Sequence]) -> dict[str, float]:
    """Return the masked fraction near each kind of defect and near all, and the recall at
    boundaries.

    Keys are `KINDS`, ``"all"``, ``"recall at boundaries"`` of all contamination there and
    ``"recall of visible"`` of what stands out of the noise.
    """
    fractions = {kind: masked_fraction(rows, kind=kind) for kind in KINDS}
    return fractions | {
        "all": masked_fraction(rows),
        "recall at boundaries": masked_fraction(rows, kind=TOUCHING),
        "recall of visible": masked_fraction(rows, "visible", kind=TOUCHING),
    }


def run(
    stack: LabelledStack,
    method: list[str] | None = None,
    repeats: int = REPEATS,
    test_time_augmentation: bool = True,
    published: bool = True,
    run_folder: Path | None = None,
) -> dict:
    """Record how much structure masks cover on simulated sheets; an interrupted run resumes.

    Example: python -m book.studies defects --output data/results/defects.json

    Parameters
    ----------
    stack
        The labelled images, on which methods without a trained network are fitted.
    method
        A bundled network, bragg or adaptive; may be repeated.
    repeats
        Number of sheets of each kind in each condition.
    test_time_augmentation
        Average networks' predictions over the eight symmetries of the square.
    published
        Also count false positives at boundaries of the published images.
    run_folder
        Keeps the counts of each finished method.

    Returns
    -------
        ``methods``: for each name ``method`` (what identifies it), ``sheets`` and ``rows``, see
        :func:`count_masked`; ``published``: false positives, see :func:`false_at_boundaries`.
    """
    changes = {} if test_time_augmentation else {"test_time_augmentation": False}
    names = method or [*NETWORKS, *FITTED]
    known = {name: _identity(name, stack, changes) for name in {*names, *NETWORKS, *FITTED}}
    setting = {"repeats": repeats, "seed": SEED, "columns": list(COLUMNS)}
    header = {"name": "defects", "data": stack.digest, "sheets": setting, "methods": known}
    frames = cache(lambda: list(sheets(repeats=repeats, seed=SEED)))  # the same for all methods
    steps: dict[str, Callable[[], object]] = {
        name: lambda name=name: count_masked(_ready(name, stack, changes).predict, frames())
        for name in names
    }
    store = StepStore(run_folder, header)
    rows = dict(zip(steps, store.finish(steps, "methods"), strict=True))
    record = {
        "name": "defects",
        "methods": {
            name: {"method": known[name], "sheets": setting, "rows": rows[name]} for name in names
        },
    }
    if published:
        step = {"published": partial(_published, stack)}
        record["published"] = store.finish(step, "published images")[0]
    return record


def summarise(record: dict) -> str:
    """Return the masked fraction near defects and the recall at boundaries of each method."""
    lines = []
    for name, found in record["methods"].items():
        fractions = verdict(found["rows"])
        lines.append(
            f"{name}: masks {fractions['all']:.2%} near defects; recall at boundaries "
            f"{fractions['recall at boundaries']:.3f}, of what is visible "
            f"{fractions['recall of visible']:.3f}"
        )
    return "\n".join(lines)


def _identity(name: str, stack: LabelledStack, changes: dict) -> dict:
    if name in FITTED:
        return {"fitted_on": stack.digest, "parameters": describe(methods.make(name))}
    pretrained.load(name)  # says what there is if this is not
    digest = weights_digest(pretrained.FOLDER / f"{name}.safetensors")
    return {"weights": digest, "changes": changes}


def _ready(name: str, stack: LabelledStack, changes: dict):
    if name in FITTED:
        return methods.make(name, progress=False).fit(stack.images, stack.masks)
    return pretrained.load(name, **changes)


def _published(stack: LabelledStack) -> dict:
    """Count false positives at the boundaries of labelled images, out of fold."""
    lines = published_boundaries(stack)
    predicted = out_of_fold(stack, OUT_OF_FOLD)
    predicted["simulated"] = pretrained.load("simulated").predict(stack.images)
    return {
        "digest": stack.digest,
        "boundaries": sum(map(len, lines)),
        "images": sum(map(bool, lines)),
        "counts": {
            name: false_at_boundaries(stack.masks, masks, lines)
            for name, masks in predicted.items()
        },
    }


def published_boundaries(stack: LabelledStack) -> list[tuple[Boundary, ...]]:
    """Detect the grain boundaries of every image outside of its label; none without a lattice."""
    found = []
    for image, mask in zip(stack.images, stack.masks, strict=True):
        try:
            found.append(find_boundaries(image, mask))
        except InputError:  # no lattice is found
            found.append(())
    return found


def false_at_boundaries(
    masks: np.ndarray, predicted: np.ndarray, boundaries: Sequence[Sequence[Boundary]]
) -> list[list[int]]:
    """Count false positives near detected boundaries, and everywhere else.

    Parameters
    ----------
    masks, predicted
        (n, H, W) bool, labels and predictions.
    boundaries
        Of each image.

    Returns
    -------
        For each image: unlabelled pixels within `BAND` of a boundary, how many of them are
        masked, other unlabelled pixels, how many of them are masked.
    """
    rows = []
    for mask, guess, lines in zip(masks, predicted, boundaries, strict=True):
        near = near_lines(mask.shape, lines, BAND)
        parts = (near & ~mask, near & ~mask & guess, ~near & ~mask, ~near & ~mask & guess)
        rows.append([int(part.sum()) for part in parts])
    return rows


def near_lines(shape: tuple[int, int], lines: Sequence[Boundary], reach: float) -> np.ndarray:
    """Return which pixels (H, W) lie within `reach` pixels of a boundary, bool."""
    empty = np.ones(shape, bool)
    for line in lines:
        empty[tuple(np.rint(line.positions).astype(int).T)] = False
    if empty.all():
        return ~empty
    return ndimage.distance_transform_edt(empty) <= reach

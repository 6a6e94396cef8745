"""How far the labels themselves can be trusted: edges scored with a tolerance, and dissent.

A label drawn by hand is uncertain by a few pixels along its edge, and sometimes wrong. Scores
that leave the edge out tell how much it costs; regions where several methods agree against the
label are where to look for mistakes.

What the labels allow: a recorded result of several methods, all predicted out of fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from sklearn.model_selection import cross_val_predict
from tqdm import tqdm

from book.tools import fold_networks
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import methods
from graphseg.evaluation.crossval import splits
from graphseg.evaluation.records import describe_data

TOLERANCES = (0, 1, 2, 4)  # pixels


@dataclass(frozen=True)
class Disagreement:
    """A connected region where every method says the opposite of the label.

    Attributes
    ----------
    image
        Index of the image in the stack.
    area
        Pixels.
    labelled
        True: labelled as contamination, and no method sees any; False: the reverse.
    box
        Slices of the rows and columns that hold the region.
    """

    image: int
    area: int
    labelled: bool
    box: tuple[slice, slice]


def edge_distance(mask: np.ndarray) -> np.ndarray:
    """Return how far each pixel lies from the edge of a mask.

    Parameters
    ----------
    mask
        (H, W) bool.

    Returns
    -------
        (H, W) float64, the distance in pixels to the nearest pixel of the other class: 1 next to
        the edge, on both sides; infinite if there is one class only.

    Raises
    ------
    InputError
        If the mask is not of two dimensions.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise InputError(f"A mask of shape {mask.shape} has no edge; give one mask (H, W).")
    if mask.all() or not mask.any():
        return np.full(mask.shape, np.inf)
    inside, outside = (ndimage.distance_transform_edt(side) for side in (mask, ~mask))
    return np.where(mask, inside, outside)


def tolerant_counts(
    true: np.ndarray, predicted: np.ndarray, tolerances: Sequence[float] = TOLERANCES
) -> np.ndarray:
    """Count pixels as `graphseg.metrics.counts` does, without those near the label's edge.

    Parameters
    ----------
    true, predicted
        (n, H, W) bool, True = contamination.
    tolerances
        Pixels whose `edge_distance` is at most this are left out; 0 leaves out none.

    Returns
    -------
        (tolerances, n, 4) int64, columns true positive, false positive, false negative, true
        negative; `graphseg.metrics.scores` takes each table.

    Raises
    ------
    InputError
        If the shapes differ or are not those of a stack, or a tolerance is negative.
    """
    true, predicted = _checked_pair(true, predicted)
    if not len(tolerances) or not min(tolerances) >= 0:
        raise InputError(f"The tolerances {tuple(tolerances)} must be one or more, 0 or above.")
    result = np.empty((len(tolerances), len(true), 4), np.int64)
    for i, (label, answer) in enumerate(zip(true, predicted, strict=True)):
        distance = edge_distance(label)
        for k, tolerance in enumerate(tolerances):
            kept = distance > tolerance
            result[k, i] = metrics.counts(label[None, kept], answer[None, kept])
    return result


def agreed_labels(labels: np.ndarray, predictions: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the labels with every pixel turned over on which all methods say the opposite.

    Scored against the labels as they are, these bound what a method can reach that is right
    wherever the others agree: the ceiling that label noise implies, if they agree because the
    label is wrong and not because they make the same mistake.

    Parameters
    ----------
    labels
        (n, H, W) bool.
    predictions
        Name of each method to its (n, H, W) bool predictions, made without these labels.

    Returns
    -------
        (n, H, W) bool.

    Raises
    ------
    InputError
        If there is no method, or shapes differ.
    """
    if not predictions:
        raise InputError("There are no predictions to compare with the labels; give one or more.")
    opposed = True
    for predicted in predictions.values():
        labels, predicted = _checked_pair(labels, predicted)
        opposed = opposed & (predicted != labels)
    return labels ^ opposed


def largest_disagreements(
    labels: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    count: int = 12,
    tolerance: float = 2,
) -> list[Disagreement]:
    """Return the largest regions where all methods agree against the label.

    Parameters
    ----------
    labels, predictions
        As for `agreed_labels`.
    count
        How many regions at most.
    tolerance
        Pixels this near to the label's edge do not take part, so that no long thin seam along an
        edge drawn a little too wide comes first.

    Returns
    -------
        Largest first, in equal areas the image that comes first. Pixels that touch at a corner
        belong to one region; a region is either labelled or not.

    Raises
    ------
    InputError
        If there is no method, or shapes differ.
    """
    labels = np.asarray(labels, dtype=bool)
    opposed = agreed_labels(labels, predictions) ^ labels
    found = []
    for i, (label, region) in enumerate(zip(labels, opposed, strict=True)):
        region = region & (edge_distance(label) > tolerance)
        for labelled in (False, True):
            found += _regions(i, region & (label == labelled), labelled)
    return sorted(found, key=lambda region: -region.area)[:count]


def _regions(image: int, mask: np.ndarray, labelled: bool) -> list[Disagreement]:
    numbered, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = np.bincount(numbered.ravel())[1:]
    boxes = ndimage.find_objects(numbered)
    return [Disagreement(image, int(a), labelled, b) for a, b in zip(areas, boxes, strict=True)]


def _checked_pair(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.asarray(true, dtype=bool), np.asarray(predicted, dtype=bool)
    if true.shape != predicted.shape or true.ndim != 3:
        raise InputError(
            f"Masks of shape {true.shape} and {predicted.shape} cannot be compared: "
            "give two stacks (n, H, W) of one shape."
        )
    return true, predicted


CLASSICAL = ("no-lattice", "bragg", "adaptive", "classifier")
STRONG = ("adaptive", "classifier", "unet")  # whose agreement against a label counts
WIDTHS = (-4, -2, -1, 1, 2, 4)  # pixels by which an outline is moved


def out_of_fold(
    stack: LabelledStack, names: tuple[str, ...] = (*CLASSICAL, "unet"), folds: int = 5
) -> dict[str, np.ndarray]:
    """Predict every image by methods that were fitted without its acquisition.

    Parameters
    ----------
    stack
        The labelled images.
    names
        Of :data:`graphseg.evaluation.methods.METHODS`. The U-Net is the one of the
        cross-validation that comes with the package; the others are fitted here, which takes
        minutes.
    folds
        Grouped by acquisition, shuffle 0.

    Returns
    -------
        Name to (n, H, W) bool.
    """
    pairs = splits(stack, "acquisition", folds)
    found = {}
    for name in tqdm(names, desc="out of fold", unit="method"):
        if name == "unet":
            found[name] = fold_networks.out_of_fold(stack) >= 0.5
        else:
            estimator = methods.make(name, progress=False)
            found[name] = cross_val_predict(estimator, stack.images, stack.masks, cv=pairs)
    return found


def moved_outlines(masks: np.ndarray, widths: tuple[int, ...] = WIDTHS) -> dict[int, np.ndarray]:
    """Score labels whose outlines are moved against the labels themselves.

    A second person who draws every outline some pixels further out or in would reach these scores
    with perfect knowledge of what is contaminated.

    Parameters
    ----------
    masks
        (n, H, W) bool.
    widths
        Pixels outward, or inward if negative, measured as distance to the outline.

    Returns
    -------
        Width to counts (n, 4), see :func:`graphseg.metrics.counts`.
    """
    return {
        width: metrics.counts(masks, np.stack([_moved(mask, width) for mask in masks]))
        for width in widths
    }


def _moved(mask: np.ndarray, width: int) -> np.ndarray:
    distance = edge_distance(mask)
    return np.where(mask, distance > -width, distance <= width)


def run(stack: LabelledStack) -> dict:
    """Record where methods disagree with labels out of fold, and the effect of edges; minutes.

    Example: python -m book.studies label-noise --output data/results/label_noise.json

    Parameters
    ----------
    stack
        The labelled images.
    """
    return label_noise(stack, out_of_fold(stack))


def summarise(record: dict) -> str:
    """Return the score of the labels as they are against themselves as corrected by agreement."""
    ceiling = record["agreed"]["pooled"]["jaccard"]
    return f"labels corrected by agreement have Jaccard {ceiling:.3f} with the labels"


def label_noise(stack: LabelledStack, predictions: Mapping[str, np.ndarray]) -> dict:
    """Return what edges cost, where strong methods contradict the labels, and what that implies.

    Parameters
    ----------
    stack
        The labelled images.
    predictions
        Name to (n, H, W) bool, out of fold; must hold :data:`STRONG`.

    Returns
    -------
    dict
        ``bands`` (name, then average, to the Jaccard index for each of
        :data:`book.studies.label_noise.TOLERANCES`), ``moved`` (width to the Jaccard index of moved
        outlines), ``agreed`` (the labels as corrected by agreement, scored against themselves as
        they are), and ``regions``, the largest disagreements, largest first.
    """
    strong = {name: predictions[name] for name in STRONG}
    agreed = agreed_labels(stack.masks, strong)
    bands = {
        name: tolerant_counts(stack.masks, predicted) for name, predicted in predictions.items()
    }
    regions = largest_disagreements(stack.masks, strong, count=24)
    return {
        "name": "label noise",
        "data": describe_data(stack),
        "tolerances": list(TOLERANCES),
        "bands": {name: _averages(tables) for name, tables in bands.items()},
        "moved": {
            str(width): {a: metrics.scores(t, a)["jaccard"] for a in ("pooled", "per_image")}
            for width, t in moved_outlines(stack.masks).items()
        },
        "agreed": {
            a: metrics.scores(metrics.counts(stack.masks, agreed), a)
            for a in ("pooled", "per_image")
        },
        "regions": [
            {
                "image": stack.names[r.image],
                "area": r.area,
                "labelled": r.labelled,
                "rows": [r.box[0].start, r.box[0].stop],
                "columns": [r.box[1].start, r.box[1].stop],
            }
            for r in regions
        ],
    }


def _averages(tables: np.ndarray) -> dict[str, list[float]]:
    """Return the Jaccard index of each of (tolerances, n, 4) counts, under both averages."""
    return {
        average: [metrics.scores(table, average)["jaccard"] for table in tables]
        for average in ("pooled", "per_image")
    }

"""What the labels allow: a recorded result of several methods, all predicted out of fold."""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from sklearn.model_selection import cross_val_predict
from tqdm import tqdm

from graphseg import labelnoise, methods, metrics, shipped
from graphseg.datasets import LabelledStack
from graphseg.records import provenance
from graphseg.validation import splits

CLASSICAL = ("control", "bragg", "adaptive", "classifier")
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
        Of :data:`graphseg.methods.METHODS`. The U-Net is the one of the cross-validation that
        comes with the package; the others are fitted here, which takes minutes.
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
            found[name] = shipped.out_of_fold(stack) >= 0.5
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
    if not mask.any() or mask.all():
        return mask
    if width > 0:
        return ndimage.distance_transform_edt(~mask) <= width
    return ndimage.distance_transform_edt(mask) > -width


def label_noise(stack: LabelledStack, predictions: Mapping[str, np.ndarray]) -> dict:
    """Record what edges cost, where strong methods contradict the labels, and what that implies.

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
        :data:`graphseg.labelnoise.TOLERANCES`), ``moved`` (width to the Jaccard index of moved
        outlines), ``agreed`` (the labels as corrected by agreement, scored against themselves as
        they are), and ``regions``, the largest disagreements, largest first.
    """
    strong = {name: predictions[name] for name in STRONG}
    agreed = labelnoise.agreed_labels(stack.masks, strong)
    bands = {
        name: labelnoise.tolerant_counts(stack.masks, predicted)
        for name, predicted in predictions.items()
    }
    regions = labelnoise.largest_disagreements(stack.masks, strong, count=24)
    return {
        "name": "label noise",
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
        "tolerances": list(labelnoise.TOLERANCES),
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
        "made_with": provenance(),
    }


def _averages(tables: np.ndarray) -> dict[str, list[float]]:
    """Return the Jaccard index of each of (tolerances, n, 4) counts, under both averages."""
    return {
        average: [metrics.scores(table, average)["jaccard"] for table in tables]
        for average in ("pooled", "per_image")
    }

"""The six scores of the comparison, computed from counts, and the error map.

Contamination is the positive class. Everything starts from four counts per image, true
positive, false positive, false negative and true negative pixels; scores are ratios of counts,
either of their sum over images (``"pooled"``) or image by image and then averaged
(``"per_image"``). The two differ: large contaminated areas dominate the pooled score, nearly
clean images the mean over images, so both are always reported.
"""

import numpy as np

from graphseg.colours import ERROR_COLOURS
from graphseg.errors import InputError

NAMES = ("accuracy", "balanced_accuracy", "jaccard", "f1", "precision", "recall")


def counts(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count true positive, false positive, false negative and true negative pixels, in this order.

    Masks (H, W) or (n, H, W), True = contamination, give (4,) or (n, 4) int64; InputError if their
    shapes differ.

    Examples
    --------
    >>> counts([[True, True, False, False]], [[True, False, True, False]])
    array([1, 1, 1, 1])
    """
    true, predicted = _compared(true, predicted, "(H, W) or (n, H, W)", 2, 3)
    pairs = (true & predicted, ~true & predicted, true & ~predicted, ~true & ~predicted)
    return np.stack([pair.sum(axis=(-2, -1), dtype=np.int64) for pair in pairs], axis=-1)


def _compared(true, predicted, shape: str, *dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    true, predicted = np.asarray(true, dtype=bool), np.asarray(predicted, dtype=bool)
    if true.shape != predicted.shape or true.ndim not in dimensions:
        raise InputError(
            f"Masks cannot be compared: expected two of the same shape {shape}, got {true.shape} "
            f"and {predicted.shape}."
        )
    return true, predicted


def confusion(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count pixels by true class (rows) and given class (columns), (classes, classes) int64."""
    places = np.asarray(true, np.int64) * classes + predicted
    return np.bincount(places.ravel(), minlength=classes**2).reshape(classes, classes)


def class_jaccard(table: np.ndarray) -> np.ndarray:
    """Return the Jaccard index of each class of a `confusion`, (classes,); NaN where absent."""
    both = np.diagonal(table)
    return _ratio(both, table.sum(axis=0) + table.sum(axis=1) - both, np.nan)


def _ratio(numerator: np.ndarray, denominator: np.ndarray, zero_division: float) -> np.ndarray:
    numerator = np.asarray(numerator, dtype=float)
    return np.divide(
        numerator,
        denominator,
        out=np.full_like(numerator, zero_division),
        where=np.asarray(denominator) != 0,
    )


def score_table(table: np.ndarray, zero_division: float = 1.0) -> dict[str, np.ndarray]:
    """Score every row of a table of counts (..., 4): (...) float64 for each name in ``NAMES``.
    With :math:`t_p, f_p, f_n, t_n` the counts of a row: accuracy
    :math:`(t_p+t_n)/(t_p+f_p+f_n+t_n)`, precision :math:`t_p/(t_p+f_p)`, recall
    :math:`t_p/(t_p+f_n)`, Jaccard :math:`t_p/(t_p+f_p+f_n)`, F1 :math:`2t_p/(2t_p+f_p+f_n)`, and
    balanced accuracy, the mean of recall and :math:`t_n/(t_n+f_p)` over the classes that occur in
    the label. `zero_division` is the value of 0/0. The default calls "nothing to find, nothing
    found" a success; an empty label with a non-empty prediction still has Jaccard, F1 and precision
    0, but its recall is 0/0. ``nan`` leaves such values out of a mean over images."""
    tp, fp, fn, tn = np.moveaxis(np.asarray(table, dtype=np.int64), -1, 0)
    recall = _ratio(tp, tp + fn, zero_division)
    # As scikit-learn does, a class that is absent from the label takes no part in the mean.
    both = np.stack([_ratio(tp, tp + fn, np.nan), _ratio(tn, tn + fp, np.nan)])
    present = np.isfinite(both)
    balanced = _ratio(np.where(present, both, 0).sum(axis=0), present.sum(axis=0), zero_division)
    values = (
        _ratio(tp + tn, tp + fp + fn + tn, zero_division),
        balanced,
        _ratio(tp, tp + fp + fn, zero_division),
        _ratio(2 * tp, 2 * tp + fp + fn, zero_division),
        _ratio(tp, tp + fp, zero_division),
        recall,
    )
    return dict(zip(NAMES, values, strict=True))


def scores(
    table: np.ndarray, average: str = "pooled", zero_division: float = 1.0
) -> dict[str, float]:
    """Reduce a table of counts, (n, 4) or (4,), to the six scores: one for each name in ``NAMES``.
    ``"pooled"`` sums the counts over images first, ``"per_image"`` averages the scores of the
    images, of which ``zero_division=nan`` leaves out the undefined ones (see `score_table`).
    InputError if the average is unknown or the table has no row."""
    table = np.atleast_2d(np.asarray(table))
    if average not in ("pooled", "per_image"):
        raise InputError(f"The average is unknown: expected pooled or per_image, got {average!r}.")
    if not len(table) or table.shape[-1] != 4:
        raise InputError(f"Counts cannot be scored: expected shape (n, 4), got {table.shape}.")
    if average == "pooled":
        return {k: float(v) for k, v in score_table(table.sum(axis=0), zero_division).items()}
    columns = score_table(table, zero_division)
    return {k: float(np.mean(v[~np.isnan(v)])) if not np.isnan(v).all() else float("nan")
            for k, v in columns.items()}  # fmt: skip


def error_map(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Colour every pixel by the kind of agreement, as in Fig. 4 of the paper, (H, W, 3) uint8.
    True positive white, true negative black, false positive red, false negative blue. InputError if
    label and prediction are not two masks of one shape (H, W).
    `graphseg.plotting.micrographs.show_picture` shows it with a scale bar."""
    true, predicted = _compared(true, predicted, "(H, W)", 2)
    kinds = ("true negative", "false positive", "false negative", "true positive")
    palette = [list(bytes.fromhex(ERROR_COLOURS[kind][1:])) for kind in kinds]
    return np.array(palette, np.uint8)[2 * true.astype(int) + predicted]

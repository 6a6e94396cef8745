"""Cross-validation of a training on your own labels, and what its card says of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphseg import metrics
from graphseg.datasets.stack import LabelClasses, LabelledStack, as_mask
from graphseg.errors import InputError
from graphseg.evaluation import crossval, records
from graphseg.unet.segmenter import UNetSegmenter

FOLDS = 5
AVERAGES = ("per_image", "pooled")


def number_of_folds(stack: LabelledStack, wanted: int | None = None) -> int:
    """Return how many folds can be made of the acquisitions; 0 if there is only one.

    Raises
    ------
    InputError
        If more are wanted than there are acquisitions.
    """
    groups = len(np.unique(stack.groups))
    if wanted is None:
        return min(FOLDS, groups) if groups > 1 else 0
    if wanted and not 2 <= wanted <= groups:
        remedy = f"between 2 and {groups} folds, or " if groups > 1 else ""
        raise InputError(
            f"{wanted} folds cannot be made of {groups} acquisition{'s' * (groups != 1)}, because "
            f"none may be on both sides; say {remedy}--folds 0 for a network with unknown scores."
        )
    return wanted


def cross_validation(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    folds: int,
    start: Path | None,
    run_folder: Path,
    n_jobs: int = 1,
) -> dict | None:
    """Train and test on acquisitions that are kept apart; return what the card says of it.

    Parameters
    ----------
    segmenter
        Not trained.
    stack
        The labelled images.
    folds
        0: none.
    start
        Weights that the training starts from: before it, they are scored on the same images.
    run_folder
        Finished folds lie here and are not trained again.
    n_jobs
        Folds at a time.

    Returns
    -------
        ``protocol``, ``folds``, ``shuffles``, ``mean_and_spread`` (over folds, for each average
        and score); with a start also ``before_training``, and ``gain``, how much the Jaccard index
        rises inside folds; with more than two classes also ``classes``, the Jaccard index of each.
        None without folds.
    """
    if not folds:
        return None
    record = crossval.cross_validate(
        segmenter, stack, "own labels", folds=folds, run_folder=run_folder, n_jobs=n_jobs,
        progress=segmenter.progress,
    )  # fmt: skip
    found = {
        "protocol": record["protocol"],
        "folds": folds,
        "shuffles": 1,
        "mean_and_spread": _summaries(record),
    }
    if start is not None:
        before = _scored_before(record, stack, start, segmenter)
        found["before_training"] = _summaries(before)
        found["gain"] = {average: _gain(record, before, average) for average in AVERAGES}
    if stack.labels is not None:
        found["classes"] = _class_scores(record, stack.classes)
    return found


def _summaries(record: dict) -> dict:
    return {average: records.summary(record, average) for average in AVERAGES}


def _scored_before(
    record: dict, stack: LabelledStack, start: Path, segmenter: UNetSegmenter
) -> dict:
    """Return a record of the same folds with the counts of the network before its training."""
    names = ("test_time_augmentation", "device", "precision")
    same = {name: getattr(segmenter, name) for name in names}
    network = UNetSegmenter.load(start, **same)
    masks = as_mask(network.predict(stack.images), network.contamination)
    counts = dict(zip(stack.names, metrics.counts(stack.masks, masks).tolist(), strict=True))
    results = [
        fold | {"counts": [counts[name] for name in fold["test"]]} for fold in record["results"]
    ]
    return record | {"results": results}


def _gain(after: dict, before: dict, average: str) -> list[float]:
    """Return mean and spread over folds of how much the Jaccard index has risen."""
    scores = np.array(
        [
            [metrics.scores(table, average)["jaccard"] for _, _, table in records.fold_counts(one)]
            for one in (after, before)
        ]
    )
    rise = scores[0] - scores[1]
    return [float(rise.mean()), float(rise.std(ddof=1))]


def _class_scores(record: dict, classes: LabelClasses) -> list[dict]:
    """Return mean and spread over folds of the Jaccard index of each class."""
    table = np.array([metrics.class_jaccard(np.array(r["confusion"])) for r in record["results"]])
    found = []
    for value, column in zip(classes.values, table.T, strict=True):
        known = column[np.isfinite(column)]
        spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
        scores = [float(known.mean()), spread] if len(known) else None
        found.append({"grey_value": value, "folds": len(known), "jaccard": scores})
    return found


def scores_text(card: dict) -> str:
    """Return some lines on the cross-validation that a card tells of."""
    scores = card["cross_validation"]
    if not scores:
        return (
            "Not cross-validated, so nothing is known of its masks on other images; that takes "
            "labels of at least two acquisitions."
        )
    lines = [f"Jaccard on images of other acquisitions, mean ± spread of {scores['folds']} folds:"]
    for title, key in (("trained", "mean_and_spread"), ("before training", "before_training")):
        if key in scores:
            lines.append(_line(title, {a: scores[key][a]["jaccard"] for a in AVERAGES}))
    if "gain" in scores:
        lines.append(_line("gain inside folds", scores["gain"]))
    for entry in scores.get("classes", []):
        lines.append(f"  grey value {entry['grey_value']}: {_shown(entry['jaccard'])}")
    return "\n".join(lines)


def _line(title: str, scores: dict) -> str:
    parts = (f"{_shown(scores[a])} {a.replace('_', ' ')}" for a in AVERAGES)
    return f"  {title}: {', '.join(parts)}"


def _shown(score: Sequence[float] | None) -> str:
    return "does not occur" if score is None else f"{score[0]:.3f} ± {score[1]:.3f}"

"""Cross-validation of a training on your own labels, and what its card says of it."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import clone

from graphseg import metrics
from graphseg.datasets.stack import LabelClasses, LabelledStack, as_mask
from graphseg.errors import InputError
from graphseg.evaluation import crossval, ood, quality, records
from graphseg.structure.lattice import SMALLEST_SIDE
from graphseg.unet import at_scale, inference, pretrained
from graphseg.unet.at_scale import Scales
from graphseg.unet.segmenter import UNetSegmenter

FOLDS = 5
PROTOCOL = "acquisition"  # what is on one side of a split
AVERAGES = ("per_image", "pooled")


def number_of_folds(stack: LabelledStack, wanted: int | None = None) -> int:
    """Return how many folds acquisitions allow, 0 for one; InputError if more are wanted."""
    groups = len(np.unique(stack.groups))
    if wanted is None:
        return min(FOLDS, groups) if groups > 1 else 0
    if wanted and not 2 <= wanted <= groups:
        remedy = f"between 2 and {groups} folds, or " if groups > 1 else ""
        raise InputError(
            f"{wanted} folds cannot be made of {groups} acquisition{'s' * (groups != 1)}, because "
            f"none may be on both sides; give {remedy}--folds 0 for a network with unknown scores."
        )
    return wanted


def cross_validation(
    segmenter: UNetSegmenter,
    stack: LabelledStack,
    scales: Scales,
    folds: int,
    start: Path | None,
    run_folder: Path,
    n_jobs: int = 1,
) -> dict | None:
    """Train and test on acquisitions that are kept apart; return what the card says of it.
    Every network gets the images as ``graphseg segment`` would give them to it, and its masks are
    scored on the grid of the labels. The weights that the training starts from are scored on the
    same images. Finished folds lie in `run_folder` and are not trained again; `n_jobs` run at a
    time. Returns ``protocol``, ``folds``, ``shuffles``, ``mean_and_spread`` (over folds, for each
    average and score); ``default_network`` with the scores of the network that is taken without
    ``--model``, ``default_gain``, how much the Jaccard index rises above it inside folds, and
    ``keep_default``, whether that is too little; from `quality.FEWEST` images on
    ``expected_jaccard``; with a start also ``before_training``, and ``gain``; with more than two
    classes also ``classes``, the Jaccard index of each."""
    if not folds:
        return None
    header = {
        "name": "own labels",
        "protocol": PROTOCOL,
        "folds": folds,
        "estimator": type(segmenter).__name__,
        "parameters": records.describe(segmenter),
        "data": records.describe_data(stack),
        "pixel_sizes": scales.known,
    }
    store = records.StepStore(run_folder, header)
    steps = {
        records.fold_key(0, fold): partial(
            _run_fold, run_folder, fold, segmenter, stack, scales, *pair
        )
        for fold, pair in enumerate(crossval.splits(stack, PROTOCOL, folds))
    }
    results = store.finish(steps, "own labels", n_jobs, segmenter.progress)
    record = header | {"shuffles": 1, "results": results}
    found = {
        "protocol": PROTOCOL,
        "folds": folds,
        "shuffles": 1,
        "mean_and_spread": _summaries(record),
    }
    averages = bool(segmenter.test_time_augmentation)
    if lines := expected_jaccard(record, stack, averages):
        found["expected_jaccard"] = lines
    default, known = pretrained.find("default"), {}
    others = [("default_network", "default_gain", default), ("before_training", "gain", start)]
    for key, gain, path in others:
        if path is not None:
            known[path] = known.get(path) or _scored_before(record, stack, path, segmenter)
            found[key] = _summaries(known[path])
            found[gain] = {average: _gain(record, known[path], average) for average in AVERAGES}
    found["keep_default"] = stack.labels is None and _is_no_gain(found["default_gain"], folds)
    if stack.labels is not None:
        found["classes"] = _class_scores(record, stack.classes)
    return found


def _run_fold(
    folder: Path, fold: int, segmenter: UNetSegmenter, stack: LabelledStack, scales: Scales,
    train: np.ndarray, test: np.ndarray,
) -> dict:  # fmt: skip
    """Train on one part of the images and count the pixels of the other."""
    checkpoint = folder / f"{records.fold_key(0, fold)}.checkpoint"
    learnt = replace(scales, factors=tuple(scales.factors[index] for index in train))
    fitted = clone(segmenter).set_params(checkpoint=checkpoint)
    fitted = at_scale.fit(fitted, stack.subset(train), learnt)
    return {"shuffle": 0, "fold": fold} | _counted(fitted, stack.subset(test))


def _counted(segmenter: UNetSegmenter, stack: LabelledStack) -> dict:
    """Return names and counts of images, and of more classes than two their confusion."""
    several = stack.labels is not None and segmenter.classes == len(stack.classes)
    counts, certain, confusion = [], [], np.zeros((segmenter.classes,) * 2, np.int64)
    predicted = at_scale.predict_proba(segmenter, stack)
    triples = zip(stack.masks, stack.targets, predicted, strict=True)
    for index, (mask, target, probability) in enumerate(triples):
        found = segmenter.decided(probability)
        contaminated = as_mask(found, segmenter.contamination)
        if segmenter.classes == 2:
            certain += quality.certain_fractions([probability]).tolist()
        seen = stack.reviewed_of(index)  # of the rest nobody knows what it is
        table = metrics.counts(mask[seen][None, None], contaminated[seen][None, None])
        counts.append(table[0].tolist())
        if several:
            confusion += metrics.confusion(target[None], found[None], segmenter.classes)
    table = {"confusion": confusion.tolist()} if several else {}
    return {"test": list(stack.names), "counts": counts, "certain": certain, **table}


def expected_jaccard(record: dict, stack: LabelledStack, averages: bool) -> dict[str, dict]:
    """Fit which Jaccard index to expect of the masks of images of other acquisitions, from the
    record of a cross-validation whose networks averaged over the symmetries of the square or not.
    Returns the way of predicting to the `quality.ExpectedJaccard`, as JSON can hold it; nothing of
    fewer than `quality.FEWEST` images, more than two classes, or labels not wholly reviewed."""
    # A fold that an earlier version finished lacks the fractions.
    certain = [value for fold in record["results"] for value in fold.get("certain", ())]
    counts = np.concatenate([table for _, _, table in records.fold_counts(record)])
    if not quality.FEWEST <= len(counts) == len(certain) or stack.reviewed is not None:
        return {}
    measured = metrics.score_table(counts)["jaccard"]
    line = quality.ExpectedJaccard.fit(np.array(certain), measured)
    return {quality.WAYS[averages]: asdict(line)}


def _is_no_gain(gain: dict, folds: int) -> bool:
    """Tell whether a gain per image is no larger than its standard error over the folds."""
    mean, spread = gain["per_image"]
    return mean <= spread / folds**0.5


def _summaries(record: dict) -> dict:
    return {average: records.summary(record, average) for average in AVERAGES}


def _scored_before(
    record: dict, stack: LabelledStack, start: Path, segmenter: UNetSegmenter
) -> dict:
    """Return a record of the same folds with the counts of the network before its training."""
    names = ("test_time_augmentation", "device", "precision")
    same = {name: getattr(segmenter, name) for name in names}
    network = UNetSegmenter.load(start, **same)
    found = _counted(network, stack)
    counts = dict(zip(found["test"], found["counts"], strict=True))
    results = [
        fold | {"counts": [counts[name] for name in fold["test"]]} for fold in record["results"]
    ]
    return record | {"results": results}


def _gain(after: dict, before: dict, average: str) -> list[float]:
    """Return mean and spread over folds of how much the Jaccard index has risen."""
    ends, starts = (
        np.array([metrics.scores(table, average)["jaccard"] for _, _, table in folds])
        for folds in map(records.fold_counts, (after, before))
    )
    rise = ends - starts
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


def reference_set(segmenter: UNetSegmenter, stack: LabelledStack, scales: Scales) -> dict | None:
    """Return by what images are found to be unlike those of a training, as JSON can hold it.
    See `graphseg.evaluation.ood.ReferenceSet`; None for too few images or acquisitions."""
    least = max(SMALLEST_SIDE, segmenter.module_.multiple)
    images, kept = [], []
    for index, (image, factor) in enumerate(zip(stack.images, scales.factors, strict=True)):
        image = inference.resize(image, [max(round(n * factor), 1) for n in image.shape])
        if min(image.shape) >= least:
            images.append(image)
            kept.append(index)
    groups = stack.groups[kept]
    if len(groups) < ood.FEWEST or len(np.unique(groups)) < ood.INNER_FOLDS:
        return None
    return ood.fit(ood.describe(segmenter, images), groups).as_json()


def scores_text(card: dict) -> str:
    """Return some lines on the cross-validation that a card tells of, and on what it lacks."""
    text = _scores_text(card["cross_validation"])
    if "reference_set" in card:
        return text
    return (
        f"{text}\nToo few images to tell later whether others are unlike them: that check takes "
        f"{ood.FEWEST} images of {ood.INNER_FOLDS} acquisitions."
    )


def _scores_text(scores: dict | None) -> str:
    if not scores:
        return (
            "Not cross-validated, so nothing is known of its masks on other images; that takes "
            "labels of at least two acquisitions."
        )
    lines = [f"Jaccard on images of other acquisitions, mean ± spread of {scores['folds']} folds:"]
    titles = {
        "mean_and_spread": "trained",
        "before_training": "before training",
        "default_network": "default network",
    }
    same = scores.get("before_training") == scores.get("default_network")
    for key, title in titles.items():
        if key in scores and not (same and key == "default_network"):
            lines.append(_line(title, {a: scores[key][a]["jaccard"] for a in AVERAGES}))
    if "gain" in scores:
        lines.append(_line("gain inside folds", scores["gain"]))
    for entry in scores.get("classes", []):
        lines.append(f"  grey value {entry['grey_value']}: {_shown(entry['jaccard'])}")
    if scores.get("keep_default"):
        lines.append(
            "On these images the training is no better than the default network: keep that one, "
            "which is what graphseg segment takes without --model."
        )
    return "\n".join(lines)


def _line(title: str, scores: dict) -> str:
    parts = (f"{_shown(scores[a])} {a.replace('_', ' ')}" for a in AVERAGES)
    return f"  {title}: {', '.join(parts)}"


def _shown(score: Sequence[float] | None) -> str:
    return "does not occur" if score is None else f"{score[0]:.3f} ± {score[1]:.3f}"

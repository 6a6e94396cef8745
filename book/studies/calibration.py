"""How far the probabilities of the bundled networks can be believed: a recorded result.

Every image is predicted by the one fold network that has not seen it, in eight symmetries. All
other quantities follow from these predictions and the labels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold

from book.studies import reliability, resampling, thresholds
from book.studies.reliability import BINS, METHODS
from book.tools.fold_networks import ensemble, fold_of, view
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import quality
from graphseg.evaluation.quality import ExpectedJaccard, certain_fractions
from graphseg.evaluation.records import describe_data, write_record
from graphseg.unet import at_scale, pretrained
from graphseg.unet.inference import SYMMETRIES
from graphseg.unet.network import weights_digest

INNER_FOLDS = 5
LARGEST_ERROR = 0.02  # the target
LARGEST_FRACTION = 0.05  # of the pixels that one would look at first
THRESHOLD = 0.5


def run(
    stack: LabelledStack,
    package: bool = True,
    draws: int = resampling.DRAWS,
    folds: Path = pretrained.FOLDER,
) -> dict:
    """Record how well probabilities are calibrated, and the Jaccard index to expect; minutes.

    Example: python -m book.studies calibrate --folds runs/general_acquisition --output
    data/results/confidence.json

    Results named ``inner`` have no leak: an image is calibrated with images of other acquisitions
    that its network has not seen either. Results named ``other`` use the images of the other folds,
    four times as many; they were predicted by networks that had this image in their training.

    Parameters
    ----------
    stack
        The labelled images.
    package
        Also write, beside the networks, the calibration that predictions need.
    draws
        Number of draws of each bootstrap.
    folds
        Folder of the fold networks of general, which are not bundled.

    Returns
    -------
        ``calibration``, ``thresholds``, ``images`` (by name) and ``correlations``, and
        ``expected_jaccard`` and ``temperatures``: digest of each network to the line, and the
        temperature, for each way of predicting.
    """
    fold = fold_of(stack.names)
    files = _files(folds, int(fold.max()) + 1)
    mean, spread, single = _predicted(stack, fold)
    simulated, _ = ensemble(
        [pretrained.load("simulated", test_time_augmentation=False)], stack.images
    )
    counts = reliability.histograms(mean, stack.masks)
    scaled = calibrate_out_of_fold(counts, fold, stack.groups, "temperature")
    table = thresholds.table(thresholds.counts_at(counts, scaled), stack.groups, draws=draws)
    maps = {"eight views": mean, "one view": single, "with simulated": (mean + simulated) / 2}
    found = {
        weights_digest(pretrained.find(name)): _for_each_way(paths, stack, fold)
        for name, paths in files.items()
    }
    record = {
        "name": "confidence",
        "data": describe_data(stack),
        "networks": {one.stem: weights_digest(one) for paths in files.values() for one in paths}
        | {name: weights_digest(pretrained.find(name)) for name in files},
        "calibration": {m: _calibration(counts, fold, stack.groups, m) for m in METHODS},
        "temperature": reliability.fit_temperature(counts),
        "thresholds": table,
        **_expectations(maps, stack, fold, draws),
        "errors_found": _errors_found(mean, spread, stack.masks),
        "expected_jaccard": {digest: lines for digest, (lines, _) in found.items()},
        "temperatures": {digest: values for digest, (_, values) in found.items()},
    }
    if package:
        write_record(quality.FILE, package_file(record))
    return record


def summarise(record: dict) -> str:
    """Return the calibration error, and how well the expected Jaccard index was expected."""
    error = record["calibration"]["temperature"]["error"]
    pearson = record["correlations"]["eight views, inner"]["pearson"][0]
    return f"calibration error {error:.4f}; expected against measured Jaccard {pearson:.3f}"


def package_file(record: dict) -> dict:
    """Return what predictions on new images need of a record: it comes with the networks."""
    kept = ("networks", "temperature", "thresholds", "expected_jaccard", "temperatures")
    return {name: record[name] for name in kept}


def _predicted(stack: LabelledStack, fold: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return mean and deviation of eight views, and the first view, each (n, H, W) float32."""
    result = tuple(np.empty(stack.images.shape, np.float32) for _ in range(3))
    for number in np.unique(fold):
        chosen = fold == number
        network = pretrained.load(f"fold_{number}", test_time_augmentation=False)
        made = np.stack([view(network, stack.images[chosen], *one) for one in SYMMETRIES])
        parts = (made.mean(axis=0), made.std(axis=0), made[0])
        for whole, part in zip(result, parts, strict=True):
            whole[chosen] = part
    return result


def _files(folder: Path, folds: int) -> dict[str, list[Path]]:
    """Return for each bundled network what judges the images of each fold in its place.

    Raises
    ------
    InputError
        If a network is missing.
    """
    return {
        "default": [pretrained.find(f"fold_{number}") for number in range(folds)],
        "general": [
            pretrained.find(folder / f"general_fold_{number}.safetensors")
            for number in range(folds)
        ],
        "simulated": [pretrained.find("simulated")] * folds,
    }


def _for_each_way(
    networks: Sequence[Path], stack: LabelledStack, fold: np.ndarray
) -> tuple[dict[str, dict], dict[str, float]]:
    """Fit line and temperature for each way of predicting, as ``graphseg segment`` predicts."""
    lines, temperatures = {}, {}
    for averages, way in quality.WAYS.items():
        maps = np.empty(stack.images.shape, np.float32)
        for number, path in enumerate(networks):
            network = pretrained.load(path, test_time_augmentation=averages)
            here = np.flatnonzero(fold == number)
            predicted = at_scale.predict_proba(network, stack.subset(here))
            for index, probability in zip(here, predicted, strict=True):
                maps[index] = probability
        measured = metrics.score_table(metrics.counts(stack.masks, maps >= THRESHOLD))["jaccard"]
        lines[way] = asdict(ExpectedJaccard.fit(certain_fractions(maps), measured))
        temperatures[way] = reliability.fit_temperature(reliability.histograms(maps, stack.masks))
    return lines, temperatures


def inner_folds(
    fold: np.ndarray, groups: np.ndarray, count: int = INNER_FOLDS
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the images to calibrate on and those to test, so that nothing leaks.

    All images that one fold's network has not seen are split by acquisition. Calibrating on some
    and testing on the others, neither network nor calibration has seen an image, or another frame
    of its acquisition, before it is tested.

    Parameters
    ----------
    fold
        (n,) int, which network has not seen each image.
    groups
        (n,) acquisitions.
    count
        Splits within each fold; fewer where there are fewer acquisitions.

    Yields
    ------
        Two int arrays; every image is tested once.
    """
    for number in np.unique(fold):
        unseen = np.flatnonzero(fold == number)
        splits = min(count, len(np.unique(groups[unseen])))
        if splits < 2:
            raise InputError(
                f"Fold {number} holds one acquisition; calibration needs at least two in each."
            )
        for train, test in GroupKFold(splits).split(unseen, groups=groups[unseen]):
            yield unseen[train], unseen[test]


def other_folds(fold: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each fold the images of all other folds, and its own, as int arrays."""
    for number in np.unique(fold):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def calibrate_out_of_fold(
    counts: np.ndarray, fold: np.ndarray, groups: np.ndarray, method: str
) -> np.ndarray:
    """Calibrate every image by others that its network has not seen either.

    Parameters
    ----------
    counts
        (n, L, 2), of probabilities out of fold.
    fold, groups
        See :func:`inner_folds`.
    method
        One of `METHODS`.

    Returns
    -------
        (n, L) float, the calibrated probability of each level in each image.
    """
    values = np.empty(counts.shape[:2])
    for train, test in inner_folds(fold, groups):
        values[test] = reliability.fit(counts[train], method)
    return values


def _calibration(counts, fold, groups, method: str) -> dict:
    values = calibrate_out_of_fold(counts, fold, groups, method)
    other = np.empty_like(values)
    for train, test in other_folds(fold):
        other[test] = reliability.fit(counts[train], method)
    diagram = reliability.reliability(counts, values)
    return {
        "error": diagram.error,
        "error_other": reliability.reliability(counts, other).error,
        "error_per_image": error_per_image(counts, values).tolist(),
        "predicted": _json(diagram.predicted),
        "observed": _json(diagram.observed),
        "pixels": diagram.pixels.tolist(),
    }


def error_per_image(counts: np.ndarray, values: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the expected calibration error within each image, (n,)."""
    values = np.broadcast_to(values, counts.shape[:2])
    pairs = zip(counts, values, strict=True)
    return np.array([reliability.reliability(c[None], v[None], bins).error for c, v in pairs])


def _json(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def expect_out_of_fold(
    fractions: np.ndarray, jaccards: np.ndarray, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Expect the Jaccard index of every image by lines fitted to others.

    Parameters
    ----------
    fractions, jaccards
        (n,) each, out of fold.
    pairs
        Images to fit on and images to expect, for instance of
        :func:`inner_folds` or :func:`other_folds`.

    Returns
    -------
        (n, 3): expected, lower and upper end.
    """
    result = np.full((len(fractions), 3), np.nan)
    for train, test in pairs:
        result[test] = ExpectedJaccard.fit(fractions[train], jaccards[train])(fractions[test])
    return result


def _expectations(
    maps: dict[str, np.ndarray], stack: LabelledStack, fold: np.ndarray, draws: int
) -> dict:
    """Compare expected with measured Jaccard indices of the masks of eight views."""
    predicted = maps["eight views"] >= THRESHOLD
    measured = metrics.score_table(metrics.counts(stack.masks, predicted))["jaccard"]
    fractions = {name: certain_fractions(probabilities) for name, probabilities in maps.items()}
    pairs = {
        "inner": list(inner_folds(fold, stack.groups)),
        "other": list(other_folds(fold)),
    }
    found, correlations, intervals = {}, {}, {}
    for name, fraction in fractions.items():
        correlations[name] = resampling.correlation(fraction, measured, stack.groups, draws)
        for way, split in pairs.items():
            expected = expect_out_of_fold(fraction, measured, split)
            found[f"{name}, {way}"] = expected
            key = f"{name}, {way}"
            correlations[key] = resampling.correlation(
                expected[:, 0], measured, stack.groups, draws
            )
            inside = (expected[:, 1] <= measured) & (measured <= expected[:, 2])
            intervals[key] = {
                "held": float(inside.mean()),
                "width": float((expected[:, 2] - expected[:, 1]).mean()),
                "error": float(np.abs(expected[:, 0] - measured).mean()),
            }
    best = found["eight views, inner"]
    return {
        "images": {
            image: {"measured": m, "fraction": s, "expected": e, "fold": f}
            for image, m, s, e, f in zip(
                stack.names, measured.tolist(), fractions["eight views"].tolist(), best.tolist(),
                fold.tolist(), strict=True,
            )
        },
        "correlations": correlations,
        "intervals": intervals,
    }  # fmt: skip


def found_errors(
    uncertain: np.ndarray, wrong: np.ndarray, fraction: float = LARGEST_FRACTION
) -> float:
    """Return the fraction of wrong pixels among the most uncertain pixels of all images.

    Parameters
    ----------
    uncertain
        (n, H, W) float, higher where less sure.
    wrong
        (n, H, W) bool.
    fraction
        Of the pixels that are looked at, the most uncertain first.
    """
    order = np.argsort(uncertain, axis=None)[::-1][: round(fraction * uncertain.size)]
    return float(wrong.ravel()[order].sum() / max(wrong.sum(), 1))


def _errors_found(mean: np.ndarray, spread: np.ndarray, masks: np.ndarray) -> dict[str, float]:
    """Return the fraction of wrong pixels among the most uncertain ones, by two maps."""
    wrong = (mean >= THRESHOLD) != masks
    undecided = -np.abs(mean - THRESHOLD)
    return {
        "fraction looked at": LARGEST_FRACTION,
        "undecided mean": found_errors(undecided, wrong),
        "spread of views": found_errors(spread, wrong),
    }

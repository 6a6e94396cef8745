"""Is the Jaccard index to expect, and are probabilities, still right on other recordings?

The line of a network (`graphseg.evaluation.quality.ExpectedJaccard`) and its temperature were
fitted to published images as they are. `book.studies.domain_shift` predicts them at other scales,
recorded in other ways, and frames of other microscopes; here expected and measured are compared.
Images that are flagged are left out, as tables leave their expectation blank, and counted.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import stats

from book.studies import reliability
from graphseg import metrics
from graphseg.evaluation import quality
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest

DIGITS = 4


@lru_cache(maxsize=8)
def calibration_of(path: Path, averages: bool) -> tuple[quality.ExpectedJaccard | None, float]:
    """Return line and temperature of a bundled network; no line and 1 where it has none."""
    digest = weights_digest(path)
    line = quality.known_to(pretrained.load(path, test_time_augmentation=averages), digest)
    temperatures = (quality.package() or {}).get("temperatures", {}).get(digest, {})
    return line, temperatures.get(quality.WAYS[averages], 1.0)


def binned(probability: np.ndarray, mask: np.ndarray, temperature: float) -> np.ndarray:
    """Sum probabilities and contaminated pixels in bins, of an image (H, W).

    Returns
    -------
        (2, `reliability.BINS`, 3) float64: as predicted and with the temperature; pixels, sum of
        their probabilities, contaminated ones.
    """
    tables = []
    for values in (probability, reliability.apply_temperature(probability, temperature)):
        place = np.minimum((values * reliability.BINS).astype(int), reliability.BINS - 1).ravel()
        weights = (None, values.ravel(), mask.ravel())
        tables.append([np.bincount(place, w, reliability.BINS) for w in weights])
    return np.moveaxis(np.array(tables, float), 1, 2)


def calibration_error(table: np.ndarray) -> float | None:
    """Return the expected calibration error of one table (BINS, 3) of `binned`; None of nothing."""
    pixels, predicted, observed = table.T
    return float(np.abs(predicted - observed).sum() / pixels.sum()) if pixels.sum() else None


def compared(
    line: quality.ExpectedJaccard | None,
    certain: Sequence[float],
    counts: Sequence[Sequence[int]],
    flagged: Sequence[bool],
) -> dict | None:
    """Compare expected with measured Jaccard indices; None without a line.

    Parameters
    ----------
    line
        Of the network.
    certain
        (n,) see `quality.certain_fractions`.
    counts
        (n, 4) of each mask with its label.
    flagged
        (n,) whether a user is warned of the image, and no index is expected.

    Returns
    -------
        ``images``, of which ``flagged`` (fraction) are left out; of the rest ``correlation``
        (Pearson), mean ``error`` and fraction ``held`` by the intervals, None of fewer than 3.
    """
    if line is None:
        return None
    kept = ~np.asarray(flagged, bool)
    found = {"images": len(kept), "flagged": round(1 - float(kept.mean()), DIGITS)}
    names = ("correlation", "error", "held")
    if kept.sum() < 3:
        return found | dict.fromkeys(names)
    expected, low, high = line(np.asarray(certain)[kept]).T
    measured = metrics.score_table(np.asarray(counts)[kept])["jaccard"]
    varied = min(np.ptp(expected), np.ptp(measured)) > 0
    values = (
        stats.pearsonr(expected, measured).statistic if varied else np.nan,
        np.abs(expected - measured).mean(),
        ((low <= measured) & (measured <= high)).mean(),
    )
    rounded = (round(float(v), DIGITS) if np.isfinite(v) else None for v in values)
    return found | dict(zip(names, rounded, strict=True))


def joined(parts: Mapping[str, dict], line: quality.ExpectedJaccard | None) -> dict:
    """Return what is found in each part, and in all of them together.

    Parameters
    ----------
    parts
        Name to ``certain``, ``counts``, ``flagged`` (as in `compared`) and ``reliability``
        (2, BINS, 3), summed over its images.
    line
        Of the network.
    """
    together = {
        key: np.concatenate([np.asarray(part[key]) for part in parts.values()])
        for key in ("certain", "counts", "flagged")
    }
    together["reliability"] = sum(np.asarray(part["reliability"]) for part in parts.values())
    found = {}
    for name, part in {**parts, "all": together}.items():
        plain, scaled = (calibration_error(table) for table in np.asarray(part["reliability"]))
        found[name] = {
            "expected": compared(line, part["certain"], part["counts"], part["flagged"]),
            "calibration_error": plain and round(plain, DIGITS),
            "calibration_error_with_temperature": scaled and round(scaled, DIGITS),
        }
    return found

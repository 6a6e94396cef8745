"""Which threshold gives the precision or the recall that one needs, and how sure that is."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import typer
from scipy.special import expit, logit

from book.studies.resampling import DRAWS, INTERVAL, drawn_images
from graphseg import metrics
from graphseg.errors import InputError
from graphseg.evaluation import quality

THRESHOLDS = (0.01, 0.02, *(round(0.05 * k, 2) for k in range(1, 20)), 0.98, 0.99)
SCORES = ("precision", "recall", "jaccard")


def thresholds(
    precision: Annotated[float | None, typer.Option(help="lowest precision, from 0 to 1")] = None,
    recall: Annotated[float | None, typer.Option(help="lowest recall, from 0 to 1")] = None,
    confident: Annotated[
        bool, typer.Option("--confident", help="the lower end of its 95 % interval must reach it")
    ] = False,
) -> None:
    """Print the threshold for a given precision or recall, or the whole table.

    Example: python -m book.studies thresholds --precision 0.95

    Apply it to the probability maps that `graphseg segment --probabilities` writes.
    """
    stored = quality.package()
    if stored is None:
        raise InputError(
            "Nothing is known of thresholds: run python -m book.studies calibrate first."
        )
    rows = stored["thresholds"]
    if precision is not None or recall is not None:
        rows = [choose(rows, precision, recall, confident)]
    typer.echo("threshold  calibrated  precision          recall             Jaccard")
    for row in rows:
        raw = uncalibrated(row["threshold"], stored["temperature"])
        scores = (f"{row[n]:.3f} ({row[f'{n}_low']:.3f}-{row[f'{n}_high']:.3f})"
                  for n in SCORES)  # fmt: skip
        typer.echo(f"{raw:9.4f}  {row['threshold']:10.2f}  {'  '.join(scores)}")


def counts_at(
    counts: np.ndarray, values: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """Count hits and misses of every image at every threshold.

    Parameters
    ----------
    counts
        (n, L, 2), see :func:`book.studies.reliability.histograms`.
    values
        (L,) or (n, L), the calibrated probability of each level.
    thresholds
        Probabilities at and above which a pixel is called contamination.

    Returns
    -------
        (n, t, 4) int64, as :func:`graphseg.metrics.counts` orders them: tp, fp, fn, tn.
    """
    values = np.broadcast_to(values, counts.shape[:2])
    above = values[:, None, :] >= np.asarray(thresholds)[None, :, None]  # (n, t, L)
    clean, contaminated = counts[..., 0], counts[..., 1]
    false = np.einsum("ntl,nl->nt", above, clean)
    true = np.einsum("ntl,nl->nt", above, contaminated)
    missed = contaminated.sum(axis=1)[:, None] - true
    rest = clean.sum(axis=1)[:, None] - false
    return np.stack([true, false, missed, rest], axis=-1).astype(np.int64)


def table(
    counts: np.ndarray,
    groups: np.ndarray,
    thresholds: Sequence[float] = THRESHOLDS,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Return precision, recall and Jaccard index of all pixels at each threshold, with intervals.

    Parameters
    ----------
    counts
        (n, t, 4), see :func:`counts_at`.
    groups
        (n,) acquisitions; the bootstrap draws whole ones, as frames of one are alike.
    thresholds
        (t,), rising.
    draws, seed
        Of the bootstrap.

    Returns
    -------
        A row for each threshold: ``threshold``, and for each of `SCORES` its value and, with
        ``_low`` and ``_high``, the `INTERVAL` of the bootstrap.
    """
    drawn = np.stack([counts[i].sum(axis=0) for i in drawn_images(groups, draws, seed)])
    whole = metrics.score_table(counts.sum(axis=0))  # (t,)
    spread = metrics.score_table(drawn)  # (draws, t)
    rows = [{"threshold": float(threshold)} for threshold in thresholds]
    for name in SCORES:
        low, high = np.percentile(spread[name], INTERVAL, axis=0)
        columns = {name: whole[name], f"{name}_low": low, f"{name}_high": high}
        for row, *values in zip(rows, *columns.values(), strict=True):
            row |= dict(zip(columns, map(float, values), strict=True))
    return rows


def choose(
    rows: Sequence[dict[str, float]],
    precision: float | None = None,
    recall: float | None = None,
    confident: bool = False,
) -> dict[str, float]:
    """Return the row of the threshold that reaches a wanted score and costs least of the other.

    Parameters
    ----------
    rows
        Of :func:`table`.
    precision, recall
        What is wanted, one of the two, between 0 and 1.
    confident
        Whether the lower end of the interval must reach it, not only the value.

    Raises
    ------
    InputError
        If not exactly one is given, or no threshold reaches it.
    """
    if (precision is None) == (recall is None):
        raise InputError("Say either a precision or a recall, not both or none.")
    name, wanted, other = (
        ("precision", precision, "recall") if recall is None else ("recall", recall, "precision")
    )
    if not 0 <= wanted <= 1:
        raise InputError(f"A {name} of {wanted} is impossible; give one between 0 and 1.")
    key = f"{name}_low" if confident else name
    reached = [row for row in rows if row[key] >= wanted]
    if not reached:
        best = max(row[key] for row in rows)
        raise InputError(
            f"No threshold reaches a {name} of {wanted:.3g}: the highest is {best:.3f}."
        )
    return max(reached, key=lambda row: row[other])


def uncalibrated(threshold: float, temperature: float) -> float:
    """Return the threshold for probabilities as the network gives them.

    Parameters
    ----------
    threshold
        For calibrated probabilities.
    temperature
        Of the calibration, see :func:`book.studies.reliability.fit_temperature`.
    """
    return float(expit(temperature * logit(threshold)))

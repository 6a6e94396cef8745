"""Which threshold gives a wanted precision or recall: read from what calibration has recorded."""

from typing import Annotated

import typer

from graphseg.errors import InputError
from graphseg.evaluation import calibration, quality


def thresholds(
    precision: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    recall: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    confident: Annotated[
        bool, typer.Option("--confident", help="the lower end of its 95 % interval must reach it")
    ] = False,
) -> None:
    """Print the threshold for a wanted precision or recall, or the whole table.

    Example: python -m book.studies thresholds --precision 0.95

    The probability maps that `graphseg segment --probabilities` writes can be cut at it.
    """
    stored = quality.package()
    if stored is None:
        raise InputError(
            "Nothing is known of thresholds: run python -m book.studies calibrate first."
        )
    rows = stored["thresholds"]
    if precision is not None or recall is not None:
        rows = [calibration.choose(rows, precision, recall, confident)]
    typer.echo("threshold  calibrated  precision          recall             Jaccard")
    for row in rows:
        raw = calibration.uncalibrated(row["threshold"], stored["temperature"])
        scores = (f"{row[n]:.3f} ({row[f'{n}_low']:.3f}-{row[f'{n}_high']:.3f})"
                  for n in calibration.SCORES)  # fmt: skip
        typer.echo(f"{raw:9.4f}  {row['threshold']:10.2f}  {'  '.join(scores)}")

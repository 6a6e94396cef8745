"""A ranking by itself, as a table and as a page that contains its pictures."""

import base64
from collections.abc import Sequence

import numpy as np

from graphseg.batch.ranking import Ranking
from graphseg.batch.report import CLEAN, PERCENT, RANKS, Column, html_page
from graphseg.errors import InputError
from graphseg.io.outputs import jpeg

RANKING_COLUMNS = (
    Column("name", "Name"),
    *RANKS,
    Column("clean_fraction", "Clean", *PERCENT, CLEAN, factor=100),
    Column("low", "Clean from", *PERCENT, "Lower end of its interval.", factor=100),
    Column("high", "Clean to", *PERCENT, "Upper end of its interval.", factor=100),
    Column("labelled_fraction", "Label", *PERCENT, "Clean by the label.", factor=100),
)


def table_rows(ranking: Ranking) -> list[dict[str, str | int | float]]:
    """Return one row for each image, in order of rank, with the columns of the table.

    ``rank``, ``best_rank`` and ``worst_rank`` (from 1), ``name``, ``clean_fraction`` with the ends
    ``low`` and ``high`` of its interval, and ``labelled_fraction`` if there are labels (NaN for an
    image without one); fractions from 0 to 1.
    """
    names = ["rank", "best_rank", "worst_rank", "name", "clean_fraction", "low", "high"]
    columns = [range(1, len(ranking) + 1), *ranking.rank_range.T.tolist(), ranking.names]
    columns += [v.tolist() for v in (ranking.fraction, ranking.low, ranking.high)]
    if np.isfinite(ranking.labelled).any():
        names.append("labelled_fraction")
        columns.append(ranking.labelled.tolist())
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def ranking_page(
    ranking: Ranking,
    thumbnails: Sequence[np.ndarray] | None = None,
    title: str = "Images by their clean fraction",
) -> str:
    """Return a ranking by itself as a page that contains its pictures, see `html_page`.

    Parameters
    ----------
    ranking
        What to show.
    thumbnails
        n small RGB pictures (H, W, 3) uint8 in the order of what was ranked, not of the ranks (see
        `graphseg.io.outputs.small_picture`).
    title
        Of the page.

    Raises
    ------
    InputError
        If a thumbnail is missing.
    """
    shown = None
    if thumbnails is not None:
        if len(thumbnails) != len(ranking):
            raise InputError(
                f"Expected {len(ranking)} thumbnails, one for each image, got {len(thumbnails)}."
            )
        pictures = (base64.b64encode(jpeg(thumbnails[i])).decode() for i in ranking.index)
        shown = [{"files": [f"data:image/jpeg;base64,{picture}"]} for picture in pictures]
    return html_page(title, RANKING_COLUMNS, table_rows(ranking), shown, "rank")

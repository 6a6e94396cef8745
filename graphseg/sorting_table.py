"""A ranking as CSV and as one self-contained page with a sortable table and thumbnails."""

import csv
import io
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphseg.errors import InputError
from graphseg.outputs import whole_file
from graphseg.report import Column, jpeg, page
from graphseg.sorting import Ranking

COLUMNS = {
    "rank": Column("rank", "Rank", 0),
    "best_rank": Column("best_rank", "Best rank", 0),
    "worst_rank": Column("worst_rank", "Worst rank", 0),
    "name": Column("name", "Name"),
    "clean_fraction": Column("clean_fraction", "Clean, %", 1, 100),
    "low": Column("low", "From, %", 1, 100),
    "high": Column("high", "To, %", 1, 100),
    "labelled_fraction": Column("labelled_fraction", "Label, %", 1, 100),
}
CAPTION = (
    "Clean fraction: the share of an image's pixels that can be used, with the ends of its "
    "interval and the ranks that the intervals allow."
)
LEGEND = " Contamination is red in the pictures."


def table_rows(ranking: Ranking) -> list[dict[str, str | int | float]]:
    """Return one row for each image, in order of rank, with the columns of the table.

    ``rank``, ``best_rank`` and ``worst_rank`` (from 1), ``name``, ``clean_fraction`` with the ends
    ``low`` and ``high`` of its interval, and ``labelled_fraction`` if there are labels (NaN for an
    image without one); fractions from 0 to 1.
    """
    columns = [range(1, len(ranking) + 1), *ranking.rank_range.T.tolist(), ranking.names]
    columns += [v.tolist() for v in (ranking.fraction, ranking.low, ranking.high)]
    if np.isfinite(ranking.labelled).any():
        columns.append(ranking.labelled.tolist())
    return [dict(zip(COLUMNS, row, strict=False)) for row in zip(*columns, strict=True)]


def write_csv(path: str | Path, ranking: Ranking, overwrite: bool = False) -> None:
    """Write a ranking as CSV in UTF-8, with the columns of `table_rows`.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is not set, or the ranking is empty.
    """
    rows = table_rows(ranking)
    if not rows:
        raise InputError("The ranking is empty; rank at least one image.")
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in row.items()}
                     for row in rows)  # fmt: skip
    _write_new(Path(path), text.getvalue(), overwrite)


def write_html(
    path: str | Path,
    ranking: Ranking,
    thumbnails: Sequence[np.ndarray] | None = None,
    title: str = "Images by their clean fraction",
    overwrite: bool = False,
) -> None:
    """Write a ranking as one page with a table that sorts by any column.

    The page needs no network and no other file. It can be sorted by keyboard, and read in order of
    rank without JavaScript. Names and title are escaped.

    Parameters
    ----------
    path
        The file.
    ranking
        What to show.
    thumbnails
        n small RGB pictures (H, W, 3) uint8 in the order of what was ranked, not of the ranks (see
        `graphseg.outputs.small_picture`).
    title
        Of the page.
    overwrite
        Replace a file that exists.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is not set, or a thumbnail is missing.
    """
    if thumbnails is not None and len(thumbnails) != len(ranking):
        raise InputError(
            f"There are {len(thumbnails)} thumbnails for {len(ranking)} images; give one for each."
        )
    rows = table_rows(ranking)
    pictures = None
    if thumbnails is not None:
        pictures = [b64encode(jpeg(thumbnails[i])).decode() for i in ranking.index]
    text = page(
        title=title,
        caption=CAPTION + ("" if pictures is None else LEGEND),
        columns=[column for name, column in COLUMNS.items() if rows and name in rows[0]],
        rows=rows,
        thumbnails=pictures,
        sorted_by="rank",
    )
    _write_new(Path(path), text, overwrite)


def _write_new(path: Path, text: str, overwrite: bool) -> None:
    """Write to a temporary name, then rename: a reader never sees half a file."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; name another file or set overwrite=True.")
    # File names need not be UTF-8; what cannot be encoded is written as its escape.
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

"""Results of many images as CSV, and as one self-contained page with a table that sorts.

The tables at the end of a run are in order of files or of ranks; a ranking alone has a page too.
"""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from PIL import Image

from graphseg.batch.ranking import Ranking, rank
from graphseg.batch.reduction import CLASSES
from graphseg.errors import InputError
from graphseg.io.outputs import jpeg

if TYPE_CHECKING:
    from graphseg.batch.run import Run

LAST = ("seconds", "error")  # columns of the CSV file
MISSING = -1e300  # sorts below every number; -Infinity would need more words in the page


@dataclass(frozen=True)
class Column:
    """A column of the page's table.

    Attributes
    ----------
    key
        Of the rows.
    heading
        What stands above it.
    digits
        After the decimal point; None for text.
    factor
        Numbers are shown times this: 100 for percent.
    """

    key: str
    heading: str
    digits: int | None = None
    factor: float = 1.0

    def cell(self, row: Mapping[str, Any]) -> tuple["Column", str, str]:
        """Return itself, what the cell is sorted by and what it shows."""
        value = row.get(self.key)
        if self.digits is None:
            text = "" if value is None else str(value)
            return self, text, text
        if value is None or value == "" or np.isnan(value):
            return self, str(MISSING), ""
        return self, repr(float(value)), f"{value * self.factor:.{self.digits}f}"


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV, with every column that any of them has.

    Floats are written with as many digits as tell them apart, None and NaN as nothing. First come
    `columns`, which are there even if no row has them, then the others in the order in which they
    turn up, and last ``seconds`` and ``error``.
    """
    keys = dict.fromkeys([*columns, *(key for row in rows for key in row)])
    keys = [k for k in keys if k not in LAST] + [k for k in LAST if k in keys]
    text = io.StringIO()
    writer = csv.DictWriter(text, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in rows)
    return text.getvalue()


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    # Sorting is by buttons in the headings, so that a keyboard reaches them; `aria-sort` tells a
    # screen reader the order. Without JavaScript the table is there, in the order that was given.
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options = dict(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return jinja2.Environment(loader=loader, **options).get_template("report.html")


def html_page(
    title: str,
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    thumbnails: Sequence[str | None] | None = None,
    sorted_by: str | None = None,
    paragraphs: Sequence[str] = (),
    errors: Sequence[str] = (),
) -> str:
    """Return a page with a table that sorts by any column; it needs no network and no other file.

    It can be sorted by keyboard, and read in the order given without JavaScript. All texts are
    escaped.

    Parameters
    ----------
    title, caption
        Of the page and of the table.
    columns
        Of the table; the first one of text names the row.
    rows
        One for each image.
    thumbnails
        For each row the content of a JPEG file in base64 (see `jpeg`), or None.
    sorted_by
        Key of the column that the rows are in ascending order of.
    paragraphs
        Texts above the table.
    errors
        Sentences for images that are missing, in a list above the table.
    """
    pictures = map(_picture, [None] * len(rows) if thumbnails is None else thumbnails)
    cells = [[column.cell(row) for column in columns] for row in rows]
    return _template().render(
        title=title,
        caption=caption,
        columns=columns,
        named=next((column for column in columns if column.digits is None), None),
        rows=list(zip(pictures, cells, strict=True)),
        pictured=thumbnails is not None,
        sorted_by=sorted_by,
        paragraphs=paragraphs,
        errors=errors,
    )


def _picture(thumbnail: str | None) -> dict | None:
    if thumbnail is None:
        return None
    with Image.open(io.BytesIO(base64.b64decode(thumbnail))) as picture:
        return {"width": picture.width, "height": picture.height, "content": thumbnail}


RANKING_COLUMNS = {
    "rank": Column("rank", "Rank", 0),
    "best_rank": Column("best_rank", "Best rank", 0),
    "worst_rank": Column("worst_rank", "Worst rank", 0),
    "name": Column("name", "Name"),
    "clean_fraction": Column("clean_fraction", "Clean, %", 1, 100),
    "low": Column("low", "From, %", 1, 100),
    "high": Column("high", "To, %", 1, 100),
    "labelled_fraction": Column("labelled_fraction", "Label, %", 1, 100),
}
RANKING_CAPTION = (
    "Clean fraction: the fraction of an image's pixels that can be used, with the ends of its "
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
    return [dict(zip(RANKING_COLUMNS, row, strict=False)) for row in zip(*columns, strict=True)]


def ranking_page(
    ranking: Ranking,
    thumbnails: Sequence[np.ndarray] | None = None,
    title: str = "Images by their clean fraction",
) -> str:
    """Return a ranking by itself as a page, see `html_page`.

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
    rows, pictures, legend = table_rows(ranking), None, ""
    if thumbnails is not None:
        if len(thumbnails) != len(ranking):
            raise InputError(
                f"Expected {len(ranking)} thumbnails, one for each image, got {len(thumbnails)}."
            )
        pictures = [base64.b64encode(jpeg(thumbnails[i])).decode() for i in ranking.index]
        legend = LEGEND
    columns = [column for name, column in RANKING_COLUMNS.items() if rows and name in rows[0]]
    return html_page(title, RANKING_CAPTION + legend, columns, rows, pictures, "rank")


IMAGE = (Column("file", "File"), Column("frame", "Frame", 0))
CLEAN = (
    Column("clean_fraction", "Clean, %", 1, 100),
    Column("clean_low", "From, %", 1, 100),
    Column("clean_high", "To, %", 1, 100),
)
SCALE = (
    Column("pixel_size", "Å per pixel", 3),
    Column("ood_score", "Out-of-distribution score", 2),
    Column("verdict", "Compared with the training images"),
    Column("flags", "Beware"),
)
EXPECTED = (Column("expected_jaccard", "Expected Jaccard", 2), Column("look_first", "Look first"))
RANKS = tuple(RANKING_COLUMNS.values())[:3]
REDUCTION = (
    Column("ratio", "Ratio", 2),
    Column("coarse_fraction", "Coarse, %", 1, 100),
    Column("rmse", "Error, grey levels", 2),
)
STRUCTURE = (
    Column("atoms", "Atoms", 0),
    *(Column(f"rings_{size}", f"{size}-rings", 0) for size in (5, 6, 7, 8)),
    Column("vacancies", "Vacancies", 0),
    Column("boundaries_nm", "Boundaries, nm", 1),
    Column("twist_degrees", "Twist, °", 1),
    *(Column(f"{name}_nm2", f"{name.capitalize()}, nm²", 1) for name in CLASSES),
)
COLUMNS = {
    "analyse": (*IMAGE, *STRUCTURE, *CLEAN, *EXPECTED, *SCALE),
    "segment": (*IMAGE, *CLEAN, *EXPECTED, *SCALE),
    "sort": (*RANKS, *IMAGE, *CLEAN, *EXPECTED, *SCALE),
    "reduce": (*IMAGE, *REDUCTION, *CLEAN, *EXPECTED, *SCALE),
}
TITLES = {
    "analyse": "Structure",
    "segment": "Contamination",
    "sort": "Images by their clean fraction",
    "reduce": "Reduced images",
}
CAPTION = (
    "Clean fraction: the fraction of an image's pixels that can be used, with the ends of its "
    "interval. Contamination is red in the pictures."
)
RANK_CAPTION = " The best and the worst rank are those that the intervals allow."


def write_tables(run: "Run") -> tuple[Path, Path]:
    """Write the CSV and the report of a run, and return their paths.

    They are in order of files and frames, or of ranks for the command ``sort``. Images that failed
    come last in the CSV, and are listed above the table of the report.
    """
    command = run.manifest.command
    good = [pair for pair in run.pairs if not pair[0]["error"]]
    failed = [row for row, _ in run.pairs if row["error"]]
    caption, sorted_by = CAPTION, "file"
    if command == "sort":
        good, caption, sorted_by = _ranked(good), CAPTION + RANK_CAPTION, "rank"
    rows = [row for row, _ in good]
    page = html_page(
        TITLES[command], caption, _used(COLUMNS[command], rows), rows,
        [thumbnail for _, thumbnail in good], sorted_by, _summary(rows, failed),
        [row["error"] for row in failed],
    )  # fmt: skip
    return run.manifest.write_tables(csv_text(rows + failed), page)


def _ranked(pairs: Sequence[tuple[dict, str | None]]) -> list[tuple[dict, str | None]]:
    if not pairs:
        return []
    rows = [row for row, _ in pairs]
    ranking = rank(
        [row["name"] for row in rows],
        [row["clean_fraction"] for row in rows],
        [(row["clean_low"], row["clean_high"]) for row in rows],
    )
    ranks = [{key: row[key] for key in list(RANKING_COLUMNS)[:3]} for row in table_rows(ranking)]
    ordered = [pairs[place] for place in ranking.index]
    return [(rank | row, picture) for rank, (row, picture) in zip(ranks, ordered, strict=True)]


def _used(columns: Sequence[Column], rows: Sequence[dict]) -> list[Column]:
    """Leave out columns that are empty in every row; the file always stays."""
    return [
        column
        for column in columns
        if column.key == "file" or any(row.get(column.key) not in (None, "") for row in rows)
    ]


def _summary(rows: Sequence[dict], failed: Sequence[dict]) -> list[str]:
    flagged = sum(bool(row["flags"]) for row in rows)
    models = ", ".join(sorted({row["model"] for row in rows}))
    sentences = [f"Images: {len(rows)}; failed: {len(failed)}; network: {models or 'none'}."]
    doubtful = sum(row.get("look_first") == "yes" and not row["flags"] for row in rows)
    if doubtful:
        sentences.append(f"With a low expected Jaccard index: {doubtful}; look at these first.")
    if flagged:
        sentences.append(f"With a flag in the last column: {flagged}; look at these first.")
    return sentences

"""A ranking as CSV and as one self-contained page with a sortable table and thumbnails."""

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image, ImageOps

from graphseg.errors import InputError
from graphseg.outputs import whole_file
from graphseg.sorting import Ranking

RED = (214, 39, 40)  # contamination in thumbnails is red, as in Fig. 6 of Sadre et al. (2021)
OPACITY = 0.45
HEADINGS = {
    "rank": "Rank",
    "best_rank": "Best rank",
    "worst_rank": "Worst rank",
    "name": "Name",
    "clean_fraction": "Clean, %",
    "low": "From, %",
    "high": "To, %",
    "labelled_fraction": "Label, %",
}
RANKS = ("rank", "best_rank", "worst_rank")
# Sorting is by buttons in the headings, so that a keyboard reaches them; `aria-sort` tells a screen
# reader the order. Without JavaScript the table is there, in order of rank.
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.4 sans-serif; margin: 1.5rem; }
table { border-collapse: collapse; }
caption { max-width: 45rem; padding-bottom: 0.75rem; text-align: left; }
th, td { border-bottom: 1px solid #8888; padding: 0.25rem 0.6rem; text-align: right; }
.name { overflow-wrap: anywhere; text-align: left; }
button { background: none; border: 0; color: inherit; cursor: pointer; font: inherit;
  font-weight: bold; padding: 0.25rem; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
img { display: block; }
</style>
</head>
<body>
<h1>$title</h1>
<table>
<caption>Clean fraction: the share of an image's pixels that can be used, with the ends of its
interval and the ranks that the intervals allow.$legend The buttons in the headings sort the
table.</caption>
<thead><tr>$headings</tr></thead>
<tbody>
$rows
</tbody>
</table>
<script>
const heads = [...document.querySelectorAll("thead th")];
const body = document.querySelector("tbody");
const byName = (a, b) => a.localeCompare(b, undefined, {numeric: true});
const byNumber = (a, b) => a - b;
heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  const key = row => row.cells[column].dataset.value;
  const compare = head.className === "name" ? byName : byNumber;
  const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(key(a), key(b)));
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}));
</script>
</body>
</html>
""")


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
    return [dict(zip(HEADINGS, row, strict=False)) for row in zip(*columns, strict=True)]


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
        `thumbnail`).
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
    pictures = [""] * len(rows)
    if thumbnails is not None:
        pictures = [_picture(thumbnails[i]) for i in ranking.index]
    used = [name for name in HEADINGS if rows and name in rows[0]]
    text = PAGE.substitute(
        title=html.escape(title),
        legend="" if thumbnails is None else " Contamination is red in the pictures.",
        headings=("" if thumbnails is None else '<th scope="col">Picture</th>')
        + "".join(_heading(name) for name in used),
        rows="\n".join(_row(row, p) for row, p in zip(rows, pictures, strict=True)),
    )
    _write_new(Path(path), text, overwrite)


def thumbnail(image: np.ndarray, mask: np.ndarray, side: int = 96) -> np.ndarray:
    """Return a small picture of a micrograph with contamination in red.

    Parameters
    ----------
    image
        (H, W), black and white at its 0.5th and 99.5th percentile.
    mask
        (H, W) bool, True = contamination.
    side
        Longest side of the result, in pixels.

    Returns
    -------
        (h, w, 3) uint8; the ratio of the sides is kept.

    Raises
    ------
    InputError
        If image and mask have different shapes.
    """
    image, mask = np.asarray(image, dtype=float), np.asarray(mask, dtype=bool)
    if image.ndim != 2 or image.shape != mask.shape:
        raise InputError(
            f"A mask of shape {mask.shape} does not fit an image of shape {image.shape}; give both "
            "as (H, W)."
        )
    low, high = np.percentile(image, [0.5, 99.5])
    grey = 255 * np.clip((image - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    coloured = (1 - OPACITY) * grey[..., None] + OPACITY * np.array(RED)
    rgb = np.where(mask[..., None], coloured, grey[..., None])
    picture = Image.fromarray(np.rint(rgb).astype(np.uint8))
    return np.asarray(ImageOps.contain(picture, (side, side), Image.Resampling.BOX))


def _picture(thumbnail: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(thumbnail).save(buffer, format="JPEG", quality=85)  # a fifth of a PNG
    content = base64.b64encode(buffer.getvalue()).decode()
    height, width = thumbnail.shape[:2]
    # The name stands in the same row, so the picture needs no words of its own.
    source = f"data:image/jpeg;base64,{content}"
    return f'<td><img alt="" width="{width}" height="{height}" src="{source}"></td>'


def _heading(name: str) -> str:
    order = ' aria-sort="ascending"' if name == "rank" else ""
    kind = ' class="name"' if name == "name" else ""
    button = f'<button type="button">{HEADINGS[name]}</button>'
    return f'<th scope="col"{order}{kind}>{button}</th>'


def _row(row: dict[str, str | int | float], picture: str) -> str:
    return f"<tr>{picture}{''.join(_cell(*item) for item in row.items())}</tr>"


def _cell(name: str, value: str | int | float) -> str:
    if name == "name":
        text = html.escape(str(value))
        return f'<th scope="row" class="name" data-value="{text}">{text}</th>'
    if name in RANKS:
        return f'<td data-value="{value}">{value}</td>'
    if np.isnan(value):
        return '<td data-value="-1"></td>'
    return f'<td data-value="{value:.6f}">{100 * value:.1f}</td>'


def _write_new(path: Path, text: str, overwrite: bool) -> None:
    """Write to a temporary name, then rename: a reader never sees half a file."""
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; name another file or set overwrite=True.")
    # File names need not be UTF-8; what cannot be encoded is written as its escape.
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")

"""Results of many images as CSV, and as one self-contained page with a table that sorts."""

import base64
import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np
from PIL import Image

# Sorting is by buttons in the headings, so that a keyboard reaches them; `aria-sort` tells a screen
# reader the order. Without JavaScript the table is there, in the order that was given.
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
.text { min-width: 8rem; overflow-wrap: anywhere; text-align: left; }
button { background: none; border: 0; color: inherit; cursor: pointer; font: inherit;
  font-weight: bold; padding: 0.25rem; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
img { display: block; }
</style>
</head>
<body>
<h1>$title</h1>
$before
<table>
<caption>$caption The buttons in the headings sort the table.</caption>
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
  const compare = head.className ? byName : byNumber;
  const rows = [...body.rows].sort((a, b) => (down ? -1 : 1) * compare(key(a), key(b)));
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...rows);
}));
</script>
</body>
</html>
""")
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


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """Return rows as CSV, with every column that any of them has.

    Floats are written with as many digits as tell them apart, None and NaN as nothing. First come
    `columns`, which are there even if no row has them, then the others in the order in which they
    turn up, and last ``seconds`` and ``error``.
    """
    keys = dict.fromkeys([*columns, *(key for row in rows for key in row)])
    keys = [k for k in keys if k not in LAST] + [k for k in LAST if k in keys]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([_plain(row.get(key)) for key in keys] for row in rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and np.isnan(value)) else value


def page(
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
    pictures = [""] * len(rows)
    if thumbnails is not None:
        pictures = [_picture(thumbnail) for thumbnail in thumbnails]
    before = [f"<p>{html.escape(text)}</p>" for text in paragraphs]
    if errors:
        listed = "".join(f"<li>{html.escape(text)}</li>" for text in errors)
        before.append(f"<h2>Failed</h2>\n<ul>{listed}</ul>\n<h2>Images</h2>")
    named = next((column.key for column in columns if column.digits is None), None)
    cells = ["".join(_cell(c, row.get(c.key), c.key == named) for c in columns) for row in rows]
    return PAGE.substitute(
        title=html.escape(title),
        before="\n".join(before),
        caption=html.escape(caption),
        headings=("" if thumbnails is None else '<th scope="col">Picture</th>')
        + "".join(_heading(column, column.key == sorted_by) for column in columns),
        rows="\n".join(f"<tr>{p}{c}</tr>" for p, c in zip(pictures, cells, strict=True)),
    )


def jpeg(picture: np.ndarray) -> bytes:
    """Return a picture, (h, w, 3) uint8, as the content of a JPEG file: a fifth of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _picture(thumbnail: str | None) -> str:
    if thumbnail is None:
        return "<td></td>"
    with Image.open(io.BytesIO(base64.b64decode(thumbnail))) as picture:
        width, height = picture.size
    # The name stands in the same row, so the picture needs no words of its own. The size is told
    # so that nothing moves while the page is drawn.
    source = f"data:image/jpeg;base64,{thumbnail}"
    return f'<td><img alt="" width="{width}" height="{height}" src="{source}"></td>'


def _heading(column: Column, ascending: bool) -> str:
    order = ' aria-sort="ascending"' if ascending else ""
    kind = ' class="text"' if column.digits is None else ""
    button = f'<button type="button">{html.escape(column.heading)}</button>'
    return f'<th scope="col"{order}{kind}>{button}</th>'


def _cell(column: Column, value: Any, names_row: bool) -> str:
    if column.digits is None:
        text = html.escape("" if value is None else str(value))
        tag, scope = ("th", ' scope="row"') if names_row else ("td", "")
        return f'<{tag}{scope} class="text" data-value="{text}">{text}</{tag}>'
    if value is None or value == "" or np.isnan(value):
        return f'<td data-value="{MISSING}"></td>'
    return f'<td data-value="{float(value)!r}">{value * column.factor:.{column.digits}f}</td>'

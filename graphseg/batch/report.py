"""Results of many images as CSV, and as a page to look through them.

The page holds the table and shows the pictures that lie beside it, so that it opens quickly also
with ten thousand images. It needs no network and works from a file. What is in order of files, or
of ranks, can be filtered and sorted there, and two images be seen side by side.
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2

from graphseg.batch.manifest import HIDDEN
from graphseg.batch.ranking import rank
from graphseg.batch.reduction import CLASSES
from graphseg.io.outputs import OPACITY, RED

if TYPE_CHECKING:
    from graphseg.batch.run import Run

LAST = ("seconds", "error")  # columns of the CSV file


@dataclass(frozen=True)
class Column:
    """A column of the page's table."""

    key: str  # of the rows
    heading: str
    unit: str = ""  # "" for text
    digits: int | None = None  # after the decimal point; None for text
    about: str = ""  # what it is, in a tooltip
    shown: bool = True  # from the start
    factor: float = 1.0  # that numbers are shown times: 100 for percent

    def value(self, row: Mapping[str, Any]) -> str | float | None:
        """Return what the page shows in a row; None where nothing is known."""
        value = row.get(self.key)
        if value is None or value == "" or value != value:
            return None
        if self.digits is None:
            return str(value)
        return round(float(value) * self.factor, self.digits)


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
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options = dict(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return jinja2.Environment(loader=loader, **options).get_template("report.html")


def html_page(
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    shown: Sequence[Mapping[str, Any]] | None = None,
    sorted_by: str | None = None,
    paragraphs: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """Return a page with a table that can be filtered and sorted by any column.

    It can be used by keyboard, and needs no network. All texts are escaped.

    Parameters
    ----------
    title
        Of the page.
    columns
        Of the table; the first one of text names the row. Those without any value are left out.
    rows
        One for each image, with ``flags``, ``look_first``, ``warning`` and ``error`` if they have
        such, from which the page tells why an image is to be looked at.
    shown
        For each row the ``files`` that belong to it, as seen from the page, or a picture as an
        address that starts with ``data:``; ``above`` as `graphseg.io.outputs.previews` returns it.
    sorted_by
        Key of the column that the rows are in ascending order of.
    paragraphs
        Texts above the table.
    files
        What files are, by the ends of their names.
    """
    rows = [dict(row) | {"reasons": _reasons(row)} for row in rows]
    used = [one for one in columns if any(one.value(row) is not None for row in rows)]
    data = {
        "columns": [asdict(column) for column in used],
        "rows": [
            {
                "values": [column.value(row) for column in used],
                "warning": row.get("error") or row.get("warning") or "",
                **_addresses(more),
            }
            for row, more in zip(rows, shown or [{}] * len(rows), strict=True)
        ],
        "reasons": REASONS,
        "sortedBy": sorted_by,
        "hidden": f"{HIDDEN}/",
    }
    return _template().render(
        title=title,
        paragraphs=paragraphs,
        files=files or {},
        axes=AXES,
        # Of a matrix that turns what is white into this red, and leaves the rest out.
        red=" ".join([*(f"0 0 0 0 {value / 255}" for value in RED), f"{OPACITY} 0 0 0 0"]),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _reasons(row: Mapping[str, Any]) -> str:
    """Return why an image is to be looked at, in words that `REASONS` explains."""
    found = {"failed": row.get("error"), "look_first": row.get("look_first")}
    names = (name for name, there in found.items() if there)
    return " ".join([*names, row.get("flags") or ""]).strip()


def _addresses(shown: Mapping[str, Any]) -> dict[str, Any]:
    files = shown.get("files", ())
    # Names need not be UTF-8.
    urls = [f if f.startswith("data:") else quote(os.fsencode(f)) for f in files]
    return {"files": urls, "above": shown.get("above")}


REASONS = {
    "failed": "There is no result.",
    "look_first": "The expected quality is lower than for nine tenths of the images that it was "
    "calibrated with, or the image was recorded in other conditions than the training images.",
    "outside_known_scale": "The network knows no images of this pixel size.",
    "out_of_distribution": "The image is unlike those that the network was trained on.",
    "nearly_all_contaminated": "Nearly all of the image is called contaminated.",
    "no_lattice": "No lattice was found outside of contamination: nothing is said of atoms.",
    "superposed_lattices": "Two lattices lie over one another, so there are no boundaries.",
    "uncertain_contrast": "Atoms may be confused with the centres of rings.",
    "low_signal": "Single atoms hardly stand out from the noise; most vacancies are lost in it.",
}
FILES = {
    "_mask": "255 where there is contamination, 0 elsewhere",
    "_classmap": "grey values of the labels that the network was trained on",
    "_probability.tif": "probability of contamination, 0 to 1",
    "_overlay.png": "the image with contamination in orange-red, in full size",
    "_classes.png": "lattice white, boundary red, vacuum green, contamination blue",
    "_atoms.csv": "a row for each atom, with its place",
    "_bonds.csv": "pairs of atoms; angles in degrees from the right, clockwise",
    "_rings.csv": "a row for each ring of 4 to 9 atoms, with the place of its centre",
    "_defects.csv": "a row for each vacancy and each ring of other than 6 atoms, with its place",
    "_atoms.xyz": "atoms in Å as extended XYZ, for ASE or OVITO",
    "_reduced.h5": "image and class map, compressed",
}
AXES = (
    "Places: row_down_px and column_right_px are pixels from the centre of the upper left one, "
    "x_right_angstrom and y_up_angstrom are Å from the centre of the lower left one."
)
PERCENT = ("%", 1)
NUMBER = ("number", 0)
RANKS = (
    Column("rank", "Rank", *NUMBER),
    Column("best_rank", "Best rank", *NUMBER, "That the intervals allow."),
    Column("worst_rank", "Worst rank", *NUMBER, "That the intervals allow."),
)
CLEAN = "Pixels that can be used."
REASONS_COLUMN = Column("reasons", "Reasons to look", about="The list shows those with one reason.")
CONTAMINATED = Column(
    "contaminated_fraction", "Contaminated", *PERCENT, "Pixels of the mask.", factor=100
)
EXPECTED = Column(
    "expected_jaccard", "Quality", "0 to 1", 2,
    "Expected Jaccard index of the mask with a label that nobody has made; unknown where the image "
    "is unlike those that it was calibrated with.",
)  # fmt: skip
FRAME = Column("frame", "Frame", "from 0", 0)
FURTHER = (
    Column("clean_fraction", "Clean", *PERCENT, CLEAN, False, 100),
    Column("clean_low", "Clean from", *PERCENT, "Lower end of its interval.", False, 100),
    Column("clean_high", "Clean to", *PERCENT, "Upper end of its interval.", False, 100),
    Column("expected_low", "Quality from", "0 to 1", 2, "Lower end of its interval.", False),
    Column("expected_high", "Quality to", "0 to 1", 2, "Upper end of its interval.", False),
    Column("pixel_size", "Pixel size", "Å", 3, "Of the image as it is.", False),
    Column("pixel_size_from", "Pixel size from", shown=False),
    Column(
        "ood_score", "Distance", "1 = limit", 2, "To the training images; above 1: flag.", False
    ),
    Column("verdict", "Compared with the training images", shown=False),
    Column("threshold", "Threshold", "0 to 1", 2, "Of the probability, for the mask.", False),
    Column("width", "Width", "pixels", 0, "", False),
    Column("height", "Height", "pixels", 0, "", False),
    Column("seconds", "Time", "s", 2, "", False),
    Column("model", "Network", shown=False),
    Column("mask", "Mask", about="Automatic, corrected in part, or accepted.", shown=False),
)
REDUCTION = (
    Column("ratio", "Ratio", "times smaller", 2),
    Column("coarse_fraction", "Coarse", *PERCENT, factor=100),
    Column("rmse", "Error", "grey levels", 2),
)
STRUCTURE = (
    Column("defects", "Defects", *NUMBER, "Vacancies, and rings of other than 6 atoms."),
    Column("rings_5", "5-rings", *NUMBER),
    Column("rings_7", "7-rings", *NUMBER),
    Column("vacancies", "Vacancies", *NUMBER),
    Column("boundaries_nm", "Boundary length", "nm", 1, "Of all grain boundaries together."),
    Column("twist_degrees", "Twist", "°", 1, "Between two lattices over one another."),
    Column("atoms", "Atoms", *NUMBER, "", False),
    *(Column(f"rings_{size}", f"{size}-rings", *NUMBER, "", False) for size in (6, 8)),
    *(Column(f"{name}_nm2", name.capitalize(), "nm²", 1, "Area.", False) for name in CLASSES),
)
OWN = {  # what a command shows besides what all do, and the title
    "analyse": (STRUCTURE, "Structure"),
    "segment": ((), "Contamination"),
    "sort": (RANKS, "Images by their clean fraction"),
    "reduce": (REDUCTION, "Reduced images"),
}


def write_tables(run: "Run") -> tuple[Path, Path]:
    """Write the CSV and the report of a run, and return their paths.

    They are in order of files and frames, or of ranks for the command ``sort``; there images that
    failed come last.
    """
    command = run.manifest.command
    good = [pair for pair in run.pairs if not pair[0]["error"]]
    failed = [pair for pair in run.pairs if pair[0]["error"]]
    own, title = OWN[command]
    if command == "sort":
        good = _ranked(good)
    rows, shown = map(list, zip(*good, *failed, strict=True)) if run.pairs else ([], [])
    ends = {
        end: text for end, text in FILES.items() if any(end in f for m in shown for f in m["files"])
    }
    page = html_page(
        title,
        (Column("file", "File"), FRAME, CONTAMINATED, EXPECTED, *own, REASONS_COLUMN, *FURTHER),
        rows, shown, "rank" if command == "sort" else None, _summary(run, rows, len(failed)), ends,
    )  # fmt: skip
    return run.manifest.write_tables(csv_text(rows), page)


def _ranked(pairs: Sequence[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    if not pairs:
        return []
    rows = [row for row, _ in pairs]
    ranking = rank(
        [row["name"] for row in rows],
        [row["clean_fraction"] for row in rows],
        [(row["clean_low"], row["clean_high"]) for row in rows],
    )
    places = zip(range(1, len(rows) + 1), *ranking.rank_range.T.tolist(), strict=True)
    ranks = [dict(zip((column.key for column in RANKS), place, strict=True)) for place in places]
    ordered = [pairs[place] for place in ranking.index]
    return [(rank | row, shown) for rank, (row, shown) in zip(ranks, ordered, strict=True)]


def _summary(run: "Run", rows: Sequence[dict], failed: int) -> list[str]:
    """Return sentences above the table."""
    models = ", ".join(sorted({row["model"] for row in rows if row.get("model")}))
    first = sum(row.get("look_first") == "yes" for row in rows)
    sentences = [
        f"Images: {len(rows) - failed}; failed: {failed}; to be looked at first: {first}; network: "
        f"{models or 'none'}. While a run goes on, load the page again to see what has come."
    ]
    if run.manifest.command == "segment":
        sentences.append(f"To correct masks: graphseg review {run.manifest.folder.name}")
    return sentences

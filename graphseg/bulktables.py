"""The tables at the end of a run: CSV and report, by file or by rank."""

from collections.abc import Sequence
from pathlib import Path

from graphseg import report, sorting
from graphseg.bulk import Run
from graphseg.bulkjob import Job
from graphseg.coarsening import CLASSES
from graphseg.report import Column

IMAGE = (Column("file", "File"), Column("frame", "Frame", 0))
CLEAN = (
    Column("clean_fraction", "Clean, %", 1, 100),
    Column("clean_low", "From, %", 1, 100),
    Column("clean_high", "To, %", 1, 100),
)
SCALE = (
    Column("pixel_size", "Å per pixel", 3),
    Column("strangeness", "Strangeness", 2),
    Column("flags", "Beware"),
)
EXPECTED = (
    Column("expected_jaccard", "Expected Jaccard", 2),
    Column("look_first", "Look first"),
)
RANKS = (
    Column("rank", "Rank", 0),
    Column("best_rank", "Best rank", 0),
    Column("worst_rank", "Worst rank", 0),
)
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
    "Clean fraction: the share of an image's pixels that can be used, with the ends of its "
    "interval. Contamination is red in the pictures."
)
RANK_CAPTION = " The best and the worst rank are those that the intervals allow."


def write_tables(job: Job, run: Run) -> tuple[Path, Path]:
    """Write the CSV and the report of a run, and return their paths.

    They are in order of files and frames, or of ranks for the command ``sort``. Images that failed
    come last in the CSV, and are listed above the table of the report.
    """
    command, ledger = job.task.command, job.ledger()
    pairs = list(zip(run.rows, run.thumbnails, strict=True))
    good = [pair for pair in pairs if not pair[0]["error"]]
    failed = [row for row, _ in pairs if row["error"]]
    caption, sorted_by = CAPTION, "file"
    if command == "sort":
        good, caption, sorted_by = _ranked(good), CAPTION + RANK_CAPTION, "rank"
    rows = [row for row, _ in good]
    csv_path, html_path = ledger.tables
    ledger.write_table(csv_path, report.csv_text(rows + failed))
    page = report.page(
        TITLES[command], caption, _used(COLUMNS[command], rows), rows,
        [thumbnail for _, thumbnail in good], sorted_by, _summary(rows, failed),
        [row["error"] for row in failed],
    )  # fmt: skip
    ledger.write_table(html_path, page)
    return csv_path, html_path


def _ranked(pairs: Sequence[tuple[dict, str | None]]) -> list[tuple[dict, str | None]]:
    if not pairs:
        return []
    rows = [row for row, _ in pairs]
    ranking = sorting.rank(
        [row["name"] for row in rows],
        [row["clean_fraction"] for row in rows],
        [(row["clean_low"], row["clean_high"]) for row in rows],
    )
    ranks = ranking.rank_range.tolist()
    return [
        ({"rank": i + 1, "best_rank": best, "worst_rank": worst} | pairs[place][0], pairs[place][1])
        for i, (place, (best, worst)) in enumerate(zip(ranking.index, ranks, strict=True))
    ]


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
    doubtful = sum(row.get("look_first") == "yes" for row in rows)
    if doubtful:
        sentences.append(f"With a low expected Jaccard index: {doubtful}; look at these first.")
    if flagged:
        sentences.append(f"With a flag in the last column: {flagged}; look at these first.")
    return sentences

"""What chapters and the README show of recorded results: names, tables, numbers as text."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from graphseg import metrics
from graphseg.colours import BLACK, BLUE, ORANGE, SKY, YELLOW
from graphseg.datasets.stack import acquisition_of, date_of
from graphseg.errors import InputError
from graphseg.evaluation.compare import fold_tables, image_counts
from graphseg.evaluation.records import read_record, summary

RESULTS_FOLDER = Path(__file__).resolve().parents[2] / "data" / "results"

# What a chapter, a table or a card calls the method of a record, by the record's name without its
# protocol: one name for each, everywhere.
NAMES = {
    "no_lattice": "no-lattice baseline",
    "bragg": "Bragg filter",
    "bragg_paper": "Bragg filter, paper's settings",
    "adaptive": "adaptive Bragg filter",
    "classifier": "pixel classifier",
    "unet": "U-Net, 25 epochs",
    "unet_best": "U-Net, 40 epochs + TTA",
    "unet_paper": "paper's U-Net",
    "unet_original": "original-size U-Net",
    "simulation_only": "simulation-only network",
    "ours": "our network",
    "general": "general network",
    "ablation_simulated": "initial weights",
}

METHOD_COLOURS = {
    "paper": "#7F7F7F",
    "no-lattice": BLACK,
    "bragg": ORANGE,
    "adaptive": YELLOW,
    "unet": BLUE,
    "unet_bn": SKY,
}
SCORES = {name: name for name in metrics.NAMES} | {
    "balanced_accuracy": "balanced acc.",
    "jaccard": "Jaccard",
    "f1": "F1",
}  # as headings
_PROTOCOLS = ("_acquisition", "_date", "_random", "_fold", "_unmerged")


def read_result(name: str) -> dict:
    """Read a recorded result of the project, ``data/results/NAME.json``."""
    return read_record(RESULTS_FOLDER / f"{name}.json")


def has_result(name: str) -> bool:
    """Whether a result is recorded."""
    return (RESULTS_FOLDER / f"{name}.json").exists()


def display_name(record: str) -> str:
    """Return what to call the method of a record, such as ``ours_acquisition``: "our network".

    Raises
    ------
    InputError
        If the record is of no method that has a name.
    """
    stem = record.replace("-", "_")  # methods have hyphens, files of records underscores
    while stem not in NAMES and stem.endswith(_PROTOCOLS):
        stem = stem[: stem.rindex("_")]
    if stem not in NAMES:
        raise InputError(f"The record {record!r} has no name to show: add it to tables.NAMES.")
    return NAMES[stem]


def number_of_groups(record: dict) -> int:
    """Return of how many groups the folds of a record are made.

    Records older than the groups of one place do not say it: theirs are the acquisitions.
    """
    if "groups" in record:
        return record["groups"]
    group = {"random": str, "acquisition": acquisition_of, "date": date_of}[record["protocol"]]
    return len({group(name) for result in record["results"] for name in result["test"]})


def training_minutes(result: dict) -> float:
    """Return how long the training of one fold took, whatever interrupted it, in minutes.

    The history of a network has the seconds of each epoch, also of those before an interruption.
    """
    seconds = [row["dur"] for row in result["history"] if isinstance(row, dict) and "dur" in row]
    return (sum(seconds) if seconds else result["fit_seconds"]) / 60


def labelled_images(record: dict) -> set[str]:
    """Return the names of the images of a record whose label is not empty."""
    return {
        name
        for result in record["results"]
        for name, (tp, _, fn, _) in zip(result["test"], result["counts"], strict=True)
        if tp + fn
    }


def conventions(record: dict) -> dict[str, dict]:
    """Return the three ways to treat an empty label, as arguments of the functions below.

    Parameters
    ----------
    record : dict
        Any record of the data set; it tells which labels are empty.

    Returns
    -------
    dict of str to dict
        What a table calls it, and the keyword arguments. "Left out" leaves out the image, also
        where a method found something on it.
    """
    return {
        "0/0 = 1": {"zero_division": 1.0},
        "0/0 = 0": {"zero_division": 0.0},
        "empty labels left out": {"names": labelled_images(record)},
    }


def only_images(record: dict, names: Collection[str], shuffle: int = 0) -> dict:
    """Return a record of one fold: the given images, as they were scored in one shuffle.

    Each was scored by a network that had not seen its group, so methods that were recorded on
    different folds can be compared on the same images.
    """
    table = image_counts(record, shuffle)
    chosen = [name for name in table if name in names]
    result = {"shuffle": 0, "fold": 0, "test": chosen, "counts": [table[n] for n in chosen]}
    return record | {"results": [result]}


def fold_scores(
    record: dict,
    score: str = "jaccard",
    average: str = "pooled",
    names: Collection[str] | None = None,
    zero_division: float = 1.0,
) -> np.ndarray:
    """Return one score of each fold, those of all shuffles, as (n,) float."""
    return np.array(
        [
            metrics.scores(table, average, zero_division)[score]
            for _, table in fold_tables(record, names)
        ]
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def score_rows(records: Mapping[str, dict], average: str) -> list[list[str]]:
    """Return one table row for each method: its label and six scores as mean ± spread of folds.

    The spaces do not break, so that a narrow column keeps mean and spread on one line.
    """
    rows = []
    for label, record in records.items():
        rows.append(
            [
                label,
                *(
                    f"{mean:.3f}\u00a0±\u00a0{spread:.3f}"
                    for mean, spread in summary(record, average).values()
                ),
            ]
        )
    return rows


def table_one(
    printed: Mapping[str, Mapping], records: Mapping[str, dict], ours: str, bragg: str
) -> tuple[list[str], list[list[str]]]:
    """Return Table 1 of the paper with our methods on the same rows, as header and rows.

    Parameters
    ----------
    printed : mapping
        ``unet``, ``bragg`` and ``difference_percent``, each score to value, as the paper has them.
    records : mapping of str to dict
        Label to record: one column each, a mean over folds and shuffles.
    ours, bragg : str
        Labels of the two whose difference stands beside the paper's.
    """
    header = [
        "score",
        "U-Net, as printed",
        "Bragg filter, as printed",
        "difference (%), as printed",
        *records,
        f"{ours} − {bragg} (%)",
        f"{ours} − U-Net, as printed (%)",
    ]
    rows = []
    for average, suffix in (("per_image", "per image"), ("pooled", "pooled")):
        means = {label: summary(record, average) for label, record in records.items()}
        for name, label in SCORES.items():
            values = {method: scores[name][0] for method, scores in means.items()}
            differences = (values[ours] - values[bragg], values[ours] - printed["unet"][name])
            rows.append(
                [
                    f"{label}, {suffix}",
                    *(f"{printed[key][name]:.3f}" for key in ("unet", "bragg")),
                    f"{printed['difference_percent'][name]:.1f}",
                    *(f"{value:.3f}" for value in values.values()),
                    *(signed(100 * value, 1) for value in differences),
                ]
            )
    return header, rows


def signed(value: float, digits: int = 3) -> str:
    """Format a number with its sign, a real minus sign where it is below zero."""
    return f"{value:+.{digits}f}".replace("-", "−")


def with_interval(value: float, low: float, high: float) -> str:
    """Format a difference with its interval on one line: ``+0.010 [−0.002, +0.029]``.

    Three digits, and four where three would be zeros.
    """
    first, *ends = (signed(v, 4 if 0 < abs(v) < 0.0005 else 3) for v in (value, low, high))
    return f"{first}\u00a0[{ends[0]},\u00a0{ends[1]}]"

"""Write the part of the README that says what was measured, from the records.

``python -m book.tools.readme`` replaces what stands between the two markers. A test compares that
part with the records, and lets no other number into the README that it cannot check.
"""

import textwrap
from pathlib import Path

from book.tools import tables
from book.tools.tables import display_name, markdown_table, read_result
from graphseg import metrics
from graphseg.evaluation import compare
from graphseg.evaluation.records import read_record, summary

README = Path(__file__).resolve().parents[2] / "README.md"
START, END = "<!-- measured: written by python -m book.tools.readme -->", "<!-- end -->"
STEMS = (
    "no_lattice_acquisition",
    "bragg_paper_acquisition",
    "bragg_acquisition",
    "adaptive_acquisition",
    "classifier_acquisition",
    "unet_acquisition",
    "unet_best_acquisition",
    "simulation_only",
    "general_acquisition",
    "ours_acquisition",
)
WAYS = {
    "one": {"average": "per_image"},
    "zero": {"average": "per_image", "zero_division": 0.0},
    "pooled": {"average": "pooled"},
}


def measured() -> str:
    """Return the part between the markers, as Markdown."""
    records = {display_name(stem): read_result(stem) for stem in STEMS}
    paper = read_record(tables.RESULTS_FOLDER.parent / "paper.json")
    parts = (
        _jaccard(records, paper["scores"]),
        _six_scores(records, paper["scores"]),
        _empty_labels(records),
        _other_microscopes(read_result("domain_shift")),
        _choices(records),
        _paper_recipe(records, paper),
        _rates(read_result("rates")),
    )
    return "\n\n".join(parts)


def section(text: str) -> str:
    """Return what stands between the markers of a README."""
    return text.split(START)[1].split(END)[0].strip()


def _jaccard(records: dict[str, dict], printed: dict) -> str:
    ours = records["our network"]
    labelled = tables.labelled_images(ours)
    number = len(compare.image_counts(ours))
    rows = [
        [name, *(_spread(r, **way) for way in ({}, {"names": labelled})), _spread(r, "pooled")]
        for name, r in records.items()
    ]
    columns = [
        "Jaccard index",
        "per image",
        f"per image, without the {number - len(labelled)} empty labels",
        "pooled",
    ]
    # A record whose folds were made since then says of how many groups they are.
    older = [name for name, r in records.items() if "protocol" in r and "groups" not in r]
    note = ""
    if older:
        note = "\n\n" + _wrapped(
            "Recorded on older folds, made before acquisitions of one place were merged: "
            f"{'; '.join(older)}. Chapter 5 shows what merging changes."
        )
    text = _wrapped(
        f"How well does each method find the contamination of the {number} published images? The "
        "table gives mean ± standard deviation over five folds (over five trainings for the "
        "simulation-only network). The folds are grouped: frames of one series and acquisitions of "
        "one place are never on both sides of a split. On random folds, the paper prints "
        f"{printed['bragg']['jaccard']:.3f} for its Bragg filter and "
        f"{printed['unet']['jaccard']:.3f} for its U-Net."
    )
    return f"{text}\n\n{markdown_table(columns, rows)}{note}"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_on_hyphens=False, break_long_words=False)


def _spread(record: dict, average: str = "per_image", **options) -> str:
    values = tables.fold_scores(record, "jaccard", average, **options)
    return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}"


def _six_scores(records: dict[str, dict], printed: dict) -> str:
    rows = [
        ["U-Net, as the paper prints it", *(f"{printed['unet'][k]:.3f}" for k in metrics.NAMES)]
    ]
    for name in ("our network", "simulation-only network"):
        for average in ("per_image", "pooled"):
            means = summary(records[name], average)
            label = f"{name}, {average.replace('_', ' ')}"
            rows.append([label, *(f"{means[k][0]:.3f}" for k in metrics.NAMES)])
    table = markdown_table(["", *tables.SCORES.values()], rows)
    ours, free = (
        {way: _above(records[name], printed["unet"], **options) for way, options in WAYS.items()}
        for name in ("our network", "simulation-only network")
    )
    six = len(metrics.NAMES)
    missed = [k.replace("_", " ") for k in metrics.NAMES if k not in free["one"][0]]
    text = _wrapped(
        f"Our network exceeds the printed U-Net in {len(ours['one'][0])} of {six} scores per "
        f"image and in {len(ours['pooled'][0])} of {six} pooled ones; the 95 % interval of its "
        f"score lies above the printed value in {len(ours['one'][1])} and "
        f"{len(ours['pooled'][1])} of them. The simulation-only network, which was trained without "
        f"labels, exceeds it in {len(free['one'][0])} of {six} scores per image (not in "
        f"{' and '.join(missed) or 'none'}), in {len(free['zero'][0])} if 0/0 counts as 0, and in "
        f"{len(free['pooled'][0])} pooled. Labels entered only through the ranges of its "
        "generator, which were set on those of half of the acquisitions."
    )
    return f"{table}\n\n{text}"


def _above(record: dict, printed: dict, **options) -> tuple[list[str], list[str]]:
    """Return the scores above the printed ones, and those whose interval is."""
    values = {k: compare.score_interval(record, k, **options) for k in metrics.NAMES}
    won = [k for k, (value, *_) in values.items() if value > printed[k]]
    ends = {k: [end - printed[k] for end in values[k][1:]] for k in won}
    return won, [k for k in won if compare.verdict(*ends[k]) == "excludes zero"]


def _empty_labels(records: dict[str, dict]) -> str:
    pair = records["our network"], records["U-Net, 40 epochs + TTA"]
    labelled = tables.labelled_images(pair[0])
    number = len(compare.image_counts(pair[0])) - len(labelled)
    options = {"average": "per_image"}
    everything = compare.paired_difference(*pair, **options)
    zero = compare.paired_difference(*pair, **options, zero_division=0.0)
    left_out = compare.paired_difference(*pair, **options, names=labelled)
    result = compare.verdict(*left_out[1:]) == "excludes zero"
    above = all(
        compare.verdict(
            *compare.paired_difference(first, records["pixel classifier"], **options, **way)[1:]
        )
        == "excludes zero"
        for first in pair
        for way in tables.conventions(pair[0]).values()
    )
    consequence = (
        "The order of these two holds without the empty labels."
        if result
        else "Which of these two is better is therefore not decided."
    )
    if above:
        consequence += " Both are better than the pixel classifier, however 0/0 is counted."
    return _wrapped(
        f"How much depends on the {number} empty labels? Where there is nothing to find and "
        "nothing is found, the index is 0/0, which counts as 1 here, while a single false positive "
        "pixel makes it 0. The difference, our network minus U-Net, 40 epochs + TTA, is "
        f"{tables.with_interval(*everything)} per image with 0/0 = 1, "
        f"{tables.with_interval(*zero)} with 0/0 = 0, and "
        f"{tables.with_interval(*left_out)} without these {number} images (95 % intervals, "
        f"bootstrap over groups). {consequence}"
    )


def _other_microscopes(record: dict) -> str:
    reached = {name: target["reached"] for name, target in record["targets"].items()}
    mean, agreement = (
        reached[name]
        for name in ("mean Jaccard over microscopes", "least agreement with the native mask")
    )
    number = len(record["microscopes"]["scores"]["default"]["microscopes"])
    frames = len(record["microscopes"]["frames"])
    return _wrapped(
        "Do the masks hold elsewhere? When the pixels of published images are made 0.5 to 1.6 "
        "times as large, the masks of our network agree with those at the native scale to "
        f"{agreement['default']:.2f} or better (Jaccard index between masks), those of the general "
        f"network to {agreement['general']:.2f}. Other microscopes are harder ({number} simulated "
        f"ones, {frames} frames, with settings and structures outside those of the training): "
        f"there the mean Jaccard index is {mean['default']:.2f} for our network, "
        f"{mean['general']:.2f} for the general network in one view and "
        f"{mean['simulated']:.2f} for the simulation-only network (chapter 13)."
    )


def _choices(records: dict[str, dict]) -> str:
    names = tables.labelled_images(records["our network"])
    ours, adaptive, bragg = (
        records[name] for name in ("our network", "adaptive Bragg filter", "Bragg filter")
    )
    options = {"average": "per_image", "names": names}
    whole = compare.paired_difference(ours, bragg, **options)[0]
    part = compare.paired_difference(adaptive, bragg, **options)[0]
    return _wrapped(
        "The recipe of our network was not chosen inside the folds: a nested search by accuracy "
        "chose the plain U-Net in most of them (its choice has a row of its own in chapters 5 and "
        f"6). A better classical method, the adaptive Bragg filter, makes {100 * part / whole:.0f} "
        "% of the step from our Bragg filter to our network."
    )


def _paper_recipe(records: dict[str, dict], paper: dict) -> str:
    alone = read_result("unet_paper_fold")
    shared = set(compare.image_counts(alone))
    labelled = tables.labelled_images(alone)
    scores = [
        tables.fold_scores(part, "jaccard", average, names=names).mean()
        for part in (alone, tables.only_images(records["our network"], shared))
        for average, names in (("per_image", labelled), ("pooled", None))
    ]
    original = read_result("unet_original")
    return _wrapped(
        f"The paper's own recipe is recorded with {alone['parameters']['epochs']} of its "
        f"{paper['training']['epochs']} epochs on one of {paper['training']['folds']} folds: "
        f"{scores[0]:.3f} per image without empty labels and {scores[1]:.3f} pooled. Our network "
        f"reaches {scores[2]:.3f} and {scores[3]:.3f} on the same images. The original-size "
        f"network is recorded with {original['parameters']['epochs']} epochs, too few to say what "
        "it could reach. Chapter 6 gives all intervals, and says which data each method was "
        "allowed to see."
    )


def _rates(record: dict) -> str:
    rates, million = record["rates"], 1e6
    rows = []
    for side, commands in rates.items():
        for command, found in commands.items():
            hourly, memory = found["images_an_hour_and_core"], found["megabytes"]
            row = [f"{side}²", f"`{command}`", f"{hourly:.0f}", f"{memory:.0f} MB"]
            rows.append([*row, f"{million / hourly:.0f}"])
    columns = ["pixels", "command", "images per hour and core", "memory", "core hours for 10⁶"]
    text = _wrapped(
        "How fast is it? Measured on finely sampled simulated images on disk, with the default "
        "network and one thread, without the start of the program (`python -m book.studies "
        "rates`). The last column is computed from the third; it assumes cores that wait neither "
        "for one another nor for the disk:"
    )
    return f"{text}\n\n{markdown_table(columns, rows)}"


def main() -> None:
    """Write the part into the README."""
    text = README.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    README.write_text(f"{before}{START}\n\n{measured()}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Cross-validation of one method."""

from pathlib import Path

from book.studies.configurations import LAYERS
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation import crossval, methods
from graphseg.evaluation.records import summary
from graphseg.unet import finetune

AVERAGES = ("pooled", "per_image")


def check(method: str, changes: dict | None = None, **_) -> None:
    """Refuse an unknown method or parameter before any image is loaded."""
    methods.make(method, **(changes or {}))


def run(
    stack: LabelledStack,
    method: str,
    protocol: str = "acquisition",
    folds: int = 5,
    shuffles: int = 1,
    jobs: int = 1,
    only: list[int] | None = None,
    defects: int = 0,
    changes: dict | None = None,
    run_folder: Path | None = None,
) -> dict:
    """Cross-validate a method; an interrupted run resumes.

    Example: python -m book.studies evaluate unet --set epochs=12 --output data/results/unet.json

    Parameters
    ----------
    stack
        The labelled images.
    method
        One of no-lattice, bragg, bragg-paper, adaptive, classifier, unet, unet-paper,
        unet-original.
    protocol
        Which images stay together in a split: those of one acquisition, of one date, or none
        (random).
    folds
        Number of folds of each shuffle.
    shuffles
        Number of different assignments of the images to folds.
    jobs
        Folds trained at a time; -1: one per core.
    only
        Run only this fold, counted from 0; may be repeated.
    defects
        Number of additional simulated training images with many defects, which are not
        contamination.
    changes
        A parameter of the method, NAME=VALUE; may be repeated.
    run_folder
        Keeps finished folds, the networks of all folds, and checkpoints.

    Returns
    -------
        The record of :func:`graphseg.evaluation.crossval.cross_validate`.
    """
    return crossval.cross_validate(
        methods.make(method, **(changes or {})),
        stack,
        name=method,
        protocol=protocol,
        folds=folds,
        shuffles=shuffles,
        run_folder=run_folder,
        n_jobs=jobs,
        only=only or None,
        extra=finetune.simulated_stack(defects, 0, LAYERS) if defects else None,
    )


def summarise(record: dict) -> str:
    """Return mean and standard deviation over folds of each score, under both averages."""
    lines = [f"{record['name']}: {len(record['results'])} folds by {record['protocol']}"]
    for average in AVERAGES:
        scores = (f"{key} {m:.3f} ± {s:.3f}" for key, (m, s) in summary(record, average).items())
        lines.append(f"{average}: {', '.join(scores)}")
    return "\n".join(lines)


def jaccard_line(name: str, record: dict) -> str:
    """Return a line with the Jaccard index of a record under both averages."""
    scores = (
        "{} {:.3f} ± {:.3f}".format(a.replace("_", " "), *summary(record, a)["jaccard"])
        for a in ("per_image", "pooled")
    )
    return f"{name}: Jaccard {', '.join(scores)}"

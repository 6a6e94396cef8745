"""``python -m book.studies NAME`` makes one recorded result of the book; --help lists them."""

from pathlib import Path
from typing import Annotated

import typer

from book.studies import (
    atoms_under_masks,
    calibration,
    defect_masking,
    grid_search,
    label_noise,
    learning_curve,
    re_evaluation,
    robust_finetuning,
    robustness,
    simulation_only,
    thresholds,
)
from book.studies import ood as ood_study
from graphseg.batch import pools
from graphseg.cli import (
    Changes,
    Defects,
    Jobs,
    Only,
    Output,
    Protocol,
    Scheduler,
    Source,
    call,
    parsed,
)
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation import crossval, methods, ood, quality, records
from graphseg.simulation.configuration import DEFECTS
from graphseg.unet import finetune, pretrained

app = typer.Typer(
    help="Make the recorded results of the book.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def evaluate(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join(methods.METHODS)}")],
    output: Output,
    protocol: Protocol = "acquisition",
    folds: int = 5,
    shuffles: int = 1,
    source: Source = "auto",
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    only: Only = None,
    defects: Defects = 0,
    changes: Changes = None,
) -> None:
    """Cross-validate a method and write the record; a killed run continues.

    Example: python -m book.studies evaluate unet --set epochs=12 --output data/results/unet.json
    """
    estimator = methods.make(method, **parsed(changes))
    with pools.workers(scheduler):
        record = crossval.cross_validate(
            estimator,
            load.load_stack(source),
            name=method,
            protocol=protocol,
            folds=folds,
            shuffles=shuffles,
            run_folder=Path("runs") / output.stem,
            n_jobs=jobs if scheduler is None else -1,
            only=only or None,
            extra=finetune.simulated_stack(defects, 0, DEFECTS) if defects else None,
        )
    records.write_record(output, record)
    for average in ("pooled", "per_image"):
        row = records.summary(record, average)
        scores = ", ".join(f"{name} {m:.3f} ± {s:.3f}" for name, (m, s) in row.items())
        typer.echo(f"{average}: {scores}")


@app.command()
def search(
    method: Annotated[str, typer.Argument(help=f"one of {', '.join(methods.METHODS)}")],
    output: Output,
    grid: Annotated[
        list[str], typer.Option(help="a parameter and its values, NAME=[VALUE, ...]; repeat")
    ],
    score: Annotated[str, typer.Option(help="what the inner folds are compared by")] = "accuracy",
    protocol: Protocol = "acquisition",
    folds: int = 5,
    inner_folds: int = 3,
    inner_tested: Annotated[
        int | None, typer.Option(help="how many inner folds are run; all by default")
    ] = None,
    final: Annotated[
        list[str] | None, typer.Option(help="a parameter of the final training, NAME=VALUE; repeat")
    ] = None,
    trials: Annotated[int, typer.Option(help="final trainings of the winner")] = 1,
    only: Only = None,
    source: Source = "auto",
    jobs: Jobs = 1,
    scheduler: Scheduler = None,
    changes: Changes = None,
) -> None:
    """Choose parameters on inner folds, score the choice on outer ones; a killed run continues.

    The paper's grid, for a GPU: python -m book.studies search unet-paper --grid "features=[16, 32,
    64]"
    --grid "levels=[3, 4, 5]" --grid "learning_rate=[1e-5, 1e-4, 1e-3]" --set epochs=150
    --final epochs=300 --trials 2 --protocol random --output data/results/search_paper.json
    """
    with pools.workers(scheduler):
        record = grid_search.search(
            methods.make(method, **parsed(changes)),
            parsed(grid, "--grid"),
            load.load_stack(source),
            name=method,
            score=score,
            protocol=protocol,
            folds=folds,
            inner_folds=inner_folds,
            inner_tested=inner_tested,
            final=parsed(final, "--final"),
            trials=trials,
            only=only or None,
            run_folder=Path("runs") / output.stem,
            n_jobs=jobs if scheduler is None else -1,
        )
    records.write_record(output, record)
    for found in record["searches"]:
        chosen = record["candidates"][found["chosen"]]
        typer.echo(f"fold {found['fold']}: {chosen}, {score} {max(found['scores']):.4f}")


@app.command()
def re_evaluate(
    record: Annotated[Path, typer.Argument(help="a record of `python -m book.studies evaluate`")],
    output: Output,
    source: Source = "auto",
    changes: Changes = None,
) -> None:
    """Score the networks of a finished evaluation again, predicting in another way.

    Example: python -m book.studies re-evaluate data/results/unet.json --set
    test_time_augmentation=True --output other.json
    """
    stack = load.load_stack(source)
    folder = Path("runs") / record.stem
    found = re_evaluation.re_evaluate(records.read_record(record), stack, folder, **parsed(changes))
    records.write_record(output, found)
    for average in ("pooled", "per_image"):
        mean, spread = records.summary(found, average)["jaccard"]
        typer.echo(f"{average}: jaccard {mean:.3f} ± {spread:.3f}")


@app.command(name="label-noise")
def measure_label_noise(output: Output, source: Source = "auto") -> None:
    """Record where methods contradict the labels out of fold, and what edges cost; minutes.

    Example: python -m book.studies label-noise --output data/results/label_noise.json
    """
    stack = load.load_stack(source)
    found = label_noise.label_noise(stack, label_noise.out_of_fold(stack))
    records.write_record(output, found)
    ceiling = found["agreed"]["pooled"]["jaccard"]
    typer.echo(
        f"{output}: labels corrected by agreement have Jaccard {ceiling:.3f} with the labels"
    )


@app.command()
def mask_effect(output: Output, source: Source = "auto") -> None:
    """Record how many false atoms each mask keeps out, and how many true ones it costs; minutes.

    Example: python -m book.studies mask-effect --output data/results/mask_effect.json
    """
    stack = load.load_stack(source)
    predicted = label_noise.out_of_fold(stack, ("bragg", "unet"))
    found = atoms_under_masks.mask_effect(stack, predicted)
    records.write_record(output, found)
    for name, counts in found["counts"].items():
        false, true, *_ = (sum(column) for column in zip(*counts, strict=True))
        typer.echo(f"{name}: {false} atoms in contamination, {true} outside")


@app.command()
def simulation_only_(
    output: Output,
    seeds: Annotated[int, typer.Option(help="trainings of each configuration")] = 5,
    images: Annotated[int, typer.Option(help="simulated images of each training")] = 900,
    step: Annotated[
        list[str] | None,
        typer.Option(help="a step from the naive to the final generator; repeat; default: final"),
    ] = None,
    defects: Defects = 0,
    source: Source = "auto",
    jobs: Jobs = 1,
    changes: Changes = None,
) -> None:
    """Train on simulated images only and score on labelled ones; a killed run continues.

    Example: python -m book.studies simulation-only --seeds 5 --set epochs=12 --output
    data/results/simulation_only.json
    """
    record = simulation_only.score_simulated(
        methods.make("unet", **parsed(changes)),
        load.load_stack(source),
        simulation_only.steps_of_realism(step),
        seeds,
        images,
        Path("runs") / output.stem,
        jobs,
        defects,
    )
    records.write_record(output, record)
    for number, name in enumerate(record["configurations"]):
        rows = [row for row in record["results"] if row["fold"] == number]
        _show(name, record | {"results": rows})


@app.command()
def learning_curve(
    output: Output,
    budget: Annotated[
        list[int] | None, typer.Option(help="a number of labelled acquisitions; repeat")
    ] = None,
    folds: int = 5,
    steps: Annotated[int, typer.Option(help="of each training at least")] = learning_curve.STEPS,
    source: Source = "auto",
    changes: Changes = None,
) -> None:
    """Train with few labelled acquisitions and score on whole folds; a killed run continues.

    Example: python -m book.studies learning-curve --budget 0 --budget 4 --set
    initial=simulated.safetensors
    --output data/results/learning_curve.json
    """
    record = learning_curve.label_curve(
        methods.make("unet", **parsed(changes)),
        load.load_stack(source),
        budget or learning_curve.BUDGETS,
        folds,
        Path("runs") / output.stem,
        steps,
    )
    records.write_record(output, record)
    for number in record["budgets"]:
        _show(f"{number} acquisitions", learning_curve.at(record, number))


def _show(name: str, record: dict) -> None:
    scores = (
        "{} {:.3f} ± {:.3f}".format(a.replace("_", " "), *records.summary(record, a)["jaccard"])
        for a in ("per_image", "pooled")
    )
    typer.echo(f"{name}: Jaccard {', '.join(scores)}")


NETWORKS = ("default", "simulated", *(f"fold_{number}" for number in range(5)))
OUT_OF_FOLD = ("bragg", "adaptive", "unet")


@app.command()
def defects(
    output: Output,
    method: Annotated[
        list[str] | None, typer.Option(help="a bundled network, bragg or adaptive; repeat")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="sheets of each kind in each condition")
    ] = defect_masking.REPEATS,
    test_time_augmentation: Annotated[
        bool, typer.Option(help="over the eight symmetries, as networks predict by default")
    ] = True,
    published: Annotated[
        bool, typer.Option(help="also false positives at boundaries of the published images")
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how much structure masks cover on simulated sheets; a killed run continues.

    Example: python -m book.studies defects --output data/results/defects.json

    What the record already holds of the same networks is not measured again.
    """
    stack = load.load_stack(source)
    record = records.read_record(output) if output.exists() else {"name": "defects", "methods": {}}
    names = method or [*NETWORKS, *defect_masking.FITTED]
    changes = {} if test_time_augmentation else {"test_time_augmentation": False}
    for name, found in defect_masking.measure(names, stack, record["methods"], repeats, **changes):
        record["methods"][name] = found
        record["made_with"] = records.provenance()
        records.write_record(output, record)
        fractions = defect_masking.verdict(found["rows"])
        recall, seen = fractions["recall at boundaries"], fractions["recall of visible"]
        typer.echo(
            f"{name}: masks {fractions['all']:.2%} near defects; recall at boundaries "
            f"{recall:.3f}, "
            f"of what is visible {seen:.3f}"
        )
    if published:
        record["published"] = _published(stack)
        records.write_record(output, record)


@app.command()
def calibrate(
    output: Output,
    package: Annotated[
        bool, typer.Option(help="also write what predictions need beside the networks")
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how far probabilities can be believed, and what Jaccard index to expect; minutes.

    Example: python -m book.studies calibrate --output data/results/confidence.json
    """
    found = calibration.measure(load.load_stack(source))
    records.write_record(output, found)
    if package:
        records.write_record(quality.FILE, calibration.package_file(found))
    error = found["calibration"]["temperature"]["error"]
    pearson = found["correlations"]["eight views, inner"]["pearson"][0]
    typer.echo(f"calibration error {error:.4f}; expected against measured Jaccard {pearson:.3f}")


@app.command(name="thresholds")
def choose_threshold(
    precision: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    recall: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    confident: Annotated[
        bool, typer.Option("--confident", help="the lower end of its 95 % interval must reach it")
    ] = False,
) -> None:
    """Print the threshold for a wanted precision or recall, or the whole table.

    Example: python -m book.studies thresholds --precision 0.95

    The probability maps that `graphseg segment --probabilities` writes can be cut at it.
    """
    stored = quality.package()
    if stored is None:
        raise InputError(
            "Nothing is known of thresholds: run python -m book.studies calibrate first."
        )
    rows = stored["thresholds"]
    if precision is not None or recall is not None:
        rows = [thresholds.choose(rows, precision, recall, confident)]
    typer.echo("threshold  calibrated  precision          recall             Jaccard")
    for row in rows:
        raw = thresholds.uncalibrated(row["threshold"], stored["temperature"])
        scores = (f"{row[n]:.3f} ({row[f'{n}_low']:.3f}-{row[f'{n}_high']:.3f})"
                  for n in thresholds.SCORES)  # fmt: skip
        typer.echo(f"{raw:9.4f}  {row['threshold']:10.2f}  {'  '.join(scores)}")


def _published(stack: load.LabelledStack) -> dict:
    """Count false positives at the boundaries of labelled images, out of fold."""
    lines = defect_masking.published_boundaries(stack)
    predicted = label_noise.out_of_fold(stack, OUT_OF_FOLD)
    predicted["simulated"] = pretrained.load("simulated").predict(stack.images)
    return {
        "digest": stack.digest,
        "boundaries": sum(map(len, lines)),
        "images": sum(map(bool, lines)),
        "counts": {
            name: defect_masking.false_at_boundaries(stack.masks, masks, lines)
            for name, masks in predicted.items()
        },
    }


@app.command(name="out-of-distribution")
def measure_out_of_distribution(
    output: Output,
    each: Annotated[int, typer.Option(min=2, help="images of every kind")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="of the out-of-distribution images")] = 1,
    package: Annotated[
        bool, typer.Option(help="also write what predictions need beside the networks")
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how well images outside of what the network knows are told; two minutes.

    Example: python -m book.studies out-of-distribution --output
    data/results/out_of_distribution.json

    To be run again after the networks were trained anew: what they know belongs to their weights.
    """
    stack = load.load_stack(source)
    if package:
        records.write_record(ood.FILE, ood_study.package_file(stack))
    found = ood_study.measure(stack, each, seed)
    records.write_record(output, found)
    typer.echo(
        f"area {found['area']:.4f}, flagged {found['flagged']:.1%}, "
        f"false alarms {found['false_alarms']:.1%}"
    )


@app.command(name="robustness")
def measure_robustness(
    output: Output,
    images: Annotated[int, typer.Option(min=0, help="spread over the folds; 0: all")] = 26,
    samples: Annotated[int, typer.Option(min=1, help="simulated in changed conditions")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="of noise and random starts")] = 0,
    training: Annotated[
        bool,
        typer.Option(help="also train a network further, with noise, blur and against attacks"),
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how masks get worse by natural changes and by attacks; a killed run continues.

    Example: python -m book.studies robustness --output data/results/robustness.json

    What the record already holds of the same networks and options is not measured again.
    """
    stack = load.load_stack(source)
    found = robustness.measure(stack, output, images, samples, seed)
    for part in ("changes", "physical", "attacks"):
        for name, curve in found[part].items():
            ends = (f"{method} {scores['pooled'][0]:.3f} to {scores['pooled'][-1]:.3f}"
                    for method, scores in curve["methods"].items())  # fmt: skip
            typer.echo(f"{name}: {', '.join(ends)}")
    if training:
        for name, scores in robust_finetuning.complete(output, stack, seed=seed)["scores"].items():
            typer.echo(
                f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in scores.items())}"
            )


if __name__ == "__main__":
    call(app)

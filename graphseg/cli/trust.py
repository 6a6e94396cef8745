"""The commands that measure how far a mask can be trusted."""

from typing import Annotated

import typer

from graphseg import (
    confidence,
    datasets,
    evidence,
    hardening,
    keptstructure,
    records,
    robustness,
    shipped,
    strangers,
    strangertrial,
    thresholds,
    uncertainty,
)
from graphseg.cli.common import Output, Source, app
from graphseg.errors import InputError

NETWORKS = ("default", "simulated", *(f"fold_{number}" for number in range(5)))
OUT_OF_FOLD = ("bragg", "adaptive", "unet")


@app.command()
def defects(
    output: Output,
    method: Annotated[
        list[str] | None, typer.Option(help="a network that comes along, bragg or adaptive; repeat")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="sheets of each kind in each condition")
    ] = keptstructure.REPEATS,
    averaging: Annotated[
        bool, typer.Option(help="over the eight symmetries, as networks predict by default")
    ] = True,
    published: Annotated[
        bool, typer.Option(help="also false positives at boundaries of the published images")
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how much structure masks cover on simulated sheets; a killed run continues.

    Example: graphseg defects --output data/results/defects.json

    What the record already holds of the same networks is not measured again.
    """
    stack = datasets.load(source)
    record = records.read_record(output) if output.exists() else {"name": "defects", "methods": {}}
    names = method or [*NETWORKS, *keptstructure.FITTED]
    changes = {} if averaging else {"averaging": False}
    for name, found in keptstructure.measure(names, stack, record["methods"], repeats, **changes):
        record["methods"][name] = found
        record["made_with"] = records.provenance()
        records.write_record(output, record)
        shares = keptstructure.verdict(found["rows"])
        recall, seen = shares["recall at boundaries"], shares["recall of visible"]
        typer.echo(
            f"{name}: masks {shares['all']:.2%} near defects; recall at boundaries {recall:.3f}, "
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

    Example: graphseg calibrate --output data/results/confidence.json
    """
    found = confidence.measure(datasets.load(source))
    records.write_record(output, found)
    if package:
        records.write_record(uncertainty.FILE, confidence.package_file(found))
    error = found["calibration"]["temperature"]["error"]
    pearson = found["correlations"]["eight views, inner"]["pearson"][0]
    typer.echo(f"calibration error {error:.4f}; expected against measured Jaccard {pearson:.3f}")


@app.command(name="thresholds")
def choose_threshold(
    precision: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    recall: Annotated[float | None, typer.Option(help="that is wanted, from 0 to 1")] = None,
    sure: Annotated[
        bool, typer.Option("--sure", help="the lower end of its 95 % interval must reach it")
    ] = False,
) -> None:
    """Print the threshold for a wanted precision or recall, or the whole table.

    Example: graphseg thresholds --precision 0.95

    The probability maps that `graphseg segment --probabilities` writes can be cut at it.
    """
    stored = uncertainty.package()
    if stored is None:
        raise InputError("Nothing is known of thresholds: run graphseg calibrate first.")
    rows = stored["thresholds"]
    if precision is not None or recall is not None:
        rows = [thresholds.choose(rows, precision, recall, sure)]
    typer.echo("threshold  calibrated  precision          recall             Jaccard")
    for row in rows:
        raw = thresholds.uncalibrated(row["threshold"], stored["temperature"])
        scores = (f"{row[n]:.3f} ({row[f'{n}_low']:.3f}-{row[f'{n}_high']:.3f})"
                  for n in thresholds.SCORES)  # fmt: skip
        typer.echo(f"{raw:9.4f}  {row['threshold']:10.2f}  {'  '.join(scores)}")


def _published(stack: datasets.LabelledStack) -> dict:
    """Count false positives at the boundaries of labelled images, out of fold."""
    lines = keptstructure.published_boundaries(stack)
    predicted = evidence.out_of_fold(stack, OUT_OF_FOLD)
    predicted["simulated"] = shipped.load("simulated").predict(stack.images)
    return {
        "digest": stack.digest,
        "boundaries": sum(map(len, lines)),
        "images": sum(map(bool, lines)),
        "counts": {
            name: keptstructure.false_at_boundaries(stack.masks, masks, lines)
            for name, masks in predicted.items()
        },
    }


@app.command(name="strangers")
def measure_strangers(
    output: Output,
    each: Annotated[int, typer.Option(min=2, help="strangers of every kind")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="of the strangers")] = 1,
    package: Annotated[
        bool, typer.Option(help="also write what predictions need beside the networks")
    ] = True,
    source: Source = "auto",
) -> None:
    """Record how well images outside of what the network knows are told; two minutes.

    Example: graphseg strangers --output data/results/strangers.json

    To be run again after the networks were trained anew: what they know belongs to their weights.
    """
    stack = datasets.load(source)
    if package:
        records.write_record(strangers.FILE, strangertrial.package_file(stack))
    found = strangertrial.measure(stack, each, seed)
    records.write_record(output, found)
    typer.echo(
        f"area {found['area']:.4f}, announced {found['announced']:.1%}, "
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

    Example: graphseg robustness --output data/results/robustness.json

    What the record already holds of the same networks and options is not measured again.
    """
    stack = datasets.load(source)
    found = robustness.measure(stack, output, images, samples, seed)
    for part in ("changes", "physical", "attacks"):
        for name, curve in found[part].items():
            ends = (f"{method} {scores['pooled'][0]:.3f} to {scores['pooled'][-1]:.3f}"
                    for method, scores in curve["methods"].items())  # fmt: skip
            typer.echo(f"{name}: {', '.join(ends)}")
    if training:
        for name, scores in hardening.complete(output, stack, seed=seed)["scores"].items():
            typer.echo(
                f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in scores.items())}"
            )

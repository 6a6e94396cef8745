"""``python -m book.studies NAME`` makes one recorded result of the book; --help lists them."""

import typer

from book.studies import (
    atoms_under_masks,
    benchmark,
    calibration,
    defect_masking,
    domain_shift,
    evaluation,
    grid_search,
    label_noise,
    learning_curve,
    ood,
    pretrained_networks,
    rates,
    re_evaluation,
    robustness,
    simulation_only,
)
from book.studies.driver import command
from book.studies.thresholds import thresholds
from graphseg.cli import call

STUDIES = {
    "evaluate": evaluation,
    "search": grid_search,
    "re-evaluate": re_evaluation,
    "label-noise": label_noise,
    "mask-effect": atoms_under_masks,
    "simulation-only": simulation_only,
    "learning-curve": learning_curve,
    "defects": defect_masking,
    "domain-shift": domain_shift,
    "calibrate": calibration,
    "out-of-distribution": ood,
    "robustness": robustness,
    "benchmark": benchmark,
    "pretrained-networks": pretrained_networks,
    "rates": rates,
}
app = typer.Typer(
    help="Make the recorded results of the book.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name, _study in STUDIES.items():
    app.command(name=_name)(command(_name, _study))
app.command()(thresholds)

if __name__ == "__main__":
    call(app)

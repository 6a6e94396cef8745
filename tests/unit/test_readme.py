"""The scores in the README are those of the recorded results."""

from pathlib import Path

import pytest

from graphseg.comparison import read_result
from graphseg.records import summary

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf8")
METHODS = {
    "control without a lattice": "control_acquisition",
    "Bragg filter, eqs 4–6": "bragg_acquisition",
    "adaptive Bragg filter": "adaptive_acquisition",
    "pixel classifier": "classifier_acquisition",
    "U-Net, 25 epochs": "unet_acquisition",
    "U-Net, 40 epochs, averaged": "unet_best_acquisition",
    "simulated images only, no label; spread over five trainings": "label_free",
    "our network: simulated images, then labels": "ours_acquisition",
}


@pytest.mark.parametrize(("label", "name"), METHODS.items())
def test_scores_are_those_recorded(label, name):
    record = read_result(name)
    cells = [label]
    for average in ("per_image", "pooled"):
        mean, spread = summary(record, average)["jaccard"]
        cells.append(f"{mean:.3f} ± {spread:.3f}")
    assert f"| {' | '.join(cells)} |" in README

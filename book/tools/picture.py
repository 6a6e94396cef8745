"""Draw the picture of the README: both methods on a simulated micrograph they have not seen."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from book.tools import paper_figures
from graphseg import metrics
from graphseg.datasets import load
from graphseg.evaluation import crossval, methods
from graphseg.plotting import micrographs

OUTPUT = Path("book/images/simulated_result.png")


def draw(output: Path = OUTPUT, epochs: int = 30) -> None:
    """Fit both methods on four folds of the simulated sample and show one image of the fifth.

    The image is the one with the median Jaccard index of the U-Net, among those with a label.

    Parameters
    ----------
    output
        The PNG to write.
    epochs
        Of the U-Net.
    """
    stack = load.load_simulated_sample()
    train, test = crossval.splits(stack, "acquisition")[0]
    estimators = {
        "Bragg filter": methods.make("bragg"),
        "U-Net": methods.make("unet", epochs=epochs),
    }
    predictions = {
        name: estimator.fit(stack.images[train], stack.masks[train]).predict(stack.images[test])
        for name, estimator in estimators.items()
    }
    table = metrics.counts(stack.masks[test], predictions["U-Net"])
    labelled = np.flatnonzero(stack.masks[test].any(axis=(1, 2)))
    order = labelled[np.argsort(metrics.score_table(table)["jaccard"][labelled])]
    chosen = order[len(order) // 2]
    micrographs.use_style()
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.3))
    image, mask = stack.images[test[chosen]], stack.masks[test[chosen]]
    masks = {name: prediction[chosen] for name, prediction in predictions.items()}
    paper_figures.show_case(axes, image, mask, masks, stack.pixel_size_of(test[chosen]))
    micrographs.add_error_legend(figure)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    draw()

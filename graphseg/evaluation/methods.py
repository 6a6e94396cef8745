"""The methods of the comparison by name, each an unfitted estimator."""

from collections.abc import Callable

from sklearn.base import BaseEstimator

from graphseg.classical.adaptive import AdaptiveBraggSegmenter
from graphseg.classical.bragg import BraggSegmenter
from graphseg.classical.pixels import PixelClassifier
from graphseg.errors import InputError
from graphseg.unet.segmenter import UNetSegmenter

METHODS: dict[str, Callable[..., BaseEstimator]] = {
    # The same code without a lattice filter: what smoothing and a threshold do alone.
    "no-lattice": lambda **p: BraggSegmenter(**({"lattice_filter": False} | p)),
    "bragg": BraggSegmenter,
    "bragg-paper": BraggSegmenter.paper,
    "adaptive": AdaptiveBraggSegmenter,
    "classifier": PixelClassifier,
    "unet": UNetSegmenter,
    "unet-paper": UNetSegmenter.paper,
    "unet-original": UNetSegmenter.original,
}

# What a chapter, a table or a card calls the method of a record, by the record's name without its
# protocol: one name for each, everywhere.
NAMES = {
    "no-lattice": "no-lattice baseline",
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
    "ours_blurred": "blur-trained network",
    "ablation_simulated": "initial weights",
}

_PROTOCOLS = ("_acquisition", "_date", "_random", "_fold", "_unmerged")


def display_name(record: str) -> str:
    """Return what to call the method of a record, such as ``ours_acquisition``: "our network".

    Raises
    ------
    InputError
        If the record is of no method that has a name.
    """
    stem = record
    while stem not in NAMES and stem.endswith(_PROTOCOLS):
        stem = stem[: stem.rindex("_")]
    if stem not in NAMES:
        raise InputError(f"The record {record!r} has no name to show: add it to methods.NAMES.")
    return NAMES[stem]


def make(name: str, **parameters) -> BaseEstimator:
    """Return the estimator of a method with some parameters changed.

    Parameters
    ----------
    name : str
        One of :data:`METHODS`.
    **parameters
        Constructor parameters.

    Raises
    ------
    InputError
        If the method or a parameter is unknown.
    """
    if name not in METHODS:
        raise InputError(f"The method {name!r} is unknown: use one of {', '.join(METHODS)}.")
    known = METHODS[name]().get_params()
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"The method {name!r} has no parameter {parameter!r}: use one of "
                f"{', '.join(sorted(known))}."
            )
    return METHODS[name](**parameters)

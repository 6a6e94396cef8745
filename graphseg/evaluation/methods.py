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


def make(name: str, **parameters) -> BaseEstimator:
    """Return the estimator of a method, one of :data:`METHODS`, with some parameters changed.

    Parameters
    ----------
    name, **parameters
        Of the method, and for its constructor.

    Raises
    ------
    InputError
        If the method or a parameter is unknown.

    Examples
    --------
    >>> make("no-lattice", smoothing=6.0).smoothing
    6.0
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

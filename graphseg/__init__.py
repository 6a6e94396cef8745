"""Segmentation of surface contamination in atomic-resolution micrographs of graphene.

>>> import graphseg as gs
>>> stack = gs.load_stack("simulated")
>>> gs.segment(stack.images[0], test_time_augmentation=False).mask.dtype
dtype('bool')
"""

from typing import TYPE_CHECKING

import lazy_loader

__version__ = "0.1.0"

# A module is imported when one of its names is first asked for, so that `import graphseg` is quick.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "api": ["Segmentation", "analyse", "read", "read_series", "segment"],
        "classical.adaptive": ["AdaptiveBraggSegmenter"],
        "classical.bragg": ["BraggSegmenter"],
        "classical.pixels": ["PixelClassifier"],
        "datasets.load": ["load_folder", "load_stack"],
        "errors": ["InputError"],
        "evaluation.crossval": ["cross_validate"],
        "simulation.samples": ["simulate"],
        "unet.pretrained": ["load_model"],
        "unet.segmenter": ["UNetSegmenter"],
    },
)

if TYPE_CHECKING:  # what checkers of types and editors see
    # ruff: noqa: F401
    from graphseg.api import Segmentation, analyse, read, read_series, segment
    from graphseg.classical.adaptive import AdaptiveBraggSegmenter
    from graphseg.classical.bragg import BraggSegmenter
    from graphseg.classical.pixels import PixelClassifier
    from graphseg.datasets.load import load_folder, load_stack
    from graphseg.errors import InputError
    from graphseg.evaluation.crossval import cross_validate
    from graphseg.simulation.samples import simulate
    from graphseg.unet.pretrained import load_model
    from graphseg.unet.segmenter import UNetSegmenter

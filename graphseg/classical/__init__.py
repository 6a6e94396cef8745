"""Methods without a network.

The Bragg filter of the paper (eqs 4–6) and its no-lattice baseline, the adaptive Bragg filter and
the pixel classifier, all scikit-learn estimators over stacks. Beside them the Fourier tools that
they have in common, and the denoising of a lattice on which `structure` builds. It imports
`preprocessing`, `metrics`, `checks` and `io` only.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adaptive": ["AdaptiveBraggSegmenter"],
        "bragg": ["BraggSegmenter"],
        "pixels": ["PixelClassifier"],
    },
)

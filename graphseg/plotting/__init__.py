"""Figures in one style, and the page of ``graphseg review``.

Micrographs with scale bars, masks, error maps, orientation, classes, atoms and rings, always in the
same colour-blind-safe colours; a page that corrects masks and paints labels. Nothing here computes
a result. It imports every other room but the command line.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "micrographs": ["overlay_mask", "show_micrograph", "use_style"],
        "structure": ["show_bonds", "show_classes", "show_orientation"],
    },
)

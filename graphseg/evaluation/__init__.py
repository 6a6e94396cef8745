"""How good a method is, and how far one mask can be trusted.

Cross-validation without leakage, records of results, paired comparisons with intervals;
expected quality and out-of-distribution checks of single images. A record holds the
counts of every test image, so that any score can be computed later. It imports `unet`, `classical`,
`structure`, `datasets`, `simulation` and `io`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "crossval": ["cross_validate", "pixel_scorer", "splits"],
        "quality": ["clean_fractions", "clean_intervals"],
        "records": ["read_record", "summary", "write_record"],
        "compare": ["paired_difference"],
        "methods": ["METHODS", "make"],
    },
)

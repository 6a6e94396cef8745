"""Labelled stacks of micrographs.

The published images, the bundled simulated sample and a user's own folder come back as one
`LabelledStack`, with names, groups that must stay on one side of a split, and dates. A folder of
one's own is checked before anything is trained on it. It imports `io` and `simulation`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "stack": ["LabelClasses", "LabelledStack", "acquisition_of", "group_of"],
        "load": ["load_folder", "load_published", "load_simulated_sample", "load_stack"],
        "check": ["check_folder"],
    },
)

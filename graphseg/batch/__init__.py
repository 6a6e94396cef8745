"""A folder of micrographs, on many cores and machines.

The manifest, which finds micrographs and lets an interrupted run resume, tasks, worker processes,
the report, the ranking and data reduction. A result is on disk before it is reported, so a killed
run loses only what was in hand. It imports everything but `plotting` and the command line.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "manifest": ["find_inputs"],
        "tasks": ["Analyse", "Network", "Reduce", "Segment", "Sort"],
        "ranking": ["rank"],
        "reduction": ["read_reduced", "write_reduced"],
    },
)

"""What only notebooks use: saying that data are simulated, and recording numbers."""

import math
from numbers import Integral, Real

from IPython.display import display

from graphseg.datasets import LabelledStack

# MyST-NB looks for glued values under this prefix; nothing shows them where they are recorded.
_GLUE = "application/papermill.record/"

_SIMULATED = """\
:::{admonition} Simulated micrographs
:class: warning
The published images were not available when this page was built. Everything on it was computed
from the simulated sample that comes with the project, so its numbers are not those of the
experiment.
:::
"""


def announce(stack: LabelledStack) -> None:
    """Show a note if a stack is simulated; show nothing for experimental images.

    Called once at the top of a notebook, right after the stack is loaded.

    Parameters
    ----------
    stack
        The stack that the notebook uses.
    """
    if stack.source != "simulated":
        return
    plain = "Simulated micrographs: the published images were not available."
    display({"text/markdown": _SIMULATED, "text/plain": plain}, raw=True)


def record(name: str, value: float | int | str, tolerance: float | None = None) -> None:
    """Record one number or word of a notebook, for its prose and for the regression test.

    Prose shows it as ``{glue:text}`name:.3f``` (``:d`` for int, ``:s`` for str). The tests
    compare it with its recorded value and report a difference above the tolerance.

    Parameters
    ----------
    name
        Name of the value, once in a notebook.
    value
        A finite number or a string. NumPy scalars are taken as well.
    tolerance
        Largest difference that is no change, absolute, in the unit of `value`; not allowed for
        str. Left out, `make record` takes it from how far the value moves between processors.

    Raises
    ------
    TypeError
        If `value` is neither a number nor a string.
    ValueError
        If `value` is not finite, or if `tolerance` is negative or out of place.
    """
    plain = _plain(name, value)
    allowed = _checked_tolerance(name, plain, tolerance)
    scrapbook = {"name": name, "mime_prefix": _GLUE, "tolerance": allowed}
    display({_GLUE + "text/plain": repr(plain)}, raw=True, metadata={"scrapbook": scrapbook})


def _plain(name: str, value: float | int | str) -> float | int | str:
    """Turn a value into a Python float, int or str."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is a {type(value).__name__}; record a float, an int or a str.")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}; only finite numbers can be recorded.")
    return float(value)


def _checked_tolerance(name: str, value: float | int | str, tolerance: float | None) -> float:
    """Give the tolerance of a value, 0 where none is needed."""
    if isinstance(value, str) and tolerance is not None:
        raise ValueError(f"{name} is a string and has no tolerance; leave it out.")
    allowed = 0.0 if tolerance is None else float(tolerance)
    if not (math.isfinite(allowed) and allowed >= 0):
        raise ValueError(f"The tolerance of {name} is {tolerance}; it must not be negative.")
    return allowed

"""What only notebooks use: saying that data are simulated, and recording numbers."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

from IPython.display import display

from graphseg.datasets.load import LabelledStack

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


def show_source(stack: LabelledStack) -> None:
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


def record(name: str, value: float | int | str, *, reason: str = "") -> None:
    """Record one number or word of a notebook, for its prose and for the regression test.

    Prose shows it as ``{glue:text}`name:.3f``` (``:d`` for int, ``:s`` for str). The tests compare
    it with its recorded value. How far it may move is no choice: `make record` executes the
    notebooks in several kinds of arithmetic and allows three times what it saw, at most a tenth
    of the value.

    Parameters
    ----------
    name
        Name of the value, once in a notebook.
    value
        A finite number or a string. NumPy scalars are taken as well. For a measured time use
        `timing`.
    reason
        Why more than a tenth of the value is allowed, such as "a difference near 0". Strings
        must not differ between processors, whatever the reason.

    Raises
    ------
    TypeError
        If `value` is neither a number nor a string.
    ValueError
        If `value` is not finite, or if a string comes with a reason.
    """
    plain = _plain(name, value)
    if reason and isinstance(plain, str):
        raise ValueError(f"{name} is a string, which must not change: it takes no reason.")
    _glue(name, plain, {"reason": reason} if reason else {})


def record_scores(name: str, scores: Mapping[str, float], *, reason: str = "") -> None:
    """Record all six scores of a method as ``NAME_accuracy``, ``NAME_jaccard`` and so on.

    One of them alone would not show that another is computed wrongly.

    Parameters
    ----------
    name
        What the names of the values begin with.
    scores
        Score to value, as `graphseg.metrics.scores` returns them. Also the pairs of mean and
        spread of `graphseg.evaluation.records.summary` are taken; spreads are
        ``NAME_jaccard_spread``.
    reason
        See `record`.
    """
    for key, value in scores.items():
        mean, *spread = value if isinstance(value, tuple) else (value,)
        record(f"{name}_{key}", mean, reason=reason)
        for deviation in spread:
            record(f"{name}_{key}_spread", deviation, reason=reason)


def timing(name: str, value: float) -> None:
    """Give prose a measured time, which says nothing about right and wrong and is not compared.

    Parameters
    ----------
    name
        As for `record`.
    value
        A finite number, in any unit.
    """
    _glue(name, _plain(name, value), {"timing": True})


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


def _glue(name: str, value: float | int | str, more: dict[str, str | bool]) -> None:
    scrapbook = {"name": name, "mime_prefix": _GLUE} | more
    display({_GLUE + "text/plain": repr(value)}, raw=True, metadata={"scrapbook": scrapbook})

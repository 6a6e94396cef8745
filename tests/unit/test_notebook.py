"""Recording numbers and announcing simulated data."""

import ast
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from myst_nb.ext.glue import GLUE_PREFIX

from graphseg import notebook


@dataclass
class Stack:
    """Stands for a labelled stack: only the source is looked at."""

    source: str


@pytest.fixture
def shown(monkeypatch):
    """The calls of IPython's display."""
    calls = []
    monkeypatch.setattr(notebook, "display", lambda data, **options: calls.append((data, options)))
    return calls


def test_simulated_data_are_announced_as_an_admonition(shown):
    notebook.announce(Stack("simulated"))
    (data, options), *others = shown
    assert not others
    assert data["text/markdown"].startswith(":::{admonition} Simulated")
    assert options["raw"]


@pytest.mark.parametrize("source", ["published", "folder"])
def test_experimental_data_are_not_announced(source, shown):
    notebook.announce(Stack(source))
    assert shown == []


def test_a_record_is_an_invisible_glued_value(shown):
    notebook.record("dice", 0.8125, tolerance=0.01)
    [(data, options)] = shown
    assert data == {GLUE_PREFIX + "text/plain": "0.8125"}
    assert options["metadata"]["scrapbook"] == {
        "name": "dice",
        "mime_prefix": GLUE_PREFIX,
        "tolerance": 0.01,
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_exactly(value):
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(notebook, "display", lambda data, **options: calls.append(data))
        notebook.record("x", value, tolerance=0)
    assert ast.literal_eval(*calls[0].values()) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.5), "0.5"),
        (np.float64(0.25), "0.25"),
        (np.int64(131), "131"),
        (7, "7"),
        ("U-Net", "'U-Net'"),
        (np.str_("a"), "'a'"),
    ],
)
def test_numpy_scalars_become_plain_python(value, text, shown):
    notebook.record("x", value, tolerance=0.1 if isinstance(value, float | np.floating) else None)
    assert list(shown[0][0].values()) == [text]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan")])
def test_values_that_are_not_finite_raise(value):
    with pytest.raises(ValueError, match="finite"):
        notebook.record("x", value, tolerance=1)


@pytest.mark.parametrize("value", [True, np.True_, None, np.zeros(1), [1.0]])
def test_other_types_raise(value):
    with pytest.raises(TypeError, match="record a float"):
        notebook.record("x", value)


@pytest.mark.parametrize(("value", "tolerance"), [(1.0, -0.1), (1.0, math.nan), ("a", 0.1)])
def test_tolerances_out_of_place_raise(value, tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        notebook.record("x", value, tolerance)

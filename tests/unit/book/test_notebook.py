"""Recording numbers and announcing simulated data."""

import ast
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from myst_nb.ext.glue import GLUE_PREFIX

from book.tools import notebook
from graphseg import metrics


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


def test_simulated_data_are_shown_as_an_admonition(shown):
    notebook.show_source(Stack("simulated"))
    (data, options), *others = shown
    assert not others
    assert data["text/markdown"].startswith(":::{admonition} Simulated")
    assert options["raw"]


@pytest.mark.parametrize("source", ["published", "folder"])
def test_experimental_data_are_not_named(source, shown):
    notebook.show_source(Stack(source))
    assert shown == []


def test_a_record_is_an_invisible_glued_value(shown):
    notebook.record("dice", 0.8125)
    [(data, options)] = shown
    assert data == {GLUE_PREFIX + "text/plain": "0.8125"}
    assert options["metadata"]["scrapbook"] == {"name": "dice", "mime_prefix": GLUE_PREFIX}


def marks(shown):
    """What is glued: name to (text, further marks)."""
    found = {}
    for data, options in shown:
        mark = dict(options["metadata"]["scrapbook"])
        assert mark.pop("mime_prefix") == GLUE_PREFIX
        found[mark.pop("name")] = (*data.values(), mark)
    return found


def test_a_reason_and_a_time_are_marked(shown):
    notebook.record("gain", 0.001, reason="a difference near 0")
    notebook.timing("seconds", 2.5)
    assert marks(shown) == {
        "gain": ("0.001", {"reason": "a difference near 0"}),
        "seconds": ("2.5", {"timing": True}),
    }


def test_all_scores_are_recorded(shown):
    table = np.array([[6, 2, 4, 88], [3, 1, 0, 96]])
    notebook.record_scores("ours", metrics.scores(table, "pooled"))
    found = {name: float(text) for name, (text, _) in marks(shown).items()}
    assert found == pytest.approx(
        {
            "ours_accuracy": 193 / 200,
            "ours_balanced_accuracy": (9 / 13 + 184 / 187) / 2,
            "ours_jaccard": 9 / 16,
            "ours_f1": 18 / 25,
            "ours_precision": 9 / 12,
            "ours_recall": 9 / 13,
        }
    )


def test_spreads_are_recorded_beside_their_scores(shown):
    notebook.record_scores("ours", {"jaccard": (0.8, 0.02), "f1": (0.9, 0.01)}, reason="trained")
    assert marks(shown) == {
        "ours_jaccard": ("0.8", {"reason": "trained"}),
        "ours_jaccard_spread": ("0.02", {"reason": "trained"}),
        "ours_f1": ("0.9", {"reason": "trained"}),
        "ours_f1_spread": ("0.01", {"reason": "trained"}),
    }


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_exactly(value):
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(notebook, "display", lambda data, **options: calls.append(data))
        notebook.record("x", value)
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
    notebook.record("x", value)
    assert list(shown[0][0].values()) == [text]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan")])
def test_values_that_are_not_finite_raise(value):
    with pytest.raises(ValueError, match="finite"):
        notebook.record("x", value)


@pytest.mark.parametrize("value", [True, np.True_, None, np.zeros(1), [1.0]])
def test_other_types_raise(value):
    with pytest.raises(TypeError, match="record a float"):
        notebook.record("x", value)


def test_a_string_takes_no_reason():
    with pytest.raises(ValueError, match="takes no reason"):
        notebook.record("x", "sure", reason="it varies")

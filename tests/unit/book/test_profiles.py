"""Parameters: profiles, the parameters cell, names and types."""

import nbformat.v4 as nb
import pytest

from book.tools import profiles
from book.tools.errors import ToolError


def notebook(*sources):
    tagged = {"tags": ["parameters"]}
    return nb.new_notebook(cells=[nb.new_code_cell(s, metadata=tagged) for s in sources])


def test_defaults_are_read_with_and_without_types():
    source = (
        "# how long\nepochs: int = 5  # passes\nrate = 1.0e-3\nname: str = 'a'\nsizes = [1, -2]"
    )
    expected = {"epochs": 5, "rate": 0.001, "name": "a", "sizes": [1, -2]}
    assert profiles.defaults(notebook(source), "x") == expected


@pytest.mark.parametrize("count", [0, 2])
def test_exactly_one_parameters_cell_is_needed(count):
    with pytest.raises(ToolError, match=f"x has {count} cells tagged 'parameters'"):
        profiles.defaults(notebook(*["a = 1"] * count), "x")


@pytest.mark.parametrize("source", ["a = 1 + b", "import os", "a: int", "print(1)", "a.b = 1"])
def test_only_literals_are_parameters(source):
    with pytest.raises(ToolError, match="literal value"):
        profiles.defaults(notebook(source), "x")


def test_an_unknown_name_raises():
    with pytest.raises(ToolError, match=r"x has no parameter 'epoch'; .* epochs, rate"):
        profiles.check({"epoch": 1}, {"epochs": 1, "rate": 0.1}, "x")


@pytest.mark.parametrize(
    ("value", "default"), [("1e-3", 0.1), (1.5, 1), (True, 1), (1, True), ("a", [1])]
)
def test_a_value_of_another_type_raises(value, default):
    with pytest.raises(ToolError, match="its default is a"):
        profiles.check({"a": value}, {"a": default}, "x")


@pytest.mark.parametrize(("value", "default"), [(1, 0.1), (2, 1), ("a", "b"), ("a", None)])
def test_values_that_fit_pass(value, default):
    profiles.check({"a": value}, {"a": default}, "x")


def test_profiles_are_read(tmp_path):
    path = tmp_path / "profiles.yml"
    path.write_text("test:\n  01_a: {epochs: 1}\npaper:\n")
    assert profiles.profile_parameters("01_a", "test", path) == {"epochs": 1}
    assert profiles.profile_parameters("02_b", "test", path) == {}
    assert profiles.profile_parameters("01_a", "paper", path) == {}
    assert profiles.profile_parameters("01_a", "default", path) == {}
    with pytest.raises(ToolError, match="choose one of default, test, paper"):
        profiles.profile_parameters("01_a", "papr", path)

"""The faults that `make mutants` plants fit the code as it is."""

import ast

import pytest

from book.tools.errors import ToolError
from tests.mutants.faults import FAULTS, Fault, path_of
from tests.mutants.run import planted


def test_there_are_thirty_faults_and_more_with_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 30


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fits_the_code_and_names_tests_and_chapters_that_exist(fault, root):
    text = (root / fault.path).read_text(encoding="utf8")
    wrong = planted(fault, text)
    assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(text))
    assert fault.tests
    for name in fault.tests:
        file, _, test = path_of(name).partition("::")
        tests = (root / file).read_text(encoding="utf8")
        assert f"def {test}(" in tests if test else tests
    assert all((root / "notebooks" / f"{name}.py").is_file() for name in fault.notebooks)


@pytest.mark.parametrize("text", ["a = 2", "a = 1; b = a = 1"])
def test_a_fault_that_does_not_fit_is_refused(text):
    with pytest.raises(ToolError, match=r"occurs \d times"):
        planted(Fault("wrong", "metrics", "a = 1", "a = 3", ("metrics",)), text)

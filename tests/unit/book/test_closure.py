"""Which modules a source depends on."""

import subprocess
import sys
from pathlib import Path

import pytest

from book.tools.closure import closure

ROOT = Path(__file__).resolve().parents[3]
MODULES = {
    "__init__.py": "",
    "alone.py": "import numpy",
    "base.py": "",
    "absolute.py": "from pkg import base",
    "relative.py": "from . import base",
    "deeper.py": "from .relative import something",
    "late.py": "def f():\n    import pkg.base\n",
    "circular_a.py": "from pkg import circular_b",
    "circular_b.py": "from pkg import circular_a",
    "sub/__init__.py": "from .. import alone",
    "sub/inner.py": "from ..base import x",
}


@pytest.fixture
def package(tmp_path):
    for name, text in MODULES.items():
        path = tmp_path / "pkg" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", set()),
        ("import pkg", {"__init__"}),
        ("from pkg import alone", {"__init__", "alone"}),
        ("from pkg import absolute", {"__init__", "absolute", "base"}),
        ("import pkg.relative as r", {"__init__", "relative", "base"}),
        ("from pkg.deeper import x", {"__init__", "deeper", "relative", "base"}),
        ("%matplotlib inline\n!ls\nfrom pkg import late", {"__init__", "late", "base"}),
        ("def f():\n    from pkg import base\n", {"__init__", "base"}),
        ("from pkg import circular_a", {"__init__", "circular_a", "circular_b"}),
        ("from pkg.sub import inner", {"__init__", "sub/__init__", "sub/inner", "alone", "base"}),
        ("from package_of_another_name import base", set()),
    ],
)
def test_closure_of_planted_imports(source, expected, package):
    found = closure([source], package, packages=("pkg",))
    assert {str(path.relative_to(package / "pkg").with_suffix("")) for path in found} == expected


def test_closure_of_the_package_holds_what_python_imports(root):
    """Everything of the package that Python loads for a module is in its static closure."""
    code = (
        "import sys, graphseg.unet.segmenter;"
        "print(*(m.__file__ for n, m in sys.modules.items() if n[:9] == 'graphseg.'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    loaded = {Path(name) for name in done.stdout.split()}
    assert len(loaded) > 3
    assert loaded <= set(closure(["import graphseg.unet.segmenter"], root))


MODULES_AT_MOST = {
    "01_data": 34,
    "02_preprocessing": 49,
    "09_sorting": 70,
    "11_structure_preserved": 67,
    "13_other_microscopes": 80,
    "14_your_own_images": 86,
}


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "notebooks").glob("*.py")))
def test_a_chapter_depends_on_what_it_uses(name, root):
    """So that changed code executes few chapters anew; only the last one uses the commands."""
    text = (root / "notebooks" / f"{name}.py").read_text(encoding="utf8")
    found = {str(path.relative_to(root)) for path in closure([text], root)}
    assert len(found) <= MODULES_AT_MOST.get(name, 66)
    assert ("graphseg/cli/application.py" in found) == (name == "14_your_own_images")


LAZY = """
import lazy_loader
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"alone": ["Alone"], "deep.below": ["below"]}
)
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pkg as p\np.Alone()", {"__init__", "alone"}),
        ("from pkg import below", {"__init__", "deep/__init__", "deep/below"}),
        ("import pkg\n", {"__init__"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pkg import Alone", set()),
    ],
)
def test_names_that_are_loaded_on_demand_count_where_they_are_used(tmp_path, source, expected):
    files = {"__init__": LAZY, "alone": "", "deep/__init__": "", "deep/below": ""}
    for name, text in files.items():
        path = tmp_path / "pkg" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = closure([source], tmp_path, packages=("pkg",))
    names = {str(p.relative_to(tmp_path / "pkg").with_suffix("")) for p in found}
    assert names == expected

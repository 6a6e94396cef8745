"""Every sample of Python on a page names what it imports: whoever copies it can run it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [*sorted((ROOT / "notebooks").glob("*.py")), ROOT / "README.md"]
SAMPLE = re.compile(r"^(?P<lead>(?:#)? *)```python\n(?P<code>.*?)^(?P=lead)```$", re.M | re.S)


def samples():
    for page in PAGES:
        for number, found in enumerate(SAMPLE.finditer(page.read_text(encoding="utf-8")), 1):
            lead = found["lead"]
            lines = [line.removeprefix(lead.rstrip()) for line in found["code"].splitlines()]
            width = len(lead) - len(lead.rstrip())
            code = "\n".join(line[width:] for line in lines) + "\n"
            yield pytest.param(code, id=f"{page.name}-{number}")


def undefined(code: str) -> str:
    """Return what ruff says of names that are used and not defined, "" if there is none."""
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F821"]
    return subprocess.run([*ruff, "-"], input=code, capture_output=True, text=True).stdout


@pytest.mark.parametrize("code", list(samples()))
def test_a_sample_defines_every_name_that_it_uses(code):
    compile(code, "sample", "exec")
    assert not undefined(code)


def test_a_missing_import_is_noticed():
    assert "datasets" in undefined('stack = datasets.load_folder("my_images")\n')

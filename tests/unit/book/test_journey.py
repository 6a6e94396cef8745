"""The way of one image through the package stays short."""

import re
import subprocess
import sys


def test_segmenting_one_image_goes_through_few_modules():
    """In a process of its own, where nothing is loaded yet."""
    command = [sys.executable, "-m", "book.tools.journey"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "1 images done" in done.stdout and "batch.run: come to" in done.stdout
    modules, switches = map(
        int, re.search(r"modules: (\d+), switches: (\d+)", done.stdout).groups()
    )
    assert 5 < modules <= 15
    assert 20 < switches <= 60

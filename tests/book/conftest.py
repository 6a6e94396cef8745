"""A browser for the tests of the pages."""

import pytest

from book.tools.browser import opened


@pytest.fixture(scope="module")
def browser():
    """Chromium, without a window."""
    with opened() as chromium:
        yield chromium

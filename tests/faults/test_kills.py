"""One each of the kills that `kills` measures twenty of."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults import kills


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The future results of all works, side by side: most of the time they load modules."""
    with ThreadPoolExecutor(len(kills.WORKS)) as pool:
        yield {
            name: pool.submit(
                kills.measure, work, 1, tmp_path_factory.mktemp(name), 1, keep=lambda results: None
            )
            for name, work in kills.WORKS.items()
        }


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill like that")
@pytest.mark.parametrize("name", kills.WORKS)
def test_what_is_killed_goes_on_to_the_same_end(name, measured):
    (result,) = measured[name].result()
    assert result["identical"] and result["kept"] and result["seconds"] > 0

"""What tests in several folders share: the data, and the notebooks executed once a session."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from book.tools import record

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def published():
    """The published stack; tests that need it are skipped where it is not at hand."""
    if "published" not in record.available_sources():
        pytest.skip("the published images are not here (see GRAPHSEG_DATA in README.md)")
    from graphseg.datasets import load

    return load.load_published(progress=False)


@pytest.fixture(scope="session")
def executions(tmp_path_factory) -> Iterator[dict[tuple[str, str], Future]]:
    """Every notebook on every data source that is at hand, executed with test parameters.

    (data source, notebook name) to the future path of the executed notebook. They run in the
    background, two at a time, from the first test that asks for one of them.
    """
    pool = ThreadPoolExecutor(max_workers=2)
    yield record.start_all(pool, tmp_path_factory.mktemp("executed"), ROOT)
    pool.shutdown(cancel_futures=True)

"""Say in one digest everything that the outcome of a notebook depends on.

Nothing heavy is imported here: `make book` computes a digest for each chapter on every run,
and only executes the chapters whose digest differs from the one stamped in their output.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from book.tools.closure import closure

# Written from the executed notebooks, so that nothing they compute can depend on it.
_NOT_AN_INPUT = "regression.json"


def source_digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def notebook_digest(notebook: Path, parameters: dict, root: Path) -> str:
    """Give the digest of everything that executing a notebook depends on.

    These are its source, the modules of the package that it imports (and those that they
    import), the recorded results, package data and scripts that these sources name, the
    parameters, the locked environment, the version of Python and the images.

    Parameters
    ----------
    notebook
        The py:percent source.
    parameters
        Parameters that replace defaults of the notebook.
    root
        The project's folder.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits.
    """
    text = notebook.read_text(encoding="utf8")
    modules = closure([text], root)
    texts = [text, *(path.read_text(encoding="utf8") for path in modules)]
    files = [*modules, *named_results(texts, root), *_always(root)]
    parts = {
        "notebook": source_digest(notebook),
        "files": {str(path.relative_to(root)): source_digest(path) for path in files},
        "parameters": parameters,
        "python": list(sys.version_info[:2]),
        "images": list(image_listing()),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def named_results(texts: Iterable[str], root: Path) -> list[Path]:
    """List the recorded results and package data whose name (without suffix) some text holds.

    Scripts that come with a picture of a chapter count where their name with the suffix occurs.

    Parameters
    ----------
    texts
        Source texts.
    root
        The project's folder.
    """
    joined = "\n".join(texts)
    folders = [(root / "data", False), (root / "data" / "results", True), (root / "graphseg", True)]
    files = {path for folder, deep in folders for path in _data_files(folder, deep)}
    scripts = [p for p in (root / "book" / "browser").glob("*.js") if p.name in joined]
    return sorted([*(path for path in files if path.stem in joined), *scripts])


def _data_files(folder: Path, deep: bool) -> Iterator[Path]:
    """Yield the files of a folder (or of the whole tree below it) that a result can be in."""
    for path in folder.rglob("*") if deep else folder.glob("*"):
        skip = path.suffix in (".py", ".pyc", ".md") or path.name == _NOT_AN_INPUT
        if path.is_file() and not skip:
            yield path


def _always(root: Path) -> list[Path]:
    """List the files that every notebook depends on: the lock and the simulated sample."""
    sample = sorted((root / "data" / "simulated").glob("*"))
    return [path for path in (root / "requirements.lock", *sample) if path.is_file()]


def image_listing() -> Iterator[tuple[str, int, int]]:
    """Yield name, size and modification time of each published image that is at hand.

    A cheap stand-in for the images' contents, which the package checks itself when it reads
    them. Nothing is yielded where the published images are absent.
    """
    folder = published_folder()
    for path in sorted(folder.rglob("*.png")) if folder else ():
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns


def published_folder() -> Path | None:
    """Find the folder of the published images: the one that is set, else the download cache."""
    if os.environ.get("GRAPHSEG_DATA"):
        return Path(os.environ["GRAPHSEG_DATA"]).expanduser()
    import platformdirs  # pooch, which downloads the images, asks it for the cache as well

    cache = Path(platformdirs.user_cache_dir("graphseg"))
    return cache if cache.is_dir() else None

"""Build the HTML of the book from its static pages and the executed notebooks."""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from book.tools import downloads, finishing, pages, segment_page
from book.tools.errors import ToolError
from book.tools.fetch_javascript import default_folder

MARK = "built-from.json"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOT_STAGED = ("tools", "browser", "profiles.yml", "__pycache__")
# JavaScript that only the page to segment in has, and that of the tests.
_NOT_STATIC = ("onnxruntime", "geotiff", "axe")


def build(executed: Path, output: Path, root: Path, javascript: Path) -> bool:
    """Build the HTML, unless it was built from exactly these files.

    The sources of the package are among them: one page is written from their docstrings.

    The pages are built beside the output and take its place when all of them are complete, so
    that the last good ones stay when something goes wrong.

    Parameters
    ----------
    executed
        Folder of the executed notebooks.
    output
        Folder of the HTML.
    root
        The project's folder.
    javascript
        Folder of the third-party JavaScript.

    Returns
    -------
    bool
        True if it was built, False if it was up to date.

    Raises
    ------
    ToolError
        If a chapter is not there, or if the book has an error or a warning.
    """
    staged = output.with_name(output.name + ".src")
    _stage(executed, staged, root, javascript)
    mark = {"digest": tree_digest(staged), "package": tree_digest(root / "graphseg", "*.py")}
    if _read(output / MARK) == mark:
        return False
    scratch = output.with_name(output.name + ".next")
    shutil.rmtree(scratch, ignore_errors=True)
    built = sphinx(staged, scratch)
    finishing.finish(built)
    (built / MARK).write_text(json.dumps(mark), encoding="utf8")
    _swap(built, output)
    shutil.rmtree(scratch)
    return True


def chapters(toc: dict) -> list[str]:
    """List the pages of a table of contents, without suffix, in reading order."""
    pages = [toc["root"]] if "root" in toc else [toc["file"]] if "file" in toc else []
    for key in ("parts", "chapters", "sections"):
        pages += [page for entry in toc.get(key, []) for page in chapters(entry)]
    return pages


def tree_digest(folder: Path, pattern: str = "*") -> str:
    """Give the SHA-256 over the names and contents of all files of a pattern below a folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


def _stage(executed: Path, staged: Path, root: Path, javascript: Path) -> None:
    """Copy all sources of the book into one folder."""
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(root / "book", staged, ignore=shutil.ignore_patterns(*_NOT_STAGED))
    for name in ("_config.yml", "requirements.lock"):
        shutil.copy(root / name, staged / name)
    ignored = shutil.ignore_patterns(*_NOT_STATIC)
    shutil.copytree(javascript, staged / "javascript", ignore=ignored)
    (staged / "notebooks").mkdir()
    listed = chapters(yaml.safe_load((staged / "_toc.yml").read_text(encoding="utf8")))
    if "segment" in listed:
        made = staged.with_name("segment_page")  # it takes long, so it is kept
        segment_page.make(made, root / "book" / "browser", javascript)
        shutil.copytree(made, staged / "javascript" / "segment")
    for page in listed:
        if page.startswith("notebooks/"):
            path = executed / f"{Path(page).name}.ipynb"
            if not path.is_file():
                raise ToolError(f"{page} is in book/_toc.yml but was not executed: no {path}.")
            shutil.copy(path, staged / "notebooks")
            downloads.prepare(staged / "notebooks" / path.name)
    if any(page.startswith("notebooks/") for page in listed):
        downloads.archive(root, staged / downloads.ARCHIVE)
    for name in ("LICENSE", "CITATION.cff"):  # what a page offers for download
        if (root / name).is_file():
            shutil.copy(root / name, staged / name)
    package = tree_digest(root / "graphseg", "*.py")[:12]  # what the first picture depends on
    kept = staged.with_name(f"hero-{package}")
    for older in staged.parent.glob("hero-*"):
        if older != kept:
            shutil.rmtree(older)
    texts = [path for page in listed if (path := staged / f"{page}.md").is_file()]
    pages.finish(staged, texts, executed, kept)


def sphinx(staged: Path, scratch: Path, builder: str = "html") -> Path:
    """Run Jupyter Book; return the folder of the HTML.

    Parameters
    ----------
    staged
        Folder of the sources.
    scratch
        Where everything that is made goes.
    builder
        ``"html"``, or ``"singlehtml"`` for one page.

    Raises
    ------
    ToolError
        If the book has an error or a warning.
    """
    # Always everything (--all): incremental builds keep outdated numbers in the prose.
    command = [Path(sys.executable).with_name("jupyter-book"), "build", staged, "--path-output"]
    options = ["--builder", builder, "--all", "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run([*command, scratch, *options], capture_output=True, text=True)
    if done.returncode:
        said = "\n".join(_problems(done.stdout + done.stderr, staged))
        raise ToolError(f"The book has errors or warnings; the last good pages stay.\n{said}")
    return scratch / "_build" / builder


def _problems(said: str, staged: Path) -> list[str]:
    """Pick the lines that name a problem, or the last ones if none does."""
    plain = _COLOUR.sub("", said).replace(f"{staged.resolve()}/", "")
    lines = [line for line in plain.splitlines() if line.strip()]
    named = [line for line in lines if "WARNING" in line or "ERROR" in line]
    return named or lines[-30:]


def _swap(built: Path, output: Path) -> None:
    """Put the new pages in the place of the old ones."""
    old = output.with_name(output.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if output.exists():
        output.rename(old)
    built.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path) -> dict:
    """Read a mark; empty if there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executed", type=Path, help="folder of the executed notebooks")
    parser.add_argument("output", type=Path, help="folder of the HTML")
    parser.add_argument("--javascript", type=Path, default=default_folder())
    chosen = parser.parse_args(arguments)
    try:
        done = build(chosen.executed, chosen.output, Path.cwd(), chosen.javascript)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    said = "The book is ready" if done else "The book is up to date"
    print(f"{said}: open {(chosen.output / 'index.html').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a reader takes along: each chapter as a notebook that runs in a fresh environment.

A downloaded notebook begins with a cell, hidden in the page, that installs what it needs from one
archive: the package with the modules, recorded results and simulated micrographs of the book.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

ARCHIVE = "graphseg-book.zip"
FOLDERS = ("graphseg", "book", "notebooks", "data", "binder")
FILES = (
    "pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "Makefile", "_config.yml",
    "requirements.in", "requirements.lock", "environment.yml", "jupytext.toml",
)  # fmt: skip
LEFT_OUT = ("__pycache__", ".ipynb_checkpoints")
PACKED = (".safetensors", ".png", ".webp", ".npz")  # which deflating makes no smaller
DATE = (2020, 1, 1, 0, 0, 0)  # so that the same files give the same archive

SETUP = f"""\
# In a fresh environment, also Colab, this installs what the chapter needs from {ARCHIVE},
# which lies beside this notebook; the page of the chapter offers both. In a checkout it does
# nothing.
import shutil
import sys
from pathlib import Path

unpacked = Path("{ARCHIVE}").with_suffix("").resolve()
if unpacked.is_dir():
    sys.path.insert(0, str(unpacked))
try:
    import book.tools.notebook
    import graphseg
except ImportError:
    if not Path("{ARCHIVE}").is_file():
        raise FileNotFoundError(
            "{ARCHIVE} is missing; put it, from the page of this chapter, beside it."
        ) from None
    shutil.unpack_archive("{ARCHIVE}")
    %pip install --quiet --editable "./{ARCHIVE.removesuffix(".zip")}[all]"
    sys.path.insert(0, str(unpacked))"""

OFFER = """\
:::{{admonition}} Run this chapter
:class: tip
Download {{download}}`the notebook <{name}.ipynb>` and {{download}}`{archive} <../{archive}>` into
one folder, and open the notebook in JupyterLab, or upload both to Colab. Its first cell installs
the package, and what else it needs, into a fresh environment (Python 3.11 or newer, Linux).
:::"""


def archive(root: Path, target: Path) -> None:
    """Write the archive that downloaded notebooks install from.

    Parameters
    ----------
    root
        The project's folder.
    target
        The archive; all of it is in a folder of its name.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in _files(root):
            name = f"{target.stem}/{path.relative_to(root).as_posix()}"
            information = zipfile.ZipInfo(name, DATE)
            information.external_attr = (path.stat().st_mode & 0o777) << 16
            is_packed = path.suffix in PACKED
            information.compress_type = zipfile.ZIP_STORED if is_packed else zipfile.ZIP_DEFLATED
            packed.writestr(information, path.read_bytes())


def prepare(notebook: Path) -> None:
    """Give a notebook the cell that installs what it needs, and the link to both."""
    content = json.loads(notebook.read_text(encoding="utf8"))
    offer = OFFER.format(name=notebook.stem, archive=ARCHIVE)
    first = {
        "cell_type": "code",
        "execution_count": None,
        "id": "setup",
        "metadata": {"tags": ["remove-cell"]},
        "outputs": [],
        "source": SETUP,
    }
    last = {"cell_type": "markdown", "id": "download", "metadata": {}, "source": offer}
    content["cells"] = [first, *content["cells"], last]
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf8")


def _files(root: Path) -> Iterator[Path]:
    """Yield what goes into the archive, in a fixed order."""
    for name in FOLDERS:
        for path in sorted((root / name).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not set(LEFT_OUT) & set(parts) and path.suffix != ".tmp":
                yield path
    yield from (root / name for name in FILES if (root / name).is_file())

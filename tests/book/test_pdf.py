"""The book as one PDF: all pages in order, each on a new sheet, with pictures and an outline."""

import re
import shutil

import nbformat
import pytest
from PIL import Image

from book.tools import pdf
from book.tools.errors import ToolError

pytestmark = pytest.mark.timeout(600)
PICTURE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
TEXT = """\
# Second page

```{figure} dot.png
---
name: fig-dot
alt: A dot
---
A dot.
```

See {numref}`fig-dot` and $x^2$.

:::{admonition} Answers
:class: dropdown
Forty-two.
:::
"""


@pytest.fixture
def staged(tmp_path, root):
    """A small staged book: one page, and one notebook with a folded solution."""
    folder = tmp_path / "html.src"
    (folder / "javascript").mkdir(parents=True)
    shutil.copytree(root / "book" / "theme", folder / "theme")
    for name in ("_config.yml", "book/references.bib"):
        shutil.copy(root / name, folder)
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n  - file: second\n  - file: third\n"
    )
    (folder / "index.md").write_text("# First page\n\nHere it begins.\n")
    (folder / "second.md").write_text(TEXT)
    Image.new("L", (40, 40)).save(folder / "dot.png")
    cell = nbformat.v4.new_code_cell("answer = 6 * 7", metadata={"tags": ["hide-cell"]})
    cell.metadata["mystnb"] = {"code_prompt_show": "Show the solution"}
    title = nbformat.v4.new_markdown_cell("# Third page")
    about = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    notebook = nbformat.v4.new_notebook(cells=[title, cell], metadata=about)
    nbformat.write(notebook, folder / "third.ipynb")
    return folder


def test_all_pages_come_in_order(staged, tmp_path):
    output = tmp_path / "book.pdf"
    assert pdf.make(staged, output) == 1
    content = output.read_bytes()
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    outline = re.findall(rb"(\d+) 0 obj\s*<<([^>]*/Title \(([^)]*)\)[^>]*)>>", content)
    found = {title: (number, about) for number, about, title in outline}
    assert {b"First page", b"Second page", b"Third page"} <= set(found)
    (_, first), (_, about), (third, _) = (found[t] for t in sorted(found) if b"page" in t)
    assert b"/Last " + third + b" 0 R" in first and b"/Next " + third + b" 0 R" in about
    assert len(re.findall(rb"/Type /Page\b", content)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["html.src", "book.pdf"]


def test_a_book_with_a_warning_gives_no_pdf(staged, tmp_path):
    (staged / "second.md").write_text("# Second page\n\n{numref}`fig-nowhere`\n")
    output = tmp_path / "book.pdf"
    output.write_bytes(b"the last good one")
    with pytest.raises(ToolError, match="fig-nowhere"):
        pdf.make(staged, output)
    assert output.read_bytes() == b"the last good one"


def test_without_a_book_it_says_what_to_do(tmp_path):
    with pytest.raises(ToolError, match="run make book"):
        pdf.make(tmp_path, tmp_path / "book.pdf")

"""Print the whole book as one PDF: all pages on one, by a browser, with outline and page numbers.

The pages are those that `make book` has staged, so they are the same, figures included. Folded
solutions and answers are unfolded, folded code and what only answers on a screen are left out.
"""

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from book.tools import build
from book.tools.browser import opened
from book.tools.errors import ToolError

SECONDS = 300  # for all formulas, on a busy machine
STYLE = """
  @page { size: A4; margin: 18mm 16mm 20mm; }
  html { font-size: 11.5px !important; }
  .bd-header, .bd-header-article, .bd-sidebar-primary, .bd-sidebar-secondary, .bd-footer,
  .prev-next-footer, .bd-footer-content, .skip-link, #pst-skip-link, .headerlink, .copybtn,
  #segment-page, .explorer-controls, .explorer-off, .swipe-handle, details.hide:not([open]),
  details.hide > summary, .toggle-button { display: none !important; }
  body, main, .bd-main, .bd-content, .bd-article-container, .bd-container__inner, .bd-container,
  .content-container, article { display: block !important; max-width: none !important;
    width: auto !important; padding: 0 !important; margin: 0 !important; overflow: visible; }
  [id^="document-"] + section { break-before: page; }
  h1, h2, h3, h4 { break-after: avoid; }
  figure, .cell_input, .cell_output, table tr, .admonition, .sd-card, .explorer, dt {
    break-inside: avoid; }
  .cell_output:has(table) { break-inside: auto; }
  dt { break-after: avoid; }
  figcaption, figcaption * { color: #333 !important; letter-spacing: normal !important; }
  pre, code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  article pre, article pre * { font-size: 0.82rem !important; }
  table.table { font-size: 0.72rem; display: table !important; width: 100% !important; }
  img, svg, canvas { max-width: 100% !important; }
"""
FOOTER = """<div style="width: 100%; text-align: center; font-size: 8px; color: #555">
  <span class="pageNumber"></span></div>"""
# Formulas are typeset, figures are there, and what was folded for thought is unfolded.
READY = """async () => {
  await window.MathJax?.startup?.promise;
  for (const details of document.querySelectorAll("details")) {
    const isSolution = details.innerText.includes("Show the solution");
    details.open = isSolution || !details.classList.contains("hide");
  }
  for (const folded of document.querySelectorAll(".toggle-hidden")) {
    folded.classList.remove("toggle-hidden");
  }
  for (const image of document.images) image.loading = "eager";
  await Promise.all([...document.images].map((image) => image.decode().catch(() => null)));
  return [...document.images].filter((image) => !image.naturalWidth).map((image) => image.src);
}"""


def make(staged: Path, output: Path) -> int:
    """Print a staged book.

    Parameters
    ----------
    staged
        Folder of its sources, as `make book` leaves it.
    output
        The PDF; it takes its name only when it is complete.

    Returns
    -------
    int
        How many pictures it has.

    Raises
    ------
    ToolError
        If there is no staged book, if it has an error or a warning, or if a picture is missing.
    """
    if not (staged / "_toc.yml").is_file():
        raise ToolError(f"There is no book in {staged}: run make book.")
    scratch = output.with_name(output.name + ".next")
    shutil.rmtree(scratch, ignore_errors=True)
    single = build.sphinx(staged, scratch, "singlehtml")
    contents = yaml.safe_load((staged / "_toc.yml").read_text(encoding="utf8"))
    partial = scratch / "partial.pdf"
    with opened() as browser:
        page = browser.new_page(viewport={"width": 800, "height": 1100})
        page.set_default_timeout(1000 * SECONDS)
        page.goto((single / f"{contents['root']}.html").as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('.explorer')].every(e => !e.hasAttribute('aria-busy'))"
        )
        page.add_style_tag(content=STYLE)
        if missing := page.evaluate(READY):
            raise ToolError(f"The book lacks {len(missing)} pictures, such as {missing[0][:100]}.")
        pictures = page.locator(":is(figure, .cell_output) :is(img, svg, canvas)").count()
        page.pdf(
            path=partial,
            prefer_css_page_size=True,
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            outline=True,
            tagged=True,
        )
    partial.replace(output)
    shutil.rmtree(scratch)
    return pictures


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("staged", type=Path, help="folder of the book's sources")
    parser.add_argument("output", type=Path, help="the PDF")
    chosen = parser.parse_args(arguments)
    try:
        pictures = make(chosen.staged, chosen.output)
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"The book is ready, with {pictures} pictures: open {chosen.output.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

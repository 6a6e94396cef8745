"""Link each term of the glossary where a chapter first uses it.

``python -m book.tools.glossary notebooks/*.py`` rewrites the chapters. A test says which first uses
are not linked.
"""

import re
import sys
import textwrap
from pathlib import Path

GLOSSARY = Path(__file__).resolve().parents[1] / "glossary.md"
WIDTH = 98  # characters of a line of prose, without the "# " before it
FILLER = "\0"  # stands for what is no prose

_TERM = re.compile(r"\{term\}`(?:[^`<]*<)?([^`>]+?)>?`", re.S)
# Headings, displayed formulas, code, captions of directives, roles, links, inline formulas, marks.
_NO_PROSE = re.compile(
    r"^#+ [^\n]*$|^\$\$.*?\$\$[^\n]*$|^ *```.*?^ *```$|^\([a-z-]+\)=$|^:::[^\n]*$|^:class:[^\n]*$"
    r"|\{[a-z:]+\}`[^`]*`|`[^`]*`|\]\([^)]*\)|\$[^$]+\$|<!--.*?-->",
    re.M | re.S,
)


def terms(text: str | None = None) -> list[str]:
    """Return the terms of the glossary, longer ones first."""
    text = GLOSSARY.read_text(encoding="utf8") if text is None else text
    body = re.search(r"^```\{glossary\}\n(.*?)^```$", text, re.M | re.S)[1]
    found = [line for line in body.splitlines() if line and not line.startswith(" ")]
    return sorted(found, key=len, reverse=True)


def cells(text: str) -> list[str]:
    """Split a py:percent notebook before each of its cells."""
    return re.split(r"^(?=# %%)", text, flags=re.M)


def unlinked(text: str, known: list[str] | None = None) -> dict[str, str]:
    """Return the terms that a py:percent notebook uses before it links them, with that line."""
    found = {}
    known = terms() if known is None else known
    prose = _prose(text)
    for term, place in _first_uses(prose, known).items():
        line = prose[: place[0]].count("\n")
        found[term] = prose.splitlines()[line]
    return found


def linked(text: str, known: list[str] | None = None) -> str:
    """Return a py:percent notebook in which each first use of a term is a link."""
    known = terms() if known is None else known
    parts = cells(text)
    for number, part in enumerate(parts):
        if not part.startswith("# %% [markdown]"):
            continue
        before = _prose("".join(parts[:number]))
        seen = {term.lower() for term in _linked_terms(before)}
        seen |= {term.lower() for term in _uses(before, known)}
        head, *lines = part.rstrip("\n").split("\n")
        source = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
        source = _with_links(source, [term for term in known if term.lower() not in seen], known)
        wrapped = [f"# {line}".rstrip() for line in _wrapped(source).split("\n")]
        parts[number] = "\n".join([head, *wrapped]) + part[len(part.rstrip("\n")) :]
    return "".join(parts)


def _prose(text: str) -> str:
    """Return the Markdown cells of a notebook, one after the other."""
    chosen = [part for part in cells(text) if part.startswith("# %% [markdown]")]
    lines = [line for part in chosen for line in [*part.rstrip("\n").split("\n")[1:], ""]]
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)


def _pattern(term: str) -> re.Pattern:
    """Match a term and its plural, whatever the case and wherever the line breaks."""
    plural = f"{re.escape(term[:-1])}(?:y|ies)" if term.endswith("y") else f"{re.escape(term)}s?"
    plural = plural.replace(r"\ ", r"\s+")
    flags = 0 if term.isupper() else re.IGNORECASE
    return re.compile(rf"(?<![\w-]){plural}(?![\w-])", flags)


def _uses(prose: str, known: list[str]) -> dict[str, tuple[int, int]]:
    """Return where each term is first used in prose, of what is not part of a longer term."""
    free = _NO_PROSE.sub(lambda match: FILLER * len(match[0]), prose)
    found = {}
    for term in known:
        for match in _pattern(term).finditer(free):
            found.setdefault(term, match.span())
            free = free[: match.start()] + FILLER * len(match[0]) + free[match.end() :]
    return found


def _linked_terms(prose: str) -> dict[str, int]:
    """Return where each term is first linked, by its name in small letters."""
    found = {}
    for match in _TERM.finditer(prose):
        found.setdefault(" ".join(match[1].split()).lower(), match.start())
    return found


def _first_uses(prose: str, known: list[str]) -> dict[str, tuple[int, int]]:
    """Return the first use of each term that no link precedes."""
    links = _linked_terms(prose)
    return {
        term: place
        for term, place in _uses(prose, known).items()
        if links.get(term.lower(), len(prose)) > place[0]
    }


def _with_links(source: str, wanted: list[str], known: list[str]) -> str:
    places = [(place, term) for term, place in _first_uses(source, known).items() if term in wanted]
    for (start, end), term in sorted(places, reverse=True):
        said = source[start:end]
        plain = " ".join(said.split())
        role = (
            f"{{term}}`{plain}`" if plain.lower() == term.lower() else f"{{term}}`{plain} <{term}>`"
        )
        source = source[:start] + role + source[end:]
    return source


def _wrapped(source: str) -> str:
    """Wrap the paragraphs and items with a line that has become too long."""
    done, blocks = [], re.split(r"(\n\n+)", source)
    for block in blocks:
        items = re.split(r"\n(?= *(?:- |\d+\. ))", block)
        done.append("\n".join(map(_rewrapped, items)))
    return "".join(done)


def _rewrapped(item: str) -> str:
    lines = item.split("\n")
    kept = "```" in item or "$$" in item or ":::" in item or item.lstrip().startswith(("|", "#"))
    if kept or all(len(line) <= WIDTH for line in lines):
        return item
    mark = re.match(r" *(?:- (?:\([a-d]\) )?|\d+\. |> )?", lines[0])[0]
    text = " ".join(line.strip() for line in lines)[len(mark.strip()) :].strip()
    # What stands in backticks or between dollars stays on one line.
    text = re.sub(r"`[^`]*`|\$[^$]*\$", lambda match: match[0].replace(" ", FILLER), text)
    leading = len(mark) - len(mark.lstrip())
    indent = " " * (len(mark) if mark.strip()[:1].isdigit() else leading + 2 * bool(mark.strip()))
    if len(lines) > 1:
        indent = re.match(r" *", lines[1])[0]
    return textwrap.fill(
        text, WIDTH, initial_indent=mark, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    ).replace(FILLER, " ")  # fmt: skip


def main(paths: list[str]) -> None:
    """Link the terms of the given notebooks."""
    for path in map(Path, paths):
        text = path.read_text(encoding="utf8")
        path.write_text(linked(text), encoding="utf8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Controls above a picture, as HTML that works in JupyterLab and in a page opened from a folder.

The scripts of ``book/browser/`` come with it: no kernel and no library is needed. Until they run,
as in a notebook that is not trusted, the controls are disabled and the picture is that of the
values beside them.
"""

import base64
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from IPython.display import HTML
from matplotlib.figure import Figure

from graphseg.errors import InputError
from graphseg.plotting.micrographs import STYLE

BROWSER = Path(__file__).resolve().parents[1] / "browser"
QUALITY = 24  # of pictures, as WebP
DPI = 80
OFF = "The controls need JavaScript; in JupyterLab, run this cell."
CSS = """
.explorer-controls { display: grid; gap: 0.2em 1.5em; margin: 0.5em 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20em), 1fr)); }
.explorer-controls div { display: grid; grid-template-columns: 9em 1fr 4em; gap: 0.5em;
  align-items: center; }
.explorer img { max-width: 100%; height: auto; background: white; }
.explorer-panels { display: grid; gap: 0.7em;
  grid-template-columns: repeat(auto-fill, minmax(min(45%, 10em), 1fr)); }
.explorer-panels figure { margin: 0; }
.explorer-panels div { position: relative; }
.explorer-panels canvas { display: block; width: 100%; background: #ddd; }
.explorer-panels figcaption { font-size: 0.85em; text-align: left; }
.explorer-bar { position: absolute; left: 4%; bottom: 4%; border-bottom: 0.3em solid white;
  text-align: center; font-size: 0.7em; line-height: 1.4; color: black; }
.explorer-bar span { background: rgb(255 255 255 / 75%); padding: 0 0.2em; white-space: nowrap; }
"""


class Control(NamedTuple):
    """What a reader can choose.

    Attributes
    ----------
    label
        What stands beside it.
    values
        What it counts through.
    start
        Which of the values is first shown.
    texts
        How the values are written.
    is_list
        Whether it is a list instead of a slider.
    """

    label: str
    values: Sequence
    start: int
    texts: Sequence[str]
    is_list: bool = False


def frames(
    draw: Callable[..., None],
    controls: Mapping[str, Control],
    size: tuple[float, float],
    alt: str,
) -> HTML:
    """Return a picture that was drawn in advance for all positions of its controls.

    Parameters
    ----------
    draw
        ``draw(figure, **values)`` makes one picture; of an `InputError` the sentence is shown.
    controls
        Parameter of `draw` to its control; the last of them counts fastest.
    size
        Of the picture in inches.
    alt
        A sentence that says what the picture shows.
    """
    columns = [control.values for control in controls.values()]
    made = [
        _webp(draw, dict(zip(controls, values, strict=True)), size)
        for values in itertools.product(*columns)
    ]
    first = 0
    for control in controls.values():
        first = first * len(control.values) + control.start
    labels = {name: control.label for name, control in controls.items()}
    pixels = [round(DPI * inches) for inches in size]
    picture = (
        f'<img src="data:image/webp;base64,{made[first]}" alt="{escape(alt)}" '
        f'width="{pixels[0]}" height="{pixels[1]}">'
    )
    # The first is on the page already.
    rest = [None if place == first else frame for place, frame in enumerate(made)]
    given = {"labels": labels, "frames": rest, "alt": alt}
    return page(controls, picture, given, "showFrames", ("explorer.js",))


def page(
    controls: Mapping[str, Control],
    body: str,
    given: dict[str, Any],
    function: str,
    scripts: Sequence[str],
) -> HTML:
    """Return controls above a picture, and what makes them answer.

    Parameters
    ----------
    controls
        Name of each control to what can be chosen.
    body
        HTML of the picture.
    given
        What the script is given besides the texts of the controls; JSON.
    function
        Of the script, called with the element and what is given.
    scripts
        Files of ``book/browser/``.
    """
    texts = {name: list(control.texts) for name, control in controls.items()}
    content = json.dumps(given | {"texts": texts}).replace("</", "<\\/")
    name = f"explorer-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    choices = "".join(_markup(name, key, control) for key, control in controls.items())
    element = f'const element = document.getElementById("{name}");'
    start = f'{function}(element, JSON.parse(element.querySelector("script[type]").textContent));'
    return HTML(
        f'<div class="explorer" id="{name}"><style>{CSS}</style>\n'
        f'<p class="explorer-off">{OFF}</p>\n'
        f'<div class="explorer-controls">{choices}</div>\n{body}\n'
        f'<script type="application/json">{content}</script>\n'
        f"<script>(() => {{\n{source(scripts)}\n{element}\n{start}\n}})();</script></div>"
    )


def source(scripts: Sequence[str]) -> str:
    """Return some files of ``book/browser/`` one after the other."""
    return "\n".join((BROWSER / name).read_text(encoding="utf8") for name in scripts)


def _markup(page: str, name: str, control: Control) -> str:
    """Return the HTML of a control of a page, under the name that the scripts know it by."""
    first, place = escape(control.texts[control.start]), f"{page}-{name}"
    about = f'id="{place}" data-control="{name}" disabled'
    if control.is_list:
        options = "".join(
            f'<option value="{n}"{" selected" * (n == control.start)}>{escape(text)}</option>'
            for n, text in enumerate(control.texts)
        )
        choice = f"<select {about}>{options}</select>"
    else:
        choice = (
            f'<input type="range" {about} min="0" max="{len(control.values) - 1}" '
            f'value="{control.start}" aria-valuetext="{first}">'
            f'<output for="{place}">{first}</output>'
        )
    return f'<div><label for="{place}">{escape(control.label)}</label>{choice}</div>'


def _webp(draw: Callable[..., None], values: dict, size: tuple[float, float]) -> str:
    """Draw one picture; return it as WebP in base 64."""
    with mpl.rc_context(STYLE | {"savefig.bbox": None}):  # all of one size
        figure = Figure(figsize=size)
        try:
            draw(figure, **values)
        except InputError as error:  # what is wrong with these values, instead of a picture
            figure.clear()
            figure.text(0.5, 0.5, str(error), ha="center", wrap=True)
        buffer = BytesIO()
        options = {"quality": QUALITY, "method": 4}
        figure.savefig(buffer, format="webp", dpi=DPI, pil_kwargs=options)
    return base64.b64encode(buffer.getvalue()).decode()

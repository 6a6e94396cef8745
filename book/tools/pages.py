"""What the pages that are not computed take from what is: numbers, thumbnails, the first picture.

In a page `{{ name }}` stands for a number of `values`, and ``images/figures/fig-NAME.webp`` for a
thumbnail of that figure. A name that does not exist is an error.
"""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.ndimage import binary_erosion

from book.tools import tables
from book.tools.errors import ToolError
from book.tools.paper import printed
from book.tools.tables import read_result
from graphseg.colours import (
    CLASS_COLOURS,
    ERROR_COLOURS,
    LABEL_COLOUR,
    MARK_COLOUR,
    MASK_COLOUR,
)
from graphseg.evaluation import compare
from graphseg.evaluation.records import summary

_PLACE = re.compile(r"\{\{ *([a-z0-9_]+) *\}\}")
_THUMBNAIL = re.compile(r"images/figures/(fig-[a-z0-9-]+)\.webp")
THUMBNAIL = (480, 320)  # pixels, width and height
HERO = ("hero_micrograph.webp", "hero_mask.webp")
HERO_SEED, HERO_INDEX = 21, 3  # of the simulated micrograph: patches beside grain boundaries
HERO_ROWS = slice(64, 320)  # of its 384 rows, for a picture that is wider than high
HERO_ENLARGED = 3


def finish(staged: Path, texts: Sequence[Path], executed: Path, kept: Path) -> None:
    """Fill in numbers and make the pictures of the pages in a staged book.

    Parameters
    ----------
    staged
        Folder of the sources of the book; pictures are added.
    texts
        The pages of the book that are in it, which are rewritten.
    executed
        Folder of the executed notebooks.
    kept
        Where the first picture is kept from build to build, as it takes seconds.

    Raises
    ------
    ToolError
        If a page asks for a number or a figure that does not exist.
    """
    known: Mapping[str, str] | None = None
    for page in texts:
        text = page.read_text(encoding="utf8")
        if _PLACE.search(text):
            known = values() if known is None else known
            page.write_text(fill(text, known, page.name), encoding="utf8")
        wanted = set(_THUMBNAIL.findall(text))
        pictures = figures(executed) if wanted else {}
        for name in sorted(wanted):
            if name not in pictures:
                raise ToolError(f"{page.name} shows {name}, which no executed chapter draws.")
            target = staged / "images" / "figures" / f"{name}.webp"
            target.parent.mkdir(parents=True, exist_ok=True)
            thumbnail(pictures[name]).save(target, quality=80)
        if HERO[0] in text:
            if not all((kept / name).is_file() for name in HERO):
                hero(kept)
            for name in HERO:
                (staged / "theme" / name).write_bytes((kept / name).read_bytes())


def fill(text: str, known: Mapping[str, str], name: str = "A page") -> str:
    """Return a text with its places filled in.

    Raises
    ------
    ToolError
        If a place has no value.
    """
    missing = sorted(set(_PLACE.findall(text)) - set(known))
    if missing:
        raise ToolError(f"{name} asks for {', '.join(missing)}, which nothing computes.")
    return _PLACE.sub(lambda match: known[match[1]], text)


def figures(executed: Path) -> dict[str, bytes]:
    """Return the named figures of executed notebooks that are PNG, each as its bytes."""
    found = {}
    for path in sorted(executed.glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf8")).get("cells", []):
            name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
            for output in cell.get("outputs", []):
                picture = output.get("data", {}).get("image/png")
                if name and picture:
                    found[name] = base64.b64decode(picture)
    return found


def thumbnail(png: bytes) -> Image.Image:
    """Return the upper left part of a figure, of the shape `THUMBNAIL`, made smaller."""
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    picture = Image.alpha_composite(paper, picture).convert("RGB")
    width, height = THUMBNAIL
    scale = max(width / picture.width, height / picture.height)
    shape = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(shape, Image.Resampling.LANCZOS).crop((0, 0, width, height))


def hero(folder: Path) -> None:
    """Write a simulated micrograph, and the same with the mask of our network and the true outline.

    Nothing published is on it, and the network has not seen it.
    """
    from dataclasses import replace

    import graphseg as gs
    from graphseg.simulation.configuration import GRAPHENE

    patches = replace(GRAPHENE.contaminant, clean_fraction=0.0, coverage=(0.18, 1.0))
    detector = replace(GRAPHENE.detector, dose=(9000.0, 9000.0))
    wide = replace(
        GRAPHENE, size=384, pixel_size=(0.36, 0.36), contaminant=patches, detector=detector
    )
    sample = gs.simulate(HERO_SEED, HERO_INDEX, wide)
    result = gs.segment(sample.image, sample.pixel_size)
    low, high = np.percentile(sample.image, [0.5, 99.5])
    grey = np.rint(255 * np.clip((sample.image - low) / (high - low), 0, 1)).astype(np.uint8)
    before = np.repeat(_enlarged(grey)[..., None], 3, axis=-1).astype(float)
    after = before.copy()
    mask, truth = (
        _enlarged(255 * part.astype(np.uint8)) > 127 for part in (result.mask, sample.mask)
    )
    after[mask] = 0.55 * after[mask] + 0.45 * 255 * np.array(to_rgb(MASK_COLOUR))
    after[truth ^ binary_erosion(truth, iterations=3, border_value=1)] = 255
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(HERO, (before, after), strict=True):
        Image.fromarray(picture.astype(np.uint8)).save(folder / name, quality=75)


def _enlarged(picture: np.ndarray) -> np.ndarray:
    """Return the rows that are shown of an (H, W) uint8 picture, enlarged smoothly."""
    part = Image.fromarray(picture[HERO_ROWS])
    size = (HERO_ENLARGED * part.width, HERO_ENLARGED * part.height)
    return np.asarray(part.resize(size, Image.Resampling.BICUBIC))


def values() -> dict[str, str]:
    """Return the numbers of the pages by name, as text, from the records and the paper."""
    return _printed(printed()) | _measured() | _costs() | {"colours": colour_legend()}


def colour_legend() -> str:
    """Return the legend of all pictures as a Markdown table, in the colours that figures take."""
    errors = {
        "true positive": "contamination that was found",
        "true negative": "clean area that was left alone",
        "false positive": "clean area that was called contamination",
        "false negative": "contamination that was missed",
    }
    rows = [
        (LABEL_COLOUR, "orange", "line", "label, or the true outline in a simulated micrograph"),
        (MASK_COLOUR, "orange-red", "tint", "mask: what a method calls contamination"),
        (MARK_COLOUR, "light blue", "line", "another area, which the caption names"),
        *(
            (colour, word, "map of classes, or line", name)
            for (name, colour), word in zip(
                CLASS_COLOURS.items(), ("white", "red", "green", "blue"), strict=True
            )
        ),
        *(
            (colour, word, "error map", f"{name}: {errors[name]}")
            for (name, colour), word in zip(
                ERROR_COLOURS.items(), ("white", "black", "red", "blue"), strict=True
            )
        ),
    ]
    shown = [
        [f'<span class="swatch" style="background:{colour}"></span> {word}', where, meaning]
        for colour, word, where, meaning in rows
    ]
    table = tables.markdown_table(["colour", "where", "meaning"], shown)
    return table.replace("--:", ":--")


def _printed(paper: dict) -> dict[str, str]:
    shown = {"unet": ("accuracy", "jaccard", "recall"), "bragg": ("accuracy", "jaccard")}
    scores = {
        f"paper_{method}_{name}": f"{paper['scores'][method][name]:.3f}"
        for method, names in shown.items()
        for name in names
    }
    bragg, imaging = paper["bragg_parameters"], paper["imaging"]
    dose_low, dose_high = (
        f"{imaging[f'dose_{end}_electrons_per_square_angstrom']:,}" for end in ("low", "high")
    )
    return scores | {
        "paper_microscope": imaging["microscope"],
        "paper_kilovolts": f"{imaging['kilovolts']}",
        "paper_dose": f"{dose_low} to {dose_high} e/Å²",
        "paper_width": f"{bragg['aperture_width_cycles_per_pixel']:.4f}",
        "paper_peak_threshold": f"{bragg['peak_threshold']:.1f}",
        "paper_mask_threshold": f"{bragg['mask_threshold']:.3f}",
        "paper_peaks": f"{paper['bragg_choices']['most_peaks']}",
        "paper_blocks": f"{paper['chosen_network']['blocks']}",
        "paper_features": f"{paper['chosen_network']['features']}",
        "paper_chosen_accuracy": f"{paper['chosen_network']['accuracy']:.4f}",
        "paper_chosen_jaccard": f"{paper['chosen_network']['jaccard']:.4f}",
        "paper_original_accuracy": f"{paper['original_network']['accuracy']:.4f}",
        "paper_original_jaccard": f"{paper['original_network']['jaccard']:.4f}",
        "paper_epochs": f"{paper['training']['epochs']}",
        "paper_minutes": f"{paper['training']['minutes']}",
        "paper_bragg_milliseconds": f"{paper['bragg_cost']['milliseconds_per_image']:.1f}",
        "paper_bragg_megabytes": f"{paper['bragg_cost']['megabytes']}",
        "paper_unet_milliseconds": f"{paper['unet_cost']['milliseconds_per_image']:.1f}",
        "paper_unet_mebibytes": f"{paper['unet_cost']['mebibytes_of_graphics_memory']}",
        "earlier_boundaries": f"{paper['earlier_study']['boundaries']}",
    }


def _measured() -> dict[str, str]:
    ours, free = read_result("ours_acquisition"), read_result("simulation_only")
    value, low, high = compare.score_interval(ours, "jaccard", "per_image")
    labelled = tables.labelled_images(ours)
    records = {name: read_result(f"{name}_acquisition") for name in ("bragg", "adaptive")}
    options = {"average": "per_image", "names": labelled, "resamples": 1}  # the value is all
    whole = compare.paired_difference(ours, records["bragg"], **options)[0]
    part = compare.paired_difference(records["adaptive"], records["bragg"], **options)[0]
    shift = read_result("domain_shift")["targets"]["mean Jaccard over microscopes"]["reached"]
    faithful = read_result("bragg_paper_random")
    effect = read_result("mask_effect")["counts"]
    inside = {name: sum(row[0] for row in rows) for name, rows in effect.items()}
    search = read_result("search_recipe")
    alone = read_result("unet_paper_fold")
    return {
        "images": f"{len(compare.image_counts(ours))}",
        "empty_labels": f"{len(compare.image_counts(ours)) - len(labelled)}",
        "ours_jaccard": f"{value:.3f}",
        "ours_low": f"{low:.3f}",
        "ours_high": f"{high:.3f}",
        "ours_accuracy": f"{summary(ours, 'per_image')['accuracy'][0]:.3f}",
        "ours_recall": f"{summary(ours, 'per_image')['recall'][0]:.3f}",
        "free_jaccard": f"{summary(free, 'per_image')['jaccard'][0]:.3f}",
        "adaptive_share": f"{100 * part / whole:.0f}",
        "faithful_jaccard": f"{summary(faithful, 'per_image')['jaccard'][0]:.3f}",
        "faithful_accuracy": f"{summary(faithful, 'per_image')['accuracy'][0]:.3f}",
        "shift_ours": f"{shift['default']:.2f}",
        "removed_bragg": f"{100 * (1 - inside['bragg'] / inside['none']):.0f}",
        "removed_ours": f"{100 * (1 - inside['unet'] / inside['none']):.0f}",
        "search_epochs": f"{search['parameters']['epochs']}",
        "search_candidates": f"{len(search['candidates'])}",
        "recipe_epochs": f"{alone['parameters']['epochs']}",
        "recipe_folds": f"{len(alone['results'])}",
    }


def _costs() -> dict[str, str]:
    bench = read_result("benchmark")
    return {
        "bench_bragg": f"{bench['bragg']['milliseconds']:.1f}",
        "bench_paper": f"{bench['paper']['fast']:.1f}",
        "bench_threads": f"{bench['threads']}",
    }

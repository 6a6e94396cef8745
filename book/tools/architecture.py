"""The architecture of a U-Net as SVG, drawn from what the network object does, not from a list."""

from collections import defaultdict
from dataclasses import dataclass, replace
from html import escape

import torch
from torch import nn

from graphseg.colours import BLUE, GREEN, PURPLE, VERMILION

ARROWS = {
    "conv": ("3 × 3 convolution, rectifier", BLUE),
    "pool": ("2 × 2 maximum pooling", VERMILION),
    "up": ("2 × 2 up-convolution", GREEN),
    "copy": ("copy", "#7F7F7F"),
    "last": ("1 × 1 convolution", PURPLE),
}
DARK, LIGHT = "#4D4D4D", "#BFBFBF"  # maps that were computed, and those that were copied
GAP, LEVEL, TALLEST = 34, 118, 92  # pixels between boxes, between levels, of the largest map
LEGEND = 26  # height of the legend, in pixels


@dataclass(frozen=True)
class Box:
    """A stack of feature maps: its level, its features, its side in pixels, where it is drawn."""

    level: int
    features: int
    side: int
    x: float
    copied: int = 0
    arrow_below: bool = False

    @property
    def width(self) -> float:
        return _thickness(self.features)

    @property
    def height(self) -> float:
        return TALLEST / 1.6**self.level

    @property
    def y(self) -> float:
        """Upper edge."""
        return 40 + self.level * LEVEL + (TALLEST - self.height) / 2

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def shapes(network: nn.Module, side: int = 256) -> dict[str, list[tuple[int, int]]]:
    """Return features and side of what each convolution gives, in the order in which they run.

    Parameters
    ----------
    network
        A `graphseg.unet.network.UNet`; it runs once on an empty image.
    side
        Of that image, in pixels; a multiple of what the network needs.

    Returns
    -------
        ``encoder`` and ``decoder``, one list for each block, as ``"encoder.0"``; ``"upsample.0"``
        and ``"head"``, each with one pair.
    """
    found = defaultdict(list)
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            block = ".".join(name.split(".")[:2]) if "." in name else name
            hooks.append(
                layer.register_forward_hook(
                    lambda _, given, got, block=block: found[block].append(
                        (given[0].shape[1], got.shape[1], got.shape[-1])
                    )
                )
            )
    channels = network.encoder[0][0].in_channels // network.stride**2
    with torch.no_grad():
        network(torch.zeros(1, channels, side, side))
    for hook in hooks:
        hook.remove()
    return dict(found)


def draw(network: nn.Module, side: int = 256) -> str:
    """Return the architecture as SVG: boxes of feature maps, arrows between them, a legend.

    The number of features stands above each box, the side of its maps below. Light grey marks
    features copied from the encoder. After Fig. 3 of Sadre et al. (2021),
    doi 10.1017/S1431927621000167.

    Parameters
    ----------
    network, side
        See :func:`shapes`.
    """
    layers = shapes(network, side)
    boxes, arrows = _laid_out(layers, network.levels)
    width = max(box.x + box.width for box in boxes) + 40
    height = 40 + network.levels * LEVEL + LEGEND
    said = (
        f"U-Net with {2 * network.levels - 1} blocks and "
        f"{layers['encoder.0'][0][1]} features in the first one"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" font-family="sans-serif" font-size="12" style="max-width:100%">',
        f"<title>{escape(said)}</title>",
        '<rect width="100%" height="100%" fill="white"/>',
        *_markers(),
        *(_arrow(kind, *ends) for kind, ends in arrows),
        *(_picture(box) for box in boxes),
        *_legend(height - LEGEND / 2),
        "</svg>",
    ]
    return "\n".join(parts)


def _thickness(features: int) -> float:
    return 4 + 1.6 * features**0.5


def _laid_out(
    layers: dict, levels: int
) -> tuple[list[Box], list[tuple[str, tuple[float, float, float, float]]]]:
    """Place the boxes from left to right, and connect them."""
    boxes, arrows, skipped, x = [], [], [], 20.0
    for level in range(levels):
        first = layers[f"encoder.{level}"][0]
        entry = Box(level, first[0], first[2], x)
        if level:
            above = skipped[-1]
            x = above.x + above.width / 2 - entry.width / 2
            entry = replace(entry, x=x)
            arrows.append(("pool", _down(above, entry)))
        row = _block(entry, layers[f"encoder.{level}"], arrows)
        row[-1] = replace(row[-1], arrow_below=level < levels - 1)
        boxes += row
        skipped.append(row[-1])
    last = skipped.pop()
    for step in range(levels - 1):
        _, features, size = layers[f"upsample.{step}"][0]
        left = skipped.pop()
        joined = layers[f"decoder.{step}"][0][0]
        x = last.x + last.width / 2 - _thickness(left.features)
        entry = Box(left.level, joined, size, x, copied=joined - features, arrow_below=True)
        arrows.append(("up", _up(last, entry)))
        arrows.append(("copy", (left.x + left.width, left.middle, entry.x, entry.middle)))
        row = _block(entry, layers[f"decoder.{step}"], arrows)
        boxes += row
        last = row[-1]
    features, size = layers["head"][0][1:]
    final = Box(0, features, size, last.x + last.width + GAP)
    arrows.append(("last", _right(last, final)))
    return [*boxes, final], arrows


def _block(entry: Box, convolutions: list, arrows: list) -> list[Box]:
    row = [entry]
    for _, features, size in convolutions:
        box = Box(entry.level, features, size, row[-1].x + row[-1].width + GAP)
        arrows.append(("conv", _right(row[-1], box)))
        row.append(box)
    return row


def _right(first: Box, second: Box) -> tuple[float, float, float, float]:
    return first.x + first.width, first.middle, second.x, second.middle


def _down(above: Box, below: Box) -> tuple[float, float, float, float]:
    middle = below.x + below.width / 2
    return middle, above.y + above.height, middle, below.y - 16


def _up(below: Box, above: Box) -> tuple[float, float, float, float]:
    middle = below.x + below.width / 2
    return middle, below.y - 16, middle, above.y + above.height


def _markers() -> list[str]:
    heads = [
        f'<marker id="head-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        for kind, (_, colour) in ARROWS.items()
    ]
    return ["<defs>", *heads, "</defs>"]


def _arrow(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    colour = ARROWS[kind][1]
    dashes = ' stroke-dasharray="5 3"' if kind == "copy" else ""
    return (
        f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="2"{dashes} marker-end="url(#head-{kind})"/>'
    )


def _picture(box: Box) -> str:
    """Draw a box, with its copied part in light grey, its features above and its side below."""
    share = box.width * box.copied / box.features
    rectangles = [(box.x, share, LIGHT), (box.x + share, box.width - share, DARK)]
    drawn = "".join(
        f'<rect x="{x:.1f}" y="{box.y:.1f}" width="{width:.1f}" height="{box.height:.1f}" '
        f'fill="{colour}"/>'
        for x, width, colour in rectangles
        if width
    )
    middle = box.x + box.width / 2
    features = (
        f'<text class="features" x="{middle:.1f}" y="{box.y - 4:.1f}" text-anchor="middle">'
        f"{box.features}</text>"
    )
    if box.arrow_below:
        return drawn + features
    below = box.y + box.height + 11
    return (
        f'{drawn}{features}<text class="side" x="{middle:.1f}" y="{below:.1f}" font-size="9" '
        f'fill="#595959" text-anchor="middle">{box.side}²</text>'
    )


def _legend(y: float) -> list[str]:
    parts, x = [], 20.0
    for kind, (name, colour) in ARROWS.items():
        parts.append(
            f'<line x1="{x}" y1="{y}" x2="{x + 22}" y2="{y}" stroke="{colour}" stroke-width="2" '
            f'marker-end="url(#head-{kind})"/><text x="{x + 28}" y="{y + 4}">{escape(name)}</text>'
        )
        x += 40 + 6.4 * len(name)
    return parts

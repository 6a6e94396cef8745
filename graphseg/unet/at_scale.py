"""Labelled images at the scale of a network: training, and masks as ``segment`` makes them.

Labels of one's own come in any size and at any pixel size. Images with finer pixels than the
network knows are reduced as `graphseg.unet.inference` does, and their labels with them; those of
different sizes are then cut into tiles of one size. Masks are made on the image's own grid.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from graphseg.datasets.stack import LabelledStack
from graphseg.unet import inference
from graphseg.unet.inference import Scale
from graphseg.unet.segmenter import UNetSegmenter
from graphseg.unet.training import IGNORED

TILE = 256  # pixels; side of the images that the bundled networks were trained on
LARGEST_WHOLE = 512  # pixels; larger images would take gigabytes in a batch


@dataclass(frozen=True)
class Scales:
    """At which scale each labelled image is learnt."""

    # Smallest and largest Å per pixel that a network knows which is trained on them, and by which
    # images are reduced; None if neither images nor the start of the training tell.
    known: tuple[float, float] | None
    factors: tuple[float, ...]  # (n,) what the sides of each image are multiplied by
    warnings: tuple[str, ...] = ()  # one sentence for each image that is outside even so

    def told(self) -> list[str]:
        """Return lines on what is reduced, and the warnings."""
        fine = [factor for factor in self.factors if factor < 1]
        if not fine:
            return list(self.warnings)
        some = f"{len(fine)} of {len(self.factors)} images"
        sides = f"their sides times {min(fine):.2f} to {max(fine):.2f}"
        known = "{:.2f} to {:.2f} Å per pixel".format(*self.known)
        return [f"scale: {some} are finer than {known} and are reduced, {sides}", *self.warnings]


def find_scales(stack: LabelledStack, start: Sequence[float] | None = None) -> Scales:
    """Find the scale of labelled images for a network that knows certain pixel sizes.
    `start` is the smallest and largest Å per pixel that the training starts from; by default those
    of the published images. Where nothing is too fine for it, the network learns the images as they
    are, and knows their pixel sizes afterwards. Otherwise the fine ones are reduced to the middle
    of what it knew, which it goes on to know, and up to the coarsest image. Pixel sizes that the
    stack does not state are measured from the lattice."""
    known = tuple(start or inference.KNOWN)
    found = list(_scales(stack, known))
    sizes = [scale.pixel_size for scale in found if scale.pixel_size is not None]
    if not sizes:
        return Scales(None if start is None else known, (1.0,) * len(stack))
    if all(scale.factor == 1 for scale in found):
        known = (round(min(sizes), 4), round(max(sizes), 4))
        return Scales(known, (1.0,) * len(stack))
    known = (known[0], max(known[1], round(max(sizes), 4)))
    found = list(_scales(stack, known))
    told = zip(stack.names, found, strict=True)
    return Scales(
        known,
        tuple(scale.factor for scale in found),
        tuple(f"{name}: {scale.warning}" for name, scale in told if scale.warning),
    )


def _scales(stack: LabelledStack, known: Sequence[float]) -> Iterator[Scale]:
    for index, image in enumerate(stack.images):
        yield inference.find_scale(image, stack.pixel_size_of(index), known)


def training_set(stack: LabelledStack, factors: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return images (m, h, w) float32 of one size and what is to be learnt of them, (m, h, w).
    With the `factors` of `Scales`. The images come as they are if they have one size that is not
    too large, else as tiles; what is smaller than a tile is mirrored at its edges, and its label
    too. Targets are those of the stack, bool or uint8; if not all was reviewed int16, with
    `graphseg.unet.training.IGNORED` where it was not. Images and tiles of which nothing was
    reviewed are left out."""
    targets = stack.targets
    if stack.reviewed is not None:
        pairs = zip(stack.targets, stack.reviewed, strict=True)
        targets = [np.where(seen, one, np.int16(IGNORED)) for one, seen in pairs]
    triples = zip(stack.images, targets, factors, strict=True)
    pairs = [_reduced(*one) for one in triples]
    shapes = {image.shape for image, _ in pairs}
    longest = max(max(shape) for shape in shapes)
    if len(shapes) > 1 or longest > LARGEST_WHOLE:
        pairs = [tile for pair in pairs for tile in _tiles(*pair, min(TILE, longest))]
    pairs = [pair for pair in pairs if (pair[1] != IGNORED).any()]
    images, targets = zip(*pairs, strict=True)
    return np.stack(images), np.stack(targets)


def _reduced(image: np.ndarray, target: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    if factor == 1:
        return image, target
    shape = tuple(max(round(length * factor), 1) for length in image.shape)
    values = np.unique(target)
    parts = [inference.resize(target == value, shape, "bilinear") for value in values]
    return inference.resize(image, shape), values[np.argmax(parts, axis=0)]


def _tiles(
    image: np.ndarray, target: np.ndarray, side: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield as few tiles as cover an image, evenly spread; a smaller one is mirrored."""
    width = [(0, max(side - length, 0)) for length in image.shape]
    image, target = (np.pad(one, width, mode="symmetric") for one in (image, target))
    rows, columns = (
        np.linspace(0, length - side, -(-length // side)).round().astype(int)
        for length in image.shape
    )
    for row in rows:
        for column in columns:
            part = slice(row, row + side), slice(column, column + side)
            yield image[part], target[part]


def fit(segmenter: UNetSegmenter, stack: LabelledStack, scales: Scales) -> UNetSegmenter:
    """Train on labelled images at the scale of the network, which its card then has."""
    segmenter.fit(*training_set(stack, scales.factors))
    if scales.known is not None:
        segmenter.card_ |= {"pixel_sizes": list(scales.known)}
    return segmenter


def predict_proba(segmenter: UNetSegmenter, stack: LabelledStack) -> Iterator[np.ndarray]:
    """Yield the probabilities of each image as ``graphseg segment`` has them, on its own grid,
    (H, W) float32, of contamination; with more than two classes (classes, H, W)."""
    for index, image in enumerate(stack.images):
        yield inference.predict_proba(segmenter, image, stack.pixel_size_of(index))[0]

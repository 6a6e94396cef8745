"""Predictions by the fold networks, which only the repository has, and by several networks."""

import re
from collections.abc import Sequence

import numpy as np

from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.unet.inference import SYMMETRIES
from graphseg.unet.network import load_weights
from graphseg.unet.pretrained import FOLDER, load, names
from graphseg.unet.segmenter import UNetSegmenter

# Names of the networks that an installed package lacks (`exclude-package-data` in pyproject.toml).
FOR_THE_BOOK = re.compile(r"fold_|paper_")


def out_of_fold(stack: LabelledStack, **changes) -> np.ndarray:
    """Predict every image of a stack with a fold network that has not seen it (see `fold_of`).
    (n, H, W) float32, the probability of contamination. `changes` are parameters to change, for
    instance ``test_time_augmentation=False`` for speed."""
    result = np.empty(stack.images.shape, np.float32)
    numbers = fold_of(stack.names)
    for number in np.unique(numbers):
        network = load(f"fold_{number}", **changes)
        result[numbers == number] = network.predict_proba(stack.images[numbers == number])
    return result


def fold_of(images: Sequence[str]) -> np.ndarray:
    """Return the number of the fold network that has not seen each image, (n,) int.
    Images that no card lists are unknown to all networks, and are dealt out to them in turn."""
    networks = [name for name in names() if name.startswith("fold_")]
    owner = {
        image: number
        for number, name in enumerate(networks)
        for image in load_weights(FOLDER / f"{name}.safetensors")[0]["card"]["held_out"]
    }
    return np.array([owner.get(name, i % len(networks)) for i, name in enumerate(images)], int)


def view(segmenter: UNetSegmenter, images: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    """Return the prediction (n, H, W) of images in one symmetry of the square, turned back."""
    turned = np.rot90(images[..., ::-1] if mirrored else images, quarters, (-2, -1))
    result = segmenter.predict_proba(np.ascontiguousarray(turned))
    back = np.rot90(result, -quarters, (-2, -1))
    return back[..., ::-1] if mirrored else back


def ensemble(
    segmenters: Sequence[UNetSegmenter], images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Predict (n, H, W) images by several networks in eight symmetries.
    Load them with ``test_time_augmentation=False``; for new images for instance all five fold
    networks. Returns mean and standard deviation of all predictions, both (n, H, W) float32;
    InputError without a network."""
    if not segmenters:
        raise InputError("An ensemble needs at least one network.")
    total = np.zeros(images.shape)
    square = np.zeros(images.shape)
    for segmenter in segmenters:
        for symmetry in SYMMETRIES:
            one = view(segmenter, images, *symmetry)
            total += one
            square += one.astype(float) ** 2
    number = len(segmenters) * len(SYMMETRIES)
    mean = total / number
    variance = np.maximum(square / number - mean**2, 0)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)

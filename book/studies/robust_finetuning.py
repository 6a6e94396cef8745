"""What training with noise, blur or attacks buys: one fold's network, trained on a little."""

import time
from collections.abc import Iterator
from functools import partial

import numpy as np

from book.studies.attacks import Attack, network_loss, perturb
from book.studies.changes import CHANGES, apply
from book.tools.fold_networks import fold_of
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation.records import StepStore
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest
from graphseg.unet.segmenter import UNetSegmenter

# Further training of the same length each; the plain one shows what training on alone does.
VARIANTS = {
    "plain": {},
    "noise": {"noise": 1.0},
    "blur": {"blur": 1.5},
    "adversarial": {"adversarial": 0.2},
}
DIGITS = 4
PGD_STEPS = 10
EPOCHS, LEARNING_RATE = 3, 2e-4
RADII = (0.05, 0.1, 0.2)  # of attacks
NATURAL = (
    *(("noise", strength) for strength in (0.5, 1.0, 2.0)),  # standard deviations of the image
    *(("blur", strength) for strength in (0.5, 1.0, 1.5)),  # pixels
    *(("drift", strength) for strength in (2.0, 4.0)),
)


def measure(
    stack: LabelledStack,
    store: StepStore,
    fold: int = 0,
    epochs: int = EPOCHS,
    images: int = 12,
    seed: int = 0,
) -> dict:
    """Train the network of a fold further in several ways and score each on held-out images.

    Parameters
    ----------
    stack
        The labelled images.
    store
        Keeps every finished training.
    fold
        Whose network, and whose held-out images.
    epochs
        Of the further training.
    images
        Held-out images that are scored, evenly chosen; 0 for all.
    seed
        Of the training, of noise and of attacks.

    Returns
    -------
    dict
        ``scores``: variant, then condition, to the pooled Jaccard index; ``as it is`` is the
        network before. Attacks are white-box on each variant, one pass, float32.
    """
    folds = fold_of(stack.names)
    held_out = np.flatnonzero(folds == fold)
    number = min(images or len(held_out), len(held_out))
    chosen = held_out[(np.arange(number) + 0.5).astype(int) * len(held_out) // number]
    train = stack.subset(np.flatnonzero(folds != fold))
    recipe = {
        "initial": pretrained.FOLDER / f"fold_{fold}.safetensors",
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "progress": False,
    }

    def trained(changes: dict | None) -> dict:
        started = time.perf_counter()
        segmenter = pretrained.load(f"fold_{fold}", test_time_augmentation=False)
        if changes is not None:
            parameters = segmenter.get_params() | recipe | changes
            segmenter = UNetSegmenter(**parameters).fit(train.images, train.masks)
        seconds = round(time.perf_counter() - started, 1)
        segmenter.set_params(precision="float32")
        return {"scores": dict(_scores(segmenter, stack.subset(chosen), seed)), "seconds": seconds}

    variants: dict[str, dict | None] = {"as it is": None, **VARIANTS}
    steps = {f"training {name}": partial(trained, changes) for name, changes in variants.items()}
    found = dict(zip(variants, store.finish(steps, "further training"), strict=True))
    return {
        "fold": fold,
        "network": weights_digest(recipe["initial"]),
        "images": [stack.names[index] for index in chosen],
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "variants": VARIANTS,
        "scores": {name: one["scores"] for name, one in found.items()},
        "seconds": {name: found[name]["seconds"] for name in VARIANTS},
    }


def _scores(segmenter: UNetSegmenter, stack: LabelledStack, seed: int) -> Iterator[tuple]:
    """Yield each condition with the pooled Jaccard index."""
    yield "unchanged", _jaccard(segmenter, stack.images, stack.masks)
    pairs = list(zip(stack.images, stack.masks, strict=True))
    for name, strength in NATURAL:
        changed = [
            apply(CHANGES[name], image, mask, strength, seed + i)
            for i, (image, mask) in enumerate(pairs)
        ]
        images, masks = (np.stack(parts) for parts in zip(*changed, strict=True))
        yield f"{name} {strength:g}", _jaccard(segmenter, images, masks)
    for name, steps in (("FGSM", 1), ("PGD", PGD_STEPS)):
        for radius in RADII:
            attacked = [
                perturb(network_loss(segmenter, mask), image, Attack(radius, steps, seed + i))
                for i, (image, mask) in enumerate(pairs)
            ]
            yield f"{name} {radius:g}", _jaccard(segmenter, np.stack(attacked), stack.masks)


def _jaccard(segmenter: UNetSegmenter, images: np.ndarray, masks: np.ndarray) -> float:
    table = metrics.counts(masks, segmenter.predict(images))
    return round(metrics.scores(table)["jaccard"], DIGITS)

"""What training with noise, blur or attacks buys: one fold's network, trained on a little."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from book.studies.attacks import Attack, network_loss, perturb
from book.studies.robustness import CHANGES, DIGITS, PGD_STEPS, apply
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation.records import provenance, read_record, write_record
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
EPOCHS, LEARNING_RATE = 3, 2e-4
RADII = (0.05, 0.1, 0.2)  # of attacks
NATURAL = (
    *(("noise", strength) for strength in (0.5, 1.0, 2.0)),  # standard deviations of the image
    *(("blur", strength) for strength in (0.5, 1.0, 1.5)),  # pixels
    *(("drift", strength) for strength in (2.0, 4.0)),
)


def complete(
    path: Path, stack: LabelledStack, fold: int = 0, epochs: int = EPOCHS, seed: int = 0
) -> dict:
    """Put what `measure` finds into a record of `book.studies.robustness`, unless it is there."""
    record = read_record(path)
    network = weights_digest(pretrained.FOLDER / f"fold_{fold}.safetensors")
    made_of = {"network": network, "epochs": epochs, "seed": seed, "variants": VARIANTS}
    known = record.get("training", {})
    if any(known.get(key) != value for key, value in made_of.items()):
        record["training"] = measure(stack, fold, epochs, seed=seed)
        write_record(path, record | {"made_with": provenance()})
    return record["training"]


def measure(
    stack: LabelledStack, fold: int = 0, epochs: int = EPOCHS, images: int = 12, seed: int = 0
) -> dict:
    """Train the network of a fold further in several ways and score each on held-out images.

    Parameters
    ----------
    stack
        The labelled images.
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
    folds = pretrained.fold_of(stack.names)
    held_out = np.flatnonzero(folds == fold)
    number = min(images or len(held_out), len(held_out))
    chosen = held_out[(np.arange(number) + 0.5).astype(int) * len(held_out) // number]
    train = stack.subset(np.flatnonzero(folds != fold))
    path = pretrained.FOLDER / f"fold_{fold}.safetensors"
    scores, seconds = {}, {}
    for name, changes in tqdm({"as it is": None, **VARIANTS}.items(), desc="robust fine-tuning"):
        started = time.perf_counter()
        segmenter = pretrained.load(f"fold_{fold}", test_time_augmentation=False)
        if changes is not None:
            recipe = {"initial": path, "epochs": epochs, "learning_rate": LEARNING_RATE}
            segmenter = UNetSegmenter(
                **(segmenter.get_params() | recipe | {"seed": seed, "progress": False} | changes)
            ).fit(train.images, train.masks)
            seconds[name] = round(time.perf_counter() - started, 1)
        segmenter.set_params(precision="float32")
        scores[name] = dict(_scores(segmenter, stack.subset(chosen), seed))
    return {
        "fold": fold,
        "network": weights_digest(path),
        "images": [stack.names[index] for index in chosen],
        "epochs": epochs,
        "learning_rate": LEARNING_RATE,
        "seed": seed,
        "variants": VARIANTS,
        "scores": scores,
        "seconds": seconds,
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

"""How masks get worse under attack and under natural changes: a record, method beside method.

Every image is judged by methods that have not seen its acquisition. The adaptive filter is taken
with its default parameters and fits its threshold only, which costs a tenth of the full search.
Networks predict in one pass; only what is attacked is judged by the average over the eight
symmetries as well.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from sklearn.base import BaseEstimator

from book.studies import robust_finetuning
from book.studies.attacks import Attack, bragg_loss, network_loss, perturb
from book.studies.changes import CHANGES, PHYSICAL, apply, same_sample, spread
from book.studies.robust_finetuning import DIGITS, PGD_STEPS
from book.tools.fold_networks import fold_of
from graphseg import metrics
from graphseg.classical.adaptive import AdaptiveBraggSegmenter
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation import ood
from graphseg.evaluation.records import StepStore
from graphseg.unet import inference, pretrained
from graphseg.unet.network import weights_digest

METHODS = ("bragg", "adaptive", "unet")
AVERAGED = "unet, eight views"  # over the eight symmetries: a defence against attacks on one pass
RADII = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # in standard deviations of the image
ATTACKS = {"random signs": 0, "FGSM": 1, "PGD": PGD_STEPS}  # steps


class Judges:
    """What may judge the images of one fold: methods, and the check for out-of-distribution images.

    Each is fitted to the images of the other folds, when it is first needed.
    """

    def __init__(self, stack: LabelledStack, folds: np.ndarray) -> None:
        self.stack, self.folds = stack, folds
        self._ready: dict[tuple[str, int], BaseEstimator] = {}
        self._known: dict[int, ood.ReferenceSet] = {}

    def get(self, method: str, fold: int) -> BaseEstimator:
        """Return a method that has not seen a fold."""
        if (method, fold) not in self._ready:
            self._ready[method, fold] = self._make(method, fold)
        return self._ready[method, fold]

    def flags(self, image: np.ndarray, fold: int) -> bool:
        """Return whether a user would be warned of an image."""
        if fold not in self._known:
            train = self.stack.subset(np.flatnonzero(self.folds != fold))
            found = ood.describe(self.get("unet", fold), train.images)
            self._known[fold] = ood.fit(found, train.groups)
        segmenter, found = self.get("unet", fold), inference.find_scale(image)
        verdict = ood.judge(self._known[fold], segmenter, image, found)
        return bool(verdict.warning or found.warning)

    def _make(self, method: str, fold: int) -> BaseEstimator:
        if method in ("unet", AVERAGED):
            test_time_augmentation = method == AVERAGED
            # Float32, so that an attack is judged by the network that it was made on.
            return pretrained.load(
                f"fold_{fold}", test_time_augmentation=test_time_augmentation, precision="float32"
            )
        kind = {"bragg": BraggSegmenter, "adaptive": partial(AdaptiveBraggSegmenter, rounds=0)}
        train = self.stack.subset(np.flatnonzero(self.folds != fold))
        return kind[method](progress=False).fit(train.images, train.masks)


def run(
    stack: LabelledStack,
    images: Annotated[int, typer.Option(min=0)] = 26,
    samples: Annotated[int, typer.Option(min=1)] = 6,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    training: bool = True,
    run_folder: Path | None = None,
) -> dict:
    """Record how much natural changes and attacks harm masks; an interrupted run resumes.

    Example: python -m book.studies robustness --output data/results/robustness.json

    Parameters
    ----------
    stack
        The labelled images.
    images
        Number of labelled images that are used, spread over the folds; 0: all.
    samples
        Number of simulated samples whose conditions are changed.
    seed
        Seed of noise, directions and random starts.
    training
        Also fine-tune a network with noise, with blur and against attacks.
    run_folder
        Keeps every finished curve and training.

    Returns
    -------
    dict
        ``changes``, ``physical`` and ``attacks``: name to ``strengths`` and, for each method,
        the Jaccard index at each of them, ``pooled`` and ``per_image``; ``flagged``: name of a
        change to the fraction of images that `graphseg.evaluation.ood` flags at each strength;
        ``training``: see :func:`book.studies.robust_finetuning.measure`.
    """
    names = [name for name in pretrained.names() if name.startswith("fold_")]
    header = {
        "name": "robustness",
        "data": {"source": stack.source, "digest": stack.digest},
        "networks": {n: weights_digest(pretrained.FOLDER / f"{n}.safetensors") for n in names},
        "parameters": {"images": images, "samples": samples, "seed": seed, "radii": list(RADII),
                       "steps": PGD_STEPS},
    }  # fmt: skip
    folds = fold_of(stack.names)
    chosen = spread(folds, images)
    judges = Judges(stack, folds)
    work: dict[tuple[str, str], Callable[[], object]] = {
        **{("changes", n): partial(_change, judges, chosen, n, seed) for n in CHANGES},
        **{("flagged", n): partial(_flagged, judges, chosen, n, seed) for n in CHANGES},
        **{("physical", n): partial(_physical, judges, samples, n, seed) for n in PHYSICAL},
        **{
            ("attacks", f"{attack} on {target}"): partial(
                _attack, judges, chosen, target, steps, seed
            )
            for target in ("unet", "bragg")
            for attack, steps in ATTACKS.items()
            if steps or target == "unet"  # random signs aim at nothing
        },
    }
    store = StepStore(run_folder, header)
    curves = store.finish({" ".join(key): step for key, step in work.items()}, "robustness")
    record = header | {part: {} for part in ("changes", "flagged", "physical", "attacks")}
    for (part, name), curve in zip(work, curves, strict=True):
        record[part][name] = curve
    further = {"training": robust_finetuning.measure(stack, store, seed=seed)} if training else {}
    return record | further | {"images": [stack.names[index] for index in chosen]}


def summarise(record: dict) -> str:
    """Return the Jaccard index of each method without a change and at its strongest."""
    lines = []
    for part in ("changes", "physical", "attacks"):
        for name, curve in record[part].items():
            ends = (f"{method} {scores['pooled'][0]:.3f} to {scores['pooled'][-1]:.3f}"
                    for method, scores in curve["methods"].items())  # fmt: skip
            lines.append(f"{name}: {', '.join(ends)}")
    for name, scores in record.get("training", {"scores": {}})["scores"].items():
        lines.append(f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in scores.items())}")
    return "\n".join(lines)


def _change(judges: Judges, chosen: np.ndarray, name: str, seed: int) -> dict:
    change, stack = CHANGES[name], judges.stack

    def changed(strength: float) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for i in chosen:
            pair = apply(change, stack.images[i], stack.masks[i], strength, seed + int(i))
            yield int(judges.folds[i]), *pair

    return _curve(judges, change.unit, change.strengths, changed, METHODS)


def _flagged(judges: Judges, chosen: np.ndarray, name: str, seed: int) -> list[float]:
    """Return the fraction of changed images that are flagged, at each strength."""
    change, stack = CHANGES[name], judges.stack
    fractions = []
    for strength in change.strengths:
        said = [
            judges.flags(
                apply(change, stack.images[i], stack.masks[i], strength, seed + int(i))[0],
                int(judges.folds[i]),
            )
            for i in chosen
        ]
        fractions.append(round(float(np.mean(said)), DIGITS))
    return fractions


def _physical(judges: Judges, samples: int, name: str, seed: int) -> dict:
    physical, number = PHYSICAL[name], int(judges.folds.max()) + 1

    def simulated(value: float) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for index in range(samples):
            sample = same_sample(name, value, index, seed)
            yield index % number, sample.image, sample.mask

    return _curve(judges, physical.unit, physical.values, simulated, METHODS)


def _attack(judges: Judges, chosen: np.ndarray, target: str, steps: int, seed: int) -> dict:
    stack = judges.stack

    def attacked(radius: float) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for i in chosen:
            fold, image, mask = int(judges.folds[i]), stack.images[i], stack.masks[i]
            attack = Attack(radius, steps, seed + int(i))
            yield fold, perturb(_loss(judges, target, fold, image, mask), image, attack), mask

    methods = (*METHODS, AVERAGED) if target == "unet" else METHODS
    unit = "ε, standard deviations of the image"
    return _curve(judges, unit, RADII, attacked, methods) | {"aimed_at": target}


def _loss(judges: Judges, target: str, fold: int, image: np.ndarray, mask: np.ndarray):
    if target == "bragg":
        return bragg_loss(judges.get("bragg", fold), image, mask)
    return network_loss(judges.get("unet", fold), mask)


def _curve(judges: Judges, unit: str, strengths, make: Callable, methods) -> dict:
    """Return the scores of methods on the images that `make` yields for each strength."""
    tables = {method: [] for method in methods}
    for strength in strengths:
        counts: Mapping[str, list] = {method: [] for method in methods}
        for fold, image, mask in make(strength):
            for method in methods:
                predicted = judges.get(method, fold).predict(image[None])
                counts[method].append(metrics.counts(mask[None], predicted)[0])
        for method in methods:
            tables[method].append(np.array(counts[method]))
    return {
        "unit": unit,
        "strengths": list(strengths),
        "methods": {method: _scores(found) for method, found in tables.items()},
    }


def _scores(tables: list[np.ndarray]) -> dict[str, list[float]]:
    return {
        average: [round(metrics.scores(table, average)["jaccard"], DIGITS) for table in tables]
        for average in ("pooled", "per_image")
    }

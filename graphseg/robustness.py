"""How masks get worse under attack and under natural changes: a record, method beside method.

Every image is judged by methods that have not seen its acquisition. The adaptive filter is taken
with its default parameters and fits its threshold only, which costs a tenth of the full search.
Networks predict in one pass; only what is attacked is judged by the average over the eight
symmetries as well.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from tqdm import tqdm

from graphseg import metrics, scale, shipped, strangers, weights
from graphseg.adaptive import AdaptiveBraggSegmenter
from graphseg.adversarial import Attack, bragg_loss, network_loss, perturb
from graphseg.bragg import BraggSegmenter
from graphseg.datasets import LabelledStack
from graphseg.imagechanges import CHANGES, PHYSICAL, apply, same_sample, spread
from graphseg.records import provenance, read_record, write_record

METHODS = ("bragg", "adaptive", "unet")
AVERAGED = "unet, averaged"  # over the eight symmetries: a defence against attacks on one pass
RADII = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # in standard deviations of the image
PGD_STEPS = 10
ATTACKS = {"random signs": 0, "FGSM": 1, "PGD": PGD_STEPS}  # steps
DIGITS = 4


class Judges:
    """What may judge the images of one fold: methods, and the check for strangers.

    Each is fitted to the images of the other folds, when it is first needed.
    """

    def __init__(self, stack: LabelledStack, folds: np.ndarray) -> None:
        self.stack, self.folds = stack, folds
        self._ready: dict[tuple[str, int], BaseEstimator] = {}
        self._known: dict[int, strangers.Known] = {}

    def get(self, method: str, fold: int) -> BaseEstimator:
        """Return a method that has not seen a fold."""
        if (method, fold) not in self._ready:
            self._ready[method, fold] = self._make(method, fold)
        return self._ready[method, fold]

    def announces(self, image: np.ndarray, fold: int) -> bool:
        """Return whether a user would be warned of an image."""
        if fold not in self._known:
            train = self.stack.subset(np.flatnonzero(self.folds != fold))
            found = strangers.describe(self.get("unet", fold), train.images)
            self._known[fold] = strangers.fit(found, train.groups)
        segmenter, found = self.get("unet", fold), scale.find_scale(image)
        verdict = strangers.judge(self._known[fold], segmenter, image, found)
        return bool(verdict.reason or found.warning)

    def _make(self, method: str, fold: int) -> BaseEstimator:
        if method in ("unet", AVERAGED):
            averaging = method == AVERAGED
            # Float32, so that an attack is judged by the network that it was made on.
            return shipped.load(f"fold_{fold}", averaging=averaging, precision="float32")
        kind = {"bragg": BraggSegmenter, "adaptive": partial(AdaptiveBraggSegmenter, rounds=0)}
        train = self.stack.subset(np.flatnonzero(self.folds != fold))
        return kind[method](progress=False).fit(train.images, train.masks)


def measure(
    stack: LabelledStack, path: Path, images: int = 26, samples: int = 6, seed: int = 0
) -> dict:
    """Measure all changes and attacks; what the record at `path` holds already is kept.

    Parameters
    ----------
    stack
        The labelled images.
    path
        The record; it is written after every change, so a killed run continues.
    images
        How many of them, spread over folds; 0 for all.
    samples
        Simulated samples whose conditions are changed.
    seed
        Of noise, of directions and of random starts.

    Returns
    -------
    dict
        ``changes``, ``physical`` and ``attacks``: name to ``strengths`` and, for each method,
        the Jaccard index at each of them, ``pooled`` and ``per_image``; ``announced``: name of a
        change to the share of images that `graphseg.strangers` announces at each strength.
    """
    record = _started(stack, path, {"images": images, "samples": samples, "seed": seed})
    folds = shipped.fold_of(stack.names)
    chosen = spread(folds, images)
    record["images"] = [stack.names[index] for index in chosen]
    judges = Judges(stack, folds)
    work: dict[tuple[str, str], Callable[[], dict]] = {
        **{("changes", n): partial(_change, judges, chosen, n, seed) for n in CHANGES},
        **{("announced", n): partial(_announced, judges, chosen, n, seed) for n in CHANGES},
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
    open_ = [key for key in work if key[1] not in record[key[0]]]
    for part, name in tqdm(open_, desc="robustness", unit="curve"):
        record[part][name] = work[part, name]()
        write_record(path, record | {"made_with": provenance()})
    return read_record(path)


def _started(stack: LabelledStack, path: Path, parameters: dict) -> dict:
    """Return the record as far as it is, or an empty one if it is of something else."""
    names = [name for name in shipped.names() if name.startswith("fold_")]
    made_of = {
        "name": "robustness",
        "data": {"source": stack.source, "digest": stack.digest},
        "networks": {n: weights.digest(shipped.FOLDER / f"{n}.safetensors") for n in names},
        "parameters": parameters | {"radii": list(RADII), "steps": PGD_STEPS},
    }
    parts = ("changes", "announced", "physical", "attacks")
    known = read_record(path) if path.exists() else {}
    same = all(known.get(key) == value for key, value in made_of.items())
    more = {"training": known["training"]} if same and "training" in known else {}
    return made_of | {part: known.get(part, {}) if same else {} for part in parts} | more


def _change(judges: Judges, chosen: np.ndarray, name: str, seed: int) -> dict:
    change, stack = CHANGES[name], judges.stack

    def changed(strength: float) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for i in chosen:
            pair = apply(change, stack.images[i], stack.masks[i], strength, seed + int(i))
            yield int(judges.folds[i]), *pair

    return _curve(judges, change.unit, change.strengths, changed, METHODS)


def _announced(judges: Judges, chosen: np.ndarray, name: str, seed: int) -> list[float]:
    """Return the share of changed images that are called strangers, at each strength."""
    change, stack = CHANGES[name], judges.stack
    shares = []
    for strength in change.strengths:
        said = [
            judges.announces(
                apply(change, stack.images[i], stack.masks[i], strength, seed + int(i))[0],
                int(judges.folds[i]),
            )
            for i in chosen
        ]
        shares.append(round(float(np.mean(said)), DIGITS))
    return shares


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

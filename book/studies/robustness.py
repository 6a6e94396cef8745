"""Natural changes of a micrograph, each with a strength: for measuring what a method endures.

Those of `CHANGES` are made to an image that is there; those of `PHYSICAL` are made by simulating
the same sample in other conditions. Strengths of 0 leave an image as it is.

How masks get worse under attack and under natural changes: a record, method beside method.

Every image is judged by methods that have not seen its acquisition. The adaptive filter is taken
with its default parameters and fits its threshold only, which costs a tenth of the full search.
Networks predict in one pass; only what is attacked is judged by the average over the eight
symmetries as well.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from sklearn.base import BaseEstimator
from tqdm import tqdm

from book.studies.attacks import Attack, bragg_loss, network_loss, perturb
from graphseg import metrics
from graphseg.classical.adaptive import AdaptiveBraggSegmenter
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation import ood
from graphseg.evaluation.records import provenance, read_record, write_record
from graphseg.io.outputs import grey_levels
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.samples import Sample, simulate
from graphseg.unet import inference, pretrained
from graphseg.unet.network import weights_digest

INSCRIBED = 0.5**0.5  # fraction of the side of a square that stays inside when it is turned
SPLINE = 3  # order of interpolation of turned images; labels take the nearest pixel


@dataclass(frozen=True)
class Change:
    """A change of an image.

    Attributes
    ----------
    unit
        Of the strengths, for the axis of a figure.
    strengths
        Increasing; the first leaves the image as it is.
    make
        Maps an image (H, W), a strength and a random generator to the changed image (H, W).
    said
        Puts a strength into words, see `said`.
    turns
        Whether labels change as well, see `apply`.
    """

    unit: str
    strengths: tuple[float, ...]
    make: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]
    said: Callable[[float], str]
    turns: bool = False


def apply(
    change: Change, image: np.ndarray, mask: np.ndarray, strength: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a changed image and its label, float32 and bool.

    Turned images are cut to the middle that the turned square covers, at strength 0 as well.

    Parameters
    ----------
    change
        One of `CHANGES`.
    image, mask
        (H, W).
    strength
        Any of the change's own, or between them.
    seed
        Of noise and directions; they are the same for all strengths.
    """
    image = np.asarray(image, np.float32)
    changed = image
    if strength != change.strengths[0]:
        changed = change.make(image, strength, np.random.default_rng(seed)).astype(np.float32)
    if not change.turns:
        return changed, mask
    turned = ndimage.rotate(mask.astype(np.uint8), strength, reshape=False, order=0)
    return _middle(changed), _middle(turned).astype(bool)


def _middle(image: np.ndarray) -> np.ndarray:
    cut = [int(np.ceil(n * (1 - INSCRIBED) / 2)) for n in image.shape]
    return image[cut[0] : image.shape[0] - cut[0], cut[1] : image.shape[1] - cut[1]]


def _inverted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image.max() + image.min() - image


def _noisy(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + strength * image.std() * rng.standard_normal(image.shape, np.float32)


def _blurred(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(image, strength)


def _drifted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Average the image along a straight path of `strength` pixels in a random direction."""
    angle = rng.uniform(0, np.pi)
    offsets = np.linspace(-0.5, 0.5, int(4 * strength) + 2) * strength
    steps = [(d * np.sin(angle), d * np.cos(angle)) for d in offsets]
    return np.mean([ndimage.shift(image, s, order=1, mode="reflect") for s in steps], axis=0)


def _tilted(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Add a ramp from edge to edge in a random direction, in standard deviations of the image."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-0.5, 0.5, n) for n in image.shape)
    ramp = np.add.outer(np.sin(angle) * rows, np.cos(angle) * columns)
    return image + strength * image.std() * ramp


def _turned(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.rotate(image, strength, reshape=False, order=SPLINE, mode="reflect")


def _quantised(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Round to 2 to the power of (8 - strength) grey levels."""
    low, high = image.min(), image.max()
    steps = 2 ** (8 - strength) - 1
    return np.rint((image - low) / max(high - low, 1e-12) * steps)


def _compressed(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Write as 8-bit JPEG of quality 100 - strength, and read again."""
    file = io.BytesIO()
    levels = grey_levels(image, (float(image.min()), float(image.max())))
    Image.fromarray(levels).save(file, format="JPEG", quality=int(100 - strength))
    return np.asarray(Image.open(file))


CHANGES = {
    "inversion": Change(
        "0 as recorded, 1 inverted", (0, 1), _inverted,
        lambda s: "inverted" if s else "as recorded",
    ),
    "noise": Change(
        "standard deviations of the image", (0, 0.25, 0.5, 1, 2), _noisy,
        "{:g} standard deviations".format,
    ),
    "blur": Change(
        "standard deviation, pixels", (0, 0.5, 1, 1.5, 2), _blurred, "{:g} px".format
    ),
    "drift": Change("length, pixels", (0, 1, 2, 4, 6), _drifted, "{:g} px".format),
    "gradient": Change(
        "standard deviations, edge to edge", (0, 0.5, 1, 2, 4), _tilted,
        "{:g} standard deviations".format,
    ),
    "rotation": Change("degrees", (0, 5, 15, 30, 45), _turned, "{:g}°".format, turns=True),
    "bits": Change(
        "bits fewer than 8", (0, 2, 4, 5, 6), _quantised, lambda s: f"{8 - s:g} bits"
    ),
    "JPEG": Change(
        "100 − quality", (0, 5, 25, 50, 75, 90), _compressed, lambda s: f"quality {100 - s:g}"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Physical:
    """A condition of the microscope: its unit, the values to simulate, how it is set and said."""

    unit: str
    values: tuple[float, ...]
    set: Callable[[Configuration, float], Configuration]
    said: Callable[[float], str]


def _at_defocus(configuration: Configuration, value: float) -> Configuration:
    optics = replace(configuration.optics, defocus=(value, value), far_fraction=0.0)
    return replace(configuration, optics=optics)


def _at_dose(configuration: Configuration, value: float) -> Configuration:
    return replace(configuration, detector=replace(configuration.detector, dose=(value, value)))


PHYSICAL = {
    "defocus": Physical(
        "Å, either sign", (20.0, 60.0, 120.0, 250.0, 400.0), _at_defocus, "±{:g} Å".format
    ),
    "dose": Physical(
        "electrons per Å²", (2e4, 5e3, 2e3, 8e2, 3e2), _at_dose, "{:g} e/Å²".format
    ),
}  # fmt: skip


def said(name: str, strength: float) -> str:
    """Return the strength of a change of `CHANGES` or `PHYSICAL` in words, with its unit."""
    return ({**CHANGES, **PHYSICAL})[name].said(strength)


def same_sample(name: str, value: float, index: int, seed: int = 0) -> Sample:
    """Simulate a sample in conditions that differ in one parameter only.

    Parameters
    ----------
    name
        Key of `PHYSICAL`.
    value
        Of the parameter.
    index, seed
        Choose sample, contamination and all other conditions.
    """
    # Conditions are otherwise drawn again until the lattice is clear, and would differ.
    detector = replace(GRAPHENE.detector, noise_fraction=1.0)
    return simulate(seed, index, PHYSICAL[name].set(replace(GRAPHENE, detector=detector), value))


def spread(folds: Sequence[int], number: int) -> np.ndarray:
    """Return indices of a subset that is spread over all folds and over each of them.

    Parameters
    ----------
    folds
        (n,) the fold of each image.
    number
        How many; 0 or more than there are gives all.
    """
    order = np.argsort(folds, kind="stable")
    if not 0 < number < len(order):
        return np.arange(len(order))
    places = (np.arange(number) + 0.5) * len(order) / number
    return np.sort(order[places.astype(int)])


METHODS = ("bragg", "adaptive", "unet")
AVERAGED = "unet, eight views"  # over the eight symmetries: a defence against attacks on one pass
RADII = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # in standard deviations of the image
PGD_STEPS = 10
ATTACKS = {"random signs": 0, "FGSM": 1, "PGD": PGD_STEPS}  # steps
DIGITS = 4


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
        return bool(verdict.reason or found.warning)

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
        the Jaccard index at each of them, ``pooled`` and ``per_image``; ``flagged``: name of a
        change to the fraction of images that `graphseg.evaluation.ood` flags at each strength.
    """
    record = _started(stack, path, {"images": images, "samples": samples, "seed": seed})
    folds = pretrained.fold_of(stack.names)
    chosen = spread(folds, images)
    record["images"] = [stack.names[index] for index in chosen]
    judges = Judges(stack, folds)
    work: dict[tuple[str, str], Callable[[], dict]] = {
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
    open_ = [key for key in work if key[1] not in record[key[0]]]
    for part, name in tqdm(open_, desc="robustness", unit="curve"):
        record[part][name] = work[part, name]()
        write_record(path, record | {"made_with": provenance()})
    return read_record(path)


def _started(stack: LabelledStack, path: Path, parameters: dict) -> dict:
    """Return the record as far as it is, or an empty one if it is of something else."""
    names = [name for name in pretrained.names() if name.startswith("fold_")]
    made_of = {
        "name": "robustness",
        "data": {"source": stack.source, "digest": stack.digest},
        "networks": {n: weights_digest(pretrained.FOLDER / f"{n}.safetensors") for n in names},
        "parameters": parameters | {"radii": list(RADII), "steps": PGD_STEPS},
    }
    parts = ("changes", "flagged", "physical", "attacks")
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

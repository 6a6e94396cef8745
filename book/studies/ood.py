"""The documented set of out-of-distribution images: images that a network trained on graphene
should not be given.

Simulated ones of other crystals, of films and in other imaging modes; published ones that were
spoilt; photographs that come with scikit-image. `graphseg.evaluation.ood` is tested on them, and
nothing of it is fitted to them.

How well `graphseg.evaluation.ood` tells out-of-distribution images from images that were held out:
a record.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from scipy import ndimage
from skimage import color, data
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from book.studies.recordings import RECORDINGS, recorded
from book.tools import fold_networks
from graphseg.datasets.load import LabelledStack
from graphseg.evaluation import ood
from graphseg.evaluation.ood import ReferenceSet, Verdict
from graphseg.evaluation.records import describe_data, write_record
from graphseg.preprocessing import resize_area, standardise
from graphseg.simulation import configuration, samples
from graphseg.simulation.contaminant import BLOCK, amorphous_block
from graphseg.simulation.crystal import crystal
from graphseg.simulation.multislice import micrograph
from graphseg.simulation.optics import Conditions
from graphseg.unet import inference, pretrained
from graphseg.unet.augmentation import otherwise
from graphseg.unet.inference import resize
from graphseg.unet.network import weights_digest
from graphseg.unet.segmenter import UNetSegmenter

SIZE = 256  # pixels, side of an image
MARGIN = 16  # pixels simulated around it, where the Fourier transform wraps
# Thresholds: between simulated frames of other microscopes, up to 1.52 away, and gold and silicon,
# from 1.6 on in nine of ten images. Chosen for the first general network, on images of seeds that
# no record is made with, and kept for the next.
USABLE = 1.6
PIXEL_SIZES = (0.30, 0.50)  # Å, where most published images lie
DOSES = (3e3, 2e4)  # Å⁻², as in the simulated training images
SCANNED_CHARGE = 1.7  # exponent of the atomic number in high-angle dark field
# Lattice parameter in Å and atoms (atomic number, row, column, height) in units of an orthogonal
# cell, (row, column, height) in units of the parameter.
HALF = 0.5**0.5
GOLD = (4.078, (1.0, HALF, HALF), ((79, 0, 0, 0), (79, 0.5, 0.5, 0.5)))
SILICON = (
    5.431,
    (1.0, HALF, HALF),
    ((14, 0, 0, 0), (14, 0.5, 0.5, 0.5), (14, 0.25, 0, 0.5), (14, 0.75, 0.5, 0)),
)
STRONTIUM_TITANATE = (
    3.905,
    (1.0, 1.0, 1.0),
    ((38, 0, 0, 0), (22, 0.5, 0.5, 0.5), (8, 0.5, 0.5, 0), (8, 0.5, 0, 0.5), (8, 0, 0.5, 0.5)),
)
WSE2 = replace(
    configuration.MOS2,
    name="wse2",
    material=configuration.Material(3.28, (((74, 0.0),), ((34, 1.67), (34, -1.67)))),
)
PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "grass",
    "gravel", "hubble_deep_field", "immunohistochemistry", "microaneurysms", "moon", "page",
    "retina", "rocket", "text",
)  # fmt: skip
# The lattice constant is that of graphene within a calibration error, 2.504 to 2.46 Å, or it is
# graphene twice: hardly out-of-distribution images, and counted by themselves too.
NEAR = ("boron nitride", "bilayer")
LAYERS_APART = 3.35  # Å
TWISTS = np.radians((5, 30))


@dataclass(frozen=True, eq=False)
class SetImage:
    """An image that is none of those a network was trained for.

    Attributes
    ----------
    kind
        Key of `KINDS`.
    image
        (H, W) float32.
    pixel_size
        Å, which the file may state or not; None where nothing of it can be told.
    source
        Index of the image of the stack that was spoilt, -1 if there is none.
    """

    kind: str
    image: np.ndarray
    pixel_size: float | None = None
    source: int = -1


def image_set(images: np.ndarray, each: int = 12, seed: int = 0) -> Iterator[SetImage]:
    """Make the set; the same arguments give the same images.

    Parameters
    ----------
    images
        (n, H, W), from which some kinds are made by spoiling them; taken in turn from the whole
        stack.
    each
        Images of every kind; photographs are cut from `PHOTOGRAPHS` in turn.
    seed
        Of everything that is drawn.

    Yields
    ------
    SetImage
        All of one kind, then the next.
    """
    for number, (kind, make) in enumerate(KINDS.items()):
        for index in range(each):
            rng = np.random.default_rng([seed, number, index])
            if kind in SPOILT:
                source = (index * len(images)) // each % len(images)
                image, size = make(rng, images[source]), None
            else:
                source = -1
                image, size = make(rng, index + each * seed)
            yield SetImage(kind, image.astype(np.float32), size, source)


def usual_images(each: int = 12, seed: int = 0) -> Iterator[SetImage]:
    """Simulate graphene that is not out-of-distribution: as usual, with finer pixels, and in larger
    images.

    The kinds are the keys of `USUAL`; arguments as in `image_set`.
    """
    for number, (kind, chosen) in enumerate(USUAL.items()):
        for index in range(each):
            rng = np.random.default_rng([seed, len(KINDS) + number, index])
            image, size = _sheet(rng, index, chosen)
            yield SetImage(kind, image, size)


def _reduced(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """2.5 to 3 times coarser pixels: of a lattice with 5 to 8 pixels 2 to 3 remain."""
    factor = rng.uniform(2.5, 3.0)
    return resize_area(image, tuple(int(n / factor) for n in image.shape))[0]


def _enlarged(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A field too small: a third of the sides, on as many pixels."""
    side = min(image.shape) // 3
    row, column = (int(rng.integers(n - side + 1)) for n in image.shape)
    return resize(image[row : row + side, column : column + side], image.shape)


def _saturated(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Grey levels cut off on both sides, so that a quarter to three quarters are lost."""
    lost = rng.uniform(0.25, 0.75)
    fraction = rng.uniform(0.2, 0.8) * lost
    return np.clip(image, *np.quantile(image, [fraction, 1 - lost + fraction]))


def _blurred(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """So far out of focus that no lattice is left; half of them with noise of the camera."""
    blurred = ndimage.gaussian_filter(image, rng.uniform(2.5, 5.0))
    noise = rng.normal(0, 1, image.shape) * blurred.std() * rng.uniform(0.3, 1.0)
    return blurred + noise * rng.integers(2)


def _exposed(
    rng: np.random.Generator,
    positions: np.ndarray,
    heights: np.ndarray,
    numbers: np.ndarray,
    pixel_size: float,
) -> np.ndarray:
    """Image atoms, (n, 2) in Å from the outer corner, in random conditions."""
    conditions = Conditions(
        energy=float(rng.choice([80e3, 200e3, 300e3])),
        defocus=float(rng.uniform(20, 200) * rng.choice([-1, 1])),
        blur=0.2,
        modulation=0.5,
        dose=float(np.exp(rng.uniform(*np.log(DOSES)))),
    )
    shape = (SIZE + 2 * MARGIN,) * 2
    whole = micrograph(positions, heights, numbers, shape, pixel_size, conditions)
    inner = whole[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return _counted(rng, inner, pixel_size, conditions)


def _counted(
    rng: np.random.Generator, image: np.ndarray, pixel_size: float, conditions: Conditions
) -> np.ndarray:
    """Return the electrons that the camera counts of an intensity, under uneven light."""
    lit = image * samples.illumination(rng, image.shape, configuration.GRAPHENE.detector)
    return samples.count_electrons(rng, lit, pixel_size, conditions)


Made = tuple[np.ndarray, float | None]  # an image and its pixel size


def _vacuum(rng: np.random.Generator, index: int) -> Made:
    """No specimen at all."""
    conditions = Conditions(dose=float(np.exp(rng.uniform(*np.log(DOSES)))))
    ones, size = np.ones((SIZE, SIZE), np.float32), rng.uniform(*PIXEL_SIZES)
    return _counted(rng, ones, size, conditions), size


def _film(rng: np.random.Generator, index: int) -> Made:
    """A film of amorphous carbon, 15 to 45 Å thick, over the whole field."""
    block = amorphous_block(configuration.ContaminantRanges.density, 1.3)
    pixel_size = rng.uniform(*PIXEL_SIZES)
    extent = (SIZE + 2 * MARGIN) * pixel_size
    block = (block + rng.uniform(0, BLOCK, 3)) % BLOCK
    block = block[block[:, 2] < rng.uniform(15, 45)]
    steps = np.arange(int(extent // BLOCK) + 1) * BLOCK
    cells = np.stack(np.meshgrid(steps, steps, [0.0], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    atoms = (block + cells).reshape(-1, 3)
    atoms = atoms[(atoms[:, :2] < extent).all(axis=1)]
    numbers = np.full(len(atoms), 6)
    return _exposed(rng, atoms[:, :2], atoms[:, 2], numbers, pixel_size), pixel_size


def _bulk(
    rng: np.random.Generator, extent: float, thickness: float, cell: tuple
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions (n, 2), heights (n,) and numbers (n,) of a turned slab of a crystal, Å."""
    parameter, sides, basis = cell
    lengths = parameter * np.array(sides)
    reach = int(1.5 * extent / lengths[:2].min()) + 2
    layers = max(int(thickness / lengths[2]), 1)
    axes = (np.arange(-reach, reach), np.arange(-reach, reach), np.arange(layers))
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    atoms = np.array([site[1:] for site in basis], float)
    points = ((corners + atoms) * lengths).reshape(-1, 3)
    numbers = np.tile([site[0] for site in basis], len(corners))
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plane = points[:, :2] @ turn + extent / 2 + rng.uniform(0, parameter, 2)
    inside = ((plane >= 0) & (plane < extent)).all(axis=1)
    return plane[inside], points[inside, 2], numbers[inside]


def _crystal(rng: np.random.Generator, index: int, cell: tuple) -> Made:
    pixel_size = rng.uniform(*PIXEL_SIZES)
    extent = (SIZE + 2 * MARGIN) * pixel_size
    positions, heights, numbers = _bulk(rng, extent, rng.uniform(15, 50), cell)
    return _exposed(rng, positions, heights, numbers, pixel_size), pixel_size


def _sheet(rng: np.random.Generator, index: int, chosen: configuration.Configuration) -> Made:
    sample = samples.simulate(int(rng.integers(2**31)), index, chosen)
    return sample.image, sample.pixel_size


def _scanned(rng: np.random.Generator, index: int) -> Made:
    """High-angle dark field: incoherent, bright atoms on dark ground, rows shifted at random."""
    pixel_size = rng.uniform(*PIXEL_SIZES) / 2  # a scan is usually finer
    extent = SIZE * pixel_size
    if index % 3 == 0:
        layer = crystal(extent, rng.uniform(0, np.pi))
        positions, numbers = layer.positions, layer.numbers
    else:
        cell = STRONTIUM_TITANATE if index % 3 == 1 else GOLD
        positions, _, numbers = _bulk(rng, extent, 10.0, cell)
    signal = _columns(positions / pixel_size, numbers**SCANNED_CHARGE)
    signal = ndimage.gaussian_filter(signal, rng.uniform(0.35, 0.5) / pixel_size, mode="wrap")
    counts = rng.uniform(8, 60) * (signal / signal.max() + rng.uniform(0.05, 0.2))
    shifts = np.round(rng.normal(0, 0.6, SIZE)).astype(int)
    shifted = np.stack([np.roll(row, k) for row, k in zip(counts, shifts, strict=True)])
    return rng.poisson(shifted), pixel_size


def _columns(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    places = np.round(pixels).astype(int) % SIZE
    total = np.bincount(places[:, 0] * SIZE + places[:, 1], weights, SIZE * SIZE)
    return total.reshape(SIZE, SIZE)


@lru_cache(maxsize=4)
def _grey(name: str) -> np.ndarray:
    image = np.asarray(getattr(data, name)(), np.float32)
    return color.rgb2gray(image[..., :3]) if image.ndim == 3 else image


def _bilayer(rng: np.random.Generator, index: int) -> Made:
    """Two layers of graphene all over, in register (every third) or twisted."""
    pixel_size = rng.uniform(*PIXEL_SIZES)
    extent = (SIZE + 2 * MARGIN) * pixel_size
    angle = rng.uniform(0, np.pi)
    lower = crystal(extent, angle)
    if index % 3:
        upper = crystal(extent, angle + rng.uniform(*TWISTS)).positions
    else:  # as in graphite: one bond along
        first, second = lower.bonds[0]
        upper = lower.positions + lower.positions[second] - lower.positions[first]
        upper = upper[((upper >= 0) & (upper < extent)).all(axis=1)]
    positions = np.concatenate([lower.positions, upper])
    heights = np.repeat([0.0, LAYERS_APART], [len(lower), len(upper)])
    numbers = np.full(len(positions), 6)
    return _exposed(rng, positions, heights, numbers, pixel_size), pixel_size


def _diffraction(rng: np.random.Generator, index: int) -> Made:
    """The pattern of a gold foil, or of a sheet of graphene: a bright beam and sharp spots."""
    image, _ = _crystal(rng, index, GOLD) if index % 2 else _sheet(rng, index, USUAL["graphene"])
    window = np.outer(*[np.hanning(length) for length in image.shape])
    power = np.abs(np.fft.fftshift(np.fft.fft2((image / image.mean() - 0.9) * window))) ** 2
    power = ndimage.gaussian_filter(power, rng.uniform(0.7, 1.5))
    counts = rng.poisson(power / power.max() * 10 ** rng.uniform(4, 6) + rng.uniform(0.5, 3))
    # No pixel size: it would be an angle.
    return (np.log1p(counts) if rng.integers(2) else np.sqrt(counts)), None


def _photograph(rng: np.random.Generator, index: int) -> Made:
    """A part of a photograph, reduced by up to 2."""
    image = _grey(PHOTOGRAPHS[index % len(PHOTOGRAPHS)])
    side = min(int(SIZE * rng.uniform(1, 2)), *image.shape)
    row, column = (int(rng.integers(n - side + 1)) for n in image.shape)
    part = image[row : row + side, column : column + side]
    return resize_area(part, (min(side, SIZE),) * 2)[0], None


SPOILT: dict[str, Callable[[np.random.Generator, np.ndarray], np.ndarray]] = {
    "coarse pixels": _reduced,
    "small field": _enlarged,
    "saturated": _saturated,
    "blurred": _blurred,
}
KINDS: dict[str, Callable] = SPOILT | {
    "no specimen": _vacuum,
    "amorphous film": _film,
    "molybdenum disulphide": partial(_sheet, chosen=configuration.MOS2),
    "tungsten diselenide": partial(_sheet, chosen=WSE2),
    "gold [110]": partial(_crystal, cell=GOLD),
    "silicon [110]": partial(_crystal, cell=SILICON),
    "dark-field STEM": _scanned,
    "diffraction": _diffraction,
    "photograph": _photograph,
    "boron nitride": partial(_sheet, chosen=configuration.HEXAGONAL_BORON_NITRIDE),
    "bilayer": _bilayer,
}
USUAL = {
    "graphene": configuration.GRAPHENE,
    "finer pixels": replace(configuration.GRAPHENE, pixel_size=(0.15, 0.20), size=512),
    "larger images": replace(configuration.GRAPHENE, pixel_size=PIXEL_SIZES, size=576),
}


CHECKED = ("default", "general")  # bundled networks that come with what they know
LEAST_ROC_AUC = 0.98  # the target for the area under the receiver operating characteristic
MOST_FALSE_ALARMS = 0.02  # the target
TIMED = 10  # images
COPIES = 6  # of each training image, as other microscopes might have recorded it
SCALE_ERROR = 0.1  # relative, of the scale of these
RECORDED_EVERY = 5  # of the held-out images every so many, in each other way
DIGITS = 4


@dataclass(frozen=True)
class Judged:
    """What was said of one image: the verdict on its looks and the warning of its scale."""

    kind: str
    verdict: Verdict
    scale_warning: str

    @property
    def flagged(self) -> bool:
        """Whether a user is warned."""
        return bool(self.verdict.warning or self.scale_warning)


def run(
    stack: LabelledStack,
    each: Annotated[int, typer.Option(min=2)] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    network: str = "default",
    folds: Path = pretrained.FOLDER,
    package: bool = True,
) -> dict:
    """Record how well out-of-distribution images are recognised; takes two minutes.

    Example: python -m book.studies out-of-distribution --output
    data/results/out_of_distribution.json

    Run it again whenever the networks were trained again: a reference set belongs to its weights.
    The reference set of a fold network, with its threshold, is fitted to the images that the
    network was trained on. It is tested on the images held out from it, on out-of-distribution
    images made of those, and on its fraction of the other ones.

    Parameters
    ----------
    stack
        The labelled images.
    each
        Number of images of every kind.
    seed
        Seed of the out-of-distribution images.
    network
        default or general; the reference set of the latter are its training images as other
        microscopes might have recorded them.
    folds
        Folder of the fold networks of general.
    package
        Also write, beside the networks, the reference set that predictions need.

    Returns
    -------
    dict
        Targets, ``roc_auc``, ``false_alarms``, ``recordings`` (held-out images recorded in other
        ways), ``kinds`` (each with its ROC AUC, its grades and the fraction flagged, with the
        pixel size unknown and, where there is one, stated),
        ``false_alarms_simulated`` (of graphene that is simulated), the
        ood_score of all images, and ``seconds``.
    """
    if package:
        write_record(ood.FILE, package_file(stack))
    fold_of = fold_networks.fold_of(stack.names)
    set_ = list(tqdm(image_set(stack.images, each, seed), "other images", len(KINDS) * each))
    dealt = np.array([fold_of[s.source] if s.source >= 0 else i for i, s in enumerate(set_)])
    dealt %= int(fold_of.max()) + 1
    simulated, usual = list(usual_images(max(each // 2, 1), seed)), []
    plain = ood.describe(None, stack.images)[0]
    known, others, unknown, stated = [], [], [None] * len(set_), []
    for fold in tqdm(np.unique(fold_of), desc="folds"):
        name = f"fold_{fold}" if network == "default" else f"{network}_fold_{fold}"
        path = folds / f"{name}.safetensors"
        segmenter = pretrained.load(path, test_time_augmentation=False)
        knows = _known(segmenter, stack, fold_of != fold, plain)
        say = _judge_with(knows, segmenter)
        known += [say("known", image, None) for image in stack.images[fold_of == fold]]
        for index in np.flatnonzero(fold_of == fold)[::RECORDED_EVERY]:
            image = stack.images[index]
            others += [say(n, recorded(n, image, seed + int(index)), None) for n in RECORDINGS]
        usual += [say(c.kind, c.image, None) for c in simulated[fold :: int(fold_of.max()) + 1]]
        for index in np.flatnonzero(dealt == fold):
            one: SetImage = set_[index]
            unknown[index] = say(one.kind, one.image, None)
            if one.pixel_size is not None:
                stated.append(say(one.kind, one.image, one.pixel_size))
    return {
        "name": "out_of_distribution",
        "data": describe_data(stack),
        "parameters": {
            "each": each, "seed": seed, "network": network, "deviations": ood.DEVIATIONS,
        },
        "targets": {"roc_auc": LEAST_ROC_AUC, "false_alarms": MOST_FALSE_ALARMS},
        **_summary(known, others, unknown, stated),
        "false_alarms_simulated": {k: _flagged(_only(usual, k)) for k in USUAL},
        "seconds": _seconds(stack, network),
    }  # fmt: skip


def summarise(record: dict) -> str:
    """Return how many other images are flagged, and how many false alarms there are."""
    return (
        f"ROC AUC {record['roc_auc']:.4f}, flagged {record['flagged']:.1%}, "
        f"false alarms {record['false_alarms']:.1%}"
    )


def _known(
    segmenter: UNetSegmenter, stack: LabelledStack, trained: np.ndarray, plain: np.ndarray
) -> ReferenceSet:
    """Describe what a network was trained on; `plain` are the statistics of the whole stack."""
    chosen = stack.subset(np.flatnonzero(trained))
    if inference.working_pixel_size(segmenter.card_) is None:
        return ood.fit(ood.describe(segmenter, chosen.images, plain[trained]), chosen.groups)
    sizes = [inference.measure_pixel_size(image) for image in chosen.images]
    found = describe_randomised(segmenter, chosen.images, sizes)
    known = ood.fit(found, np.repeat(chosen.groups, COPIES))
    return replace(known, usable=USABLE)


def describe_randomised(
    segmenter: UNetSegmenter,
    images: np.ndarray,
    pixel_sizes: Sequence[float | None],
    copies: int = COPIES,
    seed: int = 0,
) -> list[np.ndarray]:
    """Measure training images as they are and as other microscopes might have recorded them.

    For a network that was trained by `graphseg.unet.augmentation.randomised`: it knows more than
    its training images show.

    Parameters
    ----------
    segmenter
        A trained network.
    images
        (n, H, W).
    pixel_sizes
        Å per pixel of each, None where unknown.
    copies
        Of each image; the first is not changed, but all are brought to the network's scale, up to
        a calibration error.
    seed
        Of the changes.

    Returns
    -------
        For each gaussian (copies n, d) float64, the copies of an image one after the other.
    """
    generator = np.random.default_rng(seed)
    sizes = inference.known_pixel_sizes(segmenter.card_)
    working = inference.working_pixel_size(segmenter.card_)
    made = []
    for image, size in zip(images, pixel_sizes, strict=True):
        for copy in range(copies):
            error = np.exp(generator.uniform(-SCALE_ERROR, SCALE_ERROR))
            factor = 1.0
            if size is not None:
                factor = inference.find_scale(image, size * error, sizes, working).factor
            scaled = resize(image, [max(round(n * factor), 1) for n in image.shape])
            part = torch.from_numpy(standardise(ood.fields(scaled)[0]).astype(np.float32))
            if copy:
                part = otherwise(part, torch.zeros(part.shape, dtype=torch.int64), generator)
            made.append(part.numpy())
    return ood.describe(segmenter, made)


def _judge_with(known: ReferenceSet, segmenter: UNetSegmenter) -> Callable[..., Judged]:
    sizes = inference.known_pixel_sizes(segmenter.card_)
    working = inference.working_pixel_size(segmenter.card_)

    def say(kind: str, image: np.ndarray, pixel_size: float | None) -> Judged:
        found = inference.find_scale(image, pixel_size, sizes, working)
        return Judged(kind, ood.judge(known, segmenter, image, found), found.warning)

    return say


def _summary(
    known: Sequence[Judged],
    others: Sequence[Judged],
    unknown: Sequence[Judged],
    stated: Sequence[Judged],
) -> dict:
    far = [one for one in unknown if one.kind not in NEAR]
    return {
        "roc_auc": _roc_auc(known, far),
        "roc_auc_with_near": _roc_auc(known, unknown),
        # None left out: other recordings of graphene on this side, everything else on that.
        "roc_auc_with_recordings": _roc_auc([*known, *others], unknown),
        "false_alarms": _flagged(known),
        "false_alarms_number": sum(one.flagged for one in known),
        "flagged": _flagged(far),
        "recordings": {
            "images": len(others),
            "flagged": _flagged(others),
            "flagged_by_kind": {name: _flagged(_only(others, name)) for name in RECORDINGS},
            "grades": _grades(others),
        },
        "grades": _grades(known),
        "kinds": {kind: _of_kind(known, unknown, stated, kind) for kind in KINDS},
        "ood_score": {
            "known": _scores(known),
            **{kind: _scores(_only(unknown, kind)) for kind in KINDS},
        },
    }


def _of_kind(known, unknown, stated, kind: str) -> dict:
    plain, told = _only(unknown, kind), _only(stated, kind)
    return {
        "near": kind in NEAR,
        "images": len(plain),
        "roc_auc": _roc_auc(known, plain),
        "flagged": _flagged(plain),
        "flagged_by_scale": round(float(np.mean([bool(o.scale_warning) for o in plain])), DIGITS),
        "flagged_with_pixel_size": _flagged(told),
        "grades": _grades(plain),
        "reasons": dict(Counter(_without_numbers(o.verdict.reason) for o in plain)),
    }


def _grades(judged: Sequence[Judged]) -> dict[str, int]:
    return dict(Counter(one.verdict.grade for one in judged))


def _without_numbers(reason: str) -> str:
    return re.sub(r"\d[\d.]*", "…", reason)


def _only(judged: Sequence[Judged], kind: str) -> list[Judged]:
    return [one for one in judged if one.kind == kind]


def _scores(judged: Sequence[Judged]) -> list[float | None]:
    """Return ood_score; None of what is too small to be judged."""
    scores = (one.verdict.ood_score for one in judged)
    return [None if score is None else round(score, DIGITS) for score in scores]


def _flagged(judged: Sequence[Judged]) -> float | None:
    return round(float(np.mean([one.flagged for one in judged])), DIGITS) if judged else None


def _roc_auc(known: Sequence[Judged], others: Sequence[Judged]) -> float:
    """Return the probability that an out-of-distribution image has a higher score than a held-out
    one.

    What is flagged counts as twice the threshold at least, whatever its distance: no lattice,
    saturation, a scale that the network does not know.
    """
    values = []
    for one in (*known, *others):
        score = one.verdict.ood_score or 0.0
        values.append(max(score, 2.0) if one.flagged else score)
    truth = np.repeat([0, 1], [len(known), len(others)])
    return round(float(roc_auc_score(truth, values)), DIGITS)


def _seconds(stack: LabelledStack, network: str) -> dict[str, float]:
    """Return the median time per image of the network as it is bundled, and of the check."""
    segmenter = pretrained.load(network)
    known = _known(segmenter, stack, np.ones(len(stack), bool), ood.describe(None, stack.images)[0])
    images = stack.images[:TIMED]
    found = [inference.find_scale(image) for image in images]
    pairs = list(zip(images, found, strict=True))
    return {
        "network": _median_time(lambda pair: segmenter.predict_proba(pair[0][None]), pairs),
        "check": _median_time(lambda p: ood.judge(known, segmenter, *p), pairs),
    }


def _median_time(work: Callable, items: Sequence) -> float:
    times = []
    for item in items:
        started = time.perf_counter()
        work(item)
        times.append(time.perf_counter() - started)
    return round(float(np.median(times)), DIGITS)


def package_file(stack: LabelledStack) -> dict:
    """Return what predictions need: what each bundled network knows, by its file's digest."""
    plain, everything = ood.describe(None, stack.images)[0], np.ones(len(stack), bool)
    return {
        "networks": {
            weights_digest(pretrained.find(name)): _known(
                pretrained.load(name), stack, everything, plain
            ).as_json()
            for name in CHECKED
        }
    }

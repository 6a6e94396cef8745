"""What is done with each micrograph: a network predicts, then masks, ranks, structure or less data.

Tasks are small and picklable; the weights are loaded where the work is done, once a process.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from PIL import Image

from graphseg.batch.manifest import Writer
from graphseg.batch.reduction import Coarsening, store
from graphseg.batch.report import csv_text
from graphseg.batch.run import WORK, Result, memory_for
from graphseg.datasets.stack import LabelClasses, contamination_probability, decide
from graphseg.errors import InputError
from graphseg.evaluation import ood, quality
from graphseg.io import structures
from graphseg.io.micrographs import PLAUSIBLE, Micrograph
from graphseg.io.outputs import previews, write_labels, write_mask, write_overlay, write_probability
from graphseg.structure.analysis import DEFECT_COLUMNS, find_classes, find_structure
from graphseg.structure.classes import VACUUM, ClassMap
from graphseg.unet import inference, pretrained
from graphseg.unet.network import choose_device, choose_precision, weights_digest
from graphseg.unet.segmenter import UNetSegmenter

if TYPE_CHECKING:
    from graphseg.batch.masks import MaskFolder

DIGITS = 6  # of fractions in tables
CORES = torch.get_num_threads()  # as OMP_NUM_THREADS or the machine says
OUTSIDE = "outside_known_scale"  # flag
COVERED = "nearly_all_contaminated"  # flag


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says about one micrograph."""

    probability: np.ndarray  # (H, W) float32, of contamination, on the micrograph's own grid
    mask: np.ndarray  # (H, W) bool, True = contamination
    pixel_size: float | None  # Å per pixel of the micrograph, None where unknown
    pixel_size_from: str  # "given", "file", "lattice" or "none"
    factor: float = 1.0  # the image's sides were multiplied by this for the network
    warning: str = ""  # one sentence if the image is outside of what the network knows
    # (H, W) uint8 or uint16, the grey value of the class of each pixel; None if the network knows
    # contamination and the rest only.
    labels: np.ndarray | None = None
    # Distance to what the network was trained on, 1 is the threshold; None if not known.
    ood_score: float | None = None
    verdict: str = ""  # whether it is like them, in words
    flags: tuple[str, ...] = ()  # why it is to be looked at
    # What tells the Jaccard index to expect, if that is known of the network.
    expected: quality.ExpectedJaccard | None = None
    # Columns of the table that are known without a look at the probability.
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stated_size(self) -> float | None:
        """The pixel size unless it was measured: without contamination that can be done better."""
        return None if self.pixel_size_from == "lattice" else self.pixel_size


@dataclass(frozen=True)
class Network:
    """Which network, and how it predicts.

    Parameters
    ----------
    model
        A weight file, or the name of another pretrained network; None for the default.
    test_time_augmentation
        Over the eight symmetries of the square; None as the network was made.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``; results are taken for the same on all of them.
    pixel_size
        Å per pixel of all images, whatever their files say.
    digest, precision
        SHA-256 of the weight file, without which a process refuses to work, and what suits the
        machine that `choose` was called on, so that others give the same results.

    Examples
    --------
    >>> import graphseg as gs
    >>> micrograph = Micrograph(gs.load_stack("simulated").images[0])
    >>> prediction = Network.choose(test_time_augmentation=False, device="cpu").predict(micrograph)
    >>> prediction.mask.shape, prediction.flags
    ((256, 256), ())
    """

    model: Path | None = None
    test_time_augmentation: bool | None = None
    device: str = "auto"
    pixel_size: float | None = None
    digest: str = ""
    precision: str = "auto"

    @classmethod
    def choose(cls, model: Path | None = None, **options: Any) -> "Network":
        """Return a network after a look at its file and at the options; InputError if the file is
        missing or no weight file, the device absent, or the pixel size bad."""
        if model is not None:
            named = str(model) in pretrained.names() and not Path(model).exists()
            model = pretrained.FOLDER / f"{model}.safetensors" if named else Path(model).absolute()
        network = cls(model, **options)
        file = network.file
        low, high = PLAUSIBLE
        if network.pixel_size is not None and not low <= network.pixel_size <= high:
            raise InputError(
                f"A pixel size of {network.pixel_size} Å is impossible; give one between {low:g} "
                f"and {high:g}."
            )
        precision = str(choose_precision("auto", choose_device(network.device)))
        network = replace(
            network, digest=weights_digest(file), precision=precision.removeprefix("torch.")
        )
        # A file that cannot be used is refused here.
        averages = network.segmenter().test_time_augmentation
        return replace(network, test_time_augmentation=averages)

    @property
    def file(self) -> Path:
        """The weight file."""
        return self.model or pretrained.FOLDER / "default.safetensors"

    def segmenter(self) -> UNetSegmenter:
        """Return the network, loaded once a process."""
        loaded = _load(self.file, self.digest, self.device, self.precision)
        if self.test_time_augmentation in (None, loaded.test_time_augmentation):
            return loaded
        changed = copy(loaded)
        changed.test_time_augmentation = self.test_time_augmentation
        return changed

    def made_by(self) -> dict:
        """Return what decides on the predictions."""
        names = ("test_time_augmentation", "precision", "pixel_size")
        return {"model": self.digest} | {name: getattr(self, name) for name in names}

    @cached_property
    def classes(self) -> LabelClasses | None:
        """The classes that the network knows if there are more than two."""
        segmenter = self.segmenter()
        if segmenter.classes == 2:
            return None
        plain = LabelClasses(tuple(range(segmenter.classes)), tuple(segmenter.contamination))
        return LabelClasses.from_card(segmenter.card_) or plain

    @property
    def threshold(self) -> float:
        """Probability at and above which a pixel is called contamination."""
        return self.segmenter().threshold

    def threads(self) -> int:
        """Return how many micrographs are best worked on at a time: on a processor one a core."""
        # The threads that share one convolution wait for each other, those with an image of their
        # own do not. A graphics processor has one in hand while another's results are written.
        return 2 if self.segmenter().device_.startswith("cuda") else CORES

    def processes(self) -> int:
        """Return how many processes are best, with a thread each: on a processor one a core."""
        return 1 if self.segmenter().device_.startswith("cuda") else CORES

    def predict(self, micrograph: Micrograph, name: str = "") -> Prediction:
        """Predict one micrograph of any size and scale, see `graphseg.unet.inference`.

        The `name` of its results makes no difference here, as it does to `MaskFolder`.
        """
        segmenter, classes, labels = self.segmenter(), self.classes, None
        # An image so large that no other is in work beside it has all cores.
        threads = CORES if 2 * WORK * micrograph.image.size > memory_for(self.threads()) else 1
        if torch.get_num_threads() != threads:  # for this thread; to set it takes milliseconds
            torch.set_num_threads(threads)
        # Bring it to the network's scale and back, then ask whether the network knows the like.
        stated = self.pixel_size or micrograph.pixel_size
        probability, found = inference.predict_proba(segmenter, micrograph.image, stated)
        verdict = ood.judge(
            ood.known_to(segmenter, self.digest), segmenter, micrograph.image, found
        )
        words, doubts = verdict.words, {OUTSIDE: found.warning, ood.FLAG: verdict.warning}
        if classes is not None:
            contamination = classes.contamination
            labels = classes.grey(decide(probability, contamination, segmenter.threshold))
            probability = contamination_probability(probability, contamination)
        mask = probability >= segmenter.threshold
        doubts[COVERED] = quality.covered(mask)
        return Prediction(
            probability,
            mask,
            found.pixel_size,
            "given" if self.pixel_size else found.source,
            found.factor,
            next(filter(None, doubts.values()), ""),
            labels,
            verdict.ood_score,
            words,
            tuple(filter(doubts.get, doubts)),
            quality.known_to(segmenter, self.digest),
        )


@lru_cache(maxsize=2)
def _load(file: Path, digest: str, device: str, precision: str) -> UNetSegmenter:
    segmenter = UNetSegmenter.load(file, device=device, precision=precision)
    if weights_digest(file) != digest:
        raise InputError(f"{file} is not the same on all machines; copy one version to all.")
    return segmenter


@dataclass(frozen=True)
class NetworkTask:
    """What the tasks have in common: the columns of the table that say what the network found.
    In place of a network there may be the masks of an earlier one."""

    network: "Network | MaskFolder"
    command: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]] = ()  # ends of the names of the results

    def made_by(self) -> dict:
        """Return model digest and options: what decides on the results besides the input."""
        return self.network.made_by() | {"suffixes": self.suffixes}

    def threads(self) -> int:
        """Return how many micrographs are best worked on at a time."""
        return self.network.threads()

    def processes(self) -> int:
        """Return how many processes are best where there is much to do."""
        return self.network.processes()

    def result(
        self,
        micrograph: Micrograph,
        prediction: Prediction,
        row: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Writer] | None = None,
        flags: Sequence[str] = (),
        vacuum: np.ndarray | None = None,
    ) -> Result:
        """Return what every result has, and what is given; `vacuum` (H, W) bool is not usable."""
        height, width = micrograph.image.shape
        maps, excluded = [prediction.probability], None if vacuum is None else [vacuum]
        threshold = self.network.threshold
        clean = quality.clean_fractions(maps, threshold, excluded)[0]
        low, high = quality.clean_intervals(maps, excluded=excluded)[0]
        size, ood_score = prediction.pixel_size, prediction.ood_score
        common = {
            "height": height,
            "width": width,
            "pixel_size": None if size is None else round(size, DIGITS),
            "pixel_size_from": prediction.pixel_size_from,
            "scale_factor": round(prediction.factor, DIGITS),
            "flags": " ".join([*prediction.flags, *flags]),
            "warning": prediction.warning,
            "ood_score": ood_score and round(ood_score, DIGITS),
            "verdict": prediction.verdict,
            # Masks that are given were made with one that is not known here.
            "threshold": threshold if self.network.digest else None,
            "contaminated_fraction": round(float(prediction.mask.mean()), DIGITS),
            "clean_fraction": round(float(clean), DIGITS),
            "clean_low": round(float(low), DIGITS),
            "clean_high": round(float(high), DIGITS),
            **quality.columns(
                prediction.probability, prediction.expected, bool(prediction.flags), DIGITS
            ),
            # Nobody has seen how good masks are in other conditions, usable as they look.
            **({"look_first": "yes"} if prediction.verdict.startswith(ood.GRADES[1]) else {}),
            "model": self.network.digest[:12],
            **prediction.known,
        }
        shown = previews(micrograph.image, prediction.probability)
        return Result(common | dict(row or {}), dict(outputs or {}), *shown, prediction.warning)


@dataclass(frozen=True)
class Segment(NetworkTask):
    """Write masks, and on request probability maps and overlays.

    If the network knows more than two classes, there are also class maps with the grey values of
    the labels that it was trained on, and the fraction of each class is in the table.

    Parameters
    ----------
    network, masks
        What predicts, and the format of masks, ``"tif"`` or ``"png"``.
    probabilities
        ``"float32"``, ``"float16"`` or None.
    overlays
        Whether to write pictures with contamination in orange-red.

    Examples
    --------
    >>> Segment(Network.choose(device="cpu"), overlays=True).suffixes
    ('_mask.tif', '_overlay.png')
    """

    masks: str = "tif"
    probabilities: str | None = None
    overlays: bool = False
    command: ClassVar[str] = "segment"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        wanted = {
            f"_mask.{self.masks}": True,
            f"_classmap.{self.masks}": self.network.classes is not None,
            "_probability.tif": self.probabilities,
            "_overlay.png": self.overlays,
        }
        return tuple(suffix for suffix, written in wanted.items() if written)

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"probabilities": self.probabilities}

    def work(self, micrograph: Micrograph, name: str) -> Result:
        """Predict; return the row, the pictures and what writes the results."""
        found, image = self.network.predict(micrograph, name), micrograph.image
        mask, size, form = found.mask, found.pixel_size, self.masks
        write: dict[str, Writer] = {
            f"_mask.{form}": partial(write_mask, mask=mask, pixel_size=size, form=form),
            f"_classmap.{form}": partial(
                write_labels, labels=found.labels, pixel_size=size, form=form
            ),
            "_probability.tif": partial(
                write_probability,
                probability=found.probability, pixel_size=size, dtype=self.probabilities,
            ),
            "_overlay.png": partial(write_overlay, image=image, mask=mask),
        }  # fmt: skip
        classes = self.network.classes
        fractions = {
            f"class_{value}_fraction": round(float((found.labels == value).mean()), DIGITS)
            for value in (classes.values if classes else ())
        }
        wanted = {suffix: write[suffix] for suffix in self.suffixes}
        return self.result(micrograph, found, fractions, wanted)


@dataclass(frozen=True)
class Sort(NetworkTask):
    """Measure how much of each image is clean; writes nothing for the single image.

    Parameters
    ----------
    network, exclude_vacuum
        What predicts, and whether holes count as not usable.

    Examples
    --------
    >>> Sort(Network.choose(device="cpu"), exclude_vacuum=True).made_by()["exclude_vacuum"]
    True
    """

    exclude_vacuum: bool = False
    command: ClassVar[str] = "sort"

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"exclude_vacuum": self.exclude_vacuum}

    def work(self, micrograph: Micrograph, name: str) -> Result:
        """Predict, find the holes if they count, and return the row and the pictures."""
        found = self.network.predict(micrograph, name)
        classes = _classes(micrograph, found) if self.exclude_vacuum else None
        if classes is None:
            return self.result(micrograph, found)
        vacuum = classes.labels == VACUUM
        return self.result(micrograph, found, vacuum=vacuum, flags=classes.flags)


def _classes(micrograph: Micrograph, prediction: Prediction) -> ClassMap | None:
    found = find_classes(micrograph.image, prediction.mask, prediction.stated_size)
    return None if found is None else found[1]


@dataclass(frozen=True)
class Analyse(NetworkTask):
    """Write the class map; atoms, bonds, rings and defects as CSV; the atoms as extended XYZ.

    Parameters
    ----------
    network, structures
        What predicts, and whether to write extended XYZ files.

    Examples
    --------
    >>> Analyse(Network.choose(device="cpu"), structures=False).suffixes
    ('_classes.png', '_atoms.csv', '_bonds.csv', '_rings.csv', '_defects.csv')
    """

    structures: bool = True
    command: ClassVar[str] = "analyse"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        always = ("_classes.png", "_atoms.csv", "_bonds.csv", "_rings.csv", "_defects.csv")
        return (*always, "_atoms.xyz") if self.structures else always

    def work(self, micrograph: Micrograph, name: str) -> Result:
        """Predict, find the structure; return the row, the pictures and what writes the files."""
        prediction, shape = self.network.predict(micrograph, name), micrograph.image.shape
        found = find_structure(micrograph.image, prediction.mask, prediction.stated_size)
        if found is None:
            return self.result(micrograph, prediction, flags=("no_lattice",))
        size, atoms = found.lattice.pixel_size, found.atoms
        rings = found.rings.keep(found.rings.regular)
        place = dict(positions=atoms.positions, pixel_size=size)
        picture = Image.fromarray(found.classes.image)
        defects = csv_text(found.defect_rows(shape), DEFECT_COLUMNS)
        write: dict[str, Writer] = {
            "_classes.png": partial(picture.save, format="PNG"),
            "_atoms.csv": partial(
                structures.write_atoms_csv, **place, shape=shape, amplitudes=atoms.amplitudes
            ),
            "_bonds.csv": partial(structures.write_bonds_csv, **place, bonds=found.bonds),
            "_rings.csv": partial(
                structures.write_rings_csv,
                positions=rings.centres, pixel_size=size, shape=shape, sizes=rings.sizes,
                areas=rings.areas,
            ),
            "_defects.csv": lambda path: path.write_text(defects, encoding="utf-8"),
            "_atoms.xyz": partial(
                structures.write_extended_xyz, **place, shape=shape, amplitudes=atoms.amplitudes
            ),
        }  # fmt: skip
        return self.result(
            micrograph,
            prediction,
            row=found.row() | {"pixel_size": round(size, DIGITS)},
            outputs={suffix: write[suffix] for suffix in self.suffixes},
            flags=found.flags,
        )


@dataclass(frozen=True)
class Reduce(NetworkTask):
    """Store each image with its class map in a small HDF5 file, see `graphseg.batch.reduction`.

    Parameters
    ----------
    network, coarsening
        What predicts, and what may be lost; by default nothing.

    Examples
    --------
    >>> Reduce(Network.choose(device="cpu")).coarsening.mode
    'lossless'
    """

    coarsening: Coarsening = field(default_factory=Coarsening)
    command: ClassVar[str] = "reduce"
    suffixes: ClassVar[tuple[str, ...]] = ("_reduced.h5",)

    def made_by(self) -> dict:
        """Return model digest and options."""
        return super().made_by() | {"coarsening": asdict(self.coarsening)}

    def work(self, micrograph: Micrograph, name: str) -> Result:
        """Predict, find the classes; return the row, the pictures and what writes the file."""
        found, image = self.network.predict(micrograph, name), _storable(micrograph.image)
        classes = _classes(micrograph, found)
        # Without a lattice nothing but contamination is known.
        labels, flags = found.mask, ("no_lattice",)
        if classes is not None:
            labels, flags = classes.labels, classes.flags

        def write(path: Path) -> dict[str, Any]:
            stack = image[None], labels[None]
            report = store(path, *stack, self.coarsening, [name], found.pixel_size)
            total = report.losses["total"]
            return {
                "original_bytes": report.original_bytes,
                "file_bytes": report.file_bytes,
                "ratio": round(report.ratio, 3),
                "coarse_fraction": round(total.coarse / total.pixels, DIGITS),
                "rmse": round(total.rmse, DIGITS),
            }

        return self.result(micrograph, found, outputs={"_reduced.h5": write}, flags=flags)


def _storable(image: np.ndarray) -> np.ndarray:
    """Return an image of 1 or 64 bits a pixel in a type that can be stored, if it loses nothing."""
    if image.dtype == bool:
        return image.astype(np.uint8)
    for dtype in (np.float32, np.int32, np.uint32) if image.dtype.itemsize == 8 else ():
        if (image == image.astype(dtype)).all():
            return image.astype(dtype)
    return image

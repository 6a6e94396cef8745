"""The network that works on a folder of micrographs: which, how, and what it says of each.

It is small and picklable; the weights are loaded where the work is done, once a process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from graphseg.batch import ranking
from graphseg.batch.report import jpeg
from graphseg.batch.stream import FLOAT, MEMORY, Result, Writer
from graphseg.datasets.stack import LabelClasses, contamination_probability, decide
from graphseg.errors import InputError
from graphseg.evaluation import ood, quality
from graphseg.io.formats import PLAUSIBLE
from graphseg.io.micrographs import Micrograph
from graphseg.io.outputs import small_picture
from graphseg.unet import pretrained, scale, weights
from graphseg.unet.segmenter import UNetSegmenter

DIGITS = 6  # of fractions in tables
CORES = torch.get_num_threads()  # as OMP_NUM_THREADS or the machine says
ALONE = MEMORY // FLOAT // 2  # pixels; two images larger than this are never in work together
OUTSIDE = "outside_known_scale"  # flag


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says about one micrograph.

    Attributes
    ----------
    probability
        (H, W) float32, of contamination, on the micrograph's own grid.
    mask
        (H, W) bool, True = contamination.
    pixel_size
        Å per pixel of the micrograph, None where unknown.
    pixel_size_from
        ``"given"``, ``"file"``, ``"lattice"`` or ``"none"``.
    factor
        The image's sides were multiplied by this for the network.
    warning
        One sentence if the image is outside of what the network knows, or "".
    labels
        (H, W) uint8 or uint16, the grey value of the class of each pixel; None if the network
        knows contamination and the rest only.
    ood_score
        Distance to what the network was trained on, 1 is the threshold; None if not known.
    flags
        Why it is to be looked at.
    """

    probability: np.ndarray
    mask: np.ndarray
    pixel_size: float | None
    pixel_size_from: str
    factor: float = 1.0
    warning: str = ""
    labels: np.ndarray | None = None
    ood_score: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """Which network, and how it predicts.

    Parameters
    ----------
    model
        A weight file, or the name of another bundled network; None for the default.
    test_time_augmentation
        Over the eight symmetries of the square.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``; results are taken for the same on all of them.
    pixel_size
        Å per pixel of all images, whatever their files say.
    digest
        SHA-256 of the weight file; a process that finds another one refuses to work.
    precision
        Of the convolutions: what suits the machine that `choose` was called on, so that others
        give the same results.
    """

    model: Path | None = None
    test_time_augmentation: bool = True
    device: str = "auto"
    pixel_size: float | None = None
    digest: str = ""
    precision: str = "auto"

    @classmethod
    def choose(cls, model: Path | None = None, **options: Any) -> "Network":
        """Return a network after a look at its file and at the options.

        Raises
        ------
        InputError
            If the file is missing or no weight file, the device is absent, or the
            pixel size is not positive.
        """
        model = model and _found(Path(model))
        network = cls(model, digest=weights.digest(_file(model)), **options)
        low, high = PLAUSIBLE
        if network.pixel_size is not None and not low <= network.pixel_size <= high:
            raise InputError(
                f"A pixel size of {network.pixel_size} Å is impossible; give one between {low:g} "
                f"and {high:g}."
            )
        return replace(network, precision=network.segmenter().precision_)

    def segmenter(self) -> UNetSegmenter:
        """Return the network, loaded once a process."""
        return _load(self)

    def made_by(self) -> dict:
        """Return what decides on the predictions."""
        kept = {
            name: getattr(self, name)
            for name in ("test_time_augmentation", "precision", "pixel_size")
        }
        return {"model": self.digest} | kept

    def lanes(self) -> int:
        """Return how many micrographs are best predicted at a time: on a processor one a core.

        The threads that share one convolution wait for each other, those with an image of their own
        do not.
        """
        return 1 if self.segmenter().device_.startswith("cuda") else CORES

    def predict(self, micrograph: Micrograph) -> Prediction:
        """Predict one micrograph of any size and scale, see `graphseg.unet.scale`."""
        segmenter = self.segmenter()
        threads = CORES if micrograph.image.size > ALONE else 1
        if torch.get_num_threads() != threads:  # for this thread; to set it takes milliseconds
            torch.set_num_threads(threads)
        stated = self.pixel_size or micrograph.pixel_size
        probability, found = scale.predict_proba(segmenter, micrograph.image, stated)
        verdict = ood.judge(ood.package(self.digest), segmenter, micrograph.image, found)
        raised = {OUTSIDE: found.warning, ood.FLAG: verdict.warning}
        labels, classes = None, self.classes()
        if classes is not None:
            contaminated = classes.contamination
            labels = classes.grey(decide(probability, contaminated, segmenter.threshold))
            probability = contamination_probability(probability, contaminated)
        return Prediction(
            probability,
            probability >= segmenter.threshold,
            found.pixel_size,
            "given" if self.pixel_size else found.source,
            found.factor,
            found.warning or verdict.warning,
            labels,
            verdict.ood_score,
            tuple(flag for flag, warning in raised.items() if warning),
        )

    def classes(self) -> LabelClasses | None:
        """Return the classes that the network knows if there are more than two."""
        segmenter = self.segmenter()
        if segmenter.classes == 2:
            return None
        plain = LabelClasses(tuple(range(segmenter.classes)), tuple(segmenter.contamination))
        return LabelClasses.from_card(segmenter.card_) or plain

    def row(
        self, micrograph: Micrograph, prediction: Prediction, vacuum: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Return the columns of the table that every task has."""
        height, width = micrograph.image.shape
        excluded = None if vacuum is None else [vacuum]
        threshold = self.segmenter().threshold
        clean = ranking.clean_fractions([prediction.probability], threshold, excluded)[0]
        low, high = ranking.clean_intervals([prediction.probability], excluded=excluded)[0]
        size = prediction.pixel_size
        return {
            "height": height,
            "width": width,
            "pixel_size": None if size is None else round(size, DIGITS),
            "pixel_size_from": prediction.pixel_size_from,
            "scale_factor": round(prediction.factor, DIGITS),
            "flags": " ".join(prediction.flags),
            "warning": prediction.warning,
            "ood_score": prediction.ood_score and round(prediction.ood_score, DIGITS),
            "contaminated_fraction": round(float(prediction.mask.mean()), DIGITS),
            "clean_fraction": round(float(clean), DIGITS),
            "clean_low": round(float(low), DIGITS),
            "clean_high": round(float(high), DIGITS),
            **({} if self.model else quality.columns(prediction.probability, DIGITS)),
            "model": self.digest[:12],
        }


def _found(model: Path) -> Path:
    """Return the file of that name, or of the network of that name."""
    if not model.exists() and str(model) in pretrained.names():
        model = pretrained.FOLDER / f"{model}.safetensors"
    return model.absolute()


def _file(model: Path | None) -> Path:
    return model or pretrained.FOLDER / "default.safetensors"


@lru_cache(maxsize=2)
def _load(network: Network) -> UNetSegmenter:
    file = _file(network.model)
    if weights.digest(file) != network.digest:
        raise InputError(f"{file} is not the same on all machines; copy one version to all.")
    names = ("test_time_augmentation", "device", "precision")
    options = {name: getattr(network, name) for name in names}
    return UNetSegmenter.load(file, **options)


@dataclass(frozen=True)
class NetworkTask:
    """What tasks have in common: a network predicts, the rest is done with its prediction."""

    network: Network
    command: ClassVar[str]

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Ends of the names of the results."""
        return ()

    def made_by(self) -> dict:
        """Return model digest and options: what decides on the results besides the input."""
        return self.network.made_by() | {"suffixes": self.suffixes}

    def lanes(self) -> int:
        """Return how many micrographs are predicted at a time."""
        return self.network.lanes()

    def predict(self, micrograph: Micrograph) -> Prediction:
        """Run the network."""
        return self.network.predict(micrograph)

    def result(
        self,
        micrograph: Micrograph,
        prediction: Prediction,
        row: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Writer] | None = None,
        flags: Sequence[str] = (),
        vacuum: np.ndarray | None = None,
    ) -> Result:
        """Return the row, the thumbnail and the warning that every result has, and what is given.

        Parameters
        ----------
        micrograph, prediction
            What it is about.
        row
            Further columns.
        outputs
            Suffix of each result to what writes it.
        flags
            Further flags.
        vacuum
            (H, W) bool, what is not usable although it is not contaminated.
        """
        common = self.network.row(micrograph, prediction, vacuum)
        raised = " ".join(filter(None, [common["flags"], *flags]))
        return Result(
            common | dict(row or {}) | {"flags": raised},
            dict(outputs or {}),
            jpeg(small_picture(micrograph.image, prediction.mask)),
            prediction.warning,
        )

"""What a U-Net is made with: parameters, the published recipes, what identifies a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from sklearn.base import BaseEstimator

from graphseg import training, weights
from graphseg.checks import check_parameters
from graphseg.errors import InputError

DIGEST = "sha256:"
# What another machine or another way of watching may change without making it another training.
NOT_PART_OF_THE_RESULT = (
    "device", "checkpoint", "progress", "tile", "overlap", "threshold",
)  # fmt: skip
# A weight file has parameters too, so what they ask memory for is bounded.
RANGES = {
    "levels": (1, 8), "features": (1, 1024), "stride": (1, 16), "classes": (2, 256),
    "epochs": (0, 1e6), "batch_size": (1, 1e6), "learning_rate": (1e-12, 1e3),
    "noise": (0, 1e3), "blur": (0, 32), "adversarial": (0, 1e3), "weight_decay": (0, 1e3),
    "threshold": (0, 1), "tile": (1, 2**20), "overlap": (0, 2**20),
    "seed": (0, 2**63 - 1),
}  # fmt: skip
MOST_FEATURES = 4096  # of a block; the largest published network has 1024


class UNetParameters(BaseEstimator):
    """What a `graphseg.segmenter.UNetSegmenter` is made with.

    Parameters
    ----------
    levels, features, normalisation, stride
        The network, see :class:`graphseg.unet.UNet`.
    augmentation : bool, default True
        Random symmetries of the square and contrast, see :func:`graphseg.batches.augment`.
    noise : float, default 0
        Largest standard deviation of white noise that is added to standardised images.
    blur : float, default 0
        Largest blur of training images in pixels, in every direction another, as by focus, drift
        and a coarser camera; see :func:`graphseg.batches.blurred`.
    adversarial : float, default 0
        Largest step against its label that an image is moved by, in standard deviations; twice as
        slow, see :class:`graphseg.training.AutocastNet`.
    epochs : int, default 25
    batch_size : int, default 4
        Images a step.
    learning_rate : float, default 1e-3
        Constant, or the highest of the cycle.
    schedule : {"one-cycle", "constant"}
    optimiser : {"adamw", "adam"}
    weight_decay : float, default 0.01
        Only ``"adamw"`` uses it.
    loss : {"cross-entropy", "cross-entropy + jaccard"}
        See :mod:`graphseg.losses`.
    initial : path or None
        A weight file to start from, of the same network, instead of random weights; for instance
        one trained on simulated images. If it has other classes, each class starts as its clean
        class or its contamination, see :func:`graphseg.weights.change_classes`.
    classes : int, default 2
        Of the labels. With two, they are masks and class 1 is contamination.
    contamination : sequence of int, default (1,)
        The numbers of the classes that are contamination.
    averaging : bool, default False
        Average predictions over the eight symmetries of the square (test-time augmentation);
        eight times slower.
    threshold : float, default 0.5
        Probability at and above which a pixel is called contamination.
    precision : {"auto", "float32", "bfloat16"}
        Of the convolutions; ``"auto"`` takes bfloat16 where the processor multiplies in it.
    device : str, default "auto"
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    tile, overlap : int, default 1024 and 128
        Images larger than a tile are predicted in tiles that overlap, in pixels; by more than
        said if the network sees farther.
    seed : int, default 0
        Of the initial weights, the order of batches and the augmentation.
    checkpoint : path or None
        A file that is rewritten after every epoch; a training that finds it continues from it.
    progress : bool, default True
        Show a bar on stderr.
    """

    def __init__(
        self,
        levels: int = 4,
        features: int = 16,
        normalisation: str = "batch",
        stride: int = 1,
        augmentation: bool = True,
        noise: float = 0.0,
        blur: float = 0.0,
        adversarial: float = 0.0,
        epochs: int = 25,
        batch_size: int = 4,
        learning_rate: float = 1e-3,
        schedule: str = "one-cycle",
        optimiser: str = "adamw",
        weight_decay: float = 0.01,
        loss: str = "cross-entropy",
        initial: str | Path | None = None,
        classes: int = 2,
        contamination: Sequence[int] = (1,),
        averaging: bool = False,
        threshold: float = 0.5,
        precision: str = "auto",
        device: str = "auto",
        tile: int = 1024,
        overlap: int = 128,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ):
        self.levels = levels
        self.features = features
        self.normalisation = normalisation
        self.stride = stride
        self.augmentation = augmentation
        self.noise = noise
        self.blur = blur
        self.adversarial = adversarial
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimiser = optimiser
        self.weight_decay = weight_decay
        self.loss = loss
        self.initial = initial
        self.classes = classes
        self.contamination = contamination
        self.averaging = averaging
        self.threshold = threshold
        self.precision = precision
        self.device = device
        self.tile = tile
        self.overlap = overlap
        self.seed = seed
        self.checkpoint = checkpoint
        self.progress = progress

    @classmethod
    def paper(cls, **changes) -> Self:
        """Return the paper's network and recipe: 32 features, Adam at 1e-4, batch 1, 300 epochs."""
        recipe = dict(
            levels=4,
            features=32,
            normalisation="none",
            augmentation=False,
            epochs=300,
            batch_size=1,
            learning_rate=1e-4,
            schedule="constant",
            optimiser="adam",
        )
        return cls(**(recipe | changes))

    @classmethod
    def original(cls, **changes) -> Self:
        """Return the original U-Net's size (5 levels, 64 features) with the paper's recipe."""
        return cls.paper(**(dict(levels=5, features=64) | changes))

    @property
    def contaminated(self) -> list[bool]:
        """Whether each class is contamination."""
        return [number in self.contamination for number in range(self.classes)]

    def portable_parameters(self) -> dict:
        """Return what another machine needs to make the same estimator, as JSON can hold it."""
        kept = self._parameters_without(("checkpoint", "progress"))
        return kept | {"initial": self._initial_digest()}

    def _recipe(self) -> dict:
        kept = self._parameters_without(NOT_PART_OF_THE_RESULT)
        return kept | {"precision": self._resolve(), "initial": self._initial_digest()}

    def _parameters_without(self, names: Sequence[str]) -> dict:
        """Return the parameters but some; those that few change are mentioned if they are changed.

        Files that were written before there could be more stay valid so.
        """
        left_out = [*names, *(n for n in ("noise", "blur", "adversarial") if not getattr(self, n))]
        left_out += ["classes", "contamination"] if self.classes == 2 else []
        return {k: v for k, v in self.get_params().items() if k not in left_out}

    def _resolve(self) -> str:
        """Find what ``"auto"`` comes to on this machine, and return the precision."""
        check_parameters(self, RANGES)
        if self.features * 2 ** (self.levels - 1) > MOST_FEATURES:
            raise InputError(
                f"{self.levels} levels of {self.features} features are too many; the last may have "
                f"{MOST_FEATURES}."
            )
        self.device_ = training.choose_device(self.device)
        self._dtype = training.choose_precision(self.precision, self.device_)
        self.precision_ = str(self._dtype).removeprefix("torch.")
        return self.precision_

    def _identity(self) -> dict:
        """Return what makes two trainings the same; at a constant rate a longer one contains both.

        Epochs draw from generators of their own, so a finished training at a constant learning
        rate can be continued to more epochs.
        """
        constant = self.schedule == "constant"
        return {k: v for k, v in self._recipe().items() if not (constant and k == "epochs")}

    def _initial_digest(self) -> str | None:
        """Name the initial weights by what they are: a path means nothing on another machine."""
        if self.initial is None or str(self.initial).startswith(DIGEST):
            return self.initial
        return DIGEST + weights.digest(Path(self.initial))

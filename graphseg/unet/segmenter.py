"""The U-Net as an estimator: recipes, training, prediction of any size, saving and loading."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from graphseg import metrics
from graphseg.checks import check_parameters, checked_images, checked_labels, checked_masks
from graphseg.datasets.stack import as_mask, decide
from graphseg.errors import InputError
from graphseg.preprocessing import standardise
from graphseg.unet import training
from graphseg.unet.inference import (
    TOLERANCE,
    add_probability,
    known_pixel_sizes,
    measure_pixel_size,
    pad_to_multiple,
    predict_proba,
)
from graphseg.unet.network import (
    UNet,
    change_classes,
    checked_parameters,
    choose_device,
    choose_precision,
    fill,
    load_weights,
    save_weights,
    versions,
    weights_digest,
)
from graphseg.unet.training import IGNORED

DIGEST = "sha256:"
# What another machine or another way of watching may change without making it another training.
NEW = ("working_pixel_size", "noise", "blur", "adversarial")  # mentioned only where they are set
NOT_PART_OF_THE_RESULT = ("device", "tile", "overlap", "threshold")
# A weight file has parameters too, so what they ask memory for is bounded.
RANGES = {
    "levels": (1, 8), "features": (1, 1024), "stride": (1, 16), "classes": (2, 256),
    "epochs": (0, 1e6), "batch_size": (1, 1e6), "learning_rate": (1e-12, 1e3),
    "noise": (0, 1e3), "blur": (0, 32), "adversarial": (0, 1e3), "weight_decay": (0, 1e3),
    "threshold": (0, 1), "tile": (1, 2**20), "overlap": (0, 2**20),
    "seed": (0, 2**63 - 1), "working_pixel_size": (0.01, 10),
}  # fmt: skip
# Pixels coarser by this factor than a network knows are worth a warning: the simulation-only one
# does well on published images up to 1.45 times coarser than those it has seen.
COARSER = 1.5
MOST_FEATURES = 4096  # of a block; the largest published network has 1024


@dataclass(eq=False, repr=False)
class UNetSegmenter(BaseEstimator):
    """Segment micrographs with a U-Net, as a scikit-learn estimator over stacks.

    The defaults are our recipe: a quarter of the paper's parameters, batch normalisation, the eight
    symmetries of the square and a one-cycle schedule, which reach the paper's scores in a tenth of
    its epochs. :meth:`paper` and :meth:`original` give the published configurations.

    Parameters
    ----------
    levels, features, normalisation, stride
        The network, see :class:`graphseg.unet.network.UNet`.
    augmentation : {"symmetries", "domain randomisation", "none"}
        Of training images: random symmetries of the square and contrast, or what makes them look
        as if taken by other microscopes; see :mod:`graphseg.unet.augmentation`.
    working_pixel_size : float or None
        Å per pixel near which a network is trained by domain randomisation, and at which it wants
        its images: :func:`graphseg.unet.inference.predict_proba` brings them to it, ``predict``
        does not. Training images need a visible lattice for it; others are taken as they are.
    noise, blur : float, default 0
        Largest standard deviation of white noise that is added to standardised images, and largest
        blur in pixels, in every direction another, as by focus, drift and a coarser camera; see
        :func:`graphseg.unet.augmentation.blurred`.
    adversarial : float, default 0
        Largest step against its label that an image is moved by, in standard deviations; twice as
        slow, see :func:`graphseg.unet.training.moved`.
    epochs, batch_size : int, default 25 and 4
        Passes over the images, and images a step.
    learning_rate : float, default 1e-3
        Constant, or the highest of the cycle.
    schedule : {"one-cycle", "constant"}
    optimiser : {"adamw", "adam"}
    weight_decay : float, default 0.01
        Only ``"adamw"`` uses it.
    loss : {"cross-entropy", "cross-entropy + jaccard"}
        See :mod:`graphseg.unet.training`.
    initial : path or None
        A weight file to start from, of the same network, instead of random weights; for instance
        one trained on simulated images. If it has other classes, each class starts as its clean
        class or its contamination, see :func:`graphseg.unet.network.change_classes`.
    classes : int, default 2
        Of the labels. With two, they are masks and class 1 is contamination.
    contamination : sequence of int, default (1,)
        The numbers of the classes that are contamination.
    test_time_augmentation : bool, default False
        Average predictions over the eight symmetries of the square; eight times slower.
    threshold : float, default 0.5
        Probability at and above which a pixel is called contamination.
    precision : {"auto", "float32", "bfloat16"}
        Of the convolutions; ``"auto"`` takes bfloat16 where the processor multiplies in it.
    device : {"auto", "cpu", "cuda"}
    tile, overlap : int, default 1024 and 128
        Images larger than a tile are predicted in tiles that overlap, in pixels; by more than
        said if the network sees farther.
    seed : int, default 0
        Of the initial weights, the order of batches and the augmentation.
    checkpoint : path or None
        A file that is rewritten after every epoch; a training that finds it continues from it.
    progress : bool, default True
        Show a bar on stderr.

    Attributes
    ----------
    module_ : UNet
        The trained network.
    history_ : list of dict
        For each epoch ``train_loss`` (cross-entropy), ``dur`` (seconds) and, if ``fit`` was given
        held-out images, their pooled scores.
    precision_, device_ : str
        What ``"auto"`` came to.
    card_ : dict
        Where the weights come from: data digest, recipe, versions.

    References
    ----------
    Ronneberger, Fischer & Brox (2015), doi 10.1007/978-3-319-24574-4_28; Sadre et al. (2021),
    doi 10.1017/S1431927621000167.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).normal(size=(2, 32, 32))
    >>> masks = np.zeros(images.shape, bool)
    >>> masks[:, 8:20, 8:20] = True
    >>> images[masks] += 4
    >>> segmenter = UNetSegmenter(levels=2, features=4, epochs=20, learning_rate=0.01,
    ...                           progress=False).fit(images, masks)
    >>> segmenter.predict(images).shape
    (2, 32, 32)
    >>> segmenter.score(images, masks) > 0.9
    True
    """

    levels: int = 4
    features: int = 16
    normalisation: str = "batch"
    stride: int = 1
    augmentation: str = "symmetries"
    working_pixel_size: float | None = None
    noise: float = 0.0
    blur: float = 0.0
    adversarial: float = 0.0
    epochs: int = 25
    batch_size: int = 4
    learning_rate: float = 1e-3
    schedule: str = "one-cycle"
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    loss: str = "cross-entropy"
    initial: str | Path | None = None
    classes: int = 2
    contamination: Sequence[int] = (1,)
    test_time_augmentation: bool = False
    threshold: float = 0.5
    precision: str = "auto"
    device: str = "auto"
    tile: int = 1024
    overlap: int = 128
    seed: int = 0
    checkpoint: str | Path | None = None
    progress: bool = True

    @classmethod
    def paper(cls, **changes) -> Self:
        """Return the paper's network and recipe: 32 features, Adam at 1e-4, batch 1, 300 epochs."""
        recipe = dict(
            levels=4, features=32, normalisation="none", augmentation="none", epochs=300,
            batch_size=1, learning_rate=1e-4, schedule="constant", optimiser="adam",
        )  # fmt: skip
        return cls(**(recipe | changes))

    @classmethod
    def original(cls, **changes) -> Self:
        """Return the original U-Net's size (5 levels, 64 features) with the paper's recipe."""
        return cls.paper(**(dict(levels=5, features=64) | changes))

    def fit(
        self,
        images: np.ndarray,
        masks: np.ndarray,
        held_out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Self:
        """Train on labelled micrographs, or continue the training of ``checkpoint``.

        Parameters
        ----------
        images : array of float, shape (n, H, W)
            Any size; standardised here (eq. 3).
        masks : array of bool, shape (n, H, W)
            ``True`` = contamination; with more than two classes their numbers instead. Of two
            classes also numbers, :data:`graphseg.unet.training.IGNORED` where it is not known.
        held_out : (images, masks), optional
            Scored after every epoch for the learning curve. Never used to choose anything.

        Returns
        -------
        self

        Raises
        ------
        InputError
            If images and masks do not fit together, a value is not finite, a parameter is
            unknown, the checkpoint is of another training, or the initial weights are missing
            or of another network.
        """
        started = time.perf_counter()
        # The data: standardised images and their labels, both padded to what the network divides.
        recipe = self._recipe()
        images = checked_images(images)
        masks = self._checked_labels(masks, images.shape)
        inputs, labels = self._training_set(images, masks)
        # What makes two trainings the same. Epochs draw from generators of their own, so one at a
        # constant rate can be continued to more of them.
        longer = ("epochs",) if self.schedule == "constant" else ()
        identity = {name: value for name, value in recipe.items() if name not in longer}
        signature = training.signature_of(identity, inputs, labels)
        # The network: random weights of the seed, or those of a file.
        with torch.random.fork_rng(devices=[]):  # the caller's random generator stays untouched
            torch.manual_seed(self.seed)
            network = UNet.of(self.get_params())
        if self.initial is not None:
            self._start(network, Path(self.initial))
        self.history_ = training.train(
            network,
            inputs,
            labels,
            recipe,
            device=self.device_,
            score=self._scorer(*held_out) if held_out is not None else None,
            checkpoint=None if self.checkpoint is None else (Path(self.checkpoint), signature),
            progress=self.progress,
            scales=self._scales(images),
        )
        self.module_ = network.eval()
        self.card_ = {
            "recipe": recipe,
            "training_digest": signature,
            "images": len(images),
            "seconds": round(time.perf_counter() - started, 3),
            "versions": versions(),
        }
        if self.working_pixel_size is not None:
            self.card_["working_pixel_size"] = self.working_pixel_size
        return self

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of contamination, of the images (n, H, W) as they are.

        They are not brought to the scale of the network, which `graphseg.segment` does. A network
        that was loaded warns once if the lattice of a first image is far from that scale.

        Returns
        -------
        array of float32, shape (n, H, W)
            In [0, 1]; with more than two classes (n, classes, H, W), of each class.

        Raises
        ------
        InputError, NotFittedError
            If the images are no stack of finite values; before ``fit`` or ``load``.
        """
        check_is_fitted(self, "module_")
        images = checked_images(images)
        self._warn_of_scale(images)
        return self.predict_at_scale(images)

    def predict_at_scale(self, images: np.ndarray) -> np.ndarray:
        """Return what `predict_proba` does, of images whose scale somebody has seen to."""
        check_is_fitted(self, "module_")
        self._resolve()
        images = checked_images(images)
        number, *size = images.shape
        shape = (number, *size) if self.classes == 2 else (number, self.classes, *size)
        probability = np.zeros(shape, np.float32)
        # One image at a time: on a processor larger batches were never faster and cost memory.
        for image, out in zip(images, probability, strict=True):
            add_probability(
                self.module_, image, out, self._dtype, self.test_time_augmentation,
                self.tile, self.overlap,
            )  # fmt: skip
        return probability

    def _warn_of_scale(self, images: np.ndarray) -> None:
        card = getattr(self, "card_", {})
        if getattr(self, "_warned", False) or not card.get("pixel_sizes"):
            return
        size, (low, high) = measure_pixel_size(images[0]), known_pixel_sizes(card)
        if size is None or low * (1 - TOLERANCE) <= size <= COARSER * high:
            return
        self._warned = True
        warnings.warn(
            f"By its lattice an image has {size:.3g} Å per pixel, and the network knows {low:.2f} "
            f"to {high:.2f} Å: use graphseg.segment, which brings images to its scale and says "
            "what speaks against the mask.",
            stacklevel=3,
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return masks, ``True`` = contamination; array of bool, shape (n, H, W).

        With more than two classes it is their numbers, uint8, see `graphseg.datasets.stack.decide`.
        """
        return self.decided(self.predict_proba(images))

    def decided(self, probability: np.ndarray) -> np.ndarray:
        """Return masks of probabilities of contamination, or numbers of more than two classes."""
        if self.classes == 2:
            return probability >= self.threshold
        return decide(probability, self.contamination, self.threshold)

    def predict_rescaled(self, images: np.ndarray) -> np.ndarray:
        """Return masks on the grid of the images, predicted at the scale of the network.

        As ``graphseg segment`` does where no pixel size is stated; see
        :func:`graphseg.unet.inference.predict_proba`. Arguments and result as in `predict`.
        """
        return self.decided(np.stack([predict_proba(self, image)[0] for image in images]))

    def score(self, images: np.ndarray, masks: np.ndarray) -> float:
        """Return the pooled accuracy over all pixels, the paper's model-selection score."""
        return self._scores(images, masks)["accuracy"]

    def save(self, path: str | Path, half: bool = False, card: dict | None = None) -> None:
        """Write the trained network as safetensors with a JSON header.

        With `half` it stores 16-bit floats: half the size, probabilities change by about 1e-3. The
        `card` is anything to add to the header: scores, data, limits.
        """
        check_is_fitted(self, "module_")
        header = {"parameters": self.portable_parameters(), "card": self.card_ | (card or {})}
        save_weights(Path(path), self.module_.state_dict(), header, half)

    @classmethod
    def load(cls, path: str | Path, **changes) -> Self:
        """Read what :meth:`save` wrote; nothing is unpickled.

        Changes are parameters, for instance ``device`` or ``test_time_augmentation``.

        Raises
        ------
        InputError
            If the file is missing, damaged or not of this kind.
        """
        header, tensors = load_weights(Path(path))
        segmenter = cls(**(checked_parameters(path, header, cls) | changes))
        segmenter._resolve()
        with torch.device("meta"):  # takes no memory before the sizes in the file are known to fit
            network = UNet.of(segmenter.get_params())
        fill(network, tensors, Path(path))
        network.to(segmenter.device_, memory_format=torch.channels_last)
        segmenter.module_ = network.eval()
        segmenter.card_, segmenter.history_ = header["card"], []
        return segmenter

    def _checked_labels(self, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if self.classes == 2:
            unknown = np.asarray(labels) == IGNORED
            if not unknown.any():
                return checked_masks(labels, shape)
            known = checked_masks(np.where(unknown, 0, labels), shape)
            return np.where(unknown, np.int16(IGNORED), known)
        if not set(self.contamination) < set(range(self.classes)) or not self.contamination:
            raise InputError(
                f"Of the classes 0 to {self.classes - 1} some but not all must be contamination, "
                f"not {list(self.contamination)}; give their numbers."
            )
        return checked_labels(labels, shape, self.classes)

    def _start(self, network: UNet, path: Path) -> None:
        """Take over weights; of other classes the last layer is made from theirs."""
        header, tensors = load_weights(path)
        origin = type(self)(**header["parameters"])
        known, wanted = origin.contaminated, self.contaminated
        if known != wanted:
            tensors = change_classes(tensors, known, wanted)
        fill(network, tensors, path)

    def _training_set(self, images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return standardised images (n, 1, H', W') and labels (n, H', W'), padded alike."""
        multiple = self.stride * 2 ** (self.levels - 1)
        inputs = pad_to_multiple(standardise(images), multiple)[:, None]  # (n, 1, H', W')
        labels = np.full(inputs[:, 0].shape, IGNORED, np.int64)
        labels[:, : masks.shape[1], : masks.shape[2]] = masks
        return inputs, labels

    def _scales(self, images: np.ndarray) -> np.ndarray | None:
        """Return what brings each image to the working pixel size, (n,); 1 where no lattice is."""
        if self.working_pixel_size is None:
            return None
        sizes = map(measure_pixel_size, images)
        return np.array([1.0 if size is None else size / self.working_pixel_size for size in sizes])

    def _scores(self, images: np.ndarray, masks: np.ndarray) -> dict[str, float]:
        true, found = (as_mask(x, self.contamination) for x in (masks, self.predict(images)))
        return metrics.scores(metrics.counts(true, found))

    def _scorer(self, images: np.ndarray, masks: np.ndarray):
        def score(network: UNet) -> dict[str, float]:
            self.module_ = network
            return self._scores(images, masks)

        return score

    @property
    def contaminated(self) -> list[bool]:
        """Whether each class is contamination."""
        return [number in self.contamination for number in range(self.classes)]

    def portable_parameters(self) -> dict:
        """Return what another machine needs to make the same estimator, as JSON can hold it.

        Parameters that few change are mentioned only if they are changed, so that files that were
        written before there were any stay valid.
        """
        left_out = {"checkpoint", "progress"}
        left_out |= {name for name in NEW if not getattr(self, name)}
        left_out |= {"classes", "contamination"} if self.classes == 2 else set()
        kept = {name: v for name, v in self.get_params().items() if name not in left_out}
        if self.initial is not None and not str(self.initial).startswith(DIGEST):
            # Named by what it is: a path means nothing on another machine.
            kept["initial"] = DIGEST + weights_digest(Path(self.initial))
        return kept

    def _recipe(self) -> dict:
        """Return what the result of a training depends on, beside the data."""
        precision = self._resolve()
        kept = self.portable_parameters() | {"precision": precision}
        return {name: v for name, v in kept.items() if name not in NOT_PART_OF_THE_RESULT}

    def _resolve(self) -> str:
        """Find what ``"auto"`` comes to on this machine, and return the precision."""
        check_parameters(self, RANGES)
        if self.features * 2 ** (self.levels - 1) > MOST_FEATURES:
            raise InputError(
                f"{self.levels} levels of {self.features} features are too many; the last may have "
                f"{MOST_FEATURES}."
            )
        self.device_ = choose_device(self.device)
        self._dtype = choose_precision(self.precision, self.device_)
        self.precision_ = str(self._dtype).removeprefix("torch.")
        return self.precision_

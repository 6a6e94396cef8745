"""The U-Net as an estimator: training, prediction of images of any size, saving and loading."""

import time
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from skorch.dataset import Dataset

from graphseg import checkpoints, metrics, training, weights
from graphseg.checks import checked_images, checked_masks
from graphseg.inference import blend_tiles, contamination, margin, moments, pad_to_multiple
from graphseg.losses import IGNORED
from graphseg.preprocessing import standardise
from graphseg.unet import UNet

SKORCH_BOOKKEEPING = ("train_batch_count", "train_loss_best")
# What another machine or another way of watching may change without making it another training.
DIGEST = "sha256:"
NOT_PART_OF_THE_RESULT = ("device", "checkpoint", "progress", "tile", "overlap", "threshold")


class UNetSegmenter(BaseEstimator):
    """Segment micrographs with a U-Net, as a scikit-learn estimator over stacks.

    The defaults are our recipe: a quarter of the paper's parameters, batch normalisation, the
    eight symmetries of the square and a one-cycle schedule, which reach the paper's scores in a
    tenth of its epochs. :meth:`paper` and :meth:`original` give the published configurations.

    Parameters
    ----------
    levels, features, normalisation, stride
        The network, see :class:`graphseg.unet.UNet`.
    augmentation : bool, default True
        Random symmetries of the square and contrast, see :func:`graphseg.training.augment`.
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
        one trained on simulated images.
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
    """

    def __init__(
        self,
        levels: int = 4,
        features: int = 16,
        normalisation: str = "batch",
        stride: int = 1,
        augmentation: bool = True,
        epochs: int = 25,
        batch_size: int = 4,
        learning_rate: float = 1e-3,
        schedule: str = "one-cycle",
        optimiser: str = "adamw",
        weight_decay: float = 0.01,
        loss: str = "cross-entropy",
        initial: str | Path | None = None,
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
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.optimiser = optimiser
        self.weight_decay = weight_decay
        self.loss = loss
        self.initial = initial
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
            ``True`` = contamination.
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
        images = checked_images(images)
        masks = checked_masks(masks, images.shape)
        dataset = self._dataset(images, masks)
        signature = checkpoints.signature_of(self._identity(), dataset.X, dataset.y)
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):  # the caller's random generator stays untouched
            torch.manual_seed(self.seed)
            network = self._network()
        if self.initial is not None:
            weights.fill(network, weights.load(Path(self.initial))[1], Path(self.initial))
        net = training.run(
            network,
            dataset,
            self._recipe(),
            device=self.device_,
            score=self._scorer(*held_out) if held_out is not None else None,
            checkpoint=None if self.checkpoint is None else (Path(self.checkpoint), signature),
            progress=self.progress,
        )
        self.module_ = net.module_.eval()
        self.history_ = [
            {k: v for k, v in row.items() if k not in SKORCH_BOOKKEEPING}
            for row in checkpoints.history_rows(net)
        ]
        self.card_ = {
            "recipe": self._recipe(),
            "training_digest": signature,
            "images": len(images),
            "seconds": round(time.perf_counter() - started, 3),
            "versions": weights.versions(),
        }
        return self

    def predict_proba(self, images: np.ndarray) -> np.ndarray:
        """Return the probability of contamination.

        Parameters
        ----------
        images : array of float, shape (n, H, W)

        Returns
        -------
        array of float32, shape (n, H, W)
            In [0, 1].

        Raises
        ------
        NotFittedError
            Before ``fit`` or ``load``.
        InputError
            If the images are no stack of finite values.
        """
        if not hasattr(self, "module_"):
            raise NotFittedError("This UNetSegmenter is not trained: call fit or load first.")
        self._resolve()
        images = checked_images(images)
        probability = np.zeros(images.shape, np.float32)
        # One image at a time: on a processor larger batches were never faster and cost memory.
        for image, out in zip(images, probability, strict=True):
            self._add_probability(image, out)
        return probability

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return masks, ``True`` = contamination; array of bool, shape (n, H, W)."""
        return self.predict_proba(images) >= self.threshold

    def score(self, images: np.ndarray, masks: np.ndarray) -> float:
        """Return the pooled accuracy over all pixels, the paper's model-selection score."""
        return metrics.scores(metrics.counts(masks, self.predict(images)))["accuracy"]

    def save(self, path: str | Path, half: bool = False, card: dict | None = None) -> None:
        """Write the trained network as safetensors with a JSON header.

        Parameters
        ----------
        path : path
        half : bool, default False
            Store 16-bit floats: half the size, probabilities change by about 1e-3.
        card : dict, optional
            Anything to add to the header: scores, data, limits.
        """
        if not hasattr(self, "module_"):
            raise NotFittedError("This UNetSegmenter is not trained: call fit or load first.")
        header = {"parameters": self.portable_parameters(), "card": self.card_ | (card or {})}
        weights.save(Path(path), self.module_.state_dict(), header, half)

    @classmethod
    def load(cls, path: str | Path, **changes) -> Self:
        """Read what :meth:`save` wrote; nothing is unpickled.

        Parameters
        ----------
        path : path
        **changes
            Parameters to change, for instance ``device`` or ``averaging``.

        Raises
        ------
        InputError
            If the file is missing, damaged or not of this kind.
        """
        header, tensors = weights.load(Path(path))
        segmenter = cls(**(header["parameters"] | changes))
        segmenter._resolve()
        network = segmenter._network()
        weights.fill(network, tensors, Path(path))
        segmenter.module_ = network.to(segmenter.device_).eval()
        segmenter.card_, segmenter.history_ = header["card"], []
        return segmenter

    def portable_parameters(self) -> dict:
        """Return what another machine needs to make the same estimator, as JSON can hold it."""
        kept = {k: v for k, v in self.get_params().items() if k not in ("checkpoint", "progress")}
        return kept | {"initial": self._initial_digest()}

    def _recipe(self) -> dict:
        kept = {k: v for k, v in self.get_params().items() if k not in NOT_PART_OF_THE_RESULT}
        return kept | {"precision": self._resolve(), "initial": self._initial_digest()}

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

    def _resolve(self) -> str:
        self.device_ = training.choose_device(self.device)
        self._dtype = training.choose_precision(self.precision, self.device_)
        self.precision_ = str(self._dtype).removeprefix("torch.")
        return self.precision_

    def _network(self) -> UNet:
        network = UNet(
            levels=self.levels,
            features=self.features,
            normalisation=self.normalisation,
            stride=self.stride,
        )
        return network.to(memory_format=torch.channels_last)

    def _dataset(self, images: np.ndarray, masks: np.ndarray) -> Dataset:
        multiple = self.stride * 2 ** (self.levels - 1)
        inputs = pad_to_multiple(standardise(images), multiple)[:, None]  # (n, 1, H', W')
        labels = np.full(inputs[:, 0].shape, IGNORED, np.int64)
        labels[:, : masks.shape[1], : masks.shape[2]] = masks
        return Dataset(inputs, labels)

    def _add_probability(self, image: np.ndarray, out: np.ndarray) -> None:
        """Add the probability, (H, W), to ``out``, standardising tile by tile to save memory."""
        network = self.module_
        mean, deviation = moments(image)
        run = partial(contamination, network, precision=self._dtype, averaging=self.averaging)

        def predict(tile: np.ndarray) -> np.ndarray:
            return run(((tile - mean) / deviation).astype(np.float32))

        reach = margin(network)
        blend_tiles(image, predict, self.tile, self.overlap, reach, network.multiple, out)

    def _scorer(self, images: np.ndarray, masks: np.ndarray):
        def score(net) -> dict[str, float]:
            self.module_ = net.module_.eval()
            return metrics.scores(metrics.counts(masks, self.predict(images)))

        return score

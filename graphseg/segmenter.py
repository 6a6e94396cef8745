"""The U-Net as an estimator: training, prediction of images of any size, saving and loading."""

import time
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from sklearn.exceptions import NotFittedError
from skorch.dataset import Dataset

from graphseg import checkpoints, metrics, training, weights
from graphseg.checks import checked_images, checked_labels, checked_masks
from graphseg.errors import InputError
from graphseg.inference import blend_tiles, margin, moments, pad_to_multiple, probabilities
from graphseg.labelclasses import as_mask, decide
from graphseg.losses import IGNORED
from graphseg.preprocessing import standardise
from graphseg.unet import UNet
from graphseg.unetparameters import DIGEST, UNetParameters

__all__ = ["DIGEST", "UNetSegmenter"]

SKORCH_BOOKKEEPING = ("train_batch_count", "train_loss_best")


class UNetSegmenter(UNetParameters):
    """Segment micrographs with a U-Net, as a scikit-learn estimator over stacks.

    The defaults are our recipe: a quarter of the paper's parameters, batch normalisation, the
    eight symmetries of the square and a one-cycle schedule, which reach the paper's scores in a
    tenth of its epochs. :meth:`paper` and :meth:`original` give the published configurations.

    Parameters
    ----------
    **parameters
        See :class:`graphseg.unetparameters.UNetParameters`.

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
            ``True`` = contamination; with more than two classes their numbers instead.
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
        self._resolve()
        images = checked_images(images)
        masks = self._checked_labels(masks, images.shape)
        dataset = self._dataset(images, masks)
        signature = checkpoints.signature_of(self._identity(), dataset.X, dataset.y)
        started = time.perf_counter()
        with torch.random.fork_rng(devices=[]):  # the caller's random generator stays untouched
            torch.manual_seed(self.seed)
            network = self._network()
        if self.initial is not None:
            self._start(network, Path(self.initial))
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
            In [0, 1]; with more than two classes (n, classes, H, W), of each class.

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
        number, *size = images.shape
        shape = (number, *size) if self.classes == 2 else (number, self.classes, *size)
        probability = np.zeros(shape, np.float32)
        # One image at a time: on a processor larger batches were never faster and cost memory.
        for image, out in zip(images, probability, strict=True):
            self._add_probability(image, out)
        return probability

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return masks, ``True`` = contamination; array of bool, shape (n, H, W).

        With more than two classes it is their numbers, uint8, see `graphseg.labelclasses.decide`.
        """
        probability = self.predict_proba(images)
        if self.classes == 2:
            return probability >= self.threshold
        return decide(probability, self.contamination, self.threshold)

    def score(self, images: np.ndarray, masks: np.ndarray) -> float:
        """Return the pooled accuracy over all pixels, the paper's model-selection score."""
        return self._scores(images, masks)["accuracy"]

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
        segmenter = cls(**(weights.checked_parameters(path, header, cls) | changes))
        segmenter._resolve()
        with torch.device("meta"):  # takes no memory before the sizes in the file are known to fit
            network = segmenter._network()
        weights.fill(network, tensors, Path(path))
        network.to(segmenter.device_, memory_format=torch.channels_last)
        segmenter.module_ = network.eval()
        segmenter.card_, segmenter.history_ = header["card"], []
        return segmenter

    def _checked_labels(self, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if self.classes == 2:
            return checked_masks(labels, shape)
        if not set(self.contamination) < set(range(self.classes)) or not self.contamination:
            raise InputError(
                f"Of the classes 0 to {self.classes - 1} some but not all must be contamination, "
                f"not {list(self.contamination)}; give their numbers."
            )
        return checked_labels(labels, shape, self.classes)

    def _start(self, network: UNet, path: Path) -> None:
        """Take over weights; of other classes the last layer is made from theirs."""
        header, tensors = weights.load(path)
        origin = type(self)(**header["parameters"])
        known, wanted = origin.contaminated, self.contaminated
        if known != wanted:
            tensors = weights.change_classes(tensors, known, wanted)
        weights.fill(network, tensors, path)

    def _network(self) -> UNet:
        network = UNet(
            classes=self.classes,
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
        """Add the probability, (..., H, W), to ``out``, standardising by tiles to save memory."""
        network = self.module_
        mean, deviation = moments(image)
        run = partial(probabilities, network, precision=self._dtype, averaging=self.averaging)

        def predict(tile: np.ndarray) -> np.ndarray:
            return run(((tile - mean) / deviation).astype(np.float32))

        reach = margin(network)
        blend_tiles(image, predict, self.tile, self.overlap, reach, network.multiple, out)

    def _scores(self, images: np.ndarray, masks: np.ndarray) -> dict[str, float]:
        true, found = (as_mask(x, self.contamination) for x in (masks, self.predict(images)))
        return metrics.scores(metrics.counts(true, found))

    def _scorer(self, images: np.ndarray, masks: np.ndarray):
        def score(net) -> dict[str, float]:
            self.module_ = net.module_.eval()
            return self._scores(images, masks)

        return score

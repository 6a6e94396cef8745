"""Endless or finite batches of simulated samples for training, made as they are needed."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from graphseg.errors import InputError
from graphseg.preprocessing import standardise
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.samples import simulate


class SimulatedBatches(IterableDataset):
    """Batch k holds the samples k · batch_size to (k + 1) · batch_size − 1 of a seed.

    A worker makes whole batches, every n-th of n workers, and `torch.utils.data.DataLoader`
    takes them in turn: their order and content do not depend on the number of workers.

    Parameters
    ----------
    seed
        Of all samples, see :func:`graphseg.simulation.samples.simulate`.
    batch_size
        Samples a batch.
    batches
        How many; None never ends.
    first
        Index of the first batch, to continue a stream.
    configuration
        What is drawn from which ranges.
    """

    def __init__(
        self,
        seed: int,
        batch_size: int,
        batches: int | None = None,
        first: int = 0,
        configuration: Configuration = GRAPHENE,
    ):
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; use at least 1.")
        self.seed, self.batch_size, self.configuration = seed, batch_size, configuration
        self.batches, self.first = batches, first

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        worker = get_worker_info()
        start, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        numbers = count(start, step) if self.batches is None else range(start, self.batches, step)
        for number in numbers:
            yield self.batch(self.first + number)

    def batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the standardised images (b, 1, H, W) float32 and labels (b, H, W) int64."""
        indices = range(number * self.batch_size, (number + 1) * self.batch_size)
        samples = [simulate(self.seed, index, self.configuration) for index in indices]
        images = standardise(np.stack([sample.image for sample in samples]))
        labels = np.stack([sample.mask for sample in samples]).astype(np.int64)
        return torch.from_numpy(images[:, None]), torch.from_numpy(labels)


def stream(dataset: SimulatedBatches, workers: int = 0) -> DataLoader:
    """Return a loader over the batches of `dataset`, made by `workers` processes.

    0 makes them in this process. The loader can be iterated once per epoch; each time it gives
    the same batches.
    """
    return DataLoader(dataset, batch_size=None, num_workers=workers)

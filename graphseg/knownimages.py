"""What a network knows, as far as images tell: where its training images lie in descriptors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from sklearn.covariance import LedoitWolf

from graphseg.errors import InputError

FLOOR = 1e-4  # of variances, in units of the spread of a descriptor; rounding is below it


@dataclass(frozen=True, eq=False)
class Cloud:
    """Where the training images lie in some descriptors: mean, principal axes and variances.

    Attributes
    ----------
    centre, spread
        (d,) of the training images; descriptors are measured in these.
    axes, variances
        (k, d) orthonormal and (k,), of the shrunk covariance (Ledoit & Wolf 2004).
    rest
        The mean variance across the axes.
    """

    centre: np.ndarray
    spread: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float

    @classmethod
    def fit(cls, descriptors: np.ndarray, axes: int) -> Self:
        """Describe (n, d) descriptors by at most so many principal axes."""
        centre, spread = descriptors.mean(axis=0), descriptors.std(axis=0)
        spread = np.maximum(spread, 1e-3 * spread.mean() + 1e-9)
        shrunk = LedoitWolf(assume_centered=True).fit((descriptors - centre) / spread).covariance_
        variances, vectors = np.linalg.eigh(shrunk)
        variances, vectors = np.maximum(variances[::-1], FLOOR), vectors.T[::-1]
        rest = float(variances[axes:].mean()) if axes < len(variances) else 1.0
        return cls(centre, spread, vectors[:axes], variances[:axes], rest)

    def distances(self, descriptors: np.ndarray) -> np.ndarray:
        """Return the root mean square distance of (n, d) descriptors, (n,)."""
        relative = (descriptors - self.centre) / self.spread
        along = relative @ self.axes.T
        across = np.maximum((relative**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        total = (along**2 / self.variances).sum(axis=1) + across / self.rest
        return np.sqrt(total / descriptors.shape[1])


@dataclass(frozen=True, eq=False)
class Known:
    """What a network knows, as far as images tell.

    Attributes
    ----------
    clouds
        Of the statistics and, if there is a network, of its features.
    medians
        Of the distances of left-out training images; each cloud counts in units of its own.
    threshold
        Distance beyond which an image is a stranger.
    """

    clouds: tuple[Cloud, ...]
    medians: tuple[float, ...]
    threshold: float

    def strangeness(self, descriptors: Sequence[np.ndarray]) -> np.ndarray:
        """Return how strange images are, (n,); 1 is the threshold.

        `descriptors` has an (n, d) array for each cloud.
        """
        parts = [
            cloud.distances(values) / median
            for cloud, values, median in zip(self.clouds, descriptors, self.medians, strict=True)
        ]
        return np.sqrt(np.mean(np.square(parts), axis=0)) / self.threshold

    def as_json(self) -> dict:
        """Return numbers of four digits that JSON can hold."""
        clouds = [
            {name: _rounded(value) for name, value in asdict(cloud).items()}
            for cloud in self.clouds
        ]
        return {"clouds": clouds, "medians": list(self.medians), "threshold": self.threshold}

    @classmethod
    def from_json(cls, stored: dict) -> Self:
        """Return what `as_json` gave.

        Raises
        ------
        InputError
            If something is missing.
        """
        try:
            clouds = tuple(
                Cloud(**{name: np.asarray(value, float) for name, value in cloud.items()})
                for cloud in stored["clouds"]
            )
            return cls(clouds, tuple(stored["medians"]), float(stored["threshold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                "What the network knows of images cannot be read; run graphseg strangers again."
            ) from error


def _rounded(value: np.ndarray | float) -> list | float:
    if np.ndim(value) == 2:
        return [_rounded(row) for row in value]
    digits = [float(f"{number:.4g}") for number in np.atleast_1d(value)]
    return digits if np.ndim(value) else digits[0]

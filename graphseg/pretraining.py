"""Training without labels: networks that have seen simulated micrographs only."""

from dataclasses import replace
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from graphseg.datasets import LabelledStack
from graphseg.errors import InputError
from graphseg.segmenter import UNetSegmenter
from graphseg.simulation.configuration import GRAPHENE, Configuration
from graphseg.simulation.presets import DEFECTS
from graphseg.simulation.samples import simulate


def simulated_stack(
    number: int,
    seed: int,
    configuration: Configuration = GRAPHENE,
    n_jobs: int = 1,
    progress: bool = True,
) -> LabelledStack:
    """Simulate labelled micrographs; the same arguments give the same stack.

    Parameters
    ----------
    number, seed
        The samples (seed, 0) to (seed, number - 1), see :func:`graphseg.simulation.simulate`.
    configuration
        What is drawn from which ranges.
    n_jobs
        Processes; the result does not depend on it.
    progress
        Show a bar on stderr.

    Returns
    -------
        Each image an acquisition of its own; masks as a person would outline them.
    """
    if number < 1 or seed < 0:
        raise InputError(
            f"{number} images of the seed {seed} are impossible; give 1 or more and 0."
        )
    calls = (joblib.delayed(_pair)(seed, index, configuration) for index in range(number))
    pairs = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    bar = tqdm(pairs, total=number, desc="simulating", unit="image", disable=not progress)
    names, images, masks, sizes = zip(*bar, strict=True)
    return LabelledStack(
        images=np.stack(images),
        masks=np.stack(masks),
        names=names,
        groups=np.array(names),
        dates=np.array(names),
        source="generated",
        pixel_size=np.array(sizes),
    )


def pretrain(
    segmenter: UNetSegmenter,
    path: Path,
    number: int = 600,
    seed: int = 0,
    configuration: Configuration = GRAPHENE,
    n_jobs: int = 1,
    defects: int = 0,
) -> UNetSegmenter:
    """Train a network on simulated images only and write it, in half precision.

    A training that was killed continues at its last finished epoch.

    Parameters
    ----------
    segmenter
        Unfitted, with the recipe.
    path
        The weight file to write; the checkpoint lies beside it until the training is done.
    number, seed, configuration, n_jobs
        See :func:`simulated_stack`.
    defects
        Further images, full of structure that is no contamination, see
        :data:`graphseg.simulation.presets.DEFECTS`.
    """
    stack = simulated_stack(number, seed, configuration, n_jobs)
    if defects:
        stack = joined(stack, simulated_stack(defects, seed, DEFECTS, n_jobs))
    checkpoint = path.with_suffix(".checkpoint")
    segmenter.set_params(checkpoint=checkpoint).fit(stack.images, stack.masks)
    card = {
        "data": f"{number} simulated images, configuration {configuration.name!r}"
        f"{f', and {defects} of {DEFECTS.name!r}' if defects else ''}, seed {seed}; "
        "no published image or label",
        "data_digest": stack.digest,
        "pixel_sizes": configuration.pixel_size,
    }
    segmenter.save(path, half=True, card=card)
    checkpoint.unlink(missing_ok=True)
    return segmenter


def joined(first: LabelledStack, second: LabelledStack) -> LabelledStack:
    """Return the images of both, those of the first before those of the second."""
    arrays = ("images", "masks", "groups", "dates", "pixel_size")
    both = {name: np.concatenate([getattr(s, name) for s in (first, second)]) for name in arrays}
    return replace(first, names=(*first.names, *second.names), **both)


def _pair(seed: int, index: int, configuration: Configuration) -> tuple:
    sample = simulate(seed, index, configuration)
    return sample.name, sample.image, sample.mask, sample.pixel_size

"""Scoring the kept networks of a finished cross-validation again."""

import time
from pathlib import Path

from tqdm import tqdm

from book.studies.evaluation import summarise as summarise
from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation.records import read_record
from graphseg.unet.segmenter import UNetSegmenter


def run(
    stack: LabelledStack, record: Path, networks: Path | None = None, changes: dict | None = None
) -> dict:
    """Score the networks of a finished evaluation again, with other settings of the prediction.

    Example: python -m book.studies re-evaluate data/results/unet.json --set
    test_time_augmentation=True --output other.json

    Parameters
    ----------
    stack
        The same labelled images.
    record
        A record of `python -m book.studies evaluate`.
    networks
        Folder in which that evaluation kept its networks; by default runs/ and the name of its
        record.
    changes
        A parameter of the prediction, NAME=VALUE; may be repeated: test_time_augmentation,
        threshold or precision.

    Returns
    -------
        A record like the first, with other counts; ``re_evaluated`` holds the changes.

    Raises
    ------
    InputError
        If the images are others, or a network is missing.
    """
    first, changes = read_record(record), changes or {}
    if first["data"]["digest"] != stack.digest:
        raise InputError(f"The record {record} is of other images: load the same data.")
    folder = networks or Path("runs") / record.stem
    results = []
    for result in tqdm(first["results"], desc="predicting", unit="fold"):
        name = f"shuffle_{result['shuffle']}_fold_{result['fold']}.safetensors"
        network = UNetSegmenter.load(folder / name, **changes)
        test = [stack.names.index(image) for image in result["test"]]
        started = time.perf_counter()
        predicted = network.predict(stack.images[test])
        seconds = round(time.perf_counter() - started, 3)
        counts = metrics.counts(stack.masks[test], predicted).tolist()
        results.append(result | {"counts": counts, "predict_seconds": seconds, "history": []})
    return first | {"re_evaluated": changes, "results": results}

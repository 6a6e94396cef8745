"""Scoring the kept networks of a finished cross-validation again."""

import time
from pathlib import Path

from tqdm import tqdm

from graphseg import metrics
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation.records import provenance
from graphseg.unet.segmenter import UNetSegmenter


def re_evaluate(record: dict, stack: LabelledStack, run_folder: str | Path, **changes) -> dict:
    """Score the kept fold networks of a cross-validation again, predicting in another way.

    Parameters
    ----------
    record : dict
        Of :func:`graphseg.evaluation.crossval.cross_validate`.
    stack : LabelledStack
        The same images.
    run_folder : path
        Where that cross-validation kept its networks, in half precision.
    **changes
        Parameters of the prediction: ``test_time_augmentation``, ``threshold``, ``precision``.

    Returns
    -------
    dict
        A record like the first, with other counts; ``re_evaluated`` holds the changes.

    Raises
    ------
    InputError
        If the images are others, or a network is missing.
    """
    if record["data"]["digest"] != stack.digest:
        raise InputError(f"The record {record['name']!r} is of other images: load the same data.")
    results = []
    for result in tqdm(record["results"], desc="predicting", unit="fold"):
        name = f"shuffle_{result['shuffle']}_fold_{result['fold']}.safetensors"
        network = UNetSegmenter.load(Path(run_folder) / name, **changes)
        test = [stack.names.index(image) for image in result["test"]]
        started = time.perf_counter()
        predicted = network.predict(stack.images[test])
        seconds = round(time.perf_counter() - started, 3)
        counts = metrics.counts(stack.masks[test], predicted).tolist()
        results.append(result | {"counts": counts, "predict_seconds": seconds, "history": []})
    return record | {"re_evaluated": changes, "made_with": provenance(), "results": results}

"""Arrays that are kept in a folder between runs, as plain numbers: loading them runs no code."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from graphseg.outputs import whole_file


def kept(
    folder: str | Path, compute: Callable[[], np.ndarray], array: np.ndarray, settings: dict
) -> np.ndarray:
    """Return what was computed of an array before, or compute it and keep it.

    Parameters
    ----------
    folder
        Where results are, one ``.npy`` file each.
    compute
        What to do if there is none.
    array, settings
        What the result depends on; the settings as JSON holds them.
    """
    digest = hashlib.sha256(json.dumps([settings, array.shape, str(array.dtype)]).encode())
    digest.update(np.ascontiguousarray(array))
    path = Path(folder) / f"{digest.hexdigest()}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none, or a damaged one
        result = compute()
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, result, allow_pickle=False)
    return result

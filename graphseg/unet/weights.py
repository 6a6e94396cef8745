"""Weight files: safetensors with a JSON header. Loading reads data only, nothing is unpickled.

A file is not believed either: no more memory is taken than it is long, the architecture that its
header describes is bounded, and its tensors must have exactly the sizes that this one needs.
"""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from sklearn.base import BaseEstimator

from graphseg.datasets.stack import LabelClasses
from graphseg.errors import InputError
from graphseg.io.outputs import whole_file

FORMAT = 1  # of the header; a reader refuses what it does not know
RENAMED = {"averaging": "test_time_augmentation"}  # parameters in files of earlier revisions


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    names = ("graphseg", "torch", "numpy", "scipy", "scikit-learn")
    return {name: version(name) for name in names}


def digest(path: Path) -> str:
    """Return the SHA-256 of a weight file.

    Raises
    ------
    InputError
        If the file is missing.
    """
    if not path.is_file():
        raise InputError(f"There is no weight file {path}: check the name.")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def save(path: Path, tensors: dict[str, torch.Tensor], header: dict, half: bool) -> None:
    """Write the tensors of a network, floats as float16 if ``half``, and a header (JSON)."""
    stored = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in tensors.items()
    }
    write(path, stored, header | {"format": FORMAT, "kind": "UNetSegmenter"})


def write(path: Path, tensors: dict[str, torch.Tensor], header: dict) -> None:
    """Write tensors and a header as safetensors, whole or not at all.

    Raises
    ------
    InputError
        If that is not possible; the file is then as it was.
    """
    text = json.dumps(header)
    try:
        with whole_file(path, shared=False) as temporary:
            # `save_file` would make it readable to its owner only, whatever the umask.
            temporary.write_bytes(serialised(tensors, metadata={"graphseg": text}))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); make room or name another file, and the same "
            "command continues."
        ) from error


def read(path: Path, device: str = "cpu") -> tuple[dict, dict[str, torch.Tensor]]:
    """Return the header, {} if there is none, and the tensors that :func:`write` wrote."""
    with safe_open(path, "pt", device=device) as file:
        text = (file.metadata() or {}).get("graphseg", "{}")
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return json.loads(text), tensors


def load(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Read header and tensors.

    Returns
    -------
    header : dict
    tensors : dict of str to tensor of float32

    Raises
    ------
    InputError
        If the file is missing, damaged, or not of this kind.
    """
    if not path.is_file():
        raise InputError(f"There is no weight file {path}: check the name.")
    try:
        header, tensors = read(path)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is no readable weight file ({reason}): fetch it again."
        ) from error
    if not _is_ours(header):
        raise InputError(f"{path} holds no graphseg U-Net of format {FORMAT}: name another file.")
    for part, name in ((header, "parameters"), (header["card"], "recipe")):
        if isinstance(part.get(name), dict):
            part[name] = {RENAMED.get(k, k): v for k, v in part[name].items()}
    if not all(v.isfinite().all() for v in tensors.values() if v.is_floating_point()):
        raise InputError(f"{path} holds weights that are not finite: fetch it again.")
    return header, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _is_ours(header: object) -> bool:
    return (
        isinstance(header, dict)
        and (header.get("kind"), header.get("format")) == ("UNetSegmenter", FORMAT)
        and all(isinstance(header.get(part), dict) for part in ("parameters", "card"))
    )


def checked_parameters(path: str | Path, header: dict, estimator: type[BaseEstimator]) -> dict:
    """Return the parameters of an estimator that a header has, and look at its card.

    Raises
    ------
    InputError
        If it has others, or the card lacks what predictions need.
    """
    parameters, card = header["parameters"], header["card"]
    known = estimator().get_params()
    try:
        low, high = card.get("pixel_sizes") or (0.1, 1.0)
        fits = 0 < float(low) <= float(high) < float("inf") and parameters.keys() <= known.keys()
        LabelClasses.from_card(card)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} has a card that cannot be used: fetch it again.") from error
    if not fits:
        raise InputError(f"{path} has a header that cannot be used: fetch it again.")
    return parameters


def fill(network: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put tensors into a network of the same architecture.

    Raises
    ------
    InputError
        If names or shapes differ.
    """
    wanted = network.state_dict()
    if any(
        value.is_floating_point() != wanted[key].is_floating_point()
        for key, value in tensors.items()
        if key in wanted
    ):
        raise InputError(f"{path} holds weights of another type of number: fetch it again.")
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{path} holds weights of another network: name one of {type(network).__name__} with "
            "the same levels, features and normalisation."
        ) from error


def change_classes(
    tensors: dict[str, torch.Tensor], known: Sequence[bool], wanted: Sequence[bool]
) -> dict[str, torch.Tensor]:
    """Give the last layer of a U-Net other classes.

    Each starts as the first known class of its kind. Of two known classes, the new ones of a kind
    together are as probable as the old one was, so that nothing is forgotten.

    Parameters
    ----------
    tensors : dict of str to tensor
    known, wanted : sequence of bool
        For each class of the tensors, and of the result, whether it is contamination.

    Returns
    -------
    dict of str to tensor
    """
    source = [list(known).index(kind) for kind in wanted]
    fraction = torch.tensor([float(list(wanted).count(kind)) for kind in wanted]).log()
    head = {}
    for key in ("head.weight", "head.bias"):
        rows = tensors[key]  # (classes · stride², ...)
        rows = rows.reshape(len(known), -1, *rows.shape[1:])[source]
        rows = rows - fraction[:, None] if key == "head.bias" else rows
        head[key] = rows.flatten(0, 1)
    return tensors | head

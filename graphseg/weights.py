"""Weight files: safetensors with a JSON header. Loading reads data only, nothing is unpickled."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from graphseg.errors import InputError

FORMAT = 1  # of the header; a reader refuses what it does not know


def versions() -> dict[str, str]:
    """Versions of what computed a result."""
    names = ("graphseg", "torch", "numpy", "scipy", "scikit-learn", "skorch")
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
    """Write tensors and header to a temporary name, then rename.

    Parameters
    ----------
    path : Path
    tensors : dict of str to tensor
    header : dict
        Anything JSON can hold.
    half : bool
        Store floats as float16.
    """
    stored = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    text = json.dumps(header | {"format": FORMAT, "kind": "UNetSegmenter"})
    save_file(stored, temporary, metadata={"graphseg": text})
    temporary.replace(path)


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
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("graphseg", "{}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        header = json.loads(text)
    except Exception as error:
        raise InputError(f"{path} is no readable weight file ({error}): fetch it again.") from error
    if header.get("kind") != "UNetSegmenter" or header.get("format") != FORMAT:
        raise InputError(f"{path} holds no graphseg U-Net of format {FORMAT}: name another file.")
    return header, {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def fill(network: torch.nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Put tensors into a network of the same architecture.

    Raises
    ------
    InputError
        If names or shapes differ.
    """
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path} holds weights of another network: name one of {type(network).__name__} with "
            "the same levels, features and normalisation."
        ) from error

"""Checkpoints of a training: safetensors with a JSON header, written to a temporary name first."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from skorch import NeuralNet

from graphseg import weights
from graphseg.errors import InputError


def history_rows(net: NeuralNet) -> list[dict[str, float]]:
    """Return what is recorded for each epoch, without the batches."""
    return [
        {k: v if isinstance(v, bool | int) else float(v) for k, v in row.items() if k != "batches"}
        for row in net.history
    ]


def write_checkpoint(path: Path, net: NeuralNet, signature: str) -> None:
    """Write the state of a training as safetensors with a JSON header.

    Parameters
    ----------
    path : Path
    net : NeuralNet
        An initialised net.
    signature : str
        Digest of parameters and data; only the same training may continue from here.
    """
    state = net.optimizer_.state_dict()
    tensors = {f"module.{k}": v.contiguous() for k, v in net.module_.state_dict().items()}
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in values.items()}
    header = {
        "signature": signature,
        "history": history_rows(net),
        "groups": state["param_groups"],
    }
    weights.write(path, tensors, header)


def read_checkpoint(path: Path, net: NeuralNet, signature: str) -> list[dict[str, float]]:
    """Load the state that :func:`write_checkpoint` wrote into an initialised net.

    Returns
    -------
    list of dict
        The history of the finished epochs.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another training.
    """
    try:
        with safe_open(path, "pt", device=str(net.device)) as file:
            header = json.loads(file.metadata()["graphseg"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        written_by = header["signature"]
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"The checkpoint {path} cannot be read ({reason}): delete it.") from error
    if written_by != signature:
        raise InputError(
            f"The checkpoint {path} is of a training with other data or parameters: "
            "delete it or name another file."
        )
    try:
        _restore(net, header, tensors)
    except Exception as error:
        raise InputError(f"The checkpoint {path} is damaged: delete it.") from error
    return header["history"]


def _restore(net: NeuralNet, header: dict, tensors: dict[str, torch.Tensor]) -> None:
    module, state = {}, {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "module":
            module[name] = value
        else:
            index, _, name = name.partition(".")
            state.setdefault(int(index), {})[name] = value
    net.module_.load_state_dict(module)
    net.optimizer_.load_state_dict({"state": state, "param_groups": header["groups"]})


def signature_of(parameters: dict, *arrays: np.ndarray) -> str:
    """Digest the parameters and data of a training."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()

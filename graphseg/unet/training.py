"""Training a U-Net: the loop, losses, augmented batches, and checkpoints.

A training is a pure function of its parameters and data: batch order and augmentation of an
epoch depend on (seed, epoch) only, and a checkpoint holds the network, the optimiser and the
history. A training that was killed therefore continues to the result of an undisturbed one.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR
from tqdm import tqdm

from graphseg.errors import InputError
from graphseg.unet.augmentation import AUGMENTATIONS, blurred, noisy
from graphseg.unet.network import read_tensors, write_tensors

History = list[dict[str, float]]

IGNORED = -100  # the label of pixels that padding added; every loss leaves them out, as torch's do


def train(
    network: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    recipe: dict,
    device: str,
    score: Callable[[nn.Module], dict[str, float]] | None = None,
    checkpoint: tuple[Path, str] | None = None,
    progress: bool = True,
    scales: np.ndarray | None = None,
) -> History:
    """Train a network in place, to the last epoch of its recipe, from its checkpoint if any.
    It maps (n, 1, H, W) to logits (n, classes, H, W) and holds the initial weights; images are
    standardised, (n, 1, H, W) float32, and labels (n, H, W) int64, `IGNORED` where there is none.

    The recipe has ``epochs``, ``batch_size``, ``learning_rate``, ``schedule``, ``optimiser``,
    ``weight_decay``, ``loss``, ``augmentation``, ``seed`` and ``precision``; ``noise``, ``blur``
    and ``adversarial`` if they are not 0. `score` is recorded after every epoch and never used to
    choose one; a checkpoint, (path, signature), is written after every epoch. `scales` (n,) bring
    each image to the working pixel size of the network, see
    `graphseg.unet.augmentation.randomised`.

    Returns for each epoch ``epoch``, ``train_loss``, ``dur`` (seconds) and the scores. InputError
    if a name in the recipe is unknown, or the checkpoint cannot be continued or is beyond the
    epochs."""
    for name, known in (
        ("schedule", SCHEDULES), ("optimiser", OPTIMISERS), ("loss", LOSSES),
        ("augmentation", AUGMENTATIONS),
    ):  # fmt: skip
        if recipe[name] not in known:
            listed = " or ".join(map(repr, known))
            raise InputError(f"The {name} {recipe[name]!r} is unknown: use {listed}.")
    # The parts: what changes the weights, what is made small, and at which rate.
    network.to(device)
    optimiser = OPTIMISERS[recipe["optimiser"]](
        network.parameters(), recipe["learning_rate"], recipe["weight_decay"]
    )
    loss_of = LOSSES[recipe["loss"]]
    history = _resumed(network, optimiser, recipe, checkpoint)
    steps = -(-len(images) // recipe["batch_size"])  # of an epoch
    schedule = _schedule(optimiser, recipe, steps, len(history))
    with tqdm(
        total=recipe["epochs"] * steps, initial=len(history) * steps, desc="training",
        unit="batch", mininterval=1, disable=not progress,
    ) as bar:  # fmt: skip
        for epoch in range(len(history), recipe["epochs"]):
            started, total = time.perf_counter(), 0.0
            network.train()
            for batch, truth in batches(images, labels, recipe, epoch, scales):
                batch, truth = batch.to(device), truth.to(device)
                if recipe.get("adversarial"):
                    batch = moved(network, batch, truth, loss_of, recipe)
                loss = loss_of(logits(network, batch, recipe), truth)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                total += loss.item() * len(batch)
                bar.update()
            row = {"epoch": epoch + 1, "train_loss": total / len(images)}
            row["dur"] = time.perf_counter() - started
            history.append(row | (score(network.eval()) if score is not None else {}))
            bar.set_postfix(epoch=epoch + 1, loss=f"{row['train_loss']:.4f}")
            if checkpoint is not None:
                path, signature = checkpoint
                write_checkpoint(path, network, optimiser, history, signature)
    return history


def logits(network: nn.Module, images: torch.Tensor, recipe: dict) -> torch.Tensor:
    """Return the logits (n, classes, H, W) in float32, computed in the precision of the recipe."""
    precision = getattr(torch, recipe["precision"])
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
        return network(images).float()


def moved(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    recipe: dict,
) -> torch.Tensor:
    """Move every image against its label by the sign of its gradient.
    The images of a batch by steps that rise evenly up to ``recipe["adversarial"]``, in standard
    deviations (Goodfellow et al., ICLR 2015)."""
    images = images.detach().clone().requires_grad_(True)
    loss = loss_of(logits(network, images, recipe), labels)
    (gradient,) = torch.autograd.grad(loss, images)
    steps = recipe["adversarial"] * torch.linspace(0, 1, len(images) + 1)[1:]
    return (images + steps[:, None, None, None].to(gradient) * gradient.sign()).detach()


OPTIMISERS = {
    "adam": lambda weights, rate, decay: torch.optim.Adam(weights, rate),
    "adamw": lambda weights, rate, decay: torch.optim.AdamW(weights, rate, weight_decay=decay),
}
SCHEDULES = ("one-cycle", "constant")


def _schedule(optimiser: torch.optim.Optimizer, recipe: dict, steps: int, done: int) -> LRScheduler:
    """Return the learning rate of every batch, from the first after ``done`` epochs on.
    One cycle goes up to the learning rate over 30 % of all steps, then down to 0 (Smith & Topin
    2019)."""
    if recipe["schedule"] == "constant" or done == recipe["epochs"]:
        return ConstantLR(optimiser, factor=1.0, total_iters=0)
    total = recipe["epochs"] * steps
    return OneCycleLR(
        optimiser, recipe["learning_rate"], total_steps=total, last_epoch=done * steps - 1
    )


def cross_entropy_jaccard(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""Return the mean of the cross-entropy and one minus a soft Jaccard index of every image.

    .. math:: L = \tfrac12 \mathrm{CE} + \tfrac12 \Big(1 - \tfrac1n \sum_i
        \frac{1 + \sum_x p_i y_i}{1 + \sum_x (p_i + y_i - p_i y_i)}\Big)

    Cross-entropy weighs pixels alike, so that an image with little contamination hardly counts; the
    Jaccard index of each image weighs images alike, as the score per image does (Rahman & Wang
    2016, doi 10.1007/978-3-319-50835-1_22). One pixel is added above and below, which makes an
    empty answer to an empty label perfect. Of more than two classes, all but class 0 are averaged.
    Logits are (n, classes, H, W), labels (n, H, W) int64."""
    counted = (labels != IGNORED)[:, None]
    chosen = nn.functional.one_hot(labels.clamp(min=0), logits.shape[1])
    true = (chosen.permute(0, 3, 1, 2) * counted)[:, 1:].to(logits.dtype)
    probable = (logits.softmax(1) * counted)[:, 1:]
    both = (true * probable).sum((2, 3))
    either = (true + probable).sum((2, 3)) - both
    jaccard = ((1 + both) / (1 + either)).mean()
    return (cross_entropy(logits, labels, ignore_index=IGNORED) + 1 - jaccard) / 2


LOSSES = {"cross-entropy": cross_entropy, "cross-entropy + jaccard": cross_entropy_jaccard}


def batches(
    images: np.ndarray,
    labels: np.ndarray,
    recipe: dict,
    epoch: int,
    scales: np.ndarray | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the training set in shuffled, augmented batches: images (m, 1, H, W), labels (m, H, W).
    All that is random comes from ``default_rng([seed, epoch])``, whatever was drawn before it."""
    generator = np.random.default_rng([recipe["seed"], epoch])
    augment = AUGMENTATIONS[recipe["augmentation"]]
    contamination = recipe.get("contamination", [1])[0]
    order = generator.permutation(len(images))
    for start in range(0, len(order), recipe["batch_size"]):
        chosen = order[start : start + recipe["batch_size"]]
        batch, truth = torch.from_numpy(images[chosen]), torch.from_numpy(labels[chosen])
        theirs = None if scales is None else scales[chosen]
        batch, truth = augment(batch, truth, generator, contamination, theirs)
        if recipe.get("blur"):
            batch = blurred(batch, recipe["blur"], generator)
        if recipe.get("noise"):
            batch = noisy(batch, recipe["noise"], generator)
        yield batch, truth


def signature_of(parameters: dict, *arrays: np.ndarray) -> str:
    """Digest parameters and data of a training (SHA-256); only the same may be continued."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode())
    for array in arrays:
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def write_checkpoint(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: History,
    signature: str,
) -> None:
    """Write the state of a training as safetensors with a JSON header, whole or not at all."""
    state = optimiser.state_dict()
    tensors = {f"module.{k}": v.contiguous() for k, v in network.state_dict().items()}
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in values.items()}
    header = {"signature": signature, "history": history, "groups": state["param_groups"]}
    write_tensors(path, tensors, header)


def read_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, signature: str
) -> History:
    """Load the state that `write_checkpoint` wrote, and return the history.
    InputError if the file is damaged or belongs to another training."""
    device = str(next(network.parameters()).device)
    try:
        header, tensors = read_tensors(path, device)
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
        module, state = {}, {}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "module":
                module[name] = value
            else:
                index, _, name = name.partition(".")
                state.setdefault(int(index), {})[name] = value
        network.load_state_dict(module)
        optimiser.load_state_dict({"state": state, "param_groups": header["groups"]})
    except Exception as error:
        raise InputError(f"The checkpoint {path} is damaged: delete it.") from error
    return header["history"]


def _resumed(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    recipe: dict,
    checkpoint: tuple[Path, str] | None,
) -> History:
    """Return the history of an earlier start of this training, whose state is loaded; else []."""
    if checkpoint is None or not checkpoint[0].exists():
        return []
    history = read_checkpoint(checkpoint[0], network, optimiser, checkpoint[1])
    if len(history) > recipe["epochs"]:
        raise InputError(
            f"The checkpoint {checkpoint[0]} is at epoch {len(history)}, beyond the "
            f"{recipe['epochs']} asked for: ask for as many or name another file."
        )
    return history

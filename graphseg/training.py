"""Training a U-Net with skorch: batches, augmentation, precision, checkpoints, progress.

A training is a pure function of its parameters and data: batch order and augmentation of an
epoch depend on (seed, epoch) only, and a checkpoint holds the network, the optimiser and the
history. A training that was killed therefore continues to the result of an undisturbed one.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from skorch.dataset import Dataset
from tqdm import tqdm

from graphseg.batches import Batches
from graphseg.checkpoints import read_checkpoint, write_checkpoint
from graphseg.errors import InputError
from graphseg.losses import LOSSES

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULES = ("one-cycle", "constant")


def choose_device(device: str) -> str:
    """Resolve ``"auto"`` to CUDA where there is one, else the CPU.

    Raises
    ------
    InputError
        If CUDA is asked for and absent, or the name is unknown.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"The device {device!r} is not available here: use 'auto' or 'cpu'.")
    try:
        known = torch.device(device).type in ("cpu", "cuda")
    except RuntimeError:
        known = False
    if not known:
        raise InputError(f"The device {device!r} is unknown: use 'auto', 'cpu' or 'cuda'.")
    return device


def choose_precision(precision: str, device: str) -> torch.dtype:
    """Resolve ``"auto"`` to bfloat16 where the processor multiplies in it, else float32.

    Where ``GRAPHSEG_PRECISION`` is set, ``"auto"`` is what it says: the tests compare numbers.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if precision == "auto":
        precision = os.environ.get("GRAPHSEG_PRECISION", precision)
    if precision == "auto":
        fast = (
            torch.cuda.is_bf16_supported()
            if device.startswith("cuda")
            else torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        return torch.bfloat16 if fast else torch.float32
    if precision not in ("float32", "bfloat16"):
        raise InputError(
            f"The precision {precision!r} is unknown: use 'auto', 'float32' or 'bfloat16'."
        )
    return getattr(torch, precision)


class AutocastNet(NeuralNet):
    """skorch's training loop with the forward pass in the chosen precision.

    With ``adversarial``, every image is first moved against its label by the sign of its gradient
    (Goodfellow et al., ICLR 2015): the images of a batch by steps that rise evenly up to this one.
    """

    def __init__(
        self, *args, precision: torch.dtype = torch.float32, adversarial: float = 0.0, **kwargs
    ):
        self.precision, self.adversarial = precision, adversarial
        super().__init__(*args, **kwargs)

    def train_step_single(self, batch, **fit_params):
        """Compute the loss of a batch, moved against its labels if asked for, and its gradient."""
        if self.adversarial:
            batch = self._moved(*batch), batch[1]
        return super().train_step_single(batch, **fit_params)

    def _moved(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self._set_training(True)
        images = images.detach().clone().requires_grad_(True)
        loss = self.get_loss(self.infer(images), labels, X=images, training=True)
        (gradient,) = torch.autograd.grad(loss, images)
        steps = self.adversarial * torch.linspace(0, 1, len(images) + 1)[1:]
        return (images + steps[:, None, None, None].to(gradient) * gradient.sign()).detach()

    def infer(self, x, **fit_params):
        """Return the logits (n, classes, H, W) in float32."""
        kind = torch.device(self.device).type
        x = torch.as_tensor(x, device=self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(kind, self.precision, enabled=self.precision != torch.float32):
            return self.module_(x).float()


class Progress(Callback):
    """A tqdm bar on stderr: one step a batch, the loss of the last epoch, the time left."""

    def __init__(self, epochs: int, done: int, batches: int):
        self.epochs, self.done, self.batches = epochs, done, batches

    def on_train_begin(self, net, **kwargs):
        """Open the bar where the training continues."""
        total, first = self.epochs * self.batches, self.done * self.batches
        self.bar_ = tqdm(total=total, initial=first, desc="training", unit="batch", mininterval=1)

    def on_batch_end(self, net, training=False, **kwargs):
        """Advance by one batch."""
        self.bar_.update(int(training))

    def on_epoch_end(self, net, **kwargs):
        """Show the loss."""
        loss = net.history[-1, "train_loss"]
        self.bar_.set_postfix(epoch=len(net.history), loss=f"{loss:.4f}")

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.bar_.close()


class HeldOutScore(Callback):
    """Record a score after every epoch. It is shown, never used to choose an epoch."""

    def __init__(self, score: Callable[[NeuralNet], dict[str, float]]):
        self.score = score

    def on_epoch_end(self, net, **kwargs):
        """Put the scores into the history."""
        for name, value in self.score(net).items():
            net.history.record(name, value)


class EpochCheckpoint(Callback):
    """Write network, optimiser and history after every epoch, to a temporary name first."""

    def __init__(self, path: Path, signature: str):
        self.path, self.signature = path, signature

    def on_epoch_end(self, net, **kwargs):
        """Write the state."""
        write_checkpoint(self.path, net, self.signature)


def one_cycle(learning_rate: float, steps: int, done: int) -> LRScheduler:
    """Schedule of Smith & Topin (2019): up to the learning rate over 30 % of the steps, down to 0.

    Parameters
    ----------
    learning_rate : float
        The highest rate.
    steps, done : int
        Batches in the whole training, and batches before this start.
    """
    return LRScheduler(
        torch.optim.lr_scheduler.OneCycleLR,
        step_every="batch",
        max_lr=learning_rate,
        total_steps=steps,
        last_epoch=done - 1,
    )


def run(
    network: torch.nn.Module,
    dataset: Dataset,
    recipe: dict,
    device: str,
    score: Callable[[NeuralNet], dict[str, float]] | None = None,
    checkpoint: tuple[Path, str] | None = None,
    progress: bool = True,
) -> NeuralNet:
    """Train a network to the last epoch of its recipe, from its checkpoint if there is one.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, 1, H, W) to logits (n, classes, H, W); holds the initial weights.
    dataset : skorch Dataset
        ``X`` float32 (n, 1, H, W), ``y`` int64 (n, H, W), ``losses.IGNORED`` where there is
        no label.
    recipe : dict
        ``epochs``, ``batch_size``, ``learning_rate``, ``schedule``, ``optimiser``,
        ``weight_decay``, ``loss``, ``augmentation``, ``seed`` and ``precision``; ``noise``,
        ``blur`` and ``adversarial`` if they are not 0.
    device : str
    score : callable, optional
        Scores to record after every epoch.
    checkpoint : (path, signature), optional
    progress : bool, default True

    Returns
    -------
    NeuralNet
        With the trained ``module_`` and the whole ``history``.

    Raises
    ------
    InputError
        If schedule, optimiser or loss are unknown, or the checkpoint cannot be continued, or is
        beyond the epochs asked for.
    """
    for name, known in (("schedule", SCHEDULES), ("optimiser", OPTIMISERS), ("loss", LOSSES)):
        if recipe[name] not in known:
            listed = " or ".join(map(repr, known))
            raise InputError(f"The {name} {recipe[name]!r} is unknown: use {listed}.")
    net = _initialised(network, recipe, device)
    done = _continue(net, *checkpoint) if checkpoint and checkpoint[0].exists() else 0
    if done > recipe["epochs"]:
        raise InputError(
            f"The checkpoint {checkpoint[0]} is at epoch {done}, beyond the {recipe['epochs']} "
            "asked for: ask for as many or name another file."
        )
    batches = partial(
        Batches,
        seed=recipe["seed"],
        first_epoch=done,
        augmentation=recipe["augmentation"],
        noise=recipe.get("noise", 0.0),
        blur=recipe.get("blur", 0.0),
    )
    net.iterator_train = batches
    steps = len(batches(dataset, recipe["batch_size"]))
    _add_callbacks(net, recipe, done, steps, score, checkpoint, progress)
    net.max_epochs = recipe["epochs"] - done
    if net.max_epochs > 0:
        try:
            net.partial_fit(dataset)
        finally:  # what is said about a failure shall have a line of its own
            for _, callback in net.callbacks_:
                if hasattr(callback, "bar_"):
                    callback.bar_.close()
    if len(net.history) < recipe["epochs"]:  # skorch swallows the interrupt
        raise KeyboardInterrupt("the training was interrupted before its last epoch")
    return net


def _initialised(network: torch.nn.Module, recipe: dict, device: str) -> AutocastNet:
    decay = {"optimizer__weight_decay": recipe["weight_decay"]}
    return AutocastNet(
        network,
        criterion=LOSSES[recipe["loss"]],
        optimizer=OPTIMISERS[recipe["optimiser"]],
        lr=recipe["learning_rate"],
        batch_size=recipe["batch_size"],
        train_split=None,
        callbacks__print_log=None,
        device=device,
        precision=getattr(torch, recipe["precision"]),
        adversarial=recipe.get("adversarial", 0.0),
        **(decay if recipe["optimiser"] == "adamw" else {}),
    ).initialize()


def _continue(net: AutocastNet, path: Path, signature: str) -> int:
    """Load a checkpoint into the net and return the number of finished epochs."""
    history = read_checkpoint(path, net, signature)
    for row in history:
        net.history.new_epoch()
        for key, value in row.items():
            net.history.record(key, value)
    return len(history)


def _add_callbacks(net, recipe, done, steps, score, checkpoint, progress) -> None:
    chosen: list[tuple[str, Callback]] = []
    if recipe["schedule"] == "one-cycle":
        total = recipe["epochs"] * steps
        chosen.append(("schedule", one_cycle(recipe["learning_rate"], total, done * steps)))
    if score is not None:
        chosen.append(("held_out", HeldOutScore(score)))
    if progress:
        chosen.append(("progress", Progress(recipe["epochs"], done, steps)))
    if checkpoint is not None:
        checkpoint[0].parent.mkdir(parents=True, exist_ok=True)
        chosen.append(("checkpoint", EpochCheckpoint(*checkpoint)))
    for _, callback in chosen:
        callback.initialize()
    net.callbacks_ += chosen

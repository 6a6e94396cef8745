"""Speed and memory of the methods, everything in one run on one machine: ``make bench``.

The machine's own matrix-multiply rate is the ceiling, plain eager float32 PyTorch the baseline.
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from graphseg import datasets, records
from graphseg.bragg import BraggSegmenter
from graphseg.inference import contamination
from graphseg.preprocessing import standardise
from graphseg.training import choose_precision
from graphseg.unet import UNet, parameter_count

NETWORKS = {
    "paper": {"levels": 4, "features": 32, "normalisation": "none"},
    "ours": {"levels": 4, "features": 16, "normalisation": "batch"},
}


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, after one call that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def multiply_rate(precision: torch.dtype, repeats: int, size: int = 1024) -> float:
    """Return the rate of a matrix product in GFLOP/s."""
    a, b = (torch.randn(size, size).to(precision) for _ in range(2))
    return 2e-9 * size**3 / median_seconds(lambda: a @ b, repeats)


def bragg_cost(images: np.ndarray, repeats: int) -> dict[str, float]:
    """Return milliseconds an image on one core, in a stack (n, H, W) and alone, and peak megabytes.

    The peak is what Python and NumPy allocate for one image. A single call costs more time than
    its share of a stack, since each call looks up the thread pools it has to hold back.
    """
    segmenter = BraggSegmenter(progress=False).fit(images)
    with threadpool_limits(1):
        stack = median_seconds(lambda: segmenter.predict(images), repeats)
        alone = median_seconds(lambda: segmenter.predict(images[:1]), repeats)
        tracemalloc.start()
        segmenter.predict(images[:1])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {
        "milliseconds": 1e3 * stack / len(images),
        "milliseconds_alone": 1e3 * alone,
        "peak_megabytes": peak / 1e6,
    }


def network_cost(name: str, image: np.ndarray, repeats: int) -> dict[str, float]:
    """Return the cost of one network on one (H, W) image, eager and in the fastest safe way.

    Returns
    -------
    dict
        Parameters, GFLOP an image, and milliseconds: ``eager_float32`` (plain PyTorch, contiguous),
        ``fast`` (channels last, bfloat16 where the processor has it) and ``step`` (a training step
        on four images).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(**NETWORKS[name]).eval()
    plain = torch.from_numpy(standardise(image))[None, None]
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(plain)
        eager = median_seconds(lambda: network(plain).softmax(1), repeats)
    precision = choose_precision("auto", "cpu")
    network = network.to(memory_format=torch.channels_last)
    scaled = standardise(image)
    fast = median_seconds(lambda: contamination(network, scaled, precision, False), repeats)
    return {
        "parameters": parameter_count(network),
        "gflop": counter.get_total_flops() / 1e9,
        "eager_float32": 1e3 * eager,
        "fast": 1e3 * fast,
        "step": 1e3 * _step_seconds(network, plain, precision, max(1, repeats // 4)),
        "precision": str(precision).removeprefix("torch."),
    }


def _step_seconds(
    network: UNet, image: torch.Tensor, precision: torch.dtype, repeats: int
) -> float:
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    batch = image.expand(4, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    labels = (batch[:, 0] > 0).long()

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = network(batch).float()
        torch.nn.functional.cross_entropy(logits, labels).backward()
        optimiser.step()

    return median_seconds(step, repeats)


def run(repeats: int = 30) -> dict:
    """Measure everything on images of the simulated sample and return the record."""
    images = datasets.load_simulated_sample().images[:12]
    image = images[0]
    precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    parts: list[tuple[str, Callable[[], object]]] = [
        ("gflop_per_second", lambda: {k: multiply_rate(p, repeats) for k, p in precisions.items()}),
        ("bragg", lambda: bragg_cost(images, repeats)),
        *((name, lambda name=name: network_cost(name, image, repeats)) for name in NETWORKS),
    ]
    measured = {name: part() for name, part in tqdm(parts, desc="benchmark")}
    ours, paper, bragg = (measured[name] for name in ("ours", "paper", "bragg"))
    rate = measured["gflop_per_second"]
    measured["ratios"] = {
        "paper's network, eager / fast": paper["eager_float32"] / paper["fast"],
        "paper's network eager / ours fast": paper["eager_float32"] / ours["fast"],
        "ours fast / Bragg": ours["fast"] / bragg["milliseconds"],
        "ours fast / ceiling": ours["fast"] / (1e3 * ours["gflop"] / rate[ours["precision"]]),
    }
    return {"threads": torch.get_num_threads(), "repeats": repeats} | measured


def main() -> int:
    """Measure, print, and write the record where ``--output`` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    measured = run(chosen.repeats)
    for name, values in measured.items():
        print(f"{name}: {_shown(values)}")
    if chosen.output:
        records.write_record(chosen.output, measured | {"made_with": records.provenance()})
    return 0


def _shown(values: object) -> str:
    if not isinstance(values, dict):
        return str(values)
    return ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
    )


if __name__ == "__main__":
    sys.exit(main())

"""Speed and memory, everything in one run on one machine: ``make bench``.

Of the methods, the machine's own matrix-multiply rate is the ceiling, plain eager float32 PyTorch
the baseline. Of `graphseg segment`, reading and writing included, the yardstick is the rate of the
bare network in the same run: ``predict_proba`` on images that lie in memory, with all cores. The
machine's speed drifts, so it is measured before and after. Starting Python with the package is
compared with ``python -c "import numpy"``.
"""

import ctypes
import hashlib
import multiprocessing
import resource
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import tifffile
import torch
from distributed import LocalCluster
from threadpoolctl import threadpool_limits
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from book.tools import startup
from graphseg.batch import run as batch
from graphseg.batch.manifest import find_inputs
from graphseg.batch.report import write_tables
from graphseg.batch.tasks import Network, Segment
from graphseg.classical.bragg import BraggSegmenter
from graphseg.datasets.load import LabelledStack, load_simulated_sample
from graphseg.preprocessing import standardise
from graphseg.unet import pretrained
from graphseg.unet.network import UNet, parameter_count
from graphseg.unet.segmenter import UNetSegmenter

SOURCE = "simulated"
RECORD_IS_OPTIONAL = True
SIDES = {"small": 256, "large": 2048}


def write_images(folder: Path, number: int, side: int) -> None:
    """Write simulated micrographs as 8-bit TIFF files with a pixel size.

    Parameters
    ----------
    folder
        Where to.
    number
        Of files.
    side
        Height and width in pixels, a multiple of 256; larger images repeat smaller ones.
    """
    folder.mkdir(parents=True)
    stack = load_simulated_sample()
    sample = (255 * stack.images).round().astype(np.uint8)
    for index in range(number):
        image = np.tile(sample[index % len(sample)], (side // 256, side // 256))
        resolution = (10 / stack.pixel_size_of(index % len(sample)),) * 2  # pixels in a nm
        tifffile.imwrite(
            folder / f"{index:05d}.tif", np.roll(image, index, axis=(0, 1)), imagej=True,
            resolution=resolution, metadata={"unit": "nm"},
        )  # fmt: skip


def bare_seconds(network: Network, files: Sequence[Path]) -> float:
    """Return the seconds that the network alone needs for images, with all cores."""
    images = [tifffile.imread(path).astype(np.float32)[None] for path in files]
    segmenter = network.segmenter()
    segmenter.predict_proba(images[0])
    started = time.perf_counter()
    for image in images:
        segmenter.predict_proba(image)
    return time.perf_counter() - started


def segment_seconds(
    network: Network, folder: Path, output: Path, everything: bool = False, **where
) -> float:
    """Return the seconds from the names of the files to the report.

    Parameters
    ----------
    network
        That predicts.
    folder, output
        Of the images and of the results, which must not exist.
    everything
        Write probability maps and overlays too, not only masks.
    **where
        ``workers`` or ``scheduler``, see `graphseg.batch.run.run`.
    """
    started = time.perf_counter()
    task = Segment(network, "tif", "float32" if everything else None, everything)
    found = batch.run(task, find_inputs([folder]).sources, output, progress=False, **where)
    write_tables(found)
    if found.errors:
        raise RuntimeError(f"The benchmark's own images failed: {found.errors[0]}")
    return time.perf_counter() - started


def throughput(network: Network, folder: Path, workspace: Path) -> dict[str, float]:
    """Compare images a second end to end with those of the bare network.

    Returns
    -------
        ``images``; images a second of ``bare`` network, of ``masks`` and of ``everything`` (masks,
        probability maps and overlays); ``masks_ratio`` and ``everything_ratio`` to the bare rate.
    """
    files = sorted(folder.iterdir())
    before = bare_seconds(network, files)
    masks = segment_seconds(network, folder, workspace / "masks")
    everything = segment_seconds(network, folder, workspace / "everything", everything=True)
    bare = (before + bare_seconds(network, files)) / 2
    number = len(files)
    return {
        "images": number,
        "bare": number / bare,
        "masks": number / masks,
        "everything": number / everything,
        "masks_ratio": bare / masks,
        "everything_ratio": bare / everything,
    }


def dask_speedup(network: Network, folder: Path, workspace: Path) -> dict[str, float | bool]:
    """Compare two Dask workers of one thread with one, and their results.

    Returns
    -------
        Images a second of ``one`` and ``two`` workers, their ratio ``speedup``, and whether the
        results are ``identical`` byte by byte.
    """
    seconds = {}
    for workers in (1, 2):
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**options) as cluster:
            address = cluster.scheduler_address
            warm = find_inputs([folder]).sources[
                : 4 * workers
            ]  # so that each has loaded the network
            batch.run(
                Segment(network), warm, workspace / f"warm_{workers}", progress=False,
                scheduler=address,
            )  # fmt: skip
            output = workspace / f"dask_{workers}"
            seconds[workers] = segment_seconds(network, folder, output, scheduler=address)
    number = len(list(folder.iterdir()))
    digests = [_digest(workspace / f"dask_{workers}") for workers in (1, 2)]
    return {
        "one": number / seconds[1],
        "two": number / seconds[2],
        "speedup": seconds[1] / seconds[2],
        "identical": digests[0] == digests[1],
    }


def _digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.tif")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def batch_work(
    images: int = 1000, large: int = 50, dask: int = 400, test_time_augmentation: bool = True
) -> dict:
    """Measure everything and return the record.

    Parameters
    ----------
    images, large
        Number of images of 256² and of 2048² pixels; 0 leaves the part out.
    dask
        Number of images of 256² pixels for the comparison of one and two Dask workers.
    test_time_augmentation
        Over the eight symmetries, as the command does by default. Without, the network is eight
        times as fast and all the rest weighs more.
    """
    network = Network.choose(test_time_augmentation=test_time_augmentation, device="cpu")
    measured: dict = {"test_time_augmentation": test_time_augmentation}
    workspace = Path(tempfile.mkdtemp(prefix="graphseg_bench_"))
    try:
        for name, number in (("small", images), ("large", large), ("dask", dask)):
            if not number:
                continue
            folder = workspace / name / "images"
            write_images(folder, number, SIDES.get(name, SIDES["small"]))
            measure = dask_speedup if name == "dask" else throughput
            measured[name] = measure(network, folder, workspace / name)
            shutil.rmtree(workspace / name)
    finally:
        shutil.rmtree(workspace)
    return measured


def ratios(measured: dict) -> dict[str, float]:
    """Return what of a result of `batch_work` does not depend on the speed of the machine."""
    found = {}
    for name in measured.keys() & SIDES.keys():
        size = f"{SIDES[name]}²"
        found[f"masks of {size} / bare network"] = measured[name]["masks_ratio"]
        found[f"masks, maps, overlays of {size} / bare network"] = measured[name][
            "everything_ratio"
        ]
    if "dask" in measured:
        found["two Dask workers / one"] = measured["dask"]["speedup"]
    return found


NETWORKS = {"paper": "paper_fold_0", "ours": "fold_0"}  # weights that come with the package
PROCESS = Path("/proc/self")


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
    its fraction of a stack, since each call looks up the thread pools it has to hold back.
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


def network_cost(name: str, images: np.ndarray, repeats: int) -> dict[str, float | str]:
    """Return the cost of one network, eager and in the fastest safe way, and whether they agree.

    Parameters
    ----------
    name
        One of :data:`NETWORKS`.
    images
        (n, H, W); times are of the first, the agreement is over all.
    repeats
        Of each measurement.

    Returns
    -------
    dict
        Parameters, GFLOP an image, milliseconds: ``eager_float32`` (plain PyTorch, contiguous),
        ``fast`` (channels last, bfloat16 where the processor has it, as ``predict`` does),
        ``fast_in_stack`` (an image of the stack given at once) and ``step`` (a training step on
        four images); ``same_pixels`` (percent of the pixels on which the masks of both ways agree)
        and ``peak_megabytes`` (what predicting one image adds to the memory of the process).
    """
    segmenter = pretrained.load(NETWORKS[name], test_time_augmentation=False, device="cpu")
    eager = deepcopy(segmenter.module_).to(memory_format=torch.contiguous_format).eval()
    plain = torch.from_numpy(standardise(images))[:, None]
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            eager(plain[:1])
        slow = median_seconds(lambda: eager(plain[:1]).softmax(1), repeats)
        masks = np.stack([eager(one[None]).softmax(1)[0, 1].numpy() >= 0.5 for one in plain])
    fast = median_seconds(lambda: segmenter.predict_proba(images[:1]), repeats)
    stack = median_seconds(lambda: segmenter.predict_proba(images), max(1, repeats // 4))
    return {
        "parameters": parameter_count(segmenter.module_),
        "gflop": counter.get_total_flops() / 1e9,
        "eager_float32": 1e3 * slow,
        "fast": 1e3 * fast,
        "fast_in_stack": 1e3 * stack / len(images),
        "step": 1e3 * _step_seconds(segmenter, plain[:1], max(1, repeats // 4)),
        "same_pixels": 100 * float((segmenter.predict(images) == masks).mean()),
        "peak_megabytes": _peak_megabytes(name, images[0]),
        "precision": segmenter.precision_,
    }


def _peak_megabytes(name: str, image: np.ndarray) -> float:
    """Measure in a process of its own: the high-water mark of this one may be older."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_added_memory, (name, image))


def _added_memory(name: str, image: np.ndarray) -> float:
    segmenter = pretrained.load(NETWORKS[name], test_time_augmentation=False, device="cpu")
    segmenter.predict(image[None, :32, :32])  # what torch sets up once is not of the image
    if not PROCESS.exists():  # no Linux: the mark of the whole process is all there is
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    ctypes.CDLL(None).malloc_trim(0)  # memory that loading left behind would hide what is added
    (PROCESS / "clear_refs").write_text("5")  # resets the high-water mark
    before = _memory("VmRSS")
    segmenter.predict(image[None])
    return _memory("VmHWM") - before


def _memory(key: str) -> float:
    lines = (PROCESS / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024 / 1e6


def _step_seconds(segmenter: UNetSegmenter, image: torch.Tensor, repeats: int) -> float:
    network: UNet = deepcopy(segmenter.module_).train()
    precision = getattr(torch, segmenter.precision_)
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


def run(
    stack: LabelledStack,
    repeats: int = 30,
    images: int = 1000,
    large: int = 50,
    dask: int = 400,
    test_time_augmentation: bool = True,
    starts: int = 5,
) -> dict:
    """Measure speed and memory of single methods and whole folders; takes half an hour.

    Example: python -m book.studies benchmark --output data/results/benchmark.json

    Parameters
    ----------
    stack
        The images that single methods are measured on, at most 12.
    repeats
        Repetitions of each measurement of a single image or a matrix product.
    images
        Number of files of 256 x 256 pixels; 0 leaves them out.
    large
        Number of files of 2048 x 2048 pixels; 0 leaves them out.
    dask
        Number of files of 256 x 256 pixels for one and two Dask workers; 0 leaves them out.
    test_time_augmentation
        Predict files with test-time augmentation.
    starts
        Number of starts of Python for each import time.
    """
    few = stack.images[:12]
    precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    parts: list[tuple[str, Callable[[], object]]] = [
        ("gflop_per_second", lambda: {k: multiply_rate(p, repeats) for k, p in precisions.items()}),
        ("bragg", lambda: bragg_cost(few, repeats)),
        *((name, lambda name=name: network_cost(name, few, repeats)) for name in NETWORKS),
        ("batch", lambda: batch_work(images, large, dask, test_time_augmentation)),
        ("start", lambda: startup.seconds(starts)),
    ]
    measured = {name: part() for name, part in tqdm(parts, desc="benchmark")}
    ours, paper, bragg = (measured[name] for name in ("ours", "paper", "bragg"))
    rate = measured["gflop_per_second"]
    measured["ratios"] = {
        "paper's network, eager / fast": paper["eager_float32"] / paper["fast"],
        "paper's network eager / ours fast": paper["eager_float32"] / ours["fast"],
        "ours in a stack / alone": ours["fast_in_stack"] / ours["fast"],
        "ours fast / Bragg": ours["fast"] / bragg["milliseconds"],
        "ours fast / ceiling": ours["fast"] / (1e3 * ours["gflop"] / rate[ours["precision"]]),
    } | ratios(measured["batch"])
    measured["ratios"] |= startup.ratios(measured["start"])
    return {"threads": torch.get_num_threads(), "repeats": repeats} | measured


def summarise(record: dict) -> str:
    """Return everything that was measured, a line for each part."""
    shown = {k: v for k, v in record.items() if k not in ("data", "made_with")}
    return "\n".join(f"{name}: {_shown(values)}" for name, values in shown.items())


def _shown(values: object) -> str:
    if isinstance(values, dict):
        return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
    return f"{values:.4g}" if isinstance(values, float) else str(values)

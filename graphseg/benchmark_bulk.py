"""Throughput of `graphseg segment`, reading and writing included: ``make bench`` runs it.

The yardstick is the rate of the bare network in the same run: ``predict_proba`` on images that lie
in memory, with all cores. The machine's speed drifts, so it is measured before and after.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from distributed import LocalCluster

from graphseg import bulk, datasets
from graphseg.bulkjob import Job
from graphseg.bulknetwork import Network
from graphseg.bulksources import find_sources
from graphseg.bulktables import write_tables
from graphseg.bulktasks import Segment

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
    stack = datasets.load_simulated_sample()
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
        ``workers`` or ``scheduler``, see `graphseg.bulk.run`.
    """
    started = time.perf_counter()
    task = Segment(network, "tif", "float32" if everything else None, everything)
    job = Job(task, output)
    found = bulk.run(job, find_sources([folder]), progress=False, **where)
    write_tables(job, found)
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
            warm = find_sources([folder])[: 4 * workers]  # so that each has loaded the network
            bulk.run(
                Job(Segment(network), workspace / f"warm_{workers}"), warm, progress=False,
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


def run(images: int = 1000, large: int = 50, dask: int = 400, averaging: bool = True) -> dict:
    """Measure everything and return the record.

    Parameters
    ----------
    images, large
        Number of images of 256² and of 2048² pixels; 0 leaves the part out.
    dask
        Number of images of 256² pixels for the comparison of one and two Dask workers.
    averaging
        Over the eight symmetries, as the command does by default. Without, the network is eight
        times as fast and all the rest weighs more.
    """
    network = Network.choose(averaging=averaging, device="cpu")
    measured: dict = {"averaging": averaging}
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
    """Return what of a record of `run` does not depend on the speed of the machine."""
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

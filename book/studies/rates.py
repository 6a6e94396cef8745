"""How many micrographs an hour each command does on one core, and in how much memory.

Files are read and results are written, by the command line with its defaults but one thread.
Time is that of the processor, which hardly depends on what else the machine does, and the start
of the program is taken off: it is the time for some images less that for one.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tifffile

from graphseg.datasets.load import LabelledStack, load_simulated_sample
from graphseg.unet.inference import resize

SOURCE = "simulated"
SIDES = 1024, 4096
COMMANDS = ("segment", "analyse", "sort")
FINER = 4  # the samples are enlarged so often, to the sampling of a camera of 4096² pixels


def write_images(folder: Path, number: int, side: int) -> None:
    """Write simulated micrographs of `side` pixels, a multiple of 1024, as 8-bit TIFF files."""
    folder.mkdir(parents=True)
    stack = load_simulated_sample()
    for index in range(number):
        sample = stack.images[index % len(stack)]
        fine = resize(sample, [FINER * length for length in sample.shape])
        extra = [(0, side - length) for length in fine.shape]
        image = np.pad((255 * fine.clip(0, 1)).astype(np.uint8), extra, mode="symmetric")
        resolution = (10 * FINER / stack.pixel_size_of(index % len(stack)),) * 2  # pixels in a nm
        tifffile.imwrite(
            folder / f"{index:03d}.tif", image, imagej=True, resolution=resolution,
            metadata={"unit": "nm"},
        )  # fmt: skip


def cost(command: str, files: list[Path], output: Path) -> tuple[float, float]:
    """Return the seconds of the processor that a command takes for files, and its peak of bytes."""
    program = [sys.executable, "-m", "graphseg", command, *map(str, files)]
    options = ["--output", str(output), "--workers", "1", "--device", "cpu"]
    process = subprocess.Popen(
        program + options,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"graphseg {command} failed on its own images.")
    return used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss


def run(
    stack: LabelledStack, sides: list[int] | None = None, images: int = 13, large: int = 4
) -> dict:
    """Measure how fast the commands process images of several sizes; takes some minutes.

    Example: python -m book.studies rates --output data/results/rates.json

    Parameters
    ----------
    stack
        Not used: the images are the bundled sample, enlarged.
    sides
        Side of the images in pixels, a multiple of 1024; may be repeated; by default 1024 and 4096.
    images
        Number of images of the first size, at least 2.
    large
        Number of images of the other sizes, at least 2.
    """
    measured: dict = {}
    sides = sides or list(SIDES)
    with tempfile.TemporaryDirectory(prefix="graphseg_rates_") as name:
        for side in sides:
            folder = Path(name) / str(side)
            write_images(folder / "images", images if side == sides[0] else large, side)
            files = sorted((folder / "images").iterdir())
            for command in COMMANDS:
                alone, _ = cost(command, files[:1], folder / f"{command}_one")
                together, peak = cost(command, files, folder / command)
                seconds = (together - alone) / (len(files) - 1)
                measured.setdefault(str(side), {})[command] = {
                    "images": len(files),
                    "core_seconds": seconds,
                    "images_an_hour_and_core": 3600 / seconds,
                    "megabytes": peak / 1e6,
                }
    return {"rates": measured}


def summarise(record: dict) -> str:
    """Return a line for each size and command."""
    return "\n".join(
        f"{side}²: {command} {found['images_an_hour_and_core']:.0f} images an hour and core, "
        f"{found['megabytes']:.0f} MB"
        for side, commands in record["rates"].items()
        for command, found in commands.items()
    )

"""The labelled sample in ``data/simulated``: single micrographs and series, like the published."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from graphseg.simulation.configuration import GRAPHENE, ContaminantRanges
from graphseg.simulation.samples import Sample, simulate

SEED = 2021
# Frames of each acquisition: a third are series, as in the published set.
FRAMES = (1, 2, 1, 3, 1, 1, 2, 3, 1, 1, 2, 1, 3, 1, 1)
EMPTY = (4, 11)  # acquisitions without contamination
DAYS = 5


def sample_set() -> Iterator[Sample]:
    """Simulate the 24 bundled samples, in the order of their names.

    Names follow the rule of the published set: date, acquisition, frame.
    """
    samples = []
    for index, frames in enumerate(FRAMES):
        share = 1.0 if index in EMPTY else 0.0
        configuration = replace(GRAPHENE, contaminant=ContaminantRanges(clean_share=share))
        for frame in range(frames):
            sample = simulate(SEED, index, configuration, frame)
            samples.append(replace(sample, name=_name(index, frame, frames)))
    yield from sorted(samples, key=lambda sample: sample.name)


def write_sample_set(folder: str | Path) -> None:
    """Write the bundled sample: 8-bit ``name.png``, ``name_LABEL.png``, ``pixel_sizes.json``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for sample in sample_set():
        image = np.rint(255 * sample.image).astype(np.uint8)
        label = np.where(sample.mask, 255, 0).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{sample.name}.png")
        Image.fromarray(label).save(folder / f"{sample.name}_LABEL.png")
        sizes[sample.name] = round(sample.pixel_size, 5)
    (folder / "pixel_sizes.json").write_text(json.dumps(sizes, indent=1) + "\n")


def _name(index: int, frame: int, frames: int) -> str:
    date = f"2000_{101 + index % DAYS:04d}"
    if frames == 1:
        return f"{date}_Simulated_{index:03d}"
    return f"{date}_Simulated_FS_{index:03d}_layer_{4 * frame + 1:04d}"

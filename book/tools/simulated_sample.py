"""Write the bundled simulated sample anew: ``python -m book.tools.simulated_sample FOLDER``."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from graphseg.simulation import sample_set


def write(folder: str | Path) -> None:
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


if __name__ == "__main__":
    write(sys.argv[1])

"""The modules that ``graphseg segment`` runs through: ``python -m book.tools.journey``.

Whoever reads along, from the command to the mask, opens these modules and jumps between them. A
module counts when a function of it runs; what runs while modules are imported does not. A switch is
a function entered, or a generator resumed, in another module than the one before it in the same
thread.
"""

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np
from PIL import Image

import graphseg
from graphseg import cli
from graphseg.datasets import load

PACKAGE = str(Path(graphseg.__file__).parent) + "/"


class Journey:
    """What a command runs through.

    Attributes
    ----------
    functions
        Name of each module to the names of its functions that ran.
    switches
        Name of each module to the number of times that it was come to from another one.
    """

    def __init__(self):
        self.functions: dict[str, set[str]] = {}
        self.switches: Counter[str] = Counter()
        self._thread = threading.local()

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if not (code.co_filename.startswith(PACKAGE) and code.co_filename.endswith(".py")):
            return
        here = self._thread.__dict__
        if code.co_name == "<module>":
            here["importing"] = here.get("importing", 0) + {"call": 1, "return": -1}.get(event, 0)
        elif event == "call" and not here.get("importing"):
            module = code.co_filename[len(PACKAGE) : -len(".py")].replace("/", ".")
            self.functions.setdefault(module, set()).add(code.co_qualname)
            if here.get("module") != module:
                self.switches[module] += 1
            here["module"] = module

    def follow(self, arguments: list[str]) -> None:
        """Run a command of ``graphseg`` and take down what it runs through."""
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        try:
            cli.app(arguments, standalone_mode=False)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def segment_one() -> Journey:
    """Follow ``graphseg segment`` with all its defaults on one simulated image, a PNG."""
    journey = Journey()
    image = load.load_simulated_sample().images[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.png")
        Image.fromarray((255 * image).astype(np.uint8)).save(path)
        journey.follow(["segment", str(path), "--output", str(Path(folder, "masks"))])
    return journey


def main() -> int:
    """Print the modules, how often each was come to, and how many of its functions ran."""
    journey = segment_one()
    for module, times in journey.switches.most_common():
        print(f"{module}: come to {times} times, {len(journey.functions[module])} functions")
    print(f"modules: {len(journey.functions)}, switches: {journey.switches.total()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

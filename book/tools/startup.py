"""How long Python takes to start with the package, beside ``python -c "import numpy"``.

``python -m book.tools.startup`` prints it. The absolute times are of one machine; what can be
compared are the ratios.
"""

import statistics
import subprocess
import sys
import time

YARDSTICK = "import numpy"
STARTS = {
    YARDSTICK: YARDSTICK,
    "import graphseg": "import graphseg",
    "graphseg --help": "import sys; sys.argv = ['graphseg', '--help']; "
    "from graphseg.cli import main; main()",
}
LONGEST = {"import graphseg": 0.3, "graphseg --help": 0.7}  # seconds, the targets


def seconds(repeats: int = 5) -> dict[str, float]:
    """Return the median wall time of each start of Python, in seconds.

    They take turns, so that a machine that slows down is slow for all of them; a first round, which
    reads the files from disk, is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for _ in range(repeats + 1):
        for name, code in STARTS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def ratios(found: dict[str, float]) -> dict[str, float]:
    """Return each time as a multiple of that of ``import numpy``."""
    return {f"{n} / {YARDSTICK}": s / found[YARDSTICK] for n, s in found.items() if n in LONGEST}


def main() -> int:
    """Print times and ratios."""
    found = seconds()
    for name, value in found.items():
        print(f"{name}: {value:.3f} s, {value / found[YARDSTICK]:.2f} times {YARDSTICK}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

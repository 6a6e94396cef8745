"""Looking through an HDF5 file in another process, because a damaged one can hang or crash.

The HDF5 library follows whatever a file says, and a few changed bytes send it round in circles
inside one call, which nothing in the same process can interrupt. So every object, attribute and
chunk index is first visited by a process whose computing time and memory are limited. It stays for
the next file, which makes a visit as cheap as opening the file.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import h5py

try:
    import resource
except ModuleNotFoundError:  # on Windows nothing limits the visit
    resource = None

SECONDS = 4  # of computing time for one file; a folder's worth of signals takes less than one
MEMORY = 4 * 2**30  # bytes
COMMAND = [sys.executable, "-m", "graphseg.io.guard"]


class _Visitor:
    """The other process, started when first needed and again after it was stopped."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def visit(self, path: Path) -> str:
        """Return "" if the file can be used, else what is wrong with it."""
        with self._lock:
            if not self._is_ready():
                self.stop()
                self._start()
            print(json.dumps(str(path)), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
            if not answer:
                self.stop()
                return "damaged so that it cannot be read in finite time"
        return json.loads(answer)

    def _is_ready(self) -> bool:
        own = self._process is not None and self._owner == os.getpid()
        return own and self._process.poll() is None

    def _start(self) -> None:
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._owner = os.getpid()

    def stop(self) -> None:
        """End the process and close its pipes; one of another process is left to its owner."""
        if self._process is not None and self._owner == os.getpid():
            self._process.communicate()
        self._process = None


_visitor = _Visitor()
atexit.register(_visitor.stop)


def check(path: Path) -> None:
    """Visit every object of an HDF5 file in another process.

    Raises
    ------
    OSError
        If that fails, takes too long or takes too much memory.
    """
    problem = _visitor.visit(path.resolve())
    if problem:
        raise OSError(problem)


def visit(path: str) -> None:
    """Read the shape, the type, the attributes and the chunk index of every object."""
    with h5py.File(path, "r") as file:
        _look("/", file)
        file.visititems(_look)


def _look(_: str, item: h5py.Group | h5py.Dataset) -> None:
    for name in item.attrs:
        with suppress(TypeError):  # of a type that numpy lacks
            item.attrs[name]
    if isinstance(item, h5py.Dataset):
        item.id.get_storage_size()
        if item.chunks:
            item.id.get_num_chunks()


def _limit() -> None:
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime) + SECONDS
        for kind, value in ((resource.RLIMIT_CPU, end), (resource.RLIMIT_AS, MEMORY)):
            _, hard = resource.getrlimit(kind)  # of the machine, which is not to be exceeded
            lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (lower, hard))


def main() -> None:
    """Answer one line, the path as JSON, with another, the problem as JSON, until no more come."""
    for line in sys.stdin:
        _limit()
        try:
            visit(json.loads(line))
            problem = ""
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        print(json.dumps(problem), flush=True)


if __name__ == "__main__":
    main()

"""One guarded process in which microscope files are read, because a damaged one can do anything.

A few changed bytes can send the HDF5 library round in circles, crash it, or make a reader ask for
all memory; nothing in the same process can stop that. So `readers` run in a child process whose
computing time and memory are limited, and whatever ends it is one sentence about the file. It stays
for the next file, so that starting it is paid for once.

A request is a line of JSON: the path, and for a frame the number of its signal and its index, or
``"close"``. The answer is a line of JSON, and the bytes of the frame after it.
"""

import atexit
import json
import math
import os
import signal as signals
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.recfunctions import structured_to_unstructured

from graphseg.errors import InputError
from graphseg.io import readers
from graphseg.io.readers import Axis, Signal

try:
    import resource
except ModuleNotFoundError:  # on Windows nothing limits the readers
    resource = None

SECONDS = 8  # of computing time for opening a file, or for a small frame
PIXELS = 2**22  # that a frame may have for each further second; compressed ones need a third of it
MEMORY = 4 * 2**30  # bytes that a reader may allocate; pages of a mapped file do not count
# With -P no module is taken from the folder where one works, which may be that of the files.
ROOT = str(Path(__file__).parents[2])
PROGRAM = f"import sys; sys.path.append({ROOT!r}); from graphseg.io.guard import main; main()"
COMMAND = [sys.executable, "-P", "-c", PROGRAM]
COLOURS = set("RGBA")  # the fields of pixels that have a colour


class _Child:
    """The other process, started when first needed and again after it was stopped."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def ask(self, path: Path, *request: Any) -> tuple[Any, bytes]:
        """Return the answer to a request and the bytes after it; InputError if there is none."""
        with self._lock:
            if not self.is_ready():
                self.stop()
                self._start()
            absolute = str(path.absolute())
            try:
                self._process.stdin.write(json.dumps([absolute, *request]).encode() + b"\n")
                self._process.stdin.flush()
                answer = json.loads(self._process.stdout.readline())
                content = self._process.stdout.read(answer["bytes"])
            except (OSError, ValueError) as error:  # it ended
                self.stop()
                raise InputError(
                    f"{path} is not a readable {path.suffix[1:].upper()} file: its reader crashed "
                    "or took too long; export or copy it again."
                ) from error
            except BaseException:  # half an answer must not be taken for the next one
                self.stop()
                raise
        if answer["refused"]:
            raise InputError(answer["refused"].replace(absolute, str(path), 1))
        return answer["found"], content

    def is_ready(self) -> bool:
        """Tell whether the process runs and is that of this process, not of one it forked from."""
        own = self._process is not None and self._owner == os.getpid()
        return own and self._process.poll() is None

    def _start(self) -> None:
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._process = subprocess.Popen(COMMAND, **pipes)
        self._owner = os.getpid()

    def stop(self) -> None:
        """End the process and close its pipes; one of another process is left to its owner."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None


_child = _Child()
atexit.register(_child.stop)


def open_guarded(path: Path, stack: ExitStack) -> list[Signal]:
    """Return the signals of a file that the other process opens and `stack` closes."""
    found, _ = _child.ask(path)
    stack.callback(_close, path)
    return [
        Signal(tuple(shape), np.dtype(kind), tuple(Axis(*axis) for axis in axes),
               partial(_frame, path, number), metadata)
        for number, (shape, kind, axes, metadata) in enumerate(found)
    ]  # fmt: skip


def _frame(path: Path, number: int, index: tuple[int, ...]) -> np.ndarray:
    (shape, kind), content = _child.ask(path, number, index)
    return np.frombuffer(content, kind).reshape(shape)


def _close(path: Path) -> None:
    if _child.is_ready():
        with suppress(InputError):  # what a damaged file does when it is closed is no matter
            _child.ask(path, "close")


def main() -> None:
    """Answer requests until no more come."""
    from graphseg.io.micrographs import named  # here, because that module imports this one

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a reader prints must not be taken for an answer
    signals.signal(signals.SIGINT, signals.SIG_IGN)  # who is interrupted is the parent
    opened: dict[str, tuple[ExitStack, list[Signal]]] = {}
    for line in sys.stdin:
        _limit(SECONDS)
        path, *request = json.loads(line)
        found, refused, content = None, "", b""
        try:
            with named(Path(path)):
                found, content = _answer(opened, path, *request)
        except InputError as error:
            refused = str(error)
        answer = {"found": found, "refused": refused, "bytes": len(content)}
        answers.write(json.dumps(answer, default=_jsonable, skipkeys=True).encode() + b"\n")
        answers.write(content)
        answers.flush()


def _limit(seconds: float) -> None:
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        end = int(used.ru_utime + used.ru_stime + seconds)
        for kind, value in ((resource.RLIMIT_CPU, end), (resource.RLIMIT_DATA, MEMORY)):
            _, hard = resource.getrlimit(kind)  # of the machine, which is not to be exceeded
            lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (lower, hard))


def _answer(opened: dict, path: str, number: int | str | None = None, index: Any = ()) -> tuple:
    """Return what is found in a file, and the bytes of a frame."""
    if number == "close" or number is None:
        opened.pop(path, (ExitStack(), None))[0].close()
    if number == "close":
        return None, b""
    if path not in opened:
        with ExitStack() as stack:
            found = readers.OPENERS[Path(path).suffix.lower()](Path(path), stack)
            opened[path] = stack.pop_all(), found
    found = opened[path][1]
    if number is None:
        return [_described(signal) for signal in found], b""
    _limit(SECONDS + math.prod(found[number].shape[-2:]) / PIXELS)
    frame = found[number].read(tuple(index))
    if frame.dtype.names:
        frame = structured_to_unstructured(frame)
    content = np.ascontiguousarray(frame).reshape(-1).view(np.uint8)
    return (frame.shape, frame.dtype.str), content.data


def _described(signal: Signal) -> list:
    kind = signal.dtype
    if kind.names and set(kind.names) <= COLOURS:
        kind = kind[0]
    axes = [[axis.scale, axis.unit, axis.navigate] for axis in signal.axes]
    return [signal.shape, kind.str if kind.kind in "biufc" else "V1", axes, signal.metadata]


def _jsonable(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)

"""A task for the tests of batch work, in a file of its own that worker processes load quickly."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from graphseg.batch import run as batch
from graphseg.batch.manifest import find_inputs
from graphseg.batch.run import Result

SIGKILL = getattr(signal, "SIGKILL", None)


@dataclass(frozen=True)
class Brightness:
    """A task without a network: the mean of each image, and the image itself."""

    version: int = 1
    seconds: float = 0.0
    killers: tuple[str, ...] = ()  # these files kill their process,
    once: str = ""  # and this one,
    mercy: str = ""  # until there is a file of this name
    begun: str = ""  # a file that is made when the work begins
    command: ClassVar[str] = "brightness"
    suffixes: ClassVar[tuple[str, ...]] = ("_mean.txt", "_copy.bin")

    def made_by(self):
        return {"version": self.version}

    def threads(self):
        return 2

    def work(self, micrograph, name):
        if self.begun:
            Path(self.begun).touch()
        time.sleep(self.seconds)
        mean = float(micrograph.image.mean())
        if name in self.killers or (name == self.once and not Path(self.mercy).exists()):
            Path(self.mercy or os.devnull).touch()
            os.kill(os.getpid(), SIGKILL)

        def write(path):
            path.write_text(f"{mean:.3f} {self.version}")
            return {"written": True}

        outputs = {
            "_mean.txt": write,
            "_copy.bin": lambda p: p.write_bytes(micrograph.image) and {},
        }
        warning = "It is dark." if mean < 20 else ""
        return Result({"mean": round(mean, 3)}, outputs, {".jpg": b"picture"}, [1000], warning)


def run(night, out, task=None, **options):
    """Do a task, `Brightness` by default, with all images of a folder."""
    return batch.run(
        task or Brightness(), find_inputs([night]).sources, out, progress=False, **options
    )

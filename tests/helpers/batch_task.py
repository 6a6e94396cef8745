"""A task for the tests of batch work, in a file of its own that worker processes load quickly."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from graphseg.batch import run as batch
from graphseg.batch.sources import find_sources
from graphseg.batch.stream import Job, Result

SIGKILL = getattr(signal, "SIGKILL", None)


@dataclass(frozen=True)
class Brightness:
    """A task without a network: the mean of each image, and the image itself."""

    version: int = 1
    seconds: float = 0.0
    killers: tuple[str, ...] = ()  # these files kill their process,
    once: str = ""  # and this one,
    mercy: str = ""  # until there is a file of this name
    command: ClassVar[str] = "brightness"
    suffixes: ClassVar[tuple[str, ...]] = ("_mean.txt", "_copy.bin")

    def made_by(self):
        return {"version": self.version}

    def lanes(self):
        return 2

    def predict(self, micrograph):
        time.sleep(self.seconds)
        return float(micrograph.image.mean())

    def finish(self, micrograph, prediction, name):
        if name in self.killers or (name == self.once and not Path(self.mercy).exists()):
            Path(self.mercy or os.devnull).touch()
            os.kill(os.getpid(), SIGKILL)

        def write(path):
            path.write_text(f"{prediction:.3f} {self.version}")
            return {"written": True}

        outputs = {
            "_mean.txt": write,
            "_copy.bin": lambda p: p.write_bytes(micrograph.image) and {},
        }
        warning = "It is dark." if prediction < 20 else ""
        return Result({"mean": round(prediction, 3)}, outputs, b"picture", warning)


def run(night, out, task=None, **options):
    """Do a task, `Brightness` by default, with all images of a folder."""
    pool = {key: options.pop(key) for key in ("workers", "scheduler") if key in options}
    job = Job(task or Brightness(), out, **options)
    return batch.run(job, find_sources([night]), progress=False, **pool)

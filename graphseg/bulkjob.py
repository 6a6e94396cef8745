"""What is done with each micrograph of a folder, where its results go, and what became of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from graphseg.bulkrecords import Ledger
from graphseg.micrographs import Micrograph

# Writes a file, given its path; if it returns a dict, those are further columns of the table.
Writer = Callable[[Path], object]


@dataclass(frozen=True, eq=False)
class Result:
    """What a task found in one micrograph.

    Attributes
    ----------
    row
        Columns of the table, text or numbers.
    outputs
        Suffix of each file to what writes it.
    thumbnail
        A picture as the content of a JPEG file, or None.
    warning
        One sentence for the user, or "".
    """

    row: dict[str, Any]
    outputs: dict[str, Writer] = field(default_factory=dict)
    thumbnail: bytes | None = None
    warning: str = ""


class Task(Protocol):
    """What is done with each micrograph. It is sent to the workers, so it is small."""

    command: str
    suffixes: tuple[str, ...]

    def made_by(self) -> dict:
        """Return model digest and options: what decides on the results besides the input."""

    def lanes(self) -> int:
        """Return how many micrographs are predicted at a time, each in a thread of its own."""

    def predict(self, micrograph: Micrograph) -> Any:
        """Run the network."""

    def finish(self, micrograph: Micrograph, prediction: Any, name: str) -> Result:
        """Do the rest, while the network has the next micrograph; results are called `name`."""


@dataclass(frozen=True)
class Job:
    """A task, where its results go, and whether what is in their place may be replaced."""

    task: Task
    folder: Path
    resume: bool = True
    overwrite: bool = False

    def ledger(self) -> Ledger:
        """Return the records of this job."""
        return Ledger(self.folder, self.task.command, self.task.made_by(), self.resume)


@dataclass(frozen=True)
class Outcome:
    """What became of one frame, or of a whole file where `frames` is 0.

    Attributes
    ----------
    shown
        The file.
    frame
        Counted from 0; None for the only one, or for a file that cannot be read.
    frames
        Of the file.
    error
        One sentence, or None.
    warning
        One sentence, or "".
    """

    shown: str
    frame: int | None = None
    frames: int = 1
    error: str | None = None
    warning: str = ""

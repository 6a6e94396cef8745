"""What every fault must lead to, and the limits of time and memory that it must keep."""

import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

from book.studies import __main__ as studies
from graphseg import cli
from graphseg.errors import InputError

SECONDS = 30
MEMORY = 2 * 2**30  # bytes that a case may take beyond what the process has
LONGEST = 600  # letters of a sentence


class Hang(BaseException):
    """A case took too long."""


@contextmanager
def limits():
    """Raise `Hang` after too long, and let memory beyond the limit be refused."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)

    def stop(*_):
        raise Hang(f"no end after {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def is_sentence(text):
    """Whether it is what a user should read: one line that ends, and no traceback."""
    text = text.strip()
    return 10 < len(text) < LONGEST and "\n" not in text and text[-1] in ".!" and "  " not in text


def outcome(call, right=None):
    """Return the sentence that a call is refused with, or None after a right answer.

    Whatever else it does is a fault: another exception, a hang, memory, a wrong answer.
    """
    try:
        with limits():
            answer = call()
    except InputError as error:
        assert is_sentence(str(error)), repr(str(error))
        return str(error)
    assert right is None or right(answer), "an answer, but a wrong one"
    return None


def faults(cases, refused=True):
    """Return what is wrong with calls, given as (name, call): nothing if all are right.

    With `refused` each of them must raise an InputError of one sentence.
    """
    wrong = []
    for name, call in cases:
        try:
            if outcome(call) is None and refused:
                wrong.append(f"{name}: taken")
        except (Exception, Hang) as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return wrong


def command(capsys, monkeypatch, *arguments):
    """Call ``graphseg``, or a study by its name, as a shell does.

    Returns (exit code, lines of stdout, lines of stderr).
    """
    named = {
        c.name or c.callback.__name__.replace("_", "-") for c in studies.app.registered_commands
    }
    chosen = studies.app if arguments and str(arguments[0]) in named else cli.app
    monkeypatch.setattr(sys, "argv", ["graphseg", *map(str, arguments)])
    code = 0
    try:
        with limits():
            cli.call(chosen)
    except SystemExit as stopped:
        code = stopped.code or 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out.splitlines(), said.err.replace("\r", "\n").splitlines()


def unfinished(folder):
    """Return the files below a folder that only a run in progress may have."""
    return [p for p in Path(folder).rglob("*") if p.suffix == ".tmp" or ".part" in p.name]

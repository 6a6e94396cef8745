"""The browser of the tests: that of the machine, else the pinned one, unpacked whole."""

import base64
import hashlib
import io
import json
import subprocess
import tarfile

import pytest

from book.tools import browser, fetch_javascript
from book.tools.errors import ToolError

COMPRESS = """
const zlib = require("zlib");
process.stdin.on("readable", () => { let c; while (c = process.stdin.read())
  process.stdout.write(zlib.brotliCompressSync(c)); });
"""


@pytest.fixture
def binaries(tmp_path, monkeypatch):
    """The only folder in which programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path, code):
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


def tarred(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(content)
            tar.addfile(information, io.BytesIO(content))
    return stream.getvalue()


def compressed(content):
    node, environment = fetch_javascript.node_tool("node")
    command = [node, "--eval", COMPRESS]
    return subprocess.run(
        command, input=content, env=environment, capture_output=True, check=True
    ).stdout


def test_the_browser_of_the_machine_comes_first(binaries, tmp_path):
    (tmp_path / "packages.json").write_text("{}")
    program(binaries / "chromium", 1)  # a stand-in, which does not run
    assert browser.find(tmp_path)[0] == str(tmp_path / "chromium")
    found = program(binaries / "google-chrome", 0)
    assert browser.find(tmp_path)[0] == found


def test_no_browser_is_one_sentence(binaries, tmp_path):
    with pytest.raises(ToolError, match="run make browser"):
        browser.find(tmp_path)


def test_a_machine_that_none_is_built_for_is_told_so(tmp_path, monkeypatch):
    monkeypatch.setattr(browser.platform, "machine", lambda: "riscv64")
    with pytest.raises(ToolError, match="install Chromium"):
        browser.fetch(tmp_path / "out")


def test_the_fetched_browser_is_unpacked_with_its_libraries_and_fonts(tmp_path, monkeypatch):
    members = {
        "package/LICENSE": b"free",
        "package/bin/chromium.br": compressed(b"#!/bin/sh\necho $LD_LIBRARY_PATH\n"),
        "package/bin/al2023.tar.br": compressed(tarred({"lib/libnss3.so": b"nss"})),
        "package/bin/fonts.tar.br": compressed(tarred({"fonts.conf": b"", "fonts/a.ttf": b"a"})),
    }
    archive = tmp_path / "chromium-1.tgz"
    archive.write_bytes(tarred(members))
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    pins = json.loads((fetch_javascript.HERE / "browser.json").read_text())
    [pinned] = pins.values()
    packages = {"some": pinned | {"version": "1", "integrity": f"sha512-{digest}"}}
    monkeypatch.setattr(fetch_javascript, "_pack", lambda name, folder: archive)
    monkeypatch.setattr(browser, "system_browser", lambda: None)
    folder = tmp_path / "out"
    browser.fetch(folder, packages)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        "LICENSE", "chromium", "lib/libnss3.so", "fonts.conf", "fonts/a.ttf", "packages.json"
    }  # fmt: skip
    assert f"<dir>{folder}/fonts</dir>" in (folder / "fonts.conf").read_text()
    path, environment = browser.find(folder)
    said = subprocess.run([path], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"{folder}/lib\n"


def test_a_damaged_part_is_one_sentence(tmp_path):
    (tmp_path / "chromium.br").write_bytes(b"not Brotli")
    with pytest.raises(ToolError, match=r"chromium\.br could not be unpacked: "):
        browser._decompress(tmp_path)


def test_the_browser_shows_text_and_draws():
    with browser.opened() as chromium:
        page = chromium.new_page()
        page.set_content("<p>−3 Å ± 95 %</p><canvas width=4 height=3></canvas>")
        assert page.inner_text("p") == "−3 Å ± 95 %"
        drawn = page.evaluate(
            "() => { const c = document.querySelector('canvas').getContext('2d');"
            " c.fillStyle = '#102030'; c.fillRect(0, 0, 2, 3);"
            " return [...c.getImageData(1, 1, 1, 1).data, ...c.getImageData(2, 1, 1, 1).data]; }"
        )
    assert drawn == [0x10, 0x20, 0x30, 255, 0, 0, 0, 0]


def test_the_pin_is_complete():
    [pinned] = json.loads((fetch_javascript.HERE / "browser.json").read_text()).values()
    algorithm, _, digest = pinned["integrity"].partition("-")
    assert algorithm == "sha512" and len(base64.b64decode(digest)) == 64

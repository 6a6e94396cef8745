"""Third-party JavaScript: only the pinned archive, only what is needed, only below its folder."""

import base64
import hashlib
import io
import json
import tarfile

import pytest

from book.tools import fetch_javascript
from book.tools.errors import ToolError


def archive(path, members):
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(text)
            tar.addfile(information, io.BytesIO(text.encode()))
    return path


def integrity(path):
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


@pytest.fixture
def package(tmp_path):
    members = {"package/a.js": "a", "package/fonts/b.woff": "b", "package/other.js": "no"}
    return archive(tmp_path / "some-1.0.tgz", members)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_only_what_is_kept_is_unpacked(package, tmp_path):
    keep = {"package/a.js": "some/a.js", "package/fonts/": "some/fonts/"}
    fetch_javascript.unpack(package, keep, tmp_path / "out")
    assert contents(tmp_path / "out") == {"some/a.js": "a", "some/fonts/b.woff": "b"}


def test_a_member_that_is_not_there_raises(package, tmp_path):
    with pytest.raises(ToolError, match=r"holds no package/missing\.js"):
        fetch_javascript.unpack(package, {"package/missing.js": "x.js"}, tmp_path / "out")


@pytest.mark.parametrize("name", ["package/fonts/../../../evil", "package/fonts//etc/evil"])
def test_members_cannot_leave_the_folder(name, tmp_path):
    wicked = archive(tmp_path / "wicked.tgz", {name: "evil"})
    keep = {"package/fonts/": ""}
    with pytest.raises(ToolError, match="unsafe name"):
        fetch_javascript.unpack(wicked, keep, tmp_path / "out")


def test_integrity_is_checked(package):
    pinned = integrity(package)
    fetch_javascript.check(package, pinned)
    package.write_bytes(package.read_bytes() + b"x")
    with pytest.raises(ToolError, match=r"some-1\.0\.tgz is not the pinned archive"):
        fetch_javascript.check(package, pinned)


def test_fetching_is_done_once(package, tmp_path, monkeypatch):
    asked = []

    def pack(name, folder):
        asked.append(name)
        return package

    monkeypatch.setattr(fetch_javascript, "_pack", pack)
    pinned = {"integrity": integrity(package), "keep": {"package/a.js": "a.js"}}
    packages = {"some": {"version": "1.0", **pinned}}
    for _ in range(2):
        fetch_javascript.fetch(tmp_path / "out", packages)
    assert asked == ["some@1.0"]
    assert contents(tmp_path / "out")["a.js"] == "a"
    fetch_javascript.fetch(tmp_path / "out", {"some": {"version": "1.1", **pinned}})
    assert asked == ["some@1.0", "some@1.1"]


def test_a_failing_download_is_tried_again_and_reported(tmp_path, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho x >> tries\necho 'npm error: no such thing' >&2\nexit 1\n")
    npm.chmod(0o755)
    found = str(npm), {"PATH": "/usr/bin:/bin"}
    monkeypatch.setattr(fetch_javascript, "node_tool", lambda name: found)
    monkeypatch.setattr(fetch_javascript.time, "sleep", lambda seconds: None)
    with pytest.raises(ToolError, match=r"could not download some@1: npm error: no such thing"):
        fetch_javascript._pack("some@1", tmp_path)
    assert len((tmp_path / "tries").read_text().split()) == fetch_javascript.TRIES


def test_every_pin_is_complete():
    pins = json.loads((fetch_javascript.HERE / "javascript.json").read_text())
    names = {"mathjax", "@jupyter-widgets/html-manager", "onnxruntime-web", "geotiff", "axe-core"}
    assert set(pins) == names
    for pinned in pins.values():
        algorithm, _, digest = pinned["integrity"].partition("-")
        assert algorithm == "sha512"
        assert len(base64.b64decode(digest)) == 64
        assert pinned["keep"]

"""What a run leaves beside its results: TOML that comes back, a log, and runs that are repeated."""

import hashlib
import json
import tomllib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from graphseg.batch.manifest import Manifest
from graphseg.batch.run import read_run, toml_text, write_run
from graphseg.datasets import load
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest

FAST = ("--no-test-time-augmentation", "--device", "cpu")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
TABLE = st.recursive(
    st.dictionaries(TEXT, PLAIN | st.lists(PLAIN)),
    lambda inner: st.dictionaries(TEXT, PLAIN | inner | st.lists(inner, min_size=1)),
)


@given(TABLE)
def test_toml_comes_back(table):
    assert tomllib.loads(toml_text(table)) == table


def test_toml_has_no_none_and_no_bytes_that_are_no_text():
    assert tomllib.loads(toml_text({"a": None, "b": 1})) == {"b": 1}
    name = b"night/\xff.dm4".decode("utf-8", "surrogateescape")
    assert tomllib.loads(toml_text({"file": name})) == {"file": r"night/\xff.dm4".replace(
        r"\xff", r"\udcff")}  # fmt: skip


@pytest.fixture
def night(tmp_path):
    folder = tmp_path / "night"
    folder.mkdir()
    for number, image in enumerate(load.load_simulated_sample().images[:2]):
        tifffile.imwrite(folder / f"{number}.tif", (255 * image[:128, :128]).astype(np.uint8))
    (folder / "notes.txt").write_text("of the user")
    return folder


def part(path, command="segment"):
    return tomllib.loads(path.read_text(encoding="utf-8"))[command]


def masks(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*_mask.*"))
    }


def test_a_run_says_what_it_was_and_keeps_a_log(run, night, tmp_path):
    (night / "broken.dm4").write_bytes(b"no image")
    command = ("segment", "night", "--output", "out", "--masks", "png", "--pixel-size", 0.4, *FAST)
    code, out, _ = run(*command)
    assert code == 2 and "run.toml has all" in out
    found = part(tmp_path / "out" / "run.toml")
    assert found["directory"] == str(tmp_path) and found["begun"] <= found["ended"]
    assert found["finished"] == 2 and len(found["failed"]) == 1 and "broken" in found["failed"][0]
    options = found["options"]
    assert (options["images"], options["output"], options["masks"]) == (["night"], "out", "png")
    assert options["pixel_size"] == 0.4 and options["test_time_augmentation"] is False
    assert found["skipped"] == [
        {"file": "night/notes.txt", "reason": "its format, .txt, is not a known one"}
    ]
    assert found["made_by"]["model"] == weights_digest(pretrained.FOLDER / "default.safetensors")
    assert found["versions"].keys() > {"graphseg", "torch", "numpy", "python"}
    lines = (tmp_path / "out" / "run.log").read_text(encoding="utf-8").splitlines()
    assert "INFO segment begins: 3 files, 0 images finished" in lines[0]
    assert "INFO segment ends: 2 images finished, 1 failed" in lines[-1]
    assert sum("done" in line for line in lines) == 2
    assert sum("ERROR night/broken.dm4 is not a readable" in line for line in lines) == 1
    assert run(*command)[0] == 2  # the log goes on
    again = (tmp_path / "out" / "run.log").read_text(encoding="utf-8").splitlines()
    assert again[: len(lines)] == lines and "2 images finished" in again[len(lines)]


def test_a_run_is_repeated_from_its_file_bit_for_bit(run, night, tmp_path, monkeypatch):
    options = ("--masks", "png", "--pixel-size", 0.42, *FAST)
    assert run("segment", "night", "--output", "out", *options)[0] == 0
    expected = masks(tmp_path / "out")
    assert len(expected) == 2
    assert run("segment", "--config", "out/run.toml", "--output", "again")[0] == 0
    assert masks(tmp_path / "again") == expected
    first, second = (part(tmp_path / name / "run.toml") for name in ("out", "again"))
    assert first["options"] | {"output": "again"} == second["options"]
    # The same command again has nothing to do, and from another folder paths lead to the same.
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*_mask.png")}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, out, _ = run_here(run, monkeypatch, tmp_path / "elsewhere",
                            "segment", "--config", "../out/run.toml")  # fmt: skip
    assert code == 0 and "2 images done" in out
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*_mask.png")} == written


def run_here(run, monkeypatch, folder, *arguments):
    monkeypatch.chdir(folder)
    return run(*arguments)


def test_the_command_line_goes_before_the_file(run, night, tmp_path):
    assert run("segment", "night", "--output", "out", "--masks", "png", *FAST)[0] == 0
    command = ("segment", "--config", "out/run.toml", "night/0.tif", "--output", "o")
    assert run(*command, "--masks", "tif", "--overlays")[0] == 0
    assert {p.name for p in (tmp_path / "o").glob("0*")} == {"0_mask.tif", "0_overlay.png"}
    assert not list((tmp_path / "o").glob("1*"))


def test_what_destroys_is_said_each_time(run, night, tmp_path):
    command = ("segment", "night", "--output", "out", *FAST)
    assert run(*command)[0] == 0
    assert run(*command, "--pixel-size", 0.4, "--overwrite")[0] == 0
    before = masks(tmp_path / "out")
    assert part(tmp_path / "out" / "run.toml")["options"]["overwrite"] is True
    text = (tmp_path / "out" / "run.toml").read_text(encoding="utf-8")
    changed = ("segment", "--config", "out/run.toml", "--pixel-size", 0.5)
    code, _, err = run(*changed)
    assert code == 2 and "--overwrite" in err and masks(tmp_path / "out") == before
    # A run that was refused has not been one.
    assert (tmp_path / "out" / "run.toml").read_text(encoding="utf-8") == text
    assert run(*changed, "--overwrite")[0] == 0


def test_commands_in_one_folder_have_a_part_each(run, night, tmp_path):
    for command in ("segment", "sort", "segment"):
        assert run(command, "night", "--output", "out", *FAST)[0] == 0
    assert list(tomllib.loads((tmp_path / "out" / "run.toml").read_text())) == ["segment", "sort"]
    assert run("sort", "--config", "out/run.toml", "--output", "o")[0] == 0
    assert (tmp_path / "o" / "sort.csv").exists() and not (tmp_path / "o" / "segment.csv").exists()


def test_a_file_that_was_edited_is_kept(run, night, tmp_path):
    command = ("sort", "night", "--output", "out", *FAST)
    assert run(*command)[0] == 0
    path = tmp_path / "out" / "run.toml"
    for number in (1, 2):
        edited = path.read_text(encoding="utf-8") + "# a good night\n"
        path.write_text(edited, encoding="utf-8")
        code, _, err = run(*command)
        assert code == 0 and f"is now called run_{number}.toml" in err
        assert (tmp_path / "out" / f"run_{number}.toml").read_text(encoding="utf-8") == edited
    code, _, err = run(*command)
    assert code == 0 and "now called" not in err
    path.write_text("no TOML = = of somebody")
    assert run(*command)[0] == 0 and part(path, "sort")["finished"] == 2
    assert (tmp_path / "out" / "run_3.toml").read_text() == "no TOML = = of somebody"


def test_another_network_of_the_same_name_is_told(run, night, tmp_path):
    assert run("sort", "night", "--output", "out", *FAST)[0] == 0
    path = tmp_path / "out" / "run.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('model = "', 'model = "0'), encoding="utf-8")
    command = ("sort", "--config", path, "--output", "o")
    assert "network is not the one of" in run(*command)[2]
    assert "network is not" not in run(*command, "--overwrite", "--model", "blurred")[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read"),
        ("a = = 1", "is not valid TOML"),
        ("[sort.options]\nimages = ['night']", r"has no [segment.options]"),
        ("segment = 1", r"has no [segment.options]"),
        ("[segment.options]\nevil = 1", "unknown option evil"),
        ("[segment.options]\nimages = 'nowhere'\noutput = 'o'", "nowhere"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_sentence(run, night, tmp_path, text, message):
    if text is not None:
        (tmp_path / "mine.toml").write_text(text)
    code, _, err = run("segment", "--config", "mine.toml", "--output", "o", *FAST)
    assert code == 2 and message in err and "Traceback" not in err
    assert not (tmp_path / "o" / "run.toml").exists() or "nowhere" in err


def test_a_short_file_of_ones_own_is_enough(run, night, tmp_path):
    (tmp_path / "mine.toml").write_text(
        "[sort.options]\nimages = 'night'\noutput = 'o'\ntest_time_augmentation = false\n"
    )
    code, out, _ = run("sort", "--config", "mine.toml")
    assert code == 0 and "2 images done" in out
    (tmp_path / "mine.toml").write_text("[sort.options]\nimages = ['night']\nworkers = 'many'\n")
    code, _, err = run("sort", "--config", "mine.toml", "--output", "p")
    assert code == 2 and "--workers" in err and "Traceback" not in err


def test_a_killed_run_leaves_what_it_was(tmp_path):
    """What is written when it begins is whole, and says that it has not ended."""
    about = {"options": {"images": ["night"]}, "begun": "now"}
    one = Manifest(tmp_path, "sort", {"model": "a", "suffixes": ["x"]})
    with one.writing():
        write_run(one, about)
        found = part(tmp_path / "run.toml", "sort")
        assert found | about == found and "ended" not in found
        assert found["made_by"] == {"model": "a", "suffixes": ["x"]}
    assert json.loads(json.dumps(found)) == found
    assert read_run(tmp_path / "run.toml", "sort")["made_by"] == found["made_by"]

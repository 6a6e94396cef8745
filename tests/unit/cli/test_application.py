"""The command line as a user meets it: results, one-sentence errors, exit codes, nothing lost."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from graphseg import __version__
from graphseg.batch.reduction import Coarsening
from graphseg.cli import application
from graphseg.errors import InputError
from graphseg.evaluation import methods


@pytest.fixture
def labelled_folder(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(3):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, 8:20] = 255
        image = generator.integers(0, 120, mask.shape) + (mask // 2)
        Image.fromarray(image.astype(np.uint8)).save(folder / f"image_{index}.png")
        Image.fromarray(mask).save(folder / f"image_{index}_LABEL.png")
    return folder


SMALL = (
    "--from", "nothing", "--set", "features=4", "--set", "levels=2", "--set", "epochs=2",
    "--set", "device=cpu", "--folds", 0,
)  # fmt: skip


def test_evaluate_writes_a_record_that_can_be_continued(run):
    command = (
        "evaluate",
        "no-lattice",
        "--source",
        "simulated",
        "--folds",
        2,
        "--output",
        "r.json",
    )
    code, out, _ = run(*command)
    assert code == 0 and "jaccard" in out
    with open("r.json") as file:
        record = json.load(file)
    assert record["name"] == "no-lattice" and len(record["results"]) == 2
    assert record["data"]["source"] == "simulated"
    assert run(*command)[0] == 0


def test_train_then_segment(run, labelled_folder, tmp_path):
    code, out, _ = run("train", labelled_folder, "--output", "w.safetensors", *SMALL)
    assert code == 0 and "Not cross-validated" in out
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {"w.safetensors", "w_card.json"}
    images = sorted(labelled_folder.glob("image_?.png"))
    command = ("segment", *images, "--model", "w.safetensors", "--output", "masks")
    assert run(*command, "--masks", "png")[0] == 0
    mask = np.array(Image.open("masks/image_0_mask.png"))
    assert mask.shape == (32, 32) and mask.dtype == bool


def test_existing_weights_are_kept(run, labelled_folder):
    run("train", labelled_folder, "--output", "w.safetensors", *SMALL)
    code, _, err = run("train", labelled_folder, "--output", "w.safetensors", *SMALL)
    assert code == 2 and "exists already" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "nothing", "--output", "r.json"), "unknown"),
        (("evaluate", "unet", "--set", "epoch=3", "--output", "r.json"), "no parameter"),
        (("evaluate", "unet", "--set", "epochs", "--output", "r.json"), "NAME=VALUE"),
        (("train", "nowhere", "--output", "w.safetensors"), "nowhere"),
        (("segment", "a.png", "--model", "none.safetensors", "--output", "m"), "no weight file"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, arguments, message):
    code, _, err = run(*arguments)
    assert code == 2 and message in err and "Traceback" not in err
    assert err.strip().count("\n") == 0


def test_every_method_can_be_made_and_unknown_ones_are_refused():
    for name in methods.METHODS:
        assert methods.make(name).get_params()
    assert methods.make("unet", epochs=3).epochs == 3
    with pytest.raises(InputError, match="unknown"):
        methods.make("otsu")


def test_search_chooses_on_inner_folds(run):
    code, out, _ = run(
        "search", "no-lattice", "--source", "simulated", "--folds", 2, "--inner-folds", 2,
        "--grid", "smoothing=[2.0, 6.0]", "--only", 1, "--set", "progress=False",
        "--output", "s.json",
    )  # fmt: skip
    assert code == 0 and "smoothing" in out
    with open("s.json") as file:
        record = json.load(file)
    assert len(record["searches"]) == 1 and record["only"] == [1]
    code, _, err = run("search", "no-lattice", "--grid", "smoothing", "--output", "t.json")
    assert code == 2 and "NAME=VALUE" in err


def test_help_waits_for_no_library_that_computes():
    code = "import sys, graphseg.cli.application; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "scipy", "sklearn", "matplotlib", "numpy"} & set(done.stdout.split())


def test_the_margin_of_the_help_is_that_of_the_reduction():
    assert Coarsening.margin == application.MARGIN


@pytest.mark.parametrize("command", ["segment", "analyse", "sort", "reduce", "train", "export"])
def test_help_keeps_its_square_brackets_and_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0 and f"\n    graphseg {command} " in out  # an example, on a line of its own
    assert "graphseg." not in out.replace("graphseg.unet", "")  # what is left of graphseg[onnx]


def python_m(*arguments, **environment):
    command = [sys.executable, "-m", "graphseg", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout


def test_the_short_and_the_long_option_show_the_same_help(run):
    for command in ((), *((c.callback.__name__,) for c in application.app.registered_commands)):
        code, short, _ = run(*command, "-h")
        assert code == 0 and short.startswith("Usage: graphseg ")
        assert short == run(*command, "--help")[1]


def test_the_version_is_printed_alone(run):
    assert run("--version") == (0, f"graphseg {__version__}\n", "")


def test_python_m_is_the_same_command_line(run):
    assert python_m("--version") == run("--version")[1]
    assert python_m("-h") == run("-h")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell_can_be_shown_and_completes(shell, tmp_path):
    # Without the detection the shell is named, which tests can do in whatever started them.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = python_m("--show-completion", shell, **named)
    assert f"_GRAPHSEG_COMPLETE=complete_{shell}" in script and "python" not in script
    asked = {"_GRAPHSEG_COMPLETE": f"complete_{shell}"}
    asked |= {"COMP_WORDS": "graphseg se", "COMP_CWORD": "1"}
    asked |= {"_TYPER_COMPLETE_ARGS": "graphseg se", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    offered = python_m(**asked)
    assert "segment" in offered and "sort" not in offered


def test_completion_is_installed_for_the_command_whoever_calls_it(tmp_path):
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    said = python_m("--install-completion", "bash", **named)
    (script,) = tmp_path.rglob("graphseg.sh")
    assert str(script) in said and "_GRAPHSEG_COMPLETE" in script.read_text(encoding="utf-8")
    assert str(script) in (tmp_path / ".bashrc").read_text(encoding="utf-8")

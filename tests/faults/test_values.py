"""Impossible arrays, parameters and command lines."""

import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from book.tools import profiles
from book.tools.dm4 import write_dm4
from book.tools.errors import ToolError
from graphseg import metrics, preprocessing
from graphseg.batch import ranking, reduction
from graphseg.batch.reduction import Coarsening
from graphseg.datasets import stack as labelclasses
from graphseg.evaluation import methods
from graphseg.structure import atoms, classes, lattice, orientation
from graphseg.unet import inference, pretrained
from graphseg.unet.segmenter import UNetSegmenter
from tests.faults import corpus_values, guard


def tiny(name, **changes):
    """Return a method with what makes it fast, as far as it has such parameters."""
    fast = {"levels": 2, "features": 2, "epochs": 1, "steps": 1, "rounds": 1, "trees": 2,
            "pixels": 20, "leaf_pixels": 2, "folds": 2, "progress": False}  # fmt: skip
    known = methods.METHODS[name]().get_params()
    return methods.make(name, **({k: v for k, v in fast.items() if k in known} | changes))


@pytest.fixture(scope="module")
def stack():
    random = np.random.default_rng(0)
    images = random.normal(size=(2, 64, 64))
    masks = np.zeros(images.shape, bool)
    masks[:, 10:40, 10:40] = True
    return images + 3 * masks * random.normal(size=images.shape), masks


NAMES = ("bragg", "adaptive", "classifier", "unet")


@pytest.mark.parametrize("name", NAMES)
def test_methods_refuse_what_is_no_stack(name, stack):
    images, masks = stack
    fitted = tiny(name).fit(images, masks)
    for case, given in corpus_values.STACKS.items():
        for call in (fitted.predict, fitted.predict_proba, lambda x: tiny(name).fit(x, masks)):
            assert guard.outcome(lambda call=call, given=given: call(given)), case
    for case, given in corpus_values.MASKS.items():
        if not (name == "bragg" and given is None):  # which needs no labels
            said = guard.outcome(lambda given=given: tiny(name).fit(images, given))
            assert said, case


@pytest.mark.parametrize("name", NAMES)
def test_methods_take_unusual_stacks(name, stack):
    fitted = tiny(name).fit(*stack)
    for given in corpus_values.UNUSUAL.values():
        shape = np.shape(given)
        guard.outcome(lambda given=given: fitted.predict(given),
                      lambda m, s=shape: m.shape == s and m.dtype == bool)  # fmt: skip
        assert guard.outcome(
            lambda given=given: fitted.predict_proba(given),
            lambda p, s=shape: p.shape == s and 0 <= p.min() <= p.max() <= 1,
        ) is None  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_methods_refuse_parameters_or_use_them(name, stack):
    """Every parameter of every method with every impossible value."""
    names_of_files = ("checkpoint", "memory", "initial")
    taken, cases = 0, []
    for parameter in methods.METHODS[name]().get_params():
        for value in corpus_values.VALUES:
            if parameter in names_of_files and isinstance(value, str | bytes):
                continue
            call = lambda p=parameter, v=value: tiny(name, **{p: v}).fit(*stack)  # noqa: E731
            cases.append((f"{parameter}={value!r}", call))
    assert guard.faults(cases, refused=False) == []
    taken = sum(guard.outcome(call) is None for _, call in cases[:: len(cases) // 20])
    assert taken < 10


FUNCTIONS = {
    "lattice": lattice.measure_lattice,
    "orientation": orientation.map_orientation,
    "classes": lambda x: classes.classify(x, np.zeros(np.shape(x), bool)),
    "atoms": lambda x: atoms.find_atoms(x, 6.0),
    "flat field": preprocessing.flat_field,
    "standardise": preprocessing.standardise,
    "resize": lambda x: preprocessing.resize_area(x, (16, 16)),
    "scale": lambda x: inference.find_scale(x, None, (0.3, 0.7)),
}
PLANES = {
    "none": None, "number": 5, "text": "a", "objects": np.full((64, 64), None, object),
    "line": np.zeros(64), "stack": np.zeros((2, 2, 64, 64)), "empty": np.zeros((0, 64)),
    "nan": np.full((64, 64), np.nan), "infinite": np.full((64, 64), np.inf),
    "complex": np.zeros((64, 64), complex), "words": np.full((64, 64), "a"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_one_image_refuse_what_is_none(name):
    cases = [(c, lambda given=g: FUNCTIONS[name](given)) for c, g in PLANES.items()]
    cases = [case for case in cases if (name, case[0]) != ("standardise", "stack")]  # it takes them
    assert guard.faults(cases) == []


def test_other_functions_refuse_impossible_values(tmp_path, stack):
    images, masks = stack
    shape = (8, 8)
    bad = (
        lambda: reduction.write_reduced(tmp_path / "a.h5", images, masks),  # 64 bits
        lambda: reduction.write_reduced(tmp_path / "a.h5", images.astype("f4"), masks[:1]),
        lambda: reduction.write_reduced(tmp_path / "a.h5", images.astype("f4"), masks, names=["a"]),
        lambda: Coarsening(mode="evil"),
        lambda: Coarsening(margin=float("nan")),
        lambda: Coarsening(block=0),
        lambda: Coarsening(classes=("evil",)),
        lambda: labelclasses.LabelClasses.of([0.5, 1]),
        lambda: labelclasses.LabelClasses.of([]),
        lambda: labelclasses.LabelClasses.of([0, 10**9]),
        lambda: write_dm4(tmp_path / "a.dm4", np.zeros((0, 3), np.uint8)),
        lambda: pretrained.load("../../evil"),
        lambda: pretrained.load("default/../default"),
        lambda: UNetSegmenter.load(tmp_path),
        lambda: metrics.scores(np.zeros((1, 4), int), "evil"),
        lambda: methods.make("evil"),
        lambda: methods.make("unet", evil=1),
        lambda: ranking.rank(["a"], [0.5, 0.6], [(0, 1)]),
        lambda: inference.find_scale(np.zeros(shape), float("nan"), (0.3, 0.7)),
        lambda: lattice.measure_lattice(images[0], pixel_size=-1),
        lambda: lattice.measure_lattice(images[0], masks[0][:3]),
        lambda: lattice.measure_lattice(images[0], ~np.zeros((64, 64), bool)),
        lambda: atoms.find_atoms(images[0], 6.0, ~np.zeros((64, 64), bool)),
        lambda: atoms.find_atoms(images[0], -1.0),
        lambda: atoms.find_bonds(np.zeros((3, 2)), float("nan")),
        lambda: preprocessing.resize_area(images[0], (0, 0)),
        lambda: preprocessing.flat_field(images[0], (-1, 2)),
    )
    assert guard.faults(enumerate(bad)) == []
    assert not list(tmp_path.iterdir())


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", noise)
    return tmp_path


def test_impossible_command_lines_are_refused(workplace, capsys, monkeypatch):
    before, wrong = sorted(workplace.rglob("*")), []
    for line in corpus_values.COMMANDS:
        words = shlex.split(line.format(image="image.tif", folder="folder"))
        try:
            code, _, told = guard.command(capsys, monkeypatch, *words)
        except (Exception, guard.Hang) as error:
            wrong.append(f"{line}: {error!r}")
            continue
        boxed = any("Usage:" in one for one in told)  # what typer says of options
        if code != 2 or not (boxed or guard.is_sentence(told[-1])):
            wrong.append(f"{line}: {code} {told}")
        if left := [p for p in workplace.rglob("*.*") if p not in before and p.is_file()]:
            wrong.append(f"{line}: left {left}")
            shutil.rmtree(workplace / "out", ignore_errors=True)
    assert wrong == []


def test_what_is_missing_is_reported_in_the_table(workplace, capsys, monkeypatch):
    for command in ("segment", "sort", "analyse", "reduce"):
        code, _, told = guard.command(capsys, monkeypatch, command, "missing.dm4", "image.tif",
                                      "--output", command,
                                      "--no-test-time-augmentation")  # fmt: skip
        assert code == 2 and "1 of 2 images failed" in told[-1]
        assert "does not exist" in (workplace / command / f"{command}.csv").read_text()


def test_impossible_settings_are_refused(workplace, capsys, monkeypatch):
    for name in ("a", "b", "c"):
        image = np.random.default_rng(ord(name)).integers(0, 255, (64, 64)).astype(np.uint8)
        tifffile.imwrite(workplace / "folder" / f"{name}.tif", image)
        label = np.zeros((64, 64), np.uint8)
        label[10:30] = 255
        tifffile.imwrite(workplace / "folder" / f"{name}_LABEL.tif", label)
    before, wrong = sorted(workplace.rglob("*")), []
    for setting in corpus_values.SETTINGS:
        command = ("train", "folder", "--output", "w.safetensors", "--from", "nothing",
                   "--folds", "0", "--set", setting)  # fmt: skip
        try:
            code, _, told = guard.command(capsys, monkeypatch, *command)
        except (Exception, guard.Hang) as error:
            wrong.append(f"{setting[:50]}: {error!r}")
            continue
        if code != 2 or not guard.is_sentence(told[-1]):
            wrong.append(f"{setting[:50]}: {code} {told[-1:]}")
        left = [p for p in workplace.rglob("*") if p.is_file() and p not in before]
        if left:
            wrong.append(f"{setting[:50]}: left {left}")
    assert wrong == []


def test_profiles_are_not_believed(tmp_path):
    path = tmp_path / "profiles.yml"
    for text in ("", "[]", "evil: 3", "evil: {one: 3}", "!!python/object/apply:os.system [true]",
                 "a: &a [*a]", "{", "\x00", "evil: [1, 2]"):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ToolError):
            profiles.profile_parameters("one", "evil", path)


def test_a_real_process_says_the_same(workplace):
    """Output that cannot be printed, and a file that cannot be read, without any pytest around."""
    program = [sys.executable, "-c", "from graphseg.cli import main; main()"]
    cases = (("thresholds",), ("segment", "folder", "--output", "out"), ("segment",))
    for words in cases:
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [*program, *words], stdout=full, stderr=subprocess.PIPE, text=True
            )
        assert done.returncode == 2 and "Traceback" not in done.stderr
    assert not (workplace / "out").exists()

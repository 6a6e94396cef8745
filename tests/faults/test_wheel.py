"""The wheel, installed where nothing is but what it asks for: no checkout, none of the extras.

``GRAPHSEG_WHEEL`` names a wheel that is already built, as the release does; without it one is built
from this checkout. Neither needs a network: what the wheel asks for is linked from the environment
of the tests.
"""

import csv
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from PIL import Image

from book.tools.dm4 import write_dm4
from book.tools.fold_networks import FOR_THE_BOOK
from graphseg import __version__
from graphseg.datasets import load

NOT_IN_A_WHEEL = ("book", "tests", "notebooks", "data", "build")
FAST = ("--no-test-time-augmentation", "--device", "cpu")
TINY = ("--from", "nothing", "--folds", "0", "--set", "features=4", "--set", "levels=2",
        "--set", "epochs=1", "--set", "device=cpu")  # fmt: skip


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The wheel of this version, built from a copy so that the checkout stays as it is."""
    if given := os.environ.get("GRAPHSEG_WHEEL"):
        return Path(given).resolve()
    source, built = (tmp_path_factory.mktemp(name) for name in ("source", "built"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CITATION.cff"):
        shutil.copy(root / name, source)
    for name in ("graphseg", "book", "tests", "notebooks"):
        unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
        shutil.copytree(root / name, source / name, ignore=unwanted)
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    pip(*build, "--wheel-dir", built, source)
    (found,) = built.glob("*.whl")
    return found


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def closure(requirements):
    """Names of the distributions that some requirements bring, directly or not."""
    waiting, seen = [Requirement(line) for line in requirements], set()
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            key = (canonicalize_name(wanted.name), extra)
            if key not in seen and (wanted.marker is None or wanted.marker.evaluate()):
                seen.add(key)
                for line in importlib.metadata.requires(wanted.name) or ():
                    further = Requirement(line)
                    if further.marker is None or further.marker.evaluate({"extra": extra}):
                        further.marker = None
                        waiting.append(further)
    return {name for name, _ in seen}


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh virtual environment with the wheel and links to what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (installed,) = importlib.metadata.distributions(name="graphseg", path=[str(packages)])
    for name in closure(line for line in installed.requires if "extra ==" not in line):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():  # folders that several distributions share
                link.symlink_to(distribution.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def call(environment, tmp_path_factory):
    """Run a program of that environment in a folder that is in no checkout."""
    place = tmp_path_factory.mktemp("night")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GRAPHSEG"))}

    def run(program, *arguments, code=0):
        command = [environment / "bin" / program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, env=clean | {"HOME": str(place)}
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    run.place = place
    return run


@pytest.fixture(scope="module")
def sample():
    return load.load_stack("simulated")


@pytest.fixture(scope="module")
def night(call, sample):
    """Two DM4 files with pixel sizes, which the package reads without any extra."""
    folder = call.place / "night"
    folder.mkdir()
    for index in (0, 1):
        size = sample.pixel_size[index]
        write_dm4(folder / f"{index:04d}.dm4", sample.images[index], pixel_size=size)
    return folder


@pytest.fixture(scope="module")
def masks(call, night):
    said = call("graphseg", "segment", night, "--output", "masks", *FAST)
    assert said.startswith("2 images done")
    return call.place / "masks"


@pytest.fixture(scope="module")
def structures(call, night):
    said = call("graphseg", "analyse", night, "--output", "atoms", *FAST)
    assert said.startswith("2 images done")
    return call.place / "atoms"


def jaccard(first, second):
    return (first & second).sum() / (first | second).sum()


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_wheel_holds_the_package_and_nothing_else(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    names = {info.filename for info in infos if not info.is_dir()}
    own = {name for name in names if name.startswith("graphseg/")}
    rest = {name.partition("/")[0] for name in names - own}
    assert rest == {f"graphseg-{__version__}.dist-info"}
    package = (path for path in (root / "graphseg").rglob("*") if path.is_file())
    wanted = {
        path.relative_to(root).as_posix()
        for path in package
        if "__pycache__" not in path.parts and path.suffix != ".tmp"
    }
    # Networks that only the book asks for stay in the repository.
    books = {name for name in wanted if FOR_THE_BOOK.match(Path(name).stem)}
    assert len(books) == 6 and own == wanted - books and "graphseg/py.typed" in own
    networks = (info.file_size for info in infos if info.filename.endswith(".safetensors"))
    assert sum(networks) <= 12e6


def test_nothing_else_can_be_imported_there(call, environment, root):
    absent = (
        *NOT_IN_A_WHEEL, "IPython", "abtem", "ase", "distributed", "ipywidgets",
        "onnx", "onnxruntime", "onnxscript", "pytest", "traitlets", "zarr",
    )  # fmt: skip
    code = (
        "import importlib.util, sys, graphseg; print(graphseg.__file__); print(*sys.path);"
        f"print(*[name for name in {absent} if importlib.util.find_spec(name)])"
    )
    file, path, found = call("python", "-c", code).split("\n")[:3]
    assert Path(file).is_relative_to(environment) and str(root) not in path
    assert found == ""
    assert call("graphseg", "--version") == f"graphseg {__version__}\n"


def test_segment_writes_masks(masks, sample):
    for index, row in enumerate(rows(masks / "segment.csv")):
        assert float(row["pixel_size"]) == pytest.approx(sample.pixel_size[index], abs=1e-5)
        mask = tifffile.imread(masks / f"{index:04d}_mask.tif") == 255
        assert jaccard(mask, sample.masks[index]) > 0.6


def test_analyse_writes_structures_without_ase(structures):
    paths = sorted(structures.glob("*_atoms.xyz"))
    for row, path in zip(rows(structures / "analyse.csv"), paths, strict=True):
        number, comment, *atoms = path.read_text(encoding="utf-8").splitlines()
        assert int(number) == len(atoms) == int(row["atoms"]) > 100
        assert comment.startswith('Lattice="')


def test_sort_ranks(call, night):
    said = call("graphseg", "sort", night, "--output", "sorted", *FAST)
    assert said.startswith("2 images done")
    clean = [float(row["clean_fraction"]) for row in rows(call.place / "sorted" / "sort.csv")]
    assert len(clean) == 2 and clean == sorted(clean, reverse=True)


def test_train_makes_weights_that_segment_takes(call, night, sample):
    folder = call.place / "labels"
    folder.mkdir()
    for index in range(3):
        grey = np.clip(sample.images[index] * 255, 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{index}.png")
        label = sample.masks[index].astype(np.uint8) * 255
        Image.fromarray(label).save(folder / f"{index}_LABEL.png")
    call("graphseg", "train", folder, "--output", "own.safetensors", *TINY)
    assert (call.place / "own_card.json").is_file()
    own = ("--model", "own.safetensors", "--output", "own")
    assert call("graphseg", "segment", night, *own, *FAST).startswith("2 images done")


PUBLIC = """
import numpy as np
import graphseg as gs

micrograph = gs.read("night/0000.dm4")
result = gs.segment(micrograph, test_time_augmentation=False, device="cpu")
assert result.pixel_size_from == "file" and result.probability.dtype == np.float32
result.save("public.tif")
result.plot().figure.savefig("public.png")
structure = gs.analyse(micrograph, result)
print(len(structure.atoms))
assert len(gs.load_stack("simulated")) == 24
"""


def test_the_public_calls_give_what_the_commands_give(call, masks, structures):
    atoms = call("python", "-c", PUBLIC)
    public = tifffile.imread(call.place / "public.tif")
    np.testing.assert_array_equal(public, tifffile.imread(masks / "0000_mask.tif"))
    assert int(atoms) == int(rows(structures / "analyse.csv")[0]["atoms"])
    assert (call.place / "public.png").stat().st_size > 1000


def test_what_needs_an_extra_names_it(call, night):
    (call.place / "series.zarr").mkdir()
    for extra, command in {
        "onnx": ("export", "default", "--output", "default.onnx"),
        "dask": ("segment", night, "--output", "d", "--scheduler", "tcp://localhost:8786"),
        "zarr": ("segment", "series.zarr", "--output", "z"),
    }.items():
        said = call("graphseg", *command, code=2)
        assert f'pip install "graphseg[{extra}]"' in said


def test_the_image_for_docker_is_built_from_what_it_copies(root, wheel, call, tmp_path):
    """Its steps as far as they need no docker: the wheel, the extras, the command."""
    text = (root / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    context = (root / ".dockerignore").read_text(encoding="utf-8").split()
    assert context[0] == "*" and {f"!{name}" for name in names} <= set(context)
    source, built = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    for name in names:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, source / name)
    (step,) = re.findall(r"^RUN pip (wheel .*) \S+ \.$", text, re.MULTILINE)
    offline = ("--quiet", "--no-build-isolation", "--no-index")
    pip(*step.split(), built, *offline, source)
    (found,) = built.glob("graphseg-*.whl")
    with zipfile.ZipFile(found) as one, zipfile.ZipFile(wheel) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        metadata = one.read(next(n for n in one.namelist() if n.endswith("METADATA"))).decode()
    wanted = re.search(r"graphseg-\*\.whl\)\[([\w,]+)\]", text)[1].split(",")
    assert set(wanted) <= set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.MULTILINE))
    python = re.search(r"^Requires-Python: (\S+)$", metadata, re.MULTILINE)[1]
    images = re.findall(r"^FROM python:(\S+)-slim", text, re.MULTILINE)
    assert len(set(images)) == 1 and images[0] in SpecifierSet(python)
    entry, arguments = (
        json.loads(re.search(rf"^{word} (.+)$", text, re.MULTILINE)[1])
        for word in ("ENTRYPOINT", "CMD")
    )
    assert "Examples:" in call(*entry, *arguments)

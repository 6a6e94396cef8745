"""What an extra of the package brings is not needed without it, and its absence is one sentence."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

import graphseg as gs
from graphseg.batch import pools
from graphseg.errors import InputError
from graphseg.io import readers, structures
from graphseg.unet import export

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def use_scheduler(_):
    with pools.workers("tcp://localhost:8786"):
        pass


def use_dask_workers(_):
    with pools.dask_workers("tcp://localhost:8786"):
        pass


def write_onnx(_):
    export.export_onnx(gs.load_model("default"), "never_written.onnx")


# (extra, package that is missing) to what needs it.
NEEDING = {
    ("dask", "distributed"): use_scheduler,
    ("dask", "distributed.scheduler"): use_dask_workers,
    ("onnx", "onnx"): write_onnx,
    ("onnx", "onnxruntime"): write_onnx,
    ("onnx", "onnxscript"): write_onnx,
    ("physics", "ase"): lambda _: structures.to_ase(np.zeros((1, 2)), 0.4, (8, 8)),
    ("zarr", "zarr"): lambda _: readers.open_zarr(Path("night.zarr"), None),
}
# Needed by the tests of the simulation, but not imported by the package.
NEVER_IMPORTED = {("physics", "abtem")}


@pytest.mark.parametrize(("name", "package"), NEEDING, ids=map("-".join, NEEDING))
def test_a_missing_extra_is_one_sentence_that_says_how_to_install_it(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as refused:
        NEEDING[name, package](monkeypatch)
    distribution = package.partition(".")[0]
    assert str(refused.value).endswith(
        f' needs the Python package {distribution}: pip install "graphseg[{name}]".'
    )
    assert "\n" not in str(refused.value)


def test_every_package_of_an_extra_is_tried():
    extras = {(name, Requirement(line).name) for name in EXTRAS for line in EXTRAS[name]}
    tried = {(name, package.partition(".")[0]) for name, package in NEEDING} | NEVER_IMPORTED
    assert extras - {("all", "graphseg")} == tried


def test_all_is_all_other_extras():
    (line,) = EXTRAS["all"]
    assert Requirement(line).extras == set(EXTRAS) - {"all"}


def test_a_scheduler_without_dask_ends_before_anything_is_written(run, monkeypatch, tmp_path):
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setitem(sys.modules, "distributed.scheduler", None)
    address = ("--scheduler", "tcp://localhost:8786")
    code, out, err = run("segment", "a.png", "--output", "masks", *address)
    assert code == 2 and not out and not list(tmp_path.rglob("*mask.tif"))
    assert err.strip().splitlines()[-1].endswith('pip install "graphseg[dask]".')

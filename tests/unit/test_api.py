"""The public face: lazy names, one call for one micrograph, and what its result can do."""

import doctest
import importlib
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tifffile

import graphseg as gs
from graphseg import api
from graphseg.batch.tasks import Network
from graphseg.io.micrographs import Micrograph
from graphseg.structure.atoms import Atoms

ROOMS = ("io", "datasets", "classical", "structure", "unet", "evaluation", "batch", "plotting")


@pytest.fixture(scope="module")
def stack():
    return gs.load_stack("simulated")


@pytest.fixture(scope="module")
def result(stack):
    return gs.segment(stack.images[0], test_time_augmentation=False)


@pytest.mark.parametrize("room", ["graphseg", *(f"graphseg.{room}" for room in ROOMS)])
def test_every_public_name_is_there_and_documented(room):
    module = importlib.import_module(room)
    assert module.__doc__ and module.__all__
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__doc__ or isinstance(value, dict), f"{room}.{name}"
        if callable(value):
            assert ">>> " in value.__doc__, f"{room}.{name} has no example"


def test_importing_the_package_loads_none_of_its_rooms():
    code = "import sys, graphseg; print(*(m for m in sys.modules if m.startswith('graphseg.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", [gs, api])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried >= 3 and not failed


def test_an_array_a_micrograph_and_a_file_give_what_the_command_gives(stack, result, tmp_path):
    image = stack.images[0]
    path = tmp_path / "one.tif"
    tifffile.imwrite(path, image)
    network = Network.choose(test_time_augmentation=False)
    wanted = network.predict(Micrograph(image)).probability
    np.testing.assert_array_equal(result.probability, wanted)
    for given in (Micrograph(image), path, str(path)):
        again = gs.segment(given, test_time_augmentation=False)
        np.testing.assert_array_equal(again.probability, wanted)
    assert (result.mask == (wanted >= 0.5)).all()
    assert result.contaminated_fraction == result.mask.mean()


def test_a_signal_keeps_its_pixel_size(stack):
    axis = type("Axis", (), {"scale": 0.05, "units": "nm"})()
    manager = type("Manager", (), {"signal_axes": (axis, axis)})()
    signal = type("Signal", (), {"data": stack.images[0], "axes_manager": manager})()
    assert api.as_micrograph(signal).pixel_size == pytest.approx(0.5)


def test_what_is_flagged_has_no_expected_quality(result):
    known = {"expected_jaccard", "expected_low", "expected_high", "look_first"}
    assert set(result.quality) == (set() if result.flags else known)
    noise = np.random.default_rng(0).normal(size=(128, 128))
    flagged = gs.segment(noise, test_time_augmentation=False)
    assert flagged.flags and flagged.warning and flagged.quality == {}


def test_a_mask_is_written_whole_and_never_over_another_file(result, tmp_path):
    path = result.save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(tifffile.imread(path) == 255, result.mask)
    with pytest.raises(gs.InputError, match="exists"):
        result.save(path)
    with pytest.raises(gs.InputError, match=r"use \.tif or \.png"):
        result.save(tmp_path / "mask.jpg")
    assert [p.name for p in tmp_path.iterdir()] == ["mask.tif"]
    result.save(path, overwrite=True)


def test_a_plot_has_the_micrograph_and_the_fraction(result):
    axes = result.plot()
    assert f"{100 * result.contaminated_fraction:.1f} %" in axes.get_title()
    assert axes.images[0].get_array().shape == result.image.shape
    plt.close(axes.figure)


def test_the_structure_of_what_is_clean(stack, result):
    structure = gs.analyse(stack.images[0], result)
    assert isinstance(structure.atoms, Atoms) and len(structure.atoms) > 100
    rows, columns = np.round(structure.atoms.positions).astype(int).T
    assert result.mask[rows, columns].mean() < 0.02
    with pytest.raises(gs.InputError, match="No lattice"):
        gs.analyse(np.random.default_rng(1).normal(size=(96, 96)), test_time_augmentation=False)


@pytest.mark.parametrize("shape", [(4,), (2, 32, 32), (1, 2, 32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(gs.InputError, match="Expected one image"):
        gs.segment(np.zeros(shape))

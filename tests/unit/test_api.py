"""The public face: lazy names, one call for one micrograph, and what its result can do."""

import doctest
import importlib
import subprocess
import sys
from copy import deepcopy
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tifffile
from rsciio import digitalmicrograph

import graphseg as gs
from book.tools.dm4 import write_dm4
from graphseg import api
from graphseg.batch.tasks import OUTSIDE, Network
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


class Signal:
    """What `segment` asks of a HyperSpy signal: data, axes in HyperSpy's order, a deep copy."""

    def __init__(self, data, scales, units="nm", navigate=0):
        self.data, self.metadata = data, {"title": "flake"}
        axes = [
            SimpleNamespace(scale=s, units=units, index_in_array=i, navigate=i < navigate)
            for i, s in enumerate(scales)
        ]
        self.axes_manager = SimpleNamespace(
            navigation_axes=tuple(axes[:navigate][::-1]), signal_axes=tuple(axes[navigate:][::-1])
        )

    def deepcopy(self):
        return deepcopy(self)


def dictionary(data, scales, units="nm", navigate=0):
    """What RosettaSciIO returns for one signal."""
    axes = [
        {"scale": s, "units": units, "navigate": i < navigate, "offset": 0.0, "size": n}
        for i, (s, n) in enumerate(zip(scales, data.shape, strict=True))
    ]
    return {"data": data, "axes": axes, "metadata": {"General": {"title": "flake"}}}


KINDS = pytest.mark.parametrize("kind", [Signal, dictionary])


@KINDS
def test_a_signal_gives_what_the_array_at_its_pixel_size_gives(kind, stack):
    image, size = stack.images[0][:200], stack.pixel_size_of(0)
    wanted = gs.segment(image, size, test_time_augmentation=False)
    found = gs.segment(kind(image, [size / 10] * 2), test_time_augmentation=False)
    np.testing.assert_array_equal(found.probability, wanted.probability)
    assert (wanted.pixel_size_from, found.pixel_size_from) == ("given", "file")
    assert found.pixel_size == pytest.approx(size) and found.flags == wanted.flags


@KINDS
def test_a_signal_comes_back_with_its_axes(kind, stack):
    image, size = stack.images[0][None, :200], stack.pixel_size_of(0) / 10
    given = kind(image, [1.0, size, size], navigate=1)  # one frame of a series
    found = gs.segment(given, test_time_augmentation=False)
    back = found.to_signal()
    if kind is dictionary:
        assert back["axes"] == given["axes"] and back["metadata"] == given["metadata"]
        assert given["data"] is image and back["axes"] is not given["axes"]
        mask = back["data"]
    else:
        assert back.axes_manager == given.axes_manager and back.metadata == given.metadata
        assert given.data is image and back.axes_manager is not given.axes_manager
        mask = back.data
    assert mask.dtype == bool and mask.shape == (1, 200, 256)
    np.testing.assert_array_equal(mask[0], found.mask)


class LazySignal(Signal):
    """As HyperSpy's, whose data are a Dask array until `compute`."""

    _lazy = True

    def compute(self, show_progressbar):
        self.data, self._lazy = np.asarray(self.data), False


def test_a_lazy_signal_comes_back_computed(stack, tmp_path):
    write_dm4(tmp_path / "flake.dm4", stack.images[0])
    (read,) = digitalmicrograph.file_reader(str(tmp_path / "flake.dm4"), lazy=True)
    given = LazySignal(read["data"], [stack.pixel_size_of(0) / 10] * 2)
    found = gs.segment(given, test_time_augmentation=False)
    back = found.to_signal()
    assert not back._lazy and given._lazy and given.data is read["data"]
    np.testing.assert_array_equal(back.data, found.mask)


def test_what_rosettasciio_reads_lazily_gives_what_the_path_gives(stack, tmp_path):
    path = tmp_path / "flake.dm4"
    write_dm4(path, stack.images[0], pixel_size=stack.pixel_size_of(0))
    (given,) = digitalmicrograph.file_reader(str(path), lazy=True)
    found = gs.segment(given, test_time_augmentation=False)
    wanted = gs.segment(path, test_time_augmentation=False)
    np.testing.assert_array_equal(found.probability, wanted.probability)
    assert found.pixel_size == wanted.pixel_size and found.pixel_size_from == "file"
    np.testing.assert_array_equal(found.to_signal()["data"], wanted.mask)


@KINDS
def test_a_wrong_scale_is_flagged_whatever_the_image_comes_as(kind, stack):
    image = stack.images[0]
    for given, stated in ((kind(image, [0.5, 0.5]), None), (Micrograph(image), 5.0), (image, 5.0)):
        found = gs.segment(given, stated, test_time_augmentation=False)
        assert OUTSIDE in found.flags and found.warning and found.quality == {}


@KINDS
def test_without_a_unit_of_length_the_lattice_is_measured(kind, stack):
    found = gs.segment(kind(stack.images[0], [1, 1], units=None), test_time_augmentation=False)
    assert found.pixel_size_from == "lattice"


@KINDS
@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 32, 32), {"scales": [1, 1, 1], "navigate": 1}, "holds 2 frames; give them one by one"),
        ((32, 32), {"scales": [0.1, 0.2]}, "has pixels of 1 Å by 2 Å"),
        ((32, 32), {"scales": [1, 1], "units": "1/nm"}, "holds a diffraction pattern"),
        ((32, 32), {"scales": [1, 1], "units": "eV"}, "holds a spectrum"),
        ((32, 32), {"scales": [1, 1], "navigate": 1}, "holds a scan of spectra"),
    ],
)  # fmt: skip
def test_a_signal_of_something_else_is_refused(kind, shape, options, message):
    with pytest.raises(gs.InputError, match=rf"^The (signal|dictionary) .*{message}"):
        gs.segment(kind(np.eye(*shape[-2:]) + np.zeros(shape), **options))


@KINDS
def test_a_signal_that_is_not_finite_or_complex_is_refused(kind):
    image = np.eye(32)
    with pytest.raises(gs.InputError, match="complex"):
        gs.segment(kind(image.astype(complex), [1, 1]))
    image[3, 3] = np.nan
    with pytest.raises(gs.InputError, match="not finite"):
        gs.segment(kind(image, [1, 1]))


def test_a_dictionary_without_axes_is_refused(result):
    with pytest.raises(gs.InputError, match="lacks data or axes"):
        gs.segment({"image": np.eye(32)})
    with pytest.raises(gs.InputError, match="does not say what each of its axes is"):
        gs.segment({"data": np.eye(32), "axes": []})
    with pytest.raises(gs.InputError, match="No signal was given"):
        result.to_signal()


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
    with pytest.raises(gs.InputError, match="Expected one image"):
        gs.segment(Micrograph(np.zeros(shape)))

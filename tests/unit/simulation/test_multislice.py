"""The image agrees with theory where theory is exact, and with abTEM's multislice.

Criterion for abTEM: on a patch of amorphous carbon 30 Å thick on graphene, imaged at three foci,
the noiseless images correlate at 0.98 or better (Pearson, all pixels) and their contrasts (standard
deviations) agree to 6 %. The reference is as exact as abTEM offers: finite projection, slices of
1 Å, twice as fine a grid.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from graphseg.simulation.configuration import CARBON
from graphseg.simulation.contaminant import amorphous_block
from graphseg.simulation.crystal import crystal
from graphseg.simulation.multislice import (
    aberration,
    band_limited_phase,
    deposit,
    exit_wave,
    frequencies,
    intensity,
    micrograph,
    to_pixels,
)
from graphseg.simulation.optics import (
    Conditions,
    interaction_constant,
    lattice_contrast,
    scattering_factor,
    wavelength,
)
from graphseg.simulation.samples import image_of

PERIOD, POINTS = 24.0, 96
STILL = Conditions(defocus=-60.0, vibration=0.0)


@pytest.fixture(scope="module")
def abtem():
    module = pytest.importorskip("abtem")
    pytest.importorskip("ase")
    with module.config.set({"diagnostics.progress_bar": False, "dask.lazy": False}):
        yield module


def thick_specimen():
    layer = crystal(PERIOD, 0.2)
    block = amorphous_block(0.105, 1.3)
    block = block[(block[:, 2] < 30) & (np.hypot(*(block[:, :2] - PERIOD / 2).T) < 9)]
    positions = np.concatenate([layer.positions, block[:, :2]])
    heights = np.concatenate([np.zeros(len(layer)), block[:, 2] + 3])
    return positions, heights, np.full(len(positions), 6)


@pytest.fixture(scope="module")
def reference(abtem):
    """abTEM's exit wave of the thick specimen, on our grid and referred to height 0."""
    import ase

    positions, heights, numbers = thick_specimen()
    bottom, top = 2.0, float(heights.max()) + 4.0
    atoms = ase.Atoms(
        numbers=numbers,
        positions=np.column_stack([positions, heights + bottom]),
        cell=[PERIOD, PERIOD, top],
        pbc=True,
    )
    potential = abtem.Potential(
        atoms, gpts=2 * POINTS, slice_thickness=1.0, projection="finite",
        parametrization="lobato",
    )  # fmt: skip
    wave = abtem.PlaneWave(energy=80e3).multislice(potential)
    spectrum = fft.fft2(wave.array) / 4
    kept = np.r_[0 : POINTS // 2, 3 * POINTS // 2 : 2 * POINTS]
    q_squared = frequencies((POINTS, POINTS), (PERIOD / POINTS,) * 2)[2]
    within = q_squared < (POINTS / PERIOD / 3) ** 2
    back = band_limited_phase(q_squared, np.pi * wavelength(80e3) * (top - bottom), within)
    return wave, (spectrum[np.ix_(kept, kept)] * back).astype(np.complex64)


@pytest.mark.parametrize("defocus", [-60.0, 60.0, -200.0])
def test_contrast_agrees_with_abtem(reference, defocus):
    conditions = replace(STILL, defocus=defocus)
    ours = exit_wave(*thick_specimen(), (POINTS, POINTS), (PERIOD, PERIOD), conditions)
    ours, theirs = (
        intensity(spectrum, (PERIOD, PERIOD), conditions) for spectrum in (ours, reference[1])
    )
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] >= 0.98
    assert ours.std() == pytest.approx(theirs.std(), rel=0.06)


def test_one_thick_slab_would_not_agree(reference):
    conditions = replace(STILL, slice_thickness=100.0)
    single = exit_wave(*thick_specimen(), (POINTS, POINTS), (PERIOD, PERIOD), conditions)
    images = [intensity(s, (PERIOD, PERIOD), conditions) for s in (single, reference[1])]
    assert np.corrcoef(*(image.ravel() for image in images))[0, 1] < 0.98


@pytest.mark.parametrize(
    "conditions",
    [
        replace(STILL, astigmatism=(25.0, 0.4), coma=(600.0, -1.0), threefold=(500.0, 2.0)),
        replace(STILL, defocus=90.0, spherical=-1.5e5, divergence=5e-4),
    ],
)
def test_the_lenses_agree_with_abtem(abtem, reference, conditions):
    conditions = replace(conditions, focal_points=1)
    angles = {  # abTEM counts angles from the rows towards the columns, and spreads as 1/e widths
        f"phi{order}": np.pi / 2 - getattr(conditions, name)[1]
        for order, name in ((12, "astigmatism"), (21, "coma"), (23, "threefold"))
    }
    lenses = abtem.CTF(
        energy=80e3, defocus=conditions.defocus, Cs=conditions.spherical,
        C12=conditions.astigmatism[0], C21=conditions.coma[0], C23=conditions.threefold[0],
        focal_spread=np.sqrt(2) * conditions.focal_spread,
        angular_spread=1e3 * conditions.divergence, **angles,
    )  # fmt: skip
    theirs = reference[0].apply_ctf(lenses).intensity().array
    spectrum = fft.fft2(reference[0].array)
    ours = intensity(spectrum, (PERIOD, PERIOD), conditions)
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * theirs.std() + 1e-4)


def test_a_weak_grating_is_imaged_with_the_sine_of_the_aberration():
    # Phase grating exp(i ε cos 2πqx): contrast of the image is 2 ε sin χ(q) times the damping.
    number, extent, order, strength = 64, 32.0, 12, 1e-3
    x = np.arange(number) / number
    wave = np.exp(1j * strength * np.cos(2 * np.pi * order * x))[None] * np.ones((number, 1))
    conditions = replace(
        STILL, defocus=70.0, spherical=1e5, divergence=4e-4, focal_points=1, astigmatism=(20.0, 0.3)
    )
    spectrum = fft.fft2(wave).astype(np.complex64)
    image = intensity(spectrum, (extent, extent), conditions)
    q, length = order / extent, wavelength(80e3)
    chi = np.pi * length * q**2 * (-70 + 0.5 * 1e5 * length**2 * q**2 + 20 * np.cos(2 * 0.3))
    spread = np.exp(-0.5 * (np.pi * length * conditions.focal_spread * q**2) ** 2)
    source = np.exp(-((np.pi * 4e-4 * q * (1e5 * length**2 * q**2 - 70)) ** 2))
    contrast = 2 * fft.fft2(image)[0, order].real / number**2
    assert contrast == pytest.approx(2 * strength * np.sin(chi) * spread * source, rel=2e-3)


def test_aberrations_are_even_or_odd_as_they_must_be():
    rows, columns = np.array([[0.3]]), np.array([[0.5]])
    even = replace(STILL, spherical=1e5, astigmatism=(20.0, 0.3))
    odd = replace(STILL, defocus=0.0, coma=(300.0, 0.3), threefold=(300.0, 1.0))
    np.testing.assert_allclose(aberration(-rows, -columns, even), aberration(rows, columns, even))
    np.testing.assert_allclose(aberration(-rows, -columns, odd), -aberration(rows, columns, odd))


def test_the_predicted_contrast_of_the_lattice_is_that_of_its_image():
    layer = crystal(80.0, 0.2, low=-10.0)
    for defocus in (-60.0, 40.0):
        conditions = Conditions(defocus=defocus, blur=0.2, modulation=0.5, dose=np.inf)
        image = image_of(layer.positions, 6, 60.0, 0.4, conditions, margin=24)
        predicted = lattice_contrast(conditions, CARBON, 0.4)
        assert image.std() == pytest.approx(predicted, rel=0.2)  # second order adds to the first


def test_atoms_are_bright_in_overfocus_and_dark_in_underfocus():
    for defocus, sign in ((-25.0, 1), (25.0, -1)):
        conditions = Conditions(defocus=defocus, dose=np.inf)
        image = image_of(np.array([[10.0, 14.0]]), 6, 24.0, 0.4, conditions)
        assert sign * (image[25, 35] - 1) > 0.02
        extreme = np.unravel_index(np.argmax(sign * image), image.shape)
        assert extreme == (25, 35)


def test_nothing_gives_the_intensity_one():
    image = micrograph(
        np.zeros((0, 2)), np.zeros(0), np.zeros(0, int), (32, 48), 0.4, Conditions(coma=(300, 0.1))
    )
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.ones((32, 48)), atol=1e-5)


def test_the_potential_of_the_wave_has_the_mean_of_the_scattering_factors():
    layer = crystal(PERIOD, 0.1)
    spectrum = exit_wave(
        layer.positions, np.zeros(len(layer)), layer.numbers, (POINTS, POINTS), (PERIOD, PERIOD),
        STILL,
    )  # fmt: skip
    assert spectrum.dtype == np.complex64
    phase = np.angle(fft.ifft2(spectrum)).mean()
    mean = 47.878 * scattering_factor(6, np.zeros(1))[0] * len(layer) / PERIOD**2
    assert phase == pytest.approx(interaction_constant(80e3) * mean, rel=0.01)


def test_more_foci_agree_with_the_envelope_on_a_thin_layer():
    layer = crystal(PERIOD, 0.3)
    images = []
    for points in (1, 3, 5):
        conditions = replace(STILL, focal_spread=5.0, focal_points=points)
        spectrum = exit_wave(
            layer.positions, np.zeros(len(layer)), layer.numbers, (POINTS, POINTS),
            (PERIOD, PERIOD), conditions,
        )  # fmt: skip
        images.append(intensity(spectrum, (PERIOD, PERIOD), conditions).ravel())
    correlations = np.corrcoef(images)
    assert correlations.min() > 0.99
    assert correlations[1, 2] > 0.9999


@given(st.integers(0, 63), st.integers(0, 47), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_deposits_keep_weight_and_centre_and_follow_shifts(down, right, seed):
    rng = np.random.default_rng(seed)
    steps, shape = (0.25, 0.3), (64, 48)
    points = rng.uniform([4, 4], [12, 10], (7, 2))
    grid = deposit(points, shape, steps)
    assert grid.sum() == pytest.approx(7, rel=1e-6)
    rows, columns = np.indices(shape)
    centre = [(grid * rows).sum() * steps[0] / 7, (grid * columns).sum() * steps[1] / 7]
    np.testing.assert_allclose(centre, points.mean(axis=0), rtol=1e-5)
    moved = deposit(points + np.multiply((down, right), steps), shape, steps)
    np.testing.assert_allclose(moved, np.roll(grid, (down, right), (0, 1)), atol=1e-5)


def test_pixels_transfer_a_wave_as_blur_area_and_camera_say():
    number, extent, order = 90, 30.0, 20
    conditions = replace(STILL, blur=0.2, modulation=0.4, drift=(0.0, 0.3))
    x = np.arange(number) * extent / number
    wave = 1 + 0.1 * np.cos(2 * np.pi * order / extent * x)[None] * np.ones((number, 1))
    pixels = to_pixels(wave.astype(np.float32), (extent, extent), (60, 60), conditions)
    q, pixel = order / extent, 0.5
    transfer = (
        np.exp(-2 * np.pi**2 * 0.2**2 * q**2) * np.sinc(q * pixel) * np.sinc(q * 0.3)
        * 0.4 ** ((2 * q * pixel) ** 2)
    )  # fmt: skip
    expected = 1 + 0.1 * transfer * np.cos(2 * np.pi * q * np.arange(60) * pixel)
    np.testing.assert_allclose(pixels, np.broadcast_to(expected, (60, 60)), atol=2e-5)


def test_mobile_atoms_have_less_contrast():
    positions, heights, numbers = thick_specimen()
    conditions = replace(STILL, mobility=0.2)
    spreads = [
        micrograph(
            positions, heights, numbers, (64, 64), PERIOD / 64, conditions, mobile=mobile
        ).std()
        for mobile in (np.zeros(len(positions), bool), heights > 1)
    ]
    assert spreads[1] < 0.9 * spreads[0]

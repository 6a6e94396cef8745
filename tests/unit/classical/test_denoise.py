"""Denoising on simulated micrographs whose noise and lattice are known."""

import numpy as np
import pytest

from graphseg.classical.denoise import analyse, enhance, noise_spectrum
from graphseg.simulation.crystal import crystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import image_of

CONSTANT = 2.46  # Å
EXTENT = 66.0  # Å


def exposed_sheet(dose):
    """A sheet of 220 × 220 pixels of 0.3 Å; an infinite dose makes it free of noise."""
    sheet = crystal(EXTENT + 8, 0.2, low=-8)
    return image_of(
        sheet.positions, sheet.numbers, EXTENT, 0.3, Conditions(defocus=-60), dose=dose,
        rng=np.random.default_rng(0), margin=20,
    )  # fmt: skip


@pytest.mark.parametrize("deviation", [0.5, 20.0])
def test_the_noise_spectrum_of_white_noise_is_its_variance(deviation):
    noise = deviation * np.random.default_rng(0).standard_normal((200, 256)).astype(np.float32)
    frequencies, power = noise_spectrum(noise, np.ones(noise.shape, bool))
    np.testing.assert_allclose(power[3:], deviation**2, rtol=0.25)
    assert power[3:].mean() == pytest.approx(deviation**2, rel=0.05)
    assert 0 < frequencies[0] < frequencies[-1] < 0.5


def test_the_filter_takes_noise_away_and_leaves_the_lattice():
    clean = exposed_sheet(np.inf)
    noisy = exposed_sheet(1e3)
    everywhere = np.ones(clean.shape, bool)
    signal = analyse(noisy, everywhere, CONSTANT / 0.3)
    assert signal.signs == (1, -1)  # beyond 36 Å of defocus the second ring is turned round
    filtered = enhance(signal)
    true = enhance(analyse(clean, everywhere, CONSTANT / 0.3))
    middle = np.s_[20:-20, 20:-20]
    assert np.corrcoef(filtered[middle].ravel(), true[middle].ravel())[0, 1] > 0.9
    assert np.corrcoef(noisy[middle].ravel(), clean[middle].ravel())[0, 1] < 0.6

"""Constants and scattering factors agree with independent sources."""

import numpy as np
import pytest

from graphseg.errors import InputError
from graphseg.simulation import configuration, optics

ELEMENTS = {5: "B", 6: "C", 7: "N", 8: "O", 14: "Si", 16: "S", 26: "Fe", 29: "Cu", 34: "Se",
            42: "Mo", 74: "W", 79: "Au"}  # fmt: skip


def test_the_table_holds_the_elements_of_the_presets():
    assert set(ELEMENTS) == set(optics.LOBATO)
    materials = (configuration.CARBON, configuration.BORON_NITRIDE,
                 configuration.MOLYBDENUM_DISULPHIDE)  # fmt: skip
    used = {number for material in materials for site in material.sites for number, _ in site}
    used |= set(configuration.ContaminantRanges().heavy_numbers)
    assert used <= set(optics.LOBATO)


def test_the_constants_of_80_kV_electrons():
    # Kirkland's table of wavelengths: 0.04176 Å at 80 kV, 0.02508 Å at 200 kV.
    assert optics.wavelength(80e3) == pytest.approx(0.041757, abs=5e-7)
    assert optics.wavelength(200e3) == pytest.approx(0.025079, abs=5e-7)
    assert optics.interaction_constant(80e3) == pytest.approx(1.00871e-3, rel=1e-5)
    np.testing.assert_allclose(optics.POTENTIAL_CONSTANT, 47.878, atol=1e-3)


def test_the_constants_agree_with_abtem():
    energy = pytest.importorskip("abtem.core.energy")
    for volts in (60e3, 80e3, 300e3):
        assert optics.wavelength(volts) == pytest.approx(energy.energy2wavelength(volts), rel=1e-7)
        assert optics.interaction_constant(volts) == pytest.approx(
            energy.energy2sigma(volts), rel=1e-7
        )


@pytest.mark.parametrize("number", ELEMENTS)
def test_the_scattering_factors_agree_with_abtem(number):
    parametrizations = pytest.importorskip("abtem.parametrizations")
    q_squared = np.linspace(0, 4, 101) ** 2
    ours = optics.scattering_factor(number, q_squared)
    same = parametrizations.LobatoParametrization().scattering_factor(ELEMENTS[number])(q_squared)
    np.testing.assert_allclose(ours, same, rtol=1e-5)
    # An independent fit to other calculations: differences of a few per cent at small angles.
    other = parametrizations.KirklandParametrization().scattering_factor(ELEMENTS[number])
    np.testing.assert_allclose(ours, other(q_squared), rtol=0.06)


def test_the_potential_agrees_with_abtem():
    parametrizations = pytest.importorskip("abtem.parametrizations")
    q_squared = np.linspace(0, 2, 21) ** 2
    theirs = parametrizations.LobatoParametrization().projected_scattering_factor("C")(q_squared)
    ours = optics.POTENTIAL_CONSTANT * optics.scattering_factor(6, q_squared)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_the_lattice_constants_agree_with_ase():
    build = pytest.importorskip("ase.build")
    graphene = build.graphene()
    assert configuration.CARBON.lattice_constant == graphene.cell.lengths()[0]
    sulphide = configuration.MOLYBDENUM_DISULPHIDE
    theirs = build.mx2("MoS2")
    assert sulphide.lattice_constant == pytest.approx(theirs.cell.lengths()[0], rel=0.01)
    heights = [height for site in sulphide.sites for _, height in site]
    assert np.ptp(heights) == pytest.approx(np.ptp(theirs.positions[:, 2]), rel=0.03)


def test_an_unknown_element_is_an_error():
    with pytest.raises(InputError, match="atomic number 92"):
        optics.scattering_factor(92, np.zeros(1))


def test_single_precision_is_kept():
    assert optics.scattering_factor(6, np.ones(3, np.float32)).dtype == np.float32

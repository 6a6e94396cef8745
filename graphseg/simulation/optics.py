"""Electrons and lenses: scattering by single atoms, imaging conditions, contrast of the lattice.

The electron scattering factors follow the parametrisation of Lobato and Van Dyck [1]_,

f(q) = Σᵢ aᵢ (2 + bᵢ q²) / (1 + bᵢ q²)²,  i = 1…5,

with q = 1/d in 1/Å and f in Å. Wavelength and interaction constant are computed from the CODATA
values that `scipy.constants` carries.

References
----------
.. [1] I. Lobato and D. Van Dyck, "An accurate parameterization for scattering factors, electron
   densities and electrostatic potentials for neutral atoms that obey all physical constraints",
   Acta Crystallographica A 70, 636-649 (2014), doi 10.1107/S205327331401643X.
.. [2] E. J. Kirkland, "Advanced Computing in Electron Microscopy", 2nd ed., Springer (2010).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.constants import angstrom, c, e, h, m_e

from graphseg.errors import InputError
from graphseg.simulation.configuration import Configuration, DetectorRanges, Material, OpticsRanges

# Atomic number to the coefficients a₁…a₅ in Å and b₁…b₅ in Å², table of the supplement of [1].
_TABLE = np.loadtxt(Path(__file__).with_name("lobato.csv"), delimiter=",", skiprows=1)
LOBATO = {int(row[0]): (row[1:6].tolist(), row[6:].tolist()) for row in _TABLE}

# h² / (2π mₑ e), V·Å²: turns a scattering factor in Å into a projected potential in V·Å [2].
POTENTIAL_CONSTANT = h**2 / (2 * np.pi * m_e * e) / angstrom**2
ATTEMPTS = 100  # draws of the imaging conditions before the last one is taken as it is


def wavelength(energy: float) -> float:
    """Return the relativistic wavelength in Å of electrons accelerated by `energy` volts."""
    kinetic = e * energy
    return h * c / np.sqrt(kinetic * (2 * m_e * c**2 + kinetic)) / angstrom


def interaction_constant(energy: float) -> float:
    """Return the phase in radians per V·Å of projected potential, σ = 2π m e λ / h² (rad/(V·Å)).
    m is the relativistic mass of electrons accelerated by `energy` volts; Kirkland [2]_, 5.6."""
    mass = m_e + e * energy / c**2
    # λ in Å times one Å of path: two powers of the ångström.
    return 2 * np.pi * mass * e * wavelength(energy) * angstrom**2 / h**2


def scattering_factor(number: int, q_squared: np.ndarray) -> np.ndarray:
    """Return the electron scattering factor f(q) of a neutral atom in Å (Lobato & Van Dyck).
    `q_squared` (1/Å²) has any shape and keeps its dtype. InputError if the atomic number is not in
    the table `LOBATO`."""
    if number not in LOBATO:
        raise InputError(
            f"There are no scattering factors for atomic number {number}; add its ten numbers to "
            "graphseg/simulation/lobato.csv."
        )
    total = np.zeros_like(q_squared)
    for a, b in zip(*LOBATO[number], strict=True):
        total += a * (2 + b * q_squared) / (1 + b * q_squared) ** 2
    return total


@dataclass(frozen=True)
class Conditions:
    """Imaging conditions of one micrograph. Lengths in Å, angles in radians.

    Attributes
    ----------
    energy
        Acceleration, V.
    defocus
        Positive is underfocus. With `spherical` 0, atoms are dark in a little underfocus and
        bright in a little overfocus: at 25 Å both rings of reflections have the same sign.
    spherical
        Third-order spherical aberration.
    astigmatism, coma, threefold
        Two-fold astigmatism, axial coma and three-fold astigmatism as (amplitude, angle): the
        coefficients C12, C21 and C23 of χ = 2π/λ Σ C_nm α^(n+1) cos(m(φ − φ_nm)) / (n+1), with φ
        from the column axis towards the row axis.
    focal_spread, divergence
        Standard deviation of the focus; semi-angle of illumination.
    vibration, mobility
        Mean square displacement of atoms along one axis, Å², and the further one of mobile atoms:
        contamination moves under the beam.
    blur, drift
        Standard deviation of isotropic blur; displacement (row, column) during the exposure.
    absorption
        Imaginary over real potential.
    modulation
        Transfer of the camera at its Nyquist frequency, Gaussian shape; 1 is an ideal camera.
    dose
        Electrons per Å²; infinity gives no noise.
    slice_thickness
        Thickest slab that is projected to one plane.
    focal_points
        Nodes over the focal spread: 1 (damping envelope), or an odd number from 3 on.

    Examples
    --------
    >>> Conditions(defocus=-60.0, dose=8e3).energy
    80000.0
    """

    energy: float = 80e3
    defocus: float = -25.0
    spherical: float = 0.0
    astigmatism: tuple[float, float] = (0.0, 0.0)
    coma: tuple[float, float] = (0.0, 0.0)
    threefold: tuple[float, float] = (0.0, 0.0)
    focal_spread: float = 8.0
    divergence: float = 0.0
    vibration: float = 0.006
    mobility: float = 0.0
    blur: float = 0.1
    drift: tuple[float, float] = (0.0, 0.0)
    absorption: float = 0.0
    modulation: float = 1.0
    dose: float = 5e3
    slice_thickness: float = 10.0
    focal_points: int = 3


def draw_conditions(
    rng: np.random.Generator, optics: OpticsRanges, detector: DetectorRanges
) -> Conditions:
    """Draw the imaging conditions of one micrograph."""
    far = rng.random() < optics.far_fraction
    defocus = rng.uniform(*(optics.far_defocus if far else optics.defocus))

    def residual(deviation: float) -> tuple[float, float]:
        parts = rng.normal(0, deviation, 2)
        return float(np.hypot(*parts)), float(np.arctan2(*parts))

    return Conditions(
        energy=optics.energy,
        defocus=float(defocus * rng.choice([-1.0, 1.0])),
        spherical=float(rng.uniform(-optics.spherical, optics.spherical)),
        astigmatism=residual(optics.astigmatism),
        coma=residual(optics.coma),
        threefold=residual(optics.threefold),
        **{
            name: float(rng.uniform(*getattr(optics, name)))
            for name in ("focal_spread", "divergence", "vibration", "mobility", "blur")
        },
        drift=tuple(float(x) for x in rng.uniform(-optics.drift, optics.drift, 2) / np.sqrt(2)),
        absorption=float(rng.uniform(*optics.absorption)),
        modulation=float(rng.uniform(*detector.modulation)),
        dose=float(np.exp(rng.uniform(*np.log(detector.dose)))),
        slice_thickness=optics.slice_thickness,
        focal_points=optics.focal_points,
    )


def draw_visible_conditions(
    rng: np.random.Generator, pixel_size: float, configuration: Configuration
) -> Conditions:
    """Draw imaging conditions until the lattice is visible, as a microscopist would focus."""
    optics, detector = configuration.optics, configuration.detector
    limit = detector.noise_fraction if rng.random() >= detector.faint_fraction else 1.0
    for _ in range(ATTEMPTS):
        conditions = draw_conditions(rng, optics, detector)
        lattice = lattice_contrast(conditions, configuration.material, pixel_size)
        noise = 1 / np.sqrt(conditions.dose * pixel_size**2)
        if noise <= limit * np.hypot(noise, lattice):
            break
    return conditions


def lattice_contrast(conditions: Conditions, material: Material, pixel_size: float) -> float:
    """Return the standard deviation of a perfect lattice in the image, relative to its mean."""
    # Linear imaging by the first two rings of reflections; residual aberrations are left out. The
    # structure factor is that of a honeycomb of two equal sites, the mean of the material's.
    constant = material.lattice_constant
    length = wavelength(conditions.energy)
    variance = 0.0
    # Squared frequency in units of the first ring's; amplitude of two sites; six reflections.
    for order, sites in ((1, 1.0), (3, 2.0)):
        q2 = np.array(order * 4 / (3 * constant**2))
        factor = sum(scattering_factor(n, q2) for site in material.sites for n, _ in site) / 2
        potential = POTENTIAL_CONSTANT * sites * factor / (np.sqrt(3) / 2 * constant**2)
        chi = (
            np.pi * length * q2 * (-conditions.defocus + conditions.spherical * length**2 * q2 / 2)
        )
        damping = np.exp(
            -0.5 * (np.pi * length * conditions.focal_spread * q2) ** 2
            - 2 * np.pi**2 * (conditions.vibration + conditions.blur**2) * q2
            + np.log(conditions.modulation) * 4 * pixel_size**2 * q2
        )
        amplitude = 2 * interaction_constant(conditions.energy) * potential * np.sin(chi) * damping
        variance += 6 * float(amplitude) ** 2
    return float(np.sqrt(variance))

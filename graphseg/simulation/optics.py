"""Electron scattering by single atoms, and the constants of fast electrons.

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

Imaging conditions: what they are, how they are drawn, and how visible they make the lattice.
"""

from dataclasses import dataclass

import numpy as np
from scipy.constants import angstrom, c, e, h, m_e

from graphseg.errors import InputError
from graphseg.simulation.configuration import (
    Configuration,
    DetectorRanges,
    Material,
    OpticsRanges,
)

# Atomic number to the coefficients (a₁…a₅ in Å, b₁…b₅ in Å²), table of the supplement of [1].
LOBATO: dict[int, tuple[tuple[float, ...], tuple[float, ...]]] = {
    5: (
        (1.47279248639329, -0.401933042199387, 0.305998956982689, 0.0196144217173168,
         0.0009771771060882),
        (3.74974048281819, 0.588066536139673, 0.515639613103011, 0.121377570080603,
         0.0680982412160313),
    ),
    6: (
        (124.466088621343, -220.352857078963, 195.235352280479, -98.1079361269799,
         0.0142023041213623),
        (2.42120849256005, 2.30537943752425, 2.04851932106564, 1.93352552917547,
         0.0768976818478339),
    ),
    7: (
        (58.1327150702556, -147.542409087812, 130.143065649639, -39.6195674084154,
         0.010595776333148),
        (1.70044856413471, 1.5590385260174, 1.41576827473146, 1.27841818205455,
         0.0565587798474805),
    ),
    8: (
        (29.9474045242362, -77.6101266255278, 99.8817764623144, -51.2127005505673,
         0.00819618954446032),
        (1.3028398788001, 1.15794105258309, 1.00988549338025, 0.943327971433266,
         0.0433197611321825),
    ),
    14: (
        (2.87189142611612, -2.06173501195173, 2.17114024204478, -0.0663073633058801,
         0.00301070709670513),
        (5.08487103642989, 0.429178185305126, 0.366485434192162, 0.119710611296903,
         0.0143994536128397),
    ),
    16: (
        (2.67971415610199, -0.474252822230755, 0.514835948989687, -0.0958360024990722,
         0.00248871963818935),
        (3.06889121199971, 0.378216702185809, 0.188721811902548, 0.0923370590031494,
         0.0111920877241144),
    ),
    26: (
        (3.79810090836859, -91.6893549381687, 91.4454252155429, 0.0272754344027604,
         0.00030337985438377),
        (5.31712645899433, 1.49713094884748, 1.4680924180441, 0.0427247850128954,
         0.00332791855231874),
    ),
    29: (
        (1.75207145212145, -43.0410523492124, 44.0705915543573, 0.0186876154088144,
         0.00020172732479162),
        (6.18750497986187, 1.00266263628976, 0.98538431135303, 0.0302984703916117,
         0.00255855598748879),
    ),
    34: (
        (3.64905047801926, -43.6851662221238, 43.6920288601154, 0.00844902284199144,
         3.7861147411e-05),
        (3.25043267112593, 0.609666201650289, 0.596971300802123, 0.0148554512740362,
         0.00133625587356563),
    ),
    42: (
        (2.83105968432053, 2.34858137489674, 0.245105888429696, 0.00235282108218515,
         2.3127083834e-07),
        (10.435719575895, 1.60482868674597, 0.131696934774606, 0.00554977901383345,
         0.0002227474637649),
    ),
    74: (
        (3.97629715819077, 1.52292684257341, 0.797706246390561, 0.0213666741558685,
         0.00010307868938572),
        (6.29685779228774, 1.11289951157691, 0.231057040678473, 0.0151013545567204,
         0.00047468247710503),
    ),
    79: (
        (1.6759346706487, 3.00486602969729, 0.595340013161635, 0.0117163186623094,
         4.296782976398e-05),
        (5.52231093211402, 1.38007223007196, 0.162229237655945, 0.00901814890416575,
         0.00037927766747767),
    ),
}  # fmt: skip

# h² / (2π mₑ e), V·Å²: turns a scattering factor in Å into a projected potential in V·Å [2].
POTENTIAL_CONSTANT = h**2 / (2 * np.pi * m_e * e) / angstrom**2


def wavelength(energy: float) -> float:
    """Return the relativistic wavelength in Å of electrons accelerated by `energy` volts."""
    kinetic = e * energy
    return h * c / np.sqrt(kinetic * (2 * m_e * c**2 + kinetic)) / angstrom


def interaction_constant(energy: float) -> float:
    """Return the phase in radians per V·Å of projected potential, σ = 2π m e λ / h² (rad/(V·Å)).

    m is the relativistic mass of electrons accelerated by `energy` volts; Kirkland [2]_, eq. 5.6.
    """
    mass = m_e + e * energy / c**2
    # λ in Å times one Å of path: two powers of the ångström.
    return 2 * np.pi * mass * e * wavelength(energy) * angstrom**2 / h**2


def scattering_factor(number: int, q_squared: np.ndarray) -> np.ndarray:
    """Return the electron scattering factor f(q) of a neutral atom in Å (Lobato & Van Dyck).

    Parameters
    ----------
    number
        Atomic number, a key of `LOBATO`.
    q_squared
        Squared spatial frequency in 1/Å², any shape. Its dtype is kept.

    Raises
    ------
    InputError
        If the element is not in the table.
    """
    if number not in LOBATO:
        raise InputError(
            f"There are no scattering factors for atomic number {number}; add its ten numbers to "
            "graphseg.simulation.optics.LOBATO."
        )
    total = np.zeros_like(q_squared)
    for a, b in zip(*LOBATO[number], strict=True):
        total += a * (2 + b * q_squared) / (1 + b * q_squared) ** 2
    return total


ATTEMPTS = 100  # draws of the imaging conditions before the last one is taken as it is


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
    focal_spread
        Standard deviation of the focus.
    divergence
        Semi-angle of illumination.
    vibration
        Mean square displacement of atoms along one axis, Å².
    blur
        Standard deviation of isotropic blur of the image.
    mobility
        Further mean square displacement of mobile atoms along one axis, Å²: contamination moves
        under the beam.
    drift
        Displacement (row, column) during the exposure.
    absorption
        Imaginary over real potential.
    modulation
        Transfer of the camera at its Nyquist frequency, Gaussian shape; 1 is an ideal camera.
    dose
        Electrons per Å²; infinity gives no noise.
    slice_thickness
        Thickest slab that is projected to one plane.
    focal_points
        Nodes over the focal spread: 1 (damping envelope), 3 or 5.
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
        focal_spread=float(rng.uniform(*optics.focal_spread)),
        divergence=float(rng.uniform(*optics.divergence)),
        vibration=float(rng.uniform(*optics.vibration)),
        mobility=float(rng.uniform(*optics.mobility)),
        blur=float(rng.uniform(*optics.blur)),
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
    """Return the standard deviation of a perfect lattice in the image, relative to its mean.

    Linear imaging by the first two rings of reflections; residual aberrations are left out. The
    structure factor is that of a honeycomb of two equal sites, the mean of the material's.
    """
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

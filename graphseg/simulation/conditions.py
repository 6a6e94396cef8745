"""Imaging conditions: what they are, how they are drawn, and how visible they make the lattice."""

from dataclasses import dataclass

import numpy as np

from graphseg.simulation.configuration import (
    Configuration,
    DetectorRanges,
    Material,
    OpticsRanges,
)
from graphseg.simulation.scattering import (
    POTENTIAL_CONSTANT,
    interaction_constant,
    scattering_factor,
    wavelength,
)

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
    far = rng.random() < optics.far_share
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
    limit = detector.noise_share if rng.random() >= detector.faint_share else 1.0
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

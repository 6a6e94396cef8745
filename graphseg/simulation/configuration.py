"""Every parameter of the simulation, typed, with the reason for its range.

A range ``(low, high)`` is drawn from uniformly unless said otherwise; lengths in Å. Reasons that
name the design half mean the published images of the first 54 of 109 acquisitions in sorted
order: no image of the other half was looked at while the ranges were chosen. What is said of "the
published images" was measured on all of them, as coverage, empty labels and noise were.
"""

from dataclasses import dataclass, field, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class DefectRanges:
    """Structure of the sheet and on it that no mask may cover: none of it is labelled."""

    # Closed boundary loops: fraction of frames, number, radius (log-uniform). The smallest is the
    # flower defect, seven rings turned by 30° (Cockayne et al., Phys. Rev. B 83, 195425, 2011).
    loop_fraction: float = 0.15
    loops: tuple[int, int] = (1, 3)
    loop_radius: Range = (2.6, 18.0)
    # Of the loops, turned by 30° about a ring of the surrounding grain, as those of lowest energy
    # are; the others have any angle and any centre.
    flower_fraction: float = 0.6
    # A straight chain of five- and seven-membered rings: fraction of frames, and the turned bonds
    # (Stone-Wales) that it consists of.
    chain_fraction: float = 0.05
    chain_length: tuple[int, int] = (2, 6)
    # Pairs of missing neighbours, closed to rings of 5, 8 and 5, per 10⁴ Å² (Poisson mean).
    divacancies: Range = (0.0, 1.0)
    # Single heavy atoms from substrates, etchants, pumps and markers: fraction of frames, number,
    # and elements (silicon, iron, copper, molybdenum, tungsten, gold).
    adatom_fraction: float = 0.15
    adatoms: tuple[int, int] = (1, 6)
    adatom_numbers: tuple[int, ...] = (14, 26, 29, 42, 74, 79)
    # Flakes of a second layer without any carbon on them: fraction of frames, number, radius.
    islands_fraction: float = 0.06
    islands: tuple[int, int] = (1, 2)
    island_radius: Range = (6.0, 30.0)
    aligned_fraction: float = 0.5  # of the flakes, as in graphite; others are turned by any angle
    # The sheet laid in a flat pleat: fraction of frames, and the width of the band of three sheets.
    wrinkle_fraction: float = 0.0
    wrinkle_width: Range = (8.0, 35.0)


@dataclass(frozen=True)
class Material:
    """A two-dimensional crystal with a honeycomb of two sites in projection."""

    lattice_constant: float = 2.46  # Å, of graphene (bond 1.42)
    # The atoms of each of the two sublattices as (atomic number, height in Å).
    sites: tuple[tuple[tuple[int, float], ...], ...] = (((6, 0.0),), ((6, 0.0),))
    shear: float = 0.25  # relative spring constant of second neighbours; shapes relaxed boundaries

    @property
    def bond(self) -> float:
        """The projected distance of nearest sites in Å."""
        return self.lattice_constant / 3**0.5


CARBON = Material()
LATTICE_CONSTANT = CARBON.lattice_constant  # Å, graphene
# Lattice constant of the bulk, 2.504 Å (Paszkowicz et al., Appl. Phys. A 75, 431, 2002).
BORON_NITRIDE = Material(2.504, (((5, 0.0),), ((7, 0.0),)))
# 3.16 Å; sulphur 1.56 Å above and below molybdenum (Schutte et al., J. Solid State Chem. 70, 1987).
MOLYBDENUM_DISULPHIDE = Material(3.16, (((42, 0.0),), ((16, 1.56), (16, -1.56))))


@dataclass(frozen=True)
class CrystalRanges:
    """The layer: grains, defects, strain."""

    # Of 1, 2, 3… grains: boundaries cross about half of the published frames.
    grain_fractions: tuple[float, ...] = (0.40, 0.42, 0.18)
    # Root mean square deviation of a boundary from a straight line and its wavelength: boundaries
    # meander over a few lattice constants.
    wobble: Range = (0.0, 5.0)
    wobble_length: float = 40.0
    # Per 10⁴ Å² (Poisson mean, drawn from the range): the beam and growth leave a few.
    vacancies: Range = (0.0, 3.0)
    stone_wales: Range = (0.0, 2.0)
    # Holes: fraction of frames, radius, and the standard deviation of each relative deviation from
    # a circle. Nearly round holes of 4 to 16 Å are in the data.
    hole_fraction: float = 0.22
    hole_radius: Range = (4.0, 16.0)
    hole_lobes: float = 0.08
    strain: float = 0.01  # largest principal one; free sheets and calibration stay below it
    # Largest height and wavelength; free sheets ripple by about 1 Å over 50 to 100 Å (Meyer et
    # al., Nature 446, 60, 2007).
    ripple: Range = (0.0, 1.5)
    ripple_length: float = 60.0


@dataclass(frozen=True)
class ContaminantRanges:
    """The adsorbed material: shape, thickness, texture."""

    clean_fraction: float = 0.03  # of frames without patches; 3 of 131 published labels are empty
    # Median and geometric standard deviation of the covered fraction of the frame, cut at .6:
    # published median 9.8 %, 5 % to 95 % of the images 3 % to 35 %.
    coverage: tuple[float, float] = (0.105, 1.9)
    patches: tuple[int, int] = (1, 4)
    edge_fraction: float = 0.65  # of patches near the frame's edge: clean areas are centred
    # Relative size of the patches of a frame as a fraction of its side (log-uniform; coverage then
    # scales all), largest ratio of their axes, and standard deviation of each relative deviation
    # from an ellipse: drops, tongues and irregular patches.
    radius: Range = (0.08, 0.35)
    aspect: float = 3.0
    lobes: float = 0.25
    triangle_fraction: float = 0.15  # with straight edges; a few published patches are triangles
    # Root mean square roughness of the outlines relative to the patches' size, its correlation
    # length, and the largest roughness at 1.5 Å.
    roughness: Range = (0.02, 0.12)
    roughness_size: Range = (3.0, 9.0)
    fine_roughness: float = 0.02
    # Thickness of the thin part of a patch, and how many patches have one; of these, how many are
    # all thin, and how many have a thin part that reaches beyond the thick one, with the mean width
    # of that margin (exponential).
    sheet: Range = (2.5, 6.0)
    sheet_fraction: float = 0.7
    sheet_only_fraction: float = 0.12
    bare_fraction: float = 0.6
    sheet_width: float = 6.0
    # Thickness of the thick part, log-uniform, from one further layer on; and the width over which
    # it rises: steep walls give the bright rims seen in the data.
    core: Range = (6.0, 36.0)
    wall: Range = (0.5, 8.0)
    # Patches whose edge is an atomic wall, and its additional height.
    rim_fraction: float = 0.5
    rim: Range = (2.0, 8.0)
    # Standard deviation of the logarithm of the thickness, and its correlation length: without it
    # the power at .05 to .3 1/Å is 3 to 5 times too small.
    clumping: Range = (0.2, 0.8)
    clump_size: Range = (1.0, 5.0)
    # Mean number of chains of atoms at the edges of patches (Poisson), and their length. People
    # leave such threads out of their outlines.
    chains: float = 0.8
    chain_atoms: tuple[int, int] = (3, 14)
    # Largest number of single atoms on clean areas, and the fraction of silicon, the heavier
    # element most often found on graphene. They are no contamination to a person.
    adatoms: int = 6
    adatom_silicon: float = 0.3
    # Frames with heavier elements in the patches, their fraction of the atoms, and those usual in
    # transferred graphene: silicon, oxygen, sulphur, iron, copper.
    heavy_fraction: float = 0.40
    heavy: Range = (0.001, 0.015)
    heavy_numbers: tuple[int, ...] = (14, 8, 16, 26, 29)
    # Patches that are flakes of the crystal itself, rotated, in a second layer, the relative
    # thickness of carbon on them, and how many have any: a bare flake is a crystal and no
    # contamination, see `DefectRanges`.
    island_fraction: float = 0.15
    island_cover: float = 0.2
    island_covered: float = 1.0
    gap: Range = (2.4, 3.4)  # from the layer to the first contaminant atoms
    density: float = 0.105  # atoms/Å³ of amorphous carbon (2.1 g/cm³)
    hard_core: float = 1.3  # smallest distance of two atoms
    # How far outside the outermost atoms a person draws the outline. With .5 to 2.5 Å a network
    # trained on simulations drew the patches of the design half 1 to 2 pixels too wide.
    label_growth: Range = (0.0, 1.5)


@dataclass(frozen=True)
class OpticsRanges:
    """The microscope."""

    energy: float = 80e3  # V; the published images were taken at 80 kV
    # Absolute defocus of usual images, and of those that are further away: Fresnel rings.
    defocus: Range = (15.0, 140.0)
    far_defocus: Range = (140.0, 420.0)
    far_fraction: float = 0.12
    spherical: float = 2e5  # largest |Cs| of a corrected instrument (20 µm)
    # Standard deviation of each component of the residual aberrations.
    astigmatism: float = 14.0
    coma: float = 350.0
    threefold: float = 350.0
    # Standard deviation of the focus, from energy width and chromatic aberration.
    focal_spread: Range = (4.0, 15.0)
    divergence: Range = (0.0, 3e-4)  # rad, semi-angle of illumination
    vibration: Range = (0.004, 0.012)  # Å², mean square displacement of atoms along one axis
    # Å², further one of contaminant atoms: they move under the beam. The texture of published
    # patches falls off faster with frequency than that of atoms at rest.
    mobility: Range = (0.0, 0.2)
    blur: Range = (0.08, 0.32)  # standard deviation, isotropic: stage vibration, noise of lenses
    drift: float = 0.3  # largest one during the exposure, linear
    absorption: Range = (0.0, 0.03)  # imaginary over real potential: electrons lost to the image
    slice_thickness: float = 10.0  # of a slab projected to one plane; see test_multislice.py
    focal_points: int = 3  # of the Gauss-Hermite quadrature over the focal spread; 1: an envelope


@dataclass(frozen=True)
class DetectorRanges:
    """The camera and the file."""

    dose: Range = (3e3, 2e4)  # electrons per Å², log-uniform
    # Focus and dose are drawn again until the noise is less than this of the standard deviation of
    # a perfect lattice with noise (.45 to .96 in the clean areas of the published images); the
    # faint fraction is kept as drawn.
    noise_fraction: float = 0.75
    faint_fraction: float = 0.03
    modulation: Range = (0.2, 0.8)  # transfer of the camera at its Nyquist frequency
    gradient: float = 0.008  # largest relative slope of light; published ones are flat to 0.4 %
    bow: float = 0.0  # largest relative curvature, centre to edge; only raw images have it
    # Root mean square of soft relative variations, and their correlation length in pixels.
    blotches: Range = (0.0, 0.006)
    blotch_size: Range = (12.0, 40.0)
    # Images with visible quadrants of the camera, and the relative step.
    seam_fraction: float = 0.2
    seam: float = 0.004


@dataclass(frozen=True)
class Configuration:
    """One generator: what is drawn, and between which limits.

    Attributes
    ----------
    name, size
        Part of the names of the samples, and their height and width in pixels.
    pixel_size
        Å; the 2.46 Å of graphene are 3.32 to 8.23 pixels in the published images, and within this
        range in five of six.
    margin
        Pixels simulated and cut off all round, where the Fourier transform wraps.
    step
        Finest grid of the wave, Å. The wave is limited to two thirds of the grid's Nyquist
        frequency: 1.28 1/Å, beyond the information limit of the instrument, or the Nyquist
        frequency of the camera where that is lower.

    Examples
    --------
    >>> clean = replace(GRAPHENE, contaminant=ContaminantRanges(clean_fraction=1.0), size=64)
    >>> clean.size, clean.material.lattice_constant
    (64, 2.46)
    """

    name: str = "graphene"
    size: int = 256
    pixel_size: Range = (0.29, 0.51)
    margin: int = 16
    step: float = 0.26
    material: Material = CARBON
    crystal: CrystalRanges = field(default_factory=CrystalRanges)
    defects: DefectRanges = field(default_factory=DefectRanges)
    contaminant: ContaminantRanges = field(default_factory=ContaminantRanges)
    optics: OpticsRanges = field(default_factory=OpticsRanges)
    detector: DetectorRanges = field(default_factory=DetectorRanges)


GRAPHENE = Configuration()
HEXAGONAL_BORON_NITRIDE = replace(GRAPHENE, name="boron_nitride", material=BORON_NITRIDE)
MOS2 = replace(GRAPHENE, name="mos2", material=MOLYBDENUM_DISULPHIDE)

# Frames full of structure that no mask may cover, half of them without any contamination: to mix
# into a training, and to see whether a network leaves defects alone.
DEFECTS = replace(
    GRAPHENE,
    name="defects",
    crystal=CrystalRanges(
        grain_fractions=(0.45, 0.4, 0.15),
        vacancies=(0.0, 6.0),
        stone_wales=(0.0, 6.0),
        hole_fraction=0.3,
    ),
    defects=DefectRanges(
        loop_fraction=0.6,
        loops=(1, 5),
        chain_fraction=0.25,
        divacancies=(0.0, 5.0),
        adatom_fraction=0.4,
        islands_fraction=0.25,
    ),
    contaminant=ContaminantRanges(clean_fraction=0.5),
    detector=DetectorRanges(dose=(3e3, 3e4), noise_fraction=0.9),
)

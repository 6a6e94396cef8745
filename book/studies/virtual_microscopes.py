"""Microscopes whose ranges lie outside of those that the training images were simulated in.

A virtual microscope is a configuration of `graphseg.simulation` with what that does not draw: both
signs of a large spherical aberration, a scintillator in front of the camera, uneven illumination.
None of its `moved` ranges overlaps with that of `GRAPHENE`, `DEFECTS` or `LAYERS`. Each images the
structures of `book.studies.unusual_structures` in turn, and the truth comes from the atoms.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import fft, ndimage

from book.studies.clean_sheets import GROWTH, NEAR, REACH, WINDOW, Field
from book.studies.configurations import LAYERS
from book.studies.unusual_structures import KINDS, Scene, scene
from graphseg.simulation.configuration import CARBON, DEFECTS, GRAPHENE, Configuration, Range
from graphseg.simulation.contaminant import NOTHING
from graphseg.simulation.optics import Conditions, draw_conditions, lattice_contrast
from graphseg.simulation.samples import image_layers, interface, shot_noise, truth_maps

SAMPLING = 0.25  # Å, about how far apart the pixels are that are scored: in fine images every k-th
FINEST = 0.12  # Å, of the grid of the intensity; it is band-limited and finer pixels interpolate it
SEEN_AT = 0.45  # Å, pixels of the published images, in which lattice and patches must be seen
# Signal over noise in such pixels from which on a lattice or a patch is seen; that of the lattice
# is 1.1 in the published images and .5 in the faintest.
SEEN = 0.5
ATTEMPTS = 200  # draws of the conditions


@dataclass(frozen=True)
class Microscope:
    """One instrument: what it is, and between which limits it is set.

    Attributes
    ----------
    configuration
        Of the simulation: acceleration, focus, sampling, dose, size of the frame.
    spherical
        Range of the third-order spherical aberration, Å.
    signs
        Of the defocus: 1 underfocus, -1 overfocus.
    scintillator
        Whether electrons are seen through one: it spreads their noise like the image. Cameras that
        count electrons, and the training generator, have white noise.
    gradient
        Slope of the illumination from edge to edge, relative.
    moved
        Names of `training_ranges` outside of which this microscope lies.
    """

    configuration: Configuration
    spherical: Range
    signs: tuple[int, ...]
    scintillator: bool
    gradient: Range
    moved: tuple[str, ...]

    def ranges(self) -> dict[str, Range]:
        """Return the range of each parameter of `training_ranges`."""
        optics, detector = self.configuration.optics, self.configuration.detector
        return {
            "energy": (optics.energy, optics.energy),
            "spherical": self.spherical,
            "defocus": optics.defocus,
            "focal_spread": optics.focal_spread,
            "pixel_size": self.configuration.pixel_size,
            "size": (self.configuration.size, self.configuration.size),
            "dose": detector.dose,
            "modulation": detector.modulation,
            "gradient": self.gradient,
        }


def training_ranges() -> dict[str, Range]:
    """Return between which limits each parameter is drawn for training, in the same units."""
    three = (GRAPHENE, DEFECTS, LAYERS)
    parts = {
        "energy": [(c.optics.energy,) * 2 for c in three],
        "spherical": [(-c.optics.spherical, c.optics.spherical) for c in three],
        "defocus": [r for c in three for r in (c.optics.defocus, c.optics.far_defocus)],
        "focal_spread": [c.optics.focal_spread for c in three],
        "pixel_size": [c.pixel_size for c in three],
        "size": [(c.size, c.size) for c in three],
        "dose": [c.detector.dose for c in three],
        "modulation": [c.detector.modulation for c in three],
        "gradient": [(0.0, c.detector.gradient) for c in three],
    }
    return {
        name: (min(low for low, _ in ranges), max(high for _, high in ranges))
        for name, ranges in parts.items()
    }


def _microscope(
    name: str,
    energy: float,
    *,
    pixel_size: Range,
    size: int,
    dose: Range,
    modulation: Range,
    defocus: Range,
    focal_spread: Range,
    spherical: Range,
    moved: str,
    signs: tuple[int, ...] = (1, -1),
    scintillator: bool = False,
    gradient: Range = (0.0, 0.008),
    margin: float = 8.0,
) -> Microscope:
    """Return a microscope; `margin` in Å is what aberrations carry from outside into the frame."""
    optics = replace(
        GRAPHENE.optics,
        energy=energy,
        defocus=defocus,
        far_fraction=0.0,
        spherical=0.0,
        focal_spread=focal_spread,
    )
    # A scintillator acts on the electrons that were counted, see `_recorded`.
    detector = replace(GRAPHENE.detector, dose=dose, modulation=modulation)
    configuration = replace(
        GRAPHENE,
        name=name,
        size=size,
        pixel_size=pixel_size,
        margin=int(np.ceil(margin / pixel_size[0])),
        optics=optics,
        detector=detector,
    )
    return Microscope(configuration, spherical, signs, scintillator, gradient, tuple(moved.split()))


COUNTING, SCINTILLATOR = (0.82, 0.95), (0.05, 0.18)  # transfer at the Nyquist frequency
# Uncorrected objective lenses are used near Scherzer's defocus, √(1.5 Cs λ), and the energy spread
# of their guns gives a focal spread of 18 to 30 Å; monochromated or Cc-corrected ones 1 to 3.5 Å.
MICROSCOPES = {
    m.configuration.name: m
    for m in (
        _microscope(
            "60 kV, Cc-corrected", 60e3, pixel_size=(0.11, 0.16), size=1024, dose=(3.2e4, 5e4),
            modulation=COUNTING, defocus=(4.0, 14.0), focal_spread=(1.0, 3.5),
            spherical=(-2e5, 0.0),
            moved="energy defocus focal_spread pixel_size size dose modulation",
        ),
        _microscope(
            "80 kV, low dose", 80e3, pixel_size=(0.20, 0.27), size=512, dose=(300.0, 1000.0),
            modulation=COUNTING, defocus=(15.0, 140.0), focal_spread=(1.0, 3.5),
            spherical=(-2e5, 2e5), gradient=(0.1, 0.3),
            moved="focal_spread pixel_size size dose modulation gradient",
        ),
        _microscope(
            "120 kV, out of focus", 120e3, pixel_size=(0.21, 0.28), size=256, dose=(1.2e3, 2.9e3),
            modulation=SCINTILLATOR, defocus=(430.0, 700.0), focal_spread=(16.0, 22.0),
            spherical=(2.5e5, 6e5), scintillator=True, margin=16.0,
            moved="energy spherical defocus focal_spread pixel_size dose modulation",
        ),
        _microscope(
            "200 kV, uncorrected", 200e3, pixel_size=(0.18, 0.26), size=512, dose=(1.2e3, 2.9e3),
            modulation=SCINTILLATOR, defocus=(425.0, 520.0), focal_spread=(18.0, 30.0),
            spherical=(4.5e6, 6e6), signs=(1,), scintillator=True, margin=16.0,
            moved="energy spherical defocus focal_spread pixel_size size dose modulation",
        ),
        _microscope(
            "200 kV, negative Cs", 200e3, pixel_size=(0.08, 0.12), size=2048, dose=(3.2e4, 5e4),
            modulation=COUNTING, defocus=(2.0, 14.0), focal_spread=(1.0, 3.5),
            spherical=(-4e5, -2.2e5),
            moved="energy spherical defocus focal_spread pixel_size size dose modulation",
        ),
        _microscope(
            "300 kV, uncorrected", 300e3, pixel_size=(0.14, 0.20), size=1024, dose=(1.5e3, 2.9e3),
            modulation=SCINTILLATOR, defocus=(540.0, 640.0), focal_spread=(18.0, 30.0),
            spherical=(1.05e7, 1.2e7), signs=(1,), scintillator=True, margin=20.0,
            moved="energy spherical defocus focal_spread pixel_size size dose modulation",
        ),
        _microscope(
            "300 kV, wide field", 300e3, pixel_size=(0.06, 0.08), size=4096, dose=(1.5e3, 2.9e3),
            modulation=COUNTING, defocus=(40.0, 140.0), focal_spread=(1.0, 3.5),
            spherical=(2.5e5, 6e5), gradient=(0.05, 0.2),
            moved="energy spherical focal_spread pixel_size size dose modulation gradient",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Frame:
    """A micrograph of a virtual microscope; the maps are on every `step`-th pixel of it.

    Attributes
    ----------
    name
        Microscope, kind and index.
    kind
        Of the structure, a key of `book.studies.unusual_structures.KINDS`.
    image
        (H, W) float32, electrons a pixel as the camera gives them.
    pixel_size
        Å.
    step
        Maps are ``image[::step, ::step]``.
    mask
        (h, w) bool, contamination.
    visible
        (h, w) bool, contamination that stands out of the noise, as in `clean_sheets.Sheet`.
    near
        (h, w) bool, clean and within one lattice constant of a defect.
    inside
        (h, w) bool, clean and inside a closed loop or on it.
    touching
        (h, w) bool, visible contamination within 10 Å of a grain boundary.
    conditions
        How it was imaged.
    """

    name: str
    kind: str
    image: np.ndarray
    pixel_size: float
    step: int
    mask: np.ndarray
    visible: np.ndarray
    near: np.ndarray
    inside: np.ndarray
    touching: np.ndarray
    conditions: Conditions


def frame(name: str, index: int, seed: int = 0) -> Frame:
    """Simulate one frame of a virtual microscope; the same arguments give the same frame.

    Parameters
    ----------
    name
        Key of `MICROSCOPES`.
    index
        Chooses the kind of structure in turn.
    seed
        Of all random numbers.
    """
    microscope = MICROSCOPES[name]
    sequence = np.random.SeedSequence([seed, list(MICROSCOPES).index(name), index])
    layout, lenses, camera = (np.random.default_rng(s) for s in sequence.spawn(3))
    configuration, kind = microscope.configuration, list(KINDS)[index % len(KINDS)]
    pixel_size = float(layout.uniform(*configuration.pixel_size))
    field = Field(configuration.size, pixel_size, configuration)
    drawn = scene(kind, layout, field)
    conditions = draw_settings(microscope, lenses, pixel_size)
    exact = _intensity(drawn, pixel_size, conditions, microscope)
    image = _recorded(camera, exact, pixel_size, conditions, microscope)
    step = max(round(SAMPLING / pixel_size), 1)
    maps = _maps(drawn, exact[::step, ::step], step * pixel_size, conditions, microscope)
    return Frame(
        f"{name}, {kind} {index}", kind, image, pixel_size, step, conditions=conditions, **maps
    )


def draw_settings(
    microscope: Microscope, rng: np.random.Generator, pixel_size: float
) -> Conditions:
    """Draw conditions until the lattice is seen, as a microscopist would focus."""
    optics, detector = microscope.configuration.optics, microscope.configuration.detector
    for _ in range(ATTEMPTS):
        drawn = draw_conditions(rng, optics, detector)
        conditions = replace(
            drawn,
            spherical=float(rng.uniform(*microscope.spherical)),
            defocus=abs(drawn.defocus) * float(rng.choice(microscope.signs)),
        )
        noise = 1 / np.sqrt(conditions.dose * SEEN_AT**2)
        if lattice_contrast(conditions, CARBON, pixel_size) > SEEN * noise:
            break
    return conditions


def _intensity(
    drawn: Scene, pixel_size: float, conditions: Conditions, microscope: Microscope
) -> np.ndarray:
    """Return the noiseless intensity (size, size), on a coarser grid first where pixels are fine.

    What a scintillator does comes later.
    """
    conditions = replace(conditions, modulation=1.0) if microscope.scintillator else conditions
    factor = 2 if pixel_size < FINEST / 1.5 else 1
    whole = microscope.configuration
    coarse = replace(whole, size=whole.size // factor, margin=whole.margin // factor)
    exact = image_layers(drawn.layer, drawn.on_top, factor * pixel_size, conditions, coarse)
    if factor == 1:
        return exact
    shape = (whole.size, whole.size)
    return ndimage.affine_transform(exact, [1 / factor] * 2, output_shape=shape, mode="nearest")


def _recorded(rng, exact, pixel_size, conditions, microscope: Microscope) -> np.ndarray:
    """Return electrons a pixel (H, W) float32, through illumination, shot noise and camera."""
    angle, slope = rng.uniform(0, 2 * np.pi), float(rng.uniform(*microscope.gradient))
    axis = np.linspace(-0.5, 0.5, len(exact), dtype=np.float32)
    ramp = np.add.outer(np.sin(angle) * axis, np.cos(angle) * axis)
    lit = np.maximum(exact, 0) * (1 + slope * ramp)
    counts = shot_noise(rng, lit * (conditions.dose * pixel_size**2))
    if not microscope.scintillator:
        return counts
    rows, columns = fft.fftfreq(len(exact))[:, None], fft.rfftfreq(len(exact))[None]
    transfer = np.exp(np.log(conditions.modulation) * 4 * (rows**2 + columns**2))
    return fft.irfft2(fft.rfft2(counts) * transfer.astype(np.float32), s=exact.shape)


def _maps(
    drawn: Scene, exact: np.ndarray, spacing: float, conditions: Conditions, microscope: Microscope
) -> dict[str, np.ndarray]:
    """Return the maps of `Frame` on pixels that are `spacing` Å apart."""
    field = Field(len(exact), spacing, microscope.configuration)
    mask = truth_maps(drawn.layer, drawn.on_top, len(exact), spacing, GROWTH)["mask"]
    whole = microscope.configuration
    margin = int(np.ceil(whole.margin * whole.size / len(exact)))
    plain = replace(conditions, modulation=1.0) if microscope.scintillator else conditions
    change = exact - image_layers(
        drawn.layer, NOTHING, spacing, plain, replace(whole, size=len(exact), margin=margin)
    )
    power = ndimage.gaussian_filter(change.astype(float) ** 2, WINDOW / spacing)
    visible = mask & (power >= SEEN**2 / (conditions.dose * SEEN_AT**2))
    inside = np.zeros(mask.shape, bool)
    for centre, radius in drawn.loops:
        inside |= field.within(centre[None], radius + NEAR)
    return {
        "mask": mask,
        "visible": visible,
        "near": field.within(drawn.points, NEAR) & ~mask,
        "inside": inside & ~mask,
        "touching": visible & field.within(interface(drawn.layer), REACH),
    }

"""A first, simple simulation of labelled micrographs of graphene.

Two rotated grains of a honeycomb meet at a straight boundary; smooth patches of random atoms lie
on top. The projected atoms pass through a linear contrast transfer function (weak-phase object),
the patches are scaled to a chosen contrast, and illumination and shot noise follow. There is no
multiple scattering and no relaxed structure.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

LATTICE_CONSTANT = 2.46  # Å, graphene
SHORTEST_BOND = 1.15  # Å, of two atoms closer than this across the boundary one is left out
WAVELENGTH = 0.041757  # Å, electrons of 80 kV
ATOM_WIDTH = 0.35  # Å, standard deviation of a projected carbon atom with its vibration
CONTAMINANT_DENSITY = 0.105  # atoms per Å³, amorphous carbon
OVERSAMPLING = 2  # the atoms are laid on a grid finer than the pixels by this factor
MARGIN = 16  # pixels cut off all round, where the Fourier transform wraps
SAMPLE_SEED = 2021
# Frames of each acquisition of the bundled sample: 15 acquisitions, 24 pairs.
SAMPLE_FRAMES = (1, 2, 1, 3, 1, 1, 2, 3, 1, 1, 2, 1, 3, 1, 1)
SAMPLE_EMPTY = (4, 11)  # acquisitions without contamination
SAMPLE_DAYS = 5


@dataclass(frozen=True, eq=False)
class SimulatedSample:
    """One simulated micrograph with its truth.

    Attributes
    ----------
    name
        Named by the rule of the published set: date, acquisition, frame.
    image
        (H, W) float32, the micrograph stretched to 0…1.
    mask
        (H, W) bool, True = contamination.
    pixel_size
        Å per pixel.
    counts
        (H, W) float64, the micrograph before stretching, in electrons per pixel.
    background
        (H, W) float64, its illumination relative to the mean.
    positions
        (n, 2) float64, the graphene atoms in pixels (row, column).
    grains
        (n,) int, the grain of each atom: 0 or 1.
    angles
        (2,) float64, the direction of a lattice vector of each grain, in radians.
    defocus
        In Å; positive shows atoms bright, negative dark.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    pixel_size: float
    counts: np.ndarray
    background: np.ndarray
    positions: np.ndarray
    grains: np.ndarray
    angles: np.ndarray
    defocus: float


def simulate_sample(
    seed: int,
    index: int,
    frame: int = 0,
    frames: int = 1,
    size: int = 256,
    pixel_size: float | None = None,
    coverage: float | None = None,
    gradient: float = 0.05,
) -> SimulatedSample:
    """Simulate one frame of one acquisition.

    The frames of an acquisition share the structure and nearly the same contamination; defocus,
    drift and noise differ. The same arguments give the same sample.

    Parameters
    ----------
    seed, index
        Choose the acquisition.
    frame, frames
        Which frame of how many; with one frame the name has no ``_layer_NNNN``.
    size
        Height and width in pixels.
    pixel_size
        Å per pixel; by default random, 0.3 to 0.5 as in the published set.
    coverage
        The contaminated share of the area, 0…1; by default random with a median near 10 %.
    gradient
        Largest relative deviation of the illumination from its mean.
    """
    shared = np.random.default_rng(np.random.SeedSequence([seed, index]))
    own = np.random.default_rng(np.random.SeedSequence([seed, index, frame + 1]))
    full = size + 2 * MARGIN
    # Drawn even if given, so that the rest of the structure does not depend on it.
    drawn_size = float(shared.uniform(0.30, 0.50))
    drawn_coverage = float(np.clip(np.exp(shared.normal(np.log(0.11), 0.6)), 0.02, 0.6))
    pixel_size = drawn_size if pixel_size is None else pixel_size
    mask = _patches(shared, own, full, drawn_coverage if coverage is None else coverage)
    angles = shared.uniform(0, np.pi / 3, 2)
    atoms, grains = _two_grains(shared, full * pixel_size, angles)
    atoms = atoms + own.uniform(-0.6, 0.6, 2)  # Å, drift between the frames
    dirt = _random_atoms(shared, mask, pixel_size)
    # Near 108 Å the transfer of the first ring of lattice peaks is zero: stay well below.
    defocus = float(own.uniform(30, 85) * shared.choice([-1.0, 1.0]))
    transfer = _transfer(full, pixel_size, defocus, focal_spread=float(own.uniform(4, 15)))
    lattice = _project(atoms / pixel_size, full, transfer)
    patches = _project(dirt / pixel_size, full, transfer)
    background = _illumination(own, full, gradient)
    counts = _expose(own, lattice, patches, mask, background)
    positions = atoms / pixel_size - MARGIN
    inside = ((positions > -0.5) & (positions < size - 0.5)).all(axis=1)
    crop = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return SimulatedSample(
        name=_name(index, frame, frames),
        image=_stretch(counts[crop]),
        mask=mask[crop],
        pixel_size=pixel_size,
        counts=counts[crop],
        background=background[crop],
        positions=positions[inside],
        grains=grains[inside],
        angles=angles,
        defocus=defocus,
    )


def sample_set() -> Iterator[SimulatedSample]:
    """Simulate the 24 samples that are bundled in ``data/simulated``, in the order of names."""
    samples = [
        simulate_sample(
            SAMPLE_SEED, index, frame, frames, coverage=0.0 if index in SAMPLE_EMPTY else None
        )
        for index, frames in enumerate(SAMPLE_FRAMES)
        for frame in range(frames)
    ]
    yield from sorted(samples, key=lambda sample: sample.name)


def write_sample_set(folder: str | Path) -> None:
    """Write the bundled sample: 8-bit ``name.png``, ``name_LABEL.png``, ``pixel_sizes.json``."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for sample in sample_set():
        label = np.where(sample.mask, 255, 0).astype(np.uint8)
        Image.fromarray(to_8_bit(sample.image)).save(folder / f"{sample.name}.png")
        Image.fromarray(label).save(folder / f"{sample.name}_LABEL.png")
        sizes[sample.name] = round(sample.pixel_size, 5)
    (folder / "pixel_sizes.json").write_text(json.dumps(sizes, indent=1) + "\n")


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """Round an image in [0, 1] to uint8, 0…255."""
    return np.rint(255 * image.astype(float)).astype(np.uint8)


def honeycomb(extent: float, angle: float, origin: np.ndarray) -> np.ndarray:
    """Return the (n, 2) atoms in Å of graphene that cover a square of `extent` Å.

    `angle` (radians) is the direction of one lattice vector, from the column axis towards the
    row axis; `origin` (Å) is the centre of a hexagon.
    """
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    vectors = LATTICE_CONSTANT * np.array([[0, 1], [np.sqrt(3) / 2, 0.5]]) @ turn  # (row, col)
    reach = int(np.ceil(2 * extent / LATTICE_CONSTANT)) + 2
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), axis=-1)
    basis = np.array([[1 / 3, 1 / 3], [2 / 3, 2 / 3]])
    atoms = (cells.reshape(-1, 1, 2) + basis).reshape(-1, 2) @ vectors + origin
    return atoms[((atoms > 0) & (atoms < extent)).all(axis=1)]


def _two_grains(
    rng: np.random.Generator, extent: float, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    direction = rng.uniform(0, np.pi)
    normal = np.array([np.cos(direction), np.sin(direction)])
    point = rng.uniform(0.2, 0.8, 2) * extent
    parts = []
    for grain, angle in enumerate(angles):
        atoms = honeycomb(extent, angle, rng.uniform(0, LATTICE_CONSTANT, 2))
        parts.append(atoms[((atoms - point) @ normal > 0) == bool(grain)])
    atoms = np.concatenate(parts)
    grains = np.repeat([0, 1], [len(part) for part in parts])
    close = cKDTree(atoms).query_pairs(SHORTEST_BOND, output_type="ndarray")
    keep = np.ones(len(atoms), bool)
    keep[close[:, 1]] = False
    return atoms[keep], grains[keep]


def _patches(
    shared: np.random.Generator, own: np.random.Generator, full: int, coverage: float
) -> np.ndarray:
    """Threshold a smooth random field, a little different in each frame, and drop the specks."""
    fields = [
        ndimage.gaussian_filter(rng.standard_normal((full, full)), full / 14, mode="wrap")
        for rng in (shared, own)
    ]
    field = fields[0] + 0.2 * fields[1]
    edge = np.abs(np.linspace(-1, 1, full)) ** 4  # contamination gathers near the frame's edge
    field = field / field.std() + 0.8 * np.maximum.outer(edge, edge)
    inner = field[MARGIN:-MARGIN, MARGIN:-MARGIN]
    mask = field > np.quantile(inner, 1 - coverage) if coverage > 0 else np.zeros_like(field, bool)
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    return mask & (areas > 0.002 * full**2)[labels]


def _random_atoms(rng: np.random.Generator, mask: np.ndarray, pixel_size: float) -> np.ndarray:
    """Scatter (n, 2) atoms in Å over the patches, 3 to 8 Å thick and clumped at about 3 Å."""
    extent = len(mask) * pixel_size
    thickness = rng.uniform(3, 8)
    number = int(2.5 * CONTAMINANT_DENSITY * thickness * extent**2)
    clumps = ndimage.gaussian_filter(rng.standard_normal(mask.shape), 3 / pixel_size, mode="wrap")
    density = np.exp(0.7 * clumps / clumps.std())
    atoms = rng.uniform(0, extent, (number, 2))
    rows, columns = np.minimum((atoms / pixel_size).astype(int), len(mask) - 1).T
    kept = rng.uniform(0, 3, number) < density[rows, columns]
    return atoms[kept & mask[rows, columns]]


def _transfer(full: int, pixel_size: float, defocus: float, focal_spread: float) -> np.ndarray:
    """Transfer of a projected atom to contrast on the fine grid's half plane of frequencies.

    sin(π λ Δf q²) of a weak-phase object, damped by the focal spread and the atom's width.
    """
    step = pixel_size / OVERSAMPLING
    number = full * OVERSAMPLING
    q2 = np.add.outer(np.fft.fftfreq(number, step) ** 2, np.fft.rfftfreq(number, step) ** 2)
    phase = np.sin(np.pi * WAVELENGTH * defocus * q2)
    spread = np.exp(-0.5 * (np.pi * WAVELENGTH * focal_spread * q2) ** 2)
    return phase * spread * np.exp(-2 * np.pi**2 * ATOM_WIDTH**2 * q2)


def _project(atoms: np.ndarray, full: int, transfer: np.ndarray) -> np.ndarray:
    """Lay atoms (pixels) bilinearly on the fine grid, transfer them, and bin to pixels."""
    number = full * OVERSAMPLING
    fine = (atoms + 0.5) * OVERSAMPLING - 0.5
    corner = np.floor(fine).astype(int)
    rest = fine - corner
    grid = np.zeros(number * number)
    for row in (0, 1):
        for column in (0, 1):
            weight = np.abs(1 - row - rest[:, 0]) * np.abs(1 - column - rest[:, 1])
            place = ((corner[:, 0] + row) % number) * number + (corner[:, 1] + column) % number
            grid += np.bincount(place, weight, number * number)
    image = np.fft.irfft2(np.fft.rfft2(grid.reshape(number, number)) * transfer, s=(number,) * 2)
    return image.reshape(full, OVERSAMPLING, full, OVERSAMPLING).mean(axis=(1, 3))


def _illumination(rng: np.random.Generator, full: int, gradient: float) -> np.ndarray:
    """Return a smooth relative illumination: a tilted plane with a weak bow, its mean 1."""
    axis = np.linspace(-1, 1, full)
    slope, bow = rng.uniform(-1, 1, 2), rng.uniform(-0.5, 0.5, 2)
    surface = np.add.outer(slope[0] * axis + bow[0] * axis**2, slope[1] * axis + bow[1] * axis**2)
    surface -= surface.mean()
    return 1 + gradient * surface / np.abs(surface).max()


def _expose(
    rng: np.random.Generator,
    lattice: np.ndarray,
    patches: np.ndarray,
    mask: np.ndarray,
    background: np.ndarray,
) -> np.ndarray:
    """Bring lattice, patches and shot noise to the contrasts of the published images.

    Measured there: noise is 0.66 of the standard deviation of clean areas, and contaminated areas
    have 1.7 times the standard deviation of clean ones and are a little darker. Shot noise is
    Gaussian with the variance of the counts.
    """
    contrast = rng.uniform(0.06, 0.14)
    share = np.clip(rng.normal(0.66, 0.08), 0.45, 0.85)  # noise / all, standard deviations, clean
    ratio = np.clip(rng.normal(1.7, 0.25), 1.25, 2.3)  # contaminated / clean
    clean = 1 / np.sqrt(1 - share**2)  # standard deviation of clean areas, in units of the lattice
    signal = (lattice - lattice.mean()) / lattice.std()
    if mask.any():
        scale = np.sqrt((ratio**2 - 1) * clean**2) / patches[mask].std()
        soft = ndimage.gaussian_filter(mask.astype(float), 2)
        signal = signal + scale * (patches - patches[mask].mean() * soft) - 0.3 * clean * soft
    dose = 1 / (contrast * share * clean) ** 2  # electrons per pixel: relative noise 1/√dose
    expected = dose * background * np.maximum(1 + contrast * signal, 0.05)
    return expected + np.sqrt(expected) * rng.standard_normal(expected.shape)


def _stretch(counts: np.ndarray) -> np.ndarray:
    low, high = counts.min(), counts.max()
    return ((counts - low) / (high - low)).astype(np.float32)


def _name(index: int, frame: int, frames: int) -> str:
    date = f"2000_{101 + index % SAMPLE_DAYS:04d}"
    if frames == 1:
        return f"{date}_Simulated_{index:03d}"
    return f"{date}_Simulated_FS_{index:03d}_layer_{4 * frame + 1:04d}"

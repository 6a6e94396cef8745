"""From atoms to the wave behind them by the multislice method, and on to the noiseless image.

Atoms are laid on a grid, multiplied with their scattering factors in Fourier space and projected
to one plane per slab (Kirkland, "Advanced Computing in Electron Microscopy", 2nd ed., chapters 5
and 6). Arrays are float32 and complex64 throughout; scalars that meet them must be Python
floats, because NumPy 2 promotes complex64 arrays by `np.float64` scalars.
"""

from functools import lru_cache
from math import ceil, cos, pi, sin

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy import fft

from graphseg.simulation.optics import (
    POTENTIAL_CONSTANT,
    Conditions,
    interaction_constant,
    scattering_factor,
    wavelength,
)

BAND_LIMIT = 2 / 3  # of the Nyquist frequency: products of two waves then do not alias


@lru_cache(maxsize=2)
def frequencies(shape: tuple[int, int], steps: tuple[float, float]):
    """Return row and column frequencies (1/Å, broadcastable) and their squared length, float32."""
    rows = fft.fftfreq(shape[0], steps[0]).astype(np.float32)[:, None]
    columns = fft.fftfreq(shape[1], steps[1]).astype(np.float32)[None, :]
    return rows, columns, rows**2 + columns**2


def exit_wave(
    positions: np.ndarray,
    heights: np.ndarray,
    numbers: np.ndarray,
    shape: tuple[int, int],
    extent: tuple[float, float],
    conditions: Conditions,
    mobile: np.ndarray | None = None,
) -> np.ndarray:
    """Return the Fourier transform of the wave behind the specimen, referred to height 0.
    Positions (n, 2) and heights (n,), along the beam, in Å on a field of period `extent` (Å) with
    `shape` grid points, the first at (0, 0); `numbers` are atomic numbers. Atoms that are `mobile`
    (n,) bool move under the beam. The result is complex64 in the layout of `scipy.fft.fft2`, zero
    beyond two thirds of the grid's Nyquist frequency."""
    steps = tuple(length / number for length, number in zip(extent, shape, strict=True))
    q_squared = frequencies(shape, steps)[2]
    limit = (BAND_LIMIT * 0.5 / max(steps)) ** 2
    slab, thickness, bottom = _slabs(heights, conditions.slice_thickness)
    # One form factor for each element at rest (even) and mobile (odd).
    kinds = 2 * numbers + (0 if mobile is None else mobile)
    spread = _form_factors(np.unique(kinds), shape, steps, conditions, limit)
    wave_length = wavelength(conditions.energy)
    strength = float(interaction_constant(conditions.energy))
    forward = band_limited_phase(q_squared, -pi * float(wave_length) * thickness, q_squared < limit)
    # Through one slab after the other: a phase from its potential, then free space to the next.
    spectrum = None
    for number in range(int(slab.max(initial=0)) + 1):
        chosen = slab == number
        phase = strength * _potential(positions[chosen], kinds[chosen], shape, steps, spread)
        transmitted = unit_phase(phase)
        if conditions.absorption:
            transmitted *= np.exp(-conditions.absorption * phase)
        if spectrum is None:
            spectrum = fft.fft2(transmitted, overwrite_x=True)
        else:
            spectrum *= forward
            wave = fft.ifft2(spectrum, overwrite_x=True)
            spectrum = fft.fft2(wave * transmitted, overwrite_x=True)
    last = bottom + thickness * (float(slab.max(initial=0)) + 0.5)
    # Back from the middle of the last slab to height 0.
    return spectrum * band_limited_phase(
        q_squared, pi * float(wave_length) * last, q_squared < limit
    )


def _slabs(heights: np.ndarray, thickest: float) -> tuple[np.ndarray, float, float]:
    """Return the slab of each atom, the slabs' common thickness in Å and the lowest height."""
    if not len(heights):
        return np.zeros(0, int), 0.0, 0.0
    bottom, top = float(heights.min()), float(heights.max())
    count = max(ceil((top - bottom) / thickest), 1)
    thickness = (top - bottom) / count
    slab = ((heights - bottom) / max(thickness, 1e-9)).astype(int)
    return np.minimum(slab, count - 1), thickness, bottom


def band_limited_phase(q_squared: np.ndarray, factor: float, within: np.ndarray) -> np.ndarray:
    """Return exp(i · factor · q²) within the band limit and 0 beyond it."""
    return unit_phase(factor * q_squared) * within


def unit_phase(phase: np.ndarray) -> np.ndarray:
    """Return exp(i · phase) as complex64; much faster than the complex exponential."""
    result = np.empty(phase.shape, np.complex64)
    result.real, result.imag = np.cos(phase), np.sin(phase)
    return result


def _form_factors(kinds, shape, steps, conditions, limit) -> dict[int, np.ndarray]:
    """Return the projected potential of each kind of atom on the half plane, V·Å²."""
    # Thermal vibration damps it, and the bilinear deposit is divided out.
    rows, columns, q_squared = frequencies(shape, steps)
    half = shape[1] // 2 + 1
    rows, columns, q_squared = rows, np.abs(columns[:, :half]), q_squared[:, :half]
    cell = steps[0] * steps[1]
    deposit = (np.sinc(rows * steps[0]) * np.sinc(columns * steps[1])) ** 2
    common = np.exp(-2 * pi**2 * conditions.vibration * q_squared) / deposit
    common *= (q_squared < limit) * (POTENTIAL_CONSTANT / cell)
    moving = common * np.exp(-2 * pi**2 * conditions.mobility * q_squared)
    return {
        int(kind): (moving if kind % 2 else common) * scattering_factor(int(kind) // 2, q_squared)
        for kind in kinds
    }


def _potential(positions, kinds, shape, steps, spread) -> np.ndarray:
    """Return the projected potential of one slab in V·Å, (H, W) float32."""
    spectrum = None
    for kind in np.unique(kinds):
        points = deposit(positions[kinds == kind], shape, steps)
        part = fft.rfft2(points) * spread[int(kind)]
        spectrum = part if spectrum is None else spectrum + part
    if spectrum is None:
        return np.zeros(shape, np.float32)
    return fft.irfft2(spectrum, s=shape, overwrite_x=True)


def deposit(
    positions: np.ndarray, shape: tuple[int, int], steps: tuple[float, float]
) -> np.ndarray:
    """Lay points (n, 2) in Å on a periodic grid, each spread bilinearly over four grid points.
    Grid point (i, j) is at (i, j) times `steps` (Å); the sum of the float32 grid is n."""
    scaled = positions / np.asarray(steps)
    corner = np.floor(scaled)
    rest = scaled - corner
    row, column = corner[:, 0].astype(np.intp), corner[:, 1].astype(np.intp)
    row, next_row = row % shape[0] * shape[1], (row + 1) % shape[0] * shape[1]
    column, next_column = column % shape[1], (column + 1) % shape[1]
    down, right = rest[:, 0], rest[:, 1]
    places = np.concatenate(
        [row + column, row + next_column, next_row + column, next_row + next_column]
    )
    weights = np.concatenate(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    )
    grid = np.bincount(places, weights, shape[0] * shape[1])
    return grid.reshape(shape).astype(np.float32)


def aberration(rows: np.ndarray, columns: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Return the aberration χ(q) in radians; the transfer function is exp(−iχ).
    `rows` and `columns` are broadcastable frequencies in 1/Å. With the complex angle ω = λ
    (q_column + i q_row), an aberration of multiplicity m is the real part of the product of ω^m
    with the conjugate of its complex amplitude."""
    length = float(wavelength(conditions.energy))
    x, y = length * columns, length * rows
    radius, real, imaginary = x**2 + y**2, x**2 - y**2, 2 * x * y  # |ω|², parts of ω²
    # Amplitude · exp(i m angle) / order of each residual aberration, as (real, imaginary).
    (two, two_i), (one, one_i), (three, three_i) = (
        (amplitude * cos(m * angle) / order, amplitude * sin(m * angle) / order)
        for (amplitude, angle), m, order in (
            (conditions.astigmatism, 2, 2),
            (conditions.coma, 1, 3),
            (conditions.threefold, 3, 3),
        )
    )
    path = radius * (-0.5 * conditions.defocus + 0.25 * conditions.spherical * radius)
    path += two * real + two_i * imaginary
    path += (one * x + one_i * y) * radius
    path += three * (x * real - y * imaginary) + three_i * (y * real + x * imaginary)
    return 2 * pi / length * path


def intensity(
    spectrum: np.ndarray, extent: tuple[float, float], conditions: Conditions
) -> np.ndarray:
    """Return the image intensity (H, W) float32, 1 without a specimen."""
    # The focal spread is a sum over a few foci, or one damping envelope; the finite source damps by
    # exp(−(π α q (λ² Cs q² − Δf))²) (Kirkland, section 3.2), Δf the defocus and α the divergence.
    shape = spectrum.shape
    steps = tuple(length / number for length, number in zip(extent, shape, strict=True))
    rows, columns, q_squared = frequencies(shape, steps)
    length = float(wavelength(conditions.energy))
    transferred = spectrum * unit_phase(-aberration(rows, columns, conditions))
    if conditions.divergence:
        focus = conditions.spherical * length**2 * q_squared - conditions.defocus
        transferred *= np.exp(-((pi * conditions.divergence * focus) ** 2) * q_squared)
    if conditions.focal_points == 1:
        damping = -0.5 * (pi * length * conditions.focal_spread) ** 2
        transferred *= np.exp(damping * q_squared**2)
    total = np.zeros(shape, np.float32)
    # Gauss-Hermite: nodes in standard deviations, exact for polynomials of degree 2k − 1.
    nodes, weights = hermegauss(conditions.focal_points)
    for node, weight in zip(nodes.tolist(), (weights / weights.sum()).tolist(), strict=True):
        factor = pi * length * node * conditions.focal_spread
        wave = fft.ifft2(transferred * unit_phase(factor * q_squared) if node else transferred)
        total += weight * (wave.real**2 + wave.imag**2)
    return total


def to_pixels(
    image: np.ndarray, extent: tuple[float, float], shape: tuple[int, int], conditions: Conditions
) -> np.ndarray:
    """Return the periodic image at the camera's pixels, (H, W) float32."""
    # Blur, drift, the area of a pixel and the camera's modulation transfer act in Fourier space;
    # frequencies beyond the camera's Nyquist frequency are dropped. Pixel (0, 0) is centred on grid
    # point (0, 0).
    pixel = tuple(length / number for length, number in zip(extent, shape, strict=True))
    rows = fft.fftfreq(shape[0], pixel[0]).astype(np.float32)[:, None]
    columns = fft.rfftfreq(shape[1], pixel[1]).astype(np.float32)[None, :]
    exponent = -2 * pi**2 * conditions.blur**2 * (rows**2 + columns**2)
    relative = (2 * rows * pixel[0]) ** 2 + (2 * columns * pixel[1]) ** 2
    exponent += float(np.log(conditions.modulation)) * relative
    transfer = np.exp(exponent) * np.sinc(rows * pixel[0]) * np.sinc(columns * pixel[1])
    transfer *= np.sinc(rows * conditions.drift[0] + columns * conditions.drift[1])
    spectrum = fft.rfft2(image)
    top, bottom = (shape[0] + 1) // 2, shape[0] // 2
    cropped = np.concatenate([spectrum[:top], spectrum[len(spectrum) - bottom :]])
    cropped = cropped[:, : shape[1] // 2 + 1] * transfer
    scale = shape[0] * shape[1] / image.size
    return fft.irfft2(cropped, s=shape, overwrite_x=True) * scale


def grid_shape(pixels: tuple[int, int], pixel_size: float, step: float) -> tuple[int, int]:
    """Return a grid for the wave, of a size that transforms fast."""
    # It is no coarser than the larger of `step` (Å) and two thirds of a pixel, at which the band
    # limit of the wave is the Nyquist frequency of the camera.
    step = max(step, BAND_LIMIT * pixel_size)
    return tuple(
        fft.next_fast_len(max(ceil(number * pixel_size / step - 1e-6), number), real=True)
        for number in pixels
    )


def micrograph(
    positions: np.ndarray,
    heights: np.ndarray,
    numbers: np.ndarray,
    shape: tuple[int, int],
    pixel_size: float,
    conditions: Conditions,
    step: float = 0.26,
    mobile: np.ndarray | None = None,
) -> np.ndarray:
    """Return the noiseless intensity on a periodic field of camera pixels, (H, W) float32.
    Positions (n, 2) in Å; pixel (0, 0) is centred on (0, 0). 1 is the intensity without specimen.
    `step` and `mobile` are those of `grid_shape` and `exit_wave`."""
    extent = tuple(number * pixel_size for number in shape)
    grid = grid_shape(shape, pixel_size, step)
    spectrum = exit_wave(positions, heights, numbers, grid, extent, conditions, mobile)
    return to_pixels(intensity(spectrum, extent, conditions), extent, shape, conditions)

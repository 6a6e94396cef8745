"""From atoms to the wave behind them, by the multislice method.

Atoms are laid on a grid, multiplied with their scattering factors in Fourier space and projected
to one plane per slab (Kirkland, "Advanced Computing in Electron Microscopy", 2nd ed., chapters 5
and 6). Arrays are float32 and complex64 throughout; scalars that meet them must be Python
floats, because NumPy 2 promotes complex64 arrays by `np.float64` scalars.
"""

from functools import lru_cache
from math import ceil, pi

import numpy as np
from scipy import fft

from graphseg.simulation.conditions import Conditions
from graphseg.simulation.scattering import (
    POTENTIAL_CONSTANT,
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

    Parameters
    ----------
    positions
        (n, 2) float in Å (row, column) on a periodic field; grid point (0, 0) is at (0, 0).
    heights
        (n,) float in Å along the beam.
    numbers
        (n,) int, atomic numbers.
    shape
        Grid points.
    extent
        Period in Å.
    mobile
        (n,) bool, the atoms that move under the beam; by default none.

    Returns
    -------
        (H, W) complex64, `scipy.fft.fft2` layout, zero beyond two thirds of the grid's Nyquist
        frequency.
    """
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
    spectrum = None
    for number in range(int(slab.max(initial=0)) + 1):
        chosen = slab == number
        phase = strength * _potential(positions[chosen], kinds[chosen], shape, steps, spread)
        transmitted = _transmission(phase, conditions.absorption)
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


def _transmission(phase: np.ndarray, absorption: float) -> np.ndarray:
    transmitted = unit_phase(phase)
    if absorption:
        transmitted *= np.exp(-absorption * phase)
    return transmitted


def _form_factors(kinds, shape, steps, conditions, limit) -> dict[int, np.ndarray]:
    """Return the projected potential of each kind of atom on the half plane, V·Å².

    Thermal vibration damps it, and the bilinear deposit is divided out.
    """
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
    """Lay points on a periodic grid, each spread bilinearly over four grid points.

    Parameters
    ----------
    positions
        (n, 2) float in Å; grid point (i, j) is at (i, j) times `steps` (Å).

    Returns
    -------
        (H, W) float32, its sum the number of points.
    """
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

"""From the wave behind the specimen to the noiseless image: lenses, blur, pixels."""

from math import ceil, cos, pi, sin, sqrt

import numpy as np
from scipy import fft

from graphseg.simulation.conditions import Conditions
from graphseg.simulation.multislice import BAND_LIMIT, exit_wave, frequencies, unit_phase
from graphseg.simulation.scattering import wavelength

# Gauss-Hermite nodes in standard deviations, and weights: exact for polynomials of degree 2k − 1.
FOCAL_NODES = {
    1: ((0.0, 1.0),),
    3: ((-sqrt(3.0), 1 / 6), (0.0, 2 / 3), (sqrt(3.0), 1 / 6)),
    5: (
        (-2.8569700138728056, 0.01125741132772068),
        (-1.355626179974266, 0.22207592200561266),
        (0.0, 0.5333333333333333),
        (1.355626179974266, 0.22207592200561266),
        (2.8569700138728056, 0.01125741132772068),
    ),
}


def aberration(rows: np.ndarray, columns: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Return the aberration χ(q) in radians; the transfer function is exp(−iχ).

    `rows` and `columns` are broadcastable frequencies in 1/Å. With the complex angle
    ω = λ (q_column + i q_row), an aberration of multiplicity m is the real part of the product of
    ω^m with the conjugate of its complex amplitude.
    """
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
    """Return the image intensity (H, W) float32, 1 without a specimen.

    The focal spread is a sum over a few foci, or one damping envelope; the finite source damps
    by exp(−(π α q (λ² Cs q² − Δf))²) (Kirkland, section 3.2), Δf the defocus and α the divergence.
    """
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
    for node, weight in FOCAL_NODES[conditions.focal_points]:
        factor = pi * length * node * conditions.focal_spread
        wave = fft.ifft2(transferred * unit_phase(factor * q_squared) if node else transferred)
        total += weight * (wave.real**2 + wave.imag**2)
    return total


def to_pixels(
    image: np.ndarray, extent: tuple[float, float], shape: tuple[int, int], conditions: Conditions
) -> np.ndarray:
    """Return the periodic image at the camera's pixels, (H, W) float32.

    Blur, drift, the area of a pixel and the camera's modulation transfer act in Fourier space;
    frequencies beyond the camera's Nyquist frequency are dropped. Pixel (0, 0) is centred on
    grid point (0, 0).
    """
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
    """Return a grid for the wave, of a size that transforms fast.

    It is no coarser than the larger of `step` (Å) and two thirds of a pixel, at which the band
    limit of the wave is the Nyquist frequency of the camera.
    """
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
    `step` and `mobile` are those of `grid_shape` and `exit_wave`.
    """
    extent = tuple(number * pixel_size for number in shape)
    grid = grid_shape(shape, pixel_size, step)
    spectrum = exit_wave(positions, heights, numbers, grid, extent, conditions, mobile)
    return to_pixels(intensity(spectrum, extent, conditions), extent, shape, conditions)

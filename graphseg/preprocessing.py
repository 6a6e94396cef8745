"""What precedes every method: eqs 1–3 of Sadre et al. (2021), and the spectrum of eq. 4.

Flat field, normalisation, standardisation, resizing, and the weighted spectrum in which both the
Bragg filter and the measurement of the lattice look for reflections.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import comb

import numpy as np
import scipy.fft as fft
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d
from scipy.signal.windows import tukey

from graphseg.checks import real_numbers
from graphseg.errors import InputError

# Peak heights are given as if every image had 256 × 256 pixels: the transform is unnormalised, so
# a lattice of the same contrast would otherwise be four times higher on twice the side.
REFERENCE_PIXELS = 256 * 256
ROWS = 512  # of an image that are worked on at a time
ROUNDING = 1e-9  # relative differences below this are rounding, not structure
NEGLIGIBLE_CHANGE = 1e-3  # fraction of pixels; below it the search for contamination has settled


@dataclass(frozen=True, eq=False)
class FlatField:
    """What `flat_field` found."""

    corrected: np.ndarray  # (H, W) float32, the image divided by its background; mean near 1
    background: np.ndarray  # (H, W) float64, the surface of eq. 1, in the units of the image
    excluded: np.ndarray  # (H, W) bool, the pixels that were left out of the fit


def bernstein_basis(degree: int, samples: int) -> np.ndarray:
    """Return the Bernstein polynomials of a degree on equidistant points from 0 to 1.
    (samples, degree + 1) float64; column i is B_i(u) = C(m, i) u^i (1 - u)^(m - i). InputError if
    there are fewer points than polynomials, or the degree is negative."""
    if not 0 <= degree < samples:
        raise InputError(
            f"A surface of degree {degree} cannot be fitted to {samples} pixels; "
            "choose a degree of at least 0 and below the number of pixels."
        )
    u = np.linspace(0, 1, samples)[:, None]
    i = np.arange(degree + 1)
    return np.array([comb(degree, k) for k in i]) * u**i * (1 - u) ** (degree - i)


def fit_bezier_surface(
    image: np.ndarray, degree: tuple[int, int] = (2, 2), exclude: np.ndarray | None = None
) -> np.ndarray:
    """Fit a Bézier surface to an (H, W) image by least squares (eq. 1), (H, W) float64.
    I0(u, v) = Σ_i Σ_j B_i(u) B_j(v) k_ij, with u along the rows and v along the columns, both from
    0 to 1; `degree` is (m, n). Pixels that are True in `exclude` (H, W) take no part. InputError if
    the image is not 2-D or not finite, or too few pixels are left to fix the surface."""
    return bezier_surface(_checked(image), degree, exclude)


def bezier_surface(
    image: np.ndarray, degree: tuple[int, int], exclude: np.ndarray | None
) -> np.ndarray:
    """Do what `fit_bezier_surface` does with an (H, W) image of floats that was checked before."""
    # Orthonormal columns span the same surfaces and keep high degrees well conditioned.
    rows, columns = (
        np.linalg.qr(bernstein_basis(d, n))[0] for d, n in zip(degree, image.shape, strict=True)
    )
    if exclude is None or not exclude.any():
        return rows @ _project(image, rows, columns) @ columns.T
    if exclude.shape != image.shape:
        raise InputError(
            f"exclude: expected the shape of the image, {image.shape}, got {exclude.shape}."
        )
    return rows @ _masked_coefficients(image, rows, columns, ~exclude) @ columns.T


def flat_field(
    image: np.ndarray,
    degree: tuple[int, int] = (2, 2),
    exclude: np.ndarray | None = None,
    iterations: int = 10,
    window: int = 16,
    threshold: float = 3.0,
) -> FlatField:
    """Divide an (H, W) image by its background, fitted where the surface is clean (eqs 1 and 2).
    Without `exclude` (H, W) bool, contaminated areas are found by at most that many `iterations`:
    fit, leave out where the local mean or the local standard deviation of the residual is an
    outlier (by more than `threshold` robust standard deviations, over squares of `window` pixels,
    which hold some lattice periods), fit again.

    This needs more than half of the field to be clean. Below a patch that fills a corner the
    surface is continued from the clean part; there a lower degree is safer. Zero must mean no
    electrons. InputError if the image is not 2-D or not finite, or its background not positive
    everywhere."""
    image = _checked(image)
    if exclude is not None or iterations == 0:
        excluded = np.zeros(image.shape, bool) if exclude is None else np.asarray(exclude, bool)
        background = fit_bezier_surface(image, degree, excluded)
    else:
        background, excluded = _robust_fit(image, degree, iterations, window, threshold)
    return FlatField(normalise(image, background), background, excluded)


def normalise(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Divide an image by its background (eq. 2), as float32; InputError if that is not positive."""
    if not background.min() > 0:
        raise InputError(
            "The fitted background is not positive everywhere; restore the image's zero level "
            "or lower the degree of the surface."
        )
    return (image / background).astype(np.float32)


def standardise(image: np.ndarray) -> np.ndarray:
    """Bring each image of (H, W) or (n, H, W) to mean 0 and standard deviation 1 (eq. 3), float32.
    A constant image becomes 0 everywhere. InputError if a value is not finite."""
    image = _finite(image)
    if image.ndim < 2 or not image.size:
        raise InputError(f"Images: expected shape (H, W) or (n, H, W), got {image.shape}.")
    mean = image.mean(axis=(-2, -1), keepdims=True, dtype=np.float64)
    centred = image - mean
    deviation = centred.std(axis=(-2, -1), keepdims=True)
    # Rounding leaves a constant image with a tiny deviation, which must not be blown up.
    constant = deviation <= 1e-7 * np.abs(mean)
    return np.where(constant, 0, centred / np.where(constant, 1, deviation)).astype(np.float32)


def strips(length: int, margin: float) -> Iterator[tuple[slice, slice, slice]]:
    """Yield rows of a large image that are worked on at a time, so that memory does not grow.
    They are slices of the rows, of these with a margin, and of the rows within the latter."""
    margin = int(margin) + 1
    for start in range(0, length, ROWS):
        top = max(start - margin, 0)
        inner = slice(start - top, start - top + ROWS)
        yield slice(start, start + ROWS), slice(top, start + ROWS + margin), inner


def resize_area(
    image: np.ndarray, shape: tuple[int, int], pixel_size: float | None = None
) -> tuple[np.ndarray, float | None]:
    """Reduce an (H, W) or (n, H, W) image by averaging over the area that each new pixel covers.
    Each new pixel is the mean of the old ones below it, those at its rim weighted by the fraction
    that it covers, so any ratio works and the mean of the image is kept. Of a mask it gives the
    covered fraction. Returns the image, float32, and its pixel size in Å if one was given.
    InputError if the image would be enlarged, or pixels of known size would no longer be square."""
    from skimage.transform import resize_local_mean  # on demand: few callers resize

    image = _finite(image)
    old = image.shape[-2:]
    if (
        len(old) != 2
        or image.ndim > 3
        or not all(0 < new <= n for new, n in zip(shape, old, strict=True))
    ):
        raise InputError(
            f"Expected an image of shape (H, W) or (n, H, W) and a smaller size, got {image.shape} "
            f"and {tuple(shape)}."
        )
    ratios = [n / new for n, new in zip(old, shape, strict=True)]
    if pixel_size is not None and abs(ratios[0] / ratios[1] - 1) > 0.01:
        raise InputError(
            f"Resizing {old} to {shape} would stretch the image; crop it to the same aspect first."
        )
    resized = resize_local_mean(
        np.asarray(image, np.float32), (*image.shape[:-2], *shape), grid_mode=True
    )
    return resized, None if pixel_size is None else pixel_size * float(np.mean(ratios))


def _checked(image: np.ndarray) -> np.ndarray:
    image = _finite(image)
    if image.ndim != 2 or not image.size:
        raise InputError(f"Expected a single image of shape (H, W), got shape {image.shape}.")
    return image.astype(np.float64)


def _finite(image: np.ndarray) -> np.ndarray:
    image = real_numbers(image, "Images")
    if not np.isfinite(image).all():
        raise InputError("The image has values that are not finite; replace them first.")
    return image


def _project(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return rows.T @ image @ columns."""
    # With so few columns this is several times faster than BLAS, which spends its time on starting
    # threads.
    return np.einsum("iv,vj->ij", np.einsum("ui,uv->iv", rows, image), columns)


def _masked_coefficients(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray, keep: np.ndarray
) -> np.ndarray:
    """Solve the normal equations of the kept pixels; the basis stays separable."""
    m, n = rows.shape[1], columns.shape[1]
    row_pairs = (rows[:, :, None] * rows[:, None, :]).reshape(len(rows), -1)
    column_pairs = (columns[:, :, None] * columns[:, None, :]).reshape(len(columns), -1)
    gram = _project(keep, row_pairs, column_pairs).reshape(m, m, n, n)
    gram = gram.transpose(0, 2, 1, 3).reshape(m * n, m * n)
    right = _project(np.where(keep, image, image.dtype.type(0)), rows, columns)
    coefficients, _, rank, _ = np.linalg.lstsq(gram, right.ravel(), rcond=1e-12)
    if rank < m * n:
        raise InputError(
            "Too little of the image is left to fit its background; exclude less or lower the "
            "degree of the surface."
        )
    return coefficients.reshape(m, n)


def _robust_fit(
    image: np.ndarray, degree: tuple[int, int], iterations: int, window: int, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fit, leave out what stands out of the residual, fit again, until the pixels settle."""
    excluded = np.zeros(image.shape, bool)
    background = fit_bezier_surface(image, degree)
    for _ in range(iterations):
        found = _find_contaminated(image, background, window, threshold)
        changed = np.mean(found != excluded)
        excluded = found
        background = fit_bezier_surface(image, degree, excluded)
        if changed < NEGLIGIBLE_CHANGE:
            break
    return background, excluded


def _find_contaminated(
    image: np.ndarray, background: np.ndarray, window: int, threshold: float
) -> np.ndarray:
    """Find where local mean or local standard deviation of the relative residual stands out."""
    lowest = 1e-3 * np.abs(background).max() or 1.0  # a first fit can pass through zero
    residual = (image - background) / np.maximum(background, lowest)
    mean = ndimage.uniform_filter(residual, window)
    square = ndimage.uniform_filter(residual**2, window)
    deviation = np.sqrt(np.maximum(square - mean**2, ROUNDING**2))
    step = max(window // 4, 1)  # averages change slowly, so their distribution needs no more
    bright_or_dark = np.abs(_robust_score(mean, step)) > threshold
    rough = _robust_score(np.log(deviation), step) > threshold
    return bright_or_dark | rough


def _robust_score(values: np.ndarray, step: int) -> np.ndarray:
    """Return the distance from the median in standard deviations of the clean part."""
    # Outliers widen one side of the distribution; the narrower side between the median and one
    # standard deviation (16 % or 84 %) is the one that the clean part fills.
    low, middle, high = np.percentile(values[::step, ::step], [15.87, 50, 84.13])
    return (values - middle) / max(min(middle - low, high - middle), ROUNDING)


def weighted_spectrum(image: np.ndarray, window_taper: float, peak_blur: float) -> np.ndarray:
    r"""Return the smoothed height :math:`|q|\,|\mathcal F\{W I\}|` of eq. 4.
    The image, (H, W), has mean 0. W is a Tukey window that falls to zero over the fraction
    `window_taper` of each side (0 none, 1 Hann), and `peak_blur` the standard deviation in bins of
    the Gaussian that joins the speckles of a peak. (H, W // 2 + 1) float32 in the order of
    `scipy.fft.rfft2`, scaled as in `Peaks`."""
    height, width = image.shape
    spectrum = np.abs(fft.rfft2(image * _window(height, width, window_taper)))  # (H, W // 2 + 1)
    spectrum *= _distance(height, width)
    if peak_blur == 0:
        return spectrum
    margin = min(int(4 * peak_blur) + 1, spectrum.shape[1] - 1)
    extended = np.hstack([mirrored(spectrum, margin), spectrum])
    rows = gaussian_filter1d(extended, peak_blur, axis=0, mode="wrap")
    return gaussian_filter1d(rows, peak_blur, axis=1)[:, margin:]


@lru_cache(maxsize=4)
def _window(height: int, width: int, taper: float) -> np.ndarray:
    return np.outer(tukey(height, taper), tukey(width, taper)).astype(np.float32)


@lru_cache(maxsize=4)
def _distance(height: int, width: int) -> np.ndarray:
    """Return |q| in cycles per pixel for the half spectrum, times the scale of the heights."""
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width))
    return (radius * REFERENCE_PIXELS / (height * width)).astype(np.float32)


def mirrored(spectrum: np.ndarray, columns: int) -> np.ndarray:
    """Return the columns left of frequency zero, from |F(−q)| = |F(q)|."""
    return np.roll(spectrum[::-1], 1, axis=0)[:, columns:0:-1]

"""What another microscope, camera or file does to a micrograph, at stated strengths.

Each strength is one at which a person would outline the same contamination as before. What
`book.studies.changes` has too is taken from there; noise is in standard deviations of the
image, lengths in pixels, and nothing moves contamination.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import fft, ndimage

from book.studies.changes import CHANGES, said

UNCHANGED = "unchanged"
REUSED = {
    "blur": (0.5, 1.0),
    "drift": (1, 2),
    "noise": (0.5, 1),
    "inversion": (1,),
    "gradient": (1, 2, 4),
    "JPEG": (25, 50, 75),
}
CORRELATION = 1.0  # pixels, standard deviation of the kernel that smooths white noise
OFFSET, LEVELS = 2000, 150  # of raw counts: dark level of the camera, and from darkest to brightest

Make = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def correlated(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add noise that neighbours share, as a scintillator or an interpolation makes it."""
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), CORRELATION, mode="wrap")
    return image + strength * image.std() * noise / noise.std()


def lines(image: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add another offset to each row, as scans and line-wise readout do."""
    return image + strength * image.std() * rng.standard_normal((len(image), 1))


def transferred(image: np.ndarray, rng: np.random.Generator, nyquist: float) -> np.ndarray:
    """Apply the Gaussian transfer of a camera that passes `nyquist` at its Nyquist frequency.

    It falls as exp(ln(nyquist) (2q)²), q in cycles per pixel, and acts on signal and noise.
    """
    rows, columns = (f(n) for f, n in zip((fft.fftfreq, fft.rfftfreq), image.shape, strict=True))
    transfer = np.exp(np.log(nyquist) * 4 * np.add.outer(rows**2, columns**2))
    return fft.irfft2(fft.rfft2(image) * transfer, s=image.shape)


def _normalised(image: np.ndarray) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    return (np.asarray(image, float) - low) / max(high - low, 1e-12)


def powered(image: np.ndarray, rng: np.random.Generator, gamma: float) -> np.ndarray:
    """Bend the grey scale: values from 0 to 1 to the power of `gamma`."""
    return _normalised(image) ** gamma


def raw_counts(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 16-bit counts that use few levels above the dark level of a camera."""
    return np.rint(OFFSET + LEVELS * _normalised(image)).astype(np.uint16)


def sixteen_bits(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image stretched over all levels of 16 bits."""
    return np.rint((2**16 - 1) * _normalised(image)).astype(np.uint16)


def floats(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return small float32 values around zero, half of them negative."""
    return ((image - image.mean()) * (1e-3 / image.std())).astype(np.float32)


def _reused(image: np.ndarray, rng: np.random.Generator, name: str, strength: float) -> np.ndarray:
    return CHANGES[name].make(np.asarray(image, np.float32), strength, rng)


RECORDINGS: dict[str, Make] = {
    UNCHANGED: lambda image, rng: image,
    **{
        (said(name, s) if name == "inversion" else f"{name}, {said(name, s)}"): partial(
            _reused, name=name, strength=s
        )
        for name, strengths in REUSED.items()
        for s in strengths
    },
    **{
        f"correlated noise, {s:g} standard deviations": partial(correlated, strength=s)
        for s in (0.25, 0.5)
    },
    **{f"scan lines, {s:g} standard deviations": partial(lines, strength=s) for s in (0.25, 0.5)},
    **{f"camera, {m:.0%} at Nyquist": partial(transferred, nyquist=m) for m in (0.5, 0.2, 0.05)},
    **{f"gamma {g:g}": partial(powered, gamma=g) for g in (0.5, 2)},
    "raw counts": raw_counts,
    "16 bits": sixteen_bits,
    "floats around zero": floats,
}


def recorded(name: str, image: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return an image (H, W) as another recording has it, in the dtype of that.

    Parameters
    ----------
    name
        Key of `RECORDINGS`.
    image
        (H, W) float32.
    seed
        Of noise and directions; the same for all strengths.
    """
    return RECORDINGS[name](image, np.random.default_rng(seed))

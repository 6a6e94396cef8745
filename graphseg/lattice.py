"""Lattice parameter, orientation and contrast sign of graphene, measured from the spectrum.

Images are (H, W) of any real dtype and scale, axis order (row, column).

An orientation is the direction of a lattice vector, from the column axis towards the row axis, as
in `graphseg.simulation.crystal`; it is known modulo 60° and given in [0, π/3).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from graphseg.checks import checked_images, checked_masks, real_numbers
from graphseg.errors import InputError
from graphseg.preprocessing import fit_bezier_surface
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.spots import SECTOR, refine, ring_amplitudes, search

SMALLEST_SIDE = 32  # pixels; below it the two rings cannot be told from noise
SMALLEST_PARAMETER = 2.6  # pixels; below it most of the first ring lies beyond the Nyquist limit
FEWEST_PERIODS = 6  # lattice parameters along the shorter side
CALIBRATION_ERROR = 0.1  # of a stated pixel size, relative
PARAMETER_ERROR = 0.05  # of a stated lattice parameter, relative
TAPER = 8.0  # pixels over which the image fades out next to contamination
FOUND_SCORE = 0.5  # speckle of contamination reaches 0.25


@dataclass(frozen=True)
class Lattice:
    """The lattice of one micrograph, or of its largest grain.

    Attributes
    ----------
    parameter
        Lattice parameter in pixels, the distance between neighbouring hexagon centres.
    pixel_size
        Å per pixel: as stated, else from the parameter, which is 2.46 Å in graphene.
    orientation
        Direction of a lattice vector in radians, in [0, π/3).
    contrast
        1 where atoms are brighter than the centres of hexagons (white atoms), −1 where darker.
    certainty
        Of the contrast: mean cosine of the phase of the triple product of the first ring, 0…1.
    amplitudes
        Fourier coefficients of the two rings about a hexagon centre, in standard deviations of
        the image. White atoms at rest have a negative first and a positive second one.
    score
        How far the spots stand out of the background: sum over both rings of the mean logarithm
        of their relative power, as far as it exceeds that of noise. 0: no lattice.
    """

    parameter: float
    pixel_size: float
    orientation: float
    contrast: int
    certainty: float
    amplitudes: tuple[float, float]
    score: float

    @property
    def found(self) -> bool:
        """Whether there is a lattice at all; without one the other values mean nothing."""
        return self.score > FOUND_SCORE

    @property
    def parameter_angstrom(self) -> float:
        """Lattice parameter in Å; it differs from 2.46 if the stated pixel size is wrong."""
        return self.parameter * self.pixel_size


def measure_lattice(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    lattice_parameter: float | None = None,
    pixel_size: float | None = None,
) -> Lattice:
    """Measure the lattice of the clean part of a micrograph.

    The power spectrum is divided by its background at each radius, and the logarithms of the
    spots of both rings are added up for all periods and orientations. What noise reaches counts
    nothing; among equals the shortest period wins, because a longer one would predict spots that
    are not there. The phases of the six waves then give the parameter from the area of the unit
    cell, and the orientation from the rotation, below one bin.

    Parameters
    ----------
    image
        (H, W), any real dtype.
    mask
        (H, W) bool, True = contamination, left out.
    lattice_parameter
        In pixels if known; it is then taken as it is, and the rest is measured.
    pixel_size
        Å per pixel if known; it narrows the search to 2.46 Å within 10 %.

    Raises
    ------
    InputError
        If the image is no finite 2-D array, a length is not positive, or nothing is clean.
    """
    image, mask = checked_micrograph(image, mask)
    shortest, longest = _bounds(image.shape, lattice_parameter, pixel_size)
    flat = clean_signal(image, mask)
    parameter, orientation, score = search(flat, shortest, longest)
    if score > 0:
        parameter, orientation = refine(flat, parameter, orientation)
    parameter = lattice_parameter or parameter
    amplitudes, certainty = ring_amplitudes(flat, parameter, orientation)
    return Lattice(
        parameter=float(parameter),
        pixel_size=float(pixel_size or LATTICE_CONSTANT / parameter),
        orientation=float(orientation % SECTOR),
        contrast=1 if amplitudes[0] < 0 else -1,
        certainty=certainty,
        amplitudes=amplitudes,
        score=score,
    )


def checked_micrograph(image: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return one image as float32 and its mask as bool, all False if there is none.

    Raises
    ------
    InputError
        If the image is not 2-D, not finite or smaller than 32 pixels, or the mask does not match.
    """
    image = real_numbers(image, "Images")
    if image.ndim != 2:
        raise InputError(f"A single image (H, W) is needed, not an array of shape {image.shape}.")
    image = checked_images(image[None], SMALLEST_SIDE)[0]
    if mask is None:
        return image, np.zeros(image.shape, bool)
    return image, checked_masks(mask, image.shape)


def clean_signal(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return an (H, W) image without its background, faded out towards the mask.

    Float32 with mean 0 and standard deviation 1 over the clean area; a constant image is zeros.
    """
    if mask.all():
        raise InputError("The mask covers the whole image; there is nothing clean to measure.")
    signal = image - fit_bezier_surface(image, (2, 2), mask)
    deviation = signal[~mask].std()
    if deviation <= 1e-6 * np.abs(image).max():
        return np.zeros(image.shape, np.float32)
    if mask.any():
        distance = ndimage.distance_transform_edt(~mask)
        signal *= np.sin(np.pi / 2 * np.clip(distance / TAPER, 0, 1)) ** 2
    return (signal / deviation).astype(np.float32)


def _bounds(
    shape: tuple[int, int], lattice_parameter: float | None, pixel_size: float | None
) -> tuple[float, float]:
    """Return the shortest and the longest lattice parameter to look for, in pixels."""
    for name, value in (("lattice parameter", lattice_parameter), ("pixel size", pixel_size)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(f"A {name} of {value} is impossible; give a positive number or none.")
    shortest, longest = SMALLEST_PARAMETER, min(shape) / FEWEST_PERIODS
    expected, error = lattice_parameter, PARAMETER_ERROR
    if expected is None and pixel_size is not None:
        expected, error = LATTICE_CONSTANT / pixel_size, CALIBRATION_ERROR
    if expected is None:
        return shortest, longest
    if not 2 <= expected <= min(shape) / 2:
        raise InputError(
            f"A lattice parameter of {expected:.3g} pixels cannot be seen in an image of {shape}; "
            "check the pixel size, or rescale or crop the image."
        )
    return expected * (1 - error), expected * (1 + error)

"""The public calls on one micrograph: read it, segment it, analyse its structure.

`segment` and `analyse` do what the commands of the same names do for a folder: the image is
brought to a scale that the network knows and checked for being out of distribution, and what speaks
against the result is among its flags.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphseg.batch.tasks import Network, Prediction
from graphseg.errors import InputError
from graphseg.evaluation import quality
from graphseg.io import outputs
from graphseg.io.micrographs import Micrograph, from_signal, open_series, read_micrograph
from graphseg.io.readers import from_hyperspy, from_rosetta
from graphseg.structure.analysis import Structure, find_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What a dictionary of RosettaSciIO says of its data; a lazy one also has the open file.
DESCRIBING = ("axes", "metadata", "original_metadata")


read = read_micrograph  # its short name, in `graphseg`


def read_series(path: str | Path) -> Iterator[Micrograph]:
    """Yield the frames of a file one by one, so that a long series needs little memory.

    Raises
    ------
    InputError
        As `read`, when the first frame is asked for.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile, graphseg as gs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/a.tif", np.zeros((3, 4, 6)), photometric="minisblack")
    ...     [frame.image.shape for frame in gs.read_series(f"{folder}/a.tif")]
    [(4, 6), (4, 6), (4, 6)]
    """
    with open_series(path) as series:
        yield from series


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Where one micrograph is contaminated, and how far that can be trusted.

    Attributes
    ----------
    image
        (H, W), as it was given.
    prediction
        What the network said, see `graphseg.batch.tasks.Prediction`.
    quality
        ``expected_jaccard`` with ``expected_low`` and ``expected_high`` (a 90 % interval); empty
        where nothing is known of the network, or the image is flagged.
    given
        What `segment` was given, for `to_signal`.

    Examples
    --------
    >>> import graphseg as gs
    >>> result = gs.segment(gs.load_stack("simulated").images[0], test_time_augmentation=False)
    >>> result.flags, 0 < result.contaminated_fraction < 1
    ((), True)
    """

    image: np.ndarray
    prediction: Prediction
    quality: dict[str, float | str]
    given: Any = field(default=None, repr=False)

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool, True = contamination."""
        return self.prediction.mask

    @property
    def probability(self) -> np.ndarray:
        """(H, W) float32 in [0, 1], of contamination."""
        return self.prediction.probability

    @property
    def pixel_size(self) -> float | None:
        """Å per pixel, None where unknown."""
        return self.prediction.pixel_size

    @property
    def pixel_size_from(self) -> str:
        """Where the pixel size is from: ``"given"``, ``"file"``, ``"lattice"`` or ``"none"``."""
        return self.prediction.pixel_size_from

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of what speaks against the mask; empty if nothing does."""
        return self.prediction.flags

    @property
    def warning(self) -> str:
        """The first of the flags as a sentence, or ""."""
        return self.prediction.warning

    @property
    def contaminated_fraction(self) -> float:
        """Of the area, from 0 to 1."""
        return float(self.mask.mean())

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draw the micrograph with its mask and a scale bar; return the axes."""
        from matplotlib import pyplot

        from graphseg.colours import MASK_COLOUR
        from graphseg.plotting.micrographs import overlay_mask, show_micrograph

        if axes is None:
            axes = pyplot.subplots(figsize=(4, 4))[1]
        title = f"{100 * self.contaminated_fraction:.1f} % contaminated"
        show_micrograph(axes, self.image, self.pixel_size, title)
        overlay_mask(axes, self.mask, MASK_COLOUR, tint=0.3)
        return axes

    def to_signal(self) -> Any:
        """Return the mask as what was given, with its axes and metadata.

        That is a copy of the HyperSpy signal, or of the dictionary of RosettaSciIO, whose data are
        the mask, bool of the same shape; a lazy one is lazy no more.

        Raises
        ------
        InputError
            If neither was given.
        """
        if isinstance(self.given, Mapping):
            kept = {name: self.given[name] for name in DESCRIBING if name in self.given}
            return deepcopy(kept) | {"data": self.mask.reshape(self.given["data"].shape)}
        if not hasattr(self.given, "axes_manager"):
            raise InputError(
                "No signal was given and so none comes back: take mask, and save to write it."
            )
        signal = self.given.deepcopy()
        if getattr(signal, "_lazy", False):
            signal.compute(show_progressbar=False)
        signal.data = self.mask.reshape(signal.data.shape)
        return signal

    def save(self, path: str | Path, overwrite: bool = False) -> Path:
        """Write the mask as TIFF (with the pixel size) or PNG, 255 = contamination.

        Raises
        ------
        InputError
            If the name ends in neither, or the file exists and `overwrite` is not set.
        """
        path = Path(path)
        form = path.suffix.lower().lstrip(".").replace("tiff", "tif")
        if form not in outputs.MASK_FORMS:
            raise InputError(f"A mask cannot be written as {path.name}: use .tif or .png.")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists: choose another name or say overwrite=True.")
        with outputs.whole_file(path) as temporary:
            outputs.write_mask(temporary, self.mask, self.pixel_size, form)
        return path


def segment(
    micrograph: Any,
    pixel_size: float | None = None,
    model: str | Path | None = None,
    test_time_augmentation: bool | None = None,
    device: str = "auto",
) -> Segmentation:
    """Find the contamination in one micrograph of any size and scale.

    Parameters
    ----------
    micrograph
        A `Micrograph`, a path, a 2-D array (row, column), or one image as a HyperSpy signal or as
        a dictionary of RosettaSciIO, whose pixel size is taken.
    pixel_size
        Å per pixel, whatever the file says; without either it is measured from the lattice.
    model
        The name of a pretrained network or a weight file; None for the default network.
    test_time_augmentation
        Average over the eight symmetries of the square: a little better, eight times slower. By
        default as the network was made: ``default`` with it, ``general`` without.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    InputError
        If the image is no finite 2-D array, is the same everywhere, or cannot be read; if a signal
        holds several frames, a spectrum, a diffraction pattern or pixels that are not square; or if
        the network or the pixel size is impossible.

    Examples
    --------
    >>> import graphseg as gs
    >>> image = gs.load_stack("simulated").images[0]
    >>> result = gs.segment(image, test_time_augmentation=False)
    >>> result.mask.shape == image.shape, result.pixel_size_from
    (True, 'lattice')
    """
    taken = as_micrograph(micrograph)
    network = Network.choose(
        None if model is None else Path(model),
        test_time_augmentation=test_time_augmentation,
        device=device,
        pixel_size=pixel_size,
    )
    prediction = network.predict(taken)
    line = None if prediction.flags else prediction.expected
    expected = {} if line is None else quality.columns(prediction.probability, line)
    return Segmentation(taken.image, prediction, expected, micrograph)


def analyse(micrograph: Any, segmentation: Segmentation | None = None, **options: Any) -> Structure:
    """Find classes, atoms, bonds, rings and defects in what is not contaminated.

    Parameters
    ----------
    micrograph
        As for `segment`.
    segmentation
        Of this micrograph; made with `options`, which are those of `segment`, if it is not given.

    Returns
    -------
    Structure
        ``lattice``, ``classes``, ``atoms``, ``bonds``, ``rings``, ``defects`` and ``flags``.

    Raises
    ------
    InputError
        As `segment`; and if no lattice is seen outside of the contamination.

    Examples
    --------
    >>> import graphseg as gs
    >>> stack = gs.load_stack("simulated")
    >>> structure = gs.analyse(stack.images[0], test_time_augmentation=False)
    >>> 2.4 < structure.lattice.parameter_angstrom < 2.5
    True
    """
    taken = as_micrograph(micrograph)
    if segmentation is None:
        segmentation = segment(taken, **options)
    found = segmentation.prediction
    structure = find_structure(taken.image, found.mask, found.stated_size)
    if structure is None:
        raise InputError(
            "No lattice is seen outside of the contamination, so there is no structure: look at "
            "the mask, or give the pixel size."
        )
    return structure


def as_micrograph(given: Any) -> Micrograph:
    """Return what `segment` takes as a `Micrograph`; InputError if it is of no such kind."""
    if isinstance(given, str | Path):
        return read(given)
    if hasattr(given, "axes_manager"):
        return from_signal(from_hyperspy(given), "The signal")
    if isinstance(given, Mapping):
        if not {"data", "axes"} <= set(given):
            raise InputError("The dictionary lacks data or axes; give one of RosettaSciIO's.")
        return from_signal(from_rosetta(given), "The dictionary")
    image = np.asarray(given.image if isinstance(given, Micrograph) else given)
    if image.ndim != 2:
        raise InputError(
            f"Expected one image (H, W), got shape {image.shape}: give the images of a stack one "
            "by one."
        )
    return given if isinstance(given, Micrograph) else Micrograph(image)

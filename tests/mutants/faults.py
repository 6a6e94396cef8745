"""Faults that one could make in equations, metrics, splits and statistics, each in one line.

The text that is replaced must occur exactly once in its file, so that a fault which no longer fits
the code is noticed and not passed over.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One wrong line.

    Attributes
    ----------
    name
        What is wrong.
    module
        Its file from the project's folder, without suffix.
    old, new
        Text that occurs once in the module, and what takes its place.
    tests
        Of ``tests/unit`` that should notice: ``structure/rings`` for the file
        ``structure/test_rings.py``, ``structure/rings::test_x`` for a single test.
    notebooks
        Whose recorded numbers should notice if no test does.
    """

    name: str
    module: str
    old: str
    new: str
    tests: tuple[str, ...]
    notebooks: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The file of the module, from the project's folder."""
        return f"{self.module}.py"


def path_of(name: str) -> str:
    """Return what pytest calls one of the `tests` of a fault, from the project's folder."""
    file, *single = name.split("::", 1)
    *folder, stem = file.split("/")
    return "::".join(["/".join(["tests/unit", *folder, f"test_{stem}.py"]), *single])


PREPROCESSING, BRAGG, UNET = "02_preprocessing", "03_bragg_filtering", "04_unet"
FOLDS, COMPARISON, STRUCTURE = "05_cross_validation", "06_comparison", "07_structure"
ATOMS, SORTING, SIMULATED = "08_atoms", "09_sorting", "10_simulated_training"

FAULTS = (
    # Flat field, normalisation, standardisation: eqs 1–3.
    Fault(
        "eq. 1: Bernstein polynomials without their falling factor",
        "graphseg/preprocessing",
        "u**i * (1 - u) ** (degree - i)",
        "u**i * (1 - u) ** degree",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    Fault(
        "eq. 1: the surface is fitted to what should be left out",
        "graphseg/preprocessing",
        "_masked_coefficients(image, rows, columns, ~exclude)",
        "_masked_coefficients(image, rows, columns, exclude)",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    Fault(
        "eq. 1: only bright patches are taken for contamination",
        "graphseg/preprocessing",
        "np.abs(_robust_score(mean, step)) > threshold",
        "_robust_score(mean, step) > threshold",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    Fault(
        "eq. 2: the background is subtracted, not divided by",
        "graphseg/preprocessing",
        "(image / background)",
        "(image - background)",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    Fault(
        "eq. 3: divided by the variance",
        "graphseg/preprocessing",
        "centred.std(",
        "centred.var(",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    Fault(
        "eq. 3: one mean for all images of a stack",
        "graphseg/preprocessing",
        "image.mean(axis=(-2, -1), keepdims=True",
        "image.mean(keepdims=True",
        ("preprocessing",),
    ),
    Fault(
        "resizing: the outermost pixels are mapped on each other, not the edges of the image",
        "graphseg/preprocessing",
        "grid_mode=True",
        "grid_mode=False",
        ("preprocessing",),
        (PREPROCESSING,),
    ),
    # Bragg filter: eqs 4–6.
    Fault(
        "eq. 4: heights not multiplied by the frequency",
        "graphseg/preprocessing",
        "spectrum *= _distance(height, width)",
        "spectrum *= REFERENCE_PIXELS / (height * width)",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 4: the threshold G is ignored",
        "graphseg/classical/fourier",
        "peaks.heights >= threshold",
        "peaks.heights >= 0 * threshold",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 4: the vertex of the parabola on the wrong side",
        "graphseg/classical/fourier",
        "np.divide(before - after, 2 * curvature",
        "np.divide(after - before, 2 * curvature",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 5: apertures wider by the square root of two",
        "graphseg/classical/fourier",
        "return np.exp(-(distance**2) / (2 * width**2))",
        "return np.exp(-(distance**2) / (4 * width**2))",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 5: no aperture at the opposite peak",
        "graphseg/classical/fourier",
        "-peaks.positions[used]]",
        "peaks.positions[used]]",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 5: the lattice fades at the left and right edge",
        "graphseg/classical/fourier",
        "filtered / inside[0][:, None] / inside[1]",
        "filtered / inside[0][:, None]",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 6: the residual keeps its sign",
        "graphseg/classical/fourier",
        "local_mean(np.abs(image - lattice), smoothing)",
        "local_mean(image - lattice, smoothing)",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 6: the Gaussian of the local mean too narrow",
        "graphseg/classical/fourier",
        "np.exp(-(distance**2) / (2 * smoothing**2))",
        "np.exp(-(distance**2) / smoothing**2)",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "eq. 6: smoothing over 5 instead of 6 pixels",
        "graphseg/classical/bragg",
        "smoothing: float = 6.0",
        "smoothing: float = 5.0",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "fit: the union counts the overlap twice",
        "graphseg/classical/bragg",
        "soft[~mask].sum(dtype=float) + mask.sum()",
        "soft.sum(dtype=float) + mask.sum()",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "fit: the derivative by M with a wrong sign",
        "graphseg/classical/bragg",
        "overlap_slope - jaccard * union_slope",
        "overlap_slope + jaccard * union_slope",
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "fit: false positives of the hard threshold counted from below",
        "graphseg/classical/thresholded",
        'negative.size - np.searchsorted(negative, positive, side="left")',
        'np.searchsorted(negative, positive, side="left")',
        ("classical/bragg",),
        (BRAGG,),
    ),
    Fault(
        "adaptive filter: the level of the image is not subtracted",
        "graphseg/classical/adaptive",
        "energy - np.float32(level) - np.float32(self.threshold_)",
        "energy - np.float32(self.threshold_)",
        ("classical/adaptive",),
    ),
    # The six scores.
    Fault(
        "precision computed as recall",
        "graphseg/metrics",
        "_ratio(tp, tp + fp, zero_division)",
        "_ratio(tp, tp + fn, zero_division)",
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "F1 without its factor",
        "graphseg/metrics",
        "_ratio(2 * tp, 2 * tp + fp + fn, zero_division)",
        "_ratio(2 * tp, tp + fp + fn, zero_division)",
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "balanced accuracy: negative predictive value for specificity",
        "graphseg/metrics",
        "_ratio(tn, tn + fp, np.nan)",
        "_ratio(tn, tn + fn, np.nan)",
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "Jaccard index without the missed pixels",
        "graphseg/metrics",
        "_ratio(tp, tp + fp + fn, zero_division)",
        "_ratio(tp, tp + fp, zero_division)",
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "0/0 is 0, whatever was asked for",
        "graphseg/metrics",
        "np.full_like(numerator, zero_division)",
        "np.zeros_like(numerator)",
        ("metrics",),
        (COMPARISON,),
    ),
    Fault(
        "pooled and per image exchanged",
        "graphseg/metrics",
        'if average == "pooled":',
        'if average == "per_image":',
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "false positives and false negatives exchanged",
        "graphseg/metrics",
        "~true & predicted, true & ~predicted",
        "true & ~predicted, ~true & predicted",
        ("metrics",),
        (UNET, FOLDS, COMPARISON),
    ),
    Fault(
        "tolerant scores leave out one pixel more",
        "book/studies/label_noise",
        "kept = distance > tolerance",
        "kept = distance > tolerance + 1",
        ("studies/label_noise",),
        (COMPARISON,),
    ),
    # Splits: what leaks.
    Fault(
        "folds ignore acquisitions",
        "graphseg/evaluation/crossval",
        'KFold if protocol == "random" else GroupKFold',
        "KFold",
        ("evaluation/crossval::test_every_image_is_tested_once_and_groups_stay_together",),
        (FOLDS,),
    ),
    Fault(
        "every shuffle is the first",
        "graphseg/evaluation/crossval",
        "random_state=shuffle",
        "random_state=0",
        ("evaluation/crossval::test_shuffles_differ",),
        (FOLDS,),
    ),
    Fault(
        "folds by date are folds by acquisition",
        "graphseg/evaluation/crossval",
        '"date": stack.dates',
        '"date": stack.groups',
        ("evaluation/crossval::test_every_image_is_tested_once_and_groups_stay_together",),
        (FOLDS,),
    ),
    Fault(
        "test images are trained on",
        "graphseg/evaluation/crossval",
        "estimator.fit(*_training_part(stack, train, extra))",
        "estimator.fit(*_training_part(stack, np.r_[train, test], extra))",
        ("evaluation/crossval::test_further_images_are_trained_on_and_never_tested",),
        (FOLDS,),
    ),
    Fault(
        "the inner search sees the outer test images",
        "book/studies/grid_search",
        "_inner(stack, train, protocol, inner_folds)[:inner_tested]",
        "splits(stack, protocol, inner_folds)[:inner_tested]",
        ("studies/grid_search",),
    ),
    Fault(
        "the worst candidate is chosen",
        "book/studies/grid_search",
        "int(np.argmax(values))",
        "int(np.argmin(values))",
        ("studies/grid_search",),
    ),
    Fault(
        "acquisitions of one place on both sides",
        "graphseg/datasets/stack",
        "SAME_PLACE.get(acquisition, acquisition)",
        "acquisition",
        ("datasets/load",),
        ("01_data", FOLDS),
    ),
    Fault(
        "every frame is an acquisition of its own",
        "graphseg/datasets/stack",
        r're.sub(r"_layer_\d+$", "", name)',
        "name",
        ("datasets/load",),
        ("01_data", FOLDS),
    ),
    Fault(
        "calibration is tested on frames of acquisitions that it was fitted to",
        "book/studies/calibration",
        "split(unseen, groups=groups[unseen])",
        "split(unseen, groups=np.arange(len(unseen)))",
        ("studies/out_of_fold",),
    ),
    # Statistics.
    Fault(
        "bootstrap of images instead of acquisitions: differences",
        "graphseg/evaluation/compare",
        "np.unique([group_of(name) for name in names], return_inverse=True)[1]",
        "np.arange(len(names))",
        ("evaluation/compare",),
        (COMPARISON,),
    ),
    Fault(
        "bootstrap of images instead of acquisitions: thresholds, correlations, ranks",
        "book/studies/resampling",
        "[np.flatnonzero(groups == group) for group in np.unique(groups)]",
        "[np.array([i]) for i in range(len(groups))]",
        (
            "studies/resampling::test_the_frames_of_an_acquisition_carry_the_evidence_of_one",
            "studies/thresholds::test_the_frames_of_an_acquisition_carry_the_evidence_of_one",
        ),
        (SORTING,),
    ),
    Fault(
        "an interval of 90 % called one of 95 %",
        "graphseg/evaluation/compare",
        "[(1 - level) / 2, (1 + level) / 2]",
        "[1 - level, level]",
        ("evaluation/compare",),
        (COMPARISON,),
    ),
    Fault(
        "a bootstrap without replacement",
        "graphseg/evaluation/compare",
        "generator.multinomial(number, np.full(number, 1 / number), resamples)",
        "np.ones((resamples, number), int)",
        ("evaluation/compare",),
        (COMPARISON,),
    ),
    Fault(
        "the spread of folds divided by n",
        "graphseg/evaluation/records",
        "spread = 1 if len(rows) > 1 else 0",
        "spread = 0",
        ("evaluation/records",),
        (COMPARISON,),
    ),
    Fault(
        "the conformal level without its + 1",
        "graphseg/evaluation/quality",
        "(len(scores) + 1) * coverage",
        "len(scores) * coverage",
        ("evaluation/quality_clean",),
        (SORTING,),
    ),
    Fault(
        "the jackknife interval without its + 1",
        "graphseg/evaluation/quality",
        "(len(fractions) + 1) / len(fractions)",
        "1",
        ("evaluation/quality::test_intervals_from_few_images_hold_as_many_as_those_from_many",),
        (SORTING,),
    ),
    Fault(
        "intervals of clean fractions at twice the tail",
        "graphseg/evaluation/quality",
        "low, high = (1 - level) / 2, (1 + level) / 2",
        "low, high = 1 - level, level",
        ("evaluation/quality_clean",),
        (SORTING,),
    ),
    # Calibration.
    Fault(
        "temperature: logits multiplied instead of divided",
        "book/studies/reliability",
        "scaled = logits / np.exp(log_temperature)",
        "scaled = logits * np.exp(log_temperature)",
        ("studies/reliability",),
    ),
    Fault(
        "calibration error: what is too low makes up for what is too high",
        "book/studies/reliability",
        "np.nansum(weight * np.abs(self.predicted - self.observed))",
        "np.nansum(weight * (self.predicted - self.observed))",
        ("studies/reliability",),
    ),
    # Losses and predictions.
    Fault(
        "loss: the union counts the overlap twice",
        "graphseg/unet/training",
        "(true + probable).sum((2, 3)) - both",
        "(true + probable).sum((2, 3))",
        ("unet/training_losses",),
    ),
    Fault(
        "loss: the padding counts",
        "graphseg/unet/training",
        "(logits.softmax(1) * counted)[:, 1:]",
        "logits.softmax(1)[:, 1:]",
        ("unet/training_losses",),
    ),
    Fault(
        "test-time augmentation turns predictions the wrong way back",
        "graphseg/unet/inference",
        "torch.rot90(values, -quarters",
        "torch.rot90(values, quarters",
        ("unet/inference",),
        (COMPARISON,),
    ),
    Fault(
        "augmentation turns the image and not its label",
        "graphseg/unet/augmentation",
        "turned.append((image * float(generator.uniform(0.9, 1.1)), label))",
        "turned.append((image.flip(-2) * float(generator.uniform(0.9, 1.1)), label))",
        ("unet/augmentation::test_augmentation_is_a_symmetry_of_image_and_label",),
        (UNET,),
    ),
    # Sorting.
    Fault(
        "the most contaminated image first",
        "graphseg/batch/ranking",
        "np.lexsort((np.asarray(names), -fractions))",
        "np.lexsort((np.asarray(names), fractions))",
        ("batch/ranking",),
        (SORTING,),
    ),
    Fault(
        "excluded pixels count as clean",
        "graphseg/evaluation/quality",
        "[p[~m] for p, m in zip(maps, masks, strict=True)]",
        "[np.where(m, 0, p).ravel() for p, m in zip(maps, masks, strict=True)]",
        ("evaluation/quality_clean",),
        (SORTING,),
    ),
    # Lattice, orientation, boundaries.
    Fault(
        "white atoms called black",
        "graphseg/structure/lattice",
        "1 if amplitudes[0] < 0 else -1",
        "1 if amplitudes[0] > 0 else -1",
        ("structure/lattice",),
        (STRUCTURE,),
    ),
    Fault(
        "the pixel size upside down",
        "graphseg/structure/lattice",
        "LATTICE_CONSTANT / parameter)",
        "parameter / LATTICE_CONSTANT)",
        ("structure/lattice",),
        (STRUCTURE,),
    ),
    Fault(
        "orientations off by a quarter of a step",
        "graphseg/structure/orientation",
        "position * (sector / ORIENTATIONS) % sector",
        "(position + 0.25) * (sector / ORIENTATIONS) % sector",
        ("structure/orientation",),
        (STRUCTURE,),
    ),
    Fault(
        "orientation between the steps on the wrong side",
        "graphseg/structure/orientation",
        "(left - right) / (2 * curvature)",
        "(right - left) / (2 * curvature)",
        ("structure/orientation",),
        (STRUCTURE,),
    ),
    Fault(
        "misorientations twice as large",
        "graphseg/structure/boundaries",
        "np.abs(np.angle(np.sum(turns))) / 6",
        "np.abs(np.angle(np.sum(turns))) / 3",
        ("structure/boundaries",),
        (STRUCTURE,),
    ),
    Fault(
        "lengths in Å divided by the pixel size",
        "graphseg/structure/boundaries",
        "self.length * self.pixel_size",
        "self.length / self.pixel_size",
        ("structure/boundaries",),
        (STRUCTURE,),
    ),
    # Atoms and rings.
    Fault(
        "atoms of binned images off by half a pixel",
        "graphseg/structure/atoms",
        "positions * factor + (factor - 1) / 2",
        "positions * factor",
        ("structure/atoms",),
        (ATOMS,),
    ),
    Fault(
        "the prior odds of a vacancy upside down",
        "graphseg/structure/atoms",
        "odds + OCCUPIED - EMPTY_NEIGHBOUR",
        "odds - OCCUPIED - EMPTY_NEIGHBOUR",
        ("structure/atoms",),
        (ATOMS,),
    ),
    Fault(
        "precision of atoms computed as recall",
        "book/tools/atom_scores",
        "precision=_mean(hit_found[counted_found])",
        "precision=_mean(hit_true[counted_true])",
        ("book/atom_scores",),
        (ATOMS,),
    ),
    Fault(
        "mean distance of atoms instead of root mean square",
        "book/tools/atom_scores",
        "np.sqrt(_mean(distance**2))",
        "_mean(distance)",
        ("book/atom_scores",),
        (ATOMS,),
    ),
    Fault(
        "one atom too many missing in a gap",
        "graphseg/structure/rings",
        "np.rint(1 + 2 * rings.areas",
        "np.rint(2 + 2 * rings.areas",
        ("structure/rings",),
        (ATOMS,),
    ),
)

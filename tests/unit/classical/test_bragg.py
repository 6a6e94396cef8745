"""The Bragg filter on lattices whose answer is known, its fit, and its estimator interface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold

from book.tools.tables import RESULTS_FOLDER, read_result
from graphseg import metrics
from graphseg.classical.bragg import (
    STARTS,
    BraggSegmenter,
    SoftJaccard,
    batches,
    best_threshold,
    descend,
)
from graphseg.classical.fourier import (
    Peaks,
    find_peaks,
    in_units,
    lattice_image,
    local_mean,
    weighted_spectrum,
)
from graphseg.errors import InputError
from graphseg.evaluation.records import describe, read_record, summary

WIDTH = 1 / 64  # cycles per pixel; its footprint in the image is 10 px wide (standard deviation)


def wave_vectors(angle=0.3, period=7.3):
    """Three waves at 60°, (3, 2) in cycles per pixel, (row, column)."""
    directions = angle + np.arange(3) * np.pi / 3
    return np.column_stack([np.cos(directions), np.sin(directions)]) / period


def lattice(shape=(256, 256), angle=0.3, period=7.3):
    """A hexagonal lattice of contrast 1 (standard deviation) that fits no pixel grid."""
    rows, columns = np.indices(shape)
    waves = [
        np.cos(2 * np.pi * (g[0] * rows + g[1] * columns) + phase)
        for g, phase in zip(wave_vectors(angle, period), (0.1, 0.7, 1.9), strict=True)
    ]
    return (0.5 + np.sum(waves, axis=0) / np.sqrt(1.5)).astype(np.float32)


def disc(shape, centre, radius):
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]) < radius


def contaminated(rng, shape=(128, 136), strength=2.5, period=7.3, angle=None):
    """A lattice with noise, and an aperiodic disc: image and mask."""
    centre = rng.uniform(35, min(shape) - 35, 2)
    mask = disc(shape, centre, rng.uniform(18, 28))
    speckle = gaussian_filter(rng.standard_normal(shape), 1.2)
    angle = rng.uniform(0, np.pi / 3) if angle is None else angle
    image = lattice(shape, angle, period)
    image += mask * strength * speckle / speckle.std() + 0.1 * rng.standard_normal(shape)
    return image.astype(np.float32), mask


def contaminated_stack(n=6, seed=0):
    rng = np.random.default_rng(seed)
    images, masks = zip(*(contaminated(rng) for _ in range(n)), strict=True)
    return np.stack(images), np.stack(masks)


@pytest.fixture(scope="module")
def stack():
    return contaminated_stack()


def quiet(**parameters):
    return BraggSegmenter(progress=False, **parameters)


# Eq. 4: the peaks


@settings(deadline=None, max_examples=30)
@given(
    angle=st.floats(0, np.pi / 3),
    period=st.floats(4, 12),
    shape=st.sampled_from([(256, 256), (255, 243), (192, 301)]),
)
def test_peaks_of_a_lattice_are_found_below_a_bin(angle, period, shape):
    image = in_units(lattice(shape, angle, period), "standardised")
    peaks = find_peaks(image, count=3)
    known = wave_vectors(angle, period)
    signed = np.concatenate([peaks.positions, -peaks.positions])
    nearest = np.abs(known[:, None] - signed).max(axis=2).min(axis=1)
    assert nearest.max() < 0.45 / min(shape)  # at most: the window makes lobes of a few bins


def test_peak_heights_do_not_depend_on_the_image_size():
    rows = np.indices((512, 512))[0]
    wave = np.cos(2 * np.pi * rows / 8).astype(np.float32)  # on a bin at all three sizes
    heights = [find_peaks(wave[:n, :n]).heights[0] for n in (128, 256, 512)]
    np.testing.assert_allclose(heights, heights[0], rtol=0.02)


def test_a_wave_along_the_rows_gives_one_peak_and_not_its_opposite():
    rows = np.indices((128, 128))[0]
    image = np.cos(2 * np.pi * rows * 0.125).astype(np.float32)
    peaks = find_peaks(image, count=4)
    strong = peaks.heights > 0.01 * peaks.heights[0]
    assert strong.sum() == 1
    np.testing.assert_allclose(peaks.positions[0], [0.125, 0], atol=0.15 / 128)


def test_heights_are_the_unnormalised_transform_times_the_frequency():
    image = np.random.default_rng(0).standard_normal((256, 256)).astype(np.float32)
    spectrum = weighted_spectrum(image, window_taper=0, peak_blur=0)
    transform = np.abs(np.fft.fft2(image))
    assert spectrum[3, 4] == pytest.approx(transform[3, 4] * 5 / 256, rel=1e-4)


def test_a_constant_image_has_no_peaks_and_no_residual():
    constant = np.full((1, 40, 52), 0.1, np.float32)
    segmenter = quiet().fit(constant)
    assert not segmenter.decompose(constant[0]).peaks.positions.size
    np.testing.assert_array_equal(segmenter.residuals(constant), 0)
    assert not segmenter.predict(constant).any()


# Eq. 5: the lattice image


@pytest.mark.parametrize("shape", [(256, 256), (255, 243), (200, 321)])
@pytest.mark.parametrize(("angle", "period"), [(0.0, 6.3), (0.3, 7.3), (0.9, 9.1)])
def test_a_perfect_lattice_leaves_under_one_percent_of_its_contrast(shape, angle, period):
    segmenter = quiet(peak_threshold=20).fit(lattice(shape, angle, period)[None])
    parts = segmenter.decompose(lattice(shape, angle, period))
    np.testing.assert_allclose(parts.image.std(), 1, rtol=1e-4)
    # Farther from the edges than three footprints of the aperture, as a standard deviation.
    assert parts.residual[32:-32, 32:-32].max() < 0.01
    # At the edges each wave leaks into the apertures of the others; dividing by the fraction of the
    # footprint inside the image keeps that small, and the whole image close to the claim.
    assert parts.residual.mean() < 0.015
    assert parts.residual.mean() < 0.01 * np.ptp(parts.image)
    assert parts.residual.max() < 0.2


def test_without_division_by_the_footprint_the_edges_would_fail():
    image = lattice() - np.float32(0.5)
    peaks = find_peaks(image, count=3)
    filtered = lattice_image(image, peaks, np.ones(3), WIDTH)
    edge = np.s_[100:150, :3]
    assert np.abs(image - filtered)[edge].mean() < 0.1
    fraction = 0.5  # half of the footprint lies outside at the edge
    assert np.abs(image - fraction * filtered)[edge].mean() > 0.3


def test_one_plane_wave_comes_back_exactly_in_the_middle():
    rows, columns = np.indices((256, 256))
    image = np.cos(2 * np.pi * (0.11 * rows + 0.07 * columns)).astype(np.float32)
    peaks = Peaks(np.array([[0.11, 0.07]]), np.ones(1, np.float32))
    filtered = lattice_image(image, peaks, np.ones(1), WIDTH)
    np.testing.assert_allclose(filtered[64:-64, 64:-64], image[64:-64, 64:-64], atol=1e-5)


def test_an_aperture_passes_a_wave_beside_it_by_its_gaussian():
    rows, columns = np.indices((256, 256))
    image = np.cos(2 * np.pi * (0.11 * rows + 0.07 * columns)).astype(np.float32)
    peaks = Peaks(np.array([[0.11 + WIDTH, 0.07]]), np.ones(1, np.float32))
    filtered = lattice_image(image, peaks, np.ones(1), WIDTH)
    middle = np.s_[64:-64, 64:-64]
    assert filtered[middle].std() / image[middle].std() == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_overlapping_apertures_add_or_take_the_larger():
    image = lattice() - np.float32(0.5)
    g = wave_vectors()[0]
    twice = Peaks(np.array([g, g]), np.ones(2, np.float32))
    once = Peaks(g[None], np.ones(1, np.float32))
    single = lattice_image(image, once, np.ones(1), WIDTH)
    added = lattice_image(image, twice, np.ones(2), WIDTH)
    larger = lattice_image(image, twice, np.ones(2), WIDTH, combine="max")
    np.testing.assert_allclose(added, 2 * single, atol=1e-5)
    np.testing.assert_allclose(larger, single, atol=1e-5)


# Eq. 6: the local average


@settings(deadline=None, max_examples=20)
@given(height=st.integers(8, 600), width=st.integers(8, 60), smoothing=st.floats(0.3, 20))
def test_local_mean_is_the_normalised_convolution(height, width, smoothing):
    image = np.random.default_rng(height).random((height, width)).astype(np.float32)
    truncate = np.ceil(4 * smoothing) / smoothing
    convolved = [
        gaussian_filter(a, smoothing, mode="constant", truncate=truncate)
        for a in (image.astype(float), np.ones(image.shape))
    ]
    np.testing.assert_allclose(local_mean(image, smoothing), convolved[0] / convolved[1], rtol=1e-4)
    np.testing.assert_allclose(local_mean(np.ones_like(image), smoothing), 1, rtol=1e-5)
    assert local_mean(image, 0) is image


# The whole


@pytest.mark.parametrize("shape", [(256, 256), (201, 257), (160, 320)])
def test_a_planted_aperiodic_disc_is_found(shape):
    rng = np.random.default_rng(1)
    mask = disc(shape, (90, 110), 40)
    speckle = gaussian_filter(rng.standard_normal(shape), 1.2)
    image = lattice(shape) * ~mask + mask * 2.5 * speckle / speckle.std()
    segmenter = quiet(steps=0, smoothing=3).fit(image[None], mask[None])
    assert segmenter.score(image[None], mask[None]) > 0.9


def replaced_stack(n, seed):
    """Discs without lattice, as strong as the lattice around them: no contrast, only no order."""
    rng = np.random.default_rng(seed)
    images, masks = np.empty((n, 192, 192), np.float32), np.empty((n, 192, 192), bool)
    for image, mask in zip(images, masks, strict=True):
        mask[:] = disc(mask.shape, rng.uniform(60, 130, 2), rng.uniform(30, 45))
        speckle = gaussian_filter(rng.standard_normal(mask.shape), 1.2)
        image[:] = np.where(
            mask, 0.5 + speckle / speckle.std(), lattice(mask.shape, rng.uniform(0, 1))
        )
    return images, masks


def test_the_lattice_filter_finds_lost_order_that_the_baseline_cannot_see():
    images, masks = replaced_stack(4, seed=0)
    unseen, truth = replaced_stack(4, seed=1)
    score = {f: quiet(lattice_filter=f).fit(images, masks).score(unseen, truth) for f in (0, 1)}
    assert score[1] > 0.85
    assert score[0] < 0.5


def test_gradient_descent_recovers_from_bad_starting_values():
    images, masks = replaced_stack(6, seed=2)
    unseen, truth = replaced_stack(4, seed=3)
    start = {"aperture_width": 0.04, "peak_threshold": 300.0, "mask_threshold": 1.0}
    # At the start most lattice peaks lie below G, the apertures are too wide and M is too high.
    before = quiet(steps=0, **start).fit(images, masks)
    after = quiet(steps=60, **start).fit(images, masks)
    assert after.history_[-1, 0] < 0.5 * after.history_[0, 0]
    assert before.score(unseen, truth) < 0.6
    assert after.score(unseen, truth) > 0.85
    assert 20 < after.peak_threshold_ < 300
    assert 0.3 < after.history_[-1, 3] < 1


def test_the_closed_derivative_by_the_mask_threshold_is_right(stack):
    images, masks = stack
    scaled = np.stack([in_units(image, "standardised") for image in images])
    peaks = [find_peaks(image) for image in scaled]
    objective = SoftJaccard(scaled, masks, peaks, 0.1, 0.1, 5.0, 32, "sum")
    theta, chosen, step = np.log([WIDTH, 100.0, 0.8]), np.arange(3), np.array([0, 0, 1e-3])
    forward, back = (objective.loss(theta + s, chosen)[0] for s in (step, -step))
    assert objective.gradient(theta, chosen)[1][2] == pytest.approx(
        (forward - back) / 2e-3, rel=0.01
    )


def test_adam_reaches_the_minimum_of_a_parabola_and_keeps_the_width_in_range():
    target = np.log([0.01, 50.0, 0.5])

    def parabola(theta, chosen):
        return float(((theta - target) ** 2).sum()), 2 * (theta - target)

    end, history = descend(parabola, np.zeros(3), batches(4, 2, 0), 300, 0.2, progress=False)
    np.testing.assert_allclose(end, target, atol=1e-3)
    assert history.shape == (300, 4)
    assert history[1:, 1].max() <= 0.1 + 1e-12


def test_batches_show_every_image_once_a_round():
    order = batches(7, 3, seed=1)
    for _ in range(2):
        np.testing.assert_array_equal(np.sort(np.concatenate([next(order) for _ in range(3)])),
                                      np.arange(7))  # fmt: skip


@settings(deadline=None)
@given(
    scores=arrays(np.float32, (4, 5), elements=st.sampled_from(np.float32([0, 0.1, 0.5, 0.7, 2]))),
    mask=arrays(bool, (4, 5)),
)
def test_the_hard_threshold_is_the_best_of_all(scores, mask):
    threshold, jaccard = best_threshold(scores, mask)
    candidates = [*np.unique(scores), np.float32(3)]
    found = [metrics.scores(metrics.counts(mask, scores >= c))["jaccard"] for c in candidates]
    assert jaccard == max(found)
    own = metrics.scores(metrics.counts(mask, scores >= np.float32(threshold)))["jaccard"]
    assert own == jaccard


def test_the_fitted_threshold_is_the_best_hard_threshold(stack):
    segmenter = quiet(steps=3).fit(*stack)
    residuals = segmenter.residuals(stack[0])
    assert segmenter.score(*stack) == pytest.approx(segmenter.training_jaccard_, abs=1e-12)
    others = [metrics.scores(metrics.counts(stack[1], residuals >= t))["jaccard"]
              for t in np.linspace(0, residuals.max(), 40)]  # fmt: skip
    assert segmenter.training_jaccard_ >= max(others)


def test_empty_labels(stack):
    images, masks = stack
    empty = np.zeros_like(masks)
    segmenter = quiet(steps=2).fit(images, empty)
    assert not segmenter.predict(images).any()
    assert segmenter.score(images, empty) == segmenter.training_jaccard_ == 1.0
    mixed = masks.copy()
    mixed[0] = False
    assert 0 < quiet(steps=2).fit(images, mixed).score(images, mixed) < 1


# The estimator


def test_probability_and_mask_agree_to_the_pixel(stack):
    segmenter = quiet(steps=0).fit(*stack)
    probability = segmenter.predict_proba(stack[0])
    assert probability.dtype == np.float32
    assert probability.shape == stack[0].shape
    assert 0 <= probability.min() < 0.1 < 0.9 < probability.max() <= 1
    np.testing.assert_array_equal(probability >= 0.5, segmenter.predict(stack[0]))
    residuals = segmenter.residuals(stack[0])
    order = np.argsort(residuals, axis=None)
    assert (np.diff(probability.ravel()[order]) >= 0).all()


def test_the_sign_of_the_contrast_does_not_matter(stack):
    segmenter = quiet(steps=0).fit(*stack)
    np.testing.assert_array_equal(segmenter.residuals(stack[0]), segmenter.residuals(-stack[0]))


def test_gain_and_offset_do_not_matter_when_standardised(stack):
    segmenter = quiet(steps=0).fit(*stack)
    changed = segmenter.residuals(3 * stack[0] + 20)
    np.testing.assert_allclose(changed, segmenter.residuals(stack[0]), atol=1e-3)


@pytest.mark.parametrize("unit", ["contrast", "raw"])
def test_units(unit):
    image = 4 * lattice((64, 64))
    expected = image - image.mean() if unit == "raw" else image / image.mean() - 1
    np.testing.assert_allclose(in_units(image, unit), expected, atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(8, 70), st.integers(8, 70)),
    seed=st.integers(0, 99),
)
def test_any_size_works(shape, seed):
    images = np.random.default_rng(seed).random(shape)
    segmenter = quiet().fit(images)
    mask, probability = segmenter.predict(images), segmenter.predict_proba(images)
    assert mask.shape == probability.shape == shape
    assert mask.dtype == bool
    assert np.isfinite(probability).all()


def test_large_and_small_images_of_one_lattice_have_one_threshold():
    image, mask = contaminated(np.random.default_rng(4), (512, 512))
    segmenter = quiet(steps=0).fit(image[None], mask[None])
    parts = [segmenter.decompose(a) for a in (image, image[:256, 256:])]
    assert parts[0].used.sum() >= 3
    assert parts[1].used.sum() >= 3


def test_without_labels_the_starting_values_are_used(stack):
    segmenter = quiet(mask_threshold=0.7).fit(stack[0])
    assert segmenter.mask_threshold_ == 0.7
    assert segmenter.training_jaccard_ is None
    assert segmenter.history_.shape == (0, 4)


def test_the_papers_settings_are_the_printed_ones_and_only_m_is_fitted(stack):
    images, masks = stack
    known = read_record(RESULTS_FOLDER.parent / "paper.json")
    paper = BraggSegmenter.paper(progress=False).fit(images, masks)
    choices = {
        "most_peaks": 2 * paper.n_peaks,  # pairs
        "low_pass_peak_search_pixels": paper.peak_blur,
        "low_pass_difference_pixels": paper.smoothing,
    }
    assert choices == {key: known["bragg_choices"][key] for key in choices}
    assert paper.aperture_width == known["bragg_parameters"]["aperture_width_cycles_per_pixel"]
    assert (paper.aperture_width_, paper.peak_threshold_) == (0.0156, STARTS["standardised"][0])
    found = best_threshold(paper.residuals(images), masks)
    assert (paper.mask_threshold_, paper.training_jaccard_) == found
    assert BraggSegmenter.paper(units="raw", steps=3).get_params()["units"] == "raw"


def test_the_paper_is_nearly_reproduced_by_its_settings():
    """As chapter 3 says: per image, on random folds, every score within its spread over folds."""
    printed = read_record(RESULTS_FOLDER.parent / "paper.json")["scores"]["bragg"]
    record = read_result("bragg_paper_random")
    assert record["parameters"] == describe(BraggSegmenter.paper())
    assert (record["protocol"], record["folds"], record["shuffles"]) == ("random", 5, 2)
    for name, (mean, spread) in summary(record, "per_image").items():
        assert abs(mean - printed[name]) < spread


def test_recorded_mask_thresholds_tell_the_units_of_the_printed_one():
    printed = read_record(RESULTS_FOLDER.parent / "paper.json")["bragg_parameters"][
        "mask_threshold"
    ]
    fitted = {
        name: [r["fitted"]["mask_threshold_"] for r in read_result(name)["results"]]
        for name in ("bragg_paper_raw_random", "bragg_paper_random")
    }
    assert max(fitted["bragg_paper_raw_random"]) < 1.5 * printed
    assert min(fitted["bragg_paper_random"]) > 10 * printed


def test_the_baseline_removes_no_lattice(stack):
    segmenter = quiet(lattice_filter=False).fit(*stack)
    parts = segmenter.decompose(stack[0][0])
    np.testing.assert_array_equal(parts.lattice, 0)
    np.testing.assert_allclose(parts.residual, local_mean(np.abs(parts.image), 6.0))
    assert not len(segmenter.history_)


def test_two_fits_agree_and_the_seed_matters(stack):
    first, second, other = (
        quiet(steps=4, batch_size=2, random_state=s).fit(*stack) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.history_, second.history_)
    assert not np.array_equal(first.history_, other.history_)


def test_scikit_learn_clones_and_searches(stack, tmp_path):
    segmenter = quiet(steps=0, smoothing=4.0, memory=str(tmp_path))
    assert clone(segmenter).get_params() == segmenter.get_params()
    search = GridSearchCV(
        segmenter, {"smoothing": [4.0, 40.0]}, cv=GroupKFold(3), error_score="raise"
    )
    search.fit(*stack, groups=np.arange(6) // 2)
    assert search.best_params_ == {"smoothing": 4.0}
    assert search.best_score_ > 0.7


def test_memory_computes_residuals_once(stack, tmp_path, monkeypatch):
    segmenter = quiet(steps=0, memory=str(tmp_path)).fit(*stack)
    known = segmenter.residuals(stack[0])

    def never(*arguments, **settings):
        raise AssertionError("computed again")

    monkeypatch.setattr("graphseg.classical.bragg.decompose", never)
    again = quiet(steps=0, memory=str(tmp_path), mask_threshold=0.1).fit(*stack)
    np.testing.assert_array_equal(again.residuals(stack[0]), known)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.ones((20, 20)), r"expected shape \(n, H, W\)"),
        (np.ones((0, 20, 20)), r"expected shape \(n, H, W\)"),
        (np.ones((1, 20, 5)), r"expected shape \(n, H, W\)"),
        (np.full((2, 20, 20), np.nan), "Image 0 has values that are not finite"),
        (np.full((2, 20, 20), np.inf), "not finite"),
    ],
)
def test_bad_images_are_refused(images, reason):
    with pytest.raises(InputError, match=reason):
        quiet().fit(images)


def test_bad_masks_are_refused(stack):
    with pytest.raises(InputError, match="do not match"):
        quiet().fit(stack[0], stack[1][:, :-1])
    with pytest.raises(InputError, match="other than 0 and 1"):
        quiet().fit(stack[0], stack[1] * 255)


@pytest.mark.parametrize(
    ("name", "value"),
    [("aperture_width", 0), ("peak_threshold", -1.0), ("mask_threshold", np.nan), ("padding", -1),
     ("units", "volts"), ("combine", "mean"), ("batch_size", 0)],
)  # fmt: skip
def test_bad_parameters_are_refused(stack, name, value):
    with pytest.raises(InputError, match=name):
        quiet(**{name: value}).fit(*stack)


def test_use_before_fit_is_refused(stack):
    for method in (quiet().predict, quiet().predict_proba, quiet().residuals):
        with pytest.raises(NotFittedError):
            method(stack[0])


def test_published_images(published):
    train, test = next(GroupKFold(3).split(published.images, groups=published.groups))
    chosen = published.subset(train[::3])
    segmenter = quiet(steps=20).fit(chosen.images, chosen.masks)
    score = segmenter.score(published.images[test], published.masks[test])
    assert score == pytest.approx(0.766, abs=0.01)  # measured
    assert segmenter.mask_threshold_ == pytest.approx(0.787, abs=0.02)

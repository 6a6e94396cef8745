"""The bundled sample is what the generator makes, and resembles the published set."""

from dataclasses import replace

import numpy as np
import pytest

from book.tools import simulated_sample
from graphseg import simulation
from graphseg.datasets import load
from graphseg.simulation import samples
from graphseg.simulation.configuration import DetectorRanges


@pytest.fixture(scope="module")
def stack():
    return load.load_simulated_sample()


@pytest.fixture(scope="module")
def frames():
    return [simulation.simulate(samples.SEED, 1, frame=frame) for frame in (0, 1)]


def test_names_follow_the_rule_of_the_published_set(stack):
    assert len(stack) == sum(samples.FRAMES) == 24
    assert len(np.unique(stack.groups)) == len(samples.FRAMES)
    assert len(np.unique(stack.dates)) == samples.DAYS
    frames = np.unique(np.unique(stack.groups, return_counts=True)[1], return_counts=True)
    np.testing.assert_array_equal(frames, np.unique(samples.FRAMES, return_counts=True))


def test_contrasts_and_coverage_are_like_those_of_the_published_set(stack):
    labelled = stack.masks.any(axis=(1, 2))
    assert (~labelled).sum() == sum(samples.FRAMES[index] for index in samples.EMPTY)
    images, masks = stack.images[labelled], stack.masks[labelled]
    ratios = [i[m].std() / i[~m].std() for i, m in zip(images, masks, strict=True)]
    assert 1.2 < np.median(ratios) < 2.0  # published: 1.7
    assert 0.05 < np.median(masks.mean(axis=(1, 2))) < 0.2
    assert (stack.pixel_size > 0.28).all() and (stack.pixel_size < 0.52).all()


def test_frames_of_an_acquisition_share_the_place_and_nothing_else(frames):
    first, second = frames
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert first.pixel_size == second.pixel_size
    assert first.conditions.defocus != second.conditions.defocus
    assert not np.array_equal(first.illumination, second.illumination)
    assert not np.array_equal(first.image, second.image)


def test_the_image_is_the_stretched_counts(frames):
    counts = frames[0].counts
    assert (counts == np.rint(counts)).all() and counts.min() >= 0
    stretched = (counts - counts.min()) / np.ptp(counts)
    np.testing.assert_allclose(frames[0].image, stretched, atol=0.51 / 255)
    assert frames[0].illumination.mean() == pytest.approx(1, abs=1e-5)


def test_a_bow_of_the_illumination_shows_in_the_counts():
    even = DetectorRanges(gradient=0.0, blotches=(0.0, 0.0), seam_fraction=0.0, dose=(1e5, 1e5))
    flat, bowed = (
        simulation.simulate(4, 0, replace(simulation.GRAPHENE, detector=detector))
        for detector in (even, replace(even, bow=0.5))
    )
    np.testing.assert_array_equal(flat.illumination, 1)
    assert np.ptp(bowed.illumination) > 0.1
    ratio = bowed.counts.reshape(8, 32, 8, 32).mean((1, 3)) / flat.counts.reshape(
        8, 32, 8, 32
    ).mean((1, 3))
    lit = bowed.illumination.reshape(8, 32, 8, 32).mean((1, 3))
    np.testing.assert_allclose(ratio / ratio.mean(), lit / lit.mean(), atol=0.01)


def test_the_bundled_files_are_what_the_command_writes(tmp_path, stack):
    simulated_sample.write(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in load.SAMPLE_FOLDER.iterdir())
    written = load.load_folder(tmp_path, source="simulated")
    # Another processor may round the last bit of a transform differently: a Poisson count may
    # then differ, but few do.
    assert np.mean(written.images != stack.images) < 0.01
    assert np.mean(written.masks != stack.masks) < 1e-4
    np.testing.assert_array_equal(written.pixel_size, stack.pixel_size)

"""The simulated micrographs obey their own truth and repeat exactly."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from graphseg import datasets, simulation


@pytest.fixture(scope="module")
def sample():
    return simulation.simulate_sample(seed=3, index=0, coverage=0.15)


def test_honeycomb_atoms_have_three_neighbours_at_the_bond_length():
    atoms = simulation.honeycomb(60.0, 0.3, np.array([1.0, 2.0]))
    distances, neighbours = cKDTree(atoms).query(atoms, k=5)
    inner = (np.abs(atoms - 30) < 25).all(axis=1)
    bond = simulation.LATTICE_CONSTANT / np.sqrt(3)
    np.testing.assert_allclose(distances[inner, 1:4], bond, rtol=1e-9)
    np.testing.assert_allclose(distances[inner, 4], simulation.LATTICE_CONSTANT, rtol=1e-9)
    # Second neighbours lie along the lattice vectors, at the given angle and every 60°.
    second = atoms[neighbours[inner, 4]] - atoms[inner]
    direction = np.arctan2(second[:, 0], second[:, 1])
    off = np.mod(direction - 0.3, np.pi / 3)
    np.testing.assert_allclose(np.minimum(off, np.pi / 3 - off), 0, atol=1e-9)
    # Two atoms a cell of √3/2 a².
    cell = np.sqrt(3) / 2 * simulation.LATTICE_CONSTANT**2
    assert len(atoms) == pytest.approx(2 * 60**2 / cell, rel=0.02)


def test_the_sample_has_the_promised_types(sample):
    assert sample.image.shape == sample.mask.shape == (256, 256)
    assert sample.image.dtype == np.float32
    assert (sample.image.min(), sample.image.max()) == (0, 1)
    assert sample.mask.dtype == bool
    assert sample.mask.mean() == pytest.approx(0.15, abs=0.01)
    assert 0.3 <= sample.pixel_size <= 0.5


def test_the_positions_mark_atoms_in_the_image(sample):
    rows, columns = np.rint(sample.positions).astype(int).T
    clean = ~sample.mask[rows, columns]
    relative = sample.counts / sample.background
    difference = relative[rows, columns][clean].mean() - relative[~sample.mask].mean()
    spread = relative[~sample.mask].std() / np.sqrt(clean.sum())
    assert abs(difference) > 10 * spread
    assert np.sign(difference) == np.sign(sample.defocus)


def test_each_grain_gives_its_lattice_peaks_at_its_angle(sample):
    for grain, angle in enumerate(sample.angles):
        atoms = sample.positions[sample.grains == grain] * sample.pixel_size
        # Reciprocal vectors of length 2/(√3 a) stand at 30° to the lattice vectors.
        directions = angle + np.pi / 6 + np.arange(3) * np.pi / 3
        vectors = np.stack([np.sin(directions), np.cos(directions)])
        q = vectors * 2 / (np.sqrt(3) * simulation.LATTICE_CONSTANT)
        amplitude = np.abs(np.exp(2j * np.pi * atoms @ q).mean(axis=0))
        # The two atoms of the cell interfere to half of the full amplitude.
        np.testing.assert_allclose(amplitude, 0.5, atol=0.05)


def test_contrasts_are_those_measured_on_the_published_set():
    stack = datasets.load_simulated_sample()
    labelled = stack.masks.any(axis=(1, 2))
    images, masks = stack.images[labelled], stack.masks[labelled]
    ratios = [i[m].std() / i[~m].std() for i, m in zip(images, masks, strict=True)]
    assert 1.4 < np.median(ratios) < 2.0
    assert 0.05 < np.median(masks.mean(axis=(1, 2))) < 0.2
    darker = [i[m].mean() < i[~m].mean() for i, m in zip(images, masks, strict=True)]
    assert np.mean(darker) > 0.8


def test_noise_is_about_two_thirds_of_the_deviation_in_clean_areas():
    shares = []
    for index in range(6):
        clean = simulation.simulate_sample(seed=3, index=index, coverage=0.0)
        power = np.abs(np.fft.fft2(clean.counts - clean.counts.mean())) ** 2
        # The lattice fills few frequencies, so the median is that of the noise, whose power is
        # exponentially distributed.
        shares.append(np.sqrt(np.median(power) / np.log(2) / power.mean()))
    assert np.median(shares) == pytest.approx(0.66, abs=0.08)


def test_the_illumination_is_the_given_one():
    strong = simulation.simulate_sample(seed=4, index=0, gradient=0.4)
    flat = simulation.simulate_sample(seed=4, index=0, gradient=0.0)
    np.testing.assert_array_equal(flat.background, 1)
    np.testing.assert_array_equal(strong.mask, flat.mask)
    assert 0.2 < np.ptp(strong.background) <= 0.8
    clean = ~strong.mask
    coefficient = np.corrcoef(strong.counts[clean], strong.background[clean])[0, 1]
    assert coefficient > 0.3


def test_frames_of_an_acquisition_share_structure_but_not_noise():
    first, second = (simulation.simulate_sample(5, 2, frame, frames=2) for frame in (0, 1))
    other = simulation.simulate_sample(5, 3)
    assert datasets.acquisition_of(first.name) == datasets.acquisition_of(second.name)
    assert datasets.date_of(first.name).startswith("2000_")
    assert first.pixel_size == second.pixel_size
    np.testing.assert_array_equal(first.angles, second.angles)

    def overlap(a, b):
        return (a & b).sum() / (a | b).sum()

    assert 0.4 < overlap(first.mask, second.mask) < 1
    assert overlap(first.mask, second.mask) > overlap(first.mask, other.mask) + 0.2
    assert not np.array_equal(first.image, second.image)


def test_the_same_seed_and_index_repeat_and_others_differ(sample):
    again = simulation.simulate_sample(seed=3, index=0, coverage=0.15)
    np.testing.assert_array_equal(again.counts, sample.counts)
    for seed, index in ((3, 1), (4, 0)):
        other = simulation.simulate_sample(seed, index, coverage=0.15)
        assert not np.array_equal(other.mask, sample.mask)


def test_larger_fields_have_more_atoms_at_the_same_density(sample):
    large = simulation.simulate_sample(seed=3, index=0, size=400, coverage=0.15)
    assert large.image.shape == (400, 400)
    density = [len(s.positions) / (s.pixel_size**2 * s.image.size) for s in (sample, large)]
    assert density[0] == pytest.approx(density[1], rel=0.05)
    assert density[0] == pytest.approx(4 / (np.sqrt(3) * 2.46**2), rel=0.05)


def test_the_bundled_files_are_what_the_command_writes(tmp_path):
    simulation.write_sample_set(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in datasets.SAMPLE_FOLDER.iterdir())
    written = datasets.load_folder(tmp_path, source="simulated")
    bundled = datasets.load_simulated_sample()
    # Another processor may round the last bit of a transform differently: one grey level.
    np.testing.assert_allclose(written.images, bundled.images, atol=1.01 / 255)
    np.testing.assert_array_equal(written.masks, bundled.masks)
    np.testing.assert_array_equal(written.pixel_size, bundled.pixel_size)

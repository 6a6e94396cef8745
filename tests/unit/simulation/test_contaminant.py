"""Contamination has the density, the spacing and the extent it is drawn with."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from book.studies.configurations import NAIVE
from graphseg.simulation.configuration import ContaminantRanges
from graphseg.simulation.contaminant import BLOCK, amorphous_block, draw_contaminant

LOW, HIGH, FRAME = -6.0, 106.0, (0.0, 100.0)


def test_the_block_has_the_density_and_the_hard_core_of_amorphous_carbon():
    block = amorphous_block(0.105, 1.3)
    assert len(block) / BLOCK**3 == pytest.approx(0.105, rel=1e-4)
    nearest = cKDTree(block, boxsize=BLOCK).query(block, k=2)[0][:, 1]
    assert nearest.min() >= 1.3
    # No layers: every slice is equally dense, up to the noise of random counts.
    layers = np.histogram(block[:, 2], 12, (0, BLOCK))[0]
    assert np.abs(layers / layers.mean() - 1).max() < 0.15


def test_an_even_patch_has_the_density_in_its_volume():
    ranges = replace(NAIVE.contaminant, coverage=(0.3, 1.0), clean_fraction=0.0)
    rng = np.random.default_rng(1)
    drawn = draw_contaminant(rng, LOW, HIGH, FRAME, ranges)
    inside = ((drawn.positions > 0) & (drawn.positions < 100)).all(axis=1)
    # All of the frame's 10⁴ Å² times 0.3, 10 Å thick but for the wall of 0.5 Å.
    assert inside.sum() == pytest.approx(0.105 * 10 * 0.3 * 1e4, rel=0.05)
    assert np.ptp(np.abs(drawn.heights)) <= 10
    assert not drawn.overlooked.any()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_stays_inside_and_above_the_gap(seed):
    ranges = ContaminantRanges(clean_fraction=0.0, chains=0.0, adatoms=3)
    drawn = draw_contaminant(np.random.default_rng(seed), LOW, HIGH, FRAME, ranges)
    patches = ~drawn.overlooked
    assert (drawn.positions >= LOW).all()
    assert (drawn.positions[patches] <= HIGH + 0.8).all()
    assert np.abs(drawn.heights[patches]).min() >= ranges.gap[0]
    assert drawn.overlooked.sum() <= 3
    assert set(drawn.numbers) <= {6, *ranges.heavy_numbers}


def test_clean_frames_hold_single_atoms_only():
    ranges = ContaminantRanges(clean_fraction=1.0)
    drawn = [draw_contaminant(np.random.default_rng(k), LOW, HIGH, FRAME, ranges) for k in range(8)]
    assert all(d.overlooked.all() for d in drawn)
    assert max(len(d) for d in drawn) > 0


def test_heavy_elements_have_their_fraction():
    ranges = ContaminantRanges(
        clean_fraction=0.0, heavy_fraction=1.0, heavy=(0.05, 0.05), adatoms=0
    )
    numbers = draw_contaminant(np.random.default_rng(2), LOW, HIGH, FRAME, ranges).numbers
    assert (numbers != 6).mean() == pytest.approx(0.05, rel=0.3)

"""Augmentation: image and label stay together, and everything is drawn from the generator given."""

import numpy as np
import pytest
import torch
from scipy import fft, ndimage

from graphseg.unet import augmentation
from graphseg.unet.training import IGNORED


def test_augmentation_is_a_symmetry_of_image_and_label():
    generator = np.random.default_rng(0)
    image = torch.from_numpy(generator.random((40, 1, 6, 6)).astype(np.float32))
    label = (image[:, 0] * 1e6).long()
    turned, labels = augmentation.symmetries(image, label, generator)
    gain = turned[:, 0].sum((1, 2)) / image[:, 0].sum((1, 2))
    assert ((gain > 0.89) & (gain < 1.11)).all()
    torch.testing.assert_close(
        (turned[:, 0] / gain[:, None, None] * 1e6), labels.float(), rtol=1e-4, atol=5
    )
    assert len({tuple(m.flatten().tolist()) for m in labels}) == 40
    assert any(not torch.equal(a, b) for a, b in zip(label, labels, strict=True))


def batch(number=6, shape=(48, 64)):
    generator = np.random.default_rng(1)
    images = torch.from_numpy(generator.normal(size=(number, 1, *shape)).astype(np.float32))
    return images, (torch.rand(number, *shape, generator=torch.manual_seed(2)) > 0.7).long()


@pytest.mark.parametrize("name", augmentation.AUGMENTATIONS)
def test_the_same_generator_gives_the_same_batch_and_global_ones_stay_untouched(name):
    images, labels = batch()
    kept, before = images.clone(), torch.get_rng_state()
    changes = augmentation.AUGMENTATIONS[name]
    one, other = (changes(images, labels.clone(), np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(images, kept)
    assert one[0].shape == images.shape and one[0].dtype == torch.float32
    assert one[1].shape == labels.shape and one[1].dtype == torch.int64


def test_randomised_images_are_standardised_and_finite():
    images, labels = batch(60)
    changed, _ = augmentation.randomised(images, labels, np.random.default_rng(0))
    assert changed.isfinite().all()
    assert changed.mean((1, 2, 3)).abs().max() < 0.1
    assert (changed.std((1, 2, 3)) - 1).abs().max() < 0.15  # the spared ones keep their contrast


def test_zoom_moves_image_and_label_alike_and_within_its_limits():
    generator = np.random.default_rng(3)
    down, across = np.indices((160, 240)) - np.array([79.5, 119.5])[:, None, None]
    disc = torch.from_numpy((np.hypot(down, across) < 24).astype(np.float32))
    areas = []
    for _ in range(50):
        image, label = augmentation.zoomed(disc, disc.long(), generator)
        assert image.shape == disc.shape == label.shape
        assert ((image > 0.5) == label.bool()).float().mean() > 0.995
        # The largest is the disc itself or a whole mirror image; at edges there are parts of such.
        parts, number = ndimage.label(label)
        sizes = ndimage.sum_labels(label, parts, range(1, number + 1))
        box = ndimage.find_objects(parts)[sizes.argmax()]
        if inside(box, label.shape):
            height, width = (side.stop - side.start for side in box)
            assert abs(height - width) <= 2  # an image that is not square is not stretched
            areas.append(sizes.max() / int(disc.sum()))
    low, high = augmentation.ZOOM
    assert len(areas) > 25
    assert min(areas) > 0.9 / high**2 and max(areas) < 1.1 / low**2
    assert max(areas) / min(areas) > 3


def inside(part, shape):
    """Tell whether a part touches no edge."""
    return all(side.start > 0 and side.stop < n for side, n in zip(part, shape, strict=True))


def test_a_known_scale_brings_images_near_the_working_pixel_size():
    """Spacing of a lattice of lines, measured by its spectrum, in images of a known scale."""
    generator = np.random.default_rng(0)
    spacing, scale, number = 8.0, 0.75, 40
    waves = np.cos(2 * np.pi * np.arange(256) / spacing)[:, None] * np.ones(256)
    images = torch.from_numpy(waves.astype(np.float32))[None, None].repeat(number, 1, 1, 1)
    found = []
    for image in images[:, 0]:
        moved, _ = augmentation.zoomed(image, image.long(), generator, scale, spared=True)
        assert moved.shape == (augmentation.CANVAS,) * 2
        power = np.abs(fft.rfft2(moved.numpy(), s=(1024, 1024)))
        power[0, 0] = 0
        row, column = np.unravel_index(power.argmax(), power.shape)
        found.append(1024 / np.hypot(min(row, 1024 - row), column))
    error = np.array(found) / (scale * spacing) - 1
    assert np.abs(error).max() < np.expm1(augmentation.NEAR_ERROR) + 0.01
    assert error.std() > 0.03  # uniform within a tenth: 0.058


def test_what_is_cut_from_an_image_is_part_of_it_or_its_reflection():
    image = torch.arange(20.0).reshape(4, 5)
    for seed in range(20):
        generator = np.random.default_rng(seed)
        cut, label = augmentation._cut(image, image.long(), (3, 12), generator)
        assert torch.equal(cut.long(), label) and cut.shape == (3, 12)
        steps = cut.diff(dim=1).abs()
        assert ((steps == 1) | (steps == 0)).all() and (cut.diff(dim=0) == 5).all()
        assert set(cut[0].tolist()) == set(image[int(cut[0, 0]) // 5].tolist())


def test_a_carpet_is_labelled_where_the_image_changed_and_nowhere_else():
    for seed in range(20):
        image, label = torch.zeros(64, 64), torch.zeros(64, 64, dtype=torch.int64)
        label[:8] = IGNORED
        changed = augmentation.carpeted(image, label, np.random.default_rng(seed), 3)
        where = changed != 0
        assert torch.equal(where[8:], label[8:] == 3) and (label[:8] == IGNORED).all()
        assert 0.04 < where.float().mean() < 0.51


def test_a_carpet_has_no_power_at_the_lattice_unless_the_image_shows_through():
    rng = np.random.default_rng(0)
    texture = augmentation._texture(
        (128, 128), torch.exp(-(((augmentation._frequency((128, 128)) - 0.1) / 0.02) ** 2)), rng
    )
    power = np.abs(fft.rfft2(texture.numpy())) ** 2
    q = augmentation._frequency((128, 128)).numpy()
    assert power[(q > 0.05) & (q < 0.15)].sum() > 0.99 * power.sum()


def test_a_fifth_of_the_images_are_only_turned_and_mirrored():
    images, labels = batch(400, (16, 16))
    changed, _ = augmentation.randomised(images, labels, np.random.default_rng(1))
    one, other = (np.sort((x / x.std((2, 3), keepdim=True)).flatten(1)) for x in (images, changed))
    alike = np.isclose(one, other, atol=1e-4).all(axis=1)
    assert abs(np.mean(alike) - augmentation.SPARED) < 0.06


def test_several_classes_keep_their_numbers_when_they_are_moved():
    image = torch.zeros(48, 64)
    label = torch.randint(0, 4, (48, 64), generator=torch.manual_seed(0))
    label[:6] = IGNORED
    generator = np.random.default_rng(0)
    moved = [augmentation.zoomed(image, label, generator)[1] for _ in range(10)]
    assert set(np.unique(torch.stack(moved))) == {IGNORED, 0, 1, 2, 3}

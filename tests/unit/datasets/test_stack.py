"""Grey values and classes: numbers, masks, and class maps that agree with the mask."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from graphseg.datasets import load
from graphseg.datasets.stack import LabelClasses, contamination_probability, decide
from graphseg.errors import InputError
from graphseg.unet import inference


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        ([0.0, 255.0], (), ((0, 255), (1,))),
        ([0, 1, 2], (), ((0, 1, 2), (1, 2))),
        ([0, 255], (0,), ((255, 0), (1,))),  # dark means contamination
        ([3, 7, 9, 40000], (7,), ((3, 9, 40000, 7), (3,))),
    ],
)
def test_clean_classes_come_first(values, named, expected):
    classes = LabelClasses.of(values, named)
    assert (classes.values, classes.contamination) == expected
    assert LabelClasses.from_card({"classes": classes.to_card()}) == classes


@pytest.mark.parametrize(
    ("values", "named", "message"),
    [
        ([1, 2], (), "all would be contamination"),
        ([0], (), "none would be contamination"),
        ([0, 1], (0, 1), "all would be contamination"),
        ([0, 1], (2,), "No label holds the value 2"),
        ([0, 0.5], (), "whole numbers"),
        ([0, 70000], (), "whole numbers"),
    ],
)
def test_values_that_tell_nothing_are_refused(values, named, message):
    with pytest.raises(InputError, match=message):
        LabelClasses.of(values, named)


def test_grey_values_come_back():
    classes = LabelClasses.of([0, 128, 255], (128,))
    label = np.random.default_rng(0).choice([0, 128, 255], (2, 9, 7)).astype(np.uint8)
    numbers = classes.numbers(label)
    assert numbers.dtype == np.uint8 and numbers.max() == 2
    assert ((numbers == 2) == (label == 128)).all()
    grey = classes.grey(numbers)
    assert grey.dtype == np.uint8
    np.testing.assert_array_equal(grey, label)
    assert LabelClasses.of([0, 300]).grey(numbers // 2).dtype == np.uint16
    with pytest.raises(InputError, match="other values"):
        classes.numbers(np.array([[7]]))


@given(st.integers(0, 2**32 - 1), st.integers(3, 6), st.floats(0.05, 0.95))
def test_the_class_map_agrees_with_the_mask(seed, number, threshold):
    generator = np.random.default_rng(seed)
    contaminated = tuple(
        sorted(generator.choice(number, generator.integers(1, number), replace=False))
    )
    probability = generator.dirichlet(np.ones(number), (4, 5)).transpose(2, 0, 1)
    probability = probability.astype(np.float32)
    labels = decide(probability, contaminated, threshold)
    mask = contamination_probability(probability, contaminated) >= threshold
    np.testing.assert_array_equal(np.isin(labels, contaminated), mask)
    for row, column in np.ndindex(labels.shape):
        rivals = [n for n in range(number) if (n in contaminated) == mask[row, column]]
        here = probability[:, row, column]
        assert here[labels[row, column]] == max(here[n] for n in rivals)


def test_a_folder_is_read_with_its_classes(tmp_path):
    generator = np.random.default_rng(0)
    label = generator.choice([0, 128, 255], (16, 16)).astype(np.uint8)
    for name in ("a_layer_1", "a_layer_2"):
        image = generator.integers(0, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray(label).save(tmp_path / f"{name}_LABEL.png")
    plain = load.load_folder(tmp_path)
    assert plain.labels is None and (plain.masks[0] == (label > 0)).all()
    classes = LabelClasses.of([0, 128, 255], (255,))
    stack = load.load_folder(tmp_path, classes=classes)
    assert (stack.masks[0] == (label == 255)).all() and stack.targets is stack.labels
    np.testing.assert_array_equal(classes.grey(stack.labels[0]), label)
    part = stack.subset([1])
    assert part.labels.shape == (1, 16, 16) and part.classes == classes
    assert stack.digest != replace(stack, labels=None).digest


class Quarters:
    """Stands for a network of three classes: the upper half, the lower left, the lower right."""

    def predict_proba(self, images):
        number, height, width = images.shape
        found = np.zeros((number, 3, height, width), np.float32)
        found[:, 0, : height // 2] = 1
        found[:, 1, height // 2 :, : width // 2] = 1
        found[:, 2, height // 2 :, width // 2 :] = 1
        return found


@pytest.mark.parametrize("pixel_size", [0.1, 0.4])
def test_classes_come_back_on_the_grid_of_the_image(pixel_size):
    image = np.random.default_rng(0).normal(size=(300, 280)).astype(np.float32)
    probability, found = inference.predict_proba(Quarters(), image, pixel_size)
    assert probability.shape == (3, 300, 280) and (found.factor == 1) == (pixel_size == 0.4)
    np.testing.assert_allclose(probability.sum(0), 1, atol=1e-5)
    labels = decide(probability, (2,), 0.5)
    assert [labels[10, 10], labels[290, 10], labels[290, 270]] == [0, 1, 2]

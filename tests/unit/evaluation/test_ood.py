"""Out-of-distribution images: distances from known Gaussians, reasons, the bundled file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from book.studies import ood as ood_study
from graphseg.errors import InputError
from graphseg.evaluation import ood
from graphseg.simulation import simulate
from graphseg.unet import inference, pretrained
from graphseg.unet.network import weights_digest


@pytest.fixture(scope="module")
def graphene():
    return simulate(5, 0)


@pytest.fixture(scope="module")
def network():
    return pretrained.load("default", test_time_augmentation=False)


@pytest.fixture(scope="module")
def known():
    return ood.package(weights_digest(pretrained.find("default")))


def judge(known, network, image, pixel_size=None):
    return ood.judge(known, network, image, inference.find_scale(image, pixel_size))


def test_the_distance_is_that_of_mahalanobis():
    rng = np.random.default_rng(0)
    mixing = np.array([[2.0, 0.0], [1.5, 0.5]])
    points = rng.normal(size=(20000, 2)) @ mixing.T + [3, -1]
    gaussian = ood.Gaussian.fit(points, 2)
    tested = np.array([[3.0, -1.0], [5.0, -1.0], [3.0, 0.0]])
    inverse = np.linalg.inv(mixing @ mixing.T)
    away = tested - [3, -1]
    expected = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away) / 2)
    np.testing.assert_allclose(gaussian.distances(tested), expected, rtol=0.03, atol=0.02)


def test_directions_that_are_left_out_share_one_variance():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(5000, 30))
    whole, few = (ood.Gaussian.fit(points, axes) for axes in (30, 4))
    tested = 5 * rng.normal(size=(10, 30))
    np.testing.assert_allclose(few.distances(tested), whole.distances(tested), rtol=0.05)


def test_few_reference_images_are_flagged_and_far_ones_are():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(100), 2)
    gaussians = [rng.normal(size=(200, 46)), rng.normal(size=(200, 60))]
    known = ood.fit(gaussians, groups)
    usual = known.ood_score([rng.normal(size=(400, 46)), rng.normal(size=(400, 60))])
    far = known.ood_score([rng.normal(size=(400, 46)) + 1.5, rng.normal(size=(400, 60))])
    assert np.mean(usual > 1) < 0.03
    assert np.mean(far > 1) > 0.97


def test_what_is_known_survives_json():
    rng = np.random.default_rng(3)
    values = [rng.normal(size=(40, 46))]
    known = ood.fit(values, np.arange(40))
    again = ood.ReferenceSet.from_json(json.loads(json.dumps(known.as_json())))
    np.testing.assert_allclose(again.ood_score(values), known.ood_score(values), rtol=1e-2)
    with pytest.raises(InputError, match="install graphseg again"):
        ood.ReferenceSet.from_json({"gaussians": []})


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="give at least 10 images"):
        ood.fit([np.zeros((4, 46))], np.arange(4))


def test_descriptors_do_not_depend_on_brightness_and_contrast(graphene):
    plain = ood.statistics(graphene.image)
    changed = ood.statistics(3000 + 500 * graphene.image)
    assert len(plain) == sum(ood.PARTS.values())
    np.testing.assert_allclose(changed, plain, rtol=2e-2, atol=2e-2)


def test_fields_are_cut_from_large_images_only():
    assert ood.fields(np.zeros((100, 300)))[0].shape == (100, 256)
    assert len(ood.fields(np.zeros((512, 512)))) == 1
    assert [part.shape for part in ood.fields(np.zeros((700, 800)))] == [(256, 256)] * 3


def test_randomised_descriptions_are_the_same_again_one_for_each_copy(network, graphene):
    samples = [simulate(5, number) for number in range(12)]
    images = np.stack([one.image for one in samples])
    sizes = [one.pixel_size for one in samples]
    found, again = (
        ood_study.describe_randomised(network, images, sizes, copies=3) for _ in range(2)
    )  # fmt: skip
    for one, other in zip(found, again, strict=True):
        assert len(one) == 36
        np.testing.assert_array_equal(one, other)


def test_the_general_network_knows_blurred_and_inverted_images(known, network, graphene):
    general = pretrained.load("general")
    wide = ood.package(weights_digest(pretrained.find("general")))
    blurred = ndimage.gaussian_filter(graphene.image, 1.5)
    scale = inference.find_scale(
        blurred,
        graphene.pixel_size,
        inference.known_pixel_sizes(general.card_),
        inference.working_pixel_size(general.card_),
    )
    assert judge(known, network, blurred, graphene.pixel_size).ood_score > 1
    for image in (graphene.image, blurred, -graphene.image.astype(float)):
        assert ood.judge(wide, general, image, scale).warning == ""
    noise = np.random.default_rng(0).poisson(100, blurred.shape).astype(np.float32)
    assert ood.judge(wide, general, noise, scale).warning


def test_the_bundled_file_belongs_to_the_bundled_networks():
    # Fails after the networks were trained anew: run python -m book.studies out-of-distribution.
    digest = weights_digest(pretrained.FOLDER / "default.safetensors")
    assert ood.package(digest) is not None
    assert ood.package("0" * 64) is None


def test_graphene_is_in_distribution_and_spoilt_it_is_not_with_a_reason(known, network, graphene):
    image = graphene.image
    verdict = judge(known, network, image)
    assert verdict.ood_score < 1 and verdict.reason == verdict.warning == ""
    assert verdict.words == verdict.grade == ood.GRADES[0]
    noise = np.random.default_rng(0).poisson(100, image.shape).astype(np.float32)
    cases = {
        "grey level, cut off": np.clip(image, *np.quantile(image, [0.2, 0.8])),
        "no lattice of graphene": noise,
        "that of the images that the network was trained on": ndimage.gaussian_filter(image, 1.5),
    }
    for words, spoilt in cases.items():
        found = judge(known, network, spoilt)
        assert words in found.reason and words in found.warning
        assert found.warning.startswith("The image is outside of what the network knows: ")
        assert found.words == f"{ood.GRADES[2]}: {found.reason}"


def test_other_conditions_look_usable_to_networks_that_were_trained_for_them(
    known, network, graphene
):
    blurred = ndimage.gaussian_filter(graphene.image, 1.5)
    score = judge(known, network, blurred).ood_score
    for usable, grade in ((1.0, 2), (score * 0.99, 2), (score * 1.01, 1)):
        found = judge(replace(known, usable=usable), network, blurred)
        assert (found.grade, found.ood_score) == (ood.GRADES[grade], score)
        assert found.reason and bool(found.warning) == (grade == 2)
    noise = np.random.default_rng(0).poisson(100, blurred.shape).astype(np.float32)
    assert judge(replace(known, usable=99.0), network, noise).grade == ood.GRADES[2]


def test_a_wrong_lattice_constant_is_told_by_the_pixel_size(known, network, graphene):
    right = judge(known, network, graphene.image, graphene.pixel_size)
    wrong = judge(known, network, graphene.image, graphene.pixel_size * 3.16 / 2.46)
    assert right.reason == ""
    assert "lattice constant would be 3.1" in wrong.reason


def test_where_no_training_images_are_known_the_obvious_is_still_said(network, graphene):
    assert judge(None, network, graphene.image) == ood.Verdict(None)
    image = graphene.image
    noise = np.random.default_rng(0).poisson(100, image.shape).astype(np.float32)
    cut = np.clip(image, *np.quantile(image, [0.2, 0.8]))
    wrong = graphene.pixel_size * 3.16 / 2.46
    for words, found in (
        ("no lattice of graphene", judge(None, network, noise)),
        ("grey level, cut off", judge(None, network, cut)),
        ("lattice constant would be 3.1", judge(None, network, image, wrong)),
    ):
        assert words in found.reason and found.ood_score is None


def test_tiny_images_are_not_judged(known, network):
    tiny = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    assert judge(known, network, tiny, 0.4).ood_score is None


def test_the_image_set_is_the_same_again_and_has_every_kind(graphene):
    images = graphene.image[None, :96, :96]
    first, again = (list(ood_study.image_set(images, each=1)) for _ in range(2))
    assert [one.kind for one in first] == list(ood_study.KINDS)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.image.dtype == np.float32 and np.isfinite(one.image).all()
        assert one.image.min() < one.image.max()
    assert [one.kind for one in first if one.source >= 0] == list(ood_study.SPOILT)


def test_photographs_come_with_scikit_image():
    for name in ood_study.PHOTOGRAPHS:  # a download would fail without a network
        assert min(ood_study._grey(name).shape) >= 100


def test_area_counts_pairs():
    def one(score, grade=0):
        return ood_study.Judged("k", ood.Verdict(score, ood.GRADES[grade]), "")

    assert ood_study._roc_auc([one(0.1), one(0.5)], [one(0.4), one(2.0)]) == 0.75
    # What is obvious is farther away than its distance.
    assert ood_study._roc_auc([one(1.5, 1)], [one(1.4, 2)]) == 1.0

"""The bundled networks: complete cards, honest folds, a bounded size."""

import re
import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import graphseg as gs
from book.tools import tables
from book.tools.tables import read_result
from graphseg import metrics
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.evaluation import compare, crossval
from graphseg.unet import inference, pretrained
from graphseg.unet.network import parameter_count, weights_digest
from graphseg.unet.segmenter import DIGEST, UNetSegmenter

NAMES = ["default", *(f"fold_{fold}" for fold in range(5))]


@pytest.mark.parametrize("name", NAMES)
def test_every_network_has_its_card(name):
    card = pretrained.load(name, device="cpu").card_
    wanted = {"data", "data_digest", "pixel_sizes", "limits", "cross_validation", "recipe"}
    assert wanted <= set(card)
    scores = card["cross_validation"]["mean_and_spread"]["pooled"]
    assert set(scores) == set(metrics.NAMES)
    if name != "default":
        assert card["held_out"]


@pytest.mark.parametrize("name", ["simulated", "initial"])
def test_simulated_networks_have_seen_no_label(name):
    card = pretrained.load(name, device="cpu").card_
    assert "no published image" in card["data"] and card["recipe"]["initial"] is None


def test_where_the_networks_that_have_seen_labels_start():
    digest = DIGEST + weights_digest(pretrained.FOLDER / "initial.safetensors")
    for name in NAMES:
        assert pretrained.load(name, device="cpu").card_["recipe"]["initial"] == digest


def test_the_general_network_is_better_where_images_are_blurred():
    stack = load.load_simulated_sample()
    images = np.stack([gaussian_filter(image, 1.0) for image in stack.images])
    scores = {}
    for name in ("default", "general"):
        masks = pretrained.load(name, test_time_augmentation=False).predict(images)
        scores[name] = metrics.scores(metrics.counts(stack.masks, masks))["jaccard"]
    assert scores["general"] > scores["default"] + 0.1


def test_the_general_network_gets_every_image_at_one_pixel_size():
    card = pretrained.load("general").card_
    assert card["images"] == 131 + read_result("general_acquisition")["extra"]["images"]
    assert card["recipe"]["augmentation"] == "domain randomisation"
    working = card["working_pixel_size"]
    low, high = card["pixel_sizes"]
    assert low < inference.KNOWN[0] < working < inference.KNOWN[1] < high


def test_the_papers_network_is_of_its_size_and_recipe():
    network = pretrained.load("paper_fold_0", device="cpu")
    assert parameter_count(network.module_) == 1_925_058
    recipe = UNetSegmenter.paper().get_params()
    changed = {k for k, v in network.card_["recipe"].items() if v != recipe[k]}
    assert changed <= {"precision"}
    (fold,) = read_result("unet_paper_fold")["results"]
    assert network.card_["held_out"] == fold["test"]


def test_the_networks_stay_small():
    assert pretrained.names() == sorted([*NAMES, "initial", "general", "paper_fold_0", "simulated"])
    assert sum(path.stat().st_size for path in pretrained.FOLDER.iterdir()) <= 25e6


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="default"):
        pretrained.load("fold_9")


def test_fold_networks_were_not_trained_on_what_they_are_tested_on(published):
    for fold, (train, test) in enumerate(crossval.splits(published, "acquisition")):
        card = pretrained.load(f"fold_{fold}", device="cpu").card_
        assert card["held_out"] == [published.names[index] for index in test]
        assert card["images"] == len(train)


def test_a_fold_network_gives_its_recorded_scores(published):
    network = pretrained.load("fold_0", device="cpu")
    recorded = compare.image_counts(tables.read_result("ours_acquisition"))
    chosen = [published.names.index(name) for name in network.card_["held_out"][:6]]
    found = metrics.scores(
        metrics.counts(published.masks[chosen], network.predict(published.images[chosen]))
    )
    table = np.array([recorded[published.names[index]] for index in chosen])
    # Half precision and other processors move single pixels along the edges.
    assert found["jaccard"] == pytest.approx(metrics.scores(table)["jaccard"], abs=0.003)


def test_the_default_network_works_on_the_simulated_sample():
    stack = load.load_simulated_sample().subset(np.arange(6))
    network = pretrained.load(device="cpu", test_time_augmentation=False)
    assert network.score(stack.images, stack.masks) > 0.8


def test_the_raw_network_says_once_that_an_image_is_not_at_its_scale():
    """`inference` sees to the scale, and so it says nothing more."""
    sample = gs.simulate(3, 0)
    fine = inference.resize(sample.image, (768, 768))
    network = pretrained.load(test_time_augmentation=False, device="cpu")
    size = sample.pixel_size / 3
    with pytest.warns(UserWarning, match="use graphseg.segment") as told:
        network.predict_proba(fine[None])
        network.predict(fine[None])
    assert len(told) == 1 and told[0].filename == __file__
    measured = float(re.search(r"has ([\d.]+) Å per pixel", str(told[0].message))[1])
    assert measured == pytest.approx(size, rel=0.03)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = pretrained.load(test_time_augmentation=False, device="cpu")
        other.predict(sample.image[None])
        other.predict(np.random.default_rng(0).normal(size=(1, 64, 64)))  # no lattice
        inference.predict_proba(other, fine)
        trained = UNetSegmenter(levels=2, features=2, epochs=1, device="cpu", progress=False)
        trained.fit(fine[None, :64, :64], fine[None, :64, :64] > 1).predict(fine[None])

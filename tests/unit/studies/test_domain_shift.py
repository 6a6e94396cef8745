"""The domain-shift suite: ranges and structures that training never draws, truth, and a record."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from book.studies import domain_shift, unusual_structures, virtual_microscopes
from book.studies.clean_sheets import Field
from book.studies.configurations import LAYERS
from book.studies.recordings import RECORDINGS, UNCHANGED, recorded
from book.studies.unusual_structures import KINDS, scene
from book.studies.virtual_microscopes import MICROSCOPES, SAMPLING, frame, training_ranges
from graphseg import metrics
from graphseg.datasets import load
from graphseg.errors import InputError
from graphseg.simulation.configuration import DEFECTS, GRAPHENE
from graphseg.simulation.crystal import crystal
from graphseg.simulation.samples import interface, truth_maps
from graphseg.structure.rings import find_rings
from graphseg.unet.network import load_weights

SMALL = "120 kV, out of focus"
MOVED = [(name, parameter) for name, m in MICROSCOPES.items() for parameter in m.moved]


def field(size=256, pixel_size=0.3):
    return Field(size, pixel_size, replace(GRAPHENE, size=size))


@pytest.mark.parametrize(("name", "parameter"), MOVED)
def test_moved_ranges_do_not_overlap_with_those_of_training(name, parameter):
    low, high = MICROSCOPES[name].ranges()[parameter]
    known_low, known_high = training_ranges()[parameter]
    assert low <= high and known_low <= known_high
    assert high < known_low or low > known_high


def test_the_ranges_of_training_are_those_of_its_generators():
    known = training_ranges()
    for configuration in (GRAPHENE, DEFECTS, LAYERS):
        detector, optics = configuration.detector, configuration.optics
        for name, (low, high) in {
            "dose": detector.dose,
            "modulation": detector.modulation,
            "pixel_size": configuration.pixel_size,
            "focal_spread": optics.focal_spread,
            "defocus": optics.far_defocus,
        }.items():
            assert known[name][0] <= low and known[name][1] >= high
    assert known["spherical"] == (-2e5, 2e5) and known["energy"] == (80e3, 80e3)


def test_the_microscopes_span_what_they_are_to_span():
    assert len(MICROSCOPES) >= 6
    assert all(len(m.moved) >= 5 for m in MICROSCOPES.values())
    ranges = [m.ranges() for m in MICROSCOPES.values()]
    for name, low, high in (
        ("energy", 60e3, 300e3),
        ("spherical", -2e5, 1.2e7),
        ("dose", 300, 5e4),
        ("pixel_size", 0.06, 0.28),
        ("size", 256, 4096),
    ):
        assert min(r[name][0] for r in ranges) <= low
        assert max(r[name][1] for r in ranges) >= high


def test_structures_lie_outside_of_what_training_draws():
    for configuration in (GRAPHENE, DEFECTS, LAYERS):
        ranges = configuration.contaminant
        thickest = ranges.core[1] + ranges.sheet[1] + ranges.rim[1]
        assert unusual_structures.CARPET[0] > thickest
        assert unusual_structures.HOLE[0] > configuration.crystal.hole_radius[1]
        assert unusual_structures.LOOP[1] > configuration.defects.loop_radius[1]


def rings(layer):
    return find_rings(layer.positions, layer.bonds).sizes


@pytest.mark.parametrize("kind", KINDS)
def test_every_scene_has_contamination_and_clean_structure(kind):
    drawn = scene(kind, np.random.default_rng(1), field())
    mask = truth_maps(drawn.layer, drawn.on_top, 256, 0.3, 0.75)["mask"]
    assert 0.02 < mask.mean() < 0.75
    assert len(drawn.points)
    again = scene(kind, np.random.default_rng(1), field())
    np.testing.assert_array_equal(again.on_top.positions, drawn.on_top.positions)
    np.testing.assert_array_equal(again.layer.positions, drawn.layer.positions)


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_fit_into_the_smallest_frame(kind):
    size, pixel_size = min(
        (m.configuration.size, m.configuration.pixel_size[0])
        for m in MICROSCOPES.values()
    )  # fmt: skip
    for seed in range(3):
        drawn = scene(kind, np.random.default_rng(seed), field(size, pixel_size))
        assert len(drawn.points) and len(drawn.layer) > 100


def test_no_lattice_lies_beneath_a_carpet():
    drawn = scene("carpet", np.random.default_rng(2), field())
    mask = truth_maps(drawn.layer, drawn.on_top, 256, 0.3, 0.0)["mask"]
    places = np.rint(drawn.layer.positions / 0.3).astype(int)
    inside = ((places >= 0) & (places < 256)).all(axis=1)
    covered = mask[tuple(places[inside].T)].mean()
    assert mask.mean() > 0.2 and covered < 0.1
    thickness = np.ptp(drawn.on_top.heights)
    assert thickness > 50


def test_a_fold_keeps_the_length_of_bonds():
    """Bent about straight lines, the sheet is nowhere stretched by more than a chord is shorter."""
    layer = scene("fold", np.random.default_rng(3), field()).layer
    first, second = layer.bonds.T
    length = np.hypot(
        np.linalg.norm(layer.positions[first] - layer.positions[second], axis=1),
        layer.heights[first] - layer.heights[second],
    )
    assert length.max() <= 1.421 and length.min() > 1.405
    assert np.ptp(layer.heights) > 10


def test_a_second_layer_is_a_crystal_below_the_first():
    for seed in range(4):
        layer = scene("second layer", np.random.default_rng(seed), field(128)).layer
        low = layer.heights < layer.heights.mean()
        assert low.any() and (~low).any()
        second = layer.keep(layer.grains == layer.grains.max())
        assert set(rings(second)) == {6}
        assert second.heights.max() == second.heights.min() == pytest.approx(-3.35)
        twist = np.degrees(layer.angles[-1] - layer.angles[0])
        assert twist == 0 or 2 <= twist <= 30


def test_edges_of_a_hole_are_reconstructed_to_five_and_seven():
    drawn = scene("hole", np.random.default_rng(4), field())
    sizes = rings(drawn.layer)
    five, seven = (sizes == 5).sum(), (sizes == 7).sum()
    assert five == seven > 5
    assert set(sizes[sizes < 20]) == {5, 6, 7} and (sizes > 20).sum() == 1
    bonds = drawn.layer.positions[drawn.layer.bonds]
    lengths = np.linalg.norm(bonds[:, 0] - bonds[:, 1], axis=1)
    assert lengths.min() > 1.3 and lengths.max() < 1.55
    # All of the edge counts as structure.
    edge = np.bincount(drawn.layer.bonds.ravel(), minlength=len(drawn.layer)) == 2
    outer = (drawn.layer.positions < 0) | (drawn.layer.positions > field().frame[1])
    sites = drawn.layer.positions[edge & ~outer.any(axis=1)]
    assert cKDTree(drawn.points).query(sites)[0].max() < 1e-6


def test_a_plain_edge_stays_plain_and_counts_stay():
    sheet = crystal(40.0)
    away = np.linalg.norm(sheet.positions - 20, axis=1) > 9
    cut = sheet.keep(away)
    same = unusual_structures.reconstructed(cut, np.random.default_rng(0), 0.0)
    np.testing.assert_allclose(same.positions, cut.positions)
    other = unusual_structures.reconstructed(cut, np.random.default_rng(0), 1.0)
    assert len(other.bonds) == len(cut.bonds) and len(other) == len(cut)


def test_particles_are_contamination_and_clusters_are_not(monkeypatch):
    monkeypatch.setattr(
        unusual_structures, "_patches", lambda *_: unusual_structures.amorphous(
            np.random.default_rng(0), np.zeros((4, 4)), 0.0
        )
    )  # fmt: skip
    drawn = scene("metal", np.random.default_rng(5), field())
    mask = truth_maps(drawn.layer, drawn.on_top, 256, 0.3, 0.75)["mask"]
    foreign = ~drawn.on_top.overlooked
    places = np.clip(np.rint(drawn.on_top.positions / 0.3).astype(int), 0, 255)
    inside = mask[tuple(places.T)]
    assert foreign.sum() >= 3 * unusual_structures.PARTICLE[0]
    assert inside[foreign].mean() > 0.98
    near_particle = cKDTree(drawn.on_top.positions[foreign]).query(drawn.on_top.positions)[0] < 3
    assert not inside[~foreign & ~near_particle].any()


def test_cores_of_loops_are_turned_and_as_wide_as_said():
    drawn = scene("loop", np.random.default_rng(6), field())
    assert 1 <= len(drawn.loops) <= 4
    turns = np.degrees(np.abs(drawn.layer.angles[1:] - drawn.layer.angles[0]))
    assert (turns >= 5 - 1e-9).all() and (turns <= 30 + 1e-9).all()
    borders = interface(drawn.layer)
    for centre, radius in drawn.loops:
        assert 5 <= radius <= 30
        distance = np.linalg.norm(borders - centre, axis=1)
        assert np.abs(distance - radius).min() < 2.5


def test_a_frame_is_the_same_again_and_its_maps_fit_together():
    one, same, other = (frame(SMALL, index, seed) for index, seed in ((0, 1), (0, 1), (0, 2)))
    np.testing.assert_array_equal(one.image, same.image)
    assert not np.array_equal(one.image, other.image)
    assert one.kind == "loop" and one.image.shape == (256, 256)
    assert one.mask.shape == one.image[:: one.step, :: one.step].shape
    assert not (one.mask & (one.near | one.inside)).any()
    assert not (one.visible & ~one.mask).any() and not (one.touching & ~one.visible).any()
    assert one.inside.any() and one.near.any()
    # Defects of loops lie around their insides, and electrons are counted.
    assert (one.near & one.inside).any()
    expected = one.conditions.dose * one.pixel_size**2
    assert one.image.mean() == pytest.approx(expected, rel=0.1)


def test_fine_pixels_are_scored_on_a_grid_of_about_the_same_distance(monkeypatch):
    name = "300 kV, wide field"
    whole = MICROSCOPES[name]
    monkeypatch.setitem(
        MICROSCOPES, name, replace(whole, configuration=replace(whole.configuration, size=1024))
    )
    one = frame(name, 0)
    assert one.image.shape == (1024, 1024) and one.step in (3, 4)
    assert one.step * one.pixel_size == pytest.approx(SAMPLING, rel=0.15)
    assert one.mask.shape == one.image[:: one.step, :: one.step].shape


def test_a_scintillator_makes_neighbours_share_their_noise(monkeypatch):
    def neighbours(image):
        flat = image - image.mean()
        return (flat[:, 1:] * flat[:, :-1]).mean() / flat.var()

    microscope = MICROSCOPES[SMALL]
    even = np.ones((128, 128), np.float32)
    conditions = frame(SMALL, 0).conditions
    found = {}
    for scintillator in (False, True):
        used = replace(microscope, scintillator=scintillator)
        image = virtual_microscopes._recorded(
            np.random.default_rng(0), even, 0.25, conditions, used
        )
        assert image.mean() == pytest.approx(conditions.dose * 0.25**2, rel=0.01)
        found[scintillator] = neighbours(image)
    assert abs(found[False]) < 0.05 and found[True] > 0.3


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_change_the_image_and_not_its_shape(name):
    image = np.random.default_rng(0).uniform(0, 1, (96, 128)).astype(np.float32)
    changed = recorded(name, image, 1)
    np.testing.assert_array_equal(changed, recorded(name, image, 1))
    assert changed.shape == image.shape and np.isfinite(changed).all()
    assert np.array_equal(changed, image) == (name == UNCHANGED)
    assert abs(np.corrcoef(changed.ravel(), image.ravel())[0, 1]) > 0.3


def test_recordings_do_what_they_say():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (128, 128)).astype(np.float32)
    stripes = np.tile([0.0, 1.0], (64, 32))  # at the Nyquist frequency
    assert np.ptp(recorded("camera, 20% at Nyquist", stripes)) == pytest.approx(0.2)
    offset = recorded("scan lines, 0.5 standard deviations", image) - image
    assert np.ptp(offset, axis=1).max() < 1e-6
    assert offset.std() == pytest.approx(0.5 * image.std(), rel=0.25)
    noise = recorded("correlated noise, 0.5 standard deviations", image) - image
    assert noise.std() == pytest.approx(0.5 * image.std(), rel=1e-4)
    assert (noise[:, 1:] * noise[:, :-1]).mean() > 0.5 * noise.var()
    raw = recorded("raw counts", image)
    assert (raw.dtype, raw.min(), raw.max()) == (np.uint16, 2000, 2150)
    assert recorded("16 bits", image).max() == 2**16 - 1
    values = recorded("floats around zero", image)
    assert values.dtype == np.float32 and values.min() < 0 < values.max()
    bent = recorded("gamma 0.5", image)
    np.testing.assert_allclose(recorded("gamma 2", image), bent**4, atol=1e-6)


def test_a_resampled_image_says_how_much_larger_its_pixels_are():
    image = np.random.default_rng(0).uniform(0, 1, (256, 256)).astype(np.float32)
    made = list(domain_shift._resampled(image))
    assert [changed.shape[0] for changed, _ in made] == [512, 406, 320, 256, 205, 160]
    for (changed, factor), scale in zip(made, domain_shift.SCALES, strict=True):
        assert factor == 256 / changed.shape[0] == pytest.approx(scale, rel=0.003)
    np.testing.assert_array_equal(made[3][0], image)


def test_a_masked_fraction_is_that_of_all_pixels():
    names, table = ["a", "b", "c"], np.array([[1, 10], [0, 0], [3, 10]])
    value, low, high = domain_shift._masked(names, table)
    assert value == pytest.approx(0.2) and (low, high) == (0.1, 0.3)
    assert domain_shift._masked(names, table * [[1, 0]] * 0) is None


@pytest.fixture
def quick(monkeypatch):
    """One small microscope, three scales, two recordings, one view of each kind."""
    whole = MICROSCOPES[SMALL]
    small = replace(whole, configuration=replace(whole.configuration, size=160))
    monkeypatch.setattr(virtual_microscopes, "MICROSCOPES", {SMALL: small})
    monkeypatch.setattr(domain_shift, "MICROSCOPES", {SMALL: small})
    monkeypatch.setattr(domain_shift, "SCALES", (0.8, 1.0, 1.25))
    chosen = {name: RECORDINGS[name] for name in (UNCHANGED, "inverted")}
    monkeypatch.setattr(domain_shift, "RECORDINGS", chosen)
    views = {"default": ("default", False), "simulated": ("simulated", False)}
    monkeypatch.setattr(domain_shift, "VIEWS", views)
    monkeypatch.setattr(domain_shift, "STRUCTURE", ("loop",))


NUMBERS = {"images": 2, "changed": 2, "frames": 1, "sheets": 1}


def test_a_record_is_complete_and_continued(quick, tmp_path, monkeypatch):
    stack = load.load_stack("simulated")
    chosen = np.flatnonzero(stack.masks.mean(axis=(1, 2)) > 0.1)[:2]
    stack = stack.subset(chosen)
    found = domain_shift.run(stack, **NUMBERS, run_folder=tmp_path)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    for part, variants, reference in (("scales", 3, 1), ("recordings", 2, 0)):
        assert sorted(found[part]["images"]) == sorted(stack.names)
        for network in found[part]["networks"].values():
            assert np.shape(network["label"]) == np.shape(network["reference"]) == (2, variants, 4)
            scores = network["scores"]
            assert scores["agreement"][reference] == [1, 1, 1]
            assert scores["difference"][reference] == [0, 0, 0]
            label = np.array(network["label"])
            pooled = [metrics.scores(label[:, k])["jaccard"] for k in range(variants)]
            np.testing.assert_allclose([s[0] for s in scores["pooled"]], pooled, atol=1e-4)
            assert min(pooled) > 0.2
    (only,) = found["microscopes"]["frames"]
    assert only["kind"] == "loop" and sum(only["networks"]["default"]["counts"]) <= 160**2
    assert sum(only["networks"]["default"]["counts_with_invisible"]) == 160**2
    assert len(found["structure"]["networks"]["default"]["scores"]) == 3
    assert list(found["targets"]) == list(domain_shift.TARGETS)
    for view in ("default", "simulated"):
        parts = found["quality"][view]
        assert list(parts) == ["scales", "recordings", "microscopes", "all"]
        numbers = [parts[name]["expected"]["images"] for name in parts]
        assert numbers == [6, 4, 1, 11]
        for part in parts.values():
            assert 0 <= part["calibration_error"] <= 1
            assert 0 <= part["calibration_error_with_temperature"] <= 1
    assert (
        "reliability" not in only["networks"]["default"] and only["networks"]["default"]["verdict"]
    )
    text = domain_shift.summarise(found)
    loss = found["targets"]["largest loss of Jaccard between scales"]["reached"]["default"]
    assert f"default {loss:.4f}" in text and text.count("\n") == len(domain_shift.TARGETS) - 1

    def never(*_, **__):
        raise AssertionError("what is finished is not measured again")

    for step in ("_published", "_structure", "_imaged"):
        monkeypatch.setattr(domain_shift, step, never)
    assert domain_shift.run(stack, **NUMBERS, run_folder=tmp_path) == found
    with pytest.raises(InputError, match="another run"):
        domain_shift.run(stack, **NUMBERS, seed=1, run_folder=tmp_path)


def test_an_unknown_microscope_or_view_is_one_sentence(quick):
    stack = load.load_stack("simulated")
    with pytest.raises(InputError, match="no virtual microscope 'telescope'"):
        domain_shift.run(stack, microscope=["telescope"])
    with pytest.raises(InputError, match="no view 'sideways'"):
        domain_shift.run(stack, view=["sideways"])


def test_only_what_was_asked_for_is_measured(quick, tmp_path):
    stack = load.load_stack("simulated").subset(np.arange(1))
    found = domain_shift.run(stack, **NUMBERS, view=["simulated"], run_folder=tmp_path)
    assert list(found["networks"]) == ["simulated"]
    assert list(found["scales"]["networks"]) == ["simulated"]


def test_fold_networks_are_those_that_have_not_seen_an_image():
    folder = domain_shift.pretrained.FOLDER
    cards = [load_weights(folder / f"fold_{k}.safetensors")[0]["card"] for k in (2, 3)]
    first, second = (card["held_out"] for card in cards)
    owner = np.repeat([2, 3], [len(first), len(second)])
    found = domain_shift._files(["default"], folder, owner, first + second)
    assert [path.stem for path in found.values()] == ["default", "fold_2", "fold_3"]
    with pytest.raises(InputError, match=r"was trained on images that it is asked about"):
        domain_shift._files(["default"], folder, owner, second[:1] + first + second[1:])
    assert domain_shift._files(["default"], folder, np.array([0, 1]), ["a", "b"])

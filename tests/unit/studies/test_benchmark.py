"""The benchmark measures what it says: counts that are known, ratios of its own numbers."""

import itertools

import pytest

from book.studies import benchmark
from graphseg.datasets.load import load_simulated_sample


def paper_gflop(side=256, widths=(32, 64, 128, 256)):
    """Multiply and add: two operations for each weight and each pixel it is applied to."""
    total = 2 * side**2 * widths[0] * 2  # the last layer, 1 x 1
    for level, (before, after) in enumerate(zip((1, *widths), widths, strict=False)):
        total += 2 * 9 * (side >> level) ** 2 * (before * after + after * after)
    for level, (shallow, deep) in enumerate(itertools.pairwise(widths)):
        pixels = (side >> level) ** 2
        total += 2 * pixels * deep * shallow  # 2 x 2 with stride 2: one weight a pixel
        total += 2 * 9 * pixels * (2 * shallow * shallow + shallow * shallow)
    return total / 1e9


def test_the_numbers_hang_together():
    sample = load_simulated_sample()
    measured = benchmark.run(sample, repeats=1, images=0, large=0, dask=0, starts=1)
    assert measured["paper"]["gflop"] == pytest.approx(paper_gflop(), rel=1e-6)
    assert measured["paper"]["parameters"] == 1_925_058
    ratio = measured["paper"]["eager_float32"] / measured["ours"]["fast"]
    assert measured["ratios"]["paper's network eager / ours fast"] == pytest.approx(ratio)
    assert 0 < measured["bragg"]["peak_megabytes"] < 5
    for name in ("paper", "ours"):
        # Above the float32 features of the first block, below a small multiple of all of them.
        assert 4 < measured[name]["peak_megabytes"] < 400
        assert measured[name]["same_pixels"] >= 99.9
    assert all(ratio > 0 for ratio in measured["ratios"].values())


def test_batch_work_is_compared_with_the_bare_network(monkeypatch):
    monkeypatch.setitem(benchmark.SIDES, "large", 512)
    measured = benchmark.batch_work(images=3, large=1, dask=4, test_time_augmentation=False)
    for name, number in (("small", 3), ("large", 1)):
        part = measured[name]
        assert part["images"] == number
        assert part["masks_ratio"] == pytest.approx(part["masks"] / part["bare"])
        assert part["everything_ratio"] == pytest.approx(part["everything"] / part["bare"])
    dask = measured["dask"]
    assert dask["identical"] and dask["speedup"] == pytest.approx(dask["two"] / dask["one"])
    ratios = benchmark.ratios(measured)
    assert ratios["masks of 256² / bare network"] == measured["small"]["masks_ratio"]
    assert ratios["two Dask workers / one"] == dask["speedup"] and len(ratios) == 5
    assert benchmark.ratios(benchmark.batch_work(0, 0, 0)) == {}

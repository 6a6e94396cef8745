"""The rates of the commands: what is measured of files that are really worked on."""

import pytest
import tifffile

from book.studies import rates


def test_a_command_is_measured_on_its_own_images(tmp_path, monkeypatch):
    monkeypatch.setattr(rates, "COMMANDS", ("sort",))
    record = rates.run(None, sides=[1024], images=2)
    found = record["rates"]["1024"]["sort"]
    assert found["images"] == 2 and 0 < found["core_seconds"] < 60
    product = found["images_an_hour_and_core"] * found["core_seconds"]
    assert product == pytest.approx(3600)
    assert 100 < found["megabytes"] < 4000
    assert "1024²: sort " in rates.summarise(record)


def test_images_have_the_size_and_the_finer_pixels(tmp_path):
    rates.write_images(tmp_path / "images", 2, 2048)
    files = sorted((tmp_path / "images").iterdir())
    assert [tifffile.imread(file).shape for file in files] == [(2048, 2048)] * 2
    with pytest.raises(RuntimeError, match="failed on its own images"):
        rates.cost("sort", [tmp_path / "none.tif"], tmp_path / "out")

"""Records: written whole, read back the same, refused when damaged."""

import numpy as np
import pytest

from graphseg.classical.bragg import BraggSegmenter
from graphseg.errors import InputError
from graphseg.evaluation import records


def test_a_record_comes_back_the_same_and_leaves_no_temporary_file(tmp_path):
    record = {"name": "x", "results": [{"shuffle": 0, "fold": 1, "counts": [[1, 2, 3, 4]]}]}
    records.write_record(tmp_path / "new" / "r.json", record)
    assert records.read_record(tmp_path / "new" / "r.json") == record
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.json"]
    ((shuffle, fold, counts),) = records.fold_counts(record)
    assert (shuffle, fold) == (0, 1) and (counts == np.array([[1, 2, 3, 4]])).all()


def test_the_spread_of_folds_is_that_of_single_folds():
    counts = ([[50, 0, 50, 100]], [[100, 0, 0, 100]])
    results = [{"shuffle": 0, "fold": i, "counts": c} for i, c in enumerate(counts)]
    mean, spread = records.summary({"results": results})["jaccard"]
    assert mean == 0.75 and spread == pytest.approx(np.sqrt(2) / 4)


def test_a_description_leaves_out_what_does_not_belong_to_the_result():
    described = records.describe(BraggSegmenter(n_peaks=6, progress=False))
    assert described["n_peaks"] == 6 and "progress" not in described


def test_provenance_names_code_versions_and_machine():
    made = records.provenance()
    assert made["versions"]["numpy"] == np.__version__
    assert made["hardware"]["cores"] >= 1 and len(made["revision"]) == 40
    assert made["hardware"]["processor"] not in ("", "unknown")
    assert set(made["hardware"]) >= {"machine", "instructions"}


def test_damaged_records_are_refused(tmp_path):
    with pytest.raises(InputError, match="no record"):
        records.read_record(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"name": ')
    with pytest.raises(InputError, match="not valid JSON"):
        records.read_record(tmp_path / "half.json")

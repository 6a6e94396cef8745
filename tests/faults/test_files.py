"""Malformed weights, folders of labels, reduced stacks, records and checkpoints."""

import json
import re

import h5py
import numpy as np
import pytest
from safetensors.torch import save_file

from graphseg.batch import reduction
from graphseg.batch.reduction import read_reduced, write_reduced
from graphseg.classical.bragg import kept
from graphseg.datasets import check
from graphseg.datasets import load as datasets
from graphseg.evaluation import records
from graphseg.plotting.review import Labelling
from graphseg.unet import finetune, pretrained
from graphseg.unet.network import load_weights
from graphseg.unet.segmenter import UNetSegmenter
from tests.faults import corpus_files, guard

FAST = ("--no-test-time-augmentation", "--device", "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return corpus_files.weight_files(tmp_path_factory.mktemp("weights") / "files")


def test_no_weight_file_of_the_corpus_is_taken(files):
    for name, path in files.items():
        for load in (UNetSegmenter.load, finetune.Start.find(str(path)).parameters
                     if path.is_file() else load_weights):  # fmt: skip
            arguments = [path] if load in (UNetSegmenter.load, load_weights) else []
            said = guard.outcome(lambda load=load, arguments=arguments: load(*arguments))
            assert said or load is not UNetSegmenter.load, name
    assert len(files) > 40 and not list(files["folder"].glob("ran*"))
    assert (
        guard.outcome(lambda: UNetSegmenter.load(pretrained.FOLDER / "default.safetensors")) is None
    )


def test_the_command_line_refuses_weight_files(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    for name in ("pickle", "torch", "features_wrong", "larger", "deep", "not_finite", "folder"):
        for command in (
            ("segment", "a.png", "--output", "out", "--model", files[name], *FAST),
            ("export", files[name], "--output", "out.onnx"),
            ("train", tmp_path, "--output", "out.safetensors", "--from", files[name]),
        ):
            code, _, told = guard.command(capsys, monkeypatch, *command)
            assert code == 2 and guard.is_sentence(told[-1]), (name, told)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return corpus_files.label_folders(tmp_path_factory.mktemp("labels"))


def test_folders_of_labels_are_read_or_refused(folders):
    def sound(stack):
        return stack.images.shape == stack.masks.shape and np.isfinite(stack.images).all()

    refused = {
        name
        for name, path in folders.items()
        if guard.outcome(lambda path=path: datasets.load_folder(path), sound)
    }
    assert len(folders) > 25 and set(folders) - refused >= {
        "clean",
        "contaminated",
        "sizes_of_others",
    }
    assert {"cut", "two_sizes", "colours", "sizes_deep", "sizes_negative", "missing"} <= refused
    for path in folders.values():
        guard.outcome(lambda path=path: str(check.check_folder(path)))
        guard.outcome(lambda path=path: Labelling(path, ["contamination"], None, False))


def test_training_refuses_folders_and_writes_nothing(folders, tmp_path, capsys, monkeypatch):
    for name, path in folders.items():
        if name in ("sizes_of_others", "two_sizes"):  # can be trained on
            continue
        output = tmp_path / "w.safetensors"
        code, _, told = guard.command(capsys, monkeypatch, "train", path, "--output", output,
                                      "--from", "nothing", "--set", "epochs=0")  # fmt: skip
        assert code == 2, name
        assert guard.is_sentence(told[-1]), (name, told[-1])
        assert not list(tmp_path.iterdir()), name


def test_checkpoints_and_records_are_not_believed(tmp_path):
    random = np.random.default_rng(0)
    images, masks = random.normal(size=(2, 16, 16)), random.random((2, 16, 16)) > 0.5
    recipe = dict(levels=2, features=2, epochs=1, progress=False, device="cpu")
    path = tmp_path / "c.checkpoint"
    UNetSegmenter(**recipe, checkpoint=path).fit(images, masks)
    good = path.read_bytes()
    header = json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])
    content = json.loads(header["__metadata__"]["graphseg"])
    spoilt = [b"", b"text", good[:200], good[: len(good) // 2]]
    for change in ({}, {"signature": content["signature"]}, content | {"groups": []},
                   content | {"history": 5}, content | {"history": [3]}):  # fmt: skip
        save_file({}, path, metadata={"graphseg": json.dumps(change)})
        spoilt.append(path.read_bytes())
    for data in spoilt:
        path.write_bytes(data)
        said = guard.outcome(lambda: UNetSegmenter(**recipe, checkpoint=path).fit(images, masks))
        assert said and "delete it" in said
    for text in ("", "[]", "3", "{", "[" * 100000, '"x"'):
        (tmp_path / "r.json").write_text(text)
        assert guard.outcome(lambda: records.read_record(tmp_path / "r.json"))
    assert guard.outcome(lambda: records.read_record(tmp_path))
    store = records.StepStore(tmp_path, {"a": 1})
    for text in ("{}", '{"header": {"a": 2}, "result": 1}', '{"header": {"a": 1}}'):
        (tmp_path / "shuffle_0_fold_0.json").write_text(text)
        assert guard.outcome(lambda: store.get("shuffle_0_fold_0"))


def test_an_array_that_is_kept_is_only_numbers(tmp_path):
    array = np.arange(6.0)
    first = kept(tmp_path, lambda: array * 2, array, {"a": 1})
    (path,) = tmp_path.iterdir()
    assert (kept(tmp_path, lambda: None, array, {"a": 1}) == first).all()
    np.save(path, np.array([corpus_files.Runs(tmp_path / "ran")], object), allow_pickle=True)
    for spoil in (lambda: None, lambda: path.write_bytes(b""), lambda: path.write_bytes(b"x" * 99)):
        spoil()
        assert (kept(tmp_path, lambda: array * 2, array, {"a": 1}) == first).all()
    assert not (tmp_path / "ran").exists()


def test_reduced_stacks_are_not_believed(tmp_path):
    good = tmp_path / "good.h5"
    write_reduced(
        good, np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8), np.zeros((2, 8, 8), bool)
    )
    content = good.read_bytes()
    path = tmp_path / "bad.h5"
    for part in (0, 0.1, 0.5, 0.95):
        path.write_bytes(content[: int(part * len(content))])
        assert guard.outcome(lambda: read_reduced(path))
    changes = {
        "no_images": lambda f: f.__delitem__("images"),
        "no_format": lambda f: f.attrs.__delitem__("format"),
        "other": lambda f: f.attrs.__setitem__("format", np.bytes_(b"other 1")),
        "names": lambda f: f.attrs.__setitem__("class_names", np.bytes_(b"[" * 5000)),
        "settings": lambda f: f.attrs.__setitem__("coarsening", np.bytes_(b"{}")),
        "types": lambda f: f.attrs.__setitem__("coarsening", np.bytes_(b'{"classes": 3}')),
        "link": lambda f: (f.__delitem__("images"), f.__setitem__(
            "images", h5py.ExternalLink("/etc/passwd", "/images"))),
        "soft": lambda f: (f.__delitem__("exact"), f.__setitem__("exact", h5py.SoftLink("/names"))),
    }  # fmt: skip
    for name, change in changes.items():
        path.write_bytes(content)
        with h5py.File(path, "a") as file:
            change(file)
        assert guard.outcome(lambda: read_reduced(path)), name
    assert guard.outcome(lambda: read_reduced(tmp_path))
    assert guard.outcome(lambda: read_reduced(good)) is None
    assert reduction.read_reduced(good).images.shape == (2, 8, 8)


def test_nothing_in_the_package_unpickles_or_unpacks(root):
    """Names of what runs code that it reads, or writes where an archive says."""
    banned = (
        r"\bpickle\b(?!_)|\bdill\b|cloudpickle|torch\.load|torch\.save|joblib\.(load|dump)|Memory\("
        r"|\beval\(|\bexec\(|extractall|unpack_archive|yaml\.(load|unsafe_load)\(|marshal|shelve"
    )
    # The first looks for the word to refuse it; the other writes a notebook that unpacks the
    # project's own archive, which lies beside it, where its reader asks for that.
    allowed = {"readers.py": 1, "downloads.py": 1}
    for path in [*root.glob("graphseg/**/*.py"), *root.glob("book/tools/*.py")]:
        code = re.sub(r"\.eval\(\)", "", path.read_text(encoding="utf-8"))
        found = re.findall(banned, code)
        assert len(found) == allowed.get(path.name, 0), (path, found)
        for call in re.findall(r"np\.load\([^)]*\)", code):
            assert "allow_pickle=False" in call, path

"""The masks in a folder of results of ``graphseg segment``, and what people corrected in them.

Beside ``NAME_mask.tif``, which stays as the network made it, lie two files after a review:
``NAME_corrected.tif`` is the whole mask with the corrections, and ``NAME_reviewed.tif`` is 255
where somebody has looked: all of the image once it was accepted, else what was painted. What nobody
has looked at is unknown to a training.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from graphseg.batch.manifest import (
    FORMAT,
    FRAME,
    HIDDEN,
    RUN,
    Fingerprint,
    Source,
    content_digest,
    read_record,
)
from graphseg.batch.run import read_run
from graphseg.batch.tasks import CORES, Network, Prediction
from graphseg.datasets import load
from graphseg.datasets.check import FolderReport, describe_duplicates, named_duplicates
from graphseg.datasets.duplicates import texture_map
from graphseg.datasets.stack import LabelClasses, LabelledStack, group_of
from graphseg.errors import InputError
from graphseg.io.micrographs import Micrograph, open_series, read_micrograph
from graphseg.io.outputs import whole_file, write_mask
from graphseg.unet import pretrained
from graphseg.unet.network import weights_digest

MASK, CORRECTED, REVIEWED = "_mask", "_corrected", "_reviewed"
SEGMENT, REVIEW = "segment", "review"
NONE = "none"  # in place of the digest of a source that has no mask
EXPECTED = ("expected_jaccard", "expected_low", "expected_high", "look_first", "model")


@dataclass(frozen=True)
class MaskFolder:
    """A folder of results of ``graphseg segment``; to tasks it is in place of a `Network`.
    The pixel size (Å) is that of all images, whatever was found when the masks were made."""

    folder: Path
    pixel_size: float | None = None
    digest: ClassVar[str] = ""  # of a network, which each row has from its mask
    threshold: ClassVar[float] = 0.5

    # What is there.

    def names(self) -> list[str]:
        """Return the names of the masks: first those that need a look first, then by name.
        InputError if there are none."""
        folder = self.folder / HIDDEN / SEGMENT
        found = {}
        for path in sorted(folder.rglob("*.json")):
            record = read_record(path)
            if record is not None:
                row = record["row"]
                later = not (row.get("look_first") or row.get("flags"))
                found[path.relative_to(folder).as_posix().removesuffix(".json")] = later
        if not found:
            raise InputError(
                f"{self.folder} has no masks of graphseg segment; name the folder of its results."
            )
        return sorted(found, key=lambda name: (found[name], name))

    def record(self, name: str) -> dict:
        """Return the record of a mask; InputError if there is none."""
        record = read_record(self.folder / HIDDEN / SEGMENT / f"{name}.json")
        if record is None:
            raise InputError(f"{name} has no mask in {self.folder}; run graphseg segment first.")
        return record

    def micrograph(self, name: str) -> Micrograph:
        """Read the image that a mask belongs to, from where it was when the mask was made.
        InputError if it is not there any more, or has changed."""
        record = self.record(name)
        source, path = record["source"], Path(record["source"]["path"])
        now, then = Fingerprint.of(path), (source["path"], source["size"], source["modified"])
        if now[:3] != then and (not now.size or content_digest(now) != source["sha256"]):
            what = "has changed" if now.size else "is gone"
            raise InputError(f"{path} {what} since its mask was made; run graphseg segment again.")
        with open_series(path) as series:
            return series[record["frame"]]

    def read(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a mask with its corrections, and where somebody has looked; both (H, W) bool.
        InputError if there is no such mask, or its files do not fit each other."""
        mask = _read_mask(self._file(name))
        reviewed = np.zeros(mask.shape, bool)
        paths = self._corrections(name)
        if paths[1].exists() and paths[0].exists():
            mask, reviewed = map(_read_mask, paths)
        if mask.shape != reviewed.shape:
            raise InputError(f"{paths[0]} and {paths[1].name} have different sizes; remove both.")
        return mask, reviewed

    def probability(self, name: str, micrograph: Micrograph, model: Path | None) -> np.ndarray:
        """Return the probability of contamination, as it was written or else computed again.
        The weight file that made the mask is given if it is neither bundled nor the one in
        ``run.toml``. InputError if that network is not known."""
        record = self.record(name)
        for file in record["outputs"]:
            if file == f"{name}_probability.tif" and (self.folder / file).exists():
                return read_micrograph(self.folder / file).image.astype(np.float32)
        made = record["made_by"]
        known = (path for path in self._networks(model) if weights_digest(path) == made["model"])
        path = next(known, None)
        if path is None:
            raise InputError(
                "The network that made this mask is not known here; name it with --model, or run "
                "graphseg segment with --probabilities float16."
            )
        options = {key: made[key] for key in ("test_time_augmentation", "pixel_size", "precision")}
        return Network(path, digest=made["model"], **options).predict(micrograph).probability

    def _networks(self, model: Path | None) -> Iterator[Path]:
        if model is not None:
            yield pretrained.find(str(model))
            return
        try:
            stated = read_run(self.folder / RUN, SEGMENT)["options"].get("model")
        except InputError:
            stated = None
        yield from (pretrained.find(name) for name in pretrained.names())
        if stated is not None and Path(stated).is_file():
            yield Path(stated)

    def _file(self, name: str) -> Path:
        files = [file for file in self.record(name)["outputs"] if Path(file).stem.endswith(MASK)]
        found = [self.folder / file for file in files if (self.folder / file).exists()]
        if not found:
            raise InputError(f"The mask of {name} is gone; run graphseg segment again.")
        return found[0]

    def _corrections(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}{CORRECTED}.tif", self.folder / f"{name}{REVIEWED}.tif"

    # What a review adds.

    def write(self, name: str, mask: np.ndarray, reviewed: np.ndarray) -> None:
        """Write a corrected mask and where somebody has looked, both (H, W) bool."""
        record, paths = self.record(name), self._corrections(name)
        partial, note = self.folder / HIDDEN / "partial", self._note(name)
        kept = {
            "format": FORMAT,
            "made_by": {"model": record["made_by"]["model"]},
            "outputs": {path.relative_to(self.folder).as_posix(): 0 for path in paths},
            "source": record["source"],
            "row": {},
        }
        if not note.exists():  # by which later runs know that the files are no micrographs
            with whole_file(note, partial) as temporary:
                temporary.write_text(json.dumps(kept), encoding="utf-8")
        size = record["row"].get("pixel_size")
        # In this order: what is called reviewed must be what somebody has seen.
        for path, part in zip(paths, (mask, reviewed), strict=True):
            with whole_file(path, partial) as temporary:
                write_mask(temporary, part, size)

    def reviewed_fraction(self, name: str) -> float:
        """Return the fraction of an image that somebody has looked at."""
        return float(self.read(name)[1].mean()) if self._note(name).exists() else 0.0

    def _note(self, name: str) -> Path:
        return self.folder / HIDDEN / REVIEW / f"{name}.json"

    # In place of a network.

    def made_by(self) -> dict:
        """Return what decides on the results besides the images and their masks."""
        return {"model": "given masks", "pixel_size": self.pixel_size}

    def threads(self) -> int:
        """Return how many micrographs are best worked on at a time."""
        return CORES

    processes = threads

    def matched(self, sources: Sequence[Source]) -> list[Source]:
        """Return sources by the names of their masks, with a digest of these.
        They are found by their paths, or by their content where they have been moved. Those without
        a mask have the digest `NONE`, and names that are no mask's."""
        by_path, by_content, taken = {}, {}, set()
        for name in self.names():
            record = self.record(name)
            source, single = record["source"], record["frames"] == 1
            one = name if single else name.rpartition(FRAME)[0], record["frames"]
            by_path[source["path"]] = by_content[source["size"], source["sha256"]] = one
        sizes = {size for size, _ in by_content}
        found = []
        for source in sources:
            now = Fingerprint.of(source.path)
            one = by_path.get(str(source.path))
            if one is None and now.size in sizes:
                one = by_content.get((now.size, content_digest(now)))
            if one is None or one[0] in taken:
                tail = sha256(str(source.path).encode("utf-8", "surrogateescape")).hexdigest()[:8]
                found.append(replace(source, name=f"{source.name}_{tail}", masks=NONE))
                continue
            taken.add(one[0])
            found.append(replace(source, name=one[0], masks=self._digest(*one)))
        return found

    def _digest(self, name: str, frames: int) -> str:
        total = sha256()
        for number in range(frames):
            one = Source(Path(), "", name).frame_name(number, frames)
            try:
                paths = self._file(one), *self._corrections(one)
            except InputError:
                continue  # said when it is asked for
            for path in paths:
                total.update(sha256(path.read_bytes() if path.exists() else b"").digest())
        return total.hexdigest()

    def predict(self, micrograph: Micrograph, name: str) -> Prediction:
        """Return the mask of a micrograph, with its corrections, as if a network had made it.
        What spoke against the automatic mask does not speak against one that somebody accepted.
        InputError if it has no mask, or one of another size."""
        row = self.record(name)["row"]
        mask, reviewed = self.read(name)
        if mask.shape != micrograph.image.shape:
            raise InputError(
                f"Its mask in {self.folder} is of another size; run graphseg segment again."
            )
        accepted = bool(reviewed.all())
        state = "accepted" if accepted else "corrected" if reviewed.any() else "automatic"
        known = {key: row[key] for key in EXPECTED if key in row} | {"mask": state}
        if state != "automatic":
            known |= dict.fromkeys(EXPECTED[:3] if EXPECTED[0] in row else ())
        if accepted:
            known["look_first"] = ""
        size, source = row["pixel_size"], row["pixel_size_from"]
        if self.pixel_size is not None:
            size, source = self.pixel_size, "given"
        elif source == "file":
            size = micrograph.pixel_size
        return Prediction(
            mask.astype(np.float32),
            mask,
            size,
            source,
            row["scale_factor"],
            "" if accepted else row["warning"],
            None,
            row["ood_score"],
            row.get("verdict", ""),
            () if accepted else tuple(row["flags"].split()),
            known=known,
        )


def _read_mask(path: Path) -> np.ndarray:
    return read_micrograph(path).image > 0


def is_reviewed(folder: Path) -> bool:
    """Tell whether a folder holds corrected masks."""
    return any((folder / HIDDEN / REVIEW).rglob("*.json"))


def read_reviewed(folder: Path) -> tuple[LabelledStack, LabelClasses, FolderReport]:
    """Read what was reviewed in a folder of results as labels to train on, with ``reviewed``.
    The classes are 0 clean, 255 contamination; the report is as
    `graphseg.datasets.check.check_folder` gives it of other labels. Images of one file are one
    acquisition. InputError if nothing was reviewed, or everything reviewed is clean or
    contaminated; if an image is gone or has changed."""
    if pairs := load.find_pairs(folder)[0]:
        raise InputError(
            f"{folder} holds both corrected masks and labels ({next(iter(pairs))}{load.LABEL}); "
            "keep them in folders of their own."
        )
    masks, found, counts = MaskFolder(folder), [], np.zeros(2, int)
    for name in masks.names():
        if not masks.reviewed_fraction(name):
            continue
        mask, looked = masks.read(name)
        micrograph, record = masks.micrograph(name), masks.record(name)
        if micrograph.image.shape != mask.shape:
            raise InputError(f"{name} has a mask of another size; run graphseg segment again.")
        row, single = record["row"], record["frames"] == 1
        size = row["pixel_size"] if row["pixel_size_from"] in ("given", "file") else None
        group = group_of(name if single else name.rpartition(FRAME)[0])
        found.append((name, load.scaled(micrograph.image), mask, looked, size, group))
        counts += np.bincount(mask[looked], minlength=2)
    if not counts.all():
        clean, contaminated = counts
        only = "only clean" if clean else "only contaminated" if contaminated else "none"
        raise InputError(
            f"Reviewed areas in {folder}: {only}; paint or accept some of both with graphseg "
            "review."
        )
    names, images, labels, reviewed, sizes, groups = zip(*found, strict=True)
    stack = load.assemble(names, images, labels, "folder", sizes)
    together = load.objects(reviewed) if stack.images.ndim == 1 else np.stack(reviewed)
    stack = replace(stack, groups=np.array(groups), reviewed=together)
    pairs = named_duplicates(names, [texture_map(image) for image in images], groups)
    fractions = (counts / counts.sum()).tolist()
    report = FolderReport(
        folder, tuple(names), dict(zip((0.0, 255.0), fractions, strict=True)), pairs,
        warnings=tuple(describe_duplicates(pairs)),
    )  # fmt: skip
    return stack, LabelClasses.of([0, 255]), report

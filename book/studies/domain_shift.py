"""How masks hold where nobody has labelled: other scales, other recordings, other microscopes.

One suite for all networks, old and new. Published images are judged by the fold network that has
not seen them, and by the network that has seen no published image at all; everything goes the way
of ``graphseg segment``, with the pixel size told. What was trained without a fold and is not
bundled is named by its folder.

- scales: each image resampled (bicubic, averaging where it gets smaller) to pixels 0.5 to 1.6
  times as large; every mask is brought back to the native grid and compared with the label and
  with the mask at the native scale. The same for clean simulated structure.
- recordings: `book.studies.recordings`, against label and unchanged image.
- microscopes: `book.studies.virtual_microscopes`. Contamination that does not stand out of the
  noise is neither asked for nor held against a mask.

Leaving one date out is a cross-validation of its own: ``evaluate unet --protocol date --folds 17``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from book.studies import reliability, shifted_quality
from book.studies.changes import spread
from book.studies.clean_sheets import sheet
from book.studies.recordings import RECORDINGS, UNCHANGED, recorded
from book.studies.virtual_microscopes import MICROSCOPES, Frame, frame
from book.tools.fold_networks import fold_of
from graphseg import metrics
from graphseg.batch.tasks import Network, Prediction
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation import compare, ood, quality
from graphseg.evaluation.records import StepStore
from graphseg.io.micrographs import Micrograph
from graphseg.unet import pretrained
from graphseg.unet.inference import measure_pixel_size, resize
from graphseg.unet.network import load_weights, weights_digest

SCALES = (0.5, 0.63, 0.8, 1.0, 1.25, 1.6)  # times the native pixel size
NATIVE = 1.0
INTERPOLATION = "bicubic, antialiased (unet.inference.resize); masks bilinear, cut at one half"
# What is measured: a network, and whether it averages over the eight symmetries. On a published
# image the fold network of its kind is asked that has not seen it, see `FOLDS`.
VIEWS = {
    "default": ("default", True),
    "default, one view": ("default", False),
    "general": ("general", False),
    "general, eight views": ("general", True),
    "simulated": ("simulated", True),
}
FOLDS = {"default": "fold_{}", "general": "general_fold_{}"}
STRUCTURE = ("boundary", "loop")  # clean sheets that are resampled, at these conditions:
SHEET = {"pixel_size": 0.38, "dose": 1e4}  # Å, the middle of the published images; e/Å²
AREAS = ("near", "inside", "touching")  # see `virtual_microscopes.Frame`
RESAMPLES = 2000  # of bootstraps
DIGITS = 4
# What one default network is to reach; the number of a target is its limit.
TARGETS = {
    "largest loss of Jaccard between scales": ("at most", 0.02),
    "least agreement with the native mask": ("at least", 0.95),
    "largest loss of Jaccard between recordings": ("at most", 0.03),
    "mean Jaccard over microscopes": ("at least", 0.88),
    "least Jaccard of a microscope": ("at least", 0.82),
    "largest masked fraction of clean structure": ("at most", 0.02),
    "recall of visible contamination at boundaries": ("at least", 0.93),
    "fraction of frames that are flagged": ("at most", 0.05),
    "correlation of expected and measured Jaccard": ("at least", 0.75),
    "mean error of the expected Jaccard": ("at most", 0.05),
    "fraction held by intervals of nine in ten": ("at least", 0.85),
    "calibration error of the probabilities": ("at most", 0.03),
}


def run(
    stack: LabelledStack,
    images: Annotated[int, typer.Option(min=0)] = 0,
    changed: Annotated[int, typer.Option(min=0)] = 26,
    frames: Annotated[int, typer.Option(min=1)] = 18,
    sheets: Annotated[int, typer.Option(min=1)] = 6,
    microscope: list[str] | None = None,
    view: list[str] | None = None,
    folds: Path = pretrained.FOLDER,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    jobs: int = 1,
    run_folder: Path | None = None,
) -> dict:
    """Record how masks hold on other scales, recordings and microscopes; resumes if interrupted.

    Example: python -m book.studies domain-shift --output data/results/domain_shift.json

    Parameters
    ----------
    stack
        The labelled images.
    images
        Number of labelled images that are resampled, spread over the folds; 0: all.
    changed
        Number of labelled images that are changed as other recordings would; 0: all.
    frames
        Number of frames of each virtual microscope; with a multiple of six, each structure occurs
        equally often.
    sheets
        Number of clean simulated sheets of each kind that are resampled.
    microscope
        Name of a virtual microscope; may be repeated. By default all.
    view
        Name of a network and of its way to predict; may be repeated. By default all.
    folds
        Folder of the fold networks that are not bundled, `FOLDS`.
    seed
        Seed of noise, directions and simulations.
    jobs
        Steps at a time; -1: one per core.
    run_folder
        Keeps finished parts.

    Returns
    -------
    dict
        ``scales``, ``recordings``, ``structure`` and ``microscopes``: the counts of each image for
        each network, with ``scores`` as (value, low, high), 95 % intervals over groups of images;
        ``quality``: how well the Jaccard index is expected and probabilities are calibrated, see
        `book.studies.shifted_quality`; ``targets``: the limit, and what each network reaches.

    Raises
    ------
    InputError
        If there is no virtual microscope or view of a name, or no network.
    """
    names = _chosen("virtual microscope", microscope, MICROSCOPES)
    views = _chosen("view", view, VIEWS)
    known, owner = _pixel_sizes(stack), fold_of(stack.names)
    files = _files(views, folds, owner, stack.names)
    record = {
        "name": "domain shift",
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
        "networks": {name: weights_digest(path) for name, path in files.items()},
        "parameters": {
            "images": images, "changed": changed, "frames": frames, "sheets": sheets,
            "microscopes": names, "views": views, "seed": seed, "scales": list(SCALES),
            "recordings": list(RECORDINGS), "interpolation": INTERPOLATION,
        },
    }  # fmt: skip
    bundled = {name: (files[VIEWS[name][0]], VIEWS[name][1]) for name in views}
    steps: dict[str, Callable[[], dict]] = {}
    for part, number, variants in (
        ("scales", images, _resampled),
        ("recordings", changed, partial(_recorded, seed=seed)),
    ):
        chosen = spread(owner, number)
        for name in views:
            for fold in np.unique(owner[chosen]):
                here = chosen[owner[chosen] == fold]
                used = files[_out_of_fold(name, int(fold))], VIEWS[name][1]
                steps[f"{part}: {name}: {fold}"] = partial(
                    _published, stack, here, known, used, bundled[name], variants
                )
    steps |= {
        f"structure: {name}": partial(_structure, used, sheets, seed)
        for name, used in bundled.items()
    }
    steps |= {
        f"microscopes: {name}: {index}": partial(_imaged, name, index, seed, bundled)
        for name in names
        for index in range(frames)
    }
    results = StepStore(run_folder, record).finish(steps, "domain shift", jobs)
    found = dict(zip(steps, results, strict=True))
    record["scales"] = _compared(found, "scales", views, SCALES, SCALES.index(NATIVE))
    record["recordings"] = _compared(
        found, "recordings", views, list(RECORDINGS), list(RECORDINGS).index(UNCHANGED)
    )
    record["structure"] = _structure_scores({v: found[f"structure: {v}"] for v in views})
    record["microscopes"] = _microscopes(found, names, views)
    record["quality"] = {
        name: shifted_quality.joined(
            _quality_parts(found, name), shifted_quality.calibration_of(*bundled[name])[0]
        )
        for name in views
    }
    return record | {"targets": targets(record)}


def _chosen(what: str, chosen: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    unknown = [name for name in chosen or () if name not in known]
    if unknown:
        raise InputError(f"There is no {what} {unknown[0]!r}: use some of {', '.join(known)}.")
    return list(chosen or known)


def _out_of_fold(view: str, fold: int) -> str:
    """Return the name of the network of a view that has not seen the images of a fold."""
    network = VIEWS[view][0]
    return FOLDS[network].format(fold) if network in FOLDS else network


def _files(
    views: Sequence[str], folder: Path, owner: np.ndarray, images: Sequence[str]
) -> dict[str, Path]:
    """Return the weight file of each network that is asked for.

    Raises
    ------
    InputError
        If one is missing, or a fold network has seen an image that it is asked about.
    """
    names, bundled = {VIEWS[view][0] for view in views}, pretrained.names()
    folds = {_out_of_fold(view, fold): fold for view in views for fold in np.unique(owner)}
    found = {
        name: pretrained.find(name if name in bundled else folder / f"{name}.safetensors")
        for name in sorted(names | set(folds))
    }
    held_out = {
        name: set(load_weights(found[name])[0]["card"].get("held_out", ())) for name in folds
    }
    for name, fold in folds.items():
        asked = {image for image, number in zip(images, owner, strict=True) if number == fold}
        # What another fold network has held out, this one has seen.
        others = set().union(*(held_out[other] for other in folds if other != name))
        if name not in names and asked & (others - held_out[name]):
            raise InputError(
                f"{found[name]} was trained on images that it is asked about: name a folder of "
                "networks of the same folds as the bundled ones."
            )
    return found


View = tuple[Path, bool]  # a weight file, and whether it averages over the eight symmetries


@lru_cache(maxsize=8)
def _network(path: Path, test_time_augmentation: bool) -> Network:
    return Network.choose(path, test_time_augmentation=test_time_augmentation)


def _predict(view: View, image: np.ndarray, pixel_size: float | None) -> Prediction:
    """Predict as ``graphseg segment`` does, with the pixel size told if it is known."""
    return _network(*view).predict(Micrograph(image, pixel_size))


def _pixel_sizes(stack: LabelledStack) -> list[float | None]:
    """Return Å per pixel, from the lattice where the stack does not say."""
    stated = stack.pixel_size if stack.pixel_size is not None else np.full(len(stack), np.nan)
    return [
        float(size) if np.isfinite(size) else measure_pixel_size(image)
        for size, image in zip(stated, stack.images, strict=True)
    ]


Variants = Callable[[np.ndarray, int], Iterator[tuple[np.ndarray, float]]]


def _resampled(image: np.ndarray, index: int = 0) -> Iterator[tuple[np.ndarray, float]]:
    """Yield an image (H, W) at each of `SCALES`, and how much larger its pixels are."""
    for factor in SCALES:
        shape = tuple(round(length / factor) for length in image.shape)
        yield resize(image, shape), image.shape[0] / shape[0]


def _recorded(image: np.ndarray, index: int, seed: int) -> Iterator[tuple[np.ndarray, float]]:
    for name in RECORDINGS:
        yield recorded(name, image, seed + index), 1.0


def _predictions(
    view: View, image: np.ndarray, pixel_size: float | None, index: int, variants
) -> Iterator[tuple[np.ndarray, Prediction]]:
    """Yield for each variant of an image the mask on the grid of the image, (H, W) bool, and all.

    The mask is cut at one half after it was brought there.
    """
    for changed, factor in variants(image, index):
        told = None if pixel_size is None else pixel_size * factor
        found = _predict(view, changed, told)
        yield resize(found.mask.astype(np.float32), image.shape, "bilinear") >= 0.5, found


def _published(
    stack: LabelledStack,
    chosen: np.ndarray,
    pixel_sizes: Sequence[float | None],
    view: View,
    bundled: View,
    variants: Variants,
) -> dict:
    """Compare the masks of all variants with the label, and with each other, on images of a fold.

    Returns
    -------
        ``images``; ``label`` and ``reference``: (n, variants, 4) counts, of each mask with the
        label, and with the mask of the native scale or of the unchanged image; ``certain`` and
        ``flagged`` (n, variants), and ``reliability``, see `book.studies.shifted_quality`.
    """
    reference = SCALES.index(NATIVE) if variants is _resampled else 0
    _, temperature = shifted_quality.calibration_of(*bundled)
    names = ("images", "label", "reference", "certain", "flagged")
    rows: dict[str, list] = {name: [] for name in names}
    total = np.zeros((2, reliability.BINS, 3))
    for i in chosen:
        image, label = stack.images[i], stack.masks[i]
        pairs = list(_predictions(view, image, pixel_sizes[i], int(i), variants))
        masks, found = zip(*pairs, strict=True)
        rows["images"].append(stack.names[i])
        rows["label"].append([metrics.counts(label, m).tolist() for m in masks])
        rows["reference"].append([metrics.counts(masks[reference], m).tolist() for m in masks])
        rows["certain"].append(_certain(found))
        rows["flagged"].append([bool(one.flags) for one in found])
        for one in found:
            probability = resize(one.probability, label.shape, "bilinear").clip(0, 1)
            total += shifted_quality.binned(probability, label, temperature)
    return rows | {"reliability": total.round(2).tolist()}


def _certain(found: Sequence[Prediction]) -> list[float]:
    fractions = quality.certain_fractions([one.probability for one in found])
    return fractions.round(DIGITS).tolist()


def _interval(
    names: Sequence[str], table: np.ndarray, score: str = "jaccard", average: str = "pooled"
) -> list[float]:
    """Return a score of counts (n, 4) with its 95 % interval over groups of images."""
    found = compare.score_interval(_as_record(names, table), score, average, RESAMPLES)
    return [round(value, DIGITS) for value in found]


def _as_record(names: Sequence[str], table: np.ndarray) -> dict:
    rows = {"shuffle": 0, "fold": 0, "test": list(names), "counts": table.tolist()}
    return {"name": "domain shift", "results": [rows]}


def _compared(
    found: dict, part: str, views: Sequence[str], variants: Sequence, reference: int
) -> dict:
    """Join the folds of a part, and score each variant against label and reference."""
    result: dict = {"variants": list(variants), "networks": {}}
    for view in views:
        folds = [rows for name, rows in found.items() if name.startswith(f"{part}: {view}: ")]
        names = [name for rows in folds for name in rows["images"]]
        label, same = (np.concatenate([f[key] for f in folds]) for key in ("label", "reference"))
        native = _as_record(names, label[:, reference])
        scores: dict[str, list] = {
            "pooled": [], "per_image": [], "difference": [], "agreement": [],
            "agreement_per_image": [],
        }  # fmt: skip
        for k in range(len(variants)):
            scores["pooled"].append(_interval(names, label[:, k]))
            scores["per_image"].append(_interval(names, label[:, k], average="per_image"))
            difference = compare.paired_difference(
                _as_record(names, label[:, k]), native, resamples=RESAMPLES
            )
            scores["difference"].append([round(value, DIGITS) for value in difference])
            scores["agreement"].append(_interval(names, same[:, k]))
            scores["agreement_per_image"].append(_interval(names, same[:, k], average="per_image"))
        result["images"] = names
        result["networks"][view] = {
            "label": label.tolist(), "reference": same.tolist(), "scores": scores,
        }  # fmt: skip
    return result


def _structure(view: View, number: int, seed: int) -> dict:
    """Count how much clean structure is masked on sheets at each scale.

    Returns
    -------
        ``images``, and ``masked``: (n, scales, 2) masked pixels and all of them.
    """
    rows: dict[str, list] = {"images": [], "masked": []}
    for kind in STRUCTURE:
        for index in range(number):
            contrast = ("white", "black")[index % 2]
            one = sheet(kind, seed, index, contrast=contrast, **SHEET)
            found = _predictions(view, one.image, one.pixel_size, index, _resampled)
            rows["images"].append(f"{kind} {index}")
            rows["masked"].append([_fraction(mask, one.near) for mask, _ in found])
    return rows


def _fraction(mask: np.ndarray, area: np.ndarray) -> list[int]:
    return [int((mask & area).sum()), int(area.sum())]


def _masked(names: Sequence[str], table: np.ndarray) -> list[float] | None:
    """Return the fraction of masked pixels with its interval; (n, 2) masked pixels and all.

    None if there is no such pixel in any image.
    """
    kept = np.flatnonzero(table[:, 1])
    if not len(kept):
        return None
    masked, total = table[kept].T
    zero = np.zeros_like(masked)
    counts = np.stack([masked, zero, total - masked, zero], axis=1)  # the recall is the fraction
    return _interval([names[i] for i in kept], counts, "recall")


def _structure_scores(found: dict[str, dict]) -> dict:
    networks = {}
    for view, rows in found.items():
        table = np.array(rows["masked"])
        scores = [_masked(rows["images"], table[:, k]) for k in range(len(SCALES))]
        networks[view] = {"masked": rows["masked"], "scores": scores}
    images = next(iter(found.values()))["images"]
    return {"variants": list(SCALES), "images": images, "networks": networks}


def _imaged(name: str, index: int, seed: int, views: dict[str, View]) -> dict:
    """Judge one frame of a virtual microscope by each network."""
    one = frame(name, index, seed)
    settings = {n: getattr(one.conditions, n) for n in ("dose", "defocus", "spherical")}
    rows = {view: _judged(one, used) for view, used in views.items()}
    about = {"image": one.name, "kind": one.kind, "pixel_size": one.pixel_size}
    return about | settings | {"networks": rows}


def _judged(one: Frame, view: View) -> dict:
    prediction = _predict(view, one.image, one.pixel_size)
    mask = prediction.mask[:: one.step, :: one.step]
    scored = one.visible | ~one.mask
    probability = prediction.probability[:: one.step, :: one.step][scored][None]
    _, temperature = shifted_quality.calibration_of(*view)
    table = shifted_quality.binned(probability, one.mask[scored][None], temperature)
    return {
        "counts": metrics.counts(one.mask[scored][None], mask[scored][None]).tolist(),
        "counts_with_invisible": metrics.counts(one.mask, mask).tolist(),
        **{area: _fraction(mask, getattr(one, area)) for area in AREAS},
        "flags": list(prediction.flags),
        "verdict": prediction.verdict,
        "certain": _certain([prediction])[0],
        "reliability": table.round(2).tolist(),
    }


def _quality_parts(found: dict[str, dict], view: str) -> dict[str, dict]:
    """Return of each part what `shifted_quality.joined` asks for."""
    parts = {}
    for part in ("scales", "recordings"):
        folds = [rows for name, rows in found.items() if name.startswith(f"{part}: {view}: ")]
        parts[part] = {
            "certain": np.concatenate([np.ravel(rows["certain"]) for rows in folds]),
            "counts": np.concatenate([np.reshape(rows["label"], (-1, 4)) for rows in folds]),
            "flagged": np.concatenate([np.ravel(rows["flagged"]) for rows in folds]),
            "reliability": sum(np.array(rows["reliability"]) for rows in folds),
        }
    frames = [
        rows["networks"][view] for name, rows in found.items() if name.startswith("microscopes: ")
    ]
    parts["microscopes"] = {
        "certain": np.array([one["certain"] for one in frames]),
        "counts": np.reshape([one["counts"] for one in frames], (-1, 4)),
        "flagged": np.array([bool(one["flags"]) for one in frames]),
        "reliability": sum(np.array(one.pop("reliability")) for one in frames),
    }
    return parts


def _microscopes(found: dict, names: Sequence[str], views: Sequence[str]) -> dict:
    frames = [rows for name, rows in found.items() if name.startswith("microscopes: ")]
    owner = [name.split(": ")[1] for name in found if name.startswith("microscopes: ")]
    scores: dict[str, dict] = {}
    for view in views:
        by_microscope = {
            name: _frame_scores([f for f, o in zip(frames, owner, strict=True) if o == name], view)
            for name in names
        }
        kinds = dict.fromkeys(f["kind"] for f in frames)
        by_kind = {k: _frame_scores([f for f in frames if f["kind"] == k], view) for k in kinds}
        scores[view] = {
            "microscopes": by_microscope, "kinds": by_kind, "all": _frame_scores(frames, view),
        }  # fmt: skip
    moved = {name: list(MICROSCOPES[name].moved) for name in names}
    ranges = {n: {k: list(r) for k, r in MICROSCOPES[n].ranges().items()} for n in names}
    return {"ranges": ranges, "moved": moved, "frames": frames, "scores": scores}


def _frame_scores(frames: Sequence[dict], view: str) -> dict:
    names = [one["image"] for one in frames]
    rows = [one["networks"][view] for one in frames]
    table = np.array([row["counts"] for row in rows])
    whole = np.array([row["counts_with_invisible"] for row in rows])
    return {
        "pooled": _interval(names, table),
        "per_image": _interval(names, table, average="per_image"),
        "pooled_with_invisible": _interval(names, whole),
        **{area: _masked(names, np.array([row[area] for row in rows])) for area in AREAS},
        "flagged": round(float(np.mean([bool(row["flags"]) for row in rows])), DIGITS),
    }


def targets(record: dict) -> dict[str, dict]:
    """Return each of `TARGETS` with what the networks reach.

    Parameters
    ----------
    record
        Of `run`.

    Returns
    -------
        Name to ``wanted`` ("at least" or "at most"), ``limit`` and ``reached``: network to value.
    """
    scales, others = (record[part]["networks"] for part in ("scales", "recordings"))
    images = record["microscopes"]["scores"]
    jaccard = {
        view: [found["pooled"][0] for found in images[view]["microscopes"].values()]
        for view in images
    }
    clean = {
        view: [images[view]["all"][area] for area in ("near", "inside")]
        + record["structure"]["networks"][view]["scores"]
        for view in images
    }
    quality_of = {view: parts["all"] for view, parts in record["quality"].items()}
    recall = {view: found["all"]["touching"] for view, found in images.items()}
    reached = (
        {view: -min(d[0] for d in f["scores"]["difference"]) for view, f in scales.items()},
        {view: min(a[0] for a in f["scores"]["agreement"]) for view, f in scales.items()},
        {view: -min(d[0] for d in f["scores"]["difference"]) for view, f in others.items()},
        {view: round(float(np.mean(values)), DIGITS) for view, values in jaccard.items()},
        {view: min(values) for view, values in jaccard.items()},
        {view: max(found[0] for found in parts if found) for view, parts in clean.items()},
        {view: found[0] for view, found in recall.items() if found},
        {view: images[view]["all"]["flagged"] for view in images if _is_checked(view)},
        *(
            {
                view: one["expected"][name]
                for view, one in quality_of.items()
                if one["expected"] and one["expected"][name] is not None
            }
            for name in ("correlation", "error", "held")
        ),
        {view: one["calibration_error_with_temperature"] for view, one in quality_of.items()},
    )
    return {
        name: {"wanted": wanted, "limit": limit, "reached": values}
        for (name, (wanted, limit)), values in zip(TARGETS.items(), reached, strict=True)
    }


def _is_checked(view: str) -> bool:
    """Return whether the network comes with what out-of-distribution images are told by."""
    digest = weights_digest(pretrained.find(VIEWS[view][0]))
    return ood.package(digest) is not None


def summarise(record: dict) -> str:
    """Return each target with its limit and what the networks reach."""
    lines = []
    for name, target in record["targets"].items():
        values = ", ".join(f"{view} {value:.4f}" for view, value in target["reached"].items())
        lines.append(f"{name} ({target['wanted']} {target['limit']:g}): {values}")
    return "\n".join(lines)

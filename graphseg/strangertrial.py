"""How well `graphseg.strangers` tells strangers from images that were held out: a record."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from graphseg import scale, shipped, strangers, weights
from graphseg.datasets import LabelledStack
from graphseg.records import provenance
from graphseg.segmenter import UNetSegmenter
from graphseg.strangers import Known, Verdict
from graphseg.strangerset import CONTROLS, KINDS, NEAR, Stranger, controls, stranger_set

SMALLEST_AREA = 0.98  # the target for the area under the receiver operating characteristic
MOST_FALSE_ALARMS = 0.02  # the target
TIMED = 10  # images
DIGITS = 4


@dataclass(frozen=True)
class Judged:
    """What was said of one image: the verdict on its looks and the warning of its scale."""

    kind: str
    verdict: Verdict
    scale_warning: str

    @property
    def announced(self) -> bool:
        """Whether a user is warned."""
        return bool(self.verdict.reason or self.scale_warning)


def measure(stack: LabelledStack, each: int = 12, seed: int = 0) -> dict:
    """Judge held-out images and strangers by fold networks; one to two minutes.

    What a fold network knows is fitted to the images that it was trained on, threshold included;
    it then judges the images held out from it, strangers made of them, and its share of the rest.

    Parameters
    ----------
    stack
        The labelled images.
    each
        Strangers of every kind.
    seed
        Of the strangers.

    Returns
    -------
    dict
        A record, see `graphseg.records`: targets, ``area``, ``false_alarms``, ``kinds`` (each with
        its area and the share announced, with the pixel size unknown and, where there is one,
        stated), ``false_alarms_simulated`` (of graphene that is simulated), the strangeness of all
        images, and ``seconds``.
    """
    folds = shipped.fold_of(stack.names)
    set_ = list(tqdm(stranger_set(stack.images, each, seed), "strangers", len(KINDS) * each))
    dealt = np.array([folds[s.source] if s.source >= 0 else i for i, s in enumerate(set_)])
    dealt %= int(folds.max()) + 1
    simulated, usual = list(controls(max(each // 2, 1), seed)), []
    plain = strangers.describe(None, stack.images)[0]
    known, unknown, stated = [], [None] * len(set_), []
    for fold in tqdm(np.unique(folds), desc="folds"):
        segmenter = shipped.load(f"fold_{fold}", averaging=False)
        knows = _known(segmenter, stack, folds != fold, plain)
        say = _judge_with(knows, segmenter)
        known += [say("known", image, None) for image in stack.images[folds == fold]]
        usual += [say(c.kind, c.image, None) for c in simulated[fold :: int(folds.max()) + 1]]
        for index in np.flatnonzero(dealt == fold):
            one: Stranger = set_[index]
            unknown[index] = say(one.kind, one.image, None)
            if one.pixel_size is not None:
                stated.append(say(one.kind, one.image, one.pixel_size))
    return {
        "name": "strangers",
        "data": {"source": stack.source, "digest": stack.digest, "images": len(stack)},
        "parameters": {"each": each, "seed": seed, "deviations": strangers.DEVIATIONS},
        "targets": {"area": SMALLEST_AREA, "false_alarms": MOST_FALSE_ALARMS},
        **_summary(known, unknown, stated),
        "false_alarms_simulated": {k: _announced(_only(usual, k)) for k in CONTROLS},
        "seconds": _seconds(stack),
        "made_with": provenance(),
    }


def _known(
    segmenter: UNetSegmenter, stack: LabelledStack, trained: np.ndarray, plain: np.ndarray
) -> Known:
    """Describe what a network was trained on; `plain` are the statistics of the whole stack."""
    chosen = stack.subset(np.flatnonzero(trained))
    found = strangers.describe(segmenter, chosen.images, plain[trained])
    return strangers.fit(found, chosen.groups)


def _judge_with(known: Known, segmenter: UNetSegmenter) -> Callable[..., Judged]:
    sizes = scale.known_pixel_sizes(segmenter.card_)

    def say(kind: str, image: np.ndarray, pixel_size: float | None) -> Judged:
        found = scale.find_scale(image, pixel_size, sizes)
        return Judged(kind, strangers.judge(known, segmenter, image, found), found.warning)

    return say


def _summary(known: Sequence[Judged], unknown: Sequence[Judged], stated: Sequence[Judged]) -> dict:
    far = [one for one in unknown if one.kind not in NEAR]
    return {
        "area": _area(known, far),
        "area_with_near": _area(known, unknown),
        "false_alarms": _announced(known),
        "false_alarms_number": sum(one.announced for one in known),
        "announced": _announced(far),
        "kinds": {kind: _of_kind(known, unknown, stated, kind) for kind in KINDS},
        "strangeness": {
            "known": _scores(known),
            **{kind: _scores(_only(unknown, kind)) for kind in KINDS},
        },
    }


def _of_kind(known, unknown, stated, kind: str) -> dict:
    plain, told = _only(unknown, kind), _only(stated, kind)
    return {
        "near": kind in NEAR,
        "images": len(plain),
        "area": _area(known, plain),
        "announced": _announced(plain),
        "announced_by_scale": round(float(np.mean([bool(o.scale_warning) for o in plain])), DIGITS),
        "announced_with_pixel_size": _announced(told),
        "reasons": dict(Counter(_without_numbers(o.verdict.reason) for o in plain)),
    }


def _without_numbers(reason: str) -> str:
    return re.sub(r"\d[\d.]*", "…", reason)


def _only(judged: Sequence[Judged], kind: str) -> list[Judged]:
    return [one for one in judged if one.kind == kind]


def _scores(judged: Sequence[Judged]) -> list[float | None]:
    """Return strangeness; None of what is too small to be judged."""
    scores = (one.verdict.strangeness for one in judged)
    return [None if score is None else round(score, DIGITS) for score in scores]


def _announced(judged: Sequence[Judged]) -> float | None:
    return round(float(np.mean([one.announced for one in judged])), DIGITS) if judged else None


def _area(known: Sequence[Judged], others: Sequence[Judged]) -> float:
    """Return the probability that a stranger is stranger than a known image.

    Of images too small to be judged the warning of their scale is all there is, and it counts.
    """
    values = [
        one.verdict.strangeness if one.verdict.strangeness is not None else 2.0 * one.announced
        for one in (*known, *others)
    ]
    truth = np.repeat([0, 1], [len(known), len(others)])
    return round(float(roc_auc_score(truth, values)), DIGITS)


def _seconds(stack: LabelledStack) -> dict[str, float]:
    """Return the median time per image of the network as it is shipped, and of the check."""
    segmenter = shipped.load("default", averaging=True)
    known = _known(
        segmenter, stack, np.ones(len(stack), bool), strangers.describe(None, stack.images)[0]
    )
    images = stack.images[:TIMED]
    found = [scale.find_scale(image) for image in images]
    pairs = list(zip(images, found, strict=True))
    return {
        "network": _median_time(lambda pair: segmenter.predict_proba(pair[0][None]), pairs),
        "check": _median_time(lambda p: strangers.judge(known, segmenter, *p), pairs),
    }


def _median_time(work: Callable, items: Sequence) -> float:
    return round(float(np.median(list(_times(work, items)))), DIGITS)


def _times(work: Callable, items: Sequence) -> Iterator[float]:
    for item in items:
        started = time.perf_counter()
        work(item)
        yield time.perf_counter() - started


def package_file(stack: LabelledStack) -> dict:
    """Return what predictions need: what the default network knows, and its file's digest."""
    path = shipped.FOLDER / "default.safetensors"
    found = strangers.describe(shipped.load("default"), stack.images)
    return {"network": weights.digest(path), "known": strangers.fit(found, stack.groups).as_json()}

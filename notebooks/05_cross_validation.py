# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-cross-validation)=
# # Cross-validation without leakage
#
# A score is worth what its split is worth. The published images come in series: several frames
# of one field of view at different focus or time. If one frame is trained on and the next one
# tested, is the network being tested at all?
#
# **What you will be able to do**
#
# - split a labelled stack so that nothing of an acquisition is on both sides;
# - count how much a random split leaks, and measure what it is worth to each method;
# - choose parameters inside the training folds, never on the fold that is scored;
# - record a long cross-validation so that it can be stopped, continued and checked.

# %% tags=["parameters"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
folds: int = 5
shuffles: int = 2  # assignments of images to folds
resamples: int = 1000  # of the bootstrap
smoothing: list = [
    3.0,
    5.0,
    8.0,
]  # px, the grid searched inside the training folds

# %%
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from sklearn.model_selection import GridSearchCV

from graphseg import datasets, figures, methods, metrics, validation
from graphseg.comparison import (
    image_counts,
    markdown_table,
    paired_difference,
    read_result,
    score_rows,
)
from graphseg.notebook import announce, record
from graphseg.records import summary

figures.use_style()
stack = datasets.load(data_source)
announce(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## The idea
#
# In $k$-fold cross-validation each image is tested once, by an estimator that was fitted on the
# other folds. The estimate is honest if what is tested is independent of what was trained on:
#
# $$
# \text{score} = \frac{1}{k} \sum_{i=1}^{k} S\big(\text{fit}(D \setminus D_i),\, D_i\big),
# \qquad g(a) \ne g(b) \;\; \forall\, a \in D_i,\; b \in D \setminus D_i ,
# $$ (eq-folds)
#
# where $g$ is the acquisition an image belongs to. A random split ignores the condition on the
# right of {eq}`eq-folds`. The package knows three protocols, which differ in $g$ only: `random`
# (every image for itself, as the paper did), `acquisition`, and `date` (all images of a day).

# %%
leaks = {}
for protocol in ("random", "acquisition", "date"):
    pairs = validation.splits(
        stack, protocol, min(folds, len(np.unique(stack.dates)))
    )
    leaks[protocol] = sum(
        np.isin(stack.groups[test], stack.groups[train]).sum()
        for train, test in pairs
    )

# %% tags=["remove-input"]
record("images", len(stack))
record("acquisitions", len(np.unique(stack.groups)))
record("leaking_random", int(leaks["random"]))
record("leaking_acquisition", int(leaks["acquisition"]))
record("leaking_percent", 100 * leaks["random"] / len(stack), 1e-6)

# %% [markdown]
# The {glue:text}`images:d` images come from {glue:text}`acquisitions:d` acquisitions. In one
# random split {glue:text}`leaking_random:d` of them ({glue:text}`leaking_percent:.0f` %) are
# tested by an estimator that has seen another frame of the same series; grouped by acquisition,
# {glue:text}`leaking_acquisition:d`. {numref}`fig-folds` shows which.

# %% mystnb={"figure": {"caption": "Which image is tested in which fold, for a random split (top) and one grouped by acquisition (bottom). Images are in the order of their names, so frames of one series are neighbours. Orange marks an image whose series is also in the training set; grouping leaves none.", "name": "fig-folds"}} tags=["hide-input"]
figure, axes = plt.subplots(2, 1, figsize=(8, 3.2), sharex=True, sharey=True)
for panel, protocol in zip(axes, ("random", "acquisition"), strict=True):
    for number, (train, test) in enumerate(
        validation.splits(stack, protocol, folds), start=1
    ):
        shared = np.isin(stack.groups[test], stack.groups[train])
        colours = np.where(shared, figures.ORANGE, figures.BLUE)
        panel.scatter(
            test, np.full(len(test), number), c=colours, marker="s", s=12
        )
    panel.set(ylabel="fold", title=protocol, yticks=range(1, folds + 1))
axes[1].set_xlabel("image");

# %% [markdown]
# ## Does leakage matter?
#
# It can only matter to a method that can remember. A method with one fitted number, the control
# of {ref}`ch-bragg` that smooths the standardised image and thresholds it, should not care. It
# runs here live, under both protocols and with {eq}`eq-folds` for every shuffle.

# %%
control = methods.make("control", progress=False)
live = {
    protocol: validation.cross_validate(
        control, stack, "control", protocol, folds, shuffles, progress=False
    )
    for protocol in ("random", "acquisition")
}

# %%
header = ["protocol", *metrics.LABELS.values()]
Markdown(markdown_table(header, score_rows(live, "pooled")))

# %% tags=["remove-input"]
for protocol, result in live.items():
    mean, spread = summary(result)["jaccard"]
    record(
        f"control_{protocol}", mean, 0.01
    )  # fitting is deterministic up to rounding
    record(f"control_{protocol}_spread", spread, 0.01)
record(
    "control_gap",
    abs(
        summary(live["random"])["jaccard"][0]
        - summary(live["acquisition"])["jaccard"][0]
    ),
    0.01,
)

# %% [markdown]
# The pooled Jaccard index is {glue:text}`control_random:.3f` ± {glue:text}`control_random_spread:.3f`
# on random folds and {glue:text}`control_acquisition:.3f` ±
# {glue:text}`control_acquisition_spread:.3f` on grouped ones (mean and standard deviation over
# folds and shuffles). The difference of {glue:text}`control_gap:.3f` is small beside the spread of
# single folds. The spread is the first lesson: **one fold tells two methods apart only if they
# differ by more than that.**
#
# ## What leakage is worth to a network
#
# A network with half a million weights can remember. Two recorded cross-validations of the same
# U-Net, same recipe and same number of epochs, differ in the split only; so do two of the pixel
# classifier of {ref}`ch-comparison`. Every image is scored once under each protocol, so the
# difference is taken image by image, and its interval from a bootstrap over acquisitions
# ({eq}`eq-bootstrap`). Only frames of a series can profit; single images are the check.

# %%
pairs = {
    name: [read_result(f"{key}_{p}") for p in ("random", "acquisition")]
    for name, key in (("classifier", "classifier"), ("U-Net", "unet"))
}
scored = list(image_counts(pairs["U-Net"][0]))
acquisitions = [datasets.acquisition_of(name) for name in scored]
parts = {
    "all images": scored,
    "frames of a series": [
        n
        for n, a in zip(scored, acquisitions, strict=True)
        if acquisitions.count(a) > 1
    ],
    "single images": [
        n
        for n, a in zip(scored, acquisitions, strict=True)
        if acquisitions.count(a) == 1
    ],
}

# %%
gaps = {
    (method, part): paired_difference(
        *both, average="per_image", names=names, resamples=resamples
    )
    for method, both in pairs.items()
    for part, names in parts.items()
}

# %% mystnb={"figure": {"caption": "What a random split adds to the per-image Jaccard index over a split grouped by acquisition, with 95 % confidence intervals. Notice whether the frames of a series, which alone can leak, gain more than the single images.", "name": "fig-leakage"}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.5, 2.8))
for shift, (method, colour) in zip(
    (0.12, -0.12),
    (("classifier", figures.GREEN), ("U-Net", figures.BLUE)),
    strict=True,
):
    for row, part in enumerate(parts):
        value, low, high = gaps[method, part]
        axes.errorbar(
            value,
            row + shift,
            xerr=[[value - low], [high - value]],
            fmt="o",
            color=colour,
            label=method if not row else None,
        )
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set(
    yticks=range(3), yticklabels=parts, xlabel="random − grouped, Jaccard index"
)
axes.legend();

# %% tags=["remove-input"]
short = {
    "all images": "all",
    "frames of a series": "series",
    "single images": "single",
}
for (method, part), values in gaps.items():
    key = f"leak_{method.replace('-', '').lower()}_{short[part]}"
    for end, value in zip(("", "_low", "_high"), values, strict=True):
        record(key + end, value, 0.02 if end else 1e-9)
    sure = values[1] > 0 or values[2] < 0
    record(f"{key}_verdict", "sure" if sure else "not sure")
record("leak_frames", len(parts["frames of a series"]))

# %% [markdown]
# | | random − grouped | 95 % interval | |
# | :-- | --: | --: | :-- |
# | classifier, all images | {glue:text}`leak_classifier_all:.3f` | {glue:text}`leak_classifier_all_low:.3f` to {glue:text}`leak_classifier_all_high:.3f` | {glue:text}`leak_classifier_all_verdict:s` |
# | U-Net, all images | {glue:text}`leak_unet_all:.3f` | {glue:text}`leak_unet_all_low:.3f` to {glue:text}`leak_unet_all_high:.3f` | {glue:text}`leak_unet_all_verdict:s` |
# | U-Net, the {glue:text}`leak_frames:d` frames of series | {glue:text}`leak_unet_series:.3f` | {glue:text}`leak_unet_series_low:.3f` to {glue:text}`leak_unet_series_high:.3f` | {glue:text}`leak_unet_series_verdict:s` |
# | U-Net, single images | {glue:text}`leak_unet_single:.3f` | {glue:text}`leak_unet_single_low:.3f` to {glue:text}`leak_unet_single_high:.3f` | {glue:text}`leak_unet_single_verdict:s` |
#
# {numref}`fig-leakage` shows the same. A difference is *sure* if its interval does not reach zero.
# Besides the split, two trainings differ by chance, which the bootstrap over images does not see;
# the single images show how large that is.
#
# ## Choosing parameters, inside
#
# How wide should the control smooth? Trying three widths and keeping the best *test* score would
# be selection on the test. The choice belongs inside: the training images of each fold are split
# again, again by acquisition, and scikit-learn's own grid search chooses there.

# %%
train, test = validation.splits(stack, "acquisition", folds)[0]
inner = validation.splits(stack.subset(train), "acquisition", folds=3)
search = GridSearchCV(
    control,
    {"smoothing": smoothing},
    scoring=validation.pixel_scorer("accuracy"),
    cv=inner,
)
search.fit(stack.images[train], stack.masks[train]);

# %%
rows = [
    [f"{width:g}", f"{mean:.4f}", f"{spread:.4f}"]
    for width, mean, spread in zip(
        smoothing,
        search.cv_results_["mean_test_score"],
        search.cv_results_["std_test_score"],
        strict=True,
    )
]
Markdown(
    markdown_table(
        ["smoothing (px)", "accuracy, inner folds", "standard deviation"], rows
    )
)

# %%
outer = metrics.scores(
    metrics.counts(stack.masks[test], search.predict(stack.images[test]))
)
record("best_smoothing", float(search.best_params_["smoothing"]), 1e-9)
record("outer_accuracy", outer["accuracy"], 0.01)

# %% [markdown]
# The inner folds choose {glue:text}`best_smoothing:.0f` px; on the outer fold, which took no part,
# the accuracy is {glue:text}`outer_accuracy:.3f`.
#
# The paper chose features, blocks and learning rate of its U-Net by such a search. For networks
# `graphseg search` does the same, outer fold by outer fold, keeps every finished training, and can
# be killed and continued. A small grid, searched on a processor with short trainings, is recorded:

# %%
found = read_result("search_recipe")
accuracy = np.array([fold["scores"] for fold in found["searches"]])
chosen = [fold["chosen"] for fold in found["searches"]]
grid_rows = [
    [
        f"{c['features']}",
        f"{c['stride']}",
        c.get("loss", found["parameters"]["loss"]),
        f"{accuracy[:, i].mean():.4f}\u00a0±\u00a0{accuracy[:, i].std(ddof=1):.4f}",
        f"{np.mean([f['jaccard_per_image'][i] for f in found['searches']]):.3f}",
        f"{chosen.count(i)}",
    ]
    for i, c in enumerate(found["candidates"])
]
header_grid = [
    "features",
    "stride",
    "loss",
    "accuracy, inner folds",
    "J per image",
    "chosen",
]
Markdown(markdown_table(header_grid, grid_rows))

# %% tags=["remove-input"]
record("search_epochs", found["parameters"]["epochs"])
record("search_candidates", len(found["candidates"]))
record("search_folds", len(found["searches"]))
record("search_tested", found["inner_tested"])
record("search_winners", len(set(chosen)))

# %% [markdown]
# The last column counts in how many of the {glue:text}`search_folds:d` outer folds a candidate
# won; {glue:text}`search_winners:d` of the {glue:text}`search_candidates:d` won at least once. Each
# was trained for {glue:text}`search_epochs:d` epochs and scored on {glue:text}`search_tested:d`
# inner fold of each outer fold's training images. A stride of 2 works on blocks of 2×2 pixels and
# makes a network of the same width four times cheaper; the loss that adds a Jaccard index weighs
# images alike. The candidates differ by less than the spread over outer folds. Our network of
# {ref}`ch-comparison` is the last of them, taken once for all folds: it has the highest Jaccard
# index per image, and by the accuracy that the paper went by it is no worse than the others within
# that spread, at half the cost of the first. The paper's full grid
# is the same command with other values, and needs a GPU:
#
# ```
# graphseg search unet-paper --protocol random --set epochs=150 \
#     --grid "features=[16, 32, 64]" --grid "levels=[3, 4, 5]" \
#     --grid "learning_rate=[1e-5, 1e-4, 1e-3]" \
#     --final epochs=300 --trials 2 --output data/results/search_paper.json
# ```
#
# ## Recorded results
#
# Training the U-Net on all folds takes too long for a page.
# Such a computation is a *recorded result*: one command runs it and writes the counts of every
# test image, the parameters, the digest of the data, the revision of the code, versions, hardware
# and times.
#
# ```
# graphseg evaluate unet --protocol acquisition --output data/results/unet_acquisition.json
# ```
#
# Killed at any moment and started again, it continues at the epoch it had reached. Whatever data
# this page was built on, the record below is of the published images.

# %%
unet = read_result("unet_acquisition")
Markdown(
    markdown_table(
        header,
        score_rows({"pooled": unet}, "pooled")
        + score_rows({"per image": unet}, "per_image"),
    )
)

# %% mystnb={"figure": {"caption": "Training loss of the recorded U-Net, one line for each fold. The folds agree closely in training; the spread of the scores comes from the test images.", "name": "fig-recorded-loss"}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(5, 3))
for result in unet["results"]:
    loss = [row["train_loss"] for row in result["history"]]
    axes.plot(
        np.arange(1, len(loss) + 1), loss, label=f"fold {result['fold'] + 1}"
    )
axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log")
axes.legend();

# %% tags=["remove-input"]
mean, spread = summary(unet)["jaccard"]
record("unet_jaccard", mean, 1e-9)
record("unet_jaccard_spread", spread, 1e-9)
record(
    "unet_minutes",
    sum(r["fit_seconds"] for r in unet["results"]) / len(unet["results"]) / 60,
    1e-9,
)
record("unet_revision", unet["made_with"]["revision"][:10])
record("unet_images", unet["data"]["images"])

# %% [markdown]
# The training loss of the folds is in {numref}`fig-recorded-loss`. Over the folds of
# {glue:text}`unet_images:d` published images the pooled Jaccard index is
# {glue:text}`unet_jaccard:.3f` ± {glue:text}`unet_jaccard_spread:.3f`, after
# {glue:text}`unet_minutes:.1f` minutes of training a fold (revision
# {glue:text}`unet_revision:s`; other work ran on the machine at the time, so the minutes are an
# upper bound).
#
# ## What this does not show
#
# - Leakage is measured for one recipe and one shuffle of the network. A longer training, or more
#   frames a series, may remember more.
# - The recorded grid is small and its trainings are short; a candidate that needs more epochs is
#   at a disadvantage in it.
# - Acquisition is read from the file name. Two series of one place on the same day count as
#   independent; the `date` protocol is the stricter test. A comparison of textures
#   (`graphseg.duplicates`) finds a few such pairs of series among the published images, so folds
#   grouped by acquisition still leak there.
# - The standard deviation is that of single folds. It is not the error of the mean, which is
#   smaller, but not by $\sqrt{k}$, since the folds share training images.
#
# ## On your own images
#
# Name the frames of one series `…_layer_0001.png`, `…_layer_0002.png`, and the package keeps them
# together. Then `graphseg.datasets.load_folder` gives the stack, and `validation.cross_validate`
# takes any estimator with `fit` and `predict`.
#
# ## What was found
#
# - In a random split {glue:text}`leaking_percent:.0f` % of the images are tested with a frame of
#   their own series in the training set; grouped folds have none.
# - A one-parameter method does not notice: the gap is {glue:text}`control_gap:.3f`. A U-Net of 25
#   epochs changes by {glue:text}`leak_unet_all:.3f` ({glue:text}`leak_unet_all_low:.3f` to
#   {glue:text}`leak_unet_all_high:.3f`), which is {glue:text}`leak_unet_all_verdict:s`.
# - The spread over folds, {glue:text}`unet_jaccard_spread:.3f` for the recorded U-Net, is the scale
#   on which any comparison has to be judged.

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
# How much can a score be trusted? That depends on how the images were split. The published images
# come in series: several frames of one field of view at different focus or at different times. If a
# network is trained on one frame and tested on the next, is it being tested at all?
#
# **What you will be able to do**
#
# - split a labelled {term}`stack` so that no {term}`acquisition`, and no place, is in both the
#   training and the {term}`test set`;
# - count how many images {term}`leak` in a random split, and measure how much this raises the score
#   of each method;
# - tell whether a difference between two methods is larger than the choice of images explains;
# - choose parameters inside the training {term}`folds <Fold>`, never on the fold that is scored;
# - record a long {term}`cross-validation` so that it can be interrupted, resumed and checked.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
folds: int = 5
shuffles: int = 2  # assignments of images to folds
resamples: int = 10_000  # of the bootstrap
smoothing: list = [3.0, 5.0, 8.0]  # px, the grid searched inside the training folds

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from sklearn.model_selection import GridSearchCV

from book.tools.notebook import record, record_scores, show_source
from book.tools.tables import (
    RESULTS_FOLDER,
    SCORES,
    display_name,
    markdown_table,
    number_of_groups,
    read_result,
    score_rows,
    training_minutes,
    with_interval,
)
from graphseg import metrics
from graphseg.colours import BLUE, GREEN, ORANGE, SKY
from graphseg.datasets import load
from graphseg.datasets.stack import SAME_PLACE, acquisition_of
from graphseg.evaluation import crossval
from graphseg.evaluation.compare import image_counts, paired_difference, verdict
from graphseg.evaluation.records import read_record, summary
from graphseg.plotting import micrographs

micrographs.use_style()

# %%
import graphseg as gs

stack = gs.load_stack(data_source)

# %% tags=["remove-input"]
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## The idea
#
# In $k$-fold cross-validation, each image is tested once, by an {term}`estimator` that was fitted
# to the other folds. The estimate is unbiased only if the test images are independent of the
# training images:
#
# $$
# \text{score} = \frac{1}{k} \sum_{i=1}^{k} S\big(\text{fit}(D \setminus D_i),\, D_i\big),
# \qquad g(a) \ne g(b) \;\; \forall\, a \in D_i,\; b \in D \setminus D_i ,
# $$ (eq-folds)
#
# where $D$ are all images, $D_i$ those of fold $i$, $S$ is a score, and $g$ is the {term}`group` to
# which an image belongs. A random split ignores the condition on the right of {eq}`eq-folds`. The
# package has three protocols, which differ only in $g$: `random` (every image is a group of its
# own, as in the paper), `acquisition`, and `date` (all images of one day).
#
# An acquisition is identified by its file name. This is not enough: a few acquisitions show a place
# that an earlier one of the same day also shows, shifted or rotated. A comparison of textures
# (`graphseg.datasets.duplicates`, {numref}`chapter %s <ch-data>`) finds candidates, and a person
# confirms each pair by eye. Acquisitions confirmed in this way form one group.

# %%
leaks = {}
for protocol in ("random", "acquisition", "date"):
    pairs = crossval.splits(stack, protocol, min(folds, len(np.unique(stack.dates))))
    leaks[protocol] = sum(
        np.isin(stack.groups[test], stack.groups[train]).sum()
        for train, test in pairs
    )

# %% tags=["remove-input"]
record("images", len(stack))
record("acquisitions", len({acquisition_of(n) for n in stack.names}))
record("groups", len(np.unique(stack.groups)))
record("same_place_pairs", len(SAME_PLACE))
record("leaking_random", int(leaks["random"]))
record("leaking_acquisition", int(leaks["acquisition"]))
record("leaking_percent", 100 * leaks["random"] / len(stack))

# %% [markdown]
# The {glue:text}`images:d` images come from {glue:text}`acquisitions:d` acquisitions, which form
# {glue:text}`groups:d` groups. (In the published set, {glue:text}`same_place_pairs:d` acquisitions
# show the same place as another one.) In one random split, {glue:text}`leaking_random:d` of the
# images ({glue:text}`leaking_percent:.0f` %) are tested by an estimator that has seen another image
# of their group; in a split by groups, {glue:text}`leaking_acquisition:d` are. {numref}`fig-folds`
# shows which.

# %% mystnb={"figure": {"caption": "Which image is tested in which fold, for a random split (top) and a split grouped by acquisition (bottom). Images are in the order of their names, so the frames of one series are neighbours. Orange marks a test image with another image of its group in the training set. Notice that grouping leaves none of these.", "name": "fig-folds"}, "image": {"alt": "Two charts with a square for each image in one of five rows. In the upper one squares are scattered and some are orange; in the lower one all are blue, and neighbours share a row."}} tags=["hide-input"]
figure, axes = plt.subplots(2, 1, figsize=(8, 3.2), sharex=True, sharey=True)
for panel, protocol in zip(axes, ("random", "acquisition"), strict=True):
    for number, (train, test) in enumerate(
        crossval.splits(stack, protocol, folds), start=1
    ):
        shared = np.isin(stack.groups[test], stack.groups[train])
        colours = np.where(shared, ORANGE, BLUE)
        panel.scatter(
            test, np.full(len(test), number), c=colours, marker="s", s=12
        )
    panel.set(ylabel="fold", title=protocol, yticks=range(1, folds + 1))
axes[1].set_xlabel("image");

# %% [markdown]
# ## When is a difference more than chance?
#
# Folds share training images, and frames of a series resemble each other, so the spread over folds
# is not a standard error. Moreover, most of this spread comes from folds with difficult images,
# which are difficult for every method. Two methods are therefore compared image by image. The
# *{term}`bootstrap`* draws whole groups with replacement, as many as there are, and computes the
# difference of the two methods on each draw:
#
# $$
# \Delta^{*} = S_A\big(a_1^{*}, \dots, a_n^{*}\big) - S_B\big(a_1^{*}, \dots, a_n^{*}\big),
# $$ (eq-bootstrap)
#
# where $a_i^{*}$ are the groups drawn. The middle 95 % of the $\Delta^{*}$ are the
# {term}`confidence interval`. The whole book uses one rule: a difference counts if its
# {term}`interval` *excludes zero*. (Where an end lies so near to zero that another {term}`seed` of
# the draws could put it on the other side, the tables say *ends at zero*, and the difference does
# not count.) A difference that counts is larger than the choice of these images explains. It does
# not follow that it would also be found on other samples, with another microscope, or with the
# {term}`labels <Label>` of another person. Nor does the interval include the variation between
# trainings: each network was trained once for each fold and shuffle.
#
# ## Does leakage matter?
#
# It can matter only for a method that can memorise images. A method with a single fitted parameter
# should not be affected, such as the {term}`no-lattice baseline` of
# {numref}`chapter %s <ch-bragg>`, which smooths the amplitude of the standardised image and
# compares it with a {term}`threshold`. It is cross-validated here under both protocols, according
# to {eq}`eq-folds` for every shuffle.

# %%
baseline = gs.BraggSegmenter(lattice_filter=False, progress=False)
live = {
    protocol: gs.cross_validate(
        baseline, stack, "no-lattice", protocol, folds, shuffles, progress=False
    )
    for protocol in ("random", "acquisition")
}
gap, low, high = paired_difference(
    live["random"], live["acquisition"], resamples=resamples
)

# %% tags=["remove-input"]
header = ["protocol", *SCORES.values()]
Markdown(markdown_table(header, score_rows(live, "pooled")))

# %% tags=["remove-input"]
for protocol, result in live.items():
    mean, spread = summary(result)["jaccard"]
    record(f"baseline_{protocol}", mean)
    record(f"baseline_{protocol}_spread", spread)
    record_scores(f"baseline_{protocol}", summary(result))
record("baseline_gap", gap)
record("baseline_gap_verdict", verdict(low, high))

# %% tags=["remove-input"]
row = ["random − acquisition", with_interval(gap, low, high)]
Markdown(markdown_table(["J over all pixels", "95 % interval"], [row]))

# %% [markdown]
# The pooled {term}`Jaccard index` is {glue:text}`baseline_random:.3f` ±
# {glue:text}`baseline_random_spread:.3f` on random folds and {glue:text}`baseline_acquisition:.3f`
# ± {glue:text}`baseline_acquisition_spread:.3f` on grouped ones (mean and standard deviation over
# folds and shuffles). With the pixels of all images pooled, the interval of the difference
# {glue:text}`baseline_gap_verdict:s`. A method with one parameter cannot memorise images, so this
# difference shows how far the assignment to folds alone can move a score.
#
# ## How much does leakage raise the score of a network?
#
# A network with half a million {term}`weights` or more can memorise images. The table has recorded
# cross-validations under the three protocols, each method with one recipe: {term}`our network`, the
# {term}`U-Net` with 25 {term}`epochs <Epoch>` (both from {numref}`chapter %s <ch-comparison>`; the
# latter was not run by date), and the {term}`pixel classifier`. Under each protocol every image is
# scored once per shuffle, so {eq}`eq-bootstrap` applies. Only images that share a group with others
# can profit from a leak. The single images serve as a check: on them, two trainings differ only by
# chance and by the arithmetic of the processor (last column of the table).

# %% tags=["hide-input"]
keys = ("classifier", "unet", "ours")
protocols = {
    "random": keys,
    "acquisition": keys,
    "date": ("classifier", "ours"),
}
recorded = {
    (key, protocol): read_result(f"{key}_{protocol}")
    for protocol, members in protocols.items()
    for key in members
}

# %% tags=["remove-input"]
rows = [
    [
        f"{display_name(key)}, {protocol}",
        *(
            "{:.3f}\u00a0±\u00a0{:.3f}".format(*summary(r, average)["jaccard"])
            for average in ("per_image", "pooled")
        ),
        f"{number_of_groups(r)}",
        f"{len({x['shuffle'] for x in r['results']})}",
        r["results"][0]["fitted"].get("precision_", "–"),
    ]
    for key in keys
    for protocol in protocols
    if (r := recorded.get((key, protocol)))
]
heading = [
    "method, protocol",
    "J per image",
    "J pooled",
    "groups",
    "shuffles",
    "arithmetic",
]
Markdown(markdown_table(heading, rows))

# %% tags=["hide-input"]
images = image_counts(recorded["ours", "random"])
groups = {name: load.group_of(name) for name in images}
sizes = {group: list(groups.values()).count(group) for group in groups.values()}
parts = {
    "all images": list(groups),
    "images that share a group": [n for n, g in groups.items() if sizes[g] > 1],
    "single images": [n for n, g in groups.items() if sizes[g] == 1],
}

# %%
gaps = {
    (key, part): paired_difference(
        recorded[key, "random"],
        recorded[key, "acquisition"],
        average="per_image",
        names=names,
        resamples=resamples,
    )
    for key in keys
    for part, names in parts.items()
}

# %% mystnb={"figure": {"caption": "Per-image Jaccard index on random folds minus that on folds grouped by acquisition, with 95 % confidence intervals from a bootstrap over groups. Only images that share a group can leak. Notice whether they gain more than the single images, and which intervals exclude zero.", "name": "fig-leakage"}, "image": {"alt": "Points with horizontal bars for three methods in three groups of images, around a line at zero that nearly all bars cross."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(7.5, 3.2))
for shift, key, colour in zip(
    (0.2, 0.0, -0.2),
    keys,
    (GREEN, BLUE, SKY),
    strict=True,
):
    for row, part in enumerate(parts):
        value, low, high = gaps[key, part]
        axes.errorbar(
            value,
            row + shift,
            xerr=[[value - low], [high - value]],
            fmt="o",
            color=colour,
            label=display_name(key) if not row else None,
        )
axes.axvline(0, color="0.6", linewidth=0.8)
axes.set(
    yticks=range(3),
    yticklabels=parts,
    xlabel="random − grouped, Jaccard index",
)
axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1));

# %% tags=["remove-input"]
rows = [
    [
        f"{display_name(key)}, {part}",
        str(len(parts[part])),
        with_interval(*values),
        verdict(*values[1:]),
    ]
    for (key, part), values in gaps.items()
]
Markdown(
    markdown_table(
        ["", "images", "random − grouped, 95 % interval", "interval"], rows
    )
)

# %% tags=["remove-input"]
short = dict(zip(parts, ("all", "shared", "single"), strict=True))
for (key, part), values in gaps.items():
    name = f"leak_{key}_{short[part]}"
    record(name, values[0])
    record(f"{name}_interval", with_interval(*values))
    record(f"{name}_verdict", verdict(*values[1:]))
record("shared_images", len(parts["images that share a group"]))
for key in protocols["date"]:
    dates = paired_difference(
        recorded[key, "acquisition"],
        recorded[key, "date"],
        average="per_image",
        resamples=resamples,
    )
    record(f"date_{key}_interval", with_interval(*dates))
    record(f"date_{key}_verdict", verdict(*dates[1:]))
for key, protocol in (
    ("ours", "random"),
    ("ours", "acquisition"),
    ("ours", "date"),
    ("classifier", "date"),
):
    record(
        f"{key}_{protocol}",
        summary(recorded[key, protocol], "per_image")["jaccard"][0],
    )

# %% [markdown]
# {numref}`fig-leakage` shows these differences. On random folds, our network reaches
# {glue:text}`ours_random:.3f` per image, and on folds by acquisition
# {glue:text}`ours_acquisition:.3f`: a difference of {glue:text}`leak_ours_all_interval:s`, whose
# interval {glue:text}`leak_ours_all_verdict:s`. On the {glue:text}`shared_images:d` images that
# share a group it is {glue:text}`leak_ours_shared_interval:s` (the interval
# {glue:text}`leak_ours_shared_verdict:s`), and on single images
# {glue:text}`leak_ours_single_interval:s` (it {glue:text}`leak_ours_single_verdict:s`). If memory
# raised the score, the first of these two groups would gain and the second would not; the ends of
# the intervals tell how large such a gain could be.
#
# Folds made of whole days are the stricter test, because images of different days do not even share
# the state of the microscope. On these folds our network reaches {glue:text}`ours_date:.3f`
# (acquisition minus date {glue:text}`date_ours_interval:s`; the interval
# {glue:text}`date_ours_verdict:s`) and the pixel classifier {glue:text}`classifier_date:.3f`
# ({glue:text}`date_classifier_interval:s`; it {glue:text}`date_classifier_verdict:s`).
#
# ## What did merging the places change?
#
# What if acquisitions are grouped by name alone? Images of the {glue:text}`same_place_pairs:d`
# pairs that show one place can then be tested by a network that has seen that place. A recorded
# cross-validation of our network with such groups is compared, image by image, with the one on
# merged groups. The other images are again the check, because the whole assignment to folds
# differs, and the arithmetic may differ too.

# %% tags=["hide-input"]
unmerged = read_result("ours_acquisition_unmerged")
places = set(SAME_PLACE) | set(SAME_PLACE.values())
partners = [n for n in groups if acquisition_of(n) in places]
merging = {
    label: paired_difference(
        unmerged,
        recorded["ours", "acquisition"],
        average="per_image",
        names=names,
        resamples=resamples,
    )
    for label, names in {
        "images of the merged places": partners,
        "other images": [n for n in groups if n not in partners],
        "all images": list(groups),
    }.items()
}

# %% tags=["remove-input"]
exposed = [
    name
    for result in unmerged["results"]
    for name in result["test"]
    if any(
        groups[name] == groups[other]
        for other in set(groups) - set(result["test"])
    )
]
rows = [
    [label, with_interval(*values), verdict(*values[1:])]
    for label, values in merging.items()
]
Markdown(
    markdown_table(
        ["", "by name − merged, J per image, 95 % interval", "interval"], rows
    )
)

# %% tags=["remove-input"]
record("merged_images", len(partners))
record("merged_exposed", len(exposed))
record("merged_tests", len(partners) * unmerged["shuffles"])
for name, values in zip(("places", "others", "all"), merging.values(), strict=True):
    record(f"merged_{name}", with_interval(*values))
    record(f"merged_{name}_verdict", verdict(*values[1:]))

# %% [markdown]
# Each of the {glue:text}`merged_images:d` images of these places was tested once per shuffle, and
# in {glue:text}`merged_exposed:d` of {glue:text}`merged_tests:d` tests another image of its place
# was in the {term}`training set`. On these images, grouping by name gives an index that differs
# from the one on merged groups by {glue:text}`merged_places:s` (the interval
# {glue:text}`merged_places_verdict:s`). On all other images the difference is
# {glue:text}`merged_others:s`, and on all images {glue:text}`merged_all:s`. The bootstrap for the
# merged places has only {glue:text}`same_place_pairs:d` groups to draw from, so this interval is
# rough. Whatever the difference, the merged groups are the correct ones, and the scores of our
# network in this book are based on them.
#
# ## Choosing parameters inside the training folds
#
# Over how many pixels should the no-lattice baseline smooth? Trying several widths and keeping the
# best *test* score would be selection on the test set. The choice must be made inside the training
# folds: the training images of each fold are split once more, again by acquisition, and a
# {term}`grid search` of scikit-learn chooses there.

# %%
train, test = crossval.splits(stack, "acquisition", folds)[0]
inner = crossval.splits(stack.subset(train), "acquisition", folds=3)
scoring = crossval.pixel_scorer("accuracy")
search = GridSearchCV(baseline, {"smoothing": smoothing}, scoring=scoring, cv=inner)
search.fit(stack.images[train], stack.masks[train]);

# %% tags=["remove-input"]
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

# %% tags=["remove-input"]
record("best_smoothing", float(search.best_params_["smoothing"]))
record_scores("outer", outer)

# %% [markdown]
# The inner folds choose {glue:text}`best_smoothing:.0f` px. On the outer fold, which took no part
# in the choice, the {term}`accuracy` is then {glue:text}`outer_accuracy:.3f`.
#
# For networks, `python -m book.studies search` does the same, outer fold by outer fold. It keeps
# every finished training, and can be interrupted and resumed. The table is the recorded result of a
# small grid with short trainings on a processor without a GPU:

# %% tags=["remove-input"]
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
record("search_first", chosen.count(0))
record("search_ours", chosen.count(len(found["candidates"]) - 1))

# %% [markdown]
# The last column counts in how many of the {glue:text}`search_folds:d` outer folds a candidate won;
# {glue:text}`search_winners:d` of the {glue:text}`search_candidates:d` won at least once. Each was
# trained for {glue:text}`search_epochs:d` epochs and scored on {glue:text}`search_tested:d` inner
# fold of the training images of each outer fold. With a {term}`stride` of 2 the network works on
# blocks of 2×2 pixels, which makes a network of the same width four times cheaper. The second
# {term}`loss` adds one minus the mean Jaccard index of the images, in which every image has the
# same weight.
#
# The search used accuracy, as the paper did, and chose the first candidate, the recipe of *U-Net,
# 25 epochs*, in {glue:text}`search_first:d` folds. **The recipe of our network in
# {numref}`chapter %s <ch-comparison>` was not chosen by this search**: it is the last candidate,
# which won in {glue:text}`search_ours:d` fold. The reasons for it were a higher Jaccard index per
# image on the inner folds and a lower cost, but all images took part in that decision, so it was
# not made inside the folds. For a fair comparison, {numref}`chapter %s <ch-comparison>` gives the
# result of the search a row of its own.
#
# The paper chose {term}`features <Feature>`, blocks and {term}`learning rate` by accuracy after 150
# epochs and trained the winner for 300 ({cite:t}`Sadre2021`, section on {term}`deep learning`
# {term}`segmentation`). It does not state which values were tried, but it prints the scores of two
# networks. Below them stands the candidate that the recorded search chose most often, with its
# scores on the inner folds. The scores are from different folds and trainings of different length,
# so they show the order of magnitude only:

# %% tags=["remove-input"]
printed = read_record(RESULTS_FOLDER.parent / "paper.json")
most = max(set(chosen), key=chosen.count)
winner = found["candidates"][most]
rows = [
    [f"{name}, as printed", f"{network['blocks']}", f"{network.get('features', '–')}",
     f"{network['learning_rate']:g}", f"{network['accuracy']:.4f}", f"{network['jaccard']:.4f}"]
    for name, network in (
        ("chosen network", printed["chosen_network"]),
        ("original U-Net", printed["original_network"]),
    )
] + [
    ["chosen here", f"{2 * found['parameters']['levels'] - 1}", f"{winner['features']}",
     f"{found['parameters']['learning_rate']:g}", f"{accuracy[:, most].mean():.4f}",
     f"{np.mean([f['jaccard_per_image'][most] for f in found['searches']]):.4f}"]
]
heading_printed = ["network", "blocks", "features", "learning rate", "accuracy", "Jaccard"]
Markdown(markdown_table(heading_printed, rows))

# %% [markdown]
# A grid like the paper's is the same command with other values, and needs a GPU:
#
# ```
# python -m book.studies search unet-paper --protocol random --set epochs=150 \
#     --grid "features=[16, 32, 64]" --grid "levels=[3, 4, 5]" \
#     --grid "learning_rate=[1e-5, 1e-4, 1e-3]" \
#     --final epochs=300 --trials 2 --output data/results/search_paper.json
# ```
#
# ## Recorded results
#
# Training the U-Net on all folds takes too long for a page. Such a computation is a *recorded
# result*: one command runs it and writes the counts of every test image, the parameters, the digest
# of the data, the revision of the code, versions, hardware and times.
#
# ```
# python -m book.studies evaluate unet --protocol acquisition \
#     --output data/results/unet_acquisition.json
# ```
#
# If it is interrupted and started again, it continues at the epoch that it had reached. The record
# below is always of the published images, even if this page was built on others.

# %% tags=["remove-input"]
unet = read_result("unet_acquisition")
Markdown(
    markdown_table(
        header,
        score_rows({"pooled": unet}, "pooled")
        + score_rows({"per image": unet}, "per_image"),
    )
)

# %% mystnb={"figure": {"caption": "Training loss of the recorded U-Net with 25 epochs, one line for each fold. Notice how closely the lines agree: the folds differ in their test images rather than in their training.", "name": "fig-recorded-loss"}, "image": {"alt": "Five lines of the cross-entropy on a logarithmic axis, which fall together over 25 epochs and level off."}} tags=["hide-input"]
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
record("unet_jaccard", mean)
record("unet_jaccard_spread", spread)
minutes = np.mean([training_minutes(result) for result in unet["results"]])
record("unet_minutes", f"{minutes:.0f}")
record("unet_revision", unet["made_with"]["revision"][:10])
record("unet_images", unet["data"]["images"])

# %% [markdown]
# {numref}`fig-recorded-loss` shows the training loss of the folds. Over the folds of
# {glue:text}`unet_images:d` published images, the pooled Jaccard index is
# {glue:text}`unet_jaccard:.3f` ± {glue:text}`unet_jaccard_spread:.3f` (standard deviation over
# folds), after at most {glue:text}`unet_minutes:s` minutes of training per fold.
#
# ## What this does not show
#
# - A leak that matters more. Its effect is measured for three recipes and at most two shuffles;
#   with longer training, or more frames per series, a network may memorise more.
# - A thorough search. The recorded grid is small and its trainings are short, which is a
#   disadvantage for candidates that need more epochs, and one inner fold of three was scored.
# - Places that were not recognised. Merging rests on matching textures and on the judgement of one
#   person; a place that two series show without a common texture is not found. The `date` protocol,
#   which keeps whole days together, is the stricter test.
# - The standard error of a mean score. The tables give the standard deviation of single folds. The
#   standard error is smaller, but not by a factor of $\sqrt{k}$, because the folds share training
#   images.
#
# ## On your own images
#
# Name the frames of one series `…_layer_0001.png`, `…_layer_0002.png`, and the package keeps them
# together. It cannot know which series show the same place: give them one name, or search for them
# with `graphseg.datasets.duplicates`. Then `graphseg.load_folder` returns the stack, and
# `graphseg.cross_validate` accepts any estimator with `fit` and `predict`.
#
# ## What was found
#
# - In a random split, {glue:text}`leaking_percent:.0f` % of the images are tested while another
#   image of their group is in the training set; with grouped folds there are none.
# - For our network, random minus grouped is {glue:text}`leak_ours_all_interval:s` per image, and
#   the interval {glue:text}`leak_ours_all_verdict:s`. For a method with one fitted parameter, which
#   cannot memorise, the interval of the pooled difference {glue:text}`baseline_gap_verdict:s`.
# - Grouping by name instead of by place changes the index of our network by
#   {glue:text}`merged_all:s` over all images (the interval {glue:text}`merged_all_verdict:s`) and
#   by {glue:text}`merged_places:s` on images of the merged places.
# - Two methods are compared image by image with a bootstrap over groups, and a difference counts if
#   its interval excludes zero. The spread over folds only describes the folds.
#
# :::{admonition} Provenance
# :class: dropdown
#
# Acquisitions were at first grouped by name alone. After four pairs had been recognised as one
# place, they were merged, and all three methods were evaluated again on the merged groups; the
# earlier record of our network is kept for the comparison above. The recorded grid search and the
# random folds of the U-Net and the pixel classifier are older than the merging, as are the folds by
# date of the latter; random folds and folds by date do not depend on it. The recipe of our network
# was chosen with all images in view, as stated in the section on choosing parameters. The recorded
# U-Net was trained at revision {glue:text}`unet_revision:s`; other work ran on the machine at the
# time, so the minutes are an upper bound. Not all records have the same arithmetic: where the table
# names bfloat16 for one protocol of a method and float32 for the other, their difference includes
# that of the arithmetic.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** What if the bootstrap drew single images instead of groups? Take the per-image
# difference of our network and the U-Net with 25 epochs on folds by acquisition, and compare the
# two intervals.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
tables = [image_counts(recorded[key, "acquisition"]) for key in ("ours", "unet")]
names = sorted(set(tables[0]) & set(tables[1]))
one, two = (
    metrics.score_table([table[name] for name in names])["jaccard"] for table in tables
)
difference = one - two
rng = np.random.default_rng(0)
group = np.unique([load.group_of(name) for name in names], return_inverse=True)[1]
for kind, unit in (("images", np.arange(len(names))), ("groups", group)):
    number = unit.max() + 1
    times = rng.multinomial(number, np.full(number, 1 / number), 5000)[:, unit]
    low, high = np.quantile(times @ difference / times.sum(axis=1), [0.025, 0.975])
    print(f"{kind}: {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
# Groups are the right unit, whatever comes out. That the widths hardly differ here
# means that the difference varies within a series as much as between places.

# %% [markdown]
# **Exercise 2.** What would choosing the smoothing on the test fold have gained? Score each width
# of the grid on the outer fold, and compare the best with the width that the inner folds chose.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
found = {}
for width in smoothing:
    estimator = gs.BraggSegmenter(lattice_filter=False, smoothing=width, progress=False)
    estimator.fit(stack.images[train], stack.masks[train])
    table = metrics.counts(stack.masks[test], estimator.predict(stack.images[test]))
    found[width] = metrics.scores(table)["accuracy"]
    print(f"{width:g} px: accuracy {found[width]:.4f} on the outer fold")
optimism = max(found.values()) - found[search.best_params_["smoothing"]]
print(f"Choosing on the test fold would have added {optimism:.4f}, by selection alone.")

# %% [markdown]
# **Exercise 3.** Folds by date are useful only if they have nearly equal sizes. Is that possible
# here? Find the fraction of the images that the largest date holds, and from it the largest
# sensible number of folds.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
dates, sizes = np.unique(stack.dates, return_counts=True)
share = sizes.max() / sizes.sum()
print(f"{len(dates)} dates; the largest holds {100 * share:.0f} % of the images,")
print(f"so more than {int(1 / share)} folds cannot be of equal size.")

# %% [markdown]
# ## Check yourself
#
# 1. When is a cross-validated score unbiased?
#    - (a) if the folds have equal sizes
#    - (b) if test and training images share no group
#    - (c) if there are at least five folds
#
# 2. A leak raises the score most for a method that …
#    - (a) has one parameter
#    - (b) can memorise images
#    - (c) is slow
#
# 3. Why does the bootstrap draw groups?
#    - (a) because scores are pooled
#    - (b) because images of one group are not independent
#    - (c) because there are fewer of them
#
# 4. An interval of a difference is [−0.004, +0.021]. The difference …
#    - (a) counts
#    - (b) does not count
#    - (c) is zero
#
# 5. Where may a parameter be chosen?
#    - (a) on all images, if it is only one parameter
#    - (b) on the fold that is scored
#    - (c) inside the training folds
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **b** – Independence of test and training images is the only condition on the split.
# 2. **b** – A single threshold cannot memorise a place; half a million weights can.
# 3. **b** – Drawn singly, frames of one series would make the interval too narrow.
# 4. **b** – The interval includes zero. That does not show that the difference is zero.
# 5. **c** – A choice made on the test fold makes its score better than the truth.
# :::

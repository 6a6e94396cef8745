# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-data)=
# # The labelled micrographs
#
# Every method of this book is fitted to, and judged on, {term}`micrographs <Micrograph>` of
# {term}`graphene` in which an expert has outlined the {term}`contamination`. What do these images
# show, how much of their area is contaminated, and which of them are so similar that they must not
# be divided between training and test?
#
# **What you will be able to do**
#
# - load the published images, the simulated sample, or a folder of your own, in the same way;
# - say what a {term}`label` marks, and what fraction of the area is marked;
# - tell an *{term}`acquisition`* from an image, and find acquisitions that show the same place;
# - split a {term}`stack` so that neither an acquisition nor a place is divided;
# - measure how similar two frames of one series are.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
number_shown: int = 6  # images in the first figure
shuffles: int = 20  # random splits whose leaks are counted
seed: int = 0  # of the random splits and of the bootstrap

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from scipy.stats import bootstrap
from sklearn.model_selection import GroupKFold, KFold

from book.tools.notebook import record, show_source
from book.tools.overlaps import label_overlaps
from book.tools.paper import printed
from graphseg.colours import CLASS_COLOURS
from graphseg.datasets import duplicates
from graphseg.datasets.stack import SAME_PLACE, acquisition_of
from graphseg.plotting import micrographs
from graphseg.structure.lattice import measure_lattice

micrographs.use_style()

# %%
import graphseg as gs

stack = gs.load_stack(data_source)

# %% tags=["remove-input"]
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## Where the images come from
#
# {cite:t}`Sadre2021` published their images together with the labels. Most of the images were
# recorded for an earlier study of {term}`grain boundaries <Grain boundary>` {cite:p}`Ophus2015`,
# with an aberration-corrected transmission electron microscope in {term}`phase contrast`: the atoms
# shift the phase of the electron wave, and a small {term}`defocus` turns this shift into
# differences in brightness. The paper states the following conditions:

# %% tags=["remove-input"]
paper = printed()
imaging = paper["imaging"]
doses = [imaging[f"dose_{end}_electrons_per_square_angstrom"] for end in ("low", "high")]
sides = [f"{side} × {side}" for side in paper["preprocessing"]["original_sides"]]
rows = [
    ["microscope", imaging["microscope"]],
    ["voltage", f"{imaging['kilovolts']} kV"],
    ["dose", " to ".join(f"{dose:,} e/Å²" for dose in doses)],
    ["size as recorded", " or ".join(sides) + " pixels"],
    ["size as published", "{0} × {0} pixels, 8 bits".format(paper["preprocessing"]["image_side"])],
]
rows = [["condition", "as printed"], [":--", "--:"], *rows]
Markdown("\n".join(f"| {name} | {value} |" for name, value in rows))

# %% [markdown]
# The images are not part of this project. They are read from the folder named by the environment
# variable `GRAPHSEG_DATA`, or downloaded once from the authors' repository. Each file is checked
# against its registered SHA-256 sum, and a damaged file is fetched again. If neither source is
# available, a small simulated sample is used instead, and a note at the top of the page says so.
#
# A loaded stack holds the images, their {term}`masks <Mask>` and their names. Two further
# properties are derived from the names: the acquisition and the date.

# %%
coverage = stack.masks.mean(axis=(1, 2))

# %% tags=["remove-input"]
record("data_images", len(stack))
record("data_size", stack.images.shape[1])
record("data_empty", int((coverage == 0).sum()))
record("data_digest", stack.digest[:12])

# %% [markdown]
# How much of the surface is contaminated? This page was computed from {glue:text}`data_images:d`
# images of {glue:text}`data_size:d` × {glue:text}`data_size:d` pixels (SHA-256 digest
# {glue:text}`data_digest:s`…). {numref}`fig-data-examples` shows a selection, from the least
# contaminated to the most.

# %% mystnb={"figure": {"caption": "Labelled micrographs in order of their contaminated fraction (given above each), with the outline of the label in orange. The fine regular pattern is the lattice of graphene; notice how contamination hides it under a coarser, irregular texture. Scale bars are derived from the lattice constant, 2.46 \u00c5; a bar in px marks an image in which no lattice was found.", "name": "fig-data-examples"}, "image": {"alt": "Six micrographs. Rows of dots form a honeycomb; orange lines surround patches of a coarse, maze-like texture, which are absent or small in the first panels and fill half of the last."}} tags=["hide-input"]
order = np.argsort(coverage, kind="stable")
shown = order[np.linspace(0, len(stack) - 1, number_shown).astype(int)]
lattices = [
    measure_lattice(image, mask)
    for image, mask in zip(stack.images, stack.masks, strict=True)
]
sizes = [
    lattice.pixel_size if lattice.found else None for lattice in lattices
]
figure, axes = plt.subplots(
    2, -(-number_shown // 2), figsize=(9, 6.2), squeeze=False
)
for ax, i in zip(axes.flat, shown, strict=False):
    micrographs.show_micrograph(
        ax, stack.images[i], sizes[i], f"{100 * coverage[i]:.0f} %"
    )
    micrographs.overlay_mask(ax, stack.masks[i])

# %% [markdown]
# ## What a label marks
#
# A label is a second image of the same size. Every pixel above zero is **contamination**: patches
# of disordered material, mostly hydrocarbons, that lie on the sheet. All other pixels form the
# negative class, whether they show the {term}`lattice`, a grain boundary or a hole. A label
# therefore does not answer the question "is this graphene?" but "is the surface contaminated
# here?". Grain boundaries are the hard case, because they are irregular but clean.
#
# The contaminated fraction of an image, or its *coverage*, is
#
# $$ c = \frac{1}{N} \sum_r M(r), $$ (eq-coverage)
#
# where $M(r)$ is 1 in a contaminated pixel $r$ and 0 elsewhere, and $N$ is the number of pixels.

# %% mystnb={"figure": {"caption": "Distribution of the contaminated fraction over the images; the dashed line is the median. Notice that most of the area of most images is clean, so that a method that finds no contamination at all is right in most pixels.", "name": "fig-data-coverage"}, "image": {"alt": "Histogram of images against the contaminated fraction in per cent: tall bars at the left, a dashed line at the median, and a thin tail to the right."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 3))
ax.hist(
    100 * coverage,
    bins=np.arange(0, 66, 5),
    color=CLASS_COLOURS["contamination"],
)
ax.axvline(
    100 * np.median(coverage), color="black", linestyle="--", label="median"
)
ax.set(xlabel="contaminated fraction (%)", ylabel="images")
ax.legend();

# %% tags=["remove-input"]
low, middle, high = np.percentile(100 * coverage, [5, 50, 95])
record("data_coverage_median", middle)
record("data_coverage_low", low)
record("data_coverage_high", high)
record("data_coverage_mean", 100 * coverage.mean())

# %% [markdown]
# The median coverage is {glue:text}`data_coverage_median:.1f` %, and nine in ten images lie between
# {glue:text}`data_coverage_low:.1f` and {glue:text}`data_coverage_high:.1f` %
# ({numref}`fig-data-coverage`). This has two consequences. First, {term}`accuracy` is a poor score
# here: calling every pixel clean is correct for all but {glue:text}`data_coverage_mean:.1f` % of
# the pixels. The book therefore relies mainly on the {term}`Jaccard index`, which counts only the
# pixels that the label or the prediction calls contaminated. Second, {glue:text}`data_empty:d`
# labels are empty. For these, the Jaccard index of a correct prediction is 0/0, and a convention is
# needed; it is given on the page of {ref}`conventions <conventions>`.

# %% [markdown]
# ## Acquisitions and dates
#
# A microscopist rarely takes just one image of a place. In a *{term}`focal series`* the defocus is
# changed step by step while the place stays the same; in a *time series* the same place is imaged
# repeatedly. The frames of a series are different images of the same contamination. We call all
# frames that belong together one **acquisition** and identify it by the file name: a trailing
# `_layer_NNNN` is the number of the frame, and the rest names the acquisition.

# %%
acquisitions = np.array([acquisition_of(name) for name in stack.names])
names, frames = np.unique(acquisitions, return_counts=True)

# %% tags=["remove-input"]
record("data_acquisitions", len(names))
record("data_dates", len(set(stack.dates)))
record("data_series", int((frames > 1).sum()))
record("data_in_series", int(frames[frames > 1].sum()))

# %% [markdown]
# The images come from {glue:text}`data_acquisitions:d` acquisitions on {glue:text}`data_dates:d`
# days. {glue:text}`data_series:d` acquisitions have more than one image, and together they contain
# {glue:text}`data_in_series:d` images. {numref}`fig-data-series` shows the one with the most
# frames.

# %% mystnb={"figure": {"caption": "Frames of one acquisition with their labels (orange) and frame numbers. The contrast changes from frame to frame and the field may drift, but the place is the same. Notice how similar the labels are: one of them nearly gives the others away.", "name": "fig-data-series"}, "image": {"alt": "Micrographs of one place side by side. Orange outlines of similar shapes lie in the same corners; grain and contrast of the lattice differ."}} tags=["hide-input"]
members = np.flatnonzero(acquisitions == names[np.argmax(frames)])
figure, axes = plt.subplots(1, len(members), figsize=(9, 3.4), squeeze=False)
for ax, i in zip(axes.flat, members, strict=True):
    micrographs.show_micrograph(
        ax, stack.images[i], sizes[i], stack.names[i].split("_")[-1]
    )
    micrographs.overlay_mask(ax, stack.masks[i])

# %% [markdown]
# ## One place, two names
#
# Not all images of one place share a name. A microscopist may start a second series at the same
# place, or return to it later. `graphseg.datasets.duplicates` looks for such images. It maps the
# local roughness of each image, which hardly depends on the focus, and takes the highest
# correlation of two maps over small shifts as their similarity. Pairs of acquisitions whose
# similarity reaches a {term}`threshold` are candidates, and each candidate has to be confirmed by
# eye.

# %%
maps = np.stack([duplicates.texture_map(image) for image in stack.images])
pairs = {}
for i, j, alike in duplicates.near_duplicates(maps, acquisitions):
    pairs.setdefault((acquisitions[i], acquisitions[j]), alike)  # the highest

# %% mystnb={"figure": {"caption": "Pairs of acquisitions that show one place under two names: the two most similar images of each pair, one above the other, with their labels (orange). The number above is their similarity. Notice that the outlines of the contamination match up to a shift or a small rotation.", "name": "fig-data-places"}, "image": {"alt": "Pairs of micrographs, one above the other. Within each pair the orange outlines have nearly the same shapes and places."}} tags=["hide-input"]
shown = [
    (i, j, alike)
    for i, j, alike in duplicates.near_duplicates(maps, acquisitions)
    if alike == pairs.get((acquisitions[i], acquisitions[j]))
]
figure, axes = plt.subplots(
    2, max(len(shown), 1), figsize=(9, 5), squeeze=False
)
for column, (i, j, alike) in zip(axes.T, shown, strict=False):
    micrographs.show_micrograph(
        column[0], stack.images[i], sizes[i], f"{alike:.3f}"
    )
    micrographs.show_micrograph(column[1], stack.images[j], sizes[j])
    micrographs.overlay_mask(column[0], stack.masks[i])
    micrographs.overlay_mask(column[1], stack.masks[j])

# %% tags=["remove-input"]
listed = [f"{later} with {earlier}" for later, earlier in SAME_PLACE.items()]
merged = set(SAME_PLACE) & set(names)
record("data_groups", len(set(stack.groups)))
record("data_pairs", len(pairs))
record("data_merged", len(merged))
record("data_places", ", ".join(listed))
record("data_threshold", duplicates.THRESHOLD)

# %% [markdown]
# On the images of this page, {glue:text}`data_pairs:d` pairs of acquisitions reach the threshold of
# {glue:text}`data_threshold:.2f` ({numref}`fig-data-places`). In the published set, the confirmed
# pairs are {glue:text}`data_places:s`. The images of such a pair form one **{term}`group`**, and so
# do the frames of any other acquisition: {glue:text}`data_acquisitions:d` acquisitions make
# {glue:text}`data_groups:d` groups. Whenever this book splits by acquisition, it keeps these groups
# together.
#
# ## How similar are two frames?
#
# How similar the frames of one acquisition are can be measured on their labels. The overlap of two
# labels $A$ and $B$ is the area that both mark, divided by the area that at least one of them
# marks,
#
# $$ J(A, B) = \frac{|A \cap B|}{|A \cup B|}. $$ (eq-overlap)
#
# It is 1 for equal labels and 0 for labels that share no pixel. We compute it for every pair of
# images with at least one label that is not empty, and sort the pairs into three kinds: same
# acquisition, same day but another place, and different days. Pairs from two acquisitions of one
# place are left out, because their labels are shifted against each other.

# %%
overlaps = label_overlaps(stack.masks)
same = acquisitions[:, None] == acquisitions
same_place = stack.groups[:, None] == stack.groups
same_day = (stack.dates[:, None] == stack.dates) & ~same_place
pair = np.triu(np.isfinite(overlaps), k=1)
kinds = {
    "same acquisition": same,
    "same day": same_day,
    "other days": ~same_place & ~same_day,
}
values = {
    kind: np.sort(overlaps[pair & chosen]) for kind, chosen in kinds.items()
}

# %% mystnb={"figure": {"caption": "Cumulative distribution of the overlap of two labels: the fraction of image pairs whose overlap is at most the value on the axis. Notice that the labels of one acquisition overlap far more than any others, and that a shared day makes little difference.", "name": "fig-data-overlap"}, "image": {"alt": "Three rising curves of the fraction of image pairs against the overlap of their labels. The curves for one day and for different days reach nearly 1 at a small overlap; the curve for one acquisition rises only beyond the middle."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 3.4))
for kind, found in values.items():
    ax.step(
        found,
        np.arange(1, len(found) + 1) / len(found),
        label=f"{kind} ({len(found)} pairs)",
    )
ax.set(
    xlabel="overlap of two labels",
    ylabel="fraction of pairs",
    xlim=(0, 1),
    ylim=(0, 1),
)
ax.legend(loc="center", bbox_to_anchor=(0.33, 0.5));

# %% [markdown]
# The pairs within a series are not independent, so we take one number for each series, the median
# over its pairs. To see how well the median over all series is known, whole series are drawn with
# replacement (a {term}`bootstrap`).

# %%
series = [
    np.median(overlaps[pair & (acquisitions == name) & same])
    for name in names[frames > 1]
]
certain = bootstrap(
    (series,), np.median, rng=np.random.default_rng(seed), method="percentile"
)

# %% tags=["remove-input"]
record("data_overlap_series", np.median(series))
record("data_overlap_low", certain.confidence_interval.low)
record("data_overlap_high", certain.confidence_interval.high)
record("data_overlap_day", np.median(values["same day"]))
record("data_overlap_other", np.median(values["other days"]))

# %% [markdown]
# The median overlap of two labels is {glue:text}`data_overlap_series:.2f` within one acquisition
# (95 % {term}`interval` {glue:text}`data_overlap_low:.2f` to {glue:text}`data_overlap_high:.2f`),
# {glue:text}`data_overlap_day:.2f` for the same day and {glue:text}`data_overlap_other:.2f` for
# different days ({numref}`fig-data-overlap`). Having seen the label of one frame, one therefore
# knows most of the label of the next; the label of another place, even on the same day, gives no
# such hint.
#
# ## How often would a random split leak?
#
# Suppose the images are divided at random into five parts, and each part in turn is the
# {term}`test set`. A test image *{term}`leaks <Leak>`* if another image of its group is in the
# {term}`training set`. A model that merely memorises its training images can then get this test
# image right without having learned anything general. We count how many test images leak in random
# splits, and in a split that keeps groups together.

# %%
leaks = []
for number in range(shuffles):
    random = KFold(5, shuffle=True, random_state=seed + number)
    for train, test in random.split(stack.images):
        leaks.append(np.isin(stack.groups[test], stack.groups[train]).mean())
grouped = [
    np.isin(stack.groups[test], stack.groups[train]).mean()
    for train, test in GroupKFold(5).split(stack.images, groups=stack.groups)
]

# %% tags=["remove-input"]
record("data_leak_random", 100 * np.mean(leaks))
record("data_leak_spread", 100 * np.std(leaks))
record("data_leak_grouped", 100 * np.max(grouped))

# %% [markdown]
# In a random split, {glue:text}`data_leak_random:.0f` % of the test images leak (mean over the
# parts of many splits; the standard deviation over parts is {glue:text}`data_leak_spread:.0f`
# percentage points). When groups stay together, none does ({glue:text}`data_leak_grouped:.0f` %).
# Grouping costs no images, so this book splits by acquisition unless stated otherwise.
# {numref}`Chapter %s <ch-cross-validation>` measures how much the choice changes the scores.
#
# ## What this does not show
#
# - An overlap of labels is no proof that a score is too high. Frames of a series have nearly the
#   same label; whether a method exploits this can only be seen by scoring it with both kinds of
#   split.
# - Acquisitions are read from file names, and shared places are found with a threshold. Two images
#   of one place that overlap too little are missed. Splitting by day is the stricter choice.
# - The published files state neither the {term}`pixel size` nor the defocus nor the {term}`dose`.
#   The pixel size is measured from the lattice ({numref}`chapter %s <ch-structure>`); the other two
#   remain unknown for each image.
# - One hand-drawn label for each image says nothing about how well two experts would agree.
#
# ## On your own images
#
# Put images and labels in one folder, as `name.png` and `name_LABEL.png` (TIFF works as well):
#
# ```python
# import graphseg as gs
#
# stack = gs.load_folder("my_images")
# ```
#
# All images must have the same size, and each needs a label. If a partner is missing, a size is
# wrong, or a file is not a greyscale image, a message names the file and says what to do. Give the
# frames of a series names that end in `_layer_0001`, `_layer_0002` and so on, so that they stay
# together. If the files do not state a pixel size, list it in `pixel_sizes.json`, in Å for each
# name:
#
# ```json
# {"flake_01": 0.32, "flake_02": 0.32}
# ```
#
# ## What was found
#
# - Labels mark surface contamination; lattice, grain boundaries and holes all count as clean.
# - Half of the images are less than {glue:text}`data_coverage_median:.1f` % contaminated, so
#   accuracy is high even for a method that finds nothing.
# - {glue:text}`data_pairs:d` pairs of acquisitions with different names are so similar that they
#   may show the same place. With the confirmed pairs merged, {glue:text}`data_acquisitions:d`
#   acquisitions make {glue:text}`data_groups:d` groups.
# - Labels of one acquisition share most of their area (median overlap
#   {glue:text}`data_overlap_series:.2f`), and in a random split {glue:text}`data_leak_random:.0f` %
#   of the test images leak. Split by acquisition, and keep acquisitions of one place together.
#
# {numref}`Chapter %s <ch-preprocessing>` removes from the images what is due to the microscope.
#
# :::{admonition} Provenance
# :class: dropdown
#
# The threshold of the similarity was set on the published images themselves, so that no two of them
# from different days reach it; the most similar such pair lies just below. Two in three of the pairs
# of frames inside a series exceed it (a test measures both again). All pairs of acquisitions of one
# day that reach it were then inspected by eye. Most show the same place beyond doubt. The pair with
# the lowest similarity probably does; it was merged to be on the safe side.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** A method that calls every pixel clean needs no microscope. What accuracy and what
# Jaccard index, pooled over the images, does it reach?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
from graphseg import metrics

nothing_found = np.zeros_like(stack.masks)
scores = metrics.scores(metrics.counts(stack.masks, nothing_found))
print(f"accuracy {scores['accuracy']:.3f}, Jaccard index {scores['jaccard']:.3f}")
# Accuracy is one minus the mean coverage; without true positives the index is zero.
assert np.isclose(scores["accuracy"], 1 - coverage.mean())

# %% [markdown]
# **Exercise 2.** Two labels that each mark a fraction $c$ of the image, at unrelated places,
# overlap by chance. Show that {eq}`eq-overlap` is then about $c/(2-c)$, and compare this with the
# overlap of labels from different days.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
# They share c² of the area, and together cover 2c − c².
c = np.median(coverage[coverage > 0])
expected = c**2 / (2 * c - c**2)
scattered = np.random.default_rng(seed).random((2, 512, 512)) < c  # two masks
measured = np.sum(scattered.all(0)) / np.sum(scattered.any(0))
print(f"expected {expected:.3f}, random pixels {measured:.3f}")
print(f"labels of different days {np.median(values['other days']):.3f}")

# %% [markdown]
# **Exercise 3.** A group of $k$ images is dealt at random into five {term}`folds <Fold>`. What is
# the probability that one of its images leaks? Predict the leaking fraction of the stack from the
# sizes of its groups alone.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
# An image stays if all k − 1 others are in its own fold, each with about 1/5.
_, group, sizes = np.unique(stack.groups, return_inverse=True, return_counts=True)
probability = 1 - 0.2 ** (sizes[group] - 1)
print(f"predicted {100 * probability.mean():.1f} %")
print(f"counted {100 * np.mean(leaks):.1f} %")

# %% [markdown]
# ## Check yourself
#
# 1. A label marks …
#    - (a) surface contamination
#    - (b) graphene
#    - (c) everything that is not a perfect lattice
#
# 2. Why is accuracy a poor score for these images?
#    - (a) Most pixels are clean, so calling all of them clean is right most of the time.
#    - (b) It cannot be computed for empty labels.
#    - (c) It depends on the size of the image.
#
# 3. Two files are named `place_layer_0001` and `place_layer_0002`. They are …
#    - (a) an image and its label
#    - (b) two acquisitions of one day
#    - (c) two frames of one acquisition
#
# 4. Two acquisitions with different names show the same place. Which split is safe?
#    - (a) by acquisition name
#    - (b) by image
#    - (c) by group
#
# 5. What does a large overlap between the labels of two frames prove?
#    - (a) that their labels are nearly the same, and nothing else
#    - (b) that a network will exploit it
#    - (c) that one of the labels is wrong
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **a** – Grain boundaries and holes are irregular, but they belong to the negative class.
# 2. **a** – The large class decides. The Jaccard index ignores pixels that are correctly called
#    clean.
# 3. **c** – A trailing `_layer_NNNN` is the number of a frame; the rest of the name is the
#    acquisition.
# 4. **c** – Groups join acquisitions of one place; a split by name would put one on each side.
# 5. **a** – Whether a method exploits it shows only when it is scored with both kinds of split.
# :::

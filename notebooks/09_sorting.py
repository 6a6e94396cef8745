# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-sorting)=
# # Which images first, and how to keep them
#
# A night at the microscope may give a thousand images, of which only some are worth a closer look.
# Which ones? And must the contaminated pixels of all of them be stored without {term}`loss`?
#
# **What you will be able to do**
#
# - rank images by the fraction of their area that is clean, with an {term}`interval` for each
#   image;
# - say how well such a ranking agrees with that of hand-drawn {term}`labels <Label>`;
# - write the ranking as a table that can be sorted in the browser, and as CSV;
# - say which {term}`masks <Mask>` to inspect first;
# - store images in less space, without loss, or with a loss that is stated in the file.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
test_time_augmentation: bool = True  # test-time augmentation: the eight symmetries
coverage: float = 0.9  # how often an interval should hold the label's value
seed: int = 0  # of the bootstrap

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from book.studies.resampling import rank_agreement
from book.tools import codecs, explore, figures, fold_networks, ranking_page
from book.tools.notebook import record, show_source
from book.tools.tables import markdown_table
from graphseg import metrics
from graphseg.batch import reduction, report
from graphseg.batch.ranking import rank
from graphseg.batch.reduction import Coarsening
from graphseg.colours import BLUE, SKY
from graphseg.evaluation import crossval, quality
from graphseg.io import outputs
from graphseg.plotting import micrographs
from graphseg.unet import inference

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
# How clean is an image? Let $\Omega$ be its pixels, $C$ those called {term}`contamination` and $V$
# those of {term}`vacuum`, if vacuum is unwanted too. The {term}`clean fraction` is
#
# $$ f = 1 - \frac{|C \cup V|}{|\Omega|} . $$ (eq-clean)
#
# {cite:t}`Sadre2021` sorted their images by it. A network gives each pixel a probability $p$, and
# $C$ is where $p \ge 1/2$. Each image below is predicted by the {term}`fold` network of
# {term}`our network` that has not seen its {term}`acquisition`. So the ranking is as good as one
# may expect for new images of this kind.

# %%
probabilities = fold_networks.out_of_fold(
    stack, test_time_augmentation=test_time_augmentation
)
fraction = quality.clean_fractions(probabilities)
labelled = 1 - stack.masks.mean(axis=(1, 2))
agreement = rank_agreement(fraction, labelled, groups=stack.groups, seed=seed)

# %% tags=["remove-input"]
record("images", len(stack))
record("spearman", agreement.spearman)
record("spearman_low", agreement.low)
record("spearman_high", agreement.high)
record("mean_error", 100 * float(np.abs(fraction - labelled).mean()))
record("largest_error", 100 * float(np.abs(fraction - labelled).max()))

# %% [markdown]
# Does the ranking agree with the labels? For {glue:text}`images:d` images Spearman's rank
# correlation with the clean fractions of the labels is {glue:text}`spearman:.3f`
# ({glue:text}`spearman_low:.3f` to {glue:text}`spearman_high:.3f`, 95 % {term}`bootstrap` over
# acquisitions), where 1 would be the same order. The clean fraction is wrong by
# {glue:text}`mean_error:.1f` % of the area on average, and by {glue:text}`largest_error:.0f` % at
# most.
#
# ## An interval for each image
#
# How certain is the rank of one image? No more than its clean fraction. The errors of a mask are
# not independent from pixel to pixel: an outline is too wide or too narrow along its whole length.
# So the interval is obtained by moving the {term}`threshold`: at a level $\ell$ its ends are the
# clean fractions at the thresholds $(1-\ell)/2$ and $(1+\ell)/2$. Which level $\ell$ makes the
# interval contain the labelled fraction as often as wanted is determined on the images of the other
# folds, never on the image itself.

# %%
folds = crossval.splits(stack, "acquisition", min(5, len(np.unique(stack.groups))))
interval = np.empty((len(stack), 2))
levels = []
for others, fold in folds:
    level = quality.calibrated_level(probabilities[others], labelled[others], coverage)
    interval[fold] = quality.clean_intervals(probabilities[fold], level)
    levels.append(level)

# %% tags=["remove-input"]
held = (interval[:, 0] <= labelled) & (labelled <= interval[:, 1])
width = np.diff(interval).ravel()

# %% mystnb={"figure": {"caption": "Clean fraction of each image as predicted, with its interval, against that of the label; on the grey diagonal both agree. Notice that few intervals miss the diagonal, and that some are many times wider than others: there the network is unsure.", "name": "fig-clean-fraction"}, "image": {"alt": "Points with vertical bars along a diagonal; some bars are many times longer than others."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(4.5, 4.2))
ends = np.abs(interval.T - fraction)
axes.errorbar(
    labelled,
    fraction,
    yerr=ends,
    fmt=".",
    color=BLUE,
    ecolor=SKY,
    markersize=4,
)
axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
low = max(0, labelled.min() - 0.05)
axes.set(
    xlabel="clean fraction, label",
    ylabel="clean fraction, predicted",
    xlim=(low, 1.01),
    ylim=(low, 1.01),
);

# %% tags=["remove-input"]
record("coverage_percent", 100 * float(held.mean()))
record("wanted_percent", 100 * coverage)
record("level_low", min(levels))
record("level_high", max(levels))
record("median_width", 100 * float(np.median(width)))

# %% [markdown]
# The intervals contain the labelled fraction in {glue:text}`coverage_percent:.0f` % of the images
# ({numref}`fig-clean-fraction`); the target was {glue:text}`wanted_percent:.0f` %. Half of them are
# narrower than {glue:text}`median_width:.1f` % of the area. Where many images are about equally
# clean, this still leaves many places of the ranking open. The levels that the folds chose lie
# between {glue:text}`level_low:.2f` and {glue:text}`level_high:.2f`. One reservation: the networks
# that predicted the images of the other folds were trained on this one.
# {numref}`Chapter %s <ch-confidence>` compares such a {term}`calibration` with one that is free of
# this, for another quantity, and finds little difference.
#
# ## The ranking

# %%
ranking = rank(stack.names, fraction, interval, labelled)

# %% tags=["remove-input"]
rows = [
    [
        f"{row['rank']}",
        f"{row['best_rank']}–{row['worst_rank']}",
        row["name"],
        f"{row['clean_fraction']:.3f}",
        f"{row['labelled_fraction']:.3f}",
    ]
    for row in ranking_page.table_rows(ranking)
]
heading = ["rank", "range", "image", "clean fraction", "label"]
Markdown(markdown_table(heading, rows[:4] + rows[-4:]))

# %% [markdown]
# These are the first four images and the last four; the range gives the ranks that are compatible
# with the intervals. {numref}`fig-sorted-subset` shows images spread over the whole ranking, as
# Fig. 6 of the paper does, and {numref}`fig-contact-sheet` shows all.

# %% mystnb={"figure": {"caption": "Images spread evenly over the ranking, the cleanest first, with the predicted contamination in orange-red and the clean fraction above; scale bars are measured from the lattice. Read from left to right and from top to bottom. Notice that the last images are not worse recordings; they only have less clean area.", "name": "fig-sorted-subset"}, "image": {"alt": "Rows of small micrographs with percentages from nearly 100 downwards; the orange-red area grows from row to row."}} tags=["hide-input"]
figure, axes = plt.subplots(4, 6, figsize=(10.5, 7.8))
masks = probabilities >= 0.5
known_sizes = [inference.measure_pixel_size(image) for image in stack.images]
figures.show_subset(axes, ranking, stack.images, masks, known_sizes)

# %% mystnb={"figure": {"caption": "All images in order of their clean fraction, the cleanest first, with the predicted contamination in orange-red; below each its rank and clean fraction. Notice how the orange-red area grows from the upper left to the lower right, and look for images that are out of place.", "name": "fig-contact-sheet"}, "image": {"alt": "Many thumbnails with rank and percentage below them; the orange-red area is small in the first and large in the last."}} tags=["hide-input"]
sizes = [np.nan if size is None else size for size in known_sizes]
figures.contact_sheet(ranking, stack.images, masks, sizes)

# %% [markdown]
# The same ranking can be written as a page that sorts by any column, and as a table for other
# programs.

# %% tags=["hide-input"]
folder = Path(tempfile.mkdtemp())
pictures = [
    outputs.small_picture(image, mask)
    for image, mask in zip(stack.images, masks, strict=True)
]
page = ranking_page.ranking_page(ranking, pictures)
(folder / "ranking.html").write_text(page, encoding="utf-8")
(folder / "ranking.csv").write_text(report.csv_text(ranking_page.table_rows(ranking)))

# %% tags=["remove-input"]
record("page_megabytes", (folder / "ranking.html").stat().st_size / 1e6)

# %% [markdown]
# The page contains its pictures, has a size of {glue:text}`page_megabytes:.1f` MB and needs no
# network connection.
#
# ## Which masks should one inspect first?
#
# A ranking is only as good as its masks, and nobody can inspect all of them. Which ones are
# probably wrong? {numref}`Chapter %s <ch-confidence>` shows how to estimate the
# {term}`Jaccard index` of a mask without a label, from the fraction of its pixels of which the
# network is certain. The line that relates the two is fitted on the other folds, as above.

# %%
counts = metrics.counts(stack.masks, masks)
measured = metrics.score_table(counts)["jaccard"]
certain = quality.certain_fractions(probabilities)
expected = np.full((len(stack), 3), np.nan)
for others, fold in folds:
    line = quality.ExpectedJaccard.fit(certain[others], measured[others])
    expected[fold] = line(certain[fold])

# %% tags=["hide-input"]
tenth = max(round(len(stack) / 10), 1)
look_first = np.argsort(expected[:, 0], kind="stable")[:tenth]
worst = np.argsort(measured, kind="stable")[:tenth]

# %% tags=["remove-input"]
place = np.empty(len(stack), int)
place[ranking.index] = np.arange(1, len(stack) + 1)
rows = [
    [
        f"{stack.names[i]}",
        f"{expected[i, 0]:.2f} ({expected[i, 1]:.2f}–{expected[i, 2]:.2f})",
        f"{measured[i]:.2f}",
        f"{place[i]}",
    ]
    for i in look_first[:6]
]
heading = ["image", "expected Jaccard index", "measured", "rank"]
Markdown(markdown_table(heading, rows))

# %% tags=["remove-input"]
others = np.setdiff1d(np.arange(len(stack)), look_first)
record("looked_at", tenth)
record("measured_looked", float(measured[look_first].mean()))
record("measured_others", float(measured[others].mean()))
record("worst_found", len(np.intersect1d(look_first, worst)))

# %% [markdown]
# The {glue:text}`looked_at:d` images with the lowest expected index, a tenth of all, have a
# measured index of {glue:text}`measured_looked:.2f` on average, all others
# {glue:text}`measured_others:.2f`. They include {glue:text}`worst_found:d` of the
# {glue:text}`looked_at:d` worst masks. So it pays to begin with them, although not every bad mask
# is found and some of these masks are good. In particular, an image without contamination can head
# the list, because a few doubtful pixels are then all that there is to judge by.
#
# `graphseg sort` writes the expected index of each image into its table. In `look_first` it marks
# the images whose index is lower than for nine tenths of the images that the line was fitted on,
# and the page says at its top how many they are. Images that were recorded in other conditions than
# the training images are marked as well, and so are those with a {term}`flag`. Of the latter the
# expected index is left blank: the line was fitted on images like those of the training, and says
# nothing about others.
#
# ## How much does the threshold matter?
#
# Which images change places when the threshold moves? Move the slider.

# %%
explore.ranking_explorer(probabilities, labelled)

# %% [markdown]
# ## Storing images in less space
#
# Does it save space to store contaminated pixels coarsely? {cite:t}`Sadre2021` propose a run-length
# code for the class that matters less: a run of equal pixels is stored as its value and its length.
# The table compares it with other codecs. The package writes a {term}`stack` with its masks to one
# HDF5 file, with codecs that every reader has. By default nothing is lost. On request the pixels of
# some classes are stored coarsely, except near their outline, and the file says so.

# %% tags=["remove-input"]
grey = np.rint(255 * stack.images).astype(np.uint8)
plain = codecs.plain_sizes(grey)

# %%
choices = {
    "without loss": Coarsening(),
    "eight grey levels in contamination": Coarsening("levels"),
    "blocks of 8×8 pixels in contamination": Coarsening("blocks"),
    "one value for contamination": Coarsening("flat"),
}

# %% tags=["hide-input"]
with warnings.catch_warnings():
    # The loss is what the table is about.
    warnings.simplefilter("ignore", reduction.LossWarning)
    reports = {
        name: reduction.write_reduced(
            folder / f"{choice.mode}.h5", grey, masks, choice, stack.names
        )
        for name, choice in choices.items()
    }
    coarse = reduction.read_reduced(folder / "blocks.h5")
    flat = reduction.read_reduced(folder / "flat.h5")
runs = {
    "without loss": codecs.run_length_size(grey),
    "one value for contamination": codecs.run_length_size(flat.images),
}

# %% tags=["remove-input"]
rows = [
    [f"plain {name}", f"{grey.nbytes / size:.2f}", "0", "0"]
    for name, size in plain.items()
] + [
    [
        name,
        f"{r.ratio:.2f}",
        f"{100 * r.losses['total'].coarse / r.losses['total'].pixels:.1f}",
        f"{r.losses['total'].rmse:.1f}",
    ]
    for name, r in reports.items()
] + [
    [
        f"run lengths, {name}",
        f"{grey.nbytes / size:.2f}",
        f"{100 * reports[name].losses['total'].coarse / grey.size:.1f}",
        f"{reports[name].losses['total'].rmse:.1f}",
    ]
    for name, size in runs.items()
]
heading = [
    "codec",
    "bytes in / bytes out",
    "pixels changed (%)",
    "their error (grey levels)",
]
Markdown(markdown_table(heading, rows))

# %% mystnb={"figure": {"caption": "The most contaminated image as recorded (left), as read back from the file with blocks of 8\u00d78 pixels (middle; the light blue outline marks what is coarse), and the difference (right). Notice that the lattice next to the outline is untouched.", "name": "fig-reduction"}, "image": {"alt": "Three panels: a micrograph; the same with square blocks inside of a light blue outline; a map that is white outside of it and speckled in red and blue inside, with a colour bar in grey levels."}} tags=["hide-input"]
worst = int(ranking.index[-1])
figure, axes = plt.subplots(1, 3, figsize=(9, 3.1))
error = figures.show_reduction(
    axes,
    grey[worst],
    coarse.images[worst],
    coarse.exact[worst],
    known_sizes[worst],
)
figure.colorbar(error, ax=axes[2], label="grey levels", shrink=0.8);

# %% tags=["remove-input"]
back = reduction.read_reduced(folder / "lossless.h5")
record("identical", int((back.images == grey).all()))
record("ratio_lossless", reports["without loss"].ratio)
record("ratio_flat", reports["one value for contamination"].ratio)
record("ratio_best_plain", grey.nbytes / min(plain.values()))
record(
    "identical_verdict",
    "bit for bit the same"
    if (back.images == grey).all()
    else "not the same, which is an error",
)
record("warning", reports["one value for contamination"].warning)

# %% [markdown]
# It saves little. What is read back from the file without loss is {glue:text}`identical_verdict:s`;
# the file, masks included, is smaller than the images by a factor of
# {glue:text}`ratio_lossless:.2f`, and the best plain codec, without masks, reaches
# {glue:text}`ratio_best_plain:.2f`. Replacing all contaminated pixels by one value raises the
# factor to no more than {glue:text}`ratio_flat:.2f`, because most pixels are clean, and their
# {term}`shot noise` does not compress. A run-length code alone makes files larger: with noise,
# hardly any pixel equals the next. {numref}`fig-reduction` shows an image stored in blocks. A file
# with loss carries a warning, which is shown again whenever it is read:
#
# > {glue:text}`warning:s`
#
# ## What this does not show
#
# - How useful an image is. The labels are one person's, and a rank correlation with them says how
#   well the ranking reproduces that person's.
# - What happens in a folder with out-of-focus or empty images. The published images are nearly all
#   of one kind; elsewhere the cleanest image may be the emptiest. Exclude vacuum with the vacuum
#   mask of {numref}`chapter %s <ch-structure>`.
# - How often intervals are right elsewhere. They are valid on average over images like these, and
#   not necessarily for another microscope.
#
# ## On your own images
#
# ```
# graphseg sort my_folder --output sorted
# graphseg reduce my_folder --output reduced
# ```
#
# The first command writes the table, the page and the contact sheet; the second stores the images
# without loss unless a mode is named.
#
# ## What was found
#
# - On images that the networks have not seen, the ranking agrees with that of the labels to a
#   Spearman correlation of {glue:text}`spearman:.3f` ({glue:text}`spearman_low:.3f` to
#   {glue:text}`spearman_high:.3f`); the clean fraction is wrong by {glue:text}`mean_error:.1f` % of
#   the area on average.
# - Intervals from moving the threshold, calibrated on other folds, contain the labelled fraction in
#   {glue:text}`coverage_percent:.0f` % of the images; {glue:text}`wanted_percent:.0f` % were
#   wanted.
# - The tenth of the masks with the lowest expected index has a mean Jaccard index of
#   {glue:text}`measured_looked:.2f`, the others have {glue:text}`measured_others:.2f`.
# - Without loss the images shrink by a factor of {glue:text}`ratio_lossless:.2f`; giving up all
#   contaminated pixels raises it to no more than {glue:text}`ratio_flat:.2f`.
#
# :::{admonition} Provenance
# :class: dropdown
#
# The fold networks were trained on all images but those of their fold. So when an interval, or the
# line of the expected Jaccard index, is fitted on the images of the other folds, those images were
# predicted by networks that had seen the image in question. The calibration is therefore not
# strictly independent of it.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** Spearman's correlation is Pearson's correlation of the ranks. Compute it by hand
# and compare it with `agreement.spearman`.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
from scipy.stats import rankdata

ranks = rankdata(fraction), rankdata(labelled)  # equal values share their mean rank
by_hand = np.corrcoef(*ranks)[0, 1]
assert np.isclose(by_hand, agreement.spearman)
print(f"{by_hand:.4f}")

# %% [markdown]
# **Exercise 2.** A run-length code stores how long each run of equal values is. How many bytes does
# it need for the masks, with two bytes a run, compared with one bit a pixel and with zlib?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
import zlib

flat = masks.reshape(len(masks), -1)
runs = np.count_nonzero(np.diff(flat, axis=1)) + len(masks)
packed = np.packbits(flat, axis=1)
print(f"bits: {packed.nbytes} bytes; runs: {2 * runs} bytes;")
print(f"zlib: {sum(len(zlib.compress(row.tobytes(), 9)) for row in packed)} bytes")
# Masks are smooth, so they have few runs. With shot noise nearly every pixel is a run.

# %% [markdown]
# **Exercise 3.** You keep only images that are at least 95 % clean. How many do you keep, and how
# many of them are not that clean according to their label? What if the lower end of the interval
# decides?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
for name, value in (("fraction", fraction), ("lower end", interval[:, 0])):
    kept = value >= 0.95
    wrong = kept & (labelled < 0.95)
    missed = ~kept & (labelled >= 0.95)
    print(f"{name}: {kept.sum()} kept, {wrong.sum()} wrongly; {missed.sum()} missed")

# %% [markdown]
# ## Check yourself
#
# 1. The clean fraction counts …
#    - (a) atoms
#    - (b) pixels that are neither contaminated nor vacuum
#    - (c) pixels of good {term}`lattice`
#
# 2. Why is the interval not computed from independent pixels?
#    - (a) Too many pixels.
#    - (b) Probabilities are not known.
#    - (c) An outline is too wide or too narrow along its whole length.
#
# 3. A rank correlation of 1 with the labels would mean that …
#    - (a) the order is that of the labels
#    - (b) the fractions are exact
#    - (c) the labels are right
#
# 4. Discarding all contaminated pixels saves little because …
#    - (a) most pixels are clean, and noise does not compress
#    - (b) the file has a header
#    - (c) contamination compresses well
#
# 5. Which masks should one inspect first?
#    - (a) the last of the ranking
#    - (b) those with the lowest expected Jaccard index
#    - (c) the largest
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **b** – Whether the lattice there is in focus is another question.
# 2. **c** – Errors of neighbouring pixels go together; otherwise the interval would be far too
#    narrow.
# 3. **a** – Ranks say nothing about the values, nor whether the labels are right.
# 4. **a** – The shot noise of the clean area takes most of the space.
# 5. **b** – The expected index says where the network is unsure; the ranking says where
#    contamination is.
# :::

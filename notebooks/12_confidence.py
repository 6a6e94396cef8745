# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-confidence)=
# # How good is this mask?
#
# How far can a {term}`mask` be trusted? A wrong mask without a warning is worse than no mask.
#
# **What you will be able to do**
#
# - check whether a probability of 80 % means 80 %, and correct it if it does not;
# - choose the {term}`threshold` for the {term}`precision` or the {term}`recall` that you need;
# - predict the {term}`Jaccard index` to expect of each mask, and check the doubtful masks first.

# %% tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all; among which the most doubtful is shown

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

import graphseg as gs
from book.studies import calibration, figures
from book.tools import fold_networks, tables
from book.tools.notebook import record, show_source
from graphseg.colours import MASK_COLOUR
from graphseg.evaluation import quality, records
from graphseg.plotting import micrographs
from graphseg.unet.inference import measure_pixel_size

micrographs.use_style()
stack = gs.load_stack(data_source)
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## Does 80 % mean 80 %?
#
# A network trained with {term}`cross-entropy` may return probabilities that are too high or too
# low. It is *calibrated* if, of all pixels with probability $p$, the fraction $p$ is contaminated.
# With $B$ bins of pixels $S_b$ and $N$ pixels in all, the {term}`expected calibration error` is
#
# $$ \mathrm{ECE} = \sum_{b=1}^{B} \frac{|S_b|}{N} \left| \bar p_b - \bar y_b \right| , $$ (eq-ece)
#
# where $\bar p_b$ is the mean probability in a bin and $\bar y_b$ its contaminated fraction. Here
# $B = 15$, and the pixels of all images count equally. There are two remedies: dividing the
# {term}`logit` by one number, the {term}`temperature` $T$ {cite:p}`Guo2017`, or fitting any rising
# curve, {term}`isotonic regression`.
#
# A {term}`calibration` must not be tested on the {term}`labels <Label>` that it was fitted to. Each
# image was predicted by the {term}`fold` network that was trained without it. All images that this
# network has not seen are split again by {term}`acquisition`, and each image is calibrated with
# those of the other acquisitions. So neither the network nor the {term}`calibration` has seen the
# image or another frame of its series.

# %% tags=["hide-input"]
confidence = records.read_record(tables.RESULTS_FOLDER / "confidence.json")
calibrations = confidence["calibration"]
per_image = np.mean(calibrations["temperature"]["error_per_image"])

# %% mystnb={"figure": {"caption": "Left: reliability diagram out of fold, as predicted and after two calibrations. Right: precision and recall against the calibrated threshold, with 95 % intervals from a bootstrap over acquisitions. Notice on the left that the predicted probabilities are too extreme: of the pixels with a probability of 90 %, less than 80 % are contaminated.", "name": "fig-reliability"}, "image": {"alt": "Left: three curves around a diagonal; the one as predicted is flatter than the diagonal, isotonic calibration follows it. Right: precision rises and recall falls as the threshold grows, and they cross."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
figures.show_reliability(axes[0], calibrations)
figures.show_trade(axes[1], confidence["thresholds"])

# %% tags=["remove-input"]
record("ece_target", calibration.LARGEST_ERROR)
for name, values in calibrations.items():
    record(f"ece_{name}", values["error"])
record("ece_per_image", float(per_image))
record("temperature", confidence["temperature"])

# %% [markdown]
# Without calibration, the error is {glue:text}`ece_none:.4f`, below the target of
# {glue:text}`ece_target:.2f`. A temperature of {glue:text}`temperature:.2f` reduces it to
# {glue:text}`ece_temperature:.4f`, isotonic regression to {glue:text}`ece_isotonic:.4f`. A
# temperature above one means that the network is overconfident. The error is small because most
# pixels are easy; {numref}`fig-reliability` shows the others. It also refers to all images
# together: within a single image, the error is {glue:text}`ece_per_image:.3f` on average, which no
# common curve for all images can correct.
#
# ## The threshold you need
#
# Which threshold is best depends on the purpose. If no contaminated pixel may be left, for instance
# when counting atoms, you need a high recall; if everything that is called contaminated must be so,
# you need a high precision.

# %% tags=["remove-input"]
header = ["threshold", "precision", "recall", "jaccard"]
table = [
    [f"{row['threshold']:.2f}", *(f"{row[name]:.3f}" for name in header[1:])]
    for row in confidence["thresholds"][1::3]
]
Markdown(tables.markdown_table(header, table))

# %% [markdown]
# `python -m book.studies thresholds --precision 0.95` prints the threshold for a given precision,
# with its {term}`interval`.
#
# ## How good is one mask?
#
# Without a label, the Jaccard index of a mask is not known, but it can be estimated. An image is
# predicted in the eight symmetries of the square. Where the eight answers differ, or where their
# mean $p$ is near one half, the mask is doubtful. For the whole image, the certain fraction
#
# $$ q = \frac{|\{p \ge 0.9\}|}{|\{p \ge 0.1\}|} $$ (eq-certain-fraction)
#
# is the Jaccard index of what is almost certainly contaminated with what is possibly contaminated.
# A robust line, fitted to other images, turns it into an expected index, with an interval that is
# meant to hold 90 % of the measured values.

# %% tags=["hide-input"]
images = list(confidence["images"].values())
measured = np.array([image["measured"] for image in images])
expected = np.array([image["expected"] for image in images])
ways = confidence["correlations"]
best = ways["eight views, inner"]

# %% mystnb={"figure": {"caption": "Expected Jaccard index of every published image, out of fold, against the measured one. Bars are intervals that are meant to hold nine in ten measured values. Notice the few masks that are much worse than expected.", "name": "fig-expected"}, "image": {"alt": "Points with vertical bars, most of them in the upper right around a diagonal, a few far to the left of it."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(4.6, 4.2))
figures.show_expected(ax, expected, measured)

# %% tags=["remove-input"]
record("pearson", best["pearson"][0])
record("pearson_low", best["pearson"][1])
record("pearson_high", best["pearson"][2])
record("spearman", best["spearman"][0])
record("pearson_other", ways["eight views, other"]["pearson"][0])
record("pearson_one", ways["one view, inner"]["pearson"][0])
record("pearson_two", ways["with simulated, inner"]["pearson"][0])
spans = confidence["intervals"]["eight views, inner"]
record("held", 100 * spans["held"])
record("width", spans["width"])
errors_found = confidence["errors_found"]
record("looked_at", 100 * errors_found["fraction looked at"])
record("caught", 100 * errors_found["undecided mean"])
record("caught_spread", 100 * errors_found["spread of views"])

# %% [markdown]
# The correlation of expected and measured index is {glue:text}`pearson:.2f` (Pearson,
# {glue:text}`pearson_low:.2f` to {glue:text}`pearson_high:.2f`, {term}`bootstrap` over
# acquisitions) or {glue:text}`spearman:.2f` (Spearman; {numref}`fig-expected`). The intervals hold
# {glue:text}`held:.0f` % of the measured values and are {glue:text}`width:.2f` wide on average.
# This is good enough to decide which masks to check first, but not to certify a single mask.
#
# Would more predictions help? Only one fold network was trained without a given image, so the five
# cannot be combined out of fold. But three variants can be compared. One view instead of eight
# gives a correlation of {glue:text}`pearson_one:.2f`. Adding the {term}`simulation-only network`
# gives {glue:text}`pearson_two:.2f`. Fitting the line to the images of the other folds, four times
# as many, gives {glue:text}`pearson_other:.2f`; this has a small {term}`leak`, because their
# networks were trained on the image in question. On new images, all five networks can be combined
# (`book.tools.fold_networks.ensemble`).
#
# ## Where to look
#
# The same predictions show where a mask is doubtful. The {glue:text}`looked_at:.0f` % of pixels
# whose mean is nearest to one half contain {glue:text}`caught:.0f` % of all wrong pixels; the
# {glue:text}`looked_at:.0f` % where the views differ most contain {glue:text}`caught_spread:.0f` %.

# %%
probabilities = fold_networks.out_of_fold(stack)
doubtful = int(np.argmin(quality.certain_fractions(probabilities)))
fold = fold_networks.fold_of(stack.names)[doubtful]
held_out = gs.load_model(f"fold_{fold}", test_time_augmentation=False)
example = stack.images[doubtful : doubtful + 1]
mean, spread = fold_networks.ensemble([held_out], example)

# %% mystnb={"figure": {"caption": "The image of this page with the lowest certain fraction. Left: label (orange) and mask (orange-red). Middle: mean probability of eight views. Right: their standard deviation. Notice that the uncertainty lies along the outline, which makes up most of a small patch.", "name": "fig-doubtful"}, "image": {"alt": "Left: a micrograph with an outlined and tinted patch. Middle: a dark map of probability, bright in the patch. Right: a dark map of its standard deviation, bright in a ring along the outline. Both maps have a colour bar."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
image = stack.images[doubtful]
size = stack.pixel_size_of(doubtful) or measure_pixel_size(image)
micrographs.show_micrograph(axes[0], image, size)
micrographs.overlay_mask(axes[0], stack.masks[doubtful])
micrographs.overlay_mask(axes[0], mean[0] >= 0.5, MASK_COLOUR, tint=0.3)
for ax, shown_map, top, name in (
    (axes[1], mean[0], 1, "probability"),
    (axes[2], spread[0], 0.3, "standard deviation of it"),
):
    colours = {"cmap": "cividis", "vmin": 0, "vmax": top}
    shown = micrographs.show_picture(ax, shown_map, size, **colours)
    figure.colorbar(shown, ax=ax, label=name, shrink=0.8)

# %% [markdown]
# {numref}`fig-doubtful` shows the image to check first.
#
# ## What this does not show
#
# - Calibration and expected indices hold for images like the published ones. On images of another
#   kind, a network can be confidently wrong ({numref}`chapter %s <ch-other>`).
# - The measured index compares a mask with the label of one person.
#
# ## On your own images
#
# `graphseg segment my_folder --output masks` writes the expected Jaccard index of every image, with
# its interval, into the table. The column `look_first` marks images whose expected index is below
# what nine in ten published images reach. `graphseg sort` has the same columns. To measure another
# network:
#
# ```
# python -m book.studies calibrate --folds runs/general_acquisition --output data/results/confidence.json
# ```
#
# ## What was found
#
# - The expected calibration error of the probabilities, out of fold, is {glue:text}`ece_none:.4f`
#   as predicted and {glue:text}`ece_temperature:.4f` with one temperature.
# - The correlation of expected and measured Jaccard index is {glue:text}`pearson:.2f`. The
#   intervals are meant to hold nine in ten measured values, and hold {glue:text}`held:.0f` %.

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** Compute {eq}`eq-ece` for the images of this page, with 15 bins, in a few lines.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
p, y = probabilities.ravel(), stack.masks.ravel()
bin_of = np.minimum((15 * p).astype(int), 14)
pixels = np.bincount(bin_of, minlength=15)
predicted = np.bincount(bin_of, p, minlength=15)
observed = np.bincount(bin_of, y, minlength=15)
error = np.abs(predicted - observed).sum() / pixels.sum()
print(f"expected calibration error {error:.4f}")

# %% [markdown]
# **Exercise 2.** Find the temperature that gives the lowest cross-entropy on these images. Is the
# network overconfident or underconfident?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
clipped = np.clip(p.astype(float), 1e-6, 1 - 1e-6)[::7]  # a seventh is enough
logit, label = np.log(clipped / (1 - clipped)), y[::7]
losses = {}
for T in np.arange(0.6, 2.01, 0.1):
    # −ln p where the label is contaminated, −ln(1 − p) elsewhere
    losses[T] = np.mean(np.logaddexp(0, np.where(label, -logit, logit) / T))
best_T = min(losses, key=losses.get)
print(f"T = {best_T:.1f}: too {'sure' if best_T > 1 else 'unsure'} of itself")
# Fitted and judged on the same labels: the text does it out of fold.

# %% [markdown]
# **Exercise 3.** Compute {eq}`eq-certain-fraction` for every image yourself, and compare it with
# `quality.certain_fractions`. How well does it rank the images by their Jaccard index?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
from scipy.stats import spearmanr

from graphseg import metrics

surely = (probabilities >= 0.9).sum(axis=(1, 2))
possibly = (probabilities >= 0.1).sum(axis=(1, 2))
q = np.divide(surely, possibly, out=np.ones(len(stack)), where=possibly > 0)
assert np.allclose(q, quality.certain_fractions(probabilities))
counted = metrics.counts(stack.masks, probabilities >= 0.5)
index = metrics.score_table(counted)["jaccard"]
print(f"rank correlation with the Jaccard index: {spearmanr(q, index).statistic:.2f}")

# %% [markdown]
# ## Check yourself
#
# 1. A network is calibrated if …
#    - (a) its masks are right
#    - (b) its {term}`loss` is small
#    - (c) of the pixels with probability $p$ a fraction $p$ is contaminated
#
# 2. A temperature above one …
#    - (a) moves probabilities towards one half
#    - (b) moves the threshold
#    - (c) makes masks larger
#
# 3. A calibration error over all pixels can be small while single images are badly calibrated,
#    because …
#    - (a) probabilities are rounded
#    - (b) the errors of different images cancel
#    - (c) images are small
#
# 4. The interval of an expected index is meant to hold …
#    - (a) the mean
#    - (b) every value
#    - (c) nine of ten values
#
# 5. On an image of another kind the expected index …
#    - (a) is still valid
#    - (b) must not be trusted
#    - (c) is zero
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **c** – Calibration concerns the probabilities, not the masks.
# 2. **a** – It divides the logit, so that the network becomes less sure; masks at one half stay as
#    they are.
# 3. **b** – Too high on one image and too low on another average out; no common curve for all
#    images corrects this.
# 4. **c** – One of ten lies outside by design; it is good enough to sort by, not to certify.
# 5. **b** – The line was fitted to images like the published ones; flagged images have none.
# :::

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
# When may one believe a {term}`mask`? One that is wrong without saying so is worse than none.
#
# **What you will be able to do**
#
# - say whether a probability of 80 % means 80 %, and make it so;
# - choose the {term}`threshold` for the {term}`precision` or the {term}`recall` that you need;
# - get for each mask the {term}`Jaccard index` to expect, and look first at those that are
#   doubtful.

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
# A network trained by {term}`cross-entropy` can give any probability it likes; it is *calibrated*
# if of all pixels with probability $p$ the fraction $p$ is contaminated. With $B$ bins of pixels
# $S_b$, the {term}`expected calibration error` is
#
# $$ \mathrm{ECE} = \sum_{b=1}^{B} \frac{|S_b|}{N} \left| \bar p_b - \bar y_b \right| , $$ (eq-ece)
#
# with $\bar p_b$ the mean probability and $\bar y_b$ the contaminated fraction. Here $B = 15$ and
# the pixels of all images count alike. Two remedies: divide the {term}`logit` by a
# {term}`temperature` $T$ {cite:p}`Guo2017`, one number; or fit any rising curve,
# {term}`isotonic regression`.
#
# What is fitted must not be tested on the same {term}`labels <Label>`. Each image was predicted by
# the {term}`fold` network that has not seen it. All images that this network has not seen are split
# again by {term}`acquisition`, and an image is calibrated with the others: neither network nor
# {term}`calibration` knows it or a frame of its series.

# %% tags=["hide-input"]
confidence = records.read_record(tables.RESULTS_FOLDER / "confidence.json")
calibrations = confidence["calibration"]
per_image = np.mean(calibrations["temperature"]["error_per_image"])

# %% mystnb={"figure": {"caption": "Left: reliability diagram out of fold, as predicted and after two calibrations. Right: precision and recall against the calibrated threshold, with 95 % intervals from a bootstrap over acquisitions. Notice on the left that as predicted the probabilities are too extreme: of what is called 90 % less than 80 % is contaminated.", "name": "fig-reliability"}, "image": {"alt": "Left: three curves around a diagonal; the one as predicted is flatter than the diagonal, isotonic calibration follows it. Right: precision rises and recall falls as the threshold grows, and they cross."}} tags=["hide-input"]
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
# As predicted the error is {glue:text}`ece_none:.4f`, below the target of
# {glue:text}`ece_target:.2f` before anything is fitted; a temperature of
# {glue:text}`temperature:.2f` brings it to {glue:text}`ece_temperature:.4f`, isotonic regression
# to {glue:text}`ece_isotonic:.4f`. A temperature above one means that the network is too sure of
# itself. The error is small because most pixels are easy; {numref}`fig-reliability` shows the
# others. It holds for all images together: within a single
# image the mean error is {glue:text}`ece_per_image:.3f`, which no curve for all images can mend.
#
# ## The threshold you need
#
# For counting atoms one wants every contaminated pixel out; for measuring coverage, no false ones.

# %% tags=["remove-input"]
header = ["threshold", "precision", "recall", "jaccard"]
table = [
    [f"{row['threshold']:.2f}", *(f"{row[name]:.3f}" for name in header[1:])]
    for row in confidence["thresholds"][1::3]
]
Markdown(tables.markdown_table(header, table))

# %% [markdown]
# `python -m book.studies thresholds --precision 0.95` prints the threshold for a wish, with its
# {term}`interval`.
#
# ## What to expect of one mask
#
# Without a label, the Jaccard index of a mask is not known, but it can be expected. An image is
# predicted in the eight symmetries of the square; where the answers differ, or their mean $p$ is
# undecided, the mask is doubtful. For the whole image the certain fraction
#
# $$ q = \frac{|\{p \ge 0.9\}|}{|\{p \ge 0.1\}|} $$ (eq-certain-fraction)
#
# is the Jaccard index of what is surely with what is possibly contaminated. A robust line through
# other images turns it into the index to expect, with an interval that is to hold 90 %.

# %% tags=["hide-input"]
images = list(confidence["images"].values())
measured = np.array([image["measured"] for image in images])
expected = np.array([image["expected"] for image in images])
ways = confidence["correlations"]
best = ways["eight views, inner"]

# %% mystnb={"figure": {"caption": "Expected Jaccard index of every published image, out of fold, against the measured one. Bars are intervals made to hold nine in ten measured values. Notice the few masks that are much worse than expected.", "name": "fig-expected"}, "image": {"alt": "Points with vertical bars, most of them in the upper right around a diagonal, a few far to the left of it."}} tags=["hide-input"]
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
# Expected and measured index correlate to {glue:text}`pearson:.2f` (Pearson,
# {glue:text}`pearson_low:.2f` to {glue:text}`pearson_high:.2f`, {term}`bootstrap` over
# acquisitions) and {glue:text}`spearman:.2f` (Spearman; {numref}`fig-expected`). The intervals hold
# {glue:text}`held:.0f` % of the measured values and are {glue:text}`width:.2f` wide on average:
# enough to sort, not to certify.
#
# Only one fold network has not seen a given image, so out of fold there is no ensemble of the
# five. What can be compared: one view instead of eight gives {glue:text}`pearson_one:.2f`; adding
# the network that was trained on simulations only gives {glue:text}`pearson_two:.2f`. Fitting the
# line on the four times as many images of the other folds gives {glue:text}`pearson_other:.2f`; it
# is not quite clean, as their networks were trained on the image in question. On new images all
# five may be asked (`book.tools.fold_networks.ensemble`).
#
# ## Where to look
#
# The same predictions make a map. The {glue:text}`looked_at:.0f` % of pixels whose mean is least
# decided hold {glue:text}`caught:.0f` % of all wrong pixels; the {glue:text}`looked_at:.0f` % where
# the views differ most hold {glue:text}`caught_spread:.0f` %.

# %%
probabilities = fold_networks.out_of_fold(stack)
doubtful = int(np.argmin(quality.certain_fractions(probabilities)))
fold = fold_networks.fold_of(stack.names)[doubtful]
held_out = gs.load_model(f"fold_{fold}", test_time_augmentation=False)
example = stack.images[doubtful : doubtful + 1]
mean, spread = fold_networks.ensemble([held_out], example)

# %% mystnb={"figure": {"caption": "The image of this page with the lowest certain fraction. Left: label (orange) and mask (red). Middle: mean probability of eight views. Right: their standard deviation. Notice that the doubt lies along the outline; in a small patch the outline is most of it.", "name": "fig-doubtful"}, "image": {"alt": "Left: a micrograph with an outlined and tinted patch. Middle: a dark map of probability, bright in the patch. Right: a dark map of its standard deviation, bright in a ring along the outline. Both maps have a colour bar."}} tags=["hide-input"]
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
# {numref}`fig-doubtful` shows the image that one would look at first.
#
# ## What this does not show
#
# - Calibration and expected indices hold for images like the published ones. On an image of
#   another kind a network can be surely wrong ({numref}`chapter %s <ch-other>`).
# - The measured index is that against one person's label.
#
# ## On your own images
#
# `graphseg segment my_folder --output masks` writes the expected Jaccard index with its interval
# for every image into the table, and marks in the column `look_first` those below what nine of ten
# published images reach. `graphseg sort` has the same columns. To measure another network:
#
# ```
# python -m book.studies calibrate --folds runs/general_acquisition --output data/results/confidence.json
# ```
#
# ## What was found
#
# - With one temperature the expected calibration error of its probabilities is
#   {glue:text}`ece_temperature:.4f` out of fold, without {glue:text}`ece_none:.4f`.
# - The Jaccard index that one expects of a mask correlates to {glue:text}`pearson:.2f` with the
#   measured one; nine of ten intervals are meant to hold it and {glue:text}`held:.0f` % do.

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
# network too sure or too unsure?

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
# **Exercise 3.** Compute {eq}`eq-certain-fraction` of every image by hand, and compare it with
# `quality.certain_fractions`. How does it rank against the Jaccard index?

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
#    - (a) of rounding
#    - (b) errors of images cancel
#    - (c) images are small
#
# 4. The interval of an expected index is meant to hold …
#    - (a) the mean
#    - (b) every value
#    - (c) nine of ten values
#
# 5. On an image of another kind the expected index …
#    - (a) is still valid
#    - (b) must not be believed
#    - (c) is zero
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **c** – Calibration is about the numbers, not about the masks.
# 2. **a** – It divides the logit, so that the network becomes less sure; masks at one half stay as
#    they are.
# 3. **b** – Too sure on one and too unsure on another average out; no curve for all images mends
#    it.
# 4. **c** – One of ten lies outside by design; it is good enough to sort by, not to certify.
# 5. **b** – The line was fitted to images like the published ones; flagged images have none.
# :::

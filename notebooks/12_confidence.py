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
# When may one believe a mask? One that is wrong without saying so is worse than none.
#
# **What you will be able to do**
#
# - say whether a probability of 80 % means 80 %, and make it so;
# - choose the threshold for the precision or the recall that you need;
# - get for each mask the Jaccard index to expect, and look first at those that are doubtful.

# %% tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all; among which the most doubtful is shown

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

import graphseg as gs
from book.studies import calibration, figures
from book.tools import tables
from book.tools.notebook import record, show_source
from graphseg.colours import VERMILION
from graphseg.evaluation import quality, records
from graphseg.plotting import micrographs
from graphseg.unet import pretrained

micrographs.use_style()
stack = gs.load_stack(data_source)
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## Does 80 % mean 80 %?
#
# A network trained by cross-entropy can give any probability it likes; it is *calibrated* if of all
# pixels with probability $p$ the fraction $p$ is contaminated. With $B$ bins of pixels $S_b$, the
# expected calibration error is
#
# $$ \mathrm{ECE} = \sum_{b=1}^{B} \frac{|S_b|}{N} \left| \bar p_b - \bar y_b \right| , $$ (eq-ece)
#
# with $\bar p_b$ the mean probability and $\bar y_b$ the contaminated fraction. Here $B = 15$ and
# the pixels of all images count alike. Two remedies: divide the logit by a temperature $T$
# {cite:p}`Guo2017`, one number; or fit any rising curve, isotonic regression.
#
# What is fitted must not be tested on the same labels. Each image was predicted by the fold
# network that has not seen it. All images that this network has not seen are split again by
# acquisition, and an image is calibrated with the others: neither network nor calibration knows
# it or a frame of its series.

# %% tags=["hide-input"]
confidence = records.read_record(tables.RESULTS_FOLDER / "confidence.json")
calibrations = confidence["calibration"]
per_image = np.mean(calibrations["temperature"]["error_per_image"])

# %% mystnb={"figure": {"caption": "Left: reliability diagram out of fold, as predicted and after two calibrations. Right: precision and recall against the calibrated threshold, with 95 % intervals from a bootstrap over acquisitions. Notice on the left that as predicted the probabilities are too extreme: of what is called 90 % less than 80 % is contaminated.", "name": "fig-reliability"}} tags=["hide-input"]
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
# interval.
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

# %% mystnb={"figure": {"caption": "Expected Jaccard index of every published image, out of fold, against the measured one. Bars are intervals made to hold nine in ten measured values. Notice the few masks that are much worse than expected.", "name": "fig-expected"}} tags=["hide-input"]
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
# {glue:text}`pearson_low:.2f` to {glue:text}`pearson_high:.2f`, bootstrap over acquisitions) and
# {glue:text}`spearman:.2f` (Spearman; {numref}`fig-expected`). The intervals hold
# {glue:text}`held:.0f` % of the measured values and are {glue:text}`width:.2f` wide on average:
# enough to sort, not to certify.
#
# Only one fold network has not seen a given image, so out of fold there is no ensemble of the
# five. What can be compared: one view instead of eight gives {glue:text}`pearson_one:.2f`; adding
# the network that was trained on simulations only gives {glue:text}`pearson_two:.2f`. Fitting the
# line on the four times as many images of the other folds gives {glue:text}`pearson_other:.2f`; it
# is not quite clean, as their networks were trained on the image in question. On new images all
# five may be asked (`graphseg.evaluation.quality.ensemble`).
#
# ## Where to look
#
# The same predictions make a map. The {glue:text}`looked_at:.0f` % of pixels whose mean is least
# decided hold {glue:text}`caught:.0f` % of all wrong pixels; the {glue:text}`looked_at:.0f` % where
# the views differ most hold {glue:text}`caught_spread:.0f` %.

# %%
probabilities = pretrained.out_of_fold(stack)
doubtful = int(np.argmin(quality.certain_fractions(probabilities)))
fold = pretrained.fold_of(stack.names)[doubtful]
held_out = gs.load_model(f"fold_{fold}", test_time_augmentation=False)
example = stack.images[doubtful : doubtful + 1]
mean, spread = quality.ensemble([held_out], example)

# %% mystnb={"figure": {"caption": "The image of this page with the lowest certain fraction. Left: label (orange) and mask (red). Middle: mean probability of eight views, from 0 (dark) to 1 (bright). Right: their standard deviation, from 0 to 0.3. Notice that the doubt lies along the outline; in a small patch the outline is most of it.", "name": "fig-doubtful"}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
size = stack.pixel_size_of(doubtful)
micrographs.show_micrograph(axes[0], stack.images[doubtful], size)
micrographs.overlay_mask(axes[0], stack.masks[doubtful])
micrographs.overlay_mask(axes[0], mean[0] >= 0.5, VERMILION, tint=0.3)
for ax, shown_map, top in ((axes[1], mean[0], 1), (axes[2], spread[0], 0.3)):
    ax.imshow(shown_map, cmap="cividis", vmin=0, vmax=top)
    ax.set_axis_off()

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
# python -m book.studies calibrate --output data/results/confidence.json
# ```
#
# ## What was found
#
# - With one temperature the expected calibration error of its probabilities is
#   {glue:text}`ece_temperature:.4f` out of fold, without {glue:text}`ece_none:.4f`.
# - The Jaccard index that one expects of a mask correlates to {glue:text}`pearson:.2f` with the
#   measured one; nine of ten intervals are meant to hold it and {glue:text}`held:.0f` % do.

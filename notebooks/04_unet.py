# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-unet)=
# # A small U-Net
#
# The {term}`Bragg filter` of {numref}`chapter %s <ch-bragg>` knows what a {term}`lattice` is and
# calls the rest {term}`contamination`. A network takes the opposite approach: it is shown labelled
# {term}`micrographs <Micrograph>` and learns what distinguishes contamination. How large must such
# a network be, how is it trained, and what does it reach after a few minutes on an ordinary
# processor?
#
# **What you will be able to do**
#
# - build the network of {cite:t}`Sadre2021`, the larger one of {cite:t}`Ronneberger2015`, and
#   smaller ones, and say what their numbers of parameters depend on;
# - train a network, interrupt the training, and continue it;
# - read a {term}`learning curve` and an {term}`error map`;
# - apply the network to an image of any size.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
fold: int = 0  # the fold of five, grouped by acquisition, that is held out
method: str = "unet"  # "unet", "unet-paper" or "unet-original"
epochs: int = 12  # a few minutes on two cores; the paper trains 300
changes: dict = {}  # other parameters of the method, by name
precision: str = "auto"  # "auto", "float32" or "bfloat16"
seed: int = 0  # of initial weights, batches and augmentation

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import time

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import SVG, Markdown
from scipy.ndimage import distance_transform_edt
from sklearn.base import clone

from book.tools import architecture, explore, paper_figures
from book.tools.notebook import record, show_source, timing
from book.tools.tables import (
    METHOD_COLOURS,
    RESULTS_FOLDER,
    SCORES,
    markdown_table,
    read_result,
)
from graphseg import metrics
from graphseg.evaluation import crossval, methods
from graphseg.evaluation.records import read_record
from graphseg.plotting import micrographs
from graphseg.unet.inference import find_scale
from graphseg.unet.network import UNet, parameter_count

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
# A {term}`U-Net` {cite:p}`Ronneberger2015` computes, for each pixel $r$, a probability of
# contamination from a neighbourhood that grows with depth. Its {term}`encoder` alternates two 3×3
# {term}`convolutions <Convolution>` with a step that halves the image and doubles the number of
# {term}`features <Feature>`. Its {term}`decoder` doubles the size again step by step, and at each
# size it also receives the encoder's features of that size
# ({term}`skip connections <Skip connection>`). The last layer gives two numbers $z_0, z_1$ for each
# pixel, and
#
# $$
# p(r) = \frac{e^{z_1(r)}}{e^{z_0(r)} + e^{z_1(r)}}
# $$ (eq-softmax)
#
# is the probability of contamination. Training minimises the mean {term}`cross-entropy`
#
# $$
# L = -\frac{1}{N} \sum_r \big[\, m(r) \ln p(r) + (1 - m(r)) \ln (1 - p(r)) \,\big]
# $$ (eq-cross-entropy)
#
# between the probability and the {term}`label` $m(r)$, which is 1 on contamination.
#
# Every level but the deepest has two blocks of convolutions, one in the encoder and one in the
# decoder. A network of $l$ levels with $f$ features in its first block therefore has $2l - 1$
# blocks, and its number of parameters grows as $f^2 4^l$. This book uses four configurations. The
# *small U-Net* is trained on this page; after its recorded training, the comparison of
# {numref}`chapter %s <ch-comparison>` calls it *U-Net, 25 {term}`epochs <Epoch>`*.
# *{term}`Our network`* is the bundled one and the subject of {numref}`chapter %s <ch-simulated>`.
# Its {term}`stride` of 2 turns each block of 2×2 pixels into the channels of one pixel, so that it
# needs four times fewer multiplications for the same number of features. {numref}`fig-architecture`
# shows the network of the paper.

# %%
configurations = {
    "paper's U-Net": gs.UNetSegmenter.paper(),
    "original-size U-Net": gs.UNetSegmenter.original(),
    "small U-Net": gs.UNetSegmenter(),
    "our network": gs.load_model("default"),
}

# %% tags=["remove-input"]
shape = ("levels", "features", "normalisation", "stride")
networks = {
    name: UNet(**{key: getattr(s, key) for key in shape})
    for name, s in configurations.items()
}

# %% mystnb={"figure": {"caption": "The paper's U-Net, drawn from the network object after one run on an empty image of 256 \u00d7 256 pixels. A box is a stack of feature maps, with their number above it and their size below it. Light grey marks maps that are copied from the encoder. Notice that pooling halves the side and the next convolution doubles the number of maps, and that seven blocks of two convolutions form the U.", "name": "fig-architecture"}, "image": {"alt": "Boxes in the shape of a U: they get lower and wider down the left side and higher and narrower up the right side, joined by arrows for convolution, pooling, up-convolution and copying."}} tags=["hide-input"]
SVG(architecture.draw(networks["paper's U-Net"]))

# %% tags=["remove-input"]
rows = [
    [
        name,
        *(str(getattr(s, key)) for key in shape),
        f"{parameter_count(networks[name]):,}",
    ]
    for name, s in configurations.items()
]
Markdown(markdown_table(["network", *shape, "parameters"], rows))

# %% tags=["remove-input"]
paper_size, small_size = (
    parameter_count(networks[name]) for name in ("paper's U-Net", "small U-Net")
)
record("parameters_paper", paper_size)
record("parameters_small", small_size)
record("parameter_ratio", paper_size / small_size)

# %% [markdown]
# The paper's U-Net has {glue:text}`parameters_paper:,d` parameters,
# {glue:text}`parameter_ratio:.1f` times as many as the small one. Padded convolutions keep the size
# of the image, so input and output match pixel for pixel. Height and width must be divisible by
# $2^{l-1}$ (times the stride); where they are not, the {term}`estimator` pads the image by
# mirroring.
#
# The training recipes differ as well:

# %% tags=["remove-input"]
recorded = read_result("unet_acquisition")["parameters"]["epochs"]
recipes = {
    "between convolution and rectifier": ("nothing", "batch normalisation"),
    "augmentation": (
        "none",
        "eight symmetries of the square, contrast ±10 %",
    ),
}
both = [configurations[name] for name in ("paper's U-Net", "small U-Net")]
names = {"adam": "Adam", "adamw": "AdamW"}
rates = {"constant": "constant", "one-cycle": "one cycle up to"}
recipes["optimiser"] = [names[s.optimiser] for s in both]
recipes["learning rate"] = [
    f"{rates[s.schedule]} {s.learning_rate:g}" for s in both
]
recipes["images a step"] = [str(s.batch_size) for s in both]
recipes["epochs"] = (
    str(both[0].epochs),
    f"{epochs} here, {recorded} in the recorded results",
)
rows = [[label, *cells] for label, cells in recipes.items()]
Markdown(markdown_table(["", "paper's U-Net", "small U-Net"], rows))

# %% tags=["remove-input"]
paper = read_record(RESULTS_FOLDER.parent / "paper.json")
record("repository_commit", paper["repository"]["commit"][:7])

# %% [markdown]
# The paper states its optimiser, {term}`learning rate` and number of epochs. That it trains with a
# {term}`batch` size of one and without {term}`augmentation` can be read only from the authors'
# repository (`Microscopy_Unet.py`, commit {glue:text}`repository_commit:s`).
#
# The direction of the lattice in a micrograph of {term}`graphene` is arbitrary, so rotated and
# mirrored copies of an image are equally valid examples, at no cost. {term}`Batch normalisation`
# usually allows a higher learning rate. {numref}`Chapter %s <ch-comparison>` shows what both
# recipes reach, and after how many epochs.
#
# ## Training on this page
#
# One {term}`fold` of five is held out. Folds are grouped by {term}`acquisition`: all frames of one
# {term}`focal series`, and all images of one place, are in the same fold
# ({numref}`chapter %s <ch-cross-validation>` shows why). The images in `held_out` are scored after
# every epoch for the curve below, but nothing is chosen by these scores.

# %%
train, test = crossval.splits(stack, "acquisition", folds=5)[fold]
segmenter = methods.make(
    method, epochs=epochs, precision=precision, seed=seed, **changes
)

# %% tags=["remove-input"]
started = time.perf_counter()

# %%
held_out = (stack.images[test], stack.masks[test])
segmenter.fit(stack.images[train], stack.masks[train], held_out=held_out);

# %% tags=["remove-input"]
minutes = (time.perf_counter() - started) / 60

# %% mystnb={"figure": {"caption": "Learning curve of the training on this page. Left: cross-entropy of the training images. Right: Jaccard index of the held-out images. Notice that the cross-entropy falls steadily, while the index on held-out images is uneven as long as the learning rate is high; a value from the middle says little.", "name": "fig-learning-curve"}, "image": {"alt": "Two line plots against the epoch: the cross-entropy falls, the Jaccard index rises unevenly."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
epoch = np.arange(1, epochs + 1)
left.plot(epoch, [row["train_loss"] for row in segmenter.history_])
left.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
right.plot(
    epoch,
    [row["jaccard"] for row in segmenter.history_],
    color=METHOD_COLOURS["unet"],
)
right.set(xlabel="epoch", ylabel="Jaccard, held out", ylim=(0, 1));

# %% [markdown]
# ## Scores on held-out images
#
# {numref}`fig-learning-curve` shows the course of the training. How good is the network at its end?
# These are the scores on the held-out images:

# %%
probability = segmenter.predict_proba(stack.images[test])
predicted = probability >= segmenter.threshold
table = metrics.counts(stack.masks[test], predicted)
pooled, per_image = metrics.scores(table), metrics.scores(table, "per_image")

# %% tags=["remove-input"]
scores = [
    [label, *(f"{v:.3f}" for v in s.values())]
    for label, s in (("pooled", pooled), ("per image", per_image))
]
Markdown(markdown_table(["average", *SCORES.values()], scores))

# %% tags=["remove-input"]
# Training in bfloat16 and in float32 differ, and so do processors: these numbers may move.
record("test_images", len(test))
record("train_images", len(train))
timing("minutes", minutes)
record("final_loss", segmenter.history_[-1]["train_loss"])
for score in metrics.NAMES:
    record(f"{score}_pooled", pooled[score])
    record(f"{score}_per_image", per_image[score])
record("spread", np.std(metrics.score_table(table)["jaccard"]))

# %% [markdown]
# After {glue:text}`minutes:.1f` minutes of training on {glue:text}`train_images:d` images, the
# pooled {term}`Jaccard index` on {glue:text}`test_images:d` held-out images is
# {glue:text}`jaccard_pooled:.3f`. As a {term}`mean over images` it is
# {glue:text}`jaccard_per_image:.3f`, and its standard deviation from image to image is
# {glue:text}`spread:.2f`, so a single image may do much better or worse. This is one fold with one
# {term}`seed`: {numref}`chapter %s <ch-cross-validation>` gives the spread over all folds, and
# {numref}`chapter %s <ch-comparison>` compares the network with the other methods.
#
# Where does the network go wrong? Three cases are chosen by a rule: of the held-out images with a
# label that is not empty, those with the lowest, the median and the highest Jaccard index.

# %% tags=["hide-input"]
jaccard = metrics.score_table(table)["jaccard"]
labelled = np.flatnonzero(stack.masks[test].any(axis=(1, 2)))
order = labelled[np.argsort(jaccard[labelled], kind="stable")]
chosen = order[[0, len(order) // 2, -1]]

# %% mystnb={"figure": {"caption": "The worst, the median and the best held-out image, from top to bottom. Left: the micrograph with the outline of its label. Middle: the probability of contamination, from 0 (black) to 1 (white). Right: the error map, in which white is contamination that was found, red is called contamination but not labelled, and blue is missed. Scale bars are derived from the lattice, since the published files state no pixel size. Notice how many of the errors follow the outline.", "name": "fig-unet-cases"}, "image": {"alt": "Three rows, each with a micrograph and its orange outline, a grey map that is bright inside of the outline, and an error map with red and blue along the edges of white areas."}} tags=["hide-input"]
figure, axes = plt.subplots(3, 3, figsize=(8, 8.4))
for row, index in zip(axes, chosen, strict=True):
    image, label = stack.images[test[index]], stack.masks[test[index]]
    size = find_scale(image, stack.pixel_size_of(test[index])).pixel_size
    found = {"U-Net": predicted[index]}
    paper_figures.show_case(row[::2], image, label, found, size)
    micrographs.show_micrograph(
        row[1], probability[index], size, "probability", (0, 1)
    )
micrographs.add_error_legend(figure)

# %% [markdown]
# In {numref}`fig-unet-cases`, much of the disagreement lies along the outline, where the exact
# position of a label is least certain. How much of the error is due to this? We count the wrong
# pixels within 3 px of the edge of a label.

# %%
labels = stack.masks[test[labelled]]
to_edge = np.array(
    [distance_transform_edt(m) + distance_transform_edt(~m) for m in labels]
)  # px
wrong = predicted[labelled] != labels
near = float((wrong & (to_edge <= 3)).sum() / max(1, wrong.sum()))
chance = float((to_edge <= 3).mean())  # the fraction of all pixels this near

# %% tags=["remove-input"]
record(
    "near_edge_percent",
    100 * near,
    reason="it follows a short training, which rounding moves",
)
record("edge_percent", 100 * chance)

# %% [markdown]
# Of the wrong pixels, {glue:text}`near_edge_percent:.0f` % lie this near to an edge, compared with
# {glue:text}`edge_percent:.0f` % of all pixels. Errors are thus concentrated at the outlines; the
# rest lie in areas that were missed or wrongly called contamination.
#
# ## How fast is it?
#
# To save time, the network computes in bfloat16 with `precision="auto"` if the processor supports
# it. The {term}`masks <Mask>` should be the same as in float32.

# %% tags=["hide-input"]
exact = clone(segmenter).set_params(precision="float32")
exact.module_ = segmenter.module_
started = time.perf_counter()
reference = exact.predict(stack.images[test])
float32 = (time.perf_counter() - started) / len(test)
agreement = float((reference == predicted).mean())

# %% tags=["remove-input"]
started = time.perf_counter()
segmenter.predict(stack.images[test])
chosen_precision = (time.perf_counter() - started) / len(test)
timing("milliseconds_float32", 1e3 * float32)
timing("milliseconds", 1e3 * chosen_precision)
record("agreement_percent", 100 * agreement)

# %% [markdown]
# One image of 256 × 256 pixels takes {glue:text}`milliseconds_float32:.0f` ms in float32 and
# {glue:text}`milliseconds:.0f` ms in the {term}`precision` chosen here; the two masks agree on
# {glue:text}`agreement_percent:.2f` % of the pixels. These times were measured while the page was
# built and are only rough values.
#
# The command `make bench` runs a benchmark. It measures everything in one run, with trained
# networks from the repository, on the images of the simulated sample. The networks are the paper's
# U-Net and our network, not the small U-Net of this page. *Eager* is plain PyTorch in float32;
# *fast* is what `predict` does, with the channels-last memory layout and bfloat16 where the
# processor supports it. *Same pixels* is the fraction of pixels on which the masks of both ways
# agree. The last column is the precision of the fast way on the processor of the benchmark.

# %% tags=["remove-input"]
bench = read_result("benchmark")
costs = {"paper's U-Net": bench["paper"], "our network": bench["ours"]}
rows = [
    [
        name,
        *(
            f"{cost[key]:.1f}"
            for key in ("eager_float32", "fast", "fast_in_stack", "step")
        ),
        f"{cost['peak_megabytes']:.0f}",
        f"{cost['same_pixels']:.2f}",
        cost["precision"],
    ]
    for name, cost in costs.items()
]
heads = ["network", "eager (ms)", "fast (ms)", "fast, in a stack (ms)"]
heads += ["training step (ms)", "added memory (MB)", "same pixels (%)", "precision"]
Markdown(markdown_table(heads, rows))

# %% tags=["remove-input"]
ratios, bragg = bench["ratios"], bench["bragg"]
record("bench_bragg", bragg["milliseconds"])
record("bench_bragg_megabytes", bragg["peak_megabytes"])
record("bench_paper", ratios["paper's network, eager / fast"])
record("bench_ours", ratios["paper's network eager / ours fast"])
record("bench_stack", ratios["ours in a stack / alone"])
record("bench_ceiling", ratios["ours fast / ceiling"])
record("bench_threads", bench["threads"])
record("bench_step", bench["paper"]["step"])
steps = paper["training"]["epochs"] * len(train) / 4  # of four images
record("paper_epochs", paper["training"]["epochs"])
record("paper_minutes", steps * bench["paper"]["step"] / 6e4)
cost = paper["bragg_cost"]
record("paper_bragg_time", cost["milliseconds_per_image"])
record("paper_bragg_memory", cost["megabytes"])
record("paper_bragg_processor", cost["processor"])

# %% [markdown]
# With {glue:text}`bench_threads:d` threads, the fast way makes the paper's U-Net
# {glue:text}`bench_paper:.1f` times faster than in eager float32. Our network in the fast way is
# {glue:text}`bench_ours:.1f` times faster than the paper's U-Net in eager float32. In a
# {term}`stack`, each image takes {glue:text}`bench_stack:.2f` times as long as an image alone. How
# much faster could our network become? It takes {glue:text}`bench_ceiling:.1f` times as long as its
# multiplications alone would take at the rate of a matrix product on the same machine.
#
# The Bragg filter takes {glue:text}`bench_bragg:.1f` ms for each image and
# {glue:text}`bench_bragg_megabytes:.1f` MB; the paper reports {glue:text}`paper_bragg_time:.1f` ms
# and {glue:text}`paper_bragg_memory:.0f` MB for its own, on an {glue:text}`paper_bragg_processor:s`
# {cite:p}`Sadre2021`. The next table has all printed costs beside ours. They were measured on
# different hardware, so only the order of magnitude can be compared:

# %% tags=["remove-input"]
printed = paper["unet_cost"]
here = f"{bench['threads']} threads of a processor"
rows = [
    ["Bragg filter, as printed", f"{cost['milliseconds_per_image']:.1f} ms",
     f"{cost['megabytes']} MB", cost["processor"]],
    ["Bragg filter, here", f"{bragg['milliseconds']:.1f} ms",
     f"{bragg['peak_megabytes']:.0f} MB", here],
    ["U-Net, as printed", f"{printed['milliseconds_per_image']:.1f} ms",
     f"{printed['mebibytes_of_graphics_memory']} MiB of GPU memory", printed["graphics"]],
    ["paper's U-Net, here", f"{bench['paper']['fast']:.1f} ms",
     f"{bench['paper']['peak_megabytes']:.0f} MB", here],
    ["our network, here", f"{bench['ours']['fast']:.1f} ms",
     f"{bench['ours']['peak_megabytes']:.0f} MB", here],
    ["training, as printed", f"{paper['training']['minutes']} min", "–",
     paper["training"]["graphics"]],
]
Markdown(markdown_table(["one image of 256 × 256 pixels", "time", "memory", "on"], rows))

# %% [markdown]
# ## Choosing the threshold
#
# A pixel is called contamination where $p \ge 0.5$. Move the slider to trade missed contamination
# against clean lattice that is masked.

# %%
explore.threshold_explorer(
    stack.images[test[chosen[1]]],
    probability[chosen[1]],
    stack.masks[test[chosen[1]]],
)

# %% [markdown]
# ## What this does not show
#
# - Results from more than one fold and one seed. {numref}`Chapter %s <ch-cross-validation>` has the
#   spread over folds.
# - A fair choice of the number of epochs. The {term}`learning curve` is drawn on the held-out fold,
#   and stopping at its best epoch would be selection on the {term}`test set`. The book always takes
#   the last epoch.
# - How often the network is right where it says 80 %. Its probabilities are raw outputs;
#   {numref}`chapter %s <ch-confidence>` calibrates them.
# - Speed on other processors. The benchmark ran on one machine, in the precision that the table
#   names; a processor without bfloat16 gains less from the fast way.
# - The paper's own recipe, which is not run here. A training step with four images takes
#   {glue:text}`bench_step:.0f` ms in the benchmark, so {glue:text}`paper_epochs:d` epochs of this
#   fold in such steps would take about {glue:text}`paper_minutes:.0f` minutes on that processor
#   with nothing else running; the batches of one image that the paper uses were not timed.
#   `make book PROFILE=paper` runs this recipe.
#
# ## On your own images
#
# Trained networks are bundled with the package, so masks need no training:
#
# ```
# graphseg segment *.dm4 --output masks
# ```
#
# To train on your own labels, put `name.png` and `name_LABEL.png` (white on contamination) into a
# folder, and run
#
# ```
# graphseg train my_folder --output my_unet.safetensors
# graphseg segment *.dm4 --model my_unet.safetensors --output masks
# ```
#
# A training that was interrupted continues when the command is repeated. From Python, images may
# have any height and width:

# %%
odd = stack.images[test[:1], :201, :143]
segmenter.predict(odd).shape

# %% [markdown]
# ## What was found
#
# - The paper's U-Net has {glue:text}`parameters_paper:,d` parameters, the small U-Net
#   {glue:text}`parameters_small:,d`.
# - With batch normalisation, augmentation and a one-cycle learning rate, {glue:text}`minutes:.1f`
#   minutes of training give a pooled Jaccard index of {glue:text}`jaccard_pooled:.3f` on held-out
#   acquisitions of one fold.
# - {glue:text}`near_edge_percent:.0f` % of the wrong pixels, but only {glue:text}`edge_percent:.0f`
#   % of all pixels, lie within 3 px of the edge of a label.
#
# :::{admonition} Provenance
# :class: dropdown
#
# The small U-Net was trained and scored while this page was built, on one fold and with one seed.
# The scores of the held-out images were computed after every epoch, but the network after the last
# epoch was used whatever they were. Two kinds of times appear on this page: those of single images
# in the text were measured while the page was built, with whatever else ran on the machine; those
# of the tables are recorded results of `make bench`. The printed costs are those of the paper, and
# the batch size of one was read from the code in its authors' repository.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** Count the parameters of the paper's U-Net with pencil and paper. It has four
# levels, 32 features in the first block, one input channel and two classes, and every convolution
# has a bias.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
widths = [32, 64, 128, 256]
layers = []  # side of the kernel, features before, features after
for before, after in zip([1, *widths[:-1]], widths, strict=True):
    layers += [(3, before, after), (3, after, after)]
# Going up: joined with those of the encoder, the features are twice as many.
for width in widths[:-1]:
    layers += [(2, 2 * width, width), (3, 2 * width, width), (3, width, width)]
layers += [(1, widths[0], 2)]
total = sum(side**2 * before * after + after for side, before, after in layers)
assert total == parameter_count(networks["paper's U-Net"])
print(f"{len(layers)} layers, {total:,} parameters")

# %% [markdown]
# **Exercise 2.** How large is the neighbourhood that decides about one pixel? Add it up layer by
# layer for four levels. Then measure it: which pixels of the input have a gradient that is not
# zero?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
import torch

# Two 3×3 convolutions add four pixels of their level, pooling adds one; a pixel of
# level k is 2**k pixels of the image.
bound = 1 + sum(4 * 2**k for k in range(4)) + sum(2**k for k in range(3))
bound += sum(4 * 2**k for k in range(3))
torch.manual_seed(0)
seen = torch.zeros(1, 1, 256, 256, requires_grad=True)
small = UNet(levels=4, features=4)
# Weights of one sign let no path cancel, and no rectifier block one.
for weight in small.parameters():
    weight.data.abs_()
small(seen)[0, 1, 128, 128].backward()
reached = np.flatnonzero(seen.grad[0, 0].abs().sum(0).numpy())
print(f"at most {bound} px by counting, {np.ptp(reached) + 1} px measured")
# Pooling hands the gradient to one of its pixels, so what is measured is smaller.
assert np.ptp(reached) + 1 <= bound

# %% [markdown]
# **Exercise 3.** To count atoms, one wants nearly all contamination excluded. Which
# {term}`threshold` gives a {term}`recall` of 0.95 on the held-out images, and what does it cost in
# precision?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
trial = np.linspace(0.01, 0.99, 99)
tables = [metrics.counts(stack.masks[test], probability >= t) for t in trial]
curves = [metrics.scores(table) for table in tables]
recall = np.array([c["recall"] for c in curves])
place = max(np.flatnonzero(recall >= 0.95), default=0)  # the highest that will do
print(f"threshold {trial[place]:.2f}: recall {recall[place]:.3f}")
print(f"precision {curves[place]['precision']:.3f}, at 0.5 {pooled['precision']:.3f}")

# %% [markdown]
# ## Check yourself
#
# 1. What do skip connections carry?
#    - (a) features of the encoder to the decoder level of the same size
#    - (b) gradients only
#    - (c) labels
#
# 2. Doubling the features of the first block multiplies the number of parameters by about …
#    - (a) four
#    - (b) two
#    - (c) sixteen
#
# 3. Why may a micrograph be turned and mirrored in training?
#    - (a) Graphene and contamination look the same in every direction.
#    - (b) The microscope turns the image anyway.
#    - (c) It makes files smaller.
#
# 4. A learning curve is drawn on the held-out fold. May one stop at its best epoch?
#    - (a) no, that selects on the test set
#    - (b) only with a small learning rate
#    - (c) yes
#
# 5. The cross-entropy of a pixel is large when …
#    - (a) the network is unsure
#    - (b) the pixel lies at an edge
#    - (c) the network is sure and wrong
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **a** – They bring back the fine position that was lost by {term}`pooling`.
# 2. **a** – A convolution has as many {term}`weights` as the product of its input and output
#    features.
# 3. **a** – The eight symmetries of the square give new examples at no cost.
# 4. **a** – The score would then be the best of many tries on the very images that judge it.
# 5. **c** – It is minus the logarithm of the probability that the network gave to the right class.
# :::

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-preprocessing)=
# # Flat field, scale and size
#
# What in a {term}`micrograph` is due to the microscope and not to the sample? The illumination is
# uneven, and the {term}`dose` and the size of a pixel differ from image to image. How can these
# differences be removed, how accurate is this when {term}`contamination` covers part of the field,
# and what does it change in images that have already been flattened?
#
# **What you will be able to do**
#
# - fit a smooth background to a micrograph and divide by it, even where contamination covers the
#   sheet;
# - say when a fit that excludes the contaminated patches helps, and when it does harm;
# - standardise images, and see what this does to the contrast of their {term}`lattice`;
# - reduce an image without aliasing, and keep track of its {term}`pixel size`.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
raw_size: int = 512  # pixels a side of the simulated raw micrograph
gradient: float = (
    0.4  # largest deviation of its illumination from the mean, relative
)
repeats: int = 10  # simulated micrographs for each contaminated fraction
seed: int = 5  # of the simulated micrographs

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr

from book.tools import explore
from book.tools.notebook import record, show_source
from graphseg import simulation
from graphseg.colours import MARK_COLOUR
from graphseg.plotting import micrographs
from graphseg.preprocessing import (
    fit_bezier_surface,
    flat_field,
    resize_area,
    standardise,
)
from graphseg.simulation.configuration import (
    ContaminantRanges,
    DetectorRanges,
    OpticsRanges,
)
from graphseg.unet.inference import KNOWN

micrographs.use_style()

# %%
import graphseg as gs

stack = gs.load_stack(data_source)

# %% tags=["remove-input"]
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## The background of a raw micrograph
#
# Let $I(u, v)$ be the recorded intensity, with $u$ and $v$ running from 0 to 1 along the rows and
# the columns. {cite:t}`Sadre2021` describe the illumination by a {term}`Bézier surface` of degree
# $(m, n)$,
#
# $$ I_0(u, v) = \sum_{i=0}^{m} \sum_{j=0}^{n} B_i^m(u)\, B_j^n(v)\, k_{ij},
# \qquad B_i^m(u) = \binom{m}{i} u^i (1-u)^{m-i}, $$ (eq-bezier)
#
# and determine the numbers $k_{ij}$ by least squares. With $m = n = 2$ there are nine of them:
# enough for a tilt and a bow, too few to follow the lattice. The image is then divided by its
# background,
#
# $$ I_N(u, v) = \frac{I(u, v)}{I_0(u, v)}. $$ (eq-normalise)
#
# How accurate is this? To answer, one needs the true background. We therefore simulate a raw
# micrograph with fine pixels, a strong gradient and contamination on a fifth of the field. Its
# patches absorb electrons: the imaginary part of their potential is a tenth of the real part, more
# than in the published images, which makes the task deliberately hard.

# %% tags=["hide-input"]
uneven = DetectorRanges(
    dose=(2e4, 2e4),
    gradient=gradient,
    bow=gradient / 4,
    blotches=(0, 0),
    seam_fraction=0,
)
fifth = ContaminantRanges(clean_fraction=0, coverage=(0.2, 1))
dark = OpticsRanges(absorption=(0.1, 0.1))
recorded = replace(
    simulation.GRAPHENE, detector=uneven, contaminant=fifth, optics=dark
)
fine = replace(recorded, size=raw_size, pixel_size=(0.2, 0.2), margin=32)

# %%
raw = gs.simulate(seed, 0, fine)
plain = flat_field(raw.counts, degree=(2, 2), iterations=0)
robust = flat_field(raw.counts, degree=(2, 2), window=32)

# %% [markdown]
# {eq}`eq-bezier` and {eq}`eq-normalise` are equations 1 and 2 of the paper. Written out in NumPy,
# they are a linear least-squares problem and a division, and they agree with `flat_field`:

# %%
u, v = (np.linspace(0, 1, n)[:, None] for n in raw.counts.shape)
i, binomial = np.arange(3), np.array([1, 2, 1])  # of degree 2
B_u, B_v = (binomial * x**i * (1 - x) ** (2 - i) for x in (u, v))
basis = np.einsum("ui,vj->uvij", B_u, B_v).reshape(-1, 9)
k, *_ = np.linalg.lstsq(basis, raw.counts.ravel().astype(float))
I_0 = (basis @ k).reshape(raw.counts.shape)  # eq. 1
assert np.allclose(I_0, plain.background)

I_N = raw.counts / I_0  # eq. 2
assert np.allclose(I_N, plain.corrected, rtol=1e-5)

# %% [markdown]
# The second fit is *robust*. Contaminated areas are a little darker than clean ones, and a surface
# fitted to all pixels bends towards them. The robust fit averages the residual $(I - I_0)/I_0$ and
# its square over a square {term}`window`. It excludes an area if its local mean lies more than
# three standard deviations from the median of all local means, or if its local standard deviation
# lies as far above the median of all of them. The surface is then fitted again, and so on until
# hardly a pixel changes. The window must be a few lattice periods wide, so that the lattice
# averages out: 16 pixels by default, 32 for the fine pixels here. {numref}`fig-preprocessing-raw`
# shows the result.

# %% mystnb={"figure": {"caption": "A simulated raw micrograph. Left: as recorded, with the outlines of the truly contaminated area (orange) and of the area that the robust fit excluded (light blue). Middle: the fitted background. Right: the corrected image. Notice that the gradient is gone while the patches keep their contrast.", "name": "fig-preprocessing-raw"}, "image": {"alt": "Three panels: a micrograph of a lattice that darkens from one side to the other, with dark patches in an orange outline; a smooth grey gradient; the micrograph evenly lit, its patches still dark."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(9, 3.3))
micrographs.show_micrograph(axes[0], raw.counts, raw.pixel_size, "recorded")
micrographs.overlay_mask(axes[0], robust.excluded, MARK_COLOUR, linewidth=0.8)
micrographs.overlay_mask(axes[0], raw.mask)
micrographs.show_micrograph(
    axes[1], robust.background, raw.pixel_size, "background, robust"
)
micrographs.show_micrograph(
    axes[2], robust.corrected, raw.pixel_size, "corrected"
);

# %% mystnb={"figure": {"caption": "Error of the fitted background of the same micrograph, in per cent of the true one, without its mean. Red is too bright, blue too dark; the orange line is the outline of the truly contaminated area. Notice that the plain fit bends towards the dark patches and the robust fit hardly does.", "name": "fig-preprocessing-error"}, "image": {"alt": "Two maps with one colour bar from \u22122 to 2 per cent. That of the plain fit turns from red to blue, blue over the outlined area; that of the robust fit is nearly white."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(7, 3.3))
for ax, (name, fit) in zip(
    axes, {"plain": plain, "robust": robust}.items(), strict=True
):
    error = fit.background / raw.illumination
    shown = ax.imshow(
        100 * (error / error.mean() - 1), cmap="RdBu_r", vmin=-2, vmax=2
    )
    micrographs.overlay_mask(ax, raw.mask)
    micrographs.add_scale_bar(ax, raw.mask.shape, raw.pixel_size)
    ax.set(title=name, xticks=[], yticks=[])
figure.colorbar(shown, ax=axes, label="error (%)");

# %% [markdown]
# {numref}`fig-preprocessing-error` shows where the plain fit goes wrong. Is this so for other
# micrographs too? We repeat the test with several micrographs for each of five contaminated
# fractions. Two further fits are given the true {term}`mask`, one of them widened by 4 pixels. The
# error is the standard deviation of $\ln(I_0/I_0^\text{true})$ over the field, in per cent. A
# constant factor does not count as an error, because {eq}`eq-standardise` removes it.

# %% tags=["hide-input"]
fractions = [0.0, 0.1, 0.2, 0.3, 0.4]
errors = {"plain": [], "robust": [], "mask given": [], "mask + 4 px": []}
for fraction in fractions:
    covered = ContaminantRanges(
        clean_fraction=float(fraction == 0), coverage=(fraction, 1)
    )
    samples = [
        gs.simulate(seed, i, replace(recorded, contaminant=covered))
        for i in range(1, repeats + 1)
    ]
    masks = [s.mask for s in samples]
    told = {
        "mask given": masks,
        "mask + 4 px": [binary_dilation(m, iterations=4) for m in masks],
    }
    for name, found in errors.items():
        choices = {"iterations": 0} if name == "plain" else {}
        fits = [
            flat_field(s.counts, exclude=mask, **choices)
            for s, mask in zip(
                samples, told.get(name, [None] * repeats), strict=True
            )
        ]
        logs = [
            np.log(f.background / s.illumination)
            for f, s in zip(fits, samples, strict=True)
        ]
        found.append(100 * np.std(logs, axis=(1, 2)))

# %% mystnb={"figure": {"caption": "Error of the background against the contaminated fraction: median over simulated micrographs, with bars from the 16th to the 84th percentile. Points of one fraction are drawn side by side. Notice how far the bars of the robust fit reach at large fractions: it begins to fail on some micrographs while it still works on others.", "name": "fig-preprocessing-coverage"}, "image": {"alt": "Four lines of the error against contaminated fractions from 0 to 40 per cent. The plain fit rises to the largest error; the robust fit stays low at first and has long bars later; the two fits that are given the mask stay at the bottom."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 3.2))
for offset, (name, found) in zip(
    (-0.6, -0.2, 0.2, 0.6), errors.items(), strict=True
):
    low, middle, high = np.percentile(found, [16, 50, 84], axis=1)
    x = 100 * np.array(fractions) + offset
    ax.errorbar(
        x,
        middle,
        [middle - low, high - middle],
        marker="o",
        capsize=3,
        label=name,
    )
ax.set(
    xlabel="contaminated fraction (%)",
    ylabel="error of the background (%)",
    ylim=(0, None),
)
ax.legend();

# %% tags=["remove-input"]
noise = "rounding moves the draws of simulated noise: each processor has its own"
for name in ("plain", "robust"):
    for fraction, place in (("clean", 0), ("fifth", 2), ("most", -1)):
        middle = np.median(errors[name][place])
        record(f"preprocessing_{fraction}_{name}", middle, reason=noise)
    worst = np.max(errors[name][-1])
    record(f"preprocessing_most_{name}_worst", worst, reason=noise)
record("preprocessing_fifth_given", np.median(errors["mask given"][2]))
record("preprocessing_fifth_wider", np.median(errors["mask + 4 px"][2]))
better = np.mean(np.array(errors["robust"][1:]) < np.array(errors["plain"][1:]))
record("preprocessing_better", 100 * better)

# %% [markdown]
# On clean sheets, the median error is {glue:text}`preprocessing_clean_plain:.2f` % for the plain
# fit and {glue:text}`preprocessing_clean_robust:.2f` % for the robust fit, which is small beside
# the gradient of the illumination. With a fifth of the field contaminated, the plain fit has a
# median error of {glue:text}`preprocessing_fifth_plain:.2f` %, the robust fit
# {glue:text}`preprocessing_fifth_robust:.2f` %, and a fit that is given the mask
# {glue:text}`preprocessing_fifth_given:.2f` % ({numref}`fig-preprocessing-coverage`). Even the true
# mask is not the best one: a patch darkens the sheet a little beyond its edge, and with a margin of
# 4 pixels the error is {glue:text}`preprocessing_fifth_wider:.2f` %. The robust fit is better than
# the plain one in {glue:text}`preprocessing_better:.0f` % of the contaminated micrographs. It is
# not safe everywhere, however. With four tenths of the field contaminated, so that little more than
# half of it is clean, its median error is {glue:text}`preprocessing_most_robust:.2f` % (plain:
# {glue:text}`preprocessing_most_plain:.2f` %), and the error of its worst fit
# {glue:text}`preprocessing_most_robust_worst:.2f` % (plain:
# {glue:text}`preprocessing_most_plain_worst:.2f` %).
#
# Try other degrees. What happens in the corners as the degree grows?

# %%
example = gs.simulate(seed, 1, recorded)
explore.flat_field_explorer(example.counts, example.pixel_size)

# %% [markdown]
# ## The labelled stack
#
# The published images were flattened before they were stored, and each was stretched to the full
# range of 8 bits. How much background is left for {eq}`eq-bezier` and {eq}`eq-normalise` to remove
# in the {term}`stack` of this page? For each image, we take the largest deviation of the fitted
# background from its mean.

# %%
fits = [flat_field(image) for image in stack.images]
surfaces = {
    "plain": np.array([fit_bezier_surface(image) for image in stack.images]),
    "robust": np.array([fit.background for fit in fits]),
}

# %% tags=["hide-input"]
relative = {
    name: s / s.mean(axis=(1, 2), keepdims=True) - 1
    for name, s in surfaces.items()
}
deviation = {
    name: 100 * np.abs(r).max(axis=(1, 2)) for name, r in relative.items()
}

# %% tags=["remove-input"]
for name, found in deviation.items():
    record(f"preprocessing_stack_{name}_median", np.median(found))
    record(f"preprocessing_stack_{name}_largest", found.max())
off = np.abs(relative["robust"])
excluded = np.array([fit.excluded for fit in fits])
inside = (off * excluded).max(axis=(1, 2)) > (off * ~excluded).max(axis=(1, 2))
record("preprocessing_stack_inside", 100 * inside.mean())
darker = [
    image[mask].mean() < image[~mask].mean()
    for image, mask in zip(stack.images, stack.masks, strict=True)
    if mask.any()
]
record("preprocessing_stack_darker", 100 * np.mean(darker))

# %% mystnb={"figure": {"caption": "Largest deviation of the fitted background from its mean in each image of the stack, for both fits, against the contaminated fraction; the vertical axis is logarithmic. Notice which of the two fits deviates more; the text explains why that is the robust one in the published images.", "name": "fig-preprocessing-stack"}, "image": {"alt": "Scatter plot with a logarithmic axis of deviation in per cent. At every contaminated fraction most orange points of the robust fit lie above the blue ones of the plain fit."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 3.2))
for name, found in deviation.items():
    ax.semilogy(
        100 * stack.masks.mean(axis=(1, 2)),
        found,
        "o",
        markersize=4,
        label=name,
    )
ax.set(
    xlabel="contaminated fraction (%)", ylabel="deviation of the background (%)"
)
ax.legend();

# %% [markdown]
# The background found by the plain fit deviates from its mean by
# {glue:text}`preprocessing_stack_plain_median:.1f` % in the median image and by
# {glue:text}`preprocessing_stack_plain_largest:.1f` % in the worst. For the robust fit, these
# values are {glue:text}`preprocessing_stack_robust_median:.1f` % and
# {glue:text}`preprocessing_stack_robust_largest:.1f` % ({numref}`fig-preprocessing-stack`).
#
# On the published images, the robust fit does harm. Why? The contaminated area is darker than the
# clean area in {glue:text}`preprocessing_stack_darker:.0f` % of the images with a {term}`label`,
# yet the plain background is nearly constant. This is expected after division by a surface that was
# fitted to clean and contaminated areas alike. What varies in the clean part is then no longer a
# tilt or a bow of the illumination, and the robust fit extrapolates it across the areas that it
# excludes. Such an area may fill a corner, far from any pixel that constrains the fit. Indeed, in
# {glue:text}`preprocessing_stack_inside:.0f` % of the images the largest deviation lies in an
# excluded area. A second {term}`flat field` gains nothing where the first was good. This book
# therefore uses the robust fit for raw micrographs, and applies no further flat field to the
# published images.
#
# ## One scale for all images
#
# The contrast of $I_N$ still depends on dose and {term}`defocus`. The last step brings each image
# to mean 0 and standard deviation 1,
#
# $$ I_S = \frac{I_N - \langle I_N \rangle}{\sigma(I_N)}, $$ (eq-standardise)
#
# where $\langle\cdot\rangle$ is the mean and $\sigma$ the standard deviation over all pixels of the
# image. This is equation 3 of the paper:

# %%
I_S = (I_N - I_N.mean()) / np.sqrt(np.mean((I_N - I_N.mean()) ** 2))  # eq. 3
assert np.allclose(I_S, standardise(plain.corrected), atol=1e-4)

# %%
standard = standardise(stack.images)
clean = [
    image[~mask].std()
    for image, mask in zip(standard, stack.masks, strict=True)
]
coverage = stack.masks.mean(axis=(1, 2))
rank = spearmanr(coverage, clean).statistic

# %% mystnb={"figure": {"caption": "Left: standard deviation of the images as stored, in grey levels from 0 to 1; standardising makes it 1 for all of them. Right: standard deviation of the clean area alone after the image is standardised. Notice that the clean area becomes fainter the more contamination there is.", "name": "fig-preprocessing-standard"}, "image": {"alt": "Left: a histogram with one hump. Right: points that fall from 1, without contamination, to far lower values at large contaminated fractions."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
spread = stack.images.std(axis=(1, 2))
axes[0].hist(spread, bins=20)
axes[0].set(xlabel="standard deviation as stored (0 to 1)", ylabel="images")
axes[1].plot(100 * coverage, clean, "o", markersize=4)
axes[1].set(
    xlabel="contaminated fraction (%)",
    ylabel="standard deviation, clean area",
);

# %% tags=["remove-input"]
record("preprocessing_spread_low", spread.min())
record("preprocessing_spread_high", spread.max())
record("preprocessing_rank", rank)
record("preprocessing_clean_lowest", min(clean))

# %% [markdown]
# The standard deviations of the stored images lie between {glue:text}`preprocessing_spread_low:.2f`
# and {glue:text}`preprocessing_spread_high:.2f` on a scale from 0 to 1, so one {term}`threshold`
# would mean different things in different images. After {eq}`eq-standardise`, it means nearly the
# same in all of them, but not exactly. Contaminated areas have the stronger contrast and contribute
# to $\sigma$; in an image with much contamination, the standard deviation of the clean lattice
# therefore shrinks, down to {glue:text}`preprocessing_clean_lowest:.2f`. Its rank correlation with
# the contaminated fraction is {glue:text}`preprocessing_rank:.2f`
# ({numref}`fig-preprocessing-standard`): the more contamination, the fainter the lattice beside it.
#
# ## A smaller image
#
# Cameras record 1024 or 2048 pixels a side and more; the methods of this book work at about 256.
# Each new pixel is the mean over the area that it covers; old pixels at its edge are weighted by
# the fraction that lies inside. Any ratio works, and the pixel size grows by the same ratio.
# Picking single pixels instead would keep all the noise and would alias fine detail into false
# coarse patterns.

# %%
small, pixel_size = resize_area(robust.corrected, (256, 256), raw.pixel_size)
step = raw_size // 256
picked = robust.corrected[::step, ::step]

# %% tags=["remove-input"]
mask = resize_area(raw.mask, (256, 256))[0] > 0.5
record("preprocessing_pixel_size", pixel_size)
record("preprocessing_finest", KNOWN[0])
record("preprocessing_coarsest", KNOWN[1])

# %% mystnb={"figure": {"caption": "The same 64 \u00d7 64 pixels of the reduced micrograph. Left: averaged over areas. Right: single pixels picked. Notice that the lattice is the same in both, but picking keeps all of the noise.", "name": "fig-preprocessing-resize"}, "image": {"alt": "Two enlarged squares with the same hexagonal pattern of bright spots, smooth on the left and grainy on the right."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.3))
for ax, (name, image) in zip(
    axes, {"averaged": small, "picked": picked}.items(), strict=True
):
    micrographs.show_micrograph(ax, image[:64, :64], pixel_size, name)

# %% tags=["remove-input"]
record("preprocessing_averaged", small[~mask].std())
record("preprocessing_picked", picked[~mask].std())
# Electrons that are counted vary by the root of their number; a mean of four varies half as much.
shot_noise = np.mean(1 / robust.background[::step, ::step][~mask])
explained = shot_noise * (1 - 1 / step**2)
difference = picked[~mask].var() - small[~mask].var()
record("preprocessing_noise", 100 * explained / difference)

# %% [markdown]
# The reduced image has {glue:text}`preprocessing_pixel_size:.2f` Å per pixel and the same mean as
# the larger one. In the clean area, the standard deviation is
# {glue:text}`preprocessing_averaged:.3f` after averaging and {glue:text}`preprocessing_picked:.3f`
# after picking ({numref}`fig-preprocessing-resize`). The {term}`shot noise` that averaging removes,
# calculated from the number of electrons, explains {glue:text}`preprocessing_noise:.0f` % of the
# difference between the two variances; the rest is lattice contrast that is blurred by the larger
# pixels.
#
# ## What this does not show
#
# - The errors of the background hold for simulated micrographs, whose illumination is a tilt with a
#   weak bow. A real micrograph may have seams between the quadrants of a camera, or
#   {term}`rings <Ring>`; no surface of low degree follows those.
# - The robust fit needs a field that is more than half clean, and patches that differ from the
#   clean part in brightness or roughness. If most of the field is contaminated, supply a mask or
#   omit the flat field.
# - {eq}`eq-normalise` assumes that zero intensity means no electrons. The dark level of a camera
#   must be subtracted first.
# - Images that look alike after {eq}`eq-standardise` need not be treated alike by a method;
#   {numref}`chapter %s <ch-bragg>` measures what the scale does to a threshold.
#
# ## On your own images
#
# ```python
# import graphseg as gs
# from graphseg.preprocessing import flat_field, resize_area, standardise
#
# micrograph = gs.read("flake.dm4")
# flat = flat_field(micrograph.image)
# small, pixel_size = resize_area(flat.corrected, (256, 256), micrograph.pixel_size)
# image = standardise(small)
# ```
#
# Look at `flat.excluded`: it should cover the patches and little else. Raise `degree` if a bow is
# left in `flat.corrected`; lower it if corners under a patch become bright or dark. Choose the new
# size so that `pixel_size` lies between {glue:text}`preprocessing_finest:.2f` and
# {glue:text}`preprocessing_coarsest:.2f` Å, the range found in the published images, to which the
# methods of this book were fitted.
#
# ## What was found
#
# - A surface described by nine numbers removes a strong gradient. Contamination misleads the plain
#   fit (error {glue:text}`preprocessing_fifth_plain:.2f` % at a fifth of the field) more than the
#   robust fit ({glue:text}`preprocessing_fifth_robust:.2f` %). The robust fit is for raw
#   micrographs that are mostly clean.
# - Images that are already flat need no second flat field, and a robust one can spoil them.
# - Standardising brings images close to one threshold for all, but not exactly: contamination
#   raises the standard deviation and makes the lattice beside it fainter.
# - Reduce images by averaging, and scale the pixel size with them.
#
# :::{admonition} Provenance
# :class: dropdown
#
# The raw micrographs of this chapter are simulated, because the raw recordings are not among the
# published files; the true illumination, which the errors need, would not be known for them anyway.
# The absorption in the patches was set higher than the published images suggest, so that the plain
# fit is put to a hard test. The range of pixel sizes under "On your own images" was measured from
# the lattices of the published images, whose files do not state it.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** The gain of a camera and the dose multiply an image by a factor; its dark level
# adds a constant. Show that {eq}`eq-standardise` removes both. What does it do to a negative
# factor?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
image = stack.images[0].astype(float)
same = standardise(250 * image + 40)
inverted = standardise(-image)
assert np.allclose(same, standardise(image), atol=1e-4)
assert np.allclose(inverted, -standardise(image), atol=1e-4)
print("Gain and dark level drop out; a negative factor swaps black and white atoms.")

# %% [markdown]
# **Exercise 2.** Which degree suits the raw micrograph above? Fit degrees 0 to 5 with the robust
# fit, and compare the backgrounds with the true illumination, as in the text.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
for degree in range(6):
    fit = flat_field(raw.counts, degree=(degree, degree), window=32)
    error = 100 * np.std(np.log(fit.background / raw.illumination))
    print(f"degree {degree}: {error:.2f} %")
# A constant misses the tilt, a plane the bow; high degrees begin to follow patches.

# %% [markdown]
# **Exercise 3.** Averaging blocks of 2 × 2 pixels halves the noise if neighbouring pixels are
# independent. Test this on an empty image with 400 electrons per pixel. What does picking every
# second pixel do?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
empty = np.random.default_rng(seed).poisson(400, (512, 512)).astype(float)
averaged, _ = resize_area(empty, (256, 256))
print(f"standard deviation: {empty.std():.2f} before, {averaged.std():.2f} averaged,")
print(f"{empty[::2, ::2].std():.2f} picked")
assert np.isclose(empty.std() / averaged.std(), 2, rtol=0.02)

# %% [markdown]
# ## Check yourself
#
# 1. How many numbers describe a Bézier surface of degree (2, 2)?
#    - (a) 4
#    - (b) 6
#    - (c) 9
#
# 2. Why divide by the background instead of subtracting it?
#    - (a) Subtraction would give negative values.
#    - (b) Division is faster.
#    - (c) Illumination multiplies the image, its contrast included.
#
# 3. The robust fit needs …
#    - (a) more than half of the field to be clean
#    - (b) {term}`white atoms`
#    - (c) a mask
#
# 4. After standardising, an image with much contamination has …
#    - (a) a fainter lattice
#    - (b) the same lattice contrast as any other
#    - (c) a stronger lattice
#
# 5. Why should one not reduce an image by picking single pixels?
#    - (a) The mean brightness would change.
#    - (b) The pixel size would be unknown.
#    - (c) All noise stays, and fine detail turns into false coarse patterns.
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **c** – Three Bernstein polynomials along the rows times three along the columns.
# 2. **c** – Where there are fewer electrons, the lattice is fainter by the same factor.
# 3. **a** – The median must belong to the clean part; otherwise supply a mask.
# 4. **a** – Contamination raises the standard deviation by which everything is divided.
# 5. **c** – Averaging over each new pixel reduces the noise and avoids such aliasing.
# :::

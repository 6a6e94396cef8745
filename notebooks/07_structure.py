# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-structure)=
# # Order, grain boundaries, vacuum
#
# A {term}`mask` says which areas to leave out. What do the other areas show: one crystal or
# several, in which {term}`orientation`, meeting along which lines, and where is there nothing but
# {term}`vacuum`?
#
# **What you will be able to do**
#
# - measure the {term}`lattice parameter` of an image, and hence its {term}`pixel size`, without any
#   metadata;
# - map the order and the {term}`orientation` of the {term}`lattice`;
# - find {term}`grain boundaries <Grain boundary>` with their {term}`misorientation` and length, and
#   holes;
# - tell two {term}`grains <Grain>` that meet at a boundary from two layers that lie on top of each
#   other;
# - draw the map of four classes, and give their areas in nm².

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
trials: int = 12  # simulated crystals for each test
pixel_size: float = 0.35  # Å per pixel of the simulated crystals
dose: float = 8000.0  # electrons per Å² on them
seed: int = 7

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from book.tools import explore, fold_networks, paper_figures
from book.tools.notebook import record, show_source
from book.tools.paper import printed
from book.tools.tables import markdown_table
from graphseg.classical.fourier import find_peaks, in_units
from graphseg.colours import CLASS_COLOURS, MASK_COLOUR
from graphseg.datasets.stack import acquisition_of
from graphseg.plotting import micrographs
from graphseg.plotting.structure import (
    add_orientation_key,
    overlay_boundaries,
    show_classes,
    show_orientation,
)
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import bicrystal
from graphseg.simulation.optics import Conditions
from graphseg.simulation.samples import image_of
from graphseg.structure.boundaries import find_boundaries
from graphseg.structure.classes import classify
from graphseg.structure.lattice import measure_lattice
from graphseg.structure.orientation import map_orientation
from graphseg.structure.superposition import LEAST_FRACTION, find_superposition

micrographs.use_style()

# %%
import graphseg as gs

stack = gs.load_stack(data_source)

# %% tags=["remove-input"]
show_source(stack)
stack = stack.subset(np.arange(len(stack))[: maximum_images or None])

# %% [markdown]
# ## The lattice of an image
#
# How long is the lattice parameter of an image, in pixels? In the spectrum of {term}`graphene` two
# {term}`rings <Ring>` of six Bragg reflections matter: the first at $2/(\sqrt 3 a)$, the second at
# $2/a$, where $a$ is the lattice parameter. Depending on the {term}`defocus` either ring may be the
# stronger, so the strongest peak alone does not tell to which ring it belongs.

# %%
lattices, strongest = {}, []
for number, image in enumerate(stack.images):
    lattice = measure_lattice(image, stack.masks[number])
    if lattice.found:
        peaks = find_peaks(in_units(image, "standardised"), 1)
        radius = np.hypot(*peaks.positions[0])  # cycles per pixel
        strongest.append(radius * lattice.parameter)
        lattices[number] = lattice

# %% tags=["hide-input"]
rings = 2 / np.sqrt(3), 2  # radii, times the lattice parameter
nearest = np.abs(np.array(strongest)[:, None] - rings) < 0.2

# %% tags=["remove-input"]
for column, name in enumerate(("strongest_first", "strongest_second")):
    record(name, 100 * float(nearest[:, column].mean()))

# %% [markdown]
# In {glue:text}`strongest_first:.0f` % of the images of this page the strongest peak of the
# spectrum, weighted with the frequency as in eq. 4 of {cite:t}`Sadre2021`, lies on the first ring,
# and in {glue:text}`strongest_second:.0f` % on the second. A method that always assumed the first
# ring would be wrong for the others. Therefore both rings are scored together, each divided by the
# background at its radius. As $a$ = 2.46 Å in graphene, the pixel size follows.
#
# How accurate is this? The test is on perfect crystals of random orientation, simulated with
# {term}`shot noise` and with white or {term}`black atoms`.

# %% tags=["hide-input"]
rng = np.random.default_rng(seed)
extent = 256 * pixel_size  # Å
margin = int(np.ceil(8 / pixel_size))  # pixels simulated beyond the frame
truth = rng.uniform(0, np.pi / 3, trials)
errors, contrasts = [], []
for angle, defocus in zip(truth, np.resize([-60.0, 60.0], trials), strict=True):
    sheet = crystal(extent + 12, angle, low=-12.0)
    image = image_of(
        sheet.positions,
        sheet.numbers,
        extent,
        pixel_size,
        Conditions(defocus=defocus),
        dose=dose,
        rng=rng,
        margin=margin,
    )
    found = measure_lattice(image)
    turned = (found.orientation - angle + np.pi / 6) % (np.pi / 3) - np.pi / 6
    errors.append((found.parameter * pixel_size / LATTICE_CONSTANT - 1, turned))
    contrasts.append(found.contrast == -np.sign(defocus))

# %% tags=["remove-input"]
parameter_error, angle_error = np.abs(errors).T
record("trials", trials)
record("dose", dose)
record("parameter_error", 100 * float(parameter_error.max()))
record("contrasts_right", int(sum(contrasts)))
record("angle_error", float(np.degrees(angle_error.max())))

# %% [markdown]
# Over {glue:text}`trials:d` crystals at {glue:text}`dose:.0f` electrons per Å², the largest error
# of the lattice parameter is {glue:text}`parameter_error:.3f` %, and that of the orientation
# {glue:text}`angle_error:.3f`°. On an undistorted image, then, noise hardly limits the pixel size.
# The contrast, white or {term}`black atoms`, was identified correctly in
# {glue:text}`contrasts_right:d` of {glue:text}`trials:d`.
#
# ## Order and orientation
#
# How is the lattice oriented at each place? {cite:t}`Sadre2021` convolve the image with kernels
# that look like one hexagon, a ring of six atoms around an empty centre, at many orientations
# $\theta$. Such a kernel is the sum of six waves of the first ring and six of the second under a
# Gaussian envelope,
#
# $$ K_\theta(\mathbf r) = \frac{e^{-r^2/2\sigma^2}}{2\pi\sigma^2}
# \Big[ F_1 \sum_{j=1}^{6} e^{2\pi i\, \mathbf g_j \cdot \mathbf r}
# + F_2 \sum_{j=1}^{6} e^{2\pi i\, \mathbf G_j \cdot \mathbf r} \Big], $$ (eq-hexagon)
#
# with the amplitudes $F_1$ and $F_2$ measured from the image: their signs say whether atoms are
# white or black. The largest response over $\theta$ is the order, and the angle at which it is
# reached is the orientation, modulo 60°.
#
# Where two grains meet, the orientation jumps. A boundary is a line along which it jumps, with
# order on both sides. The figure shows this on a simulated bicrystal whose boundary has been
# relaxed.

# %% tags=["hide-input"]
angles = (0.1, 0.1 + np.radians(17.0))
pair = bicrystal(extent + 24, angles, normal=0.4)
image = image_of(
    pair.positions - 12,  # the crystals reach 12 Å beyond the frame
    pair.numbers,
    extent,
    pixel_size,
    dose=dose,
    rng=rng,
    margin=margin,
)

# %%
orientation = map_orientation(image)
lines = find_boundaries(image, orientation=orientation)

# %% mystnb={"figure": {"caption": "A simulated bicrystal (left) and its map of orientation (right). The hue is the direction of a lattice vector, as the wheel shows; grey is disorder. The red line is the boundary found, with its misorientation. Notice that the micrograph itself hardly shows where the boundary runs.", "name": "fig-bicrystal"}, "image": {"alt": "Left: a noisy lattice of dots. Right: the same field in two flat colours, divided by an oblique red line with its angle, and a colour wheel in the corner."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4.1))
micrographs.show_micrograph(left, image, pixel_size)
show_orientation(right, orientation)
add_orientation_key(right)
overlay_boundaries(right, lines);

# %% [markdown]
# {numref}`fig-bicrystal` is one example. How often is a boundary missed, or reported where there is
# none, and how wrong is its misorientation? The test is on bicrystals with misorientations from 4°
# to 30°, and on as many single crystals.

# %% tags=["hide-input"]
jumps = np.radians(np.linspace(4, 30, trials))
recovered, false_lines = [], 0
for jump in jumps:
    start, normal = rng.uniform(0, np.pi / 3), rng.uniform(0, np.pi)
    pair = bicrystal(extent + 24, (start, start + jump), normal=normal)
    image = image_of(
        pair.positions - 12,
        pair.numbers,
        extent,
        pixel_size,
        dose=dose,
        rng=rng,
        margin=margin,
    )
    found = find_boundaries(image)
    recovered.append(found[0].misorientation if found else np.nan)
    sheet = crystal(extent + 12, start, low=-12.0)
    image = image_of(
        sheet.positions,
        sheet.numbers,
        extent,
        pixel_size,
        dose=dose,
        rng=rng,
        margin=margin,
    )
    false_lines += len(find_boundaries(image))

# %% tags=["remove-input"]
difference = np.degrees(np.abs(np.array(recovered) - jumps))
record("boundaries_found", int(np.isfinite(difference).sum()))
record("misorientation_error", float(np.nanmax(difference)))
record("false_boundaries", false_lines)

# %% [markdown]
# The boundary was found in {glue:text}`boundaries_found:d` of {glue:text}`trials:d` bicrystals,
# with a misorientation that is off by at most {glue:text}`misorientation_error:.2f`°. In
# {glue:text}`trials:d` single crystals {glue:text}`false_boundaries:d` boundaries were reported.
# With so few trials this excludes frequent errors, not rare ones.
#
# ## Two layers
#
# Is every jump of the orientation a boundary? No: in a {term}`twisted bilayer` both lattices are
# present everywhere. The map shows the stronger of the two, which changes from place to place, and
# each change looks like a boundary.
#
# The spectra of small {term}`windows <Window>` distinguish the two cases. A window of 12 lattice
# parameters on a boundary contains the reflections of two lattices, but windows beside it contain
# those of one. In a twisted bilayer nearly every window contains two. So the measure is the number
# of windows in which a second lattice stands out clearly, rotated by at least 8° and by about the
# same angle everywhere, as a fraction of the windows that contain a lattice at all. Does this
# separate simulated bilayers from bicrystals?

# %% tags=["hide-input"]
turns = np.radians(np.linspace(10, 30, trials))
fractions = {"bilayers": [], "bicrystals": []}
for turn in turns:
    start, normal = rng.uniform(0, np.pi / 3), rng.uniform(0, np.pi)
    lower = crystal(extent + 12, start, low=-12.0).positions
    upper = crystal(extent + 12, start + turn, low=-12.0).positions
    pair = bicrystal(extent + 24, (start, start + turn), normal=normal)
    layers = {
        "bilayers": np.concatenate([lower, upper]),
        "bicrystals": pair.positions - 12,
    }
    for kind, positions in layers.items():
        heights = np.zeros(len(positions))
        if kind == "bilayers":
            heights[len(lower) :] = 3.35  # Å between the layers of graphite
        image = image_of(
            positions,
            6,
            extent,
            pixel_size,
            dose=dose,
            rng=rng,
            heights=heights,
            margin=margin,
        )
        found = find_superposition(image, None, measure_lattice(image))
        fractions[kind].append(found.fraction)

# %%
seen = {
    n: find_superposition(stack.images[n], stack.masks[n], lattice)
    for n, lattice in lattices.items()
}
bilayers = [n for n, found in seen.items() if found.found]

# %% tags=["hide-input"]
most = max(seen, key=lambda n: seen[n].fraction)
spectrum = np.fft.fftshift(
    np.abs(np.fft.fft2(in_units(stack.images[most], "standardised")))
)

# %% mystnb={"figure": {"caption": "Left: fraction of the windows that contain two lattices, for simulated bilayers and bicrystals against the angle between their lattices, and for the images against the median angle in such windows. An image above the dotted line counts as two superposed lattices. Right: the spectrum of the image with the highest fraction, with the radii of both rings (dotted). Notice the gap between one point and all other images, and that the spectrum of this image has twelve Bragg reflections on a ring where one lattice has six.", "name": "fig-bilayer"}, "image": {"alt": "Left: blue squares of bilayers at the top, orange triangles of bicrystals and nearly all black dots of images below a dotted line. Right: a dark spectrum with bright spots on two dotted circles."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(
    1, 2, figsize=(8.5, 3.8), width_ratios=(1.25, 1)
)
degrees = np.degrees(turns)
left.plot(degrees, fractions["bilayers"], "s", label="simulated bilayers")
left.plot(degrees, fractions["bicrystals"], "^", label="simulated bicrystals")
left.plot(
    [np.degrees(found.twist) for found in seen.values()],
    [found.fraction for found in seen.values()],
    ".",
    color="black",
    label="images",
)
left.axhline(LEAST_FRACTION, color="0.5", linestyle=":", linewidth=1)
left.set(
    xlabel="angle between the lattices (°)",
    ylabel="fraction of windows with two",
    ylim=(-0.03, 1.05),
)
left.legend(loc="center left", bbox_to_anchor=(0.02, 0.6))
reach = min(2.4 / lattices[most].parameter, 0.5)  # cycles per pixel
shades = np.log(spectrum + np.median(spectrum))
right.imshow(shades, extent=(-0.5, 0.5, 0.5, -0.5))
dotted = {"fill": False, "color": "white", "linestyle": ":"}
for radius in np.divide(rings, lattices[most].parameter):
    right.add_patch(plt.Circle((0, 0), radius, **dotted))
right.set(xlim=(-reach, reach), ylim=(reach, -reach))
right.set_axis_off();

# %% tags=["remove-input"]
record("bilayer_fraction", min(fractions["bilayers"]))
record("bicrystal_fraction", max(fractions["bicrystals"]))
record("superposed", len(bilayers))
record("superposed_name", ", ".join(stack.names[n] for n in bilayers) or "none")
record("superposed_fraction", seen[most].fraction)
record("superposed_twist", float(np.degrees(seen[most].twist)))
others = [found.fraction for n, found in seen.items() if n != most]
record("single_fraction", max(others))

# %% [markdown]
# It does: simulated bilayers have two lattices in at least {glue:text}`bilayer_fraction:.2f` of
# their windows, bicrystals in at most {glue:text}`bicrystal_fraction:.2f` ({numref}`fig-bilayer`).
# The limit is set between them, at one third. Of the images {glue:text}`superposed:d` are above it
# ({glue:text}`superposed_name:s`). The highest fraction of all images is
# {glue:text}`superposed_fraction:.2f`, with a twist of {glue:text}`superposed_twist:.0f`°; the next
# is {glue:text}`single_fraction:.2f`.
#
# Where two lattices are superposed, `find_boundaries` reports no boundary, the {term}`class map`
# has none, and `graphseg analyse` writes the {term}`flag` `superposed_lattices` and the twist into
# its table. Two aligned layers count as one lattice, and a twist of less than 8° is not detected.
#
# ## Four classes
#
# The four classes are assigned in this order. {term}`Contamination` comes from the {term}`fold`
# networks of {term}`our network`, none of which has seen the image it is applied to (here without
# {term}`test-time augmentation`, for speed). Vacuum is where the flattened intensity varies no more
# than its noise. A boundary is a band around its line. The rest is lattice.

# %%
probability = fold_networks.out_of_fold(stack, test_time_augmentation=False)
maps, without = {}, 0
for number in range(len(stack)):
    try:
        maps[number] = classify(stack.images[number], probability[number] >= 0.5)
    except gs.InputError:  # no lattice was found
        without += 1

# %% tags=["hide-input"]
lengths = {  # nm
    n: sum(line.length_angstrom for line in found.boundaries) / 10
    for n, found in maps.items()
}
vacuum = {n: found.percentages["vacuum"] for n, found in maps.items()}
chosen = [max(lengths, key=lengths.get), max(vacuum, key=vacuum.get)]

# %% mystnb={"figure": {"caption": "The image with the longest grain boundaries (top) and the one with the largest fraction of vacuum (bottom), chosen by that rule. From left: the micrograph with its mask (orange-red), the orientation, the four classes. Notice where the boundary stops: at contamination, and at a hole, where one side has no order.", "name": "fig-classes"}, "image": {"alt": "Two rows of three panels: a micrograph with its tinted mask; a map of orientation in flat colours, grey where the mask lies; a white class map with a red line, blue and green areas."}} tags=["hide-input"]
figure, axes = plt.subplots(2, 3, figsize=(8.5, 6))
for row, number in zip(axes, chosen, strict=True):
    found = maps[number]
    mask = probability[number] >= 0.5
    micrographs.show_micrograph(row[0], stack.images[number], found.pixel_size)
    micrographs.overlay_mask(row[0], mask, MASK_COLOUR, tint=0.3)
    show_orientation(row[1], map_orientation(stack.images[number], mask))
    show_classes(row[2], found)
add_orientation_key(axes[0, 1])
micrographs.add_class_legend(figure)

# %% mystnb={"figure": {"caption": "Six micrographs (top) and their four classes (bottom), after Fig. 1 of the paper: (a, b) have the largest fraction of grain boundary; of the others, (c, d) have the largest fraction of vacuum, and (e, f) of contamination. White: lattice; red: grain boundary; green: vacuum; blue: contamination. Notice that atoms are white in some images and black in others, and that both are classified alike.", "name": "fig-four-classes"}, "image": {"alt": "Six micrographs above white class maps, on which grain boundaries are red lines, vacuum is green spots, and contamination is blue areas."}} tags=["hide-input"]
six = {n: maps[n] for n in paper_figures.six_examples(maps)}
figure, axes = plt.subplots(2, len(six), figsize=(11, 4.2))
paper_figures.show_four_classes(axes, stack.images, six)
micrographs.add_class_legend(figure)

# %% tags=["remove-input"]
rows = [
    [
        name,
        *(
            f"{maps[n].areas[name]:.1f} nm² ({maps[n].percentages[name]:.0f} %)"
            for n in chosen
        ),
    ]
    for name in CLASS_COLOURS
]
Markdown(markdown_table(["class", "longest boundaries", "most vacuum"], rows))

# %% tags=["remove-input"]
sizes = np.array([found.pixel_size for found in maps.values()])
with_lines = sum(bool(found.boundaries) for found in maps.values())
flagged = sum(bool(found.flags) for found in maps.values())
record("images", len(stack))
record("without_lattice", without)
record("smallest_pixel", float(sizes.min()))
record("largest_pixel", float(sizes.max()))
record("coarse_pixels", int((sizes > 0.5).sum()))
record("with_boundary", with_lines)
record("flagged", flagged)
record("longest", max(lengths.values()))
record("most_vacuum", max(vacuum.values()))
record("with_vacuum", sum(v > 0 for v in vacuum.values()))

# %% [markdown]
# {numref}`fig-classes` shows two class maps, and the table their areas; {numref}`fig-four-classes`
# shows six, in the colours of Fig. 1 of the paper. Of {glue:text}`images:d` images
# {glue:text}`without_lattice:d` have no measurable lattice, and {glue:text}`flagged:d` have two
# superposed lattices. {glue:text}`with_boundary:d` have at least one boundary, as is to be expected
# of images that were recorded to study boundaries, and {glue:text}`with_vacuum:d` have some vacuum.
# The longest boundaries in one image add up to {glue:text}`longest:.1f` nm.
#
# The pixel sizes, measured from the lattice, run from {glue:text}`smallest_pixel:.3f` to
# {glue:text}`largest_pixel:.3f` Å; {glue:text}`coarse_pixels:d` are above 0.5 Å. There the second
# ring of Bragg reflections comes near the {term}`Nyquist limit`, and from 0.62 Å on part of it lies
# beyond. Such images are the most likely to be measured wrongly: taking the first ring for the
# second would make the pixel size too small by a factor of $\sqrt 3$.
#
# ### Which misorientations occur?
#
# {cite:t}`Ophus2015`, the source of most of the published images, characterised
# {glue:text}`earlier_boundaries:d` boundaries of graphene grown by chemical vapour deposition, in
# more than 1000 images. Most of their analysis was automated, but each boundary had to be selected
# and masked by hand, because of contamination {cite:p}`Sadre2021`. Here every boundary in the
# {glue:text}`images:d` published images is found and measured without a hand:
# {glue:text}`boundary_lines:d` lines in {glue:text}`boundary_acquisitions:d`
# {term}`acquisitions <Acquisition>`. A line is counted in each frame of a series, and a boundary
# that contamination interrupts as several lines, so {numref}`fig-misorientations` counts lines and
# not boundaries.

# %% tags=["remove-input"]
lines_of = {n: found.boundaries for n, found in maps.items() if found.boundaries}
every = [line for lines in lines_of.values() for line in lines]
turned = np.degrees([line.misorientation for line in every])
record("earlier_boundaries", printed()["earlier_study"]["boundaries"])
record("boundary_lines", len(every))
record("boundary_acquisitions", len({acquisition_of(stack.names[n]) for n in lines_of}))
record("misorientation_low", float(np.quantile(turned, 0.05)) if len(every) else 0.0)
record("misorientation_median", float(np.median(turned)) if len(every) else 0.0)
record("misorientation_high", float(np.quantile(turned, 0.95)) if len(every) else 0.0)

# %% mystnb={"figure": {"caption": "Misorientation of every line of grain boundary found in the images, in bins of 2\u00b0 from 0 to 30\u00b0, the most by which two lattices of graphene can differ. Notice that most lines lie close to 30\u00b0 and that few lie below 10\u00b0. The method alone does not explain the gap: on clean simulated crystals it finds boundaries from 4\u00b0 on.", "name": "fig-misorientations"}, "image": {"alt": "Histogram of lines of boundary against misorientation from 0 to 30 degrees; nearly all bars stand in the right half."}} tags=["hide-input"]
figure, ax = plt.subplots(figsize=(6, 3))
paper_figures.show_misorientations(ax, every);

# %% [markdown]
# The median is {glue:text}`misorientation_median:.0f`°, and nine in ten lines lie between
# {glue:text}`misorientation_low:.0f`° and {glue:text}`misorientation_high:.0f`°. If neighbouring
# grains had unrelated orientations, all angles from 0 to 30° would be equally frequent, with a
# median of 15°. These are not. The histogram does not say why, and it is not a distribution of the
# sample: a microscopist chose the places, and may have preferred boundaries that are easy to see.
#
# How does this compare with Ophus et al.? The comparison is with their text only, not with their
# angles. The abstract, which is all that was at hand, gives the numbers above and no distribution;
# the measured structures, which it says are available online, are not among the published images.
# So it is not known which of our lines are also among their boundaries, nor whether the two
# distributions agree. What can be compared in numbers is the abstract of another study of such
# graphene: {cite:t}`An2010` report 46 misorientations, all between 11° and 30° except for one of
# 7°. Our lines lie mostly in the same range. As their sample and the choice of its boundaries are
# different, this is a check of plausibility and no more.
#
# How much does the class map depend on the {term}`threshold` of the mask?

# %%
explore.classes_explorer(stack.images[chosen[0]], probability[chosen[0]])

# %% [markdown]
# ## What this does not show
#
# - How many boundaries and holes are missed or falsely reported in these images. Nobody has drawn
#   them, so the errors above are those of simulated crystals.
# - Boundaries of less than 4°, the smallest misorientation tested here. At a few degrees a boundary
#   is a row of separate dislocations rather than a line.
# - Whether an image with two lattices shows a bilayer. This is inferred from its spectrum; a folded
#   sheet looks the same.
# - Holes much smaller than the kernel, which are not detected; {term}`vacancies <Vacancy>` are the
#   subject of {numref}`chapter %s <ch-atoms>`.
# - The distribution of misorientations in graphene, for the reasons given above.
#
# ## On your own images
#
# ```
# graphseg analyse my_folder --output analysed
# ```
#
# writes the class map of every image, a table of areas, and atoms, {term}`bonds <Bond>` and
# defects. From Python, `classify(image, mask)` does it for one image; the pixel size is measured if
# it is not given. Compare the measured pixel size with the one that your microscope states before
# you trust areas and lengths.
#
# ## What was found
#
# - On {glue:text}`trials:d` simulated crystals and as many bicrystals at {glue:text}`dose:.0f`
#   electrons per Å² the lattice parameter is right within {glue:text}`parameter_error:.3f` %, the
#   orientation within {glue:text}`angle_error:.3f`°, and the misorientation within
#   {glue:text}`misorientation_error:.2f`°.
# - {glue:text}`boundaries_found:d` of {glue:text}`trials:d` simulated boundaries were found, and
#   {glue:text}`false_boundaries:d` were reported in as many single crystals.
# - Of {glue:text}`images:d` published images {glue:text}`superposed:d` have two superposed
#   lattices, and {glue:text}`with_boundary:d` have a boundary, with a median misorientation of
#   {glue:text}`misorientation_median:.0f`°.
# - Their pixel sizes run from {glue:text}`smallest_pixel:.2f` to {glue:text}`largest_pixel:.2f` Å.
#
# :::{admonition} Provenance
# :class: dropdown
#
# Three limits of the package were set with the published images in view: the smallest
# misorientation that counts as a boundary, 2.5°, which lies above what noise and strain make of
# them; the fraction of windows with two lattices, one third, which lies between simulated bilayers
# and all other simulated and published images; and the order below which an area is a hole, which
# lies between holes that are plain to the eye and lattice that is faint. The three counts of
# boundaries, holes and superposed lattices above are therefore not from images that were new to the
# method.
#
# What is said about other studies comes from their abstracts, and from the description in
# {cite:t}`Sadre2021`.
# :::

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** Measure the pixel size of a simulated crystal by hand: find the strongest peak of
# its spectrum, decide on which ring it lies, and use $a = 2.46$ Å. The true pixel size is
# `pixel_size`.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
sheet = crystal(extent + 12, 0.2, low=-12.0)
picture = image_of(
    sheet.positions, 6, extent, pixel_size, dose=np.inf, rng=rng, margin=margin
)
peak = find_peaks(in_units(picture, "standardised"), 1).positions[0]
for name, factor in (("first", 2 / np.sqrt(3)), ("second", 2)):
    parameter = factor / np.hypot(*peak)  # pixels
    print(f"{name} ring: {LATTICE_CONSTANT / parameter:.4f} Å per pixel")
print(f"measure_lattice: {LATTICE_CONSTANT / measure_lattice(picture).parameter:.4f}")
print(f"true: {pixel_size:.4f}")
# One is right, the other wrong by a factor of √3; only both rings together tell which.

# %% [markdown]
# **Exercise 2.** Graphene looks the same after a rotation by 60°. Which misorientation have two
# grains at 5° and at 52°? Show that no two grains differ by more than 30°.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
turn = np.radians(52 - 5)
difference = abs((turn + np.pi / 6) % (np.pi / 3) - np.pi / 6)
print(f"{np.degrees(difference):.0f}°")
turns = np.random.default_rng(seed).uniform(-10, 10, 100_000)  # radians
largest = np.abs((turns + np.pi / 6) % (np.pi / 3) - np.pi / 6).max()
assert largest <= np.pi / 6
print(f"largest of many: {np.degrees(largest):.2f}°")

# %% [markdown]
# **Exercise 3.** Compute the areas of the four classes of the first image of {numref}`fig-classes`
# in nm² from its {term}`labels <Label>` and its pixel size alone.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
found = maps[chosen[0]]
pixels = np.bincount(found.labels.ravel(), minlength=4)
areas = pixels * (found.pixel_size / 10) ** 2
for name, area in zip(CLASS_COLOURS, areas, strict=True):
    print(f"{name}: {area:.1f} nm²")
    assert np.isclose(area, found.areas[name])

# %% [markdown]
# ## Check yourself
#
# 1. Which quantity turns a lattice parameter in pixels into a pixel size?
#    - (a) the defocus
#    - (b) the {term}`lattice constant` of graphene, 2.46 Å
#    - (c) the {term}`dose`
#
# 2. Why are both rings of reflections scored together?
#    - (a) Either may be the stronger, depending on the defocus.
#    - (b) Because one is always hidden.
#    - (c) To save time.
#
# 3. What distinguishes a twisted bilayer from a grain boundary?
#    - (a) its contrast
#    - (b) nearly every small window holds two lattices
#    - (c) its misorientation
#
# 4. The largest misorientation of graphene is …
#    - (a) 30°
#    - (b) 60°
#    - (c) 90°
#
# 5. Vacuum is found where …
#    - (a) the intensity varies no more than its noise
#    - (b) the image is darkest
#    - (c) the network says so
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **b** – Its length in Å is known, so the crystal serves as a ruler.
# 2. **a** – Taking one ring for the other would be wrong by a factor of √3.
# 3. **b** – At a grain boundary only the windows on it do.
# 4. **a** – Orientations repeat after 60°, so two of them are never more than half of that apart.
# 5. **a** – Without material only noise varies. Brightness also depends on the defocus.
# :::

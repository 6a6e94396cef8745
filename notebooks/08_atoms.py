# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-atoms)=
# # Atoms, bonds and rings
#
# Where are the atoms, and which of the atoms that a program reports are real? In
# {term}`contamination` any bright spot may be mistaken for an atom. {term}`Masks <Mask>` are meant
# to exclude such atoms. How many do they exclude, and how many good atoms are lost with them?
#
# **What you will be able to do**
#
# - find atoms with subpixel {term}`precision`, and their {term}`bonds <Bond>` and
#   {term}`rings <Ring>`;
# - say at which {term}`dose` and {term}`pixel size` the result can be trusted;
# - list defects: pentagons, heptagons, octagons, {term}`vacancies <Vacancy>`;
# - count the atoms that each mask leaves inside contamination, and those that it removes elsewhere.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # "auto", "published" or "simulated"
maximum_images: int = 0  # 0: all
doses: list = [250.0, 500.0, 1000.0, 2000.0, 4000.0, 10000.0]  # per Å²
pixel_sizes: list = [0.2, 0.3, 0.4, 0.5]  # Å
width: float = 60.0  # Å, side of the simulated crystals
seed: int = 8

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown

from book.studies import atoms_under_masks
from book.tools import explore, paper_figures
from book.tools.atom_scores import score_atoms
from book.tools.notebook import record, show_source
from book.tools.tables import markdown_table, read_result
from graphseg.classical.denoise import analyse, radius
from graphseg.evaluation import crossval
from graphseg.plotting import micrographs, structure
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.crystal import crystal
from graphseg.simulation.grains import bicrystal
from graphseg.simulation.samples import image_of
from graphseg.structure.atoms import find_atoms, find_bonds
from graphseg.structure.lattice import measure_lattice
from graphseg.structure.rings import find_defects, find_rings

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
# What makes it hard to find the atoms? Two numbers describe it: how long a bond of 1.42 Å is in the
# images, and how strong the noise is between the atoms.

# %%
bond_lengths, noise_fractions = [], []  # pixels; of the standard deviation
frequency = radius(stack.images.shape[1:])
for image, mask in zip(stack.images, stack.masks, strict=True):
    lattice = measure_lattice(image, mask)
    if lattice.found:
        signal = analyse(image, ~mask, lattice.parameter)
        noise = signal.noise_at(frequency).mean()  # variance
        deviation = np.sqrt(noise) / signal.image[signal.quiet].std()
        bond_lengths.append(lattice.parameter / np.sqrt(3))
        noise_fractions.append(deviation)

# %% tags=["remove-input"]
record("shortest_bond", float(np.min(bond_lengths)))
record("longest_bond", float(np.max(bond_lengths)))
record("noise_fraction", float(np.median(noise_fractions)))

# %% [markdown]
# A bond is {glue:text}`shortest_bond:.1f` to {glue:text}`longest_bond:.1f` pixels long, and the
# standard deviation of the noise is {glue:text}`noise_fraction:.2f` of that of the clean area, in
# the median over the images. At so few pixels the images of two neighbouring atoms overlap. Those
# of the empty centres of the hexagons, 2.46 Å apart, do not. So the centres are found first. Every
# triangle of neighbouring centres then contains one atom, also at pentagons and heptagons: the
# atoms are the dual of the triangulation. A triangle whose atom is missing in the image is a
# vacancy.
#
# A bond joins two atoms that are each among the three nearest of the other and not much further
# apart than 1.42 Å. The bonds form a planar graph, and its faces are the rings. By Euler's formula
# a flat periodic sheet, which has no edges and in which every atom has three bonds, has rings of
#
# $$ \langle n \rangle = 6 $$ (eq-six)
#
# atoms on average, whatever the defects: each pentagon is balanced by a heptagon, and each octagon
# by two pentagons. This test needs no ground truth.
#
# ## How accurate are the positions?
#
# How far from the truth is a position, and at which dose does the method fail? The test is a
# simulated crystal, imaged at 80 kV at several doses and pixel sizes. An atom that is found counts
# as correct if it lies within 0.4 Å of a true one; a border of one {term}`lattice parameter` is not
# counted. The simulation is periodic and extends 8 Å beyond the frame, so that its seam does not
# break rings at the edge of the image.

# %% tags=["hide-input"]
rng = np.random.default_rng(seed)
sheet = crystal(width + 12, 0.3, low=-12.0)
pictures = {
    (size, dose): image_of(
        sheet.positions,
        sheet.numbers,
        width,
        size,
        dose=dose,
        rng=rng,
        margin=int(np.ceil(8 / size)),
    )
    for size in pixel_sizes
    for dose in doses
}

# %%
results = {}
for (size, dose), image in pictures.items():
    parameter = LATTICE_CONSTANT / size
    atoms = find_atoms(image, parameter)
    border = int(np.ceil(parameter))
    inside = np.zeros(image.shape, bool)
    inside[border:-border, border:-border] = True
    true = sheet.positions / size
    scores = score_atoms(atoms.positions, true, 0.4 / size, inside)
    bonds = find_bonds(atoms.positions, parameter)
    rings = find_rings(atoms.positions, bonds)
    found = (scores.recall, scores.precision, scores.error * size)
    results[size, dose] = (*found, rings.mean_size())

# %% mystnb={"figure": {"caption": "Recall, precision and position error of the atoms of a simulated crystal against dose, one line for each pixel size. The dotted lines are the goals: 0.98, and 0.15 \u00c5. Notice that the dose matters more than the pixel size: no line meets all goals at 250 electrons per \u00c5\u00b2, and all do from 1000 on.", "name": "fig-atom-truth"}, "image": {"alt": "Three line plots against the dose: recall and precision reach 1, above their dotted line, and the position error falls below its dotted line."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for column, (panel, label, goal) in enumerate(
    zip(
        axes,
        ("recall", "precision", "position error (Å)"),
        (0.98, 0.98, 0.15),
        strict=True,
    )
):
    for size in pixel_sizes:
        values = [results[size, dose][column] for dose in doses]
        panel.plot(doses, values, "o-", markersize=4, label=f"{size} Å")
    panel.axhline(goal, color="0.5", linestyle=":", linewidth=1)
    panel.set(xscale="log", xlabel="electrons per Å²", ylabel=label)
    panel.set_xticks(doses, [f"{dose:.0f}" for dose in doses], rotation=45)
    panel.minorticks_off()
axes[0].legend(title="pixel");

# %% tags=["remove-input"]
table = np.array(list(results.values()))
met = (table[:, :2] >= 0.98).all(axis=1) & (table[:, 2] <= 0.15)
condition_doses = np.array([dose for _, dose in results])
failed_doses = [dose for dose in doses if not met[condition_doses == dose].all()]
enough = condition_doses > max(failed_doses, default=0)
record("conditions", len(table))
record("conditions_met", int(met.sum()))
record("enough_dose", float(condition_doses[enough].min()))
record("enough_conditions", int(enough.sum()))
record("worst_recall", float(table[enough, 0].min()))
record("worst_precision", float(table[enough, 1].min()))
record("worst_error", float(table[enough, 2].max()))
record("best_error", float(table[:, 2].min()))
record("least_dose", float(condition_doses.min()))
record("least_recall_low", float(table[condition_doses == min(doses), 0].min()))
record("least_recall_high", float(table[condition_doses == min(doses), 0].max()))
record("ring_low", float(np.nanmin(table[enough, 3])))
record("ring_high", float(np.nanmax(table[enough, 3])))

# %% [markdown]
# From {glue:text}`enough_dose:.0f` electrons per Å² upwards, all {glue:text}`enough_conditions:d`
# combinations reach a {term}`recall` and precision of at least 0.98 and a position error of at most
# 0.15 Å ({numref}`fig-atom-truth`). The published images were recorded at such doses: the paper
# states about 1000 to 10 000 electrons per Å². The worst recall among these combinations is
# {glue:text}`worst_recall:.3f`, the worst precision {glue:text}`worst_precision:.3f`, and the
# largest position error {glue:text}`worst_error:.3f` Å. The mean ring size lies between
# {glue:text}`ring_low:.3f` and {glue:text}`ring_high:.3f` atoms, where {eq}`eq-six` demands 6. The
# smallest position error of all is {glue:text}`best_error:.3f` Å. At {glue:text}`least_dose:.0f`
# electrons per Å² the recall is only {glue:text}`least_recall_low:.2f` to
# {glue:text}`least_recall_high:.2f`, because noise then decides where rings are found.
#
# What does an image at a given dose look like?

# %%
explore.dose_explorer()

# %% [markdown]
# ## A grain boundary
#
# Does the method also work where the {term}`lattice` is not perfect? A boundary contains pentagons
# and heptagons, which a method that assumes hexagons would miss.

# %% tags=["hide-input"]
size = 0.3
parameter = LATTICE_CONSTANT / size
pair = bicrystal(width + 24, (0.1, 0.1 + np.radians(18)), normal=0.3)
image = image_of(
    pair.positions - 12,  # the crystals reach 12 Å beyond the frame
    pair.numbers,
    width,
    size,
    dose=8000.0,
    rng=rng,
    margin=int(np.ceil(8 / size)),
)

# %%
atoms = find_atoms(image, parameter)
bonds = find_bonds(atoms.positions, parameter)
rings = find_rings(atoms.positions, bonds)
defects = find_defects(rings, atoms.positions, parameter)

# %% mystnb={"figure": {"caption": "A simulated grain boundary. Left: bonds in the colour of their direction modulo 60\u00b0, so that each grain has a colour of its own. Right: rings that are not hexagons. Yellow triangles, if there are any, mark gaps that are taken for vacancies. Notice that these rings lie along the boundary, and that most of them are pairs of a pentagon and a heptagon.", "name": "fig-boundary-rings"}, "image": {"alt": "Left: a noisy lattice whose bonds have one colour on the left and another on the right, with a colour wheel. Right: a chain of touching orange-red and blue polygons along the middle."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 4.6))
structure.show_bonds(left, image, atoms.positions, bonds, pixel_size=size)
structure.add_direction_key(left)
micrographs.show_micrograph(right, image, size)
structure.draw_rings(right, rings, atoms.positions, hexagons=False)
structure.mark_vacancies(right, defects)
structure.add_ring_legend(figure, (5, 7, 8))

# %% tags=["remove-input"]
true_rings = find_rings(pair.positions, pair.bonds)
outside = (
    (true_rings.centres < 12 + 3) | (true_rings.centres > width + 12 - 3)
).any(axis=1)
frame = ((rings.centres < 3 / size) | (rings.centres > (width - 3) / size)).any(
    axis=1
)
for count, name in ((5, "pentagons"), (7, "heptagons")):
    record(f"{name}_true", int(((true_rings.sizes == count) & ~outside).sum()))
    record(f"{name}_found", int(((rings.sizes == count) & ~frame).sum()))
gaps = [defect for defect in defects if defect.kind == "vacancy"]
record("vacancies_found", len(gaps))

# %% [markdown]
# For the most part. Away from the frame the relaxed structure has {glue:text}`pentagons_true:d`
# pentagons and {glue:text}`heptagons_true:d` heptagons; {glue:text}`pentagons_found:d` and
# {glue:text}`heptagons_found:d` are found ({numref}`fig-boundary-rings`). Where one is missed, a
# gap may be left that looks like a vacancy. No atom is missing in the structure, and the number of
# vacancies reported is {glue:text}`vacancies_found:d`. A single vacancy reported on a boundary is
# therefore no evidence of one.
#
# ## What does a mask do?
#
# How many doubtful atoms does a mask remove, and how many good ones does it cost? Inside
# contamination there is no single layer to resolve, so atoms reported there cannot be trusted. The
# recorded result (`python -m book.studies mask-effect`) counts atoms and bonds inside and outside
# the {term}`label`: without a mask, with the masks of the {term}`Bragg filter` and of
# {term}`our network`, each fitted without the image's {term}`acquisition`, and with the label
# itself as the mask. Nobody has marked the true atoms of these images. The table says where atoms
# are *reported*, not whether they are true.

# %% tags=["hide-input"]
effect = read_result("mask_effect")
counts = {name: np.array(rows) for name, rows in effect["counts"].items()}
named = {
    "none": "no mask",
    "bragg": "Bragg filter",
    "unet": "our network",
    "label": "label",
}

# %% tags=["remove-input"]
left = counts["label"][:, 1]  # outside the label, with the label as the mask
fractions = {key: 100 * table[:, 1] / left for key, table in counts.items()}
crowded = counts["none"][:, 0] > 0  # images with atoms to remove
removed = {
    key: 100 * (1 - table[crowded, 0] / counts["none"][crowded, 0])
    for key, table in counts.items()
}
rows = [
    [
        name,
        *(f"{total}" for total in counts[key].sum(axis=0)),
        f"{np.median(removed[key]):.1f} %",
        f"{np.median(fractions[key]):.1f} %",
        f"{fractions[key].min():.0f} %",
    ]
    for key, name in named.items()
]
heading = [
    "mask",
    "atoms inside the label",
    "atoms outside",
    "bonds inside",
    "bonds outside",
    "removed inside, median",
    "left outside, median",
    "left outside, least",
]
Markdown(markdown_table(heading, rows))

# %% tags=["remove-input"]
record("effect_images", len(effect["images"]))
record("effect_superposed", len(effect["superposed"]))
record("effect_faint", len(effect["faint"]))
record("effect_without", len(effect["without_lattice"]))
record("outside_label", int(left.sum()))
for key in ("none", "bragg", "unet"):
    table = counts[key]
    record(f"inside_{key}", int(table[:, 0].sum()))
    record(f"left_{key}", 100 * float(table[:, 1].sum() / left.sum()))
    record(f"median_left_{key}", float(np.median(fractions[key])))
    record(f"least_left_{key}", float(fractions[key].min()))
for key in ("bragg", "unet"):
    fraction = 1 - counts[key][:, 0].sum() / counts["none"][:, 0].sum()
    record(f"removed_{key}", 100 * float(fraction))
    record(f"median_removed_{key}", float(np.median(removed[key])))

# %% [markdown]
# Without a mask {glue:text}`inside_none:d` atoms are reported inside the labels of
# {glue:text}`effect_images:d` images. The mask of the Bragg filter removes
# {glue:text}`removed_bragg:.0f` % of them (median over images
# {glue:text}`median_removed_bragg:.0f` %), that of our network {glue:text}`removed_unet:.0f` %
# (median {glue:text}`median_removed_unet:.0f` %). So the Bragg filter leaves more than twice as
# many doubtful atoms as our network. Not counted are images in which atoms cannot be found at all:
# {glue:text}`effect_superposed:d` with two superposed lattices
# ({numref}`chapter %s <ch-structure>`), {glue:text}`effect_without:d` without a lattice, and
# {glue:text}`effect_faint:d` in which, under some mask, the signal of a single atom does not exceed
# the noise.
#
# What does it cost? If the label itself is the mask, {glue:text}`outside_label:d` atoms are
# reported outside of it. With the mask of the Bragg filter it is {glue:text}`left_bragg:.1f` % of
# this number (median over images {glue:text}`median_left_bragg:.1f` %, least
# {glue:text}`least_left_bragg:.0f` %), with that of our network {glue:text}`left_unet:.1f` %
# (median {glue:text}`median_left_unet:.1f` %, least {glue:text}`least_left_unet:.0f` %). On average
# both cost little; they differ most in the worst image. Without a mask it is
# {glue:text}`left_none:.1f` %: unmasked contamination does not prevent atoms from being found
# elsewhere, because the search measures noise and contrast in quiet areas of the image.
#
# ## Three situations
#
# What do gain and cost look like? Fig. 5 of the paper shows three situations. Here a rule chooses
# them among the images of one {term}`fold`, which the network has not seen:
#
# - *gain*: the image where the Bragg filter leaves the most atoms inside the label beyond those
#   that the network leaves;
# - *even*: of the images in which both masks keep at least 95 % of the atoms outside the label, the
#   one where the lower of their two {term}`Jaccard indices <Jaccard index>` is highest;
# - *cost*: the image where the Bragg filter removes the most atoms outside the label beyond those
#   that the network removes.
#
# No image is chosen twice.

# %%
unet = gs.load_model("fold_0")
unseen = np.flatnonzero(np.isin(stack.names, unet.card_["held_out"]))
if not len(unseen):  # images of another source: it has seen none of them
    unseen = crossval.splits(stack, "acquisition", folds=5)[0][1]
seen = np.setdiff1d(np.arange(len(stack)), unseen)
bragg = gs.BraggSegmenter(progress=False)
bragg.fit(stack.images[seen], stack.masks[seen])
part = stack.subset(unseen)
masks = {"bragg": bragg.predict(part.images), "unet": unet.predict(part.images)}

# %%
live = atoms_under_masks.mask_effect(part, masks, progress=False)
chosen = atoms_under_masks.situations(live, "unet", "bragg")

# %% tags=["hide-input"]
titles = {
    "gain": "Bragg: misses contamination",
    "even": "both: close to the label",
    "cost": "Bragg: masks lattice",
}

# %% mystnb={"figure": {"caption": "Bonds under the mask of the Bragg filter (left two columns) and of our network (right two), in the three situations chosen by the rule above: the Bragg filter misses contamination (top), both masks are close to the label (middle), the Bragg filter masks good lattice (bottom). Beside each image the part in which the two masks differ most is enlarged, with atoms as white dots. The mask is tinted orange-red, the label outlined in orange; bonds have the colour of their direction modulo 60\u00b0. Notice bonds in all colours where contamination is not masked, and in the third image also where the lattice is faint: atoms are not to be trusted there either.", "name": "fig-situations"}, "image": {"alt": "Three rows of four panels: micrographs in which each grain has bonds of one colour, with tinted masks and orange outlines, each beside an enlarged part with hexagons of bonds. Where only one method masks, the other draws bonds in many colours."}} tags=["hide-input"]
figure, axes = plt.subplots(
    len(chosen), 4, figsize=(11, 2.9 * len(chosen)), squeeze=False
)
for row, (situation, name) in zip(axes, chosen.items(), strict=True):
    number = part.names.index(name)
    parameter = live["lattice_parameter"][live["images"].index(name)]
    bragg_mask, network_mask = (mask[number] for mask in masks.values())
    box = paper_figures.largest_difference(bragg_mask, network_mask, side=64)
    for place, (method, mask) in enumerate(masks.items()):
        atoms = find_atoms(part.images[number], parameter, mask[number]).positions
        bonds = find_bonds(atoms, parameter)
        for panel, view, linewidth in (
            (row[2 * place], (slice(None), slice(None)), 0.8),
            (row[2 * place + 1], box, 2.0),
        ):
            corner = [side.start or 0 for side in view]
            structure.show_bonds(
                panel, part.images[number][view], atoms - corner, bonds,
                mask[number][view], LATTICE_CONSTANT / parameter,
                named[method] if linewidth < 1 else "enlarged", linewidth,
            )
            micrographs.overlay_mask(panel, part.masks[number][view])
            if linewidth > 1:
                panel.plot(*(atoms - corner).T[::-1], ".", color="white", markersize=3)
    row[0].set_ylabel(titles[situation])
structure.add_direction_key(axes[0, 2]);

# %% tags=["remove-input"]
for situation in ("gain", "even", "cost"):
    name = chosen.get(situation, live["images"][0])
    index = live["images"].index(name)
    for key in ("bragg", "unet"):
        inside, outside, *_ = live["counts"][key][index]
        ought = live["counts"]["label"][index][1]
        record(f"{situation}_inside_{key}", inside)
        record(f"{situation}_left_{key}", 100 * outside / max(ought, 1))
        record(f"{situation}_jaccard_{key}", live["jaccard"][key][index])

# %% [markdown]
# {numref}`fig-situations` shows the three. In the first, the Bragg filter leaves
# {glue:text}`gain_inside_bragg:d` atoms inside the label, our network
# {glue:text}`gain_inside_unet:d`. In the second, the masks have Jaccard indices of
# {glue:text}`even_jaccard_bragg:.2f` and {glue:text}`even_jaccard_unet:.2f` with the label, and
# keep {glue:text}`even_left_bragg:.1f` % and {glue:text}`even_left_unet:.1f` % of the atoms
# outside. In the third, the Bragg filter keeps {glue:text}`cost_left_bragg:.0f` % of them and our
# network {glue:text}`cost_left_unet:.1f` %. These are extremes of one fold; the table above is
# about all images. How do the bonds of the first image change with the mask?

# %% tags=["hide-input"]
first = next(iter(chosen.values()))
number = part.names.index(first)
parameter = live["lattice_parameter"][live["images"].index(first)]

# %%
explore.atoms_explorer(
    part.images[number],
    {
        "none": np.zeros_like(part.masks[number]),
        "Bragg filter": masks["bragg"][number],
        "our network": masks["unet"][number],
        "label": part.masks[number],
    },
    parameter,
    LATTICE_CONSTANT / parameter,
)

# %% [markdown]
# ## What this does not show
#
# - How accurate positions are in experimental images. The ground truth is simulated; it has the
#   physics of the crystals of {numref}`chapter %s <ch-structure>`, and nothing else that happens in
#   a microscope.
# - Anything about bilayers, adatoms and edges. The method assumes one layer in which atoms have
#   three bonds.
# - How many of the reported atoms are true. "Inside" and "outside" follow the label's outline,
#   which is itself uncertain ({numref}`chapter %s <ch-comparison>`): an atom next to it may be
#   counted on the wrong side. Atoms outside may be false too, and some inside may belong to lattice
#   that is visible through thin contamination.
# - How much the percentages would vary with other images. They have no
#   {term}`intervals <Interval>`; the medians and the worst image give an idea of the spread.
#
# ## On your own images
#
# ```
# graphseg analyse my_folder --output analysed
# ```
#
# writes atoms and bonds as CSV, and the structure as extended XYZ in Å for other programs. Compare
# your dose and pixel size with {numref}`fig-atom-truth` before you interpret single atoms.
#
# ## What was found
#
# - On simulated crystals, from {glue:text}`enough_dose:.0f` electrons per Å² upwards, atoms are
#   found with a recall and precision of at least 0.98 and a position error of at most 0.15 Å at
#   every pixel size tried, 0.2 to 0.5 Å.
# - On a simulated boundary {glue:text}`pentagons_found:d` of {glue:text}`pentagons_true:d`
#   pentagons and {glue:text}`heptagons_found:d` of {glue:text}`heptagons_true:d` heptagons are
#   found, with {glue:text}`vacancies_found:d` false vacancies.
# - Without a mask {glue:text}`inside_none:d` atoms are reported inside labelled contamination. The
#   Bragg filter removes {glue:text}`removed_bragg:.0f` % of them, our network
#   {glue:text}`removed_unet:.0f` %.
# - Of the atoms outside, {glue:text}`left_bragg:.1f` % are left with the mask of the Bragg filter
#   ({glue:text}`least_left_bragg:.0f` % in the worst image), and {glue:text}`left_unet:.1f` % with
#   that of our network ({glue:text}`least_left_unet:.0f` %).

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** How many atoms per nm² has {term}`graphene`? Derive it from $a = 2.46$ Å, count
# those of the simulated crystal, and compare.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
# Two atoms in a cell of area a²·√3/2.
expected = 2 / (LATTICE_CONSTANT**2 * np.sqrt(3) / 2) * 100
inner = ((sheet.positions > 0) & (sheet.positions < width)).all(axis=1)
counted = inner.sum() / (width / 10) ** 2
print(f"expected {expected:.1f}, counted {counted:.1f} atoms per nm²")

# %% [markdown]
# **Exercise 2.** {eq}`eq-six` says that the deficits $6-n$ of all rings add up to zero. Test it on
# the relaxed boundary, away from its rim: how many pentagons are not balanced by a heptagon?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
centres = true_rings.centres  # Å; the frame begins 12 Å inside of the crystal
within = ((centres > 15) & (centres < width + 9)).all(axis=1)
middle = true_rings.keep(true_rings.regular & within)
for count in (5, 6, 7):
    print(f"{(middle.sizes == count).sum()} rings of {count}")
print(f"sum of 6 − n: {(6 - middle.sizes).sum()}")
print(f"mean size: {middle.sizes.mean():.3f}")
# The frame may cut a pentagon from its heptagon; nothing else unbalances the sum.

# %% [markdown]
# **Exercise 3.** How far do the bonds of the relaxed boundary differ from 1.42 Å? Compare bonds of
# atoms in pentagons and heptagons with all others.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
ends = pair.positions[pair.bonds]  # (bonds, 2, 2) in Å
lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
other = true_rings.keep(np.isin(true_rings.sizes, (5, 7)))
odd = np.unique(np.concatenate(other.members))
strained = np.isin(pair.bonds, odd).any(axis=1)
for name, chosen_bonds in (("at odd rings", strained), ("elsewhere", ~strained)):
    found = lengths[chosen_bonds]
    print(f"{name}: {found.mean():.3f} ± {found.std():.3f} Å")

# %% [markdown]
# ## Check yourself
#
# 1. Why are the centres of hexagons found before the atoms?
#    - (a) Atoms are invisible.
#    - (b) Centres are brighter.
#    - (c) Centres are further apart, so their images do not overlap.
#
# 2. The mean ring size of a sheet without edges is …
#    - (a) 5
#    - (b) 6
#    - (c) 7
#    - (d) unknown
#
# 3. What decides most whether atoms are found?
#    - (a) the colour of the atoms
#    - (b) the pixel size
#    - (c) the dose
#
# 4. An atom that is reported inside contamination …
#    - (a) is a carbon atom of the sheet
#    - (b) cannot be trusted
#    - (c) is false
#
# 5. A mask that removes every atom inside the label is good …
#    - (a) only if it leaves those outside
#    - (b) if it is fast
#    - (c) in any case
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **c** – 2.46 Å instead of 1.42 Å; every triangle of centres then holds one atom.
# 2. **b** – By Euler's formula, whatever the defects, if every atom has three bonds.
# 3. **c** – The dose sets the noise, and all pixel sizes tried work from the same dose on.
# 4. **b** – There is no single layer to resolve, so it may be real or not.
# 5. **a** – A mask of the whole image would also remove every atom inside the label.
# :::

# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ch-own)=
# # Your own images
#
# What can be had from last night's folder by tomorrow, without writing code? It holds DM4 files
# from the microscope, of several sizes and magnifications, one of them cut short when the disk was
# full. And if the masks are not good enough for your images, how many labels does it take to mend
# that?
#
# **What you will be able to do**
#
# - get masks, atoms and a ranking from a folder with one command each, and know what every file
#   that comes out is;
# - read the table: what failed, what was rescaled, what is not to be trusted;
# - paint labels, check them, train a network on them, and score it without fooling yourself;
# - use that network in the same commands, and hand it to programs without Python.

# %% tags=["parameters"]
data_source: str = (
    "auto"  # only for the notice above: this chapter makes its own images
)
images: int = 4  # ordinary images in the folder of the night
acquisitions: int = 4  # of the images with labels; each gives four frames
epochs: int = 15  # of each training
learning_rate: float = 1.0e-3  # the highest of its cycle
precision: str = "auto"  # of the trainings: "auto", "float32" or "bfloat16"
seed: int = 12  # of the simulation

# %%
import csv
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import tifffile
from IPython.display import Markdown
from PIL import Image
from scipy import stats

import graphseg as gs
from book.tools.commandline import command_line
from book.tools.dm4 import write_dm4
from book.tools.notebook import record, show_source, timing
from book.tools.tables import markdown_table
from graphseg import metrics
from graphseg.colours import ORANGE, VERMILION
from graphseg.datasets.check import check_folder
from graphseg.io.micrographs import open_series
from graphseg.plotting import micrographs
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.configuration import GRAPHENE
from graphseg.unet import pretrained
from graphseg.unet.network import load_weights

micrographs.use_style()
show_source(gs.load_stack(data_source))
here = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A night at the microscope
#
# Everything on this page is simulated on the spot, so the truth is known. Besides ordinary images
# there are four special ones: a larger field, one at a higher magnification than the network knows,
# one at a much lower one, and one whose file does not state its pixel size.

# %%
kinds = {f"area_{i + 1}": {} for i in range(images)}
kinds |= {
    "large_field": {"size": 512},
    "fine_pixels": {"size": 400, "pixel_size": (0.2, 0.2)},
    "coarse_pixels": {"pixel_size": (0.9, 0.9)},
    "no_pixel_size": {},
}
samples = {
    name: gs.simulate(seed, number, replace(GRAPHENE, **changes))
    for number, (name, changes) in enumerate(kinds.items())
}

# %%
night = here / "night"
night.mkdir()
for name, sample in samples.items():
    stated = None if name == "no_pixel_size" else sample.pixel_size
    write_dm4(night / f"{name}.dm4", 4000 * sample.image, stated)
whole = (night / "area_1.dm4").read_bytes()
(night / "interrupted.dm4").write_bytes(whole[: len(whole) // 2]);

# %% [markdown]
# A first look, before anything is computed. Files are opened one after the other; pixels are read
# only when they are asked for.

# %%
rows = []
for path in sorted(night.iterdir()):
    try:
        with open_series(path) as series:
            first = series[0]
        size = " × ".join(map(str, first.image.shape))
        step = first.pixel_size
        rows.append([path.name, size, f"{step:.3f}" if step else "–"])
    except gs.InputError as error:
        rows.append([path.name, str(error).replace(str(here), "…"), "–"])
Markdown(markdown_table(["file", "pixels", "Å per pixel"], rows))

# %% [markdown]
# ## Masks for all of them
#
# One command. It runs here as it would in a terminal, with our network.

# %%
started = time.perf_counter()
code = command_line("graphseg segment night --output masks --overlays", here)
first_run = time.perf_counter() - started

# %% [markdown]
# The file that was cut short is named and skipped, everything else is done, and the exit code
# at the end is not zero, so that a script notices. This is what came out:
#
# | file | what it is |
# | :-- | :-- |
# | `NAME_mask.tif` | 255 where there is contamination, 0 elsewhere, with the pixel size |
# | `NAME_overlay.png` | the image with contamination in red (`--overlays`) |
# | `NAME_probability.tif` | the probability (`--probabilities float32`) |
# | `segment.csv` | one row for each image, also for those that failed |
# | `segment.html` | the same as a page with thumbnails, for a look in the browser |
# | `run.toml`, `run.log` | options, versions, what was left out or failed; `--config masks/run.toml` repeats the run |
#
# {numref}`fig-night` shows four of the masks, and this is a part of the table:

# %%
with open(here / "masks" / "segment.csv", newline="", encoding="utf-8") as file:
    table = list(csv.DictReader(file))
rows = [
    [
        row["file"].removeprefix("night/"),
        row["pixel_size"] or "–",
        row["pixel_size_from"] or "–",
        row["scale_factor"] or "–",
        row["contaminated_fraction"] or "–",
        row["flags"].replace(" ", ", ") or ("failed" if row["error"] else "–"),
    ]
    for row in table
]
heading = ["file", "Å per pixel", "known from", "resized by", "contaminated"]
Markdown(markdown_table([*heading, "flags"], rows))

# %% mystnb={"figure": {"caption": "Four images of the night with the mask that the command wrote (tinted) and the outline of the simulated contamination (line). Notice that the image with fine pixels, which the network saw reduced, has a mask on its own grid.", "name": "fig-night"}} tags=["hide-input"]
chosen = ["area_1", "large_field", "fine_pixels", "coarse_pixels"]
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
for axis, name in zip(axes, chosen, strict=True):
    sample = samples[name]
    mask = tifffile.imread(here / "masks" / f"{name}_mask.tif") > 0
    title = name.replace("_", " ")
    micrographs.show_micrograph(axis, sample.image, sample.pixel_size, title)
    micrographs.overlay_mask(axis, mask, VERMILION, tint=0.4, linewidth=0)
    micrographs.overlay_mask(axis, sample.mask, ORANGE)

# %% tags=["remove-input"]
scores = {
    name: metrics.scores(
        metrics.counts(
            sample.mask,
            tifffile.imread(here / "masks" / f"{name}_mask.tif") > 0,
        )
    )["jaccard"]
    for name, sample in samples.items()
}
failed = [row for row in table if row["error"]]
flags = {row["name"]: row["flags"].split() for row in table}
outside = [name for name, found in flags.items() if "outside_known_scale" in found]
unlike = [name for name, found in flags.items() if "out_of_distribution" in found]
fine = next(row for row in table if row["name"] == "fine_pixels")
record("failed", len(failed))
record("exit_code", code)
for name, found in (("outside", outside), ("unlike", unlike)):
    record(name, ", ".join(found).replace("_", " ") or "none")
plain = [name for name in unlike if name.startswith("area_")]
record("false_alarms", len(plain))
record("areas", images)
record("factor", float(fine["scale_factor"]))
record(
    "jaccard_areas",
    float(np.mean([scores[f"area_{i + 1}"] for i in range(images)])),
)
record("jaccard_fine", scores["fine_pixels"])
record("jaccard_coarse", scores["coarse_pixels"])
known = load_weights(pretrained.FOLDER / "default.safetensors")[0]["card"]
record("known_low", known["pixel_sizes"][0])
record("known_high", known["pixel_sizes"][1])

# %% [markdown]
# ### What the pixel size does
#
# The network knows lattices at {glue:text}`known_low:.2f` to {glue:text}`known_high:.2f` Å per
# pixel. An image with finer pixels is reduced first, here by {glue:text}`factor:.2f`, and the
# result comes back on the image's own grid. Where the file states no pixel size, it is measured
# from the lattice; how far off that can be, the lattice constants further down show. An image with
# coarser pixels is taken as it is, because enlarging it makes the mask worse, and gets a warning
# and the flag `outside_known_scale`. Use `--pixel-size 0.35` if the files are wrong about it.
#
# ### What the flags say
#
# Outside of the known pixel sizes: {glue:text}`outside:s`. Unlike the images that the network was
# trained on (flag `out_of_distribution`, {ref}`ch-trust`): {glue:text}`unlike:s`. Of the
# {glue:text}`areas:d` ordinary images that flag marks {glue:text}`false_alarms:d`; each is a false
# alarm. The Jaccard index with the truth is {glue:text}`jaccard_areas:.2f` on the ordinary images,
# {glue:text}`jaccard_fine:.2f` with fine pixels and {glue:text}`jaccard_coarse:.2f` with coarse
# ones. A flag does not say that a mask is wrong: it says that nobody has measured how good the
# masks of such images are.
#
# ### Interrupted? Say it again
#
# What is finished is skipped, so the same command resumes after a crash, a full disk or a
# night that was too short. Nothing is replaced unless `--overwrite` is said.

# %%
before = {p.name: p.stat().st_mtime_ns for p in (here / "masks").glob("*.tif")}
started = time.perf_counter()
command_line("graphseg segment night --output masks --overlays", here)
second_run = time.perf_counter() - started
after = {p.name: p.stat().st_mtime_ns for p in (here / "masks").glob("*.tif")}

# %% tags=["remove-input"]
record("rewritten", sum(after[name] != before[name] for name in before))
timing("first_seconds", first_run)
timing("second_seconds", second_run)

# %% [markdown]
# The first run took {glue:text}`first_seconds:.1f` s, the second {glue:text}`second_seconds:.1f` s
# and rewrote {glue:text}`rewritten:d` masks; the broken file was tried again. With many images,
# `--workers 4` spreads them over the cores, and `--scheduler ADDRESS` over the machines of a Dask
# cluster.
#
# ### Images of any size
#
# An image larger than a tile is cut into tiles that overlap by more than the network sees, so that
# a tile's edge leaves no trace. To show it, the large field is predicted whole and in small tiles.

# %%
image = samples["large_field"].image[None]
networks = [
    gs.load_model(test_time_augmentation=False, tile=tile, precision="float32")
    for tile in (1024, 416)
]
at_once, in_tiles = (network.predict(image) for network in networks)
record("tiles_pixels", at_once.size)
record("tiles_differ", int((at_once != in_tiles).sum()))

# %% [markdown]
# The masks differ in {glue:text}`tiles_differ:d` of {glue:text}`tiles_pixels:d` pixels. Memory is
# needed for one tile and the result, so 8192 × 8192 pixels fit into an ordinary computer.
#
# ## Atoms, and which image first
#
# The same folder, two more commands. `analyse` writes the map of four classes of
# {ref}`ch-structure` and the atoms, bonds and defects of {ref}`ch-atoms`; `sort` ranks the images
# as in {ref}`ch-sorting`.

# %%
command_line(
    'graphseg analyse "night/area_*.dm4" --output atoms --no-structures', here
)
command_line("graphseg sort night --output ranking", here);

# %%
with open(here / "atoms" / "analyse.csv", newline="", encoding="utf-8") as file:
    analysed = list(csv.DictReader(file))
columns = [
    "name",
    "lattice_parameter",
    "atoms",
    "rings_5",
    "rings_6",
    "rings_7",
]
columns += ["contamination_nm2"]
rows = [[row[column] or "–" for column in columns] for row in analysed]
heading = ["image", "lattice constant (Å)", "atoms", "pentagons", "hexagons"]
heading += ["heptagons", "contamination (nm²)"]
Markdown(markdown_table(heading, rows))

# %%
with open(here / "ranking" / "sort.csv", newline="", encoding="utf-8") as file:
    ranking = [row for row in csv.DictReader(file) if row["rank"]]
rows = [[row["rank"], row["name"], row["clean_fraction"]] for row in ranking]
Markdown(markdown_table(["rank", "image", "clean fraction"], rows))

# %% tags=["remove-input"]
record("atoms_found", sum(int(row["atoms"] or 0) for row in analysed))
record("cleanest", ranking[0]["name"].replace("_", " "))
constants = [
    float(row["lattice_parameter"])
    for row in analysed
    if row["lattice_parameter"]
]
deviation = max(abs(one / LATTICE_CONSTANT - 1) for one in constants)
record("lattice_error", 100 * deviation)

# %% [markdown]
# The lattice constants are at most {glue:text}`lattice_error:.1f` % off the 2.46 Å of graphene that
# was put in, under strains of up to 1 %; a pixel size measured from the lattice is off by as much.
# `NAME_atoms.csv` has the position of each of the {glue:text}`atoms_found:d` atoms in pixels and
# Å, `NAME_bonds.csv` and `NAME_defects.csv` what they form; without `--no-structures` there is also
# an extended XYZ file for other programs. The cleanest image is {glue:text}`cleanest:s`.

# %% [markdown]
# ## One micrograph, in Python
#
# The same steps for a single image in a notebook or a script. `segment` takes what `read` returned,
# a path, a two-dimensional array or a HyperSpy signal; it finds the scale and raises the same flags
# as the command.

# %%
micrograph = gs.read(night / "area_1.dm4")
result = gs.segment(micrograph)
structure = gs.analyse(micrograph, result)
result.save(here / "area_1_mask.tif")
result.flags, result.quality

# %% mystnb={"figure": {"caption": "The first image of the night with the outline of its mask, as `result.plot()` draws it. Notice that the lattice stays outside of the outline.", "name": "fig-one-micrograph"}}
result.plot();

# %% tags=["remove-input"]
written = tifffile.imread(here / "masks" / "area_1_mask.tif") > 0
record("python_differs", int((result.mask != written).sum()))
record("python_atoms", len(structure.atoms.positions))
record("python_fraction", 100 * result.contaminated_fraction)

# %% [markdown]
# {glue:text}`python_fraction:.1f` % of it is contaminated ({numref}`fig-one-micrograph`), and
# {glue:text}`python_atoms:d` atoms are found outside. The mask differs from that of the command in
# {glue:text}`python_differs:d` pixels.
#
# ## When the masks are not good enough
#
# Another microscope, much less dose: images that the network has never seen. Four frames of each
# acquisition were labelled.

# %%
contaminant = replace(GRAPHENE.contaminant, clean_fraction=0.0, coverage=(0.5, 1.5))
faint = replace(
    GRAPHENE.detector, dose=(500.0, 800.0), noise_fraction=1.0, faint_fraction=0.0
)
other = replace(GRAPHENE, detector=faint, contaminant=contaminant)
labels = here / "my_labels"
labels.mkdir()
for number in range(acquisitions):
    sample = gs.simulate(seed, number, other)
    image, mask = (
        part.reshape(2, 128, 2, 128) for part in (sample.image, sample.mask)
    )
    for frame, (row, column) in enumerate(np.ndindex(2, 2)):
        path = labels / f"sample_{number}_layer_{frame:04d}.png"
        grey = np.rint(255 * image[row, :, column]).astype(np.uint8)
        Image.fromarray(grey).save(path)
        label = np.where(mask[row, :, column], np.uint8(255), np.uint8(0))
        Image.fromarray(label).save(path.with_stem(f"{path.stem}_LABEL"))

# %% [markdown]
# ### Painting labels
#
# Here the labels are the simulated truth. Yours have to be painted, and the widget for it needs a
# running notebook (`make lab`), so on this page there is only its call:
#
# ```python
# import graphseg as gs
# from graphseg.plotting.painter import LabelPainter
#
# LabelPainter("my_labels", start=gs.load_model())
# ```
#
# It shows one image of the folder at a time with the mask of the network as the starting point:
# correcting is quicker than painting. There are a brush and an eraser of adjustable size, undo and
# redo, and a slider for how strongly the label covers the image. *Save* writes `NAME_LABEL.png`
# beside `NAME.png`, and refuses to replace a label that exists until a box is ticked. For more
# kinds of things than one, say `classes=("contamination", "vacuum")`; they are saved as the grey
# values 1 and 2.
#
# Names matter: `sample_7_layer_0001` and `sample_7_layer_0002` are frames of one acquisition, which
# is what the cross-validation keeps together.
#
# ### Checking the folder
#
# Before anything is trained the folder is checked. Two mistakes are made here on purpose: a label
# is missing, and an image was copied to a new name, as if it were another acquisition.

# %%
spoilt = here / "spoilt"
spoilt.mkdir()
for path in labels.iterdir():
    if path.name != "sample_0_layer_0001_LABEL.png":
        (spoilt / path.name).write_bytes(path.read_bytes())
for ending in (".png", "_LABEL.png"):
    copied = spoilt / f"sample_0_layer_0000{ending}"
    (spoilt / f"again{ending}").write_bytes(copied.read_bytes())
report = check_folder(spoilt)
print(str(report).replace(str(here), "…"))

# %% [markdown]
# An error stops `graphseg train`; a warning is for you to judge. The second one matters most: a
# copy on the other side of a split makes a network look better than it is.
#
# ### Training, and an honest score
#
# Training starts from the weights of our network. Before the final training on all images, it is
# repeated with each acquisition left out in turn, which gives the score. Images may have any size,
# pixel size and format: each is brought to the scale that `graphseg segment` brings it to, before
# the training and in every score.

# %%
code = command_line(
    "graphseg train my_labels --output my_unet.safetensors"
    f" --folds {acquisitions} --set epochs={epochs}"
    f" --set learning_rate={learning_rate} --set precision={precision}"
    " --set test_time_augmentation=False",
    here,
)

# %% tags=["remove-input"]
card = load_weights(here / "my_unet.safetensors")[0]["card"]
validated = card["cross_validation"]
for average, key in (("pooled", ""), ("per_image", "image_")):
    parts = {
        "before": validated["before_training"][average]["jaccard"],
        "after": validated["mean_and_spread"][average]["jaccard"],
        "gain": validated["gain"][average],
    }
    for name, (mean, spread) in parts.items():
        record(f"{key}{name}_mean", mean)
        record(f"{key}{name}_spread", spread)
record("frames", 4 * acquisitions)
record("acquisitions", acquisitions)
# Of the mean over folds, as if they were independent: Student's t.
factor = stats.t.ppf(0.975, acquisitions - 1) / acquisitions**0.5
intervals = {
    average: [mean, mean - factor * spread, mean + factor * spread]
    for average, (mean, spread) in validated["gain"].items()
}
clear = [low > 0 for _, low, _ in intervals.values()]
record(
    "verdict",
    "Both intervals lie above zero: the labels were worth it"
    if all(clear)
    else "One interval lies above zero, the other does not: it takes more labels to settle it"
    if any(clear)
    else "Neither interval lies above zero: these labels have not been shown to be worth it",
)

# %% tags=["hide-input"]
rows = []
for average, ends in intervals.items():
    before = validated["before_training"][average]["jaccard"]
    after = validated["mean_and_spread"][average]["jaccard"]
    gain = [f"{value:+.2f}".replace("-", "\u2212") for value in ends]
    cells = ["{:.2f} ± {:.2f}".format(*pair) for pair in (before, after)]
    cells += [gain[0], f"{gain[1]} to {gain[2]}"]
    rows.append([average.replace("_", " "), *cells])
heading = ["Jaccard index", "before", "after", "gain inside folds", "95 % interval"]
Markdown(markdown_table(heading, rows))

# %% [markdown]
# The table has mean and standard deviation of single folds; before means our network as it came.
# The gain is that inside the folds, with the interval of its mean over {glue:text}`acquisitions:d` folds
# (Student's t). {glue:text}`verdict:s`. Always read the gain, by both averages. Where your images
# are like those that the network knows, a training on a few labels gains nothing and may lose
# something. Where the gain per image is no larger than its standard error, the last line of the
# command says to keep the default network.
#
# With a single acquisition there is nothing to leave out: the network is trained all the same, and
# its card says that its score is unknown. A training that is killed continues when the command is
# given again; finished folds are not repeated.
#
# The card lies in the weight file, and beside it as `my_unet_card.json`: digest of the data,
# classes with their grey values, pixel sizes, scores with their spread, recipe and versions.
#
# Labels may have any number of classes, one grey value each. `--contamination 255` says which of
# them mean contamination; the others are clean, whatever they are. With more than two, `segment`
# also writes `NAME_classmap.tif` with the grey values of your labels, and where it says
# contamination agrees with the mask. A class that the network has never heard of takes more
# images and more steps than contamination, which it knows; its score is printed by itself.
#
# ### Using it
#
# The weight file goes where our network was:

# %%
new = gs.simulate(seed, acquisitions, other)
(here / "tonight").mkdir()
write_dm4(here / "tonight" / "faint.dm4", 4000 * new.image, new.pixel_size)
command_line("graphseg segment tonight --output usual", here)
command_line(
    "graphseg segment tonight --output mine --model my_unet.safetensors", here
);

# %% mystnb={"figure": {"caption": "An image of the other microscope, of an acquisition that no network has seen: as recorded, with the mask of our network, and with that of the network trained on the labels (tinted), both with the outline of the simulated contamination (line). Notice where the two masks differ.", "name": "fig-own-network"}} tags=["hide-input"]
found = {
    name: tifffile.imread(here / name / "faint_mask.tif") > 0
    for name in ("usual", "mine")
}
figure, axes = plt.subplots(1, 3, figsize=(8.5, 3.1))
titles = ("as recorded", "our network", "trained on own labels")
for axis, title, mask in zip(
    axes, titles, (None, *found.values()), strict=True
):
    micrographs.show_micrograph(axis, new.image, new.pixel_size, title)
    if mask is not None:
        micrographs.overlay_mask(
            axis, mask, VERMILION, tint=0.4, linewidth=0
        )
        micrographs.overlay_mask(axis, new.mask, ORANGE)

# %% tags=["remove-input"]
for name, mask in found.items():
    value = metrics.scores(metrics.counts(new.mask, mask))["jaccard"]
    record(f"new_{name}", value)

# %% [markdown]
# On the image of {numref}`fig-own-network` the Jaccard index is {glue:text}`new_usual:.2f` with our
# network and {glue:text}`new_mine:.2f` with the new one. One image is an
# illustration; the cross-validation above is the measurement.
#
# ### Without Python
#
# ONNX is a format that programs in other languages read. The command writes it only if ONNX Runtime
# gives the probabilities of PyTorch to within $10^{-4}$.

# %%
command_line("graphseg export my_unet.safetensors --output my_unet.onnx", here)
session = onnxruntime.InferenceSession(here / "my_unet.onnx")
(probability,) = session.run(None, {"image": new.image[None]})
probability.shape

# %% [markdown]
# The file takes images of any size and scale and does the standardising itself; what it does not do
# is rescaling by pixel size, tiling and test-time augmentation.
#
# ## What this does not show
#
# - The images are simulated, and so are the mistakes in them. A real folder has drift, saturated
#   pixels and dust on the camera.
# - Labels that follow the truth exactly do not exist. People differ, and a network learns the habit
#   of whoever labelled; have a few images labelled twice before you trust a third decimal.
# - The spread is that of a few folds. It says how much acquisitions differ, not how well the mean
#   is known.
#
# ## What was found
#
# - One command makes masks of a whole folder; {glue:text}`failed:d` broken file was reported and
#   skipped, and a second run rewrote {glue:text}`rewritten:d` masks.
# - Where an image lies outside of the known pixel sizes, or is unlike the training images, the
#   table says so: here {glue:text}`outside:s`, and {glue:text}`unlike:s`.
# - On images of another microscope, {glue:text}`frames:d` labelled frames of
#   {glue:text}`acquisitions:d` acquisitions changed the pooled Jaccard index from
#   {glue:text}`before_mean:.2f` to {glue:text}`after_mean:.2f` on acquisitions that were left out.

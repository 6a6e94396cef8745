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
# What can you get from a folder of last night's images without writing code? It contains DM4 files
# from the microscope, of several sizes and magnifications, one of them truncated because the disk
# was full. And if the {term}`masks <Mask>` are not good enough, how many {term}`labels <Label>`
# does it take to improve them?
#
# **What you will be able to do**
#
# - get masks, atoms and a ranking from a folder with one command each, and know what each output
#   file is;
# - read the table: which files failed, which images were rescaled, and which masks not to trust;
# - correct masks or paint labels, check them, train a network on them, and score it without bias;
# - use that network in the same commands, and export it for programs without Python.

# %% mystnb={"code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
data_source: str = "auto"  # of the notice above: this chapter makes its own images
images: int = 4  # ordinary images in the folder of the night
acquisitions: int = 4  # of the images with labels; each gives four frames
epochs: int = 15  # of each training
learning_rate: float = 1.0e-3  # the highest of its cycle
precision: str = "auto"  # of the trainings: "auto", "float32" or "bfloat16"
seed: int = 12  # of the simulation

# %% mystnb={"code_prompt_show": "Show the imports"} tags=["hide-input"]
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
from book.tools.commandline import command_line, watching_command
from book.tools.dm4 import write_dm4
from book.tools.notebook import record, show_source, timing
from book.tools.tables import RESULTS_FOLDER, markdown_table
from graphseg import metrics
from graphseg.batch.masks import MaskFolder
from graphseg.colours import MASK_COLOUR
from graphseg.datasets.check import check_folder
from graphseg.evaluation import records
from graphseg.io.micrographs import open_series
from graphseg.plotting import micrographs
from graphseg.plotting.review import Review
from graphseg.simulation import LATTICE_CONSTANT
from graphseg.simulation.configuration import GRAPHENE
from graphseg.unet import pretrained
from graphseg.unet.network import load_weights

# %% tags=["hide-input"]
micrographs.use_style()
show_source(gs.load_stack(data_source))
here = Path(tempfile.mkdtemp())

# %% [markdown]
# ## A night at the microscope
#
# All images of this page are simulated while it is built, so the ground truth is known. Besides
# ordinary images there are four special ones: one of a larger field, one at a higher magnification
# than those that the network was trained on, one at a much lower magnification, and one whose file
# does not state its {term}`pixel size`.

# %% tags=["hide-input"]
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
night = here / "night"
night.mkdir()
for name, sample in samples.items():
    stated = None if name == "no_pixel_size" else sample.pixel_size
    write_dm4(night / f"{name}.dm4", 4000 * sample.image, stated)
whole = (night / "area_1.dm4").read_bytes()
(night / "interrupted.dm4").write_bytes(whole[: len(whole) // 2]);

# %% [markdown]
# What is in the folder? Files are opened one after the other, and pixels are read only when they
# are needed.

# %% tags=["hide-input"]
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
# One command segments the folder with {term}`our network`. It runs here as it would in a terminal:

# %% tags=["remove-input"]
started = time.perf_counter()
code = command_line("graphseg segment night --output masks --overlays", here)
first_run = time.perf_counter() - started

# %% [markdown]
# The truncated file is named and skipped, all other files are processed, and the exit code at the
# end is not zero, so that a script notices. These are the output files:
#
# | file | what it is |
# | :-- | :-- |
# | `NAME_mask.tif` | the mask: 255 where there is {term}`contamination`, 0 elsewhere; with the pixel size |
# | `NAME_overlay.png` | the image with contamination in orange-red (`--overlays`) |
# | `NAME_probability.tif` | the probability of contamination (`--probabilities float32`) |
# | `segment.csv` | the table: one row for each image, also for those that failed |
# | `segment.html` | the report: the table with pictures, as a page to look through |
# | `run.toml`, `run.log` | options, versions, files that were left out or failed; `--config masks/run.toml` repeats the run |
#
# {numref}`fig-night` shows four of the masks. This is an extract of the table:

# %% tags=["remove-input"]
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

# %% mystnb={"figure": {"caption": "Four images of the night with the mask that the command wrote (orange-red) and the outline of the simulated contamination (orange). Notice that the image with fine pixels has a mask on its own grid, although the network saw it reduced.", "name": "fig-night"}, "image": {"alt": "Four micrographs of different field and pixel size, each with red-tinted patches that fill orange outlines."}} tags=["hide-input"]
chosen = ["area_1", "large_field", "fine_pixels", "coarse_pixels"]
figure, axes = plt.subplots(1, 4, figsize=(10, 2.9))
for axis, name in zip(axes, chosen, strict=True):
    sample = samples[name]
    mask = tifffile.imread(here / "masks" / f"{name}_mask.tif") > 0
    title = name.replace("_", " ")
    micrographs.show_micrograph(axis, sample.image, sample.pixel_size, title)
    micrographs.overlay_mask(axis, mask, MASK_COLOUR, tint=0.4, linewidth=0)
    micrographs.overlay_mask(axis, sample.mask)

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
record("look_first", sum(row["look_first"] == "yes" for row in table))
record("images_done", len(table) - len(failed))
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

# %% tags=["remove-input"]
known = load_weights(pretrained.FOLDER / "default.safetensors")[0]["card"]
record("known_low", known["pixel_sizes"][0])
record("known_high", known["pixel_sizes"][1])

# %% [markdown]
# ### The report
#
# `masks/segment.html` opens in a browser and works offline. Each image has a row with its picture,
# its contaminated fraction, its expected quality and the reasons to check it; a tooltip explains
# each word. A click on a heading sorts the rows, and the boxes below the headings filter them: here
# {glue:text}`look_first:d` of {glue:text}`images_done:d` images should be checked first. A click on
# an image opens it: {term}`micrograph`, overlay, mask and probability with a scale bar, a slider
# that shows the mask at another {term}`threshold`, and the files. *Compare* keeps an image on the
# left while you go on to others. All of this also works with the keyboard. The report of `analyse`
# can in addition be sorted by defects and by the length of boundaries.
#
# ### What does the pixel size do?
#
# The network was trained on images with $a_1$ = {glue:text}`known_low:.2f` to $a_2$ =
# {glue:text}`known_high:.2f` Å per pixel. An image with finer pixels is first reduced to the middle
# of this range: if its pixels have the size $a$, its sides are multiplied by
#
# $$ f = \begin{cases} a / \sqrt{a_1 a_2} & \text{if } a < a_1, \\ 1 & \text{otherwise,}
# \end{cases} $$ (eq-reduction)
#
# here by {glue:text}`factor:.2f`, and the mask is returned on the image's own grid. (Pixels that
# are finer by a few per cent only are left as they are.) Where the file states no pixel size, it is
# measured from the {term}`lattice`; the {term}`lattice constants <Lattice constant>` below show how
# large the error can be. An image with coarser pixels is used as it is, because enlarging it makes
# the mask worse; it gets a warning and the {term}`flag` `outside_known_scale`. If the pixel size in
# the files is wrong, state it with `--pixel-size 0.35`.
#
# ### What do the flags say?
#
# Images outside the known pixel sizes (flag `outside_known_scale`): {glue:text}`outside:s`. Images
# unlike those that the network was trained on (flag `out_of_distribution`,
# {numref}`chapter %s <ch-other>`): {glue:text}`unlike:s`. Of the {glue:text}`areas:d` ordinary
# images, the latter flag marks {glue:text}`false_alarms:d`; each of these would be a false alarm.
# The {term}`Jaccard index` with the truth is {glue:text}`jaccard_areas:.2f` for the ordinary
# images, {glue:text}`jaccard_fine:.2f` with fine pixels and {glue:text}`jaccard_coarse:.2f` with
# coarse ones. A flag does not mean that a mask is wrong. It means that nobody has measured how good
# the masks of such images are.
#
# ### Interrupted? Repeat the command
#
# Finished images are skipped, so the same command {term}`resumes <Resume>` after a crash, a full
# disk or an interruption. Nothing is replaced unless `--overwrite` is given.

# %% tags=["remove-input"]
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
# and rewrote {glue:text}`rewritten:d` masks; only the truncated file was tried again. A single
# process uses all cores. If more than five minutes of work are left, further processes start, as
# many as cores and memory allow (`--workers 4`: at most four). `--scheduler ADDRESS` uses the
# machines of a Dask cluster.
#
# ### While the microscope still runs
#
# With `--watch`, the command keeps running and processes files as they are completed, until Ctrl-C.
# Here two files arrive in an empty folder, one after the other:

# %% tags=["remove-input"]
(here / "tonight").mkdir()
arrivals = {
    night / f"{name}.dm4": f"live/{name}_mask.tif" for name in ("area_1", "area_2")
}
watching_command(
    "graphseg segment tonight --output live --watch", here, arrivals
);

# %% [markdown]
# Files that are still being written have to wait. Table and report are updated with each image.
# Reload the report to see the new ones; its order and filters are kept.
#
# ### Images of any size
#
# An image larger than a tile is divided into tiles that overlap by more than the
# {term}`receptive field` of the network, so that the edges of tiles should leave no trace. Is this
# true? The large field is predicted as a whole and in small tiles.

# %%
image = samples["large_field"].image[None]
networks = [
    gs.load_model(test_time_augmentation=False, tile=tile, precision="float32")
    for tile in (1024, 416)
]
at_once, in_tiles = (network.predict(image) for network in networks)

# %% tags=["remove-input"]
record("tiles_pixels", at_once.size)
record("tiles_differ", int((at_once != in_tiles).sum()))

# %% [markdown]
# The masks differ in {glue:text}`tiles_differ:d` of {glue:text}`tiles_pixels:d` pixels. Memory is
# needed only for one tile and the result, so an image of 8192 × 8192 pixels fits into the memory of
# an ordinary computer.
#
# ## Atoms, and the best images first
#
# Two more commands work on the same folder. `analyse` writes the map of four classes of
# {numref}`chapter %s <ch-structure>` and the atoms, {term}`bonds <Bond>` and defects of
# {numref}`chapter %s <ch-atoms>`; `sort` ranks the images as in {numref}`chapter %s <ch-sorting>`.

# %% tags=["remove-input"]
command_line(
    'graphseg analyse "night/area_*.dm4" --output atoms --no-structures', here
)
command_line("graphseg sort night --output ranking", here);

# %% tags=["remove-input"]
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

# %% tags=["remove-input"]
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
# The lattice constants differ by at most {glue:text}`lattice_error:.1f` % from the 2.46 Å of the
# simulated {term}`graphene`, which is strained by up to 1 %; a pixel size measured from the lattice
# has the same error. `NAME_atoms.csv` lists the position of each of the {glue:text}`atoms_found:d`
# atoms in pixels and in Å; `NAME_bonds.csv`, `NAME_rings.csv` and `NAME_defects.csv` list what they
# form. The headings state the unit and direction of each axis. Without `--no-structures`, an
# extended XYZ file for other programs is written, too. The cleanest image of the ranking is
# {glue:text}`cleanest:s`.

# %% [markdown]
# ## One micrograph, in Python
#
# The same steps can be done for a single image in a notebook or a script. `segment` accepts a
# micrograph returned by `read`, a path, a two-dimensional array or a HyperSpy signal. It finds the
# scale and sets the same flags as the command.

# %%
import graphseg as gs

micrograph = gs.read(night / "area_1.dm4")
result = gs.segment(micrograph)
structure = gs.analyse(micrograph, result)
result.save(here / "area_1_mask.tif")
result.flags, result.quality

# %% mystnb={"figure": {"caption": "The first image of the night with its mask, as drawn by `result.plot()`. Notice that the clean lattice lies outside the mask.", "name": "fig-one-micrograph"}, "image": {"alt": "A micrograph of bright dots in rows; patches of a coarse texture are tinted red and outlined."}}
result.plot();

# %% tags=["remove-input"]
written = tifffile.imread(here / "masks" / "area_1_mask.tif") > 0
record("python_differs", int((result.mask != written).sum()))
record("python_atoms", len(structure.atoms.positions))
record("python_fraction", 100 * result.contaminated_fraction)

# %% [markdown]
# Of this image {glue:text}`python_fraction:.1f` % is contaminated ({numref}`fig-one-micrograph`),
# and {glue:text}`python_atoms:d` atoms are found outside the mask. The mask differs from that of
# the command in {glue:text}`python_differs:d` pixels.
#
# ## When the masks are not good enough
#
# Suppose the images come from another microscope and have a much lower {term}`dose`, unlike any
# image that the network has seen. Four frames of each {term}`acquisition` were labelled.

# %% tags=["hide-input"]
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
# ### Correcting the masks of a run
#
# Correcting a mask takes less time than painting a label. This command opens a page in the browser
# that shows the images of a run one by one, beginning with those that most need checking:
#
# ```
# graphseg review masks
# ```
#
# There you move the {term}`threshold`, paint, erase and undo, and accept the mask when it is right.
# The mask of the network is left as it is. The corrected mask is written beside it as
# `NAME_corrected.tif`, and the reviewed pixels as `NAME_reviewed.tif`: those that you painted, or
# all pixels of an image that you accepted. Every stroke is saved at once, so the next start
# continues where the last one stopped. Here the first image gets another threshold and is accepted,
# in the way the page does it:

# %% tags=["remove-input"]
walk = Review(MaskFolder(here / "masks"))
reviewed = walk.names[0]
start = walk.masks.read(reviewed)[0].mean()
for step in ({"kind": "ready"}, {"kind": "threshold", "value": 0.3}, {"kind": "accept"}):
    walk.receive(step | {"view": 1}, b"")
print(walk.summary().replace(f"{here}/", ""))
record("reviewed", reviewed.replace("_", " "))
record("reviewed_before", 100 * start)
record("reviewed_after", 100 * walk.masks.read(reviewed)[0].mean())

# %% [markdown]
# In the image {glue:text}`reviewed:s`, {glue:text}`reviewed_before:.1f` % of the pixels were
# contaminated according to the network, and {glue:text}`reviewed_after:.1f` % are with a threshold
# of 0.3. With `--masks`, the other commands use the masks of the folder instead of a network:

# %% tags=["remove-input"]
command_line(
    'graphseg sort "night/area_*.dm4" --output again --masks masks', here
);

# %% [markdown]
# `graphseg train masks --output my_unet.safetensors` learns from the reviewed pixels. The other
# pixels are unknown and count neither in the training nor in the scores. A caution: a mask that you
# accepted without a change agrees perfectly with the network that made it, so the score *before*
# the training is too high.
#
# ### Painting labels
#
# On this page the simulated truth takes the place of labels; yours have to be painted. That is done
# on the page that corrects masks: give it a folder of images instead of the masks of a run.
#
# ```
# graphseg review my_labels --model default
# graphseg review my_labels --classes boundary,vacuum
# ```
#
# With `--model`, a label starts with the contamination that this network finds: correcting is
# quicker than painting. Without it, the label is empty at first. *Accept* writes `NAME_LABEL.png`
# beside the image. Until then your strokes are a draft, with which the next start continues. A
# label that exists is shown but never replaced, unless you add `--overwrite`. Contamination alone
# is saved as the grey value 255, several classes as 1, 2 and so on, in the order of `--classes`.
#
# Names matter: `sample_7_layer_0001` and `sample_7_layer_0002` are frames of one acquisition, and
# the {term}`cross-validation` keeps them together.
#
# ### Checking the folder
#
# Before the training, the folder is checked. This one contains two deliberate mistakes: a label is
# missing, and an image was copied under a new name, as if it came from another acquisition.

# %% tags=["hide-input"]
spoilt = here / "spoilt"
spoilt.mkdir()
for path in labels.iterdir():
    if path.name != "sample_0_layer_0001_LABEL.png":
        (spoilt / path.name).write_bytes(path.read_bytes())
for ending in (".png", "_LABEL.png"):
    copied = spoilt / f"sample_0_layer_0000{ending}"
    (spoilt / f"again{ending}").write_bytes(copied.read_bytes())

# %%
report = check_folder(spoilt)
print(str(report).replace(str(here), "…"))

# %% [markdown]
# An error stops `graphseg train`; a warning does not, and you decide what to do. The copied image
# matters most: a copy of a training image in the {term}`test set` makes a network look better than
# it is.
#
# ### Training, and an unbiased score
#
# Training starts from the {term}`weights` of our network. Before the final training on all images,
# the training is repeated with each acquisition left out in turn, which gives the score. Images may
# have any size, pixel size and format: for training and scoring, each is brought to the scale that
# `graphseg segment` uses for it.

# %% tags=["remove-input"]
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

# %% tags=["remove-input"]
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
# Were the labels worth the effort? The table gives mean and standard deviation over single
# {term}`folds <Fold>`; *before* is our network without the training. The gain is the difference
# within each fold, with the {term}`interval` of its mean over {glue:text}`acquisitions:d` folds
# (Student's t). {glue:text}`verdict:s`. Always look at the gain, in both averages. If your images
# are like those that the network was trained on, training on a few labels gains nothing and may
# make the network worse ({numref}`chapter %s <ch-simulated>`). If the gain per image is not larger
# than its standard error, the last line of the command advises you to keep the default network.
#
# With a single acquisition, none can be left out. The network is trained all the same, and its
# model card says that its score is unknown. An interrupted training continues when the command is
# repeated; finished folds are not trained again.
#
# The model card is stored in the weight file, and beside it as `my_unet_card.json`. It contains the
# digest of the data, the classes with their grey values, the pixel sizes, the scores with their
# spread, the recipe and the versions.
#
# Labels may have any number of classes, one grey value each. `--contamination 255` says which of
# them mean contamination; all others count as clean. With more than two classes, `segment` also
# writes `NAME_classmap.tif` with the grey values of your labels; its contamination agrees with the
# mask. A class that is new to the network needs more images and more steps than contamination,
# which the network already knows; its score is printed separately.
#
# ### Using it
#
# With `--model`, the commands use the new weight file instead of our network:

# %% tags=["remove-input"]
new = gs.simulate(seed, acquisitions, other)
(here / "next").mkdir()
write_dm4(here / "next" / "faint.dm4", 4000 * new.image, new.pixel_size)
command_line("graphseg segment next --output usual", here)
command_line(
    "graphseg segment next --output mine --model my_unet.safetensors", here
);

# %% mystnb={"figure": {"caption": "An image of the other microscope, from an acquisition that neither network has seen. Left: as recorded; middle: mask of our network; right: mask of the network trained on the labels (orange-red). Orange outlines show the simulated contamination. Notice where the two masks differ.", "name": "fig-own-network"}, "image": {"alt": "The same noisy micrograph three times; in the second and third, orange outlines surround the contamination, tinted where a mask covers it."}} tags=["hide-input"]
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
            axis, mask, MASK_COLOUR, tint=0.4, linewidth=0
        )
        micrographs.overlay_mask(axis, new.mask)

# %% tags=["remove-input"]
for name, mask in found.items():
    value = metrics.scores(metrics.counts(new.mask, mask))["jaccard"]
    record(f"new_{name}", value)

# %% [markdown]
# On the image of {numref}`fig-own-network` the Jaccard index is {glue:text}`new_usual:.2f` with our
# network and {glue:text}`new_mine:.2f` with the new one. One image is only an illustration; the
# cross-validation above is the measurement.
#
# ### Without Python
#
# {term}`ONNX` is a format that programs in other languages can read. The command writes the file
# only if the probabilities of ONNX Runtime agree with those of PyTorch to within $10^{-4}$.

# %% tags=["remove-input"]
command_line("graphseg export my_unet.safetensors --output my_unet.onnx", here)

# %%
session = onnxruntime.InferenceSession(here / "my_unet.onnx")
(probability,) = session.run(None, {"image": new.image[None]})
probability.shape

# %% [markdown]
# The exported network takes images of any size and with any range of grey values, which it
# standardises itself. It does not include rescaling by pixel size, tiling or
# {term}`test-time augmentation`.
#
# ## If something breaks
#
# Results can also be wrong because a disk was full, a file was damaged or a run was interrupted.
# The tests in `tests/faults` try such cases: damaged and hostile image files, weight files, folders
# of labels, arrays, parameters and command lines, read-only folders, full disks. In each case the
# program must give the right result or stop with one clear sentence. Runs are also killed at random
# moments, between the first sign of work and the end, with a signal that no program can catch, and
# then started again:

# %% tags=["remove-input"]
kills = records.read_record(RESULTS_FOLDER / "kills.json")["works"]
rows = [
    [
        name,
        f"{len(found)}",
        f"{sum(one['identical'] for one in found)}",
        f"{sum(one['kept'] for one in found)}",
    ]
    for name, found in kills.items()
]
heading = ["killed", "times", "same end result", "nothing done twice"]
Markdown(markdown_table(heading, rows))

# %% tags=["remove-input"]
record("killed", sum(len(found) for found in kills.values()))
record(
    "recovered",
    sum(
        one["identical"] and one["kept"]
        for found in kills.values()
        for one in found
    ),
)

# %% [markdown]
# Of {glue:text}`killed:d` killed runs, {glue:text}`recovered:d` ended with the same files as an
# undisturbed run, apart from recorded times, and repeated nothing that had been finished.
# `make kills` repeats this test.
#
# ## What this does not show
#
# - The images are simulated, and so are the mistakes in them. A real folder has drift, saturated
#   pixels and dust on the camera.
# - Real labels do not follow the truth exactly. People differ, and a network learns the habits of
#   the person who labelled. Have a few images labelled twice before you trust a third decimal.
# - The spread is that of a few folds. It says how much acquisitions differ, not how precisely the
#   mean is known.
#
# ## On your own images
#
# This chapter is the procedure: segment, read the table, check the images marked in `look_first`,
# correct a few masks with `graphseg review`, and train only if the masks are not good enough. Keep
# the new network only if the intervals of the gain lie above zero.
#
# ## What was found
#
# - One command makes masks for a whole folder; {glue:text}`failed:d` truncated file was reported
#   and skipped, and a second run rewrote {glue:text}`rewritten:d` masks.
# - The table flags images outside the known pixel sizes (here {glue:text}`outside:s`) and images
#   unlike the training images (here {glue:text}`unlike:s`).
# - On images of another microscope, training on {glue:text}`frames:d` labelled frames of
#   {glue:text}`acquisitions:d` acquisitions changed the pooled Jaccard index of left-out
#   acquisitions from {glue:text}`before_mean:.2f` to {glue:text}`after_mean:.2f`.
# - Of {glue:text}`killed:d` killed runs, {glue:text}`recovered:d` ended with the result of an
#   undisturbed run.

# %% [markdown]
# ## Exercises
#
# Try each before you unfold its solution; the solutions run with the page, so change them as you
# like.
#
# **Exercise 1.** How many square nanometres of the first image of the night are contaminated? Use
# only the mask and the pixel size, and compare the result with the fraction that `segment` reports.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
area = result.mask.sum() * (result.pixel_size / 10) ** 2
field = result.mask.size * (result.pixel_size / 10) ** 2
print(f"{area:.1f} of {field:.1f} nm²")
assert np.isclose(area / field, result.contaminated_fraction)

# %% [markdown]
# **Exercise 2.** Which pixel size did the network see in each image? Take the columns `pixel_size`
# and `scale_factor` of the table, and list the images outside the known range.

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
low, high = known["pixel_sizes"]
for row in table:
    if row["pixel_size"]:
        factor = float(row["scale_factor"] or 1)
        seen = float(row["pixel_size"]) / factor  # a reduced image has larger pixels
        inside = "known" if low <= seen <= high else "outside of what is known"
        print(f"{row['name']}: {seen:.2f} Å, {inside}")

# %% [markdown]
# **Exercise 3.** The interval of the gain in the table assumes independent folds. Recompute it
# for the pooled index from mean and spread, with the quantile of Student's $t$. How many
# acquisitions would halve its width, if the spread stayed the same?

# %% mystnb={"code_prompt_show": "Show the solution"} tags=["hide-cell"]
mean, spread = validated["gain"]["pooled"]
number = acquisitions
half = stats.t.ppf(0.975, number - 1) * spread / np.sqrt(number)
assert np.isclose(mean - half, intervals["pooled"][1])
needed = number
while stats.t.ppf(0.975, needed - 1) * spread / np.sqrt(needed) > half / 2:
    needed += 1
print(f"{mean:+.3f} ± {half:.3f}; {needed} acquisitions would halve it")

# %% [markdown]
# ## Check yourself
#
# 1. A file of the night is truncated. The command …
#    - (a) names it, continues, and ends with a non-zero exit code
#    - (b) writes an empty mask
#    - (c) stops
#
# 2. An image has finer pixels than the network knows. It is …
#    - (a) used as it is
#    - (b) refused
#    - (c) reduced, segmented, and its mask returned on its own grid
#
# 3. A flag says that …
#    - (a) nobody has measured how good the masks of such images are
#    - (b) the mask is wrong
#    - (c) the file is damaged
#
# 4. The run was interrupted. One …
#    - (a) uses `--overwrite`
#    - (b) gives the same command again
#    - (c) deletes the folder and starts anew
#
# 5. You have five labelled frames of one acquisition. Their cross-validated score …
#    - (a) is unknown, as no acquisition can be left out
#    - (b) is known
#    - (c) is that of our network
#
# :::{admonition} Answers
# :class: dropdown
#
# 1. **a** – No file is skipped silently, and a script can tell from the exit code.
# 2. **c** – Coarser pixels are used as they are, with a flag; enlarging would make the mask worse.
# 3. **a** – The mask may still be right; check it.
# 4. **b** – Finished images are skipped, and nothing is replaced.
# 5. **a** – Frames of one acquisition would be on both sides; the card says that the score is
#    unknown.
# :::

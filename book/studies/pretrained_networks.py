"""How the networks of the package are made from a recorded cross-validation."""

from pathlib import Path

from book.studies.configurations import LAYERS
from graphseg.datasets.load import LabelledStack
from graphseg.errors import InputError
from graphseg.evaluation.records import read_record, summary
from graphseg.unet.finetune import joined, simulated_stack
from graphseg.unet.inference import KNOWN
from graphseg.unet.network import current, weights_digest
from graphseg.unet.pretrained import FOLDER
from graphseg.unet.segmenter import DIGEST, UNetSegmenter

SOURCE = "published"
LIMITS = (
    "Trained on HRTEM images of monolayer graphene at 80 kV, 256 x 256 pixels, with labels of one "
    "person. Other materials, STEM images and other pixel sizes are outside what it has seen; "
    "flakes of a second layer may be called contamination. The probability is not calibrated."
)
WIDE_LIMITS = (
    "Trained on HRTEM images of monolayer graphene at 80 kV with labels of one person, and on "
    "simulated ones, all of them changed as other microscopes might: scale, sharpness, grey scale, "
    "illumination, noise, amorphous areas. Other materials and STEM images are outside what it has "
    "seen. The probability is not calibrated."
)
# Of the card of a network that was trained at all scales: finer pixels than these are averaged, and
# in coarser ones the lattice, 2.13 Å between its rows, has hardly two pixels left.
WIDE = {"pixel_sizes": (0.05, 0.80), "limits": WIDE_LIMITS}
RECORD_IS_OPTIONAL = True  # the result is the weight files


def run(
    stack: LabelledStack,
    record: Path,
    networks: Path,
    name: str = "default",
) -> dict:
    """Train a bundled network on all published images; an interrupted training resumes.

    Example: python -m book.studies pretrained-networks data/results/unet.json runs/unet

    The fold networks of the default network are stored beside it; those of another network,
    `NAME_fold_0` and so on, stay in the folder of its cross-validation.

    Parameters
    ----------
    stack
        The published images.
    record
        The record of the cross-validation that gives the recipe and the scores.
    networks
        The folder under runs/ in which that cross-validation kept its fold networks; the new
        training keeps its checkpoint there too.
    name
        Name of the network: default or general.

    Returns
    -------
        ``networks``: name of each network that was written to its digest.
    """
    if stack.source != "published":
        raise InputError("The networks of the package are trained on the published images only.")
    made_of = read_record(record)
    extra = made_of.get("extra", {"images": 0})["images"]
    further = f", and {extra} simulated ones full of defects" if extra else ""
    working = made_of["parameters"].get("working_pixel_size")
    card = {
        "data": "all published images" + further,
        "data_digest": stack.digest,
        "pixel_sizes": KNOWN,
        "limits": LIMITS,
        **({} if working is None else WIDE),
        "cross_validation": {
            "protocol": made_of["protocol"],
            "folds": made_of["folds"],
            "shuffles": made_of["shuffles"],
            "mean_and_spread": {a: summary(made_of, a) for a in ("pooled", "per_image")},
        },
    }
    recipe = current(made_of["parameters"]) | {
        "checkpoint": networks / f"{name}.checkpoint",
        "initial": _with_digest(made_of["parameters"]["initial"]),
    }
    everything = joined(stack, simulated_stack(extra, 0, LAYERS)) if extra else stack
    segmenter = UNetSegmenter(**recipe).fit(everything.images, everything.masks)
    path = FOLDER / f"{name}.safetensors"
    segmenter.save(path, half=True, card=card)
    written = {name: weights_digest(path)}
    default = name == "default"
    for fold in range(made_of["folds"]):
        trained = UNetSegmenter.load(networks / f"shuffle_0_fold_{fold}.safetensors")
        card["data"] = f"the published images outside fold {fold}{further}"
        path = FOLDER / f"fold_{fold}.safetensors"
        path = path if default else networks / f"{name}_{path.name}"
        trained.save(path, half=True, card=card)
        written[path.stem] = weights_digest(path)
    return {"networks": written}


def summarise(record: dict) -> str:
    """Return the names of the networks and the beginning of their digests."""
    return "\n".join(f"{name}: digest {digest[:12]}" for name, digest in record["networks"].items())


def _with_digest(digest: str | None) -> Path | None:
    """Return the network here that a recipe names by its digest."""
    if digest is None:
        return None
    for path in FOLDER.glob("*.safetensors"):
        if digest == DIGEST + weights_digest(path):
            return path
    raise InputError(f"No network here has the digest {digest}: put the one to start from here.")

"""Terms are linked at first use, and the glossary has all that a reader may lack."""

import re
import unicodedata
from pathlib import Path

import pytest

from book.tools import glossary

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
REMEDY = "python -m book.tools.glossary notebooks/*.py"
# Names of files, bodies, devices and units, which are no terms of the subject.
NO_TERMS = {"TIFF", "SHA", "TEAM", "MB", "CPU", "GPU", "CSV", "XYZ", "HDF5", "DM4"}
# What either kind of reader would have to look up.
FROM_MICROSCOPY = (
    "HRTEM", "Phase contrast", "Defocus", "Aberration", "Spherical aberration", "Dose",
    "Shot noise", "Exit wave", "Multislice", "Focal spread", "Graphene", "Grain boundary",
    "Misorientation", "Vacancy", "Stone-Wales defect", "Twisted bilayer", "Lattice constant",
    "Bragg peak", "Fourier transform", "Spatial frequency", "Nyquist limit", "Vacuum", "Ångström",
    "Black atoms", "White atoms", "Contamination", "Amorphous carbon", "Focal series",
)  # fmt: skip
FROM_LEARNING = (
    "Neural network", "U-Net", "Convolution", "Pooling", "Rectifier", "Skip connection", "Encoder",
    "Decoder", "Weights", "Loss", "Cross-entropy", "Logit", "Gradient descent", "Adam",
    "Learning rate", "Batch", "Batch normalisation", "Epoch", "Overfitting", "Augmentation",
    "Training set", "Test set", "Cross-validation", "Fold", "Leak", "Hyperparameter",
    "Grid search", "Precision", "Recall", "F1 score", "Jaccard index", "Accuracy",
    "Balanced accuracy", "ROC AUC", "Calibration", "Temperature", "Test-time augmentation",
    "Fine-tuning", "Pretrained", "Receptive field", "Adversarial attack", "Bootstrap", "Interval",
    "Out-of-distribution", "Domain randomisation", "ONNX",
)  # fmt: skip


@pytest.mark.parametrize(
    "path",
    NOTEBOOKS,
    ids=lambda path: path.stem,
)
def test_first_uses_are_linked(path):
    text = path.read_text(encoding="utf8")
    assert glossary.unlinked(text) == {}, f"{path.name}: run `{REMEDY}`"
    assert text.count("{term}") > 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_to_terms(path):
    known = {term.lower() for term in glossary.terms()}
    assert set(glossary._linked_terms(path.read_text(encoding="utf8"))) <= known


@pytest.mark.parametrize("term", FROM_MICROSCOPY + FROM_LEARNING)
def test_what_either_reader_lacks_is_explained(term):
    assert term in glossary.terms()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_abbreviations_are_explained(path):
    prose = glossary._prose(path.read_text(encoding="utf8"))
    prose = glossary._NO_PROSE.sub(" ", prose)
    explained = {word for term in glossary.terms() for word in term.split()} | NO_TERMS
    assert {word for word in re.findall(r"\b[A-Z][A-Z0-9]+\b", prose)} <= explained


def test_the_glossary_is_in_order_and_says_something_of_each_term():
    text = glossary.GLOSSARY.read_text(encoding="utf8")
    text = text.split("```{glossary}\n")[1]
    entries = re.findall(r"^(\S[^\n]*)\n(?:\S[^\n]*\n)*((?:  [^\n]+\n)+)", text, re.M)
    names = [unicodedata.normalize("NFD", name).encode("ascii", "ignore") for name, _ in entries]
    names = [name.lower() for name in names]
    assert names == sorted(names)
    assert all(len(" ".join(said.split())) >= 14 for _, said in entries)


CHAPTER = """\
# %% [markdown]
# # Waves
#
# A `wave` of $wave$ height. Two {numref}`waves <fig-wave>`. Then waves, and a long wave.

# %%
wave = 1  # wave

# %% [markdown]
# A wave again.
"""


def test_the_first_use_is_linked_and_no_other():
    done = glossary.linked(CHAPTER, ["Long wave", "Wave"])
    assert "Then {term}`waves <Wave>`, and a {term}`long wave`." in done.replace("\n#", "")
    assert done.count("{term}") == 2
    assert "wave = 1  # wave\n" in done and "# # Waves\n" in done
    assert glossary.linked(done, ["Long wave", "Wave"]) == done


def test_a_first_use_before_its_link_is_found():
    late = CHAPTER.replace("A wave again.", "A {term}`wave` again.")
    assert set(glossary.unlinked(late, ["Wave"])) == {"Wave"}
    assert glossary.unlinked(glossary.linked(CHAPTER, ["Wave"]), ["Wave"]) == {}


def test_long_lines_are_wrapped_with_their_indentation():
    item = "- " + "word " * 17 + "wave ends here"
    text = f"# %% [markdown]\n# {item}\n# - next\n"
    lines = glossary.linked(text, ["Wave"]).splitlines()
    assert lines[2] == "#   {term}`wave` ends here" or lines[2].startswith("#   ")
    assert lines[-1] == "# - next"
    assert all(len(line) <= 100 for line in lines)


def test_a_plural_in_ies_belongs_to_its_term():
    assert glossary._pattern("Grain boundary").search("two grain\nboundaries here")
    assert not glossary._pattern("TTA").search("tta")

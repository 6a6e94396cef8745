"""The environment and what is tracked: one list of versions, no stray paths, hosts or images."""

import ast
import hashlib
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
OWN = {"graphseg", "book", "tests"}
OWN |= {path.stem for path in (ROOT / "tests").rglob("*.py")}  # helpers of the tests


def requirements(path):
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


LOCK = {canonicalize_name(r.name): r for r in requirements(ROOT / "requirements.lock")}
WANTED = requirements(ROOT / "requirements.in")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = {  # without graphseg itself, of which "all" names the other extras
    canonicalize_name(Requirement(line).name)
    for lines in (PROJECT["dependencies"], *EXTRAS.values())
    for line in lines
} - {"graphseg"}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def imported(paths):
    """Names of the top-level modules that some Python files import."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - OWN


def distributions(names):
    """Names of the distributions that bring some modules."""
    known = importlib.metadata.packages_distributions()
    return {name: {canonicalize_name(d) for d in known.get(name, [name])} for name in names}


def test_every_locked_version_is_exact():
    for requirement in LOCK.values():
        [pin] = requirement.specifier
        assert pin.operator == "=="
        assert "+" not in pin.version, f"{requirement} names a local build"


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_the_lock_satisfies(wanted):
    locked = LOCK[canonicalize_name(wanted.name)]
    [pin] = locked.specifier
    assert wanted.specifier.contains(pin.version, prereleases=True)


def test_the_lock_names_no_place_to_download_from():
    text = (ROOT / "requirements.lock").read_text()
    assert "--" not in text
    assert "://" not in text


def test_what_the_package_needs_is_in_the_lock():
    wanted = {canonicalize_name(r.name) for r in WANTED}
    assert wanted >= DECLARED


def test_the_package_imports_only_what_it_declares():
    for module, brought_by in distributions(imported((ROOT / "graphseg").rglob("*.py"))).items():
        assert brought_by & DECLARED, f"{module} is imported but not in pyproject.toml"


def test_everything_imports_only_what_is_wanted():
    wanted = {canonicalize_name(r.name) for r in WANTED}
    paths = [path for folder in ("book", "tests") for path in (ROOT / folder).rglob("*.py")]
    for module, brought_by in distributions(imported(paths)).items():
        assert brought_by & wanted, f"{module} is imported but not in requirements.in"


def test_conda_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"] == ["python=3.11", "pip", {"pip": ["-r requirements.lock"]}]


def test_the_version_is_the_same_everywhere():
    import graphseg

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert graphseg.__version__ == PROJECT["version"] == citation["version"]


# Put together here so that this file does not hold what it looks for.
FORBIDDEN = {
    "a path of one machine": re.compile("|".join(["/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/"])),
    "a package host": re.compile(
        "|".join(["pypi" + r"\.org", "python" + "hosted", "registry" + r"\.npmjs", "npmjs" + "\\."])
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_holds(what):
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf8", errors="ignore")
        if path.suffix != ".png" and FORBIDDEN[what].search(text):
            found.append(str(path.relative_to(ROOT)))
    assert not found, f"{what} in {', '.join(found)}"


def test_no_published_image_is_tracked():
    registry = json.loads((ROOT / "graphseg" / "datasets" / "registry.json").read_text())["files"]
    published = set(registry.values())
    assert len(published) > 200
    for path in tracked():
        assert hashlib.sha256(path.read_bytes()).hexdigest() not in published, path


def test_only_sources_of_notebooks_are_tracked():
    assert not [path for path in tracked() if path.suffix == ".ipynb"]


def test_make_help_lists_every_target():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"make ([a-z-]+) ", said.stdout))
    assert {"book", "test", "lab", "lint", "lock", "record", "clean", "help"} <= listed
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert listed == set(phony) - {"FORCE"}


@pytest.mark.parametrize("profile", ["default", "paper"])
def test_make_book_executes_every_notebook_into_the_folder_of_its_profile(profile):
    """The commands that make would run, without running them."""
    command = ["make", "-n", "book", "STAMP=", f"PROFILE={profile}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    folder = "_build" if profile == "default" else f"_build/{profile}"
    for path in (ROOT / "notebooks").glob("*.py"):
        rule = f"book.tools.execute notebooks/{path.name} {folder}/executed/{path.stem}.ipynb"
        assert f"{rule} --profile {profile}" in said.stdout
    assert f"book.tools.build {folder}/executed {folder}/html" in said.stdout


def create_environment(tmp_path, python=None):
    """Run the script that makes an environment where only a given stand-in of Python exists."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    if python is not None:
        (binaries / "python3").write_text(python)
        (binaries / "python3").chmod(0o755)
    script = ROOT / "book" / "tools" / "environment.sh"
    done = subprocess.run(
        ["/bin/sh", script, tmp_path / "venv"],
        env={"PATH": str(binaries)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert not (tmp_path / "venv").exists()
    return done.stderr


@pytest.mark.parametrize("python", [None, "#!/bin/sh\nexit 1\n"], ids=["none", "too old"])
def test_a_machine_without_python_is_told_so(python, tmp_path):
    said = create_environment(tmp_path, python)
    assert said == "No Python 3.11 or newer was found: install it, then run make again.\n"


def test_a_python_without_venv_is_told_so(tmp_path):
    no_venv = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n'
    said = create_environment(tmp_path, no_venv)
    assert said.startswith("Python's venv module is missing: install it (Debian, Ubuntu: ")
    assert len(said.splitlines()) == 1


def test_workflows_call_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    texts = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    called = {name for text in texts for name in re.findall(r"run: make ([a-z]+)", text)}
    assert called == {"audit", "book", "data", "environment"}
    assert called <= targets
    assert all("jobs" in yaml.safe_load(text) for text in texts)

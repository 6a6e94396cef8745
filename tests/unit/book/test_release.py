"""A release: its workflow, and that all metadata say what pyproject.toml says."""

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
RECIPE = yaml.safe_load((ROOT / "recipe" / "meta.yaml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load(
    (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
)
# Packages that conda names otherwise; matplotlib-base is the one without a toolkit of windows.
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def spaced(requirement):
    """As conda writes it: a space between the name and the version."""
    return re.sub(r"(?<=[\w\]])(?=[<>=!~])", " ", requirement, count=1)


def test_the_recipe_has_the_dependencies_of_the_package():
    python = f"python {PROJECT['requires-python']}"
    run = [python, *(spaced(CONDA.get(name, name)) for name in PROJECT["dependencies"])]
    assert RECIPE["requirements"]["run"] == run
    host = [python, "pip", *map(spaced, PYPROJECT["build-system"]["requires"])]
    assert RECIPE["requirements"]["host"] == host


def test_the_recipe_describes_the_package():
    assert RECIPE["package"] == {name: PROJECT[name] for name in ("name", "version")}
    about = {"summary": PROJECT["description"], "license": PROJECT["license"]}
    assert RECIPE["about"] == about | {"license_file": PROJECT["license-files"][0]}
    (script,) = PROJECT["scripts"].items()
    assert RECIPE["build"]["entry_points"] == [" = ".join(script)]
    assert (ROOT / "recipe" / RECIPE["source"]["path"] / "pyproject.toml").is_file()


def test_how_to_cite_says_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    code, deposit = (
        json.loads((ROOT / name).read_text(encoding="utf-8"))
        for name in ("codemeta.json", ".zenodo.json")
    )
    for said in (citation, code, deposit):
        assert said["version"] == PROJECT["version"]
    assert citation["title"] == code["name"] == deposit["title"]
    assert citation["title"].startswith(PROJECT["name"]) and code["identifier"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert deposit["license"] == PROJECT["license"].lower()  # as Zenodo's list has it
    assert code["license"] == f"https://spdx.org/licenses/{PROJECT['license']}"
    assert code["description"] == deposit["description"] == PROJECT["description"]
    assert code["keywords"] == deposit["keywords"] == PROJECT["keywords"]
    assert code["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    authors = [author["name"] for author in PROJECT["authors"]]
    for people in (citation["authors"], code["author"], deposit["creators"]):
        assert [person["name"] for person in people] == authors

    paper, article = citation["preferred-citation"], code["referencePublication"]
    assert PROJECT["urls"]["Paper"] == f"https://doi.org/{paper['doi']}" == article["@id"]
    assert [link["identifier"] for link in deposit["related_identifiers"]] == [paper["doi"]]
    assert (article["name"], article["datePublished"]) == (paper["title"], str(paper["year"]))
    names = [(person["given-names"], person["family-names"]) for person in paper["authors"]]
    assert [(p["givenName"], p["familyName"]) for p in article["author"]] == names


def test_a_tag_is_built_tested_as_it_is_and_only_then_published():
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}}  # YAML reads "on" as true
    build, publish = WORKFLOW["jobs"]["build"], WORKFLOW["jobs"]["publish"]
    commands = [step["run"] for step in build["steps"] if "run" in step]
    made, tried = (
        next(i for i, line in enumerate(commands) if part in line)
        for part in ("-m build", "GRAPHSEG_WHEEL=$(echo dist/*.whl)")
    )
    assert made < tried
    (tests,) = re.findall(r"pytest (\S+)", commands[tried])
    assert "GRAPHSEG_WHEEL" in (ROOT / tests).read_text(encoding="utf-8")
    assert publish["needs"] == "build" and publish["permissions"] == {"id-token": "write"}
    stored, fetched = build["steps"][-1], publish["steps"][0]
    assert stored["with"]["name"] == fetched["with"]["name"]
    # What was stored is published untouched.
    assert not [step for step in publish["steps"] if "run" in step]


def test_only_publishing_may_ask_for_an_identity():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in WORKFLOW["jobs"]["build"]

"""The steps of `make networks`: their records, their commands, and that they run one by one."""

import shlex
import sys

import pytest

from book.studies.__main__ import STUDIES
from book.tools import networks
from book.tools.stale import recipes
from graphseg.unet import pretrained


def test_every_step_is_a_command_that_there_is():
    found = dict(networks.steps())
    for name, command in found.items():
        words = shlex.split(command)
        assert words[:3] in (["python", "-m", "graphseg"], ["python", "-m", "book.studies"])
        if words[2] == "book.studies":
            assert words[3] in STUDIES
        assert name in recipes()["commands"] or name in pretrained.names()
    # Records before what is made of them.
    names = list(found)
    assert names.index("general_acquisition") < names.index("general") < names.index("confidence")
    assert names.index("ours_acquisition") < names.index("default")


def test_all_bundled_networks_are_made_or_said_not_to_be():
    made = {name for name, _ in networks.steps()} & set(pretrained.names())
    made |= {f"fold_{number}" for number in range(5)}  # with the default network
    assert set(pretrained.names()) - made == {"initial"} and "``initial``" in networks.__doc__


def test_the_hours_are_those_of_records_and_cards():
    assert networks.hours() > 4


def test_the_list_runs_nothing(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["networks", "--list"])
    monkeypatch.setattr(networks.subprocess, "run", lambda *_, **__: pytest.fail("it ran"))
    networks.main()
    assert capsys.readouterr().out.count("\n") == len(list(networks.steps())) + 1

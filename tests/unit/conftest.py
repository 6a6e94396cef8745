"""What the tests of the command line fraction."""

import sys

import pytest

from book.studies import __main__ as studies
from graphseg import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call ``graphseg``, or a study by its name, in an empty folder.

    Returns (exit code, stdout, stderr).
    """
    of_studies = {
        c.name or c.callback.__name__.replace("_", "-") for c in studies.app.registered_commands
    }
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["graphseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            if arguments and arguments[0] in of_studies:
                cli.call(studies.app)
            else:
                cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call

"""What the tests of the command line share."""

import sys

import pytest

from graphseg import cli


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Call ``graphseg`` in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["graphseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return call

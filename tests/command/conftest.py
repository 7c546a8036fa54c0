"""The command, run in this process."""

import pytest

from gradlab.command import results
from gradlab.command.main import main


@pytest.fixture
def blank(monkeypatch):
    """Write an empty file instead of a figure, which would take longer than a short training."""
    monkeypatch.setattr(results, "_picture", lambda save, draw, path: path.touch())


@pytest.fixture
def drawn():
    """Let the command of the fixture `gradlab` draw its figures."""


@pytest.fixture
def gradlab(capsys, monkeypatch, request, tmp_path):
    """Run the command in an empty folder; return its exit code, output and errors.

    Figures are `blank`, unless the test uses `drawn`.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    if "drawn" not in request.fixturenames:
        request.getfixturevalue("blank")

    def run(*args):
        monkeypatch.setattr("sys.argv", ["gradlab", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run

"""The progress bar of a training."""

import re
import sys

import pytest
from lines import bits, closeness, fit_line
from rich.progress import Progress

from gradlab.errors import DivergenceError

# Losses of the batches alone.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


class Terminal:
    """A standard error that reports to be a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def open_terminal(monkeypatch):
    """Replace the standard error by a terminal; pytest replaces it, too, before a test."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_the_bar_shows_the_epoch_that_runs(monkeypatch):
    """After each of three epochs of one step, it shows the next epoch; at the end, the last."""
    open_terminal(monkeypatch)
    seen = []
    update = Progress.update
    monkeypatch.setattr(
        Progress,
        "update",
        lambda bar, task, **fields: (seen.append(fields), update(bar, task, **fields)),
    )
    fit_line(epochs=3)
    assert [(fields["completed"], fields["epoch"]) for fields in seen] == [(1, 2), (2, 3), (3, 3)]


def test_there_is_no_bar_without_a_terminal(capsys):
    fit_line(epochs=3)
    fit_line(epochs=3, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [None, True])
def test_a_terminal_shows_epoch_loss_accuracy_and_the_time_left(progress, monkeypatch, capsys):
    terminal = open_terminal(monkeypatch)
    fit_line(epochs=3, accuracy=closeness, progress=progress)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)
    assert "epoch 3/3" in text
    assert re.search(r"loss \d+\.\d{4}  accuracy \d+\.\d\d%", text)
    assert re.search(r"\d\d:\d\d|--:--", text)  # the time left
    assert capsys.readouterr().out == ""


def test_the_bar_can_be_switched_off(monkeypatch):
    terminal = open_terminal(monkeypatch)
    fit_line(epochs=3, progress=False)
    assert terminal.text == ""


def test_a_requested_bar_is_shown_anywhere(capsys):
    fit_line(epochs=3, accuracy=closeness, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 3/3" in err
    assert "loss " in err
    assert "accuracy " in err


def test_the_bar_does_not_change_what_is_learned(monkeypatch):
    hidden = fit_line(progress=False)
    open_terminal(monkeypatch)
    assert bits(fit_line(progress=True).params) == bits(hidden.params)


@pytest.mark.filterwarnings("ignore:the learning rate:gradlab.errors.TrainingWarning")
def test_the_bar_restores_the_cursor_after_a_divergence(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with pytest.raises(DivergenceError):
        fit_line(learning_rate=1e10, epochs=100)
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")

"""An interrupted gradient continues from its file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_losses import PARAMS, X, loss, moved, recovers
from sharing import gradient, same_bits, share_out
from stored import arrays_in

import gradlab
from gradlab import files
from gradlab.errors import NonFiniteError, OptionError
from gradlab.gradients.workers import resuming
from gradlab.gradients.workers.resuming import PartialGradient


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Interrupted:
    """A loss that counts its evaluations, and is interrupted at one of them.

    Attributes that it assigns are not part of its identity, nor are those of its class.
    """

    times = 1.0

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls = at, 0

    def __call__(self, params: Any, x: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.at = None
            raise KeyboardInterrupt
        return self.times * loss(params, x)


def interrupt(path: Path, at: int = 20) -> None:
    with pytest.raises(KeyboardInterrupt):
        gradient(of=Interrupted(at), resume=path)


def test_an_interrupted_gradient_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_out(monkeypatch, 3)
    path = tmp_path / "partial"
    interrupt(path)
    assert [file.name for file in tmp_path.iterdir()] == ["partial"]
    rest = Interrupted()
    found = gradient(of=rest, resume=str(path))
    assert same_bits(found, gradient())
    # Of 14 entries, three chunks of 3 were complete: left are the value, one slope again, and 5.
    assert rest.calls == 1 + 2 + 2 * 5
    assert list(tmp_path.iterdir()) == []


def test_two_processes_continue_what_one_began(tmp_path: Path) -> None:
    path, log = tmp_path / "partial", tmp_path / "log"
    with pytest.raises(NonFiniteError, match=r"the loss is nan at i\[0\]"):
        gradient(PARAMS, X, log, of=recovers, workers=1, resume=path)
    assert [missing.sum() for missing in arrays_in(path)[4:]] == [0, 0, 0, 1]
    assert same_bits(gradient(PARAMS, X, log, of=recovers, workers=2, resume=path), gradient())
    assert not path.exists()


def test_the_next_gradient_starts_new(tmp_path: Path) -> None:
    f = gradlab.grad(loss, gradlab.CentralDifference(resume=tmp_path / "partial"))
    for b in (0.1, 0.2):
        assert same_bits(f({**PARAMS, "b": b}, X), gradient({**PARAMS, "b": b}))


def test_the_file_of_another_gradient_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "partial"
    interrupt(path)
    kept = path.read_bytes()
    others: dict[str, Callable[[], Any]] = {
        "method was central and is": lambda: gradient(of=Interrupted(), resume=path, step=1e-3),
        "loss was": lambda: gradient(resume=path),
        "params was": lambda: gradient({**PARAMS, "b": 0.4}, of=Interrupted(), resume=path),
        "arguments was digest": lambda: gradient(PARAMS, 2 * X, of=Interrupted(), resume=path),
    }
    for what, attempt in others.items():
        with pytest.raises(OptionError, match=what) as caught:
            attempt()
        assert "partial" in str(caught.value)
    monkeypatch.setattr(Interrupted, "times", 2.0)
    with pytest.raises(OptionError, match="value of the loss was"):
        gradient(of=Interrupted(), resume=path)
    assert path.read_bytes() == kept


class Steep(Interrupted):
    """A line with a slope that its class has."""

    def __call__(self, w: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.at = None
            raise KeyboardInterrupt
        return self.times * w.sum()


@pytest.mark.parametrize("complete", [False, True], ids=["part", "complete"])
@pytest.mark.parametrize("workers", [None, lambda f, v: reversed([*map(f, v)])])
def test_a_changed_loss_with_the_same_value_is_refused(
    workers: Any, complete: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At weights of zero, the losses have the same value and different slopes."""
    monkeypatch.setattr(resuming, "time", Clock())  # with which each answer is written at once
    path = tmp_path / "partial"
    backend = gradlab.CentralDifference(resume=path)
    if complete:  # as if it was killed before it could remove the file
        with monkeypatch.context() as patched:
            patched.setattr(PartialGradient, "__exit__", lambda self, *error: self._write())
            gradlab.grad(Steep(), backend)(np.zeros(50))
    else:
        with pytest.raises(KeyboardInterrupt):
            gradlab.grad(Steep(at=90), backend)(np.zeros(50))
    kept = path.read_bytes()
    assert complete != arrays_in(path)[1].any()
    with monkeypatch.context() as patched:
        patched.setattr(Steep, "times", 2.0)
        steeper = gradlab.CentralDifference(resume=path, workers=workers)
        with pytest.raises(OptionError, match=r"params\[\d+\] was 1.0 and is 2.0"):
            gradlab.grad(Steep(), steeper)(np.zeros(50))
    assert path.read_bytes() == kept
    assert gradlab.grad(Steep(), backend)(np.zeros(50)).tolist() == [1.0] * 50
    assert not path.exists()


@pytest.mark.parametrize("workers", [None, 2])
def test_slopes_of_a_loss_that_is_bound_to_something_else_are_refused(
    workers: Any, tmp_path: Path
) -> None:
    def line(bound: Any) -> Any:
        calls = 0

        def loss(w: Any) -> Any:
            nonlocal calls
            calls += 1
            if bound[0] == 1.0 and calls == 30:
                raise KeyboardInterrupt
            return np.dot(bound, w)

        return loss

    path = tmp_path / "partial"
    bound = np.ones(2000)
    other = bound.copy()
    other[1000] = 2.0  # which repr() does not show
    with pytest.raises(KeyboardInterrupt):
        gradlab.grad(line(bound), gradlab.CentralDifference(resume=path))(np.zeros(2000))
    kept = path.read_bytes()
    backend = gradlab.CentralDifference(resume=path, workers=workers)
    with pytest.raises(OptionError, match=r"belongs to another gradient \(loss was"):
        gradlab.grad(line(other), backend)(np.zeros(2000))
    assert path.read_bytes() == kept


def test_only_one_gradient_at_a_time_uses_a_file(tmp_path: Path) -> None:
    path = tmp_path / "partial"

    def inner(params: Any, x: Any) -> Any:
        if moved(params, "w", 7):
            gradient(resume=path)
        return loss(params, x)

    with pytest.raises(OptionError, match=r"resume=.*partial.*: process \d+ is writing it"):
        gradient(of=inner, resume=path)
    (left,) = tmp_path.iterdir()
    assert left == path


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "folder"])
def test_other_files_do_not_change(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(OptionError, match="mine"):
        gradient(resume=path)
    assert path.is_dir() if content is None else path.read_bytes() == content


@pytest.mark.parametrize("writing", [0.0, 0.01], ids=["quick", "slow"])
def test_each_answer_is_stored_even_if_the_process_is_killed_soon(
    writing: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers are written at once if writing takes at most a twentieth of the time."""
    share_out(monkeypatch, 1)
    clock, saved = Clock(), []
    replace = files.replace

    def slow(path: Path, parts: Any) -> None:
        clock.now += writing
        saved.append(clock.now)
        replace(path, parts)

    def evaluated(params: Any, x: Any) -> Any:
        clock.now += 0.05
        return loss(params, x)

    monkeypatch.setattr(resuming, "time", clock)
    monkeypatch.setattr(files, "replace", slow)
    gradient(of=evaluated, resume=tmp_path / "partial")
    entries = 14
    if writing:  # 0.2 s from one to the next, and 0.1 s for each entry
        assert min(np.diff(saved)) >= writing / 0.05
        assert len(saved) >= entries // 3
    else:
        assert len(saved) == 1 + entries


def test_a_file_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    counted = Interrupted()
    with pytest.raises(OptionError, match="cannot be written"):
        gradient(of=counted, resume=tmp_path / "missing" / "partial")
    assert counted.calls == 1
    with pytest.raises(OptionError, match="resume=3"):
        gradlab.CentralDifference(resume=3)  # type: ignore[arg-type]


def test_a_progress_bar_is_shown_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient(workers=map)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    gradient(workers=map)
    assert "14/14" in capsys.readouterr().err

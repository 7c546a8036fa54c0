"""Each difference formula works with each way to evaluate the loss."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autograd.tracer import getval

import gradlab
from gradlab import Loop, Recorded, Workers
from gradlab.errors import OptionError
from gradlab.gradients import Numerical
from gradlab.gradients.probing import Method, Probe, Slopes

DIFFERENCES = [gradlab.ForwardDifference, gradlab.CentralDifference, gradlab.CentralDifference4]
METHODS: list[Any] = [*DIFFERENCES, gradlab.Richardson]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
every_difference = pytest.mark.parametrize("method", DIFFERENCES, ids=lambda method: method.name)
X = np.random.default_rng(0).normal(size=(20, 80))
W = np.random.default_rng(1).normal(size=80)  # enough entries for a recording


class Counted:
    """A smooth loss that counts its evaluations."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, w: Any, x: Any) -> Any:
        self.calls += 1
        return (np.sin(x @ w) ** 2).mean()


def gradient(backend: Any) -> tuple[bytes, int]:
    """Return the bits of a gradient, and the number of calls of the loss."""
    loss = Counted()
    return gradlab.grad(loss, backend)(W, X).tobytes(), loss.calls


@pytest.mark.parametrize(
    ("words", "evaluation"),
    [
        ({}, Recorded()),
        ({"threads": 2}, Recorded(threads=2)),
        ({"incremental": False}, Loop()),
        ({"workers": 3, "timeout": 5.0, "resume": "part"}, Workers(3, 5.0, "part")),
        ({"workers": map, "threads": 2}, Workers(map)),
        ({"resume": Path("part")}, Workers(resume=Path("part"))),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_keywords_are_short_for_an_evaluation(words: Any, evaluation: Any) -> None:
    assert gradlab.CentralDifference(**words).evaluated_by() == evaluation
    chosen = gradlab.CentralDifference(step=1e-3, evaluation=evaluation)
    assert chosen.evaluated_by() == evaluation
    assert replace(chosen, step=1e-4).evaluated_by() == evaluation


@every_difference
def test_a_difference_takes_the_bits_of_the_same_keywords(method: Any) -> None:
    plain, calls = gradient(method(incremental=False))
    assert gradient(method(evaluation=Loop())) == (plain, calls)
    assert gradient(method(evaluation=Workers(map)))[0] == plain
    recorded, few = gradient(method())
    assert gradient(method(evaluation=Recorded(1))) == (recorded, few)
    assert few < 10 < calls


def test_richardson_records_no_loss() -> None:
    """Richardson extrapolation chooses its steps for each entry, and needs no recording."""

    def untraceable(w: Any) -> Any:
        return np.sum(w**2 + getval(w) ** 2)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gradlab.grad(untraceable, gradlab.Richardson())(W)
    assert np.abs(found - 4 * W).max() < 1e-12
    plain = gradient(gradlab.Richardson())
    assert gradient(gradlab.Richardson(evaluation=Loop())) == plain
    assert gradient(gradlab.Richardson(evaluation=Workers(map)))[0] == plain[0]
    with pytest.raises(
        OptionError, match=r"evaluation=Recorded\(\): richardson .* records no loss"
    ):
        gradlab.Richardson(evaluation=Recorded())


@dataclass(frozen=True)
class Backwards:
    """A user's own way to evaluate the loss."""

    def of(self, loss: Any) -> Slopes:
        """Evaluate the leaves in reverse order."""

        def slopes(method: Method, probe: Probe) -> list[Any]:
            leaves = reversed(range(len(probe.leaves)))
            return [method.slopes(probe, leaf) for leaf in leaves][::-1]

        return slopes


@every_method
def test_an_evaluation_may_be_a_users_own(method: type[Numerical]) -> None:
    found = gradient(method(evaluation=Backwards()))
    assert found == gradient(method(evaluation=Loop()))


@pytest.mark.parametrize("words", [{"workers": 2}, {"threads": 1}, {"incremental": False}])
def test_an_evaluation_and_its_keywords_exclude_each_other(words: Any) -> None:
    with pytest.raises(OptionError, match=f"evaluation= and {next(iter(words))}= exclude"):
        gradlab.CentralDifference(evaluation=Loop(), **words)


@pytest.mark.parametrize("given", ["loop", Loop, 3, map])
def test_objects_that_are_not_evaluations_are_refused(given: Any) -> None:
    with pytest.raises(OptionError, match=r"evaluation=.*: give Loop\(\), Recorded\(\), Workers"):
        gradlab.CentralDifference(evaluation=given)


def test_a_jacobian_does_not_ignore_an_evaluation() -> None:
    backend = gradlab.CentralDifference(evaluation=Recorded())
    with pytest.raises(OptionError, match=r"evaluation=Recorded.* is for the gradient of a loss"):
        gradlab.jacobian(np.sin, backend)(np.ones(2))


def test_options_of_an_evaluation_are_checked() -> None:
    for wrong in (lambda: Workers(0), lambda: Workers("two"), lambda: Recorded(0)):
        with pytest.raises(OptionError, match=r"workers=|threads="):
            wrong()
    with pytest.raises(OptionError, match=r"timeout=1.0: it takes workers= that are a number"):
        Workers(map, timeout=1.0)
    with pytest.raises(OptionError, match="resume=3"):
        Workers(resume=3)  # type: ignore[arg-type]

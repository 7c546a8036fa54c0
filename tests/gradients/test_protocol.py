"""What the trainer and the comparison read from backends of gradlab and of users."""

from __future__ import annotations

from typing import Any

import pytest

import gradlab
from gradlab.gradients.protocol import (
    equivalent_evaluations,
    is_estimator,
    name_of,
    repeatable,
    writes_out,
)


class Minimal:
    """A backend with only the required method."""

    def value_and_grad(self, loss: Any) -> Any:
        """Return a function of a slope that is always 0."""
        return lambda params, *args: (float(loss(params, *args)), 0.0)


class Generous(Minimal):
    """A backend with all optional attributes."""

    name = "generous"
    estimates = True

    @property
    def repeatable(self) -> Any:
        return Minimal()

    def equivalent_evaluations(self, p: int) -> int:
        return 7 * p


def loss(x: Any) -> Any:
    return x**2


def test_a_backend_needs_no_more_than_its_method() -> None:
    backend: Any = Minimal()
    assert name_of(backend) == "Minimal"
    assert repeatable(backend) is backend
    assert not is_estimator(backend)
    assert equivalent_evaluations(backend, 3) is None
    assert not writes_out(backend.value_and_grad(loss))


def test_a_backend_may_offer_more() -> None:
    backend: Any = Generous()
    assert name_of(backend) == "generous"
    assert isinstance(repeatable(backend), Minimal)
    assert is_estimator(backend)
    assert equivalent_evaluations(backend, 3) == 21

    def function(params: Any, *args: Any, out: Any = None) -> Any:
        return loss(params), out

    assert not writes_out(function)
    for answer in (False, True):
        function.writes_out = answer  # type: ignore[attr-defined]
        assert writes_out(function) is answer


@pytest.mark.parametrize(
    ("backend", "count"),
    [
        (gradlab.ForwardDifference(), 12),
        (gradlab.CentralDifference(), 21),
        (gradlab.CentralDifference4(), 41),
        (gradlab.Richardson(), None),
        (gradlab.Autograd(), None),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_differences_say_what_a_gradient_is_made_of(backend: Any, count: int | None) -> None:
    assert equivalent_evaluations(backend, 10) == count


def test_the_tape_is_repeatable() -> None:
    assert repeatable(gradlab.Tape()) == gradlab.Tape(exact=True)
    assert writes_out(gradlab.Tape().value_and_grad(loss))
    assert not writes_out(gradlab.Autograd().value_and_grad(loss))

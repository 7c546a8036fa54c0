"""Contradictions between claimed derivatives, and which gaps are round-off alone."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.checking.claims import require_same_claim
from gradlab.checking.consistency import (
    CLAIM_ROUNDINGS,
    PAIRS_PER_IDENTITY,
    Residue,
    contradiction,
    contradictions,
    not_linear,
    not_symmetric,
)
from gradlab.errors import LossError

EPSILON = 2.0**-52
P, Q = 4, 3


class Claimed:
    """A claimed derivative as a function of a direction or cotangent."""

    def __init__(
        self, kind: str, product: Callable[[Any], Any], by_rows: bool, epsilon: float = EPSILON
    ) -> None:
        self.kind, self.by_rows, self.asked = kind, by_rows, 0
        self._product, self._epsilon = product, epsilon

    def product(self, direction: Any) -> Any:
        self.asked += 1
        return SimpleNamespace(values=self._product(direction), epsilon=self._epsilon)


def residue(bound: float = 0.0, allow: float = 0.0) -> Any:
    """Return a bound on the round-off of cancelling terms."""
    asked = SimpleNamespace(_subject=SimpleNamespace(allow=allow))
    return SimpleNamespace(
        of=lambda epsilon, u=None, v=None: bound,
        share=lambda epsilon: Residue.share(asked, epsilon),
    )


def matrix(rows: int, columns: int) -> Any:
    return np.random.default_rng(0).normal(size=(rows, columns))


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.mark.parametrize("by_rows", [True, False])
def test_a_product_must_be_linear(by_rows: bool) -> None:
    jacobian = matrix(P, Q) if by_rows else matrix(Q, P)
    kind = "vjp" if by_rows else "jvp"
    linear = Claimed(kind, lambda d: jacobian @ d, by_rows)
    assert not_linear(linear, rng(), P, Q, residue()) == ""  # type: ignore[arg-type]
    assert linear.asked == 4 * PAIRS_PER_IDENTITY
    bent = Claimed(kind, lambda d: jacobian @ d + 1e-3 * abs(d[0]), by_rows)
    said = not_linear(bent, rng(), P, Q, residue())  # type: ignore[arg-type]
    assert said.startswith(f"the {kind} is not linear in its {'cotangent' if by_rows else 'dir'}")
    assert not_linear(bent, rng(), P, Q, residue(1.0)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("times", "told"), [(0.3, False), (3.0, True)])
def test_a_gap_of_ten_thousand_roundings_is_not_a_contradiction(times: float, told: bool) -> None:
    """Each of the float32 numbers has this many roundings, all of one sign."""
    epsilon = 2.0**-23
    off = times * CLAIM_ROUNDINGS * epsilon

    def product(v: Any) -> Any:
        return v + off * np.linalg.norm(v)  # not linear, by about `off` of its norm

    for kind, by_rows in (("jvp", False), ("vjp", True)):
        claim = Claimed(kind, product, by_rows, epsilon)
        assert bool(not_linear(claim, rng(), 1, 1, residue())) is told  # type: ignore[arg-type]


@pytest.mark.parametrize(("times", "told"), [(0.1, False), (30.0, True)])
def test_both_modes_are_the_same_map(times: float, told: bool) -> None:
    jacobian, epsilon = matrix(Q, P), 2.0**-23
    forward = Claimed("jvp", lambda v: jacobian @ v, False, epsilon)
    off = 1 + times * CLAIM_ROUNDINGS * epsilon
    reverse = Claimed("vjp", lambda u: jacobian.T @ u * off, True, EPSILON)
    said = contradiction(forward, reverse, rng(), P, Q, residue())  # type: ignore[arg-type]
    assert bool(said) is told
    assert contradiction(forward, reverse, rng(), P, Q, residue(1e3)) == ""  # type: ignore[arg-type]


def test_a_contradiction_names_both_numbers() -> None:
    forward = Claimed("jvp", lambda v: np.full(Q, 2.0), False)
    reverse = Claimed("vjp", lambda u: np.full(P, 3.0), True)
    said = contradiction(forward, reverse, rng(), P, Q, residue())  # type: ignore[arg-type]
    draw = rng()
    u, v = draw.uniform(-1, 1, Q), draw.uniform(-1, 1, P)
    assert said == (
        f"jvp and vjp contradict each other: u·Jv is {2 * u.sum():.8g}, v·Jᵀu is {3 * v.sum():.8g}"
    )


def test_a_hessian_is_its_own_transpose() -> None:
    hessian = matrix(P, P)
    for by_rows in (True, False):
        claim = Claimed("hvp", lambda v: hessian @ v, by_rows)
        said = not_symmetric(claim, rng(), P, residue())  # type: ignore[arg-type]
        assert said.startswith("the hvp is not symmetric: u·Hv is ")
        even = Claimed("hvp", lambda v: (hessian + hessian.T) @ v, by_rows)
        assert not_symmetric(even, rng(), P, residue()) == ""  # type: ignore[arg-type]
        assert even.asked == 2 * PAIRS_PER_IDENTITY
        assert not_symmetric(claim, rng(), P, residue(1e3)) == ""  # type: ignore[arg-type]


def subject(value: Any, at: Callable[[Any], Any], x: Any, scales: Any) -> Any:
    """Return a function with this value at x, evaluated nearby by `at`."""
    home = SimpleNamespace(x=x, scales=scales, size=len(x), unravel=lambda there: there)
    function = SimpleNamespace(value=np.asarray(value), at=at)
    return SimpleNamespace(function=function, row=lambda i: home, allow=0.0)


def test_points_nearby_are_a_quarter_of_the_scale_or_some_roundings_away() -> None:
    x, scales = np.zeros(100), np.exp2(np.arange(100) % 5)
    far: list[float] = []

    def at(there: Any) -> Any:
        far.append(float(np.abs((there - x) / scales).max()))
        return np.ones(2)

    Residue(subject(np.ones(2), at, x, scales), rng()).of(EPSILON)
    assert len(far) == 6
    assert all(0.2 < distance <= 0.25 for distance in far[:2])
    assert all(48 < distance / EPSILON <= 64 for distance in far[2:])


def test_the_bound_follows_from_the_sizes_of_outputs_and_parameters() -> None:
    """n ε ‖u F‖ ‖v / s‖, where F is 3 and 4, and each v / s is 1/2."""
    scales = np.full(P, 2.0)
    of = Residue(
        subject([3.0, -4.0], lambda there: np.array([3.0, -4.0]), np.ones(P), scales), rng()
    ).of
    assert of(EPSILON) == pytest.approx(CLAIM_ROUNDINGS * EPSILON * 5.0 * 1.0)
    u, v = np.array([2.0, 0.0]), np.ones(P)
    assert of(EPSILON, u=u) == pytest.approx(CLAIM_ROUNDINGS * EPSILON * 6.0 * 1.0)
    assert of(EPSILON, u, v) == pytest.approx(CLAIM_ROUNDINGS * EPSILON * 6.0 * 1.0)
    assert of(1e-7, u, 3 * v) == pytest.approx(CLAIM_ROUNDINGS * 1e-7 * 6.0 * 3.0)
    assert of(0.0, u, v) == of(EPSILON, u, v)  # no claim is more exact than the function


def test_an_output_is_as_large_as_its_terms() -> None:
    """A zero counts as 1; the noise over a step of some roundings reveals terms that cancel."""
    one = np.ones(1)

    def size(value: float, at: Callable[[Any], Any]) -> float:
        found = Residue(subject([value], at, one, one), rng()).of(EPSILON)
        return found / (CLAIM_ROUNDINGS * EPSILON)

    assert size(0.0, lambda there: np.zeros(1)) == pytest.approx(1.0)
    assert size(0.5, lambda there: np.full(1, 0.5)) == pytest.approx(0.5)
    assert size(0.5, lambda there: np.full(1, np.nan)) == pytest.approx(0.5)
    noisy = size(0.5, lambda there: np.full(1, 0.5 + 1e-10))
    assert noisy == pytest.approx(1e-10 / EPSILON)
    large = size(0.5, lambda there: np.where(np.abs(there - 1) > 1e-3, 7.0, 0.5))
    assert large == pytest.approx(7.0)

    def edge(there: Any) -> Any:
        raise ValueError("beyond the domain")

    assert size(0.5, edge) == pytest.approx(0.5)


def test_every_claim_is_compared_with_every_other() -> None:
    jacobian, square = matrix(Q, P), matrix(P, P)
    here = subject(np.ones(Q), lambda there: np.ones(Q), np.ones(P), np.ones(P))
    gradient = subject(np.ones(P), lambda there: np.ones(P), np.ones(P), np.ones(P))
    forward = Claimed("jvp", lambda v: jacobian @ v, False)
    wrong = Claimed("vjp", lambda u: jacobian.T @ u * 2, True)
    bent = Claimed("jvp", lambda v: jacobian @ np.abs(v), False)
    twisted = Claimed("hvp", lambda v: square @ v, False)

    def said(*claims: Any) -> list[str]:
        of = gradient if twisted in claims else here
        found = contradictions(claims, rng(), P, of.function.value.size, of)
        return [" ".join(note.split()[:4]) for note in found]

    assert said(forward, wrong) == ["jvp and vjp contradict"]
    assert said(bent) == ["the jvp is not"]
    assert said(twisted) == ["the hvp is not"]
    assert said(forward) == []
    assert len(said(bent, wrong)) == 2


@pytest.mark.parametrize(("times", "refused"), [(0.5, False), (2.0, True)])
@pytest.mark.parametrize("by_rows", [True, False])
def test_a_claim_that_differs_by_more_than_its_roundings_is_refused(
    times: float, refused: bool, by_rows: bool
) -> None:
    directions: list[Any] = []
    epsilon = 2.0**-30

    def product(d: Any) -> Any:
        directions.append(d)
        return np.array([3.0, 4.0]) + (len(directions) > 1) * times * 1e4 * epsilon * 5.0 / 2**0.5

    claim: Any = Claimed("vjp" if by_rows else "jvp", product, by_rows, epsilon)
    claim._kept = {}
    p, q = 50, 60
    if refused:
        with pytest.raises(LossError, match="differs each time it is called"):
            require_same_claim(claim, rng(), p, q)
    else:
        require_same_claim(claim, rng(), p, q)
    assert [len(d) for d in directions] == [q if by_rows else p] * (3 if refused else 2)
    assert -1 <= directions[0].min() < -0.5 < 0.5 < directions[0].max() <= 1


@pytest.mark.parametrize(("off", "told"), [(1e-6, False), (-1e-6, False), (1e-2, True)])
def test_approximations_contradict_each_other_by_more_than_is_allowed(
    off: float, told: bool
) -> None:
    jacobian, square = matrix(Q, P), matrix(P, P)
    allowed: Any = residue(allow=1e-6)
    forward: Any = Claimed("jvp", lambda v: jacobian @ v, False)
    reverse: Any = Claimed("vjp", lambda u: jacobian.T @ u * (1 + off), True)
    assert bool(contradiction(forward, reverse, rng(), P, Q, allowed)) is told
    bent: Any = Claimed("jvp", lambda v: jacobian @ (v + off * v**2), False)
    assert bool(not_linear(bent, rng(), P, Q, allowed)) is told
    skew: Any = Claimed("hvp", lambda v: (square + square.T + off * np.triu(square)) @ v, False)
    assert bool(not_symmetric(skew, rng(), P, allowed)) is told


def test_a_difference_of_gradients_is_a_product_within_what_is_allowed() -> None:
    def loss(w: Any) -> Any:
        return np.sum(np.exp(w) * w)

    def gradient(w: Any) -> Any:
        return np.exp(w) * (w + 1)

    def product(w: Any, v: Any) -> Any:
        return (gradient(w + 1e-3 * v) - gradient(w)) / 1e-3

    w, options = np.array([0.5, -0.25, 1.0]), {"gradient": gradient, "hvp": product}
    assert gradlab.check_derivatives(loss, w, **options, allow=1e-2).ok
    assert "not linear" in gradlab.check_derivatives(loss, w, **options).notes[0]

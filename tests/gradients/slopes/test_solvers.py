"""Slopes of losses with a solver inside: the error bars contain the exact derivative."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy", reason="SciPy is not installed")

from solver_losses import SOLVERS, Solver

from gradlab import derivative_with_error

COSTLY = ("prey", "stiff", "epidemic", "place of a minimum, Nelder", "two equations, broyden")


def shares(solver: Solver, seed: int) -> np.ndarray:
    """Return the errors of all slopes, relative to their bars, at the loss's point or near it."""
    moved = np.random.default_rng(seed).uniform(-1, 1, len(solver.point)) if seed else 0.0
    point = np.array(solver.point) * (1 + 0.03 * moved)
    value, error = derivative_with_error(solver.loss, point)
    return np.asarray(np.abs(value - solver.derivative(point)) / error)


QUICK = [solver for solver in SOLVERS if not solver.name.startswith(COSTLY)]


@pytest.mark.parametrize("solver", QUICK, ids=[solver.name for solver in QUICK])
def test_bars_hold_the_exact_derivative(solver: Solver) -> None:
    assert np.all(shares(solver, 0) <= 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_bars_of_all_solvers_hold_and_are_useful(seed: int) -> None:
    """All bars hold, and half of them are less than 100 times the error."""
    found = {solver.name: shares(solver, seed) for solver in SOLVERS}
    assert len(found) >= 40
    assert {name: share for name, share in found.items() if np.any(share > 1)} == {}
    assert np.median(np.concatenate(list(found.values()))) > 1 / 100

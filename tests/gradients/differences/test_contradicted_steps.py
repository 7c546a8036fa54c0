"""Real differences that contradict a complex step, and those too uncertain to tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.gradients.differences.complex_step import REAL_STEPS, contradiction
from gradlab.gradients.differences.richardson import ERROR_MARGIN

EPSILON = 2.0**-52


def told(f: Any, claimed: float, size: float = 1.0) -> tuple[bool, int]:
    """Return whether the claim is contradicted, and how often the loss was doubted."""
    doubts: list[int] = []
    found = contradiction(f, f(0.0), claimed, size, doubt=lambda: doubts.append(1))
    return found is not None, len(doubts)


@pytest.mark.parametrize(
    ("f", "slope"), [(np.exp, 1.0), (np.sin, 1.0), (lambda t: 3.0 - 2.0 * t + t * t, -2.0)]
)
def test_a_right_slope_is_not_contradicted_and_a_wrong_one_is(f: Any, slope: float) -> None:
    assert told(f, slope) == (False, 0)
    assert told(f, slope * 1.001)[0]
    assert told(f, -slope)[0]


@pytest.mark.parametrize(("times", "contradicted"), [(0.9, False), (1.1, True)])
def test_perturbing_the_parameters_rounds_them(times: float, contradicted: bool) -> None:
    """The error is two roundings of all products, over the first step; few values need a margin."""
    apart = ERROR_MARGIN * 2 * EPSILON * 1000.0 / REAL_STEPS[0]
    assert told(lambda t: t, 1 + times * apart, size=1000.0)[0] is contradicted


@pytest.mark.parametrize(("error", "doubted"), [(0.3, 0), (3.0, 1)])
def test_differences_that_are_uncertain_raise_doubt(error: float, doubted: int) -> None:
    """The limit is a 1024th of a 64th of the products, if the slope itself is zero.

    For K t³, two quotients over h and 2 h differ by 3 K h².
    """
    k = error * 2.0**-16 / (3 * REAL_STEPS[0] ** 2)
    contradicted, doubts = told(lambda t: k * t**3, 0.0)
    assert not contradicted
    assert min(doubts, 1) == doubted


@pytest.mark.parametrize("steepness", [1e4, 1e6, 1e8])
def test_a_steep_function_refutes_its_coarse_steps(steepness: float) -> None:
    contradicted, _ = told(lambda t: np.sin(steepness * t), steepness, size=steepness)
    assert not contradicted
    assert told(lambda t: np.sin(steepness * t), steepness * 1.1, size=steepness)[0]

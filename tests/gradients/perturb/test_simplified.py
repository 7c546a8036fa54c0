"""Which operations the engine replaces by one, and which it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from more_losses import stable_sigmoid

from gradlab.gradients.perturb.simplify import simplify
from gradlab.program.ir import name_of
from gradlab.program.record import record

X, Y = np.linspace(-2.0, 2.0, 6).reshape(2, 3), np.ones((2, 3))


def sigmoid_with(
    condition: Any = np.greater_equal, least: float = 0, one: float = 1.0, under: float = 1.0
) -> Callable[[Any], Any]:
    """Return a sigmoid without overflow, or a similar function that is not one."""

    def function(z: Any) -> Any:
        positive = condition(z, least)
        e = np.exp(np.where(positive, -z, z))
        return np.where(positive, one, e) / (under + e)

    return function


def of_two_conditions(z: Any) -> Any:
    e = np.exp(np.where(z >= 0, -z, z))
    return np.where(z > 1, 1.0, e) / (1.0 + e)


def of_two_numbers(z: Any) -> Any:
    positive = z >= 0
    e = np.exp(np.where(positive, -z, z))
    return np.where(positive, 1.0, np.exp(z)) / (1.0 + e)


SIMPLIFIED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a sigmoid": (lambda z: 1 / (1 + np.exp(-z)), "sigmoid"),
    "a swapped sigmoid": (lambda z: 1 / (np.exp(-z) + 1), "sigmoid"),
    "a sigmoid without overflow": (stable_sigmoid, "sigmoid"),
    "above 0": (sigmoid_with(np.greater), "sigmoid"),
    "from 0": (sigmoid_with(), "sigmoid"),
    "a square": (lambda z: z**2, "square"),
    "a product with itself": (lambda z: z * z, "square"),
    "a relu": (lambda z: np.where(z > 0, z, 0.0), "maximum"),
    "a relu with another bound": (lambda z: np.where(z > 0.5, z, 0.5), "maximum"),
}
"""The operation that replaces the whole function."""

NOT_SIMPLIFIED: dict[str, Callable[[Any], Any]] = {
    "twice a sigmoid": lambda z: 2 / (1 + np.exp(-z)),
    "another sum": lambda z: 1 / (2 + np.exp(-z)),
    "a falling exponential": lambda z: 1 / (1 + np.exp(2 * z)),
    "a difference": lambda z: 1 / (1 - np.exp(-z)),
    "below 0": sigmoid_with(np.less),
    "above 1": sigmoid_with(least=1),
    "another number above": sigmoid_with(one=10.0),
    "another sum below": sigmoid_with(under=2.0),
    "two conditions": of_two_conditions,
    "two exponentials": of_two_numbers,
    "a cube": lambda z: z**3,
    "a product with another": lambda z: z * Y,
    "a relu with a jump": lambda z: np.where(z > 1, z, 0.0),
    "a relu of another": lambda z: np.where(z > 0, 2 * z, 0.0),
    "a falling relu": lambda z: np.where(z < 0, z, 0.0),
    "a leaky relu": lambda z: np.where(z > 0, z, 0.125 * z),
}


def names(function: Callable[[Any], Any]) -> list[str]:
    """Return the operations that remain in the sum of a function."""
    program, _ = simplify(record(lambda z: np.sum(function(z)), X, ()))
    return [name_of(node.primitive) for node in program.nodes]


@pytest.mark.parametrize("name", SIMPLIFIED)
def test_one_operation_is_left(name: str) -> None:
    function, expected = SIMPLIFIED[name]
    assert names(function) == [expected, "sum"]


@pytest.mark.parametrize("name", NOT_SIMPLIFIED)
def test_what_only_looks_like_it_is_left_alone(name: str) -> None:
    assert not {"sigmoid", "square", "maximum"} & {*names(NOT_SIMPLIFIED[name])}

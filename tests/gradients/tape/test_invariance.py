"""Maxima that cancel: the program has the same result if a constant is added to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.tape.invariance import cancelling
from gradlab.program.ir import Node, Program
from gradlab.program.record import record

RNG = np.random.default_rng(0)
Z, W = RNG.uniform(0.5, 1.5, (3, 4)), RNG.normal(size=(3, 4))


def rows(z: Any) -> Any:
    return np.max(z, axis=1, keepdims=True)


def total(z: Any) -> Any:
    return np.sum(z, axis=1, keepdims=True)


ONE: list[Callable[[Any], Any]] = [np.exp, np.log, np.negative, total, rows, np.sqrt]
TWO: list[Callable[[Any, Any], Any]] = [np.add, np.subtract, np.multiply, np.divide]


def expression(rng: np.random.Generator, z: Any, m: Any) -> Any:
    """Return a random expression of five operations in z and its largest entries."""
    made = [z, m, z - m, np.exp(z - m), 1.5]
    for _ in range(5):
        a, b = (made[int(rng.integers(len(made)))] for _ in range(2))
        if rng.integers(2) and not isinstance(a, float):
            made.append(ONE[int(rng.integers(len(ONE)))](a))
        else:
            made.append(TWO[int(rng.integers(len(TWO)))](a, b))
    return made[-1]


def recorded(loss: Callable[[Any], Any]) -> Program:
    return record(lambda z: np.sum(loss(z) * W), Z)


def result(program: Program, shifted: set[Node]) -> Any:
    """Return the value of a program if constants are added to some of its nodes."""
    values: dict[Any, Any] = {program.inputs[0]: Z}
    shift = np.array([[0.5], [-0.25], [0.125]])
    for node in program.nodes:
        operands = [values[o] if isinstance(o, Node) else o for o in node.operands]
        value = values[node] = node.evaluate(*operands)
        if node in shifted:
            values[node] = value + (shift if np.ndim(value) else 0.5)
    return values.get(program.outputs[0], program.outputs[0])


@pytest.mark.parametrize("whole", [False, True])
def test_what_cancels_does_not_change_the_result(whole: bool) -> None:
    """In random programs, the maxima of rows or of all entries cancel."""
    found = 0
    for seed in range(100):
        loss = lambda z, seed=seed: expression(  # noqa: E731
            np.random.default_rng(seed), z, np.max(z) if whole else rows(z)
        )
        with np.errstate(all="ignore"):
            program = recorded(loss)
            cancels = cancelling(program.nodes, program.outputs[0])
            before, after = result(program, set()), result(program, cancels)
        if np.isfinite(before) and cancels:
            found += 1
            assert after == pytest.approx(before, rel=1e-9, abs=1e-9), seed
    assert found > 3


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: rows(z) + np.log(total(np.exp(z - rows(z)))),
        lambda z: np.exp(z - rows(z)) / total(np.exp(z - rows(z))),
        lambda z: np.exp(rows(z)) * np.exp(-rows(z)),
        lambda z: np.exp(-rows(z)) / np.exp(z - rows(z)),
        lambda z: rows(z - rows(z)) + rows(z),
        lambda z: -(z - rows(z)) - rows(z),
        lambda z: total(z - rows(z)) + (rows(z) + rows(z)) + (rows(z) + rows(z)),
        lambda z: np.log(np.exp(z - rows(z)) * 3.0) + rows(z),
        lambda z: (
            np.exp((z - rows(z)) + (z - rows(z)))
            / total(np.exp(z - rows(z)))
            / total(np.exp(z - rows(z)))
        ),
        lambda z: np.broadcast_to(rows(z), (3, 4)) - rows(z),
        lambda z: (z - np.max(z)) + np.max(z),
        lambda z: np.log(np.sum(np.exp(z - np.max(z)))) + np.max(z) + 0 * z,
    ],
)
def test_what_is_subtracted_and_added_again_cancels(loss: Callable[[Any], Any]) -> None:
    program = recorded(loss)
    cancels = cancelling(program.nodes, program.outputs[0])
    assert cancels
    assert all(node.primitive in (np.max, np.amax) for node in cancels)
    assert result(program, cancels) == pytest.approx(result(program, set()))

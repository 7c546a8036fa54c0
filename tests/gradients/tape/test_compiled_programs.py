"""Random programs and networks as machine code have eager autograd's gradient, or are declined.

Compiling takes about half a second, so the quick tests have few examples, with many steps.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import (
    ALL,
    BINARY,
    UNARY,
    assert_replay_rounds_as_eager,
    assume_differentiable,
    eager,
    evaluate,
    inputs_of,
    point,
)

from gradlab import Tape, network
from gradlab.gradients.tape import compiled
from gradlab.gradients.tape.comparing import agree
from gradlab.gradients.tape.compiled.products import Tile
from gradlab.params import flatten
from gradlab.testing import Problem, networks

pytest.importorskip("llvmlite", reason="llvmlite is not installed")

DECLINED = ("solve", "slogdet", "cholesky", "einsum", "tensordot", "cumsum")
"""Steps that the planner does not know; programs with them would not test the others."""

OTHERS = ("std", "var")
KNOWN = {name: step for name, step in ALL.items() if name not in DECLINED + OTHERS}


def steps_of(names: Any, seed: int, count: int) -> list[tuple[str, int, int]]:
    rng = np.random.default_rng(seed)
    drawn = rng.choice(sorted(names), count)
    return [(str(name), *map(int, rng.integers(0, 31, 2))) for name in drawn]


def check(steps: Any, dtype: Any, seed: int) -> bool:
    """Compare a gradient with eager autograd's at two points; return whether it was compiled."""
    loss = partial(evaluate, steps)
    here, there = point(dtype, seed), point(dtype, seed + 100)
    assume_differentiable(loss, here)
    f = Tape(compile=True, verify=None).value_and_grad(loss)
    for args in (here, there, here, there):
        before = [np.asarray(array).tobytes() for array in inputs_of(args)]
        value, grads = f(*args)
        wanted, expected = eager(loss, args)
        assert agree(value, list(grads.values()), wanted, expected)
        assert [np.asarray(array).tobytes() for array in inputs_of(args)] == before
    assert f.untraceable is None
    said = f.explain().splitlines()[-1]
    assert "compiler failed" not in said
    return said.startswith("compiled: ")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_programs(seed: int) -> None:
    assert check(steps_of(KNOWN, seed, 14), (np.float32, np.float64)[seed % 2], seed)


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=150)
@np.errstate(over="ignore")
def test_random_programs_in_great_number(seed: int, dtype: Any) -> None:
    check(steps_of(ALL if seed % 3 == 0 else KNOWN, seed, seed % 12), dtype, seed)


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([np.float32, np.float64]))
@settings(max_examples=40)
@np.errstate(over="ignore")
def test_compiled_gradient_rounds_as_eager_autograd_does(seed: int, dtype: Any) -> None:
    """The bound is the effect of a perturbation of the data by a unit in the last place.

    See the test of the same name of the replay in NumPy.
    """
    known = {name: step for name, step in {**UNARY, **BINARY}.items() if name in KNOWN}
    tape = Tape(compile=True, verify=None)
    assert_replay_rounds_as_eager(tape, steps_of(known, seed, seed % 10), dtype, seed)


@pytest.mark.slow
@given(problem=networks())
@settings(max_examples=40)
def test_networks(problem: Problem) -> None:
    """Networks of any depth, activation and loss are right."""
    f = Tape(compile=True, verify=None).value_and_grad(problem.loss)
    for _ in range(3):
        value, grads = f(problem.params, *problem.args)
    wanted, expected = eager(problem.loss, (problem.params, *problem.args))
    assert agree(value, flatten(grads)[0], wanted, expected)
    assert "compiler failed" not in f.explain()


def check_network(rows: int, dtype: Any) -> None:
    """Compare a compiled network with eager autograd in float64, to round-off.

    The products of this network add up at most 530 terms, each rounded once: the error of a sum is
    at most as many units in the last place of what its terms add up to in size (Higham, *Accuracy
    and Stability of Numerical Algorithms*, 2nd ed., section 3.1).
    """
    rng = np.random.default_rng(0)
    params = network.init([530, 37, 70, 3], rng, dtype=dtype)
    x, labels = rng.standard_normal((rows, 530)).astype(dtype), rng.integers(0, 3, rows)
    f = Tape(compile=True).value_and_grad(network.loss)
    value, grads = f(params, x, labels)
    assert "\ncompiled: " in f.explain()
    wide = {name: leaf.astype(float) for name, leaf in params.items()}
    wanted, expected = eager(network.loss, (wide, x.astype(float), labels))
    eps = float(np.finfo(dtype).eps)
    assert abs(value - wanted) <= 530 * eps * abs(wanted)
    for a, b in zip(flatten(grads)[0], expected, strict=True):
        assert np.max(np.abs(a - b)) <= 530 * eps * np.max(np.abs(b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, pytest.param(7, marks=pytest.mark.slow), 130])
def test_network_of_sizes_that_fill_no_vector(rows: int, dtype: Any) -> None:
    """Tiles have a remainder in each direction; A and B have several blocks; B is transposed."""
    check_network(rows, dtype)


@pytest.mark.parametrize(
    "tile", [Tile(32, 12, 2), pytest.param(Tile(16, 8, 2), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_narrower_vectors(tile: Tile, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for other processors uses narrower registers, which this one has as parts of its own."""
    monkeypatch.setattr(compiled, "tile", lambda: tile)
    check_network(13, dtype)

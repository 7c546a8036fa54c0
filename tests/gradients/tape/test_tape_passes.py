"""The passes preserve every bit of a recorded gradient, except for the inexact ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from drawing import times
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_programs import (
    ALL,
    assume_differentiable,
    dtypes,
    evaluate,
    input_node,
    inputs_of,
    point,
    same,
    steps_from,
)

from gradlab import Tape, network
from gradlab.errors import (
    OptionError,
)
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape.invariance import MAXIMA, cancelling
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.program import passes
from gradlab.program.ir import Node, Program
from gradlab.program.record import record
from gradlab.program.stand_ins import bitmask, keep, scatter, select

# Random programs


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
@times(4)
@np.errstate(over="ignore")
def test_exact_passes_leave_every_bit(steps: Any, dtype: Any, seed: int) -> None:
    loss = partial(evaluate, steps)
    here, there = point(dtype, seed), inputs_of(point(dtype, seed + 100))
    assume_differentiable(loss, here)
    program = record_gradient(loss, here[0], here[1:]).program
    wanted = program.run(there)
    for step in (
        passes.own_constants,
        passes.remove_dead,
        passes.lower,
        passes.merge_duplicates,
        passes.simplify,
        passes.merge_duplicates,
        passes.simplify,
        passes.convert_beforehand,
        passes.select_by_bits,
        passes.merge_duplicates,
    ):
        program = step(program)
        found = program.run(there)
        for a, b in zip(found, wanted, strict=True):
            assert same(a, b), f"{step.__name__}\n{program}"


# Single passes


def test_similar_operations_are_not_merged() -> None:
    x = input_node()

    def program(*nodes: Node) -> Program:
        return Program((x,), nodes, nodes)

    def times(value: Any) -> Node:
        return Node(np.multiply, (x, value), {}, (3,), x.dtype)

    a, b = np.ones(3), np.ones(3)
    same_pairs = [(2.0, 2.0), ((np.float32(1)), np.float32(1)), (a, a), (np.nan, np.nan)]
    for p, q in same_pairs:
        assert len(passes.merge_duplicates(program(times(p), times(q))).nodes) == 1
    for p, q in [(0.0, -0.0), (1, 1.0), (1, True), (a, b), (np.float32(1), np.float64(1))]:
        assert len(passes.merge_duplicates(program(times(p), times(q))).nodes) == 2


def test_impure_primitives_do_not_change() -> None:
    x = input_node()
    draw = np.random.default_rng(0).normal
    first, second = (Node(draw, (x,), {}, (3,), x.dtype) for _ in range(2))
    both = Program((x,), (first, second), (first, second))
    assert passes.merge_duplicates(both).nodes == (first, second)
    assert passes.simplify(both).nodes == (first, second)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_selecting_by_bits_is_where(dtype: Any) -> None:
    x = np.array([1.5, -0.0, np.nan, np.inf, -np.inf, 1e-40], dtype)
    y = x[::-1].copy()
    condition = np.array([True, False, True, False, True, False])
    mask = bitmask(condition, dtype().itemsize)
    assert same(keep(x, mask), np.where(condition, x, 0.0))
    assert same(select(mask, x, y), np.where(condition, x, y))
    assert same(select(mask, dtype(1), y), np.where(condition, dtype(1), y))
    assert keep(x, mask).dtype == select(mask, x, y).dtype == dtype


@pytest.mark.parametrize("index", [0, -1, slice(1, 3), (0, ...), [0, 0], np.array([1, 1]), None])
def test_scatter_is_the_adjoint_of_indexing(index: Any) -> None:
    x = np.arange(4.0)
    term = np.ones_like(x[index])
    for total in (None, np.full(4, 0.5)):
        before = None if total is None else total.copy()
        found = scatter(term, index, total, (4,), np.dtype(float))
        wanted = np.zeros(4) if total is None else total.copy()
        np.add.at(wanted, index, term)
        assert same(found, wanted)
        assert total is None or same(total, before)


def test_float32_network_is_computed_in_float32() -> None:
    """Only counts, booleans and zeros made float64 of the backward pass."""
    params = network.init((5, 4, 3), seed=0, activation="relu", dtype=np.float32)
    x, labels = np.ones((6, 5), np.float32), np.array([0, 1, 2, 0, 1, 2])
    f = Tape().value_and_grad(partial(network.loss, activation="relu"))
    f(params, x, labels)
    products = [node for node in f.program.nodes if node.primitive in (np.matmul, np.dot)]
    large = [node for node in products if len(node.shape) == 2 and min(node.shape) > 1]
    assert len(large) == 5
    assert "float64" not in str(f.program)
    exact = Tape(exact=True).value_and_grad(partial(network.loss, activation="relu"))
    exact(params, x, labels)
    products = [node for node in exact.program.nodes if node.primitive in (np.matmul, np.dot)]
    dtypes = {node.dtype for node in products}
    assert dtypes == {np.dtype(np.float32), np.dtype(np.float64)}


def test_float64_of_the_users_own_is_kept() -> None:
    wide = np.array([1.0, 2.0, 3.0])
    f = Tape().value_and_grad(lambda w, y: ((w - y) ** 2).sum() + (w * wide).sum())
    f(np.ones(3, np.float32), wide)
    dtypes = {node.dtype for node in f.program.nodes if node.primitive is np.subtract}
    assert dtypes == {np.dtype(np.float64)}


def test_explain_lists_the_savings() -> None:
    f = Tape().value_and_grad(lambda w: (anp.exp(w) ** 2).sum())
    with pytest.raises(OptionError, match="nothing is recorded yet"):
        print(f.program)
    f(np.ones(3))
    assert str(f.program).startswith("def program(params):  # (3,) float64\n    v0 = exp(params)")
    assert "def replay(in_params, out0):" in f.source
    assert f.explain().splitlines()[0].startswith("recorded: ")
    assert "expand powers (rounds differently)" in f.explain()
    assert repr(f).startswith("<value and gradient of <lambda> by tape: CacheInfo(replays=0,")


# Maxima that cancel


def rows(z: Any, **options: Any) -> Any:
    return anp.max(z, axis=1, keepdims=True, **options)


def total(z: Any) -> Any:
    return anp.sum(z, axis=1, keepdims=True)


CANCELLING: dict[str, Callable[[Any], Any]] = {
    "log-softmax": network.log_softmax,
    "softmax": network.softmax,
    "softmax, then log": lambda z: anp.log(network.softmax(z)),
    "log-sum-exp": lambda z: rows(z) + anp.log(total(anp.exp(z - rows(z)))),
    "of all entries": lambda z: anp.exp(z - anp.max(z)) / anp.sum(anp.exp(z - anp.max(z))),
    "of all, log-sum-exp": lambda z: anp.max(z) + anp.log(anp.sum(anp.exp(z - anp.max(z)))),
    "the smallest": lambda z: z - anp.min(z) + anp.min(z),
    "sum of three": lambda z: total(z - rows(z)) + rows(z) + rows(z) + rows(z),
    "ratio of sums": lambda z: total(z * anp.exp(z - rows(z))) / total(anp.exp(z - rows(z))),
}


STAYING: dict[str, Callable[[Any], Any]] = {
    "shifted": lambda z: z - rows(z),
    "not normalised": lambda z: anp.exp(z - rows(z)),
    "normalised twice": lambda z: anp.exp(z - rows(z)) / total(anp.exp(z - rows(z))) ** 2,
    "over the other axis": lambda z: (
        anp.exp(z - rows(z)) / anp.sum(anp.exp(z - rows(z)), axis=0, keepdims=True)
    ),
    "over both axes": lambda z: anp.log(anp.sum(anp.exp(z - rows(z)))) + anp.sum(rows(z)),
    "of one of two exponentials": lambda z: anp.exp(z) / total(anp.exp(z - rows(z))),
    "used as a number, too": lambda z: z - rows(z) - anp.log(total(anp.exp(z - rows(z)))) * rows(z),
    "sum of three and one": lambda z: total(z - rows(z)) + rows(z),
    "logarithm of a difference": lambda z: anp.log(9.0 + z - rows(z)) + rows(z),
    "exponential of one": lambda z: anp.exp(anp.exp(z - rows(z))) / anp.exp(z - rows(z)),
    "largest and smallest": lambda z: z / (rows(z) - anp.min(z, axis=1, keepdims=True)),
    "compared": lambda z: anp.where(z > rows(z) - 1.0, z, 0.0),
    "multiplied": lambda z: z * rows(z),
}


@pytest.mark.parametrize("name", CANCELLING)
def test_maximum_that_cancels_is_left_out(name: str) -> None:
    def loss(z: Any, weights: Any) -> Any:
        return anp.sum(weights * CANCELLING[name](z))

    rng = np.random.default_rng(0)
    z, weights = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    program = record(loss, z, (weights,))
    maxima = [node for node in program.nodes if node.primitive in MAXIMA]
    assert cancelling(program.nodes, program.outputs[0]) & set(maxima)
    f = Tape().value_and_grad(loss)
    for _ in range(3):
        value, gradient = f(z, weights)
    wanted, expected = Autograd().value_and_grad(loss)(z, weights)
    assert value == pytest.approx(wanted, rel=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-14 * np.abs(expected).max())
    assert f.cache_info.recordings == 1
    assert "equal(" not in str(f.program)


@pytest.mark.parametrize("name", STAYING)
def test_maximum_that_counts_is_kept(name: str) -> None:
    program = record(
        lambda z: anp.sum(STAYING[name](z)), np.random.default_rng(0).normal(size=(4, 3))
    )
    assert not cancelling(program.nodes, program.outputs[0])


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(0, 9)), max_size=9),
    st.sampled_from([(0,), (1,), (0, 1), None]),
    st.integers(0, 1000),
)
@settings(max_examples=300, deadline=None)
def test_cancelling_maxima_do_not_affect_the_result(steps: Any, axis: Any, seed: int) -> None:
    """Any other number in place of such a maximum gives the same result."""

    @np.errstate(all="ignore")
    def loss(z: Any) -> Any:
        values = [z, anp.max(z, axis=axis, keepdims=axis is not None)]
        values += [values[0] - values[1], anp.exp(values[0] - values[1])]
        for which, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            operations = [a - b, a + b, a * b, a / b, -a, anp.exp(a / 8.0), anp.log(anp.exp(a))]
            axes = {"axis": axis or (0, 1), "keepdims": True}
            operations += [anp.sum(a, **axes), anp.max(a, **axes)] if anp.ndim(a) == 2 else [a, b]
            values.append(operations[which])
        return anp.sum(values[-1])

    z = np.random.default_rng(seed).uniform(0.5, 1.5, size=(3, 4))
    program = record(loss, z)
    found = cancelling(program.nodes, program.outputs[0])
    with np.errstate(all="ignore"):
        before = program.run([z])[0]
    assume(np.isfinite(before))
    with np.errstate(all="ignore"):
        again = with_others(found, program).run([z])[0]
    if np.isfinite(again):
        assert abs(again - before) <= 1e-9 * max(abs(before), 1.0)


def with_others(maxima: set[Node], program: Program) -> Program:
    """Return the program with 0.25 added to these maxima before any other use."""
    replaced: dict[Any, Node] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        operands = tuple(replaced.get(o, o) if isinstance(o, Node) else o for o in node.operands)
        nodes.append(node.with_operands(operands))
        replaced[node] = nodes[-1]
        if node in maxima:
            nodes.append(Node(np.add, (nodes[-1], 0.25), {}, node.shape, node.dtype))
            replaced[node] = nodes[-1]
    return Program(program.inputs, tuple(nodes), (replaced[program.outputs[0]],))

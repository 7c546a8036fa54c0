"""The tape: what is recorded, what the passes do to it, what is generated, and what is noticed."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from autograd.tracer import getval
from counting import calls_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gradlab
from gradlab import Tape, network
from gradlab.errors import (
    DataError,
    NonFiniteError,
    OptionError,
    ParameterError,
    UntraceableError,
    UntraceableWarning,
)
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape.codegen import compile_program
from gradlab.gradients.tape.invariance import MAXIMA, cancelling
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.params import flatten, map_leaves
from gradlab.program import passes
from gradlab.program.ir import Node, Program, reachable
from gradlab.program.record import record
from gradlab.program.stand_ins import bitmask, keep, scatter, select, toggle
from gradlab.testing import Problem, networks

# Random programs, built from the functions that autograd differentiates

Step = tuple[str, int, int]


def fits(*arrays: Any) -> bool:
    try:
        return np.size(np.empty(np.broadcast_shapes(*map(np.shape, arrays)))) <= 64
    except ValueError:
        return False


def small(x: Any) -> Any:
    return anp.tanh(x)


UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": lambda a: anp.exp(small(a)),
    "log": lambda a: anp.log(1.5 + small(a)),
    "sqrt": lambda a: anp.sqrt(1.5 + small(a)),
    "tanh": anp.tanh,
    "sin": anp.sin,
    "cos": anp.cos,
    "negative": lambda a: -a,
    "square": anp.square,
    "power 2": lambda a: small(a) ** 2,
    "power 3": lambda a: small(a) ** 3,
    "power -1": lambda a: (1.5 + small(a)) ** -1,
    "power 0.5": lambda a: (1.5 + small(a)) ** 0.5,
    "power -2.0": lambda a: (1.5 + small(a)) ** -2.0,
    "reciprocal": lambda a: 1 / (1.5 + small(a)),
    "scale": lambda a: -2.5 * a,
    "shift": lambda a: 1 - a,
    "sigmoid": lambda a: 1 / (1 + anp.exp(-a)),
    "sum": anp.sum,
    "sum 0": lambda a: anp.sum(a, axis=0) if anp.ndim(a) else a,
    "sum -1": lambda a: anp.sum(a, axis=-1, keepdims=True) if anp.ndim(a) else a,
    "mean": anp.mean,
    "mean 0": lambda a: anp.mean(a, axis=0, keepdims=True) if anp.ndim(a) else a,
    "var": lambda a: anp.var(a, axis=0) if anp.ndim(a) else a,
    "std": lambda a: anp.std(a + anp.arange(a.size).reshape(a.shape)) if a.size > 1 else a,
    "prod": lambda a: anp.prod(1.5 + small(a)),
    "cumsum": lambda a: anp.cumsum(a, axis=0) if anp.ndim(a) else a,
    "transpose": lambda a: a.T,
    "ravel": anp.ravel,
    "reshape": lambda a: anp.reshape(a, (1, -1)),
    "swapaxes": lambda a: anp.swapaxes(a, 0, -1) if anp.ndim(a) else a,
    "expand": lambda a: a[..., None],
    "squeeze": anp.squeeze,
    "row": lambda a: a[0] if anp.ndim(a) else a,
    "slice": lambda a: a[::2] if anp.ndim(a) else a,
    "backwards": lambda a: a[::-1] if anp.ndim(a) else a,
    "last": lambda a: a[..., -1] if anp.ndim(a) else a,
    "twice": lambda a: a[np.array([0, -1, 0])] if anp.ndim(a) else a,
    "flip": lambda a: anp.flipud(a) if anp.ndim(a) else a,
    "roll": lambda a: anp.roll(a, 1, axis=0) if anp.ndim(a) else a,
    "tile": lambda a: anp.tile(a, 2) if anp.ndim(a) == 1 else a,
    "repeat": lambda a: anp.repeat(a, 2, axis=0) if anp.ndim(a) else a,
    "astype": lambda a: a.astype(np.float64),
    "gram": lambda a: anp.dot(a, a.T) if anp.ndim(a) == 2 else a,
    "einsum": lambda a: anp.einsum("ij,kj->ik", a, a) if anp.ndim(a) == 2 else a,
    "solve": lambda a: (
        anp.linalg.solve(anp.dot(a, a.T) + 3 * np.eye(len(a)), a) if anp.ndim(a) == 2 else a
    ),
    "slogdet": lambda a: (
        anp.linalg.slogdet(anp.dot(a, a.T) + 3 * np.eye(len(a)))[1] if anp.ndim(a) == 2 else a
    ),
    "cholesky": lambda a: (
        anp.linalg.cholesky(anp.dot(a, a.T) + 3 * np.eye(len(a))) if anp.ndim(a) == 2 else a
    ),
    "network.softmax": lambda a: network.softmax(a) if anp.ndim(a) else a,
    "network.log_softmax": lambda a: network.log_softmax(a) if anp.ndim(a) else a,
}
KINKED: dict[str, Callable[[Any], Any]] = {
    "abs": anp.abs,
    "relu": lambda a: anp.maximum(a, 0.0),
    "where": lambda a: anp.where(a > 0, a, 0.0),
    "where sign": lambda a: anp.where(a >= 0, -a, a),
    "where both": lambda a: anp.where(a > 0, anp.exp(small(a)), 0.5 * a),
    "max": lambda a: anp.max(a, axis=-1, keepdims=True) if anp.ndim(a) else a,
    "min": anp.min,
    "clip": lambda a: anp.clip(a, -0.5, 0.5),
    "network.sigmoid": network.sigmoid,
    "network.relu": network.relu,
    "network.elu": network.elu,
    "network.softplus": network.softplus,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b if fits(a, b) else a,
    "subtract": lambda a, b: a - b if fits(a, b) else a,
    "multiply": lambda a, b: a * b if fits(a, b) else a,
    "divide": lambda a, b: a / (1.5 + small(b)) if fits(a, b) else a,
    "arctan2": lambda a, b: anp.arctan2(a, 2.0 + small(b)) if fits(a, b) else a,
    "logaddexp": lambda a, b: anp.logaddexp(a, b) if fits(a, b) else a,
    "dot": lambda a, b: anp.dot(a, b) if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] else a,
    "matmul": lambda a, b: a @ b if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] else a,
    "matvec": lambda a, b: a @ b if a.ndim == 2 and b.shape == a.shape[1:] else a,
    "outer": lambda a, b: anp.outer(a, b) if a.ndim == b.ndim == 1 and fits(a[:, None], b) else a,
    "concatenate": lambda a, b: (
        anp.concatenate([a, b], axis=-1) if a.ndim == 1 and b.ndim == 1 and a.size < 9 else a
    ),
    "stack": lambda a, b: anp.stack([a, b]) if a.shape == b.shape and a.size <= 16 else a,
    "tensordot": lambda a, b: (
        anp.tensordot(a, b, axes=1) if a.ndim and b.ndim and a.shape[-1] == b.shape[0] else a
    ),
}
KINKED_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": lambda a, b: anp.maximum(a, b) if fits(a, b) else a,
    "minimum": lambda a, b: anp.minimum(a, b) if fits(a, b) else a,
    "where greater": lambda a, b: anp.where(a > b, a + 0 * b, 2 * b + 0 * a) if fits(a, b) else a,
    "mask": lambda a, b: a * (b > 0) if fits(a, b) else a,
}
ALL = {**UNARY, **KINKED, **BINARY, **KINKED_BINARY}
SMOOTH = {**UNARY, **BINARY}


def evaluate(steps: list[Step], params: Any, x: Any, counts: Any, flags: Any) -> Any:
    """Run the steps on a growing pile of values, and add up what is on it."""
    pile = [*params.values(), x, params["W"] * x, params["b"] * counts, params["W"] + flags]
    labels = counts % 3
    pile += [params["W"][labels, counts % 4], params["W"].T[:, labels]]
    for name, i, j in steps:
        a, b = pile[-1 - i % len(pile)], pile[-1 - j % len(pile)]
        result = ALL[name](a) if name in UNARY or name in KINKED else ALL[name](a, b)
        if anp.size(result) <= 64 and anp.ndim(result) <= 3:
            pile.append(result)
    total = 0.0
    for weight, value in enumerate(pile, start=1):
        total = total + anp.sum(anp.sin(value * (1 / weight)))
    return total


def steps_from(names: Any) -> Any:
    number = st.integers(0, 30)
    return st.lists(st.tuples(st.sampled_from(sorted(names)), number, number), max_size=10)


def point(dtype: Any, seed: int) -> tuple[Any, ...]:
    """Parameters and data in general position."""
    rng = np.random.default_rng(seed)
    params = {
        "W": rng.standard_normal((3, 4)).astype(dtype),
        "b": rng.standard_normal(4).astype(dtype),
        "c": rng.standard_normal((3, 1)).astype(dtype),
        "s": np.array(rng.standard_normal(), dtype),
    }
    x = rng.standard_normal((3, 4)).astype(dtype)
    return params, x, rng.integers(0, 5, 4), rng.random((3, 4)) > 0.5


def inputs_of(args: tuple[Any, ...]) -> list[Any]:
    params, *data = args
    return [*params.values(), *data]


def eager(loss: Any, args: tuple[Any, ...]) -> tuple[float, list[Any]]:
    value, grads = Autograd().value_and_grad(loss)(*args)
    return value, list(grads.values())


def assume_differentiable(loss: Any, args: tuple[Any, ...]) -> None:
    """Leave out what autograd itself cannot do, such as indexing a number with ``...``."""
    try:
        eager(loss, args)
    except TypeError:
        assume(False)


def same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=True)


dtypes = st.sampled_from([np.float32, np.float64])


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=80)
@np.errstate(over="ignore")
def test_recording_is_eager_autograd_and_so_is_its_program(
    steps: Any, dtype: Any, seed: int
) -> None:
    """Bit for bit: where it was recorded, and at other parameters and data."""
    loss = partial(evaluate, steps)
    here, there = point(dtype, seed), point(dtype, seed + 100)
    assume_differentiable(loss, here)
    recording = record_gradient(loss, here[0], here[1:])
    value, gradients = eager(loss, here)
    assert recording.value == value
    for a, b in zip(recording.gradients, gradients, strict=True):
        assert same(np.asarray(a, dtype), b)
    value, gradients = eager(loss, there)
    found = recording.program.run(inputs_of(there))
    assert found[0] == value
    for a, b in zip(found[1:], gradients, strict=True):
        assert same(np.asarray(a, dtype), b)


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=120)
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


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=120)
@np.errstate(over="ignore")
def test_generated_code_is_its_program(steps: Any, dtype: Any, seed: int) -> None:
    """With buffers that are used again: at two points, twice, and with outs that held others."""
    loss = partial(evaluate, steps)
    here = point(dtype, seed)
    assume_differentiable(loss, here)
    recorded = record_gradient(loss, here[0], here[1:]).program
    program, _ = passes.optimise(recorded, exact=True)
    replay = compile_program(program).build()
    for other in (seed, seed + 100, seed + 200):
        inputs = inputs_of(point(dtype, other))
        before = [array.tobytes() for array in inputs]
        outs = [np.full(leaf.shape, np.nan, dtype) for leaf in inputs[:4]]
        value = replay(*inputs, *outs)
        wanted = recorded.run(inputs)
        assert value == wanted[0]
        for a, b in zip(outs, wanted[1:], strict=True):
            assert same(a, np.asarray(b, dtype)), program
        assert [array.tobytes() for array in inputs] == before


@given(steps=steps_from(SMOOTH), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=80)
@np.errstate(over="ignore")
def test_replay_rounds_as_eager_autograd_does(steps: Any, dtype: Any, seed: int) -> None:
    """Within what a perturbation of the data by a unit in the last place does to the gradient.

    That is how the sensitivity of a result to round-off is estimated from samples: Kenney & Laub,
    *Small-sample statistical condition estimates*, 1994. Some 200 operations round, once each.
    """
    loss = partial(evaluate, steps)
    here, there = point(dtype, seed), point(dtype, seed + 100)
    assume_differentiable(loss, here)
    f = Tape(verify=None).value_and_grad(loss)
    f(*here), f(*there), f(*here)
    found = list(f(*there)[1].values())
    assert f.untraceable is None
    _, wanted = eager(loss, there)
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(0)
    spread = [np.zeros(leaf.shape) for leaf in wanted]
    for _ in range(4):
        moved = [
            (array * (1 + eps * rng.standard_normal(array.shape))).astype(dtype)
            for array in inputs_of(there)[:5]
        ]
        near = dict(zip(there[0], moved[:4], strict=True)), moved[4], *there[2:]
        for total, leaf, other in zip(spread, eager(loss, near)[1], wanted, strict=True):
            total += np.abs(np.subtract(leaf, other, dtype=float))
    for a, b, sensitivity in zip(found, wanted, spread, strict=True):
        allowed = 200 * (np.max(sensitivity) + eps * np.max(np.abs(b)))
        assert np.max(np.abs(a.astype(float) - b)) <= allowed


@given(problem=networks(), other=st.integers(0, 99))
def test_networks_replay_as_eager_autograd(problem: Problem, other: int) -> None:
    """Any depth, activation and loss; exactly, without the passes that round differently."""
    rng = np.random.default_rng(other)
    elsewhere = map_leaves(
        lambda leaf: leaf + rng.standard_normal(leaf.shape).astype(leaf.dtype), problem.params
    )
    f = Tape(exact=True, verify=None).value_and_grad(problem.loss)
    for params in (problem.params, elsewhere, problem.params, elsewhere):
        value, grads = f(params, *problem.args)
    wanted_value, wanted = Autograd().value_and_grad(problem.loss)(elsewhere, *problem.args)
    assert f.untraceable is None
    assert f.cache_info.recordings == 1
    assert value == wanted_value
    for name in wanted:
        assert same(grads[name], wanted[name])


# What the parts do


def input_node(shape: tuple[int, ...] = (3,), dtype: Any = float, name: str = "x") -> Node:
    return Node(None, (), {}, shape, np.dtype(dtype), name)


def test_forward_part_alone() -> None:
    """For engines of other kinds: inputs in order, primitives as they are, shapes and dtypes."""
    params = {"W": np.ones((2, 3), np.float32), "b": np.zeros(3, np.float32)}
    program = record(lambda p, x: (x @ p["W"] + p["b"]).sum(), params, [np.ones((5, 2))])
    assert [node.name for node in program.inputs] == ["W", "b", "x"]
    assert [node.primitive for node in program.nodes[:2]] == [np.matmul, np.add]
    assert program.nodes[0].operands == (program.inputs[2], program.inputs[0])
    assert [node.shape for node in program.nodes] == [(5, 3), (5, 3), ()]
    assert program.nodes[0].dtype == np.float64
    assert program.run([np.ones((2, 3)), np.ones(3), np.ones((5, 2))]) == [45.0]


def test_names_of_inputs_are_python() -> None:
    params = {"a b": 1.0, "v1": 2.0, "class 1": [np.ones(1), {"x": np.ones(1)}], "x": 3.0}
    program = record(lambda p, x: p["v1"] * p["x"] + x, params, [1.0, np.float64(2.0)][1:])
    assert str(program).splitlines()[0].startswith("def program(a_b, _v1, class_1_0, ")


def test_recorded_order_is_kept() -> None:
    x = input_node()
    a, b = (Node(f, (x,), {}, (3,), np.dtype(float)) for f in (np.exp, np.sin))
    c = Node(np.add, (b, a), {}, (3,), np.dtype(float))
    assert reachable([x], [c]) == (b, a, c)
    assert reachable([x], [1.0, x, a]) == (a,)


def test_constant_that_somebody_holds_is_no_number() -> None:
    """A mask of ones is read at each run: its owner may write into it."""
    mask = np.ones(3)
    program = record(lambda w: (w * mask * np.zeros(3) + w * mask).sum(), np.ones(3))
    optimised, _ = passes.optimise(program)
    mask[:] = [0.0, 5.0, 0.0]
    assert optimised.run([np.ones(3)]) == [5.0]


def test_a_constant_that_one_list_holds_is_read_at_each_call() -> None:
    held = [np.zeros(3)]
    f = Tape(verify=None).value_and_grad(lambda w: (np.sin(w) * held[0]).sum())
    w = np.ones(3)
    for _ in range(3):
        assert f(w)[1].tolist() == [0.0, 0.0, 0.0]
    held[0][:] = 2.0
    np.testing.assert_allclose(f(w)[1], 2 * np.cos(w), rtol=2**-51)


def test_uniform_constants_that_nobody_holds_become_numbers() -> None:
    x = input_node()
    program = Program((x,), (node := Node(np.add, (x, np.zeros(3)), {}, (3,), x.dtype),), (node,))
    del node
    owned = passes.own_constants(program)
    assert [node.primitive for node in owned.nodes] == [np.full, np.add]
    assert passes.simplify(owned).outputs == (x,)


def test_duplicates_are_told_from_lookalikes() -> None:
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


def test_impure_primitives_are_left_alone() -> None:
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
    sign = mask.dtype.type(np.iinfo(mask.dtype).min)
    assert same(toggle(x, mask & sign), np.where(condition, -x, x))
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


def test_buffers_are_used_again() -> None:
    def chain(w: Any) -> Any:
        for _ in range(20):
            w = anp.tanh(w)
        return w.sum()

    f = Tape().value_and_grad(chain)
    f(np.ones(1000))
    program = f.program
    assert sum(node.primitive is np.tanh for node in program.nodes) == 20
    compiled = compile_program(program)
    # The 20 values that the backward pass needs, a few at work.
    assert compiled.nbytes <= 24 * 8000


def test_functions_whose_names_are_those_of_inputs() -> None:
    """The generated code has both in sight."""
    params = {name: np.full(2, 0.5) for name in ("exp", "add", "m0", "v0", "out0", "float64")}

    def loss(p: Any, reserve: Any) -> Any:
        return (
            anp.exp(p["exp"] * p["m0"] + p["v0"]) * p["out0"] + p["float64"] * p["add"] * reserve
        ).sum()

    f = Tape(exact=True).value_and_grad(loss)
    for _ in range(3):
        found = f(params, np.ones(2))
    wanted = Autograd().value_and_grad(loss)(params, np.ones(2))
    assert found[0] == wanted[0]
    assert all(same(found[1][name], wanted[1][name]) for name in params)


def test_explains_itself() -> None:
    f = Tape().value_and_grad(lambda w: (anp.exp(w) ** 2).sum())
    with pytest.raises(OptionError, match="nothing is recorded yet"):
        print(f.program)
    f(np.ones(3))
    assert str(f.program).startswith("def program(params):  # (3,) float64\n    v0 = exp(params)")
    assert "def replay(in_params, out0):" in f.source
    assert f.explain().splitlines()[0].startswith("recorded: ")
    assert "expand powers (rounds differently)" in f.explain()
    assert repr(f).startswith("<value and gradient of <lambda> by tape: CacheInfo(replays=0,")


def test_clamp_is_one_operation() -> None:
    f = Tape().value_and_grad(lambda x: anp.sum(anp.where(x > 1.5, x, 1.5) ** 2))
    for _ in range(2):
        value, gradient = f(np.array([1.0, 1.5, 2.0]))
    assert value == 2 * 1.5**2 + 4.0
    np.testing.assert_array_equal(gradient, [0.0, 0.0, 4.0])
    assert "maximum(" in str(f.program)
    g = Tape().value_and_grad(lambda x: anp.sum(anp.where(x > 1.5, x, 0.5) ** 2))
    for _ in range(2):  # a step, no clamp
        assert g(np.array([1.0, 1.5, 2.0]))[0] == 2 * 0.5**2 + 4.0
    assert "maximum(" not in str(g.program)


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
def test_what_is_said_to_cancel_does(steps: Any, axis: Any, seed: int) -> None:
    """Whatever is done to it: another number in its place does not change the outcome."""

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
    """Return the program which adds 0.25 to these maxima before anything else looks at them."""
    replaced: dict[Any, Node] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        operands = tuple(replaced.get(o, o) if isinstance(o, Node) else o for o in node.operands)
        nodes.append(node.on(operands))
        replaced[node] = nodes[-1]
        if node in maxima:
            nodes.append(Node(np.add, (nodes[-1], 0.25), {}, node.shape, node.dtype))
            replaced[node] = nodes[-1]
    return Program(program.inputs, tuple(nodes), (replaced[program.outputs[0]],))


# What is noticed


def noticed(loss: Any, *args: Any, match: str) -> Any:
    """Run a loss that cannot be recorded: eager autograd's answers, one warning, no replay."""
    wanted = Autograd().value_and_grad(loss)
    f = Tape().value_and_grad(loss)
    with pytest.warns(UntraceableWarning, match=match) as caught:  # noqa: PT031
        for _ in range(3):
            value, grads = f(*args)
            wanted_value, wanted_grads = wanted(*args)
            assert value == wanted_value
            assert same(flatten(grads)[0][0], flatten(wanted_grads)[0][0])
    assert len(caught) == 1
    assert f.cache_info.replays == 0
    assert f.untraceable in str(caught[0].message)
    assert f.untraceable in f.explain()
    strict = Tape(on_untraceable="error").value_and_grad(loss)
    with pytest.raises(UntraceableError, match=match):
        strict(*args)
    return f


W, X = np.array([0.5, -1.0, 2.0]), np.array([1.0, 2.0, 3.0])


def branching(w: Any) -> Any:
    if w.sum() > 0:
        return (w**2).sum()
    return w.sum()


def looping(w: Any) -> Any:
    while (w * w).sum() > 0.1:
        w = 0.5 * w
    return w.sum()


def masking(w: Any) -> Any:
    return (w[w > 0] ** 2).sum()


LINE = r"test_tape\.py, line \d+: "


@pytest.mark.parametrize(
    ("loss", "args", "match"),
    [
        (branching, (W,), rf"branches on .* depends on the parameters \(.*{LINE}if w.sum"),
        (looping, (W,), rf"branches on .*{LINE}while"),
        (masking, (W,), rf"boolean mask.*{LINE}return"),
        (lambda w, x: (w[x > 1.5] ** 2).sum(), (W, X), "boolean mask"),
        (lambda w: w[int(anp.argmax(w))] ** 2, (W,), "makes a Python number"),
        (
            lambda w: w[anp.nonzero(w > 0)[0]].sum(),
            (W,),
            "shape of what nonzero returns depends on values",
        ),
        (lambda w, x: (w[:1] * anp.unique(x)).sum(), (W, X), "depends on values"),
        (
            lambda w, r: w.sum() * (2 if r else 3),
            (W, np.random.default_rng(0)),
            "a Generator, whose",
        ),
        (lambda w, i: w.sum() * next(i), (W, iter([1.0] * 9)), "a list_iterator, .*: i "),
    ],
)
def test_what_cannot_be_recorded_is_noticed(loss: Any, args: Any, match: str) -> None:
    noticed(loss, *args, match=match)


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@pytest.mark.parametrize(
    "loss",
    [
        lambda w, x: w[anp.argmax(w).item()] ** 2,
        lambda w, x: (w * float(x.mean())).sum(),
        lambda w, x: (w * max(x.tolist())).sum(),
        lambda w, x: w[0] * float(w[1]) * w.tolist()[2],
    ],
)
def test_python_numbers_are_followed(loss: Any) -> None:
    """A number that the loss makes of an entry is that of the call, also in a replay."""
    f, eager = Tape(verify=None).value_and_grad(loss), gradlab.grad(loss)
    for scale in (1.0, -2.0, 3.0, -4.0):
        w, x = scale * W, scale * X[::-1]
        np.testing.assert_allclose(f(w, x)[1], eager(w, x), rtol=1e-14)


def test_branch_on_data_is_followed_or_noticed() -> None:
    """A check of the data that comes out as before is repeated; else eager autograd decides."""

    def loss(w: Any, x: Any) -> Any:
        if (x > 100).any():
            raise DataError("too large")
        return (w * x).sum() if x[0] > 0 else (w * w * x).sum()

    f = Tape(verify=None).value_and_grad(loss)
    for scale in (1.0, 2.0, 3.0, 4.0):
        assert f(W, scale * X)[1].tolist() == (scale * X).tolist()
    assert f.cache_info.recordings == 1
    with pytest.raises(DataError, match="too large"):
        f(W, 1000 * X)
    assert f.untraceable is None
    with pytest.warns(UntraceableWarning, match=rf"branches on its data: .*{LINE}return"):
        assert f(W, -X)[1].tolist() == (-2 * W * X).tolist()
    assert f(W, X)[1].tolist() == X.tolist()


def test_labels_are_checked_in_a_replay() -> None:
    params = network.init((2, 3), seed=0)
    f = Tape(verify=None).value_and_grad(network.loss)
    x = np.ones((4, 2))
    for _ in range(4):
        f(params, x, np.array([0, 1, 2, 0]))
    with pytest.raises(DataError, match="label 3 is out of range"):
        f(params, x, np.array([0, 1, 3, 0]))
    assert f.untraceable is None
    assert f.cache_info.recordings == 1


def test_random_numbers_inside_the_loss_are_noticed() -> None:
    """A generator is known to draw; one that the loss makes is found when it is compared."""
    rng = np.random.default_rng(0)
    f = Tape().value_and_grad(lambda w: (w * rng.random(3)).sum())
    with pytest.warns(UntraceableWarning, match="rng is a Generator, whose state"):
        first = f(W)[1]
    assert not np.array_equal(first, f(W)[1])  # drawn anew
    f = Tape().value_and_grad(lambda w: (w * np.random.default_rng().random(3)).sum())
    with pytest.warns(UntraceableWarning, match="such as random numbers"):
        first = f(W)[1]
    assert not np.array_equal(first, f(W)[1])


scale_of_the_module = 2.0


def test_variables_that_are_bound_to_something_else_are_seen() -> None:
    """Free variables, globals and attributes: the loss is recorded again."""
    global scale_of_the_module
    mask, factor = np.ones(3), 2.0

    def loss(w: Any) -> Any:
        return (w * mask * factor * scale_of_the_module).sum()

    class Model:
        def __init__(self) -> None:
            self.factor = 2.0

        def loss(self, w: Any, power: Any = 1) -> Any:
            return (w**power * self.factor).sum()

    f = Tape(verify=None).value_and_grad(loss)
    with calls_of(loss) as calls:
        for _ in range(4):
            assert f(W)[1].tolist() == [4, 4, 4]
        factor = 3.0
        assert f(W)[1].tolist() == [6, 6, 6]
        mask = 2 * mask
        assert f(W)[1].tolist() == [12, 12, 12]
        scale_of_the_module = 1.0
        try:
            assert f(W)[1].tolist() == [6, 6, 6]
        finally:
            scale_of_the_module = 2.0
        assert f(W)[1].tolist() == [12, 12, 12]
    assert f.cache_info.recordings == 4
    assert len(calls) == 10  # twice a recording, and two replays that were compared
    model = Model()
    g = Tape(verify=None).value_and_grad(partial(model.loss, power=2))
    for _ in range(3):
        assert g(W)[1].tolist() == (4 * W).tolist()
    model.factor = 3.0
    assert g(W)[1].tolist() == (6 * W).tolist()
    assert g.cache_info.recordings == 2


def test_branches_whose_values_share_memory() -> None:
    """where(c, x, xᵀ), where both are read for the last time."""

    def loss(w: Any, c: Any) -> Any:
        x = w + 1.0
        return (anp.where(c, x, x.T) * w).sum()

    rng = np.random.default_rng(0)
    f = Tape(exact=True, verify=None).value_and_grad(loss)
    for _ in range(4):
        w, c = rng.random((4, 4)), rng.random((4, 4)) > 0.5
        value, grads = f(w, c)
    wanted_value, wanted = Autograd().value_and_grad(loss)(w, c)
    assert value == wanted_value
    assert same(grads, wanted)


def test_value_taken_out_of_its_box_is_noticed_at_other_parameters() -> None:
    f = Tape().value_and_grad(lambda w: (w * getval(w).sum()).sum())

    def taken_out(w: Any) -> Any:
        return (w * (np.sum(getval(getval(w))) > 0)).sum()

    g = Tape().value_and_grad(taken_out)
    assert g(W)[1].tolist() == g(W)[1].tolist() == [1, 1, 1]
    with pytest.warns(UntraceableWarning, match="its replay differs"):
        assert g(-W)[1].tolist() == [0, 0, 0]
    # Only autograd's own box is opened here, and the value goes on being recorded.
    for scale in (1.0, 1.0, 2.0):
        value, grads = f(scale * W)
        assert value == (scale * 1.5) ** 2
        assert grads.tolist() == [scale * 1.5] * 3
    assert f.untraceable is None


def test_how_often_it_is_compared() -> None:

    def loss(w: Any, x: Any) -> Any:
        return (w * x).sum()

    f = Tape(verify=10).value_and_grad(loss)
    never = Tape(verify=None).value_and_grad(loss)
    steps = [(W, X), (W, X), (W, X), (W + 1, X), (W + 2, X), (W, X + 1), (W, X + 2), (W, X)]
    counts = []
    with calls_of(loss) as calls:
        for w, x in steps:
            f(w, x)
            counts.append(len(calls))
        # Evaluated and recorded; second replay; nothing new; other parameters; no more; other data.
        assert counts == [2, 3, 3, 4, 4, 5, 5, 5]
        for _ in range(20):
            f(W, X)
        assert len(calls) == 7  # the tenth replay and the twentieth
        calls.clear()
        for _ in range(50):
            never(W, X)
        assert len(calls) == 3


def test_function_that_magnifies_round_off_is_replayed_exactly() -> None:
    """Comparing finds a difference, and the program without rewritten arithmetic has none.

    w · w · w is rounded twice, and differs from w³ in its last place for one of so many entries,
    whatever the machine has for `power`.
    """

    def loss(w: Any) -> Any:
        return ((w**3 + 1.0) - w**3 - 1.0).sum() * 1e12

    f = Tape().value_and_grad(loss)
    w = np.linspace(0.7, 2.3, 200)
    for scale in (1.0, 1.5, 2.5):
        value, grads = f(scale * w)
        wanted = Autograd().value_and_grad(loss)(scale * w)
        assert value == wanted[0]
        assert same(grads, wanted[1])
    assert f.untraceable is None


def test_exception_of_a_replay_is_the_losses_own() -> None:
    def loss(a: Any) -> Any:
        return anp.sum(anp.linalg.cholesky(a))

    f = Tape(exact=True).value_and_grad(loss)
    good = np.array([[2.0, 0.5], [0.5, 1.0]])
    for _ in range(3):
        f(good)
    with pytest.raises(np.linalg.LinAlgError):
        f(-good)
    assert f.untraceable is None
    assert f(good)[0] == Autograd().value_and_grad(loss)(good)[0]


def test_replay_that_is_not_finite_is_an_error_with_its_place() -> None:
    f = Tape().value_and_grad(lambda p: anp.sqrt(p["w"]).sum())
    for _ in range(3):
        f({"w": np.ones(2)})
    with (
        np.errstate(divide="ignore"),
        pytest.raises(NonFiniteError, match=r"gradient is inf at w\[1\]"),
    ):
        f({"w": np.array([1.0, 0.0])})
    with pytest.raises(NonFiniteError, match=r"w\[0\] is nan"):
        f({"w": np.array([np.nan, 1.0])})
    assert f({"w": np.full(2, 1e300)})[0] == 2e150  # large is not infinite


def test_a_replayed_gradient_that_is_not_finite_is_never_returned() -> None:
    """Nor where no replay is compared with the loss."""
    f = Tape(verify=None).value_and_grad(lambda w: anp.sqrt(w).sum())
    for scale in (1.0, 2.0, 3.0):
        f(np.full(2, scale))
    with np.errstate(divide="ignore"), pytest.raises(NonFiniteError, match="gradient is inf"):
        f(np.array([1.0, 0.0]))


# Keys


def test_shapes_and_dtypes_are_kept_apart() -> None:
    """A tape for 5 rows, replayed for 1, would broadcast, and be wrong without a word."""
    f = Tape(verify=None).value_and_grad(lambda w, x: ((x @ w) ** 2).mean())
    rng = np.random.default_rng(0)
    for _ in range(3):
        for n in (5, 2, 1):
            for dtype in (np.float32, np.float64):
                x = rng.random((n, 3)).astype(dtype)
                w = W.astype(dtype)
                _, wanted = Autograd().value_and_grad(lambda w, x=x: ((x @ w) ** 2).mean())(w)
                np.testing.assert_allclose(f(w, x)[1], wanted, rtol=100 * np.finfo(dtype).eps)
    assert f.cache_info.recordings == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (2, 3),
        (True, 1),
        (1, 1.0),
        (1.0, 1 + 0j),
        (0.0, -0.0),
        ("a", "b"),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ([1, 2], (1, 2)),
        ([1, [2]], [1, [3]]),
        (slice(1), slice(2)),
        (None, ...),
        (np.sin, np.cos),
        (np.float32, np.float64),
    ],
)
def test_options_are_kept_apart(first: Any, second: Any) -> None:
    f = Tape().value_and_grad(lambda w, option: (w * len(repr(option))).sum())
    for _ in range(3):
        for option in (first, second):
            assert f(W, option)[1][0] == len(repr(option))
    assert f.cache_info.recordings == 2


def test_arrays_inside_arguments_are_data() -> None:
    f = Tape(verify=None).value_and_grad(lambda w, batch: (w * batch["x"][0] * batch["k"]).sum())
    for scale in (1.0, 2.0, 3.0, 4.0):
        grads = f(W, {"x": [scale * X], "k": 2, "unused": np.int64(scale)})[1]
        assert grads.tolist() == (2 * scale * X).tolist()
    assert f.cache_info.recordings == 1


def test_structures_are_kept_apart() -> None:
    f = Tape().value_and_grad(
        lambda p: anp.sum(p["a"]) if isinstance(p, dict) else 2 * anp.sum(p[0])
    )
    for _ in range(3):
        assert f({"a": W})[1]["a"].tolist() == [1, 1, 1]
        assert f([W])[1][0].tolist() == [2, 2, 2]
        assert f((W,))[1][0].tolist() == [2, 2, 2]
        assert f({"a": W, "b": X})[1]["b"].tolist() == [0, 0, 0]
        assert f({"b": X, "a": W})[1]["a"].tolist() == [1, 1, 1]
    assert f.cache_info.recordings == 5


def test_recordings_are_bounded() -> None:
    f = Tape(cache=3, verify=None).value_and_grad(lambda w, x: (w.sum() * x).sum())
    for n in (1, 2, 3, 4, 1, 1):
        f(W, np.ones(n))
    assert f.cache_info == (1, 5, 2, 3)
    with pytest.warns(UntraceableWarning, match="recorded .* replayed"):  # noqa: PT031
        for n in range(5, 20):
            f(W, np.ones(n))


def test_loss_is_traced_once() -> None:

    def loss(w: Any, x: Any) -> Any:
        return (anp.tanh(w) * x).sum()

    f = Tape().value_and_grad(loss)
    with calls_of(loss) as calls:
        for i in range(500):
            f(W + i, X * i)
    assert len(calls) == 3  # evaluated, recorded, and compared


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"on_untraceable": "ignore"}, "on_untraceable='ignore'"),
        ({"verify": 0}, "verify=0"),
        ({"cache": 0}, "cache=0"),
        ({"cache": None}, "cache=None"),
    ],
)
def test_useless_options_are_refused(options: Any, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        Tape(**options)


# Primitives of the user's own

_kept: list[Any] = []


@primitive
def first_rows(x: Any) -> Any:
    """Returns a view of what it was given."""
    return x[:2]


defvjp(first_rows, lambda ans, x: lambda g: anp.concatenate([g, anp.zeros((len(x) - 2, 3))]))


@primitive
def keeping(x: Any) -> Any:
    """Keeps what it was given, and returns what it was given before."""
    _kept.append(x)
    return 1.0 * _kept[0]


defvjp(keeping, lambda ans, x: lambda g: g)


def test_views_of_buffers_that_are_used_again() -> None:
    """The view must not change when its base is no longer needed."""

    def loss(w: Any) -> Any:
        rows = first_rows(w + 1.0)  # of an array which no derivative needs again
        part = (w - 1.0).T[1:]
        b = 2 * w + rows.sum() + part.sum()
        for _ in range(4):
            b = anp.sin(b + 1)
        return (b[:2] * rows).sum() + (b.T[1:] * part).sum()

    f = Tape(exact=True, verify=None).value_and_grad(loss)
    rng = np.random.default_rng(0)
    f(rng.random((4, 3)))
    f(rng.random((4, 3)))
    w = rng.random((4, 3))
    value, grads = f(w)
    wanted_value, wanted = Autograd().value_and_grad(loss)(w)
    assert value == wanted_value
    assert same(grads, wanted)
    assert f.untraceable is None


def test_primitive_that_keeps_what_it_was_given() -> None:
    def loss(w: Any) -> Any:
        _kept.clear()
        a = keeping(anp.exp(w))
        b = w
        for _ in range(4):
            b = anp.sin(b + 1)
        return (keeping(b) * a).sum()

    f = Tape(verify=None).value_and_grad(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntraceableWarning)
        for scale in (1.0, 2.0, 3.0, 4.0):
            f(scale * W)


# Results


def test_results_are_not_overwritten() -> None:
    f = Tape(verify=None).value_and_grad(lambda p, x: (p["a"] * x + p["b"] * x).sum())
    params = {"a": W, "b": X}
    results = [f(params, np.full(3, float(i))) for i in range(5)]
    for i, (_, grads) in enumerate(results):
        assert grads["a"].tolist() == grads["b"].tolist() == [i, i, i]
        assert not np.shares_memory(grads["a"], grads["b"])


def test_memory_of_results_that_were_let_go_is_used_again() -> None:
    """And of none that anybody still has, be it a view of it."""
    f = Tape(verify=None).value_and_grad(lambda w, x: (w * x).sum())
    w = np.zeros(1000)
    for _ in range(2):
        f(w, w)
    addresses = set()
    for i in range(20):
        _, grads = f(w, np.full(1000, float(i)))
        addresses.add(grads.ctypes.data)
    assert len(addresses) <= 3
    held = [f(w, np.full(1000, float(i)))[1] for i in range(10)]
    views = [f(w, np.full(1000, float(i)))[1][5:] for i in range(10)]
    for _ in range(10):
        f(w, np.full(1000, np.pi))
    for i in range(10):
        assert held[i].tolist() == [i] * 1000
        assert views[i].tolist() == [i] * 995
        assert not any(np.shares_memory(held[i], view) for view in views)


def test_out_is_written_into() -> None:
    params = network.init((4, 5, 3), seed=0)
    x, labels = np.random.default_rng(0).random((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    f = Tape(exact=True).value_and_grad(network.loss)
    wanted_value, wanted = Autograd().value_and_grad(network.loss)(params, x, labels)
    out = map_leaves(lambda leaf: np.full_like(leaf, np.nan), params)
    out["W1"] = np.full((5, 4), np.nan).T  # in Fortran's order
    arrays = dict(out)
    for _ in range(4):  # recorded, compared, replayed
        value, grads = f(params, x, labels, out=out)
        assert value == wanted_value
        assert grads is out
        for name in wanted:
            assert out[name] is arrays[name]
            assert same(out[name], wanted[name])
            out[name][...] = np.nan
    assert f.writes_out


def test_out_of_an_eager_loss() -> None:
    f = Tape().value_and_grad(branching)
    out = np.empty(3)
    with pytest.warns(UntraceableWarning):
        f(W, out=out)
    assert f(W, out=out) == (5.25, out)
    assert out.tolist() == (2 * W).tolist()


@pytest.mark.parametrize(
    ("out", "match"),
    [
        ([np.empty(3)], "out holds 1 arrays; the gradient has 2"),
        ([np.empty(3), np.empty(4)], r"out: \[1\] is \(4,\) float64"),
        ([np.empty(3, np.float32), np.empty(3)], r"out: \[0\] is \(3,\) float32"),
        ([np.broadcast_to(1.0, 3), np.empty(3)], r"out: \[0\] is read-only"),
        ([W, np.empty(3)], r"out: \[0\] shares memory with a parameter"),
        ([np.empty(3), X[:]], r"out: \[1\] shares memory"),
    ],
)
def test_out_that_does_not_fit_is_refused(out: Any, match: str) -> None:
    f = Tape().value_and_grad(lambda p, x: (p[0] * p[1] * x).sum())
    params = [W, 2 * W]
    before = W.tolist()
    for _ in range(3):
        f(params, X)
        with pytest.raises(ParameterError, match=match):
            f(params, X, out=out)
    assert W.tolist() == before


def bits(answer: tuple[float, Any]) -> tuple[float, list[bytes]]:
    value, grads = answer
    return value, [leaf.tobytes() for leaf in grads.values()]


def test_eight_threads() -> None:
    """Each gets what it would get alone, from one function with one recording.

    That is a replay's answer, or eager autograd's, who records and compares: to the last bit. The
    two differ by a few units in the last place of a leaf's largest entry.
    """
    params = network.init((20, 16, 10), seed=0)
    rng = np.random.default_rng(0)
    batches = [(rng.random((30, 20)), rng.integers(10, size=30)) for _ in range(8)]
    eager = [Autograd().value_and_grad(network.loss)(params, *batch) for batch in batches]
    alone = Tape(verify=None).value_and_grad(network.loss)
    for _ in range(4):  # recorded, compared, replayed
        replayed = [alone(params, *batch) for batch in batches]
    for (value, grads), (wanted, right) in zip(replayed, eager, strict=True):
        assert abs(value - wanted) <= 64 * np.finfo(float).eps * abs(wanted)
        for name, leaf in grads.items():
            bound = 64 * np.finfo(float).eps * np.max(np.abs(right[name]))
            np.testing.assert_allclose(leaf, right[name], rtol=0, atol=bound)
    f = Tape().value_and_grad(network.loss)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for _ in range(60):
            found = bits(f(params, *batches[number]))
            assert found in (bits(replayed[number]), bits(eager[number])), number

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))
    assert f.cache_info.recordings == 1
    assert f.untraceable is None


def test_other_functions_record_at_the_same_time() -> None:
    """autograd counts its traces for all threads together; a recording is none of them."""
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for i in range(30):
            backend = Tape() if number % 2 else Autograd()
            w = W + i
            f = gradlab.grad(lambda w, k=number: (anp.tanh(w) * w * k).sum(), backend)
            wanted = number * (np.tanh(w) + w / np.cosh(w) ** 2)
            np.testing.assert_allclose(f(w), wanted, rtol=1e-12)

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, range(8)))


def test_replays_allocate_nothing_of_their_size() -> None:
    params = network.init((100, 50, 10), seed=0)
    x, labels = np.random.default_rng(0).random((200, 100)), np.arange(200) % 10
    f = Tape().value_and_grad(network.loss)
    out = map_leaves(np.empty_like, params)
    for _ in range(4):
        f(params, x, labels, out=out)
    gc.collect()
    tracemalloc.start()
    try:
        f(params, x, labels, out=out)
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for _ in range(20):
            f(params, x, labels, out=out)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2_000
    assert peak - before < 50_000  # a gradient has 45 kB, an activation 80


# Higher derivatives


def test_differentiating_the_tapes_gradient() -> None:
    """Eager autograd takes the inner gradient, unless it was said to be an error."""
    inner = gradlab.grad(lambda w: (w**3).sum(), "tape")
    inner(W), inner(W)
    for backend in ("autograd", "tape"):
        assert np.allclose(gradlab.grad(lambda w: inner(w).sum(), backend)(W), 6 * W, rtol=1e-14)
    strict = gradlab.grad(lambda w: (w**3).sum(), Tape(on_untraceable="error"))
    with pytest.raises(UntraceableError, match='use backend="autograd" for the inner gradient'):
        gradlab.grad(lambda w: strict(w).sum())(W)


def test_differentiating_what_the_loss_closes_over() -> None:
    def outer(s: Any) -> Any:
        return gradlab.grad(lambda w: (s * w * w).sum(), "tape")(W).sum()

    assert gradlab.grad(outer)(2.0) == 2 * W.sum()


def test_gradient_inside_a_loss_is_recorded() -> None:
    """Of eager autograd's: the tape then holds the second derivative's operations, too."""
    inner = gradlab.grad(lambda u, w: (anp.sin(u) * w).sum())

    def loss(w: Any, x: Any) -> Any:
        return (inner(x, w) ** 2).sum() + (inner(w, x) ** 2).sum()

    f = Tape(exact=True, verify=None).value_and_grad(loss)
    for scale in (1.0, 2.0, 3.0):
        value, grads = f(scale * W, X)
    wanted_value, wanted = Autograd().value_and_grad(loss)(3 * W, X)
    assert f.untraceable is None
    assert value == wanted_value
    assert same(grads, wanted)


def test_plain_numpy_functions_of_the_data_are_recorded() -> None:
    def loss(w: Any, x: Any) -> Any:
        scaled = np.where(x > 1.5, x, 0.0) + np.einsum("i,i->", x, x) + np.mean(x)
        return (w * scaled * np.linalg.norm(x) * np.concatenate([x[:1], x[1:]])).sum()

    f = Tape(exact=True, verify=None).value_and_grad(loss)
    for scale in (1.0, 2.0, 3.0):
        value, _ = f(W, scale * X)
    assert f.untraceable is None
    assert value == Autograd().value_and_grad(loss)(W, 3 * X)[0]


def writing_into_a_comparison(w: Any, x: Any) -> Any:
    positive = w * x > 0
    positive[0] = True
    return anp.where(positive, w, 0.0).sum()


@pytest.mark.parametrize(
    "loss",
    [
        lambda w, x: (w * np.asarray(x)).sum(),
        lambda w, x: (w * np.array([x[0], 1.0, 2.0])).sum(),
        writing_into_a_comparison,
    ],
)
def test_arrays_made_of_the_data_are_recorded(loss: Any) -> None:
    f, eager = Tape(verify=None).value_and_grad(loss), Autograd().value_and_grad(loss)
    for x in (X, 2 * X, -X, X[::-1].copy()):
        value, grads = f(W, x)
        wanted, expected = eager(W, x)
        assert value == wanted
        assert same(grads, expected)
    assert f.untraceable is None


def test_gradient_sums_over_what_where_broadcasts() -> None:
    """autograd's own rule leaves that out."""
    params = {"W": np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]), "b": W}
    for backend in ("autograd", "tape"):
        grads = gradlab.grad(lambda p: anp.where(p["W"] > 0, p["b"], 0.0).sum(), backend)(params)
        assert np.array_equal(grads["b"], [2.0, 1.0, 0.0])


# In the trainer


def test_training_allocates_nothing_but_its_batches() -> None:
    """Once it runs: under 50 kB a step beyond the batch, and what the history remembers."""
    from gradlab.training.optimisers import SGD

    params = network.init((200, 50, 10), seed=0)  # 80 kB, as are its gradient and velocity
    x, labels = np.random.default_rng(0).random((2000, 200)), np.arange(2000) % 10
    levels: list[tuple[int, int]] = []
    step = SGD.update

    def watched(*args: Any) -> None:
        step(*args)
        levels.append(tracemalloc.get_traced_memory())
        tracemalloc.reset_peak()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SGD, "update", watched)
        tracemalloc.start()
        try:
            gradlab.fit(network.loss, params, (x, labels), backend="tape", epochs=4, momentum=0.5)
        finally:
            tracemalloc.stop()
    steady = levels[25:]  # recorded and compared in the first epoch, where a new pass began
    batch = x[:100].nbytes + labels[:100].nbytes
    growth = np.diff([current for current, _ in steady])
    assert np.median(growth) < 1_000
    assert steady[-1][0] - steady[0][0] < 1_000 * len(steady)
    # At the peak the batch before may not be gone yet.
    assert max(p - current for (current, _), (_, p) in pairwise(steady)) < batch + 50_000


def test_training_by_tape_is_training_by_autograd() -> None:
    params = network.init((12, 8, 3), seed=0)
    rng = np.random.default_rng(0)
    x, labels = rng.random((50, 12)), rng.integers(3, size=50)
    options: dict[str, Any] = {"epochs": 4, "batch_size": 8, "momentum": 0.5}
    fits = [
        gradlab.fit(network.loss, params, (x, labels), backend=backend, **options)
        for backend in ("autograd", Tape(exact=True), "tape")
    ]
    assert fits[0].history.losses == fits[1].history.losses
    for name in params:
        assert same(fits[0].params[name], fits[1].params[name])
        np.testing.assert_allclose(
            fits[0].params[name], fits[2].params[name], rtol=1e-12, atol=1e-14
        )


def test_callbacks_may_keep_what_they_are_shown() -> None:
    kept: list[Any] = []
    rng = np.random.default_rng(0)
    data = rng.random((20, 2)), rng.random(20)

    def loss(w: Any, x: Any, y: Any) -> Any:
        return ((x @ w - y) ** 2).mean()

    for backend in ("autograd", "tape"):
        kept.clear()
        result = gradlab.fit(
            loss, np.ones(2), data, backend=backend, batch_size=5, epochs=2,
            callbacks=[lambda step: kept.append((step.params, step.grads, step.batch))],
        )  # fmt: skip
        points = [params for params, _, _ in kept] + [result.params]
        for (params, grads, batch), following in zip(kept, points[1:], strict=True):
            assert same(following, params - 0.1 * grads)
            assert np.allclose(grads, gradlab.grad(loss)(params, *batch), rtol=1e-12)

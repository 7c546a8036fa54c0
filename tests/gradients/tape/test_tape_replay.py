"""Replays give eager autograd's numbers, in memory that is reused."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import defvjp, primitive
from drawing import times
from hypothesis import example, given
from hypothesis import strategies as st
from random_programs import (
    ALL,
    BINARY,
    UNARY,
    W,
    X,
    assert_replay_rounds_as_eager,
    assume_differentiable,
    dtypes,
    evaluate,
    inputs_of,
    point,
    same,
    steps_from,
)

import gradlab
from gradlab import Tape, network
from gradlab.errors import (
    ParameterError,
    UntraceableWarning,
)
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape.codegen import compile_program
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.params import map_leaves
from gradlab.program import passes
from gradlab.testing import Problem, networks

# Random programs


SMOOTH = {**UNARY, **BINARY}


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
# The stacked arrays are transposed, and so is the result.
@example(steps=[("stack", 0, 0)], dtype=np.float32, seed=0)
# The entries are summed from the last to the first.
@example(steps=[("flip", 1, 0), ("sum", 0, 0)], dtype=np.float32, seed=0)
@times(4)
@np.errstate(over="ignore")
def test_generated_code_is_its_program(steps: Any, dtype: Any, seed: int) -> None:
    """Its buffers are reused: it runs twice at each point, with output arrays already in use."""
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
@times(3)
@np.errstate(over="ignore")
def test_replay_rounds_as_eager_autograd_does(steps: Any, dtype: Any, seed: int) -> None:
    assert_replay_rounds_as_eager(Tape(verify=None), steps, dtype, seed)


@given(problem=networks(), other=st.integers(0, 99))
def test_networks_replay_as_eager_autograd(problem: Problem, other: int) -> None:
    """Networks of any depth, activation and loss agree exactly, without the inexact passes."""
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


# Generated code


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
    """The generated code uses both names."""
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


# A user's primitives


_kept: list[Any] = []


@primitive
def first_rows(x: Any) -> Any:
    """Return a view of the first rows of the operand."""
    return x[:2]


defvjp(first_rows, lambda ans, x: lambda g: anp.concatenate([g, anp.zeros((len(x) - 2, 3))]))


@primitive
def keeping(x: Any) -> Any:
    """Keep the operand, and return the previous one."""
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


def test_primitive_that_keeps_its_operand() -> None:
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


def test_memory_of_released_results_is_reused() -> None:
    """Memory of a result that the caller still holds, even through a view, is not reused."""
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
    """Each of eight threads gets the answers of one, from one function with one recording.

    An answer is that of a replay, or of eager autograd while it records and compares, to the last
    bit. The two differ by a few units in the last place of a leaf's largest entry.
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
    """autograd counts traces of all threads together; a recording is not one of them."""
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


# In the trainer


def test_training_allocates_nothing_but_its_batches() -> None:
    """The limit is 50 kB per step beyond the batch and the history."""
    from gradlab.training.optimisers import BlockUpdate

    params = network.init((200, 50, 10), seed=0)  # 80 kB, as are its gradient and velocity
    x, labels = np.random.default_rng(0).random((2000, 200)), np.arange(2000) % 10
    levels: list[tuple[int, int]] = []
    step = BlockUpdate.update

    def watched(*args: Any) -> None:
        step(*args)
        levels.append(tracemalloc.get_traced_memory())
        tracemalloc.reset_peak()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlockUpdate, "update", watched)
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
    # At the peak, the previous batch may still be in memory.
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


def test_callbacks_may_keep_their_arrays() -> None:
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

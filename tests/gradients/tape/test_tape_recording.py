"""What the tape records: eager autograd's own operations, inputs, constants, primitives."""

from __future__ import annotations

from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import builtins
from autograd.tracer import Box
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import (
    ALL,
    W,
    X,
    assume_differentiable,
    dtypes,
    eager,
    evaluate,
    input_node,
    inputs_of,
    point,
    same,
    steps_from,
)

import gradlab
from gradlab import Tape
from gradlab.errors import (
    UntraceableError,
)
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.program import passes
from gradlab.program.ir import Node, Program, reachable
from gradlab.program.record import record

# Random programs


@given(steps=steps_from(ALL), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=80)
@np.errstate(over="ignore")
def test_recording_is_eager_autograd_and_so_is_its_program(
    steps: Any, dtype: Any, seed: int
) -> None:
    """The bits agree where it was recorded, and at other parameters and data."""
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


# Inputs and constants


def test_autograd_is_as_before_after_a_recording() -> None:
    before = dict(Box.type_mappings)
    record(lambda w: np.sum(w), X)
    assert before == Box.type_mappings


def test_a_recording_gives_away_no_numbers() -> None:
    """A replay would not compute these numbers again."""
    with pytest.raises(UntraceableError, match="takes plain numbers out of a recording"):
        record(lambda w: np.sum(w) * float(gradlab.detach(np.sum(w))), X)


def test_a_recording_tells_that_the_loss_keeps_a_value() -> None:
    kept: dict[str, Any] = {}

    def loss(w: Any) -> Any:
        kept["w"] = w
        return np.sum(w)

    assert "kept" in record_gradient(loss, X).kept
    assert record_gradient(lambda w: np.sum(w), X).kept == ""


def test_autograds_builtins_see_arrays() -> None:
    """This is the same as outside a recording."""

    def loss(w: Any) -> Any:
        is_array = builtins.isinstance(w, np.ndarray) and builtins.type(w) is np.ndarray
        return (w**2).sum() if is_array else (0 * w).sum()

    f = Tape().value_and_grad(loss)
    for _ in range(2):
        np.testing.assert_array_equal(f(X)[1], 2 * X)
    assert f.cache_info.recordings == 1


def test_forward_part() -> None:
    """Other engines get inputs in order, primitives as they are, shapes and dtypes."""
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


def test_constant_with_other_references_is_not_a_number() -> None:
    """A mask of ones is read at each run, because its owner may write into it."""
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


def test_uniform_constants_without_other_references_become_numbers() -> None:
    x = input_node()
    program = Program((x,), (node := Node(np.add, (x, np.zeros(3)), {}, (3,), x.dtype),), (node,))
    del node
    owned = passes.own_constants(program)
    assert [node.primitive for node in owned.nodes] == [np.full, np.add]
    assert passes.simplify(owned).outputs == (x,)


# Higher derivatives


def test_differentiating_the_tapes_gradient() -> None:
    """Eager autograd computes the inner gradient, unless this was declared an error."""
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
    """The inner gradient is eager autograd's; the tape also holds the second derivative."""
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
def test_arrays_made_from_the_data_are_recorded(loss: Any) -> None:
    f, eager = Tape(verify=None).value_and_grad(loss), Autograd().value_and_grad(loss)
    for x in (X, 2 * X, -X, X[::-1].copy()):
        value, grads = f(W, x)
        wanted, expected = eager(W, x)
        assert value == wanted
        assert same(grads, expected)
    assert f.untraceable is None


def test_gradient_sums_over_what_where_broadcasts() -> None:
    """autograd's own rule omits this sum."""
    params = {"W": np.array([[1.0, 2.0, 0.0], [3.0, 0.0, 0.0]]), "b": W}
    for backend in ("autograd", "tape"):
        grads = gradlab.grad(lambda p: anp.where(p["W"] > 0, p["b"], 0.0).sum(), backend)(params)
        assert np.array_equal(grads["b"], [2.0, 1.0, 0.0])

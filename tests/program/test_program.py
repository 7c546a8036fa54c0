"""The table of primitives: one row is all that an operation needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from autograd.extend import defjvp, defvjp, primitive

import gradlab
from gradlab import CentralDifference, Tape
from gradlab.program import passes
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import (
    REDUCTIONS,
    TABLE,
    VIEWS,
    Kind,
    define,
    is_elementwise,
    may_raise,
    primitive_of,
)
from gradlab.program.record import record

X = np.linspace(-2.0, 2.0, 12).reshape(4, 3)
W = np.linspace(-1.0, 1.0, 6).reshape(3, 2)


@primitive
def softplus(x: Any, out: Any = None) -> Any:
    """Return log(1 + exp(x)), an elementwise operation that NumPy does not have."""
    return np.logaddexp(x, 0.0, out=out)


defvjp(softplus, lambda y, x: lambda g: g / (1.0 + np.exp(-x)))
defjvp(softplus, lambda g, y, x: g / (1.0 + np.exp(-x)))


def loss(w: Any, x: Any) -> Any:
    softplus(w)  # the result is unused
    return np.sum(softplus(x @ w) * softplus(x @ w))


def gradient_by_hand(w: Any, x: Any) -> Any:
    z = x @ w
    return x.T @ (2 * np.logaddexp(z, 0.0) / (1 + np.exp(-z)))


@pytest.fixture
def row() -> Iterator[None]:
    facts = {"out": "keyword", "pure": True, "raises": False, "narrows": True}
    define(softplus.fun, kind=Kind.ELEMENTWISE, **facts)
    yield
    del TABLE[softplus.fun]


@pytest.mark.usefixtures("row")
def test_a_primitive_of_the_users_is_recorded_and_rewritten() -> None:
    program = record(loss, W, [X])
    assert [node.primitive for node in program.nodes].count(softplus.fun) == 3
    optimised, _ = passes.optimise(program)
    assert [node.primitive for node in optimised.nodes].count(softplus.fun) == 1
    np.testing.assert_array_equal(optimised.run([W, X])[0], loss(W, X))


@pytest.mark.usefixtures("row")
def test_a_primitive_of_the_users_is_replayed_into_a_buffer() -> None:
    f = Tape(verify=None).value_and_grad(loss)
    for w in (W, W + 1, W - 1):
        value, gradient = f(w, X)
        assert value == pytest.approx(loss(w, X), rel=2**-50)
        np.testing.assert_allclose(gradient, gradient_by_hand(w, X), rtol=0, atol=2**-45)
    assert f.untraceable is None
    lines = [line for line in f.source.splitlines() if "= _" not in line and "softplus(" in line]
    assert len(lines) == 1
    assert "out=" in lines[0]
    assert "shape_of" not in f.source[f.source.index("def replay") :]


@pytest.mark.usefixtures("row")
def test_a_primitive_of_the_users_in_float32_stays_there() -> None:
    w, x = W.astype(np.float32), X.astype(np.float32)
    f = Tape(verify=None).value_and_grad(lambda w, x: np.sum(softplus(x @ w * np.mean(x > 0))))
    f(w, x)  # NumPy makes float64 of the mean
    made = [node for node in f.program.nodes if node.primitive is not np.full and node.shape]
    assert np.dtype(float) not in {node.dtype for node in made}


@pytest.mark.usefixtures("row")
def test_a_primitive_of_the_users_is_perturbed() -> None:
    """Each entry is perturbed without a call of the loss."""
    w, x = np.resize(W, (30, 20)) / 30, np.resize(X, (8, 30))
    calls = []

    def counted(w: Any, x: Any) -> Any:
        calls.append(1)
        return loss(w, x)

    found = CentralDifference(incremental=True).value_and_grad(counted)(w, x)[1]
    wanted = gradient_by_hand(w, x)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())
    assert len(calls) < w.size


def test_a_row_holds_the_change_of_a_primitive_of_the_users() -> None:
    """The engine uses the row's change, and never calls the primitive on perturbed values."""
    shapes = []

    def watched(x: Any) -> Any:
        shapes.append(np.shape(x))
        return np.logaddexp(x, 0.0)

    def change(operands: Any, base: Any) -> Any:  # log(1 + exp(a + d)) - log(1 + exp(a))
        (a,) = operands
        return np.log1p(np.expm1(a.delta) / (1.0 + np.exp(-a.base)))

    own = primitive(watched)
    defvjp(own, lambda y, x: lambda g: g / (1.0 + np.exp(-x)))
    w, x = np.resize(W, (30, 20)) / 30, np.resize(X, (8, 30))
    define(watched, kind=Kind.ELEMENTWISE, pure=True, raises=False, change=change)
    try:
        found = gradlab.grad(lambda w, x: np.sum(own(x @ w)), "central")(w, x)
    finally:
        del TABLE[watched]
    wanted = gradlab.grad(lambda w, x: np.sum(own(x @ w)))(w, x)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())
    assert set(shapes) == {(8, 20)}


def test_a_primitive_without_a_row_is_opaque() -> None:
    """An opaque primitive is not merged, not dropped, and gets no buffer."""
    assert not primitive_of(softplus.fun).pure
    optimised, _ = passes.optimise(record(loss, W, [X]))
    assert [node.primitive for node in optimised.nodes].count(softplus.fun) == 3
    assert gradlab.grad(loss, Tape())(W, X) == pytest.approx(gradient_by_hand(W, X))


def test_a_row_adds_to_what_is_derived() -> None:
    def strange(x: Any) -> Any:
        return x

    define(strange, fresh=True)
    try:
        assert primitive_of(strange).fresh
        assert primitive_of(strange).raises
        define(strange, pure=True)
        assert primitive_of(strange).fresh
        assert primitive_of(strange).pure
    finally:
        del TABLE[strange]


@pytest.mark.parametrize("function", sorted(REDUCTIONS, key=lambda f: f.__name__))
def test_reductions_are_the_reduce_of_their_ufunc(function: Any) -> None:
    x = np.array([[1.0, 2.0, 0.5], [3.0, -1.0, 0.0]])
    for axis in (None, 0, 1):
        np.testing.assert_array_equal(function(x, axis=axis), REDUCTIONS[function].reduce(x, axis))


def called(function: Any, x: Any) -> Any:
    """Call a function of the table on a matrix, with its other arguments."""
    name = function.__name__
    more: dict[str, tuple[Any, ...]] = {
        "reshape": ((3, 4),),
        "swapaxes": (0, 1),
        "moveaxis": (0, 1),
        "rollaxis": (1,),
        "expand_dims": (0,),
        "getitem": (slice(1, None),),
    }
    return function(x, *more.get(name, ()))


@pytest.mark.parametrize("function", sorted(VIEWS, key=lambda f: f.__name__))
def test_views_share_their_operands_memory(function: Any) -> None:
    assert np.shares_memory(called(function, X), X)


def ufuncs(arity: int) -> list[Any]:
    rows = [f for f, row in TABLE.items() if row.kind is Kind.ELEMENTWISE]
    return sorted(
        (f for f in rows if isinstance(f, np.ufunc) and f.nin == arity and "d" in str(f.types)),
        key=lambda f: f.__name__,
    )


@pytest.mark.parametrize("function", [*ufuncs(1), *ufuncs(2)])
@np.errstate(all="ignore")
def test_elementwise_rows_write_into_out(function: Any) -> None:
    operands = [X, X + 0.5][: function.nin]
    try:
        wanted = function(*operands)
    except TypeError:
        operands = [x.astype(np.int64) for x in operands]
        wanted = function(*operands)
    out = np.full(wanted.shape, wanted.flat[0] == 0).astype(wanted.dtype)  # some other values
    match primitive_of(function).out:
        case "position":
            function(*operands, out)
        case "keyword":
            function(*operands, out=out)
    np.testing.assert_array_equal(out, wanted)
    for entry in ((0, 0), (3, 2)):  # each entry from the entries in its place
        alone = function(*[x[entry] for x in operands])
        np.testing.assert_allclose(alone, wanted[entry], rtol=2**-50)


def test_properties_of_a_row_depend_on_the_node() -> None:
    x = Node(None, shape=(2,), dtype=np.dtype(int), name="x")
    power = Node(np.power, (x, -1), {}, (2,), np.dtype(int))
    assert may_raise(power)  # integers to negative integer powers
    assert not may_raise(Node(np.power, (x, -1.0), {}, (2,), np.dtype(float)))
    assert is_elementwise(Node(np.where, (x, 1, 2)))
    assert not is_elementwise(Node(np.where, (x,)))
    assert not is_elementwise(Node(np.add, (x, 1), {"where": True}))
    program = Program((x,), (power,), (1.0,))
    assert passes.remove_dead(program).nodes == (power,)

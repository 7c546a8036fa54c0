"""Data of a loss that become inputs of a recording: labels, casts, numbers, arrays."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from autograd.extend import notrace_primitive
from autograd.test_util import check_grads
from counting import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab import Tape
from gradlab.arrays.indexing import HERE, gather, gather_at
from gradlab.errors import UntraceableError, UntraceableWarning
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape import comparing
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.params import flatten
from gradlab.program.ir import Node, Program, name_of
from gradlab.program.numbers import MAX_RECORDINGS
from gradlab.program.passes import optimise, remove_dead
from gradlab.program.primitives import may_raise
from gradlab.program.record import record

R = np.random.default_rng(0)
W, X = R.normal(size=(5, 4)), R.normal(size=(6, 5))
Y, OTHER = np.array([0, 3, 3, 1, 2, 0]), np.array([3, -1, 0, -4, 1, 2])
TABLE = R.normal(size=(4, 3))


def outcome(call: Callable[[], Any]) -> Any:
    """Return the loss and its gradient as bytes, or the error as text."""
    try:
        value, grads = call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return value, [leaf.tobytes() for leaf in flatten(grads)[0]]


def replayed(loss: Any, *calls: tuple[Any, ...], recordings: int = 1) -> Any:
    """Require eager autograd's bits from the exact tape, for two calls each, without a warning."""
    f, eager = Tape(exact=True).value_and_grad(loss), Autograd().value_and_grad(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UntraceableWarning)
        for call in (*calls, *calls):
            assert outcome(lambda c=call: f(*c)) == outcome(lambda c=call: eager(*c))
    assert f.untraceable is None
    assert f.cache_info.recordings == recordings
    assert f.cache_info.replays > 0
    return f


def refused(loss: Any, *calls: tuple[Any, ...], match: str) -> Any:
    """Compare the tape with eager autograd for an unrecordable loss, with one warning."""
    f, eager = Tape(exact=True).value_and_grad(loss), Autograd().value_and_grad(loss)
    with pytest.warns(UntraceableWarning, match=match) as caught:  # noqa: PT031
        for call in calls:
            assert outcome(lambda c=call: f(*c)) == outcome(lambda c=call: eager(*c))
    assert len([w for w in caught if w.category is UntraceableWarning]) == 1
    return f


# Labels in an index


def cross_entropy(w: Any, x: Any, y: Any) -> Any:
    z = np.dot(x, w)
    return np.mean(np.log(np.sum(np.exp(z), axis=1)) - z[np.arange(len(y)), y])


def two_arrays(w: Any, x: Any, y: Any) -> Any:
    return np.sum(np.sin(w[y[:, None], None, y] ** 2) * w[..., y, None][1])


INDEXED = {
    "cross entropy": cross_entropy,
    "softmax": lambda w, x, y: (
        -np.sum(np.log((np.exp(x @ w) / np.exp(x @ w).sum(1, keepdims=True))[np.arange(6), y]))
    ),
    "rows": lambda w, x, y: np.sum(np.sin(w[y])),
    "rows of rows": lambda w, x, y: np.sum(np.sin(w[y.reshape(2, 3)]) * w[y[0]]),
    "columns": lambda w, x, y: np.sum(np.sin(w[:, y])),
    "ellipsis": lambda w, x, y: np.sum(np.sin(w[..., y, None])),
    "with a slice": lambda w, x, y: np.sum(np.sin(w[y, 1:3] * x[:, 1:3])),
    "arrays that broadcast": two_arrays,
    "one label": lambda w, x, y: np.sin(w[y[0], 1]) * w[1, y[2]],
    "a list": lambda w, x, y: np.sum(np.sin(w[[y[0], 1]])),
    "a transposed array": lambda w, x, y: np.sum(np.sin(w.T[y] * x).sum(axis=0) ** 2),
    "computed": lambda w, x, y: np.sum(np.sin(w[(y + 1) % 4])),
    "of the parameters": lambda w, x, y: np.sum(w[np.argmax(w, axis=0), np.arange(4)] ** 2),
    "data alone": lambda w, x, y: np.sum(w * x[y[0]][:, None]),
    "a table": lambda w, x, y: np.sum(np.sin(x @ w)[:, :3] * TABLE[y]),
    "one-hot": lambda w, x, y: np.sum(np.sin(x @ w) * (0.9 * np.eye(4)[y] + 0.025)),
    "one entry of a table": lambda w, x, y: np.sum(w * TABLE[y[1], None, y[2] % 2]),
    "slices of a table": lambda w, x, y: np.sum(w[:3] * TABLE[y[:2], ::2].sum()),
    "in a comprehension": lambda w, x, y: sum(np.sum(w * TABLE[label, 0]) for label in y),
    "in an inner function": lambda w, x, y: np.sum(w * (lambda table: table[y, 1].sum())(TABLE)),
}


@pytest.mark.parametrize("name", INDEXED)
def test_labels_in_an_index_are_data(name: str) -> None:
    """One recording serves negative, repeated and invalid labels, and other parameters."""
    far = np.where(OTHER == 2, 7, OTHER)
    replayed(INDEXED[name], (W, X, Y), (2 * W, X, OTHER), (-W, 2 * X, Y[::-1].copy()), (W, X, far))


def test_labels_of_any_integers() -> None:
    calls = [(W, X, Y.astype(dtype)) for dtype in ("i1", "i4", "u1", "u8", ">i8")]
    replayed(cross_entropy, *calls, recordings=5)
    replayed(lambda w, x, i: np.sum(w[i] ** 2), (W, X, np.int64(2)), (W, X, np.int64(-1)))


def test_row_of_a_reused_buffer() -> None:
    """One label selects a copy; one integer would select a view."""

    def loss(w: Any, i: Any) -> Any:
        h = np.tanh(w)
        row = h[i, 1:]
        return np.sum(row * np.sum(np.exp(h)))

    replayed(loss, (W, np.int64(1)), (W, np.int64(-2)))


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda w, x, y: np.sum(w[y[:5] > 1] ** 2), "boolean mask"),
        (lambda w, x, y: np.sum(w[: y[1]] ** 2), "an end of a slice"),
        (lambda w, x, y: np.sum(w * [1.0, 2.0, 3.0, 4.0][y[0]]), "makes an integer"),
        (lambda w, x, y: np.sum(w * memoryview(TABLE[0])[y[0] % 3]), "makes an integer"),
    ],
)
def test_index_that_cannot_be_recorded(loss: Any, match: str) -> None:
    refused(loss, (W, X, Y), (W, X, OTHER % 4), match=rf"{match}.*test_tape_data\.py, line \d+: ")


def test_table_of_code_without_source() -> None:
    scope: dict[str, Any] = {"np": np, "TABLE": TABLE}
    exec("def loss(w, x, y):\n    return np.sum(w * TABLE[y, 0].sum())\n", scope)
    refused(scope["loss"], (W, X, Y), (W, X, OTHER), match="plain NumPy array of a traced one")


def test_table_of_a_file_that_was_edited(tmp_path: Any) -> None:
    """The source does not match the running code, so the loss is refused."""
    file = tmp_path / "edited.py"
    source = "def loss(w, x, y):\n    return (w * {}[y, 0].sum()).sum()\n"
    scope: dict[str, Any] = {"table": TABLE}
    exec(compile(source.format("table"), str(file), "exec"), scope)
    file.write_text(source.format("taple"))
    refused(scope["loss"], (W, X, Y), (W, X, OTHER), match=r"edited\.py, line 2.*write np\.take")


def test_functions_are_rewritten_once_and_behave_the_same() -> None:
    loss: Any = INDEXED["a table"]
    replayed(loss, (W, X, Y), (W, X, OTHER))
    rewritten: CodeType = loss.__code__
    replayed(loss, (W, X, Y), (W, X, OTHER))
    assert loss.__code__ is rewritten

    def failing(w: Any, x: Any, y: Any) -> Any:
        TABLE[y]
        raise KeyError("on purpose")

    assert isinstance(failing, FunctionType)
    before = failing.__code__
    with pytest.raises(KeyError, match="on purpose") as caught:
        Tape().value_and_grad(failing)(W, X, Y)
    line = before.co_firstlineno + 2
    assert any(entry.lineno + 1 == line for entry in caught.traceback)
    assert failing.__code__.co_firstlineno == before.co_firstlineno


def test_table_that_is_written_into_is_read_again() -> None:
    table = TABLE.copy()
    f = Tape(verify=None).value_and_grad(lambda w, y: np.sum(w * table[y].sum()))
    for _ in range(3):
        f(W, Y)
    table *= 2
    assert f(W, OTHER)[1][0, 0] == table[OTHER].sum()
    assert f.cache_info.recordings == 2


def test_table_that_a_loss_makes_is_a_constant() -> None:
    """The table is not copied at each replay, and a uniform table becomes a number."""

    def loss(w: Any, y: Any) -> Any:
        return np.sum(w[:4] * np.eye(4)[y] * np.ones_like(w[:4]))

    f = replayed(loss, (W, Y[:4]), (W, OTHER[:4]))
    names = [name_of(node.primitive) for node in f.program.nodes]
    assert "_constant" not in names
    assert names.count("gather") == 1
    assert names.count("multiply") == 1  # without the ones


def test_derivatives_of_gather() -> None:
    """Both modes and both orders agree with differences, and with autograd's own index."""
    index = (np.array([[0, 1], [1, 1]]), slice(None), None)
    template, array = (HERE, slice(None), None), index[0]
    state = np.random.get_state()  # noqa: NPY002 - autograd draws from it
    check_grads(lambda x: gather(x, template, array), modes=["fwd", "rev"])(W)
    check_grads(lambda x: gather(x, template, array), modes=["fwd", "rev"])(W + 1j * X[:5, :4])
    np.random.set_state(state)  # noqa: NPY002
    mine = autograd.hessian(lambda x: anp.sum(gather(x, template, array) ** 3))(W)
    theirs = autograd.hessian(lambda x: anp.sum(x[index] ** 3))(W)
    assert np.array_equal(mine, theirs)
    assert gather_at(W, index).base is None
    assert not np.shares_memory(gather(W, (HERE,), np.int64(1)), W)


PARTS = st.sampled_from(
    [0, -1, None, Ellipsis, slice(None), slice(1, 3), "y", "y", "table", np.array([1, 0, 1])]
)


@given(parts=st.lists(PARTS, max_size=4), seed=st.integers(0, 9), scale=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_index_selects_as_in_numpy(parts: Any, seed: int, scale: bool) -> None:
    """Random indices with labels give eager autograd's gradient or its error, for two labels."""

    def loss(w: Any, y: Any) -> Any:
        given = {"y": y, "table": y[0]}
        index = tuple(given[part] if isinstance(part, str) else part for part in parts)
        found = w[index]
        return np.sum(np.sin(found * scale + found))

    rng = np.random.default_rng(seed)
    w = rng.normal(size=(3, 4, 3))
    eager = Autograd().value_and_grad(loss)
    f = Tape(exact=True).value_and_grad(loss)
    for y in (rng.integers(-3, 3, 3), rng.integers(-3, 3, 3), rng.integers(-3, 3, 3)):
        wanted, found = outcome(lambda y=y: eager(w, y)), outcome(lambda y=y: f(w, y))
        assert found == wanted
    assert f.untraceable is None or isinstance(wanted, str)


# Values without a derivative


@notrace_primitive
def floored(x: Any) -> Any:
    return np.floor(x)


@notrace_primitive
def rows_of(x: Any) -> int:
    return int(x.shape[0])


def test_values_without_derivatives_are_data() -> None:
    """Functions without a derivative are recorded if they read values."""
    replayed(lambda w, x: np.sum(w * floored(x)), (W, 3 * X[:5, :4]), (W, -5 * X[:5, :4]))
    replayed(lambda w: np.sum(w * floored(w)), (3 * W,), (-5 * W,))
    replayed(lambda w, x: np.sum(w) * rows_of(x), (W, X), (W, 2 * X))


def test_integer_casts_are_refused() -> None:
    refused(
        lambda w, x: anp.sum(w[anp.int64(x[0])] ** 2),
        (W, np.array([0.5, 1.5])),
        (W, np.array([2.5, 1.5])),
        match=r"NumPy integer of a traced value: use astype\(int64\) \(.*test_tape_data\.py, line",
    )
    replayed(
        lambda w, x: np.sum(w[x.astype(np.int64)] ** 2),
        (W, np.array([0.5, 1.5])),
        (W, np.array([2.5, 1.5])),
    )


def test_sums_in_place_do_not_change_constants() -> None:
    """An inner gradient begins with a constant, to which autograd adds in place."""

    inner: list[Callable[[Any], Any]] = [
        lambda x: x[0] + x[0] * x[1],
        lambda x: x[0] * x[1] + x[0],
        lambda x: anp.sum(x * x) / 2 + x[0],
        lambda x: x[0] + anp.sum(x * x) / 2,
    ]
    here, there = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    for function, wanted in zip(inner, (9.0, 9.0, 17.0, 17.0), strict=True):

        def loss(w: Any, function: Any = function) -> Any:
            return anp.sum(autograd.grad(function)(w) ** 2)

        replayed(loss, (here,), (there,))
        assert record_gradient(loss, here).program.run([there])[0] == wanted


def test_arrays_that_a_loss_writes_into() -> None:
    """Arrays of the loss are recorded before the write; writes into other arrays are detected."""

    def own(w: Any) -> Any:
        buffer, total = np.zeros(3), 0.0
        for i in range(3):
            buffer[i] = i + 1.0
            total = total + np.sum(w * buffer)
        return total

    w = np.array([1.0, 2.0, 3.0])
    assert Autograd().value_and_grad(own)(w)[1].tolist() == [3.0, 4.0, 3.0]
    replayed(own, (w,), (2 * w,))
    counts = np.arange(3.0)

    def counting(w: Any, x: Any) -> Any:
        scaled = x * counts
        counts[0] += 1.0
        return np.sum(w * scaled) + np.sum(x * counts)

    def behind_its_back(w: Any, x: Any) -> Any:
        total = np.sum(w * counts)
        aside[...] += 1.0
        return total

    f = Tape().value_and_grad(counting)
    with pytest.warns(UntraceableWarning, match=r"writes into .*_data\.py, line \d+: scaled"):
        f(w, w)
    assert f(w, w)[1].tolist() == (w * (counts - [1.0, 0.0, 0.0])).tolist()
    aside = (everything := np.arange(6.0))[::2]
    counts = everything[::2]
    with pytest.warns(UntraceableWarning, match=r"writes into .*line \d+: total"):
        Tape().value_and_grad(behind_its_back)(w, w)


# Python numbers


def counting(w: Any, i: Any) -> Any:
    return np.sum(w**2)


NUMBERS = {
    "unused": counting,
    "a decay": lambda w, i: np.sum(w**2) * 0.9**i + 1 / (1 + i),
    "an index": lambda w, i: np.sum(w[i % 5] ** 2) + np.sum(X[i // 5] * w[:, 0]),
    "a power": lambda w, i: np.sum(w**i),
    "in a list": lambda w, i: np.sum(w * [i][0]),
    "functions": lambda w, i: np.sum(w) * np.sin(i) * np.exp(-i / 10),
    "a choice of NumPy's": lambda w, i: np.sum(np.where(i > 2, w, 2 * w)),
}


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_that_differ_become_inputs(name: str, kind: Any) -> None:
    if (name, kind) == ("an index", float):
        return
    calls = [(W + i, kind(i)) for i in range(12)]
    f = replayed(NUMBERS[name], *calls, recordings=3)
    assert f.cache_info.replays >= 9


def test_numbers_that_stay_are_constants() -> None:
    def loss(w: Any, options: Any, step: Any) -> Any:
        total = 0.0
        for _ in range(options["layers"]):
            total = total + np.sum(np.tanh(w * options["rates"][1])) * step
        return total

    calls = [(W, {"layers": 2, "rates": (1.0, 0.1 * i)}, i) for i in range(10)]
    replayed(loss, *calls, recordings=3)
    few = [(W, n) for n in (1, 2, 3, 4)] * 4
    f = Tape().value_and_grad(lambda w, n: np.sum(w[:n] ** 2))
    for call in few:
        f(*call)
    assert f.untraceable is None
    assert f.cache_info.recordings <= 5


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda w, i: np.sum(w) * math.floor(i), "makes a Python number"),
        (lambda w, i: np.sum(w) * 2**i, "power of Python numbers"),
        (lambda w, i: np.sum(w * np.ones(i + 1)[0]), "makes an integer"),
        (lambda w, i: np.sum(w) * len("a" * i), "sequence|integer"),
        (lambda w, i: np.sum(w.astype(np.float32)) * i, "number that differs .* float32"),
    ],
)
def test_numbers_that_cannot_be_inputs(loss: Any, match: str) -> None:
    f = refused(
        loss,
        *[(W, i) for i in range(2 * MAX_RECORDINGS)],
        match=rf"(?s)number changes.* i,.*{match}",
    )
    assert f.cache_info.recordings <= MAX_RECORDINGS + 1


def test_numbers_behave_as_in_python() -> None:
    """A division by 0 is an error, and numbers pass tests of their type."""
    calls = [(W, i) for i in range(8)]
    with np.errstate(divide="ignore"):
        replayed(lambda w, i: np.sum(w) / (1 / (i - 5)), *calls, recordings=3)
        replayed(lambda w, i: np.sum(w) / (1 / (i - 2)), *calls[1:], recordings=2)
    f = Tape().value_and_grad(lambda w, i: np.sum(w) * (2 if isinstance(i, int) else 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntraceableWarning)
        for i in range(12):
            assert f(W, i)[1][0, 0] == 2.0
    assert "treats Python numbers differently" in str(f.untraceable)


def test_variables_that_differ_at_each_call() -> None:
    """A loss that counts its calls is recorded a few times, and then warned of once."""
    step = 0

    def loss(w: Any) -> Any:
        return np.sum(w) * step

    f = Tape().value_and_grad(loss)
    match = r"closes over changes .*data\.py, line"
    with pytest.warns(UntraceableWarning, match=match) as caught:  # noqa: PT031
        for step in range(2 * MAX_RECORDINGS):
            assert f(W)[1][0, 0] == step
    assert len(caught) == 1
    assert f.cache_info.recordings == MAX_RECORDINGS + 1


def test_large_integers_stay_constants() -> None:
    """Sums of them would not fit into 64 bits."""
    f = Tape().value_and_grad(lambda w, i: np.sum(w) * ((i + i) % 7))
    for first in (2**62, 2**70):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntraceableWarning)
            for i in range(first, first + 2 * MAX_RECORDINGS):
                assert f(W, i)[1][0, 0] == float((i + i) % 7)


def test_a_loss_of_one_entry() -> None:
    replayed(lambda w: np.sum(w**2, keepdims=True), (W,), (2 * W,))
    replayed(lambda w, i: w[i[:1], i[1:2]] ** 2, (W, np.array([0, 1])), (W, np.array([2, 2])))


# Errors


def check_that_nobody_needs(w: Any, a: Any) -> Any:
    np.linalg.cholesky(a)
    return np.sum(w * a[0, 0])


def test_operations_that_may_raise_are_not_dropped() -> None:
    """Examples with unused results: a matrix that is not positive definite, an invalid label."""
    good, bad = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])
    f = Tape(verify=None).value_and_grad(check_that_nobody_needs)
    for _ in range(4):
        f(W, good)
    with pytest.raises(np.linalg.LinAlgError):
        f(W, bad)
    assert f.untraceable is None

    def picks(w: Any, y: Any) -> Any:
        w[y]
        return np.sum(w**2)

    g = Tape(verify=None).value_and_grad(picks)
    for y in (Y, OTHER, Y):
        g(W, y)
    with pytest.raises(IndexError):
        g(W, Y + 5)
    assert g.untraceable is None


def test_operations_that_cannot_raise_are_dropped() -> None:
    program = record(lambda w: np.sum(w) + 0 * len(np.dot(w, w.T) @ np.cos(w)), W)
    assert [node.primitive for node in remove_dead(program).nodes] == [np.sum, np.add]
    assert not may_raise(Node(operator.getitem, (Node(np.exp), (0, None))))
    assert may_raise(Node(operator.getitem, (Node(np.exp), [7])))
    assert may_raise(Node(np.power, (2, -1), dtype=np.dtype(int)))
    assert may_raise(Node(np.frompyfunc(len, 1, 1), ("",)))
    assert may_raise(Node(check_that_nobody_needs, ()))


def test_reasons_name_the_line_whose_derivative_it_is() -> None:
    """A derivative of autograd's own branches on values."""
    refused(
        lambda a: np.sum(np.linalg.eigh(a + a.T)[0] ** 2),
        (np.eye(3) + W[:3, :3],),
        (2 * np.eye(3) + W[:3, :3],),
        match=r"branches on .*in the derivative of .*test_tape_data\.py, line \d+: lambda a",
    ) if branches_in_its_derivative() else None


def branches_in_its_derivative() -> bool:
    """Tell whether the derivative of eigh still tests whether a cotangent is zero."""
    try:
        record_gradient(lambda a: np.sum(np.linalg.eigh(a + a.T)[0] ** 2), np.eye(3) + W[:3, :3])
    except UntraceableError:
        return True
    return False


def test_no_internal_class_is_in_a_reason() -> None:
    f = refused(
        lambda w, x: np.sum(w) * (x.nosuch if hasattr(x, "nosuch") else x.ctypes.data * 0 + 1.0),
        (W, X),
        (W, X),
        match=r"test_tape_data\.py, line \d+",
    )
    assert "Box" not in f.untraceable


# Comparisons with equal data


def test_equal_data_in_new_arrays(monkeypatch: Any) -> None:
    """Most calls do not compare the whole data, but different data are always noticed."""
    sums: list[Any] = []
    checksum = comparing.checksum
    monkeypatch.setattr(comparing, "checksum", lambda a: sums.append(a) or checksum(a))

    def loss(w: Any, x: Any) -> Any:
        return np.sum(w * x.sum())

    x = R.normal(size=(50, 50))
    f, g = (Tape(verify=None).value_and_grad(loss) for _ in range(2))
    with calls_of(loss) as calls:
        for _ in range(65):
            f(W, x.copy())
        assert len(calls) == 3
        assert len(sums) == 1 + 7  # when it was recorded; then at calls 1, 2, 4, ... 64
        f(W, x + 1)
        assert len(calls) == 4
        f(W, x + 2)
        assert len(calls) == 4
        for _ in range(3):
            g(W, x.copy())
        x[0, 1] += 1.0  # an entry that is in no sample
        calls.clear()
        for _ in range(2):
            g(W, x.copy())
        assert len(calls) == 1


def test_sums_over_an_axis_of_length_1_are_views() -> None:
    """A minibatch of one row needs no product with ones, and no sum."""

    def loss(w: Any, x: Any) -> Any:
        return np.sum(np.tanh(x @ w + w[0]))

    program, _ = optimise(record_gradient(loss, W, [X[:1]]).program)
    assert not [n for n in program.nodes if n.primitive is np.dot and 1 in (n.shape or ())[:1]][2:]
    ones = [n for n in program.nodes if n.primitive is np.full and set(n.shape or ()) == {1}]
    assert not ones
    replayed(loss, (W, X[:1]), (W, X[1:2]))
    x = Node(None, (), {}, (1, 4), np.dtype(float), "x")
    total = Node(np.sum, (x,), {"axis": 0}, (4,), np.dtype(float))
    found, _ = optimise(Program((x,), (total,), (total,)))
    assert [node.primitive for node in found.nodes] == [np.reshape]

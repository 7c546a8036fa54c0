"""What a loss may do with its own traced value: catch refusals, write, ask for types.

On plain arrays, ``try: s = int(x)`` succeeds. While the loss is traced it fails, and the loss takes
another branch. Each backend gives the value and the gradient of the loss on plain arrays, or an
error, from the first call on.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import math
import operator
import pickle
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import EXACT, each_backend, unless_missing

import gradlab
from gradlab import Tape
from gradlab.arrays.read_only import read_only
from gradlab.containers import rebuilt
from gradlab.errors import GradlabError, LossError, ReadOnlyError, UntraceableWarning
from gradlab.params import flatten
from gradlab.program.captured import SAMPLED_ENTRIES, Captured

TRACED = ["autograd", "autograd-forward", "tape", "jax", "torch"]
QUICK = {"autograd", "tape", "central", "torch"}
EPS = np.finfo(float).eps
W = np.array([1.4, -0.7])
X = [np.array([3.0, 4.25]), np.array([-3.0, 9.0]), np.array([30.0, -4.25])]


def each(names: Iterable[str]) -> Any:
    """Run a test for each of these backends; most of them only in the slow tests."""
    cases = [unless_missing(name) for name in names]
    slow = [
        case
        if case.id in QUICK
        else pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id)
        for case in cases
    ]
    return pytest.mark.parametrize("backend", slow)


# Refusals that the loss catches


def caught(convert: Callable[[Any], Any]) -> Callable[..., Any]:
    """Return a loss that tries to convert its value, and takes another path if that is refused."""

    def loss(w: Any, x: Any) -> Any:
        try:
            s = convert(w if loss.of_params else x)  # type: ignore[attr-defined]
        except Exception:
            s = 7.0
        return np.sum(s * w * x)

    return loss


table = np.zeros(2)


def written(x: Any) -> float:
    table[:] = x
    return float(table.sum())


def added(x: Any) -> float:
    table[:] = 0
    np.add.at(table, [0], x[0])
    return float(table.sum())


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "float": lambda x: float(x.max()),
    "int": lambda x: int(10 * abs(x[0]) + 0.5),
    "complex": lambda x: abs(complex(x[0], 1)),
    "item": lambda x: x.max().item(),
    "tolist": lambda x: sum(x.tolist()),
    "tobytes": lambda x: np.frombuffer(x.tobytes())[0],
    "math": lambda x: math.sqrt(abs(x[0])),
    "range": lambda x: len(range(int(abs(x[0]) + 0.5))),
    "round": lambda x: round(float(x[0])),
    "pickle": lambda x: float(pickle.loads(pickle.dumps(x))[0]),
    "view": lambda x: float(x.view(np.int64)[0] % 7),
    "strides": lambda x: x.strides[0],
    "hasattr": lambda x: 2.0 if hasattr(x, "ctypes") else 3.0,
    "write into a plain array": written,
    "add.at": added,
    "own parameter": lambda x: operator.setitem(x, 0, x[0]) or 2.0,
}
FOLLOWED = {"float", "item", "tolist", "math", "round"}
"""Conversions of traced numbers; the derivative of `round` is 0."""
OF_PARAMS_ALONE = {"own parameter", "write into a plain array"}


@each(TRACED)
@pytest.mark.parametrize("kind", CONVERSIONS)
def test_a_conversion_is_followed_or_refused_even_if_the_loss_catches_that(
    kind: str, backend: str
) -> None:
    loss = caught(CONVERSIONS[kind])
    loss.of_params = True  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntraceableWarning)
        if kind not in FOLLOWED:
            with pytest.raises(GradlabError):
                gradlab.grad(loss, backend)(W, X[0])
            return
        try:
            found = gradlab.grad(loss, backend)(W, X[0])
        except GradlabError:
            return
    slope = [(loss(W + e, X[0]) - loss(W - e, X[0])) / 2e-6 for e in 1e-6 * np.eye(2)]
    # h² f'''/6 with h = 1e-6, and round-off ε |f| / h; f and its derivatives are below 100.
    np.testing.assert_allclose(found, slope, rtol=0, atol=100 * EPS / 1e-6)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in CONVERSIONS if kind not in OF_PARAMS_ALONE])
def test_data_are_plain_arrays_for_the_first_answer(kind: str, exact: bool) -> None:
    loss = caught(CONVERSIONS[kind])
    loss.of_params = False  # type: ignore[attr-defined]
    f = gradlab.value_and_grad(loss, Tape(exact=exact))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntraceableWarning)  # of what cannot be recorded
        for x in (*X, *X):
            value, grads = f(W, x)
            s = CONVERSIONS[kind](x)
            assert value == pytest.approx(np.sum(s * W * x), rel=1e-14)
            np.testing.assert_allclose(grads, s * x, rtol=1e-14)


class Pair(tuple[Any, ...]):
    """A tuple of the user's own."""

    scale = 2.0


class Table(dict[str, Any]):
    """A dict of the user's own."""

    scale = 2.0


class Own(np.ndarray):
    """An array of the user's own."""

    scale = 2.0


def of_kind(w: Any, x: Any) -> Any:
    array = x[0] if isinstance(x, tuple) else x["a"] if isinstance(x, dict) else x
    return np.sum(w**2 * np.asarray(array)) * getattr(type(x), "scale", 1.0)


def of_number(w: Any, x: Any) -> Any:
    is_number = isinstance(x, float) or np.isscalar(x)
    return np.sum(w**2 * x) * (2.0 if is_number else 9.0)


KINDS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "tuple": (of_kind, lambda x: Pair([x])),
    "dict": (of_kind, lambda x: Table(a=x)),
    "array": (of_kind, lambda x: x.view(Own)),
    "type": (lambda w, x: np.sum(w * x) * (2.0 if type(x) is np.ndarray else 5.0), np.array),
    "NumPy's float": (of_number, lambda x: x[0]),
    "NumPy's integer": (of_number, lambda x: np.int64(x[0])),
    "no dimensions": (of_number, lambda x: np.array(x[0])),
    "text": (lambda w, x: np.sum(w * x) * len(str(x)), np.array),
}


@each(EXACT)
@pytest.mark.parametrize("kind", KINDS)
def test_arguments_keep_their_types(kind: str, backend: str) -> None:
    loss, make = KINDS[kind]
    f = gradlab.value_and_grad(loss, backend)
    for x in (X[0], X[0], X[1]):
        arg = make(x)
        wanted = float(loss(W, arg))
        slope = [(loss(W + e, arg) - loss(W - e, arg)) / 2e-6 for e in 1e-6 * np.eye(2)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntraceableWarning)
            try:
                value, grads = f(W, arg)
            except LossError:
                if backend != "jax":  # which says that the loss differs from NumPy's
                    raise
                continue
        assert value == pytest.approx(wanted, rel=1e-12)
        # f is a polynomial of degree 2: the quotient's error is round-off, ε |f| / h, h = 1e-6;
        # that of the forward difference is h f'' and ε |f| / h, h = √ε, with f'' of the order of f.
        allowed = EPS**0.5 if backend == "forward" else EPS / 1e-6
        np.testing.assert_allclose(grads, slope, rtol=0, atol=32 * allowed * abs(wanted))


# Arguments are read-only


@dataclasses.dataclass(frozen=True)
class Batch:
    x: Any


ROOMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bare": (lambda x: x, lambda data: data),
    "list": (lambda x: [[x]], lambda data: data[0][0]),
    "ordered": (lambda x: collections.OrderedDict(x=x), lambda data: data["x"]),
    "default": (lambda x: collections.defaultdict(list, x=x), lambda data: data["x"]),
    "proxy": (lambda x: types.MappingProxyType({"x": x}), lambda data: data["x"]),
    "user's dict": (lambda x: collections.UserDict(x=x), lambda data: data["x"]),
    "own tuple": (lambda x: Pair([x]), lambda data: data[0]),
    "dataclass": (Batch, lambda data: data.x),
    "namespace": (lambda x: types.SimpleNamespace(x=x), lambda data: data.x),
    "objects": (lambda x: np.array([None, x], object)[1:], lambda data: data[0]),
}


@each([*EXACT, "spsa", "forward-gradient"])
@pytest.mark.parametrize("room", ROOMS)
def test_no_backend_lets_a_loss_write_into_its_arguments(room: str, backend: str) -> None:
    put, take = ROOMS[room]
    x = np.array([3.0, 4.0])
    data = put(x)

    def loss(w: Any, data: Any) -> Any:
        x = take(data)
        x -= x.mean()
        return np.sum(w * x)

    f = gradlab.value_and_grad(loss, backend)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntraceableWarning)
            with pytest.raises(LossError, match=r"writes into.*x -= x\.mean\(\).*copy"):
                f(W, data)
        assert x.tolist() == [3.0, 4.0]


def centring(w: Any, x: Any, y: Any) -> Any:
    x -= x.mean(axis=0)
    return np.mean((x @ w - y) ** 2)


@each(EXACT)
def test_a_training_on_data_that_the_loss_writes_into_is_refused(backend: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(3.0, 1.0, (8, 2)), rng.normal(size=8)
    before = copy.deepcopy(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UntraceableWarning)
        with pytest.raises(LossError, match="writes into"):
            gradlab.fit(centring, W, data, backend=backend, learning_rate=0.1, iterations=3)
    assert all(map(np.array_equal, data, before))


def test_error_bars_and_checks_see_a_write_beside_the_parameters() -> None:
    """There, too, the write is an error and not a missing value."""

    def loss(w: Any, x: Any) -> Any:
        if w[0] != W[0]:
            x -= x.mean()
        return np.sum(w * x)

    x = np.array([3.0, 4.0])
    for call in (
        lambda: gradlab.derivative_with_error(loss, W, x),
        lambda: gradlab.check_gradients(loss, W, x, gradient=lambda w, x: x),
        lambda: gradlab.grad(loss, "richardson")(W, x),
        lambda: gradlab.grad(loss, gradlab.CentralDifference(workers=map))(W, x),
    ):
        with pytest.raises(ReadOnlyError, match=r"x -= x\.mean\(\)"):
            call()
    assert x.tolist() == [3.0, 4.0]


def test_read_only_views_keep_objects_that_are_not_arrays() -> None:
    label, generator = object(), np.random.default_rng(0)
    own = Table(a=np.zeros(2))
    own.note = label  # type: ignore[attr-defined]
    seen = read_only((own, label, generator, Batch(1.0)))
    assert type(seen[0]) is Table
    assert seen[0].note is label
    assert seen[0]["a"] is not own["a"]
    assert own["a"].flags.writeable
    assert seen[1] is label
    assert seen[2] is generator
    assert seen[3] == Batch(1.0)


class Locked(dict[str, Any]):
    """A dict that cannot be copied."""

    def __init__(self, **items: Any) -> None:
        super().__init__(**items)
        self.lock = iter(())  # has no copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("no copies")


@given(
    st.recursive(
        st.integers(0, 9),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.lists(inner, max_size=3).map(Pair),
            st.dictionaries(st.text(max_size=2), inner, max_size=3).map(Table),
            st.dictionaries(st.text(max_size=2), inner, max_size=3).map(collections.OrderedDict),
        ),
        max_leaves=5,
    )
)
@settings(max_examples=20)
def test_a_structure_is_rebuilt_with_its_types(value: Any) -> None:
    leaves, structure = flatten(value)
    again = structure.unflatten(leaves)
    assert again == value
    assert repr(type(again)) == repr(type(value)) or not isinstance(value, (dict, list, tuple))


def test_a_structure_that_cannot_be_copied_becomes_a_plain_one() -> None:
    assert rebuilt(Locked(a=1), [2]) == {"a": 2}
    assert type(rebuilt(Locked(a=1), [2])) is dict


# Captured arrays that are written into

A, M, E = np.array([2.0, 3.0]), np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([2, 3])
MASK, LABELS = np.array([True, False]), np.array([0, 1])
held: dict[str, Any] = {"deep": [{"a": A}]}


class Model:
    inner = A

    def __init__(self) -> None:
        self.scale = types.SimpleNamespace(a=A)

    def loss(self, w: Any) -> Any:
        return np.sum(np.arctan2(w, self.scale.a) * self.inner)


def helper(w: Any, a: Any = A) -> Any:
    return np.sum(w**a) * (2.0 if A[0] > 2.5 else 3.0)


def normal(w: Any) -> Any:
    from autograd.scipy import stats

    return -np.sum(stats.norm.logpdf(w, 1.0, A))


CAPTURED: dict[str, Callable[[Any], Any]] = {
    "exponent": lambda w: np.sum(w**A),
    "integer exponent": lambda w: np.sum(w**E),
    "base": lambda w: np.sum(A**w),
    "arctan2": lambda w: np.sum(np.arctan2(w, A)) + np.sum(np.arctan2(A, w)),
    "stack": lambda w: np.sum(np.stack([w, A]) ** 2 * M),
    "product": lambda w: np.sum((M @ w) ** 2 * np.arange(2)),
    "mask": lambda w: np.sum(np.where(MASK, w * 2, A * w)) + np.sum(w[MASK]),
    "comparison": lambda w: np.sum(np.where(A > 2.5, w * 2, A)),
    "labels": lambda w: np.sum(w[LABELS] ** 2 * A),
    "derived": lambda w: np.sum(np.sort(2 * A) * w**2),
    "number": lambda w: np.sum(w**2) * float(A[0]),
    "branch": lambda w: np.sum(w**2) if A[0] > 2.5 else np.sum(w),
    "written into its own": lambda w: np.sum(np.concatenate([w, A]) ** 2 * np.arange(4)),
    "in a container": lambda w: np.sum(w ** held["deep"][0]["a"]),
    "of an object": Model().loss,
    "of a function that it calls": lambda w: helper(w) + sum(helper(w) for _ in range(2)),
    "of a partial": functools.partial(lambda w, *, a: np.sum(w**a), a=A),
    "of its module": lambda w: np.sum(w**2 * np.exp(A)),
}


def reset() -> None:
    A[:], M[:], E[:] = (2, 3), [[1, 2], [3, 4.5]], (2, 3)
    MASK[:], LABELS[:] = (True, False), (0, 1)


def change() -> None:
    A[:], M[:], E[:] = (3.5, 1.5), [[2, -1], [1, 1.5]], (3, 2)
    MASK[:], LABELS[:] = (False, True), (1, 1)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("how", CAPTURED)
def test_a_change_of_a_captured_array_is_detected_at_once(how: str, exact: bool) -> None:
    reset()
    loss, w = CAPTURED[how], np.array([1.3, 0.8])
    f = gradlab.value_and_grad(loss, Tape(verify=None, exact=exact))
    eager = gradlab.value_and_grad(loss, "autograd")
    try:
        for step in range(5):
            if step == 3:
                change()
            value, grads = f(w)
            wanted, expected = eager(w)
            assert value == pytest.approx(wanted, rel=1e-13)
            np.testing.assert_allclose(grads, expected, rtol=1e-12)
        assert f.untraceable is None
        assert f.cache_info.recordings == 2
    finally:
        reset()


@each_backend(["jax", "torch"])
def test_compiled_code_contains_captured_arrays(backend: str) -> None:
    reset()
    f = gradlab.value_and_grad(lambda w: np.sum(w**A), backend)
    try:
        for a in ([2.0, 3.0], [3.5, 1.5], [3.5, 1.5]):
            A[:] = a
            np.testing.assert_allclose(f(np.abs(W))[1], A * np.abs(W) ** (A - 1), rtol=1e-12)
    finally:
        reset()


def test_an_array_that_is_written_into_before_each_call_is_an_argument() -> None:
    mask = np.ones(2)
    f = gradlab.value_and_grad(lambda w: np.sum(w * mask), Tape())
    with pytest.warns(UntraceableWarning, match="closes over"):  # noqa: PT031
        for i in range(20):
            mask[:] = i
            assert f(W)[1].tolist() == [i, i]


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("dtype", ["f8", "i1", "c16", "?", "M8[s]", "U3"])
def test_every_entry_of_a_captured_array_is_compared(dtype: str, order: str) -> None:
    array = np.zeros((6, 5), dtype)
    array = array[::2, ::2] if order == "strided" else np.array(array, order=order)  # type: ignore[call-overload]
    captured = Captured([array])
    assert captured.are_unchanged()
    for place in np.ndindex(array.shape):
        before = array[place]
        array[place] = 1
        assert not captured.are_unchanged()
        array[place] = before
        assert captured.are_unchanged()


def test_a_huge_captured_array_is_compared_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlab.program.captured.MAX_FULLY_COMPARED_BYTES", 1024)
    array = np.zeros(50 * SAMPLED_ENTRIES)
    captured = Captured([array])
    assert captured.are_unchanged()
    array[25 * SAMPLED_ENTRIES :] = 1.0
    assert not captured.are_unchanged()


class Trainer:
    """A trainer that keeps more than its loss reads, and changes it in place."""

    rows = np.ones(2)

    def __init__(self) -> None:
        self.w, self.velocity, self.x = np.ones(2), np.zeros(2), np.array([3.0, 4.0])

    def predict(self, w: Any) -> Any:
        return self.x * w

    def loss(self, w: Any) -> Any:
        return np.sum(self.predict(w) * self.rows)


def test_only_arrays_that_the_code_names_are_compared() -> None:
    trainer = Trainer()
    f = gradlab.value_and_grad(trainer.loss, Tape())
    for _ in range(20):
        trainer.velocity += f(trainer.w)[1]
        trainer.w -= 0.1 * trainer.velocity
    assert f.cache_info.recordings == 1


# Numbers taken out of PyTorch's tensors


def numpys_item(w: Any, x: Any) -> Any:
    return (w * x).sum() * (1.0 if x[0] > 0 else w.sum().item())


def torchs_item(w: Any, x: Any) -> Any:
    import torch

    s = torch.sum(w)
    return torch.sum(w * x) * (1.0 if x[0] > 0 else s.item())


def torchs_float(w: Any, x: Any) -> Any:
    import torch

    s = torch.sum(w)
    try:
        s = 1.0 if x[0] > 0 else float(s)
    except Exception:
        s = 2.0
    return torch.sum(w * x) * s


@each_backend(["torch"])
@pytest.mark.parametrize("loss", [numpys_item, torchs_item, torchs_float])
@pytest.mark.parametrize("native", [False, True])
def test_a_slope_that_is_lost_in_another_branch(native: bool, loss: Any, backend: str) -> None:
    import torch

    to = torch.tensor if native else np.array
    f = gradlab.value_and_grad(loss, backend)
    for _ in range(3):
        assert np.asarray(f(to(W), to(X[0]))[1]).tolist() == X[0].tolist()
    for _ in range(3):
        try:
            found = np.asarray(f(to(W), to(X[1]))[1])
        except GradlabError as error:
            assert "number" in str(error)  # noqa: PT017
            continue
        np.testing.assert_allclose(found, X[1] * W.sum() + W @ X[1])  # NumPy's number is followed


@each_backend(["torch"])
@pytest.mark.parametrize("native", [False, True])
def test_torch_does_not_write_into_arguments(native: bool, backend: str) -> None:
    import torch

    def loss(w: Any, x: Any) -> Any:
        x.sub_(x.mean())
        return torch.sum(w * x)

    x = torch.tensor(X[0]) if native else X[0].copy()
    with pytest.raises(LossError, match="writes into"):
        gradlab.grad(loss, backend)(torch.tensor(W) if native else W, x)
    assert np.asarray(x).tolist() == X[0].tolist()


# The same arguments give the same bits


@pytest.mark.parametrize("exact", [False, True])
def test_the_first_call_of_the_tape_has_the_bits_of_the_others(exact: bool) -> None:
    params = gradlab.network.init((12, 7, 5), seed=0)
    rng = np.random.default_rng(0)
    x, labels = rng.random((9, 12)), rng.integers(0, 5, 9)
    f = gradlab.value_and_grad(gradlab.network.loss, Tape(exact=exact))
    g = gradlab.value_and_grad(gradlab.network.loss, Tape(exact=exact))
    calls = [f(params, x, labels) for _ in range(4)]
    g(params, x + 1, labels)
    calls.append(g(params, x, labels))
    for value, grads in calls:
        assert value == calls[0][0]
        assert all(grads[name].tobytes() == calls[0][1][name].tobytes() for name in grads)


def test_the_first_value_of_the_tape_is_that_of_a_replay() -> None:
    """w · w · w is rounded differently from w³ at a share of all points."""
    f = gradlab.value_and_grad(lambda w: np.sum(w**3), Tape())
    for w in np.linspace(0.7, 2.3, 200).reshape(40, 5):
        g = gradlab.value_and_grad(lambda w: np.sum(w**3), Tape())
        first = g(w)
        for value, grads in (g(w), g(w), f(w)):
            assert value == first[0]
            assert grads.tobytes() == first[1].tobytes()


def test_a_recording_that_differs_from_the_loss_is_not_used() -> None:
    f = gradlab.value_and_grad(KINDS["type"][0], Tape())
    with pytest.warns(UntraceableWarning, match=r"its recording differs.*types of its data"):
        assert f(W, X[0])[1].tolist() == (2 * X[0]).tolist()

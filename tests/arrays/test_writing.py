"""Writing in place: random programs of NumPy statements, on plain and on traced arrays.

A program is a list of statements on numbered arrays: it creates arrays, takes views and copies of
them, gives arrays other names, and writes into them. NumPy itself says what its value is, and the
complex step on NumPy what its derivative is. A traced run has to return these numbers, or to raise
a `GradlabError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawing import times
from hypothesis import event, example, given
from hypothesis import strategies as st

import gradlab

EPS = np.finfo(float).eps
H = 1e-30
Statement = tuple[Any, ...]


def run(program: list[Statement], x: Any, dtype: Any) -> Any:
    """Run a program and return a number that depends on all its arrays."""
    c = np.cos(np.arange(6.0) + 0.5)
    arrays = [x.copy(), np.zeros(6, dtype), (x * 2.0 + 1.0).reshape(2, 3), c.astype(dtype)]
    for statement in program:
        execute(statement, arrays, x, c, dtype)
    total = 0.0
    for i, array in enumerate(arrays):
        weights = np.reshape(np.sin(1.0 + i + np.arange(array.size)), array.shape)
        total = total + np.sum(weights * (array * array + 3.0 * array))
    return total


def execute(statement: Statement, arrays: list[Any], x: Any, c: Any, dtype: Any) -> None:
    name, i, *rest = statement
    a = arrays[i % len(arrays)]
    match name:
        case "zeros" | "ones" | "empty_like" | "zeros_like" | "full" | "array":
            arrays.append(create(name, a, x, dtype))
        case "name":
            arrays.append(a)
        case "view":
            arrays.append(VIEWS[rest[0]](a))
        case "product":
            arrays.append(a * 0.5 + x[rest[0] % 6])
        case "put" | "add" | "scale" | "copyto":
            write(name, a, rest[0], value_of(rest[1], arrays, a, x, c))
        case _:
            WHOLE[name](a, value_of(rest[0], arrays, a, x, c))


def create(name: str, a: Any, x: Any, dtype: Any) -> Any:
    match name:
        case "zeros":
            return np.zeros((2, 3), dtype)
        case "ones":
            return np.ones(4, dtype)
        case "empty_like":
            made = np.empty_like(a, dtype=dtype)
            made[...] = 0.25
            return made
        case "zeros_like":
            return np.zeros_like(a, dtype=dtype)
        case "full":
            return np.full((3, 2), 0.5, dtype)
    return np.array([x[0], x[1] * x[2], 1.0], dtype)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "copy": lambda a: a.copy(),
    "np.copy": lambda a: np.copy(a),
    "np.array": lambda a: np.array(a),
    "asarray": lambda a: np.asarray(a),
    "[0]": lambda a: a[0:1],
    "[1:]": lambda a: a[1:],
    "[::2]": lambda a: a[::2],
    "[::-1]": lambda a: a[::-1],
    "[None]": lambda a: a[None],
    "[..., 0]": lambda a: a[..., :1],
    "[list]": lambda a: a[[0, 0]],
    "T": lambda a: a.T,
    "transpose": lambda a: np.transpose(a),
    "reshape": lambda a: a.reshape(-1),
    "np.reshape": lambda a: np.reshape(a, (1, -1)),
    "ravel": lambda a: a.ravel(),
    "flatten": lambda a: a.flatten(),
    "real": lambda a: a[...],
    "squeeze": lambda a: np.squeeze(a),
    "atleast_2d": lambda a: np.atleast_2d(a),
    "swapaxes": lambda a: a.swapaxes(0, -1),
    "split": lambda a: np.split(a, 1)[0],
    "row": lambda a: next(iter(np.atleast_2d(a))),
    "expand_dims": lambda a: np.expand_dims(a, 0),
    "broadcast": lambda a: np.broadcast_to(a, (2, *a.shape)).copy(),
    "flip": lambda a: np.flip(a),
    "where": lambda a: np.where(np.real(a) > 0.2, a, 0.5 * a),
    "sort": lambda a: np.sort(a),
}

PLACES: dict[str, Callable[[Any], Any]] = {
    "...": lambda a: ...,
    ":": lambda a: slice(None),
    "0": lambda a: 0,
    "-1": lambda a: -1,
    "1:": lambda a: slice(1, None),
    "::2": lambda a: slice(None, None, 2),
    "..., 0": lambda a: (..., 0),
    "[0]": lambda a: [0],
    "[0, 0]": lambda a: [0, 0],
    "[-1, 0]": lambda a: np.array([-1, 0]),
    "mask": lambda a: np.arange(a.size).reshape(a.shape) % 2 == 0,
    "a > 0": lambda a: np.real(a) > 0.1,
    "rows": lambda a: np.arange(len(a)) % 2 == 1,
}


def write(name: str, a: Any, place: str, value: Any) -> None:
    index = PLACES[place](a)
    match name:
        case "put":
            a[index] = value
        case "add":
            a[index] += value
        case "scale":
            a[index] *= value
        case "copyto":
            np.copyto(a, value)


def add(a: Any, value: Any) -> None:
    a += value


def scale(a: Any, value: Any) -> None:
    a *= value


def through_flat(a: Any, value: Any) -> None:
    a.flat[1:] = np.ravel(value)[0]


def whole_flat(a: Any, value: Any) -> None:
    a.flat = value


def by_out(a: Any, value: Any) -> None:
    np.multiply(a, value, out=a)


def by_add_at(a: Any, value: Any) -> None:
    np.add.at(a, [0, 0], np.ravel(value)[0])


def swap(a: Any, value: Any) -> None:
    a[0], a[-1] = a[-1], a[0]


def swap_copies(a: Any, value: Any) -> None:
    a[[0, -1]] = a[[-1, 0]]


WHOLE: dict[str, Callable[[Any, Any], None]] = {
    "+=": add,
    "*=": scale,
    "fill": lambda a, value: a.fill(np.ravel(value)[0]),
    "flat[1:]": through_flat,
    "flat": whole_flat,
    "fill_diagonal": lambda a, value: np.fill_diagonal(a, np.ravel(value)[0]),
    "out": by_out,
    "add.at": by_add_at,
    "sort in place": lambda a, value: a.sort(),
    "swap": swap,
    "swap copies": swap_copies,
    "put": lambda a, value: np.put(a, [0, 1], np.ravel(value)[0]),
    "putmask": lambda a, value: np.putmask(a, np.real(a) > 0.1, value),
    "place": lambda a, value: np.place(a, np.real(a) > 0.1, [0.5, 0.25]),
}


def value_of(kind: tuple[str, int], arrays: list[Any], a: Any, x: Any, c: Any) -> Any:
    name, i = kind
    match name:
        case "number":
            return 0.75
        case "entry":
            return x[i % 6]
        case "constant":
            return c[i % 6]
        case "array":
            return arrays[i % len(arrays)]
        case "first":
            return arrays[i % len(arrays)][:1]
        case "own":
            return a[::-1]
    return arrays[i % len(arrays)] * x[0]


numbers = st.integers(0, 11)
values = st.tuples(
    st.sampled_from("number entry entry constant array first own product".split()), numbers
)
statements = st.one_of(
    st.tuples(st.sampled_from("zeros ones empty_like zeros_like full array".split()), numbers),
    st.tuples(st.just("name"), numbers),
    st.tuples(st.just("view"), numbers, st.sampled_from(sorted(VIEWS))),
    st.tuples(st.just("view"), numbers, st.sampled_from(sorted(VIEWS))),
    st.tuples(st.just("product"), numbers, numbers),
    st.tuples(
        st.sampled_from("put put add scale copyto".split()),
        numbers,
        st.sampled_from(sorted(PLACES)),
        values,
    ),
    st.tuples(st.sampled_from(sorted(WHOLE)), numbers, values),
)
programs = st.lists(statements, min_size=1, max_size=8)


def differentiated(program: list[Statement], x: np.ndarray) -> tuple[Any, np.ndarray] | None:
    """Return value and derivative by plain NumPy; None if the program itself fails."""
    try:
        with np.errstate(all="ignore"):
            value = run(program, x, float)
            slopes = []
            for k in range(x.size):
                z = x.astype(complex)
                z[k] += 1j * H
                slopes.append(np.imag(run(program, z, complex)) / H)
    except (ValueError, IndexError, TypeError):
        return None
    return value, np.array(slopes)


def judge(
    f: Callable[..., Any], program: list[Statement], x: np.ndarray, truth: tuple[Any, Any]
) -> str:
    """Compare a traced run with NumPy's, and return its outcome."""
    try:
        value, found = f(x)
    except gradlab.GradlabError as error:
        return type(error).__name__
    true, slopes = truth
    # Each of some 10 statements rounds once; squares and products magnify the roundings as below.
    bound = 1000 * EPS
    np.testing.assert_allclose(value, true, rtol=bound, atol=bound * np.max(np.abs(slopes)))
    np.testing.assert_allclose(found, slopes, rtol=bound, atol=bound * np.max(np.abs(slopes)))
    return "right"


X = np.array([0.3137, -0.7291, 1.1173, 0.0519, -0.2213, 0.6411])  # no sums of some are equal
Y = X + np.array([0.0523, 0.1119, -0.0617, 0.0237, -0.0971, 0.0411])


@pytest.mark.parametrize(
    "backend", ["autograd", pytest.param("autograd-forward", marks=pytest.mark.slow), "tape"]
)
@pytest.mark.filterwarnings("ignore:the tape cannot replay:gradlab.errors.UntraceableWarning")
@times(8)
@given(program=programs)
# A view, taken before the write of a traced value, is written into twice and read.
@example(program=[("view", 1, "T"), ("put", 1, "...", ("entry", 0)), ("put", 4, "0", ("entry", 1))])
@example(
    program=[("view", 1, "[::-1]"), ("put", 4, "0", ("entry", 0)), ("add", 1, "1:", ("array", 0))]
)
@example(
    program=[("zeros", 0), ("view", 4, "ravel"), ("fill", 5, ("entry", 2)), ("+=", 5, ("entry", 3))]
)
def test_programs_that_write(backend: str, program: list[Statement]) -> None:
    truths = [differentiated(program, x) for x in (X, Y)]
    if None in truths:
        event("not a program")
        return
    with np.errstate(all="ignore"):
        f = gradlab.value_and_grad(lambda x: run(program, x, float), backend=backend)
        for x, truth in [(X, truths[0]), (Y, truths[1]), (X, truths[0]), (Y, truths[1])]:
            assert truth is not None
            event(judge(f, program, x, truth))

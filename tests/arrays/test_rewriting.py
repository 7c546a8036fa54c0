"""Plain arrays that meet traced ones in brackets and methods: the user's functions are rewritten.

Each loss below indexes a plain array by a traced one, or gives a method of it a traced one, in some
form of Python. The rewritten function has to do what it did before, for plain arguments and for
traced ones.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest
from optional import unless_missing
from plain_numpy.judge import TRACED

import gradlab
from gradlab import derivative_with_error

TABLE = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [0.1, 0.2, 0.3]])
X = np.array([0.4, -1.2, 0.9])


def function(x: Any) -> Any:
    return np.sum(TABLE.dot(x) ** 2)


lambda_ = lambda x: np.sum(np.sin(TABLE.dot(x)))  # noqa: E731


class Model:
    """A class with methods of all kinds."""

    table = TABLE

    def method(self, x: Any) -> Any:
        return np.sum(self.table.dot(x) * x)

    @staticmethod
    def of_nobody(x: Any) -> Any:
        return np.sum(TABLE.dot(x) ** 3)

    @classmethod
    def of_the_class(cls, x: Any) -> Any:
        return np.sum(cls.table.dot(x)) ** 2

    @property
    def loss(self) -> Callable[[Any], Any]:
        return lambda x: np.sum(self.table.T.dot(x) ** 2)

    def __call__(self, x: Any) -> Any:
        return np.prod(self.table.dot(x))


def closure() -> Callable[[Any], Any]:
    weights, calls = TABLE + 1.0, [0]

    def loss(x: Any) -> Any:
        nonlocal weights
        calls[0] += 1
        weights = weights * 1.0
        return np.sum(weights.dot(x) ** 2)

    return loss


def nested(x: Any) -> Any:
    def outer(y: Any) -> Any:
        def inner(z: Any, *, scale: float = 2.0) -> Any:
            return scale * TABLE.dot(z)

        return inner(y) + inner(y, scale=0.5)

    return np.sum(outer(x) ** 2)


def comprehension(x: Any) -> Any:
    return sum(np.sum(row.dot(x) ** 2) for row in TABLE) + sum([r.dot(x) for r in TABLE])


def inside_and_outside(x: Any) -> Any:
    return sum(np.sum(row.dot(x) ** 2) for row in TABLE) + np.sum(TABLE.dot(x))


def decorated(inner: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(inner)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return 2.0 * inner(*args, **kwargs)

    return wrapper


@decorated
def with_decorator(x: Any) -> Any:
    return np.sum(TABLE.dot(x) ** 2)


def keywords(x: Any) -> Any:
    return TABLE.dot(b=x).sum() + np.sum(TABLE.clip(min=x, max=3.0) * x)


def many_lines(x: Any) -> Any:
    return np.sum(
        TABLE.T.dot(
            x,
        )
        ** 2
    )


def in_a_branch(x: Any) -> Any:
    try:
        y = TABLE.dot(x)
    finally:
        pass
    for row in TABLE:
        if row[0] > 0.3:
            y = y + row.dot(x)
    return np.sum(y * y)


def generator(x: Any) -> Any:
    def rows() -> Any:
        for row in TABLE:
            yield row.dot(x)

    return sum(y * y for y in rows())


def default(x: Any, product: Any = lambda x: TABLE.dot(x)) -> Any:
    return np.sum(product(x) ** 2)


def walrus(x: Any) -> Any:
    return np.sum((y := TABLE.dot(x)) * y)


def star(x: Any) -> Any:
    args = (x,)
    return np.sum(TABLE.dot(*args) ** 2)


def chained(x: Any) -> Any:
    return np.sum(TABLE.dot(TABLE.dot(x)) ** 2)


def place(x: Any) -> Any:
    return np.sum(TABLE[np.argsort(x)] * x)


def places(x: Any) -> Any:
    return np.sum(TABLE[np.arange(3), np.argsort(x)] * x)


def place_and_slice(x: Any) -> Any:
    return np.sum(TABLE[1:, np.argmax(x)] * x[1:]) + np.sum(TABLE[np.argmin(x), ::-1] * x)


def mask(x: Any) -> Any:
    return np.sum(TABLE[0][x > 0] * x[x > 0])


FORMS: dict[str, Callable[[Any], Any]] = {
    f.__name__: f
    for f in (
        function,
        nested,
        comprehension,
        inside_and_outside,
        with_decorator,
        keywords,
        many_lines,
        in_a_branch,
        generator,
        default,
        walrus,
        star,
        chained,
        place,
        places,
        place_and_slice,
        mask,
    )
} | {
    "lambda": lambda_,
    "method": Model().method,
    "static method": Model.of_nobody,
    "class method": Model.of_the_class,
    "property": Model().loss,
    "__call__": Model(),
    "closure": closure(),
    "partial": functools.partial(lambda a, x: np.sum(a.dot(x) ** 2), TABLE),
}


# The tape leaves a computed mask to eager autograd, with a warning.
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@pytest.mark.parametrize("backend", ["autograd", "autograd-forward", "tape", "central"])
@pytest.mark.parametrize("name", FORMS)
def test_forms_of_python(name: str, backend: str) -> None:
    loss = FORMS[name]
    before = loss(X)
    true, error = derivative_with_error(loss, X)
    f = gradlab.value_and_grad(loss, backend=backend)
    for _ in range(2):
        value, found = f(X)
        np.testing.assert_allclose(value, before, rtol=1e-14)
        # central: about h² and ε / h, of order 1e-10 for these functions of order 10.
        bound = 1e-8 if backend == "central" else error + 1e-12 * np.max(np.abs(true))
        assert np.all(np.abs(found - true) <= bound)
    assert loss(X) == before


def test_labels_are_read_again_in_a_replay() -> None:
    def loss(w: Any, y: Any) -> Any:
        return np.sum((TABLE[y] @ w) ** 2)

    f = gradlab.grad(loss, backend="tape")
    for labels in ([0, 1], [2, 0], [1, 1]):
        y = np.array(labels)
        rows = TABLE[y]
        np.testing.assert_allclose(f(X, y), 2 * rows.T @ (rows @ X), rtol=1e-12)


def test_line_numbers_and_identity_are_kept() -> None:
    def loss(x: Any) -> Any:
        y = TABLE.dot(x)
        if np.ndim(y) == 1 and loss.fail:  # type: ignore[attr-defined]
            raise RuntimeError("on purpose")
        return np.sum(y)

    loss.fail = False  # type: ignore[attr-defined]
    same, first = loss, loss.__code__.co_firstlineno
    gradlab.grad(loss)(X)
    assert loss is same
    assert loss.__code__.co_firstlineno == first
    loss.fail = True  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="on purpose") as caught:
        loss(X)
    assert caught.traceback[-1].lineno == first + 2


SOURCE = "def loss(x):\n    return np.sum(TABLE.dot(x) ** 2)\n"


@pytest.mark.parametrize("backend", ["autograd", "autograd-forward", "tape"])
def test_code_without_source_is_refused(backend: str) -> None:
    names: dict[str, Any] = {"np": np, "TABLE": TABLE}
    exec(compile(SOURCE, "<nowhere>", "exec"), names)
    with pytest.raises(gradlab.GradlabError, match=r"<nowhere>, line 2\).*use NumPy's functions"):
        gradlab.grad(names["loss"], backend=backend)(X)


def test_a_file_that_was_edited_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "losses.py"
    path.write_text(SOURCE)
    names: dict[str, Any] = {"np": np, "TABLE": TABLE}
    exec(compile(SOURCE, str(path), "exec"), names)
    path.write_text("# edited\n" + textwrap.dedent(SOURCE).replace("** 2", "** 4"))
    with pytest.raises(gradlab.GradlabError):
        gradlab.grad(names["loss"])(X)


def test_a_file_of_the_same_source_is_rewritten(tmp_path: Any) -> None:
    path = tmp_path / "losses.py"
    path.write_text(SOURCE)
    names: dict[str, Any] = {"np": np, "TABLE": TABLE}
    exec(compile(SOURCE, str(path), "exec"), names)
    np.testing.assert_allclose(
        gradlab.grad(names["loss"])(X), 2 * TABLE.T @ (TABLE @ X), rtol=1e-13
    )


def of_single_numbers(x: Any) -> Any:
    first = math.exp(x[0]) * math.hypot(x[1], x[2]) + math.log(x[2], 2) + math.fsum(x)
    return first * math.dist([x[0], 1.0], [x[1], x[2]]) + sqrt(x[2]) * math.atan2(x[0], x[1])


def casts(x: Any) -> Any:
    return float(x[0]) ** 2 + sum(float(v) ** 3 for v in x) + np.float64(x[1]) * x.tolist()[2]


def single_entries(x: Any) -> Any:
    return x[0].item() * x.item(1) + x[2:].item() ** 2


@pytest.mark.parametrize("backend", [unless_missing(name) for name in TRACED])
@pytest.mark.parametrize("loss", [of_single_numbers, casts, single_entries])
def test_functions_of_single_numbers_take_traced_numbers(loss: Any, backend: str) -> None:
    found = gradlab.grad(loss, backend=backend)(X)
    wanted = gradlab.grad(loss, backend="richardson")(X)
    assert np.abs(found - wanted).max() <= 1e-9 * np.abs(wanted).max()


def test_code_that_cannot_be_rewritten_is_refused() -> None:
    """The conversion of a traced number to an integer is refused at once, not retried."""

    def loss(x: Any) -> Any:
        return x[0] * sum(math.floor(v) for v in x)

    with pytest.raises(gradlab.GradlabError, match="makes a Python number"):
        gradlab.grad(loss)(X)

"""Losses that ask for the type of their argument, and might take another branch when traced."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Hashable, Iterable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
from optional import unless_missing

import gradlab
from gradlab.arrays.questions import MAX_SEARCHED_OBJECTS, asked_in_code
from gradlab.errors import LossError, StatefulLossWarning, UntraceableError
from gradlab.gradients.tracing import draws_undone

W = np.array([1.27, 0.53, -0.71])
SHOWN = io.StringIO()
BACKENDS = ["tape", "autograd-forward", "forward-gradient", *map(unless_missing, ("jax", "torch"))]


def chosen(test: Any, w: Any) -> Any:
    return np.sum(w**2) if test else np.sum(w**3)


def each(test: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda w: sum(chosen(test(v), v) for v in w)


class Layer:
    def __init__(self, w: Any) -> None:
        self.w = w if type(w) is np.ndarray else np.zeros(3)


def serialised(w: Any) -> Any:
    try:
        json.dumps(w.tolist())
    except TypeError:
        return np.sum(w**3)
    return np.sum(w**2)


def written(w: Any) -> Any:
    file = io.StringIO()
    print(w, file=file)
    return chosen(file.getvalue().startswith("["), w)


def is_kind(kind: Any, w: Any) -> bool:
    return type(w) is kind


def remembered(w: Any) -> Any:
    seen = {}
    for v in w:
        seen[v * 0] = v
    return sum(v**2 for v in seen.values())


ASKING = {
    "type": lambda w: chosen(type(w) is np.ndarray, w),
    "a table of types": lambda w: {np.ndarray: 2.0}.get(type(w), 3.0) * np.sum(w),
    "the type of an entry": each(lambda v: type(v) is np.float64),
    "a class": lambda w: np.sum(Layer(w).w ** 2),
    "partial": lambda w: chosen(partial(is_kind, np.ndarray)(w), w),
    "issubclass": lambda w: chosen(issubclass(type(w), np.ndarray), w),
    "a class of collections": lambda w: chosen(isinstance(w, Hashable), w),
    "iterable": each(lambda v: isinstance(v, Iterable)),
    "without dimensions": lambda w: chosen(isinstance(w[0, ...], np.ndarray), w),
    "str": lambda w: chosen(str(w).startswith("["), w),
    "format": lambda w: chosen(f"{w}".startswith("["), w),
    "format of an entry": each(lambda v: f"{v:.3f}"[-1].isdigit()),
    "percent": lambda w: chosen("~" in "%.2f" % w[0] or "[" in f"{w!r}", w),  # noqa: UP031
    "the length of a text": lambda w: np.sum(w**2) * len(str(w[0])),
    "the length of all digits": lambda w: np.sum(w**2) * len(f"{w[0]:.20g}"),
    "a file in memory": written,
    "hasattr": each(lambda v: hasattr(v, "__len__")),
    "getattr": each(lambda v: getattr(v, "__iter__", None)),
    "try": serialised,
    "a key": remembered,
    "getsizeof": lambda w: chosen(sys.getsizeof(w) > 100, w),
}

HARMLESS = {
    "isinstance": lambda w: chosen(isinstance(w, np.ndarray), w),
    "isinstance of an entry": each(lambda v: isinstance(v, float)),
    "a class": lambda w: chosen(w.__class__ is np.ndarray, w),
    "np.isscalar": each(np.isscalar),
    "a type that matches neither": lambda w: chosen(type(w) is list, w),
    "np.iterable": lambda w: chosen(np.iterable(w), w),
}


@pytest.mark.filterwarnings("ignore:the tape cannot replay", "ignore:jax cannot compile")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["type", "try"])
def test_every_backend_refuses_another_branch(name: str, backend: str) -> None:
    require_refused(name, backend)


@pytest.mark.parametrize("name", ASKING)
def test_another_branch_is_refused(name: str) -> None:
    require_refused(name, "autograd")


def require_refused(name: str, backend: str) -> None:
    function = gradlab.value_and_grad(ASKING[name], backend)
    for _ in range(2):
        with pytest.raises((UntraceableError, LossError)):
            function(W)


@pytest.mark.filterwarnings("ignore:the tape cannot replay")
@pytest.mark.parametrize("backend", ["autograd", "tape", "autograd-forward"])
@pytest.mark.parametrize("name", HARMLESS)
def test_the_same_branch_is_differentiated(name: str, backend: str) -> None:
    loss = HARMLESS[name]
    value, gradient = gradlab.value_and_grad(loss, backend)(W)
    assert value == pytest.approx(loss(W), rel=1e-14)
    wanted = gradlab.grad(loss, "central")(W)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-7)


def test_the_error_names_the_line_and_what_to_write() -> None:
    def loss(w: Any) -> Any:
        return chosen(type(w) is np.ndarray, w)

    line = loss.__code__.co_firstlineno + 1
    with pytest.raises(
        UntraceableError,
        match=rf"value is [\d.]+ on traced arrays and [\d.]+ on plain ones.*test_questions\.py, "
        rf"line {line}: .*; write isinstance\(x, np\.ndarray\) or np\.ndim\(x\)\), or use backend=",
    ):
        gradlab.grad(loss)(W)


@pytest.mark.parametrize("differentiate", [gradlab.jacobian, gradlab.hessian])
def test_functions_with_many_outputs(differentiate: Any) -> None:
    def function(w: Any) -> Any:
        return w**2 if type(w) is np.ndarray else w**3

    def loss(w: Any) -> Any:
        return np.sum(function(w))

    with pytest.raises(UntraceableError, match="it asks what its values are"):
        differentiate(function if differentiate is gradlab.jacobian else loss)(W)


@pytest.mark.parametrize("backend", ["autograd", "tape"])
def test_equal_values_at_zero_are_compared_nearby(backend: str) -> None:
    def loss(w: Any) -> Any:
        return np.sum(3 * w if type(w) is np.ndarray else w)

    with pytest.raises(UntraceableError, match="it asks what its values are"):
        gradlab.grad(loss, backend)(np.zeros(3))


def test_each_shape_and_option_is_compared() -> None:
    def loss(w: Any, name: str = "a") -> Any:
        is_plain = type(w) is np.ndarray or (w.shape == (3,) and name == "a")
        return chosen(is_plain, w)

    function = gradlab.value_and_grad(loss)
    function(W)
    function(-W)
    for args in ((W[:2],), (W, "b")):
        with pytest.raises(UntraceableError, match="it asks what its values are"):
            function(*args)


def test_code_of_an_argument() -> None:
    def loss(w: Any, model: Any) -> Any:
        return model(w)

    function = gradlab.value_and_grad(loss)
    function(W, np.sum)
    with pytest.raises(UntraceableError, match="it asks what its values are"):
        function(W, ASKING["type"])


class Counted:
    """A loss that counts its evaluations."""

    def __init__(self, loss: Callable[[Any], Any]) -> None:
        self.loss, self.calls = loss, 0

    def __call__(self, w: Any) -> Any:
        self.calls += 1
        return self.loss(w)


def printing(w: Any) -> Any:
    print(f"{w} has the sum {np.sum(w):.3f}")
    print(w, np.sum(w))
    return np.sum(w**2)


def with_a_block(w: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.sum([v**2 for v in w])


@pytest.mark.parametrize(
    ("loss", "calls"), [(np.sum, 1), (printing, 1), (with_a_block, 1), (each(np.isscalar), 1)]
)
def test_a_loss_that_asks_nothing_is_called_once(loss: Any, calls: int) -> None:
    counted = Counted(loss)
    gradlab.grad(counted)(W)
    assert counted.calls == calls


def test_a_loss_that_asks_is_called_once_more_in_all() -> None:
    counted = Counted(HARMLESS["a type that matches neither"])
    function = gradlab.value_and_grad(counted)
    for k in range(3):
        function(W + k)
    assert counted.calls == 4


@pytest.mark.parametrize("backend", ["autograd", unless_missing("torch")])
def test_a_random_loss_is_left_alone_and_its_stream_is_not_advanced(backend: str) -> None:
    def loss(w: Any) -> Any:
        factor = 1.0 if type(w) is list else np.random.normal()  # noqa: NPY002
        return np.sum(factor * w)

    with draws_undone():
        np.random.seed(3)  # noqa: NPY002
        factors = np.random.normal(size=2)  # noqa: NPY002
        np.random.seed(3)  # noqa: NPY002
        function = gradlab.value_and_grad(loss, backend)
        found = [function(W)[1], function(W)[1]]
    np.testing.assert_allclose(found, np.outer(factors, np.ones(3)), rtol=1e-15)


def test_a_loss_that_keeps_traced_values_is_not_called_again() -> None:
    class Keeping(Counted):
        def __call__(self, w: Any) -> Any:
            self.kept = w if type(w) is not list else None
            return super().__call__(w)

    counted = Keeping(HARMLESS["a type that matches neither"])
    with pytest.warns(StatefulLossWarning, match="kept"):
        gradlab.grad(counted)(W)
    assert counted.calls == 1


def test_rounding_is_not_a_difference() -> None:
    """A sum that cancels has few digits, which depend on the order of the terms."""

    def loss(w: Any) -> Any:
        assert type(w) is not list
        centred = w - np.median(w)
        return np.sum(centred) - (np.sum(w) - 3 * np.median(w))

    gradlab.grad(loss)(1e8 * W)


def test_what_a_loss_leads_to() -> None:
    @lru_cache
    def helper(n: int) -> Any:
        return type(n)

    def by_default(w: Any, f: Any = helper) -> Any:
        return f(w)

    class Model:
        layers = (by_default,)

        @property
        def first(self) -> Any:
            return self.layers[0]

        @staticmethod
        def of(w: Any) -> Any:
            return hasattr(w, "x")

    def named(w: Any) -> Any:
        return Model().first(w)

    for loss in (by_default, Model(), Model().of, named, {"f": [named]}, np.vectorize(named)):
        assert asked_in_code(loss), loss
    for loss in (np.sum, W, lambda w: np.sum(w), json, partial(np.sum, axis=0), sys):
        assert not asked_in_code(loss), loss
    assert not asked_in_code([[k] for k in range(2 * MAX_SEARCHED_OBJECTS)])

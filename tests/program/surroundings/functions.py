"""Contents of a function: defaults, code, attributes, closures, partials."""

import functools
import types
from typing import Any

import numpy as np

from surroundings.registry import Scenario, defined, seen


def with_default(w: Any, scale: Any = 2.0) -> Any:
    return np.sum(scale * w)


def copy_of(function: Any) -> Any:
    made = types.FunctionType(
        function.__code__, function.__globals__, "made", function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


@seen
def default() -> Scenario:
    loss = copy_of(with_default)
    return loss, (), lambda: setattr(loss, "__defaults__", (3.0,))


@seen
def default_that_is_a_list() -> Scenario:
    def loss(w: Any, scales: Any = [2.0]) -> Any:  # noqa: B006
        return np.sum(scales[0] * w)

    return loss, (), lambda: loss.__defaults__[0].__setitem__(0, 3.0)


@seen
def keyword_default() -> Scenario:
    def loss(w: Any, *, scale: Any = 2.0) -> Any:
        return np.sum(scale * w)

    return loss, (), lambda: loss.__kwdefaults__.update(scale=3.0)


@seen
def default_of_a_function_that_is_called() -> Scenario:
    helper = copy_of(with_default)
    return lambda w: helper(w), (), lambda: setattr(helper, "__defaults__", (3.0,))


@seen
def code() -> Scenario:
    loss = copy_of(with_default)
    other = (lambda w, scale: np.sum(w * w)).__code__
    return loss, (), lambda: setattr(loss, "__code__", other)


@seen
def attribute_of_the_function() -> Scenario:
    def loss(w: Any) -> Any:
        return np.sum(loss.scale * w)  # type: ignore[attr-defined]

    loss.scale = 2.0  # type: ignore[attr-defined]
    return loss, (), lambda: setattr(loss, "scale", 3.0)


@seen
def attribute_of_the_function_that_appears() -> Scenario:
    def loss(w: Any) -> Any:
        return np.sum(getattr(loss, "scale", 2.0) * w)

    return loss, (), lambda: setattr(loss, "scale", 3.0)


@seen
def variable_of_a_decorated_loss() -> Scenario:
    scale = 2.0

    def decorator(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return 1.0 * function(*args)

        return wrapper

    @decorator
    def loss(w: Any) -> Any:
        return np.sum(scale * w)

    def change() -> None:
        nonlocal scale
        scale = 3.0

    return loss, (), change


@seen
def variable_of_a_decorator_with_the_name_of_a_library() -> Scenario:
    """`wraps` copies the module of NumPy's function."""
    scale = [2.0]

    @functools.wraps(np.linalg.norm)
    def loss(w: Any) -> Any:
        return np.sum(scale[0] * w)

    return loss, (), lambda: scale.__setitem__(0, 3.0)


@seen
def function_with_a_cache() -> Scenario:
    space = defined("def helper(i): return scale * i", scale=2.0)
    cached = functools.lru_cache(space["helper"])

    def change() -> None:
        space["scale"] = 3.0
        cached.cache_clear()

    return lambda w: np.sum(cached(1) * w), (), change


@seen
def keyword_of_a_partial() -> Scenario:
    loss = functools.partial(with_default, scale=2.0)
    return loss, (), lambda: loss.keywords.update(scale=3.0)


@seen
def partial_of_a_partial_set_anew() -> Scenario:
    inner = functools.partial(with_default, scale=2.0)
    loss = functools.partial(lambda w: inner(w))
    return loss, (), lambda: inner.__setstate__((with_default, (), {"scale": 3.0}, None))


@seen
def list_in_a_partial() -> Scenario:
    scales = [2.0]
    loss = functools.partial(lambda scales, w: np.sum(scales[0] * w), scales)
    return loss, (), lambda: scales.__setitem__(0, 3.0)

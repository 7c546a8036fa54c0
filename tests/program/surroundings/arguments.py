"""Arguments of a loss that are not arrays."""

import functools
from collections import UserDict
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from surroundings.functions import with_default
from surroundings.registry import Scenario, defined, model, module, seen


@seen
def bound_method_as_an_argument() -> Scenario:
    held = model()
    return lambda w, f: f(w), (held.loss,), lambda: setattr(held, "factor", 3.0)


@seen
def closure_as_an_argument() -> Scenario:
    scale = [2.0]
    return lambda w, f: f(w), (lambda w: np.sum(scale[0] * w),), lambda: scale.__setitem__(0, 3.0)


@seen
def type_as_an_argument() -> Scenario:
    kind = type("Kind", (), {"scale": 2.0})
    return lambda w, kind: np.sum(kind.scale * w), (kind,), lambda: setattr(kind, "scale", 3.0)


@seen
def module_as_an_argument() -> Scenario:
    made = module(scale=2.0)
    return lambda w, m: np.sum(m.scale * w), (made,), lambda: vars(made).update(scale=3.0)


@seen
def object_as_an_argument() -> Scenario:
    held = model()
    return (
        lambda w, m: m.loss(w),
        ({"model": [held]}["model"][0],),
        lambda: setattr(held, "factor", 3.0),
    )


class Hashable:
    """An object that equals others of the same name, whatever its contents."""

    def __init__(self, scale: float) -> None:
        self.name, self.scale = "a", scale

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hashable) and self.name == other.name


@seen
def hashable_argument_with_a_field_that_changes() -> Scenario:
    held = Hashable(2.0)
    return lambda w, h: np.sum(h.scale * w), (held,), lambda: setattr(held, "scale", 3.0)


@seen
def partial_as_an_argument() -> Scenario:
    f = functools.partial(with_default, scale=2.0)
    return lambda w, f: f(w), (f,), lambda: f.keywords.update(scale=3.0)


@seen
def set_as_an_argument() -> Scenario:
    held = {1, 2}
    return lambda w, s: np.sum(w) * len(s), (held,), lambda: held.add(3)


@seen
def key_of_an_argument_that_is_equal() -> Scenario:
    held: dict[Any, float] = {1: 2.0}

    def change() -> None:
        held.clear()
        held[True] = 2.0

    def loss(w: Any, options: Any) -> Any:
        return np.sum(w) * (2 if next(iter(options)) is True else 3)

    return loss, (held,), change


@seen
def dict_of_arrays_of_another_kind_as_an_argument() -> Scenario:
    batch: Any = UserDict(x=np.ones(3))
    return lambda w, b: np.sum(b["x"] * w), (batch,), lambda: batch.update(x=np.full(3, 2.0))


@seen
def proxy_as_an_argument() -> Scenario:
    below = {"x": np.ones(3), "k": 2}
    batch = MappingProxyType(below)
    return lambda w, b: np.sum(b["x"] * w) * b["k"], (batch,), lambda: below.update(k=3)


@seen
def attribute_of_the_loss_that_an_argument_names() -> Scenario:
    held = SimpleNamespace(inner=model())
    read = defined("def read(m): return m.factor")["read"]
    change = functools.partial(setattr, held.inner, "factor", 3.0)
    return lambda w, read: np.sum(read(held.inner) * w), (read,), change

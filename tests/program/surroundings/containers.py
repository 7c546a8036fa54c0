"""Containers that a loss closes over."""

import functools
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from types import MappingProxyType
from typing import Any

import numpy as np

from surroundings.registry import Scenario, seen


@seen
def entry_of_a_dict() -> Scenario:
    options = {"scale": 2.0}
    return lambda w: np.sum(options["scale"] * w), (), lambda: options.update(scale=3.0)


@seen
def entry_of_a_nested_list() -> Scenario:
    options = {"a": [{"b": (0, [2.0])}]}
    inner = options["a"][0]["b"][1]
    return lambda w: np.sum(options["a"][0]["b"][1][0] * w), (), lambda: inner.append(1.0)  # type: ignore[index]


@seen
def length_of_a_list() -> Scenario:
    terms = [1.0, 2.0]
    return lambda w: np.sum(w) * len(terms), (), lambda: terms.append(3.0)


@seen
def order_of_a_dict() -> Scenario:
    options = {"a": 2.0, "b": 3.0}
    change = functools.partial(lambda: options.update(a=options.pop("a")))
    return lambda w: np.sum(w) * next(iter(options.values())), (), change


@seen
def entry_of_a_set() -> Scenario:
    options = {2.0}
    return lambda w: np.sum(w) * sum(options), (), lambda: options.add(3.0)


@seen
def entry_of_a_deque() -> Scenario:
    options = deque([1.0, 2.0])
    return lambda w: np.sum(w) * options[0], (), lambda: options.rotate(1)


@seen
def entries_of_dicts_of_other_kinds() -> Scenario:
    counted, ordered, default = Counter(a=1), OrderedDict(b=2.0), defaultdict(float)

    def change() -> None:
        counted["a"] += 1
        ordered["b"] = 4.0
        default["c"] = 1.0

    def loss(w: Any) -> Any:
        return np.sum(w) * (counted["a"] + ordered["b"] + default.get("c", 0.0))

    return loss, (), change


@seen
def what_is_behind_a_proxy() -> Scenario:
    below = {"scale": 2.0}
    options = MappingProxyType(below)
    return lambda w: np.sum(options["scale"] * w), (), lambda: below.update(scale=3.0)


@seen
def user_dict() -> Scenario:
    options = UserDict(scale=2.0)
    return lambda w: np.sum(options["scale"] * w), (), lambda: options.update(scale=3.0)


@seen
def key_that_is_equal() -> Scenario:
    options: dict[Any, Any] = {1: 2.0}

    def loss(w: Any) -> Any:
        return np.sum(w) * (2 if any(key is True for key in options) else 3)

    def change() -> None:
        options.clear()
        options[True] = 2.0

    return loss, (), change


@seen
def array_in_a_dict_is_replaced() -> Scenario:
    data = {"x": np.ones(3)}
    return lambda w: np.sum(data["x"] * w), (), lambda: data.update(x=np.full(3, 2.0))


@seen
def array_that_is_written_into() -> Scenario:
    x = np.ones(3)
    return lambda w: np.sum(x * w), (), lambda: x.fill(2.0)


@seen
def array_of_text_that_is_written_into() -> Scenario:
    kinds = np.array(["a", "b"])
    return lambda w: np.sum(w) * (2 if kinds[0] == "a" else 3), (), lambda: kinds.fill("c")


@seen
def array_of_objects_that_is_written_into() -> Scenario:
    factors = np.array([2.0, None], dtype=object)
    return lambda w: np.sum(w) * factors[0], (), lambda: factors.__setitem__(0, 3.0)


@seen
def array_that_takes_another_shape() -> Scenario:
    x = np.arange(6.0)
    return lambda w: np.sum(x[..., :3] * w), (), lambda: setattr(x, "shape", (2, 3))


@seen
def list_that_contains_itself() -> Scenario:
    options: list[Any] = [2.0]
    options.append(options)
    return lambda w: np.sum(options[1][0] * w), (), lambda: options.__setitem__(0, 3.0)

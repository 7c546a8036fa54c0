"""Things that cannot be followed: random numbers, iterators, files, weak references."""

import itertools
import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from surroundings.registry import Scenario, defined, eager, model


@eager
def generator_of_random_numbers() -> Scenario:
    rng = np.random.default_rng(0)
    return lambda w: np.sum(w) * (2 if rng.bit_generator else 3), (), lambda: rng.random()


@eager
def iterator() -> Scenario:
    held = itertools.cycle([2.0])
    return lambda w: np.sum(w) * next(held), (), lambda: next(held)


@eager
def generator() -> Scenario:
    held = (x for x in [2.0] * 99)
    return lambda w: np.sum(w) * next(held), (), lambda: next(held)


@eager
def clock() -> Scenario:
    start = time.perf_counter()
    return lambda w: np.sum(w) * (2 if time.perf_counter() >= start else 3), (), lambda: None


@eager
def random_numbers_of_a_module() -> Scenario:
    return lambda w: np.sum(w) * (2 if random.random() < 1 else 3), (), lambda: None


@eager
def random_numbers_of_numpy() -> Scenario:
    return lambda w: np.sum(w) * (2 if np.random.rand() < 1 else 3), (), lambda: None  # noqa: NPY002


@eager
def globals_by_computed_names() -> Scenario:
    space = defined("def loss(w): return np.sum(globals()[name] * w)", name="scale", scale=2.0)
    return space["loss"], (), lambda: space.update(scale=3.0)


@eager
def source_that_is_evaluated() -> Scenario:
    space = defined("def loss(w): return np.sum(eval('scale') * w)", scale=2.0)
    return space["loss"], (), lambda: space.update(scale=3.0)


@eager
def file() -> Scenario:
    return lambda w: np.sum(w) * (2 if open.__name__ else 3), (), lambda: None


@eager
def thread_local() -> Scenario:
    held = threading.local()
    held.scale = 2.0
    return lambda w: np.sum(held.scale * w), (), lambda: setattr(held, "scale", 3.0)


@eager
def weak_reference() -> Scenario:
    import weakref

    held = model()
    seen_by = weakref.ref(held)
    return lambda w: seen_by()(w), (), lambda: setattr(held, "factor", 3.0)


@eager
def masked_array() -> Scenario:
    held = np.ma.array([1.0, 2.0, 3.0], mask=[0, 0, 1])
    return lambda w: np.sum(w) * held.sum(), (), lambda: held.mask.__setitem__(0, True)


@eager
def too_much() -> Scenario:
    held = [float(i) for i in range(10_000)]
    return lambda w: np.sum(w) * held[5000], (), lambda: held.__setitem__(5000, 3.0)


@eager
def counter() -> Scenario:
    """A counter would not advance in a replay."""
    held = SimpleNamespace(calls=0)

    def loss(w: Any) -> Any:
        held.calls += 1
        return np.sum(w) if held.calls < 1000 else np.sum(w * w)

    return loss, (), lambda: setattr(held, "calls", 1000)


@eager
def log() -> Scenario:
    held: list[Any] = []

    def loss(w: Any) -> Any:
        held.append(None)
        return np.sum(w) if len(held) < 1000 else np.sum(w * w)

    return loss, (), lambda: held.extend([None] * 1000)


@eager
def random_generator_as_an_argument() -> Scenario:
    rng = np.random.default_rng(0)
    return lambda w, r: np.sum(w) * (2 if r.bit_generator else 3), (rng,), lambda: None

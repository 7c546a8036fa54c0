"""What a loss reads beside its arguments changes between two calls: each backend notices.

A scenario is a function that returns a loss, its arguments, and what changes something. The tape,
the finite differences, JAX and PyTorch are compared with a fresh evaluation, before and after. Most
changes are followed; what cannot be followed is evaluated anew each time, with one warning.
"""

import builtins
import contextlib
import dataclasses
import decimal
import enum
import functools
import itertools
import random
import sys
import threading
import time
import types
import warnings
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optional import LIBRARIES, is_installed, unless_missing

import gradlab
from gradlab.errors import UntraceableWarning
from gradlab.gradients.autograd import Autograd
from gradlab.gradients.tape import Tape

W = np.array([0.5, -1.0, 2.0])
BACKENDS = ["tape", "central", "jax", "torch"]
CLOSE = {"central": 1e-8}
"""Relative: h² f'''/6 and ε f/h with h = ε^⅓; the rest rounds."""

Scenario = tuple[Callable[..., Any], tuple[Any, ...], Callable[[], Any]]
SEEN: list[Callable[[], Scenario]] = []
EAGER: list[Callable[[], Scenario]] = []


def seen(scenario: Callable[[], Scenario]) -> Callable[[], Scenario]:
    """List a change that is followed: the loss is recorded and compiled again."""
    SEEN.append(scenario)
    return scenario


def eager(scenario: Callable[[], Scenario]) -> Callable[[], Scenario]:
    """List what cannot be followed: the loss is never replayed."""
    EAGER.append(scenario)
    return scenario


def module(**names: Any) -> types.ModuleType:
    """Return a module of a user's with these names in it."""
    made = types.ModuleType("settings_of_a_user")
    vars(made).update(names)
    return made


def defined(source: str, **names: Any) -> dict[str, Any]:
    """Run source in a namespace of its own, as that of another module."""
    space = {"np": np, "__name__": "module_of_a_user", **names}
    exec(source, space)
    return space


# Names that the code of the loss loads


@seen
def global_in_a_generator_expression() -> Scenario:
    space = defined("def loss(w): return sum(scale * x for x in (w[0], w[1]))", scale=2.0)
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def global_in_a_comprehension_within_a_lambda() -> Scenario:
    space = defined("loss = lambda w: np.sum(np.stack([scale * w for _ in range(2)]))", scale=2.0)
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def global_in_an_inner_function() -> Scenario:
    space = defined(
        "def loss(w):\n def inner(x):\n  return (lambda: scale * x)()\n return np.sum(inner(w))",
        scale=2.0,
    )
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def global_of_a_function_that_is_called() -> Scenario:
    space = defined(
        "def helper(w): return scale * w\ndef loss(w): return np.sum(helper(w))", scale=2.0
    )
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def function_that_is_called_is_another() -> Scenario:
    space = defined("def helper(w): return 2 * w\ndef loss(w): return np.sum(helper(w))")
    return space["loss"], (), lambda: space.update(helper=lambda w: 3 * w)


@seen
def global_that_did_not_exist() -> Scenario:
    space = defined(
        "def loss(w):\n try:\n  return np.sum(scale * w)\n except NameError:\n  return np.sum(w)"
    )
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def global_that_is_deleted() -> Scenario:
    space = defined(
        "def loss(w):\n try:\n  return np.sum(scale * w)\n except NameError:\n  return np.sum(w)",
        scale=2.0,
    )
    return space["loss"], (), lambda: space.pop("scale")


@seen
def shadowed_builtin() -> Scenario:
    space = defined("def loss(w): return sum([w[0], w[1]])")
    return space["loss"], (), lambda: space.update(sum=lambda x: 3 * x[0])


@seen
def replaced_builtin() -> Scenario:
    space = defined("def loss(w): return sum([w[0], w[1]])")
    space["__builtins__"] = dict(vars(builtins))
    exec("def loss(w): return sum([w[0], w[1]])", space)
    return space["loss"], (), lambda: space["__builtins__"].update(sum=lambda x: 3 * x[0])


@seen
def rebound_module() -> Scenario:
    space = defined("def loss(w): return np.sum(m.sin(w))", m=np)
    return space["loss"], (), lambda: space.update(m=SimpleNamespace(sin=np.cos))


@seen
def attribute_of_a_module() -> Scenario:
    settings = module(scale=2.0)
    return lambda w: np.sum(settings.scale * w), (), lambda: vars(settings).update(scale=3.0)


@seen
def list_in_a_module_of_a_module() -> Scenario:
    settings = module(inner=module(scale=[1.0, 2.0]))
    change = functools.partial(settings.inner.scale.__setitem__, 1, 3.0)
    return lambda w: np.sum(settings.inner.scale[1] * w), (), change


@seen
def function_of_numpy_that_is_patched() -> Scenario:
    library = module(tanh=np.tanh)
    return lambda w: np.sum(library.tanh(w)), (), lambda: vars(library).update(tanh=np.sin)


@seen
def module_that_is_imported_in_the_loss() -> Scenario:
    sys.modules["settings_of_a_user"] = settings = module(scale=2.0)

    def loss(w: Any) -> Any:
        import settings_of_a_user  # type: ignore[import-not-found]

        return np.sum(settings_of_a_user.scale * w)

    return loss, (), lambda: vars(settings).update(scale=3.0)


@seen
def name_that_is_imported_in_the_loss() -> Scenario:
    sys.modules["settings_of_a_user"] = settings = module(scale=2.0)

    def loss(w: Any) -> Any:
        from settings_of_a_user import scale

        return np.sum(scale * w)

    return loss, (), lambda: vars(settings).update(scale=3.0)


# What a function holds


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


# Containers that a loss closes over


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


# Objects and classes


class Model:
    """A loss as an object."""

    power = 1.0

    def __init__(self) -> None:
        self.factor = 2.0
        self.layers = [{"scale": 1.0}]

    def __call__(self, w: Any) -> Any:
        return np.sum(self.factor * w**self.power) * self.layers[0]["scale"]

    def loss(self, w: Any) -> Any:
        return self(w)


def model() -> Any:
    """Return an object of a class of its own."""
    return type("Model", (Model,), {})()


@seen
def attribute_of_a_callable_object() -> Scenario:
    loss = model()
    return loss, (), lambda: setattr(loss, "factor", 3.0)


@seen
def attribute_of_a_class() -> Scenario:
    loss = model()
    return loss, (), lambda: setattr(type(loss), "power", 2.0)


@seen
def attribute_that_hides_the_one_of_the_class() -> Scenario:
    loss = model()
    return loss, (), lambda: setattr(loss, "power", 2.0)


@seen
def method_that_is_replaced_in_the_class() -> Scenario:
    loss = model().loss
    return loss, (), lambda: setattr(type(loss.__self__), "__call__", lambda self, w: np.sum(w * w))


@seen
def method_that_is_replaced_in_the_object() -> Scenario:
    held = SimpleNamespace(model=model())
    change = functools.partial(setattr, held.model, "loss", lambda w: np.sum(w * w))
    return lambda w: held.model.loss(w), (), change


@seen
def list_in_an_attribute_of_a_bound_method() -> Scenario:
    loss = model().loss
    return loss, (), lambda: loss.__self__.layers[0].update(scale=3.0)


@seen
def class_of_an_object() -> Scenario:
    loss, other = model(), type("Other", (Model,), {"power": 2.0})
    return loss, (), lambda: setattr(loss, "__class__", other)


@seen
def bases_of_a_class() -> Scenario:
    class A:
        def factor(self) -> float:
            return 2.0

    class B(A):
        def factor(self) -> float:
            return 3.0

    class C(A):
        def __call__(self, w: Any) -> Any:
            return np.sum(self.factor() * w)

    return C(), (), lambda: setattr(C, "__bases__", (B,))


@seen
def attributes_of_an_object_at_once() -> Scenario:
    loss = model()
    return loss, (), lambda: setattr(loss, "__dict__", {**vars(loss), "factor": 3.0})


@seen
def slot() -> Scenario:
    class Slotted:
        __slots__ = ("factor",)

        def __call__(self, w: Any) -> Any:
            return np.sum(self.factor * w)

    loss = Slotted()
    loss.factor = 2.0  # type: ignore[misc]
    return loss, (), lambda: setattr(loss, "factor", 3.0)


@seen
def slot_that_is_not_set() -> Scenario:
    class Slotted:
        __slots__ = ("factor",)

        def __call__(self, w: Any) -> Any:
            return np.sum(getattr(self, "factor", 2.0) * w)

    loss = Slotted()
    return loss, (), lambda: setattr(loss, "factor", 3.0)


@seen
def value_below_a_property() -> Scenario:
    class Owner:
        hidden = 2.0

        @property
        def factor(self) -> float:
            return self.hidden

    owner = Owner()
    return lambda w: np.sum(owner.factor * w), (), lambda: setattr(owner, "hidden", 3.0)


@seen
def property_that_is_replaced() -> Scenario:
    owner = type("Owner", (), {"factor": property(lambda self: 2.0)})
    held = owner()
    change = functools.partial(setattr, owner, "factor", property(lambda self: 3.0))
    return lambda w: np.sum(held.factor * w), (), change


@seen
def value_below_getattr() -> Scenario:
    class Owner:
        def __init__(self) -> None:
            self.options = {"factor": 2.0}

        def __getattr__(self, name: str) -> Any:
            return self.options[name]

    owner = Owner()
    return lambda w: np.sum(owner.factor * w), (), lambda: owner.options.update(factor=3.0)


@seen
def value_below_operators() -> Scenario:
    class Factor:
        value = 2.0

        def __float__(self) -> float:
            return self.value

        def __getitem__(self, i: int) -> float:
            return self.value * i

    factor = Factor()
    return (
        lambda w: np.sum(w) * float(factor) * factor[1],
        (),
        lambda: setattr(factor, "value", 3.0),
    )


@seen
def static_and_class_methods() -> Scenario:
    class Owner:
        factor = 2.0

        @staticmethod
        def power() -> float:
            return 1.0

        @classmethod
        def scale(cls) -> float:
            return cls.factor * cls.power()

    def change() -> None:
        Owner.factor = 3.0
        Owner.power = staticmethod(lambda: 2.0)  # type: ignore[method-assign]

    return lambda w: np.sum(Owner.scale() * w), (), change


@seen
def class_that_the_loss_makes_objects_of() -> Scenario:
    space = defined(
        "class Layer:\n"
        " def __init__(self): self.scale = scale\n"
        " def __call__(self, w): return self.scale * w\n"
        "def loss(w): return np.sum(Layer()(w))",
        scale=2.0,
    )
    return space["loss"], (), lambda: space.update(scale=3.0)


@seen
def object_by_a_computed_name() -> Scenario:
    held = SimpleNamespace(a=2.0, b=3.0)
    name = ["a"]
    return lambda w: np.sum(getattr(held, name[0]) * w), (), lambda: setattr(held, "a", 4.0)


@seen
def object_by_its_dict() -> Scenario:
    held = model()
    return lambda w: np.sum(vars(held)["factor"] * w), (), lambda: setattr(held, "factor", 3.0)


@seen
def dataclass_that_is_taken_apart() -> Scenario:
    @dataclasses.dataclass
    class Options:
        scale: float = 2.0

    held = Options()

    def loss(w: Any) -> Any:
        return np.sum(dataclasses.asdict(held)["scale"] * w)

    return loss, (), lambda: setattr(held, "scale", 3.0)


@seen
def object_that_is_matched() -> Scenario:
    held = model()

    def loss(w: Any) -> Any:
        match held:
            case Model(factor=2.0):
                return np.sum(w)
        return np.sum(w * w)

    return loss, (), lambda: setattr(held, "factor", 3.0)


@seen
def number_of_a_class_of_its_own() -> Scenario:
    class Length(float):
        unit = 1.0

    length = Length(2.0)
    return lambda w: np.sum(w) * length * length.unit, (), lambda: setattr(length, "unit", 3.0)


@seen
def enumeration_and_named_tuple() -> Scenario:
    Kind = enum.Enum("Kind", "A B")
    Pair = namedtuple("Pair", "kind scale")
    held = [Pair(Kind.A, 2.0)]

    def loss(w: Any) -> Any:
        return np.sum(w) * held[0].scale * (1 if held[0].kind is Kind.A else 2)

    return loss, (), lambda: held.__setitem__(0, Pair(Kind.B, 2.0))


@seen
def values_of_the_standard_library() -> Scenario:
    held = [decimal.Decimal("2.0")]
    return lambda w: np.sum(w) * float(held[0]), (), lambda: held.__setitem__(0, decimal.Decimal(3))


@seen
def function_that_numpy_calls() -> Scenario:
    space = defined("def helper(i): return scale * i", scale=2.0)
    vectorised = np.vectorize(space["helper"])
    x = np.arange(3.0)
    return lambda w: np.sum(vectorised(x) * w), (), lambda: space.update(scale=3.0)


@seen
def two_objects_change_places() -> Scenario:
    a, b = SimpleNamespace(x=2.0), SimpleNamespace(x=3.0)
    pair = [a, b]
    return lambda w: np.sum(w) * pair[0].x / pair[1].x, (), pair.reverse


@seen
def gradient_within_a_loss() -> Scenario:
    scale = [2.0]
    inner = gradlab.grad(lambda w: np.sum(scale[0] * w * w), "autograd")
    return lambda w: np.sum(inner(np.ones(3)) * w), (), lambda: scale.__setitem__(0, 3.0)


# Arguments


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
    """Equal to others by its name, whatever else it holds."""

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


# What cannot be followed


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
    """It would not be counted on in a replay."""
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


# Before and after


def quietly(function: Any, *args: Any) -> tuple[Any, list[Any]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UntraceableWarning)
        return function(*args), [w for w in caught if w.category is UntraceableWarning]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have PyTorch's operations replayed after two calls, and modules forgotten."""
    with contextlib.suppress(ImportError):
        monkeypatch.setattr("gradlab.gradients.torch.EAGER", 2)
    yield
    sys.modules.pop("settings_of_a_user", None)


def require_right(backend: str, scenario: Callable[[], Scenario]) -> list[Any]:
    """Compare a backend with a fresh evaluation, before and after a change; return warnings."""
    loss, args, change = scenario()
    options: Any = Tape(verify=None) if backend == "tape" else backend
    f = gradlab.value_and_grad(loss, options)
    found = []
    for step in range(2):
        if step:
            change()
        for _ in range(4):
            (value, gradient), warned = quietly(f, W, *args)
            found += warned
        wanted, expected = quietly(Autograd().value_and_grad(loss), W, *args)[0]
        rel = CLOSE.get(backend, 1e-12)
        assert value == pytest.approx(wanted, rel=rel)
        assert gradient == pytest.approx(expected, rel=rel)
    assert len(found) <= 1, [str(w.message) for w in found]
    return found


QUICK = {
    "global_in_a_generator_expression",
    "entry_of_a_dict",
    "array_that_is_written_into",
    "bound_method_as_an_argument",
    "counter",
    "generator_of_random_numbers",
}
"""Scenarios that all backends go through in the quick suite; the tape goes through all."""


def cases(scenarios: list[Callable[[], Scenario]]) -> list[Any]:
    """Return each scenario with each backend; what compiles for a second is among the slow."""
    found = []
    for scenario in scenarios:
        for backend in BACKENDS:
            name = f"{scenario.__name__}-{backend}"
            case = unless_missing(backend, (scenario, backend), name)
            is_quick = backend == "tape" or scenario.__name__ in QUICK
            marks = [*case.marks, *([] if is_quick else [pytest.mark.slow])]
            found.append(pytest.param(scenario, backend, marks=marks, id=name))
    return found


@pytest.mark.parametrize(("scenario", "backend"), cases(SEEN))
def test_a_change_is_followed(scenario: Callable[[], Scenario], backend: str) -> None:
    warned = require_right(backend, scenario)
    assert not warned, str(warned[0].message)


@pytest.mark.parametrize(("scenario", "backend"), cases(EAGER))
def test_what_cannot_be_followed_is_not_replayed(
    scenario: Callable[[], Scenario], backend: str
) -> None:
    state = np.random.get_state()  # noqa: NPY002  some draw from it
    warned = require_right(backend, scenario)
    np.random.set_state(state)  # noqa: NPY002
    assert len(warned) == (backend in ("tape", "jax"))


# What is recorded, and how often


def test_what_is_equal_again_is_replayed() -> None:
    """Functions that are made anew with the same code, and containers with the same entries."""

    def loss(w: Any, f: Any, options: Any) -> Any:
        return np.sum(f(w)) * options["scale"]

    f = Tape(verify=None).value_and_grad(loss)

    def scaling(scale: float) -> Any:
        return lambda w: scale * w

    for _ in range(20):
        assert f(W, scaling(2.0), {"scale": 3.0})[1].tolist() == [6.0, 6.0, 6.0]
    assert f.cache_info.recordings == 1
    assert f.cache_info.replays == 19


def test_what_the_loss_does_not_name_does_not_matter() -> None:
    """A trainer that keeps a log beside its loss is replayed."""
    trainer = model()
    trainer.log, trainer.rng = [], np.random.default_rng(0)
    f = Tape(verify=None).value_and_grad(trainer.loss)
    for i in range(20):
        f(W)
        trainer.log.append(trainer.rng.random())
        trainer.step = i
    assert f.cache_info.recordings == 1


def test_a_value_that_is_kept_at_the_first_call() -> None:
    """The loss changes what it reads once, and is recorded at the next call."""
    cache: dict[str, float] = {}

    def loss(w: Any) -> Any:
        if "scale" not in cache:
            cache["scale"] = 2.0
        return np.sum(cache["scale"] * w)

    f = Tape(verify=None).value_and_grad(loss)
    for _ in range(5):
        assert f(W)[1].tolist() == [2.0, 2.0, 2.0]
    assert f.cache_info.recordings == 1
    assert f.untraceable is None


def test_a_warning_names_what_cannot_be_followed() -> None:
    held = SimpleNamespace(parts=[itertools.count()])
    f = gradlab.grad(lambda w: np.sum(w) * (next(held.parts[0]) + 1), "tape")
    match = r"held\.parts\[0\] is a count, whose state cannot be seen \(the loss is defined in .*"
    with pytest.warns(UntraceableWarning, match=match):
        f(W)
    g = gradlab.grad(counter()[0], "tape")
    g(W)
    with pytest.warns(UntraceableWarning, match=r"it changes held\.calls in each call, which a "):
        g(W)


@pytest.mark.parametrize("kind", [UserDict, MappingProxyType, OrderedDict])
@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
def test_mappings_as_parameters(backend: str, kind: Any) -> None:
    f = gradlab.value_and_grad(lambda p, x: np.sum(p["w"] * x) * p["b"], backend)
    x = np.array([1.0, 2.0, 3.0])
    for i in range(4):
        value, gradient = f(kind({"w": W + i, "b": 2.0}), x * (i + 1))
        assert value == pytest.approx(2 * np.sum((W + i) * x * (i + 1)), rel=1e-14)
        assert gradient["w"] == pytest.approx(2 * x * (i + 1), rel=1e-8)


def test_keys_of_parameters_that_are_equal() -> None:
    f = gradlab.grad(lambda p: np.sum(next(iter(p.values())) ** 2), "tape")
    for _ in range(3):
        for key in (1, True, 1.0):
            (found,) = f({key: W})
            assert type(found) is type(key)


@pytest.mark.parametrize("backend", ["tape", *LIBRARIES])
def test_a_dict_that_a_callback_anneals(backend: str) -> None:
    """Both trainings end in the same weights: jax and torch compile the rate anew, too."""
    if not is_installed(backend):
        pytest.skip(f"{LIBRARIES[backend]} is not installed")
    ends = {}
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    for name in ("autograd", backend):
        options = {"decay": 1.0}

        def loss(w: Any, x: Any, y: Any, options: Any = options) -> Any:
            return np.mean((x @ w - y) ** 2) + options["decay"] * np.sum(w * w)

        def anneal(step: Any, options: Any = options) -> None:
            options["decay"] = 0.5 ** (step.iteration // 5)

        result = quietly(
            lambda loss, anneal, name: gradlab.fit(
                loss, W, (x, y), backend=name, batch_size=5, epochs=4, callbacks=[anneal]
            ),
            loss,
            anneal,
            name,
        )[0]
        ends[name] = result.params
    assert ends[backend] == pytest.approx(ends["autograd"], rel=1e-12)


def test_threads_that_change_what_the_loss_reads() -> None:
    """A key is taken while another thread changes the size of a dict: no error, no other value."""
    options: dict[str, float] = {"scale": 2.0}
    f = Tape(verify=None).value_and_grad(lambda w: np.sum(options["scale"] * w))
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            options["other"] = 1.0
            options.pop("other")

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(50):
            assert quietly(f, W)[0][1].tolist() == [2.0, 2.0, 2.0]
    finally:
        stop.set()
        thread.join()

"""Objects and classes that a loss reads."""

import dataclasses
import decimal
import enum
import functools
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np

import gradlab
from surroundings.registry import Model, Scenario, defined, model, seen


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

"""Scenarios: a loss, its arguments, and a change of something that the loss reads."""

import types
from collections.abc import Callable
from typing import Any

import numpy as np

W = np.array([0.5, -1.0, 2.0])

Scenario = tuple[Callable[..., Any], tuple[Any, ...], Callable[[], Any]]
SEEN: list[Callable[[], Scenario]] = []
EAGER: list[Callable[[], Scenario]] = []


def seen(scenario: Callable[[], Scenario]) -> Callable[[], Scenario]:
    """List a change that is followed: the loss is recorded and compiled again."""
    SEEN.append(scenario)
    return scenario


def eager(scenario: Callable[[], Scenario]) -> Callable[[], Scenario]:
    """List a scenario that cannot be followed: the loss is never replayed."""
    EAGER.append(scenario)
    return scenario


def module(**names: Any) -> types.ModuleType:
    """Return a user's module with these names in it."""
    made = types.ModuleType("settings_of_a_user")
    vars(made).update(names)
    return made


def defined(source: str, **names: Any) -> dict[str, Any]:
    """Run source in a separate namespace, such as that of another module."""
    space = {"np": np, "__name__": "module_of_a_user", **names}
    exec(source, space)
    return space


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
    """Return an object of a separate class."""
    return type("Model", (Model,), {})()

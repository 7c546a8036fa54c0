"""Names that the code of a loss loads."""

import builtins
import functools
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from surroundings.registry import Scenario, defined, module, seen


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

"""Keyword arguments of a loss, passed to a backend as one more argument: a dict, which comes last.

A backend then needs no code for them. It differentiates a loss with positional arguments only, and
treats the arrays in the dict like those of any other argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar, cast

from gradlab.gradients.protocol import Loss, ValueAndGrad
from gradlab.gradients.terms import SumOfTerms

Method = TypeVar("Method", bound=Callable[..., ValueAndGrad])


def positional(loss: Loss) -> Loss:
    """Return the loss as a function whose last argument is the dict of its keyword arguments.

    Examples
    --------
    >>> positional(lambda x, y, power=1: x + y**power)(1, 2, {"power": 3})
    9
    """
    if isinstance(loss, SumOfTerms):
        return replace(loss, terms=partial(_call, loss.terms))
    return partial(_call, loss)


def _call(function: Callable[..., Any], params: Any, *args: Any) -> Any:
    *others, keywords = args
    return function(params, *others, **keywords)


def passing_keywords(method: Method) -> Method:
    """Let the functions that a backend's method returns take the loss's keyword arguments."""

    @wraps(method)
    def value_and_grad(backend: Any, loss: Loss) -> ValueAndGrad:
        run = method(backend, loss)
        named: list[ValueAndGrad] = []  # made when it is needed

        @wraps(run)
        def passing(params: Any, *args: Any, **keywords: Any) -> tuple[float, Any]:
            if not keywords:
                return run(params, *args)
            if not named:
                named.append(method(backend, positional(loss)))
            return named[0](params, *args, keywords)

        return passing

    return cast(Method, value_and_grad)

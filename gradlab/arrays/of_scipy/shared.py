"""The table of SciPy's functions, which the other files fill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {}
"""The functions, by package and name."""

_WITHOUT_EFFECT = {"overwrite_a", "overwrite_b", "overwrite_ab", "check_finite", "lapack_driver"}
"""Options that do not change the result."""


def implements(package: str, name: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of a package of SciPy's, under its own name or another."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def implementation(*args: Any, **kwargs: Any) -> Any:
            given = {key: kwargs[key] for key in kwargs.keys() - _WITHOUT_EFFECT}
            return function(*args, **given)

        FUNCTIONS[package, name or function.__name__] = implementation
        return function

    return register

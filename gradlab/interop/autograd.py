"""autograd's `check_grads` by measured slopes.

autograd has JAX's convention for complex numbers. `check_equivalent` and `scalar_close`, which
compare values, are autograd's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from typing import Any

import numpy as np
from autograd.core import make_jvp, make_vjp
from autograd.test_util import check_equivalent as check_equivalent
from autograd.test_util import scalar_close as scalar_close
from autograd.wrap_util import unary_to_nary

from gradlab.checking.derivatives import check_derivatives
from gradlab.errors import OptionError
from gradlab.interop.shared import accepted, decided_by, note_on, random_like, require_right
from gradlab.params import Array, flatten

__tracebackhide__ = True
"""Pytest shows the test's own line, and the report, instead of the functions of this module."""

ORIGINAL: Any = import_module("autograd.test_util")
"""autograd's own checks."""


def check_grads(
    f: Callable[..., Any],
    argnum: int | Sequence[int] = 0,
    modes: Sequence[str] = ("fwd", "rev"),
    order: int = 2,
    allow: float = 0.0,
) -> Callable[..., None]:
    """Return a function that checks autograd's derivatives of a function.

    Parameters
    ----------
    f : callable
        A function of `autograd.numpy` arrays.
    argnum : int or sequence of int
        The positions of the differentiated arguments.
    modes : sequence of {"fwd", "rev"}
        Forward mode and reverse mode.
    order : int
        The highest order of derivatives to check.
    allow : float
        An accepted relative error; 1.5e-11 always passes as round-off.

    Returns
    -------
    callable
        ``check(*args, **kwargs)`` checks `f` at its arguments. It raises a `GradientMismatchError`,
        an AssertionError, with the report as its message, if a derivative is wrong; and an
        `InconclusiveError`, also an AssertionError, if the check is inconclusive.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> check_grads(anp.sin)(np.array([0.5, 2.0]))
    """
    if unknown := [mode for mode in modes if mode not in ("fwd", "rev")]:
        raise OptionError(f"unknown mode {unknown[0]!r}: choose from fwd, rev")
    check: Callable[..., None] = unary_to_nary(_check)(f, argnum, tuple(modes), order, allow)
    return check


def combo_check(f: Callable[..., Any], *args: Any, **options: Any) -> Callable[..., None]:
    """Return a function that checks all combinations of arguments.

    Parameters
    ----------
    f, *args, **options
        See `check_grads`.

    Returns
    -------
    callable
        ``check(*lists, **lists_by_name)`` takes a list of values for each argument of `f`.

    Examples
    --------
    >>> import autograd.numpy as anp
    >>> combo_check(anp.sum, [0], order=1)([np.ones((2, 3))], axis=[0, 1])
    """

    def check(*values: Sequence[Any], **named: Sequence[Any]) -> None:
        for chosen in product(*values):
            for given in product(*named.values()):
                check_grads(f, *args, **options)(*chosen, **dict(zip(named, given, strict=True)))

    return check


@contextmanager
def _constants_allowed() -> Iterator[None]:
    """Leave out autograd's warning on a function without a slope, such as the second one of abs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")
        yield


@_constants_allowed()
def _check(f: Callable[[Any], Any], x: Any, modes: Sequence[str], order: int, allow: float) -> None:
    def vjp(params: Any, cotangent: Any) -> Any:
        return {"x": make_vjp(f, params["x"])[0](cotangent["output"])}

    def jvp(params: Any, tangent: Any) -> Any:
        return {"output": make_jvp(f, params["x"])(tangent["x"])[1]}

    leaves, structure = flatten(x, _number)
    with decided_by("autograd", lambda: _check_by_autograd(f, x, modes)):
        report = check_derivatives(
            lambda params: {"output": f(params["x"])},
            {"x": structure.unflatten(leaves)},
            allow=accepted(allow),
            vjp=vjp if "rev" in modes else None,
            jvp=jvp if "fwd" in modes else None,
            convention="jax",
        )
        require_right(report, note_on(allow))
    if order > 1:
        rng = np.random.default_rng(0)
        for mode in modes:
            leaves, structure = flatten(f(x) if mode == "rev" else x, _number)
            direction = structure.unflatten([random_like(leaf, rng) for leaf in leaves])
            derived = _reverse if mode == "rev" else _forward
            _check(derived(f), (x, direction), modes, order - 1, allow)


def _check_by_autograd(f: Callable[[Any], Any], x: Any, modes: Sequence[str]) -> None:
    """Run autograd's own check of first derivatives; it raises an AssertionError if it fails."""
    before = np.random.get_state()  # noqa: NPY002 - autograd draws its directions from it
    try:
        ORIGINAL.check_grads(f, modes=list(modes), order=1)(x)
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _forward(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda pair: make_jvp(f, pair[0])(pair[1])[1]


def _reverse(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda pair: make_vjp(f, pair[0])[0](pair[1])


def _number(value: Any, path: str) -> Array:
    array = np.asarray(value)
    return array if array.dtype.kind in "fc" else array.astype(float)

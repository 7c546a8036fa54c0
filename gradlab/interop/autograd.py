"""autograd's `check_grads` by measured slopes.

Complex numbers are checked as pairs of real ones. autograd's VJP takes and returns conjugates of
gradients by real and imaginary parts. `check_equivalent` and `scalar_close`, which compare values,
are autograd's own.
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
from gradlab.checking.native import Name, from_real_parts, real_parts
from gradlab.errors import OptionError
from gradlab.interop.shared import accepted, decided_by, note_on, random_like, settle
from gradlab.params import Array, Structure, flatten

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
    function = AutogradFunction(f, x)
    with decided_by("autograd", lambda: _check_by_autograd(f, x, modes)):
        report = check_derivatives(
            function.outputs,
            real_parts(function.names, function.leaves),
            allow=accepted(allow),
            vjp=function.vjp if "rev" in modes else None,
            jvp=function.jvp if "fwd" in modes else None,
        )
        settle(report, note_on(allow))
    if order > 1:
        rng = np.random.default_rng(0)
        for mode in modes:
            direction = function.random(rng, of_outputs=mode == "rev")
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


class AutogradFunction:
    """A function of a structure of `autograd.numpy` arrays, real or complex, at the point x."""

    def __init__(self, f: Callable[[Any], Any], x: Any) -> None:
        self._f = f
        self.leaves, self._structure = flatten(x, _number)
        self.names = [_named("x", path) for path in self._structure.paths]
        self._like, self._outputs = flatten(f(x), _number)
        self._output_names = [_named("output", path) for path in self._outputs.paths]

    def outputs(self, params: dict[Name, Array]) -> dict[Name, Array]:
        """Return the outputs by name."""
        found = flatten(self._f(self._x(params)), _number)[0]
        return real_parts(self._output_names, found)

    def vjp(self, params: dict[Name, Array], cotangent: Any) -> dict[Name, Array]:
        """Return autograd's VJP for a cotangent."""
        given = [np.conj(u) for u in from_real_parts(cotangent, self._like)]
        found = make_vjp(self._f, self._x(params))[0](self._hang(self._outputs, given, self._like))
        return real_parts(self.names, [np.conj(g) for g in flatten(found, _number)[0]])

    def jvp(self, params: dict[Name, Array], tangent: Any) -> dict[Name, Array]:
        """Return autograd's JVP for a tangent, in forward mode."""
        found = make_jvp(self._f, self._x(params))(self._x(tangent))[1]
        return real_parts(self._output_names, flatten(found, _number)[0])

    def random(self, rng: np.random.Generator, of_outputs: bool) -> Any:
        """Return a random direction in the structure of the outputs, or of the arguments."""
        like = self._like if of_outputs else self.leaves
        drawn = [random_like(array, rng) for array in like]
        return self._hang(self._outputs if of_outputs else self._structure, drawn, like)

    def _x(self, params: dict[Name, Array]) -> Any:
        return self._hang(self._structure, from_real_parts(params, self.leaves), self.leaves)

    @staticmethod
    def _hang(structure: Structure, leaves: Sequence[Any], like: Sequence[Array]) -> Any:
        """Return leaves in a structure: new, writable arrays of the dtypes of `like`."""
        return structure.unflatten(
            [np.array(leaf, dtype=one.dtype) for leaf, one in zip(leaves, like, strict=True)]
        )


def _number(value: Any, path: str) -> Array:
    array = np.asarray(value)
    return array if array.dtype.kind in "fc" else array.astype(float)


def _named(root: str, path: str) -> str:
    return root if path == "params" else f"{root}{path if path.startswith('[') else '.' + path}"

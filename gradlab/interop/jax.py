"""JAX's `check_grads` by measured slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import jax
import numpy as np

from gradlab.checking.native_jax import JaxLoss, as_numpy
from gradlab.checking.native_way import NativeWay, first_that_works
from gradlab.errors import OptionError
from gradlab.interop.shared import check_native, decided_by, random_like
from gradlab.params import Array

__tracebackhide__ = True
"""Pytest shows the test's own line, and the report, instead of the functions of this module."""

MODE_NAMES = {"fwd": "JVP", "rev": "VJP", "lin": "linearized function"}
"""The names of the modes in messages."""


def check_grads(
    f: Callable[..., Any],
    args: Any,
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Check JAX's derivatives of a function of arrays.

    Parameters
    ----------
    f : callable
        ``f(*args)`` returns a pytree of arrays.
    args : sequence
        Pytrees; their leaves of floats or complex numbers are checked, in float64 where `f` allows.
    order : int
        The highest order of derivatives to check.
    modes : sequence of {"fwd", "rev", "lin"}
        Forward mode, reverse mode, and `jax.linearize`.
    rtol : float, optional
        An accepted relative error; by default 1.5e-11, which passes as round-off.
    atol, eps
        No effect if slopes can be measured. If they are inconclusive, for example at a jump, JAX's
        own check decides, with all tolerances.

    Raises
    ------
    GradientMismatchError
        An AssertionError: a derivative is wrong; the message is the report.
    InconclusiveError
        An AssertionError: the function cannot resolve its slopes.

    Examples
    --------
    >>> check_grads(jax.numpy.sin, (jax.numpy.array([0.5, 2.0]),), order=2)
    """
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    if unknown := [mode for mode in modes if mode not in MODE_NAMES]:
        raise OptionError(f"unknown mode {unknown[0]!r}: choose from {', '.join(MODE_NAMES)}")
    tree: Any = jax.tree_util
    leaves, treedef = tree.tree_flatten(tuple(args))
    keys = [k for k, _ in tree.tree_flatten_with_path(tuple(args))[0]]
    where = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
    if not where:
        raise OptionError("no argument has floats or complex numbers: there is nothing to check")

    def call(given: list[Any]) -> list[Any]:
        merged = list(leaves)
        for i, leaf in zip(where, given, strict=True):
            merged[i] = leaf
        found = tree.tree_leaves(f(*treedef.unflatten(merged)))
        return [jax.numpy.asarray(leaf) for leaf in found if _is_float(leaf)]

    names = [f"args{tree.keystr(keys[i])}" for i in where]
    function = JaxFunction(call, [leaves[i] for i in where], names)
    tolerances = {"atol": atol, "rtol": rtol, "eps": eps}
    _check(function, function.way(modes), order, modes, tolerances, "")


def _check(
    function: JaxFunction,
    way: NativeWay,
    order: int,
    modes: Sequence[str],
    tolerances: dict[str, float | None],
    what: str,
) -> None:
    """Check one order of derivatives, and then the derivatives of these."""
    with decided_by("JAX", lambda: function.check_by_jax(way, modes, tolerances)):
        for claims in function.claims(modes):
            check_native(function, way, claims, tolerances["rtol"], what)
    if order > 1:
        for mode in modes:
            here = f"of the {MODE_NAMES[mode]}{' ' + what if what else ''}"
            derived = function.differentiated(way, mode)
            _check(derived, way, order - 1, modes, tolerances, here)


class JaxFunction(JaxLoss):
    """A function from a list of named arrays to a list of arrays, which JAX can trace."""

    def __init__(self, call: Callable[[list[Any]], list[Any]], given: list[Any], names: list[str]):
        super().__init__(call, given, ())
        self.names = names
        self.like: list[Array] = []
        self._kept: dict[str, Callable[..., Any]] = {}

    def way(self, modes: Sequence[str]) -> NativeWay:
        """Return the first way of evaluation in which the function can be differentiated."""

        def prepared(way: NativeWay) -> None:
            self.prepare(way)
            for mode in modes:
                self.differentiated(way, mode)

        return first_that_works(self.ways, prepared)[0]

    def prepare(self, way: NativeWay) -> None:
        """Store the structure of the outputs."""
        with self._setting(way):
            self.like = [np.asarray(x) for x in self.loss(self._native(way, self.leaves))]

    def outputs(self, way: NativeWay, leaves: list[Array]) -> list[Array]:
        """Return the outputs."""
        return self._run(way, "value", self.loss, leaves)

    def claims(self, modes: Sequence[str]) -> list[dict[str, Any]]:
        """Return JAX's derivatives in each mode, as options of `check_derivatives`."""
        found: list[dict[str, Any]] = [{}]
        for mode in modes:
            kind = "vjp" if mode == "rev" else "jvp"
            if kind in found[-1]:  # forward mode and linearize are both JVPs
                found.append({})
            found[-1][kind] = partial(self.derivative, mode)
        return found

    def check_by_jax(
        self, way: NativeWay, modes: Sequence[str], tolerances: dict[str, float | None]
    ) -> None:
        """Run JAX's own check of first derivatives; it raises an AssertionError if it fails."""
        own = [
            mode for mode in ("fwd", "rev") if mode in modes or (mode == "fwd" and "lin" in modes)
        ]
        with self._setting(way):
            arrays = self._native(way, self.leaves)
            original = import_module("jax.test_util").check_grads
            original(lambda *given: self.loss(list(given)), arrays, 1, own, **tolerances)

    def derivative(
        self, mode: str, way: NativeWay, leaves: list[Array], direction: list[Array]
    ) -> list[Array]:
        """Return the VJP for cotangents, or the JVP for tangents."""
        return self._run(way, mode, self._of(mode), leaves, direction)

    def _of(self, mode: str) -> Callable[[list[Any], list[Any]], list[Any]]:
        """Return a derivative as a function of the arrays and a direction."""

        def derivative(arrays: list[Any], direction: list[Any]) -> Any:
            if mode == "fwd":
                return jax.jvp(self.loss, (arrays,), (_cast(direction, arrays),))[1]
            if mode == "lin":
                return jax.linearize(self.loss, arrays)[1](_cast(direction, arrays))
            out, pull = jax.vjp(self.loss, arrays)
            return pull(_cast(direction, out))[0]

        return derivative

    def differentiated(self, way: NativeWay, mode: str) -> JaxFunction:
        """Return a derivative as a function of the arrays and of a random direction."""
        apply, count = self._of(mode), len(self.leaves)
        rng = np.random.default_rng(0)
        like = self.like if mode == "rev" else self.leaves
        drawn = [random_like(array, rng) for array in like]
        names = [*self.names, *(f"direction[{i}]" for i in range(len(drawn)))]
        derived = JaxFunction(
            lambda arrays: apply(arrays[:count], arrays[count:]), [*self._arrays, *drawn], names
        )
        derived.prepare(way)
        return derived

    def _run(
        self,
        way: NativeWay,
        name: str,
        function: Callable[..., Any],
        leaves: list[Array],
        *direction: list[Array],
    ) -> list[Array]:
        """Call a function of lists of arrays, compiled if possible."""
        with self._setting(way):
            native = [self._native(way, leaves), *direction]
            if name not in self._kept:
                self._kept[name] = jax.jit(function)
                try:
                    return [as_numpy(x) for x in self._kept[name](*native)]
                except Exception:  # it branches on numbers, or fails for another reason
                    self._kept[name] = function
            return [as_numpy(x) for x in self._kept[name](*native)]


def _cast(direction: list[Any], like: list[Any]) -> list[Any]:
    return [jax.numpy.asarray(u, x.dtype) for u, x in zip(direction, like, strict=True)]


def _is_float(leaf: Any) -> bool:
    return bool(jax.numpy.issubdtype(jax.numpy.result_type(leaf), jax.numpy.inexact))

"""JAX's `check_grads` by measured slopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import jax
import numpy as np

from gradlab.checking.derivatives import check_derivatives
from gradlab.checking.native_jax import JaxLoss, as_numpy
from gradlab.checking.native_way import (
    Name,
    NativeWay,
    first_that_works,
    in_dtype,
    named,
    precision,
)
from gradlab.errors import OptionError
from gradlab.interop.shared import accepted, decided_by, note_on, random_like, settle
from gradlab.params import Array

__tracebackhide__ = True
"""Pytest shows the test's own line, and the report, instead of the functions of this module."""

NAMES = {"fwd": "JVP", "rev": "VJP", "lin": "linearized function"}
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
    if unknown := [mode for mode in modes if mode not in NAMES]:
        raise OptionError(f"unknown mode {unknown[0]!r}: choose from {', '.join(NAMES)}")
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
    params = named(function.names, [in_dtype(leaf, way.dtype) for leaf in function.leaves])
    rtol = tolerances["rtol"]
    with decided_by("JAX", lambda: function.check_by_jax(way, modes, tolerances)):
        for claims in function.claims(way, modes):
            report = check_derivatives(
                partial(function.outputs, way),
                params,
                dtype=precision(way, function.leaves),
                allow=accepted(rtol),
                convention=function.convention,
                **claims,
            )
            settle(report, "\n".join(filter(None, [what, note_on(rtol)])))
    if order > 1:
        for mode in modes:
            here = f"of the {NAMES[mode]}{' ' + what if what else ''}"
            derived = function.differentiated(way, mode)
            _check(derived, way, order - 1, modes, tolerances, here)


class JaxFunction(JaxLoss):
    """A function from a list of named arrays to a list of arrays, which JAX can trace."""

    def __init__(self, call: Callable[[list[Any]], list[Any]], given: list[Any], names: list[str]):
        super().__init__(call, given, ())
        self.names = names
        self._like: list[Array] = []
        self._kept: dict[str, Callable[..., Any]] = {}

    def way(self, modes: Sequence[str]) -> NativeWay:
        """Return the first way of evaluation in which the function can be differentiated."""

        def prepared(way: NativeWay) -> None:
            self.prepare(way)
            for mode in modes:
                self.differentiated(way, mode)

        return first_that_works(self.ways(None), prepared)[0]

    def prepare(self, way: NativeWay) -> None:
        """Store the structure of the outputs."""
        with self._setting(way):
            self._like = [np.asarray(x) for x in self.loss(self._native(way, self.leaves))]

    @property
    def _output_names(self) -> list[str]:
        count = len(self._like)
        return ["output"] if count == 1 else [f"output[{i}]" for i in range(count)]

    def outputs(self, way: NativeWay, params: dict[Name, Array]) -> dict[Name, Array]:
        """Return the outputs by name."""
        found = self._run(way, "value", self.loss, self._native_of(way, params))
        return named(self._output_names, [as_numpy(x) for x in found])

    def claims(self, way: NativeWay, modes: Sequence[str]) -> list[dict[str, Any]]:
        """Return JAX's derivatives in each mode, as options of `check_derivatives`."""
        found: list[dict[str, Any]] = [{}]
        for mode in modes:
            kind, apply = ("vjp", self.vjp) if mode == "rev" else ("jvp", self.jvp)
            if kind in found[-1]:  # forward mode and linearize are both JVPs
                found.append({})
            found[-1][kind] = partial(apply, way, mode)
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

    def vjp(self, way: NativeWay, mode: str, params: Any, cotangent: Any) -> dict[Name, Array]:
        """Return the VJP for a cotangent."""
        given = [*cotangent.values()]
        found = self._run(way, mode, self._of(mode), self._native_of(way, params), given)
        return named(self.names, [as_numpy(x) for x in found])

    def jvp(self, way: NativeWay, mode: str, params: Any, tangent: Any) -> dict[Name, Array]:
        """Return the JVP for a tangent, by forward mode or `jax.linearize`."""
        given = self._native_of(way, tangent)
        found = self._run(way, mode, self._of(mode), self._native_of(way, params), given)
        return named(self._output_names, [as_numpy(x) for x in found])

    def _of(self, mode: str) -> Callable[[list[Any], list[Any]], list[Any]]:
        """Return a derivative as a function of the arrays and a direction."""

        def reverse(arrays: list[Any], direction: list[Any]) -> list[Any]:
            out, pull = jax.vjp(self.loss, arrays)
            cotangent = [jax.numpy.asarray(u, x.dtype) for u, x in zip(direction, out, strict=True)]
            found: list[Any] = pull(cotangent)[0]
            return found

        def forward(arrays: list[Any], direction: list[Any]) -> list[Any]:
            found: list[Any] = jax.jvp(self.loss, (arrays,), (direction,))[1]
            return found

        def linear(arrays: list[Any], direction: list[Any]) -> list[Any]:
            found: list[Any] = jax.linearize(self.loss, arrays)[1](direction)
            return found

        return {"rev": reverse, "fwd": forward, "lin": linear}[mode]

    def differentiated(self, way: NativeWay, mode: str) -> JaxFunction:
        """Return a derivative as a function of the arrays and of a random direction."""
        apply, count = self._of(mode), len(self.leaves)
        rng = np.random.default_rng(0)
        like = self._like if mode == "rev" else self.leaves
        drawn = [random_like(array, rng) for array in like]
        names = [*self.names, *(f"direction[{i}]" for i in range(len(drawn)))]
        derived = JaxFunction(
            lambda arrays: apply(arrays[:count], arrays[count:]), [*self._arrays, *drawn], names
        )
        derived.prepare(way)
        return derived

    def _run(self, way: NativeWay, name: str, function: Callable[..., Any], *given: Any) -> Any:
        """Call a function, compiled if possible."""
        with self._setting(way):
            if name not in self._kept:
                self._kept[name] = jax.jit(function)
                try:
                    return self._kept[name](*given)
                except Exception:  # it branches on numbers, or fails for another reason
                    self._kept[name] = function
            return self._kept[name](*given)

    def _native_of(self, way: NativeWay, params: dict[Name, Array]) -> list[Any]:
        with self._setting(way):
            return self._native(way, [*params.values()])


def _is_float(leaf: Any) -> bool:
    return bool(jax.numpy.issubdtype(jax.numpy.result_type(leaf), jax.numpy.inexact))

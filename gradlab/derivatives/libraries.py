"""JAX and PyTorch: their own Jacobians, products and Hessians of a function in plain NumPy.

The function runs on the library's arrays behind NumPy's protocols (`gradlab.arrays.ducks`), as for
the backends `jax` and `torch`. A function that is written for the library itself runs on native
arrays. The library differentiates it: ``jax.jvp``, and ``jax.vjp`` under ``jax.vmap``; PyTorch's
reverse mode, with batched cotangents for rows and applied twice for J v. Products uᵀJ are gradients
of weighted outputs, which the backends compile and keep (`reverse`).

This module runs the operations one by one, with numbers: nothing is compiled, so branches work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import is_traced
from gradlab.arrays.ducks import DuckLibrary, Trace, within
from gradlab.arrays.leaks import Watch, release
from gradlab.arrays.places import place_of
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import run_traced
from gradlab.derivatives.functions import Function, Point, evaluated, flat, leaves_of
from gradlab.derivatives.reverse import Rows, joined
from gradlab.errors import GradlabError, LossError, UntraceableError, reason_of
from gradlab.gradients.protocol import Backend
from gradlab.params import Array, flatten, floating

Vector = Callable[[list[Any]], Any]
"""From leaves of the library to a vector of the library."""


class LibraryDerivative(Rows):
    """The derivative of a function, by another library.

    If the function is the gradient of a given loss, the library computes that gradient, too.
    """

    library: DuckLibrary
    xp: Any  # the library's own functions
    setting: Callable[[], AbstractContextManager[Any]]  # the context of a call

    def __init__(self, backend: Backend, function: Function, loss: Function | None = None) -> None:
        super().__init__(backend, function)
        self._loss = loss
        self._is_plain = True  # until the function turns out to be for native arrays

    def evaluate(self, function: Function, params: Any, args: Sequence[Any]) -> Any:
        """Return the outputs in NumPy arrays, also if the function takes only native arrays."""
        with self.setting():
            try:
                value = evaluated(function, params, args)
            except (TypeError, AttributeError) as error:
                leaves, structure = flatten(params)
                native = structure.unflatten([self.to_library(floating(leaf)) for leaf in leaves])
                try:
                    value = function(native, *args)
                except Exception:
                    raise error from None
            leaves, structure = flatten(value, lambda leaf, path: leaf)
            is_native, to_numpy = self.library.is_native, self.library.to_numpy
            if not any(map(is_native, leaves)):
                return value
            return structure.unflatten(
                [to_numpy(leaf) if is_native(leaf) else leaf for leaf in leaves]
            )

    def matrix(self, at: Point) -> Array:
        """Return J, of shape (m, p)."""
        found, is_own = self._on_library(at, self.all_rows)
        if is_own:
            weights = _some_weights(at)
            self._require_equal(weights @ found, joined(self.vjp(at, weights)), at)
        return found

    def jvp(self, at: Point, tangent: Sequence[Array]) -> Array:
        """Return J v, of shape (m,)."""
        directions = [
            np.asarray(v, floating(leaf).dtype) for v, leaf in zip(tangent, at.leaves, strict=True)
        ]
        found, is_own = self._on_library(
            at,
            lambda vector, leaves: self.push(
                vector, leaves, list(map(self.to_library, directions))
            ),
        )
        if is_own:
            weights = _some_weights(at)
            wanted = joined(self.vjp(at, weights)) @ joined(directions)
            self._require_equal(weights @ found, wanted, at)
        return found

    def nth(self, at: Point, order: int) -> Array:
        """Return the n-th derivative of all outputs by the only parameter, a number."""
        return self._on_library(at, partial(self.nested, order=order))[0]

    # Methods that each library defines

    def all_rows(self, vector: Vector, leaves: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its Jacobian (m, p)."""
        raise NotImplementedError

    def push(self, vector: Vector, leaves: list[Any], tangent: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its slope along a direction."""
        raise NotImplementedError

    def nested(self, vector: Vector, leaves: list[Any], order: int) -> tuple[Any, Array]:
        """Return the vector, and its n-th derivative by one number."""
        raise NotImplementedError

    def gradient(self, vector: Vector) -> Vector:
        """Return the gradient of a vector of one entry, as a differentiable function."""
        raise NotImplementedError

    # Methods of both libraries

    def to_library(self, array: Array) -> Any:
        """Convert a NumPy array to an array of the library."""
        return self.library.from_numpy(array)

    def to_numpy(self, array: Any) -> Array:
        """Convert an array of the library to a NumPy array in float64."""
        return np.asarray(self.library.to_numpy(array), float)

    def join(self, arrays: list[Any]) -> Any:
        """Concatenate the entries of arrays of the library to a vector."""
        return self.xp.concatenate([array.reshape(-1) for array in arrays])

    def side_by_side(self, rows: list[Any], count: int) -> Array:
        """Return the derivatives of `count` outputs by each leaf as one matrix (m, p)."""
        blocks = [self.to_numpy(row).reshape(count, -1) for row in rows]
        return np.concatenate([np.zeros((count, 0)), *blocks], axis=1)

    def _on_library(
        self, at: Point, run: Callable[[Vector, list[Any]], tuple[Any, Array]]
    ) -> tuple[Array, bool]:
        """Return the result of `run`, on arrays behind NumPy's protocols or on native ones.

        Also tell whether the function has called the library itself. It may then convert an array
        to a number, which loses its derivative. The backend's gradients detect that.
        """
        function = self._loss or self.function
        failures: list[Exception] = []
        with self.setting():
            for is_plain in (self._is_plain, not self._is_plain):
                traces: list[Trace] = []
                call = partial(self._plain, traces) if is_plain else self._native
                vector: Vector = partial(call, at, function)
                leaves = [self.to_library(floating(leaf)) for leaf in at.leaves]
                try:
                    value, found = run(self.gradient(vector) if self._loss else vector, leaves)
                except Exception as error:
                    failures.append(error)
                    traces.clear()
                    list(release(function, at.args))
                    continue
                self._is_plain = is_plain
                is_own = not is_plain or any(trace.mixed for trace in traces)
                watch = Watch(traces)
                traces.clear()
                watch.clean_up(function, at.args)
                self._verify(self.to_numpy(value), at)
                return found, is_own and not self._loss
        raise self._failure(failures)

    def _require_equal(self, found: Any, wanted: Any, at: Point) -> None:
        kinds = [floating(leaf).dtype for leaf in at.leaves]
        epsilon = max((float(np.finfo(kind).eps) for kind in kinds), default=0.0)
        if not _agree(found, wanted, epsilon):
            raise LossError(
                f"{self.backend.name}: two ways to the derivative disagree: the function takes a "
                'number out of an array, whose slope is lost; use backend="autograd" or '
                'backend="central"'
            )

    def _plain(
        self, traces: list[Trace], at: Point, function: Function, leaves: Sequence[Any]
    ) -> Any:
        """Return all outputs of a function in plain NumPy, as a vector of the library's."""
        trace = Trace(known=True)
        traces.append(trace)
        with within(trace):
            traced = [self.library.duck(leaf) for leaf in leaves]
            for array in traced:
                array._is_argument = True
            params = at.structure.unflatten(traced)
            value = following_rewrites(lambda: run_traced(partial(flat, function), params, at.args))
        return value.native if is_traced(value) else self.to_library(np.asarray(value, float))

    def _native(self, at: Point, function: Function, leaves: Sequence[Any]) -> Any:
        """Return all outputs of a function that is written for the library."""
        outputs = leaves_of(function, at.structure.unflatten(leaves), at.args)
        is_native = self.library.is_native
        return self.join(
            [
                leaf if is_native(leaf) else self.to_library(np.asarray(leaf, float))
                for leaf in outputs
            ]
        )

    def _verify(self, value: Array, at: Point) -> None:
        """Raise a LossError if the library's outputs differ from NumPy's, to half of the digits."""
        outputs = at.outputs
        for span, path, dtype in zip(
            outputs.spans, outputs.structure.paths, outputs.dtypes, strict=True
        ):
            epsilon = float(np.finfo(dtype if dtype.kind == "f" else float).eps)
            if not _agree(value[span], outputs.vector[span], epsilon):
                raise LossError(
                    f"{path} differs between arrays of {self.backend.name} and NumPy's: a function "
                    "that it calls behaves differently there, or is random; use "
                    'backend="autograd" or backend="central"'
                )

    def _failure(self, failures: list[Exception]) -> Exception:
        """Return the more helpful error: NumPy's, unless the function is for the library."""
        for error in failures:
            if isinstance(error, GradlabError):
                return error
        error = failures[0]
        unfit = UntraceableError(
            f"{self.backend.name} cannot trace the function, which fails only on traced arrays "
            f"({type(error).__name__}: {reason_of(error)}; {place_of(error.__traceback__)}): write "
            'that line with other functions of NumPy\'s, or use backend="central"'
        )
        unfit.__cause__ = error
        return unfit


def _some_weights(at: Point) -> Array:
    """Return weights of all outputs, none of them small."""
    rng = np.random.default_rng(0)
    found: Array = rng.uniform(0.5, 1.0, len(at.outputs.vector))
    return found


def _agree(found: Any, wanted: Any, epsilon: float) -> bool:
    """Tell whether numbers are equal to half of the digits of the largest."""
    allowed = np.sqrt(epsilon) * np.max(np.abs(wanted), initial=0.0)
    return bool(np.all(np.abs(found - wanted) <= allowed))


class JaxDerivative(LibraryDerivative):
    """JAX's derivatives of a function."""

    def __init__(self, backend: Backend, function: Function, loss: Function | None = None) -> None:
        super().__init__(backend, function, loss)
        from gradlab.arrays.jax_arrays import LIBRARY, in_x64

        self._jax: Any = import_module("jax")
        self.library, self.xp, self.setting = LIBRARY, self._jax.numpy, in_x64

    def all_rows(self, vector: Vector, leaves: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its Jacobian: pulled back for all rows at once."""
        value, pull = self._jax.vjp(vector, leaves)
        [rows] = self._jax.vmap(pull)(self.xp.eye(len(value), dtype=value.dtype))
        return value, self.side_by_side(rows, len(value))

    def push(self, vector: Vector, leaves: list[Any], tangent: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its slope along a direction."""
        value, slope = self._jax.jvp(vector, (leaves,), (tangent,))
        return value, self.to_numpy(slope)

    def nested(self, vector: Vector, leaves: list[Any], order: int) -> tuple[Any, Array]:
        """Return the vector, and its n-th derivative: forward mode, n times."""
        slope, ones = vector, [self.xp.ones_like(leaf) for leaf in leaves]
        for _ in range(order):
            slope = partial(self._slope_along, slope, ones)
        return vector(leaves), self.to_numpy(slope(leaves))

    def _slope_along(self, vector: Vector, tangent: list[Any], leaves: list[Any]) -> Any:
        return self._jax.jvp(vector, (leaves,), (tangent,))[1]

    def gradient(self, vector: Vector) -> Vector:
        """Return the gradient, concatenated."""
        slopes = self._jax.grad(lambda leaves: vector(leaves)[0])
        return lambda leaves: self.join(slopes(leaves))


class TorchDerivative(LibraryDerivative):
    """PyTorch's derivatives of a function."""

    setting = nullcontext

    def __init__(self, backend: Backend, function: Function, loss: Function | None = None) -> None:
        super().__init__(backend, function, loss)
        from gradlab.arrays.torch_arrays import LIBRARY

        self.library, self.xp = LIBRARY, import_module("torch")

    def to_library(self, array: Array) -> Any:
        """Convert a NumPy array to a tensor that requires a gradient."""
        return self.library.from_numpy(np.array(array)).requires_grad_()

    def all_rows(self, vector: Vector, leaves: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its Jacobian: pulled back for all rows at once."""
        value = vector(leaves)
        count = len(value)
        if not value.requires_grad:
            return value, np.zeros((count, sum(leaf.numel() for leaf in leaves)))
        basis = self.xp.eye(count, dtype=value.dtype)
        return value, self.side_by_side(self._pulled(value, leaves, basis, batched=True), count)

    def push(self, vector: Vector, leaves: list[Any], tangent: list[Any]) -> tuple[Any, Array]:
        """Return the vector, and its slope along a direction, by reverse mode applied twice."""
        value = vector(leaves)
        if not value.requires_grad:
            return value, np.zeros(len(value))
        weights = self.xp.ones_like(value, requires_grad=True)
        rows = self._pulled(value, leaves, weights, create_graph=True)
        slope = sum(
            ((row * v.detach()).sum() for row, v in zip(rows, tangent, strict=True)),
            self.xp.zeros((), dtype=value.dtype),
        )
        if not slope.requires_grad:
            return value, np.zeros(len(value))
        return value, self.to_numpy(self._pulled(slope, [weights], None)[0])

    def nested(self, vector: Vector, leaves: list[Any], order: int) -> tuple[Any, Array]:
        """Return the vector, and its n-th derivative: reverse mode, n times for each output."""
        value = vector(leaves)
        found = np.zeros(len(value))
        for k in range(len(value)):
            slope = value[k]
            for _ in range(order):
                if not slope.requires_grad:
                    break
                slope = self._pulled(slope, leaves, None, create_graph=True)[0].sum()
            else:
                found[k] = slope.item()
        return value, found

    def gradient(self, vector: Vector) -> Vector:
        """Return the gradient, concatenated."""

        def slopes(leaves: list[Any]) -> Any:
            value = vector(leaves)
            if not value.requires_grad:
                return self.join([0 * leaf for leaf in leaves])
            return self.join(self._pulled(value[0], leaves, None, create_graph=True))

        return slopes

    def _pulled(
        self,
        value: Any,
        leaves: list[Any],
        weights: Any,
        *,
        batched: bool = False,
        create_graph: bool = False,
    ) -> list[Any]:
        """Return vector-Jacobian products; zeros for inputs on which `value` does not depend."""
        rows = self.xp.autograd.grad(
            value,
            leaves,
            weights,
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
            is_grads_batched=batched,
        )
        shape = (len(weights),) if batched else ()
        return [
            self.xp.zeros(shape + leaf.shape, dtype=leaf.dtype) if row is None else row
            for row, leaf in zip(rows, leaves, strict=True)
        ]

"""Which class computes derivatives for each backend; their common arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab import gradients
from gradlab import options as checks
from gradlab.derivatives.complex_step import ComplexColumns
from gradlab.derivatives.differences import Differences, Extrapolated, Options
from gradlab.derivatives.forward import ForwardColumns
from gradlab.derivatives.functions import (
    Function,
    Outputs,
    Point,
    adapted,
    check_argnums,
    outputs_of,
    pair_of,
    split,
    with_aux,
)
from gradlab.derivatives.libraries import JaxDerivative, TorchDerivative
from gradlab.derivatives.reverse import Rows, TracedOnce, TwicePulled
from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.keywords import positional
from gradlab.gradients.protocol import finish_gradients
from gradlab.params import Array, first, flatten, floating

MAP_CLASSES: dict[type, type[Rows]] = {
    gradients.Autograd: TracedOnce,
    gradients.Tape: TwicePulled,
    gradients.AutogradForward: ForwardColumns,
    gradients.ComplexStep: ComplexColumns,
    gradients.Jax: JaxDerivative,
    gradients.Torch: TorchDerivative,
}
"""The class for each backend without options; `Rows` for all others."""

NUMERICAL_MAP_CLASSES: dict[type[gradients.Numerical], type[Differences]] = {
    gradients.ForwardDifference: Differences,
    gradients.CentralDifference: Differences,
    gradients.CentralDifference4: Differences,
    gradients.Richardson: Extrapolated,
}
"""The class for each backend with options."""


def way_of(backend: gradients.Backend, function: Function, options: Options) -> Rows:
    """Return the object that differentiates a function with a backend.

    Raise an OptionError if the backend does not take an option.
    """
    for kind, numerical in NUMERICAL_MAP_CLASSES.items():
        if isinstance(backend, kind):
            return numerical(backend, function, options)
    if given := options.given():
        raise OptionError(
            f"{given[0]}= is for the backends forward, central, central4 and richardson; "
            f"{backend.name} takes no steps"
        )
    for kind, way in MAP_CLASSES.items():
        if isinstance(backend, kind):
            return way(backend, function)
    return Rows(backend, function)


class Differentiated:
    """A function with the backend and options of its derivative; see `gradlab.jacobian`."""

    def __init__(
        self,
        function: Function,
        backend: str | gradients.Backend,
        argnums: int | tuple[int, ...] = 0,
        has_aux: bool = False,
        options: Options = Options(),  # noqa: B008 - it is frozen
    ) -> None:
        if not callable(function):
            raise LossError(f"{function!r} is not a function: give f(params, *args) -> outputs")
        if not isinstance(has_aux, bool):
            raise checks.refusal("has_aux", has_aux, "give True or False")
        self.backend = gradients.find_backend(backend)
        self.argnums, self.has_aux = check_argnums(argnums), has_aux
        self._function, self._options = function, options
        self._ways: dict[bool, Rows] = {}
        self.way(named=False)

    def way(self, named: bool) -> Rows:
        """Return the objects for calls without and with keyword arguments."""
        if named not in self._ways:
            function = adapted(self._called(named), self.argnums, self.has_aux)
            self._ways[named] = self._way(function)
        return self._ways[named]

    def _called(self, named: bool) -> Function:
        """Return the function; if `named`, its last argument is the dict of keyword arguments."""
        return positional(self._function) if named else self._function

    def _way(self, function: Function) -> Rows:
        return way_of(self.backend, function, self._options)

    def at(self, args: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Rows, Point, Any]:
        """Return the differentiating object, the point of a call, and the auxiliary data.

        Raise a ParameterError, a LossError or a NonFiniteError for arguments and outputs that are
        not arrays of finite real numbers.
        """
        params, others = split(self.argnums, args)
        named = bool(keywords)
        others = (*others, dict(keywords)) if named else others
        way = self.way(named)
        leaves, structure = flatten(params)
        value = way.evaluate(with_aux(self._called(named), self.argnums), params, others)
        value, aux = pair_of(value) if self.has_aux else (value, None)
        outputs = self._outputs(way, value, params, others)
        return way, Point(way.function, params, others, leaves, structure, outputs), aux

    def _outputs(self, way: Rows, value: Any, params: Any, others: tuple[Any, ...]) -> Outputs:
        """Return the outputs to differentiate: those of the function, which returned `value`."""
        return outputs_of(value)


def blocks(matrix: Array, at: Point) -> Any:
    """Return J, of shape (m, p), as a structure of outputs of structures of parameters.

    The block of an output of shape s and a parameter of shape q has the shape s + q, and the dtype
    of the parameter (float64 for integers). Raise a NonFiniteError that names output and parameter
    of an entry that is not finite.
    """
    wrong = np.isinf(matrix)
    wrong = wrong if wrong.any() else np.isnan(matrix)
    if wrong.any():
        k, j = first(wrong)
        of, by = at.outputs.name(k), at.layout.name(j)
        raise NonFiniteError(f"the derivative of {of} by {by} is {matrix[k, j]}")
    return hung_blocks(matrix, at)


def hung_blocks(matrix: Array, at: Point, dtype: DTypeLike | None = None) -> Any:
    """Return a matrix (m, p) in blocks; see `blocks`."""
    spans = at.layout.spans
    rows = []
    for span, shape in zip(at.outputs.spans, at.outputs.shapes, strict=True):
        row = [
            matrix[span, columns]
            .reshape(shape + leaf.shape)
            .astype(floating(leaf).dtype if dtype is None else dtype)
            for columns, leaf in zip(spans, at.leaves, strict=True)
        ]
        rows.append(at.structure.unflatten(row))
    return at.outputs.structure.unflatten(rows)


def unraveled(vector: Array, at: Point) -> Any:
    """Return a vector (p,) in the structure, shapes and dtypes of the parameters."""
    rows = at.layout.parts(vector)
    return at.structure.unflatten(finish_gradients(at.structure.paths, rows, at.leaves))


def require_direction(name: str, what: str, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """Split the arguments of a call into the function's own and the direction, which comes last."""
    if len(args) < 2:
        raise OptionError(
            f"{name}: give the {what} as the last argument, after the function's own: "
            f"{name}(f)(params, *args, {what})"
        )
    return args[:-1], args[-1]

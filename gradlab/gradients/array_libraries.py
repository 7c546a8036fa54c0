"""What the backends of other array libraries share: how a loss gets over to them, and back.

A loss that is written with operators and `array_api_compat.array_namespace` runs on the arrays of
JAX and PyTorch as it stands. So the parameters, and the arrays among the other arguments, are made
into such arrays; the library differentiates; and the gradient becomes NumPy's again. What already
is an array of the library stays one, on its device, and so does its gradient.

What a library does once for all calls of one *form*, such as compiling, is kept by the form: the
structure of the parameters and arguments, and the values of all that is no array.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from gradlab.errors import (
    GradlabError,
    LossError,
    MissingDependencyError,
    OptionError,
    ParameterError,
)
from gradlab.gradients.calls import (
    HigherDerivativeError,
    UnkeyableError,
    key_of_argument,
    out_leaves,
    require_apart,
)
from gradlab.gradients.protocol import Loss, finish_gradient, note_origin, real_scalar
from gradlab.gradients.surroundings import Surroundings
from gradlab.params import Array, Structure, as_array, flatten, floating

KEPT = 32
"""Of so many forms, what was done once is kept."""

ARRAY_API = (
    "write it with operators and functions of xp = array_api_compat.array_namespace(x), "
    "and pass it its data as arguments; or use the backend autograd"
)

Run: TypeAlias = Callable[[list[Any], list[Any]], tuple[Any, list[Any]]]
"""From leaves and arrays of the library to the loss and the leaves of its gradient."""


def require(package: str, name: str) -> None:
    """Raise an error that names the extra, if a package is not installed."""
    if find_spec(package) is None:
        raise MissingDependencyError(
            f'the backend {package} needs {name}: pip install "gradlab[{package}]"'
        )


def load(package: str, name: str) -> Any:
    """Import a package."""
    require(package, name)
    return import_module(package)


@dataclass(frozen=True)
class Form:
    """What is fixed about a call: everything but the numbers in its arrays.

    Attributes
    ----------
    params, args : Structure
        How the leaves hang together.
    values : tuple
        The leaves of the arguments, None in the place of each array.
    arrays : tuple of int
        Where the arrays are among them.
    """

    params: Structure
    args: Structure
    values: tuple[Any, ...]
    arrays: tuple[int, ...]

    def key(self) -> Any:
        """Return what is equal for equal forms, or raise `UnkeyableError`."""
        parts = (self.params.template, self.args.template, self.values, self.arrays)
        return key_of_argument(parts, [])

    def arguments(self, leaves: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return what the loss is called with."""
        values = list(self.values)
        for place, array in zip(self.arrays, arrays, strict=True):
            values[place] = array
        return self.params.unflatten(leaves), *self.args.unflatten(values)


class LibraryGradient:
    """``f(params, *args, out=None) -> (value, grads)``: what these backends return.

    A library defines what is left open below.
    """

    writes_out = True
    name: str
    arrays: str
    """What the library calls its arrays."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._surroundings = Surroundings(loss)
        self._prepared: OrderedDict[Any, Run] = OrderedDict()
        self._are_finite: Callable[[list[Any]], Any] = are_finite

    # What a library defines

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is an array of the library."""
        raise NotImplementedError

    def to_native(self, array: Array, like: Any) -> Any:
        """Return NumPy's array as what `prepare` takes, where `like` is if that is native."""
        raise NotImplementedError

    def to_numpy(self, array: Any) -> Array:
        """Return an array of the library as NumPy's, which may share its memory."""
        raise NotImplementedError

    def to_float(self, array: Any) -> Any:
        """Return integers of the library as floats of its widest type."""
        raise NotImplementedError

    def setting(self, native: Any) -> AbstractContextManager[Any]:
        """Return the context of a call: with a native parameter, or None where all are NumPy's."""
        raise NotImplementedError

    def prepare(self, form: Form) -> Run:
        """Return what computes loss and gradient, for calls of a form."""
        raise NotImplementedError

    def prepare_once(self, form: Form) -> Run:
        """Return the same for a single call, whose form cannot be told from others."""
        raise NotImplementedError

    def reason(self, error: Exception) -> str | None:
        """Say why a loss cannot run on the library's arrays, if that is what an error means."""
        raise NotImplementedError

    # What all do

    def __call__(self, params: Any, *args: Any, out: Any = None) -> tuple[float, Any]:
        """Return the loss and its gradient; see `Backend`."""
        given, structure = flatten(params, self._as_leaf)
        values, held = flatten(args, lambda value, path: value)
        places = [i for i, value in enumerate(values) if self._is_array(value)]
        form = Form(
            replace(structure, scalars=frozenset()),
            replace(held, scalars=frozenset()),
            tuple(None if i in places else value for i, value in enumerate(values)),
            tuple(places),
        )
        native = next((leaf for leaf in given if self.is_native(leaf)), None)
        with self.setting(native):
            run = self._find(form)
            value, gradients = run(
                [self._leaf_over(leaf, native) for leaf in given],
                [self._over(values[i], native) for i in places],
            )
            self._require_finite(structure.paths, given, value, gradients)
            if out is None:
                done = map(self._finish, structure.paths, gradients, given)
                return float(value), structure.unflatten(list(done))
            arrays = [values[i] for i in places]
            return float(value), self._write(out, gradients, given, structure, arrays)

    def call(self, form: Form, leaves: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """Call the loss on the library's arrays; return a native scalar, or a NumPy one."""
        arguments = form.arguments(leaves, arrays)
        try:
            value = self._loss(*arguments)
        except GradlabError:
            raise
        except Exception as error:
            if (reason := self.reason(error)) is not None:
                unfit = LossError(f"{self.name} cannot run the loss: {reason}")
                note_origin(unfit, f"the loss on {self.arrays}")
                raise unfit from error
            note_origin(error, f"the loss on {self.arrays}")
            raise
        if not self.is_native(value):
            return real_scalar(value)
        xp, shape = array_namespace(value), tuple(value.shape)
        if shape:
            raise LossError(
                f"the loss returned an array of shape {shape}; "
                "return one number (for example the mean)"
            )
        if xp.isdtype(value.dtype, "complex floating"):
            raise LossError(
                f"the loss returned a complex number ({value.dtype}); return a real one"
            )
        if xp.isdtype(value.dtype, "bool"):
            raise LossError("the loss returned a truth value; return one real number")
        return value if xp.isdtype(value.dtype, "real floating") else self.to_float(value)

    def _find(self, form: Form) -> Run:
        try:
            key = (form.key(), self._surroundings.key())
        except UnkeyableError:
            return self.prepare_once(form)
        except HigherDerivativeError as error:
            raise LossError(
                f"{self.name}: its gradient is being differentiated by another backend; "
                'use backend="autograd" for the inner gradient, too'
            ) from error
        run = self._prepared.get(key)
        if run is None:
            run = self._prepared[key] = self.prepare(form)
            if len(self._prepared) > KEPT:
                self._prepared.popitem(last=False)
        return run

    def _as_leaf(self, value: Any, path: str) -> Any:
        if not self.is_native(value):
            return as_array(value, path)
        xp = array_namespace(value)
        if not xp.isdtype(value.dtype, ("real floating", "integral")):
            what = "complex" if xp.isdtype(value.dtype, "complex floating") else str(value.dtype)
            raise ParameterError(f"{path} is {what}; parameters are arrays of real numbers")
        return value

    def _is_array(self, value: Any) -> bool:
        if isinstance(value, np.ma.MaskedArray):
            return False  # what it is would be lost
        numpys = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc"
        return numpys or self.is_native(value)

    def _over(self, array: Any, like: Any) -> Any:
        return array if self.is_native(array) else self.to_native(np.asarray(array), like)

    def _leaf_over(self, leaf: Any, like: Any) -> Any:
        """Return a leaf as the library's, in floating point."""
        if not self.is_native(leaf):
            return self.to_native(floating(leaf), like)
        is_float = array_namespace(leaf).isdtype(leaf.dtype, "real floating")
        return leaf if is_float else self.to_float(leaf)

    def _require_finite(
        self, paths: Sequence[str], given: Sequence[Any], value: Any, gradients: Sequence[Any]
    ) -> None:
        """Raise an error that names what is not finite, with one look at the library's arrays."""
        natives = [
            row for row in zip(paths, given, gradients, strict=True) if self.is_native(row[1])
        ]
        arrays = [array for _, *pair in natives for array in pair]
        fine = not arrays or bool(self._are_finite(arrays))
        if not fine:
            for path, leaf, _ in natives:
                as_array(self.to_numpy(leaf), path)
        real_scalar(float(value))
        if not fine:
            for path, leaf, gradient in natives:
                finish_gradient(path, self.to_numpy(gradient), self.to_numpy(leaf))

    def _finish(self, path: str, gradient: Any, leaf: Any) -> Any:
        """Return one leaf's gradient where the leaf is, and in its dtype."""
        if self.is_native(leaf):
            return gradient
        return finish_gradient(path, self.to_numpy(gradient), leaf)

    def _write(
        self,
        out: Any,
        gradients: Sequence[Any],
        given: Sequence[Any],
        structure: Structure,
        arrays: Sequence[Any],
    ) -> Any:
        """Write the gradient into arrays of the caller's."""
        if any(map(self.is_native, given)):
            raise OptionError(f"out= takes the gradient of NumPy's arrays, not of {self.arrays}")
        leaves = [floating(leaf) for leaf in given]
        targets = out_leaves(out, leaves, structure)
        require_apart(targets, [*given, *(a for a in arrays if not self.is_native(a))], structure)
        for path, target, gradient in zip(structure.paths, targets, gradients, strict=True):
            with np.errstate(over="ignore"):
                np.copyto(target, self.to_numpy(gradient), casting="same_kind")
            if not np.isfinite(target).all():
                finish_gradient(path, self.to_numpy(gradient), target)  # raises
        return out


def are_finite(arrays: Sequence[Any]) -> Any:
    """Return whether all entries of arrays of a library are finite, as its own truth value."""
    xp = array_namespace(*arrays)
    return xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))

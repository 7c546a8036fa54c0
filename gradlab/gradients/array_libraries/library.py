"""The functions that a library defines, and a loss that is called with its arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import is_traced
from gradlab.arrays.ducks import DuckLibrary, Trace, within
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import run_traced
from gradlab.errors import LossError, MissingDependencyError, ParameterError
from gradlab.gradients.array_libraries.forms import Form, Run, Way
from gradlab.gradients.protocol import Loss, real_scalar
from gradlab.params import Array, as_array, floating

LIBRARY_ADVICE = "write it in plain NumPy, or only for the library"


def require(package: str, name: str) -> None:
    """Raise an error that names the extra, if a package is not installed."""
    if find_spec(package) is None:
        raise MissingDependencyError(
            f'the backend {package} needs {name}: pip install "gradlab[{package}]"'
        )


class LibraryLoss:
    """A loss on the arrays of a library. A subclass defines the attributes up to `reason`."""

    name: str
    arrays: str
    """The name of the library's arrays in messages."""
    writeable = False
    """Whether native arrays can be written into."""
    _xp: Any
    """The namespace of the library's functions."""

    def __init__(self, loss: Loss, library: DuckLibrary) -> None:
        self._loss = loss
        self._library = library
        self._here = threading.local()

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is an array of the library."""
        return self._library.is_native(value)

    to_native: Callable[[Array, Any], Any]
    """Returns NumPy's array as the library's, on the device of a native array if one is given."""
    to_numpy: Callable[[Any], Array]
    """Returns an array of the library as NumPy's, which may share its memory."""
    to_float: Callable[[Any], Any]
    """Returns integers of the library as floats of its widest type."""
    kind: Callable[[Any], str]
    """Returns the kind of an array's dtype: "b", "i", "f" or "c"."""
    setting: Callable[[Any], AbstractContextManager[Any]]
    """Returns the context of a call, given a native parameter, or None without one."""
    ways: Callable[[bool, bool], list[Way]]
    """``ways(is_native, is_kept)`` to run a loss, in the order of the attempts: whether a parameter
    is an array of the library, and whether other calls of the form follow, so that compiling pays.
    """
    prepare: Callable[[Form, Way], Run]
    """Returns the function that computes loss and gradient for calls of a form."""
    reason: Callable[[Exception], str | None]
    """Returns why the loss cannot run on the library's arrays, or None for another error."""

    def device_of(self, leaves: Sequence[Any]) -> Any:
        """Return the device of the parameters, None for the default one."""
        return None

    # The rest is the same for all libraries

    def are_finite(self, arrays: list[Any]) -> Any:
        """Return whether all entries of native arrays are finite, as a native truth value."""
        xp = self._xp
        return xp.all(xp.stack([xp.all(xp.isfinite(array)) for array in arrays]))

    def call(self, form: Form, way: Way, leaves: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """Call the loss on the library's arrays; return a native scalar, or a NumPy one."""
        if not way.plain:
            value = self._loss(*form.arguments(leaves, arrays))
        else:
            trace = Trace(known=not way.compiled, device=self.device_of(leaves))
            self._here.traces.append(trace)
            with within(trace):
                duck = self._library.duck
                traced = [duck(leaf) for leaf in leaves]
                given = [duck(a) if self.is_native(a) else a for a in arrays]
                for array in (*traced, *filter(is_traced, given)):
                    array._is_argument = True
                params, *args = form.arguments(traced, given)
                value = following_rewrites(lambda: run_traced(self._loss, params, args))
            value = value.native if is_traced(value) else value
        if not self.is_native(value):
            return real_scalar(value)
        shape = tuple(value.shape)
        if np.prod(shape) != 1:
            raise LossError(
                f"the loss returned an array of shape {shape}; "
                "return one number (for example the mean)"
            )
        value = value.reshape(())
        kind = self.kind(value)
        if kind == "c":
            raise LossError(
                f"the loss returned a complex number ({value.dtype}); return a real one"
            )
        if kind == "b":
            raise LossError("the loss returned a truth value; return one real number")
        return value if kind == "f" else self.to_float(value)

    @property
    def _is_nested(self) -> str:
        return (
            f"{self.name}: its gradient is being differentiated by another backend; "
            'use backend="autograd" for the inner gradient, too'
        )

    def _as_leaf(self, value: Any, path: str) -> Any:
        if is_traced(value):
            raise LossError(self._is_nested)
        if not self.is_native(value):
            return as_array(value, path)
        kind = self.kind(value)
        if kind not in "fi":
            what = "complex" if kind == "c" else str(value.dtype)
            raise ParameterError(f"{path} is {what}; parameters are arrays of real numbers")
        return value

    def _is_array(self, value: Any) -> bool:
        if is_traced(value):
            raise LossError(self._is_nested)
        if isinstance(value, np.ma.MaskedArray):
            return False  # what it is would be lost
        numpys = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc"
        return numpys or self.is_native(value)

    def to_library(self, array: Any, like: Any) -> Any:
        """Return an array as the library's."""
        return array if self.is_native(array) else self.to_native(np.asarray(array), like)

    def leaf_over(self, leaf: Any, like: Any) -> Any:
        """Return a leaf as the library's, in floating point."""
        if not self.is_native(leaf):
            return self.to_native(floating(leaf), like)
        return leaf if self.kind(leaf) == "f" else self.to_float(leaf)

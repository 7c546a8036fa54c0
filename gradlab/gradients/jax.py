"""JAX: the loss traced once, differentiated, compiled by XLA, and run as one piece.

``jax.jit(jax.value_and_grad(loss))`` records the loss on abstract arrays, transposes its linear
part (Bradbury et al., *JAX: composable transformations of Python+NumPy programs*, 2018; Frostig,
Johnson & Leary, *Compiling machine learning programs via high-level tracing*, 2018), and compiles
the whole for each new shape or dtype, on the processor or an accelerator.

JAX computes in float32 unless told otherwise, for the whole process. Here, parameters of NumPy are
differentiated in their own dtype: x64 is switched on for the time of a call, in this thread, and
the user's setting does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from gradlab.gradients.array_libraries import (
    LIBRARY_ADVICE,
    Form,
    LibraryGradient,
    Run,
    Way,
    require,
)
from gradlab.gradients.protocol import Loss
from gradlab.params import Array


@dataclass(frozen=True)
class Jax:
    """JAX's compiled reverse mode: exact to round-off, in the dtype of the parameters.

    The loss is plain NumPy, or written with ``jax.numpy`` or the Array API. It is traced and
    compiled once for each structure, shape and dtype of its arguments, and for each value of those
    that are not arrays. Later calls run the compiled code. Compiling takes some tenths of a second:
    pass numbers that change from call to call as arrays.

    A loss that reads the numbers in its arrays (``if``, a mask as an index), draws random ones,
    or calls `gradlab.detach` cannot be compiled. JAX then runs it operation by operation, which is
    slow, and an `UntraceableWarning` gives the reason.

    Parameters that are JAX's own arrays stay on their device, and so does their gradient, which is
    then made of JAX's arrays.

    Raises
    ------
    MissingDependencyError
        If JAX is not installed.
    UntraceableError
        By the returned function: if the loss does something through which no derivative passes,
        such as ``float(x)``; the message names the line.
    LossError
        By the returned function: if the loss has another value on JAX's arrays than on NumPy's, or
        keeps a value of one call for the next.

    Notes
    -----
    *float64.* With parameters of NumPy, a call is made in ``jax.enable_x64``, whatever the user's
    setting; the loss then sees NumPy's rules: float64 stays float64, float32 stays float32, and
    both together are float64. Parameters that are JAX's arrays are differentiated under the user's
    own setting: there, a constant of the loss does not widen what its device is fast at. A device
    that has no float64 at all cannot take parameters of float64.

    Values that the loss reads beside its arguments are compiled in. It is compiled again if any of
    them changes, including the numbers in arrays. These are compared at each call, so pass large
    arrays as arguments. A loss that reads values which cannot be tracked, or changes values that it
    reads, is not compiled; see `gradlab.program.cache_key`.

    *Calls.* At the first call with each shape, the loss also runs on plain arrays, once, so that
    its value can be compared.

    Examples
    --------
    >>> import numpy as np
    >>> f = Jax().value_and_grad(lambda w, x: np.sum((w * x) ** 2))
    >>> f(np.array([1.0, 2.0]), np.array([3.0, 0.5]))
    (10.0, array([18.,  1.]))
    """

    name = "jax"

    def __post_init__(self) -> None:
        require("jax", "JAX")

    def value_and_grad(self, loss: Loss) -> LibraryGradient:
        """Return ``f(params, *args, out=None) -> (value, grads)``; see `Backend`."""
        return JaxGradient(loss)


class JaxGradient(LibraryGradient):
    """The function that the backend `Jax` returns."""

    name = "jax"
    arrays = "JAX's arrays"

    def __init__(self, loss: Loss) -> None:
        self._jax: Any = import_module("jax")
        self._xp = self._jax.numpy
        from gradlab.arrays.jax_arrays import LIBRARY, in_x64

        super().__init__(loss, LIBRARY, compiles=True)
        self.are_finite = self._jax.jit(self.are_finite)  # type: ignore[method-assign]
        self._in_x64 = in_x64

    def to_native(self, array: Array, like: Any) -> Any:
        """Return NumPy's array in the machine's byte order; JAX converts it itself."""
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def to_numpy(self, array: Any) -> Array:
        """Return JAX's array as NumPy's."""
        return np.asarray(array)

    def to_float(self, array: Any) -> Any:
        """Return integers as float64; as float32 where x64 is not enabled."""
        return self._xp.asarray(array, dtype=float)

    def kind(self, array: Any) -> str:
        """Return the kind of a dtype; "f" for JAX's own kinds of float."""
        if self._xp.issubdtype(array.dtype, np.floating):
            return "f"
        return "i" if array.dtype.kind == "u" else str(array.dtype.kind)

    def setting(self, native: Any) -> AbstractContextManager[Any]:
        """Switch x64 on for parameters of NumPy."""
        return self._in_x64() if native is None else nullcontext()

    def ways(self, is_native: bool, is_kept: bool) -> list[Way]:
        """Compile if another call will follow and the loss can be compiled."""
        plain, native = Way(True, is_kept), Way(False, is_kept)
        ways = [native, plain] if is_native else [plain, native]
        return [*ways, Way(True, False, data=False), Way(True, False)]

    def prepare(self, form: Form, way: Way) -> Run:
        """Return value and gradient, compiled at the first call with each shape and dtype."""
        xp = self._xp

        def scalar(leaves: Sequence[Any], arrays: Sequence[Any]) -> Any:
            value = self.call(form, way, leaves, arrays)
            return value if self.is_native(value) else xp.asarray(value, dtype=float)

        def run(leaves: list[Any], arrays: list[Any]) -> tuple[Any, list[Any]]:
            leaves = [xp.asarray(leaf) for leaf in leaves]
            if way.data:
                arrays = [xp.asarray(array) for array in arrays]
            differentiate = self._jax.value_and_grad(lambda leaves: scalar(leaves, arrays))
            result: tuple[Any, list[Any]] = differentiate(leaves)
            return result

        return self._jax.jit(run) if way.compiled else run

    def reason(self, error: Exception) -> str | None:
        """Return the reason why the loss cannot be traced, if the error shows one."""
        errors = self._jax.errors
        if isinstance(error, errors.TracerArrayConversionError):
            return f"it uses {self.arrays} as NumPy's: {LIBRARY_ADVICE}"
        branching = (
            errors.ConcretizationTypeError,
            errors.TracerIntegerConversionError,
            errors.NonConcreteBooleanIndexError,
        )
        if isinstance(error, branching):
            return (
                "what it does depends on the numbers in its arrays (an if, float(), a mask as an "
                "index), which are not known while it is compiled; write where, or use the "
                "backend autograd"
            )
        return None

"""JAX's arrays as traced arrays: `jax.numpy` by name, in NumPy's dtypes.

`jax.numpy` takes NumPy's arguments. This module handles three differences. JAX clamps an index out
of range; here it gives NaN, which ends in an error. ``argsort`` is always stable. Functions whose
result has a shape that depends on numbers are left out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np

from gradlab.arrays.ducks import DuckArray, DuckLibrary


def in_x64() -> AbstractContextManager[Any]:
    """Return a context in which JAX computes in 64 bits; older versions have it elsewhere."""
    home: Any = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    context: AbstractContextManager[Any] = home.enable_x64(True)
    return context


def _hermitian(a: Any, triangle: str) -> Any:
    """Return the matrix that NumPy reads from one triangle: the other has the derivative 0."""
    if triangle.upper() == "L":
        return jnp.tril(a) + jnp.conj(jnp.matrix_transpose(jnp.tril(a, -1)))
    return jnp.triu(a) + jnp.conj(jnp.matrix_transpose(jnp.triu(a, 1)))


def _hypot(x: Any, y: Any) -> Any:
    """`numpy.hypot`, whose derivative at 0 is 0."""
    is_zero = (x == 0) & (y == 0)
    return jnp.where(is_zero, 0.0, jnp.hypot(jnp.where(is_zero, 1.0, x), y))


NATIVES = {
    **vars(jnp),
    **{f"linalg.{name}": function for name, function in vars(jnp.linalg).items()},
    **{f"fft.{name}": function for name, function in vars(jnp.fft).items()},
    "argsort": lambda a, axis=-1, **options: jnp.argsort(a, axis=axis),
    "fix": jnp.trunc,
    "hypot": _hypot,
    "linalg.cholesky": lambda a, *, upper=False: jnp.linalg.cholesky(
        _hermitian(a, "U" if upper else "L"), upper=upper
    ),
    "linalg.eigh": lambda a, UPLO="L": jnp.linalg.eigh(_hermitian(a, UPLO), UPLO=UPLO),
}
"""The functions of `jax.numpy` by their names in NumPy."""

for _name in "nonzero flatnonzero argwhere unravel_index ravel_multi_index sinc".split():
    del NATIVES[_name]  # they do not work while compiling; sinc loses digits near 0


class JaxLibrary(DuckLibrary):
    """How NumPy's functions are evaluated on JAX's arrays."""

    takes_numbers = None

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is a JAX array or tracer."""
        return isinstance(value, jax.Array)

    def from_numpy(self, array: Any) -> Any:
        """Return NumPy's array as JAX's."""
        return jnp.asarray(array.astype(array.dtype.newbyteorder("="), copy=False))

    def to_numpy(self, native: Any) -> Any:
        """Return the numbers of an array that is not being compiled."""
        try:
            return np.array(jax.lax.stop_gradient(native))
        except jax.errors.UnexpectedTracerError:  # the loss has kept it; its trace is over
            while isinstance(native, jax.core.Tracer):
                native = native.primal
            return np.array(native)

    def dtype_of(self, native: Any) -> np.dtype[Any]:
        """Return the dtype, which is NumPy's."""
        dtype: np.dtype[Any] = np.dtype(native.dtype)
        return dtype

    def cast(self, native: Any, dtype: np.dtype[Any]) -> Any:
        """Return an array in another dtype."""
        if native.dtype.kind == "c" and dtype.kind != "c":
            native = jnp.real(native)
        return native.astype(dtype)

    def at(self, native: Any, index: tuple[Any, ...]) -> Any:
        """Return entries; NaN for those at an index that is not known and out of range."""
        if any(isinstance(part, jax.Array) for part in index) and native.dtype.kind in "fc":
            return native.at[index].get(mode="fill", fill_value=np.nan)
        return native[_checked(native.shape, index)]

    def put(self, native: Any, index: tuple[Any, ...], value: Any) -> Any:
        """Return an array with other entries at an index."""
        return native.at[_checked(native.shape, index)].set(value)

    def depends(self, native: Any) -> bool:
        """Tell whether an array may depend on the parameters: any traced array may."""
        return isinstance(native, jax.core.Tracer)

    def special(self, ufunc: Any) -> Any:
        """Return the function of jax.scipy.special of the name."""
        name = {"psi": "digamma", "_zeta": "zeta"}.get(ufunc.__name__, ufunc.__name__)
        return getattr(special, name, None)


def _checked(shape: tuple[int, ...], index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index that is in range, or raise NumPy's error."""
    if not any(isinstance(part, jax.Array) for part in index):
        np.broadcast_to(np.False_, shape)[index]
    return index


class JaxArray(DuckArray):
    """A NumPy array to the loss, JAX's array inside."""

    def __jax_array__(self) -> Any:
        return self.native


def _rebuilt(_: None, children: Any) -> JaxArray:
    # JAX may replace the array inside by an object that is not an array.
    return JaxArray(children[0])


# Functions that JAX compiles, most of `jax.numpy` among them, take it as a tree of one array.
jax.tree_util.register_pytree_node(JaxArray, lambda duck: ((duck.native,), None), _rebuilt)

LIBRARY = JaxLibrary("jax", JaxArray, NATIVES)
JaxArray.library = LIBRARY

"""What a backend is, and the few things that all of them share.

A backend is a small frozen object with a `name` and one method::

    backend.value_and_grad(loss)  ->  f
    f(params, *args, **keywords)  ->  (value, grads)

where `keywords.passing_keywords` passes keyword arguments on to the loss. A backend keeps three
laws. ``value == loss(params, *args)``, as a Python float. `grads` has the structure, shapes and
dtypes of `params` (float64 where these are integers) and belongs to the caller. The backend mutates
neither `params` nor `args`, and differentiates with respect to `params` only.

A backend may also have the attributes `repeatable` and `estimates` and the method
`equivalent_evaluations`, and the function that it returns the attribute `writes_out`. The trainer
and the comparison read these through the functions of the same names in this module, and nothing
else of a backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gradlab.arrays.places import place_of
from gradlab.arrays.read_only import is_write, write_refused
from gradlab.errors import LossError, NonFiniteError
from gradlab.params import Array, entry, first, read

Loss: TypeAlias = Callable[..., Any]
"""``loss(params, *args) -> scalar``: pure, real, finite."""

ValueAndGrad: TypeAlias = Callable[..., tuple[float, Any]]
"""``f(params, *args) -> (value, grads)``."""


@runtime_checkable
class Backend(Protocol):
    """A way to differentiate; see the module for its laws."""

    # A field, or a class attribute without an annotation; type checkers refuse a ClassVar.
    @property
    def name(self) -> str:
        """The name by which users select the backend."""

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return the function that evaluates `loss` and its gradient."""


def name_of(backend: Any) -> str:
    """Return the name of a backend, or that of its class if it has none."""
    return str(backend.name) if isinstance(backend, Backend) else type(backend).__name__


def differentiates(thing: Any) -> bool:
    """Tell whether an object has the method of a backend."""
    return callable(getattr(thing, "value_and_grad", None))


def repeatable(backend: Backend) -> Backend:
    """Return the backend with results that do not depend on earlier calls, to the last bit.

    A resumed training needs them. A backend whose results may depend on earlier calls, if only in
    their rounding, has this other one as its attribute `repeatable`.
    """
    return getattr(backend, "repeatable", backend)


def is_estimator(backend: Any) -> bool:
    """Tell whether a backend's gradients are right only on average: its attribute `estimates`."""
    return bool(getattr(backend, "estimates", False))


def equivalent_evaluations(backend: Any, p: int) -> int | None:
    """Return how many evaluations a gradient of p entries stands for, done or saved.

    None for a backend without this method.
    """
    count = getattr(backend, "equivalent_evaluations", None)
    return None if count is None else int(count(p))


def writes_out(function: ValueAndGrad) -> bool:
    """Tell whether a function of a backend takes ``out=``: its attribute `writes_out`.

    These are arrays in the structure, shapes and dtypes of the gradient, which is written there.
    """
    return bool(getattr(function, "writes_out", False))


def note_origin(error: Exception, origin: str) -> None:
    """Add a note to a user's exception: its origin, and the reason if it wrote into parameters."""
    wrote = "read-only" in str(error)
    error.add_note(f"raised by {origin}" + (", which must not write into them" if wrote else ""))


def raise_from_loss(error: Exception, place: str) -> NoReturn:
    """Raise an exception of the loss again, with a note that says where it was evaluated.

    A loss that writes into what it is given ends in NumPy's error about a read-only array. That
    becomes a `ReadOnlyError`, which is a ValueError, too.
    """
    note = f"raised by the loss at {place}"
    if is_write(error):
        wrote = write_refused(place_of(error.__traceback__))
        wrote.add_note(note)
        raise wrote from error
    error.add_note(note)
    raise error


def real_scalar(value: Any, place: str = "", what: str = "the loss") -> Any:
    """Return what a loss returned as a NumPy scalar, or say why it is not one real number."""
    array = read(value, what, LossError)
    where = f" at {place}" if place else ""
    if array.size != 1:
        raise LossError(
            f"{what} returned an array of shape {array.shape}{where}; "
            "return one number (for example the mean)"
        )
    if array.dtype.kind == "c":
        raise LossError(f"{what} returned the complex number {array}{where}; return a real one")
    if array.dtype.kind not in "fiu":
        raise LossError(f"{what} returned {value!r}{where}; return one real number")
    if not np.isfinite(array):
        raise NonFiniteError(f"{what} is {array}{where}")
    return array.reshape(())[()]


MAX_REPEAT_CHANGE = 1e-9
"""Relative change between two evaluations above which the loss counts as non-deterministic."""


def require_same_value(value: Any, again: Any, precision: float = 0.0) -> None:
    """Raise a LossError if a second evaluation of a loss gave another value.

    A difference of a few times the relative error of an evaluation is allowed, since sums may be
    taken in another order each time.
    """
    apart = abs(float(again) - float(value))
    if not apart <= max(MAX_REPEAT_CHANGE, 16 * precision) * abs(float(value)):
        raise LossError(
            f"the loss is not deterministic: evaluated twice at the same parameters, it differs by "
            f"{apart:.3g} from {float(value):.6g}; fix its seed, or pass what it draws (or keeps "
            "from one call to the next) as an argument"
        )


def finish_gradient(path: str, gradient: Any, leaf: Array) -> Array:
    """Return one leaf's gradient in the leaf's dtype, owned by the caller, finite or an error."""
    if np.shape(gradient) != leaf.shape:
        raise LossError(
            f"the derivative by {path} has the shape {np.shape(gradient)} instead of {leaf.shape}: "
            "a primitive of your own (autograd.extend) returns another shape than its argument has"
        )
    dtype = leaf.dtype if leaf.dtype.kind in "fc" else np.float64
    with np.errstate(over="ignore"):  # an overflow of the cast is reported just below
        result = np.array(gradient, dtype=dtype)
    if not np.isfinite(result).all():
        index = first(~np.isfinite(result))
        raise NonFiniteError(f"the gradient is {result[index]} at {entry(path, index)}")
    return result


def finish_gradients(
    paths: Sequence[str], gradients: Sequence[Any], leaves: Sequence[Array]
) -> list[Array]:
    """Apply `finish_gradient` to every leaf."""
    return [finish_gradient(*row) for row in zip(paths, gradients, leaves, strict=True)]

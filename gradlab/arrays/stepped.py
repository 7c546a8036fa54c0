"""Complex arrays that stand for real ones: the imaginary part is a step times a derivative.

A loss of real numbers x is evaluated at x + i h t, with h so small that h² vanishes. An analytic
function of it is NumPy's own function of complex numbers. A function that is analytic piece by
piece, such as ``max``, ``abs`` and comparisons, is decided by the real parts, which are the loss's
real numbers (`gradlab.arrays.stepped_rules`). NumPy itself compares complex numbers by the
imaginary part if the real parts are equal, and its absolute value is the modulus: both would be
silently wrong here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays import augmented as augmented  # registers itself
from gradlab.arrays import composites as composites  # registers them
from gradlab.arrays.conversions import number_of
from gradlab.arrays.dispatch import (
    COMPOSITES,
    Implementation,
    Library,
    Traced,
    call,
    is_traced,
    name_of,
)
from gradlab.arrays.places import place_of
from gradlab.arrays.rewriting import raise_if_rewritable
from gradlab.arrays.ufuncs import call_ufunc
from gradlab.errors import LossError

COMPLEX_STEP_ADVICE = "use autograd, or richardson, which takes any loss"

MAX_STEP_RATIO = 2.0**-166
"""Imaginary part, relative to the real one or 1, above which a number is not a step: √h."""


MAX_STEP_RATIO_SINGLE = 2.0**-30
"""The same where the loss computes in complex64, and takes a larger step."""


class Notes(set[str]):
    """Parts that a loss took of its numbers; alive as long as some of the numbers are."""

    single = False
    """Whether the loss has computed in complex64, in which the usual step is 0."""


class Stepped(Traced, np.ndarray):
    """A complex array that computes like the real array that it represents."""

    notes: Notes
    """Parts taken of it, such as the real one, that may lose the derivative."""

    def __array_finalize__(self, source: Any) -> None:
        notes = getattr(source, "notes", None)
        self.notes = Notes() if notes is None else notes

    def detached(self) -> Any:
        """Return the numbers without the step; see `gradlab.detach`."""
        return plain(self).real.copy()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Evaluate an analytic function on plain arrays; all intermediate numbers stay guarded."""
        found: Any = LIBRARY.find(ufunc)
        if found is not ufunc:
            _require_real(ufunc, inputs)
            return guarded(call_ufunc(LIBRARY, ufunc, method, inputs, options), self.notes)
        if method == "__call__" and any(type(out) is np.ndarray for out in options.get("out", ())):
            return guarded(call_ufunc(LIBRARY, ufunc, method, inputs, options), self.notes)
        if "out" in options:
            options["out"] = tuple(map(plain, options["out"]))
        return guarded(getattr(ufunc, method)(*map(plain, inputs), **options), self.notes)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Evaluate analytic functions by NumPy, all others by rules."""
        if kwargs.get("dtype") is not None:
            kwargs = {**kwargs, "dtype": complex_of(kwargs["dtype"])}
        if LIBRARY.find(function) is function:
            found = super().__array_function__(function, types, args, kwargs)
        else:
            _require_real(function, args)
            found = call(LIBRARY, function, args, kwargs)
        return guarded(found, self.notes)

    def __getitem__(self, key: Any) -> Any:
        """Keep a single entry an array."""
        return guarded(super().__getitem__(key), self.notes)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Cast to another precision, or to integers, which have no derivative."""
        if np.dtype(dtype).kind in "biu":
            return plain(self).real.astype(dtype)
        return guarded(super().astype(complex_of(dtype), *args, **kwargs), self.notes)

    @property  # type: ignore[misc]
    def real(self) -> Any:
        """The array itself; for complex numbers that the loss made itself, their real part."""
        if is_step(self):
            return self
        self.notes.add("the real part")
        return plain(self).real

    @property  # type: ignore[misc]
    def imag(self) -> Any:
        """The imaginary part."""
        self.notes.add("the imaginary part")
        return plain(self).imag

    def item(self, *args: Any) -> Any:
        """Return a Python number."""
        self.notes.add("item()")
        return super().item(*args)

    def tolist(self) -> Any:
        """Return Python numbers."""
        self.notes.add("tolist()")
        return super().tolist()

    def __format__(self, spec: str) -> str:
        # For display only: a number parsed from the text would have lost its derivative.
        return f"{format(plain(self).real[()], spec)}~" if spec else str(self)

    def __bool__(self) -> bool:
        return bool(plain(self).real)

    def __round__(self, digits: int = 0) -> Any:
        return np.round(self, digits)

    def __int__(self) -> int:
        return int(plain(self).real)

    def __float__(self) -> float:
        raise_if_rewritable(sys._getframe(1))
        return number_of(self, plain(self).real.item())

    @property
    def real_dtype(self) -> np.dtype[Any]:
        """The real dtype that the array represents."""
        dtype: np.dtype[Any] = plain(self).real.dtype
        return dtype

    # Used by a loss's own arrays when a traced array is written into them

    def write(self, new: Any, index: Any = ...) -> None:
        """Become another array, which differs only at an index."""
        self[index] = new[index]

    def _at(self, index: Any) -> Any:
        return self[index]

    def _put(self, index: Any, value: Any) -> Any:
        array = self.astype(np.result_type(self, complex_of(np.asarray(value).dtype)), copy=True)
        array[index] = value
        return array


def guarded(value: Any, notes: Notes) -> Any:
    """Make complex results `Stepped` again, including numbers and items of tuples and lists."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(guarded(item, notes) for item in value)
    if isinstance(value, (tuple, list)):
        return type(value)(guarded(item, notes) for item in value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "c":
        if value.dtype == np.complex64:
            notes.single = True
        view = np.asarray(value).view(Stepped)
        view.notes = notes
        return view
    return value


def plain(value: Any) -> Any:
    """Return a complex array without its rules."""
    return value.view(np.ndarray) if isinstance(value, Stepped) else value


def complex_of(dtype: Any) -> np.dtype[Any]:
    """Return the complex dtype that represents a real one."""
    given = np.dtype(dtype)
    return np.result_type(given, np.complex64) if given.kind == "f" else given


def is_step(value: Any) -> bool:
    """Tell whether the imaginary part is small enough to be a step times a derivative."""
    x = plain(value)
    notes = getattr(value, "notes", None)
    single = x.dtype == np.complex64 or (notes is not None and notes.single)
    largest = MAX_STEP_RATIO_SINGLE if single else MAX_STEP_RATIO
    return not np.any(np.abs(x.imag) > largest * np.maximum(1.0, np.abs(x.real)))


def _require_real(function: Any, args: Any) -> None:
    """Refuse functions decided by real parts on complex numbers that the loss made itself."""
    for arg in args:
        if isinstance(arg, (list, tuple)):
            _require_real(function, arg)
        elif isinstance(arg, Stepped) and not is_step(arg):
            raise LossError(
                f"complex-step: the loss calls {name_of(function)} of complex numbers "
                f"({place_of()}), which is not analytic: {COMPLEX_STEP_ADVICE}"
            )


# How functions are found


RULES: dict[Any, Implementation] = {}
"""Functions that are decided by real parts; see `gradlab.arrays.stepped_rules`."""

NOT_ANALYTIC = {
    *"clip ptp median percentile quantile sort partition unique nan_to_num interp unwrap".split(),
    *"nanmax nanmin nansum nanprod nancumsum nancumprod nanmean nanvar nanstd nanmedian".split(),
    *"nanpercentile nanquantile norm vector_norm matrix_norm var std vdot vecdot vecmat".split(),
    *"cov corrcoef correlate eigvalsh svdvals lstsq cond bincount histogram".split(),
}
"""Functions evaluated by composites, since NumPy's complex versions have another meaning."""


def _own(function: Any) -> Any:
    """Return the rule of a function, or NumPy's implementation if it is analytic."""
    if function in RULES:
        return RULES[function]
    if getattr(function, "__name__", "") in NOT_ANALYTIC and function in COMPOSITES:
        return COMPOSITES[function]
    if isinstance(function, np.ufunc):
        is_complex = any("D" in types or "F" in types for types in function.types)
        return function if is_complex and function not in COMPOSITES else None
    return function


class _SteppedLibrary(Library):
    """NumPy's functions on `Stepped` arrays."""

    def constant(self, traced: Any, value: Any) -> Any:
        """Return an array without a derivative."""
        return guarded(np.array(value, complex_of(np.asarray(value).dtype)), traced.notes)


LIBRARY = _SteppedLibrary("complex-step", _own)
Stepped.library = LIBRARY


def _by_function(function: Any) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: function(self, *args, **kwargs)


def _guarding(method: Any) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: guarded(method(self, *args, **kwargs), self.notes)


def _in_place(function: Any) -> Callable[..., None]:
    return lambda self, *args, **kwargs: self.__setitem__(..., function(self, *args, **kwargs))


for _name in ("sort", "partition"):
    setattr(Stepped, _name, _in_place(getattr(np, _name)))
for _name in """
    max min argmax argmin argsort argpartition searchsorted clip any all nonzero
    conj conjugate round var std
""".split():
    setattr(Stepped, _name, _by_function(getattr(np, _name)))
for _name in "dot trace take mean sum prod choose".split():
    setattr(Stepped, _name, _guarding(getattr(np.ndarray, _name)))


def values(value: Any) -> Any:
    """Return the real numbers that arrays represent, also inside lists and tuples."""
    if isinstance(value, Stepped):
        return plain(value).real
    if isinstance(value, (list, tuple)):
        return type(value)(map(values, value))
    return values(value.detached()) if is_traced(value) else value

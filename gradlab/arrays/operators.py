"""The operators of traced arrays, and their methods that are functions of NumPy."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import Traced, operand


class Operators(Traced):
    """The operators and methods of NumPy's that `TracedArray` has; they are added below."""

    shape: tuple[int, ...]

    write: Callable[[Any], None]  # represents another array of the same shape from then on
    _call: Callable[..., Any]  # the result of one of NumPy's functions on the array


def _method(function: Any) -> Callable[..., Any]:
    def method(self: Operators, *args: Any, **kwargs: Any) -> Any:
        return self._call(function, *args, **kwargs)

    method.__name__ = function.__name__
    method.__doc__ = f"Return ``np.{function.__name__}`` of the array."
    return method


METHODS = """
    all any argmax argmin argpartition argsort choose clip compress conj conjugate cumprod cumsum
    diagonal dot max mean min nonzero prod ravel repeat round searchsorted squeeze std sum
    swapaxes take trace var
""".split()

for _name in METHODS:
    setattr(Operators, _name, _method(getattr(np, _name)))


# Operators


def _in_place(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def operator(self: Operators, other: Any) -> Any:
        new = operation(self, other)
        if not self.shape:
            return new
        self.write(new)
        return self

    return operator


def _divmod(self: Any, other: Any) -> Any:
    return self // other, self % other


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "matmul": np.matmul,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
}
_COMPARE = {
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
_UNARY = {"neg": np.negative, "abs": np.absolute, "invert": np.invert}


_OBJECT = np.dtype(object)
_NUMBER_TYPES = {int, float, bool, complex, np.float64, np.float32}


def _binary(ufunc: Any, reflected: bool) -> Callable[[Any, Any], Any]:
    def operator(self: Operators, other: Any) -> Any:
        kind = type(other)
        if kind is np.ndarray:
            if other.dtype is _OBJECT:
                other = operand(other)
        elif kind is not type(self) and kind not in _NUMBER_TYPES:
            other = operand(other)
        implementation = self.library.found.get(ufunc) or self.library.find(ufunc)
        return implementation(other, self) if reflected else implementation(self, other)

    return operator


def _unary(ufunc: Any) -> Callable[[Any], Any]:
    return lambda self: self.library.find(ufunc)(self)


for _name, _ufunc in _BINARY.items():
    setattr(Operators, f"__{_name}__", _binary(_ufunc, reflected=False))
    setattr(Operators, f"__r{_name}__", _binary(_ufunc, reflected=True))
    setattr(Operators, f"__i{_name}__", _in_place(getattr(operator, f"__{_name}__")))
for _name, _ufunc in _COMPARE.items():
    setattr(Operators, f"__{_name}__", _binary(_ufunc, reflected=False))
for _name, _ufunc in _UNARY.items():
    setattr(Operators, f"__{_name}__", _unary(_ufunc))
setattr(Operators, "__divmod__", _divmod)  # noqa: B010  unknown to mypy
Operators.__round__ = lambda self, digits=0: np.round(self, digits)  # type: ignore[attr-defined]
Operators.__hash__ = object.__hash__  # type: ignore[method-assign]

"""How a native loss is evaluated: what `native` and the libraries' modules pass to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from gradlab.errors import GradlabError, ParameterError
from gradlab.params import Array

T = TypeVar("T")

Gradient: TypeAlias = list[Array | None]
"""A gradient leaf by leaf; None where the library says that the loss does not depend on a leaf."""


@dataclass(frozen=True, eq=False)  # to NumPy, the dtype None is float64
class NativeWay:
    """A way to evaluate a native loss."""

    # In which parameters and arguments are given to it; None for their own.
    dtype: np.dtype[Any] | None
    # Whether operations on numbers of two precisions compute in the wider one, where the library
    # would refuse them.
    widens: bool = False


FLOAT64 = NativeWay(np.dtype(np.float64))
OWN_DTYPE = NativeWay(None)


class Name(str):
    """The name of a parameter, such as ``0.weight``, which reports show unchanged."""

    __slots__ = ()

    def isidentifier(self) -> bool:
        """Return True, since `gradlab.params` puts other names in brackets and quotes."""
        return True


def named(names: Sequence[str], arrays: Sequence[Array]) -> dict[Name, Array]:
    """Return arrays by name."""
    return dict(zip(map(Name, names), arrays, strict=True))


def in_dtype(leaf: Array, dtype: np.dtype[Any] | None) -> Array:
    """Return an array of floats, or complex numbers, with the precision of a dtype."""
    if dtype is None:
        return leaf
    return leaf.astype(np.result_type(dtype, np.complex64) if leaf.dtype.kind == "c" else dtype)


def precision(way: NativeWay, leaves: Sequence[Array]) -> np.dtype[Any]:
    """Return the dtype in which the parameters of a way are perturbed."""
    return np.result_type(np.float32, *(in_dtype(leaf, way.dtype).real for leaf in leaves))


def first_that_works(
    ways: Sequence[NativeWay], attempt: Callable[[NativeWay], T]
) -> tuple[NativeWay, T, list[Exception]]:
    """Return the first way whose attempt raises no error, its result, and the earlier errors.

    Errors of gradlab, and that of the last way, are raised.
    """
    refusals: list[Exception] = []
    for way in ways:
        try:
            return way, attempt(way), refusals
        except GradlabError:
            raise
        except Exception as error:
            refusals.append(error)
    raise refusals[-1]


def matched(names: Sequence[str], found: dict[str, Any], what: str) -> list[Any]:
    """Return the values of a dict in the order of names, or say which are missing."""
    if missing := [name for name in names if name not in found]:
        raise ParameterError(f"{what} lacks {', '.join(missing)}")
    if extra := [name for name in found if name not in names]:
        raise ParameterError(f"{what} has {', '.join(extra)}, which the parameters lack")
    return [found[name] for name in names]

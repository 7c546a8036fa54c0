"""The table of primitives: a row per operation, with all its known properties.

`TABLE` maps a function to its `Primitive`. All code that interprets or rewrites a program reads
properties here instead of comparing functions: the recorder, the passes, the code generator, and
the engine that evaluates a program under perturbations. Each NumPy ufunc has a row. Other functions
have one if it makes programs faster. For the rest, `primitive_of` derives safe properties from the
module of the function.

To add a primitive, add its row with `define`::

    define(softplus, kind=Kind.ELEMENTWISE, out="keyword", pure=True, raises=False)

The perturbation engine adds its formulas to the rows in its own files, beside their derivations.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Literal

import numpy as np
from autograd.core import VSpace, sparse_add
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from autograd.numpy.numpy_wrapper import _array_from_scalar_or_array, concatenate_args

from gradlab.arrays.indexing import gather, is_basic, ungather
from gradlab.arrays.rules.composed import contract
from gradlab.program import stand_ins


class Kind(Enum):
    """How a result is computed from the operands."""

    ELEMENTWISE = auto()  # each entry from the operands' entries at the same position, broadcast
    REDUCTION = auto()  # entries along axes of the first operand combined into one
    PRODUCT = auto()  # sums of products of entries of two or more operands
    VIEW = auto()  # entries of the first operand rearranged, without a copy where possible
    GATHER = auto()  # entries of the first operand at arrays of indices
    SCATTER = auto()  # the adjoint of an index
    JOIN = auto()  # operands after the first, joined along an axis
    BROADCAST = auto()  # the first operand, repeated to a shape
    CAST = auto()  # the first operand in another dtype
    MASK = auto()  # a condition as bits
    KEEP = auto()  # an operand, or 0, by bits
    SELECT = auto()  # one of two operands, by bits
    OTHER = auto()


@dataclass(frozen=True)
class Primitive:
    """The properties of one operation."""

    kind: Kind = Kind.OTHER
    # The number of operands for which it is of this kind; None for any number.
    arity: int | None = None
    # The operands that enter the arithmetic, as start and stop of a slice. The others are axes,
    # shapes, indices, conditions.
    values: tuple[int, int | None] = (0, 1)
    # How it takes an output array: as the last positional argument, as ``out=``, or not at all.
    out: Literal["position", "keyword"] | None = None
    ufunc: np.ufunc | None = None  # for a reduction, the ufunc whose `reduce` it is, if any
    pure: bool = False  # whether it is deterministic and without side effects
    # Whether it may raise an error that depends on values; a function of the node if nodes differ.
    raises: bool | Callable[[Any], bool] = True
    # Whether the result shares no memory with the operands, and has a shape determined by them.
    fresh: bool = False
    narrows: bool = False  # whether it computes in float32 if its operands are float32
    converts: bool = False  # whether it first converts its operands to the dtype of the result
    like_python: bool = False  # whether it computes with integers below 64 bits as Python does
    varies: bool = False  # whether the shape of the result depends on values
    # Whether the change of the result depends only on the changes of the operands, not on their
    # values; a function of a sequence of bool (which operands change) if that decides it.
    linear: bool | Callable[[Sequence[bool]], bool] = False
    sides: bool = False  # whether the result depends on which of two operands is larger
    # The change of the result from the changes of the operands: `gradlab.gradients.perturb.changes`
    change: Callable[[Sequence[Any], Any], Any] | None = None
    # The same as a power series: see `gradlab.gradients.perturb.powers`.
    series: Callable[[Any, Any], Any] | None = None


TABLE: dict[Any, Primitive] = {}
"""The row of each function; see the module."""


def define(*functions: Any, **facts: Any) -> None:
    """Add rows to the table, or properties to rows.

    `facts` are fields of `Primitive`; others keep their value in the table, or the one that
    `primitive_of` derives. A function wrapped by ``autograd.extend.primitive`` is in programs, and
    in the table, as its attribute ``fun``.

    Examples
    --------
    >>> def cube(x, out=None):
    ...     return np.power(x, 3, out=out)
    >>> define(cube, kind=Kind.ELEMENTWISE, out="keyword", pure=True, raises=False)
    >>> primitive_of(cube).kind
    <Kind.ELEMENTWISE: 1>
    >>> del TABLE[cube]
    """
    for function in functions:
        TABLE[function] = replace(primitive_of(function), **facts)


def primitive_of(function: Any) -> Primitive:
    """Return the row of a function, or one derived from its module.

    A primitive that a user defines counts as impure, and as one that may raise an error.

    Examples
    --------
    >>> primitive_of(np.sum).ufunc
    <ufunc 'add'>
    >>> primitive_of(print).pure
    False
    """
    row = TABLE.get(function)
    return _derived(function) if row is None else row


def _derived(function: Any) -> Primitive:
    if isinstance(function, np.ufunc):
        is_elementwise = function.signature is None and function.nout == 1
        return Primitive(
            Kind.ELEMENTWISE if is_elementwise else Kind.OTHER,
            values=(0, None),
            out="position" if is_elementwise else None,
            pure=True,
            raises=all("O" in types for types in function.types),  # made by np.frompyfunc
            narrows=is_elementwise,
        )
    module = getattr(function, "__module__", None) or ""
    package = module.split(".")[0]
    return Primitive(
        pure=package in ("numpy", "_operator", "autograd") and "random" not in module,
        raises=module == "numpy.linalg" or package not in ("numpy", "autograd", "gradlab"),
    )


# Properties of nodes


def kind_of(node: Any) -> Kind:
    """Return the kind of a node's operation."""
    return primitive_of(node.primitive).kind


def is_elementwise(node: Any) -> bool:
    """Tell whether each entry of a node depends only on the operands' entries at its position."""
    row = primitive_of(node.primitive)
    return (
        row.kind is Kind.ELEMENTWISE
        and not node.keywords
        and row.arity in (None, len(node.operands))
    )


def may_raise(node: Any) -> bool:
    """Tell whether a node may raise an error that depends on the values of its operands.

    Such a node is evaluated even if its result is unused, because the loss raises the error, too.
    The adjoint of an index raises no error that the index itself does not raise.

    Examples
    --------
    >>> from gradlab.program.ir import Node
    >>> may_raise(Node(np.exp, (1.0,))), may_raise(Node(np.linalg.inv, (np.eye(2),)))
    (False, True)
    """
    raises = primitive_of(node.primitive).raises
    return raises(node) if callable(raises) else raises


DOT, FULL, MEAN = np.dot, np.full, np.mean
RESHAPE, SUM, TRANSPOSE = np.reshape, np.sum, np.transpose
"""NumPy's own functions, for comparison with the primitives of a program.

While any thread traces a loss, `gradlab.arrays.creation` replaces them in NumPy:
``node.primitive is np.sum`` is then false for a sum."""

EINSUMS = (np.einsum, contract.fun)
"""autograd's `einsum`, and what `np.einsum` on traced arrays comes to."""

# The rows

define(*dict.fromkeys(f for f in vars(np).values() if isinstance(f, np.ufunc)))
define(np.where, kind=Kind.ELEMENTWISE, arity=3, values=(1, None), fresh=True, narrows=True)
define(np.power, raises=lambda node: node.dtype is not None and node.dtype.kind in "iu")  # 2 ** -1
define(np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, converts=True)
define(np.maximum, np.minimum, out="keyword")  # deprecated by position
define(np.add, np.subtract, np.negative, linear=True)
define(np.multiply, linear=lambda changed: sum(changed) == 1)
define(np.divide, linear=lambda changed: not changed[1])
define(np.where, linear=lambda changed: not changed[0])
define(np.maximum, np.greater, np.greater_equal, np.less, np.less_equal, sides=True)
define(
    np.add, np.subtract, np.negative, np.absolute, np.floor_divide, np.remainder, like_python=True
)

for _function, _ufunc in (
    (np.sum, np.add),
    (np.prod, np.multiply),
    (np.max, np.maximum),
    (np.amax, np.maximum),
    (np.min, np.minimum),
    (np.amin, np.minimum),
    (np.all, np.logical_and),
    (np.any, np.logical_or),
):
    define(_function, kind=Kind.REDUCTION, ufunc=_ufunc, narrows=True)
define(np.mean, np.var, np.std, kind=Kind.REDUCTION)
define(np.sum, np.mean, linear=True)

define(np.matmul, kind=Kind.PRODUCT, values=(0, None), out="position", narrows=True)
define(np.dot, kind=Kind.PRODUCT, values=(0, None), out="position", narrows=True)
define(np.tensordot, kind=Kind.PRODUCT, values=(0, 2), fresh=True, narrows=True)
define(*EINSUMS, kind=Kind.PRODUCT, values=(1, None), fresh=True, narrows=True)
define(np.matmul, np.dot, *EINSUMS, linear=True)

define(np.reshape, np.ravel, np.transpose, np.swapaxes, kind=Kind.VIEW, narrows=True)
define(np.moveaxis, np.rollaxis, np.expand_dims, np.squeeze, kind=Kind.VIEW, narrows=True)
define(np.flipud, np.fliplr, np.real, operator.getitem, kind=Kind.VIEW, narrows=True)
define(*(f for f, row in TABLE.items() if row.kind is Kind.VIEW), linear=True)
define(operator.getitem, raises=lambda node: not is_basic(node.operands[1]))

define(gather.fun, kind=Kind.GATHER, pure=True, raises=True, fresh=True, narrows=True)
define(
    concatenate_args.fun,
    kind=Kind.JOIN,
    values=(1, None),
    out="position",
    fresh=True,
    narrows=True,
)
# np.array of one array, as np.stack calls it: a copy in the layout of its operand.
define(_array_from_scalar_or_array.fun, fresh=True)
define(np.broadcast_to, kind=Kind.BROADCAST, narrows=True)
define(np.astype, kind=Kind.CAST)

define(stand_ins.cancelled, ungather.fun, pure=True)
define(stand_ins.accumulate, stand_ins.scatter, stand_ins.add_sparse, pure=True, fresh=True)
define(stand_ins.scatter, kind=Kind.SCATTER)
define(stand_ins.bitmask, kind=Kind.MASK, pure=True)
define(stand_ins.keep, kind=Kind.KEEP, pure=True)
define(stand_ins.select, kind=Kind.SELECT, pure=True)
define(VSpace.mut_add.fun, sparse_add.fun, pure=False)  # they write into an operand
define(dot_adjoint_0.fun, dot_adjoint_1.fun, fresh=True)

define(np.inner, np.outer, np.kron, np.cumsum, np.sort, np.argsort, np.argmax, fresh=True)
define(np.argmin, np.tile, np.repeat, np.roll, np.triu, np.tril, np.pad, np.diff, fresh=True)
define(np.var, np.std, np.cross, np.count_nonzero, np.clip, np.nan_to_num, np.full, fresh=True)
define(np.linalg.solve, np.linalg.inv, np.linalg.det, np.linalg.cholesky, fresh=True)
define(np.linalg.slogdet, np.linalg.eigh, np.linalg.svd, np.linalg.qr, fresh=True)
define(np.linalg.pinv, np.linalg.norm, fresh=True)
define(np.linalg.norm, np.linalg.det, np.linalg.slogdet, raises=False)

define(np.take, np.take_along_axis, np.choose, np.bincount, np.repeat, np.digitize, raises=True)
define(np.quantile, np.percentile, np.unravel_index, np.ravel_multi_index, raises=True)
define(np.insert, np.delete, np.split, np.array_split, np.histogram, raises=True)
define(np.put_along_axis, np.linspace, np.array, raises=True)

define(np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress, varies=True)


# Sets derived from the table

VIEWS = frozenset(f for f, row in TABLE.items() if row.kind is Kind.VIEW)
"""Functions that rearrange the entries of their first operand, without a copy where possible."""

REDUCTIONS = {f: row.ufunc for f, row in TABLE.items() if row.kind is Kind.REDUCTION and row.ufunc}
"""Maps each function that is the ``reduce`` of a ufunc to this ufunc."""

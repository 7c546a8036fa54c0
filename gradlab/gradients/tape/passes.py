"""Make a program shorter without changing what it computes: each pass takes one, and returns one.

Most passes are *exact*: every bit of every output stays (a zero may change its sign). Some rewrite
floating-point arithmetic, which moves a result by a few units in the last place of its leaf's
largest entry: those that are listed in `INEXACT`. `optimise` applies them all, or the exact ones
alone, and keeps account of what each of them saved.

The rules of `simplify` are those of algebra that hold in floating point, too: a sign can be
taken through a product or a sum, x + 0 is x, a value that is only repeated need not be repeated
before it meets a full array. Round-off breaks the others (associativity, distributivity).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from autograd.numpy.numpy_wrapper import concatenate_args

from gradlab.arrays import rules
from gradlab.arrays.indexing import gather
from gradlab.gradients.tape.operations import (
    REDUCTIONS,
    VIEWS,
    accumulate,
    bitmask,
    cancelled,
    holders,
    is_elementwise,
    is_pure,
    keep,
    may_raise,
    select,
    toggle,
)
from gradlab.gradients.tape.program import Node, Program, reachable

Pass: TypeAlias = Callable[[Program], Program]
Rule: TypeAlias = Callable[[Node], Any]
"""Returns what stands for a node: the node itself, another, or a literal."""

BOOL = np.dtype(bool)


@dataclass(frozen=True)
class Saving:
    """What a pass did: how many operations there were before it, and after."""

    name: str
    before: int
    after: int
    exact: bool


def optimise(program: Program, *, exact: bool = False) -> tuple[Program, tuple[Saving, ...]]:
    """Apply the passes.

    Parameters
    ----------
    program : Program
        As it was recorded. The constants in it must be held by nobody else but those who have
        them for other reasons: see `own_constants`.
    exact : bool
        Whether to leave out what rewrites floating-point arithmetic.

    Returns
    -------
    Program
    tuple of Saving
        What each pass did, in order.
    """
    savings: list[Saving] = []

    def apply(step: Pass) -> None:
        nonlocal program
        before = len(program.nodes)
        program = step(program)
        is_exact = step not in (*INEXACT, drop_what_cancels)
        savings.append(Saving(step.__name__, before, len(program.nodes), is_exact))

    def settle() -> None:
        for _ in range(10):
            apply(merge_duplicates)
            before = program
            apply(simplify)
            if program is before:
                break

    cancel = keep_what_cancels if exact else drop_what_cancels
    first: tuple[Pass, ...] = (own_constants, cancel, remove_dead, lower)
    last: tuple[Pass, ...] = (lower, convert_beforehand, select_by_bits, merge_duplicates)
    for step in (*first, *(() if exact else INEXACT)):
        apply(step)
    settle()
    for step in last:
        apply(step)
    return program, tuple(savings)


# How a pass is made of a rule


def rewrite(program: Program, rule: Rule) -> Program:
    """Apply a rule to each node, after its operands have been replaced; drop what is not needed."""
    replaced: dict[Node, Any] = {}  # what is not itself any more

    def current(operand: Any) -> Any:
        return replaced.get(operand, operand) if isinstance(operand, Node) else operand

    for node in program.nodes:
        adapted = node
        if replaced and any(isinstance(o, Node) and o in replaced for o in node.operands):
            adapted = node.on(tuple(map(current, node.operands)))
        result = rule(adapted)
        if result is not node:
            replaced[node] = result
    return rebuild(program, current) if replaced else program


def rebuild(program: Program, current: Callable[[Any], Any]) -> Program:
    """Return the program whose outputs and guards are replaced so.

    What nothing needs is dropped, unless it may raise an error: then the loss raises it, too.
    """
    outputs = tuple(map(current, program.outputs))
    guards = [replace(guard, node=current(guard.node)) for guard in program.guards]
    left = tuple(guard for guard in guards if isinstance(guard.node, Node))
    kept = [current(node) for node in program.nodes if may_raise(node)]
    roots = (*(guard.node for guard in left), *outputs, *kept)
    return Program(program.inputs, reachable(program.inputs, roots), outputs, left)


def remove_dead(program: Program) -> Program:
    """Drop what no output needs and what raises no errors."""
    return rebuild(program, lambda operand: operand)


def merge_duplicates(program: Program) -> Program:
    """Compute the same thing once: common subexpressions."""
    seen: dict[Any, Node] = {}

    def rule(node: Node) -> Node:
        if not is_pure(node.primitive):
            return node
        keywords = tuple((key, _identity(value)) for key, value in sorted(node.keywords.items()))
        key = (node.primitive, tuple(map(_identity, node.operands)), keywords)
        return seen.setdefault(key, node)

    return rewrite(program, rule)


def _identity(operand: Any) -> Any:
    """Return a key that is the same for operands that are, and can be told to be, the same."""
    if isinstance(operand, (tuple, list)):
        return type(operand), tuple(map(_identity, operand))
    if isinstance(operand, slice):
        return slice, _identity((operand.start, operand.stop, operand.step))
    if operand is None or isinstance(operand, (bool, int, str, np.dtype, type)):
        return type(operand), operand
    if isinstance(operand, (float, complex, np.generic)):
        return type(operand), repr(operand)  # 0.0 is not -0.0, and nan is nan
    return Node, id(operand)


def inline_constants(program: Program) -> Program:
    """Take a constant itself, not the node that lets it be traced beside another value."""
    made = rules.constant_primitive.fun
    return rewrite(program, lambda node: node.operands[1] if node.primitive is made else node)


def own_constants(program: Program) -> Program:
    """Say of a constant array that it is uniform, where nobody can change it any more.

    autograd's derivatives are full of arrays of zeros to broadcast against. An array that the
    loss closes over looks the same, but its owner may write into it between two calls, and then
    the program has to see it. They differ in who holds them: nobody but the program holds the
    former, which their count of references tells.
    """
    held: dict[int, tuple[list[Any], int]] = {}
    for operand in (operand for node in program.nodes for operand in node.operands):
        if type(operand) is np.ndarray and operand.ndim and operand.base is None:
            held[id(operand)] = [operand], held.get(id(operand), (None, 0))[1] + 1
    operand = None
    uniform: dict[int, Node] = {}
    for key in list(held):
        box, count = held.pop(key)
        if box[0].size and _is_uniform(box[0]):
            value, shape, dtype = box[0].flat[0], box[0].shape, box[0].dtype
            if holders(box) <= count:
                uniform[key] = Node(np.full, (shape, value), {}, shape, dtype)

    def rule(node: Node) -> Node:
        operands = tuple(uniform.get(id(operand), operand) for operand in node.operands)
        same = all(map(operator.is_, operands, node.operands))
        same = same or not is_elementwise(node)  # a shape or an index stays as it is
        return node if same else node.on(operands)

    return rewrite(program, rule)


def _is_uniform(array: Any) -> bool:
    bits = array.view(f"V{array.itemsize}") if array.flags.c_contiguous else array
    return bool((bits == bits.flat[0]).all())


# Lowering


def lower(program: Program) -> Program:
    """Express a few functions by simpler ones, as they are defined."""
    return rewrite(program, _lower)


def _lower(node: Node) -> Any:
    primitive, operands = node.primitive, node.operands
    if primitive is np.mean and set(node.keywords) <= {"axis", "keepdims"} and len(operands) <= 2:
        return _lower_mean(node)
    if primitive is accumulate and {_dtype(o) for o in operands} == {node.dtype}:
        return replace(node, primitive=np.add)
    if primitive in (dot_adjoint_0.fun, dot_adjoint_1.fun):
        return _lower_adjoint_of_dot(node)
    if primitive is np.matmul and not node.keywords and _is_product_of_matrices(node):
        # The same call of BLAS, with less about it; several times as fast for an outer product.
        return replace(node, primitive=np.dot)
    if primitive is np.reshape and len(operands) > 1 and isinstance(operands[1], np.ndarray):
        shape = tuple(map(int, operands[1]))
        return replace(node, operands=(operands[0], shape, *operands[2:]))
    return node


def _is_product_of_matrices(node: Node) -> bool:
    return node.dtype in (np.float32, np.float64) and all(
        isinstance(operand, Node)
        and operand.shape is not None
        and len(operand.shape) == 2
        and operand.dtype == node.dtype
        for operand in node.operands
    )


def _lower_mean(node: Node) -> Node:
    x, *axis = node.operands
    keywords = {"axis": axis[0] if axis else None, **node.keywords}
    if not (isinstance(x, Node) and x.dtype in (np.float32, np.float64) and node.dtype == x.dtype):
        return node
    count = size(x) // max(size(node), 1)
    total = replace(node, primitive=np.sum, operands=(x,), keywords=keywords)
    return binary(np.divide, total, count, node)


def _lower_adjoint_of_dot(node: Node) -> Node:
    """Write the adjoint of a product of matrices as a product with the other one transposed."""
    other, g, a_meta, b_meta = node.operands
    if not (isinstance(g, Node) and a_meta[1] == b_meta[1] == 2):
        return node
    dtype = np.result_type(*(_dtype(operand) for operand in (other, g)))
    if node.primitive is dot_adjoint_0.fun:
        product = Node(np.dot, (g, transposed(other)), {}, node.shape, dtype)
    else:
        assert node.shape is not None
        flipped = Node(np.dot, (transposed(g), other), {}, node.shape[::-1], dtype)
        product = transposed(flipped)
    return product if dtype == node.dtype else cast(product, node.dtype)


# Algebra that is exact


def simplify(program: Program) -> Program:
    """Drop identities, take signs outside, and repeat values as late as possible."""
    return rewrite(program, _simplify)


def _simplify(node: Node) -> Any:
    if node.shape is None or node.dtype is None or not is_pure(node.primitive):
        return node
    for rule in (_fold, _identities, _signs, _repeats, _branches):
        result = rule(node)
        if isinstance(result, Node) and result is not node and result.primitive is not None:
            return _simplify(result)
        if result is not node:
            return result
    return node


def _fold(node: Node) -> Any:
    """Compute at once what depends on numbers alone, or on uniform arrays."""
    if is_uniform(node.operands[0]) and (
        node.primitive is np.broadcast_to
        or (node.primitive in VIEWS and not any(isinstance(o, Node) for o in node.operands[1:]))
    ):
        return full(number(node.operands[0]), node)
    if not is_elementwise(node):
        return node
    if all(is_number(operand) for operand in node.operands):
        return _evaluated(node, node.operands)
    if all(is_number(operand) or is_uniform(operand) for operand in node.operands):
        value = _evaluated(node, [number(operand) for operand in node.operands])
        return node if value is node else full(value, node)
    # A uniform array counts as a number where the others have the full shape.
    others = [shape_of(operand) for operand in node.operands if not is_uniform(operand)]
    if any(map(is_uniform, node.operands)) and np.broadcast_shapes(*others) == node.shape:
        operands = tuple(number(o) if is_uniform(o) else o for o in node.operands)
        return node.on(operands)
    return node


def _evaluated(node: Node, operands: Iterable[Any]) -> Any:
    with np.errstate(all="ignore"):
        value = np.asarray(node.evaluate(*operands))[()]
    return value if value.dtype == node.dtype else node


def _identities(node: Node) -> Any:
    """Drop x + 0, x · 1, x / 1, a sum of one term, the same shape again."""
    primitive, operands = node.primitive, node.operands
    x = operands[0]
    if primitive in (np.add, np.subtract, np.multiply, np.divide, np.true_divide):
        neutral = 0 if primitive in (np.add, np.subtract) else 1
        pairs = [(x, operands[1])]
        if primitive in (np.add, np.multiply):
            pairs.append((operands[1], x))
        for kept, other in pairs:
            if is_constant(other, neutral) and _dtype(kept) == node.dtype:
                return repeat(kept, node.shape)
    if not isinstance(x, Node):
        return node
    is_same = node.shape == x.shape and node.dtype == x.dtype
    if primitive in REDUCTIONS and _is_plain_reduction(node) and node.dtype == x.dtype:
        if is_same:
            return x
        if node.shape and size(node) == size(x):  # along axes of length 1
            return replace(node, primitive=np.reshape, operands=(x, node.shape), keywords={})
    if primitive in (np.reshape, np.swapaxes, np.transpose) and node.shape == x.shape:
        if primitive is np.reshape and _is_c_order(node):
            return x
        if primitive is np.swapaxes and operands[1:] and len(set(operands[1:])) == 1:
            return x
    if primitive is x.primitive is np.swapaxes and not (node.keywords or x.keywords):
        return x.operands[0] if set(operands[1:]) == set(x.operands[1:]) else node
    if primitive is np.real and x.dtype is not None and x.dtype.kind == "f":
        return x
    if primitive is np.astype and node.dtype == x.dtype:
        return x
    if primitive is np.negative and x.primitive is np.negative:
        return x.operands[0]
    return node


def _signs(node: Node) -> Any:
    """Take a minus sign outside, unless it would be put on a larger array."""
    primitive, operands = node.primitive, node.operands
    inner = [unsigned(operand) for operand in operands]
    if primitive is np.negative:
        return _negated(node, operands[0])
    if primitive in (np.add, np.subtract) and any(i is not None for i in inner):
        (a, b), (p, q) = operands, inner
        minus = np.subtract if primitive is np.add else np.add
        if q is not None:
            return binary(minus, a, q, node)  # a - (-q) = a + q
        if primitive is np.add:
            return binary(np.subtract, b, p, node)  # -p + b
    if primitive in (np.multiply, np.divide, np.true_divide):
        (a, b), (p, q) = operands, inner
        if p is not None and is_number(b) and _can_negate(b):
            return binary(primitive, p, -b, node)
        if q is not None and is_number(a) and _can_negate(a):
            return binary(primitive, -a, q, node)
        if p is not None and q is not None:
            return binary(primitive, p, q, node)
        if p is not None and size(node) <= size(p):
            return negative(binary(primitive, p, b, node))
        if q is not None and size(node) <= size(q):
            return negative(binary(primitive, a, q, node))
    if primitive is np.sum and inner[0] is not None and _is_plain_reduction(node):
        return negative(replace(node, operands=(inner[0], *operands[1:])))
    if primitive in VIEWS and inner[0] is not None and size(node) <= size(inner[0]):
        return negative(replace(node, operands=(inner[0], *operands[1:])))
    return node


def _negated(node: Node, x: Any) -> Any:
    if not isinstance(x, Node) or node.dtype is None or node.dtype.kind != "f":
        return node
    if x.primitive is np.subtract:
        return binary(np.subtract, x.operands[1], x.operands[0], node)
    if x.primitive in (np.multiply, np.divide, np.true_divide):
        for position, operand in enumerate(x.operands):
            if is_number(operand) and _can_negate(operand):
                operands = list(x.operands)
                operands[position] = -operand
                return replace(x, operands=tuple(operands))
    return node


def _repeats(node: Node) -> Any:
    """Compute with a value before it is repeated, or without repeating it at all."""
    if node.primitive is np.broadcast_to or not is_elementwise(node):
        return node
    repeated = [is_repeated(operand) for operand in node.operands]
    if not any(repeated):
        return node
    small = tuple(
        operand.operands[0] if again else operand
        for operand, again in zip(node.operands, repeated, strict=True)
    )
    shape = np.broadcast_shapes(*map(shape_of, small))
    smaller = replace(node, operands=small, shape=shape)
    return smaller if shape == node.shape else repeat(smaller, node.shape)


def _branches(node: Node) -> Any:
    """Merge branches on the same condition."""
    if node.primitive is np.where and is_elementwise(node):
        c, a, b = node.operands
        if a is b and isinstance(a, Node) and a.shape == node.shape and a.dtype == node.dtype:
            return a
        inner = [_branch_of(a, c), _branch_of(b, c)]
        kept = inner[0][0] if inner[0] else a, inner[1][1] if inner[1] else b
        if any(inner) and _dtype_of_all(kept) == node.dtype:
            return replace(node, operands=(c, *kept))
        p, q = unsigned(a), unsigned(b)
        if p is not None and q is not None:
            return negative(replace(node, operands=(c, p, q)))
        if p is not None and is_constant(b, 0) and size(node) <= size(p):
            return negative(replace(node, operands=(c, p, b)))
        if q is not None and is_constant(a, 0) and size(node) <= size(q):
            return negative(replace(node, operands=(c, a, q)))
        return _magnitude(_clamped(node))
    if node.primitive in (np.add, np.subtract):
        return _sum_of_branches(node)
    return node


def _sum_of_branches(node: Node) -> Any:
    """where(c, a, 0) + where(c, 0, b) is where(c, a, b)."""
    x, y = node.operands
    if not (is_branch(x) and is_branch(y) and x.operands[0] is y.operands[0]):
        return node
    c, a, b = x.operands
    _, p, q = y.operands
    if is_constant(b, 0) and is_constant(p, 0):
        kept = a, q if node.primitive is np.add else _negative_of(q)
    elif is_constant(a, 0) and is_constant(q, 0):
        kept = p if node.primitive is np.add else _negative_of(p), b
    else:
        return node
    shape = np.broadcast_shapes(shape_of(c), *map(shape_of, kept))
    if shape != node.shape or _dtype_of_all(kept) != node.dtype:
        return node
    return Node(np.where, (c, *kept), {}, node.shape, node.dtype)


def _clamped(node: Node) -> Node:
    """where(x > 1, x, 1) is max(x, 1); of 0, the branch is kept, whose bits are quicker."""
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.primitive in (np.greater_equal, np.greater)):
        return node
    x, bound = c.operands
    is_clamp = is_number(bound) and is_number(b) and x is a and bound == b != 0
    if is_clamp and _dtype(x) == node.dtype and shape_of(x) == node.shape:
        return replace(node, primitive=np.maximum, operands=(x, b))
    return node


def _magnitude(node: Node) -> Any:
    """where(x >= 0, -x, x) is -|x|."""
    if node.primitive is not np.where:
        return node
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.primitive in (np.greater_equal, np.greater)):
        return node
    x, zero = c.operands
    is_magnitude = is_constant(zero, 0) and b is x and unsigned(a) is x
    if is_magnitude and _dtype(x) == node.dtype and shape_of(x) == node.shape:
        return negative(replace(node, primitive=np.absolute, operands=(x,)))
    return node


def _branch_of(operand: Any, condition: Any) -> tuple[Any, Any] | None:
    if is_branch(operand) and operand.operands[0] is condition:
        return operand.operands[1], operand.operands[2]
    return None


# Floating-point arithmetic that is rewritten


def keep_float32(program: Program) -> Program:
    """Compute in float32 what only numbers, booleans and integers made float64.

    autograd's derivatives of `max`, `where` and the like multiply by booleans, counts and zeros of
    their own, and NumPy makes float64 of that; with it the rest of the backward pass is in double
    precision, products of matrices and all. Where a float64 array of the user's takes part (an
    input, a captured array, a cast), the float64 stays.
    """
    if not any(node.dtype == np.float32 for node in program.inputs):
        return program
    narrow: dict[Node, bool | None] = {}  # None: has no precision of its own
    replaced: dict[Node, Any] = {}
    counterparts: dict[Node, Node] = {}

    def precision(operand: Any) -> bool | None:
        """Return True where float32 is all there is, None where there is nothing to lose."""
        if isinstance(operand, Node):
            return narrow[operand]
        dtype = getattr(operand, "dtype", None)
        if isinstance(operand, np.ndarray) and dtype is not None and dtype.kind in "fc":
            return bool(dtype == np.float32)
        return None

    def own(node: Node) -> bool | None:
        if node.dtype is None or node.dtype.kind not in "fc":
            return None
        if node.primitive is np.full:
            return None
        if node.primitive is None or not _is_narrowable(node):
            return node.dtype == np.float32
        found = [precision(operand) for operand in node.operands]
        return None if set(found) <= {None} else False not in found

    def current(operand: Any) -> Any:
        return replaced.get(operand, operand) if isinstance(operand, Node) else operand

    def narrowed(operand: Any) -> Any:
        """Return an operand as one that leaves a float32 a float32."""
        if isinstance(operand, Node):
            if operand.dtype == np.float64 and narrow[operand] is None:
                return in_float32(operand)
            operand = current(operand)
            wide = operand.dtype is not None and operand.dtype.kind in "iuf"
            return cast(operand, FLOAT32) if wide and operand.dtype != np.float32 else operand
        if isinstance(operand, np.generic) and operand.dtype.kind in "iuf":
            return np.float32(operand)
        if isinstance(operand, np.ndarray) and operand.ndim and operand.dtype.kind in "iu":
            return operand.astype(np.float32)
        return operand

    def in_float32(node: Node) -> Any:
        """Compute in float32 what has no precision of its own."""
        if node not in counterparts:
            if node.primitive is np.full:
                shape, value = node.operands
                operands: tuple[Any, ...] = shape, np.float32(value)
            else:
                positions = _values_of(node)
                operands = tuple(
                    literally(operand) if position in positions else current(operand)
                    for position, operand in enumerate(node.operands)
                )
            counterparts[node] = replace(node, operands=operands, dtype=FLOAT32)
        return counterparts[node]

    def literally(operand: Any) -> Any:
        """Return an operand as float32, where there is no float32 beside it to decide."""
        if isinstance(operand, Node) and operand.dtype == BOOL:
            return cast(operand, FLOAT32)
        return np.float32(operand) if is_number(operand) else narrowed(operand)

    for node in program.inputs:
        narrow[node] = own(node)
    for node in program.nodes:
        narrow[node] = own(node)
        operands = tuple(map(current, node.operands))
        if node.dtype == np.float64 and narrow[node]:
            positions = _values_of(node)
            operands = tuple(
                narrowed(operand) if position in positions else current(operand)
                for position, operand in enumerate(node.operands)
            )
            replaced[node] = replace(node, operands=operands, dtype=FLOAT32)
        else:
            widened = tuple(
                cast(new, old.dtype)
                if isinstance(old, Node) and new.dtype != old.dtype and node.dtype != BOOL
                else new
                for new, old in zip(operands, node.operands, strict=True)
            )
            same = all(new is old for new, old in zip(widened, node.operands, strict=True))
            replaced[node] = node if same else replace(node, operands=widened)
    return rebuild(program, current)


FLOAT32 = np.dtype(np.float32)


def _is_narrowable(node: Node) -> bool:
    """Tell whether a primitive computes in float32 when its operands are."""
    if node.keywords.get("dtype") is not None:
        return False
    if is_elementwise(node) or node.primitive in (np.matmul, np.dot, np.einsum, np.tensordot):
        return True
    return (
        node.primitive in VIEWS
        or node.primitive in REDUCTIONS
        or node.primitive in (np.broadcast_to, concatenate_args.fun, gather.fun)
    )


def _values_of(node: Node) -> range:
    """Return the positions of the operands whose values are computed with."""
    count = len(node.operands)
    if node.primitive is np.where:
        return range(1, count)
    if is_elementwise(node) or node.primitive in (np.matmul, np.dot):
        return range(count)
    if node.primitive is np.tensordot:
        return range(2)
    if node.primitive in (np.einsum, concatenate_args.fun):
        return range(1, count)
    return range(1)


def drop_what_cancels(program: Program) -> Program:
    """Take derivatives for zero of which the recorder knows that they are: see `invariance`."""
    return rewrite(program, lambda node: full(0.0, node) if node.primitive is cancelled else node)


def keep_what_cancels(program: Program) -> Program:
    """Compute the derivatives that `drop_what_cancels` would drop."""
    return rewrite(program, lambda node: node.operands[0] if node.primitive is cancelled else node)


def expand_powers(program: Program) -> Program:
    """Multiply, divide or take a root instead of calling `power`, where the exponent allows it.

    x², 1/x, √x are correctly rounded then, which `power` is not always: a unit in the last place.
    """
    return rewrite(program, _expand_power)


def _expand_power(node: Node) -> Any:
    if node.primitive is not np.power or not is_elementwise(node):
        return node
    x, exponent = node.operands
    if not (isinstance(x, Node) and is_number(exponent) and x.dtype == node.dtype):
        return node
    if node.dtype is None or node.dtype.kind != "f" or x.shape != node.shape:
        return node
    square = binary(np.multiply, x, x, node)
    match float(exponent):
        case 1.0:
            return x
        case 2.0:
            return square
        case 3.0:
            return binary(np.multiply, square, x, node)
        case 4.0:
            return binary(np.multiply, square, square, node)
        case 0.5:
            return replace(node, primitive=np.sqrt, operands=(x,))
        case -0.5:
            return binary(np.divide, 1.0, replace(node, primitive=np.sqrt, operands=(x,)), node)
        case -1.0:
            return binary(np.divide, 1.0, x, node)
        case -2.0:
            return binary(np.divide, 1.0, square, node)
    return node


def transpose_factors(program: Program) -> Program:
    """Write the transpose of a product as the product of the transposes, (AB)ᵀ = BᵀAᵀ.

    autograd's derivative of `dot` ends in a transpose, which would have to be copied. BLAS may go
    through the sums in another order.
    """
    return rewrite(program, _transpose_factors)


def _transpose_factors(node: Node) -> Any:
    if node.primitive is not np.swapaxes or node.keywords or set(node.operands[1:]) != {0, 1}:
        return node
    product = node.operands[0]
    if not (isinstance(product, Node) and product.primitive is np.dot):
        return node
    if not _is_product_of_matrices(product):
        return node
    a, b = product.operands
    return _simplify(binary(np.dot, _simplify(transposed(b)), _simplify(transposed(a)), node))


def sum_by_products(program: Program) -> Program:
    """Sum the rows or columns of a matrix as a product with ones, several times as fast.

    BLAS adds in another order; NumPy adds columns one after the other, and rows pairwise, whose
    error grows more slowly with their length (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2nd ed., 2002, section 4.2): long ones stay with it.
    """
    return rewrite(program, _sum_by_product)


LONGEST_SUM = 4096


def _sum_by_product(node: Node) -> Any:
    if node.primitive is not np.sum or not _is_plain_reduction(node):
        return node
    x, *axes = node.operands
    axis = axes[0] if axes else node.keywords.get("axis")
    if not (isinstance(x, Node) and x.shape and len(x.shape) == 2 and type(axis) is int):
        return node
    n, k = x.shape
    if x.dtype not in (np.float32, np.float64) or node.dtype != x.dtype or not max(n, k) > 0:
        return node
    keepdims = bool(node.keywords.get("keepdims"))
    length = k if axis in (1, -1) else n
    if not 1 < length <= LONGEST_SUM:  # a sum of one term is a view: see `_identities`
        return node
    shape: tuple[int, ...] = (length,)
    if keepdims:
        shape = (length, 1) if axis in (1, -1) else (1, length)
    ones = Node(np.full, (shape, x.dtype.type(1)), {}, shape, x.dtype)
    factors = (x, ones) if axis in (1, -1) else (ones, x)
    return Node(np.dot, factors, {}, node.shape, node.dtype)


INEXACT: tuple[Pass, ...] = (keep_float32, expand_powers, transpose_factors, sum_by_products)


# Converting, and selecting by bits


def convert_beforehand(program: Program) -> Program:
    """Convert an operand once and as a whole, where NumPy would do so piece by piece."""
    return rewrite(program, _convert_beforehand)


def _convert_beforehand(node: Node) -> Any:
    counts = node.primitive is np.sum and node.dtype is not None and node.dtype.kind in "iu"
    if not counts and not (node.primitive in ARITHMETIC and is_elementwise(node)):
        return node
    operands = tuple(
        cast(operand, node.dtype)
        if isinstance(operand, Node) and operand.dtype != node.dtype
        else operand
        for operand in node.operands
    )
    same = all(new is old for new, old in zip(operands, node.operands, strict=True))
    return node if same else node.on(operands)


ARITHMETIC = {np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum}
"""Functions that convert their operands to the dtype of their result."""


def select_by_bits(program: Program) -> Program:
    """Do a branch an entry with the logic of bits instead: see `operations.keep`."""
    return rewrite(program, _select_by_bits)


def _select_by_bits(node: Node) -> Any:
    if node.primitive is not np.where or not is_elementwise(node):
        return node
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.dtype == BOOL and c.shape == node.shape and node.shape):
        return node
    if node.dtype not in (np.float32, np.float64):
        return node
    if not all(_fits(z, node) for z in (a, b)):
        return node
    a, b = (z if isinstance(z, Node) else node.dtype.type(z) for z in (a, b))
    width = node.dtype.itemsize
    if is_constant(b, 0):
        return replace(node, primitive=keep, operands=(a, _bitmask(c, width)))
    if is_constant(a, 0):
        mask = _bitmask(c, width)
        inverse = Node(np.invert, (mask,), {}, mask.shape, mask.dtype)
        return replace(node, primitive=keep, operands=(b, inverse))
    mask = _bitmask(c, width)
    if unsigned(a) is b:
        assert mask.dtype is not None
        sign = mask.dtype.type(np.iinfo(mask.dtype).min)
        changed = Node(np.bitwise_and, (mask, sign), {}, mask.shape, mask.dtype)
        return replace(node, primitive=toggle, operands=(b, changed))
    return replace(node, primitive=select, operands=(mask, a, b))


def _bitmask(condition: Node, width: int) -> Node:
    return Node(bitmask, (condition, width), {}, condition.shape, np.dtype(f"i{width}"))


def _fits(operand: Any, node: Node) -> bool:
    """Tell whether an operand is a number, or an array of the node's dtype and shape."""
    if is_number(operand):
        return True
    return isinstance(operand, Node) and operand.dtype == node.dtype and operand.shape == node.shape


# Pieces of programs


def binary(primitive: Any, a: Any, b: Any, like: Node) -> Node:
    """Return ``primitive(a, b)`` with the shape and dtype of a node that it stands for."""
    return Node(primitive, (a, b), {}, like.shape, like.dtype)


def full(value: Any, like: Node) -> Node:
    """Return an array of one number, with the shape and dtype of a node that it stands for."""
    return Node(np.full, (like.shape, value), {}, like.shape, like.dtype)


def negative(x: Node) -> Node:
    """Return −x."""
    return Node(np.negative, (x,), {}, x.shape, x.dtype)


def _negative_of(x: Any) -> Any:
    return negative(x) if isinstance(x, Node) else -x


def transposed(x: Any) -> Any:
    """Return a matrix with its axes swapped."""
    if not isinstance(x, Node):
        return x.T
    assert x.shape is not None
    return Node(np.swapaxes, (x, 0, 1), {}, x.shape[::-1], x.dtype)


def cast(x: Node, dtype: np.dtype[Any] | None) -> Node:
    """Return x in another dtype."""
    return Node(np.astype, (x, dtype), {}, x.shape, dtype)


def repeat(x: Any, shape: tuple[int, ...] | None) -> Any:
    """Return x broadcast to a shape, or itself where it has that already."""
    if shape_of(x) == shape:
        return x
    if is_uniform(x):
        return replace(x, operands=(shape, number(x)), shape=shape)
    return Node(np.broadcast_to, (x, shape), {}, shape, _dtype(x))


def is_repeated(operand: Any) -> bool:
    """Tell whether an operand is a value that is broadcast."""
    return isinstance(operand, Node) and operand.primitive is np.broadcast_to


def is_branch(operand: Any) -> bool:
    """Tell whether an operand is ``where(c, a, b)``."""
    return isinstance(operand, Node) and operand.primitive is np.where and is_elementwise(operand)


def is_number(operand: Any) -> bool:
    """Tell whether an operand is a literal number, which cannot change."""
    return isinstance(operand, (bool, int, float, complex, np.number, np.bool_))


def is_uniform(operand: Any) -> bool:
    """Tell whether an operand is an array of one number, which cannot change."""
    return isinstance(operand, Node) and operand.primitive is np.full


def number(operand: Any) -> Any:
    """Return the number that a literal or a uniform array consists of."""
    return operand.operands[1] if isinstance(operand, Node) else operand


def is_constant(operand: Any, value: float) -> bool:
    """Tell whether an operand is this number, or an array of nothing else."""
    return (is_number(operand) or is_uniform(operand)) and bool(number(operand) == value)


def unsigned(operand: Any) -> Any:
    """Return x for an operand that is −x in floating point, else None."""
    if not (isinstance(operand, Node) and operand.primitive is np.negative and operand.dtype):
        return None
    return operand.operands[0] if operand.dtype.kind == "f" and not operand.keywords else None


def _can_negate(value: Any) -> bool:
    return not isinstance(value, (bool, np.bool_, np.unsignedinteger))


def shape_of(operand: Any) -> tuple[int, ...]:
    """Return an operand's shape."""
    if isinstance(operand, Node):
        assert operand.shape is not None
        return operand.shape
    return np.shape(operand)


def size(operand: Any) -> int:
    """Return how many entries an operand has."""
    return prod(shape_of(operand))


def _dtype(operand: Any) -> np.dtype[Any] | None:
    return operand.dtype if isinstance(operand, Node) else np.asarray(operand).dtype


def _dtype_of_all(operands: Iterable[Any]) -> np.dtype[Any]:
    return np.result_type(*(o.dtype if isinstance(o, Node) else o for o in operands))


def _is_plain_reduction(node: Node) -> bool:
    """Tell whether a reduction has no other options than its axis."""
    options = {key for key, value in node.keywords.items() if value is not None}
    return options <= {"axis", "keepdims"} and len(node.operands) <= 2


def _is_c_order(node: Node) -> bool:
    return len(node.operands) == 2 and node.keywords.get("order") in (None, "C")

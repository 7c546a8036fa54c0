"""Products of vectors and matrices; `einsum`."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.picking import diagonal
from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import composite, held, is_traced

# Of these, vdot, vecdot and vecmat conjugate the first argument.
composite(np.outer, np.linalg.outer)(
    lambda a, b: np.reshape(as_array(a), (-1, 1)) * np.reshape(as_array(b), (1, -1))
)
composite(np.vdot)(lambda a, b: np.dot(np.conj(np.ravel(as_array(a))), np.ravel(as_array(b))))
composite(np.vecdot, np.linalg.vecdot)(
    lambda x, y, axis=-1: np.sum(np.conj(as_array(x)) * as_array(y), axis=axis)
)
composite(getattr(np, "matvec", None))(  # from NumPy 2.2 on
    lambda x, y: np.matmul(x, as_array(y)[..., None])[..., 0]
)
composite(getattr(np, "vecmat", None))(
    lambda x, y: np.matmul(np.conj(as_array(x))[..., None, :], y)[..., 0, :]
)
composite(np.linalg.matmul)(np.matmul)
composite(np.linalg.tensordot)(np.tensordot)


@composite(np.kron)
def kron(a: Any, b: Any) -> Any:
    """Return the Kronecker product."""
    a, b = as_array(a), as_array(b)
    n = max(np.ndim(a), np.ndim(b))
    a = np.reshape(a, (1,) * (n - np.ndim(a)) + np.shape(a))
    b = np.reshape(b, (1,) * (n - np.ndim(b)) + np.shape(b))
    wide = np.reshape(a, [k for d in np.shape(a) for k in (d, 1)])
    fine = np.reshape(b, [k for d in np.shape(b) for k in (1, d)])
    shape = [p * q for p, q in zip(np.shape(a), np.shape(b), strict=True)]
    return np.reshape(wide * fine, shape)


@composite(np.cross, np.linalg.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """Return the cross product of vectors of three entries."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(as_array(a), axisa, -1), np.moveaxis(as_array(b), axisb, -1)
    if np.shape(a)[-1] == np.shape(b)[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    if np.shape(a)[-1] != 3 or np.shape(b)[-1] != 3:
        raise ValueError("incompatible dimensions for cross product (dimension must be 2 or 3)")
    after, before = [1, 2, 0], [2, 0, 1]
    return np.moveaxis(a[..., after] * b[..., before] - a[..., before] * b[..., after], -1, axisc)


@composite(np.einsum)
def einsum(*operands: Any, **options: Any) -> Any:
    """Sum products over the axes that subscripts name.

    Each operand is first reduced to distinct subscripts of full length: a repeated subscript
    selects the diagonal, and an axis that is broadcast is dropped. The rest is a plain contraction.
    """
    from numpy._core.einsumfunc import _parse_einsum_input  # type: ignore[attr-defined]

    operands = tuple(held(x) for x in operands)
    if isinstance(operands[0], str):
        arrays = [as_array(x) for x in operands[1:]]
        stand_ins: list[Any] = [operands[0], *map(_stand_in, arrays)]
    else:
        arrays = [as_array(x) for x in operands[0 : len(operands) // 2 * 2 : 2]]
        stand_ins = list(operands)
        stand_ins[0 : len(operands) // 2 * 2 : 2] = map(_stand_in, arrays)
    inputs, output, _ = _parse_einsum_input(stand_ins)
    labels = inputs.split(",")
    sizes: dict[str, int] = {}
    for names, x in zip(labels, arrays, strict=True):
        for name, n in zip(names, np.shape(x), strict=True):
            sizes[name] = max(sizes.get(name, 1), n)
    plain = [_distinct(names, x, sizes) for names, x in zip(labels, arrays, strict=True)]
    subscripts = ",".join(names for names, _ in plain) + "->" + output
    return contract(subscripts, *[x for _, x in plain])


def _stand_in(x: Any) -> Any:
    """Return a placeholder array of the shape; it takes no memory."""
    return np.broadcast_to(np.float64(0), np.shape(x))


def _distinct(names: str, x: Any, sizes: dict[str, int]) -> tuple[str, Any]:
    """Return an operand in which each subscript names one axis of full length."""
    for axis in reversed(range(len(names))):
        if np.shape(x)[axis] == 1 and sizes[names[axis]] > 1:
            x = np.squeeze(x, axis)
            names = names[:axis] + names[axis + 1 :]
    while repeated := next((name for name in names if names.count(name) > 1), None):
        i = names.index(repeated)
        j = names.index(repeated, i + 1)
        x = diagonal(x, 0, i, j)
        names = names[:i] + names[i + 1 : j] + names[j + 1 :] + repeated
    return names, x


def contract(subscripts: str, *operands: Any) -> Any:
    """Evaluate an einsum in which no operand repeats a subscript; a library's own function."""
    traced = next((x for x in operands if is_traced(x)), None)
    if traced is None:
        return np.einsum(subscripts, *operands)
    return traced.library.contract(subscripts, *operands)

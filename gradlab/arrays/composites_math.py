"""Composites of calculus, interpolation and linear algebra; see `gradlab.arrays.composites`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np

from gradlab.arrays.composites import (
    along,
    as_array,
    axes_of,
    axis_of,
    diagonal,
    safe_sqrt,
)
from gradlab.arrays.dispatch import composite, held, is_traced, refuse_function

# Elementwise


@composite(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """Limit entries to an interval; one at its end keeps its derivative."""
    lowest, highest = min if a_min is None else a_min, max if a_max is None else a_max
    a = as_array(a)
    if lowest is not None:
        a = np.where(a < lowest, lowest, a)
    return a if highest is None else np.where(a > highest, highest, a)


@composite(np.sinc)
def sinc(x: Any) -> Any:
    """Return sin(πx) / (πx), 1 at 0."""
    y = np.pi * np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.sin(y) / y)


@composite(np.float_power)
def float_power(x: Any, y: Any) -> Any:
    """Return a power in double precision at least."""
    x = as_array(x)
    return np.power(x.astype(np.result_type(x.dtype, np.float64)), y)


@composite(np.copysign)
def copysign(x: Any, y: Any) -> Any:
    """Return |x| with the sign of y."""
    size = np.abs(as_array(x).astype(_floating(x, y)))
    return np.where(np.signbit(y), -size, size)


@composite(np.fmod)
def fmod(x: Any, y: Any) -> Any:
    """Return the remainder that has the sign of x."""
    return x - y * np.trunc(x / y)


@composite(np.ldexp)
def ldexp(x: Any, i: Any) -> Any:
    """Return x times a power of two."""
    return x * 2.0 ** np.asarray(i)


@composite(np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    """Return the fractional and the integral part."""
    whole = np.trunc(x)
    return x - whole, whole


@composite(np.divmod)
def divmod_(x: Any, y: Any) -> tuple[Any, Any]:
    """Return quotient and remainder."""
    return np.floor_divide(x, y), np.remainder(x, y)


@composite(np.positive)
def positive(x: Any) -> Any:
    """Return a copy."""
    return as_array(x).copy()


@composite(np.copy)
def copy(a: Any, order: Any = "K", subok: bool = False) -> Any:
    """Return a copy."""
    return as_array(a).copy()


@composite(np.heaviside)
def heaviside(x: Any, y: Any) -> Any:
    """Return 0 below 0, 1 above, y at 0."""
    dtype = _floating(x, y)
    return np.where(
        x == 0, as_array(y).astype(dtype), np.where(x > 0, dtype.type(1), dtype.type(0))
    )


def _floating(x: Any, y: Any) -> np.dtype[Any]:
    """Return the dtype of a ufunc of two arrays that computes in floating point."""
    dtype = np.result_type(x, y)
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


@composite(np.unwrap)
def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    """Add multiples of a period where entries jump; they have no derivative."""
    jumps = np.diff(p, axis=axis)
    turns = np.round(jumps / period)
    if discont is not None:
        turns = np.where(np.abs(jumps) < discont, 0.0, turns)
    shift = np.cumsum(turns, axis=axis) * period
    axis = axis_of(p, axis)
    first = p[along(axis, slice(0, 1))]
    return np.concatenate([first, p[along(axis, slice(1, None))] - shift], axis=axis)


# Differences and integrals


@composite(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Subtract each entry from the next, n times."""
    axis = axis_of(a, axis)
    ends = [
        None
        if end is None
        else np.broadcast_to(as_array(end), (*np.shape(a)[:axis], 1, *np.shape(a)[axis + 1 :]))
        if np.ndim(end) == 0
        else as_array(end)
        for end in (prepend, append)
    ]
    if any(end is not None for end in ends):
        a = np.concatenate([part for part in (ends[0], a, ends[1]) if part is not None], axis=axis)
    for _ in range(n):
        a = a[along(axis, slice(1, None))] - a[along(axis, slice(None, -1))]
    return a


@composite(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Return the differences of the flattened entries."""
    parts = [to_begin, diff(np.ravel(ary)), to_end]
    given = [np.ravel(as_array(part)) for part in parts if part is not None]
    return given[0] if len(given) == 1 else np.concatenate(given)


@composite(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return second-order central differences, one-sided at the ends.

    The formulas are those of `numpy.gradient`: of second order for any spacing inside; at the ends
    of first or second order.
    """
    f = as_array(f)
    axes = axes_of(f, axis)
    spacings = list(varargs) or [1.0]
    if len(spacings) == 1:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError("invalid number of arguments")
    found = [_slopes(f, i, h, edge_order) for i, h in zip(axes, spacings, strict=True)]
    return found[0] if len(axes) == 1 else tuple(found)


def _slopes(f: Any, axis: int, spacing: Any, edge_order: int) -> Any:
    y = np.moveaxis(f, axis, 0)
    n, column = np.shape(y)[0], (-1,) + (1,) * (np.ndim(y) - 1)
    if n < edge_order + 1:
        raise ValueError(
            "Shape of array too small to calculate a numerical gradient, "
            "at least (edge_order + 1) elements are required."
        )
    h = np.diff(spacing) if np.ndim(spacing) else spacing * np.ones(n - 1)
    h = np.reshape(h, column)
    d, k = y[1:] - y[:-1], h
    before, after = k[:-1], k[1:]
    inner = (before**2 * d[1:] + after**2 * d[:-1]) / (before * after * (before + after))
    first, last = d[:1] / k[:1], d[-1:] / k[-1:]
    if edge_order == 2:
        second = 2 * (d[1:] / after - d[:-1] / before) / (before + after)
        first = first - k[:1] * second[:1] / 2
        last = last + k[-1:] * second[-1:] / 2
    return np.moveaxis(np.concatenate([first, inner, last]), 0, axis)


@composite(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integrate by the trapezoidal rule."""
    y = as_array(y)
    axis = axis_of(y, axis)
    if x is None:
        width = dx
    else:
        x = as_array(x)
        width = diff(x) if np.ndim(x) == 1 else diff(x, axis=axis)
        if np.ndim(x) == 1:
            width = np.reshape(width, (-1,) + (1,) * (np.ndim(y) - axis - 1))
    means = (y[along(axis, slice(1, None))] + y[along(axis, slice(None, -1))]) / 2.0
    return np.sum(width * means, axis=axis)


@composite(np.linspace)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    axis: int = 0,
) -> Any:
    """Return evenly spaced numbers."""
    start, stop = as_array(start), as_array(stop)
    parts = num - 1 if endpoint else num
    step = (stop - start) / parts if parts > 0 else (stop - start) * np.nan
    shape = np.broadcast_shapes(np.shape(start), np.shape(stop))
    t = np.reshape(np.arange(num), (-1,) + (1,) * len(shape))
    points = start + t * ((stop - start) / max(parts, 1))
    if endpoint and num > 1:
        points = np.concatenate([points[:-1], np.broadcast_to(stop, shape)[None]])
    points = np.moveaxis(points, 0, axis) if axis else points
    return (points, step) if retstep else points


@composite(np.logspace)
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, axis: int = 0
) -> Any:
    """Return powers with evenly spaced exponents."""
    return np.power(base, linspace(start, stop, num, endpoint, axis=axis))


@composite(np.geomspace)
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, axis: int = 0) -> Any:
    """Return numbers with evenly spaced logarithms."""
    sign = np.sign(start)
    return sign * np.exp(
        linspace(np.log(sign * start), np.log(sign * stop), num, endpoint, axis=axis)
    )


@composite(np.interp)
def interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    """Interpolate linearly between points."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if period is not None:
        x, xp = x % period, xp % period
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = np.concatenate([fp[-1:], fp, fp[:1]])
    last = np.shape(xp)[0] - 1
    if last == 0:
        y = fp[0] + 0.0 * x
    else:
        i = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, last - 1)
        inside = np.where(x < xp[0], xp[0], np.where(x > xp[-1], xp[-1], x))
        y = fp[i] + (fp[i + 1] - fp[i]) / (xp[i + 1] - xp[i]) * (inside - xp[i])
    if period is None:
        y = np.where(x < xp[0], fp[0] if left is None else left, y)
        y = np.where(x > xp[-1], fp[-1] if right is None else right, y)
    return y


# Polynomials and convolutions


@composite(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Evaluate a polynomial by Horner's rule, highest power first."""
    p, x = as_array(p), as_array(x)
    y = 0.0 * x
    for coefficient in p:
        y = y * x + coefficient
    return y


@composite(np.polymul)
def polymul(a1: Any, a2: Any) -> Any:
    """Multiply polynomials."""
    return convolve(a1, a2)


@composite(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Return the matrix of powers."""
    x = as_array(x)
    n = np.shape(x)[0] if N is None else N
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return np.where(powers == 0, 1.0, x[:, None] ** np.where(powers == 0, 1, powers))


@composite(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, **options: Any) -> Any:
    """Fit a polynomial by least squares."""
    if full or any(value is not None and value is not False for value in options.values()):
        refuse_function("gradlab", np.polyfit)
    matrix = vander(x, deg + 1)
    scale = np.sqrt(np.sum(matrix * matrix, axis=0))
    return (lstsq(matrix / scale, y)[0].T / scale).T


@composite(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the discrete convolution of two sequences."""
    a, v = np.atleast_1d(as_array(a)), np.atleast_1d(as_array(v))
    if np.shape(v)[0] > np.shape(a)[0]:
        a, v = v, a
    n, m = np.shape(a)[0], np.shape(v)[0]
    length, start = {
        "full": (n + m - 1, 0),
        "same": (n, (m - 1) // 2),
        "valid": (n - m + 1, m - 1),
    }[mode]
    padded = np.pad(a, m - 1)
    windows = padded[start + np.arange(length)[:, None] + np.arange(m)]
    return windows @ v[::-1]


@composite(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation of two sequences."""
    a, v = np.atleast_1d(as_array(a)), np.atleast_1d(as_array(v))
    if np.shape(v)[0] > np.shape(a)[0]:  # NumPy swaps them, and turns the result around
        return convolve(np.conj(v), a[::-1], mode)[::-1]
    return convolve(a, np.conj(v)[::-1], mode)


# Products


@composite(np.outer, np.linalg.outer)
def outer(a: Any, b: Any) -> Any:
    """Multiply each entry with each."""
    return np.reshape(as_array(a), (-1, 1)) * np.reshape(as_array(b), (1, -1))


@composite(np.vdot)
def vdot(a: Any, b: Any) -> Any:
    """Return the dot product of the flattened entries, the first conjugated."""
    return np.dot(np.conj(np.ravel(as_array(a))), np.ravel(as_array(b)))


@composite(np.vecdot, np.linalg.vecdot)
def vecdot(x: Any, y: Any, axis: int = -1) -> Any:
    """Return dot products along an axis, the first conjugated."""
    return np.sum(np.conj(as_array(x)) * as_array(y), axis=axis)


@composite(np.matvec)
def matvec(x: Any, y: Any) -> Any:
    """Multiply matrices with vectors."""
    return np.matmul(x, as_array(y)[..., None])[..., 0]


@composite(np.vecmat)
def vecmat(x: Any, y: Any) -> Any:
    """Multiply conjugated vectors with matrices."""
    return np.matmul(np.conj(as_array(x))[..., None, :], y)[..., 0, :]


@composite(np.linalg.matmul)
def matmul(x: Any, y: Any) -> Any:
    """Multiply matrices."""
    return np.matmul(x, y)


@composite(np.linalg.tensordot)
def tensordot(x: Any, y: Any, *, axes: Any = 2) -> Any:
    """Sum products over axes."""
    return np.tensordot(x, y, axes)


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
    """Sum products as subscripts say.

    Each operand first gets every subscript once: a repeated one means its diagonal, and one along
    which it is repeated to match another operand is left out. What remains is a plain contraction.
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
    """Return an array of the shape, which takes no memory."""
    return np.broadcast_to(np.float64(0), np.shape(x))


def _distinct(names: str, x: Any, sizes: dict[str, int]) -> tuple[str, Any]:
    """Return an operand in which each subscript stands for one axis, of full length."""
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


# Linear algebra


@composite(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return a norm of vectors or matrices."""
    x = as_array(x)
    if axis is None and (ord is None or (np.ndim(x) == 1 and ord == 2)):
        flat = np.ravel(x)
        total = safe_sqrt(np.sum(np.real(flat * np.conj(flat))))
        return np.reshape(total, (1,) * np.ndim(x)) if keepdims else total
    axes = axes_of(x, axis)
    if len(axes) == 1:
        return vector_norm(x, ord=2 if ord is None else ord, axis=axes[0], keepdims=keepdims)
    x = np.moveaxis(x, axes, (-2, -1))
    result = matrix_norm(x, ord="fro" if ord is None else ord)
    return np.expand_dims(result, axes) if keepdims else result


@composite(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Return a norm of the entries along axes."""
    size, options = np.abs(x), {"axis": axis, "keepdims": keepdims}
    if ord == 2:
        return safe_sqrt(np.sum(np.real(x * np.conj(x)), **options))
    if ord == 1:
        return np.sum(size, **options)
    if ord == np.inf:
        return np.max(size, **options)
    if ord == -np.inf:
        return np.min(size, **options)
    if ord == 0:
        return np.sum((x != 0) * 1.0, **options)
    total = np.sum(np.where(size > 0, np.where(size > 0, size, 1.0) ** ord, 0.0 * size), **options)
    return np.where(total > 0, np.where(total > 0, total, 1.0) ** (1 / ord), 0.0 * total)


@composite(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Return a norm of the matrices in the last two axes."""
    match ord:
        case "fro":
            result = safe_sqrt(np.sum(np.real(x * np.conj(x)), axis=(-2, -1)))
        case 1 | -1:
            result = (np.max if ord > 0 else np.min)(np.sum(np.abs(x), axis=-2), axis=-1)
        case np.inf:
            result = np.max(np.sum(np.abs(x), axis=-1), axis=-1)
        case float() if ord == -np.inf:
            result = np.min(np.sum(np.abs(x), axis=-1), axis=-1)
        case "nuc":
            result = np.sum(svdvals(x), axis=-1)
        case 2 | -2:
            result = svdvals(x)[..., 0 if ord > 0 else -1]
        case _:
            raise ValueError("Invalid norm order for matrices.")
    return np.expand_dims(result, (-2, -1)) if keepdims else result


@composite(np.linalg.svdvals)
def svdvals(x: Any) -> Any:
    """Return the singular values."""
    return np.linalg.svd(x, full_matrices=False, compute_uv=False)


@composite(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Return the eigenvalues of a symmetric matrix."""
    return np.linalg.eigh(a, UPLO=UPLO)[0]


@composite(np.linalg.eigvals)
def eigvals(a: Any) -> Any:
    """Return the eigenvalues of a matrix."""
    return np.linalg.eig(a)[0]


@composite(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """Return the condition number."""
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, axis=(-2, -1)) * norm(np.linalg.inv(x), p, axis=(-2, -1))


@composite(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any]) -> Any:
    """Multiply several matrices."""
    return reduce(np.dot, map(as_array, arrays))


@composite(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """Multiply a matrix with itself, by repeated squaring."""
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    result = None
    while n:
        if n % 2:
            result = a if result is None else result @ a
        a, n = a @ a if n > 1 else a, n // 2
    return np.eye(np.shape(a)[-1]) + 0.0 * a if result is None else result


@composite(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """Solve least squares by the pseudo-inverse, for a matrix of full rank."""
    a, b = as_array(a), as_array(b)
    x = np.linalg.pinv(a) @ b
    s = svdvals(a)
    m, n = np.shape(a)
    rest = b - a @ x
    sums = np.sum(np.real(rest * np.conj(rest)), axis=0)
    return x, np.atleast_1d(sums) if m > n else np.zeros(0), np.int32(min(m, n)), s


@composite(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """Invert a tensor as a matrix."""
    shape = np.shape(a)
    n = int(np.prod(shape[ind:]))
    return np.reshape(np.linalg.inv(np.reshape(a, (n, -1))), shape[ind:] + shape[:ind])


@composite(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """Solve a tensor equation as a matrix equation."""
    a, b = as_array(a), as_array(b)
    if axes is not None:
        kept = [k for k in range(np.ndim(a)) if k not in axes]
        a = np.transpose(a, (*kept, *axes))
    shape = np.shape(a)[np.ndim(b) - np.ndim(a) :] if np.ndim(a) > np.ndim(b) else ()
    n = int(np.prod(shape))
    return np.reshape(np.linalg.solve(np.reshape(a, (-1, n)), np.ravel(b)), shape)

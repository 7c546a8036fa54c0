"""NumPy's semantics on the traced arrays of every library: one table of calls, run on all.

Each call is evaluated by NumPy itself, by the composite of its name on plain arrays, and by each
library on traced ones: shapes, dtypes and values are NumPy's. Its derivative, along one direction
for all floating-point arguments together, is compared with differences of fourth order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from optional import is_installed, unless_missing

import gradlab
from gradlab.arrays import composites  # noqa: F401  they register themselves
from gradlab.arrays.dispatch import COMPOSITES, held, name_of
from gradlab.arrays.leaks import detach
from gradlab.errors import UntraceableError

RNG = np.random.default_rng(5)


def drawn(*shape: int, low: float = 0.2, high: float = 2.0) -> Any:
    """Return distinct numbers, away from each other, from integers and from halves."""
    n = int(np.prod(shape))
    spaced = low + (high - low) * (np.arange(n) + 0.5 + 0.3 * RNG.uniform(-1, 1, n)) / n
    return RNG.permutation(spaced + 0.0123).reshape(shape)


X, Y, Z = drawn(3, 4), drawn(3, 4, low=-2.0), drawn(3, 4, low=-0.9, high=0.9)
V, W, U = drawn(4, low=-2.0), drawn(5), drawn(3, low=-1.0)
T = drawn(2, 3, 4, low=-2.0)
A = drawn(3, 3, low=-1.0) + 2 * np.eye(3)
SPD = A @ A.T
BATCH = np.stack([A, A.T + 0.5 * np.eye(3)])
C = drawn(3, 4) + 1j * drawn(3, 4, low=-1.0)
TIED = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.5]])
HOLES = np.array([[1.5, np.nan, 2.5, 0.5], [np.nan, 3.5, 1.0, 2.0]])
F32 = X.astype(np.float32)
I = np.array([[3, -1, 2, 5], [0, 4, -2, 7], [1, 1, 6, -3]])  # noqa: E741
I32 = I.astype(np.int32)
B = X > 1.0
K = np.array([2, 0, 3, 1, 1])
LABELS = np.array([1, 3, 0])


@dataclass(frozen=True, eq=False)
class Row:
    """One call of the table."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    smooth: bool = True
    """Whether it has a derivative at these arguments."""

    @property
    def name(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items() if np.ndim(v) == 0)
        kinds = ",".join(
            f"{a.dtype.char}{a.ndim}" if isinstance(a, np.ndarray) else str(a)[:12]
            for a in self.args
        )
        return f"{name_of(self.function)}({kinds};{options})"


def row(function: Any, *args: Any, smooth: bool = True, **options: Any) -> Row:
    return Row(function, args, options, smooth)


def expression(name: str, function: Any) -> Any:
    """Name a lambda for the table."""
    function.__name__, function.__module__ = name, "numpy"
    return function


E = expression
UNARY = "exp exp2 expm1 log log2 log10 log1p sqrt square sin cos tan sinh cosh tanh arctan".split()
UNARY += "arcsinh reciprocal negative positive absolute fabs cbrt deg2rad rad2deg degrees".split()
UNARY += ["radians", "conjugate", "sinc", "i0"]
FLAT = "sign floor ceil trunc rint isnan isinf isfinite signbit logical_not".split()
BINARY = "add subtract multiply divide power maximum minimum fmax fmin arctan2 hypot".split()
BINARY += ["logaddexp", "logaddexp2", "copysign", "float_power", "remainder", "fmod", "heaviside"]
COMPARE = "less less_equal equal not_equal greater greater_equal logical_and logical_or".split()
COMPARE += ["logical_xor", "floor_divide"]

TABLE = [
    *[row(getattr(np, name), X) for name in UNARY],
    *[row(getattr(np, name), F32, smooth=False) for name in UNARY],
    *[row(getattr(np, name), Z) for name in ("arcsin", "arccos", "arctanh", "nan_to_num")],
    row(np.arccosh, X + 1),
    *[row(getattr(np, name), Y, smooth=False) for name in FLAT],
    *[row(getattr(np, name), X, Y) for name in BINARY if name != "power"],
    *[row(getattr(np, name), X, V + 3) for name in BINARY],
    *[row(getattr(np, name), F32, Y + 3, smooth=False) for name in BINARY],
    *[row(getattr(np, name), F32, I32 % 3 + 1, smooth=False) for name in BINARY],
    *[row(getattr(np, name), F32, 2.5, smooth=False) for name in BINARY],
    *[row(getattr(np, name), 2, X) for name in BINARY],
    *[row(getattr(np, name), F32, np.float64(2), smooth=False) for name in BINARY],
    *[row(getattr(np, name), X, Y, smooth=False) for name in COMPARE],
    *[row(getattr(np, name), X, 1, smooth=False) for name in COMPARE],
    *[row(getattr(np, name), C) for name in ("exp", "absolute", "conjugate", "real", "imag")],
    row(np.multiply, C, X),
    row(np.angle, C),
    row(E("int_times_float", lambda x: x * I32 + I / x), X),
    row(E("scalars", lambda x: 2 * x + x / 3 - 1.5 + np.float64(2) * x + x * np.float32(0.5)), X),
    row(E("float32 scalars", lambda x: 2 * x + x / 3 - 1.5 + x**2), F32, smooth=False),
    row(E("powers", lambda x: x**2 + x**0.5 + x**-1 + 2**x + x**3.0), X),
    row(E("floor division", lambda x: (x // 0.3, x % 0.7, divmod(x, 0.45))), X),
    row(
        E("masks", lambda x: (~(x > 1), (x > 1) & (x < 1.5), (x > 1) | (x < 0.4))), X, smooth=False
    ),
    row(E("abs", lambda x: abs(-x) + (+x)), X),
    row(E("lists", lambda x: x * [1.0, 2.0, 3.0, 4.0]), X),
    # Reductions
    *[
        row(getattr(np, name), T, axis=axis, keepdims=keep)
        for name in "sum mean max min prod std var median ptp".split()
        for axis, keep in ((None, False), (1, False), ((0, 2), True), (-1, True))
    ],
    *[row(getattr(np, name), T) for name in ("amax", "amin", "cumsum", "cumprod", "average")],
    *[row(getattr(np, name), T, axis=1) for name in ("cumsum", "cumprod", "average")],
    *[row(getattr(np, name), F32, smooth=False) for name in ("sum", "mean", "std", "var", "prod")],
    *[
        row(getattr(np, name), I32, smooth=False)
        for name in ("sum", "mean", "max", "prod", "cumsum")
    ],
    *[row(getattr(np, name), B, smooth=False) for name in ("sum", "mean", "all", "any", "cumsum")],
    *[row(getattr(np, name), X, ddof=1, axis=0) for name in ("std", "var")],
    *[row(getattr(np, name), TIED, smooth=False, axis=1) for name in ("max", "min", "argmax")],
    *[row(getattr(np, name), X, axis=1, smooth=False) for name in ("argmax", "argmin", "argsort")],
    row(np.sum, T, axis=(0, -1), where=T > 0),
    row(np.mean, X, axis=0, where=X > 0.5),
    row(np.max, X, axis=0, initial=0.7),
    row(np.sum, X, dtype=np.float32, smooth=False),
    row(np.average, X, weights=np.array([1.0, 2.0, 0.5, 3.0]), axis=1),
    row(np.count_nonzero, B, smooth=False),
    *[
        row(getattr(np, f"nan{name}"), X)
        for name in "sum mean max min prod std var median cumsum cumprod".split()
    ],
    *[row(getattr(np, f"nan{name}"), X, axis=1) for name in "sum mean max min std var".split()],
    row(np.linalg.norm, X),
    row(np.linalg.norm, X, axis=1),
    row(np.linalg.norm, Y, ord=1, axis=0),
    row(np.linalg.norm, V, ord=3),
    row(np.linalg.norm, V, ord=np.inf),
    row(np.linalg.norm, A, "nuc"),
    row(np.linalg.norm, A, 2),
    row(np.linalg.norm, A, -np.inf),
    # Order
    row(np.sort, T),
    row(np.sort, T, axis=0),
    row(np.sort, X, axis=None),
    row(np.partition, V, 2),
    *[row(np.percentile, T, q, axis=a) for q, a in ((30, None), (77.5, 1), ([10, 50], 2))],
    *[
        row(np.quantile, T, 0.37, axis=0, method=m)
        for m in "linear lower higher midpoint nearest hazen weibull median_unbiased".split()
    ],
    row(np.quantile, T, [0.1, 0.9], axis=(0, 2), keepdims=True),
    row(np.median, X, axis=(0, 1)),
    row(np.searchsorted, np.sort(W), V, smooth=False),
    row(np.digitize, V, np.array([-1.0, 0.0, 1.0]), smooth=False),
    row(np.clip, Y, -0.5, 0.7),
    row(np.clip, Y, None, 0.7),
    row(np.clip, Y, -X, X),
    # Shapes
    row(np.reshape, X, (4, -1)),
    row(np.reshape, X, -1),
    row(np.reshape, X, (2, 6), order="F"),
    row(np.ravel, X),
    row(np.ravel, X, order="F"),
    row(np.transpose, T),
    row(np.transpose, T, (1, 2, 0)),
    row(np.swapaxes, T, 0, -1),
    row(np.moveaxis, T, (0, 1), (-1, 0)),
    row(np.rollaxis, T, 2),
    row(np.expand_dims, X, (0, -1)),
    row(np.squeeze, X[None, :, :, None]),
    row(np.squeeze, X[None, :, :, None], axis=0),
    row(np.broadcast_to, V, (3, 4)),
    row(np.broadcast_arrays, V, X),
    *[row(getattr(np, f"atleast_{n}d"), V) for n in (1, 2, 3)],
    *[row(np.concatenate, [X, Y], axis=a) for a in (0, 1, None)],
    row(np.concatenate, [F32, I32], smooth=False),
    *[
        row(getattr(np, name), [V, V * 2])
        for name in "vstack hstack dstack column_stack stack".split()
    ],
    *[row(np.stack, (X, Y), axis=a) for a in (1, -1)],
    row(np.block, [[A, A], [A.T, A]]),
    row(np.append, X, V),
    row(np.insert, V, [4, -1], np.array([1.0, 2.0])),
    row(np.insert, V, 1, 5.0),
    row(np.insert, X, [0, 2], Y[:, :2], axis=1),
    row(np.delete, X, [0, 2], axis=1),
    row(np.split, V, 2),
    row(np.array_split, W, 3),
    row(np.hsplit, X, [1, 3]),
    row(np.repeat, X, 2),
    row(np.repeat, X, [1, 2, 0], axis=0),
    row(np.tile, X, (2, 1, 2)),
    *[row(np.flip, T, axis=a) for a in (None, 1, (0, 2))],
    row(np.fliplr, X),
    row(np.flipud, X),
    *[row(np.rot90, X, k) for k in (1, 2, 3)],
    *[row(np.roll, X, s, axis=a) for s, a in ((1, None), (-2, 1), ((1, 2), (0, 1)))],
    *[row(np.pad, X, w, mode=m) for w, m in ((1, "constant"), (((1, 2), (0, 1)), "edge"))],
    *[row(np.pad, X, 2, mode=m) for m in ("reflect", "symmetric", "wrap")],
    row(np.pad, V, (1, 2), constant_values=(3.0, 4.0)),
    row(np.meshgrid, V, W),
    row(np.meshgrid, V, W, indexing="ij", sparse=True),
    *[row(getattr(np, name), X) for name in ("zeros_like", "ones_like", "copy", "diag", "trace")],
    row(np.full_like, X, 2.5, smooth=False),
    *[row(np.diag, V, k) for k in (0, 2, -1)],
    row(np.diagonal, T, 1, 0, 2),
    row(np.diagflat, A),
    *[row(f, X, k) for f in (np.tril, np.triu) for k in (0, 1, -1)],
    row(np.astype, X, np.float32, smooth=False),
    # Entries
    row(np.take, X, K),
    row(np.take, X, [[0, 2], [1, 1]], axis=1),
    row(np.take, X, [-1, 9], mode="clip", axis=0),
    row(np.take_along_axis, X, np.argsort(X, axis=1), axis=1),
    row(np.compress, [True, False, True], X, axis=0),
    row(np.extract, B, X),
    row(np.choose, LABELS % 2, [U, -U]),
    row(np.select, [X > 1, X > 0.5], [X, 2 * X], 0.1),
    row(np.where, B, X, 0.0),
    row(np.where, B, X, V),
    row(np.where, B, F32, 1, smooth=False),
    row(np.where, B[:, :1], 2.0, X),
    row(np.piecewise, V, [V < -0.5, V > 1], [lambda v: v**2, -1.0, lambda v: 3 * v]),
    row(E("x[1]", lambda x: x[1] + x[-1, ...] + x[None, 2]), X),
    row(E("x[:, ::-1]", lambda x: (x[:, ::-1], x[::-2], x[2:0:-1, 1:3], x[0:0:-1])), X),
    row(E("x[::-1, [0, 2]]", lambda x: (x[::-1, [0, 2]], x[[0, 2], ::-1])), X),
    row(E("x[rows, labels]", lambda x: x[np.arange(3), LABELS]), X),
    row(E("x[range, labels]", lambda x: x[range(3), list(LABELS)]), X),
    row(E("x[[0, 2]]", lambda x: (x[[0, 2]], x[:, [1]], x[np.array([[0, 1], [2, 2]])])), X),
    row(E("t[0, :, [1, 2]]", lambda t: (t[0, :, [1, 2]], t[[0, 1], :, 2], t[:, 1, [0, 3, 3]])), T),
    row(E("x[mask]", lambda x: (x[B], x[B[:, 0]], x[:, np.array([True, False, True, True])])), X),
    row(E("t[mask, 0]", lambda t: (t[B[:2, :3]], t[0, B[:, 0], 1:], t[..., None, [0]])), T),
    row(E("x[np.ix_]", lambda x: x[np.ix_([0, 2], [1, 3])]), X),
    row(E("x[()]", lambda x: (x[()], x[...], x[np.int64(1), np.int32(2)])), X),
    row(E("labels of comparisons", lambda x: np.eye(4)[LABELS] * x), X),
    # Writing
    *[
        row(E(f"writing {i}", function), X)
        for i, function in enumerate(
            [
                lambda x: _written(x, 0, 5.0),
                lambda x: _written(x, (slice(None), 1), x[:, 0] * 2),
                lambda x: _written(x, (slice(None, None, -1), [0, 2]), x[:, :2]),
                lambda x: _written(x, B, 0.0),
                lambda x: _written(x, ([0, 0, 1], [1, 1, 2]), np.array([1.0, 2.0, 3.0]) * x[0, 0]),
                lambda x: _written(x, (1, slice(None), None), x[0][:, None]),
                lambda x: _written(x, (slice(1), slice(None)), x[1:2]),
                lambda x: _written(np.zeros((3, 4)), (slice(None), 2), x[:, 0]),
                lambda x: _written(np.zeros(4, np.float32), 2, x[0, 0]),
            ]
        )
    ],
    row(E("x += y", lambda x: _added(x)), X),
    row(E("np.add.at", lambda x: _added_at(x)), X),
    # Products
    *[row(np.dot, a, b) for a, b in ((X, V), (V, V), (U, X), (X, Y.T), (T, V), (T, X.T), (2.0, X))],
    *[row(np.matmul, a, b) for a, b in ((X, V), (V, V), (U, X), (X, Y.T), (T, X.T), (T, T.mT))],
    row(np.matmul, F32, Y.T, smooth=False),
    row(np.matmul, X, I32.T),
    row(np.dot, I32, X.T),
    *[row(np.inner, a, b) for a, b in ((X, V), (X, Y), (V, V))],
    row(np.outer, V, W),
    row(np.outer, X, V),
    *[row(np.tensordot, a, b, axes=k) for a, b, k in ((T, X, 2), (T, X, ([1], [0])), (V, W, 0))],
    row(np.tensordot, T, X, axes=((-1, 1), (1, 0))),
    row(np.vdot, X, Y),
    row(np.vecdot, X, Y),
    # NumPy has these from 2.2 on.
    *([row(np.matvec, T, V), row(np.vecmat, U, T)] if hasattr(np, "matvec") else []),
    row(np.kron, A, X),
    row(np.cross, drawn(4, 3), drawn(4, 3)),
    row(np.cross, U, A),
    *[
        row(np.einsum, s, *a)
        for s, a in (
            ("ij,j", (X, V)),
            ("ij,kj->ik", (X, Y)),
            ("ii->i", (A,)),
            ("ii", (A,)),
            ("ij->", (X,)),
            ("aij,ij->a", (T, X)),
            ("...j,j->...", (T, V)),
            ("ij,ij->ji", (X, Y)),
            ("i,j,k->ijk", (U, V, W)),
            ("ij,jk,kl->il", (A, A, X)),
        )
    ],
    # Calculus
    row(np.diff, X),
    row(np.diff, T, n=2, axis=0 + 1),
    row(np.diff, V, prepend=0.0),
    row(np.ediff1d, V),
    row(np.gradient, V),
    row(np.gradient, X, 0.5, axis=1, edge_order=2),
    row(np.gradient, V, np.array([0.0, 0.5, 2.0, 2.5])),
    row(np.trapezoid, X),
    row(np.trapezoid, X, np.array([0.0, 1.0, 3.0, 3.5])),
    row(np.trapezoid, X, dx=0.3, axis=0),
    row(np.linspace, X[0], Y[0], 5),
    row(np.linspace, 0.5, V, 3, endpoint=False),
    row(np.interp, W, np.array([0.0, 0.7, 1.1, 3.0]), V),
    row(np.interp, np.array([-1.0, 0.5, 5.0]), np.array([0.0, 0.7, 1.1, 3.0]), V, left=9.0),
    row(np.polyval, V, W),
    row(np.polyfit, np.array([0.0, 1.0, 2.5, 3.0]), V, 2),
    row(np.vander, V, 3),
    row(np.unwrap, V * 4),
    *[row(np.convolve, V, W, mode=m) for m in ("full", "same", "valid")],
    *[row(np.correlate, W, V, mode=m) for m in ("full", "same", "valid")],
    row(np.cov, X),
    row(np.cov, X, rowvar=False, bias=True),
    row(np.corrcoef, X),
    row(np.bincount, K, weights=W),
    row(np.apply_along_axis, np.sum, 1, X),
    # Linear algebra
    *[row(f, A) for f in (np.linalg.inv, np.linalg.det, np.linalg.slogdet, np.linalg.pinv)],
    *[row(f, BATCH) for f in (np.linalg.inv, np.linalg.det, np.linalg.slogdet)],
    row(np.linalg.det, np.outer(U, U) + np.outer([1.0, 0.0, 2.0], U[::-1])),
    row(np.linalg.solve, A, U),
    row(np.linalg.solve, BATCH, drawn(3, 2)),
    row(np.linalg.solve, BATCH, drawn(2, 3, 2)),
    row(np.linalg.solve, A.astype(np.float32), U.astype(np.float32), smooth=False),
    row(E("cholesky", lambda a: np.linalg.cholesky(a @ a.T)), A),
    row(E("eigvalsh", lambda a: np.linalg.eigvalsh(a + a.T)), A),
    row(E("eigh", lambda a: np.linalg.eigh(a + a.T).eigenvectors ** 2), A),
    row(np.linalg.svd, A, compute_uv=False),
    row(E("svd", lambda a: np.linalg.svd(a, full_matrices=False).U ** 2), X),
    row(E("qr", lambda a: np.abs(np.linalg.qr(a)[1])), A),
    row(np.linalg.matrix_power, A, 3),
    row(np.linalg.matrix_power, A, -2),
    row(np.linalg.multi_dot, [A, X, V]),
    row(np.linalg.lstsq, X.T, V),
    row(np.linalg.cond, A),
    row(np.linalg.svdvals, X),
    row(np.linalg.matrix_norm, A),
    row(np.linalg.vector_norm, V),
    # Fourier transforms
    *[
        row(getattr(np.fft, name), X)
        for name in "fft ifft rfft fft2 ifft2 rfft2 fftn rfftn".split()
    ],
    *[row(getattr(np.fft, name), X, axis=0, n=4) for name in ("fft", "rfft")],
    row(np.fft.irfft, C),
    row(np.fft.irfft, C, n=5),
    row(np.fft.fftshift, X),
    row(np.fft.ifftshift, X, axes=1),
]


def _written(x: Any, index: Any, value: Any) -> Any:
    y = x.copy()
    y[index] = value
    return y


def _added(x: Any) -> Any:
    y = x * 1.0
    y += x
    y[0] *= 2
    y -= 1
    return y


def _added_at(x: Any) -> Any:
    y, z = x * 1.0, np.zeros(3)
    np.add.at(y, ([0, 0, 1], [1, 1, 2]), x[0, :3])
    np.add.at(z, [0, 0, 2], x[0, :3])
    return y, z


def outputs(result: Any) -> list[Any]:
    """Return the arrays of a result, in order."""
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in outputs(part)]
    return [result]


def is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fc"


def parts(call: Row) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """Return the arguments of a call to trace, and the call as a function of them.

    A complex number is traced as the product of a traced real number and a plain complex one.
    """
    found: list[Any] = []

    def take_out(value: Any) -> Any:
        if (isinstance(value, np.ndarray) and value.dtype.kind == "f") or value is C:
            found.append(np.ones(()) if value is C else value)
            place = len(found) - 1
            return (
                (lambda leaves: leaves[place] * C) if value is C else (lambda leaves: leaves[place])
            )
        if isinstance(value, (list, tuple)) and any(map(is_float, value)):
            made = [take_out(item) for item in value]
            return lambda leaves: type(value)([one(leaves) for one in made])
        return lambda leaves: value

    make = [take_out(arg) for arg in call.args]
    if not found:  # integers or truth values, with a traced number
        found.append(np.ones(()))
    return found, lambda leaves: call.function(*[one(leaves) for one in make], **call.options)


def loss_of(call: Row, seen: list[Any]) -> Callable[[list[Any]], Any]:
    """Return a weighted sum of all entries, and store the computed results."""
    _, evaluate = parts(call)

    def loss(leaves: list[Any]) -> Any:
        total = 0.0 * leaves[0].sum()
        seen[:] = outputs(evaluate(leaves))
        for array in seen:
            if np.result_type(array).kind in "fc":
                weights = np.cos(1.0 + np.arange(np.size(array))).reshape(np.shape(array))
                total = total + np.sum(np.real(array) * weights)
                if np.iscomplexobj(array):
                    total = total + np.sum(np.imag(array) * weights) * 0.7
        return total

    return loss


def direction(leaves: list[Any]) -> list[Any]:
    rng = np.random.default_rng(1)
    return [
        rng.uniform(0.5, 1.0, np.shape(leaf)) * rng.choice([-1, 1], np.shape(leaf))
        for leaf in leaves
    ]


def slope(call: Row) -> tuple[float, float]:
    """Return the derivative along a direction, and its error bar.

    Two differences of fourth order, with steps h and h/2, differ by 15/16 of the error of the
    longer one.
    """
    leaves, _ = parts(call)
    loss, way = loss_of(call, []), direction(leaves)

    def at(t: float) -> float:
        return float(loss([leaf + t * d for leaf, d in zip(leaves, way, strict=True)]))

    def difference(h: float) -> float:
        return (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)

    long, short = difference(2e-3), difference(1e-3)
    noise = 64 * np.finfo(float).eps * max(abs(at(0.0)), 1.0) / 1e-3
    return short, 2 * abs(long - short) + noise


def compare(found: list[Any], call: Row) -> None:
    """Compare the results of a library with NumPy's."""
    leaves, evaluate = parts(call)
    wanted = outputs(evaluate(leaves))
    assert len(found) == len(wanted)
    for mine, numpys in zip(found, wanted, strict=True):
        numpys = np.asarray(numpys)
        mine = np.asarray(mine)
        assert mine.shape == numpys.shape
        assert mine.dtype == numpys.dtype
        if numpys.dtype.kind in "fc":
            # Some successive operations, each with a rounding of the size of the largest entry.
            eps = float(np.finfo(numpys.dtype).eps)
            scale = np.max(np.abs(numpys), initial=1.0)
            assert np.allclose(mine, numpys, rtol=200 * eps, atol=200 * eps * scale, equal_nan=True)
        else:
            assert np.array_equal(mine, numpys)


every_call = pytest.mark.parametrize("call", TABLE, ids=lambda call: call.name)


@every_call
def test_composites_are_their_namesakes(call: Row) -> None:
    if call.function not in COMPOSITES:
        return
    mine = outputs(COMPOSITES[call.function](*call.args, **call.options))
    wanted = outputs(call.function(*call.args, **call.options))
    assert len(mine) == len(wanted)
    for one, other in zip(mine, wanted, strict=True):
        assert np.shape(one) == np.shape(other)
        eps = np.finfo(np.float32 if np.result_type(other) == np.float32 else float).eps
        scale = np.max(np.abs(np.asarray(other)), initial=1.0)
        assert np.allclose(one, other, rtol=200 * eps, atol=200 * eps * scale, equal_nan=True)


@every_call
@pytest.mark.parametrize("backend", [unless_missing(name) for name in ("autograd", "torch")])
def test_numpys_semantics(backend: str, call: Row) -> None:
    seen: list[Any] = []
    leaves, _ = parts(call)
    plain: list[Any] = []
    loss = loss_of(call, seen)

    def noting(leaves: list[Any]) -> Any:
        result = loss(leaves)
        if not plain:
            plain[:] = detach(seen)
        seen.clear()
        return result

    gradients = gradlab.grad(noting, backend)(leaves)
    compare(plain, call)
    if call.smooth:
        found = sum(float(np.sum(g * d)) for g, d in zip(gradients, direction(leaves), strict=True))
        wanted, error = slope(call)
        assert abs(found - wanted) <= error + 1e-12 * abs(wanted)


@pytest.fixture(scope="module")
def compiled() -> list[Any]:
    """Return all calls and their derivatives along a direction, as one function compiled by JAX."""
    if not is_installed("jax"):
        pytest.skip("JAX is not installed")
    import jax

    from gradlab.arrays.ducks import Trace, within
    from gradlab.arrays.jax_arrays import JaxArray
    from gradlab.arrays.tracing import run_traced

    failures: dict[int, Exception] = {}

    def evaluate(inputs: list[Any]) -> list[Any]:
        results = []
        for place, (call, leaves) in enumerate(zip(TABLE, inputs, strict=True)):

            def traced(leaves: list[Any], call: Row = call) -> Any:
                seen: list[Any] = []
                with within(Trace(known=False)):
                    value = run_traced(loss_of(call, seen), [JaxArray(x) for x in leaves], ())
                return value.native, [getattr(held(array), "native", array) for array in seen]

            try:
                ways = [
                    jax.numpy.asarray(d, x.dtype)
                    for d, x in zip(direction(leaves), leaves, strict=True)
                ]
                gradients, seen = jax.grad(traced, has_aux=True)(leaves)
                slopes = sum(jax.numpy.sum(g * d) for g, d in zip(gradients, ways, strict=True))
                results.append((seen, slopes))
            except Exception as error:
                failures[place] = error
                results.append(())
        return results

    with jax.enable_x64(True):
        found = jax.jit(evaluate)([parts(call)[0] for call in TABLE])
    return [failures.get(place, result) for place, result in enumerate(found)]


@pytest.mark.parametrize("place", range(len(TABLE)), ids=[call.name for call in TABLE])
def test_numpys_semantics_compiled_by_jax(place: int, compiled: list[Any]) -> None:
    call, found = TABLE[place], compiled[place]
    if call.function is np.nanmedian:  # their number depends on the values
        assert isinstance(found, UntraceableError)
        assert "not known while it is compiled" in str(found)
        return
    if isinstance(found, Exception):
        raise found
    seen, along = found
    compare(seen, call)
    if call.smooth:
        wanted, error = slope(call)
        assert abs(float(along) - wanted) <= error + 1e-12 * abs(wanted)

"""PyTorch's functions, by NumPy's names and with NumPy's arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# Shapes


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(np.lib.array_utils.normalize_axis_tuple(axis, x.ndim))


def _axis(x: Any, axis: Any) -> int:
    return int(np.lib.array_utils.normalize_axis_index(int(axis), x.ndim))


def reshape(a: Any, shape: Any = None, order: str = "C", *, copy: Any = None, **old: Any) -> Any:
    """`numpy.reshape`."""
    shape = old.get("newshape", shape)
    shape = tuple(map(int, shape)) if np.iterable(shape) else (int(shape),)
    if order != "F":
        return a.reshape(shape)
    return transpose(transpose(a).reshape(shape[::-1]))


def ravel(a: Any, order: str = "C") -> Any:
    """`numpy.ravel`."""
    return reshape(a, -1, order)


def transpose(a: Any, axes: Any = None) -> Any:
    """`numpy.transpose`."""
    return a.permute(tuple(range(a.ndim))[::-1] if axes is None else tuple(map(int, axes)))


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """`numpy.moveaxis`."""
    return a.movedim(_axes(a, source), _axes(a, destination))


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """`numpy.swapaxes`."""
    return a.transpose(_axis(a, axis1), _axis(a, axis2))


def expand_dims(a: Any, axis: Any) -> Any:
    """`numpy.expand_dims`."""
    axes = tuple(map(int, axis)) if isinstance(axis, (tuple, list)) else (int(axis),)
    ndim = a.ndim + len(axes)
    places = np.lib.array_utils.normalize_axis_tuple(axes, ndim)
    left = iter(a.shape)
    return a.reshape([1 if i in places else next(left) for i in range(ndim)])


def squeeze(a: Any, axis: Any = None) -> Any:
    """`numpy.squeeze`."""
    if axis is None:
        return a.squeeze()
    axes = _axes(a, axis)
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError("cannot select an axis to squeeze out which has size not equal to one")
    return a.squeeze(axes)


def broadcast_to(array: Any, shape: Any, subok: bool = False) -> Any:
    """`numpy.broadcast_to`."""
    shape = tuple(shape) if np.iterable(shape) else (int(shape),)
    return torch.broadcast_to(array, tuple(map(int, shape)))


# Reductions


def _reducing(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axes = _axes(a, axis)
        return function(a, dim=axes, keepdim=bool(keepdims)) if axes else a

    return reduce


def _extremum(function: Callable[..., Any]) -> Callable[..., Any]:
    def extremum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axes = _axes(a, axis)
        if any(a.shape[i] == 0 for i in axes):
            raise ValueError("zero-size array to reduction operation which has no identity")
        return function(a, dim=axes, keepdim=bool(keepdims)) if axes else a

    return extremum


def _deciding(function: Callable[..., Any]) -> Callable[..., Any]:
    def decide(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        axes, a = _axes(a, axis), a != 0 if a.dtype != torch.bool else a
        return function(a, dim=axes, keepdim=bool(keepdims)) if axes else a

    return decide


def mean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """`numpy.mean`."""
    a = a if a.is_floating_point() or a.is_complex() else a.to(torch.float64)
    axes = _axes(a, axis)
    return torch.mean(a, dim=axes, keepdim=bool(keepdims)) if axes else a


def cumsum(a: Any, axis: Any = None) -> Any:
    """`numpy.cumsum`."""
    return torch.cumsum(a.reshape(-1), 0) if axis is None else torch.cumsum(a, int(axis))


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    def arg(a: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        return function(a, dim=None if axis is None else int(axis), keepdim=bool(keepdims))

    return arg


def argsort(a: Any, axis: Any = -1, kind: Any = None, **options: Any) -> Any:
    """`numpy.argsort`, stable always."""
    if axis is None:
        a, axis = a.reshape(-1), 0
    return torch.argsort(a, dim=int(axis), stable=True)


def round_(a: Any, decimals: int = 0) -> Any:
    """`numpy.round`."""
    return torch.round(a, decimals=int(decimals)) if decimals else torch.round(a)


# Products


def dot(a: Any, b: Any) -> Any:
    """`numpy.dot`."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if b.ndim == 1 or (a.ndim <= 2 and b.ndim == 2):
        return torch.matmul(a, b)
    return torch.tensordot(a, b, ([a.ndim - 1], [b.ndim - 2]))


def inner(a: Any, b: Any) -> Any:
    """`numpy.inner`."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return torch.tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """`numpy.tensordot`."""
    if np.ndim(axes) == 0 and not isinstance(axes, (list, tuple)):
        n = int(axes)
        return torch.tensordot(a, b, (list(range(a.ndim - n, a.ndim)), list(range(n))))
    left, right = ([int(i) for i in np.atleast_1d(part)] for part in axes)
    return torch.tensordot(a, b, ([i % a.ndim for i in left], [i % b.ndim for i in right]))


# Linear algebra


_Function: Any = torch.autograd.Function  # without types where PyTorch is missing


class _Det(_Function):  # type: ignore[misc]
    """A determinant whose derivative is right for singular matrices, too.

    The derivative is the matrix of cofactors, det(u vᵀ) u adj(s) vᵀ, where adj(s) has, for each of
    the singular values s, the product of all others.
    """

    @staticmethod
    def forward(a: Any) -> Any:
        """Return the determinant."""
        return torch.linalg.det(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep the matrix."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        """Multiply with the cofactors."""
        (a,) = ctx.saved_tensors
        u, s, vh = torch.linalg.svd(a)
        n = s.shape[-1]
        mask = torch.eye(n, dtype=torch.bool, device=a.device)
        others = torch.where(mask, 1.0, s[..., None, :]).prod(-1)
        sign = torch.linalg.det(u) * torch.linalg.det(vh)
        return (g * sign)[..., None, None] * ((u * others[..., None, :]) @ vh)


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """`numpy.linalg.cholesky`."""
    return torch.linalg.cholesky(_hermitian(a, "U" if upper else "L"), upper=upper)


def eigh(a: Any, UPLO: str = "L") -> Any:
    """`numpy.linalg.eigh`."""
    return tuple(torch.linalg.eigh(_hermitian(a, UPLO), UPLO=UPLO))


def _hermitian(a: Any, triangle: str) -> Any:
    """Return the matrix that NumPy reads from one triangle: the other has the derivative 0."""
    if triangle.upper() == "L":
        return torch.tril(a) + torch.tril(a, -1).mH
    return torch.triu(a) + torch.triu(a, 1).mH


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """`numpy.linalg.svd`."""
    if not compute_uv:
        return torch.linalg.svdvals(a)
    return tuple(torch.linalg.svd(a, full_matrices=full_matrices))


def qr(a: Any, mode: str = "reduced") -> Any:
    """`numpy.linalg.qr`."""
    found = torch.linalg.qr(a, mode="complete" if mode == "complete" else "reduced")
    return found[1] if mode == "r" else tuple(found)


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """`numpy.linalg.pinv`."""
    limit = rcond if rtol is None else rtol
    return torch.linalg.pinv(a, rtol=1e-15 if limit is None else limit, hermitian=hermitian)


def _transform(function: Callable[..., Any]) -> Callable[..., Any]:
    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        return function(a, n=n, dim=axis, norm=norm)

    return transform


def _transforms(function: Callable[..., Any], default: Any) -> Callable[..., Any]:
    def transforms(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        axes = tuple(range(-len(s), 0)) if axes is None and s is not None else axes
        return function(a, s=s, dim=axes, norm=norm)

    return transforms


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axes=None: function(x, dim=axes)


# Elementwise


def cbrt(x: Any) -> Any:
    """`numpy.cbrt`."""
    return torch.sign(x) * torch.abs(x) ** (1 / 3)


def power(x: Any, y: Any) -> Any:
    """`numpy.power`."""
    return x**y


def hypot(x: Any, y: Any) -> Any:
    """`numpy.hypot`, whose derivative at 0 is 0."""
    is_zero = (x == 0) & (y == 0)
    return torch.where(is_zero, 0.0, torch.hypot(torch.where(is_zero, 1.0, x), y))


def _flat(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose derivative is 0: numbers that do not depend on the parameters."""
    return lambda x: function(x.detach())


_SAME = """
    exp exp2 expm1 log log2 log10 log1p sqrt square sin cos tan arcsin arccos arctan sinh cosh tanh
    arcsinh arccosh arctanh absolute negative positive reciprocal
    deg2rad rad2deg isnan isinf isfinite signbit logical_not bitwise_not remainder fmod maximum
    minimum fmax fmin arctan2 logaddexp logaddexp2 logical_and logical_or logical_xor
    bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift matmul gcd lcm
    nextafter where einsum
""".split()

NATIVES: dict[str, Any] = {name: getattr(torch, name) for name in _SAME} | {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": power,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "floor_divide": lambda x, y: torch.floor_divide(x.detach(), y.detach()),
    "fabs": torch.abs,
    "sign": _flat(torch.sign),
    "ceil": _flat(torch.ceil),
    "floor": _flat(torch.floor),
    "trunc": _flat(torch.trunc),
    "rint": _flat(torch.round),
    "hypot": hypot,
    "degrees": torch.rad2deg,
    "radians": torch.deg2rad,
    "invert": torch.bitwise_not,
    "left_shift": torch.bitwise_left_shift,
    "right_shift": torch.bitwise_right_shift,
    "conjugate": torch.conj_physical,
    "cbrt": cbrt,
    "reshape": reshape,
    "ravel": ravel,
    "transpose": transpose,
    "permute_dims": transpose,
    "moveaxis": moveaxis,
    "swapaxes": swapaxes,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "broadcast_to": broadcast_to,
    "sum": _reducing(torch.sum),
    "mean": mean,
    "max": _extremum(torch.amax),
    "amax": _extremum(torch.amax),
    "min": _extremum(torch.amin),
    "amin": _extremum(torch.amin),
    "all": _deciding(torch.all),
    "any": _deciding(torch.any),
    "cumsum": cumsum,
    "round": round_,
    "around": round_,
    "fix": _flat(torch.trunc),
    "argmax": _arg(torch.argmax),
    "argmin": _arg(torch.argmin),
    "argsort": argsort,
    "dot": dot,
    "inner": inner,
    "tensordot": tensordot,
    "concatenate": torch.cat,
    "real": torch.real,
    "imag": torch.imag,
    "i0": torch.special.i0,
    "linalg.inv": torch.linalg.inv,
    "linalg.det": _Det.apply,
    "linalg.slogdet": lambda a: tuple(torch.linalg.slogdet(a)),
    "linalg.solve": torch.linalg.solve,
    "linalg.cholesky": cholesky,
    "linalg.eigh": eigh,
    "linalg.eig": lambda a: tuple(torch.linalg.eig(a)),
    "linalg.svd": svd,
    "linalg.qr": qr,
    "linalg.pinv": pinv,
    "fft.fftshift": _shift(torch.fft.fftshift),
    "fft.ifftshift": _shift(torch.fft.ifftshift),
}
for _name in "fft ifft rfft irfft hfft ihfft".split():
    NATIVES[f"fft.{_name}"] = _transform(getattr(torch.fft, _name))
for _name in "fft2 ifft2 rfft2 irfft2".split():
    NATIVES[f"fft.{_name}"] = _transforms(getattr(torch.fft, _name), (-2, -1))
for _name in "fftn ifftn rfftn irfftn".split():
    NATIVES[f"fft.{_name}"] = _transforms(getattr(torch.fft, _name), None)


def _named(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose errors are NumPy's."""
    linalg: Any = torch.linalg  # its types leave the error out

    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except linalg.LinAlgError as error:
            raise np.linalg.LinAlgError(str(error)) from error

    return call


NATIVES |= {name: _named(NATIVES[name]) for name in NATIVES if name.startswith("linalg.")}

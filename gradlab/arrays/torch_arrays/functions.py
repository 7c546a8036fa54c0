"""PyTorch's functions, by NumPy's names and with NumPy's arguments."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gradlab.arrays.torch_arrays.special import with_slope

# Shapes


def _axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return tuple(np.lib.array_utils.normalize_axis_tuple(axis, x.ndim))


def _axis(x: Any, axis: Any) -> int:
    return int(np.lib.array_utils.normalize_axis_index(int(axis), x.ndim))


def _lengths(shape: Any) -> tuple[int, ...]:
    return tuple(map(int, shape)) if np.iterable(shape) else (int(shape),)


def reshape(a: Any, shape: Any = None, order: str = "C", *, copy: Any = None, **old: Any) -> Any:
    """`numpy.reshape`."""
    shape = old.get("newshape", shape)
    shape = _lengths(shape)
    if order != "F":
        return a.reshape(shape)
    return transpose(transpose(a).reshape(shape[::-1]))


def transpose(a: Any, axes: Any = None) -> Any:
    """`numpy.transpose`."""
    return a.permute(tuple(range(a.ndim))[::-1] if axes is None else tuple(map(int, axes)))


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


# Reductions


def _reducing(
    function: Callable[..., Any], converted: Callable[[Any], Any] = lambda a: a
) -> Callable[..., Any]:
    """Return a reduction of a converted tensor."""

    def reduce(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        a, axes = converted(a), _axes(a, axis)
        return function(a, dim=axes, keepdim=bool(keepdims)) if axes else a

    return reduce


def _not_of_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reduction that raises NumPy's error if there is nothing to reduce."""

    def reduce(a: Any, dim: tuple[int, ...], keepdim: bool) -> Any:
        if any(a.shape[i] == 0 for i in dim):
            raise ValueError("zero-size array to reduction operation which has no identity")
        return function(a, dim=dim, keepdim=keepdim)

    return reduce


def _inexact(a: Any) -> Any:
    return a if a.is_floating_point() or a.is_complex() else a.to(torch.float64)


def _as_truth(a: Any) -> Any:
    return a if a.dtype == torch.bool else a != 0


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, axis=None, *, keepdims=False: function(
        a, dim=None if axis is None else int(axis), keepdim=bool(keepdims)
    )


def argsort(a: Any, axis: Any = -1, kind: Any = None, **options: Any) -> Any:
    """`numpy.argsort`, stable always."""
    if axis is None:
        a, axis = a.reshape(-1), 0
    return torch.argsort(a, dim=int(axis), stable=True)


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


def _det_pulled_back(g: Any, a: Any) -> Any:
    """Multiply with the cofactors, which are the derivative of a determinant.

    They are det(u vᵀ) u adj(s) vᵀ, where adj(s) has, for each of the singular values s, the product
    of all others. This is right for singular matrices, too.
    """
    u, s, vh = torch.linalg.svd(a)
    mask = torch.eye(s.shape[-1], dtype=torch.bool, device=a.device)
    others = torch.where(mask, 1.0, s[..., None, :]).prod(-1)
    sign = torch.linalg.det(u) * torch.linalg.det(vh)
    return (g * sign)[..., None, None] * ((u * others[..., None, :]) @ vh)


def _hermitian(a: Any, triangle: str) -> Any:
    """Return the matrix that NumPy reads from one triangle: the other has the derivative 0."""
    if triangle.upper() == "L":
        return torch.tril(a) + torch.tril(a, -1).mH
    return torch.triu(a) + torch.triu(a, 1).mH


def qr(a: Any, mode: str = "reduced") -> Any:
    """`numpy.linalg.qr`."""
    found = torch.linalg.qr(a, mode="complete" if mode == "complete" else "reduced")
    return found[1] if mode == "r" else tuple(found)


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """`numpy.linalg.pinv`."""
    limit = rcond if rtol is None else rtol
    return torch.linalg.pinv(a, rtol=1e-15 if limit is None else limit, hermitian=hermitian)


def _transform(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, n=None, axis=-1, norm=None: function(a, n=n, dim=axis, norm=norm)


def _transforms(function: Callable[..., Any], default: Any) -> Callable[..., Any]:
    def transforms(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        axes = tuple(range(-len(s), 0)) if axes is None and s is not None else axes
        return function(a, s=s, dim=axes, norm=norm)

    return transforms


# Elementwise


def _without_derivative(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose derivative is 0: numbers that do not depend on the parameters."""
    return lambda x: function(x.detach())


def hypot(x: Any, y: Any) -> Any:
    """`numpy.hypot`, whose derivative at 0 is 0."""
    is_zero = (x == 0) & (y == 0)
    return torch.where(is_zero, 0.0, torch.hypot(torch.where(is_zero, 1.0, x), y))


_SAME_NAME_IN_TORCH = """
    exp exp2 expm1 log log2 log10 log1p sqrt square sin cos tan arcsin arccos arctan sinh cosh tanh
    arcsinh arccosh arctanh absolute negative positive reciprocal
    deg2rad rad2deg isnan isinf isfinite signbit logical_not bitwise_not remainder fmod maximum
    minimum fmax fmin arctan2 logaddexp logaddexp2 logical_and logical_or logical_xor
    bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift matmul gcd lcm
    nextafter where einsum
""".split()

NATIVES: dict[str, Any] = {name: getattr(torch, name) for name in _SAME_NAME_IN_TORCH} | {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    "less": operator.lt,
    "less_equal": operator.le,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "floor_divide": lambda x, y: torch.floor_divide(x.detach(), y.detach()),
    "fabs": torch.abs,
    "sign": _without_derivative(torch.sign),
    "ceil": _without_derivative(torch.ceil),
    "floor": _without_derivative(torch.floor),
    "trunc": _without_derivative(torch.trunc),
    "rint": _without_derivative(torch.round),
    "hypot": hypot,
    "degrees": torch.rad2deg,
    "radians": torch.deg2rad,
    "invert": torch.bitwise_not,
    "left_shift": torch.bitwise_left_shift,
    "right_shift": torch.bitwise_right_shift,
    "conjugate": torch.conj_physical,
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "reshape": reshape,
    "ravel": lambda a, order="C": reshape(a, -1, order),
    "transpose": transpose,
    "permute_dims": transpose,
    "moveaxis": lambda a, source, destination: a.movedim(_axes(a, source), _axes(a, destination)),
    "swapaxes": lambda a, axis1, axis2: a.transpose(_axis(a, axis1), _axis(a, axis2)),
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "broadcast_to": lambda array, shape, subok=False: torch.broadcast_to(array, _lengths(shape)),
    "sum": _reducing(torch.sum),
    "mean": _reducing(torch.mean, _inexact),
    "max": _reducing(_not_of_nothing(torch.amax)),
    "amax": _reducing(_not_of_nothing(torch.amax)),
    "min": _reducing(_not_of_nothing(torch.amin)),
    "amin": _reducing(_not_of_nothing(torch.amin)),
    "all": _reducing(torch.all, _as_truth),
    "any": _reducing(torch.any, _as_truth),
    "cumsum": lambda a, axis=None: (
        torch.cumsum(a.reshape(-1), 0) if axis is None else torch.cumsum(a, int(axis))
    ),
    **dict.fromkeys(
        ("round", "around"),
        lambda a, decimals=0: (
            torch.round(a, decimals=int(decimals)) if decimals else torch.round(a)
        ),
    ),
    "fix": _without_derivative(torch.trunc),
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
    "linalg.det": with_slope(torch.linalg.det, _det_pulled_back),
    "linalg.slogdet": lambda a: tuple(torch.linalg.slogdet(a)),
    "linalg.solve": torch.linalg.solve,
    "linalg.cholesky": lambda a, *, upper=False: torch.linalg.cholesky(
        _hermitian(a, "U" if upper else "L"), upper=upper
    ),
    "linalg.eigh": lambda a, UPLO="L": tuple(torch.linalg.eigh(_hermitian(a, UPLO), UPLO=UPLO)),
    "linalg.eig": lambda a: tuple(torch.linalg.eig(a)),
    "linalg.svd": lambda a, full_matrices=True, compute_uv=True: (
        tuple(torch.linalg.svd(a, full_matrices=full_matrices))
        if compute_uv
        else torch.linalg.svdvals(a)
    ),
    "linalg.qr": qr,
    "linalg.pinv": pinv,
    "fft.fftshift": lambda x, axes=None: torch.fft.fftshift(x, dim=axes),
    "fft.ifftshift": lambda x, axes=None: torch.fft.ifftshift(x, dim=axes),
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

"""Derivative rules that autograd lacks, or has wrong, registered as its users register theirs.

Each formula is held against complex steps or high precision in `tests/test_rules.py`. g is the
derivative of the loss by the result (in forward mode: of the argument by the parameters).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autograd.numpy as anp
import autograd.numpy.fft as afft
import autograd.numpy.linalg as alinalg
import numpy as np
from autograd.core import (
    JVPNode,
    VJPNode,
    def_linear,
    defjvp,
    defvjp,
    defvjp_argnum,
    defvjp_argnums,
    make_vjp,
    vspace,
)
from autograd.extend import primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import getval, isbox, register_notrace, trace_primitives_map
from autograd.util import subval

from gradlab.arrays import composites, composites_math
from gradlab.arrays import writing as writing  # registers functions that write
from gradlab.arrays.composites import as_array
from gradlab.arrays.dispatch import refuse_function
from gradlab.arrays.indexing import gather_at, is_traced

# Shapes


def unbroadcast(g: Any, shape: tuple[int, ...], is_complex: bool) -> Any:
    """Sum over what was repeated to match another operand: the adjoint of broadcasting."""
    extra = np.ndim(g) - len(shape)
    if extra:
        g = anp.sum(g, axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and anp.shape(g)[i] != 1)
    if repeated:
        g = anp.sum(g, axis=repeated, keepdims=True)
    return anp.real(g) if anp.iscomplexobj(g) and not is_complex else g


def _unbroadcast_to(x: Any) -> Callable[[Any], Any]:
    return partial(unbroadcast, shape=anp.shape(x), is_complex=anp.iscomplexobj(x))


# where: autograd's rule leaves out the sum over what is broadcast

_where = trace_primitives_map[np.where]  # `anp.where` is a function around it


def _where_vjp(ans: Any, x: Any, share: Callable[[Any, Any], Any]) -> Any:
    sum_up = _unbroadcast_to(x)
    return lambda g: sum_up(share(g, anp.zeros(anp.shape(g))))


defvjp(
    _where,
    None,
    lambda ans, c, x=None, y=None: _where_vjp(ans, x, lambda g, zero: _where(c, g, zero)),
    lambda ans, c, x=None, y=None: _where_vjp(ans, y, lambda g, zero: _where(c, zero, g)),
)
defjvp(
    _where,
    None,
    lambda g, ans, c, x=None, y=None: _where(c, g, anp.zeros(anp.shape(ans))),
    lambda g, ans, c, x=None, y=None: _where(c, anp.zeros(anp.shape(ans)), g),
)


def where(condition: Any, *choices: Any) -> Any:
    """Return `numpy.where` of traced arrays; of a condition alone, where it holds."""
    if not choices:
        return anp.nonzero(condition)
    return _where(condition, *choices)


defvjp(
    anp.broadcast_to,
    lambda ans, x, shape: _unbroadcast_to(x),
    argnums=(0,),
)


# Elementwise


def of_complex(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that leaves real arrays as they are: their real part, or conjugate."""
    return lambda x: function(x) if anp.iscomplexobj(x) else x


defvjp(anp.cbrt, lambda ans, x: lambda g: g / (3 * ans**2))
defjvp(anp.cbrt, lambda g, ans, x: g / (3 * ans**2))
defjvp(anp.hypot, lambda g, ans, x, y: g * x / ans, lambda g, ans, x, y: g * y / ans)


def _astype_vjp(ans: Any, x: Any, dtype: Any, **options: Any) -> Any:
    kind = anp.result_type(x)
    is_real = kind.kind != "c"  # then only the real part of g belongs to x
    return lambda g: anp.astype(anp.real(g) if is_real and anp.iscomplexobj(g) else g, kind)


defvjp(anp.astype, _astype_vjp, argnums=(0,))
defjvp(anp.astype, lambda g, ans, x, dtype, **options: anp.astype(g, ans.dtype))


@primitive
def _integers(x: Any, dtype: Any) -> Any:
    return np.asarray(x).astype(dtype)


register_notrace(VJPNode, _integers)
register_notrace(JVPNode, _integers)


def astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
    """Return an array in another dtype; among integers there is no derivative."""
    return anp.astype(x, dtype) if np.dtype(dtype).kind in "fc" else _integers(x, dtype)


# Constants beside a traced array, and writing


@primitive
def _constant(like: Any, value: Any) -> Any:
    return np.array(value)


defvjp(_constant, lambda ans, like, value: lambda g: vspace(like).zeros(), argnums=(0,))
defjvp(_constant, lambda g, ans, like, value: np.zeros(np.shape(ans), ans.dtype), argnums=(0,))


def constant(like: Any, value: Any) -> Any:
    """Return an array as one that is traced as another is, on which it does not depend."""
    return _constant(like, value)


def filled_like(value: float) -> Callable[..., Any]:
    """Return `numpy.zeros_like` or one of its kind, for traced arrays."""

    def like(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
    ) -> Any:
        return full_like(a, value, dtype, order, subok, shape)

    return like


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    """Return an array of one value, which can be written into if it is of floating point."""
    dtype = np.dtype(anp.result_type(a) if dtype is None else dtype)
    shape = anp.shape(a) if shape is None else shape
    if composites.has_traced(fill_value):
        return anp.broadcast_to(fill_value, shape)
    made = np.full(shape, fill_value, dtype)
    return constant(a, made) if dtype.kind in "fc" and made.ndim else made


@primitive
def _put(x: Any, value: Any, index: Any) -> Any:
    result = np.array(x, np.result_type(x, value) if np.iscomplexobj(value) else None)
    result[index] = value
    return result


def _without(g: Any, index: Any) -> Any:
    return _put(g, np.zeros((), g.dtype), index)


def _winners(shape: tuple[int, ...], index: Any) -> Any:
    """Return 1 where an entry of an index is the last that writes its place, else 0."""
    places = np.arange(int(np.prod(shape))).reshape(shape)[index]
    order = np.arange(np.size(places)).reshape(np.shape(places))
    last = np.zeros(int(np.prod(shape)), int)
    last[places] = order
    return (last[places] == order).astype(float)


def _put_vjp_of_value(ans: Any, x: Any, value: Any, index: Any) -> Any:
    sum_up, shape = _unbroadcast_to(value), anp.shape(x)
    has_arrays = any(np.ndim(i) for i in (index if isinstance(index, tuple) else (index,)))

    def vjp(g: Any) -> Any:
        share = getitem(g, index)
        if has_arrays:
            share = share * _winners(shape, index)
        # NumPy drops leading axes of length 1 of a value that has more than the entries.
        extra = anp.ndim(value) - anp.ndim(share)
        return sum_up(share[(None,) * extra] if extra > 0 else share)

    return vjp


defvjp(_put, lambda ans, x, value, index: lambda g: _without(g, index), _put_vjp_of_value)
defjvp(
    _put,
    lambda g, ans, x, value, index: _without(g, index),
    lambda g, ans, x, value, index: _put(anp.zeros(anp.shape(ans)), g, index),
)


def getitem(x: Any, index: Any) -> Any:
    """Return the entries of an array at an index, which may be traced itself."""
    return gather_at(x, index) if is_traced(index) else ArrayBox.__getitem__(x, index)


def put(x: Any, index: Any, value: Any) -> Any:
    """Return an array with other values at an index.

    Examples
    --------
    >>> put(np.zeros(3), [0, 2], 5.0)
    array([5., 0., 5.])
    """
    return _put(x, value, index)


def concatenate(arrays: Sequence[Any], axis: Any = 0, **options: Any) -> Any:
    """Join arrays along an axis."""
    rows = [as_array(a) for a in arrays]
    if axis is None:
        rows, axis = [anp.ravel(row) for row in rows], 0
    return anp.concatenate_args(axis, *of_one_kind(*rows))


def of_one_kind(*arrays: Any) -> Any:
    """Return arrays all complex if one is, so that each gets a cotangent of its own kind."""
    if not any(map(anp.iscomplexobj, arrays)):
        return arrays
    return tuple(a if anp.iscomplexobj(a) else a + 0j for a in arrays)


# Functions whose rule is that of a composite


def _rule_of(composite: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule that traces a composite where the derivative is asked for."""

    def vjps(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        def pull_back(argnum: int) -> Any:
            return make_vjp(lambda x: composite(*subval(args, argnum, x), **kwargs), args[argnum])[
                0
            ]

        made = [pull_back(argnum) for argnum in argnums]
        return lambda g: tuple(vjp(g) for vjp in made)

    return vjps


defvjp_argnums(anp.tile, _rule_of(composites.tile))
defvjp_argnums(anp.roll, _rule_of(composites.roll))
defvjp_argnums(anp.repeat, _rule_of(composites.repeat))
defvjp_argnums(anp.rot90, _rule_of(composites.rot90))
defvjp_argnums(anp.sort, _rule_of(composites.sort))
defvjp_argnums(anp.prod, _rule_of(composites.prod))
defvjp_argnums(anp.sinc, _rule_of(composites_math.sinc))
defvjp_argnums(anp.linspace, _rule_of(composites_math.linspace))


# einsum: autograd's rule is right where no operand repeats a subscript or is repeated itself


@primitive
def contract(subscripts: str, *operands: Any) -> Any:
    """Evaluate an einsum whose operands have each subscript once, and in full length."""
    return np.einsum(subscripts, *operands)


def _contract_vjp(argnum: int, ans: Any, args: Any, kwargs: Any) -> Any:
    subscripts, *operands = args
    inputs, output = subscripts.split("->")
    names = inputs.split(",")
    own, rest = names.pop(argnum - 1), operands[: argnum - 1] + operands[argnum:]
    seen = set(output).union(*names)
    # What the operand alone has was summed: it comes back by repeating.
    alone = [name for name in own if name not in seen]
    kept = "".join(name for name in own if name in seen)
    shape, is_complex = anp.shape(operands[argnum - 1]), anp.iscomplexobj(operands[argnum - 1])

    def vjp(g: Any) -> Any:
        share = contract(",".join([output, *names]) + "->" + kept, g, *rest)
        share = share if is_complex else anp.real(share)
        spread = [i for i, name in enumerate(own) if name in alone]
        return anp.broadcast_to(anp.expand_dims(share, tuple(spread)), shape) if spread else share

    return vjp


defvjp_argnum(contract, _contract_vjp)
def_linear(contract)
defvjp_argnum(anp.einsum, lambda argnum, ans, args, kwargs: _einsum_vjp(argnum, args))


def _einsum_vjp(argnum: int, args: Any) -> Any:
    return make_vjp(lambda x: composites_math.einsum(*subval(args, argnum, x)), args[argnum])[0]


# Linear algebra


def _t(x: Any) -> Any:
    return anp.swapaxes(x, -1, -2)


def _h(x: Any) -> Any:
    return anp.conj(_t(x)) if anp.iscomplexobj(x) else _t(x)


def solve(a: Any, b: Any) -> Any:
    """Return the solution of a x = b, for a vector or for matrices, with batches."""
    a, b = as_array(a), as_array(b)
    if anp.ndim(b) == 1:
        return alinalg.solve(a, b[:, None])[..., 0]
    return alinalg.solve(a, b)


def _solve_vjp_of_a(ans: Any, a: Any, b: Any) -> Any:
    sum_up = _unbroadcast_to(a)

    def columns(x: Any) -> Any:
        return x[..., None] if anp.ndim(b) == 1 else x

    return lambda g: sum_up(-anp.matmul(columns(solve_t(a, g)), _t(columns(ans))))


def solve_t(a: Any, g: Any) -> Any:
    """Return the solution of aᵀ x = g."""
    return solve(_t(a), g)


def _solve_vjp_of_b(ans: Any, a: Any, b: Any) -> Any:
    sum_up = _unbroadcast_to(b)
    return lambda g: sum_up(solve_t(a, g))


defvjp(alinalg.solve, _solve_vjp_of_a, _solve_vjp_of_b)


def transpose(a: Any, axes: Any = None) -> Any:
    """Return an array with its axes in another order, which autograd counts from the front."""
    if axes is None:
        return anp.transpose(a)
    return anp.transpose(a, tuple(axis % anp.ndim(a) for axis in axes))


def named(decompose: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decomposition whose result has NumPy's names, also of traced arrays."""

    def decomposition(*args: Any, **kwargs: Any) -> Any:
        result = decompose(*args, **kwargs)
        return type(getval(result))(*result) if isbox(result) else result

    return decomposition


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return the singular value decomposition.

    The full one is the reduced one and vectors orthogonal to it, which are not unique: a loss that
    depends on them has no derivative.
    """
    m, n = anp.shape(a)[-2:]
    a = _hermitian(a) if hermitian else a
    if not compute_uv:
        return svdvals(a)
    u, s, vt = result = named(alinalg.svd)(a, full_matrices=False)
    if full_matrices and m > n:
        return result._replace(U=concatenate([u, _complement(u)], -1))
    if full_matrices and m < n:
        return result._replace(Vh=concatenate([vt, _h(_complement(_h(vt)))], -2))
    return result


@primitive
def _complement(q: Any) -> Any:
    """Return orthonormal columns orthogonal to those of q."""
    return np.linalg.svd(q, full_matrices=True)[0][..., np.shape(q)[-1] :]


def _complement_vjp(ans: Any, q: Any) -> Any:
    def vjp(g: Any) -> Any:
        # 0 where the loss does not use them, else NaN: who uses them is told that it is not finite.
        return anp.sum(_quotient(g, 0.0)) + vspace(q).zeros()

    return vjp


defvjp(_complement, _complement_vjp)
# Not a number: who uses it is told that the derivative is not finite.
defjvp(_complement, lambda g, ans, q: np.full(np.shape(ans), np.nan, ans.dtype))


def svdvals(a: Any) -> Any:
    """Return the singular values."""
    return alinalg.svd(a, full_matrices=False, compute_uv=False)


def _cofactor(x: Any, ans: Any) -> Any:
    """Return det(x) x⁻ᵀ; of a singular matrix by its singular values, det(u vᵀ) u adj(s) vᵀ."""
    if not np.any(getval(ans) == 0):
        return ans[..., None, None] * _t(alinalg.inv(x))
    u, s, v = alinalg.svd(x, full_matrices=False)
    n = anp.shape(x)[-1]
    others = [anp.prod(s[..., [j for j in range(n) if j != i]], axis=-1) for i in range(n)]
    adjugate = composites.stack(others, axis=-1)
    sign = alinalg.det(anp.matmul(u, v))
    return sign[..., None, None] * anp.matmul(u * adjugate[..., None, :], v)


def _trace_of_product(a: Any, b: Any) -> Any:
    return anp.sum(a * b, axis=(-2, -1))


defvjp(alinalg.det, lambda ans, x: lambda g: g[..., None, None] * _cofactor(x, ans))
defjvp(alinalg.det, lambda g, ans, x: _trace_of_product(_cofactor(x, ans), g))


def _slogdet_vjp(ans: Any, x: Any) -> Any:
    """d log det x = tr(x⁻¹ dx): its real part moves the logarithm, its imaginary part the phase."""

    def vjp(g: Any) -> Any:
        scale = g[1]
        if anp.iscomplexobj(x):
            scale = scale + 1j * anp.imag(g[0] * ans[0])
        return anp.reshape(scale, anp.shape(scale) + (1, 1)) * _t(alinalg.inv(x))

    return vjp


def _slogdet_jvp(g: Any, ans: Any, x: Any) -> Any:
    relative = _trace_of_product(_t(alinalg.inv(x)), g)
    if not anp.iscomplexobj(x):
        return type(ans)(0.0 * ans[0], relative)
    return type(ans)(1j * anp.imag(relative) * ans[0], anp.real(relative))


defvjp(alinalg.slogdet, _slogdet_vjp)
defjvp(alinalg.slogdet, _slogdet_jvp)


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, **options: Any) -> Any:
    """Return the pseudo-inverse, where the rank stays the same nearby."""
    a = _hermitian(a) if hermitian else a
    return alinalg.pinv(a, **({} if rcond is None else {"rcond": rcond}), **options)


def _pinv_jvp(g: Any, p: Any, x: Any, **options: Any) -> Any:
    """Golub & Pereyra, SIAM Journal on Numerical Analysis 10 (1973), equation 4.12; constant rank."""
    left = np.eye(anp.shape(p)[-2]) - anp.matmul(p, x)
    right = np.eye(anp.shape(x)[-2]) - anp.matmul(x, p)
    first = -anp.matmul(anp.matmul(p, g), p)
    second = anp.matmul(anp.matmul(anp.matmul(p, _h(p)), _h(g)), right)
    third = anp.matmul(anp.matmul(anp.matmul(left, _h(g)), _h(p)), p)
    return first + second + third


def _pinv_vjp(ans: Any, x: Any, **options: Any) -> Any:
    """Return the adjoint of `_pinv_jvp`, term by term."""

    def vjp(g: Any) -> Any:
        p, ph, gh = ans, _h(ans), anp.conj(g)
        left = np.eye(anp.shape(p)[-2]) - anp.matmul(p, x)
        right = np.eye(anp.shape(x)[-2]) - anp.matmul(x, p)
        first = -anp.matmul(anp.matmul(ph, gh), ph)
        second = anp.matmul(anp.matmul(right, _h(gh)), anp.matmul(p, ph))
        third = anp.matmul(anp.matmul(anp.matmul(ph, p), _h(gh)), left)
        return anp.conj(first + second + third)

    return vjp


defvjp(alinalg.pinv, _pinv_vjp)
defjvp(alinalg.pinv, _pinv_jvp)


def _quotient(x: Any, d: Any) -> Any:
    """Return x / d; of d = 0, 0 where x is 0, and else NaN, which ends in an error.

    So the vectors of equal eigenvalues, which have no derivative, harm only a loss that uses them.
    """
    is_zero = d == 0
    return x / _where(is_zero, anp.where(x == 0, 1.0, np.nan), d)


def _turn(x: Any, w: Any) -> Any:
    """Return xᵢⱼ / (wⱼ - wᵢ), and 0 on the diagonal."""
    off = 1.0 - np.eye(anp.shape(w)[-1])
    return _quotient(x * off, w[..., None, :] - w[..., :, None])


def _eigh_jvp(g: Any, ans: Any, x: Any, UPLO: str = "L") -> Any:
    """Giles, *Collected matrix derivative results*, 2008, section 3.1."""
    w, v = ans
    inner = anp.matmul(_h(v), anp.matmul(_hermitian(g, UPLO), v))
    turning = _turn(inner, w)
    return type(ans)(anp.real(composites.diagonal(inner, 0, -2, -1)), anp.matmul(v, turning))


def _eigh_vjp(ans: Any, x: Any, UPLO: str = "L") -> Any:
    """Return the adjoint of `_eigh_jvp`; the triangle that is not read has derivative 0."""
    w, v = ans

    def vjp(g: Any) -> Any:
        eye = np.eye(anp.shape(w)[-1])
        inner = g[0][..., None, :] * eye + _turn(anp.matmul(_t(v), g[1]), w)
        share = anp.matmul(anp.conj(v), anp.matmul(inner, _t(v)))
        both = share + _h(share)
        return anp.real(share) * eye + (anp.tril(both, -1) if UPLO == "L" else anp.triu(both, 1))

    return vjp


defvjp(alinalg.eigh, _eigh_vjp)
defjvp(alinalg.eigh, _eigh_jvp)


def eig(a: Any) -> Any:
    """Return eigenvalues and eigenvectors; the largest entry of a complex vector is real."""
    result = named(alinalg.eig)(a)
    w, v = result
    if not anp.iscomplexobj(v):
        return result
    # So LAPACK chooses the phases. Repeated here, the choice has its derivative.
    largest = anp.argmax(anp.abs(v), axis=-2)[..., None, :]
    entry = composites.take_along_axis(v, largest, -2)
    return type(result)(w, v * (anp.conj(entry) / anp.abs(entry)))


def _eig_vjp(ans: Any, x: Any) -> Any:
    """Boeddeker et al., *On the computation of complex-valued gradients*, arXiv:1701.00392."""
    w, v = ans

    def vjp(g: Any) -> Any:
        gw, gv = g
        vt, eye = _t(v), np.eye(anp.shape(w)[-1])
        own = anp.matmul(vt, gv)
        norms = anp.matmul(anp.matmul(vt, anp.conj(v)), anp.real(own) * eye)
        inner = gw[..., None, :] * eye + _turn(own - norms, w)
        share = anp.matmul(alinalg.inv(vt), anp.matmul(inner, vt))
        return share if anp.iscomplexobj(x) else anp.real(share)

    return vjp


def _eig_jvp(g: Any, ans: Any, x: Any) -> Any:
    w, v = ans
    inner = solve(v, anp.matmul(g, v))
    dv = anp.matmul(v, _turn(inner, w))
    growth = anp.sum(anp.real(anp.conj(v) * dv), axis=-2, keepdims=True)
    return type(ans)(composites.diagonal(inner, 0, -2, -1), dv - v * growth)


defvjp(alinalg.eig, _eig_vjp)
defjvp(alinalg.eig, _eig_jvp)


def _svd_jvp(g: Any, ans: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Townsend, *Differentiating the singular value decomposition*, 2016, equations 16 to 18."""
    u, s, vt = ans if compute_uv else alinalg.svd(a, full_matrices=False)
    if compute_uv and full_matrices and anp.shape(a)[-1] != anp.shape(a)[-2]:
        raise NotImplementedError("JVP of svd with full_matrices=True not defined")
    uh, v = _h(u), _h(vt)
    p = anp.matmul(anp.matmul(uh, g), v)
    ds = anp.real(composites.diagonal(p, 0, -2, -1))
    if not compute_uv:
        return ds
    ps, sp = p * s[..., None, :], s[..., :, None] * p
    du = anp.matmul(u, _turn(ps + _h(ps), s**2))
    dv = anp.matmul(v, _turn(sp + _h(sp), s**2))
    # What leaves the spaces of u and of v.
    gv, gu = anp.matmul(g, v), anp.matmul(_h(g), u)
    if anp.iscomplexobj(p):  # phases, which u and v share: all of the change goes to u
        phase = _quotient(anp.imag(composites.diagonal(p, 0, -2, -1)), s)
        du = du + u * (1j * phase)[..., None, :]
    m, n = anp.shape(a)[-2:]
    if m > n:
        du = du + _quotient(gv - anp.matmul(u, anp.matmul(uh, gv)), s[..., None, :])
    if m < n:
        dv = dv + _quotient(gu - anp.matmul(v, anp.matmul(vt, gu)), s[..., None, :])
    return type(ans)(du, ds, _h(dv))


def _svd_vjp(ans: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Return the adjoint of `_svd_jvp`."""
    if full_matrices and compute_uv and anp.shape(a)[-1] != anp.shape(a)[-2]:
        raise NotImplementedError("VJP of svd with full_matrices=True not defined")

    def vjp(g: Any) -> Any:
        u, s, vt = ans if compute_uv else alinalg.svd(a, full_matrices=False)
        row, eye = s[..., None, :], np.eye(anp.shape(s)[-1])
        if not compute_uv:
            return anp.matmul(anp.conj(u) * g[..., None, :], anp.conj(vt))
        gu, gs, gv = g[0], g[1], _h(g[2])
        uu, vv = anp.matmul(_t(u), gu), anp.matmul(anp.conj(vt), gv)
        inner = _turn(uu - _h(uu), s**2) * row + gs[..., None, :] * eye
        inner = inner + s[..., :, None] * _turn(vv - _h(vv), s**2)
        if anp.iscomplexobj(u):
            inner = inner + 1j * _quotient(anp.imag(uu) * eye, row)
        share = anp.matmul(anp.conj(u), anp.matmul(inner, anp.conj(vt)))
        m, n = anp.shape(a)[-2:]
        if m > n:
            rest = gu - anp.matmul(anp.conj(u), uu)
            share = share + anp.matmul(_quotient(rest, row), anp.conj(vt))
        if m < n:
            rest = anp.conj(gv) - anp.matmul(_h(vt), anp.conj(vv))
            share = share + anp.matmul(anp.conj(u), _t(_quotient(rest, row)))
        return share

    return vjp


defvjp(alinalg.svd, _svd_vjp)
defjvp(alinalg.svd, _svd_jvp)


# QR of real matrices of full rank that are not wider than tall


def qr(a: Any, mode: str = "reduced") -> Any:
    """Return an orthogonal and a triangular factor."""
    m, n = anp.shape(a)[-2:]
    if mode not in ("reduced", "r") or m < n or anp.iscomplexobj(a):
        refuse_function("autograd", np.linalg.qr)
    q, r = alinalg.qr(a)
    return r if mode == "r" else type(np.linalg.qr(np.eye(1)))(q, r)


def _qr_vjp(ans: Any, a: Any) -> Any:
    """Walter & Lehmann, *Algorithmic differentiation of linear algebra functions*, 2013."""
    q, r = ans

    def vjp(g: Any) -> Any:
        gq, gr = g
        m = anp.matmul(r, _t(gr)) - anp.matmul(_t(gq), q)
        lower = anp.tril(m, -1)
        symmetric = lower + _t(lower) + m * np.eye(anp.shape(m)[-1])
        return _t(solve(r, _t(gq + anp.matmul(q, symmetric))))

    return vjp


def _qr_jvp(g: Any, ans: Any, a: Any) -> Any:
    q, r = ans
    c = _t(solve(_t(r), _t(g)))  # g r⁻¹
    inner = anp.matmul(_t(q), c)
    lower = anp.tril(inner, -1)
    turning = lower - _t(lower)
    dq = c - anp.matmul(q, inner) + anp.matmul(q, turning)
    return type(ans)(dq, anp.matmul(inner - turning, r))


defvjp(alinalg.qr, _qr_vjp)
defjvp(alinalg.qr, _qr_jvp)
defjvp(alinalg.inv, lambda g, ans, x: -anp.matmul(anp.matmul(ans, g), ans))
defjvp(
    alinalg.solve,
    lambda g, ans, a, b: -solve(a, anp.matmul(g, ans)),
    lambda g, ans, a, b: solve(a, g),
)


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """Return a triangular factor; like NumPy, read one triangle of the matrix alone."""
    factor = alinalg.cholesky(_hermitian(a, "U" if upper else "L"))
    return _h(factor) if upper else factor


def _hermitian(a: Any, uplo: str = "L") -> Any:
    """Return the Hermitian matrix of which LAPACK reads one triangle."""
    half = anp.tril(a, -1) if uplo == "L" else _h(anp.triu(a, 1))
    return half + _h(half) + anp.real(a) * np.eye(anp.shape(a)[-1])


def _lower_half(x: Any) -> Any:
    """Return the lower triangle, with half of the diagonal: Φ of Murray, arXiv:1602.07527."""
    return anp.tril(x) - 0.5 * x * np.eye(anp.shape(x)[-1])


def _cholesky_vjp(ans: Any, x: Any) -> Any:
    """L⁻ᵀ Φ(Lᵀ g) conj(L)⁻¹, made Hermitian: the adjoint of `_cholesky_jvp`."""

    def vjp(g: Any) -> Any:
        left = solve(_t(ans), _lower_half(anp.matmul(_t(ans), g)))
        share = _t(solve(_h(ans), _t(left)))
        return (share + _h(share)) / 2

    return vjp


def _cholesky_jvp(g: Any, ans: Any, x: Any) -> Any:
    """L Φ(L⁻¹ g L⁻ᴴ): Murray, arXiv:1602.07527."""
    inner = solve(ans, _h(solve(ans, (g + _h(g)) / 2)))
    return anp.matmul(ans, _lower_half(inner))


defvjp(alinalg.cholesky, _cholesky_vjp)
defjvp(alinalg.cholesky, _cholesky_jvp)


# Fourier transforms: linear, and of odd lengths as well

for _name in """
    fft ifft fft2 ifft2 fftn ifftn rfft irfft rfft2 irfft2 rfftn irfftn fftshift ifftshift
""".split():
    defjvp(getattr(afft, _name), "same")


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the first half of the transform of real entries."""
    n = anp.shape(a)[axis] if n is None else n
    return anp.swapaxes(
        anp.swapaxes(afft.fft(a, n, axis, norm), axis, -1)[..., : n // 2 + 1], axis, -1
    )


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: Any = None) -> Any:
    """Return the real entries whose transform begins with these."""
    half = anp.swapaxes(a, axis, -1) + 0j
    n = 2 * (anp.shape(half)[-1] - 1) if n is None else n
    kept = n // 2 + 1
    if anp.shape(half)[-1] < kept:
        missing = kept - anp.shape(half)[-1]
        half = concatenate([half, np.zeros((*anp.shape(half)[:-1], missing))], -1)
    half = half[..., :kept]
    first = anp.real(half[..., :1]) + 0j
    inner = half[..., 1 : (n + 1) // 2]
    middle = [anp.real(half[..., n // 2 : kept]) + 0j] if n % 2 == 0 and n > 1 else []
    full = concatenate([first, inner, *middle, anp.conj(inner[..., ::-1])], -1)
    return anp.swapaxes(anp.real(afft.ifft(full, n, -1, norm)), axis, -1)


def rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the transform of real entries along several axes, the last one halved."""
    axes = tuple(range(anp.ndim(a))) if axes is None and s is None else axes
    axes = tuple(range(-len(s), 0)) if axes is None else tuple(axes)
    s = [anp.shape(a)[i] for i in axes] if s is None else s
    result = rfft(a, s[-1], axes[-1], norm)
    return afft.fftn(result, s[:-1], axes[:-1], norm) if len(axes) > 1 else result


def irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
    """Return the inverse of `rfftn`."""
    axes = tuple(range(anp.ndim(a))) if axes is None and s is None else axes
    axes = tuple(range(-len(s), 0)) if axes is None else tuple(axes)
    if s is None:
        s = [anp.shape(a)[i] for i in axes]
        s[-1] = 2 * (s[-1] - 1)
    result = afft.ifftn(a, s[:-1], axes[:-1], norm) if len(axes) > 1 else a
    return irfft(result, s[-1], axes[-1], norm)


def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
    """Return the transform of real entries along two axes, the last one halved."""
    return rfftn(a, s, axes, norm)


def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None) -> Any:
    """Return the inverse of `rfft2`."""
    return irfftn(a, s, axes, norm)


for _flat in (anp.digitize, anp.isin, anp.lexsort, anp.heaviside, anp.signbit):
    register_notrace(VJPNode, _flat)
    register_notrace(JVPNode, _flat)

DATA = {np.unravel_index, np.ravel_multi_index, np.digitize, np.isin, np.lexsort}
"""Functions of integers and truth values, which a recording follows and nobody differentiates."""

"""Short losses around one function of NumPy's, for each that people use."""

import numpy as np
from numpy import linalg as la
from numpy.linalg import norm

from .registry import below, loss, normal, rising, uniform

A5 = np.arange(1.0, 6.0)


@loss(normal(6), below(6, 4))
def take_entries(x, idx):
    return np.sum(np.take(x, idx) ** 2 * np.arange(1, 5))


@loss(normal(4, 3), below(3, 4))
def take_along_rows(z, y):
    picked = np.take_along_axis(z, y[:, None], axis=1)
    return -np.mean(picked - np.log(np.sum(np.exp(z), axis=1, keepdims=True)))


@loss(normal(5))
def cumprod_of_growth(r):
    return np.sum(np.cumprod(1 + 0.1 * r) * A5)


@loss(np.array([1.5, 0.0, -0.5, 2.0]))
def cumprod_through_zero(x):
    return np.sum(np.cumprod(x) * np.array([1.0, 2.0, 3.0, 4.0]))


@loss(normal(7))
def median_odd(x):
    return np.median(x) ** 2 + 0.1 * np.sum(x)


@loss(normal(4, 6))
def median_of_rows(x):
    return np.sum(np.median(x, axis=1) ** 2)


@loss(normal(11))
def percentile_90(losses):
    return np.percentile(losses, 90) * 3


@loss(normal(8, 3))
def quantiles_of_columns(x):
    q = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    return np.sum((q[2] - q[0]) ** 2) + q[1].sum()


@loss(normal(5), uniform(0.2, 3.8, 6))
def interp_table(heights, at):
    return np.sum(np.interp(at, np.arange(5), heights) ** 2)


@loss(uniform(0.1, 3.9, 4), normal(5))
def interp_positions(at, heights):
    return np.interp(at, np.arange(5.0), heights).dot(at)


@loss(np.array([0.3, 0.0, -1.2, 2.5]))
def sinc_with_zero(x):
    return np.sum(np.sinc(x) * np.array([1.0, 2.0, 3.0, 4.0]))


@loss((normal(4), normal(4)))
def vdot_pair(ab):
    a, b = ab
    return np.vdot(a, b) + 0.5 * np.vdot(a, a)


@loss(normal(3, 4), normal(4))
def where_broadcast(x, row):
    return np.sum(np.where(x > 0, row * x, 0.1) ** 2)


@loss(normal(3, 1), normal(3, 4))
def where_branches_of_other_shapes(slope, x):
    return np.where(x > 0, x, slope * x).mean() + np.where(x < 0, slope, 1.0).sum() ** 2


@loss(normal(3, 3))
def einsum_trace(m):
    return np.einsum("ii", m) ** 2 + np.einsum("ii->i", m).prod()


@loss((normal(2, 3, 4), normal(4, 2)), normal(3))
def einsum_batched(p, v):
    a, b = p
    return np.einsum("ijk,kl,j->il", a, b, v).sum() + np.einsum("...k,...k->...", a, a).max()


@loss(normal(3), normal(2, 4, 3))
def einsum_ellipsis(w, x):
    return np.sum(np.tanh(np.einsum("...d,d->...", x, w)))


@loss(normal(4, 3))
def norm_rows(x):
    return np.sum(np.linalg.norm(x, axis=1)) + norm(x)


@loss(normal(3, 3))
def norms_of_orders(m):
    return la.norm(m, 1) + la.norm(m, np.inf) + la.norm(m[0], 3) + la.norm(m, "fro")


@loss(normal(4, 4), seed=1)
def nuclear_and_spectral(m):
    return np.linalg.norm(m, "nuc") + np.linalg.norm(m, 2)


@loss(np.zeros(3))
def squared_norm_at_zero(x):
    return np.linalg.norm(x) ** 2 + x.sum()


@loss((normal(), normal()))
def linspace_of_ends(ab):
    lo, hi = ab
    t = np.linspace(lo, hi, 7)
    return np.sum(np.sin(t) * t)


@loss(normal(5), np.array([1.0, np.nan, 2.0, 3.0, np.nan]))
def nan_reductions(w, y):
    r = w * y
    return np.nansum(r**2) + np.nanmean(r) + np.nanmax(r)


@loss(normal(2, 3), np.array([[1.0, np.nan, 2.0], [0.5, -1.0, np.nan]]))
def nan_spread(w, y):
    return np.nanstd(w * y) + np.sum(np.nanvar(w * y, axis=0))


@loss(normal(7))
def piecewise_huber(r):
    return np.sum(
        np.piecewise(
            r, [np.abs(r) < 1, np.abs(r) >= 1], [lambda t: 0.5 * t**2, lambda t: np.abs(t) - 0.5]
        )
    )


@loss(normal(8))
def select_three(x):
    return np.sum(np.select([x < -0.5, x < 0.5], [-x, x**2], default=3 * x + 1))


@loss(normal(6), uniform(0.5, 2, 6))
def weighted_average(x, w):
    return np.average(x, weights=w) ** 2 + np.average(x)


@loss(uniform(0.5, 2, 4), normal(3, 4))
def average_by_learned_weights(w, x):
    return np.sum(np.average(x, axis=1, weights=w) ** 2)


@loss(normal(4, 3))
def pad_zeros(img):
    p = np.pad(img, ((1, 1), (2, 0)), mode="constant")
    return np.sum(p[:-1, :-1] * p[1:, 1:])


@loss(normal(6))
def pad_edge_and_reflect(x):
    e = np.pad(x, 2, mode="edge")
    r = np.pad(x, (1, 3), mode="reflect")
    return np.sum(np.diff(e) ** 2) + np.dot(r, np.arange(10.0))


@loss(normal(8))
def gradient_of_samples(y):
    return np.sum(np.gradient(y, 0.5) ** 2)


@loss(normal(4, 5))
def gradient_two_axes(u):
    gy, gx = np.gradient(u)
    return np.sum(np.sqrt(gx**2 + gy**2 + 1e-2))


@loss((normal(4), normal(3)))
def meshgrid_product(p):
    X, Y = np.meshgrid(p[0], p[1])
    return np.mean(np.sin(X) * np.cos(Y) + X * Y)


@loss(uniform(-1, 1, 5), normal(5))
def vander_nodes(x, c):
    return np.sum((np.vander(x) @ c) ** 2) + np.vander(x, 3, increasing=True)[:, 2].sum()


@loss(normal(3), normal(10))
def convolve_kernel(k, signal):
    return np.sum(np.convolve(signal, k, mode="valid") ** 2) + np.convolve(signal, k, "same")[3]


@loss(normal(6), normal(3))
def correlate_full(x, k):
    return np.sum(np.correlate(x, k, mode="full") * np.arange(8))


@loss(normal(4), uniform(-2, 2, 9))
def polyval_fit(c, x):
    return np.mean((np.polyval(c, x) - np.sin(x)) ** 2)


@loss(normal(6), rising(6))
def trapezoid_of_samples(y, x):
    return np.trapezoid(np.exp(y), x) + np.trapezoid(y**2)


@loss(normal(9))
def clip_both(x):
    return np.sum(np.clip(x, -0.8, 0.8) * x) + np.clip(x, 0.1, None).sum()


@loss(normal(7))
def sort_descending(x):
    return np.dot(np.sort(x)[::-1], np.arange(7) ** 2)


@loss(normal(4, 3))
def max_min_ptp(x):
    return x.max(axis=0).sum() - np.min(x) + np.ptp(x, axis=1).prod()


@loss(normal(6, 3))
def var_and_std(x):
    z = (x - x.mean(axis=0)) / np.std(x, axis=0, ddof=1, keepdims=True)
    return np.sum(z**3) + np.var(x, ddof=1) + x.std()


@loss((normal(4), normal(4)))
def logaddexp_chain(p):
    a, b = p
    return np.sum(np.logaddexp(a, b)) + np.logaddexp.reduce(a)


@loss(np.array([0.0, 1.0, -2.0, 0.5]), np.array([1.0, 2.0, 0.5, -0.3]))
def hypot_with_zero(x, y):
    return np.sum(np.hypot(x, y) * np.arange(1, 5))


@loss((normal(5), normal(5)))
def arctan2_angles(p):
    y, x = p
    return np.sum(np.arctan2(y, x) * A5)


@loss((normal(2, 3), normal(3, 2, 2)))
def tensordot_axes(p):
    a, b = p
    return np.tensordot(a, b, axes=([1, 0], [0, 1])).sum() + np.tensordot(a, b, 1).std()


@loss((normal(2, 2), normal(3, 2)))
def kron_and_outer(p):
    a, b = p
    return np.sum(np.kron(a, b) ** 2) + np.outer(a[0], b[:, 1]).sum()


@loss(normal(4))
def tile_repeat(x):
    return np.sum(np.tile(x, (3, 1)) * np.arange(12).reshape(3, 4)) + np.repeat(
        x, [1, 2, 0, 3]
    ).dot(np.arange(6))


@loss(normal(9))
def split_in_three(theta):
    a, b, c = np.split(theta, 3)
    return np.dot(a, b) + np.sum(np.exp(c) * a)


@loss(normal(7))
def array_split_uneven(theta):
    parts = np.array_split(theta, 3)
    return sum((i + 1) * np.sum(p**2) for i, p in enumerate(parts))


@loss({"a": normal(2, 3), "b": normal(2, 3), "c": normal(2)})
def stackings(p):
    h = np.hstack([p["a"], p["b"]])
    v = np.vstack((p["a"], p["b"]))
    d = np.dstack([p["a"], p["b"]])
    c = np.column_stack([p["c"], p["a"][:, 0]])
    return (h**2).sum() * 0.5 + np.sin(v).sum() + d[:, 1, 0].prod() + np.sum(c.T @ c)


@loss({"A": normal(2, 2), "B": normal(2, 1), "C": normal(1, 1)})
def block_matrix(p):
    K = np.block([[p["A"], p["B"]], [p["B"].T, p["C"]]])
    return np.trace(K @ K.T)


@loss(normal(3))
def append_ones(w):
    full = np.append(w, 1.0)
    return np.concatenate((full, w[::-1])) @ np.arange(7.0)


@loss(normal(4, 4))
def triangles_and_diagonals(m):
    L = np.tril(m, -1) + np.diag(np.exp(np.diag(m)))
    return np.sum(L @ L.T) + np.trace(np.triu(m)) + np.diagonal(m, offset=1).prod()


@loss(normal(4, 3))
def cumsum_axes(x):
    return np.sum(np.cumsum(x, axis=0)[-2:] ** 2) + x.cumsum()[4]


@loss(normal(3, 5))
def second_differences(x):
    return np.sum(np.diff(x, n=2, axis=1) ** 2) + np.diff(x, axis=0).max()


@loss(normal(6))
def roll_neighbours(s):
    return -np.sum(s * np.roll(s, 1)) + np.sum(np.roll(s, -2)[:3])


@loss(normal(3, 4))
def rot_and_flip(img):
    return (
        np.sum(np.rot90(img) * np.arange(12).reshape(4, 3))
        + np.flip(img, axis=1)[0, 0] ** 2
        + np.fliplr(img)[1] @ np.flipud(img)[1]
    )


@loss(normal(3, 4))
def ufunc_reduce(x):
    return (
        np.add.reduce(x, axis=1).prod() + np.maximum.reduce(x, axis=None) + np.multiply.reduce(x[0])
    )


@loss(normal(5))
def ufunc_accumulate_outer(x):
    return (
        np.add.accumulate(x)[3] ** 2
        + np.multiply.outer(x, x)[1:, 2].sum()
        + np.subtract.outer(x, A5).std()
    )


@loss(normal(5))
def special_ufuncs(x):
    return np.sum(
        np.expm1(x)
        + np.log1p(x**2)
        + np.cbrt(x + 5)
        + np.arcsinh(x)
        + np.reciprocal(x + 9)
        + np.deg2rad(x)
        + np.exp2(x)
        + np.log2(x * x + 1)
        + np.log10(x * x + 2)
        + np.positive(x)
        + np.fabs(x)
    )


@loss(normal(4), normal(4))
def fmax_copysign_ldexp(x, y):
    return (
        np.sum(np.fmax(x, y) * np.fmin(x, 2 * y))
        + np.sum(np.copysign(x, y) ** 3)
        + np.ldexp(x, 2).sum()
    )


@loss(normal(3, 4))
def moves_of_axes(x):
    y = np.moveaxis(np.expand_dims(x, 0), 0, -1)
    return (
        np.sum(np.squeeze(np.swapaxes(y, 0, 1)) @ x)
        + np.broadcast_to(x[0], (2, 4))[1].prod()
        + np.atleast_2d(x[1])[0, 1] ** 2
    )


@loss(normal(6))
def argsort_and_indices(x):
    order = np.argsort(x)
    best = np.argmax(x)
    return (
        np.dot(x[order], np.arange(6))
        + x[best] ** 2
        + x[np.nonzero(x > 0)].sum()
        + x[np.argmin(np.abs(x))] ** 2
    )


@loss(normal(3, 3))
def fancy_pairs(m):
    i, j = np.triu_indices(3, k=1)
    return (
        np.sum(m[i, j] ** 2)
        + m[[0, 2], :][:, [1, 1]].prod()
        + m[np.ix_([0, 1], [1, 2])].sum()
        + np.sum(m[np.eye(3, dtype=bool)] ** 3)
    )


@loss(normal(2, 3), normal(3))
def inner_matmul_functions(a, v):
    return (
        np.inner(a, v).sum()
        + np.matmul(a, a.T)[0, 1]
        + np.dot(2.0, a).sum() ** 2
        + np.cross(a[0], a[1]) @ v
    )


@loss(normal(4), normal(4, 4))
def full_ones_like(x, m):
    b = np.full_like(x, 0.5) + np.ones_like(x) * x.mean()
    return np.linalg.multi_dot([x, m, b]) + np.nan_to_num(x).sum() + np.real(x) @ np.full(4, x[0])


@loss(normal(6))
def reductions_with_options(x):
    return (
        np.sum(x, where=x > 0, initial=2.0)
        + np.max(x, initial=0.3)
        + np.mean(x, where=np.arange(6) % 2 == 0, dtype=np.float64)
    )


@loss(normal(4))
def ufunc_with_out(x):
    buf = np.empty(4)
    np.multiply(A5[:4], 2, out=buf)
    return np.sum(np.subtract(x, buf) ** 2)


@loss(normal(8))
def bincount_histogram_free(x):
    bins = np.digitize(x, [-0.5, 0.5])
    return sum(np.sum(x[bins == k]) ** 2 for k in range(3))


@loss(normal(5), normal(5))
def cov_and_corrcoef(x, y):
    return np.cov(x, y)[0, 1] + np.corrcoef(x, y)[0, 1]


@loss(normal(5))
def insert_delete_ediff(x):
    return np.insert(x, 2, 7.0) @ np.arange(6) + np.delete(x, 1).prod() + np.ediff1d(x).max()


@loss(normal(4), normal(3))
def add_at_scatter(x, w):
    idx = np.array([0, 1, 1, 2])
    total = np.zeros(3)
    np.add.at(total, idx, 1.0)
    return np.sum(x * (w * total)[idx])


@loss(normal(3, 3))
def apply_along_rows(m):
    return np.sum(np.apply_along_axis(lambda r: r / np.sum(r**2), 1, m))


@loss(normal(5))
def vectorized_python_function(x):
    f = np.vectorize(lambda t: t**2 if t > 0 else -t)
    return np.sum(f(x))


@loss(normal(3, 4), below(3, 5), below(4, 5))
def fancy_with_argument_indices(m, i, j):
    return np.sum(m[i, j] * np.arange(5)) + np.sum(m[:, j] ** 2) + m[i].max()


@loss(normal(5))
def unwrap_of_ravel_multi(x):
    c = x + 1j * x**2
    return (
        np.abs(c).sum() + np.angle(c)[0] + np.sum((c * np.conj(c)).real) + np.imag(c) @ np.real(c)
    )

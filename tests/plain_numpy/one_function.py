"""Short losses around one function of NumPy's or one way to write, for each that people use."""

import numpy as np
from numpy import linalg as la
from numpy.linalg import norm

from .registry import below, loss, normal, rising, uniform

A5 = np.arange(1.0, 6.0)
M33 = np.array([[2.0, -1.0, 0.5], [0.0, 1.5, 1.0], [-0.7, 0.3, 1.2]])


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


@loss(normal(3, 3), normal(3))
def solve_general(m, b):
    return np.sum(np.linalg.solve(m + 4 * np.eye(3), b) ** 2)


@loss(normal(3, 3))
def inverse_and_det(m):
    a = m + 3 * np.eye(3)
    return np.linalg.inv(a).sum() + np.log(np.linalg.det(a @ a.T))


@loss(np.array([[1.0, 2.0], [2.0, 4.0]]))
def det_of_singular(m):
    return np.linalg.det(m) + m[0, 0]


@loss(normal(3, 3))
def slogdet_gram(m):
    sign, logdet = np.linalg.slogdet(m @ m.T + np.eye(3))
    return sign * logdet


@loss(normal(3, 3))
def slogdet_named(m):
    return np.linalg.slogdet(m @ m.T + 0.5 * np.eye(3)).logabsdet * 2


@loss(normal(3, 3))
def cholesky_whiten(m):
    L = np.linalg.cholesky(m @ m.T + np.identity(3))
    return np.sum(np.log(np.diag(L))) + L[2, 0]


@loss(normal(4, 4))
def eigh_largest(m):
    s = (m + m.T) / 2
    w, v = np.linalg.eigh(s)
    return w[-1] - w[0] + np.abs(v[0, -1]) ** 2


@loss(normal(3, 3))
def eigvalsh_entropy(m):
    lam = np.linalg.eigvalsh(m @ m.T + 0.1 * np.eye(3))
    p = lam / lam.sum()
    return -np.sum(p * np.log(p))


@loss(normal(4, 3))
def svd_values(x):
    s = np.linalg.svd(x, compute_uv=False)
    return s.sum() + s[0] / s[-1]


@loss(normal(4, 3))
def svd_low_rank(x):
    U, s, Vt = np.linalg.svd(x, full_matrices=False)
    approx = (U[:, :2] * s[:2]) @ Vt[:2]
    return np.sum((x - approx) ** 2) + approx[0, 0]


@loss(normal(5, 3), normal(5))
def pinv_projection(x, y):
    return np.sum((np.linalg.pinv(x) @ y) ** 2)


@loss((normal(2, 3), normal(3, 3), normal(3, 2)))
def multi_dot_chain(mats):
    return np.trace(np.linalg.multi_dot(mats))


@loss(normal(3, 3, scale=0.5))
def matrix_power_walks(a):
    return np.linalg.matrix_power(a, 4).sum() + np.linalg.matrix_power(a + 2 * np.eye(3), -1)[0, 0]


@loss(normal(6, 2), normal(6))
def lstsq_residual(X, y):
    beta, *_ = np.linalg.lstsq(X, y, rcond=None)
    return np.sum(beta**2) + np.sum((y - X @ beta) ** 2)


@loss(normal(8))
def fft_power(x):
    return np.sum(np.abs(np.fft.fft(x)) ** 2 * np.arange(8))


@loss(normal(10))
def rfft_lowpass(x):
    f = np.fft.rfft(x)
    f = f * (np.arange(6) < 3)
    return np.sum(np.fft.irfft(f, n=10) ** 3)


@loss(normal(4, 4))
def fft2_spectrum(img):
    spec = np.fft.fftshift(np.fft.fft2(img))
    return np.sum(np.real(spec * np.conj(spec))[1:3])


@loss(normal(3, 4), normal(4, 2))
def methods_dot_transpose(a, b):
    return (a.dot(b) ** 2).sum() + a.T.dot(a).trace() + a.transpose().copy().ravel()[::3].sum()


@loss(normal(2, 3, 4))
def methods_shapes(x):
    t = x.transpose(2, 0, 1).reshape(-1, 3)
    return (
        t.std(axis=0).sum() + x.swapaxes(0, 1).flatten()[5:9].prod() + x.mT[0].sum(axis=0)[1] ** 2
    )


@loss(uniform(0.5, 1.5, 2, 4))
def methods_reductions(x):
    return (
        x.prod()
        + x.clip(0.7, 1.2).sum()
        + x.cumsum(axis=1).mean()
        + x.repeat(2, axis=0).var()
        + x.take([1, 1, 3], axis=1).max()
    )


@loss(normal(3, 3))
def methods_misc(x):
    return (
        x.conj().real.sum()
        + x.astype(np.float64)[0].min()
        + x.diagonal().sum() ** 2
        + x.squeeze().nonzero()[0].sum()
    )


@loss(normal(2, 3))
def flat_iteration(x):
    total = 0.0
    for k, v in enumerate(x.flat):
        total += (k + 1) * v**2
    return total


@loss(normal(5))
def augmented_assignments(x):
    z = x * 2
    z += 1.0
    z *= x
    z -= x.mean()
    z /= 3
    z **= 2
    return z.sum()


@loss(normal(4), normal(4))
def augmented_on_data(w, x):
    out = x.copy()
    out = out * w
    out += w
    return np.sum(out**2)


@loss(normal(6))
def mask_written_to_zero(x):
    out = x.copy()
    out[out < 0] = 0
    return np.sum(out**2 * np.arange(1, 7))


@loss(normal(5))
def entries_set_in_copy(x):
    y = np.array(x)
    y[0] = 1.0
    y[2:4] = y[2:4] * 3
    y[-1] += x[0]
    return np.prod(y)


@loss(normal(5))
def zeros_like_filled(x):
    out = np.zeros_like(x)
    for i in range(len(x)):
        out[i] = np.sin(x[i]) * i
    return out.sum() ** 2


@loss(normal(3, 4))
def empty_like_rows(x):
    e = np.empty_like(x)
    for i, row in enumerate(x):
        e[i] = row / np.sum(np.exp(row))
    return np.sum(e**2)


@loss(normal(4))
def list_to_array(w):
    terms = [w[i] * w[i - 1] for i in range(4)]
    return np.sum(np.array(terms) ** 2)


@loss(normal(3))
def nested_list_to_matrix(v):
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.sum((K @ K)[0]) + K.sum() + np.sum(K**2)


@loss(normal(4, 2))
def stack_of_rows(x):
    h = np.stack([np.tanh(r) for r in x], axis=1)
    return np.asarray(h).mean() + np.sum(h[0] * h[1])


@loss(normal(5))
def python_sum_of_list(w):
    return sum([np.exp(-v) for v in w]) / len(w)


@loss((normal(), normal(), normal()))
def python_max_abs_min(t):
    a, b, c = t
    return max(a, b) ** 2 + min(b, c) + abs(a) * 2 + max(0, c)


@loss(normal(5))
def masks_and_comparisons(x):
    pos = x > 0
    return np.sum(x[pos] ** 2) - x[~pos].sum() + (pos * x).sum() + np.count_nonzero(pos)


@loss(normal(4, 5))
def ellipsis_newaxis_steps(x):
    return (
        np.sum(x[..., ::-2] ** 2)
        + (x[:, np.newaxis, :] - x[np.newaxis])[0, 2].prod()
        + x[-1, ::-1] @ np.arange(5)
    )


@loss(normal(4, dtype=np.float32), normal(6, 4))
def float32_weights(w, x):
    return np.mean((x.astype(np.float32) @ w) ** 2)


@loss(2.5)
def number_as_parameter(a):
    return a**3 + np.sin(a) * np.arange(3).sum()


@loss(np.array(0.7))
def zero_dimensional(a):
    return np.exp(a) * a + np.square(a)


@loss([normal(2), [normal(), {"deep": normal(2, 2)}]])
def nested_structure(p):
    v, (s, d) = p
    return s * v @ d["deep"] @ v


@loss(normal(3), 3)
def power_of_integer(x, n):
    return (
        np.sum(np.power(x, n))
        + np.sum(x ** np.arange(3))
        + np.float_power(np.abs(x) + 1, 1.5).sum()
    )


@loss(np.array([0.0, 1.0, -2.0]))
def squares_at_zero(x):
    return np.sum(np.abs(x) ** 2) + np.sum(x**2) + np.square(x).mean() + x[0] ** 3


@loss(normal(5))
def signs_and_floors(x):
    return (
        np.sum(np.sign(x) * x**2)
        + np.sum(np.floor(3 * x) * x)
        + np.sum(np.mod(x, 0.7) ** 2)
        + np.heaviside(x, 0.5) @ x
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

"""Short losses around one function of `numpy.linalg` or `numpy.fft`, for each that people use."""

import numpy as np

from .registry import loss, normal


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

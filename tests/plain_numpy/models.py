"""Losses of statistics, finance, ecology and networks, as they are written there."""

import numpy as np

from . import helpers
from .helpers import Ornstein, rbf_kernel, rotation, softplus, whiten
from .registry import below, loss, normal, rising, uniform

# ---------------------------------------------------------------- regression


@loss({"w": normal(3), "b": normal()}, normal(12, 3), normal(12))
def linear_regression(params, X, y):
    pred = np.dot(X, params["w"]) + params["b"]
    return np.mean((pred - y) ** 2)


@loss(normal(4), normal(15, 3), below(2, 15))
def logistic_regression(theta, X, y):
    X1 = np.hstack([np.ones((X.shape[0], 1)), X])
    h = 1 / (1 + np.exp(-X1.dot(theta)))
    m = len(y)
    J = -1 / m * (np.dot(y, np.log(h)) + np.dot(1 - y, np.log(1 - h)))
    reg = 0.5 / (2 * m) * np.sum(theta[1:] ** 2)
    return J + reg


@loss(normal(3, scale=0.3), normal(10, 3), below(6, 10), rising(10))
def poisson_regression(beta, X, counts, exposure):
    eta = X @ beta + np.log(exposure)
    mu = np.exp(eta)
    return -(counts * eta - mu).sum()


@loss((normal(3), normal()), normal(10, 3), normal(10))
def gaussian_likelihood(params, X, y):
    beta, log_sigma = params
    sigma = np.exp(log_sigma)
    resid = (y - X @ beta) / sigma
    return 0.5 * np.sum(resid**2) + len(y) * np.log(sigma) + 0.5 * len(y) * np.log(2 * np.pi)


@loss(normal(3), normal(11, 3), normal(11))
def quantile_regression(beta, X, y):
    tau = 0.8
    u = y - X.dot(beta)
    return np.mean(np.maximum(tau * u, (tau - 1) * u))


@loss(normal(3), normal(9, 3), normal(9))
def huber_regression(beta, X, y, delta=0.7):
    r = y - X @ beta
    small = np.abs(r) <= delta
    return np.where(small, 0.5 * r**2, delta * (np.abs(r) - 0.5 * delta)).sum()


@loss(normal(4), normal(10, 4), normal(10))
def elastic_net(w, X, y):
    n = X.shape[0]
    fit = np.linalg.norm(y - X @ w) ** 2 / (2 * n)
    return fit + 0.1 * np.linalg.norm(w, 1) + 0.05 * np.linalg.norm(w) ** 2


@loss(normal(3), normal(9, 3), rising(9), below(2, 9))
def cox_partial_likelihood(beta, X, time, event):
    order = np.argsort(-time)
    risk = (X @ beta)[order]
    log_risk = np.log(np.cumsum(np.exp(risk)))
    return -np.sum((risk - log_risk) * event[order]) + 1e-3 * beta @ beta


@loss((normal(2), normal(2)), uniform(0.5, 4, 12))
def weibull_mixture(p, t):
    k = np.exp(p[0])
    lam = softplus(p[1]) + 0.5
    parts = [
        np.log(k[j] / lam[j]) + (k[j] - 1) * np.log(t / lam[j]) - (t / lam[j]) ** k[j]
        for j in range(2)
    ]
    stacked = np.array(parts) + np.log(0.5)
    m = stacked.max(axis=0)
    return -np.sum(m + np.log(np.exp(stacked - m).sum(axis=0)))


@loss({"mu": normal(3, 2), "logits": normal(3), "log_s": normal(3, 2, scale=0.3)}, normal(10, 2))
def gaussian_mixture(p, X):
    pi = np.exp(p["logits"]) / np.sum(np.exp(p["logits"]))
    dens = np.zeros((len(X), 3))
    cols = []
    for k in range(3):
        z = (X - p["mu"][k]) / np.exp(p["log_s"][k])
        cols.append(-0.5 * np.sum(z**2, axis=1) - np.sum(p["log_s"][k]) - np.log(2 * np.pi))
    dens = np.stack(cols, axis=1) + np.log(pi)
    top = dens.max(axis=1, keepdims=True)
    return -np.mean(np.log(np.sum(np.exp(dens - top), axis=1)) + top[:, 0])


@loss(normal(3, scale=0.3), normal(8, 2), normal(8))
def gaussian_process_evidence(theta, X, y):
    length, amp, noise = np.exp(theta)
    K = amp * rbf_kernel(X, X, length) + (noise + 1e-6) * np.eye(len(X))
    L = np.linalg.cholesky(K)
    alpha = np.linalg.solve(L.T, np.linalg.solve(L, y))
    return 0.5 * y.dot(alpha) + np.sum(np.log(np.diag(L))) + 0.5 * len(X) * np.log(2 * np.pi)


@loss(normal(2, scale=0.3), rising(7), normal(7))
def gaussian_process_slogdet(theta, t, y):
    d = t[:, None] - t[None, :]
    K = np.exp(2 * theta[0]) * np.exp(-np.abs(d) / np.exp(theta[1])) + 0.1 * np.eye(7)
    _, logdet = np.linalg.slogdet(K)
    return 0.5 * (y @ np.linalg.inv(K) @ y + logdet)


@loss({"beta": normal(2), "log_tau": normal(), "log_sig": normal()}, normal(12, 2), normal(12))
def random_intercepts(p, X, y):
    group = np.repeat(np.arange(4), 3)
    Z = (group[:, None] == np.arange(4)).astype(float)
    V = np.exp(2 * p["log_tau"]) * Z @ Z.T + np.exp(2 * p["log_sig"]) * np.eye(12)
    r = y - X @ p["beta"]
    return 0.5 * np.linalg.slogdet(V)[1] + 0.5 * r @ np.linalg.solve(V, r)


@loss({"a": normal(2, 2, scale=0.4), "q": normal(), "r": normal()}, normal(8))
def kalman_filter(p, ys):
    A, Q, R = p["a"], np.exp(p["q"]) * np.eye(2), np.exp(p["r"])
    H = np.array([[1.0, 0.5]])
    m, P = np.zeros(2), np.eye(2)
    ll = 0.0
    for y in ys:
        m = A @ m
        P = A @ P @ A.T + Q
        S = H @ P @ H.T + R
        K = P @ H.T @ np.linalg.inv(S)
        v = y - H @ m
        ll -= 0.5 * (np.log(2 * np.pi * np.linalg.det(S)) + v @ np.linalg.inv(S) @ v)
        m = m + K @ v
        P = (np.eye(2) - K @ H) @ P
    return -ll


@loss({"A": normal(3, 3), "B": normal(3, 4), "pi": normal(3)}, below(4, 9))
def hidden_markov_forward(p, obs):
    A = np.exp(p["A"]) / np.exp(p["A"]).sum(axis=1, keepdims=True)
    B = np.exp(p["B"]) / np.exp(p["B"]).sum(axis=1, keepdims=True)
    pi = np.exp(p["pi"]) / np.exp(p["pi"]).sum()
    alpha = pi * B[:, obs[0]]
    log_lik = 0
    for t in range(1, len(obs)):
        c = alpha.sum()
        log_lik += np.log(c)
        alpha = (alpha / c) @ A * B[:, obs[t]]
    return -(log_lik + np.log(alpha.sum()))


@loss(normal(3, scale=0.3), normal(12))
def garch_likelihood(theta, returns):
    omega, a, b = (
        np.exp(theta[0]),
        1 / (1 + np.exp(-theta[1])) * 0.5,
        1 / (1 + np.exp(-theta[2])) * 0.5,
    )
    sigma2 = np.var(returns)
    total = 0.0
    for r in returns:
        total += np.log(sigma2) + r**2 / sigma2
        sigma2 = omega + a * r**2 + b * sigma2
    return 0.5 * total


@loss(normal(3), normal(15))
def autoregression(phi, x):
    lagged = np.column_stack([x[2 - k : len(x) - 1 - k] for k in range(3)])
    return np.mean((x[3:] - lagged @ phi) ** 2)


@loss(0.4, normal(9), normal(9))
def leave_one_out_bandwidth(log_h, x, y):
    h = np.exp(log_h)
    K = np.exp(-0.5 * ((x[:, None] - x[None, :]) / h) ** 2)
    K = K - np.diag(np.diag(K))
    return np.mean((y - K @ y / K.sum(axis=1)) ** 2)


@loss(normal(5), uniform(0, 4, 12), normal(12))
def linear_spline(knots_y, x, y):
    fit = np.interp(x, np.arange(5), knots_y)
    roughness = np.sum(np.diff(knots_y, 2) ** 2)
    return np.sum((fit - y) ** 2) + 0.1 * roughness


@loss({"U": normal(4, 2), "V": normal(5, 2)}, below(4, 8), below(5, 8), normal(8))
def matrix_factorisation(p, i, j, rating):
    pred = np.sum(p["U"][i] * p["V"][j], axis=1)
    return np.sum((rating - pred) ** 2) + 0.1 * (np.sum(p["U"] ** 2) + np.sum(p["V"] ** 2))


@loss(normal(5), below(5, 10), below(5, 10))
def bradley_terry(skill, winner, loser):
    diff = skill[winner] - skill[loser]
    return np.mean(np.log1p(np.exp(-diff))) + 0.01 * np.sum(skill**2)


@loss(normal(5, 2), uniform(0.5, 2, 5, 5))
def multidimensional_scaling(pos, D):
    stress = 0
    for a in range(len(pos)):
        for b in range(a):
            stress += (np.sqrt(np.sum((pos[a] - pos[b]) ** 2)) - D[a, b]) ** 2
    return stress


@loss(normal(6, 2), normal(6, 3))
def stochastic_neighbours(Y, X):
    def affinities(Z):
        sq = np.sum(Z**2, 1)
        D = -2 * np.dot(Z, Z.T) + sq + sq[:, None]
        num = 1 / (1 + D)
        num = num * (1 - np.eye(len(Z)))
        return num / np.sum(num)

    P = np.maximum(affinities(X), 1e-12)
    Q = np.maximum(affinities(Y), 1e-12)
    return np.sum(P * np.log(P / Q))


@loss((normal(2, 2), normal(2)), normal(9, 2))
def whitened_moments(p, X):
    W, b = p
    Z = whiten(X @ W + b)
    return np.mean(Z**4) + np.sum(np.cov((X @ W).T) ** 2)


@loss(normal(4, scale=0.4), below(5, 10))
def beta_binomial_trend(theta, k):
    t = np.linspace(-1, 1, len(k))
    p = 1 / (1 + np.exp(-np.polyval(theta, t)))
    return -np.sum(k * np.log(p) + (5 - k) * np.log1p(-p))


# ---------------------------------------------------------------- finance, ecology, networks


@loss(normal(4), normal(10, 4, scale=0.02))
def negative_sharpe(logits, returns):
    w = np.exp(logits) / np.sum(np.exp(logits))
    r = returns @ w
    return -(np.mean(r) - 0.001) / np.std(r, ddof=1) * np.sqrt(252)


@loss(normal(3), normal(12, 3, scale=0.05))
def maximum_drawdown(w, returns):
    wealth = np.cumprod(1 + returns @ w)
    peak = np.maximum.accumulate(wealth)
    return np.max(1 - wealth / peak) + 0.1 * np.sum(w**2)


@loss(normal(4), normal(30, 4, scale=0.02))
def value_at_risk(logits, scenarios):
    w = np.exp(logits - logits.max())
    w /= w.sum()
    pnl = scenarios.dot(w)
    var = np.percentile(pnl, 5)
    return -var + pnl[pnl <= np.quantile(pnl, 0.2)].mean()


@loss(normal(3), normal(12, 3, scale=0.1))
def minimum_variance(w, R):
    S = np.cov(R, rowvar=False)
    return w @ S @ w + (w.sum() - 1) ** 2


@loss(uniform(0.02, 0.08), uniform(5, 9, 6))
def bond_price(y, cash):
    t = np.arange(1, len(cash) + 1)
    return (np.sum(cash / (1 + y) ** t) - 30) ** 2


@loss({"s": uniform(90, 110), "vol": uniform(0.1, 0.4)}, uniform(90, 110, 4))
def option_by_binomial_tree(p, strikes):
    n, r, T = 6, 0.03, 1.0
    dt = T / n
    u = np.exp(p["vol"] * np.sqrt(dt))
    d = 1 / u
    q = (np.exp(r * dt) - d) / (u - d)
    total = 0.0
    for K in strikes:
        s = p["s"] * u ** np.arange(n, -1, -1) * d ** np.arange(0, n + 1)
        v = np.maximum(s - K, 0)
        for _ in range(n):
            v = np.exp(-r * dt) * (q * v[:-1] + (1 - q) * v[1:])
        total += v[0]
    return total


@loss(uniform(0.3, 0.9, 4), uniform(1, 3, 4))
def leslie_matrix_growth(survival, fertility):
    L = np.zeros((5, 5))
    L[0, 1:] = fertility
    L = L + np.diag(survival, -1)
    n = np.ones(5)
    for _ in range(6):
        n = L @ n
    return np.log(n.sum())


@loss(normal(4, 4), uniform(0.1, 1, 4))
def page_rank_power(logits, target):
    P = np.exp(logits)
    P = P / P.sum(axis=0)
    r = np.ones(4) / 4
    for _ in range(10):
        r = 0.85 * P @ r + 0.15 / 4
    return np.sum((r - target) ** 2)


@loss(normal(5), normal(5))
def soft_dtw(x, y):
    n = len(x)
    R = {(0, 0): 0.0}
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            previous = [R[k] for k in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if k in R]
            smallest = -np.log(sum(np.exp(-v) for v in previous))
            R[i, j] = (x[i - 1] - y[j - 1]) ** 2 + smallest
    return R[n, n]


@loss(normal(4, 3), normal(5, 3))
def optimal_transport_sinkhorn(X, Y):
    C = np.sum((X[:, None] - Y[None]) ** 2, -1)
    K = np.exp(-C / 2)
    u = np.ones(4) / 4
    for _ in range(8):
        v = (1 / 5) / (K.T @ u)
        u = (1 / 4) / (K @ v)
    return np.sum(u[:, None] * K * v[None, :] * C)


@loss(normal(5, 3), below(3, 5), seed=1)
def multiclass_hinge(scores, y):
    n = scores.shape[0]
    correct = scores[np.arange(n), y].reshape(-1, 1)
    margins = np.maximum(0, scores - correct + 1.0)
    margins[np.arange(n), y] = 0
    return np.sum(margins) / n


@loss(normal(6, 4), seed=1)
def triplet_margin(emb):
    emb = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    sim = emb @ emb.T
    pos = np.diagonal(sim, 1)[::2]
    neg = np.diagonal(sim, 2)[:3]
    return np.sum(np.clip(neg - pos + 0.5, 0, None))


@loss(normal(3, scale=0.3), rising(8), normal(8))
def third_party_process(theta, t, x):
    process = Ornstein(*theta)
    return process.negative_log_likelihood(t, x)


@loss(normal(4), normal(7))
def third_party_module(w, x):
    return helpers.smooth(x, helpers.normalise(np.exp(w)))[0] + helpers.rms(rotation(w[0]) @ w[:2])


def make_loss(X, y, penalty):
    """A closure over data, as scripts have them."""
    n, d = X.shape

    def objective(w):
        r = X.dot(w) - y
        return r.dot(r) / n + penalty * np.abs(w).sum()

    return objective


_rng = np.random.default_rng(3)
_lasso = make_loss(_rng.normal(size=(8, 3)), _rng.normal(size=8), 0.1)
loss(normal(3))(_lasso)
_lasso_matrix = _rng.normal(size=(3, 3))


@loss(normal(3))
def calls_a_closure(w):
    return _lasso(w) + np.max(np.abs(_lasso_matrix @ w))

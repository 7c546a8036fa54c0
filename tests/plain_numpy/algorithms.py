"""Algorithms: filters, likelihoods, graphs, control, and code that writes into buffers.

The quick tests run these on autograd only, the slow ones on every backend.
"""

import functools
import heapq
import math
import operator
import re

import numpy as np

from .registry import below, loss, normal, uniform

GRAPH = {"a": {"b": 0, "c": 1}, "b": {"c": 2, "d": 3}, "c": {"d": 4}, "d": {}}


@loss(normal(5), normal(16))
def lms_adaptive(w0, x):
    w = w0.copy()
    err = []
    for n in range(5, len(x)):
        u = x[n - 5 : n][::-1]
        e = x[n] - w @ u
        w += 0.05 * e * u
        err.append(e)
    return np.mean(np.asarray(err) ** 2)


@loss(uniform(0.2, 0.9, 3), normal(14))
def lattice_filter(k, x):
    b = np.zeros(len(k) + 1)
    y = np.empty_like(x)
    for n, v in enumerate(x):
        f = v
        nb = b.copy()
        for m in range(len(k) - 1, -1, -1):
            f = f - k[m] * b[m]
            nb[m + 1] = k[m] * f + b[m]
        nb[0] = f
        b = nb
        y[n] = f
    return np.dot(y, y)


@loss(uniform(-0.4, 0.4, 3))
def lpc_levinson(r1):
    r = np.concatenate([[1.0], r1])
    a = np.zeros(4)
    a[0] = 1
    e = r[0]
    for i in range(1, 4):
        k = -(r[i] + a[1:i] @ r[i - 1 : 0 : -1]) / e
        a[1:i] = a[1:i] + k * a[i - 1 : 0 : -1]
        a[i] = k
        e *= 1 - k * k
    return e + np.sum(a**3)


@loss(normal(16))
def walsh_hadamard(x):
    x = np.array(x)
    h = 1
    while h < len(x):
        for i in range(0, len(x), h * 2):
            for j in range(i, i + h):
                x[j], x[j + h] = x[j] + x[j + h], x[j] - x[j + h]
        h *= 2
    return np.sum(np.sqrt(1 + x**2))


@loss(normal(8))
def fft_recursive(x):
    def fft(v):
        n = len(v)
        if n == 1:
            return v
        e, o = fft(v[::2]), fft(v[1::2])
        tw = np.exp(-2j * np.pi * np.arange(n // 2) / n) * o
        return np.r_[e + tw, e - tw]

    return np.sum(np.abs(fft(x + 0j)) ** 3)


@loss({"pi": normal(2), "beta": normal(2)}, normal(12), below(4, 12))
def zero_inflated_poisson(p, x, y):
    psi = 1 / (1 + np.exp(-(p["pi"][0] + p["pi"][1] * x)))
    lam = np.exp(p["beta"][0] + p["beta"][1] * x)
    fact = np.array([math.factorial(int(k)) for k in y])
    ll = np.zeros(len(y))
    z = y == 0
    ll[z] = np.log(psi[z] + (1 - psi[z]) * np.exp(-lam[z]))
    ll[~z] = (np.log(1 - psi) - lam + y * np.log(lam) - np.log(fact))[~z]
    return -ll.sum()


@loss(normal(3), uniform(0.5, 3, 12), below(2, 12), normal(12, 3))
def cox_partial(b, t, event, X):
    order = np.argsort(-t)
    X, event = X[order], event[order].astype(bool)
    eta = X @ b
    risk = np.logaddexp.accumulate(eta)
    return -(eta - risk)[event].sum() + 0.1 * b @ b


@loss({"q": -0.5, "r": 0.2, "F": normal(2, 2, scale=0.5)}, normal(9))
def kalman_2d(p, ys):
    F, H = p["F"], np.array([[1.0, 0.0]])
    Q, R = np.eye(2) * np.exp(p["q"]), np.exp(p["r"])
    m, P, nll = np.zeros((2, 1)), np.eye(2), 0.0
    for y in ys:
        m, P = F @ m, F @ P @ F.T + Q
        S = (H @ P @ H.T + R).item()
        v = y - (H @ m)[0, 0]
        K = P @ H.T / S
        m += K * v
        P = P - K @ K.T * S
        nll += 0.5 * (v**2 / S + np.log(2 * np.pi * S))
    return nll


@loss(normal(7, 3), normal(7, 3))
def mmd_unbiased(X, Y):
    def k(a, b):
        return np.exp(-((a[:, None, :] - b[None, :, :]) ** 2).sum(-1) / 2)

    Kxx, Kyy = k(X, X), k(Y, Y)
    np.fill_diagonal(Kxx, 0)
    np.fill_diagonal(Kyy, 0)
    n = len(X)
    return Kxx.sum() / n / (n - 1) + Kyy.sum() / n / (n - 1) - 2 * k(X, Y).mean()


@loss(uniform(0.1, 0.4, 3), uniform(0.5, 1.5, 8))
def upwind_inplace(c, u0):
    u = np.array(u0)
    for k in c:
        u[1:] -= k * (u[1:] - u[:-1])
        u[0] = 0.5 * u[0] + 0.1
    return np.sum(u**2)


@loss(normal(6, 6))
def gaussian_pyramid(img):
    k = np.array([1, 4, 6, 4, 1]) / 16.0
    total = 0.0
    while min(img.shape) >= 2:
        p = np.pad(img, 2, mode="reflect" if min(img.shape) > 2 else "edge")
        rows = np.apply_along_axis(lambda r: np.convolve(r, k, mode="valid"), 1, p)
        both = np.apply_along_axis(lambda c: np.convolve(c, k, mode="valid"), 0, rows)
        total += np.abs(img - both).mean()
        img = both[::2, ::2]
    return total + img.sum() ** 2


@loss(normal(3, 3), uniform(0, 1, 7, 7))
def convolve_loops_out(k, img):
    H, W = img.shape
    out = np.empty((H - 2, W - 2))
    tmp = np.empty_like(out)
    out.fill(0.0)
    for i, j in np.ndindex(3, 3):
        np.multiply(img[i : H - 2 + i, j : W - 2 + j], k[i, j], out=tmp)
        np.add(out, tmp, out=out)
    return np.sum(np.maximum(out, 0.1 * out) ** 2)


@loss(uniform(0.5, 2), uniform(0, 1, 4, 4))
def gamma_histogram_weights(g, img):
    v = np.power(img, g)
    edges = np.linspace(0, 1, 5)
    idx = np.clip(np.searchsorted(edges, img.ravel()) - 1, 0, 3)
    mass = np.zeros(4)
    np.add.at(mass, idx, v.ravel())
    return np.sum(mass**2)


@loss(uniform(0.5, 2, 5))
def dijkstra(w):
    dist = {n: float("inf") for n in GRAPH}
    dist["a"] = 0.0
    heap = [(0.0, "a")]
    while heap:
        d, n = heapq.heappop(heap)
        if d > dist[n]:
            continue
        for m, e in GRAPH[n].items():
            if d + w[e] < dist[m]:
                dist[m] = d + w[e]
                heapq.heappush(heap, (dist[m], m))
    return sum(v**2 for v in dist.values())


@loss(normal(5), below(5, 7), below(5, 7))
def max_subgradient_cut(x, i, j):
    return np.sum(np.maximum.reduce([x[i] - x[j], np.zeros(7)]) ** 2) + np.multiply.reduce(
        np.cos(x)
    )


@loss(normal(6))
def segment_reduceat(x):
    s = np.add.reduceat(x**2, [0, 2, 3])
    m = np.maximum.reduceat(x, [0, 3])
    return s[0] * s[1] + s[2] + m.prod()


@loss(normal(3))
def tree_recursion_dict(w):
    tree = {
        "op": "+",
        "args": [
            {"op": "*", "args": [0, 1]},
            {"op": "sin", "args": [{"op": "+", "args": [2, 0]}]},
            1.5,
        ],
    }
    ops = {"+": lambda *a: sum(a), "*": lambda *a: functools.reduce(operator.mul, a), "sin": np.sin}

    def ev(n):
        if isinstance(n, dict):
            return ops[n["op"]](*map(ev, n["args"]))
        return w[n] if isinstance(n, int) else n

    return ev(tree) ** 2


@loss({"kappa": 1.2, "theta": 0.04, "xi": 0.3}, normal(2, 12, 5))
def heston_paths(p, Z):
    v = np.full(5, 0.04)
    x = np.zeros(5)
    dt = 1 / 12
    for a, b in zip(*Z):
        vp = np.maximum(v, 0)
        x += -0.5 * vp * dt + np.sqrt(vp * dt + 1e-9) * a
        v += p["kappa"] * (p["theta"] - vp) * dt + p["xi"] * np.sqrt(vp * dt + 1e-9) * (
            0.5 * a + 0.8 * b
        )
    return np.mean(np.maximum(np.exp(x) - 0.95, 0))


@loss(normal(6))
def mpc_rollout(u):
    state = {"pos": 0.0, "vel": 0.0}
    traj = []
    for a in u:
        state["vel"] += 0.2 * a - 0.05 * state["vel"] * abs(state["vel"])
        state["pos"] += 0.2 * state["vel"]
        traj.append(tuple(state.values()))
    traj = np.array(traj)
    return np.sum((traj[:, 0] - 1) ** 2) + 0.1 * np.sum(np.diff(u) ** 2) + traj[-1, 1] ** 2


@loss(normal(4), seed=1)
def simplex_projection(v):
    u = np.sort(v)[::-1]
    css = np.cumsum(u)
    rho = np.nonzero(u * np.arange(1, 5) > css - 1)[0][-1]
    theta = (css[rho] - 1) / (rho + 1.0)
    w = np.maximum(v - theta, 0)
    return np.sum(w * [1, 2, 3, 4]) + np.sum(w**2)


@loss({"q": normal(4, 4), "k": normal(4, 4), "v": normal(4, 4)}, normal(2, 5, 4))
def causal_attention(p, x):
    q, k, v = (np.einsum("bti,io->bto", x, p[n]) for n in "qkv")
    s = np.einsum("bqd,bkd->bqk", q, k) / math.sqrt(4)
    s[:, ~np.tril(np.ones((5, 5), bool))] = -1e9
    a = np.exp(s - s.max(-1, keepdims=True))
    a /= a.sum(-1, keepdims=True)
    return np.mean((a @ v) ** 2)


@loss(normal(4))
def formula_parser(w):
    env = dict(zip("abcd", w))
    toks = re.findall(r"[a-d]|[+*\-]|\d+", "a*b+3*c-d*d")
    terms, sign, cur = [], 1, None
    for t in toks:
        if t in "+-":
            terms.append(sign * cur)
            sign = -1 if t == "-" else 1
            cur = None
        elif t != "*":
            v = env[t] if t in env else int(t)
            cur = v if cur is None else cur * v
    terms.append(sign * cur)
    return np.sum(terms) ** 2


class Welford:
    def __init__(self):
        self.n, self.mean, self.M2 = 0, 0.0, 0.0

    def update(self, v):
        self.n += 1
        d = v - self.mean
        self.mean += d / self.n
        self.M2 += d * (v - self.mean)
        return self

    @property
    def var(self):
        return self.M2 / (self.n - 1)


@loss(normal(7))
def welford_object(x):
    s = functools.reduce(lambda s, v: s.update(v), x**2, Welford())
    return s.var + s.mean


class RingBuffer:
    def __init__(self, n):
        self.buf, self.i = np.zeros(n), 0

    def push(self, v):
        self.buf[self.i % len(self.buf)] = v
        self.i += 1

    def mean(self):
        return self.buf.mean()


@loss(normal(9))
def ring_buffer(x):
    rb = RingBuffer(4)
    out = 0.0
    for v in x:
        rb.push(v)
        out += (v - rb.mean()) ** 2
    return out


@loss(normal(4), normal(12, 4), normal(12))
def nan_rows_dropped(w, X, y):
    X = X.copy()
    X[2, 1] = np.nan
    X[7, 0] = np.nan
    keep = ~np.isnan(X).any(axis=1)
    return np.mean((X[keep] @ w - y[keep]) ** 2)


@loss(normal(6))
def out_chain(x):
    buf = np.empty(6)
    np.exp(x, out=buf)
    np.subtract(buf, 1, out=buf)
    buf *= x
    res = np.zeros(())
    np.sum(buf, out=res)
    return res + buf[::2].sum()


@loss(normal(10))
def stepped_writes(x):
    y = np.zeros(10)
    y[::2] = x[:5]
    y[1::2] = x[:4:-1]
    y[::-3] *= 2
    y[[0, 0, 3]] += 1.0
    return np.dot(y, np.arange(10)) + (y**2).sum()


@loss(normal(5))
def swap_by_fancy(x):
    y = np.array(x, copy=True)
    y[[0, 4]] = y[[4, 0]]
    y[1:4] = y[3:0:-1]
    y[y > 0.5] **= 2
    return np.sum(y * [1, 2, 3, 4, 5])


@loss(normal(4, 3))
def copyto_putmask(A):
    B = np.empty_like(A)
    np.copyto(B, A)
    np.copyto(B, 0.5 * A, where=A < 0)
    np.putmask(B, B > 1, B**2)
    np.place(B, B < -0.4, [0.0])
    return B.sum() + np.sum(B**3)


@loss(uniform(0.2, 1, 5))
def ufunc_at_variants(x):
    a = np.ones(3)
    np.multiply.at(a, [0, 1, 1, 2, 0], x)
    b = np.zeros(3)
    np.maximum.at(b, [0, 1, 1, 2, 0], x)
    c = np.full(3, 2.0)
    np.subtract.at(c, ([0, 2, 2],), x[:3])
    return a @ b + np.sum(c**2)


@loss(normal(3, 4))
def out_matmul(A):
    G = np.zeros((3, 3))
    np.matmul(A, A.T, out=G)
    np.clip(G, -2, 2, out=G)
    d = np.empty(3)
    np.einsum("ii->i", G, out=d)
    return np.dot(d, G @ d)


@loss(normal(4))
def accumulate_out(x):
    c = np.empty(4)
    np.add.accumulate(x, out=c)
    np.multiply(c, c, out=c)
    m = np.multiply.accumulate(1 + 0.1 * c)
    return m[-1] + np.mean(m, out=np.zeros(()))


@loss(normal(4))
def vectorize_signature(x):
    f = np.vectorize(lambda v: v / np.sqrt(np.sum(v**2)), signature="(n)->(n)")
    return np.sum(f(np.stack([x, x**2])) * np.arange(4))


@loss(normal(5))
def frompyfunc_cast(x):
    f = np.frompyfunc(lambda a: a * np.exp(-a * a) if a > 0 else 0.1 * a, 1, 1)
    return f(x).astype(float).sum() ** 2


@loss(normal(3))
def empty_pieces(x):
    e = x[:0]
    parts = np.split(x, [0, 2])
    return (
        e.sum()
        + np.prod(e)
        + sum(np.sum(p**2) for p in parts)
        + np.concatenate([e, x]).max()
        + np.zeros((0, 3)).dot(x).sum()
    )


@loss(uniform(0.2, 1, 3))
def transfer_function_bode(p):
    w = np.logspace(-1, 1, 6)
    s = 1j * w
    H = p[0] / (s**2 + p[1] * s + p[2])
    return np.mean(20 * np.log10(np.abs(H))) + np.unwrap(np.angle(H))[-1]


@loss(normal(3), normal(3))
def plain_row_written(w, row):
    h = row.copy()
    for _ in range(3):
        h[1:] = h[:-1] * w[1:] + h[1:]
        h[0] = np.tanh(h[0] * w[0])
    return np.sum(h**2)

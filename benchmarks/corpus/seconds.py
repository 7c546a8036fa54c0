"""Second derivatives of losses: Hessians and their products with a vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from corpus.case import a, draw, factor, instead
from corpus.outputs import VectorCase, edited, family, of_direction

KIND = "hessians"

M = draw(61, 4, 3)
S = draw(62, 3, 3)
LABELS = np.array([0, 2, 1, 2])


def quadratic(w: Any, s: Any) -> Any:
    return w @ s @ w / 2


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x: Any) -> Any:
    g = np.zeros(len(x), x.dtype)
    g[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def rosenbrock_hessian(x: Any) -> Any:
    diagonal = np.zeros(len(x))
    diagonal[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    off = -400 * x[:-1]
    return np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)


def logistic(w: Any, m: Any) -> Any:
    return np.sum(np.log1p(np.exp(m @ w)))


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def logistic_gradient(w: Any, m: Any) -> Any:
    return m.T @ sigmoid(m @ w)


def logistic_hessian(w: Any, m: Any) -> Any:
    s = sigmoid(m @ w)
    return m.T @ np.diag(s * (1 - s)) @ m


def log_sum_exp(x: Any) -> Any:
    return np.log(np.sum(np.exp(x)))


def softmax(x: Any) -> Any:
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def log_sum_exp_hessian(x: Any) -> Any:
    p = softmax(x)
    return np.diag(p) - np.outer(p, p)


def entropy(w: Any, m: Any, labels: Any) -> Any:
    z = m @ w
    return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(labels)), labels])


def entropy_gradient(w: Any, m: Any, labels: Any) -> Any:
    return m.T @ (softmax(m @ w) - np.eye(3)[labels]) / len(labels)


def entropy_hvp(w: Any, m: Any, labels: Any, v: Any) -> Any:
    p, d = softmax(m @ w), m @ v
    return m.T @ (p * (d - (p * d).sum(axis=1, keepdims=True))) / len(labels)


def fitted(p: Any, m: Any) -> Any:
    return np.sum((np.exp(m @ p["w"]) * p["c"] - 1) ** 2) / 2


def fitted_gradient(p: Any, m: Any) -> Any:
    e = np.exp(m @ p["w"])
    r = e * p["c"] - 1
    return {"w": m.T @ (r * e * p["c"]), "c": np.sum(r * e)}


def fitted_hessian(p: Any, m: Any, residual: float = 1.0) -> Any:
    e = np.exp(m @ p["w"])
    y = e * p["c"]
    r = residual * (y - 1)
    mixed = m.T @ (y * e + r * e)
    return {
        "w": {"w": m.T @ np.diag(y**2 + r * y) @ m, "c": mixed},
        "c": {"w": mixed, "c": np.sum(e**2)},
    }


def fitted_hvp(p: Any, m: Any, v: Any) -> Any:
    h = fitted_hessian(p, m)
    return {
        "w": h["w"]["w"] @ v["w"] + h["w"]["c"] * v["c"],
        "c": h["c"]["w"] @ v["w"] + h["c"]["c"] * v["c"],
    }


def fitted_hvp_unmixed(p: Any, m: Any, v: Any) -> Any:
    h = fitted_hessian(p, m)
    return {"w": h["w"]["w"] @ v["w"], "c": h["c"]["c"] * v["c"]}


def product(x: Any) -> Any:
    return np.prod(np.sin(x))


def product_gradient(x: Any) -> Any:
    return np.prod(np.sin(x)) / np.tan(x)


def product_hessian(x: Any) -> Any:
    c = 1 / np.tan(x)
    h = np.outer(c, c)
    np.fill_diagonal(h, -1)
    return np.prod(np.sin(x)) * h


def halved_mixed(h: Any) -> Any:
    """Return a Hessian by leaves with one of its two mixed blocks halved."""
    return {"w": {**h["w"], "c": h["w"]["c"] / 2}, "c": h["c"]}


X = a(0.7, -0.4, 1.2)
FIRST_PAIR = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
FIT = {"w": 0.3 * draw(67, 3), "c": 1.5}

CASES: list[VectorCase] = [
    *family(
        KIND, "a quadratic form", quadratic, draw(63, 3), "hessian", lambda w, s: (s + s.T) / 2,
        edited("not symmetrised", lambda h: S), edited("twice", lambda h: 2 * h),
        edited("the upper triangle", np.triu), args=(S,),
        gradient=lambda w, s: (s + s.T) @ w / 2,
    ),
    *family(
        KIND, "Rosenbrock's function", rosenbrock, X, "hessian", rosenbrock_hessian,
        edited("the diagonal alone", lambda h: np.diag(np.diag(h))),
        edited("one entry's sign", lambda h: h * (1 - 2 * np.outer(a(0, 1, 0), a(0, 0, 1)))),
        edited("a pair of entries off by 1e-6", lambda h: h * (1 + 1e-6 * FIRST_PAIR)),
        gradient=rosenbrock_gradient,
    ),
    *family(
        KIND, "Rosenbrock's function", rosenbrock, X, "hvp",
        lambda x, v: rosenbrock_hessian(x) @ v,
        factor(-1), of_direction("squared", lambda v: v**2),
        instead("the lower triangle", lambda x, v: np.tril(rosenbrock_hessian(x)) @ v),
        gradient=rosenbrock_gradient,
    ),
    *family(
        KIND, "logistic regression", logistic, draw(64, 3), "hessian", logistic_hessian,
        edited("a mean", lambda h: h / 4),
        instead("the weights' square is missing", lambda w, m: m.T @ np.diag(sigmoid(m @ w)) @ m),
        edited("the diagonal twice", lambda h: h + np.diag(np.diag(h))), args=(M,),
        gradient=logistic_gradient,
    ),
    *family(
        KIND, "log-sum-exp", log_sum_exp, draw(65, 4), "hessian", log_sum_exp_hessian,
        instead("the diagonal of softmax", lambda x: np.diag(softmax(x))),
        edited("all but the diagonal", lambda h: h - np.diag(np.diag(h))), gradient=softmax,
    ),
    *family(
        KIND, "cross-entropy", entropy, draw(66, 3, 3), "hvp", entropy_hvp,
        instead("without the sum", lambda w, m, t, v: m.T @ (softmax(m @ w) * (m @ v)) / len(t)),
        factor(4), of_direction("transposed", np.transpose), args=(M, LABELS),
        gradient=entropy_gradient,
    ),
    *family(
        KIND, "least squares", fitted, FIT, "hessian", fitted_hessian,
        instead("Gauss and Newton's", lambda p, m: fitted_hessian(p, m, 0.0)),
        edited("one mixed block halved", halved_mixed), args=(M,), gradient=fitted_gradient,
    ),
    *family(
        KIND, "least squares", fitted, FIT, "hvp", fitted_hvp,
        instead("without the mixed blocks", fitted_hvp_unmixed),
        args=(M,), gradient=fitted_gradient,
    ),
    *family(
        KIND, "a product of sines", product, a(0.5, 1.1, 2), "hessian", product_hessian,
        edited("the diagonal's sign", lambda h: h - 2 * np.diag(np.diag(h))),
        edited("antisymmetric", lambda h: np.triu(h) - np.tril(h, -1)), gradient=product_gradient,
    ),
]  # fmt: skip
